//! Hours of mixed load in seconds: the real gate under tokio's paused time, from a seed.
//!
//! After every event the gate is checked (rules §9.2, §9.3, §2.5); at the end nothing may be left (§9.1, §9.5), and the
//! same seed must give the same history (§9.6). Replay with `TIERGATE_SEED=… cargo test --test simulation`.

#[path = "../../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../../crates/policy/tests/support/rules.rs"]
mod rules;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tiergate::clock::Clock;
use tiergate::gate::{Entered, Gate, GateView, Generation, Permit, QueuedJob, Relocated, UploadingJob};
use tiergate::policy::caller::{AccountId, Caller, NetworkId};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{Priority, Rules, TierId, UpstreamId, Within};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{Outcome, Policy, RequestBody, State};
use tiergate::store::memory::MemoryLedger;

use request::{AdmissionRequest, RequestExt, request};

/// Simulated time of each history.
const HOURS: u64 = 3;

/// Searches a second that arrive, a quarter more than the slots can serve.
const ARRIVALS_PER_SECOND: f64 = 10.0;

const SLOTS: u32 = 4;

/// A stream of numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One time in so many.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn exponential(&mut self, mean_s: f64) -> Duration {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-(1.0 - unit).ln() * mean_s)
    }
}

fn rules(within_tier: Within, lifeline: Option<u32>) -> Arc<Rules> {
    let rules = rules::rules().within_tier(within_tier).lifeline(lifeline);
    let tiers = [
        ("free", 0, 1),
        ("$1", 2, 1),
        ("$5", 2, 1),
        ("$10", 5, 1),
        ("$20", 5, 2),
        ("$50", 5, 3),
        ("$100", 6, 4),
    ];
    let rules = tiers.into_iter().fold(rules, |rules, (name, priority, concurrency)| {
        rules.tier(name, |tier| {
            tier.priority(priority).concurrency(concurrency).displacements(u32::MAX)
        })
    });
    Arc::new(rules.upstream("search", &[SLOTS - 1, 1]).build())
}

/// What happened, folded into one number, to compare histories.
#[derive(Default)]
struct History {
    events: Mutex<DefaultHasher>,
    /// Refusals when a body was complete.
    late: AtomicU64,
}

impl History {
    fn note(&self, event: impl Hash) {
        event.hash(&mut *self.events.lock().expect("nobody panics under it"));
    }

    fn sum(&self) -> u64 {
        self.events.lock().expect("nobody panics under it").finish()
    }
}

fn check_gate(gate: &Gate) {
    let view = gate.view();
    let waiting: u32 = view.waiting.iter().sum();
    let (slots, running) = view.pools[0];
    let capacity = view.rules.queue.length;
    assert!(waiting <= capacity, "{waiting} are queued in {capacity} places");
    assert!(running <= SLOTS, "{running} run on {SLOTS} slots");
    let queued = view.jobs.iter().filter(|job| job.state == State::Waiting);
    assert_eq!(queued.count(), waiting as usize, "only queued jobs have places");
    let asks = |state| matches!(state, State::Waiting | State::Moving { .. });
    let asking = view.jobs.iter().filter(|job| asks(job.state)).count();
    assert!(
        asking == 0 || running >= slots,
        "a slot is idle while {asking} wait for one"
    );
    let in_flight = u64::try_from(view.jobs.len()).expect("small");
    assert_eq!(
        view.stats.arrived,
        view.stats.ended() + in_flight,
        "a job is lost or counted twice"
    );
}

/// No job is refused because the queue is full while one of lower priority is queued. (The tiers here may displace as often as
/// they like.)
fn check_refusal(gate: &Gate, refusal: &Refusal, priority: Priority) {
    if refusal.reason() == Reason::QueueFull {
        let lower: u32 = gate.view().waiting[..priority.index()].iter().sum();
        assert_eq!(
            lower,
            0,
            "priority {} is refused while {lower} lower ones wait",
            priority.get()
        );
    }
}

/// One job, from its arrival to its end.
struct Search {
    ask: AdmissionRequest,
    priority: Priority,
    work: Duration,
    patience: Option<Duration>,
    upload: Duration,
    /// Finds its server dead, which is back after a while.
    finds_it_dead: bool,
    outcome: Outcome,
}

/// How long a server stays away that a search finds dead.
const AWAY: Span = Span::from_secs(10);

/// The longest that a search whose server is dead waits for another.
const MOVING_MAX: Span = Span::from_secs(5);

