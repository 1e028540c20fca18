//! What would change for callers: the queue, the sponsor levels, the request limits, and the accounts that the file lists.
//!
//! Tiers, limits and windows know each other by their place in the file. Here they are compared by name and value, so that a
//! place that moved is no difference of those who refer to it.
//!
//! Absent on purpose: the hash of any key.

use std::sync::Arc;

use http::Method;

use super::lists::{Matched, matched};
use super::said::{About, Said, changed, fields};
use super::words::{count, listed, or, span, switch, word};
use crate::config::tiers::DISPLACEMENTS_EACH;
use crate::config::{Account, LimitRoute};
use crate::path::Pattern;
use crate::policy::rules::{
    BlockAfter, Calendar, Kind, Limit, LimitId, Per, Priority, QueueRules, Quota, Raise, Rules, Tier, Window, Within,
};

pub(super) fn queue(old: &QueueRules, new: &QueueRules, about: &mut About<'_>) {
    let word = |within: &Within| match within {
        Within::Fifo => "fifo".to_owned(),
        Within::Fair => "fair".to_owned(),
    };
    fields!(
        about,
        old,
        new,
        QueueRules {
            length: u32::to_string,
            within_tier: word,
            max_wait: span,
            lifeline: or("off", u32::to_string),
        }
    );
}

/// Tiers, each with the rules of which they are.
pub(super) fn tiers((old, was): (&[Tier], &Rules), (new, is): (&[Tier], &Rules), said: &mut Said) {
    let Matched {
        now,
        removed,
        reordered,
    } = matched(old, new, |tier| &*tier.name);
    for (before, after) in now {
        let about = &mut said.about_tier(subject(after, is), &after.name);
        match before {
            Some(before) => tier((before, was), (after, is), about),
            None => about.change(format!("added: {}", terms(after, is))),
        }
    }
    for gone in removed {
        let heir = &is.tier(is.anonymous).name;
        let change = format!("removed: its accounts get the terms of `{heir}`");
        said.about_tier(subject(gone, was), &gone.name).change(change);
    }
    if reordered {
        said.about("tiers").change("their order changed");
    }
}

/// What a tier is called. Of the anonymous one everybody without an account is touched, and no number of accounts tells so.
fn subject(tier: &Tier, rules: &Rules) -> String {
    let anonymous = if rules.tier(rules.anonymous).name == tier.name {
        "anonymous "
    } else {
        ""
    };
    format!("{anonymous}tier `{}`", tier.name)
}

/// The most of what a tier grants, in a line.
fn terms(tier: &Tier, rules: &Rules) -> String {
    let quota = |quota: &Quota| {
        format!(
            "{} quota {}",
            quota.name,
            allowance(quota, &super::list(&rules.windows))
        )
    };
    let quotas: Vec<String> = tier.quotas.iter().map(quota).collect();
    let quotas = if quotas.is_empty() {
        "no quota".to_owned()
    } else {
        listed(quotas)
    };
    format!(
        "priority {}, concurrency {}, {quotas}",
        tier.priority.get(),
        tier.concurrency
    )
}

fn tier((old, was): (&Tier, &Rules), (new, is): (&Tier, &Rules), about: &mut About<'_>) {
    let Tier {
        name: _,
        priority,
        concurrency,
        quotas,
        max_wait,
        displacements_per_minute,
        limits,
    } = old;
    about.field("priority", priority, &new.priority, |priority: &Priority| {
        priority.get().to_string()
    });
    let usual = |concurrency: u32| concurrency.saturating_mul(DISPLACEMENTS_EACH);
    let displacements = (*displacements_per_minute, new.displacements_per_minute);
    // Unless the file says otherwise they follow from the concurrency: it is one change then.
    if *concurrency != new.concurrency && displacements == (usual(*concurrency), usual(new.concurrency)) {
        let concurrency = changed("concurrency", &concurrency.to_string(), &new.concurrency.to_string());
        let (old, new) = displacements;
        about.change(format!("{concurrency} (displacements_per_minute {old} → {new})"));
    } else {
        about.field("concurrency", concurrency, &new.concurrency, u32::to_string);
        about.field(
            "displacements_per_minute",
            &displacements.0,
            &displacements.1,
            u32::to_string,
        );
    }
    self::quotas(
        (quotas, &super::list(&was.windows)),
        (&new.quotas, &super::list(&is.windows)),
        about,
    );
    about.field("max_wait", max_wait, &new.max_wait, or("the queue's", span));
    raises((limits, was), (&new.limits, is), about);
}

