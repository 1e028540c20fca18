//! Request limits that no request meets, and limits by which one caller can lock out all others.
//!
//! A request meets limits once it has a route or is for one of tiergate's own pages: so a limit is met only if some route or own
//! page shares a host, a path and a method with its `match`. tiergate answers `OPTIONS` itself, before any limit.

use http::Method;

use super::LintInput;
use crate::config::limits::LimitRoute;
use crate::config::prelude::*;
use crate::path::Pattern;
use crate::policy::rules::{Limit, Per};

/// The most hosts or paths that an advice lists.
const LISTED_MAX: usize = 8;
/// The methods of tiergate's own pages.
const OWN_METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// Requests that meet limits: those of a route, or for one of tiergate's own pages.
struct RequestSet<'r> {
    /// `None`: any.
    host: Option<&'r str>,
    pattern: &'r Pattern,
    /// `None`: all that are forwarded.
    methods: Option<&'r [Method]>,
}

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    let written = |section| read.root.value(section).map_or(0, |section| section.items().len());
    if read.limits.is_empty() || written("limits") != read.limits.len() {
        return;
    }
    for_all_alone(read, report);
    // Unknown what an invalid route would have matched.
    if read.routes.is_empty() || written("routes") != read.routes.len() {
        return;
    }
    let own: Vec<Pattern> = [&read.paths.me, &read.paths.stats]
        .into_iter()
        .flatten()
        .filter_map(|path| Pattern::parse(path).ok())
        .collect();
    let routes = read.routes.iter().map(|(route, _)| RequestSet {
        host: route.host.as_deref(),
        pattern: &route.pattern,
        methods: route.methods.as_deref(),
    });
    let own = own.iter().map(|pattern| RequestSet {
        host: None,
        pattern,
        methods: Some(&OWN_METHODS),
    });
    let (routes, own): (Vec<_>, Vec<_>) = (routes.collect(), own.collect());
    for (limit, matching) in read.limits.iter().zip(read.limit_routes) {
        preflights(read, limit, report);
        unreachable(read, limit, matching, (&routes, &own), report);
    }
}

/// Reports files whose only limits are for all callers together.
fn for_all_alone(read: &LintInput<'_>, report: &mut Report) {
    const GLOBAL: Per = Per {
        network: false,
        account: false,
        global: true,
    };
    let [first, ..] = read.limits else { return };
    if read.limits.iter().all(|limit| limit.per == GLOBAL) {
        let message = "all request limits are `per: global`: one caller can use them up for everyone";
        let advice = "add one by address: { name: http, per: network, limit: 100, window: 60s }";
        report.warn(place(read, first, &["per"]), message, advice);
    }
}

/// `OPTIONS` among the methods of a limit.
fn preflights(read: &LintInput<'_>, limit: &Limit, report: &mut Report) {
    let methods = written(read, limit).and_then(|limit| limit.value("match")?.value("methods"));
    let items = methods.map_or(&[][..], Node::items);
    for item in items
        .iter()
        .filter(|item| item.text() == Some(Method::OPTIONS.as_str()))
    {
        let message = format!("limit {} never meets `OPTIONS`", quoted(&limit.name));
        let advice = "leave it out: tiergate answers preflights itself, and they are charged to no limit";
        report.warn(item.place, message, advice);
    }
}

/// Reports a limit whose host, path or methods no route or page has.
fn unreachable(
    read: &LintInput<'_>,
    limit: &Limit,
    matching: &LimitRoute,
    (routes, own): (&[RequestSet<'_>], &[RequestSet<'_>]),
    report: &mut Report,
) {
    let name = quoted(&limit.name);
    let of_host = |target: &&RequestSet<'_>| match (&matching.host, target.host) {
        (Some(asked), Some(host)) => asked == host,
        _ => true,
    };
    let of_path = |target: &&RequestSet<'_>| {
        let pattern = matching.pattern.as_ref();
        pattern.is_none_or(|pattern| pattern.meets(target.pattern))
    };
    let hosted: Vec<&RequestSet<'_>> = routes.iter().filter(of_host).collect();
    let found: Vec<&RequestSet<'_>> = hosted.iter().copied().chain(own).filter(of_path).collect();
    let asked = matching.methods.iter().flatten();
    let asked: Vec<&Method> = asked.filter(|method| **method != Method::OPTIONS).collect();
    let is_taken = |target: &&RequestSet<'_>| asked.iter().any(|method| takes(target, method));
    let (field, message, advice) = if hosted.is_empty() {
        let hosts = listed(routes.iter().filter_map(|route| route.host));
        (
            "host",
            "a host that no route serves",
            format!("hosts of routes: {hosts}"),
        )
    } else if found.is_empty() {
        let paths = listed(hosted.iter().map(|route| route.pattern.as_str()));
        ("path", "a path that no route has", format!("paths of routes: {paths}"))
    } else if !asked.is_empty() && !found.iter().any(is_taken) {
        let advice = "name some that they take, or leave `methods` out".to_owned();
        ("methods", "methods that none of its routes takes", advice)
    } else {
        return;
    };
    report.warn(
        place(read, limit, &["match", field]),
        format!("limit {name} is for {message}"),
        advice,
    );
}

/// Whether a request can have that method, in the sense of limits: `GET` includes `HEAD`.
fn takes(target: &RequestSet<'_>, method: &Method) -> bool {
    match target.methods {
        None => *method != Method::CONNECT && *method != Method::TRACE,
        Some(methods) => methods.iter().any(|taken| {
            taken == method
                || matches!(
                    (taken, method),
                    (&Method::GET, &Method::HEAD) | (&Method::HEAD, &Method::GET)
                )
        }),
    }
}

/// Without duplicates, in the order of the file.
fn listed<'t>(names: impl Iterator<Item = &'t str>) -> String {
    let mut listed: Vec<&str> = Vec::new();
    for name in names {
        if !listed.contains(&name) {
            listed.push(name);
        }
    }
    let more = if listed.len() > LISTED_MAX { ", …" } else { "" };
    let shown: Vec<String> = listed.iter().take(LISTED_MAX).map(|name| quoted(name)).collect();
    shown.join(", ") + more
}

fn written<'r>(read: &LintInput<'r>, limit: &Limit) -> Option<&'r Node> {
    let is_it = |item: &&Node| item.value("name").and_then(Node::text) == Some(&*limit.name);
    read.root
        .value("limits")?
        .items()
        .iter()
        .map(|item| &**item)
        .find(is_it)
}

/// Where the value at the end of that path of fields of the limit stands, or the last of them that is written.
fn place(read: &LintInput<'_>, limit: &Limit, path: &[&str]) -> Location {
    let Some(mut node) = written(read, limit) else {
        return read.place(&["limits"]);
    };
    for name in path {
        match node.value(name) {
            Some(value) => node = value,
            None => break,
        }
    }
    node.place
}
