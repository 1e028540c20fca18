//! Shapes by which one recipient sees one request and another two: each is refused, or what a proxy sends on is exact.

use crate::forward::forward_by;

/// The same for the bytes at once; byte by byte, the proxy stops for the same reason.
fn forward(input: &str) -> (String, String) {
    let input: Vec<u8> = input.chars().map(|character| character as u8).collect();
    let (out, stop) = forward_by(&input, input.len());
    assert_eq!(forward_by(&input, 1).1, stop, "{}", input.escape_ascii());
    (String::from_utf8(out).expect("UTF-8"), stop)
}

/// That nothing of a request is sent on.
fn refused(input: &str, why: &str) {
    assert_eq!(forward(input), (String::new(), why.to_owned()), "{input:?}");
}

const PREFIX: &str = "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";

/// Content-Length beside Transfer-Encoding, in all spellings that some recipient takes for either.
#[test]
fn length_and_coding_together() {
    let codings = [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding:chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked\t",
    ];
    let lengths = [
        "Content-Length: 5",
        "content-length:5",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Content-Length: 0",
    ];
    for coding in codings {
        for length in lengths {
            for (first, second) in [(coding, length), (length, coding)] {
                let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n{PREFIX}");
                refused(&head, "TransferEncodingWithContentLength");
                let old = head.replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost");
                refused(&old, "TransferEncodingInHttp10");
            }
        }
    }
}

/// Spellings that hide one of them from some recipients.
#[test]
fn hidden_codings_and_lengths() {
    for (line, why) in [
        ("Transfer-Encoding : chunked", "SpaceBeforeColon"),
        ("Transfer-Encoding\t: chunked", "SpaceBeforeColon"),
        (" Transfer-Encoding: chunked", "ObsoleteFolding"),
        ("X: y\r\n Transfer-Encoding: chunked", "ObsoleteFolding"),
        ("Transfer-Encoding:\r\n chunked", "InvalidTransferEncoding"),
        ("Transfer-Encoding: x\r\n\tchunked", "ObsoleteFolding"),
        ("X: y\nTransfer-Encoding: chunked", "BareLf"),
        ("X: y\rTransfer-Encoding: chunked", "BareCr"),
        ("X: y\r\r\nTransfer-Encoding: chunked", "BareCr"),
        ("Transfer-Encoding\0: chunked", "ControlCharacter"),
        ("Transfer-Encoding: \0chunked", "ControlCharacter"),
        ("Transfer-Encoding: chunked\0", "ControlCharacter"),
        ("Transfer-Encoding: \x0bchunked", "ControlCharacter"),
        ("Transfer-Encoding: \x0cchunked", "ControlCharacter"),
        ("Transfer-Encoding: chunked\x7f", "ControlCharacter"),
        ("Transfer-Encoding: \u{a0}chunked", "InvalidTransferEncoding"),
        ("Transfer-Encoding: \u{85}chunked", "InvalidTransferEncoding"),
        ("Transfer-Encoding: \"chunked\"", "InvalidTransferEncoding"),
        ("Transfer-Encoding: chunked;q=0", "InvalidTransferEncoding"),
        ("Transfer-Encoding: chunked, chunked", "InvalidTransferEncoding"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "InvalidTransferEncoding",
        ),
        ("Transfer-Encoding: chunked,", "InvalidTransferEncoding"),
        ("Transfer-Encoding: ,chunked", "InvalidTransferEncoding"),
        ("Transfer-Encoding:", "InvalidTransferEncoding"),
        ("Transfer-Encoding: xchunked", "ChunkedNotFinal"),
        ("Transfer-Encoding: chunke", "ChunkedNotFinal"),
        ("Transfer-Encoding: identity", "ChunkedNotFinal"),
        ("Transfer-Encoding: chunked, identity", "ChunkedNotFinal"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "ChunkedNotFinal"),
        ("Transfer-Encoding: identity, chunked", "UnsupportedTransferCoding"),
        (
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            "UnsupportedTransferCoding",
        ),
        ("\u{ff}Transfer-Encoding: chunked", "InvalidFieldName"),
        ("Transfer-Encoding\u{ff}: chunked", "InvalidFieldName"),
        (":Transfer-Encoding: chunked", "InvalidFieldName"),
        ("Content-Length: 5\r\nContent-Length: 6", "ConflictingContentLength"),
        ("Content-Length: 5, 6", "ConflictingContentLength"),
        ("Content-Length: +5", "InvalidContentLength"),
        ("Content-Length: 0x5", "InvalidContentLength"),
        ("Content-Length: 5\u{b}", "ControlCharacter"),
        ("Content-Length: 5 0", "InvalidContentLength"),
        ("Content-Length: 5,", "InvalidContentLength"),
        ("Content-Length: \u{a0}5", "InvalidContentLength"),
        ("Content-Length:", "InvalidContentLength"),
        ("Content-Length: -1", "InvalidContentLength"),
        ("Content-Length: 18446744073709551621", "ContentLengthTooLarge"),
        ("Content-Length : 5", "SpaceBeforeColon"),
        ("Content-Length\0: 5", "ControlCharacter"),
    ] {
        refused(
            &format!("POST / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n0\r\n\r\n{PREFIX}"),
            why,
        );
    }
}

