//! The worker pools: where their servers are, how many slots each has, how long they may take.
//!
//! Absent on purpose: TLS to upstreams, and whether a server is up.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Report;
use super::read::{Entry, Fields, entries, list, shown};
use super::value::{duration, name_is_legal, small_integer, text};
use super::yaml::{Node, Place};
use crate::policy::rules::PoolRules;

/// Upstreams, at most.
pub const UPSTREAMS_MAX: usize = 64;
/// Servers of an upstream, at most.
pub const SERVERS_MAX: usize = 256;
/// Slots of a server.
pub(super) const SLOTS: RangeInclusive<u32> = 1..=10_000;
/// The longest DNS name, in characters.
const HOST_CHARS_MAX: usize = 253;
/// The longest path that a health probe asks for, in characters.
pub(super) const PROBE_CHARS_MAX: usize = 1024;
/// How long connecting may take, unless the file says otherwise.
pub(super) const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// How long a request may take, unless the file says otherwise.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// How long an unused connection is kept, unless the file says otherwise.
pub(super) const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// How often a server is asked whether it is well, unless the file says otherwise.
pub(super) const HEALTH_EVERY_DEFAULT: Duration = Duration::from_secs(5);

pub(super) const KNOWN: [&str; 6] = [
    "servers",
    "connect_timeout",
    "first_byte_timeout",
    "timeout",
    "idle_timeout",
    "health",
];
pub(super) const SERVER_FIELDS: [&str; 2] = ["url", "slots"];
pub(super) const HEALTH_FIELDS: [&str; 2] = ["path", "every"];

/// A pool of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name, 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// Its servers, in the file's order. At least 1, at most [`SERVERS_MAX`].
    pub servers: Vec<Server>,
    /// How long connecting may take. Default 2 s.
    pub connect_timeout: Duration,
    /// How long the answer's first byte may take from the sending of the request. Default: as `timeout`.
    pub first_byte_timeout: Duration,
    /// How long a request may take in all. Default 60 s.
    pub timeout: Duration,
    /// How long an unused connection is kept: less than the upstream keeps it. Default 15 s.
    pub idle_timeout: Duration,
    /// How it is asked whether it is well; `None`: it is judged by its answers alone.
    pub health: Option<Health>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// An IP address, IPv6 without brackets, or a DNS name in lower case.
    pub host: String,
    /// Its port, 80 unless the URL says otherwise.
    pub port: u16,
    /// Jobs that it works on at once, 1 to 10,000.
    pub slots: u32,
}

impl Server {
    /// `host:port`, IPv6 in brackets.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// How a server is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked for: a path, with a query if need be.
    pub path: String,
    /// How often. Default 5 s.
    pub every: Duration,
}

/// The entries of `upstreams: { … }`.
pub(super) fn named<'n>(node: &'n Node, report: &mut Report) -> Option<Vec<Entry<'n>>> {
    entries(node, "upstream", UPSTREAMS_MAX, report)
}

