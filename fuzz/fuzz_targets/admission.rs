//! Bytes as a history of events: the policy must decide as the model does, whatever happens in whatever order.
//!
//! `crates/policy/tests/policy/side_by_side` checks the same after every step as the property
//! test does; only where the histories come from differs.

#![no_main]

#[path = "../../crates/policy/tests/policy/debits.rs"]
mod debits;
#[path = "../../crates/policy/tests/policy/model/mod.rs"]
mod model;
#[path = "../../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../../crates/policy/tests/support/rules.rs"]
mod rules;
#[expect(dead_code, reason = "the property test also asks how often something has happened")]
#[path = "../../crates/policy/tests/policy/side_by_side/mod.rs"]
mod side_by_side;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use side_by_side::{OPENED, Pick, Reading, SideBySide, Step};
use tiergate_policy::rules::{Rules, TierId, Window, Within};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{Outcome, RequestBody};

use rules::{RulesBuilder, TierBuilder, calendar, rolling};

/// The model looks at everything for every question, so histories are kept short.
const STEPS_MAX: usize = 1_000;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let Ok(rules) = rules(&mut bytes) else { return };
    let mut both = SideBySide::new(rules);
    for _ in 0..STEPS_MAX {
        match step(&mut bytes) {
            Ok(step) if !bytes.is_empty() => both.step(&step),
            _ => break,
        }
    }
    both.finish();
});

fn step(bytes: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match bytes.int_in_range(0..=53)? {
        0..=9 => Step::Enter {
            caller: bytes.arbitrary()?,
            tier: bytes.arbitrary()?,
            pool: bytes.arbitrary()?,
            cost: bytes.arbitrary()?,
            own: bytes.arbitrary()?,
            of: bytes.arbitrary()?,
            body: if bytes.ratio(1, 3)? {
                RequestBody::Arriving
            } else {
                RequestBody::Complete
            },
            waits: bytes.arbitrary()?,
        },
        10..=12 => Step::Arrive(pick(bytes)?, bytes.arbitrary()?),
        13..=14 => Step::GiveBackSlot(pick(bytes)?),
        15..=19 => Step::End(
            pick(bytes)?,
            *bytes.choose(&[Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled])?,
        ),
        20..=21 => Step::HangUp(pick(bytes)?),
        22 => Step::Expire(pick(bytes)?),
        23 => Step::Relocate(pick(bytes)?),
        24 => Step::ServerDown(bytes.arbitrary()?, bytes.arbitrary()?),
        25..=26 => Step::ServerUp(bytes.arbitrary()?, bytes.arbitrary()?),
        27 => Step::Reload(rules(bytes)?),
        28 => Step::Pass(Span::from_nanos(bytes.arbitrary()?)),
        29..=30 => Step::Pass(Span::from_secs(bytes.int_in_range(0..=61)?)),
        31 => Step::Decline(pick(bytes)?),
        32 => Step::Forgo(pick(bytes)?),
        33 => Step::Remember {
            window: bytes.arbitrary()?,
            caller: bytes.arbitrary()?,
            before_ms: milliseconds(bytes)?,
            units: bytes.arbitrary::<u8>()?.into(),
        },
        34 => Step::Clock(Reading::At(bytes.arbitrary::<u32>()?.into())),
        35 => Step::Clock(Reading::Off(clock_step(bytes)?)),
        36 => Step::Clock(Reading::Edge(bytes.arbitrary()?, bytes.int_in_range(-1..=1)?)),
        37..=38 => Step::PassToEdge(bytes.arbitrary()?, bytes.int_in_range(-1..=1)?),
        39 => Step::Sweep,
        40 => Step::SweepAll,
        41 => Step::Recount,
        42 => Step::Pause,
        43..=44 => Step::Resume,
        45 => Step::StopAdmission,
        46..=47 => Step::StartAdmission,
        48 => Step::Drain(bytes.arbitrary()?, bytes.arbitrary()?),
        49..=50 => Step::Undrain(bytes.arbitrary()?),
        51 => Step::Cancel(pick(bytes)?),
        52 => Step::EndUpload(pick(bytes)?),
        _ => Step::ShutDown,
    })
}

