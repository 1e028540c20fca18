//! RFC 9112 §6: where a response ends.

use tiergate_http1::{Framing, HeadError, Method, ResponseFraming};

use crate::kit::{framing, framing_for};

const OK: &str = "HTTP/1.1 200 OK";

fn framed(body: Framing, content_length: Option<u64>, reusable: bool) -> Result<ResponseFraming, HeadError> {
    Ok(ResponseFraming {
        body,
        content_length,
        reusable,
    })
}

/// Rule 1: "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified) status
/// code is always terminated by the first empty line after the header fields, regardless of the header fields present".
#[test]
fn section_6_3_bodies_that_there_are_never() {
    for status in ["100", "103", "199", "204"] {
        let line = format!("HTTP/1.1 {status} x");
        assert_eq!(framing(&line, ""), framed(Framing::None, None, true), "{status}");
        assert_eq!(
            framing(&line, "Content-Length: 0\r\n"),
            framed(Framing::None, None, true),
            "{status}"
        );
        // Such a server may send the body that it announces: nothing is read after it.
        for lines in [
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert_eq!(
                framing(&line, lines),
                framed(Framing::None, None, false),
                "{status} {lines:?}"
            );
        }
    }
    // These tell the length of a body that isn't sent.
    for (method, line) in [(Method::Get, "HTTP/1.1 304 Not Modified"), (Method::Head, OK)] {
        assert_eq!(framing_for(method, line, ""), framed(Framing::None, None, true));
        assert_eq!(
            framing_for(method, line, "Content-Length: 5\r\n"),
            framed(Framing::None, Some(5), true)
        );
        assert_eq!(
            framing_for(method, line, "Transfer-Encoding: chunked\r\n"),
            framed(Framing::None, None, true)
        );
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing_for(method, line, both), framed(Framing::None, None, true));
    }
    // 205 has an ordinary framing (RFC 9110 §15.3.6).
    assert_eq!(
        framing("HTTP/1.1 205 Reset Content", "Content-Length: 0\r\n"),
        framed(Framing::Length(0), Some(0), true)
    );
}

/// RFC 9110 §15.2.2, and rule 2: "Any 2xx (Successful) response to a CONNECT request implies that the connection will become a tunnel
/// immediately after the empty line that concludes the header fields. A client MUST ignore any Content-Length or Transfer-Encoding".
#[test]
fn section_6_3_tunnels_begin_after_the_head() {
    for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let switched = framing("HTTP/1.1 101 Switching Protocols", lines);
        assert_eq!(switched, framed(Framing::None, None, false), "{lines:?}");
        let tunnel = framing_for(Method::Connect, OK, lines);
        assert_eq!(tunnel, framed(Framing::None, None, false), "{lines:?}");
    }
    let refused = framing_for(Method::Connect, "HTTP/1.1 403 Forbidden", "Content-Length: 5\r\n");
    assert_eq!(refused, framed(Framing::Length(5), Some(5), true));
}

/// Rule 3: "If a message is received with both a Transfer-Encoding and a Content-Length header field, the Transfer-Encoding overrides
/// the Content-Length. […] An intermediary that chooses to forward the message MUST first remove the received Content-Length field".
#[test]
fn section_6_3_chunked_beats_a_length() {
    for lines in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n",
        "transfer-encoding: Chunked\r\ncontent-length: 0\r\n",
    ] {
        assert_eq!(framing(OK, lines), framed(Framing::Chunked, None, false), "{lines:?}");
    }
    assert_eq!(
        framing(OK, "Transfer-Encoding: chunked\r\n"),
        framed(Framing::Chunked, None, true)
    );
}

/// Rule 5: "If it is in a response message received by a proxy, the proxy MUST close the connection to the server, discard the
/// received response, and send a 502 (Bad Gateway) response to the client".
#[test]
fn section_6_3_contradictions_are_refused() {
    for (lines, error) in [
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            HeadError::ConflictingContentLength,
        ),
        ("Content-Length: 5, 6\r\n", HeadError::ConflictingContentLength),
        ("Content-Length: x\r\n", HeadError::InvalidContentLength),
        ("Content-Length: +5\r\n", HeadError::InvalidContentLength),
        ("Content-Length:\r\n", HeadError::InvalidContentLength),
        (
            "Content-Length: 18446744073709551615\r\n",
            HeadError::ContentLengthTooLarge,
        ),
        (
            "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
            HeadError::InvalidContentLength,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            HeadError::InvalidTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            HeadError::InvalidTransferEncoding,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            HeadError::UnsupportedTransferCoding,
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", HeadError::ChunkedNotFinal),
        ("Transfer-Encoding: gzip\r\n", HeadError::ChunkedNotFinal),
        ("Transfer-Encoding: identity\r\n", HeadError::ChunkedNotFinal),
        ("Transfer-Encoding:\r\n", HeadError::InvalidTransferEncoding),
    ] {
        assert_eq!(framing(OK, lines), Err(error), "{lines:?}");
    }
}

/// "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the message as if the
/// framing is faulty".
#[test]
fn section_6_1_no_coding_in_http_1_0_responses() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        assert_eq!(
            framing("HTTP/1.0 200 OK", lines),
            Err(HeadError::TransferEncodingInHttp10),
            "{lines:?}"
        );
    }
}

#[test]
fn section_6_3_lengths() {
    for (lines, length) in [
        ("Content-Length: 0\r\n", 0),
        ("Content-Length: 5\r\n", 5),
        ("Content-Length: 5, 05\r\n", 5),
    ] {
        assert_eq!(
            framing(OK, lines),
            framed(Framing::Length(length), Some(length), true),
            "{lines:?}"
        );
    }
    assert_eq!(
        framing("HTTP/1.0 200 OK", "Content-Length: 5\r\n"),
        framed(Framing::Length(5), Some(5), false)
    );
}

/// Rule 8: "the message body length is determined by the number of octets received prior to the server closing the connection".
#[test]
fn section_6_3_otherwise_until_the_connection_ends() {
    for line in [OK, "HTTP/1.0 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.1 999 x"] {
        assert_eq!(framing(line, ""), framed(Framing::UntilClose, None, false), "{line}");
        assert_eq!(
            framing(line, "Connection: keep-alive\r\n"),
            framed(Framing::UntilClose, None, false),
            "{line}"
        );
    }
}

/// §9.3: whether the connection can be used again.
#[test]
fn section_9_3_responses_say_whether_the_connection_goes_on() {
    for (line, lines, reusable) in [
        (OK, "", true),
        (OK, "Connection: close\r\n", false),
        (OK, "Connection: keep-alive\r\n", true),
        (OK, "Connection: keep-alive, close\r\n", false),
        (OK, "Connection: x, Close\r\n", false),
        ("HTTP/1.0 200 OK", "", false),
        ("HTTP/1.0 200 OK", "Connection: Keep-Alive\r\n", true),
        (
            "HTTP/1.0 200 OK",
            "Connection: Keep-Alive\r\nConnection: close\r\n",
            false,
        ),
    ] {
        let seen = framing(line, &format!("Content-Length: 5\r\n{lines}")).expect("accepted");
        assert_eq!(seen.reusable, reusable, "{line} {lines:?}");
    }
}
