//! What the status page says would happen is what happens, in random histories.

use std::cell::Cell;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::ids::Ids;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Priority, Rules, ServerId, TierId, UpstreamId, Within};
use tiergate_policy::time::{Span, Timestamp};
use tiergate_policy::{Admission, JobId, Outcome, Outlook, Policy, RequestBody, WaitLimits};

use super::request::{RequestExt, request};
use super::rules::tier_a_priority;
use super::seeded::{runner, say};

const HISTORIES: u32 = 300;
/// Each outlook must have come true so often, or the histories tell nothing of it.
const EACH_MIN: u64 = 500;
const PLACES: u32 = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A caller of that tier comes, for that pool; if not new, it is one of three, who take turns.
    Enter {
        tier: u8,
        pool: u8,
        body: RequestBody,
        known: Option<u8>,
    },
    /// The body of an uploading job is complete.
    Arrive(u8),
    End(u8),
    HangUp(u8),
    Server {
        up: bool,
    },
    Pass(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let enter = (
        0..7_u8,
        0..2_u8,
        prop_oneof![1 => Just(RequestBody::Arriving), 4 => Just(RequestBody::Complete)],
        prop::option::weighted(0.5, 0..3_u8),
    );
    prop_oneof![
        20 => enter.prop_map(|(tier, pool, body, known)| Step::Enter { tier, pool, body, known }),
        4 => any::<u8>().prop_map(Step::Arrive),
        6 => any::<u8>().prop_map(Step::End),
        3 => any::<u8>().prop_map(Step::HangUp),
        1 => any::<bool>().prop_map(|up| Step::Server { up }),
        4 => (0..30_u8).prop_map(Step::Pass),
    ]
}

/// Tier `p5` may displace nobody.
fn rules(within: Within) -> Rules {
    let rules = tier_a_priority(|tier| tier.concurrency(100).displacements(1_000));
    let rules = rules
        .edit_tier("p5", |tier| tier.displacements(0))
        .queue(PLACES)
        .within_tier(within);
    rules.upstream("search", &[2]).upstream("other", &[1]).build()
}

/// `Retry-After` is the wait that was told, from 1 to 300 s, and up to a quarter and a second more.
fn assert_spread(told: Option<Span>, retry_after: Span) {
    let Some(told) = told else { return };
    let told = told.min(Span::from_secs(240));
    let latest = Span::from_nanos(told.as_nanos() / 4 * 5) + Span::from_secs(2);
    assert!(told <= retry_after && retry_after <= latest, "{told} {retry_after}");
}

struct Told {
    policy: Policy,
    now: Timestamp,
    jobs: Vec<JobId>,
    uploading: Vec<JobId>,
    callers: u32,
    /// How often each outlook came true; last, for jobs whose bodies came later.
    seen: [u64; 5],
}

impl Told {
    fn new(within: Within) -> Self {
        let rules = Ids::default().assign(&rules(within)).expect("few names");
        Self {
            policy: Policy::new(Arc::new(rules)),
            now: Timestamp::ZERO,
            jobs: Vec::new(),
            uploading: Vec::new(),
            callers: 100,
            seen: [0; 5],
        }
    }

    fn pick(&self, pick: u8) -> Option<JobId> {
        let at = usize::from(pick).checked_rem(self.jobs.len())?;
        Some(self.jobs[at])
    }

    fn step(&mut self, step: Step) {
        let (now, up) = (self.now, UpstreamId(0));
        match step {
            Step::Enter {
                tier,
                pool,
                body,
                known,
            } => self.enter(tier, UpstreamId(pool.into()), body, known),
            Step::Arrive(pick) => self.arrive(pick),
            Step::End(pick) => drop(self.pick(pick).map(|job| self.policy.end(job, Outcome::Succeeded, now))),
            Step::HangUp(pick) => drop(self.pick(pick).map(|job| self.policy.hang_up(job))),
            Step::Server { up: true } => drop(self.policy.server_up(up, ServerId(0), now)),
            Step::Server { up: false } => self.policy.server_down(up, ServerId(0)),
            Step::Pass(seconds) => self.now = self.now + Span::from_secs(seconds.into()),
        }
    }

    fn enter(&mut self, tier: u8, pool: UpstreamId, body: RequestBody, known: Option<u8>) {
        self.callers += 1;
        let caller = Caller::Account(AccountId(known.map_or(self.callers, u32::from)));
        let ask = request(caller, TierId(tier.into())).to(pool).body(body);
        self.compare(ask.tier, pool, |policy, now| policy.enter(&ask, now));
    }

    fn arrive(&mut self, pick: u8) {
        let Some(at) = usize::from(pick).checked_rem(self.uploading.len()) else {
            return;
        };
        let id = self.uploading.swap_remove(at);
        let job = self.policy.job(id).expect("nothing else ends it").clone();
        self.seen[4] += 1;
        self.compare(job.tier, job.pool, |policy, now| {
            let arrived = policy.arrive(id, WaitLimits::default(), now);
            arrived.expect("it was uploading")
        });
    }

