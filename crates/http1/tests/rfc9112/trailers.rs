//! RFC 9112 §7.1.2: the trailer section.

use tiergate_http1::{BodyError, Fields, HeadError, Name, Names};

use crate::kit::{CHUNK_LIMITS, decode};

#[test]
fn section_7_1_2_trailers_are_fields() {
    let body = "3\r\nabc\r\n0\r\nX-Sum: \t 5 \r\nx-empty:\r\nHost: h\r\n\r\nnext";
    let decoded = decode(body).expect("accepted");
    assert_eq!((decoded.data, decoded.used), (b"abc".to_vec(), body.len() - 4));
    assert_eq!(decoded.trailers, b"X-Sum: \t 5 \r\nx-empty:\r\nHost: h\r\n");
    let names = Names::new(["x-sum"]).expect("a token");
    let fields = Fields::parse(&decoded.trailers, &names).expect("checked");
    let read = |field: &tiergate_http1::Field| field.value(&decoded.trailers).to_vec();
    assert_eq!(fields.get(names.find(b"x-sum")).map(read), Some(b"5".to_vec()));
    assert_eq!(fields.len(), 3);
    // Framing and routing fields are found like others, so that they can be left out (RFC 9110 §6.5.1).
    let mut out = Vec::new();
    fields.copy(&decoded.trailers, &mut out, |field| field.known() != Name::HOST);
    assert_eq!(out, b"X-Sum: \t 5 \r\nx-empty:\r\n");
    assert!(decode("0\r\n\r\n").expect("accepted").trailers.is_empty());
    assert!(Fields::parse(b"", &names).expect("none").is_empty());
    assert_eq!(Fields::parse(b"A: b", &names).err(), Some(HeadError::BareCr));
}

/// Their lines are as strict as those of a head.
#[test]
fn section_7_1_2_trailers_that_are_wrong() {
    for (lines, error) in [
        (" folded: x\r\n", BodyError::InvalidTrailer(HeadError::ObsoleteFolding)),
        ("A: b\r\n c\r\n", BodyError::InvalidTrailer(HeadError::ObsoleteFolding)),
        ("A : b\r\n", BodyError::InvalidTrailer(HeadError::SpaceBeforeColon)),
        ("A\r\n", BodyError::InvalidTrailer(HeadError::InvalidFieldName)),
        (": b\r\n", BodyError::InvalidTrailer(HeadError::InvalidFieldName)),
        ("A: \0\r\n", BodyError::InvalidTrailer(HeadError::ControlCharacter)),
        ("A: \x7f\r\n", BodyError::InvalidTrailer(HeadError::ControlCharacter)),
        ("A: b\n", BodyError::InvalidLineEnd),
        ("A: b\rC: d\r\n", BodyError::InvalidLineEnd),
        ("A: b\r\r\n", BodyError::InvalidLineEnd),
        ("A: b\r\n\n", BodyError::InvalidLineEnd),
        (
            "GET / HTTP/1.1\r\n",
            BodyError::InvalidTrailer(HeadError::SpaceBeforeColon),
        ),
    ] {
        assert_eq!(decode(&format!("0\r\n{lines}\r\n")), Err(error), "{lines:?}");
    }
}

/// Their bytes and their number are bounded, and told when the bound is met.
#[test]
fn section_7_1_2_trailers_are_bounded() {
    let bound = CHUNK_LIMITS.trailer_bytes_max as usize;
    let body = |len: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(len - 7));
    assert!(decode(&body(bound)).is_ok_and(|decoded| decoded.complete));
    assert_eq!(decode(&body(bound + 1)), Err(BodyError::TrailersTooLarge));
    assert_eq!(
        decode(&format!("0\r\nA{}", "x".repeat(bound))),
        Err(BodyError::TrailersTooLarge)
    );
    let lines = |number: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(number));
    assert!(decode(&lines(4)).is_ok_and(|decoded| decoded.complete));
    assert_eq!(decode(&lines(5)), Err(BodyError::TooManyTrailers));
    assert_eq!(
        [
            BodyError::TrailersTooLarge.status(),
            BodyError::TooManyTrailers.status()
        ],
        [431, 431]
    );
}
