//! Quotas that can't be used up, so that they promise too much or have no effect.
//!
//! A caller has `concurrency` jobs at once, and none is a success sooner than after [`SUCCESS_TIME_MIN`]: so in a window there
//! are at most `concurrency × window ÷ SUCCESS_TIME_MIN` successes, each of which takes the largest `cost` of a metered route.
//! And another quota of the same tier may be used up before.

use super::LintInput;
use crate::config::prelude::*;
use crate::policy::rules::{Quota, Tier, Window};
use crate::policy::time::Span;

/// The assumed minimum time of a success: far less than any search that is worth a queue.
const SUCCESS_TIME_MIN: Span = Span::from_millis(100);
const HOUR_MS: u64 = 3_600_000;

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    let metered = read.routes.iter().filter(|(route, _)| route.metered);
    let cost = metered.map(|(route, _)| route.cost).max().unwrap_or(1).max(1);
    for tier in read.tiers {
        for quota in &tier.quotas {
            judge(read, tier, quota, cost, report);
        }
    }
}

/// The location of a quota's limit.
pub(super) fn place(read: &LintInput<'_>, tier: &Tier, quota: &Quota) -> Location {
    let written = read.root.value("tiers").and_then(|tiers| tiers.value(&tier.name));
    match written.and_then(|tier| tier.value("quota")) {
        Some(_) => read.place(&["tiers", &tier.name, "quota", "limit"]),
        None => read.place(&["tiers", &tier.name, "quotas", &quota.name, "limit"]),
    }
}

fn judge(read: &LintInput<'_>, tier: &Tier, quota: &Quota, cost: u32, report: &mut Report) {
    let window = &read.windows[quota.window.index()];
    let by_concurrency = at_most(window, tier.concurrency, cost);
    let others = tier.quotas.iter().filter(|other| other.name != quota.name);
    let tightest = others
        .map(|other| (leaves(&read.windows[other.window.index()], other.limit, window), other))
        .min_by_key(|(most, _)| *most);
    let (name, called, jobs) = (quoted(&tier.name), words::quota(window), tier.concurrency);
    let (why, advice) = match tightest {
        Some((most, other)) if most < quota.limit.into() && most <= by_concurrency => {
            let (called, limit) = (words::quota(&read.windows[other.window.index()]), other.limit);
            let why = format!("its {called} of {limit} leaves {most} of it at most");
            (why, "write less here, or more there")
        }
        _ if by_concurrency < quota.limit.into() => {
            let each = words::span(SUCCESS_TIME_MIN);
            let why = format!("{jobs} at once make {by_concurrency} at most, even if each takes {each}");
            (
                why,
                "write less, or more concurrency; a tier without a quota has no bound",
            )
        }
        _ => return,
    };
    let message = format!("tier {name} can't use up its {called} of {}: {why}", quota.limit);
    report.warn(place(read, tier, quota), message, advice);
}

/// Units that so many concurrent jobs can use in a window.
fn at_most(window: &Window, concurrency: u32, cost: u32) -> u128 {
    let in_a_row = longest_ms(window).div_ceil(SUCCESS_TIME_MIN.as_millis());
    u128::from(concurrency) * u128::from(in_a_row) * u128::from(cost)
}

/// Units that a quota of that limit leaves in the other window: as many times its limit as its windows meet that one.
fn leaves(window: &Window, limit: u64, other: &Window) -> u128 {
    if window == other {
        return limit.into();
    }
    let meet = match (window, other) {
        (Window::Calendar(days), Window::Calendar(months)) if is_day(&days.name) && !is_day(&months.name) => {
            let zone = |name: &str| name.split(' ').nth(1).map(str::to_owned);
            // In another zone a month starts within a day.
            31 + u64::from(zone(&days.name) != zone(&months.name))
        }
        // Calendar periods have fixed starts: one more may overlap.
        (Window::Calendar(_), _) => longest_ms(other).div_ceil(shortest_ms(window)) + 1,
        (Window::Rolling(_), _) => longest_ms(other).div_ceil(shortest_ms(window)),
    };
    u128::from(meet) * u128::from(limit)
}

/// The longest stretch in which debits count together: from a rolling window they leave up to a bucket late (rules §5.4).
fn longest_ms(window: &Window) -> u64 {
    match window {
        Window::Rolling(length) => length.as_millis() + (length.as_millis() / 1_440).max(1_000),
        Window::Calendar(calendar) if is_day(&calendar.name) => 25 * HOUR_MS,
        Window::Calendar(_) => (31 * 24 + 1) * HOUR_MS,
    }
}

fn shortest_ms(window: &Window) -> u64 {
    match window {
        Window::Rolling(length) => length.as_millis().max(1),
        Window::Calendar(calendar) if is_day(&calendar.name) => 23 * HOUR_MS,
        Window::Calendar(_) => (28 * 24 - 1) * HOUR_MS,
    }
}

fn is_day(calendar: &str) -> bool {
    calendar.starts_with("day ")
}
