//! What would change behind the door: upstreams, their servers and slots, and what is forwarded to them.
//!
//! Absent on purpose: whether a server is up.

use http::Method;

use super::lists::{matched, matched_by};
use super::said::{About, Said, changed, fields};
use super::words::{count, length, listed, or, switch, word};
use crate::config::value::show_size;
use crate::config::{Health, Route, Server, Upstream};
use crate::policy::rules::PoolRules;

/// Upstreams, each with what the policy knows of it.
pub(super) fn upstreams(
    (old, old_pools): (&[Upstream], &[PoolRules]),
    (new, new_pools): (&[Upstream], &[PoolRules]),
    said: &mut Said,
) {
    let (old, new): (Vec<_>, Vec<_>) = (old.iter().zip(old_pools).collect(), new.iter().zip(new_pools).collect());
    let upstreams = matched(&old, &new, |(upstream, _)| upstream.name.as_str());
    for (before, after) in upstreams.now {
        let about = &mut said.about(format!("upstream `{}`", after.0.name));
        match before {
            Some(before) => upstream(*before, *after, about),
            None => about.change(format!("added: {}", strength(after.0))),
        }
    }
    for (gone, _) in upstreams.removed {
        let change = format!("removed: {}", strength(gone));
        said.about(format!("upstream `{}`", gone.name)).change(change);
    }
    if upstreams.reordered {
        said.about("upstreams").change("their order changed");
    }
}

/// How many servers and slots.
fn strength(upstream: &Upstream) -> String {
    let slots = upstream.servers.iter().map(|server| server.slots as usize).sum();
    format!("{}, {}", count(upstream.servers.len(), "server"), count(slots, "slot"))
}

fn upstream((old, old_pool): (&Upstream, &PoolRules), (new, new_pool): (&Upstream, &PoolRules), about: &mut About<'_>) {
    let Upstream {
        name: _,
        servers,
        connect_timeout,
        first_byte_timeout,
        timeout,
        idle_timeout,
        health,
    } = old;
    let PoolRules { name: _, servers: _ } = old_pool;
    let slots = |pool: &PoolRules| pool.servers.iter().map(|server| server.slots).collect::<Vec<u32>>();
    self::servers(servers, &new.servers, about);
    // The policy's slots are those of the servers, said already.
    if *servers == new.servers {
        about.field("slots", &slots(old_pool), &slots(new_pool), |slots: &Vec<u32>| {
            listed(slots)
        });
    }
    about.field("connect_timeout", connect_timeout, &new.connect_timeout, length);
    // Unless the file says otherwise the one follows from the other: it is one change then.
    if timeout != &new.timeout && (first_byte_timeout, &new.first_byte_timeout) == (timeout, &new.timeout) {
        let timeout = changed("timeout", &length(timeout), &length(&new.timeout));
        about.change(format!("{timeout} (first_byte_timeout as well)"));
    } else {
        about.field(
            "first_byte_timeout",
            first_byte_timeout,
            &new.first_byte_timeout,
            length,
        );
        about.field("timeout", timeout, &new.timeout, length);
    }
    about.field("idle_timeout", idle_timeout, &new.idle_timeout, length);
    about.field(
        "health",
        health,
        &new.health,
        or("none", |health: &Health| {
            let Health { path, every } = health;
            format!("{path} every {}", length(every))
        }),
    );
}

fn servers(old: &[Server], new: &[Server], about: &mut About<'_>) {
    let matched = matched(old, new, |server| (server.host.as_str(), server.port));
    for (before, after) in matched.now {
        let server = after.authority();
        if let Some(Server {
            host: _,
            port: _,
            slots,
        }) = before
        {
            about.field(&format!("server {server}: slots"), slots, &after.slots, u32::to_string);
        } else {
            about.change(format!(
                "server {server} added: {}",
                count(after.slots as usize, "slot")
            ));
        }
    }
    for gone in matched.removed {
        let slots = count(gone.slots as usize, "slot");
        about.change(format!("server {} removed: {slots}", gone.authority()));
    }
    if matched.reordered {
        about.change("the order of its servers changed");
    }
}

/// By what a route is known: its host, its path, its methods.
type Known<'c> = (Option<&'c str>, &'c str, Option<&'c [Method]>);

/// Routes, with the upstreams to which they lead.
pub(super) fn routes<'c>(
    (old, was): (&'c [Route], &[Upstream]),
    (new, is): (&'c [Route], &[Upstream]),
    said: &mut Said,
) {
    fn known(route: &Route) -> Known<'_> {
        (route.host.as_deref(), route.pattern.as_str(), route.methods.as_deref())
    }
    // A route has no name. Failing one of the same host, path and methods, it was that of the same host and path, or else that
    // of the same path and methods.
    let keys: [fn(&'c Route) -> Known<'c>; 3] = [
        known,
        |route| (known(route).0, known(route).1, None),
        |route| (None, known(route).1, known(route).2),
    ];
    let routes = matched_by(old, new, &keys);
    let leads = |route: &Route, upstreams: &[Upstream]| upstreams[route.upstream.index()].name.clone();
    for (before, after) in routes.now {
        let about = &mut said.about(subject(after));
        if let Some(before) = before {
            route((before, &leads(before, was)), (after, &leads(after, is)), about);
        } else {
            let metered = if after.metered { "metered" } else { "not metered" };
            about.change(format!("added: upstream {}, {metered}", leads(after, is)));
        }
    }
    for gone in routes.removed {
        let change = format!("removed: upstream {}", leads(gone, was));
        said.about(subject(gone)).change(change);
    }
    if routes.reordered {
        said.about("routes").change("their order changed");
    }
}

/// What a route is called: its methods, host and path.
fn subject(route: &Route) -> String {
    let methods = route
        .methods
        .as_ref()
        .map(|methods| listed(methods) + " ")
        .unwrap_or_default();
    let host = route.host.as_deref().unwrap_or_default();
    format!("route `{methods}{host}{}`", route.pattern.as_str())
}

/// A route, with the name of its upstream.
fn route((old, led): (&Route, &String), (new, leads): (&Route, &String), about: &mut About<'_>) {
    fields!(about, old, new, Route {
        host: or("any", String::clone),
        pattern("path"): |pattern| pattern.as_str().to_owned(),
        methods: or("any", |methods: &Vec<Method>| listed(methods));
        upstream, metered, max_body, max_wait, success, cost, on_hangup
    });
    about.field("upstream", led, leads, String::clone);
    fields!(about, old, new, Route {
        metered: switch,
        max_body: |bytes| show_size(*bytes),
        max_wait: or("the tier's", length),
        success: |statuses: &Vec<u16>| listed(statuses),
        cost: u32::to_string,
        on_hangup: word;
        host, pattern, methods, upstream
    });
}
