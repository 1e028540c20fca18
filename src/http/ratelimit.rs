//! Rate limit headers of answers: the `RateLimit-Policy` and `RateLimit` fields for request limits, quotas and concurrency
//! together (draft-ietf-httpapi-ratelimit-headers-11), and the `X-RateLimit` headers of one request limit (rules §7.7).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limits::Met;
use super::quotas::balance;
use super::standing::Standing;
use crate::gate::Gate;
use crate::policy::Usage;
use crate::policy::limits::Left as LimitLeft;
use crate::policy::rules::{Limit, LimitId, Quota, Rules, Window};
use crate::policy::time::Span;

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// When answers carry a limit's `X-RateLimit` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeadersWhen {
    /// Always.
    #[default]
    Always,
    /// The limit and the remaining requests always, `X-RateLimit-Reset` on refusals only.
    ResetOnRefusal,
    /// On refusals only.
    OnRefusal,
    /// Never.
    Never,
}

/// Which headers answers carry.
#[derive(Clone, Debug)]
pub struct HeaderPolicy {
    /// Whether they carry `RateLimit-Policy` and `RateLimit`.
    pub fields: bool,
    /// When they carry `X-RateLimit` headers, by limit.
    pub when: Vec<LimitHeadersWhen>,
}

/// The job whose answer is being sent, while it holds units.
#[derive(Clone, Copy, Debug)]
pub struct HeldJob {
    /// Units that it will release: none if it succeeds.
    pub released: u32,
}

/// A caller on a metered route, whose answer reports quotas and concurrency.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// The caller.
    pub standing: &'a Standing,
    /// The gate that has its jobs.
    pub gate: &'a Gate,
    /// The rules of its identity.
    pub rules: &'a Rules,
    /// The job of this answer.
    pub job: Option<HeldJob>,
}

impl HeaderPolicy {
    /// Sets the headers for the limits that the request met, and for the caller's quotas and concurrency as they will be when
    /// this answer has ended. The upstream server's own rate limit headers would contradict them and are removed.
    pub fn set_headers(
        &self,
        headers: &mut HeaderMap,
        rules: &[Limit],
        met: Option<&Met>,
        metered: Option<Metered<'_>>,
    ) {
        // A refusal by an undisclosed limit discloses no limit at all (rules §7.4).
        let refused = met.and_then(|met| met.refused);
        let is_secret = refused.is_some_and(|id| !rules[id.index()].disclosed);
        if self.fields && (met.is_some() || metered.is_some()) {
            headers.remove(RATELIMIT_POLICY);
            headers.remove(RATELIMIT);
        }
        if let Some(met) = met {
            for name in [X_LIMIT, X_REMAINING, X_RESET] {
                headers.remove(name);
            }
            if !is_secret && let Some((left, reset)) = self.shown(rules, met) {
                headers.insert(X_LIMIT, left.number.into());
                headers.insert(X_REMAINING, left.remaining.into());
                if reset {
                    headers.insert(X_RESET, (met.at + left.until).as_secs_ceil().into());
                }
            }
        }
        if self.fields && !is_secret {
            let mut lefts: Vec<Allowance<'_>> = Vec::with_capacity(8);
            lefts.extend(met.into_iter().flat_map(|met| of_limits(rules, met)));
            if let Some(metered) = metered {
                lefts.extend(of_caller(metered));
            }
            write_fields(headers, &lefts);
        }
    }

    /// The limit for the `X-RateLimit` headers, and whether to send its reset: the limit that refused, otherwise the first one
    /// that is reported on every answer; of its counters, the one with the least left.
    fn shown<'m>(&self, rules: &[Limit], met: &'m Met) -> Option<(&'m LimitLeft, bool)> {
        let when = |id: LimitId| self.when.get(id.index()).copied().unwrap_or_default();
        let (id, reset) = match met.refused {
            Some(id) => (id, when(id) != LimitHeadersWhen::Never),
            None => {
                let told = |id: &LimitId| {
                    rules[id.index()].disclosed
                        && matches!(when(*id), LimitHeadersWhen::Always | LimitHeadersWhen::ResetOnRefusal)
                };
                let id = met.left.iter().map(|left| left.limit).find(told)?;
                (id, when(id) == LimitHeadersWhen::Always)
            }
        };
        (when(id) != LimitHeadersWhen::Never).then_some(())?;
        let of_it = met.left.iter().filter(|left| left.limit == id);
        let tightest = of_it.min_by_key(|left| (left.remaining, std::cmp::Reverse(left.until)))?;
        Some((tightest, reset))
    }
}

