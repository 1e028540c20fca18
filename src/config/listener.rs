//! The public listener: address, connections, key locations, trusted proxies, CORS, and the server's own pages.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::NAME_CHARS_MAX;
use super::prelude::*;
use super::upstreams::host_and_port;

/// The most headers that may carry a key.
const KEY_HEADERS_MAX: usize = 8;
/// The most networks of trusted proxies.
pub(super) const TRUSTED_PROXIES_MAX: usize = 64;
/// The most blocked networks.
pub(super) const BLOCKED_NETWORKS_MAX: usize = 16_384;
/// The most origins.
const ORIGINS_MAX: usize = 64;
/// The longest path of the server's own, in characters.
const PATH_CHARS_MAX: usize = 256;
const HEAD_BYTES_MIN: u64 = 8 << 10;
const HEAD_BYTES_MAX: u64 = 1 << 20;

/// Headers that are needed to read a request, or that never hold only a key.
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

/// Limits for connections of the public listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Connections")]
pub struct ConnectionsSection {
    /// The most open connections; further ones wait.
    #[serde(default = "number::<usize, 10_000>", with = "As::<Whole<usize, 1, 1_000_000>>")]
    pub max: usize,
    /// How long a request's head may take, idle time of the connection included.
    #[serde(default = "secs::<10>", with = "As::<Length>")]
    pub head_timeout: Duration,
    /// How long a client may go without reading any of its answer.
    #[serde(default = "secs::<60>", with = "As::<Length>")]
    pub send_timeout: Duration,
    /// The longest head of a request, from 8KiB to 1MiB.
    #[serde(
        default = "number::<usize, 65_536>",
        with = "As::<Size<usize, HEAD_BYTES_MIN, HEAD_BYTES_MAX>>"
    )]
    pub head_max: usize,
    /// The most headers of a request.
    #[serde(default = "number::<usize, 100>", with = "As::<Whole<usize, 16, 1_000>>")]
    pub headers_max: usize,
    /// The most concurrent requests on unmetered routes.
    #[serde(default = "number::<usize, 256>", with = "As::<Whole<usize, 1, 100_000>>")]
    pub unmetered_max: usize,
}

de::by_fields!(ConnectionsSection, KeysSection, Paths);

/// The header in which trusted proxies send the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ForwardedHeaderSetting {
    /// Either of the two; if they name different clients, neither is trusted.
    #[default]
    Either,
    /// X-Forwarded-For.
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

/// Where requests carry their key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Keys")]
pub struct KeysSection {
    /// Headers that hold only the key.
    #[serde(default = "usual_headers", with = "As::<Several<KeyHeader, 0, KEY_HEADERS_MAX>>")]
    pub headers: Vec<HeaderName>,
    /// Whether `Authorization: Bearer KEY` is accepted.
    #[serde(default = "yes")]
    pub bearer: bool,
    /// Name of the query parameter that holds the key; by default none.
    #[serde(default, with = "Maybe::<Parameter>")]
    pub query: Option<String>,
}

impl KeysSection {
    /// Without `keys`, keys are read wherever clients of the presets send them.
    pub(super) fn everywhere() -> Self {
        Self {
            headers: ["x-api-key", "x-trace-key"].map(HeaderName::from_static).into(),
            bearer: true,
            query: Some("key".to_owned()),
        }
    }
}

fn usual_headers() -> Vec<HeaderName> {
    vec![HeaderName::from_static("x-api-key")]
}

/// Sites whose pages may call the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These, each `scheme://host[:port]` in lower case, as browsers send it. At least 1, at most 64.
    List(Vec<HeaderValue>),
}

/// Pages of other sites that may call the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins, scheme://host or scheme://host:port, or "*" alone for all.
    #[serde(with = "As::<CorsOrigins>")]
    #[schemars(extend("x-add" = r#"add `origins`: ["*"] for all, or a list such as [https://example.org]"#))]
    pub origins: Origins,
    /// How long browsers cache the preflight answer.
    #[serde(default = "secs::<3_600>", with = "As::<Length>")]
    pub max_age: Duration,
}

