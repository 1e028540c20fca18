//! Which job is displaced, and how often a caller may displace one (rules §3.2, §3.4).

use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::rules::{Priority, UpstreamId};
use tiergate_policy::time::Span;

use super::harness::{Harness, ask, caller, rules};
use super::request::{AdmissionRequest, RequestExt};
use super::rules::RulesBuilder;

/// `rules` in which priority 6 may displace so often a minute.
fn may_displace(times: u32, rules: RulesBuilder) -> RulesBuilder {
    rules.edit_tier("p6", |tier| tier.displacements(times))
}

#[test]
fn the_newest_job_of_the_lowest_priority_is_displaced() {
    let (mut harness, running) = Harness::busy(rules(4, 1));
    let _higher = harness.queues(&ask(1, 5));
    let _older = harness.queues(&ask(2, 0));
    let newer = harness.queues(&ask(3, 0));
    let _between = harness.queues(&ask(4, 2));

    let (newcomer, displaced, refusal) = match harness.queued(&ask(5, 6)) {
        (job, _, Some(displaced)) => (job, displaced.job, displaced.refusal),
        other => panic!("the queue was full: {other:?}"),
    };
    assert_eq!(displaced, newer);
    assert!(matches!(
        refusal,
        Refusal::Displaced {
            by: Priority::HIGHEST,
            ..
        }
    ));
    assert_eq!(harness.policy.waiting(), &[1, 0, 1, 0, 0, 1, 1]);
    assert_eq!(harness.succeeds(running[0]).unwrap().job, newcomer);
}

/// The displaced job has ended: its caller may retry at once, and the job is never served.
#[test]
fn a_displaced_job_releases_everything() {
    let alone = rules(1, 1).edit_tier("p0", |tier| tier.concurrency(1));
    let (mut harness, running) = Harness::busy(alone);
    let lost = harness.queues(&ask(1, 0));
    let (newcomer, displaced) = harness.displaces(&ask(2, 6));
    assert_eq!(displaced, lost);
    assert_eq!(harness.policy.jobs_of(&caller(1)), 0);
    assert_eq!(
        harness.refused(&ask(1, 0)).reason(),
        Reason::QueueFull,
        "not for its concurrency"
    );
    assert!(!harness.policy.hang_up(lost), "it has ended");
    assert_eq!(harness.succeeds(running[0]).unwrap().job, newcomer);
    assert_eq!(harness.succeeds(newcomer), None);
    assert_eq!((harness.policy.in_flight(), harness.policy.callers()), (0, 0));
}

#[test]
fn equals_and_running_jobs_are_never_displaced() {
    let (mut harness, running) = Harness::busy(rules(1, 1));
    harness.queues(&ask(1, 3));
    let refusal = harness.refused(&ask(2, 3));
    assert!(
        matches!(refusal, Refusal::QueueFull { capacity: 1, admits_from: Some(from), .. } if from.get() == 4),
        "{refusal:?}"
    );

    let (mut without_queue, also_running) = Harness::busy(rules(0, 1));
    let refusal = without_queue.refused(&ask(1, 6));
    assert!(
        matches!(refusal, Refusal::QueueFull { admits_from: None, .. }),
        "{refusal:?}"
    );
    assert!(harness.policy.job(running[0]).is_some() && without_queue.policy.job(also_running[0]).is_some());
}

/// In `fair` the last to be served belongs to the caller with most jobs in line, not to the one that came last.
#[test]
fn fair_displaces_from_the_caller_with_most_jobs() {
    let (mut harness, _) = Harness::busy(rules(4, 1).fair());
    let _first_of_1 = harness.queues(&ask(1, 0));
    let _second_of_1 = harness.queues(&ask(1, 0));
    let third_of_1 = harness.queues(&ask(1, 0));
    let only_of_2 = harness.queues(&ask(2, 0));
    assert_eq!(harness.displaces(&ask(10, 6)).1, third_of_1, "served 1, 2, 1, 1");
    assert_ne!(harness.displaces(&ask(11, 6)).1, only_of_2, "served 1, 2, 1");
    assert_eq!(harness.displaces(&ask(12, 6)).1, only_of_2, "served 1, 2");
}

