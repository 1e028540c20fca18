//! The public edge: addresses, connections, where keys are carried, trusted proxies, browsers, the door's own paths.
//!
//! Absent on purpose: what is forwarded (`routes`) and who may do what (`tiers`).

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::error::Report;
use super::read::{Fields, list, shown};
use super::value::{self, boolean, duration, integer, is_off, one_of, size, text};
use super::yaml::Node;

/// Headers that may carry a key, at most.
pub(super) const KEY_HEADERS_MAX: usize = 8;
/// Networks of trusted proxies, at most.
pub(super) const TRUSTED_PROXIES_MAX: usize = 64;
/// Networks that are turned away, at most.
pub(super) const BLOCKED_NETWORKS_MAX: usize = 16_384;
/// Origins that are named, at most.
pub(super) const ORIGINS_MAX: usize = 64;
/// The longest path of the door's own, in characters.
pub(super) const PATH_CHARS_MAX: usize = 256;
/// Open connections.
pub(super) const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
/// Bytes of a request's head.
pub(super) const HEAD_BYTES: RangeInclusive<u64> = 8 << 10..=1 << 20;
/// Headers of a request.
pub(super) const HEADERS: RangeInclusive<u64> = 16..=1_000;
/// Requests in flight on routes that are not metered.
pub(super) const UNMETERED: RangeInclusive<u64> = 1..=100_000;
/// How long a browser remembers the answer to a preflight, unless the file says otherwise.
pub(super) const MAX_AGE_DEFAULT: Duration = Duration::from_secs(3600);

pub(super) const CONNECTIONS_FIELDS: [&str; 6] = [
    "max",
    "head_timeout",
    "send_timeout",
    "head_max",
    "headers_max",
    "unmetered_max",
];
pub(super) const KEYS_FIELDS: [&str; 3] = ["headers", "bearer", "query"];
pub(super) const CORS_FIELDS: [&str; 2] = ["origins", "max_age"];
pub(super) const PATHS_FIELDS: [&str; 2] = ["me", "stats"];

/// Headers that are needed to read a request, or that would never hold a key alone.
const RESERVED_HEADERS: [&str; 10] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Bounds of the public listener's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open connections. Default 10,000; 1 to 1,000,000.
    pub max: usize,
    /// How long a request's head may take. Default 10 s. It bounds idle connections too: a kept-alive connection waits
    /// for the head of its next request.
    pub head_timeout: Duration,
    /// The longest that a client may take nothing of its answer. Default 60 s.
    pub send_timeout: Duration,
    /// Bytes of a request's head. Default 64 KiB; 8 KiB to 1 MiB.
    pub head_max: usize,
    /// Headers of a request. Default 100; 16 to 1,000.
    pub headers_max: usize,
    /// Requests on routes that are not metered, in flight at once. Default 256; 1 to 100,000.
    pub unmetered_max: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 10_000,
            head_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(60),
            head_max: 64 << 10,
            headers_max: 100,
            unmetered_max: 256,
        }
    }
}

/// Where trusted proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// In either of the two. Where both are there and name different clients, the request is refused.
    #[default]
    Either,
    /// In `X-Forwarded-For`.
    XForwardedFor,
    /// In `Forwarded` (RFC 7239).
    Forwarded,
}

/// Where a request carries its API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Headers that hold nothing but the key. Default `x-api-key`; at most 8.
    pub headers: Vec<HeaderName>,
    /// Whether `Authorization: Bearer KEY` is understood. Default true.
    pub bearer: bool,
    /// The name of the query parameter that holds the key. Default none.
    pub query: Option<String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            headers: vec![HeaderName::from_static("x-api-key")],
            bearer: true,
            query: None,
        }
    }
}

/// Sites whose pages may call the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These, each `scheme://host[:port]` in lower case, as browsers send it. At least 1, at most 64.
    List(Vec<HeaderValue>),
}

/// What browsers on other sites may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Who may call.
    pub origins: Origins,
    /// How long a browser may remember the answer to a preflight. Default 1 h.
    pub max_age: Duration,
}

/// The door's own paths, which come before the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where callers see their tier and what they have used. Default `/me`; `None` if switched off.
    pub me: Option<String>,
    /// Where everybody sees how the door has answered. Default `/stats`; `None` if switched off.
    pub stats: Option<String>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            me: Some("/me".to_owned()),
            stats: Some("/stats".to_owned()),
        }
    }
}

