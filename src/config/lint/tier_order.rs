//! Tiers by price: tiers that cost more and get less, an anonymous tier that gets more than sponsors, and tiers without
//! difference.
//!
//! A tier's price is in its name, `$5` or `$2.50`. Tiers with other names have no price and are not compared, except for the
//! anonymous tier, which costs nothing. Compared are priority, concurrency, quotas in the same window, and own numbers for
//! request limits.

use std::collections::BTreeSet;

use super::LintInput;
use crate::config::prelude::*;
use crate::policy::rules::{LimitId, Tier, WindowId};

/// Digits of a price before the point, at most: more is a name.
const PRICE_DIGITS_MAX: usize = 9;

/// The properties in which tiers are compared.
#[derive(Clone, Copy)]
enum Aspect {
    Priority,
    Concurrency,
    Quota(WindowId),
    Limit(LimitId),
}

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    let priced = read
        .tiers
        .iter()
        .filter_map(|tier| Some((price_cents(&tier.name)?, tier)));
    let mut paid: Vec<(u64, &Tier)> = priced.collect();
    paid.sort_by_key(|(price, _)| *price);
    let aspects = aspects(read);
    for aspect in &aspects {
        steps(read, &paid, *aspect, report);
        strangers(read, &paid, *aspect, report);
    }
    one_priority(read, &paid, report);
}

/// The price in a tier's name.
fn price_cents(name: &str) -> Option<u64> {
    let price = name.strip_prefix('$')?;
    let (whole, cents) = price.split_once('.').unwrap_or((price, "0"));
    let digits = |text: &str, most: usize| {
        let legal = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        legal.then(|| text.parse::<u64>().ok()).flatten()
    };
    let tens = if cents.len() == 1 { 10 } else { 1 };
    Some(digits(whole, PRICE_DIGITS_MAX)? * 100 + digits(cents, 2)? * tens)
}

fn aspects(read: &LintInput<'_>) -> Vec<Aspect> {
    let mut aspects = vec![Aspect::Priority, Aspect::Concurrency];
    aspects.extend((0..).map(WindowId).take(read.windows.len()).map(Aspect::Quota));
    let own = read.tiers.iter().flat_map(|tier| &tier.limits).map(|(id, _)| *id);
    aspects.extend(own.collect::<BTreeSet<_>>().into_iter().map(Aspect::Limit));
    aspects
}

/// How much a tier gets; more is better. `None`: not comparable. Without a quota there is no bound.
fn gets(read: &LintInput<'_>, tier: &Tier, aspect: Aspect) -> Option<u64> {
    match aspect {
        Aspect::Priority => Some(tier.priority.get().into()),
        Aspect::Concurrency => Some(tier.concurrency.into()),
        Aspect::Quota(_) if tier.quotas.is_empty() => Some(u64::MAX),
        Aspect::Quota(window) => {
            let of_window = tier.quotas.iter().filter(|quota| quota.window == window);
            of_window.map(|quota| quota.limit).min()
        }
        Aspect::Limit(id) => {
            let own = tier.limits.iter().find(|(limit, _)| *limit == id);
            let number = match own {
                Some((_, raise)) => raise.number,
                None => read.limit(id.index())?.number,
            };
            Some(number.into())
        }
    }
}

/// Reports each tier that gets less than a cheaper one, and names the cheaper one that gets the most. The anonymous tier
/// is compared separately.
fn steps(read: &LintInput<'_>, paid: &[(u64, &Tier)], aspect: Aspect, report: &mut Report) {
    let strangers = read.anonymous().map(|tier| &tier.name);
    let all = paid
        .iter()
        .filter_map(|(price, tier)| Some((*price, gets(read, tier, aspect)?, *tier)));
    let all: Vec<(u64, u64, &Tier)> = all.collect();
    for (price, got, tier) in &all {
        let cheaper = all
            .iter()
            .filter(|(other, _, tier)| other < price && strangers != Some(&tier.name));
        // The cheapest of several.
        let best = cheaper.rev().max_by_key(|(_, got, _)| *got);
        if let Some((_, more, best)) = best.filter(|(_, more, _)| more > got) {
            let (name, best) = (quoted(&tier.name), quoted(&best.name));
            let less = less(read, aspect, *got, *more);
            let message = format!("tier {name} costs more than tier {best} and gets {less}");
            let advice = format!("give it at least as much, or tier {best} less");
            report.warn(place(read, tier, aspect), message, advice);
        }
    }
}