/// Up to 50 days, either way.
fn milliseconds(bytes: &mut Unstructured<'_>) -> Result<i64> {
    let ms = i64::from(bytes.arbitrary::<i32>()?);
    Ok(if bytes.ratio(1, 2)? { ms % 100_000 } else { ms * 2 })
}

/// The same, or up to 435 years.
fn clock_step(bytes: &mut Unstructured<'_>) -> Result<i64> {
    let ms = milliseconds(bytes)?;
    Ok(if bytes.ratio(1, 4)? {
        ms.saturating_mul(3_200)
    } else {
        ms
    })
}

fn pick(bytes: &mut Unstructured<'_>) -> Result<Pick> {
    bytes.arbitrary().map(Pick)
}

fn rules(bytes: &mut Unstructured<'_>) -> Result<Rules> {
    let mut rules = rules::rules()
        .queue(bytes.int_in_range(0..=12)?)
        .within_tier(*bytes.choose(&[Within::Fifo, Within::Fair])?)
        .max_wait(Span::from_secs(bytes.int_in_range(0..=60)?))
        .lifeline(match bytes.int_in_range(1..=5)? {
            1 => None,
            every => Some(every),
        });
    let windows = windows(bytes)?;
    rules = rules.windows(windows.clone());
    let tiers: u16 = u8::into(bytes.int_in_range(1..=4)?);
    for at in 0..tiers {
        rules = tier(bytes, rules, at, &windows)?;
    }
    for at in 0..bytes.int_in_range(1..=3_u8)? {
        rules = rules.upstream(&format!("pool{at}"), &slots(bytes)?);
    }
    let anonymous = TierId(bytes.arbitrary::<u16>()? % tiers);
    Ok(rules.anonymous(anonymous).build())
}

/// Rolling windows of a second to a month, and calendars whose periods begin every so often.
fn windows(bytes: &mut Unstructured<'_>) -> Result<Vec<Window>> {
    const LENGTHS_S: [u64; 6] = [1, 2, 61, 7_201, 86_400, 30 * 86_400];
    let mut windows = Vec::new();
    for length_s in LENGTHS_S {
        match bytes.int_in_range(0..=7)? {
            0 => windows.push(rolling(length_s)),
            1 => {
                let start = |start| UnixTime::from_secs(OPENED.as_secs() + start * length_s);
                windows.push(calendar(&format!("every {length_s} s"), (0..50).map(start)));
            }
            _ => {}
        }
    }
    Ok(windows)
}

fn with_quotas(bytes: &mut Unstructured<'_>, mut tier: TierBuilder, windows: &[Window]) -> Result<TierBuilder> {
    let many = if windows.is_empty() {
        0
    } else {
        bytes.int_in_range(0..=3)?
    };
    for at in 0..many {
        let limit = bytes.int_in_range(0..=40)?;
        let window = &windows[usize::from(bytes.arbitrary::<u8>()?) % windows.len()];
        let enforce = !bytes.ratio(1_u8, 4_u8)?;
        tier = tier.quota_if(enforce, &format!("q{at}"), limit, window.clone());
    }
    Ok(tier)
}

/// Names are unique within the rules, and come and go from one set of rules to the next.
fn tier(bytes: &mut Unstructured<'_>, rules: RulesBuilder, at: u16, windows: &[Window]) -> Result<RulesBuilder> {
    let max_wait: Option<u8> = bytes.arbitrary()?;
    let name = format!("{at}{}", bytes.choose(&["a", "b"])?);
    rules.try_tier(&name, |tier| {
        let tier = tier
            .max_wait(max_wait.map(|secs| Span::from_secs(secs.into())))
            .priority(bytes.int_in_range(0..=6)?)
            .concurrency(bytes.int_in_range(1..=5)?);
        Ok(with_quotas(bytes, tier, windows)?.displacements(bytes.int_in_range(0..=4)?))
    })
}

fn slots(bytes: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    (0..bytes.int_in_range(1..=3)?)
        .map(|_| bytes.int_in_range(0..=3))
        .collect()
}