impl Search {
    fn drawn(dice: &mut Dice, rules: &Rules) -> Self {
        let tier = if dice.one_in(2) { 0 } else { 1 + dice.below(6) };
        let who = dice.below(12);
        let tier_id = TierId(u16::try_from(tier).expect("small"));
        let caller = if tier == 0 {
            Caller::Network(NetworkId(who))
        } else {
            Caller::Account(AccountId(u32::try_from(tier * 100 + who).expect("small")))
        };
        // Some clients send slowly.
        let upload = match dice.below(64) {
            0 => dice.exponential(60.0),
            1..8 => dice.exponential(2.0),
            _ => Duration::ZERO,
        };
        let body = if upload.is_zero() {
            RequestBody::Complete
        } else {
            RequestBody::Arriving
        };
        Self {
            ask: request(caller, tier_id)
                .body(body)
                .max_wait(dice.one_in(10).then(|| Span::from_secs(1 + dice.below(20))))
                .prefer_wait(dice.one_in(10).then(|| Span::from_secs(dice.below(20)))),
            priority: rules.tier(tier_id).priority,
            work: dice.exponential(0.5),
            patience: dice.one_in(6).then(|| dice.exponential(1.5)),
            upload,
            finds_it_dead: dice.one_in(2_000),
            outcome: if dice.one_in(10) {
                Outcome::Failed
            } else {
                Outcome::Succeeded
            },
        }
    }

    async fn run(self, gate: Arc<Gate>, history: Arc<History>, number: u64) {
        let entered = gate.enter(&gate.generation(), &self.ask);
        let entered = entered.expect("nobody reloads");
        check_gate(&gate);
        let entered = match entered {
            Ok(Entered::Uploading(uploading)) => {
                history.note("uploads");
                let arrived = self.upload(uploading, &gate).await;
                let refused = u64::from(matches!(arrived, Some(Err(_))));
                history.late.fetch_add(refused, Ordering::Relaxed);
                arrived
            }
            entered => Some(entered),
        };
        let verdict = match entered {
            None => None,
            Some(Err(refusal)) => {
                check_refusal(&gate, &refusal, self.priority);
                Some(Err(refusal))
            }
            Some(Ok(Entered::Running(permit))) => Some(Ok(permit)),
            Some(Ok(Entered::Queued(waiting))) => self.wait(waiting, &gate).await,
            Some(Ok(Entered::Uploading(_))) => unreachable!("its body has arrived"),
        };
        history.note((number, gate.clock().now().as_nanos()));
        match verdict {
            None => history.note("hung up"),
            Some(Err(refusal)) => history.note((refusal.reason(), refusal.retry_after())),
            Some(Ok(permit)) => {
                history.note((permit.server().0, permit.waited().as_nanos()));
                self.work(permit, &gate, &history).await;
            }
        }
        check_gate(&gate);
    }

    /// Ends when the client's patience does.
    fn patience(&self, gate: &Gate) -> tokio::time::Sleep {
        let patience = self.patience.unwrap_or(Duration::from_secs(86_400));
        gate.clock().sleep(patience.into())
    }

    /// `None`: the client hangs up.
    async fn upload(&self, mut uploading: UploadingJob, gate: &Gate) -> Option<Result<Entered, Refusal>> {
        tokio::select! {
            biased;
            refusal = &mut uploading => return Some(Err(refusal)),
            () = self.patience(gate) => return None,
            () = gate.clock().sleep(self.upload.into()) => {}
        }
        let arrived = uploading.arrived();
        check_gate(gate);
        Some(arrived)
    }

    /// `None`: the client hangs up.
    async fn wait(&self, mut waiting: QueuedJob, gate: &Gate) -> Option<Result<Permit, Refusal>> {
        let longest = gate.clock().sleep_until(waiting.until());
        tokio::select! {
            biased;
            verdict = &mut waiting => Some(verdict),
            () = self.patience(gate) => None,
            () = longest => Some(waiting.expire()),
        }
    }

    /// What the proxy does if a server can't be reached (rules §2.7).
    async fn relocate(&self, permit: Permit, gate: &Arc<Gate>, history: &History) -> Option<Permit> {
        let clock = *gate.clock();
        let server = permit.server();
        let relocated = permit.relocate();
        check_gate(gate);
        let recovers = Arc::clone(gate);
        tokio::spawn(async move {
            recovers.clock().sleep(AWAY).await;
            recovers.server_up(UpstreamId(0), server);
            check_gate(&recovers);
        });
        match relocated {
            Relocated::To(permit) => Some(permit),
            Relocated::Nowhere(permit) => {
                permit.settle(Outcome::Failed, 0);
                None
            }
            Relocated::Waits(mut moving) => {
                history.note("moves");
                tokio::select! {
                    biased;
                    permit = &mut moving => Some(permit),
                    () = self.patience(gate) => None,
                    () = clock.sleep(MOVING_MAX) => {
                        moving.settle(Outcome::Failed);
                        None
                    }
                }
            }
        }
    }