/// What is left of a limit, a quota or the concurrency.
struct Allowance<'a> {
    name: &'a str,
    limit: u64,
    remaining: u64,
    /// The length of its window, unless it varies.
    length: Option<Span>,
    /// The time until more is available.
    until: Option<Span>,
}

const CONCURRENCY: &str = "concurrency";

/// The disclosed limits, each by the counter with the least left. A 429 reports limits that count accounts only if they refused:
/// otherwise an account's numbers would tell a right key from a wrong one.
fn of_limits<'a>(rules: &'a [Limit], met: &Met) -> impl Iterator<Item = Allowance<'a>> {
    let mut told: Vec<(LimitId, Allowance<'a>)> = Vec::with_capacity(met.left.len());
    for left in &met.left {
        let limit = &rules[left.limit.index()];
        let is_kept_back = met.refused.is_some_and(|by| by != left.limit && limit.per.account);
        if !limit.disclosed || is_kept_back {
            continue;
        }
        let new = Allowance {
            name: &limit.name,
            limit: left.number.into(),
            remaining: left.remaining.into(),
            length: Some(limit.window),
            until: (!left.until.is_zero()).then_some(left.until),
        };
        match told.iter_mut().find(|(id, _)| *id == left.limit) {
            Some((_, known)) if (new.remaining, known.until) < (known.remaining, new.until) => *known = new,
            Some(_) => {}
            None => told.push((left.limit, new)),
        }
    }
    told.into_iter().map(|(_, left)| left)
}

/// What will be left of each of the caller's quotas, and last of its concurrency. A delegated user is also limited by its
/// account's: of two with the same name, the one with less left is reported.
fn of_caller<'a>(metered: Metered<'a>) -> Vec<Allowance<'a>> {
    let mut all = left(metered.standing, metered);
    if let Some(account) = metered.standing.delegating() {
        for other in left(&account, metered) {
            match all.iter_mut().find(|own| own.name == other.name) {
                Some(own) if other.remaining < own.remaining => *own = other,
                Some(_) => {}
                None => all.push(other),
            }
        }
    }
    all
}

fn write_fields(headers: &mut HeaderMap, lefts: &[Allowance<'_>]) {
    if lefts.is_empty() {
        return;
    }
    let (mut policy, mut state) = (String::with_capacity(128), String::with_capacity(96));
    // Writing to a String can't fail.
    for (place, left) in lefts.iter().enumerate() {
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
        // Names of limits and quotas are valid header text.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// What will be left of each of the caller's enforced quotas, and last of its concurrency. If the job has ended meanwhile, the
/// number is once too high by its units.
fn left<'a>(standing: &Standing, Metered { gate, rules, job, .. }: Metered<'a>) -> Vec<Allowance<'a>> {
    let balance = balance(standing, gate, rules);
    let released = job.map_or(0, |job| u64::from(job.released));
    let jobs = balance.jobs.saturating_sub(job.map_or(0, |_| 1));
    let quota = |(quota, usage): (&'a Quota, &Usage)| {
        let limit = standing.limit(quota);
        Allowance {
            name: &quota.name,
            limit,
            remaining: limit.saturating_sub(usage.used + usage.held.saturating_sub(released)),
            length: match &rules.windows[quota.window] {
                Window::Rolling(length) => Some(*length),
                Window::Calendar(_) => None,
            },
            until: usage.next_free.map(|free| free.since(balance.at)),
        }
    };
    let concurrency = standing.concurrency(rules);
    let concurrent = Allowance {
        name: CONCURRENCY,
        limit: concurrency.into(),
        remaining: concurrency.saturating_sub(jobs).into(),
        length: None,
        until: None,
    };
    let quotas = standing.tier(rules).quotas.iter().zip(&balance.usages);
    let enforced = quotas.filter(|(quota, _)| quota.enforce);
    enforced.map(quota).chain(std::iter::once(concurrent)).collect()
}