    fn compare(
        &mut self,
        tier: TierId,
        pool: UpstreamId,
        happen: impl FnOnce(&mut Policy, Timestamp) -> Result<Admission, Refusal>,
    ) {
        let terms = self.policy.rules().tier(tier).clone();
        let told = self.policy.outlook(pool, &terms, self.now);
        let wait = self.policy.expected_wait(pool, terms.priority);
        assert_eq!(wait.is_none(), self.policy.slots(pool) == 0);
        let places = self.policy.places(PLACES).expect("no more than the queue's length");
        let happens = happen(&mut self.policy, self.now);
        match (told, happens) {
            // What it meets is settled when its body is complete.
            (Outlook::Slot | Outlook::Place | Outlook::Displaces(_), Ok(Admission::Uploading { job, .. })) => {
                self.uploading.push(job)
            }
            (Outlook::Slot, Ok(Admission::Running { grant, .. })) => {
                self.jobs.push(grant.job);
                self.seen[0] += 1;
            }
            (
                Outlook::Place,
                Ok(Admission::Queued {
                    job, displaced: None, ..
                }),
            ) => {
                self.jobs.push(job);
                self.seen[1] += 1;
            }
            (
                Outlook::Displaces(of),
                Ok(Admission::Queued {
                    job,
                    displaced: Some(out),
                    ..
                }),
            ) => {
                assert_eq!(
                    Some(&out.job),
                    places.last(),
                    "the last place is the first to be displaced"
                );
                assert_eq!(*self.policy.rules().tier(out.tier).name, *format!("p{}", of.get()));
                self.jobs.push(job);
                self.seen[2] += 1;
            }
            (Outlook::Full, Err(Refusal::QueueFull { retry_after, .. })) => {
                assert_spread(wait, retry_after);
                self.seen[3] += 1;
            }
            (told, happens) => panic!("{tier:?}: told {told:?}, but {happens:?}"),
        }
    }
}

#[test]
fn what_is_told_is_what_happens() {
    let (mut runner, seed, asked) = runner(HISTORIES);
    let seen = [const { Cell::new(0_u64) }; 5];
    let histories = (vec(step(), 20..=400), any::<bool>());
    let result = runner.run(&histories, |(history, fair)| {
        let mut told = Told::new(if fair { Within::Fair } else { Within::Fifo });
        history.into_iter().for_each(|step| told.step(step));
        for (all, of) in seen.iter().zip(told.seen) {
            all.set(all.get() + of);
        }
        Ok(())
    });
    let seen = seen.map(|of| of.get());
    say(&format!(
        "outlooks that came true: {seen:?} (slot, place, displaces, full; bodies that came later), TIERGATE_SEED={seed}"
    ));
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
    assert!(asked.is_some() || seen.iter().all(|of| *of >= EACH_MIN), "{seen:?}");
}

/// One pool without a lifeline: then queued jobs are served in the order in which they are told.
#[test]
fn places_are_served_from_the_left() {
    for within in [Within::Fifo, Within::Fair] {
        let rules = tier_a_priority(|tier| tier.concurrency(100))
            .queue(64)
            .within_tier(within)
            .upstream("search", &[1]);
        let mut policy = Policy::new(Arc::new(Ids::default().assign(&rules.build()).expect("few names")));
        let now = Timestamp::ZERO;
        let running = request(Caller::Account(AccountId(99)), TierId(6));
        let Ok(Admission::Running { grant, .. }) = policy.enter(&running, now) else {
            panic!("a slot is free")
        };
        for number in 0..40_u32 {
            let (caller, tier) = (
                AccountId(number * 7 % 5),
                TierId(u16::try_from(number * 11 % 7).unwrap()),
            );
            let ask = request(Caller::Account(caller), tier);
            assert!(policy.enter(&ask, now).is_ok(), "places for all");
        }
        let places = policy.places(64).expect("fewer than that");
        assert_eq!((policy.places(39), places.len()), (None, 40));
        let mut runs = grant.job;
        for (served, place) in places.iter().enumerate() {
            let next = policy.end(runs, Outcome::Succeeded, now).expect("somebody waits");
            assert_eq!(next.job, *place, "{within:?}, served {served}");
            runs = next.job;
        }
        assert_eq!(policy.in_flight_max(), 41);
    }
}

#[test]
fn a_server_that_closes_admits_nobody() {
    let mut told = Told::new(Within::Fifo);
    let tier = told.policy.rules().tier(TierId(6)).clone();
    assert_eq!(told.policy.outlook(UpstreamId(0), &tier, told.now), Outlook::Slot);
    assert_eq!(told.policy.shut_down(), []);
    assert_eq!(told.policy.outlook(UpstreamId(0), &tier, told.now), Outlook::Closed);
    assert_eq!(tier.priority, Priority::HIGHEST);
}

/// While dispatch is paused no free slot is granted; while admission is stopped every request is refused.
#[test]
fn what_an_operator_switches_shows_in_the_outlook() {
    let mut told = Told::new(Within::Fifo);
    let tier = told.policy.rules().tier(TierId(6)).clone();
    let of = |told: &Told| told.policy.outlook(UpstreamId(0), &tier, told.now);
    told.policy.pause();
    assert_eq!(of(&told), Outlook::Place);
    assert_eq!(told.policy.expected_wait(UpstreamId(0), tier.priority), None);
    told.policy.stop_admission();
    assert_eq!(of(&told), Outlook::Stopped);
    told.policy.start_admission();
    assert_eq!(told.policy.resume(told.now), []);
    assert_eq!(of(&told), Outlook::Slot);
}