    async fn work(&self, mut permit: Permit, gate: &Arc<Gate>, history: &History) {
        let clock = *gate.clock();
        if self.finds_it_dead {
            let Some(moved) = self.relocate(permit, gate, history).await else {
                return;
            };
            check_gate(gate);
            permit = moved;
        }
        tokio::select! {
            biased;
            () = clock.sleep(self.work.into()) => {}
            () = self.patience(gate) => return drop(permit),
        }
        // Half of them end in two steps, as when a client reads slowly.
        if self.work.subsec_nanos().is_multiple_of(2) {
            permit.give_back_slot();
            check_gate(gate);
            clock.sleep(Span::from_millis(20)).await;
        }
        match self.outcome {
            Outcome::Succeeded => permit.succeed(200).await.expect("memory never fails"),
            other => permit.settle(other, 500),
        }
    }
}

/// Nothing is left over, and everything that can happen has happened.
fn check_end(view: &GateView, number: u64) {
    assert_eq!(view.waiting, [0; Priority::COUNT]);
    assert_eq!(view.pools, [(SLOTS, 0)]);
    assert_eq!(view.stats.arrived, view.stats.ended());
    assert!(
        view.stats.succeeded > number / 3,
        "load like this is mostly served: {:?}",
        view.stats
    );
    for happened in [
        view.stats.refused,
        view.stats.upload_ended,
        view.stats.displaced,
        view.stats.waited_out,
        view.stats.hung_up,
    ] {
        assert!(
            happened > 0,
            "something never happened in {number} searches: {:?}",
            view.stats
        );
    }
}

async fn simulate(seed: u64, within_tier: Within, lifeline: Option<u32>) -> u64 {
    let rules = rules(within_tier, lifeline);
    let gate = Gate::new(
        Policy::new(Arc::clone(&rules)),
        Generation::unobserved(Arc::clone(&rules)),
        Clock::start_at(UnixTime::from_secs(1_700_000_000)),
        Arc::new(MemoryLedger::default()),
    );
    assert!(gate.tick().filling.is_none(), "the clock is read for the first time");
    let history = Arc::new(History::default());
    let mut dice = Dice(seed);
    let mut tasks = tokio::task::JoinSet::new();
    let end = Duration::from_secs(HOURS * 3600);
    let mut number = 0;
    while Duration::from(gate.clock().now().since(Default::default())) < end {
        gate.clock()
            .sleep(dice.exponential(1.0 / ARRIVALS_PER_SECOND).into())
            .await;
        // A server fails now and then, and comes back.
        if dice.one_in(5_000) {
            let gate = Arc::clone(&gate);
            gate.server_down(UpstreamId(0), tiergate::policy::rules::ServerId(1));
            tasks.spawn(async move {
                gate.clock().sleep(Span::from_secs(30)).await;
                gate.server_up(UpstreamId(0), tiergate::policy::rules::ServerId(1));
                check_gate(&gate);
            });
        }
        number += 1;
        tasks.spawn(Search::drawn(&mut dice, &rules).run(Arc::clone(&gate), Arc::clone(&history), number));
        while let Some(done) = tasks.try_join_next() {
            done.expect("no search panics");
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no search panics");
    }
    // The last of the dead servers is back.
    gate.clock().sleep(AWAY).await;
    let view = gate.view();
    assert_eq!(gate.in_flight(), 0, "left over: {:?}", view.jobs);
    check_end(&view, number);
    let late = history.late.load(Ordering::Relaxed);
    assert!(late > 0, "no upload was refused when it was complete");
    println!(
        "seed {seed}: {number} searches in {HOURS} simulated hours, {late} refused when their bodies were complete: {:?}",
        view.stats
    );
    history.sum()
}

fn seed() -> u64 {
    std::env::var("TIERGATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1)
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served_and_the_same_again() {
    let first = simulate(seed(), Within::Fifo, None).await;
    let again = simulate(seed(), Within::Fifo, None).await;
    assert_eq!(first, again, "the same history must give the same decisions");
}

#[tokio::test(start_paused = true)]
async fn in_turns_with_a_lifeline() {
    simulate(seed().wrapping_add(1), Within::Fair, Some(5)).await;
}
