//! The client's address: the socket's, or the one that trusted proxies name in `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Both headers are read from the right, where the nearest proxy wrote, to the first address that is not a trusted proxy's.
//! Everything left of it may be forged by the client. An entry that is no address ends the reading: the proxy that wrote it
//! counts as the client. Text from the client is never parsed together with what a proxy appended: the end of an element is
//! found from the right, and no quotation mark further left can move it.
//!
//! The PROXY protocol is in `proxy_protocol`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::store::network::canonical;

/// The most addresses that are read. If all of them are trusted, the last one counts as the client.
pub const HOPS_MAX: usize = 64;

/// The header in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// Either. A proxy that writes one of the two may forward the other as its client sent it. If both are present and name
    /// different clients, one may be forged, and there is no telling which ([`Contradiction`]).
    #[default]
    Either,
    /// In `X-Forwarded-For`.
    XForwardedFor,
    /// In `Forwarded`.
    Forwarded,
}

/// The proxies that are trusted to name the client's address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: NetworkSet,
    header: ForwardedHeader,
}

/// A set of networks.
#[derive(Clone, Debug, Default)]
pub struct NetworkSet(Vec<IpNet>);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The peer address of the connection.
    pub peer: IpAddr,
    /// The client's address. An IPv4-mapped IPv6 address is stored as IPv4.
    pub address: IpAddr,
    /// Whether the connection comes from a trusted proxy.
    pub peer_is_trusted: bool,
    /// The headers that are trusted.
    pub naming_headers: NamingHeaders,
}

/// A trusted proxy's request has both `X-Forwarded-For` and `Forwarded`, and they name different clients or one is unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "X-Forwarded-For and Forwarded name different clients: send one of them only; operators set `forwarded_header` in \
             tiers.yaml to the one that their proxy writes",
        )
    }
}

impl std::error::Error for Contradiction {}

/// The headers in which trusted proxies have named the client. The others come from the client itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamingHeaders {
    /// In `X-Forwarded-For`.
    pub x_forwarded_for: bool,
    /// In `Forwarded`.
    pub forwarded: bool,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl NetworkSet {
    /// These networks. IPv4-mapped IPv6 networks (`::ffff:10.0.0.0/104`) become IPv4 networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into_iter().map(canonical).collect())
    }

    /// Whether the address lies in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TrustedProxies {
    /// Proxies with addresses in these networks, which name the client in that header.
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self {
            networks: NetworkSet::new(networks),
            header,
        }
    }

    /// The client's address: the socket's, or if that is a trusted proxy, the address that it names.
    ///
    /// # Errors
    /// Both headers are allowed, both are present and they disagree. Counting such a request as the proxy's own would let any
    /// client escape a block or limit of its network by adding a header.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Client, Contradiction> {
        let peer = peer.ip().to_canonical();
        let peer_is_trusted = self.networks.contain(peer);
        let (address, naming_headers) = if peer_is_trusted {
            self.named(peer, headers)?
        } else {
            (peer, NamingHeaders::default())
        };
        Ok(Client {
            peer,
            address,
            peer_is_trusted,
            naming_headers,
        })
    }

    fn named(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(IpAddr, NamingHeaders), Contradiction> {
        let by_x_forwarded_for = || self.walk(peer, x_forwarded_for(headers));
        let by_forwarded = || self.walk(peer, forwarded(headers));
        let is_there = |name| headers.contains_key(name);
        let (address, [x_forwarded_for, forwarded]) = match self.header {
            ForwardedHeader::XForwardedFor => (by_x_forwarded_for(), [true, false]),
            ForwardedHeader::Forwarded => (by_forwarded(), [false, true]),
            ForwardedHeader::Either if !is_there(header::FORWARDED) => (by_x_forwarded_for(), [true; 2]),
            ForwardedHeader::Either if !is_there(X_FORWARDED_FOR) => (by_forwarded(), [true; 2]),
            ForwardedHeader::Either => {
                let named = by_forwarded();
                if named != by_x_forwarded_for() {
                    return Err(Contradiction);
                }
                (named, [true; 2])
            }
        };
        let naming_headers = NamingHeaders {
            x_forwarded_for,
            forwarded,
        };
        Ok((address, naming_headers))
    }

    /// Walks from the nearest hop to the first that is untrusted or is no address.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for hop in hops.take(HOPS_MAX) {
            let Some(address) = hop else { break };
            client = address;
            if !self.networks.contain(address) {
                break;
            }
        }
        client
    }
}

