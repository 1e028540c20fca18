//! Whose a request is and whose a connection: against a slow oracle, and by construction.

#[path = "address/oracle.rs"]
mod oracle;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use oracle::{Believed, Greeting};
use proptest::prelude::*;
use tiergate::http::address::{ForwardedHeader, TrustedProxies};
use tiergate::http::proxy_protocol::{self, Header, NoHeader};

const TRUSTED: [&str; 2] = ["10.0.0.0/8", "2001:db8:1::/48"];
const PEER: &str = "10.0.0.1:4711";

fn networks() -> Vec<IpNet> {
    TRUSTED.map(|network| network.parse().expect("a network")).to_vec()
}

/// The address that the proxy finds and that of the oracle; `None` if the headers contradict each other.
fn both(peer: &str, believed: Believed, x_forwarded_for: &[Vec<u8>], forwarded: &[Vec<u8>]) -> [Option<IpAddr>; 2] {
    let peer: SocketAddr = peer.parse().expect("a socket address");
    let mut headers = HeaderMap::new();
    for (name, lines) in [("x-forwarded-for", x_forwarded_for), ("forwarded", forwarded)] {
        for line in lines {
            let value = HeaderValue::from_bytes(line).expect("bytes that a header can carry");
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let header = match believed {
        Believed::Either => ForwardedHeader::Either,
        Believed::XForwardedFor => ForwardedHeader::XForwardedFor,
        Believed::Forwarded => ForwardedHeader::Forwarded,
    };
    let is_trusted = |address: IpAddr| networks().iter().any(|network| network.contains(&address));
    let found = TrustedProxies::new(networks(), header).client(peer, &headers);
    [
        found.ok().map(|client| client.address),
        oracle::client(peer.ip(), &is_trusted, believed, x_forwarded_for, forwarded),
    ]
}

const ADDRESSES: &[&str] = &[
    "192.0.2.7",
    "10.0.0.2",
    "10.9.9.9",
    "::ffff:10.0.0.3",
    "::ffff:192.0.2.8",
    "2001:db8:1::2",
    "2001:db8:2::3",
    "unknown",
    "_hidden",
    "010.0.0.2",
    "fe80::1%1",
    "",
];

/// A hop as one proxy or another writes it, or nearly.
fn hop() -> impl Strategy<Value = String> {
    let port = prop::sample::select(vec![
        "", "", ":80", ":65535", ":99999", ":123456", ":_p.1", ":_", ":", ":+1",
    ]);
    (prop::sample::select(ADDRESSES), any::<bool>(), port).prop_map(|(address, bracketed, port)| {
        let address = if bracketed {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        format!("{address}{port}")
    })
}

fn entry() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => hop().prop_map(String::into_bytes),
        2 => prop::sample::select(vec![", ", ",", " ", "\t"]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec![&b"\xff"[..], b"\xc2\xa0", b"\"", b"x"]).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.join(&b','))
}

/// What `Forwarded` is made of, in order or not.
fn element() -> impl Strategy<Value = Vec<u8>> {
    let pair = (
        prop::sample::select(vec!["for", "For", "FOR", "by", "host", "f or", "", "för"]),
        hop(),
        any::<bool>(),
    );
    let pair = pair.prop_map(|(name, value, quoted)| {
        if quoted {
            format!("{name}=\"{value}\"")
        } else {
            format!("{name}={value}")
        }
    });
    let piece = prop_oneof![
        6 => pair.prop_map(String::into_bytes),
        4 => prop::sample::select(vec![", ", ",", ";", "; ", " ", "=", "for="]).prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(vec![&b"\""[..], b"\\", b"\\\"", b"\\\\", b"=\"", b"\xff"]).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Any content, quoted as RFC 9110 has it.
fn quoted() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"\"\\,;=".to_vec()),
        2 => prop::sample::select(b"for=6.6.6.6".to_vec()),
        1 => prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8],
    ];
    prop::collection::vec((byte, any::<bool>()), 0..24).prop_map(|content| {
        let mut text = vec![b'"'];
        for (byte, escaped) in content {
            if escaped || matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.push(b'"');
        text
    })
}

/// An element in which a proxy names that hop, with other things around it.
fn honest(hop: &'static str) -> impl Strategy<Value = Vec<u8>> {
    (quoted(), quoted(), 0..4_u8).prop_map(move |(one, other, order)| {
        let hop = format!("for=\"{hop}\"").into_bytes();
        let (one, other) = ([b"by=", &one[..]].concat(), [b"host=", &other[..]].concat());
        match order {
            0 => hop,
            1 => [hop, one].join(&b';'),
            2 => [one, hop, other].join(&b';'),
            _ => [one, other, hop].join(&b"; "[..]),
        }
    })
}

