//! A job whose server could not be reached moves to another one (rules §2.7).

use tiergate_policy::rules::{Priority, ServerId};
use tiergate_policy::time::Span;
use tiergate_policy::{Grant, JobId, Outcome, Policy, Relocation, State};

use super::harness::{Harness, POOL, ask, caller, rules};
use super::request::RequestExt;
use super::rules::RulesBuilder;

const FIRST: ServerId = ServerId(0);
const SECOND: ServerId = ServerId(1);

fn servers(slots: &[u32]) -> RulesBuilder {
    rules(8, 0).slots("search", slots)
}

/// A job on each of two servers of one slot.
fn two_busy_servers() -> (Harness, [JobId; 2]) {
    let mut harness = Harness::new(servers(&[1, 1]));
    let [first, second] = [1, 2].map(|number| harness.runs(&ask(number, 0)));
    assert_eq!((first.server, second.server), (FIRST, SECOND));
    (harness, [first.job, second.job])
}

fn relocate(harness: &mut Harness, job: JobId) -> Relocation {
    harness.policy.relocate(job, harness.now)
}

fn state(policy: &Policy, job: JobId) -> State {
    policy.job(job).expect("it is in flight").state
}

/// Whose the slot is, and where.
fn of(grant: Option<Grant>) -> Option<(JobId, ServerId)> {
    grant.map(|grant| (grant.job, grant.server))
}

/// Regression: a job was placed on the first server, moved to the second, and ended. A server's last arrival was counted
/// in jobs placed, which a move didn't add to, so both servers seemed to have got a job at the same moment, and of the two
/// the one named first in the file was taken to have been idle for longer, though it might have got its job last.
#[test]
fn a_relocated_job_makes_its_server_the_last_used() {
    let mut harness = Harness::new(servers(&[1, 1, 1]));
    let first = harness.runs(&ask(1, 0));
    let second = harness.runs(&ask(2, 0));
    assert_eq!((first.server, second.server), (ServerId(0), ServerId(1)));
    harness.succeeds(first.job);
    harness.policy.server_down(POOL, ServerId(2));

    assert_eq!(relocate(&mut harness, second.job), Relocation::To(FIRST));
    harness.policy.server_up(POOL, SECOND, harness.now);
    harness.succeeds(second.job);

    assert_eq!(harness.runs(&ask(3, 0)).server, SECOND, "the first one got a job later");
}

/// A move isn't a second job: it counts neither as an arrival nor as a slot time, and the slot that was left is free.
#[test]
fn a_relocated_job_holds_one_slot() {
    let mut harness = Harness::new(servers(&[1, 1, 1]));
    let job = harness.runs(&ask(1, 0)).job;
    assert!(matches!(relocate(&mut harness, job), Relocation::To(to) if to != FIRST));
    assert_eq!(harness.policy.slots(POOL), 2, "the server that was left is down");
    assert_eq!(harness.policy.running(POOL), 1);
    assert_eq!(harness.policy.jobs_of(&caller(1)), 1);
    harness.succeeds(job);
    assert_eq!(harness.policy.stats().succeeded, 1);
    assert_eq!(harness.policy.running(POOL), 0);
}

/// Regression: one of two servers died under load. Every job that had been sent there found the other one's slots taken, since
/// queued jobs got them, and was answered with 502 although a server was up and the retry is promised.
#[test]
fn a_relocating_job_gets_the_next_slot_before_the_queue() {
    let (mut harness, [first, second]) = two_busy_servers();
    let highest = harness.queues(&ask(3, 6));
    harness.pass(Span::from_secs(1));
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    assert_eq!(state(&harness.policy, first), State::Moving { since: harness.now });
    assert_eq!(harness.policy.running(POOL), 1, "it holds no slot");
    assert_eq!(harness.policy.waiting().iter().sum::<u32>(), 1, "nor a queue place");
    assert_eq!(harness.policy.jobs_of(&caller(1)), 1, "but its caller's concurrency");

    harness.pass(Span::from_secs(2));
    let moved = harness.succeeds(second).expect("a job moves");
    assert_eq!((moved.job, moved.server), (first, SECOND));
    assert_eq!(moved.waited, Span::from_secs(2), "since it gave its slot up");
    assert_eq!(of(harness.succeeds(first)), Some((highest, SECOND)));
}

#[test]
fn relocating_jobs_are_served_in_order() {
    let mut harness = Harness::new(servers(&[2, 1]));
    let jobs = [1, 2, 3].map(|number| harness.runs(&ask(number, 0)));
    let there = |server| {
        jobs.iter()
            .filter(move |grant| grant.server == server)
            .map(|grant| grant.job)
    };
    let [first, second]: [JobId; 2] = there(FIRST).collect::<Vec<_>>().try_into().expect("two slots");
    let other = there(SECOND).next().expect("one slot");
    assert_eq!(relocate(&mut harness, second), Relocation::Waits);
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    assert_eq!(of(harness.succeeds(other)), Some((second, SECOND)));
    assert_eq!(of(harness.succeeds(second)), Some((first, SECOND)));
}

#[test]
fn a_recovered_server_serves_relocating_jobs_first() {
    let (mut harness, [first, second]) = two_busy_servers();
    let waiting = harness.queues(&ask(3, 6));
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    let grants = harness.policy.server_up(POOL, FIRST, harness.now);
    assert_eq!(grants.iter().map(|grant| grant.job).collect::<Vec<_>>(), [first]);
    assert_eq!(of(harness.succeeds(second)), Some((waiting, SECOND)));
}

