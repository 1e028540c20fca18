//! The lines that are written again and again, without formatting and without allocating beyond the output buffer.

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The interim response for a client that expects it (RFC 9110 §15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

macro_rules! statuses {
    ($($code:literal $reason:literal)*) => {
        /// The whole status line, with its line end, of a registered status code (RFC 9110 §15 and the IANA registry).
        pub const fn status_line(code: u16) -> Option<&'static [u8]> {
            match code {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n").as_bytes()),)*
                _ => None,
            }
        }
    };
}

statuses! {
    100 "Continue"
    101 "Switching Protocols"
    102 "Processing"
    103 "Early Hints"
    200 "OK"
    201 "Created"
    202 "Accepted"
    203 "Non-Authoritative Information"
    204 "No Content"
    205 "Reset Content"
    206 "Partial Content"
    207 "Multi-Status"
    208 "Already Reported"
    226 "IM Used"
    300 "Multiple Choices"
    301 "Moved Permanently"
    302 "Found"
    303 "See Other"
    304 "Not Modified"
    305 "Use Proxy"
    307 "Temporary Redirect"
    308 "Permanent Redirect"
    400 "Bad Request"
    401 "Unauthorized"
    402 "Payment Required"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    407 "Proxy Authentication Required"
    408 "Request Timeout"
    409 "Conflict"
    410 "Gone"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    416 "Range Not Satisfiable"
    417 "Expectation Failed"
    421 "Misdirected Request"
    422 "Unprocessable Content"
    423 "Locked"
    424 "Failed Dependency"
    425 "Too Early"
    426 "Upgrade Required"
    428 "Precondition Required"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error"
    501 "Not Implemented"
    502 "Bad Gateway"
    503 "Service Unavailable"
    504 "Gateway Timeout"
    505 "HTTP Version Not Supported"
    506 "Variant Also Negotiates"
    507 "Insufficient Storage"
    508 "Loop Detected"
    511 "Network Authentication Required"
}

/// Appends a status line. A code that isn't registered gets an empty reason (RFC 9112 §4).
///
/// # Panics
/// If the code does not have three digits.
pub fn write_status_line(out: &mut Vec<u8>, code: u16) {
    if let Some(line) = status_line(code) {
        out.extend_from_slice(line);
        return;
    }
    assert!((100..1000).contains(&code), "{code} is not a status code");
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(code));
    out.extend_from_slice(b" \r\n");
}

/// Appends a number.
#[inline]
pub fn write_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a field line. Name and value are the caller's to check: a token, and no control character but HTAB.
#[inline]
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(crate::bytes::is_token(name) && crate::bytes::find_control(value).is_none());
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a `Content-Length` line.
#[inline]
pub fn write_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    write_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk's data, without allocation: to be written before the data, which CR LF follows.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; Self::BYTES_MAX],
    start: u8,
}

impl ChunkHeader {
    const BYTES_MAX: usize = 18;

    /// The header of a chunk of that many bytes.
    ///
    /// # Panics
    /// If there are none, since that is how a body ends.
    pub fn new(length: usize) -> Self {
        assert!(length > 0, "an empty chunk ends the body");
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[Self::BYTES_MAX - 2..].copy_from_slice(b"\r\n");
        let (mut start, mut left) = (Self::BYTES_MAX - 2, length);
        while left > 0 {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[left % 16];
            left /= 16;
        }
        Self {
            bytes,
            start: start as u8,
        }
    }

    /// Its bytes, with the line end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// Appends data as one chunk; nothing if it is empty.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(ChunkHeader::new(data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}