/// Each upstream that is right, and the policy's part of it.
pub(super) fn read(entries: &[Entry<'_>], report: &mut Report) -> (Vec<Upstream>, Vec<PoolRules>) {
    let upstreams: Vec<Upstream> = entries.iter().filter_map(|entry| upstream(entry, report)).collect();
    let pool = |upstream: &Upstream| PoolRules {
        name: upstream.name.clone(),
        slots: upstream.servers.iter().map(|server| server.slots).collect(),
    };
    let pools = upstreams.iter().map(pool).collect();
    (upstreams, pools)
}

fn upstream(entry: &Entry<'_>, report: &mut Report) -> Option<Upstream> {
    let what = format!("upstream {}", super::excerpt::quoted(entry.name));
    if !name_is_legal(entry.name, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        report.add(
            entry.at,
            format!("{what} has no legal name"),
            "use 1 to 64 letters, digits, _ and -",
        );
    }
    let fields = Fields::of(entry.value, what, entry.at, &KNOWN, report)?;
    let advice = "add `servers`: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ]";
    let servers = fields.required("servers", advice, report, servers);
    let connect_timeout = fields.or("connect_timeout", CONNECT_TIMEOUT_DEFAULT, report, duration);
    let timeout = fields.or("timeout", TIMEOUT_DEFAULT, report, duration);
    let first_byte_timeout = fields.or("first_byte_timeout", timeout, report, duration);
    let idle_timeout = fields.or("idle_timeout", IDLE_TIMEOUT_DEFAULT, report, duration);
    let health = fields.maybe("health", report, health);
    let name = entry.name.to_owned();
    Some(Upstream {
        name,
        servers: servers?,
        connect_timeout,
        first_byte_timeout,
        timeout,
        idle_timeout,
        health,
    })
}

fn servers(node: &Node, report: &mut Report) -> Option<Vec<Server>> {
    let mut seen: Vec<(Server, Place)> = Vec::new();
    list(node, "server", (1, SERVERS_MAX), report, |item, report| {
        let fields = Fields::of(item, "this server", item.place, &SERVER_FIELDS, report)?;
        let url = fields.required("url", "add `url`, such as http://127.0.0.1:8081", report, url);
        let advice = "add `slots`: how many jobs it works on at once";
        let slots = fields.required("slots", advice, report, |node, report| {
            small_integer(node, SLOTS, report)
        });
        let ((host, port), slots) = (url?, slots?);
        let server = Server { host, port, slots };
        let same = |(other, _): &&(Server, Place)| other.host == server.host && other.port == server.port;
        if let Some((_, first)) = seen.iter().find(same) {
            let message = format!(
                "server `{}` is named twice; the first is on line {}",
                server.authority(),
                first.line
            );
            report.add(item.place, message, "keep one of them, with the slots of both");
            return None;
        }
        seen.push((server.clone(), item.place));
        Some(server)
    })
}

/// `http://host[:port]`, as host and port.
fn url(node: &Node, report: &mut Report) -> Option<(String, u16)> {
    const ADVICE: &str = "write http://host or http://host:port";
    let written = text(node, "a URL", report)?;
    let Some((scheme, rest)) = written.split_once("://") else {
        report.add(node.place, format!("{} is not a URL", shown(node)), ADVICE);
        return None;
    };
    let (message, advice) = match scheme.to_ascii_lowercase().as_str() {
        "http" => match host_and_port(&rest.to_ascii_lowercase()) {
            Some((host, port)) => return Some((host, port.unwrap_or(80))),
            None if rest.contains('@') => ("a URL here has no user", ADVICE),
            None if rest.contains(['/', '?', '#']) => (
                "a URL here has no path and no query",
                "leave them out: the request's own are forwarded",
            ),
            None => ("this is not a URL: its host or port is none", ADVICE),
        },
        "https" => (
            "TLS to upstreams is not supported",
            "write http://, or put a TLS client such as stunnel between",
        ),
        _ => ("a URL here begins with http://", ADVICE),
    };
    report.add(node.place, message, advice);
    None
}

/// The server at that URL, which has so many slots. `None`: that is no `http://host` or `http://host:port`.
pub(super) fn server_at(url: &str, slots: u32) -> Option<Server> {
    let lower = url.trim_end_matches('/').to_ascii_lowercase();
    let (host, port) = host_and_port(lower.strip_prefix("http://")?)?;
    let port = port.unwrap_or(80);
    Some(Server { host, port, slots })
}

/// The host, IPv6 without its brackets, and the port if one is given. The text is in lower case.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            let address: Ipv6Addr = host.parse().ok()?;
            let port = if after.is_empty() {
                None
            } else {
                Some(after.strip_prefix(':')?)
            };
            (address.to_string(), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host_name(host)?, Some(port)),
            None => (host_name(text)?, None),
        },
    };
    match port {
        None => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: u16 = digits.parse().ok()?;
            (port != 0).then_some((host, Some(port)))
        }
        Some(_) => None,
    }
}

/// An IPv4 address or a DNS name (underscores allowed: container networks have them).
fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        let legal = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        legal && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name whose last part is a number is meant as an IPv4 address (WHATWG URL), and must be one.
    let number = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let legal = if number {
        text.parse::<IpAddr>().is_ok()
    } else {
        text.len() <= HOST_CHARS_MAX && text.split('.').all(label)
    };
    legal.then(|| text.to_owned())
}

fn health(node: &Node, report: &mut Report) -> Option<Health> {
    let fields = Fields::of(node, "`health`", node.place, &HEALTH_FIELDS, report)?;
    let path = fields.required("path", "add `path`, such as /health", report, |node, report| {
        let written = text(node, "a path", report)?;
        let legal = written.starts_with('/')
            && written.len() <= PROBE_CHARS_MAX
            && written.chars().all(|c| c.is_ascii_graphic() && c != '#')
            && written.parse::<http::uri::PathAndQuery>().is_ok();
        if !legal {
            let advice = "write a path that begins with `/`, such as /health";
            report.add(node.place, format!("{} is not a path", shown(node)), advice);
        }
        legal.then(|| written.to_owned())
    });
    let every = fields.or("every", HEALTH_EVERY_DEFAULT, report, duration);
    Some(Health { path: path?, every })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let split = |text| host_and_port(text).map(|(host, port)| format!("{host} {port:?}"));
        assert_eq!(split("127.0.0.1").as_deref(), Some("127.0.0.1 None"));
        assert_eq!(
            split("search_1.internal:8081").as_deref(),
            Some("search_1.internal Some(8081)")
        );
        assert_eq!(split("[2001:db8:0::1]:80").as_deref(), Some("2001:db8::1 Some(80)"));
        assert_eq!(split("[::1]").as_deref(), Some("::1 None"));
        for wrong in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "::1",
            "[::1",
            "[::1]80",
            "[a]",
            "1.2.3",
            "1.2.3.256",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
        for wrong in [
            "a..b",
            "-a",
            "a-",
            "a b",
            "a/b",
            "a?b",
            "u@h",
            "ä",
            "a.",
            ".a",
            &"a".repeat(64),
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_authority_has_brackets() {
        let server = |host: &str| {
            Server {
                host: host.to_owned(),
                port: 80,
                slots: 1,
            }
            .authority()
        };
        assert_eq!(server("::1"), "[::1]:80");
        assert_eq!(server("worker"), "worker:80");
    }
}
