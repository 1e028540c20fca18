//! Who must make room, and how often a caller may demand it (rules §3.2, §3.4).

use tiergate_policy::JobId;
use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::rules::{Priority, UpstreamId};
use tiergate_policy::time::Span;

use super::house::{House, ask, caller, rules};
use super::request::{AdmissionRequest, RequestExt};
use super::rules::RulesBuilder;

/// `rules` in which priority 6 may displace so often a minute.
fn may_displace(times: u32, rules: RulesBuilder) -> RulesBuilder {
    rules.edit_tier("p6", |tier| tier.displacements(times))
}

#[test]
fn the_newest_of_the_lowest_priority_makes_room() {
    let (mut house, running) = House::busy(rules(4, 1));
    let _higher = house.sits(&ask(1, 5));
    let _older = house.sits(&ask(2, 0));
    let newer = house.sits(&ask(3, 0));
    let _between = house.sits(&ask(4, 2));

    let (newcomer, displaced, refusal) = match house.seated(&ask(5, 6)) {
        (job, _, Some(displaced)) => (job, displaced.job, displaced.refusal),
        other => panic!("all seats were taken: {other:?}"),
    };
    assert_eq!(displaced, newer);
    assert!(matches!(
        refusal,
        Refusal::Displaced {
            by: Priority::HIGHEST,
            ..
        }
    ));
    assert_eq!(house.policy.waiting(), &[1, 0, 1, 0, 0, 1, 1]);
    assert_eq!(house.succeeds(running[0]).unwrap().job, newcomer);
}

/// The job that made room is out of the house: its caller may come again at once, and it is never served.
#[test]
fn who_makes_room_gives_everything_back() {
    let alone = rules(1, 1).edit_tier("p0", |tier| tier.concurrency(1));
    let (mut house, running) = House::busy(alone);
    let lost = house.sits(&ask(1, 0));
    let (newcomer, displaced) = house.displaces(&ask(2, 6));
    assert_eq!(displaced, lost);
    assert_eq!(house.policy.jobs_of(&caller(1)), 0);
    assert_eq!(
        house.refused(&ask(1, 0)).reason(),
        Reason::QueueFull,
        "not for its concurrency"
    );
    assert!(!house.policy.hang_up(lost), "it has ended");
    assert_eq!(house.policy.ask_slot(lost, house.now), None);
    assert_eq!(house.succeeds(running[0]).unwrap().job, newcomer);
    assert_eq!(house.succeeds(newcomer), None);
    assert_eq!((house.policy.in_flight(), house.policy.callers()), (0, 0));
}

#[test]
fn equals_and_running_jobs_are_never_displaced() {
    let (mut house, running) = House::busy(rules(1, 1));
    house.sits(&ask(1, 3));
    let refusal = house.refused(&ask(2, 3));
    assert!(
        matches!(refusal, Refusal::QueueFull { seats: 1, admits_from: Some(from), .. } if from.get() == 4),
        "{refusal:?}"
    );

    let (mut no_seats, also_running) = House::busy(rules(0, 1));
    let refusal = no_seats.refused(&ask(1, 6));
    assert!(
        matches!(refusal, Refusal::QueueFull { admits_from: None, .. }),
        "{refusal:?}"
    );
    assert!(house.policy.job(running[0]).is_some() && no_seats.policy.job(also_running[0]).is_some());
}

/// Who hasn't even asked for a slot would be served last of all, so is displaced first: the newest of them.
#[test]
fn of_one_priority_those_who_still_upload_make_room_first() {
    let (mut house, _) = House::busy(rules(4, 1));
    let first_upload = house.sits(&ask(1, 0).uploading());
    let second_upload = house.sits(&ask(2, 0).uploading());
    let asked = house.sits(&ask(3, 0));
    let asked_last = house.sits(&ask(4, 0));
    let gone: Vec<JobId> = (10..14).map(|number| house.displaces(&ask(number, 6)).1).collect();
    assert_eq!(gone, [second_upload, first_upload, asked_last, asked]);
}

/// By when they asked, not by when they came: an upload that was slow stands behind those who asked before it.
#[test]
fn an_upload_takes_its_place_in_line_when_it_asks() {
    let (mut house, running) = House::busy(rules(4, 1));
    let slow = house.sits(&ask(1, 0).uploading());
    let quick = house.sits(&ask(2, 0));
    assert_eq!(house.policy.ask_slot(slow, house.now), None);
    assert_eq!(
        house.policy.ask_slot(slow, house.now),
        None,
        "asking again changes nothing"
    );
    assert_eq!(house.policy.waiting()[0], 2);
    assert_eq!(house.succeeds(running[0]).unwrap().job, quick);
    assert_eq!(house.succeeds(quick).unwrap().job, slow);
}

