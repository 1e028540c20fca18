//! RFC 9112 §7.1: the chunked coding.

use tiergate_http1::{BODY_BYTES_MAX, BodyError, ChunkLimits, Framing};

use crate::kit::{CHUNK_LIMITS, decode, decode_by};

fn refused(cases: &[(&str, BodyError)]) {
    for (input, error) in cases {
        assert_eq!(decode(input), Err(*error), "{input:?}");
    }
}

#[test]
fn section_7_1_chunks_are_joined() {
    for (input, data) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n000\r\n\r\n", "0123456789"),
        ("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello"),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
    ] {
        let decoded = decode(&format!("{input}GET / HTTP/1.1")).expect("accepted");
        assert!(decoded.complete);
        assert_eq!(
            (decoded.data, decoded.used),
            (data.as_bytes().to_vec(), input.len()),
            "{input:?}"
        );
    }
}

/// "A recipient MUST be able to parse […] chunk-size = 1*HEXDIG" and nothing else.
#[test]
fn section_7_1_sizes_are_hexadecimal() {
    for input in [
        "\r\n", "x", "-1\r\n", "+1\r\n", "0x1\r\n", "5g\r\n", "g\r\n", ".5\r\n", "5.\r\n", " 5\r\n", "\t5\r\n",
        ";a\r\n", "5,\r\n", "\0", "5_0\r\n",
    ] {
        assert_eq!(decode(input), Err(BodyError::InvalidChunkSize), "{input:?}");
    }
    assert_eq!(decode("５\r\n"), Err(BodyError::InvalidChunkSize));
    refused(&[
        ("\n", BodyError::InvalidChunkSize),
        ("5\n", BodyError::InvalidLineEnd),
        ("5\r5", BodyError::InvalidLineEnd),
    ]);
}

/// "A recipient MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer conversion overflows
/// or precision loss due to integer representation": at the digit that makes it too large.
#[test]
fn section_7_1_large_sizes_are_refused_at_once() {
    refused(&[
        ("ffffffffffffffff", BodyError::ChunkSizeTooLarge),
        ("8000000000000000", BodyError::ChunkSizeTooLarge),
        ("fffffffffffffffffffffffffffffff", BodyError::ChunkSizeTooLarge),
        ("10000000000000000", BodyError::ChunkSizeTooLarge),
        ("00000000000000005", BodyError::ChunkSizeTooLarge),
    ]);
    assert_eq!(
        decode("7fffffffffffffff\r\nab").map(|decoded| decoded.data),
        Ok(b"ab".to_vec())
    );
    assert_eq!(u64::from_str_radix("7fffffffffffffff", 16), Ok(BODY_BYTES_MAX));
    assert_eq!(decode("fffffffffffffff").map(|decoded| decoded.complete), Ok(false));
}

/// Every line and every chunk's data ends in CR LF.
#[test]
fn section_7_1_line_ends_are_exact() {
    refused(&[
        ("5\nhello\r\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello\r0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello!\r\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhell\r\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello\r\r\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("5\r\r\nhello\r\n0\r\n\r\n", BodyError::InvalidLineEnd),
        ("0\n\r\n", BodyError::InvalidLineEnd),
        ("0\r\n\n", BodyError::InvalidLineEnd),
        ("0\r\r\n\r\n", BodyError::InvalidLineEnd),
        ("0\r\n\r\r\n", BodyError::InvalidLineEnd),
        ("5\r\nhello\r\n\r\n0\r\n\r\n", BodyError::InvalidChunkSize),
    ]);
}

/// "A recipient MUST ignore unrecognized chunk extensions."
#[test]
fn section_7_1_1_extensions_are_ignored() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"\"",
        ";a;b;c=d",
        " ;a",
        "\t ; \t a",
        ";a =b",
        ";a= b",
        ";a \t = \t b",
        ";a=\"b\" ;c",
        ";a=b ;c",
        ";a ;b",
        ";a=\"\\\"\\\\\\ \t;,=\"",
        ";!#$%&'*+-.^_`|~09=x",
        ";a=\"\u{e9}\"",
    ] {
        let input = format!("3{extension}\r\nabc\r\n0{extension}\r\n\r\n");
        assert_eq!(
            decode(&input).map(|decoded| (decoded.data, decoded.complete)),
            Ok((b"abc".to_vec(), true)),
            "{extension:?}"
        );
    }
}

/// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, nothing else: what one recipient takes for the end of
/// an extension, another may not.
#[test]
fn section_7_1_1_extensions_that_are_wrong() {
    for extension in [
        " ",
        "\t",
        " a",
        ";",
        "; ",
        ";;",
        ";a;",
        ";=b",
        ";a=",
        ";a= ",
        ";a ",
        ";a=b ",
        ";a b",
        ";a=b c",
        ";a=\"b\" ",
        ";a=\"b\"c",
        ";a=\"b\"=c",
        ";a==b",
        ";a=b=c",
        ";\"a\"",
        ";a,b",
        ";(a)",
        ";a=b\"",
        ";a=[b]",
        ";a=\"\u{1}\"",
        ";a=\"\\\u{1}\"",
        ";a=\"\0\"",
        ";a\0",
        ";a=\"\x7f\"",
    ] {
        let input = format!("3{extension}\r\nabc\r\n0\r\n\r\n");
        assert_eq!(decode(&input), Err(BodyError::InvalidChunkExtension), "{extension:?}");
    }
    // A line never ends within quotes, nor with LF or CR alone.
    for extension in [
        ";a=\"\r\n\"",
        ";a=\"\n\"",
        ";a\n",
        ";a=b\n",
        ";a=\"b\"\n",
        ";a=\"\\\r\n\"",
        ";a=\"b\r\nc\"",
    ] {
        assert_eq!(
            decode(&format!("3{extension}\r\nabc\r\n0\r\n\r\n")),
            Err(BodyError::InvalidChunkExtension),
            "{extension:?}"
        );
    }
    refused(&[
        ("3;a\rabc\r\n", BodyError::InvalidLineEnd),
        ("3;a=b\r\rabc", BodyError::InvalidLineEnd),
    ]);
    assert_eq!(decode(b"3;\xe9\r\nabc\r\n"), Err(BodyError::InvalidChunkExtension));
}

/// "A server ought to limit the total length of chunk extensions received in a request": of all chunks together, and at once.
#[test]
fn section_7_1_1_extensions_are_bounded() {
    let bound = CHUNK_LIMITS.extension_bytes_max as usize;
    // `;` and CR count, the name is what is left.
    let body = |len: usize| format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(len - 2));
    assert!(decode(&body(bound)).is_ok_and(|decoded| decoded.complete));
    assert_eq!(decode(&body(bound + 1)), Err(BodyError::ChunkExtensionsTooLong));
    assert_eq!(
        decode(&format!("3;{}", "x".repeat(bound))),
        Err(BodyError::ChunkExtensionsTooLong)
    );
    assert_eq!(
        decode(&format!("3;a=\"{}", "x".repeat(bound))),
        Err(BodyError::ChunkExtensionsTooLong)
    );
    assert_eq!(
        decode(&format!("3 {}", " ".repeat(bound))),
        Err(BodyError::ChunkExtensionsTooLong)
    );
    let spread = "1;a\r\nx\r\n".repeat(bound);
    assert_eq!(decode(&spread), Err(BodyError::ChunkExtensionsTooLong));
    let none = ChunkLimits {
        extension_bytes_max: 0,
        ..CHUNK_LIMITS
    };
    assert_eq!(
        decode_by(b"3;a\r\n", Framing::Chunked, none, 9),
        Err(BodyError::ChunkExtensionsTooLong)
    );
    assert!(decode_by(b"3\r\nabc\r\n0\r\n\r\n", Framing::Chunked, none, 9).is_ok_and(|decoded| decoded.complete));
}

/// A decoder that has failed does not go on.
#[test]
fn section_7_1_errors_last() {
    let mut decoder = tiergate_http1::ChunkedDecoder::new(CHUNK_LIMITS);
    assert_eq!(decoder.next(b"x"), Err(BodyError::InvalidChunkSize));
    assert_eq!(decoder.next(b"5\r\n"), Err(BodyError::InvalidChunkSize));
    assert!(!decoder.is_complete());
}
