//! What callers are told of their quotas by `/me`.
//!
//! Absent on purpose: what is counted and how, which is `policy`'s, and the headers of answers (`ratelimit`).

use jiff::Timestamp;
use serde::Serialize;

use super::standing::Standing;
use crate::gate::{Balance, Gate};
use crate::policy::Usage;
use crate::policy::rules::{Quota, Rules, Window};
use crate::policy::time::{Span, UnixTime};

/// One quota of a caller.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    name: String,
    /// Units that it may use within the window.
    pub limit: u64,
    /// Units debited.
    pub used: u64,
    /// Units set aside for searches in progress.
    held: u64,
    /// Units that are neither.
    pub remaining: u64,
    /// `rolling 24h`, or `month UTC`.
    window: String,
    /// When all that are used now will have come back; `null` if there are none.
    pub next_reset: Option<String>,
    /// When the next unit comes back; `null` if none is used.
    next_free: Option<String>,
    /// `false`: nobody is refused by it. Left out otherwise.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub enforced: bool,
}

/// What the caller has used of its tier's quotas at this moment.
pub fn balance(standing: &Standing, gate: &Gate, rules: &Rules) -> Balance {
    let windows = standing.tier(rules).quotas.iter().map(|quota| quota.window);
    gate.account_of(&standing.caller, windows)
}

/// The same as `/me` shows it.
pub fn lines(standing: &Standing, rules: &Rules, balance: &Balance) -> Vec<Line> {
    let line = |(quota, usage): (&Quota, &Usage)| {
        let limit = standing.limit(quota);
        Line {
            name: quota.name.to_string(),
            limit,
            used: usage.used,
            held: usage.held,
            remaining: limit.saturating_sub(usage.used + usage.held),
            window: described(&rules.windows[quota.window]),
            next_reset: usage.next_reset.and_then(written),
            next_free: usage.next_free.and_then(written),
            enforced: quota.enforce,
        }
    };
    standing
        .tier(rules)
        .quotas
        .iter()
        .zip(&balance.usages)
        .map(line)
        .collect()
}

fn described(window: &Window) -> String {
    match window {
        Window::Rolling(length) => format!("rolling {}", written_length(*length)),
        Window::Calendar(calendar) => calendar.name.to_string(),
    }
}

/// `24h`, `90m`, `45s`: in the largest unit that divides it.
fn written_length(length: Span) -> String {
    match length.as_secs_ceil() {
        secs if secs.is_multiple_of(3_600) => format!("{}h", secs / 3_600),
        secs if secs.is_multiple_of(60) => format!("{}m", secs / 60),
        secs => format!("{secs}s"),
    }
}

/// RFC 3339, in UTC.
pub fn written(at: UnixTime) -> Option<String> {
    let millis = i64::try_from(at.as_millis()).ok()?;
    Some(Timestamp::from_millisecond(millis).ok()?.to_string())
}
