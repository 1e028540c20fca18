//! Slow and obviously right: whose a request is, by its headers, and whose a connection, by its first bytes.
//!
//! Written apart from the crate, from RFC 7239, RFC 9110 and the text of the PROXY protocol, and in another manner: whole lists are
//! made, every place where an element may begin is tried, and grammars are read from the left. Shared by the property tests and the
//! fuzz target.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The header that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    Either,
    XForwardedFor,
    Forwarded,
}

/// Hops that are looked at.
const HOPS: usize = 64;

/// The client's address, with these lines of `X-Forwarded-For` and of `Forwarded`. `None`: the two contradict each other.
pub fn client(
    peer: IpAddr,
    is_trusted: &dyn Fn(IpAddr) -> bool,
    believed: Believed,
    x_forwarded_for: &[Vec<u8>],
    forwarded: &[Vec<u8>],
) -> Option<IpAddr> {
    let peer = as_ipv4(peer);
    if !is_trusted(peer) {
        return Some(peer);
    }
    let walk = |hops: Vec<Option<IpAddr>>| {
        let mut client = peer;
        for hop in hops.iter().take(HOPS) {
            match hop {
                None => return client,
                Some(address) if is_trusted(*address) => client = *address,
                Some(address) => return *address,
            }
        }
        client
    };
    let by_x_forwarded_for = walk(entries(x_forwarded_for));
    let by_forwarded = walk(elements(forwarded));
    match believed {
        Believed::XForwardedFor => Some(by_x_forwarded_for),
        Believed::Forwarded => Some(by_forwarded),
        Believed::Either if forwarded.is_empty() => Some(by_x_forwarded_for),
        Believed::Either if x_forwarded_for.is_empty() => Some(by_forwarded),
        Believed::Either if by_x_forwarded_for == by_forwarded => Some(by_forwarded),
        Believed::Either => None,
    }
}

/// An IPv4 address that is written as IPv6 is one of IPv4.
fn as_ipv4(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.octets()[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        other => other,
    }
}

/// The list in `X-Forwarded-For`, nearest hop first.
fn entries(lines: &[Vec<u8>]) -> Vec<Option<IpAddr>> {
    let all = lines.join(&b',');
    let mut entries: Vec<Option<IpAddr>> = all
        .split(|byte| *byte == b',')
        .map(|entry| {
            let text = String::from_utf8(entry.to_vec()).ok()?;
            let text = text.trim_matches([' ', '\t']);
            match text.parse::<Ipv6Addr>() {
                Ok(bare) => Some(as_ipv4(bare.into())),
                Err(_) => node(text.as_bytes()),
            }
        })
        .collect();
    entries.reverse();
    entries
}

/// The elements of `Forwarded`, nearest hop first, up to what is no element.
fn elements(lines: &[Vec<u8>]) -> Vec<Option<IpAddr>> {
    let mut elements = Vec::new();
    for line in lines.iter().rev() {
        let mut rest = Some(line.as_slice());
        while let Some(text) = rest {
            let Some((element, before)) = last_element(text) else {
                elements.push(None);
                return elements;
            };
            elements.push(address_for(&element));
            rest = before;
        }
    }
    elements
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The last element of a list, which is the shortest end of it, after a comma, that the grammar knows; and what is before that comma.
/// None begins within a quoted string, since none could close what was opened before it.
fn last_element(text: &[u8]) -> Option<(Pairs, Option<&[u8]>)> {
    for begin in (0..=text.len()).rev() {
        let is_begin = begin == 0 || text[begin - 1] == b',';
        if is_begin && let Some(element) = pairs(&text[begin..]) {
            return Some((element, (begin > 0).then(|| &text[..begin - 1])));
        }
    }
    None
}

/// `[ pair ] *( ";" [ pair ] )`, where spaces and tabs may stand around a pair.
fn pairs(text: &[u8]) -> Option<Pairs> {
    let mut pairs = Vec::new();
    let mut at = 0;
    loop {
        at = skip(text, at, is_space);
        let name_end = skip(text, at, is_token);
        if name_end > at {
            if text.get(name_end) != Some(&b'=') {
                return None;
            }
            let (value, end) = value(text, name_end + 1)?;
            pairs.push((text[at..name_end].to_ascii_lowercase(), value));
            at = skip(text, end, is_space);
        }
        match text.get(at) {
            None => return Some(pairs),
            Some(b';') => at += 1,
            Some(_) => return None,
        }
    }
}

/// A quoted string, or some visible characters that part nothing, and where it ends.
fn value(text: &[u8], begin: usize) -> Option<(Vec<u8>, usize)> {
    if text.get(begin) != Some(&b'"') {
        let end = skip(text, begin, |byte| byte.is_ascii_graphic() && !b"\",;".contains(&byte));
        return (end > begin).then(|| (text[begin..end].to_vec(), end));
    }
    let mut value = Vec::new();
    let mut at = begin + 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some((value, at + 1)),
            b'\\' => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            other => {
                value.push(other);
                at += 1;
            }
        }
    }
}