/// All pools share the queue: the newest job of the lowest priority is displaced, whichever pool it waits for.
#[test]
fn pools_share_the_queue() {
    let two = rules(2, 1).upstream("other", &[1]);
    let (mut harness, _) = Harness::busy(two);
    let other = |ask: AdmissionRequest| ask.to(UpstreamId(1));
    harness.runs(&other(ask(9, 6)));
    let older = harness.queues(&ask(1, 0));
    let newer = harness.queues(&other(ask(2, 0)));
    assert_eq!(harness.displaces(&ask(3, 6)).1, newer);
    assert_eq!(harness.displaces(&other(ask(4, 6))).1, older);
}

#[test]
fn a_caller_displaces_up_to_its_limit_per_minute() {
    let (mut harness, _) = Harness::busy(may_displace(3, rules(8, 1)));
    for number in 0..8 {
        harness.queues(&ask(number, 0));
    }
    for _ in 0..3 {
        harness.displaces(&ask(100, 6));
    }
    assert_eq!(harness.refused(&ask(100, 6)).reason(), Reason::QueueFull);
    harness.displaces(&ask(101, 6)); // another may still
    assert_eq!(harness.policy.stats().displaced, 4);
}

/// Exact: not in any 60 s, wherever they begin, and not a nanosecond longer than that.
#[test]
fn the_displacement_limit_holds_for_exactly_a_minute() {
    let (mut harness, _) = Harness::busy(may_displace(2, rules(8, 1)));
    for number in 0..8 {
        harness.queues(&ask(number, 0));
    }
    harness.displaces(&ask(100, 6)); // at 0 s
    harness.pass(Span::from_secs(40));
    harness.displaces(&ask(100, 6)); // at 40 s
    harness.pass(Span::from_nanos(19_999_999_999));
    assert_eq!(
        harness.refused(&ask(100, 6)).reason(),
        Reason::QueueFull,
        "a nanosecond too early"
    );
    harness.pass(Span::from_nanos(1));
    harness.displaces(&ask(100, 6)); // at 60 s, in place of the first
    harness.pass(Span::from_nanos(39_999_999_999));
    assert_eq!(
        harness.refused(&ask(100, 6)).reason(),
        Reason::QueueFull,
        "those at 40 s and 60 s count"
    );
    harness.pass(Span::from_nanos(1));
    harness.displaces(&ask(100, 6)); // at 100 s, in place of the second
}

/// The attack of §3.4: one account of the highest tier enters, displaces a job, and hangs up, again and again, at no
/// cost to itself. It displaces as many jobs a minute as it may; all others stay queued.
#[test]
fn hanging_up_does_not_lift_the_displacement_limit() {
    let (mut harness, _) = Harness::busy(may_displace(10, rules(64, 1)));
    let newcomers = |harness: &mut Harness, from: u64| {
        let free = 64 - harness.policy.waiting().iter().sum::<u32>();
        for number in 0..u64::from(free) {
            harness.queues(&ask(from + number, 0));
        }
    };
    newcomers(&mut harness, 0);
    for minute in 1..=5_u64 {
        for round in 0..600 {
            if let Ok(admission) = harness.enter(&ask(5_000, 6)) {
                let tiergate_policy::Admission::Queued { job, .. } = admission else {
                    panic!("no slot is free: {admission:?}")
                };
                assert!(harness.policy.hang_up(job));
            }
            newcomers(&mut harness, minute * 100_000 + round * 100); // the place isn't free for long
            harness.pass(Span::from_millis(100));
        }
        assert_eq!(harness.policy.stats().displaced, minute * 10);
    }
}

/// The log is bounded: it holds the displacements of the last minute only.
#[test]
fn displacements_are_forgotten_after_their_minute() {
    let (mut harness, _) = Harness::busy(may_displace(1, rules(1, 1)));
    for round in 0..100 {
        let low = harness.queues(&ask(1, 0));
        let (high, displaced) = harness.displaces(&ask(100, 6));
        assert_eq!(displaced, low, "round {round}");
        harness.policy.hang_up(high);
        harness.pass(Span::from_secs(60));
    }
}

#[test]
fn a_tier_that_may_not_displace_is_refused() {
    let (mut harness, _) = Harness::busy(may_displace(0, rules(1, 1)));
    harness.queues(&ask(1, 0));
    assert_eq!(harness.refused(&ask(2, 6)).reason(), Reason::QueueFull);
    harness.displaces(&ask(3, 5));
}
