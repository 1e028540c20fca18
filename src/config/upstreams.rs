//! Upstreams: their servers, slots and timeouts.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::prelude::*;
use crate::policy::Table;
use crate::policy::rules::{ServerRules, UpstreamRules};

/// The most upstreams.
pub const UPSTREAMS_MAX: usize = 64;
/// The most servers of an upstream.
pub const SERVERS_MAX: usize = 256;
/// The longest DNS name, in characters.
const HOST_CHARS_MAX: usize = 253;
/// The longest path that a health probe asks for, in characters.
const PROBE_CHARS_MAX: usize = 1024;

/// A pool of upstream servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Upstream")]
pub struct UpstreamSection {
    /// Name of 1 to 64 letters, digits, `_` and `-`.
    #[serde(skip)]
    pub name: String,
    /// Its servers.
    #[serde(with = "Items::<ServerConfig, 1, SERVERS_MAX>")]
    #[schemars(extend("x-add" = r#"add `servers`: [ { url: "http://127.0.0.1:8081", slots: 2 } ]"#))]
    pub servers: Vec<ServerConfig>,
    /// Timeout for connecting.
    #[serde(default = "secs::<2>", with = "As::<Length>")]
    pub connect_timeout: Duration,
    /// Timeout for the answer's first byte; by default the same as timeout.
    #[serde(default, with = "As::<Length>", skip_serializing_if = "Duration::is_zero")]
    pub first_byte_timeout: Duration,
    /// Timeout for the whole request.
    #[serde(default = "secs::<60>", with = "As::<Length>")]
    pub timeout: Duration,
    /// How long an idle connection is kept; choose less than the upstream server keeps it.
    #[serde(default = "secs::<15>", with = "As::<Length>")]
    pub idle_timeout: Duration,
    /// Active health checks; by default servers are judged only by their answers.
    #[serde(default)]
    pub health: Option<HealthSection>,
}

impl Item for UpstreamSection {
    const NOUN: &'static str = "upstream";
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "ServerSection", into = "ServerSection", rename = "Server")]
pub struct ServerConfig {
    /// An IP address, IPv6 without brackets, or a DNS name in lower case.
    pub host: String,
    /// Its port, 80 unless the URL says otherwise.
    pub port: u16,
    /// Concurrent jobs, 1 to 10,000.
    pub slots: u32,
}

impl Named for UpstreamSection {
    type Of = Self;

    fn of(name: String, mut value: Self) -> Self {
        // The default.
        if value.first_byte_timeout.is_zero() {
            value.first_byte_timeout = value.timeout;
        }
        Self { name, ..value }
    }

    fn parts(&self) -> (&str, &Self) {
        (&self.name, self)
    }
}

impl UpstreamSection {
    /// Its rules for the policy.
    pub fn rules(&self) -> UpstreamRules {
        let server = |server: &ServerConfig| ServerRules {
            name: server.authority(),
            slots: server.slots,
        };
        UpstreamRules {
            name: self.name.clone(),
            servers: Table::numbered(self.servers.iter().map(server)),
        }
    }
}

impl Item for ServerConfig {
    const NOUN: &'static str = "server";
}

impl ServerConfig {
    /// `host:port`, IPv6 in brackets.
    pub fn authority(&self) -> String {
        Authority(self.host.clone(), self.port).to_string()
    }
}

/// A server of an upstream.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Server")]
pub(super) struct ServerSection {
    /// Address: http://host or http://host:port.
    #[serde(with = "As::<Url>")]
    #[schemars(extend("x-add" = "add `url`, such as http://127.0.0.1:8081"))]
    url: Authority,
    /// Number of jobs that it processes at once; it never gets more.
    #[serde(with = "As::<Whole<u32, 1, 10_000>>")]
    #[schemars(extend("x-add" = "add `slots`: how many jobs it works on at once"))]
    slots: u32,
}

impl From<ServerSection> for ServerConfig {
    fn from(listed: ServerSection) -> Self {
        let (Authority(host, port), slots) = (listed.url, listed.slots);
        Self { host, port, slots }
    }
}

impl From<ServerConfig> for ServerSection {
    fn from(ServerConfig { host, port, slots }: ServerConfig) -> Self {
        let url = Authority(host, port);
        Self { url, slots }
    }
}

/// A host, IPv6 without its brackets, and a port.
pub(super) struct Authority(String, u16);

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]:{}", self.0, self.1),
            false => write!(f, "{}:{}", self.0, self.1),
        }
    }
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Health")]
pub struct HealthSection {
    /// Path to request, such as /health; any 2xx or 3xx is healthy.
    #[serde(with = "As::<ProbePath>")]
    #[schemars(extend("x-add" = "add `path`, such as /health"))]
    pub path: String,
    /// Interval of the checks.
    #[serde(default = "secs::<5>", with = "As::<Length>")]
    pub every: Duration,
}

