//! Bodies that have not wholly arrived: where they wait, and where they upload when there is no seat (rules §6).

use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::time::Span;
use tiergate_policy::{JobId, State};

use super::house::{House, POOL, ask, rules};
use super::request::{AdmissionRequest, RequestExt};

fn upload(caller: u64, priority: u8) -> AdmissionRequest {
    ask(caller, priority).uploading()
}

/// A house whose every seat is taken by an upload that is too slow to ask for a slot.
fn crowded_by_uploads(seats: u32, slots: u32) -> (House, Vec<JobId>) {
    let mut house = House::new(rules(seats, slots));
    let seated = (0..seats)
        .map(|number| house.sits(&upload(100 + u64::from(number), 3)))
        .collect();
    (house, seated)
}

/// The story: eight phones on bad lines held the eight seats while the worker was idle. The ninth upload, and with it
/// everybody who came after, was told that the queue is full.
#[test]
fn an_upload_that_finds_no_seat_gets_the_idle_slot() {
    let (mut house, seated) = crowded_by_uploads(8, 2);
    let newcomer = house.runs(&upload(1, 3));
    assert_eq!(newcomer.waited, Span::ZERO);
    let second = house.runs(&upload(2, 0));
    assert_eq!(house.policy.running(POOL), 2);
    assert_eq!(
        house.refused(&upload(3, 3)).reason(),
        Reason::QueueFull,
        "no slot is idle now"
    );
    assert_eq!(house.policy.stats().displaced, 0);

    // The slot is held while it uploads, so those in the seats stand in line for it.
    assert_eq!(house.policy.ask_slot(seated[0], house.now), None);
    let next = house.succeeds(newcomer.job).expect("somebody asks for a slot");
    assert_eq!(next.job, seated[0]);
    house.succeeds(second.job);
}

/// The story: an upload of a high priority turned a lower one out of its seat, and then both waited while a worker was idle.
#[test]
fn an_upload_displaces_nobody_while_a_slot_is_idle() {
    let (mut house, seated) = crowded_by_uploads(1, 1);
    house.runs(&upload(1, 4));
    assert!(house.policy.job(seated[0]).is_some(), "the slot was idle");
    let (newcomer, displaced) = house.displaces(&upload(2, 4));
    assert_eq!(displaced, seated[0]);
    assert_eq!(house.policy.job(newcomer).map(|job| job.state), Some(State::Uploading));
}

#[test]
fn an_upload_queues_although_a_slot_is_idle() {
    let mut house = House::new(rules(1, 1));
    let seated = house.sits(&upload(1, 4));
    assert_eq!(house.policy.running(POOL), 0);
    assert_eq!(house.policy.job(seated).map(|job| job.state), Some(State::Uploading));
}

#[test]
fn with_no_seats_at_all_uploads_go_straight_to_a_slot() {
    let mut house = House::new(rules(0, 1));
    let first = house.runs(&upload(1, 0));
    assert_eq!(house.refused(&upload(2, 6)).reason(), Reason::QueueFull);
    house.succeeds(first.job);
    house.runs(&upload(2, 6));
}

#[test]
fn an_upload_that_would_not_wait_at_all_gets_the_idle_slot() {
    let mut house = House::new(rules(8, 1));
    let at_once = |caller| upload(caller, 3).prefer_wait(Span::ZERO);
    house.runs(&at_once(1));
    assert!(matches!(house.refused(&at_once(2)), Refusal::WaitTooLong { .. }));
}

/// Concurrency is asked before slots: an idle slot is no way around it.
#[test]
fn an_idle_slot_lifts_no_concurrency() {
    let mut house = House::new(rules(0, 2).edit_tier("p0", |tier| tier.concurrency(1)));
    house.runs(&upload(1, 0));
    assert_eq!(house.refused(&upload(1, 0)).reason(), Reason::ConcurrencyExceeded);
}
