//! RFC 9112 §8: messages that are cut off.

use tiergate_http1::{BodyDecoder, BodyError, Framing, Piece};

use crate::kit::{CHUNK_LIMITS, LIMITS, begin_request, decode, decode_by};

/// Whether a body of which these bytes came is complete when the connection ends.
fn closed(framing: Framing, input: &[u8]) -> Result<(), BodyError> {
    let mut decoder = BodyDecoder::new(framing, CHUNK_LIMITS);
    let mut at = 0;
    loop {
        match decoder.next(&input[at..])? {
            Piece::Data(range) => at += range.end,
            Piece::More | Piece::End(_) => return decoder.close(),
        }
    }
}

/// "A message body that uses the chunked transfer coding is incomplete if the zero-sized chunk that terminates the encoding has not been
/// received": cut at any byte, it is not complete.
#[test]
fn section_8_chunked_bodies_end_with_their_last_line() {
    let body = b"3;a=\"b\"\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX: y\r\n\r\n";
    for cut in 0..body.len() {
        assert_eq!(
            closed(Framing::Chunked, &body[..cut]),
            Err(BodyError::Incomplete),
            "{cut}"
        );
        let decoded = decode(&body[..cut]).expect("the beginning of a body");
        assert_eq!((decoded.complete, decoded.used), (false, cut));
    }
    assert_eq!(closed(Framing::Chunked, body), Ok(()));
}

/// "A message that uses a valid Content-Length is incomplete if the size of the message body received (in octets) is less than the value
/// given by Content-Length."
#[test]
fn section_8_lengths_are_exact() {
    let body = b"abcde";
    for cut in 0..body.len() {
        assert_eq!(
            closed(Framing::Length(5), &body[..cut]),
            Err(BodyError::Incomplete),
            "{cut}"
        );
    }
    for step in 1..8 {
        let decoded = decode_by(b"abcdefgh", Framing::Length(5), CHUNK_LIMITS, step).expect("a length has no rules");
        assert_eq!(
            (&decoded.data[..], decoded.used, decoded.complete),
            (&b"abcde"[..], 5, true)
        );
    }
    assert_eq!(
        (
            closed(Framing::Length(5), body),
            closed(Framing::Length(0), b""),
            closed(Framing::None, b"")
        ),
        (Ok(()), Ok(()), Ok(()))
    );
    let none = decode_by(b"next", Framing::None, CHUNK_LIMITS, 9).expect("no body");
    assert_eq!((none.used, none.complete), (0, true));
}

/// "A response that has neither chunked transfer coding nor Content-Length is terminated by closure of the connection and, thus, is
/// considered complete regardless of the number of message body octets received".
#[test]
fn section_8_until_close_is_always_complete() {
    assert_eq!(
        (closed(Framing::UntilClose, b""), closed(Framing::UntilClose, b"abc")),
        (Ok(()), Ok(()))
    );
    let decoded = decode_by(b"0\r\n\r\n", Framing::UntilClose, CHUNK_LIMITS, 2).expect("anything");
    assert_eq!((&decoded.data[..], decoded.complete), (&b"0\r\n\r\n"[..], false));
}

/// Lengths that no memory holds are counted all the same.
#[test]
fn section_6_2_large_lengths_are_counted() {
    let mut decoder = BodyDecoder::new(Framing::Length(u64::from(u32::MAX) * 4), CHUNK_LIMITS);
    assert_eq!(decoder.next(b"abc"), Ok(Piece::Data(0..3)));
    assert_eq!(decoder.next(b""), Ok(Piece::More));
    assert!(!decoder.is_complete());
}

/// A head that is cut at any byte is not complete, and nothing is wrong with it.
#[test]
fn section_8_heads_are_awaited() {
    let head = b"\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX:  y \r\n\r\n";
    for cut in 0..head.len() {
        let begun = begin_request(&head[..cut], &LIMITS).expect("nothing is wrong");
        assert!(begun.is_none(), "{cut}");
    }
    assert_eq!(
        begin_request(head, &LIMITS).expect("accepted").map(|head| head.len),
        Some(head.len())
    );
}