/// Checks the upstreams. Returns the valid ones.
pub(super) fn checked(upstreams: &[UpstreamSection], node: Option<&Node>, report: &mut Report) -> Vec<UpstreamSection> {
    let mut right = Vec::new();
    for entry in entries(upstreams, node) {
        if !name_is_legal(entry.name, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let message = format!("{} has no legal name", UpstreamSection::called(entry.name));
            report.add(entry.at, message, "use 1 to 64 letters, digits, _ and -");
        }
        twice(&entry.value.servers, entry.node.value("servers"), report);
        let is_right = entry.part(report).right(&["servers"]);
        right.extend(is_right.then(|| entry.value.clone()));
    }
    right
}

/// Reports servers that are listed twice.
fn twice(servers: &[ServerConfig], list: Option<&Node>, report: &mut Report) {
    let mut seen: Vec<(&ServerConfig, Location)> = Vec::new();
    for Entry {
        node, value: server, ..
    } in listed(servers, list)
    {
        if !Part::new(node, report).right(&["url", "slots"]) {
            continue;
        }
        let same = |(other, _): &&(&ServerConfig, Location)| other.host == server.host && other.port == server.port;
        match seen.iter().find(same) {
            Some((_, first)) => {
                let (server, line) = (server.authority(), first.line);
                let message = format!("server `{server}` is named twice; the first is on line {line}");
                report.add(node.place, message, "keep one of them, with the slots of both");
            }
            None => seen.push((server, node.place)),
        }
    }
}

/// `http://host[:port]`.
pub(super) struct Url;

impl Parsed for Url {
    type Value = Authority;
    const WHAT: &'static str = "a URL";
    const EXAMPLE: &'static str = "http://127.0.0.1:8081";
    const PATTERN: &'static str = "^[Hh][Tt][Tt][Pp]://[^/?#@]+$";

    fn parse(written: &str, node: &Node) -> Result<Authority, Wrong> {
        const ADVICE: &str = "write http://host or http://host:port";
        let Some((scheme, rest)) = written.split_once("://") else {
            return Self::is_not(node, ADVICE);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => match host_and_port(&rest.to_ascii_lowercase()) {
                Some((host, port)) => Ok(Authority(host, port.unwrap_or(80))),
                None if rest.contains('@') => wrong("a URL here has no user", ADVICE),
                None if rest.contains(['/', '?', '#']) => wrong(
                    "a URL here has no path and no query",
                    "leave them out: the request's own are forwarded",
                ),
                None => wrong("this is not a URL: its host or port is none", ADVICE),
            },
            "https" => wrong(
                "TLS to upstreams is not supported",
                "write http://, or put a TLS client such as stunnel between",
            ),
            _ => wrong("a URL here begins with http://", ADVICE),
        }
    }
}

/// The path of a health probe, with a query if need be.
pub(super) struct ProbePath;

impl Parsed for ProbePath {
    type Value = String;
    const WHAT: &'static str = "a path";
    const EXAMPLE: &'static str = "/health";
    const PATTERN: &'static str = "^/";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        let legal = written.starts_with('/')
            && written.len() <= PROBE_CHARS_MAX
            && written.chars().all(|c| c.is_ascii_graphic() && c != '#')
            && written.parse::<http::uri::PathAndQuery>().is_ok();
        if legal {
            return Ok(written.to_owned());
        }
        let advice = "write a path that begins with `/`, such as /health";
        Self::is_not(node, advice)
    }
}

/// The server at that URL, with that many slots. `None`: not an `http://host` or `http://host:port`.
pub(super) fn server_at(url: &str, slots: u32) -> Option<ServerConfig> {
    let lower = url.trim_end_matches('/').to_ascii_lowercase();
    let (host, port) = host_and_port(lower.strip_prefix("http://")?)?;
    let port = port.unwrap_or(80);
    Some(ServerConfig { host, port, slots })
}

/// The host, IPv6 without its brackets, and the port if one is given. The text is in lower case.
pub(super) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, after) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host.parse::<Ipv6Addr>().ok()?.to_string(), after)
        }
        None => {
            let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host_name(host)?, after)
        }
    };
    if after.is_empty() {
        return Some((host, None));
    }
    let digits = after.strip_prefix(':')?;
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0)?;
    Some((host, Some(port)))
}

/// An IPv4 address or a DNS name (underscores allowed: container networks have them).
fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        let legal = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        legal && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name whose last part is a number is meant as an IPv4 address (WHATWG URL), and must be one.
    let last = text.rsplit('.').next().unwrap_or_default();
    let legal = match last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<IpAddr>().is_ok(),
        false => text.len() <= HOST_CHARS_MAX && text.split('.').all(label),
    };
    legal.then(|| text.to_owned())
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
            ServerConfig {
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