/// The addresses in `X-Forwarded-For`, from the right; `None` for an entry that is no address.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(|entry| entry_address(std::str::from_utf8(trimmed(entry)).ok()?))
}

/// Without the spaces and tabs around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let first = text.iter().position(is_text).unwrap_or(text.len());
    let last = text.iter().rposition(is_text).map_or(first, |last| last + 1);
    &text[first..last]
}

/// An address as proxies write it there: a [`node_address`], or IPv6 without brackets.
fn entry_address(entry: &str) -> Option<IpAddr> {
    match entry.parse::<Ipv6Addr>() {
        Ok(address) => Some(IpAddr::from(address).to_canonical()),
        Err(_) => node_address(entry),
    }
}

/// The addresses of the `for` parameters in `Forwarded`, from the right; `None` for an element without an address.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(header::FORWARDED).iter().rev();
    let elements = lines.flat_map(|line| SplitFromRight {
        rest: Some(line.as_bytes()),
        separator: b',',
    });
    elements.map(element_address)
}

/// Splits a text at separators outside of quotes, from the right.
struct SplitFromRight<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for SplitFromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.take()?;
        let mut within = false;
        for (at, byte) in text.iter().enumerate().rev() {
            match byte {
                b'"' if !(within && is_escaped(text, at)) => within = !within,
                byte if *byte == self.separator && !within => {
                    self.rest = Some(&text[..at]);
                    return Some(&text[at + 1..]);
                }
                _ => {}
            }
        }
        Some(text)
    }
}

/// Whether an odd number of backslashes precedes that position.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in an element's only `for` parameter (RFC 7239 §4, §6). The other parameters are parsed too, because a malformed
/// one could hide where a `for` begins; their values may hold any byte that a header can carry.
fn element_address(element: &[u8]) -> Option<IpAddr> {
    let pairs = SplitFromRight {
        rest: Some(element),
        separator: b';',
    };
    let mut found = None;
    for pair in pairs {
        let pair = trimmed(pair);
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], unquoted(&pair[equals + 1..])?);
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") {
            let address = node_address(std::str::from_utf8(&value).ok()?)?;
            if found.replace(address).is_some() {
                return None;
            }
        }
    }
    found
}

/// A token (RFC 9110 §5.6.2).
fn is_token(name: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_allowed)
}

/// A value without its quotes, if it has any (RFC 9110 §5.6.4). An unquoted value may hold more than a token: proxies write
/// `192.0.2.1:80`.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        let is_plain = !value.is_empty() && value.iter().all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'"');
        return is_plain.then_some(Cow::Borrowed(value));
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => text.push(*bytes.next()?),
            other => text.push(*other),
        }
    }
    bytes.next().is_none().then_some(Cow::Owned(text))
}

