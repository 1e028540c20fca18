//! RFC 9112 §6: where a request ends.

use tiergate_http1::{BODY_BYTES_MAX, Framing, HeadError};

use crate::kit::{refused, request};

fn framing(lines: &str) -> Result<Framing, HeadError> {
    framing_in("1.1", lines)
}

fn framing_in(version: &str, lines: &str) -> Result<Framing, HeadError> {
    let parsed = request(&format!("POST / HTTP/{version}\r\nHost: h\r\n{lines}\r\n"))?;
    Ok(parsed.head.framing())
}

/// Rule 7: "If this is a request message and none of the above are true, then the message body length is zero".
#[test]
fn section_6_3_neither_means_no_body() {
    assert_eq!(framing(""), Ok(Framing::None));
    assert_eq!(
        framing("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n"),
        Ok(Framing::None)
    );
    assert_eq!(framing("X-Content-Length: 5\r\n"), Ok(Framing::None));
}

#[test]
fn section_6_2_a_length_is_decimal_digits() {
    for (value, length) in [
        ("0", 0),
        ("5", 5),
        ("00", 0),
        ("05", 5),
        ("0000000000000000000000000000000005", 5),
        ("9223372036854775807", BODY_BYTES_MAX),
        (" \t5 \t", 5),
    ] {
        assert_eq!(
            framing(&format!("Content-Length: {value}\r\n")),
            Ok(Framing::Length(length)),
            "{value}"
        );
        assert_eq!(
            framing_in("1.0", &format!("content-LENGTH:{value}\r\n")),
            Ok(Framing::Length(length)),
            "{value}"
        );
    }
}

/// Rule 5: "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the message
/// framing is invalid and the recipient MUST treat it as an unrecoverable error […] a server MUST respond with a 400 (Bad Request)".
#[test]
fn section_6_3_invalid_lengths_are_refused() {
    for value in [
        "", " ", "+5", "-5", "-0", "0x5", "5.0", "5.", ".5", "5e1", "1_0", "5 5", "5\t5", "5;", "\"5\"", "five", "5a",
        "a5", ",", "5,", ",5", "5,,5", "5, ", "５", "NaN", "5,+5", "5, five", "٥", "0b1", "'5'",
    ] {
        let text = format!("Content-Length: {value}\r\n");
        assert_eq!(framing(&text), Err(HeadError::InvalidContentLength), "{value:?}");
        assert_eq!(
            framing_in("1.0", &text),
            Err(HeadError::InvalidContentLength),
            "{value:?}"
        );
    }
    assert_eq!(HeadError::InvalidContentLength.status(), 400);
}

/// "…unless the field value can be successfully parsed as a comma-separated list, all values in the list are valid, and all values
/// in the list are the same (in which case, the message is processed with that single value used as the Content-Length field value)."
#[test]
fn section_6_3_equal_lengths_are_one() {
    for lines in [
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,5,5\r\n",
        "Content-Length: 5\t,\t05\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 5, 5\r\n",
    ] {
        assert_eq!(framing(lines), Ok(Framing::Length(5)), "{lines:?}");
    }
    for lines in [
        "Content-Length: 5, 6\r\n",
        "Content-Length: 6,5,5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 55\r\n",
    ] {
        assert_eq!(framing(lines), Err(HeadError::ConflictingContentLength), "{lines:?}");
    }
    assert_eq!(HeadError::ConflictingContentLength.status(), 400);
    assert_eq!(
        framing("Content-Length: 5\r\nContent-Length: x\r\n"),
        Err(HeadError::InvalidContentLength)
    );
}

/// "A recipient MUST anticipate potentially large decimal numerals and prevent parsing errors due to integer conversion overflows"
/// (RFC 9110 §8.6).
#[test]
fn rfc_9110_section_8_6_large_lengths_are_413() {
    for value in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999",
        "100000000000000000000000000000000000000005",
    ] {
        assert_eq!(
            framing(&format!("Content-Length: {value}\r\n")),
            Err(HeadError::ContentLengthTooLarge),
            "{value}"
        );
    }
    assert_eq!(HeadError::ContentLengthTooLarge.status(), 413);
}

/// "A recipient MUST be able to parse the chunked transfer coding" (§7.1), whose name has no case (§7).
#[test]
fn section_6_1_chunked_alone() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:CHUNKED\r\n",
        "TRANSFER-ENCODING: \t Chunked \t\r\n",
    ] {
        assert_eq!(framing(lines), Ok(Framing::Chunked), "{lines:?}");
    }
}

/// "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501"; nobody undoes
/// another coding here, so none may be dropped silently.
#[test]
fn section_6_1_other_codings_are_501() {
    for lines in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: x;a=\"b\", chunked\r\n",
        "Transfer-Encoding: xchunked,chunked\r\n",
    ] {
        assert_eq!(framing(lines), Err(HeadError::UnsupportedTransferCoding), "{lines:?}");
    }
    assert_eq!(HeadError::UnsupportedTransferCoding.status(), 501);
}