/// The server's own pages, which come before the routes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Page with a caller's usage.
    #[serde(default = "me", with = "As::<OrOff<OwnPath>>")]
    pub me: Option<String>,
    /// Page with statistics of the server's answers.
    #[serde(default = "stats", with = "As::<OrOff<OwnPath>>")]
    pub stats: Option<String>,
    /// Page with the queue and the traffic, for everybody; `.json`, `/events` and `/assets` below it belong to it.
    #[serde(default = "status", with = "As::<OrOff<OwnPath>>")]
    pub status: Option<String>,
}

fn me() -> Option<String> {
    Some("/me".to_owned())
}

fn stats() -> Option<String> {
    Some("/stats".to_owned())
}

fn status() -> Option<String> {
    Some("/status".to_owned())
}

impl Paths {
    /// Reports own pages with the same path.
    pub(super) fn check(&self, mut part: Part<'_>) {
        let named = [("me", &self.me), ("stats", &self.stats), ("status", &self.status)];
        for (at, (name, path)) in named.iter().enumerate() {
            let same = named[at + 1..]
                .iter()
                .filter(|(_, other)| path.is_some() && path == other);
            for (other, _) in same {
                let message = format!("`{name}` and `{other}` are at the same path");
                part.add("", message, "give each its own");
            }
        }
        for (name, path) in [("me", &self.me), ("stats", &self.stats)] {
            if path.as_deref().is_some_and(|path| self.is_below_status(path)) {
                let message = format!("`{name}` is at a path that belongs to the status page");
                part.add(name, message, "give each its own");
            }
        }
    }

    /// Whether the status page needs that path, besides its own.
    pub(super) fn is_below_status(&self, path: &str) -> bool {
        let below = self.status.as_deref().and_then(|status| path.strip_prefix(status));
        below.is_some_and(|rest| rest == ".json" || rest == "/events" || rest.starts_with("/assets/"))
    }
}

/// `host:port` with an IP address as host.
pub(super) struct Address;

impl Parsed for Address {
    type Value = SocketAddr;
    const WHAT: &'static str = "an address and port";
    const EXAMPLE: &'static str = "127.0.0.1:8080";
    const PATTERN: &'static str = r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$";

    fn parse(written: &str, node: &Node) -> Result<SocketAddr, Wrong> {
        if let Ok(address) = written.parse() {
            return Ok(address);
        }
        let port = written.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
        let advice = match port {
            Some(port) if written.starts_with("localhost:") => format!("write 127.0.0.1:{port}"),
            Some(port) if written.starts_with(':') => format!("write 0.0.0.0:{port} for every address of the machine"),
            _ => "write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(),
        };
        Self::is_not(node, advice)
    }
}

/// Whether two listeners' addresses conflict.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let (same_port, chosen) = (a.port() == b.port(), a.port() != 0);
    same_port && chosen && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// A header that carries a key.
pub(super) struct KeyHeader;

impl Parsed for KeyHeader {
    type Value = HeaderName;
    const WHAT: &'static str = "the name of a header";
    const EXAMPLE: &'static str = "x-api-key";
    const NOUN: &'static str = "header";
    const ONCE: bool = true;

    fn parse(written: &str, node: &Node) -> Result<HeaderName, Wrong> {
        let name = written
            .parse::<HeaderName>()
            .ok()
            .filter(|_| written.len() <= NAME_CHARS_MAX);
        match name {
            None => Self::cannot_be(node, "use 1 to 64 letters, digits and -"),
            Some(name) if name == http::header::AUTHORIZATION => {
                wrong(format!("`{name}` can't be a key header"), "`bearer: true` reads it")
            }
            Some(name) if RESERVED_HEADERS.contains(&name.as_str()) => wrong(
                format!("`{name}` can't be a key header"),
                "use a header of its own, such as x-api-key",
            ),
            Some(name) => Ok(name),
        }
    }
}

/// The query parameter that carries a key.
pub(super) struct Parameter;

impl Parsed for Parameter {
    type Value = String;
    const WHAT: &'static str = "the name of a query parameter";
    const EXAMPLE: &'static str = "key";
    const PATTERN: &'static str = r"^[A-Za-z0-9_.~-]{1,64}$";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        if name_is_legal(written, |c| c.is_ascii_alphanumeric() || "_-.~".contains(c)) {
            return Ok(written.to_owned());
        }
        Self::cannot_be(node, "use 1 to 64 letters, digits and _ - . ~")
    }
}

