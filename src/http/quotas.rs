//! What callers are told of their quotas: the lines of `/me`, and the `RateLimit` fields of metered answers
//! (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! Absent on purpose: what is counted and how, which is `policy`'s.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;

use super::standing::Standing;
use crate::gate::{Balance, Gate};
use crate::policy::Usage;
use crate::policy::rules::{Quota, Window};
use crate::policy::time::{Span, UnixTime};

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

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
    next_reset: Option<String>,
    /// When the next unit comes back; `null` if none is used.
    next_free: Option<String>,
}

/// What the caller has used of its tier's quotas at this moment.
pub fn balance(standing: &Standing<'_>, gate: &Gate) -> Balance {
    gate.account_of(&standing.caller, standing.tier.quotas.iter().map(|quota| quota.window))
}

/// The same as `/me` shows it.
pub fn lines(standing: &Standing<'_>, balance: &Balance) -> Vec<Line> {
    let line = |(quota, usage): (&Quota, &Usage)| {
        let limit = standing.limit(quota);
        Line {
            name: quota.name.to_string(),
            limit,
            used: usage.used,
            held: usage.held,
            remaining: limit.saturating_sub(usage.used + usage.held),
            window: described(&standing.windows[quota.window.index()]),
            next_reset: usage.next_reset.and_then(written),
            next_free: usage.next_free.and_then(written),
        }
    };
    standing.tier.quotas.iter().zip(&balance.usages).map(line).collect()
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

/// What one quota, or the concurrency, leaves.
struct Left<'a> {
    name: &'a str,
    limit: u64,
    remaining: u64,
    /// The length of a rolling window.
    length: Option<Span>,
    /// Until more.
    until: Option<Span>,
}

const CONCURRENCY: &str = "concurrency";

/// The job of the answer that is being told, while it is in the house.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Units that it will give back: none if it succeeds.
    pub released: u32,
}

/// Sets `RateLimit-Policy` and `RateLimit` for the caller's quotas and its concurrency, as they will be when this answer has ended;
/// a worker's own would make them unreadable. A quota's `t` is when the next unit comes back. A user is limited by its account's as well: of two of the same
/// name it is told of the one that leaves less.
pub fn tell(headers: &mut HeaderMap, standing: &Standing<'_>, gate: &Gate, own: Option<Own>) {
    let mut all = left(standing, gate, own);
    if let Some(account) = standing.delegating() {
        for other in left(&account, gate, own) {
            match all.iter_mut().find(|own| own.name == other.name) {
                Some(own) if other.remaining < own.remaining => *own = other,
                Some(_) => {}
                None => all.push(other),
            }
        }
    }
    let (mut policy, mut state) = (String::with_capacity(96), String::with_capacity(64));
    // Writing to a String can't fail.
    for (place, left) in all.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(policy, "{comma}\"{}\";q={}", left.name, left.limit);
        let _ = write!(state, "{comma}\"{}\";r={}", left.name, left.remaining);
        if left.name == CONCURRENCY {
            policy.push_str(";qu=\"concurrent-requests\"");
        }
        if let Some(length) = left.length {
            let _ = write!(policy, ";w={}", length.as_secs_ceil());
        }
        if let Some(until) = left.until {
            let _ = write!(state, ";t={}", until.as_secs_ceil());
        }
    }
    for (name, text) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
        // Names of quotas are made of what headers carry.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// What will be left of each of the caller's quotas, and at last of its concurrency. The job may have ended meanwhile: then a unit
/// too many is told, for once.
fn left<'a>(standing: &Standing<'a>, gate: &Gate, own: Option<Own>) -> Vec<Left<'a>> {
    let balance = balance(standing, gate);
    let released = own.map_or(0, |own| u64::from(own.released));
    let jobs = balance.jobs.saturating_sub(own.map_or(0, |_| 1));
    let quota = |(quota, usage): (&'a Quota, &Usage)| {
        let limit = standing.limit(quota);
        Left {
            name: &quota.name,
            limit,
            remaining: limit.saturating_sub(usage.used + usage.held.saturating_sub(released)),
            length: match &standing.windows[quota.window.index()] {
                Window::Rolling(length) => Some(*length),
                Window::Calendar(_) => None,
            },
            until: usage.next_free.map(|free| free.since(balance.at)),
        }
    };
    let concurrency = standing.concurrency();
    let concurrent = Left {
        name: CONCURRENCY,
        limit: concurrency.into(),
        remaining: concurrency.saturating_sub(jobs).into(),
        length: None,
        until: None,
    };
    let quotas = standing.tier.quotas.iter().zip(&balance.usages);
    quotas.map(quota).chain(std::iter::once(concurrent)).collect()
}
