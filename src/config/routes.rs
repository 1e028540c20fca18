//! Routes: host, path and methods to an upstream, metered or not.

use std::net::Ipv6Addr;

use http::Method;

use super::listener::Paths;
use super::prelude::*;
use super::snippet::printable;
use super::upstreams::host_and_port;
use crate::path::Pattern;
use crate::policy::rules::UpstreamId;

/// The most routes.
pub const ROUTES_MAX: usize = 256;
/// The default for the largest request body, in bytes: 1 MiB.
pub const MAX_BODY_DEFAULT: u64 = 1 << 20;
/// The largest configurable body, in bytes: 1 TiB.
const MAX_BODY_MAX: u64 = 1 << 40;
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// The most methods of a route.
const METHODS_MAX: usize = 16;
/// The longest method, in characters.
const METHOD_CHARS_MAX: usize = 32;

/// Fields about jobs, which only metered routes have.
const OF_METERED: [&str; 4] = ["max_wait", "success", "cost", "on_hangup"];

/// What happens to a job at the upstream server when its client hangs up (rules §5.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnHangupSetting {
    /// Finish it, and count it.
    #[default]
    Finish,
    /// Cancel it.
    Cancel,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Route")]
pub struct RouteSection {
    /// Requested host, without a port; by default any.
    #[serde(default, with = "Maybe::<HostName>")]
    pub host: Option<String>,
    /// Path: /search, /image/{id} or "/image/{*rest}".
    #[serde(rename = "path", with = "As::<Path>")]
    #[schemars(extend("x-add" = "add `path`, such as /search"))]
    pub pattern: Pattern,
    /// Methods; by default all.
    #[serde(default, with = "Maybe::<Methods>")]
    pub methods: Option<Vec<Method>>,
    /// Upstream that gets the requests.
    #[serde(with = "As::<UpstreamName>")]
    #[schemars(extend("x-add" = "add `upstream`: where it is forwarded"))]
    pub upstream: UpstreamId,
    /// Whether requests need a place in the queue, a slot, concurrency and quota.
    #[serde(default)]
    pub metered: bool,
    /// Largest request body.
    #[serde(
        default = "number::<u64, MAX_BODY_DEFAULT>",
        with = "As::<Size<u64, 0, MAX_BODY_MAX>>"
    )]
    pub max_body: u64,
    /// Longest wait in the queue on this route, if shorter than the queue's; for metered routes.
    #[serde(default, with = "Maybe::<Length>")]
    pub max_wait: Option<Duration>,
    /// Statuses that count against the quota; for metered routes.
    #[serde(default = "ok", with = "As::<Several<Status, 1, 100>>")]
    pub success: Vec<u16>,
    /// Quota units that a success costs; 0 is a peek. For metered routes.
    #[serde(default = "number::<u32, 1>", with = "As::<Whole<u32, 0, 10_000>>")]
    pub cost: u32,
    /// What happens to a job whose client hangs up; for metered routes.
    #[serde(default)]
    pub on_hangup: OnHangupSetting,
}

impl Item for RouteSection {
    const NOUN: &'static str = "route";
}

type Status = Whole<u16, 100, 599>;

impl OfSeveral for Status {
    const NOUN: &'static str = "status";
    const ONCE: bool = true;
}

fn ok() -> Vec<u16> {
    vec![200]
}

/// Checks the routes. Returns the valid ones, with the locations of their paths.
pub(super) fn checked<'r>(
    routes: &'r [RouteSection],
    node: Option<&'r Node>,
    paths: &Paths,
    report: &mut Report,
) -> Vec<(&'r RouteSection, Location)> {
    let mut right = Vec::new();
    for entry in listed(routes, node) {
        unmetered(entry.value, entry.part(report));
        let part = entry.part(report);
        if part.right(&["path", "upstream"]) && part.sound(&["host", "methods", "metered"]) {
            right.push((entry.value, part.value("path").map_or(entry.at, |path| path.place)));
        }
    }
    check_overlaps(&right, report);
    check_own_paths(paths, &right, report);
    right
}

/// Reports fields without effect, since the route has no jobs.
fn unmetered(route: &RouteSection, mut part: Part<'_>) {
    // Unknown if `metered` could not be read.
    if route.metered || (part.is_meant("metered") && !part.right(&["metered"])) {
        return;
    }
    for name in OF_METERED {
        if part.value(name).is_some() {
            let message = format!("`{name}` says nothing on a route that is not metered");
            part.add(name, message, "add `metered: true` to the route, or leave this out");
        }
    }
}

/// A path, in which a segment may be a parameter; if `BELOW`, the last one may be `*`, as many tools write it: everything below,
/// whatever it is.
pub(super) struct Path<const BELOW: bool = false>;

impl<const BELOW: bool> Scalar for Path<BELOW> {
    type Value = Pattern;

