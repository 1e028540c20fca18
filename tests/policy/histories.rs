//! Random histories through the policy and the model, side by side.
//!
//! The numbers are small on purpose: five callers, a few seats and slots, so that they meet all the time. A failure is
//! shrunk to the shortest history that shows it; `TIERGATE_SEED=n` replays a run, `PROPTEST_CASES=n` makes it longer.

use std::cell::Cell;
use std::io::Write;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tiergate::policy::Outcome;
use tiergate::policy::rules::{PoolRules, Priority, QueueRules, Rules, Tier, TierId, Within};
use tiergate::policy::time::Span;

use super::side_by_side::{Pick, SideBySide, Step};

const SEED: u64 = 1;
const HISTORIES: u32 = 600;
const STEPS_MIN: u64 = 100_000;

/// Steps after which somebody must have been moving: fewer, and the histories tell nothing of it.
const STEPS_MOVING_MIN: u64 = 5_000;

#[test]
fn the_policy_decides_as_the_model_does() {
    let seed = from_env("TIERGATE_SEED").unwrap_or(SEED);
    let asked = from_env("PROPTEST_CASES").map(|cases| u32::try_from(cases).expect("a number of histories"));
    let config = Config {
        cases: asked.unwrap_or(HISTORIES),
        failure_persistence: None, // the seed is what replays a run
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));

    let (steps, moving) = (Cell::new(0_u64), Cell::new(0_u64));
    let history = (rules(), vec(step(), 20..=600), any::<bool>());
    let result = runner.run(&history, |(rules, history, closes)| {
        let mut both = SideBySide::new(rules);
        for step in &history {
            both.step(step);
            steps.set(steps.get() + 1);
            moving.set(moving.get() + u64::from(both.moving() > 0));
        }
        if closes {
            both.step(&Step::ShutDown);
        }
        both.finish();
        Ok(())
    });
    say(&format!(
        "policy against model: {} steps, in {} of them somebody moves, TIERGATE_SEED={seed}",
        steps.get(),
        moving.get()
    ));
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
    assert!(asked.is_some() || steps.get() >= STEPS_MIN, "{} steps", steps.get());
    let met = moving.get() >= STEPS_MOVING_MIN;
    assert!(asked.is_some() || met, "somebody moves in only {} steps", moving.get());
}

/// Past the capture of the test's output, so that the seed is seen in every run.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is open");
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || any::<u8>().prop_map(Pick);
    let enter = (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        prop::bool::weighted(0.8),
        option::weighted(0.2, 1..=60_u8),
        option::weighted(0.3, prop_oneof![Just(0_u8), Just(1), 2..=60_u8]),
    );
    prop_oneof![
        24 => enter.prop_map(|(caller, tier, pool, ready, max_wait_s, prefer_wait_s)| Step::Enter {
            caller, tier, pool, ready, max_wait_s, prefer_wait_s,
        }),
        6 => pick().prop_map(Step::AskSlot),
        6 => pick().prop_map(Step::GiveBackSlot),
        12 => (pick(), outcome()).prop_map(|(pick, outcome)| Step::End(pick, outcome)),
        4 => pick().prop_map(Step::HangUp),
        2 => pick().prop_map(Step::Expire),
        2 => pick().prop_map(Step::Decline),
        4 => pick().prop_map(Step::Relocate),
        1 => pick().prop_map(Step::Forgo),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(pool, server)| Step::ServerDown(pool, server)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(pool, server)| Step::ServerUp(pool, server)),
        1 => rules().prop_map(Step::Reload),
        8 => span().prop_map(Step::Pass),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Succeeded),
        Just(Outcome::Failed),
        Just(Outcome::Cancelled)
    ]
}

/// Around the minute within which displacements count, above all.
fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        4 => (1..3_000_u64).prop_map(Span::from_millis),
        2 => Just(Span::from_secs(20)),
        1 => Just(Span::from_nanos(59_999_999_999)),
        1 => Just(Span::from_secs(60)),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let queue = (
        prop_oneof![5 => 1..=4_u32, 1 => Just(0), 3 => 5..=9_u32],
        prop_oneof![Just(Within::Fifo), Just(Within::Fair)],
        1..=60_u64,
        option::of(2..=4_u32),
    )
        .prop_map(|(length, within_tier, max_wait_s, lifeline)| QueueRules {
            length,
            within_tier,
            max_wait: Span::from_secs(max_wait_s),
            lifeline,
        });
    let servers = || vec(prop_oneof![1 => Just(0), 8 => 1..=2_u32], 1..=3);
    let pools = prop_oneof![2 => vec(servers(), 1), 1 => vec(servers(), 2..=3)];
    (queue, tiers(), any::<u16>(), pools).prop_map(|(queue, tiers, anonymous, pools)| Rules {
        queue,
        anonymous: TierId(anonymous % u16::try_from(tiers.len()).unwrap()),
        windows: Vec::new(),
        tiers,
        pools: pools
            .into_iter()
            .enumerate()
            .map(|(at, slots)| PoolRules {
                name: format!("pool{at}"),
                slots,
            })
            .collect(),
    })
}

/// Tiers whose names come and go from one set of rules to the next.
fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    let tier = (0..=6_u8, 1..=4_u32, option::weighted(0.2, 1..=60_u64), 0..=3_u32);
    let names = prop::sample::subsequence(vec!["a", "b", "c", "d", "e"], 1..=4).prop_shuffle();
    (names, vec(tier, 4)).prop_map(|(names, tiers)| {
        names
            .into_iter()
            .zip(tiers)
            .map(
                |(name, (priority, concurrency, max_wait_s, displacements_per_minute))| Tier {
                    name: name.into(),
                    priority: Priority::new(priority).unwrap(),
                    concurrency,
                    quotas: Vec::new(),
                    max_wait: max_wait_s.map(Span::from_secs),
                    displacements_per_minute,
                },
            )
            .collect()
    })
}
