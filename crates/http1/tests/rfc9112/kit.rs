//! Heads and bodies parsed whole and byte by byte.

use tiergate_http1::{
    BodyDecoder, BodyError, ChunkLimits, Framing, HeadError, HeadLimits, Method, Names, Piece, RequestHead,
    ResponseFraming, ResponseHead,
};

pub const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16 << 10,
    target_bytes_max: 8 << 10,
    fields_max: 64,
};
pub const CHUNK_LIMITS: ChunkLimits = ChunkLimits {
    extension_bytes_max: 64,
    trailer_bytes_max: 128,
    trailers_max: 4,
};

/// A complete head with its bytes.
pub struct Head<H> {
    pub head: H,
    pub buffer: Vec<u8>,
    pub len: usize,
}

/// The head at the beginning of the input, which must have come whole.
pub fn request<T: AsRef<[u8]> + ?Sized>(input: &T) -> Result<Head<RequestHead>, HeadError> {
    request_within(input, &LIMITS)
}

pub fn request_within<T: AsRef<[u8]> + ?Sized>(input: &T, limits: &HeadLimits) -> Result<Head<RequestHead>, HeadError> {
    let input = input.as_ref();
    let begun = begin_request(input, limits)?;
    Ok(begun.unwrap_or_else(|| panic!("the head is not complete: {}", input.escape_ascii())))
}

/// The same, `None` if the head is not complete.
pub fn begin_request(input: &[u8], limits: &HeadLimits) -> Result<Option<Head<RequestHead>>, HeadError> {
    let (mut whole, mut bytewise) = (RequestHead::new(), RequestHead::new());
    let result = whole.parse(input, Names::own(), limits);
    let mut stepwise = Ok(None);
    for end in 0..=input.len() {
        stepwise = bytewise.parse(&input[..end], Names::own(), limits);
        if stepwise != Ok(None) {
            break;
        }
    }
    assert_eq!(result, stepwise, "whole and byte by byte: {}", input.escape_ascii());
    assert_eq!(whole.parse(input, Names::own(), limits), result, "asked again");
    Ok(result?.map(|len| Head {
        head: whole,
        buffer: input.to_vec(),
        len,
    }))
}

/// The response head at the beginning of the input, which must have come whole.
pub fn response<T: AsRef<[u8]> + ?Sized>(input: &T) -> Result<Head<ResponseHead>, HeadError> {
    let input = input.as_ref();
    let (mut whole, mut bytewise) = (ResponseHead::new(), ResponseHead::new());
    let result = whole.parse(input, Names::own(), &LIMITS);
    let mut stepwise = Ok(None);
    for end in 0..=input.len() {
        stepwise = bytewise.parse(&input[..end], Names::own(), &LIMITS);
        if stepwise != Ok(None) {
            break;
        }
    }
    assert_eq!(result, stepwise, "whole and byte by byte: {}", input.escape_ascii());
    let len = result?.unwrap_or_else(|| panic!("the head is not complete: {}", input.escape_ascii()));
    Ok(Head {
        head: whole,
        buffer: input.to_vec(),
        len,
    })
}

/// A GET request for `/` with these field lines and a `Host`.
pub fn with_fields(lines: &str) -> Result<Head<RequestHead>, HeadError> {
    request(&format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"))
}

/// How a response with that status line and these field lines, to a GET, is framed.
pub fn framing(status_line: &str, lines: &str) -> Result<ResponseFraming, HeadError> {
    framing_for(Method::Get, status_line, lines)
}

pub fn framing_for(method: Method, status_line: &str, lines: &str) -> Result<ResponseFraming, HeadError> {
    response(&format!("{status_line}\r\n{lines}\r\n"))?.head.framing(method)
}

/// What a decoder made of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub data: Vec<u8>,
    pub trailers: Vec<u8>,
    /// Bytes that were used.
    pub used: usize,
    pub complete: bool,
}

/// What bytes are in that framing, arriving in pieces of `step`.
pub fn decode_by(input: &[u8], framing: Framing, limits: ChunkLimits, step: usize) -> Result<Decoded, BodyError> {
    let mut decoder = BodyDecoder::new(framing, limits);
    let mut decoded = Decoded::default();
    let mut end = 0;
    loop {
        let now = &input[decoded.used..end];
        match decoder.next(now)? {
            Piece::Data(range) => {
                assert!(!range.is_empty());
                decoded.used += range.end;
                decoded.data.extend_from_slice(&now[range]);
            }
            Piece::End(used) => {
                decoded.used += used;
                decoded.complete = true;
                decoded.trailers = decoder.trailers().to_vec();
                return Ok(decoded);
            }
            Piece::More => {
                decoded.used += now.len();
                if end == input.len() {
                    return Ok(decoded);
                }
                end = (end + step).min(input.len());
            }
        }
    }
}

/// What bytes are in the chunked coding.
pub fn decode<T: AsRef<[u8]> + ?Sized>(input: &T) -> Result<Decoded, BodyError> {
    let input = input.as_ref();
    let whole = decode_by(input, Framing::Chunked, CHUNK_LIMITS, input.len().max(1));
    let stepwise = decode_by(input, Framing::Chunked, CHUNK_LIMITS, 1);
    assert_eq!(whole, stepwise, "whole and byte by byte: {}", input.escape_ascii());
    whole
}

/// That each of these inputs is refused for its reason.
pub fn refused<T>(cases: &[(&str, HeadError)], parse: impl Fn(&str) -> Result<T, HeadError>) {
    for (input, error) in cases {
        match parse(input) {
            Ok(_) => panic!("accepted: {input:?}"),
            Err(seen) => assert_eq!(seen, *error, "{input:?}"),
        }
    }
}

/// That all of these are accepted.
pub fn accepted<T>(cases: &[&str], parse: impl Fn(&str) -> Result<T, HeadError>) {
    for input in cases {
        if let Err(error) = parse(input) {
            panic!("{error:?}: {input:?}");
        }
    }
}