/// Reports an anonymous tier that gets more than a paying one, and names the paying one that gets the least.
fn strangers(read: &LintInput<'_>, paid: &[(u64, &Tier)], aspect: Aspect, report: &mut Report) {
    let Some(anonymous) = read.anonymous() else { return };
    let Some(got) = gets(read, anonymous, aspect) else {
        return;
    };
    let others = paid.iter().filter(|(_, tier)| tier.name != anonymous.name);
    let others = others.filter_map(|(_, tier)| Some((gets(read, tier, aspect)?, tier)));
    let least = others.min_by_key(|(got, _)| *got).filter(|(least, _)| *least < got);
    if let Some((less_got, tier)) = least {
        let (name, strangers) = (quoted(&tier.name), quoted(&anonymous.name));
        let less = less(read, aspect, less_got, got);
        let message =
            format!("tier {name} costs more than {strangers}, that of those without an account, and gets {less}");
        let advice = format!("give tier {strangers} less, or tier {name} as much");
        report.warn(place(read, anonymous, aspect), message, advice);
    }
}

/// The wording for a property: this much, less than the other.
fn less(read: &LintInput<'_>, aspect: Aspect, got: u64, more: u64) -> String {
    match aspect {
        Aspect::Priority => format!("a lower priority: {got}, not {more}"),
        Aspect::Concurrency => format!("less concurrency: {got}, not {more}"),
        Aspect::Quota(window) => {
            let quota = words::quota(&read.windows[window.index()]);
            match more {
                u64::MAX => format!("a {quota} of {got}, where that one has none"),
                more => format!("a smaller {quota}: {got}, not {more}"),
            }
        }
        Aspect::Limit(id) => match read.limit(id.index()) {
            None => format!("fewer requests: {got}, not {more}"),
            Some(limit) => {
                let (name, window) = (quoted(&limit.name), words::span(limit.window));
                format!("fewer requests by limit {name}: {got}, not {more} in {window}")
            }
        },
    }
}

fn place(read: &LintInput<'_>, tier: &Tier, aspect: Aspect) -> Location {
    match aspect {
        Aspect::Priority => read.tier_place(tier, "priority"),
        Aspect::Concurrency => read.tier_place(tier, "concurrency"),
        Aspect::Quota(window) => {
            let of_window = tier.quotas.iter().filter(|quota| quota.window == window);
            match of_window.min_by_key(|quota| quota.limit) {
                Some(quota) => super::quotas::place(read, tier, quota),
                None => read.tier_place(tier, "quota"),
            }
        }
        Aspect::Limit(_) => read.tier_place(tier, "limits"),
    }
}

/// Reports paid tiers that all share one priority, so that no tier goes first.
fn one_priority(read: &LintInput<'_>, paid: &[(u64, &Tier)], report: &mut Report) {
    let [first, others @ ..] = read.tiers else { return };
    let same = others.iter().all(|tier| tier.priority == first.priority);
    if others.is_empty() || !same || paid.is_empty() || read.queue.is_none_or(|queue| queue.length == 0) {
        return;
    }
    let priority = first.priority.get();
    let message = format!("all tiers have priority {priority}: no job goes before another, and none is displaced");
    let advice = "give tiers that cost more a higher priority, from 0 to 6";
    report.warn(read.tier_place(first, "priority"), message, advice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_from_the_name() {
        assert_eq!(price_cents("$5"), Some(500));
        assert_eq!(price_cents("$2.50"), Some(250));
        assert_eq!(price_cents("$2.5"), Some(250));
        assert_eq!(price_cents("$0"), Some(0));
        for none in [
            "free",
            "5",
            "$",
            "$x",
            "$5.",
            "$.5",
            "$5.555",
            "$5+",
            "$-5",
            "$1234567890",
        ] {
            assert_eq!(price_cents(none), None, "{none}");
        }
    }
}
