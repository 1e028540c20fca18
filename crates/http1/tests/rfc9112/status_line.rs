//! RFC 9112 §4: the status line.

use tiergate_http1::HeadError;

use crate::kit::{refused, response};

#[test]
fn section_4_status_lines_that_are_right() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, &b"OK"[..]),
        ("HTTP/1.0 404 Not Found", 404, b"Not Found"),
        ("HTTP/1.1 100 Continue", 100, b"Continue"),
        ("HTTP/1.1 599 a\tb  c", 599, b"a\tb  c"),
        ("HTTP/1.1 999 x", 999, b"x"),
        ("HTTP/1.1 200  ", 200, b" "),
    ] {
        let parsed = response(&format!("{line}\r\n\r\n")).expect("accepted");
        assert_eq!(
            (parsed.head.status(), parsed.head.reason(&parsed.buffer)),
            (status, reason),
            "{line}"
        );
    }
    let parsed = response(b"HTTP/1.1 200 \xfc\xff\r\n\r\n").expect("opaque bytes");
    assert_eq!(parsed.head.reason(&parsed.buffer), b"\xfc\xff");
}

/// "A server MUST send the space that separates the status-code from the reason-phrase even when the reason-phrase is absent", but
/// many don't, and nothing else can be meant.
#[test]
fn section_4_the_space_before_no_reason_may_be_missing() {
    for line in ["HTTP/1.1 204 ", "HTTP/1.1 204"] {
        let parsed = response(&format!("{line}\r\nA: b\r\n\r\n")).expect("accepted");
        assert_eq!(
            (parsed.head.status(), parsed.head.reason(&parsed.buffer)),
            (204, &b""[..])
        );
        assert_eq!(parsed.head.fields().len(), 1);
    }
}

#[test]
fn section_4_status_lines_that_are_wrong() {
    for (line, error) in [
        ("", HeadError::InvalidStatusLine),
        ("HTTP/1.1", HeadError::InvalidStatusLine),
        ("HTTP/1.1 ", HeadError::InvalidStatusLine),
        ("HTTP/1.1 20", HeadError::InvalidStatusLine),
        ("HTTP/1.1 20 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 2000 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 099 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 000 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 +20 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 2x0 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1  200 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1\t200 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 200\tOK", HeadError::InvalidStatusLine),
        ("HTTP/1.1200 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 -200 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.10 200 OK", HeadError::InvalidStatusLine),
        ("http/1.1 200 OK", HeadError::InvalidVersion),
        ("HTTP/1 200 OK", HeadError::InvalidVersion),
        ("ICY 200 OK", HeadError::InvalidVersion),
        ("200 OK", HeadError::InvalidStatusLine),
        ("HTTP/1.1 200 O\0K", HeadError::ControlCharacter),
        ("HTTP/1.1 200 O\x7fK", HeadError::ControlCharacter),
        ("<html><body>", HeadError::InvalidVersion),
    ] {
        refused(&[(&format!("{line}\r\n\r\n"), error)], response);
    }
}
