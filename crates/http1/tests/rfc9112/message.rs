//! RFC 9112 §2: messages and versions.

use tiergate_http1::{HeadError, HeadLimits, Version};

use crate::kit::{LIMITS, accepted, begin_request, refused, request, request_within, response, with_fields};

/// "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP". LF alone, which a
/// recipient MAY recognize as a line terminator, is one that others don't recognize.
#[test]
fn section_2_2_bare_cr_and_lf_are_refused() {
    let heads = [
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", HeadError::BareLf),
        ("GET /\n HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::BareLf),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::BareLf),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\nC: d\r\n\r\n", HeadError::BareLf),
        ("GET / HTTP/1.1\rHost: h\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", HeadError::BareCr),
        ("GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\r: b\r\n\r\n", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", HeadError::BareCr),
        ("\r\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::BareCr),
    ];
    refused(&heads, request);
    let responses = [
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", HeadError::BareLf),
        ("HTTP/1.1 200 OK\r\n\n", HeadError::BareLf),
        ("HTTP/1.1 200 O\rK\r\n\r\n", HeadError::BareCr),
        ("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", HeadError::BareCr),
    ];
    refused(&responses, response);
}

/// "SHOULD ignore at least one empty line (CRLF) received prior to the request-line": one, and as part of the head.
#[test]
fn section_2_2_one_empty_line_may_precede_a_request() {
    let input = "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\nrest";
    let parsed = request(input).expect("accepted");
    assert_eq!(parsed.head.path(&parsed.buffer), b"/a");
    assert_eq!(parsed.len, input.len() - 4);
    assert_eq!(
        parsed
            .head
            .fields()
            .iter()
            .next()
            .map(|field| field.value(&parsed.buffer)),
        Some(&b"h"[..])
    );
    refused(
        &[("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::InvalidMethod)],
        request,
    );
    assert!(begin_request(b"\r\n", &LIMITS).expect("accepted").is_none());
}

/// No such leniency is given to servers: bytes before a status line belong to nothing.
#[test]
fn section_2_2_nothing_precedes_a_response() {
    let cases = [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidStatusLine),
        (" HTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidVersion),
        ("0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidStatusLine),
    ];
    refused(&cases, response);
}

/// "A recipient that receives whitespace between the start-line and the first header field MUST either reject the message as
/// invalid or consume each whitespace-preceded line without further processing of it".
#[test]
fn section_2_2_space_before_the_first_field_is_refused() {
    let requests = [
        (
            "GET / HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n",
            HeadError::ObsoleteFolding,
        ),
        (
            "GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n",
            HeadError::ObsoleteFolding,
        ),
        ("GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n", HeadError::ObsoleteFolding),
    ];
    refused(&requests, request);
    refused(
        &[("HTTP/1.1 200 OK\r\n X: y\r\n\r\n", HeadError::ObsoleteFolding)],
        response,
    );
}

/// "When a server listening only for HTTP request messages […] receives a sequence of octets that does not match the HTTP-message
/// grammar […], the server SHOULD respond with a 400": binary protocols are refused at their first byte, since they know no lines.
#[test]
fn section_2_2_other_protocols_are_refused_at_once() {
    for (bytes, error) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], HeadError::Tls),
        (b"\x16", HeadError::Tls),
        (b"\x00\x00", HeadError::InvalidMethod),
        (b"\x80", HeadError::InvalidMethod),
        (b" GET", HeadError::InvalidMethod),
        (b"(", HeadError::InvalidMethod),
        (b"\r\n\x16", HeadError::Tls),
    ] {
        assert_eq!(begin_request(bytes, &LIMITS).err(), Some(error), "{bytes:?}");
        assert!((400..500).contains(&error.status()));
    }
    refused(&[("SSH-2.0-OpenSSH_10.0\r\n", HeadError::InvalidRequestLine)], request);
}

/// HTTP/2 with prior knowledge is recognized as such, before any of it is used up.
#[test]
fn rfc_9113_section_3_4_the_preface_is_recognized() {
    let cases = [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Http2Preface),
        ("PRI * HTTP/2.0\r\n", HeadError::Http2Preface),
        ("PRI / HTTP/2.0\r\n\r\n", HeadError::UnsupportedVersion),
        ("GET * HTTP/2.0\r\n\r\n", HeadError::UnsupportedVersion),
        ("PRI * HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::InvalidTarget),
    ];
    refused(&cases, request);
    assert_eq!(HeadError::Http2Preface.status(), 505);
}

/// `HTTP-version = HTTP-name "/" DIGIT "." DIGIT`, case-sensitive.
#[test]
fn section_2_3_versions_are_exact() {
    for (version, error) in [
        ("http/1.1", HeadError::InvalidVersion),
        ("HTTP/1.", HeadError::InvalidVersion),
        ("HTTP/1", HeadError::InvalidVersion),
        ("HTTP/1.10", HeadError::InvalidVersion),
        ("HTTP/01.1", HeadError::InvalidVersion),
        ("HTTP/1,1", HeadError::InvalidVersion),
        ("HTTP/a.1", HeadError::InvalidVersion),
        ("HTTP/1.x", HeadError::InvalidVersion),
        ("HTTP-1.1", HeadError::InvalidVersion),
        ("HTTQ/1.1", HeadError::InvalidVersion),
        ("HTTP/1.1\t", HeadError::InvalidVersion),
        ("HTTP/1.1 ", HeadError::InvalidRequestLine),
        (" HTTP/1.1", HeadError::InvalidRequestLine),
    ] {
        refused(&[(&format!("GET / {version}\r\nHost: h\r\n\r\n"), error)], request);
    }
}

/// "A recipient can assume that a message with a higher minor version, when sent to a recipient that has not yet indicated support
/// for that higher version, is sufficiently backwards-compatible" (RFC 9110 §2.5). Other major versions are not.
#[test]
fn rfc_9110_section_2_5_minor_versions_are_like_1_1() {
    for (version, seen) in [
        ("1.0", Version::Http10),
        ("1.1", Version::Http11),
        ("1.2", Version::Http11),
        ("1.9", Version::Http11),
    ] {
        let parsed = request(&format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n")).expect("accepted");
        assert_eq!(parsed.head.version(), seen, "{version}");
        let parsed = response(&format!("HTTP/{version} 200 OK\r\n\r\n")).expect("accepted");
        assert_eq!(parsed.head.version(), seen, "{version}");
    }
    for version in ["0.9", "0.0", "2.0", "3.0", "9.9"] {
        refused(
            &[(
                &format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"),
                HeadError::UnsupportedVersion,
            )],
            request,
        );
        refused(
            &[(&format!("HTTP/{version} 200 OK\r\n\r\n"), HeadError::UnsupportedVersion)],
            response,
        );
    }
    assert_eq!(HeadError::UnsupportedVersion.status(), 505);
}

/// A head is bounded before any line beyond its bound is looked at (RFC 6585 §5).
#[test]
fn rfc_6585_section_5_heads_are_bounded() {
    let limits = HeadLimits {
        head_bytes_max: 64,
        target_bytes_max: 8 << 10,
        fields_max: 3,
    };
    let head = |len: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(len - 32));
    assert_eq!(request_within(&head(64), &limits).expect("accepted").len, 64);
    assert_eq!(request_within(&head(65), &limits).err(), Some(HeadError::HeadTooLarge));
    // Refused when the bound is reached, not when the line ends; and nothing beyond the bound is judged.
    let endless = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "x".repeat(40));
    assert_eq!(
        begin_request(&endless.as_bytes()[..63], &limits).map(|begun| begun.is_none()),
        Ok(true)
    );
    assert_eq!(
        begin_request(&endless.as_bytes()[..64], &limits).err(),
        Some(HeadError::HeadTooLarge)
    );
    let wrong_beyond = format!("{}\0", &endless[..64]);
    assert_eq!(
        begin_request(wrong_beyond.as_bytes(), &limits).err(),
        Some(HeadError::HeadTooLarge)
    );

    let lines = |number: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(number - 1));
    assert!(request_within(&lines(3), &limits).is_ok());
    assert_eq!(request_within(&lines(4), &limits).err(), Some(HeadError::TooManyFields));
    assert_eq!(
        [HeadError::HeadTooLarge.status(), HeadError::TooManyFields.status()],
        [431, 431]
    );
    assert!(with_fields(&"A: b\r\n".repeat(63)).is_ok());
}

/// What follows a head is not part of it, whatever it is.
#[test]
fn section_2_1_heads_end_at_their_empty_line() {
    for rest in ["", "\0\n\r", "GET / HTTP/1.1\r\n\r\n", " folded", "\r\n"] {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(request(&format!("{head}{rest}")).expect("accepted").len, head.len());
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(response(&format!("{head}{rest}")).expect("accepted").len, head.len());
    }
    accepted(&["GET / HTTP/1.0\r\n\r\n"], request);
}
