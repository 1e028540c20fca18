//! Random histories through the request limits and their model, side by side; and what a counter promises, one by one.
//!
//! The numbers are small: a few callers, limits of eight at most, and times that lie on the edges of windows. A failure is
//! shrunk to the shortest history that shows it; `TIERGATE_SEED=n` replays a run, `PROPTEST_CASES=n` makes it longer.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tiergate_policy::limits::{Admitted, Counter, Moment, Shard, Subject, decide};
use tiergate_policy::rules::{Kind, Limit, LimitId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::limits_side_by_side::{ACCOUNTS, NETWORKS, SideBySide, Step, rules};
use super::rules::{LimitExt, block};
use super::seeded::{runner, say};

const HISTORIES: u32 = 1_500;
/// Fewer, and the histories tell nothing of refusals, or of retries.
const REFUSALS_MIN: u64 = 20_000;
const RETURNS_MIN: u64 = 1_000;

#[test]
fn the_limits_decide_as_their_model_does() {
    let (mut runner, seed, asked) = runner(HISTORIES);
    let (steps, refusals, returns) = (Cell::new(0_u64), Cell::new(0_u64), Cell::new(0_u64));
    let result = runner.run(&(generations(), vec(step(), 10..=160)), |(generations, history)| {
        let mut both = SideBySide::new(generations);
        for step in &history {
            both.step(step);
        }
        both.finish();
        let (refused, returned) = both.seen();
        steps.set(steps.get() + history.len() as u64);
        refusals.set(refusals.get() + refused);
        returns.set(returns.get() + returned);
        Ok(())
    });
    let line = format!(
        "limits against model: {} steps, {} refusals, {} came back when told, TIERGATE_SEED={seed}",
        steps.get(),
        refusals.get(),
        returns.get()
    );
    say(&line);
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
    assert!(asked.is_some() || refusals.get() >= REFUSALS_MIN, "{line}");
    assert!(asked.is_some() || returns.get() >= RETURNS_MIN, "{line}");
}

/// A sweep that a network's counter needed, since its table was full, took out others as well and made the table smaller, so that the
/// place that had been found for the account's counter before it was past its end.
#[test]
fn a_sweep_during_a_decision_moves_no_counter() {
    let limit = plain(Kind::Fixed, 5, Span::from_secs(1)).per((true, true, false));
    let rules = rules(vec![limit], 1);
    let mut shards = Shard::all(&rules);
    let counter = |id: u64, is_network| Counter {
        limit: LimitId(0),
        subject: Subject {
            id,
            wider: 1,
            region: 1,
            is_network,
        },
        number: 5,
        enforced: 5,
        matches: true,
    };
    let at = |secs| Moment {
        now: Timestamp::ZERO + Span::from_secs(secs),
        wall: UnixTime::from_secs(secs),
    };
    // Thirteen make the table one of 32 places. Twelve of them lie at the first ones, one after the other.
    for id in (0..12).map(|id| id * 32 + 1).chain([20]) {
        decide(&[counter(id, false)], &mut shards, &rules.limits, at(0)).expect("the limit allows it");
    }
    let both = [counter(20, false), counter(1 << 40, true)];
    let Admitted { left, .. } = decide(&both, &mut shards, &rules.limits, at(2)).expect("all windows are over");
    assert_eq!([left[0].remaining, left[1].remaining], [4, 4]);
}

pub fn plain(kind: Kind, number: u32, window: Span) -> Limit {
    super::rules::limit("requests", number, window).kind(kind)
}

/// How a limit differs from one set to another.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Number(u32),
    All(Limit),
}

/// Some sets of some limits, of which one is loaded after the other. Limits of one name are more or less alike.
fn generations() -> impl Strategy<Value = Vec<Vec<Limit>>> {
    let names = ["a", "b", "c", "d", "e"];
    let changes = prop_oneof![
        4 => Just(Change::Nothing),
        3 => (0_u32..9).prop_map(Change::Number),
        3 => limit().prop_map(Change::All),
    ];
    let those = prop::sample::subsequence((0..names.len()).collect::<Vec<_>>(), 1..=4).prop_shuffle();
    let changed = vec((those, vec(changes, names.len())), 1..=3);
    (vec(limit(), names.len()), changed).prop_map(move |(limits, generations)| {
        let changed = |at: usize, change: &Change| {
            let limit = limits[at].clone();
            match change.clone() {
                Change::Nothing => limit,
                Change::Number(number) => limit.number(number),
                Change::All(other) => other,
            }
            .named(names[at])
        };
        let generation =
            |(those, changes): &(Vec<usize>, Vec<Change>)| those.iter().map(|at| changed(*at, &changes[*at])).collect();
        generations.iter().map(generation).collect()
    })
}

pub fn limit() -> impl Strategy<Value = Limit> {
    let kind = prop_oneof![
        Just(Kind::Fixed),
        Just(Kind::Aligned),
        Just(Kind::Sliding),
        Just(Kind::Burst)
    ];
    let per = prop_oneof![
        Just((true, false, false)),
        Just((false, true, false)),
        Just((true, true, false)),
        Just((false, false, true)),
        Just((true, false, true))
    ];
    let block = (1_u32..6, window(), window()).prop_map(|(refusals, within, lasts)| block(refusals, within, lasts));
    let rare = |strategy| option::weighted(0.2, strategy);
    let rest = (
        rare(window().boxed()),
        option::weighted(0.2, 0_u32..9),
        option::weighted(0.15, block),
        prop::bool::weighted(0.8),
    );
    (kind, 0_u32..9, window(), per, rest).prop_map(
        |(kind, number, window, per, (penalty, degraded, block_after, enforce))| {
            plain(kind, number, window)
                .per(per)
                .penalty(penalty)
                .degraded(degraded)
                .block_after(block_after)
                .enforced(enforce)
        },
    )
}

/// Some that no number of buckets and no limit divides.
fn window() -> impl Strategy<Value = Span> {
    let lengths_ms = prop_oneof![Just(10), Just(11), Just(60), Just(997), Just(60_000), 10_u64..5_000];
    lengths_ms.prop_map(Span::from_millis)
}

fn step() -> impl Strategy<Value = Step> {
    let ask = (0..ACCOUNTS, 0..NETWORKS, prop_oneof![3 => Just(0xF), 1 => 0_u8..16]).prop_map(
        |(account, network, matching)| Step::Request {
            account,
            network,
            matching,
        },
    );
    let parts = prop_oneof![
        Just(0),
        Just(1_000_000),
        Just(1_000_000 / 60),
        Just(500_000),
        0_u32..2_500_000
    ];
    prop_oneof![
        12 => ask,
        1 => prop_oneof![Just(1), Just(999_999), Just(1_000_000), 0_u64..100_000_000].prop_map(Step::Pass),
        3 => (0_u8..4, parts, -1_i8..=1).prop_map(|(limit, part, more)| Step::PassOf(limit, part, more)),
        3 => prop_oneof![3 => Just(-1), 3 => Just(0), 1 => Just(1)].prop_map(Step::Return),
        1 => prop_oneof![Just(-1), Just(1), -70_000_i32..70_000].prop_map(Step::Set),
        1 => Just(Step::Sweep),
        1 => any::<u8>().prop_map(Step::Reload),
    ]
}
