//! RFC 9112 §3.2: `Host`.

use tiergate_http1::HeadError;

use crate::kit::{refused, request};

fn host(version: &str, lines: &str) -> Result<Option<Vec<u8>>, HeadError> {
    let parsed = request(&format!("GET / HTTP/{version}\r\n{lines}\r\n"))?;
    Ok(parsed.head.host(&parsed.buffer).map(<[u8]>::to_vec))
}

/// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header field and
/// to any request message that contains more than one Host header field line or a Host header field with an invalid field value."
#[test]
fn section_3_2_exactly_one_host() {
    assert_eq!(host("1.1", ""), Err(HeadError::MissingHost));
    assert_eq!(host("1.1", "Hostname: h\r\n"), Err(HeadError::MissingHost));
    assert_eq!(host("1.2", ""), Err(HeadError::MissingHost));
    for (version, lines) in [
        ("1.1", "Host: a\r\nHost: b\r\n"),
        ("1.1", "Host: a\r\nhost: a\r\n"),
        ("1.1", "Host: a\r\nX: y\r\nHOST:\r\n"),
        ("1.0", "Host: a\r\nHost: a\r\n"),
    ] {
        assert_eq!(host(version, lines), Err(HeadError::MultipleHosts), "{lines:?}");
    }
    assert_eq!(host("1.0", ""), Ok(None));
    assert_eq!(host("1.0", "Host: a\r\n"), Ok(Some(b"a".to_vec())));
    assert_eq!(
        [HeadError::MissingHost, HeadError::MultipleHosts, HeadError::InvalidHost].map(HeadError::status),
        [400; 3]
    );
}

#[test]
fn section_3_2_hosts_that_are_right() {
    for right in [
        "a",
        "a.example",
        "A.Example:80",
        "a.example:",
        "a.example:0",
        "a.example:65535",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "[2001:db8:0:0:0:0:0:1]",
        "[::ffff:1.2.3.4]:1",
        "under_score.example",
        "xn--bcher-kva.example",
        "a%2Db",
        "a!$&'()*+;=b",
        "-._~",
        "a.example.",
    ] {
        assert_eq!(
            host("1.1", &format!("Host: {right}\r\n")),
            Ok(Some(right.as_bytes().to_vec())),
            "{right}"
        );
    }
    assert_eq!(host("1.1", "Host:\t a.example \t\r\n"), Ok(Some(b"a.example".to_vec())));
}

/// A comma is allowed in a host by RFC 3986, but it is also what stands between two lines that somebody joined.
#[test]
fn section_3_2_hosts_that_are_wrong() {
    for wrong in [
        "a b",
        "a, b",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "u:p@b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:999999",
        "a:-1",
        "a:8 0",
        "a: 80",
        ":80",
        ":",
        "[::1",
        "::1",
        "[::1]80",
        "[::1]:x",
        "[]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[v1.x]",
        "[::1]]",
        "a%",
        "a%2",
        "a%zz",
        "http://a",
        "a\\b",
        "a\"b",
        "<a>",
        "{a}",
        "a|b",
        "a^b",
        "a`b",
        "a\tb",
    ] {
        assert_eq!(
            host("1.1", &format!("Host: {wrong}\r\n")),
            Err(HeadError::InvalidHost),
            "{wrong}"
        );
        assert_eq!(
            host("1.0", &format!("Host: {wrong}\r\n")),
            Err(HeadError::InvalidHost),
            "{wrong}"
        );
    }
    for byte in 0x80..=0xff_u8 {
        let mut input = b"GET / HTTP/1.1\r\nHost: abc\r\n\r\n".to_vec();
        input[23] = byte;
        assert_eq!(request(&input).err(), Some(HeadError::InvalidHost), "{byte:#x}");
    }
}

/// An empty `Host` says that the target has no authority; the recipient may take a default or refuse (RFC 9112 §3.3), as for
/// HTTP/1.0 without one.
#[test]
fn section_3_3_an_empty_host_names_none() {
    assert_eq!(host("1.1", "Host:\r\n"), Ok(None));
    assert_eq!(host("1.1", "Host: \t\r\n"), Ok(None));
}

/// The target's authority wins, but a wrong `Host` beside it is wrong all the same.
#[test]
fn section_3_2_2_the_targets_host_wins() {
    let parsed = request("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n").expect("accepted");
    assert_eq!(parsed.head.host(&parsed.buffer), Some(&b"a.example"[..]));
    let cases = [
        ("GET http://a.example/ HTTP/1.1\r\n\r\n", HeadError::MissingHost),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a b\r\n\r\n",
            HeadError::InvalidHost,
        ),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            HeadError::MultipleHosts,
        ),
    ];
    refused(&cases, request);
}
