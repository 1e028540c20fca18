//! Bytes as limits and a history of requests and reloads: the request limits must decide as their model does, whatever comes in whatever order.
//!
//! `crates/policy/tests/policy/limits_side_by_side.rs` checks the same after every step as the property test does; only
//! where the histories come from differs.

#![no_main]

#[path = "../../crates/policy/tests/policy/limits_model.rs"]
mod limits_model;
#[expect(dead_code, reason = "the property test also asks how often something has happened")]
#[path = "../../crates/policy/tests/policy/limits_side_by_side.rs"]
mod limits_side_by_side;
#[path = "../../crates/policy/tests/support/rules.rs"]
mod rules;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use limits_side_by_side::{SideBySide, Step};
use tiergate_policy::rules::{Kind, Limit};
use tiergate_policy::time::Span;

use rules::{LimitExt, block};

/// The model looks at everything for every question, so histories are kept short.
const STEPS_MAX: usize = 400;
/// The shortest window and the longest, in milliseconds.
const WINDOW_MS: std::ops::RangeInclusive<u64> = 10..=31 * 86_400_000;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let Ok(generations) = generations(&mut bytes) else {
        return;
    };
    let mut both = SideBySide::new(generations);
    for _ in 0..STEPS_MAX {
        match step(&mut bytes) {
            Ok(step) if !bytes.is_empty() => both.step(&step),
            _ => break,
        }
    }
    both.finish();
});

/// Sets of limits of which one is loaded after the other. Those that follow are the first with changes.
fn generations(bytes: &mut Unstructured<'_>) -> Result<Vec<Vec<Limit>>> {
    let first = (0..bytes.int_in_range(1..=4)?)
        .map(|at| limit(bytes, at))
        .collect::<Result<Vec<_>>>()?;
    let mut generations = vec![first];
    for _ in 0..bytes.int_in_range(0..=2)? {
        let mut next = generations[0].clone();
        for at in 0..next.len() {
            match bytes.int_in_range(0..=4)? {
                0 => next[at].number = bytes.int_in_range(0..=8)?,
                1 => next[at] = limit(bytes, 0)?.named(&next[at].name),
                2 => next[at].name = format!("new{at}").into(),
                3 => next.swap(0, at),
                _ => {}
            }
        }
        generations.push(next);
    }
    Ok(generations)
}

fn limit(bytes: &mut Unstructured<'_>, at: u8) -> Result<Limit> {
    let per = *bytes.choose(&[
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (false, false, true),
        (true, true, true),
    ])?;
    let number = bytes.int_in_range(0..=8)?;
    let limit = rules::limit(&format!("limit{at}"), number, span(bytes)?)
        .per(per)
        .kind(*bytes.choose(&[Kind::Fixed, Kind::Aligned, Kind::Sliding, Kind::Burst])?)
        .penalty(sometimes(bytes, span)?)
        .degraded(sometimes(bytes, |bytes| bytes.int_in_range(0..=8))?)
        .block_after(sometimes(bytes, |bytes| {
            Ok(block(bytes.int_in_range(1..=6)?, span(bytes)?, span(bytes)?))
        })?);
    Ok(limit.enforced(!bytes.ratio(1_u8, 4_u8)?))
}

fn sometimes<T>(bytes: &mut Unstructured<'_>, of: fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Option<T>> {
    if bytes.ratio(1_u8, 4_u8)? {
        of(bytes).map(Some)
    } else {
        Ok(None)
    }
}

fn span(bytes: &mut Unstructured<'_>) -> Result<Span> {
    let short = 10..=1_000;
    let range = if bytes.ratio(3_u8, 4_u8)? { short } else { WINDOW_MS };
    Ok(Span::from_millis(bytes.int_in_range(range)?))
}

fn step(bytes: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match bytes.int_in_range(0..=16)? {
        0 => Step::Pass(bytes.int_in_range(0..=2_000_000_000)?),
        1 => Step::Pass(bytes.int_in_range(0..=2)?),
        2 | 3 => Step::PassOf(
            bytes.arbitrary()?,
            bytes.int_in_range(0..=2_500_000)?,
            bytes.arbitrary()?,
        ),
        4 | 5 => Step::Return(bytes.int_in_range(-1..=1)?),
        6 => Step::Set(bytes.arbitrary()?),
        7 => Step::Sweep,
        16 => Step::Reload(bytes.arbitrary()?),
        8 => Step::Request {
            account: bytes.arbitrary()?,
            network: bytes.arbitrary()?,
            matching: bytes.arbitrary()?,
        },
        _ => Step::Request {
            account: bytes.arbitrary()?,
            network: bytes.arbitrary()?,
            matching: u8::MAX,
        },
    })
}