/// A network; a bare address is a network of one address.
pub(super) struct Cidr;

impl Parsed for Cidr {
    type Value = IpNet;
    const WHAT: &'static str = "a network";
    const EXAMPLE: &'static str = "10.0.0.0/8";
    const PATTERN: &'static str = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";
    const NOUN: &'static str = "network";

    fn parse(written: &str, node: &Node) -> Result<IpNet, Wrong> {
        if let Ok(address) = written.parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        match written.parse::<IpNet>() {
            Ok(network) if network == network.trunc() => Ok(network),
            Ok(network) => wrong(
                format!("{} has bits set beyond its prefix", shown(node)),
                format!("write {} or {}", network.trunc(), network.addr()),
            ),
            Err(_) => Self::is_not(
                node,
                "write an address or a CIDR, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32",
            ),
        }
    }
}

/// `["*"]`, or a list of origins.
pub(super) struct CorsOrigins;

type CorsOriginList = Several<CorsOrigin, 1, ORIGINS_MAX>;

impl Scalar for CorsOrigins {
    type Value = Origins;

    fn read(node: &Node, report: &mut Report) -> Option<Origins> {
        let sites = CorsOriginList::read(node, report)?;
        let named = sites.iter().filter(|site| *site != "*");
        let named: Vec<HeaderValue> = named.filter_map(|site| HeaderValue::from_str(site).ok()).collect();
        match sites.len() - named.len() {
            0 => Some(Origins::List(named)),
            1 if named.is_empty() => Some(Origins::Any),
            _ => {
                let advice = r#"write ["*"] by itself, or name each origin"#;
                report.add(node.place, "`*` stands for all origins", advice);
                None
            }
        }
    }

    fn stand_in() -> Origins {
        Origins::Any
    }

    fn written(origins: &Origins) -> Value {
        match origins {
            Origins::Any => "all sites".into(),
            Origins::List(named) => named
                .iter()
                .map(|site| String::from_utf8_lossy(site.as_bytes()))
                .collect(),
        }
    }

    fn schema() -> Value {
        CorsOriginList::schema()
    }
}

/// An origin as browsers send it, or `*`.
pub(super) struct CorsOrigin;

impl Parsed for CorsOrigin {
    type Value = String;
    const WHAT: &'static str = "an origin";
    const EXAMPLE: &'static str = "https://example.org";
    const NOUN: &'static str = "origin";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        let lower = written.to_ascii_lowercase();
        if written == "*" {
            return Ok(lower);
        }
        let split = lower.split_once("://").filter(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let parsed = split.and_then(|(scheme, rest)| host_and_port(rest).map(|at| (scheme, at)));
        match (parsed, HeaderValue::from_str(&lower)) {
            (Some(("http", (_, Some(80))) | ("https", (_, Some(443)))), _) => wrong(
                format!("{} will match no browser", shown(node)),
                "leave the scheme's own port out, as browsers do",
            ),
            (Some(_), Ok(_)) => Ok(lower),
            _ => Self::is_not(
                node,
                r#"write scheme://host or scheme://host:port, without a path; or ["*"] for all"#,
            ),
        }
    }
}

/// A path of plain segments, with only one spelling.
pub(super) struct OwnPath;

impl Parsed for OwnPath {
    type Value = String;
    const WHAT: &'static str = "a path or off";
    const EXAMPLE: &'static str = "/me";
    const PATTERN: &'static str = r"^(/[A-Za-z0-9_.~-]+)+$";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        let plain = |segment: &str| {
            let legal = segment.chars().all(|c| c.is_ascii_alphanumeric() || "_-.~".contains(c));
            legal && !matches!(segment, "" | "." | "..")
        };
        let segments = written.strip_prefix('/').filter(|_| written.len() <= PATH_CHARS_MAX);
        if segments.is_some_and(|segments| segments.split('/').all(plain)) {
            return Ok(written.to_owned());
        }
        wrong(
            format!("{} is not a path of tiergate's own", shown(node)),
            "write a path of letters, digits and _ - . ~ that begins with `/`, such as /me; or off",
        )
    }
}