fn believed() -> impl Strategy<Value = Believed> {
    prop::sample::select(vec![Believed::Either, Believed::XForwardedFor, Believed::Forwarded])
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The beginning of a connection: a header of either version, or nearly, and something behind it.
fn greeting() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "UNKNOWNED",
        "192.0.2.7",
        "10.0.0.1",
        "2001:db8::7",
        "::ffff:1.2.3.4",
        "1",
        "0",
        "80",
        "080",
        "+80",
        "65535",
        "65536",
        "",
        "\r",
        "\n",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]);
    let words = prop::collection::vec(word, 0..8).prop_map(|words| words.join(" "));
    let line = (
        words,
        prop::sample::select(vec!["\r\n", "\r\nGET / HTTP/1.1\r\n\r\n", "\n", "\r", ""]),
    )
        .prop_map(|(words, end)| format!("PROXY {words}{end}").into_bytes());
    let proper = (any::<[u16; 2]>(), any::<bool>()).prop_map(|([one, two], v6)| {
        let (family, source) = if v6 {
            ("TCP6", "2001:db8::7 ::1")
        } else {
            ("TCP4", "192.0.2.7 192.0.2.1")
        };
        format!("PROXY {family} {source} {one} {two}\r\nGET").into_bytes()
    });
    let command = prop_oneof![6 => Just(0x21_u8), 3 => Just(0x20), 1 => any::<u8>()];
    let family =
        prop_oneof![6 => prop::sample::select(vec![0x00_u8, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]), 1 => any::<u8>()];
    let length = prop_oneof![
        4 => prop::sample::select(vec![0_u16, 11, 12, 13, 35, 36, 40, 215, 216, 220]),
        1 => prop::sample::select(vec![4079_u16, 4080, 4081, 65535]),
        1 => 0..300_u16,
    ];
    let binary = (command, family, length, prop::collection::vec(any::<u8>(), 0..320)).prop_map(
        |(command, family, length, block)| {
            let [high, low] = length.to_be_bytes();
            [SIGNATURE, &[command, family, high, low], &block].concat()
        },
    );
    let any_bytes = prop::collection::vec(any::<u8>(), 0..24);
    prop_oneof![3 => line, 1 => proper, 4 => binary, 1 => any_bytes]
}

fn door_says(bytes: &[u8]) -> Greeting {
    match proxy_protocol::header(bytes) {
        Ok(None) => Greeting::Begun,
        Ok(Some(Header { length, source })) => Greeting::Header(length, source),
        Err(NoHeader) => Greeting::Garbage,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_client_is_whom_the_slow_one_finds(
        x_forwarded_for in prop::collection::vec(entry(), 0..3),
        forwarded in prop::collection::vec(element(), 0..3),
        believed in believed(),
        peer in prop::sample::select(vec![PEER, "[::ffff:10.0.0.1]:1", "[2001:db8:1::1]:1", "192.0.2.99:1"]),
    ) {
        let [fast, slow] = both(peer, believed, &x_forwarded_for, &forwarded);
        prop_assert_eq!(fast, slow);
    }

    /// Whatever a client writes, and whatever proxies quote of it: the first stranger from the right is the client.
    #[test]
    fn clients_cannot_shift_what_proxies_append(
        forged in prop_oneof![element(), prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..40)],
        client in honest("192.0.2.7:4711"),
        proxies in prop::collection::vec(prop_oneof![honest("10.0.0.2"), honest("[2001:db8:1::9]:_x")], 0..4),
        lines in any::<[bool; 5]>(),
    ) {
        let mut sent = vec![forged];
        for (element, new_line) in std::iter::once(client).chain(proxies).zip(lines) {
            match sent.last_mut() {
                Some(last) if !new_line => {
                    last.extend_from_slice(b", ");
                    last.extend(element);
                }
                _ => sent.push(element),
            }
        }
        let [fast, slow] = both(PEER, Believed::Forwarded, &[], &sent);
        let client: Option<IpAddr> = "192.0.2.7".parse().ok();
        prop_assert_eq!(fast, client);
        prop_assert_eq!(slow, client);
    }

    /// Behind a proxy that writes one of the headers, whatever its client writes into the other: it is who it is, or refused. A
    /// blocked or limited client was counted as its proxy before, with any `Forwarded` that named nobody.
    #[test]
    fn the_unwritten_forwarding_header_is_ignored(
        forged in prop_oneof![element(), entry()],
        by_forwarded in any::<bool>(),
    ) {
        let (x_forwarded_for, forwarded) = match by_forwarded {
            true => (forged, b"for=192.0.2.7".to_vec()),
            false => (b"192.0.2.7".to_vec(), forged),
        };
        let client: Option<IpAddr> = "192.0.2.7".parse().ok();
        for found in both(PEER, Believed::Either, &[x_forwarded_for], &[forwarded]) {
            prop_assert!(found.is_none() || found == client, "{:?}", found);
        }
    }

    #[test]
    fn a_greeting_is_what_the_slow_one_takes_it_for(bytes in greeting()) {
        prop_assert_eq!(door_says(&bytes), oracle::greeting(&bytes));
    }

    /// The same bytes are the same header, however they are cut: what has come of them is its beginning until it is whole.
    #[test]
    fn a_greeting_is_the_same_however_it_is_cut(bytes in greeting()) {
        let whole = door_says(&bytes);
        for cut in 0..bytes.len() {
            let part = door_says(&bytes[..cut]);
            prop_assert!(part == whole || part == Greeting::Begun, "{part:?} of {cut} bytes, {whole:?} of all");
            prop_assert!(part == whole || !matches!(whole, Greeting::Header(length, _) if length <= cut));
        }
    }
}