/// Rule 4: "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final encoding, the
/// message body length cannot be determined reliably; the server MUST respond with the 400 (Bad Request) status code and then close".
#[test]
fn section_6_3_chunked_must_be_final() {
    for lines in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunk\r\n",
    ] {
        assert_eq!(framing(lines), Err(HeadError::ChunkedNotFinal), "{lines:?}");
    }
    assert_eq!(HeadError::ChunkedNotFinal.status(), 400);
}

/// "A sender MUST NOT apply the chunked transfer coding more than once to a message body"; it has no parameters, "their presence
/// SHOULD be treated as an error" (§7.1); and what is no list of codings is none.
#[test]
fn section_6_1_invalid_codings_are_refused() {
    for value in [
        "chunked, chunked",
        "chunked,chunked",
        "gzip, chunked, chunked",
        "chunked;q=1",
        "chunked;",
        "chunked ; a",
        "",
        ",",
        "chunked,",
        ",chunked",
        "chunked,,",
        "\"chunked\"",
        "'chunked",
        "chun ked",
        "chunked chunked",
        "chunked\u{b0}",
        ";chunked",
        "gzip;a, ;chunked",
        "(chunked)",
        "chunked:",
        "chunked\u{a0}",
    ] {
        let text = format!("Transfer-Encoding: {value}\r\n");
        let refused = framing(&text);
        let apostrophe = value.starts_with('\''); // a token, though not one that is known
        let expected = if apostrophe {
            HeadError::ChunkedNotFinal
        } else {
            HeadError::InvalidTransferEncoding
        };
        assert_eq!(refused, Err(expected), "{value:?}");
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(framing(twice), Err(HeadError::InvalidTransferEncoding));
    let empty = "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n";
    assert_eq!(framing(empty), Err(HeadError::InvalidTransferEncoding));
    for control in [
        "\x0bchunked",
        "chunked\x0b",
        "chunked\0",
        "chunked\x7f",
        "\x0cchunked",
        "chunked\x1f",
    ] {
        assert_eq!(
            framing(&format!("Transfer-Encoding: {control}\r\n")),
            Err(HeadError::ControlCharacter)
        );
    }
}

/// "A server MAY reject a request that contains both Content-Length and Transfer-Encoding […]. Regardless, the server MUST close the
/// connection after responding to such a request": it is refused, in any order and spelling.
#[test]
fn section_6_1_coding_and_length_together_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "transfer-encoding: CHUNKED\r\nX: y\r\ncontent-length: 0\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        assert_eq!(
            framing(lines),
            Err(HeadError::TransferEncodingWithContentLength),
            "{lines:?}"
        );
    }
    assert_eq!(HeadError::TransferEncodingWithContentLength.status(), 400);
    // What is wrong by itself is told as such.
    let both_wrong = "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n";
    assert_eq!(framing(both_wrong), Err(HeadError::ChunkedNotFinal));
}

/// "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the message as if the
/// framing is faulty, even if a Content-Length is present".
#[test]
fn section_6_1_no_coding_in_http_1_0() {
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
    ] {
        assert_eq!(
            framing_in("1.0", lines),
            Err(HeadError::TransferEncodingInHttp10),
            "{lines:?}"
        );
    }
    assert_eq!(HeadError::TransferEncodingInHttp10.status(), 400);
}

/// A method says nothing about where the body ends: GET and HEAD requests can have one.
#[test]
fn section_6_3_any_method_can_have_a_body() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "X"] {
        let parsed =
            request(&format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")).expect("accepted");
        assert_eq!(parsed.head.framing(), Framing::Length(5));
    }
}

/// Names that only look like those of the framing fields are refused or are other fields.
#[test]
fn section_5_1_names_that_look_alike() {
    let cases = [
        ("Content-Length : 5", HeadError::SpaceBeforeColon),
        ("Content-Length\t: 5", HeadError::SpaceBeforeColon),
        (" Content-Length: 5", HeadError::ObsoleteFolding),
        ("Content-Length\0: 5", HeadError::ControlCharacter),
        ("Content Length: 5", HeadError::SpaceBeforeColon),
        ("Content-Length", HeadError::InvalidFieldName),
        ("\u{ff}Transfer-Encoding: chunked", HeadError::InvalidFieldName),
        ("Transfer-Encoding\x0b: chunked", HeadError::ControlCharacter),
        ("\"Transfer-Encoding\": chunked", HeadError::InvalidFieldName),
    ];
    for (line, error) in cases {
        refused(&[(&format!("{line}\r\n"), error)], framing);
    }
}