/// A tier's quotas, each with the windows of its rules.
fn quotas((old, was): (&[Quota], &[Window]), (new, is): (&[Quota], &[Window]), about: &mut About<'_>) {
    let quotas = matched(old, new, |quota| &*quota.name);
    let added: Vec<&Quota> = quotas
        .now
        .iter()
        .filter(|(before, _)| before.is_none())
        .map(|(_, quota)| *quota)
        .collect();
    // A quota without a name of its own is called after its window, and with another window it is another.
    if let ([gone], [come]) = (quotas.removed.as_slice(), added.as_slice()) {
        let old = format!("{} quota {}", gone.name, allowance(gone, was));
        about.change(changed(
            "",
            &old,
            &format!("{} quota {}", come.name, allowance(come, is)),
        ));
    } else {
        for come in added {
            about.change(changed(&format!("{} quota", come.name), "none", &allowance(come, is)));
        }
        for gone in &quotas.removed {
            about.change(changed(&format!("{} quota", gone.name), &allowance(gone, was), "none"));
        }
    }
    for (before, after) in &quotas.now {
        let Some(Quota {
            name,
            limit,
            window,
            enforce,
        }) = before
        else {
            continue;
        };
        about.field(&format!("{name} quota"), limit, &after.limit, u64::to_string);
        let (old, new) = (&was[window.index()], &is[after.window.index()]);
        about.field(&format!("{name} quota's window"), old, new, self::window);
        about.field(&format!("{name} quota's enforce"), enforce, &after.enforce, switch);
    }
    if quotas.reordered {
        about.change("the order of its quotas changed");
    }
}

/// How much a quota is, and in which window.
fn allowance(quota: &Quota, windows: &[Window]) -> String {
    let enforced = if quota.enforce { "" } else { ", not enforced" };
    format!("{} ({}{enforced})", quota.limit, window(&windows[quota.window.index()]))
}

fn window(window: &Window) -> String {
    match window {
        Window::Rolling(length) => format!("rolling {}", span(length)),
        Window::Calendar(Calendar { name, starts: _ }) => format!("calendar {name}"),
    }
}

/// The windows are those of the quotas, in the order in which these first name them: what differs in them was said of a tier
/// that changed, came, went or moved. This is for rules that no file says.
pub(super) fn windows(old: &[Window], new: &[Window], said: &mut Said) {
    if old != new {
        said.about("tiers").change("the windows in which quotas count changed");
    }
}

/// A tier's own numbers for request limits, each with its rules.
fn raises((old, was): (&[Named], &Rules), (new, is): (&[Named], &Rules), about: &mut About<'_>) {
    // The names that belong to the places differ between the two.
    let by_name = |raises: &[Named], rules: &Rules| -> Vec<(Arc<str>, Raise)> {
        let name = |id: LimitId| Arc::clone(&rules.limits[id.index()].name);
        raises.iter().map(|(id, raise)| (name(*id), *raise)).collect()
    };
    let (old, new) = (by_name(old, was), by_name(new, is));
    let raises = matched(&old, &new, |(name, _)| &**name);
    for (before, (name, after)) in &raises.now {
        let before = before.map(|(_, raise)| *raise);
        about.field(&format!("limits.{name}"), &before, &Some(*after), or("none", raise));
    }
    for (name, before) in raises.removed {
        about.field(&format!("limits.{name}"), &Some(*before), &None, or("none", raise));
    }
    if raises.reordered {
        about.change("the order of its limits changed");
    }
}

/// A number of a tier's own.
type Named = (LimitId, Raise);

fn raise(raise: &Raise) -> String {
    let Raise { number, lifts_network } = raise;
    let lifts = if *lifts_network {
        " that lifts the network's"
    } else {
        ""
    };
    format!("{number}{lifts}")
}

