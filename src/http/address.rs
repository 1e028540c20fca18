//! Where a request came from: the socket's address, or the client's that trusted proxies name in `X-Forwarded-For` or
//! `Forwarded` (RFC 7239).
//!
//! Both headers are read from the right, where the nearest proxy wrote, to the first address that is not a trusted proxy's:
//! whatever stands left of that, the client may have written itself. What is no address ends the reading: whoever wrote it is
//! the client, as far as anybody can vouch. So is what a client writes never parsed together with what a proxy wrote after it:
//! an element's end is found from the right, and no quotation mark further left can move it.
//!
//! Absent on purpose: the PROXY protocol, which speaks before any request (`proxy_protocol`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::store::network::canonical;

/// Addresses that are looked at, at most: more proxies in a row there aren't. The last of them is the client then.
pub const HOPS_MAX: usize = 64;

/// Where trusted proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// In either of the two. A proxy that writes one of them passes the other on as its client sent it: where both are there
    /// and name different clients, one of them may be forged, and neither is believed.
    #[default]
    Either,
    /// In `X-Forwarded-For`.
    XForwardedFor,
    /// In `Forwarded`.
    Forwarded,
}

/// The proxies whose word on a client's address is taken.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Networks,
    header: ForwardedHeader,
}

/// Some networks.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<IpNet>);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The client's address, IPv4 if it is one written as IPv6.
    pub address: IpAddr,
    /// Whether the connection comes from a trusted proxy.
    pub peer_is_trusted: bool,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Networks {
    /// These networks. One of IPv4 addresses written as IPv6 (`::ffff:10.0.0.0/104`) is one of IPv4 addresses.
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
    /// Proxies with addresses in these networks, which say so in that header.
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self {
            networks: Networks::new(networks),
            header,
        }
    }

    /// The client's address: the socket's, unless that is a trusted proxy; then the one that it names.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Client {
        let peer = peer.ip().to_canonical();
        let peer_is_trusted = self.networks.contain(peer);
        Client {
            peer,
            address: if peer_is_trusted {
                self.named(peer, headers)
            } else {
                peer
            },
            peer_is_trusted,
        }
    }

    fn named(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let x_forwarded_for = || self.walk(peer, x_forwarded_for(headers));
        let forwarded = || self.walk(peer, forwarded(headers));
        match self.header {
            ForwardedHeader::XForwardedFor => x_forwarded_for(),
            ForwardedHeader::Forwarded => forwarded(),
            ForwardedHeader::Either => {
                let is_there = [X_FORWARDED_FOR, header::FORWARDED].map(|name| headers.contains_key(name));
                match is_there {
                    [_, false] => x_forwarded_for(),
                    [false, true] => forwarded(),
                    [true, true] => Some(forwarded())
                        .filter(|named| *named == x_forwarded_for())
                        .unwrap_or(peer),
                }
            }
        }
    }

    /// From the nearest hop to the first that is not trusted, or that is no address.
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

/// The addresses in `X-Forwarded-For`, from the right; `None` for what is none.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(|entry| entry_address(std::str::from_utf8(entry).ok()?.trim()))
}

/// An address as proxies write it there: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn entry_address(entry: &str) -> Option<IpAddr> {
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(entry);
    let address: Option<IpAddr> = bare.parse().ok();
    let address = address.or_else(|| entry.parse().ok().map(|socket: SocketAddr| socket.ip()));
    Some(address?.to_canonical())
}

/// The addresses of the `for` parameters in `Forwarded`, from the right; `None` for an element that names none.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(header::FORWARDED).iter().rev();
    let elements = lines.flat_map(|line| FromTheRight {
        rest: Some(line.as_bytes()),
        separator: b',',
    });
    elements.map(|element| element_address(std::str::from_utf8(element).ok()?))
}

/// The parts of a text between separators outside of quotes, from the right.
struct FromTheRight<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for FromTheRight<'a> {
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

/// Whether an odd number of backslashes stands before that place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in an element's one `for` parameter (RFC 7239 §4, §6).
fn element_address(element: &str) -> Option<IpAddr> {
    let pairs = FromTheRight {
        rest: Some(element.as_bytes()),
        separator: b';',
    };
    let mut found = None;
    for pair in pairs {
        let pair = std::str::from_utf8(pair).ok()?.trim_matches([' ', '\t']);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") && found.replace(node_address(&value)?).is_some() {
            return None;
        }
    }
    found
}

/// A value, without the quotes that it may stand in (RFC 9110 §5.6.4).
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else {
        let is_plain = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"');
        return is_plain.then_some(Cow::Borrowed(value));
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
    characters.next().is_none().then_some(Cow::Owned(text))
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
        client.address.to_string()
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
        let mapped = Networks::new(vec!["::ffff:10.0.0.0/104".parse().expect("a network")]);
        assert!(mapped.contain("10.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn forwarded_as_rfc_7239_has_it() {
        for (line, client) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.43, for=10.0.0.7", "192.0.2.43"),
            ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
            ("for=\"192.0.2.43:_p1\"", "192.0.2.43"),
            ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
            ("by=\"a,b;c\";FOR=192.0.2.1;host=\"x\\\"y\"", "192.0.2.1"),
            // What names no address, or not one alone, was written by the proxy that is known.
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
            // No quotation mark of a client's changes what a proxy wrote after it.
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
    fn of_two_headers_that_contradict_each_other_neither_is_believed() {
        let (one, other) = (("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2"));
        assert_eq!(by_either("10.0.0.1:1", &[one, other]), "10.0.0.1");
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

    #[test]
    fn so_many_hops_are_looked_at() {
        let many: &'static str = Box::leak(format!("192.0.2.1{}", ", 10.0.0.2".repeat(HOPS_MAX)).into_boxed_str());
        assert_eq!(by_either("10.0.0.1:1", &[("x-forwarded-for", many)]), "10.0.0.2");
    }
}