/// `host:port`, of which the host is an IP address.
pub(super) fn address(node: &Node, report: &mut Report) -> Option<SocketAddr> {
    let written = text(node, "an address and port", report)?;
    if let Ok(address) = written.parse() {
        return Some(address);
    }
    let port = written.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let advice = match port {
        Some(port) if written.starts_with("localhost:") => format!("write 127.0.0.1:{port}"),
        Some(port) if written.starts_with(':') => format!("write 0.0.0.0:{port} for every address of the machine"),
        _ => "write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(),
    };
    report.add(
        node.place,
        format!("{} is not an address and port", shown(node)),
        advice,
    );
    None
}

/// Whether two listeners can't both have their address.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let (same_port, chosen) = (a.port() == b.port(), a.port() != 0);
    same_port && chosen && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// `connections: { … }`.
pub(super) fn connections(node: &Node, report: &mut Report) -> Option<Connections> {
    let fields = Fields::of(node, "`connections`", node.place, &CONNECTIONS_FIELDS, report)?;
    let Connections {
        max,
        head_timeout,
        send_timeout,
        head_max,
        headers_max,
        unmetered_max,
    } = Connections::default();
    let count = |range: RangeInclusive<u64>| {
        move |node: &Node, report: &mut Report| integer(node, range, report).map(|number| number as usize)
    };
    Some(Connections {
        max: fields.or("max", max, report, count(CONNECTIONS)),
        head_timeout: fields.or("head_timeout", head_timeout, report, duration),
        send_timeout: fields.or("send_timeout", send_timeout, report, duration),
        head_max: fields.or("head_max", head_max, report, |node, report| {
            size(node, HEAD_BYTES, report).map(|bytes| bytes as usize)
        }),
        headers_max: fields.or("headers_max", headers_max, report, count(HEADERS)),
        unmetered_max: fields.or("unmetered_max", unmetered_max, report, count(UNMETERED)),
    })
}

/// `keys: { headers, bearer, query }`.
pub(super) fn keys(node: &Node, report: &mut Report) -> Option<Keys> {
    let fields = Fields::of(node, "`keys`", node.place, &KEYS_FIELDS, report)?;
    let default = Keys::default();
    let headers = fields.or("headers", default.headers, report, |node, report| {
        let mut seen = Vec::new();
        list(node, "header", (0, KEY_HEADERS_MAX), report, |item, report| {
            key_header(item, &mut seen, report)
        })
    });
    let bearer = fields.or("bearer", default.bearer, report, boolean);
    let query = fields.maybe("query", report, |node, report| {
        let name = text(node, "the name of a query parameter", report)?;
        if value::name_is_legal(name, |c| c.is_ascii_alphanumeric() || "_-.~".contains(c)) {
            return Some(name.to_owned());
        }
        let advice = "use 1 to 64 letters, digits and _ - . ~";
        report.add(
            node.place,
            format!("{} can't be the name of a query parameter", shown(node)),
            advice,
        );
        None
    });
    Some(Keys { headers, bearer, query })
}

fn key_header(node: &Node, seen: &mut Vec<HeaderName>, report: &mut Report) -> Option<HeaderName> {
    let written = text(node, "the name of a header", report)?;
    let Some(name) = written
        .parse::<HeaderName>()
        .ok()
        .filter(|_| written.len() <= super::NAME_CHARS_MAX)
    else {
        let advice = "use 1 to 64 letters, digits and -";
        report.add(
            node.place,
            format!("{} can't be the name of a header", shown(node)),
            advice,
        );
        return None;
    };
    if RESERVED_HEADERS.contains(&name.as_str()) {
        let bearer = name == http::header::AUTHORIZATION;
        let advice = if bearer {
            "`bearer: true` reads it"
        } else {
            "use a header of its own, such as x-api-key"
        };
        report.add(node.place, format!("`{name}` can't hold the key alone"), advice);
        return None;
    }
    if seen.contains(&name) {
        report.add(node.place, format!("`{name}` is named twice"), "keep one of them");
        return None;
    }
    seen.push(name.clone());
    Some(name)
}

/// `trusted_proxies: [ … ]`; a bare address is a network of one.
pub(super) fn trusted_proxies(node: &Node, report: &mut Report) -> Option<Vec<IpNet>> {
    list(node, "network", (0, TRUSTED_PROXIES_MAX), report, network)
}

/// `blocked_networks: [ … ]`.
pub(super) fn blocked_networks(node: &Node, report: &mut Report) -> Option<Vec<IpNet>> {
    list(node, "network", (0, BLOCKED_NETWORKS_MAX), report, network)
}

