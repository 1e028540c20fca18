//! What is forwarded where: host, path and methods to an upstream, metered or not.
//!
//! Absent on purpose: how a request is matched (`http::routes`) and what a pattern means (`path`).

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;

use super::error::Report;
use super::excerpt::quoted;
use super::read::{Fields, Names, list, shown};
use super::upstreams::host_and_port;
use super::value::{boolean, duration, one_of, size, small_integer, text};
use super::yaml::{Node, Place};
use crate::path::Pattern;
use crate::policy::rules::PoolId;

/// Routes, at most.
pub const ROUTES_MAX: usize = 256;
/// The largest request body unless the route says otherwise, in bytes: 1 MiB.
pub const MAX_BODY_DEFAULT: u64 = 1 << 20;
/// The largest body that can be allowed, in bytes: 1 TiB.
const MAX_BODY_MAX: u64 = 1 << 40;
/// The longest path, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 1024;
/// Methods of a route, at most.
pub(super) const METHODS_MAX: usize = 16;
/// The longest method, in characters.
const METHOD_CHARS_MAX: usize = 32;
/// Statuses that are a success, at most.
pub(super) const SUCCESSES_MAX: usize = 100;
/// Statuses that there are.
pub(super) const STATUSES: RangeInclusive<u32> = 100..=599;
/// Units of quota that a success takes.
pub(super) const COST: RangeInclusive<u32> = 0..=10_000;

pub(super) const KNOWN: [&str; 10] = [
    "host",
    "path",
    "methods",
    "upstream",
    "metered",
    "max_body",
    "max_wait",
    "success",
    "cost",
    "on_hangup",
];
/// What says how a job is treated, and only a metered route has jobs.
const OF_METERED: [&str; 4] = ["max_wait", "success", "cost", "on_hangup"];

/// What happens to a job at the worker when its client hangs up (semantics §5.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHangup {
    /// The worker finishes, and a success is debited.
    #[default]
    Finish,
    /// The worker's request is dropped and nothing is debited, unless a success head has been sent.
    Cancel,
}

/// What is forwarded to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host that is asked, in lower case and without a port, IPv6 in brackets; `None`: any.
    pub host: Option<String>,
    /// The path.
    pub pattern: Pattern,
    /// The methods; `None`: all of them.
    pub methods: Option<Vec<Method>>,
    /// Where it goes.
    pub upstream: PoolId,
    /// Whether a request needs a seat, a slot, concurrency and quota. Default false.
    pub metered: bool,
    /// The largest request body, in bytes. Default 1 MiB, at most 1 TiB; 0: none.
    pub max_body: u64,
    /// The longest wait, if shorter than the queue's and the tier's. Metered routes only.
    pub max_wait: Option<Duration>,
    /// The statuses that debit, 100 to 599. Default 200 alone.
    pub success: Vec<u16>,
    /// Units of quota that a success takes, at most 10,000. Default 1; 0 is a peek.
    pub cost: u32,
    /// What a hang-up does to a running job. Default `finish`.
    pub on_hangup: OnHangup,
}

/// `routes: [ … ]`, which refer to those upstreams. Each route that is right, with the place of its path.
pub(super) fn read(node: &Node, upstreams: &Names<'_>, report: &mut Report) -> Option<Vec<(Route, Place)>> {
    let mut routes = Vec::new();
    list(node, "route", (1, ROUTES_MAX), report, |item, report| {
        if let Some(route) = route(item, upstreams, report) {
            routes.push(route);
        }
        Some(())
    })?;
    check_overlaps(&routes, report);
    Some(routes)
}

fn route(node: &Node, upstreams: &Names<'_>, report: &mut Report) -> Option<(Route, Place)> {
    let fields = Fields::of(node, "this route", node.place, &KNOWN, report)?;
    let path = fields.required("path", "add `path`, such as /search", report, pattern);
    let advice = "add `upstream`: where it is forwarded";
    let upstream = fields.required("upstream", advice, report, |node, report| {
        upstreams.resolve(node, report)
    });
    let metered = fields.maybe("metered", report, boolean);
    let host = fields.maybe("host", report, host);
    let methods = fields.maybe("methods", report, methods);
    let max_body = fields.or("max_body", MAX_BODY_DEFAULT, report, |node, report| {
        size(node, 0..=MAX_BODY_MAX, report)
    });
    let max_wait = fields.maybe("max_wait", report, duration);
    let success = fields.or("success", vec![200], report, statuses);
    let cost = fields.or("cost", 1, report, |node, report| small_integer(node, COST, report));
    let words = [("finish", OnHangup::Finish), ("cancel", OnHangup::Cancel)];
    let on_hangup = fields.or("on_hangup", OnHangup::Finish, report, |node, report| {
        one_of(node, &words, report)
    });
    // If `metered` could not be read, nobody knows.
    let metered = if fields.is_meant("metered") { metered? } else { false };
    for name in OF_METERED {
        if let (Some(value), false) = (fields.get(name), metered) {
            let message = format!("`{name}` says nothing on a route that is not metered");
            report.add(
                value.place,
                message,
                "add `metered: true` to the route, or leave this out",
            );
        }
    }
    let (pattern, place) = path?;
    let upstream = PoolId(upstream?);
    Some((
        Route {
            host,
            pattern,
            methods,
            upstream,
            metered,
            max_body,
            max_wait,
            success,
            cost,
            on_hangup,
        },
        place,
    ))
}

