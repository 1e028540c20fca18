//! What is written: RFC 9112 §4 and §7.1.

use tiergate_http1::{
    CONTINUE, ChunkHeader, HeadError, LAST_CHUNK, Method, status_line, write_chunk, write_content_length,
    write_decimal, write_field, write_status_line,
};

use crate::kit::{decode, response};

#[test]
fn section_4_status_lines_are_read_back() {
    for code in 100..1000 {
        let mut out = Vec::new();
        write_status_line(&mut out, code);
        if let Some(line) = status_line(code) {
            assert_eq!(out, line);
        }
        write_field(&mut out, b"X-Name", b"value \xe9\t!");
        out.extend_from_slice(b"\r\n");
        let parsed = response(&out).expect("accepted");
        assert_eq!(parsed.head.status(), code);
        assert_eq!(
            parsed.head.fields().iter().next().map(|field| field.value(&out)),
            Some(&b"value \xe9\t!"[..])
        );
    }
    assert_eq!(status_line(429), Some(&b"HTTP/1.1 429 Too Many Requests\r\n"[..]));
    assert_eq!(status_line(299), None);
    assert_eq!(response(CONTINUE).expect("accepted").head.status(), 100);
}

#[test]
fn numbers_are_decimal() {
    for number in [0, 1, 9, 10, 1234567890, u64::MAX] {
        let mut out = b"n=".to_vec();
        write_decimal(&mut out, number);
        assert_eq!(out, format!("n={number}").into_bytes());
    }
    let mut out = b"HTTP/1.1 200 OK\r\n".to_vec();
    write_content_length(&mut out, 1234);
    out.extend_from_slice(b"\r\n");
    let framing = response(&out)
        .expect("accepted")
        .head
        .framing(Method::Get)
        .expect("one length");
    assert_eq!(framing.content_length, Some(1234));
}

#[test]
fn section_7_1_chunks_are_read_back() {
    for length in (1..300).chain([4095, 4096, 65_535, 65_536, 1 << 20]) {
        let data = vec![b'x'; length];
        let mut out = Vec::new();
        write_chunk(&mut out, &data);
        write_chunk(&mut out, b"");
        out.extend_from_slice(LAST_CHUNK);
        assert_eq!(
            ChunkHeader::new(length).as_bytes(),
            format!("{length:x}\r\n").as_bytes()
        );
        let whole = crate::kit::decode_by(
            &out,
            tiergate_http1::Framing::Chunked,
            crate::kit::CHUNK_LIMITS,
            1 << 16,
        );
        let decoded = if length < 300 { decode(&out) } else { whole }.expect("accepted");
        assert!(decoded.complete && decoded.data == data && decoded.used == out.len());
    }
    assert_eq!(ChunkHeader::new(usize::MAX).as_bytes().len(), 18);
}

#[test]
#[should_panic(expected = "an empty chunk ends the body")]
fn section_7_1_an_empty_chunk_is_no_chunk() {
    let _ = ChunkHeader::new(0);
}

/// Every reason to refuse has a status of a refusal, its section and words of its own.
#[test]
fn refusals_are_told_apart() {
    let all = [
        HeadError::Tls,
        HeadError::Http2Preface,
        HeadError::Http09,
        HeadError::UnsupportedVersion,
        HeadError::InvalidVersion,
        HeadError::InvalidRequestLine,
        HeadError::InvalidMethod,
        HeadError::MethodTooLong,
        HeadError::Connect,
        HeadError::InvalidTarget,
        HeadError::TargetTooLong,
        HeadError::InvalidStatusLine,
        HeadError::HeadTooLarge,
        HeadError::TooManyFields,
        HeadError::BareCr,
        HeadError::BareLf,
        HeadError::ControlCharacter,
        HeadError::InvalidFieldName,
        HeadError::SpaceBeforeColon,
        HeadError::ObsoleteFolding,
        HeadError::MissingHost,
        HeadError::MultipleHosts,
        HeadError::InvalidHost,
        HeadError::InvalidContentLength,
        HeadError::ConflictingContentLength,
        HeadError::ContentLengthTooLarge,
        HeadError::TransferEncodingInHttp10,
        HeadError::TransferEncodingWithContentLength,
        HeadError::InvalidTransferEncoding,
        HeadError::ChunkedNotFinal,
        HeadError::UnsupportedTransferCoding,
        HeadError::TooManyConnectionOptions,
        HeadError::InvalidConnectionOption,
    ];
    let words: std::collections::BTreeSet<_> = all.iter().map(HeadError::to_string).collect();
    assert_eq!(words.len(), all.len());
    for error in all {
        assert!(matches!(error.status(), 400 | 413 | 414 | 431 | 501 | 505), "{error:?}");
        assert!(
            error.section().starts_with("RFC 9") || error.section().starts_with("RFC 6585"),
            "{error:?}"
        );
    }
}
