//! RFC 9112 §3: the request line.

use tiergate_http1::{HeadError, HeadLimits, METHOD_BYTES_MAX, Method};

use crate::kit::{LIMITS, begin_request, refused, request, request_within};

/// "Recipients of an invalid request-line SHOULD respond with either a 400": words are divided by single spaces and nothing else,
/// "because the invalid request-line might be deliberately crafted to bypass security filters".
#[test]
fn section_3_request_lines_are_three_words() {
    let cases = [
        ("GET  / HTTP/1.1\r\n", HeadError::InvalidRequestLine),
        ("GET /  HTTP/1.1\r\n", HeadError::InvalidRequestLine),
        ("GET / HTTP/1.1 \r\n", HeadError::InvalidRequestLine),
        ("GET / a HTTP/1.1\r\n", HeadError::InvalidRequestLine),
        ("GET  HTTP/1.1\r\n", HeadError::InvalidRequestLine),
        ("GET HTTP/1.1\r\n", HeadError::Http09),
        ("GET\r\n", HeadError::InvalidRequestLine),
        ("GET \r\n", HeadError::InvalidRequestLine),
        ("G\r\n", HeadError::InvalidRequestLine),
        ("GET\t/ HTTP/1.1\r\n", HeadError::InvalidMethod),
        ("GET /\tHTTP/1.1\r\n", HeadError::Http09),
        ("GET\x0b/ HTTP/1.1\r\n", HeadError::ControlCharacter),
        ("GET\x0c/ HTTP/1.1\r\n", HeadError::ControlCharacter),
        ("GET /\0 HTTP/1.1\r\n", HeadError::ControlCharacter),
        ("GET / HTTP/1.1\x7f\r\n", HeadError::ControlCharacter),
        ("GET/ HTTP/1.1\r\n", HeadError::InvalidMethod),
        ("GET /HTTP/1.1\r\n", HeadError::Http09),
    ];
    refused(&cases, request);
    assert_eq!(HeadError::InvalidRequestLine.status(), 400);
}

/// HTTP/0.9 has no version, no fields and no statuses: the answer is that of a version that isn't supported.
#[test]
fn section_3_http_0_9_is_recognized() {
    refused(
        &[
            ("GET /\r\n", HeadError::Http09),
            ("GET /search?a=b\r\n", HeadError::Http09),
        ],
        request,
    );
    assert_eq!(HeadError::Http09.status(), 505);
}

/// "The request method is case-sensitive", and a token.
#[test]
fn section_3_1_methods_are_tokens() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("PATCH", Method::Patch),
        ("TRACE", Method::Trace),
        ("OPTIONS", Method::Options),
        ("get", Method::Other),
        ("Get", Method::Other),
        ("M-SEARCH", Method::Other),
        ("BASELINE-CONTROL", Method::Other),
        ("!#$%&'*+-.^_`|~09azAZ", Method::Other),
        ("connect", Method::Other),
    ] {
        let parsed = request(&format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n")).expect("accepted");
        assert_eq!(parsed.head.method(), method);
        assert_eq!(parsed.head.method_bytes(&parsed.buffer), name.as_bytes());
    }
    for name in [
        "G(T", "G,T", "GET:", "\"GET\"", "G[T", "G{T}", "G/T", "G@T", "G=T", "G;T",
    ] {
        refused(
            &[(
                &format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n"),
                HeadError::InvalidMethod,
            )],
            request,
        );
    }
    assert_eq!(
        begin_request(b"G\xe9T / HTTP/1.1\r\n", &LIMITS).err(),
        Some(HeadError::InvalidMethod)
    );
}

/// "A server that receives a method longer than any that it implements SHOULD respond with a 501".
#[test]
fn section_3_long_methods_are_not_implemented() {
    let line = |len: usize| format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(len));
    assert!(request(&line(METHOD_BYTES_MAX)).is_ok());
    assert_eq!(
        request(&line(METHOD_BYTES_MAX + 1)).err(),
        Some(HeadError::MethodTooLong)
    );
    let endless = "M".repeat(9 << 10);
    assert_eq!(
        begin_request(endless.as_bytes(), &LIMITS).err(),
        Some(HeadError::MethodTooLong)
    );
    assert_eq!(HeadError::MethodTooLong.status(), 501);
}

