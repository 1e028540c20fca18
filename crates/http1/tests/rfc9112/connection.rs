//! RFC 9112 §9 and RFC 9110 §7.6 to §7.8, §10.1: what a message says about its connection.

use tiergate_http1::{CONNECTION_OPTIONS_MAX, Expect, Field, HeadError, NameSet, Upgrade};

use crate::kit::{request, with_fields};

fn persists(version: &str, lines: &str) -> bool {
    let parsed = request(&format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n")).expect("accepted");
    parsed.head.persists()
}

/// §9.3, the four rules. HTTP/1.0 with `keep-alive` goes on: the rule against it is for proxies that clients choose, since others
/// before them may not understand; this is a gateway, which clients take for the server.
#[test]
fn section_9_3_persistence_by_version_and_options() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, close , y\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection:\r\n", true),
        ("1.1", "Close: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
        ("1.2", "", true),
    ] {
        assert_eq!(persists(version, lines), expected, "{version} {lines:?}");
    }
}

fn forwarded(lines: &str) -> String {
    let parsed = with_fields(lines).expect("accepted");
    let mut out = Vec::new();
    let keep = |field: &Field| !NameSet::HOP_BY_HOP.contains(field.known()) && !field.is_nominated();
    parsed.head.fields().copy(&parsed.buffer, &mut out, keep);
    String::from_utf8(out).expect("ASCII")
}

/// "Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each connection-option in this
/// field, remove any header or trailer field(s) from the message with the same name as the connection-option, and then remove the
/// Connection header field itself".
#[test]
fn rfc_9110_section_7_6_1_nominated_fields_are_removed() {
    for (lines, kept) in [
        ("Connection: X\r\nX: 1\r\nY: 2\r\nx: 3\r\n", "Host: h\r\nY: 2\r\n"),
        ("X: 1\r\nY: 2\r\nConnection: y,\tx\r\n", "Host: h\r\n"),
        (
            "Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\nC: 3\r\n",
            "Host: h\r\nC: 3\r\n",
        ),
        ("Connection: , a ,, \r\nA: 1\r\n", "Host: h\r\n"),
        ("Connection: aa\r\nA: 1\r\nAAA: 2\r\n", "Host: h\r\nA: 1\r\nAAA: 2\r\n"),
        (
            "Connection: close, TE\r\nTE: trailers\r\nClose: 1\r\nKeep-Alive: 5\r\n",
            "Host: h\r\nClose: 1\r\n",
        ),
        ("Connection: authorization\r\nAuthorization: x\r\n", "Host: h\r\n"),
        (
            "Connection: X-Long-Name-1, x-LONG-name-3\r\nX-Long-Name-1: 1\r\nX-Long-Name-2: 2\r\nX-Long-Name-3: 3\r\n",
            "Host: h\r\nX-Long-Name-2: 2\r\n",
        ),
        ("Connection: ^\r\n^: 1\r\n~: 2\r\n", "Host: h\r\n~: 2\r\n"),
    ] {
        assert_eq!(forwarded(lines), kept, "{lines:?}");
    }
}

/// Fields that say where the message ends and where it goes can't be taken out by naming them.
#[test]
fn rfc_9110_section_7_6_1_framing_fields_cant_be_nominated() {
    let lines = "Connection: host, content-length, transfer-encoding\r\nContent-Length: 5\r\n";
    assert_eq!(forwarded(lines), "Host: h\r\nContent-Length: 5\r\n");
    let parsed = with_fields(lines).expect("accepted");
    assert_eq!(parsed.head.framing(), tiergate_http1::Framing::Length(5));
}

#[test]
fn rfc_9110_section_7_6_1_options_are_tokens_and_bounded() {
    for wrong in ["a b", "close;q=1", "\"close\"", "a, b c", "(close)", "close:", "\u{e9}"] {
        let refused = with_fields(&format!("Connection: {wrong}\r\n")).err();
        assert_eq!(refused, Some(HeadError::InvalidConnectionOption), "{wrong:?}");
    }
    let options = |number: usize| with_fields(&format!("Connection: a{}\r\n", ",a".repeat(number - 1))).map(|_| ());
    assert_eq!(options(CONNECTION_OPTIONS_MAX), Ok(()));
    assert_eq!(
        options(CONNECTION_OPTIONS_MAX + 1),
        Err(HeadError::TooManyConnectionOptions)
    );
    // Whether they are empty or stand in several lines.
    let empty = format!("Connection: {}\r\n", ",".repeat(CONNECTION_OPTIONS_MAX));
    assert_eq!(with_fields(&empty).err(), Some(HeadError::TooManyConnectionOptions));
    for option in ["a", "keep-alive", "close"] {
        let lines = format!("Connection: {option}\r\n").repeat(CONNECTION_OPTIONS_MAX + 1);
        let refused = with_fields(&lines).err();
        assert_eq!(refused, Some(HeadError::TooManyConnectionOptions), "{option}");
    }
    assert_eq!(HeadError::TooManyConnectionOptions.status(), 400);
}