/// `forwarded_header: …`.
pub(super) fn forwarded_header(node: &Node, report: &mut Report) -> Option<ForwardedHeader> {
    let words = [
        ("either", ForwardedHeader::Either),
        ("x-forwarded-for", ForwardedHeader::XForwardedFor),
        ("forwarded", ForwardedHeader::Forwarded),
    ];
    one_of(node, &words, report)
}

fn network(node: &Node, report: &mut Report) -> Option<IpNet> {
    let written = text(node, "a network", report)?;
    if let Ok(address) = written.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    match written.parse::<IpNet>() {
        Ok(network) if network == network.trunc() => Some(network),
        Ok(network) => {
            let message = format!("{} has bits set beyond its prefix", shown(node));
            let advice = format!("write {} or {}", network.trunc(), network.addr());
            report.add(node.place, message, advice);
            None
        }
        Err(_) => {
            let advice = "write an address or a CIDR, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32";
            report.add(node.place, format!("{} is not a network", shown(node)), advice);
            None
        }
    }
}

/// `cors: { origins, max_age }`.
pub(super) fn cors(node: &Node, report: &mut Report) -> Option<Cors> {
    let fields = Fields::of(node, "`cors`", node.place, &CORS_FIELDS, report)?;
    let advice = r#"add `origins`: ["*"] for all, or a list such as [https://example.org]"#;
    let origins = fields.required("origins", advice, report, |node, report| {
        let written = list(node, "origin", (1, ORIGINS_MAX), report, origin)?;
        let count = written.len();
        let named: Vec<HeaderValue> = written.into_iter().flatten().collect();
        match count - named.len() {
            0 => Some(Origins::List(named)),
            1 if named.is_empty() => Some(Origins::Any),
            _ => {
                report.add(
                    node.place,
                    "`*` stands for all origins",
                    r#"write ["*"] alone, or name each origin"#,
                );
                None
            }
        }
    });
    let max_age = fields.or("max_age", MAX_AGE_DEFAULT, report, duration);
    Some(Cors {
        origins: origins?,
        max_age,
    })
}

/// An origin as browsers send it; the inner `None` is `*`.
fn origin(node: &Node, report: &mut Report) -> Option<Option<HeaderValue>> {
    let written = text(node, "an origin", report)?;
    if written == "*" {
        return Some(None);
    }
    let lower = written.to_ascii_lowercase();
    let split = lower.split_once("://").filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let parsed = split.and_then(|(scheme, rest)| super::upstreams::host_and_port(rest).map(|at| (scheme, at)));
    let value = HeaderValue::from_str(&lower).ok();
    match (parsed, value) {
        (Some(("http", (_, Some(80)))) | Some(("https", (_, Some(443)))), _) => {
            let message = format!("{} will match no browser", shown(node));
            report.add(node.place, message, "leave the scheme's own port out, as browsers do");
            None
        }
        (Some(_), Some(value)) => Some(Some(value)),
        _ => {
            let advice = r#"write scheme://host or scheme://host:port, without a path; or ["*"] for all"#;
            report.add(node.place, format!("{} is not an origin", shown(node)), advice);
            None
        }
    }
}

/// `paths: { me, stats }`.
pub(super) fn paths(node: &Node, report: &mut Report) -> Option<Paths> {
    let fields = Fields::of(node, "`paths`", node.place, &PATHS_FIELDS, report)?;
    let path = |node: &Node, report: &mut Report| {
        if is_off(node) {
            Some(None)
        } else {
            plain_path(node, report).map(Some)
        }
    };
    let usual = Paths::default();
    let me = fields.or("me", usual.me, report, path);
    let stats = fields.or("stats", usual.stats, report, path);
    if me.is_some() && me == stats {
        report.add(node.place, "`me` and `stats` are at the same path", "give each its own");
    }
    Some(Paths { me, stats })
}

/// A path of plain segments, which has one spelling only.
fn plain_path(node: &Node, report: &mut Report) -> Option<String> {
    let written = text(node, "a path or off", report)?;
    let plain = |segment: &str| {
        let legal = segment.chars().all(|c| c.is_ascii_alphanumeric() || "_-.~".contains(c));
        legal && !matches!(segment, "" | "." | "..")
    };
    let segments = written.strip_prefix('/').filter(|_| written.len() <= PATH_CHARS_MAX);
    if segments.is_some_and(|segments| segments.split('/').all(plain)) {
        return Some(written.to_owned());
    }
    let advice = "write a path of letters, digits and _ - . ~ that begins with `/`, such as /me; or off";
    report.add(
        node.place,
        format!("{} is not a path of the door's own", shown(node)),
        advice,
    );
    None
}
