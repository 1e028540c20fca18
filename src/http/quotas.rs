//! The quotas as `/me` shows them.

use jiff::Timestamp;
use serde::Serialize;

use super::standing::Standing;
use crate::gate::{Balance, Gate};
use crate::policy::Usage;
use crate::policy::rules::{Quota, Rules, Window};
use crate::policy::time::{Span, UnixTime};

/// One quota of a caller.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaLine {
    name: String,
    /// Units that may be used within the window.
    pub limit: u64,
    /// Units debited.
    pub used: u64,
    /// Units held for running jobs.
    held: u64,
    /// Units that are neither used nor held.
    pub remaining: u64,
    /// `rolling 24h`, or `month UTC`.
    window: String,
    /// When all units used now will have come back; `null` if none are used.
    pub next_reset: Option<String>,
    /// When the next unit comes back; `null` if none is used.
    next_free: Option<String>,
    /// `false` if the quota is not enforced; otherwise left out.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub enforced: bool,
}

/// The current balance of the caller's quotas.
pub fn balance(standing: &Standing, gate: &Gate, rules: &Rules) -> Balance {
    let windows = standing.tier(rules).quotas.iter().map(|quota| quota.window);
    gate.account_of(&standing.caller, windows)
}

/// The balance as `/me` shows it.
pub fn lines(standing: &Standing, rules: &Rules, balance: &Balance) -> Vec<QuotaLine> {
    let line = |(quota, usage): (&Quota, &Usage)| {
        let limit = standing.limit(quota);
        QuotaLine {
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

/// `24h`, `90m`, `45s`: in the largest unit that divides the length.
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