/// Request limits, each with the requests that it is for.
pub(super) fn limits(
    (old, old_routes): (&[Limit], &[LimitRoute]),
    (new, new_routes): (&[Limit], &[LimitRoute]),
    said: &mut Said,
) {
    let (old, new): (Vec<_>, Vec<_>) = (
        old.iter().zip(old_routes).collect(),
        new.iter().zip(new_routes).collect(),
    );
    let limits = matched(&old, &new, |(limit, _)| &*limit.name);
    for (before, (after, matching)) in limits.now {
        let about = &mut said.about(format!("limit `{}`", after.name));
        if let Some((before, matched)) = before {
            limit(before, after, about);
            limit_route(matched, matching, about);
        } else {
            let (number, window, per) = (after.number, span(&after.window), per(&after.per));
            let enforced = if after.enforce { "" } else { ", not enforced" };
            about.change(format!(
                "added: {number} in {window}, {}, per {per}{enforced}",
                kind(&after.kind)
            ));
        }
    }
    for (gone, _) in limits.removed {
        said.about(format!("limit `{}`", gone.name)).change("removed");
    }
    if limits.reordered {
        said.about("limits").change("their order changed");
    }
}

fn limit(old: &Limit, new: &Limit, about: &mut About<'_>) {
    let block = |block: &BlockAfter| {
        let BlockAfter {
            refusals,
            within,
            lasts,
        } = block;
        format!("{refusals} refusals within {}, for {}", span(within), span(lasts))
    };
    fields!(about, old, new, Limit {
        per: self::per,
        number("limit"): u32::to_string,
        window: span,
        kind: self::kind,
        penalty: or("none", span),
        degraded: or("none", u32::to_string),
        disclosed: switch,
        enforce: switch,
        v6_prefix: u8::to_string,
        block_after: or("none", block);
        name
    });
}

fn limit_route(old: &LimitRoute, new: &LimitRoute, about: &mut About<'_>) {
    fields!(about, old, new, LimitRoute {
        headers: word,
        host("match.host"): or("any", String::clone),
        pattern("match.path"): or("any", |pattern: &Pattern| pattern.as_str().to_owned()),
        methods("match.methods"): or("any", |methods: &Vec<Method>| listed(methods)),
    });
}

fn per(per: &Per) -> String {
    let Per {
        network,
        account,
        global,
    } = *per;
    let kinds = [(network, "network"), (account, "account"), (global, "global")];
    listed(kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| kind))
}

fn kind(kind: &Kind) -> String {
    let words = match kind {
        Kind::Fixed => "fixed",
        Kind::Aligned => "fixed and aligned to the clock",
        Kind::Sliding => "sliding",
        Kind::Burst => "burst",
    };
    words.to_owned()
}

/// The accounts that the file lists, with the rules that have their tiers.
pub(super) fn accounts((old, was): (&[Account], &Rules), (new, is): (&[Account], &Rules), said: &mut Said) {
    let accounts = matched(old, new, |account| account.name.as_str());
    for (before, after) in accounts.now {
        let about = &mut said.about(format!("account `{}`", after.name));
        if let Some(before) = before {
            account((before, was), (after, is), about);
        } else {
            let keys = count(after.key_sha256.len(), "key");
            about.change(format!("added: tier {}, {keys}", is.tier(after.tier).name));
        }
    }
    for gone in accounts.removed {
        let change = format!("removed: tier {}", was.tier(gone.tier).name);
        said.about(format!("account `{}`", gone.name)).change(change);
    }
    if accounts.reordered {
        said.about("accounts").change("their order changed");
    }
}

fn account((old, was): (&Account, &Rules), (new, is): (&Account, &Rules), about: &mut About<'_>) {
    let Account {
        name: _,
        tier,
        key_sha256,
    } = old;
    let (before, after) = (&was.tier(*tier).name, &is.tier(new.tier).name);
    about.field("tier", before, after, ToString::to_string);
    let keys = matched(key_sha256, &new.key_sha256, |hash| hash);
    let added = keys.now.iter().filter(|(before, _)| before.is_none()).count();
    if added > 0 {
        about.change(format!("{} added", count(added, "key")));
    }
    if !keys.removed.is_empty() {
        about.change(format!("{} removed", count(keys.removed.len(), "key")));
    }
    if keys.reordered {
        about.change("the order of its keys changed");
    }
}