/// "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request"; without the connection option "upgrade" it is
/// not meant for this recipient.
#[test]
fn rfc_9110_section_7_8_upgrade() {
    for (version, lines, expected) in [
        (
            "1.1",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            Some(Upgrade::WebSocket),
        ),
        (
            "1.1",
            "Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n",
            Some(Upgrade::WebSocket),
        ),
        (
            "1.1",
            "Connection: upgrade\r\nUpgrade: h2c, websocket\r\n",
            Some(Upgrade::WebSocket),
        ),
        (
            "1.1",
            "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
            Some(Upgrade::WebSocket),
        ),
        (
            "1.1",
            "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            Some(Upgrade::WebSocket),
        ),
        (
            "1.1",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
            Some(Upgrade::Other),
        ),
        (
            "1.1",
            "Connection: upgrade\r\nUpgrade: websockets\r\n",
            Some(Upgrade::Other),
        ),
        ("1.1", "Connection: upgrade\r\n", None),
        ("1.1", "Upgrade: websocket\r\n", None),
        ("1.1", "Connection: close\r\nUpgrade: websocket\r\n", None),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", None),
    ] {
        let parsed = request(&format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n")).expect("accepted");
        assert_eq!(parsed.head.upgrade(), expected, "{version} {lines:?}");
    }
}

/// "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
#[test]
fn rfc_9110_section_10_1_1_expect() {
    for (version, lines, expected) in [
        ("1.1", "", None),
        ("1.1", "Expect: 100-continue\r\n", Some(Expect::Continue)),
        ("1.1", "Expect: 100-Continue\r\n", Some(Expect::Continue)),
        (
            "1.1",
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            Some(Expect::Continue),
        ),
        ("1.1", "Expect: 100-continue, x\r\n", Some(Expect::Other)),
        ("1.1", "Expect: 100-continue\r\nExpect: x\r\n", Some(Expect::Other)),
        ("1.1", "Expect: x\r\nExpect: 100-continue\r\n", Some(Expect::Other)),
        ("1.1", "Expect:\r\n", Some(Expect::Other)),
        ("1.0", "Expect: 100-continue\r\n", None),
    ] {
        let parsed = request(&format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n")).expect("accepted");
        assert_eq!(parsed.head.expect(), expected, "{version} {lines:?}");
    }
}

/// RFC 9110 §10.1.4 and §6.5.1: trailers go to those who take them.
#[test]
fn rfc_9110_section_10_1_4_te_trailers() {
    for (lines, expected) in [
        ("TE: trailers\r\nConnection: TE\r\n", true),
        ("TE: Trailers\r\n", true),
        ("TE: gzip;q=0.5, trailers\r\n", true),
        ("TE: gzip\r\nTE: trailers\r\n", true),
        ("TE: trailersx\r\n", false),
        ("TE: gzip\r\n", false),
        ("TE:\r\n", false),
        ("", false),
    ] {
        assert_eq!(
            with_fields(lines).expect("accepted").head.takes_trailers(),
            expected,
            "{lines:?}"
        );
    }
}

/// §9.3.2: what was pipelined is found where the message before it ends, and storage that was used before keeps nothing of it.
#[test]
fn section_9_3_2_pipelined_requests_are_kept_apart() {
    let first = "POST /1 HTTP/1.0\r\nHost: a\r\nConnection: x, keep-alive\r\nX: 1\r\nContent-Length: 3\r\nExpect: y\r\nTE: trailers\r\n\r\n";
    let second = "GET /2 HTTP/1.1\r\nHost: b\r\nX: 2\r\n\r\n";
    let buffer = format!("{first}GET{second}");
    let mut head = tiergate_http1::RequestHead::new();
    let names = tiergate_http1::Names::own();
    assert_eq!(
        head.parse(buffer.as_bytes(), names, &crate::kit::LIMITS),
        Ok(Some(first.len()))
    );
    assert!(head.persists() && head.takes_trailers());
    head.clear();
    let rest = &buffer.as_bytes()[first.len() + 3..];
    assert_eq!(head.parse(rest, names, &crate::kit::LIMITS), Ok(Some(second.len())));
    assert_eq!((head.path(rest), head.host(rest)), (&b"/2"[..], Some(&b"b"[..])));
    assert_eq!(
        (head.expect(), head.takes_trailers(), head.framing()),
        (None, false, tiergate_http1::Framing::None)
    );
    assert!(head.fields().iter().all(|field| !field.is_nominated()));
    assert_eq!(head.fields().len(), 2);
}
