//! Random histories through the policy and the model, side by side.
//!
//! The numbers are small, so that jobs compete all the time: eight callers, a few queue places and slots. A failure is
//! shrunk to the shortest history that shows it; `TIERGATE_SEED=n` replays a run, `PROPTEST_CASES=n` makes it longer.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tiergate_policy::rules::{Rules, TierId, Window, Within};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{Outcome, RequestBody};

use super::rules::{self, TierBuilder, calendar};
use super::seeded::{runner, say};
use super::side_by_side::{Arrivals, OPENED, Pick, Reading, SideBySide, Step};

const HISTORIES: u32 = 600;
const STEPS_MIN: u64 = 100_000;

/// What the histories must have met, at least so often: otherwise they tell nothing of it.
const MET_MIN: [(&str, u64); 11] = [
    ("steps with a job that moves", 5_000),
    ("refusals for want of quota", 5_000),
    ("times that all debits were read back", 1_000),
    ("steps in which a job waits while dispatch is paused", 5_000),
    ("steps with a drained server", 5_000),
    ("steps with an uploading job", 20_000),
    ("bodies complete: a slot", 1_000),
    ("bodies complete: a free queue place", 1_000),
    ("bodies complete: another job displaced", 100),
    ("bodies complete: refused", 500),
    ("uploading jobs at a shutdown", 100),
];

const DAY_MS: i64 = 86_400_000;

#[test]
fn the_policy_decides_as_the_model_does() {
    let (mut runner, seed, asked) = runner(HISTORIES);
    let (steps, met) = (Cell::new(0_u64), Cell::new([0_u64; MET_MIN.len()]));
    let history = (rules(), vec(step(), 20..=600), any::<bool>());
    let result = runner.run(&history, |(rules, history, closes)| {
        let mut both = SideBySide::new(rules);
        // One in four begins at the epoch, where a clock stands that was never read.
        if history.len() % 4 > 0 {
            both.step(&Step::Clock(Reading::At(0)));
        }
        let mut seen = met.get();
        for step in &history {
            both.step(step);
            steps.set(steps.get() + 1);
            seen[0] += u64::from(both.moving() > 0);
            seen[3] += u64::from(both.is_held());
            seen[4] += u64::from(both.has_drained());
            seen[5] += u64::from(both.uploading() > 0);
        }
        if closes {
            seen[10] += both.uploading();
            both.step(&Step::ShutDown);
        }
        seen[1] += both.depleted();
        seen[2] += both.fills();
        let Arrivals {
            ran,
            queued,
            displaced,
            refused,
        } = *both.arrivals();
        for (of, more) in seen[6..].iter_mut().zip([ran, queued, displaced, refused]) {
            *of += more;
        }
        met.set(seen);
        both.finish();
        Ok(())
    });
    let lines = MET_MIN.iter().zip(met.get());
    let lines: Vec<String> = lines.map(|((what, _), often)| format!("{often} {what}")).collect();
    say(&format!(
        "policy against model: {} steps, {}, TIERGATE_SEED={seed}",
        steps.get(),
        lines.join(", ")
    ));
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
    if asked.is_none() {
        assert!(steps.get() >= STEPS_MIN, "{} steps", steps.get());
        for ((what, min), often) in MET_MIN.iter().zip(met.get()) {
            assert!(often >= *min, "only {often} {what}");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || any::<u8>().prop_map(Pick);
    let enter = (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        (
            0..6_u8,
            option::weighted(0.2, any::<u8>()),
            (any::<u8>(), any::<u8>(), option::weighted(0.2, any::<u8>())),
        ),
        prop_oneof![1 => Just(RequestBody::Arriving), 2 => Just(RequestBody::Complete)],
        waits(),
    );
    prop_oneof![
        28 => enter.prop_map(|(caller, tier, pool, (cost, own, of), body, waits)| Step::Enter {
            caller, tier, pool, cost, own, of, body, waits,
        }),
        2 => (any::<u8>(), any::<u8>(), milliseconds(), 0..20_u64).prop_map(|(window, caller, before_ms, units)| {
            Step::Remember { window, caller, before_ms, units }
        }),
        2 => clock_step().prop_map(|by| Step::Clock(Reading::Off(by))),
        1 => Just(Step::Recount),
        1 => (any::<u8>(), -1..=1_i8).prop_map(|(which, by)| Step::Clock(Reading::Edge(which, by))),
        2 => (0..3_u8, -1..=1_i8).prop_map(|(which, by)| Step::PassToEdge(which, by)),
        1 => Just(Step::Sweep),
        1 => Just(Step::SweepAll),
        11 => (pick(), waits()).prop_map(|(pick, waits)| Step::Arrive(pick, waits)),
        1 => pick().prop_map(Step::EndUpload),
        6 => pick().prop_map(Step::GiveBackSlot),
        12 => (pick(), outcome()).prop_map(|(pick, outcome)| Step::End(pick, outcome)),
        4 => pick().prop_map(Step::HangUp),
        2 => pick().prop_map(Step::Expire),
        2 => pick().prop_map(Step::Decline),
        6 => pick().prop_map(Step::Relocate),
        1 => pick().prop_map(Step::Forgo),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(pool, server)| Step::ServerDown(pool, server)),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(pool, server)| Step::ServerUp(pool, server)),
        2 => pick().prop_map(Step::Cancel),
        2 => control(),
        1 => rules().prop_map(Step::Reload),
        8 => span().prop_map(Step::Pass),
    ]
}

/// The longest waits that come with a request, in seconds: the route's and the client's.
fn waits() -> impl Strategy<Value = (Option<u8>, Option<u8>)> {
    (
        option::weighted(0.2, 1..=60_u8),
        option::weighted(0.3, prop_oneof![Just(0_u8), Just(1), 2..=60_u8]),
    )
}

