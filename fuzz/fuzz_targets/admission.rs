//! Bytes as a history of the house: the policy must decide as the model does, whatever happens in whatever order.
//!
//! Absent on purpose: what is checked. `tests/policy/side_by_side.rs` checks the same after every step as the property
//! test does; only where the histories come from differs.

#![no_main]

#[path = "../../tests/policy/debits.rs"]
mod debits;
#[path = "../../tests/policy/model.rs"]
mod model;
#[expect(dead_code, reason = "the property test also asks how often something has happened")]
#[path = "../../tests/policy/side_by_side.rs"]
mod side_by_side;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use side_by_side::{OPENED, Pick, Reading, SideBySide, Step};
use tiergate::policy::Outcome;
use tiergate::policy::rules::{
    CALLERS_MAX_DEFAULT, Calendar, PoolRules, Priority, QueueRules, Quota, Rules, Tier, TierId, Window, WindowId,
    Within,
};
use tiergate::policy::time::{Span, UnixTime};

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
    Ok(match bytes.int_in_range(0..=42)? {
        0..=9 => Step::Enter {
            caller: bytes.arbitrary()?,
            tier: bytes.arbitrary()?,
            pool: bytes.arbitrary()?,
            cost: bytes.arbitrary()?,
            own: bytes.arbitrary()?,
            of: bytes.arbitrary()?,
            ready: bytes.ratio(3, 4)?,
            max_wait_s: bytes.arbitrary()?,
            prefer_wait_s: bytes.arbitrary()?,
            older: bytes.arbitrary()?,
        },
        10..=12 => Step::AskSlot(pick(bytes)?),
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
    let queue = QueueRules {
        length: bytes.int_in_range(0..=12)?,
        within_tier: *bytes.choose(&[Within::Fifo, Within::Fair])?,
        max_wait: Span::from_secs(bytes.int_in_range(0..=60)?),
        lifeline: match bytes.int_in_range(1..=5)? {
            1 => None,
            every => Some(every),
        },
    };
    let windows = windows(bytes)?;
    let tiers = (0..bytes.int_in_range(1..=4)?)
        .map(|at| tier(bytes, at, windows.len()))
        .collect::<Result<Vec<_>>>()?;
    let pools = (0..bytes.int_in_range(1..=3)?)
        .map(|at| pool(bytes, at))
        .collect::<Result<Vec<_>>>()?;
    let anonymous = TierId(bytes.arbitrary::<u16>()? % tiers.len() as u16);
    Ok(Rules {
        queue,
        windows,
        tiers,
        anonymous,
        pools,
        limits: Vec::new(),
        callers_max: CALLERS_MAX_DEFAULT,
    })
}

/// Rolling windows of a second to a month, and calendars whose periods begin every so often.
fn windows(bytes: &mut Unstructured<'_>) -> Result<Vec<Window>> {
    const LENGTHS_S: [u64; 6] = [1, 2, 61, 7_201, 86_400, 30 * 86_400];
    let mut windows = Vec::new();
    for length_s in LENGTHS_S {
        match bytes.int_in_range(0..=7)? {
            0 => windows.push(Window::Rolling(Span::from_secs(length_s))),
            1 => windows.push(Window::Calendar(Calendar {
                name: format!("every {length_s} s").into(),
                starts: (0..50)
                    .map(|start| UnixTime::from_secs(OPENED.as_secs() + start * length_s))
                    .collect(),
            })),
            _ => {}
        }
    }
    Ok(windows)
}

fn quotas(bytes: &mut Unstructured<'_>, windows: usize) -> Result<Vec<Quota>> {
    let many = if windows == 0 { 0 } else { bytes.int_in_range(0..=3)? };
    (0..many)
        .map(|at| {
            Ok(Quota {
                name: format!("q{at}").into(),
                limit: bytes.int_in_range(0..=40)?,
                window: WindowId(bytes.arbitrary::<u8>()? % windows as u8),
                enforce: !bytes.ratio(1_u8, 4_u8)?,
            })
        })
        .collect()
}

/// Names are unique within the rules, and come and go from one set of rules to the next.
fn tier(bytes: &mut Unstructured<'_>, at: u8, windows: usize) -> Result<Tier> {
    let max_wait: Option<u8> = bytes.arbitrary()?;
    Ok(Tier {
        name: format!("{at}{}", bytes.choose(&["a", "b"])?).into(),
        priority: Priority::new(bytes.int_in_range(0..=6)?).expect("at most 6"),
        concurrency: bytes.int_in_range(1..=5)?,
        quotas: quotas(bytes, windows)?,
        max_wait: max_wait.map(|secs| Span::from_secs(secs.into())),
        displacements_per_minute: bytes.int_in_range(0..=4)?,
        limits: Vec::new(),
    })
}

fn pool(bytes: &mut Unstructured<'_>, at: u8) -> Result<PoolRules> {
    let slots = (0..bytes.int_in_range(1..=3)?)
        .map(|_| bytes.int_in_range(0..=3))
        .collect::<Result<Vec<u32>>>()?;
    Ok(PoolRules {
        name: format!("pool{at}").into(),
        slots,
    })
}
