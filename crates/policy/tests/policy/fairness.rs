//! Who is served when: strict priority, turns within one, and the lifeline (rules §3.5–7).

use tiergate_policy::rules::{Rules, Within};
use tiergate_policy::time::Span;
use tiergate_policy::{Grant, JobId};

use super::house::{House, ask, rules};
use super::rules::RulesBuilder;

fn within(order: Within) -> RulesBuilder {
    rules(64, 1).within_tier(order)
}

fn lifeline(every: Option<u32>) -> RulesBuilder {
    rules(64, 1).lifeline(every)
}

/// One job after the other: the order in which all who wait are served.
fn served(house: &mut House, running: JobId) -> Vec<JobId> {
    let mut order = Vec::new();
    let mut on_the_way = running;
    while let Some(grant) = house.succeeds(on_the_way) {
        order.push(grant.job);
        on_the_way = grant.job;
    }
    order
}

#[test]
fn the_highest_priority_first_and_then_first_come_first_served() {
    let (mut house, running) = House::busy(within(Within::Fifo));
    let jobs: Vec<JobId> = [0, 5, 0, 6, 5]
        .into_iter()
        .zip(1..)
        .map(|(priority, number)| house.sits(&ask(number, priority)))
        .collect();
    assert_eq!(
        served(&mut house, running[0]),
        [jobs[3], jobs[1], jobs[4], jobs[0], jobs[2]]
    );
}

/// One that sends four at once and two that send one each.
fn four_and_one_and_one(house: &mut House) -> Vec<JobId> {
    [1, 1, 1, 1, 2, 3].map(|number| house.sits(&ask(number, 0))).to_vec()
}

#[test]
fn in_fifo_four_at_once_take_four_places_in_a_row() {
    let (mut house, running) = House::busy(within(Within::Fifo));
    let jobs = four_and_one_and_one(&mut house);
    assert_eq!(served(&mut house, running[0]), jobs);
}

#[test]
fn in_fair_callers_take_turns() {
    let (mut house, running) = House::busy(within(Within::Fair));
    let jobs = four_and_one_and_one(&mut house);
    let in_turn = [jobs[0], jobs[4], jobs[5], jobs[1], jobs[2], jobs[3]];
    assert_eq!(served(&mut house, running[0]), in_turn);
}

/// Who has just been served stands at the end, also if it has nobody left in line and comes again.
#[test]
fn in_fair_coming_again_is_no_way_to_a_second_turn() {
    let (mut house, running) = House::busy(within(Within::Fair));
    let (a1, b1, b2, c1) = (
        house.sits(&ask(1, 0)),
        house.sits(&ask(2, 0)),
        house.sits(&ask(2, 0)),
        house.sits(&ask(3, 0)),
    );
    assert_eq!(house.succeeds(running[0]).unwrap().job, a1);
    let a2 = house.sits(&ask(1, 0));
    assert_eq!(served(&mut house, a1), [b1, c1, a2, b2]);
}

/// Turns are taken within one priority only: a higher one still goes first.
#[test]
fn in_fair_priority_still_goes_first() {
    let (mut house, running) = House::busy(within(Within::Fair));
    let low = house.sits(&ask(1, 0));
    let high = [house.sits(&ask(2, 6)), house.sits(&ask(2, 6))];
    assert_eq!(served(&mut house, running[0]), [high[0], high[1], low]);
}

/// Rules that change while people wait cost nobody the seat, and the order of arrival holds under the new ones.
#[test]
fn a_reload_turns_a_line_into_turns_and_back() {
    let (mut house, running) = House::busy(within(Within::Fifo));
    let jobs = four_and_one_and_one(&mut house);
    assert_eq!(house.reload(within(Within::Fair)), []);
    assert_eq!(house.succeeds(running[0]).unwrap().job, jobs[0]);
    assert_eq!(house.succeeds(jobs[0]).unwrap().job, jobs[4]);
    assert_eq!(house.reload(within(Within::Fifo)), []);
    assert_eq!(served(&mut house, jobs[4]), [jobs[1], jobs[2], jobs[3], jobs[5]]);
}

/// Serves `slots` jobs while somebody of priority 6 is always there to take the next one, and counts those that
/// went to the lowly who have waited since the beginning.
fn flood(rules: impl Into<Rules>, lowly: u64, slots: u32) -> Vec<Grant> {
    let (mut house, running) = House::busy(rules);
    for number in 0..lowly {
        house.sits(&ask(number, 0));
    }
    let mut on_the_way = running[0];
    let mut to_the_lowly = Vec::new();
    for round in 0..slots {
        house.pass(Span::from_secs(1));
        house.sits(&ask(10_000 + u64::from(round), 6));
        let grant = house.succeeds(on_the_way).expect("somebody waits");
        if grant.priority.get() == 0 {
            to_the_lowly.push(grant);
        }
        on_the_way = grant.job;
    }
    to_the_lowly
}

#[test]
fn without_a_lifeline_priority_0_starves() {
    assert_eq!(flood(lifeline(None), 4, 50), []);
}

/// Every Nth slot, exactly: the Nth, the 2Nth and so on, oldest first.
#[test]
fn every_nth_slot_goes_to_the_longest_waiting() {
    for every in [2, 3, 10] {
        let grants = flood(lifeline(Some(every)), 4, every * 4);
        let waited: Vec<Span> = grants.iter().map(|grant| grant.waited).collect();
        let expected: Vec<Span> = (1..=4).map(|nth| Span::from_secs(u64::from(every * nth))).collect();
        assert_eq!(waited, expected, "a lifeline of {every}");
        let jobs: Vec<usize> = grants.iter().map(|grant| grant.job.index()).collect();
        assert!(jobs.is_sorted(), "oldest first: {jobs:?}");
    }
}

/// Straight to a worker is not out of the queue: what never waited doesn't count for the lifeline.
#[test]
fn only_slots_handed_to_the_waiting_count_for_the_lifeline() {
    let mut house = House::new(lifeline(Some(2)));
    for _ in 0..7 {
        let job = house.runs(&ask(1, 6)).job;
        house.succeeds(job);
    }
    let running = house.runs(&ask(1, 6)).job;
    let low = house.sits(&ask(2, 0));
    let high = house.sits(&ask(3, 6));
    assert_eq!(served(&mut house, running), [high, low]);
}

/// The lifeline is a share of service, not a seat: it doesn't protect from being displaced.
#[test]
fn the_lifeline_does_not_protect_from_displacement() {
    let (mut house, _) = House::busy(lifeline(Some(2)).queue(1));
    let low = house.sits(&ask(1, 0));
    assert_eq!(house.displaces(&ask(2, 6)).1, low);
}

/// A server that comes back serves all who wait, as far as its slots go, in the order of service.
#[test]
fn a_server_that_returns_is_not_idle() {
    let mut house = House::new(rules(64, 1).slots("search", &[1, 2]));
    house
        .policy
        .server_down(super::house::POOL, tiergate_policy::rules::ServerId(1));
    house.runs(&ask(1, 0));
    let jobs: Vec<JobId> = (2..5).map(|number| house.sits(&ask(number, 0))).collect();
    let grants = house
        .policy
        .server_up(super::house::POOL, tiergate_policy::rules::ServerId(1), house.now);
    let got: Vec<JobId> = grants.iter().map(|grant| grant.job).collect();
    assert_eq!(got, jobs[..2]);
}