/// What operators do. It is mostly taken back soon: otherwise nothing else would happen.
fn control() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Pause),
        5 => Just(Step::Resume),
        1 => Just(Step::StopAdmission),
        9 => Just(Step::StartAdmission),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(pool, server)| Step::Drain(pool, server)),
        8 => any::<u8>().prop_map(Step::Undrain),
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

/// Up to a month, either way; most of them short.
fn milliseconds() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -2_000..2_000_i64,
        2 => -100_000..100_000_i64,
        2 => -DAY_MS..DAY_MS,
        1 => -35 * DAY_MS..35 * DAY_MS,
    ]
}

/// How far the system's clock is set; some of it further than any calendar was computed.
fn clock_step() -> impl Strategy<Value = i64> {
    const YEAR_MS: i64 = 365 * DAY_MS;
    let far = prop::sample::select(vec![DAY_MS / 24, YEAR_MS, 80 * YEAR_MS, 300 * YEAR_MS]);
    prop_oneof![
        6 => milliseconds(),
        1 => -300_001..=-299_999_i64,
        2 => (far, any::<bool>()).prop_map(|(by, back)| if back { -by } else { by }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let queue = (
        prop_oneof![5 => 1..=4_u32, 1 => Just(0), 3 => 5..=9_u32],
        prop_oneof![Just(Within::Fifo), Just(Within::Fair)],
        1..=60_u64,
        option::of(2..=4_u32),
    );
    let servers = || vec(prop_oneof![1 => Just(0), 8 => 1..=2_u32], 1..=3);
    let pools = prop_oneof![2 => vec(servers(), 1), 1 => vec(servers(), 2..=3)];
    let windows = prop::sample::subsequence(windows(), 0..=4).prop_shuffle();
    (queue, windows, tiers(), any::<u16>(), pools).prop_map(|(queue, windows, tiers, anonymous, pools)| {
        let (length, within_tier, max_wait_s, lifeline) = queue;
        let queue = rules::rules()
            .queue(length)
            .within_tier(within_tier)
            .max_wait(Span::from_secs(max_wait_s))
            .lifeline(lifeline)
            .windows(windows.clone())
            .anonymous(TierId(anonymous % u16::try_from(tiers.len()).unwrap()));
        let tiers = tiers.iter().fold(queue, |rules, (name, terms)| {
            rules.tier(name, |tier| described(tier, terms, &windows))
        });
        let pools = pools.iter().enumerate();
        pools
            .fold(tiers, |rules, (at, slots)| rules.upstream(&format!("pool{at}"), slots))
            .build()
    })
}

/// All windows that any rules use. The days are as long as they like, and some calendars begin later than most histories.
fn windows() -> Vec<Window> {
    let calendar = |name: &str, starts: &[i64]| {
        let start = |after_ms: &i64| UnixTime::from_millis(OPENED.as_millis().saturating_add_signed(*after_ms));
        calendar(name, starts.iter().map(start))
    };
    let hour = DAY_MS / 24;
    let days: Vec<i64> = (-3..40).map(|day| day * DAY_MS + (day % 2) * hour).collect();
    let minutes: Vec<i64> = (1..100).map(|minute| minute * 60_000).collect();
    vec![
        Window::Rolling(Span::from_secs(1)),
        Window::Rolling(Span::from_secs(60)),
        Window::Rolling(Span::from_millis(7_200_777)),
        Window::Rolling(Span::from_secs(86_400)),
        Window::Rolling(Span::from_secs(30 * 86_400)),
        calendar("day", &days),
        calendar("month", &[-25 * DAY_MS, 4 * DAY_MS, 34 * DAY_MS, 65 * DAY_MS]),
        calendar("minute", &minutes),
    ]
}

/// A quota's limit, the number of its window among those that the rules have, and whether it is enforced.
type DrawnQuota = (u64, u8, bool);
/// A tier's priority, concurrency, quotas, longest wait in seconds, and displacements a minute.
type DrawnTier = (u8, u32, Vec<DrawnQuota>, Option<u64>, u32);

/// The tier on these terms; without a window there is no quota.
fn described(tier: TierBuilder, terms: &DrawnTier, windows: &[Window]) -> TierBuilder {
    let (priority, concurrency, quotas, max_wait_s, displacements) = terms;
    let tier = tier
        .priority(*priority)
        .concurrency(*concurrency)
        .max_wait(max_wait_s.map(Span::from_secs))
        .displacements(*displacements);
    let quotas = quotas.iter().zip(["q0", "q1", "q2"]);
    quotas.fold(tier, |tier, ((limit, window, enforce), name)| {
        match usize::from(*window).checked_rem(windows.len()) {
            Some(at) => tier.quota_if(*enforce, name, *limit, windows[at].clone()),
            None => tier,
        }
    })
}

/// Up to three quotas.
fn quotas() -> impl Strategy<Value = Vec<DrawnQuota>> {
    let limit = prop_oneof![1 => 0..=5_u64, 4 => 5..=50_u64];
    vec((limit, any::<u8>(), prop::bool::weighted(0.8)), 0..=3)
}

/// Tiers whose names come and go from one set of rules to the next.
fn tiers() -> impl Strategy<Value = Vec<(&'static str, DrawnTier)>> {
    let tier = (
        0..=6_u8,
        1..=4_u32,
        quotas(),
        option::weighted(0.2, 1..=60_u64),
        0..=3_u32,
    );
    let names = prop::sample::subsequence(vec!["a", "b", "c", "d", "e"], 1..=4).prop_shuffle();
    (names, vec(tier, 4)).prop_map(|(names, tiers)| names.into_iter().zip(tiers).collect())
}