/// What looks like a length or a coding but has another name is passed on, and frames nothing: what follows is a request of its own.
#[test]
fn names_that_are_others() {
    let input =
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 44\r\nX-Transfer-Encoding: chunked\r\n\r\n{PREFIX}");
    let first = "POST / HTTP/1.1\r\nhost: h\r\nContent_Length: 44\r\nX-Transfer-Encoding: chunked\r\n\r\n";
    let second = "GET /admin HTTP/1.1\r\nhost: h\r\n\r\n";
    assert_eq!(forward(&input), (format!("{first}{second}"), "idle".into()));
}

/// A body that is sent on has one framing, written anew: equal lengths become one, sizes lose zeros, extensions and trailers go.
#[test]
fn bodies_are_framed_anew() {
    for (framing, body, sent) in [
        ("Content-Length: 5, 05", "helloX", "content-length: 5\r\n\r\nhello"),
        (
            "Content-Length: 5\r\nContent-Length: 5",
            "helloX",
            "content-length: 5\r\n\r\nhello",
        ),
        (
            "Transfer-Encoding: CHUNKED",
            "5\r\nhello\r\n0\r\n\r\nX",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked",
            "0005;a=\"\\\"5\"\r\nhello\r\n00\r\n\r\nX",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\nHost: evil\r\nContent-Length: 9\r\n\r\nX",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let input = format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{body}");
        // The X is the beginning of the next request.
        assert_eq!(
            forward(&input),
            (format!("POST / HTTP/1.1\r\nhost: h\r\n{sent}"), "head".into()),
            "{input:?}"
        );
    }
}

/// Chunked bodies that recipients divide differently: nothing beyond the mistake is sent on, and nothing after it is a request.
#[test]
fn ambiguous_chunks() {
    for (body, why) in [
        ("5\r\nhello0\r\n\r\n", "InvalidLineEnd"),
        ("5\r\nhelloXX0\r\n\r\n", "InvalidLineEnd"),
        ("5\nhello\r\n0\r\n\r\n", "InvalidLineEnd"),
        ("5\r\nhello\n0\r\n\r\n", "InvalidLineEnd"),
        ("5;\nhello\r\n0\r\n\r\n", "InvalidChunkExtension"),
        ("5;a\nhello\r\n0\r\n\r\n", "InvalidChunkExtension"),
        ("5;a=\"\r\n0\r\n\r\n", "InvalidChunkExtension"),
        ("5 \r\nhello\r\n0\r\n\r\n", "InvalidChunkExtension"),
        ("5\x0b\r\nhello\r\n0\r\n\r\n", "InvalidChunkSize"),
        ("0x5\r\nhello\r\n0\r\n\r\n", "InvalidChunkSize"),
        ("-5\r\nhello\r\n0\r\n\r\n", "InvalidChunkSize"),
        ("5\0\r\nhello\r\n0\r\n\r\n", "InvalidChunkSize"),
        ("100000000000000005\r\nhello\r\n0\r\n\r\n", "ChunkSizeTooLarge"),
        ("ffffffffffffffff\r\nhello", "ChunkSizeTooLarge"),
        ("5\r\nhello\r\n0\r\nX: y\n\r\n", "InvalidLineEnd"),
        ("5\r\nhello\r\n0\r\nX : y\r\n\r\n", "InvalidTrailer(SpaceBeforeColon)"),
        (
            "5\r\nhello\r\n0\r\nGET /admin HTTP/1.1\r\n\r\n",
            "InvalidTrailer(SpaceBeforeColon)",
        ),
        ("5\r\nhello\r\n0\r\n", "body"),
    ] {
        let rest = if why == "body" { "" } else { PREFIX };
        let input = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}{rest}");
        let (sent, stopped) = forward(&input);
        assert_eq!(stopped, why, "{body:?}");
        let head = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
        let whole = format!("{head}5\r\nhello\r\n");
        assert!(whole.starts_with(&sent) && !sent.contains("admin"), "{sent:?}");
    }
}

