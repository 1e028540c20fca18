//! What an operator may do at once (rules §11).

use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::ServerId;
use tiergate_policy::time::Span;
use tiergate_policy::{JobId, Outcome, Relocation, State};

use super::harness::{Harness, POOL, ask, caller, rules};
use super::request::RequestExt;
use super::rules::tier_a_priority;

const FIRST: ServerId = ServerId(0);
const SECOND: ServerId = ServerId(1);

fn is_waiting(harness: &Harness, job: JobId) -> bool {
    harness.policy.job(job).is_some_and(|job| job.state == State::Waiting)
}

#[test]
fn a_paused_policy_queues_though_slots_are_free() {
    let mut harness = Harness::new(rules(2, 3));
    harness.policy.pause();
    let late = harness.queues(&ask(1, 0));
    harness.queues(&ask(2, 3));
    // The queue is as long as ever, and a higher priority displaces as ever.
    assert!(matches!(
        harness.refused(&ask(3, 0)),
        Refusal::QueueFull { capacity: 2, .. }
    ));
    let (_, displaced) = harness.displaces(&ask(4, 6));
    assert_eq!(displaced, late);
    assert!(matches!(
        harness.refused(&ask(5, 6).prefer_wait(Some(Span::ZERO))),
        Refusal::WaitTooLong { .. }
    ));
    assert_eq!(harness.policy.running(POOL), 0);
}

#[test]
fn a_resume_grants_every_free_slot_in_order() {
    let mut harness = Harness::new(rules(8, 2));
    let runs = harness.runs(&ask(9, 0)).job;
    harness.policy.pause();
    let waiting = [(1, 2), (2, 5), (3, 5), (4, 0)].map(|(number, priority)| harness.queues(&ask(number, priority)));
    // A running job finishes, and nobody gets its slot.
    assert_eq!(harness.succeeds(runs), None);
    harness.pass(Span::from_secs(3));
    assert!(waiting.iter().all(|job| is_waiting(&harness, *job)));
    let grants = harness.policy.resume(harness.now);
    let granted: Vec<_> = grants.iter().map(|grant| (grant.job, grant.waited)).collect();
    let waited = Span::from_secs(3);
    assert_eq!(granted, [(waiting[1], waited), (waiting[2], waited)]);
    // And what comes after that goes on as ever.
    let next = harness.succeeds(waiting[1]).expect("two jobs wait");
    assert_eq!(next.job, waiting[0]);
}

#[test]
fn a_paused_job_may_reach_its_longest_wait() {
    let mut harness = Harness::new(rules(8, 1));
    harness.policy.pause();
    let (job, until, _) = harness.queued(&ask(1, 0));
    harness.pass(until.since(harness.now));
    let refusal = harness.policy.expire(job, harness.now);
    assert!(matches!(refusal, Some(Refusal::WaitedTooLong { .. })), "{refusal:?}");
    assert_eq!(harness.policy.resume(harness.now), []);
}

/// A running job is to finish, and it can't without a server.
#[test]
fn a_running_job_moves_while_dispatch_is_paused() {
    let mut harness = Harness::new(rules(8, 0).slots("search", &[1, 1]));
    let [first, second] = [1, 2].map(|number| harness.runs(&ask(number, 0)).job);
    let waiting = harness.queues(&ask(3, 6));
    harness.policy.pause();
    assert_eq!(harness.policy.relocate(first, harness.now), Relocation::Waits);
    let next = harness.succeeds(second).expect("a job moves");
    assert_eq!((next.job, next.server), (first, SECOND));
    assert_eq!(harness.succeeds(first), None);
    assert!(is_waiting(&harness, waiting));
}

#[test]
fn stopped_admission_refuses_new_jobs_only() {
    let mut harness = Harness::new(rules(8, 1));
    let runs = harness.runs(&ask(1, 0)).job;
    let waits = harness.queues(&ask(2, 0));
    harness.policy.stop_admission();
    let refusal = harness.refused(&ask(3, 6));
    assert!(matches!(refusal, Refusal::AdmissionStopped { .. }), "{refusal:?}");
    assert_eq!(harness.policy.jobs_of(&caller(3)), 0);
    let next = harness.succeeds(runs).expect("a job waits");
    assert_eq!(next.job, waits);
    harness.succeeds(waits);
    harness.policy.start_admission();
    harness.runs(&ask(3, 6));
}

#[test]
fn a_drained_server_finishes_and_gets_no_jobs() {
    let mut harness = Harness::new(rules(8, 0).slots("search", &[1, 2]));
    let on_first = harness.runs(&ask(1, 0)).job;
    harness.policy.drain(POOL, FIRST);
    assert_eq!(harness.policy.slots(POOL), 2);
    assert_eq!(
        harness.policy.job(on_first).map(|job| job.state),
        Some(State::Running {
            server: FIRST,
            since: harness.now
        })
    );
    for number in 2..=3 {
        assert_eq!(harness.runs(&ask(number, 0)).server, SECOND);
    }
    let waits = harness.queues(&ask(4, 0));
    assert_eq!(harness.succeeds(on_first), None);
    // Its health changes nothing.
    assert_eq!(harness.policy.server_up(POOL, FIRST, harness.now), []);
    let grants = harness.policy.undrain(POOL, FIRST, harness.now);
    assert_eq!(
        grants.iter().map(|grant| (grant.job, grant.server)).collect::<Vec<_>>(),
        [(waits, FIRST)]
    );
}

#[test]
fn a_job_never_moves_to_a_drained_server() {
    let mut harness = Harness::new(rules(8, 0).slots("search", &[1, 1]));
    let job = harness.runs(&ask(1, 0)).job;
    harness.policy.drain(POOL, SECOND);
    assert_eq!(harness.policy.relocate(job, harness.now), Relocation::Nowhere);
}

/// The rules' upstream leaves and comes back: its server is the same, and still drained before it could get a job.
#[test]
fn a_drain_lasts_over_reloads() {
    let both = || rules(8, 1).upstream("other", &[1]);
    let other = tier_a_priority(|tier| tier.concurrency(100))
        .queue(8)
        .upstream("other", &[1]);
    let mut harness = Harness::new(both());
    harness.policy.drain(POOL, FIRST);
    harness.reload(other);
    harness.reload(both());
    let waits = harness.queues(&ask(1, 0));
    assert_eq!(harness.policy.slots(POOL), 0);
    let grants = harness.policy.undrain(POOL, FIRST, harness.now);
    assert_eq!(grants.iter().map(|grant| grant.job).collect::<Vec<_>>(), [waits]);
}

#[test]
fn a_cancelled_job_leaves_its_place_and_holds_nothing() {
    let mut harness = Harness::new(rules(1, 1));
    let runs = harness.runs(&ask(1, 0)).job;
    let waits = harness.queues(&ask(2, 0));
    let out = harness.policy.cancel(waits).expect("it is queued");
    assert!(matches!(out.refusal, Refusal::CancelledByOperator { .. }));
    assert_eq!(harness.policy.jobs_of(&caller(2)), 0);
    harness.queues(&ask(3, 0));
    // A running job and one that is gone are left alone.
    assert_eq!(
        (harness.policy.cancel(runs), harness.policy.cancel(waits)),
        (None, None)
    );
    assert_eq!(harness.policy.stats().cancelled_by_operator, 1);
    assert!(harness.policy.end(runs, Outcome::Succeeded, harness.now).is_some());
}
