//! Bodies that have not wholly arrived: where they wait, and where they upload when the queue is full (rules §6).

use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::time::Span;
use tiergate_policy::{JobId, State};

use super::harness::{Harness, POOL, ask, rules};
use super::request::{AdmissionRequest, RequestExt};

fn upload(caller: u64, priority: u8) -> AdmissionRequest {
    ask(caller, priority).uploading()
}

/// A policy whose queue is full of uploads that are too slow to ask for a slot.
fn full_of_uploads(queue: u32, slots: u32) -> (Harness, Vec<JobId>) {
    let mut harness = Harness::new(rules(queue, slots));
    let queued = (0..queue)
        .map(|number| harness.queues(&upload(100 + u64::from(number), 3)))
        .collect();
    (harness, queued)
}

/// Regression: eight slow uploads held the eight queue places while the server was idle. The ninth upload, and all jobs after
/// it, were refused because the queue was full.
#[test]
fn an_upload_gets_the_idle_slot_if_the_queue_is_full() {
    let (mut harness, queued) = full_of_uploads(8, 2);
    let newcomer = harness.runs(&upload(1, 3));
    assert_eq!(newcomer.waited, Span::ZERO);
    let second = harness.runs(&upload(2, 0));
    assert_eq!(harness.policy.running(POOL), 2);
    assert_eq!(
        harness.refused(&upload(3, 3)).reason(),
        Reason::QueueFull,
        "no slot is idle now"
    );
    assert_eq!(harness.policy.stats().displaced, 0);

    // The slot is held while it uploads, so queued jobs wait for it.
    assert_eq!(harness.policy.ask_slot(queued[0], harness.now), None);
    let next = harness.succeeds(newcomer.job).expect("a job asks for a slot");
    assert_eq!(next.job, queued[0]);
    harness.succeeds(second.job);
}

/// Regression: an upload of a high priority displaced a lower one, and then waited while a slot was idle.
#[test]
fn an_upload_displaces_nobody_while_a_slot_is_idle() {
    let (mut harness, queued) = full_of_uploads(1, 1);
    harness.runs(&upload(1, 4));
    assert!(harness.policy.job(queued[0]).is_some(), "the slot was idle");
    let (newcomer, displaced) = harness.displaces(&upload(2, 4));
    assert_eq!(displaced, queued[0]);
    assert_eq!(
        harness.policy.job(newcomer).map(|job| job.state),
        Some(State::Uploading)
    );
}

#[test]
fn an_upload_queues_although_a_slot_is_idle() {
    let mut harness = Harness::new(rules(1, 1));
    let queued = harness.queues(&upload(1, 4));
    assert_eq!(harness.policy.running(POOL), 0);
    assert_eq!(harness.policy.job(queued).map(|job| job.state), Some(State::Uploading));
}

#[test]
fn without_a_queue_uploads_go_straight_to_a_slot() {
    let mut harness = Harness::new(rules(0, 1));
    let first = harness.runs(&upload(1, 0));
    assert_eq!(harness.refused(&upload(2, 6)).reason(), Reason::QueueFull);
    harness.succeeds(first.job);
    harness.runs(&upload(2, 6));
}

#[test]
fn an_upload_that_would_not_wait_at_all_gets_the_idle_slot() {
    let mut harness = Harness::new(rules(8, 1));
    let at_once = |caller| upload(caller, 3).prefer_wait(Span::ZERO);
    harness.runs(&at_once(1));
    assert!(matches!(harness.refused(&at_once(2)), Refusal::WaitTooLong { .. }));
}

/// Concurrency is checked before slots.
#[test]
fn an_idle_slot_lifts_no_concurrency() {
    let mut harness = Harness::new(rules(0, 2).edit_tier("p0", |tier| tier.concurrency(1)));
    harness.runs(&upload(1, 0));
    assert_eq!(harness.refused(&upload(1, 0)).reason(), Reason::ConcurrencyExceeded);
}
