//! What quotas promise, checked without the policy's buckets where possible (rules §5.2, §5.4, §9.4): nothing expires early,
//! or more than one bucket late; no window of its length ever holds more than the limit; and no caller is refused for longer
//! than it was told.

use proptest::collection::vec;
use proptest::prelude::*;
use tiergate_policy::Outcome;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, Window, WindowId};
use tiergate_policy::time::{Span, UnixTime};

use super::debits::{Debits, width};
use super::harness::{Harness, ask, caller, rules};
use super::request::{AdmissionRequest, RequestExt};
use super::rules::{RulesBuilder, calendar};
use super::seeded::runner;

const OPENED: UnixTime = UnixTime::from_secs(1_780_000_000);
const WINDOW: WindowId = WindowId(0);
const MS: Span = Span::from_millis(1);

fn limited(window: Window, limit: u64) -> RulesBuilder {
    rules(0, 1_000).edit_tier("p0", |tier| tier.quota("daily", limit, window))
}

fn opened(rules: impl Into<Rules>) -> Harness {
    let mut harness = Harness::new(rules);
    harness.set_clock(OPENED);
    harness
}

// ---- every short history

/// Three buckets of a second, and the one that is leaving.
const LENGTH: Span = Span::from_secs(3);
const LIMIT: u64 = 2;
const STEPS: u32 = 6;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Succeed,
    Fail,
    Bucket,
    /// To when something comes back, or a millisecond before or after.
    Edge(i64),
}

const DEEDS: [Deed; 6] = [
    Deed::Succeed,
    Deed::Fail,
    Deed::Bucket,
    Deed::Edge(-1),
    Deed::Edge(0),
    Deed::Edge(1),
];

#[test]
fn every_short_history_of_a_small_window() {
    let mut harness = opened(limited(Window::Rolling(LENGTH), LIMIT));
    let mut number = 0;
    for phase in [0, 1, 500, 999] {
        for history in 0..DEEDS.len().pow(STEPS) {
            // Each history has a caller of its own, and begins at a second and the phase.
            let second = harness.policy.wall_clock(harness.now).as_millis() % 1_000;
            harness.pass(Span::from_millis(1_000 - second + phase));
            number += 1;
            let deeds = (0..STEPS).map(|step| DEEDS[history / DEEDS.len().pow(step) % DEEDS.len()]);
            short_history(&mut harness, number, &deeds.collect::<Vec<_>>());
            harness.policy.sweep(harness.now);
        }
    }
}

fn short_history(harness: &mut Harness, number: u64, deeds: &[Deed]) {
    let (caller, ask) = (caller(number), ask(number, 0));
    let mut debits: Vec<UnixTime> = Vec::new();
    let mut model = Debits::new(&tiergate_policy::Table::numbered([Window::Rolling(LENGTH)]));
    for deed in deeds {
        let wall = harness.policy.wall_clock(harness.now);
        match deed {
            Deed::Succeed | Deed::Fail => {
                let entered = harness.enter(&ask).map(|_| ());
                let used = model.used(WINDOW, caller, wall);
                assert_eq!(entered.is_ok(), used < LIMIT, "{deeds:?}, {debits:?}, {wall:?}");
                assert_promised(&debits, wall, entered.is_ok(), LENGTH, LIMIT);
                if let Err(refusal) = entered {
                    let back = model.back(WINDOW, caller, 1, wall).unwrap();
                    assert_eq!(refusal.retry_after(), Some(back.since(wall)), "{deeds:?}");
                    continue;
                }
                let job = harness.policy.jobs().map(|(id, _)| id).next().expect("it was admitted");
                if let Deed::Succeed = deed {
                    harness.succeeds(job);
                    model.debit(caller, wall, 1);
                    debits.push(wall);
                } else {
                    harness.policy.end(job, Outcome::Failed, harness.now);
                }
            }
            Deed::Bucket => harness.pass(Span::from_secs(1)),
            Deed::Edge(by) => {
                if let Some(edge) = harness.policy.usage(WINDOW, &caller, harness.now).next_free {
                    let at = UnixTime::from_millis(edge.as_millis().saturating_add_signed(*by));
                    harness.pass(at.since(wall));
                }
            }
        }
    }
}

/// Each debit is of one unit, and so is what was asked now.
fn assert_promised(debits: &[UnixTime], now: UnixTime, admitted: bool, length: Span, limit: u64) {
    let since = |length: Span| debits.iter().filter(|at| now.since(**at) <= length).count() as u64;
    if admitted {
        assert!(
            since(length) < limit,
            "more than the limit within {length}: {debits:?}, {now:?}"
        );
    } else {
        let late = length + Span::from_millis(width(length));
        assert!(since(late) >= limit, "more than a bucket late: {debits:?}, {now:?}");
    }
}

// ---- random histories of a single caller

#[derive(Clone, Debug)]
struct Visit {
    /// Thousandths of the window that pass before it.
    after: u32,
    cost: u32,
    succeeds: bool,
    probe: Probe,
}

/// What is tried out, by waiting for it.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Nothing,
    RetryAfter,
    NextFree,
    NextReset,
}