/// "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414". At least 8,000 bytes
/// of a request line are recommended.
#[test]
fn section_3_long_targets_are_414() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(len - 1));
    let bound = LIMITS.target_bytes_max as usize;
    assert!(request(&line(bound)).is_ok());
    assert_eq!(request(&line(bound + 1)).err(), Some(HeadError::TargetTooLong));
    assert_eq!(request(&line(bound + 100)).err(), Some(HeadError::TargetTooLong));
    let endless = format!("GET /{}", "x".repeat(bound + 100));
    assert_eq!(
        begin_request(endless.as_bytes(), &LIMITS).err(),
        Some(HeadError::TargetTooLong)
    );
    assert_eq!(HeadError::TargetTooLong.status(), 414);
    assert!(HeadLimits::default().target_bytes_max >= 8_000);
    // A head's bound that is met first is told as such, whatever lies beyond it.
    let tiny = HeadLimits {
        head_bytes_max: 8,
        ..LIMITS
    };
    let refused = begin_request("M".repeat(40).as_bytes(), &tiny).err();
    assert_eq!(refused, Some(HeadError::HeadTooLarge));
    let small = HeadLimits {
        head_bytes_max: 100,
        ..LIMITS
    };
    assert_eq!(request_within(&line(200), &small).err(), Some(HeadError::HeadTooLarge));
}

/// A gateway has no tunnels to offer (RFC 9110 §9.3.6), and authority-form is CONNECT's only (RFC 9112 §3.2.3).
#[test]
fn rfc_9110_section_9_3_6_connect_is_refused() {
    let cases = [
        (
            "CONNECT h.example:443 HTTP/1.1\r\nHost: h.example\r\n\r\n",
            HeadError::Connect,
        ),
        ("CONNECT / HTTP/1.1\r\nHost: h.example\r\n\r\n", HeadError::Connect),
        (
            "GET h.example:443 HTTP/1.1\r\nHost: h.example\r\n\r\n",
            HeadError::InvalidTarget,
        ),
    ];
    refused(&cases, request);
    assert_eq!(HeadError::Connect.status(), 501);
}

/// RFC 9110 §9.2.1 and §9.2.2.
#[test]
fn rfc_9110_section_9_2_safe_and_idempotent_methods() {
    use Method::{Delete, Get, Head, Options, Other, Patch, Post, Put, Trace};
    for method in [Get, Head, Options, Trace] {
        assert!(method.is_safe() && method.is_idempotent());
    }
    for method in [Put, Delete] {
        assert!(!method.is_safe() && method.is_idempotent());
    }
    for method in [Post, Patch, Other] {
        assert!(!method.is_safe() && !method.is_idempotent());
    }
}

/// What was accepted can be asked for although the head was refused later, to say whose fault it was and to charge it.
#[test]
fn refused_heads_tell_what_was_accepted() {
    let mut head = tiergate_http1::RequestHead::new();
    let input = b"POST /search?q HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n";
    assert!(!head.has_request_line());
    let refused = head.parse(input, tiergate_http1::Names::own(), &LIMITS);
    assert_eq!(refused, Err(HeadError::SpaceBeforeColon));
    assert!(head.has_request_line());
    assert_eq!(
        (head.method(), head.path(input), head.fields().len()),
        (Method::Post, &b"/search"[..], 1)
    );
    for wrong in [
        &b"GET a HTTP/1.1\r\n"[..],
        b"CONNECT h:1 HTTP/1.1\r\n",
        b"GET / HTTP/9.9\r\n",
        b"GET",
    ] {
        head.clear();
        let _ = head.parse(wrong, tiergate_http1::Names::own(), &LIMITS);
        assert!(!head.has_request_line());
    }
}