fn skip(text: &[u8], begin: usize, of: impl Fn(u8) -> bool) -> usize {
    let mut at = begin;
    while text.get(at).is_some_and(|byte| of(*byte)) {
        at += 1;
    }
    at
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

/// The address of an element that has one `for`, with an address.
fn address_for(pairs: &Pairs) -> Option<IpAddr> {
    let named: Vec<&Vec<u8>> = pairs
        .iter()
        .filter(|(name, _)| name == b"for")
        .map(|(_, value)| value)
        .collect();
    match named[..] {
        [only] => node(only),
        _ => None,
    }
}

/// `node = nodename [ ":" node-port ]`, of which `unknown` and `_hidden` are no addresses.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    // Wherever the name may end.
    (0..=text.len())
        .filter(|end| text.is_char_boundary(*end))
        .find_map(|end| {
            let (name, port) = text.split_at(end);
            is_port(port).then(|| nodename(name)).flatten()
        })
}

fn nodename(name: &str) -> Option<IpAddr> {
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|v6| as_ipv4(v6.into()));
    }
    name.parse::<Ipv4Addr>().ok().map(IpAddr::from)
}

fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    match port.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
        None => (1..=5).contains(&port.len()) && port.chars().all(|c| c.is_ascii_digit()),
    }
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Of a header, too few.
    Begun,
    /// A header of that length, for that source or for the peer itself.
    Header(usize, Option<SocketAddr>),
    /// Not a header.
    Garbage,
}

/// The longest header of version 1, and the longest that the proxy reads of version 2.
const LINE_MAX: usize = 107;
const HEADER_MAX: usize = 4096;

/// What these bytes are, by trying every length that a header could have.
pub fn greeting(bytes: &[u8]) -> Greeting {
    for length in 1..=bytes.len().min(HEADER_MAX) {
        let whole = &bytes[..length];
        if let Some(source) = line(whole).or_else(|| binary(whole)) {
            return Greeting::Header(length, source);
        }
    }
    if may_become_a_line(bytes) || may_become_binary(bytes) {
        Greeting::Begun
    } else {
        Greeting::Garbage
    }
}

/// `PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n`, whole; the inner option is empty for `UNKNOWN`.
fn line(whole: &[u8]) -> Option<Option<SocketAddr>> {
    let content = whole.strip_suffix(b"\r\n")?;
    if whole.len() > LINE_MAX || content.windows(2).any(|two| two == b"\r\n") {
        return None;
    }
    if content == b"PROXY UNKNOWN" || content.starts_with(b"PROXY UNKNOWN ") {
        return Some(None);
    }
    let content = std::str::from_utf8(content).ok()?;
    let words: Vec<&str> = content.split(' ').collect();
    let ["PROXY", family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let (source, _): (IpAddr, IpAddr) = match family {
        "TCP4" => (
            source.parse::<Ipv4Addr>().ok()?.into(),
            destination.parse::<Ipv4Addr>().ok()?.into(),
        ),
        "TCP6" => (
            source.parse::<Ipv6Addr>().ok()?.into(),
            destination.parse::<Ipv6Addr>().ok()?.into(),
        ),
        _ => return None,
    };
    // As a number is written: no sign, and no zeros before it.
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    port(destination_port)?;
    Some(Some(SocketAddr::new(source, port(source_port)?)))
}

/// Whether more bytes could be missing of a line: it is decided once its end has come, or can't come any more.
fn may_become_a_line(bytes: &[u8]) -> bool {
    let begin = b"PROXY ";
    let common = bytes.len().min(begin.len());
    bytes[..common] == begin[..common] && bytes.len() < LINE_MAX && !bytes.windows(2).any(|two| two == b"\r\n")
}

const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/// A whole header of version 2.
fn binary(whole: &[u8]) -> Option<Option<SocketAddr>> {
    let rest = whole.strip_prefix(&SIGNATURE[..])?;
    let [version_and_command, family_and_transport, high, low, block @ ..] = rest else {
        return None;
    };
    if block.len() != usize::from(*high) * 256 + usize::from(*low) || version_and_command >> 4 != 2 {
        return None;
    }
    match version_and_command & 15 {
        // LOCAL: everything else is ignored, the family as well.
        0 => return Some(None),
        1 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from(*block.get(at)?) * 256 + u16::from(*block.get(at + 1)?));
    match (family_and_transport >> 4, family_and_transport & 15) {
        (0, 0) => Some(None),
        (1, 1 | 2) if block.len() >= 12 => {
            let source = <[u8; 4]>::try_from(&block[..4]).ok()?;
            Some(Some(SocketAddr::new(source.into(), port(8)?)))
        }
        (2, 1 | 2) if block.len() >= 36 => {
            let source = <[u8; 16]>::try_from(&block[..16]).ok()?;
            Some(Some(SocketAddr::new(source.into(), port(32)?)))
        }
        (3, 1 | 2) if block.len() >= 216 => Some(None),
        _ => None,
    }
}

/// Whether more bytes could be missing of a header of version 2.
fn may_become_binary(bytes: &[u8]) -> bool {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] != SIGNATURE[..common] {
        return false;
    }
    match bytes.get(SIGNATURE.len()..) {
        Some([version_and_command, _, high, low, block @ ..]) => {
            let length = usize::from(*high) * 256 + usize::from(*low);
            matches!(version_and_command, 0x20 | 0x21) && 16 + length <= HEADER_MAX && block.len() < length
        }
        _ => true,
    }
}