    fn read(node: &Node, report: &mut Report) -> Option<Pattern> {
        let written = text(node, "a path", report)?;
        let below = written.strip_suffix("/*").filter(|_| BELOW);
        let below = below.and_then(|below| Pattern::parse(&format!("{below}/{{*rest}}")).ok());
        if let Some(pattern) = below.filter(|pattern| pattern.as_str().len() <= PATH_BYTES_MAX) {
            return Some(pattern);
        }
        if written.len() > PATH_BYTES_MAX {
            report.add(node.place, format!("a path is at most {PATH_BYTES_MAX} bytes long"), "");
            return None;
        }
        let why = match Pattern::parse(written) {
            Ok(pattern) => return Some(pattern),
            Err(_) if written.contains('?') => "a query can't be matched".to_owned(),
            Err(why) => why.to_string(),
        };
        let advice = match written.contains('?') {
            true => "leave out the `?` and what follows it",
            false => "write a path such as /search, /image/{id} or \"/image/{*rest}\"",
        };
        let message = match node.secret.get() {
            // Why quotes of it.
            true => format!("{} is not a path", shown(node)),
            false => format!("{} is not a path: {why}", shown(node)),
        };
        report.add(node.place, message, advice);
        None
    }

    fn stand_in() -> Pattern {
        Pattern::parse("/").expect("a path")
    }

    fn written(path: &Pattern) -> Value {
        path.as_str().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": PATH_BYTES_MAX, "pattern": "^/" })
    }
}

/// A host as in requests, in lower case and without a port.
pub(super) struct HostName;

impl Parsed for HostName {
    type Value = String;
    const WHAT: &'static str = "a host";
    const NOUN: &'static str = "host";
    const ONCE: bool = true;
    const EXAMPLE: &'static str = "api.example.org";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        match host_and_port(&written.to_ascii_lowercase()) {
            Some((host, None)) if host.parse::<Ipv6Addr>().is_ok() => Ok(format!("[{host}]")),
            Some((host, None)) => Ok(host),
            Some((host, Some(_))) => wrong("a host here has no port", format!("write {}", printable(&host))),
            None => Self::is_not(node, "write a name such as api.example.org"),
        }
    }
}

pub(super) type Methods = Several<MethodName, 1, METHODS_MAX>;

/// A method, such as GET or POST.
pub(super) struct MethodName;

impl Parsed for MethodName {
    type Value = Method;
    const WHAT: &'static str = "a method";
    const EXAMPLE: &'static str = "GET";
    const PATTERN: &'static str = "^[^a-z ]{1,32}$";
    const NOUN: &'static str = "method";
    const ONCE: bool = true;

    fn parse(written: &str, node: &Node) -> Result<Method, Wrong> {
        let upper = written.to_ascii_uppercase();
        let method = Method::from_bytes(upper.as_bytes()).ok();
        match method.filter(|_| written.len() <= METHOD_CHARS_MAX) {
            Some(method) if upper == written => Ok(method),
            Some(method) => Self::is_not(node, format!("write {method}")),
            None => Self::is_not(node, "write one such as GET or POST"),
        }
    }
}

/// Reports routes that match the same requests, and unmetered ones that a metered one always precedes.
fn check_overlaps(routes: &[(&RouteSection, Location)], report: &mut Report) {
    let shapes: Vec<String> = routes.iter().map(|(route, _)| shape(&route.pattern)).collect();
    for (number, (route, place)) in routes.iter().enumerate() {
        let alike = |earlier: &usize| {
            let other = &routes[*earlier].0;
            // Metered paths are matched ignoring case (rules §2.9).
            let any_case = (route.metered || other.metered) && shapes[number].eq_ignore_ascii_case(&shapes[*earlier]);
            (any_case || shapes[number] == shapes[*earlier]) && meet(route, other)
        };
        let Some(earlier) = (0..number).find(alike) else {
            continue;
        };
        let (other, at) = &routes[earlier];
        if route.metered == other.metered || shapes[number] == shapes[earlier] {
            let (path, line) = (quoted(route.pattern.as_str()), at.line);
            let message = format!("{path} is routed twice for the same methods; the first is on line {line}");
            let advice = "keep one of them, or give them different `methods` or `host`";
            report.add(*place, message, advice);
        } else {
            let (unmetered, here, line) = match route.metered {
                true => (other, at, place.line),
                false => (route, place, at.line),
            };
            let path = quoted(unmetered.pattern.as_str());
            let message = format!("{path} can never be reached: the metered route on line {line} takes it");
            let advice = "a metered route is matched without regard to case; take this one out or rename it";
            report.add(*here, message, advice);
        }
    }
}

/// Whether both routes are for the same host and some method in common.
fn meet(a: &RouteSection, b: &RouteSection) -> bool {
    let methods = match (&a.methods, &b.methods) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        _ => true,
    };
    a.host == b.host && methods
}

/// The pattern without the names of its captures, which don't affect matching.
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

/// Reports routes that tiergate's own paths, which come first, would hide.
fn check_own_paths(paths: &Paths, routes: &[(&RouteSection, Location)], report: &mut Report) {
    for (name, own) in [("me", &paths.me), ("stats", &paths.stats), ("status", &paths.status)] {
        let Some(own) = own else { continue };
        let hides = |path: &str| path == own || (name == "status" && paths.is_below_status(path));
        for (route, place) in routes.iter().filter(|(route, _)| hides(route.pattern.as_str())) {
            let message = format!("{} is tiergate's own path", quoted(route.pattern.as_str()));
            let advice = format!("rename the route, or move tiergate's with `paths: {{ {name}: … }}` or `{name}: off`");
            report.add(*place, message, advice);
        }
    }
}