fn pattern(node: &Node, report: &mut Report) -> Option<(Pattern, Place)> {
    let written = text(node, "a path", report)?;
    if written.len() > PATH_BYTES_MAX {
        report.add(node.place, format!("a path is at most {PATH_BYTES_MAX} bytes long"), "");
        return None;
    }
    match Pattern::parse(written) {
        Ok(pattern) => Some((pattern, node.place)),
        Err(why) => {
            let (why, advice) = match written.contains('?') {
                true => (
                    "a query can't be matched".to_owned(),
                    "leave out the `?` and what follows it",
                ),
                false => (
                    why.to_string(),
                    "write a path such as /search, /image/{id} or \"/image/{*rest}\"",
                ),
            };
            // Why quotes of it.
            let why = if node.secret { String::new() } else { format!(": {why}") };
            report.add(node.place, format!("{} is not a path{why}", shown(node)), advice);
            None
        }
    }
}

/// A path of which the last segment may be `*`, as many tools write it: everything below, whatever it is.
pub(super) fn pattern_with_star(node: &Node, report: &mut Report) -> Option<Pattern> {
    let below = node.text().and_then(|text| text.strip_suffix("/*"));
    if let Some(Ok(pattern)) = below.map(|below| Pattern::parse(&format!("{below}/{{*rest}}")))
        && pattern.as_str().len() <= PATH_BYTES_MAX
    {
        return Some(pattern);
    }
    pattern(node, report).map(|(pattern, _)| pattern)
}

/// A host as requests name it, without a port.
pub(super) fn host(node: &Node, report: &mut Report) -> Option<String> {
    let written = text(node, "a host", report)?.to_ascii_lowercase();
    match host_and_port(&written) {
        Some((host, None)) if host.parse::<Ipv6Addr>().is_ok() => Some(format!("[{host}]")),
        Some((host, None)) => Some(host),
        Some((host, Some(_))) => {
            report.add(
                node.place,
                "a host here has no port",
                format!("write {}", super::excerpt::printable(&host)),
            );
            None
        }
        None => {
            report.add(
                node.place,
                format!("{} is not a host", shown(node)),
                "write a name such as api.example.org",
            );
            None
        }
    }
}

pub(super) fn methods(node: &Node, report: &mut Report) -> Option<Vec<Method>> {
    let mut seen: Vec<Method> = Vec::new();
    list(node, "method", (1, METHODS_MAX), report, |item, report| {
        let written = text(item, "a method", report)?;
        let upper = written.to_ascii_uppercase();
        let method = Method::from_bytes(upper.as_bytes())
            .ok()
            .filter(|_| written.len() <= METHOD_CHARS_MAX);
        let (message, advice) = match method {
            Some(method) if seen.contains(&method) => (format!("`{method}` is named twice"), "keep one of them".into()),
            Some(method) if upper == written => {
                seen.push(method.clone());
                return Some(method);
            }
            Some(method) => (format!("{} is not a method", shown(item)), format!("write {method}")),
            None => (
                format!("{} is not a method", shown(item)),
                "write one such as GET or POST".to_owned(),
            ),
        };
        report.add(item.place, message, advice);
        None
    })
}

fn statuses(node: &Node, report: &mut Report) -> Option<Vec<u16>> {
    let mut seen: Vec<u16> = Vec::new();
    list(node, "status", (1, SUCCESSES_MAX), report, |item, report| {
        let status = u16::try_from(small_integer(item, STATUSES, report)?).ok()?;
        if seen.contains(&status) {
            report.add(item.place, format!("`{status}` is named twice"), "keep one of them");
            return None;
        }
        seen.push(status);
        Some(status)
    })
}

/// Reports routes that the same request would match, and unmetered ones that a metered one always comes before.
fn check_overlaps(routes: &[(Route, Place)], report: &mut Report) {
    let shapes: Vec<String> = routes.iter().map(|(route, _)| shape(&route.pattern)).collect();
    for (number, (route, place)) in routes.iter().enumerate() {
        let alike = |earlier: &usize| {
            let other = &routes[*earlier].0;
            // A metered path is matched without regard to case (semantics §2).
            let any_case = (route.metered || other.metered) && shapes[number].eq_ignore_ascii_case(&shapes[*earlier]);
            (any_case || shapes[number] == shapes[*earlier]) && meet(route, other)
        };
        let Some(earlier) = (0..number).find(alike) else {
            continue;
        };
        let (other, at) = &routes[earlier];
        if route.metered == other.metered || shapes[number] == shapes[earlier] {
            let path = quoted(route.pattern.as_str());
            let message = format!(
                "{path} is routed twice for the same methods; the first is on line {}",
                at.line
            );
            report.add(
                *place,
                message,
                "keep one of them, or give them different `methods` or `host`",
            );
        } else {
            let (unmetered, here, line) = if route.metered {
                (other, at, place.line)
            } else {
                (route, place, at.line)
            };
            let path = quoted(unmetered.pattern.as_str());
            let message = format!("{path} can never be reached: the metered route on line {line} takes it");
            let advice = "a metered route is matched without regard to case; take this one out or rename it";
            report.add(*here, message, advice);
        }
    }
}

/// Whether both routes are for the same host and some method in common.
fn meet(a: &Route, b: &Route) -> bool {
    let methods = match (&a.methods, &b.methods) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        _ => true,
    };
    a.host == b.host && methods
}

/// The pattern without the names of what it captures, which make no difference to what it matches.
fn shape(pattern: &Pattern) -> String {
    let mut shape = String::new();
    let mut within = false;
    for c in pattern.as_str().chars() {
        within &= c != '}';
        if !within || c == '*' {
            shape.push(c);
        }
        within |= c == '{';
    }
    shape
}