#[test]
fn refusals_end_at_the_moment_they_name() {
    let probe = prop_oneof![
        4 => Just(Probe::Nothing),
        2 => Just(Probe::RetryAfter),
        1 => Just(Probe::NextFree),
        1 => Just(Probe::NextReset),
    ];
    let visit = (0..300_u32, 0..=3_u32, any::<bool>(), probe).prop_map(|(after, cost, succeeds, probe)| Visit {
        after: after.pow(2) / 300,
        cost,
        succeeds,
        probe,
    });
    let (mut runner, seed, _) = runner(400);
    let history = (prop::sample::select(windows()), 3..=8_u64, vec(visit, 20..60));
    let result = runner.run(&history, |((window, length), limit, visits)| {
        let mut harness = opened(limited(window.clone(), limit));
        let mut units: Vec<UnixTime> = Vec::new();
        for visit in &visits {
            let after = u128::from(length.as_nanos()) * u128::from(visit.after) / 1_000;
            harness.pass(Span::from_nanos(u64::try_from(after).unwrap()));
            visited(&mut harness, visit, &window, limit, &mut units);
        }
        let held = harness.policy.usage(WINDOW, &caller(1), harness.now).held;
        assert_eq!(held, 0, "§9.5");
        Ok(())
    });
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
}

fn visited(harness: &mut Harness, visit: &Visit, window: &Window, limit: u64, units: &mut Vec<UnixTime>) {
    let ask = ask(1, 0).cost(visit.cost);
    match harness.enter(&ask) {
        Ok(_) => {
            let (job, wall) = harness
                .policy
                .jobs()
                .map(|(id, job)| (id, job.admitted))
                .next()
                .unwrap();
            let outcome = if visit.succeeds {
                Outcome::Succeeded
            } else {
                Outcome::Failed
            };
            harness.policy.end(job, outcome, harness.now);
            if visit.succeeds {
                units.extend((0..visit.cost).map(|_| wall));
            }
            if let Window::Rolling(length) = window {
                let within = units.iter().filter(|at| wall.since(**at) <= *length).count() as u64;
                assert!(within <= limit, "{within} units within {length}");
            }
        }
        Err(refusal) => {
            if let Window::Rolling(length) = window {
                let (wall, late) = (harness.policy.wall_clock(harness.now), width(*length));
                let within = |at: &&UnixTime| wall.since(**at) <= *length + Span::from_millis(late);
                let within = units.iter().filter(within).count() as u64;
                assert!(within + u64::from(visit.cost) > limit, "more than a bucket late");
            }
            if let Probe::RetryAfter = visit.probe {
                try_again(harness, &ask, &refusal);
            }
        }
    }
    let usage = harness.policy.usage(WINDOW, &caller(1), harness.now);
    match visit.probe {
        Probe::NextFree => comes_back(
            harness,
            usage.next_free.filter(|_| usage.used > 0),
            usage.used,
            usage.used.saturating_sub(1),
        ),
        Probe::NextReset => comes_back(harness, usage.next_reset.filter(|_| usage.used > 0), usage.used, 0),
        Probe::Nothing | Probe::RetryAfter => {}
    }
}

/// A millisecond before the time that was told it is refused again; at that time it passes.
fn try_again(harness: &mut Harness, ask: &AdmissionRequest, refusal: &Refusal) {
    let Some(retry_after) = refusal.retry_after() else {
        panic!("nothing is held, and it costs less than the limit: {refusal:?}")
    };
    harness.pass(retry_after.minus_a_millisecond());
    assert_eq!(harness.refused(ask).retry_after(), Some(MS));
    harness.pass(MS);
    let job = harness.runs(ask).job;
    harness.policy.end(job, Outcome::Failed, harness.now);
}

/// Something of what was used comes back at that time and not before; then no more than that is left.
fn comes_back(harness: &mut Harness, at: Option<UnixTime>, used: u64, left_at_most: u64) {
    let Some(at) = at else { return };
    let wall = harness.policy.wall_clock(harness.now);
    harness.pass(at.since(wall).minus_a_millisecond());
    let before = harness.policy.usage(WINDOW, &caller(1), harness.now).used;
    assert!(before > left_at_most && before <= used, "{before} of {used}");
    harness.pass(MS);
    assert!(harness.policy.usage(WINDOW, &caller(1), harness.now).used <= left_at_most);
}

trait MinusAMillisecond {
    fn minus_a_millisecond(self) -> Self;
}

impl MinusAMillisecond for Span {
    fn minus_a_millisecond(self) -> Self {
        Span::from_nanos(self.as_nanos() - MS.as_nanos())
    }
}

/// Windows, each with a length that tells how long visits are apart.
fn windows() -> Vec<(Window, Span)> {
    let rolling = [
        Span::from_secs(1),
        Span::from_secs(3),
        Span::from_millis(59_999),
        Span::from_secs(3_600),
        Span::from_millis(7_200_777),
        Span::from_secs(86_400),
        Span::from_secs(30 * 86_400),
    ];
    let mut windows: Vec<(Window, Span)> = rolling.map(|length| (Window::Rolling(length), length)).into();
    // Days of 23 and of 25 hours in turn, for longer than any history.
    let start = |day: u64| OPENED + Span::from_secs(day * 86_400 + day % 2 * 3_600);
    windows.push((calendar("days", (0..400).map(start)), Span::from_secs(86_400)));
    windows
}