/// `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::17]`, `[2001:db8::17]:4711`; the port may be hidden (`_p`). `unknown` and
/// `_hidden` are no addresses.
fn node_address(node: &str) -> Option<IpAddr> {
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            let port = if after.is_empty() {
                None
            } else {
                Some(after.strip_prefix(':')?)
            };
            (IpAddr::from(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let (address, port) = match node.split_once(':') {
                Some((address, port)) => (address, Some(port)),
                None => (node, None),
            };
            (IpAddr::from(address.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    let is_hidden = |port: &str| {
        let hidden = port.strip_prefix('_');
        hidden.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        })
    };
    let is_number = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_none_or(|port| is_number(port) || is_hidden(port))
        .then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn address(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], header);
        let client = proxies.client(peer.parse().expect("a socket address"), &headers(lines));
        client.map_or_else(|_| "both".to_owned(), |client| client.address.to_string())
    }

    fn by_either(peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        address(ForwardedHeader::Either, peer, lines)
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let forged = ("x-forwarded-for", "1.1.1.1, 192.0.2.7:4711, 10.0.0.9");
        assert_eq!(by_either("198.51.100.1:1", &[forged]), "198.51.100.1");
        assert_eq!(by_either("10.0.0.1:1", &[forged]), "192.0.2.7");
        assert_eq!(by_either("[::ffff:10.0.0.1]:1", &[forged]), "192.0.2.7");
        assert_eq!(by_either("10.0.0.1:1", &[]), "10.0.0.1");
        assert_eq!(
            by_either("10.0.0.1:1", &[("x-forwarded-for", "2001:db8::1")]),
            "2001:db8::1"
        );
        assert_eq!(
            by_either("10.0.0.1:1", &[("x-forwarded-for", "[2001:db8::1]:80")]),
            "2001:db8::1"
        );
        assert_eq!(
            by_either("10.0.0.1:1", &[("x-forwarded-for", "6.6.6.6, evil, 10.0.0.2")]),
            "10.0.0.2"
        );
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.8")];
        assert_eq!(by_either("10.0.0.1:1", &lines), "192.0.2.8");
        let mapped = NetworkSet::new(vec!["::ffff:10.0.0.0/104".parse().expect("a network")]);
        assert!(mapped.contain("10.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn forwarded_is_read_as_in_rfc_7239() {
        for (line, client) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.43, for=10.0.0.7", "192.0.2.43"),
            ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
            ("for=\"192.0.2.43:_p1\"", "192.0.2.43"),
            ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
            ("by=\"a,b;c\";FOR=192.0.2.1;host=\"x\\\"y\"", "192.0.2.1"),
            // An element without exactly one address counts as the proxy that wrote it.
            ("for=unknown", "10.0.0.1"),
            ("for=_hidden, for=10.0.0.7", "10.0.0.7"),
            ("for=_SEVKISEK", "10.0.0.1"),
            ("proto=http", "10.0.0.1"),
            ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
            ("for=2001:db8::1", "10.0.0.1"),
            ("for=\"[2001:db8::1\"", "10.0.0.1"),
            ("for=192.0.2.1:123456", "10.0.0.1"),
            ("for", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("for=192.0.2.1;se cret=1", "10.0.0.1"),
            // A quotation mark from the client does not change what a proxy wrote after it.
            ("for=\"6.6.6.6, for=192.0.2.9", "192.0.2.9"),
            ("for=6.6.6.6\", for=192.0.2.9;by=\"x\"", "192.0.2.9"),
            ("for=\"\\, for=192.0.2.9", "192.0.2.9"),
        ] {
            let line: &'static str = line;
            assert_eq!(by_either("10.0.0.1:1", &[("forwarded", line)]), client, "{line}");
        }
        let lines = [
            ("forwarded", "for=6.6.6.6"),
            ("forwarded", "for=192.0.2.8, for=10.9.9.9"),
        ];
        assert_eq!(by_either("10.0.0.1:1", &lines), "192.0.2.8");
    }

    #[test]
    fn contradicting_forwarding_headers_are_ignored() {
        let (one, other) = (("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2"));
        for unlike in [
            other,
            ("forwarded", "x"),
            ("forwarded", ""),
            ("forwarded", "for=unknown"),
        ] {
            assert_eq!(by_either("10.0.0.1:1", &[one, unlike]), "both", "{unlike:?}");
            assert_eq!(
                by_either("198.51.100.1:1", &[one, unlike]),
                "198.51.100.1",
                "a stranger's"
            );
        }
        assert_eq!(by_either("10.0.0.1:1", &[("x-forwarded-for", "x"), other]), "both");
        assert_eq!(
            by_either("10.0.0.1:1", &[one, ("forwarded", "for=\"192.0.2.1:8\"")]),
            "192.0.2.1"
        );
        assert_eq!(
            address(ForwardedHeader::XForwardedFor, "10.0.0.1:1", &[one, other]),
            "192.0.2.1"
        );
        assert_eq!(
            address(ForwardedHeader::Forwarded, "10.0.0.1:1", &[one, other]),
            "192.0.2.2"
        );
        assert_eq!(address(ForwardedHeader::Forwarded, "10.0.0.1:1", &[one]), "10.0.0.1");
    }

    /// Proxies quote client text byte for byte. A single non-UTF-8 byte used to make the element unreadable, so the client was
    /// counted as the proxy itself.
    #[test]
    fn bytes_in_another_parameter_hide_no_address() {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_bytes(b"for=192.0.2.9;host=\"\xff\"").expect("valid header bytes");
        headers.append(header::FORWARDED, line);
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], ForwardedHeader::Either);
        let client = proxies.client("10.0.0.1:1".parse().expect("a socket address"), &headers);
        assert_eq!(client.expect("there is one header").address.to_string(), "192.0.2.9");
    }

    #[test]
    fn the_number_of_hops_is_bounded() {
        let many: &'static str = Box::leak(format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX)).into_boxed_str());
        assert_eq!(by_either("10.0.0.1:1", &[("x-forwarded-for", many)]), "10.0.0.2");
    }
}
