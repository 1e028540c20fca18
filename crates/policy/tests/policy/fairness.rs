//! The order of service: strict priority, turns within one, and the lifeline (rules §3.5–7).

use tiergate_policy::rules::{Rules, Within};
use tiergate_policy::time::Span;
use tiergate_policy::{Grant, JobId};

use super::harness::{Harness, ask, rules};
use super::rules::RulesBuilder;

fn within(order: Within) -> RulesBuilder {
    rules(64, 1).within_tier(order)
}

fn lifeline(every: Option<u32>) -> RulesBuilder {
    rules(64, 1).lifeline(every)
}

/// The order in which all queued jobs are served.
fn served(harness: &mut Harness, running: JobId) -> Vec<JobId> {
    let mut order = Vec::new();
    let mut on_the_way = running;
    while let Some(grant) = harness.succeeds(on_the_way) {
        order.push(grant.job);
        on_the_way = grant.job;
    }
    order
}

#[test]
fn the_highest_priority_first_and_then_first_come_first_served() {
    let (mut harness, running) = Harness::busy(within(Within::Fifo));
    let jobs: Vec<JobId> = [0, 5, 0, 6, 5]
        .into_iter()
        .zip(1..)
        .map(|(priority, number)| harness.queues(&ask(number, priority)))
        .collect();
    assert_eq!(
        served(&mut harness, running[0]),
        [jobs[3], jobs[1], jobs[4], jobs[0], jobs[2]]
    );
}

/// One caller sends four jobs at once, two others send one each.
fn four_and_one_and_one(harness: &mut Harness) -> Vec<JobId> {
    [1, 1, 1, 1, 2, 3]
        .map(|number| harness.queues(&ask(number, 0)))
        .to_vec()
}

#[test]
fn fifo_serves_four_at_once_in_a_row() {
    let (mut harness, running) = Harness::busy(within(Within::Fifo));
    let jobs = four_and_one_and_one(&mut harness);
    assert_eq!(served(&mut harness, running[0]), jobs);
}

#[test]
fn fair_callers_take_turns() {
    let (mut harness, running) = Harness::busy(within(Within::Fair));
    let jobs = four_and_one_and_one(&mut harness);
    let in_turn = [jobs[0], jobs[4], jobs[5], jobs[1], jobs[2], jobs[3]];
    assert_eq!(served(&mut harness, running[0]), in_turn);
}

/// A caller that has just been served goes to the end of the ring, even if it has no other job in line and sends another.
#[test]
fn fair_gives_no_second_turn_for_coming_again() {
    let (mut harness, running) = Harness::busy(within(Within::Fair));
    let (a1, b1, b2, c1) = (
        harness.queues(&ask(1, 0)),
        harness.queues(&ask(2, 0)),
        harness.queues(&ask(2, 0)),
        harness.queues(&ask(3, 0)),
    );
    assert_eq!(harness.succeeds(running[0]).unwrap().job, a1);
    let a2 = harness.queues(&ask(1, 0));
    assert_eq!(served(&mut harness, a1), [b1, c1, a2, b2]);
}

/// Turns are taken within one priority only: a higher one still goes first.
#[test]
fn fair_serves_higher_priorities_first() {
    let (mut harness, running) = Harness::busy(within(Within::Fair));
    let low = harness.queues(&ask(1, 0));
    let high = [harness.queues(&ask(2, 6)), harness.queues(&ask(2, 6))];
    assert_eq!(served(&mut harness, running[0]), [high[0], high[1], low]);
}

/// A change of rules removes no job from the queue, and the order of arrival holds under the new ones.
#[test]
fn a_reload_switches_between_fifo_and_fair() {
    let (mut harness, running) = Harness::busy(within(Within::Fifo));
    let jobs = four_and_one_and_one(&mut harness);
    assert_eq!(harness.reload(within(Within::Fair)), []);
    assert_eq!(harness.succeeds(running[0]).unwrap().job, jobs[0]);
    assert_eq!(harness.succeeds(jobs[0]).unwrap().job, jobs[4]);
    assert_eq!(harness.reload(within(Within::Fifo)), []);
    assert_eq!(served(&mut harness, jobs[4]), [jobs[1], jobs[2], jobs[3], jobs[5]]);
}

/// Serves `slots` jobs while a job of priority 6 is always queued, and returns the grants of the jobs of priority 0 that have
/// been queued since the beginning.
fn flood(rules: impl Into<Rules>, low: u64, slots: u32) -> Vec<Grant> {
    let (mut harness, running) = Harness::busy(rules);
    for number in 0..low {
        harness.queues(&ask(number, 0));
    }
    let mut on_the_way = running[0];
    let mut to_the_lowest = Vec::new();
    for round in 0..slots {
        harness.pass(Span::from_secs(1));
        harness.queues(&ask(10_000 + u64::from(round), 6));
        let grant = harness.succeeds(on_the_way).expect("a job is queued");
        if grant.priority.get() == 0 {
            to_the_lowest.push(grant);
        }
        on_the_way = grant.job;
    }
    to_the_lowest
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

/// A job that gets a slot at once was never queued, so it doesn't count for the lifeline.
#[test]
fn only_slots_granted_to_queued_jobs_count_for_the_lifeline() {
    let mut harness = Harness::new(lifeline(Some(2)));
    for _ in 0..7 {
        let job = harness.runs(&ask(1, 6)).job;
        harness.succeeds(job);
    }
    let running = harness.runs(&ask(1, 6)).job;
    let low = harness.queues(&ask(2, 0));
    let high = harness.queues(&ask(3, 6));
    assert_eq!(served(&mut harness, running), [high, low]);
}

/// The lifeline is a share of slots, not a queue place: it doesn't protect from displacement.
#[test]
fn the_lifeline_does_not_protect_from_displacement() {
    let (mut harness, _) = Harness::busy(lifeline(Some(2)).queue(1));
    let low = harness.queues(&ask(1, 0));
    assert_eq!(harness.displaces(&ask(2, 6)).1, low);
}

/// A server that comes back serves queued jobs in the order of service, as many as it has slots.
#[test]
fn a_recovered_server_serves_queued_jobs() {
    let mut harness = Harness::new(rules(64, 1).slots("search", &[1, 2]));
    harness
        .policy
        .server_down(super::harness::POOL, tiergate_policy::rules::ServerId(1));
    harness.runs(&ask(1, 0));
    let jobs: Vec<JobId> = (2..5).map(|number| harness.queues(&ask(number, 0))).collect();
    let grants = harness
        .policy
        .server_up(super::harness::POOL, tiergate_policy::rules::ServerId(1), harness.now);
    let got: Vec<JobId> = grants.iter().map(|grant| grant.job).collect();
    assert_eq!(got, jobs[..2]);
}