#[test]
fn a_job_stays_if_no_other_server_is_up() {
    for slots in [&[1][..], &[1, 0]] {
        let mut harness = Harness::new(servers(slots));
        let job = harness.runs(&ask(1, 0)).job;
        assert_eq!(relocate(&mut harness, job), Relocation::Nowhere);
        assert!(matches!(
            state(&harness.policy, job),
            State::Running { server: FIRST, .. }
        ));
        assert_eq!(harness.policy.slots(POOL), 0, "the server is down all the same");
    }
}

/// Displacement, the longest wait, a shutdown and a hang-up concern queued jobs only.
#[test]
fn a_relocating_job_is_neither_displaced_nor_expired() {
    let (mut harness, [first, second]) = two_busy_servers();
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    let queued: Vec<JobId> = (10..18).map(|number| harness.queues(&ask(number, 1))).collect();
    let (_, displaced) = harness.displaces(&ask(3, 6));
    assert!(
        queued.contains(&displaced),
        "a job of priority 0 moves, and keeps its place"
    );
    harness.pass(Span::from_secs(3_600));
    assert_eq!(harness.policy.expire(first, harness.now), None);
    assert!(!harness.policy.hang_up(first));
    assert!(harness.policy.shut_down().iter().all(|out| out.job != first));
    assert_eq!(of(harness.succeeds(second)), Some((first, SECOND)));
    harness.succeeds(first);
    assert_eq!(harness.policy.in_flight(), 0);
}

/// The last other server goes down, slots become fewer, rules change: the job goes on moving.
#[test]
fn a_relocating_job_waits_while_servers_change() {
    let (mut harness, [first, second]) = two_busy_servers();
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    harness.policy.server_down(POOL, SECOND);
    assert_eq!(harness.succeeds(second), None);
    let reloaded = harness.reload(servers(&[1, 2]));
    assert_eq!(reloaded, [], "both are down");
    let waiting = harness.queues(&ask(3, 6));
    let grants = harness.policy.server_up(POOL, SECOND, harness.now);
    assert_eq!(
        grants.iter().map(|grant| grant.job).collect::<Vec<_>>(),
        [first, waiting]
    );
}

#[test]
fn new_slots_of_a_reload_go_to_relocating_jobs_first() {
    let (mut harness, [first, _]) = two_busy_servers();
    harness.queues(&ask(3, 6));
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    let grants = harness.reload(servers(&[1, 2]));
    assert_eq!(grants.into_iter().map(|grant| grant.job).collect::<Vec<_>>(), [first]);
}

/// However it ends, it releases everything, and the next in line is served as if it had not been there.
#[test]
fn a_relocating_job_can_end_before_its_grant() {
    let (mut harness, [first, second]) = two_busy_servers();
    let waiting = harness.queues(&ask(3, 0));
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    assert_eq!(harness.policy.give_back_slot(first, harness.now), None, "it has none");
    assert_eq!(relocate(&mut harness, first), Relocation::Nowhere, "it moves already");
    assert_eq!(harness.policy.end(first, Outcome::Cancelled, harness.now), None);
    assert_eq!(harness.policy.stats().cancelled, 1);
    assert_eq!(harness.policy.jobs_of(&caller(1)), 0);
    assert_eq!(of(harness.succeeds(second)), Some((waiting, SECOND)));
}

/// A slot that its job was never notified of is no measure of slot times.
#[test]
fn an_unclaimed_grant_goes_to_the_next_in_line() {
    let (mut harness, [first, second]) = two_busy_servers();
    let waiting = harness.queues(&ask(3, 0));
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    harness.pass(Span::from_secs(10));
    assert_eq!(of(harness.succeeds(second)), Some((first, SECOND)));
    assert_eq!(of(harness.policy.forgo(first, harness.now)), Some((waiting, SECOND)));
    assert_eq!(harness.policy.jobs_of(&caller(1)), 1, "until its end");
    assert_eq!(harness.policy.end(first, Outcome::Failed, harness.now), None);
    assert_eq!(harness.policy.stats().failed, 1);
    let estimate = harness.policy.estimate(POOL, Priority::LOWEST);
    assert_eq!(
        estimate,
        Span::from_secs(10),
        "as long as the one slot was held that was used"
    );
}

/// A relocating job is served before a new one, so the new one's estimate includes it.
#[test]
fn the_estimate_counts_relocating_jobs() {
    let mut harness = Harness::new(servers(&[1, 1]));
    for _ in 0..40 {
        let job = harness.runs(&ask(9, 0)).job;
        harness.pass(Span::from_secs(2));
        harness.succeeds(job);
    }
    let grants = [1, 2].map(|number| harness.runs(&ask(number, 0)));
    let first = grants
        .iter()
        .find(|grant| grant.server == FIRST)
        .expect("one on each")
        .job;
    assert_eq!(relocate(&mut harness, first), Relocation::Waits);
    assert_eq!(
        harness.policy.estimate(POOL, Priority::HIGHEST),
        Span::from_secs(4),
        "2 × 2 s ÷ 1"
    );
    harness.refused(&ask(3, 6).prefer_wait(Span::from_secs(3)));
}