/// Hosts and targets that route differently at two recipients.
#[test]
fn hosts_and_targets() {
    for (head, why) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "MultipleHosts"),
        ("GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n", "ObsoleteFolding"),
        ("GET / HTTP/1.1\r\nHost : b\r\nHost: a\r\n\r\n", "SpaceBeforeColon"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "InvalidHost"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "InvalidHost"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "InvalidHost"),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "InvalidHost"),
        ("GET / HTTP/1.1\r\n\r\n", "MissingHost"),
        ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidHost"),
        ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidHost"),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidTarget"),
        ("GET @evil/ HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidTarget"),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidTarget"),
        ("GET /\u{ff} HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidTarget"),
        ("GET /a HTTP/1.1\r\nHost: h HTTP/1.1\r\n\r\n", "InvalidHost"),
        ("GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidRequestLine"),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "InvalidRequestLine"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "Connect"),
    ] {
        refused(&format!("{head}{PREFIX}"), why);
    }
    let absolute = "GET http://a.example:80/p?q HTTP/1.1\r\nHost: b.example\r\n\r\n";
    assert_eq!(forward(absolute).0, "GET /p?q HTTP/1.1\r\nhost: a.example:80\r\n\r\n");
    let two_slashes = "GET //evil.example/p HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(
        forward(two_slashes).0,
        "GET //evil.example/p HTTP/1.1\r\nhost: h\r\n\r\n"
    );
}

/// Other versions and protocols.
#[test]
fn other_versions() {
    for (input, why) in [
        ("GET /\r\n", "Http09"),
        ("GET /\n", "BareLf"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Http2Preface"),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", "UnsupportedVersion"),
        ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", "UnsupportedVersion"),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", "InvalidVersion"),
        ("GET / HTTP/1.1.1\r\nHost: h\r\n\r\n", "InvalidVersion"),
        ("GET / HTTP/1.1\x0b\r\nHost: h\r\n\r\n", "ControlCharacter"),
        ("\x16\x03\x01\x02", "Tls"),
    ] {
        refused(input, why);
    }
    // What is sent on says 1.1 (RFC 9112 §2.3: "MUST send its own HTTP-version").
    let old = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(
        forward(old),
        ("GET / HTTP/1.1\r\nhost: default\r\n\r\n".into(), "closed".into())
    );
    let newer = "GET / HTTP/1.7\r\nHost: h\r\n\r\n";
    assert_eq!(forward(newer).0, "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
}

/// Pipelined requests are each sent on, up to one that is refused or is the last.
#[test]
fn pipelines() {
    let sent = "GET /admin HTTP/1.1\r\nhost: h\r\n\r\n";
    assert_eq!(forward(&PREFIX.repeat(3)), (sent.repeat(3), "idle".into()));
    assert_eq!(
        forward(&format!("{PREFIX}\r\n{PREFIX}")),
        (sent.repeat(2), "idle".into())
    );
    assert_eq!(
        forward(&format!("{PREFIX}GET /\r\n{PREFIX}")),
        (sent.into(), "Http09".into())
    );
    let last = PREFIX.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_eq!(forward(&format!("{last}{PREFIX}")), (sent.into(), "closed".into()));
    let body = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{PREFIX}{PREFIX}",
        PREFIX.len()
    );
    let length = PREFIX.len();
    let expected = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{PREFIX}{sent}");
    assert_eq!(forward(&body), (expected, "idle".into()));
}

/// `Connection` can't take out what frames or routes the message, nor hide what it names.
#[test]
fn connection_options() {
    let input = "POST / HTTP/1.1\r\nHost: h\r\nConnection: content-length, host, x-secret\r\nX-Secret: 1\r\nContent-Length: 3\r\n\r\nabc";
    let sent = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(forward(input), (sent.into(), "idle".into()));
}