/// In `fair` the last to be served is of whoever has most in line, not whoever came last.
#[test]
fn in_fair_the_one_with_the_most_jobs_makes_room() {
    let (mut house, _) = House::busy(rules(4, 1).fair());
    let _first_of_1 = house.sits(&ask(1, 0));
    let _second_of_1 = house.sits(&ask(1, 0));
    let third_of_1 = house.sits(&ask(1, 0));
    let only_of_2 = house.sits(&ask(2, 0));
    assert_eq!(house.displaces(&ask(10, 6)).1, third_of_1, "served 1, 2, 1, 1");
    assert_ne!(house.displaces(&ask(11, 6)).1, only_of_2, "served 1, 2, 1");
    assert_eq!(house.displaces(&ask(12, 6)).1, only_of_2, "served 1, 2");
}

/// Seats are shared by all pools: whoever of the lowest priority came last makes room, whatever it waits for.
#[test]
fn seats_are_shared_by_the_pools() {
    let two = rules(2, 1).upstream("other", &[1]);
    let (mut house, _) = House::busy(two);
    let other = |ask: AdmissionRequest| ask.to(UpstreamId(1));
    house.runs(&other(ask(9, 6)));
    let older = house.sits(&ask(1, 0));
    let newer = house.sits(&other(ask(2, 0)));
    assert_eq!(house.displaces(&ask(3, 6)).1, newer);
    assert_eq!(house.displaces(&other(ask(4, 6))).1, older);
}

#[test]
fn a_caller_displaces_up_to_its_limit_per_minute() {
    let (mut house, _) = House::busy(may_displace(3, rules(8, 1)));
    for number in 0..8 {
        house.sits(&ask(number, 0));
    }
    for _ in 0..3 {
        house.displaces(&ask(100, 6));
    }
    assert_eq!(house.refused(&ask(100, 6)).reason(), Reason::QueueFull);
    house.displaces(&ask(101, 6)); // another may still
    assert_eq!(house.policy.stats().displaced, 4);
}

/// Exact: not in any 60 s, wherever they begin, and not a nanosecond longer than that.
#[test]
fn the_bound_holds_within_any_minute_and_no_longer() {
    let (mut house, _) = House::busy(may_displace(2, rules(8, 1)));
    for number in 0..8 {
        house.sits(&ask(number, 0));
    }
    house.displaces(&ask(100, 6)); // at 0 s
    house.pass(Span::from_secs(40));
    house.displaces(&ask(100, 6)); // at 40 s
    house.pass(Span::from_nanos(19_999_999_999));
    assert_eq!(
        house.refused(&ask(100, 6)).reason(),
        Reason::QueueFull,
        "a nanosecond too early"
    );
    house.pass(Span::from_nanos(1));
    house.displaces(&ask(100, 6)); // at 60 s, in place of the first
    house.pass(Span::from_nanos(39_999_999_999));
    assert_eq!(
        house.refused(&ask(100, 6)).reason(),
        Reason::QueueFull,
        "those at 40 s and 60 s count"
    );
    house.pass(Span::from_nanos(1));
    house.displaces(&ask(100, 6)); // at 100 s, in place of the second
}

/// The attack of §3.4: one account of the highest tier enters, displaces somebody, and hangs up, again and again, at no
/// cost to itself. It clears as many seats a minute as it may displace; everybody else keeps theirs.
#[test]
fn entering_and_hanging_up_displaces_only_the_allowed() {
    let (mut house, _) = House::busy(may_displace(10, rules(64, 1)));
    let newcomers = |house: &mut House, from: u64| {
        let free = 64 - house.policy.waiting().iter().sum::<u32>();
        for number in 0..u64::from(free) {
            house.sits(&ask(from + number, 0));
        }
    };
    newcomers(&mut house, 0);
    for minute in 1..=5_u64 {
        for round in 0..600 {
            if let Ok(admission) = house.enter(&ask(5_000, 6)) {
                let tiergate_policy::Admission::Seated { job, .. } = admission else {
                    panic!("no slot is free: {admission:?}")
                };
                assert!(house.policy.hang_up(job));
            }
            newcomers(&mut house, minute * 100_000 + round * 100); // the seat isn't free for long
            house.pass(Span::from_millis(100));
        }
        assert_eq!(house.policy.stats().displaced, minute * 10);
    }
}

/// A bound of the door's own memory: the log holds what happened in the last minute, of callers past counting as well.
#[test]
fn displacements_are_forgotten_after_their_minute() {
    let (mut house, _) = House::busy(may_displace(1, rules(1, 1)));
    for round in 0..100 {
        let low = house.sits(&ask(1, 0));
        let (high, displaced) = house.displaces(&ask(100, 6));
        assert_eq!(displaced, low, "round {round}");
        house.policy.hang_up(high);
        house.pass(Span::from_secs(60));
    }
}

#[test]
fn a_tier_that_may_not_displace_is_refused() {
    let (mut house, _) = House::busy(may_displace(0, rules(1, 1)));
    house.sits(&ask(1, 0));
    assert_eq!(house.refused(&ask(2, 6)).reason(), Reason::QueueFull);
    house.displaces(&ask(3, 5));
}
