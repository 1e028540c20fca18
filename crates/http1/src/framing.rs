//! Where a message ends (RFC 9112 §6).

use crate::HeadError;
use crate::bytes::{elements, is_token, trim};
use crate::head::Version;
use crate::request::Method;

/// The largest length of a body or chunk, 2^63 − 1 bytes, so that it fits every integer that it may meet.
pub const BODY_BYTES_MAX: u64 = i64::MAX as u64;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none. In a request: neither `Content-Length` nor `Transfer-Encoding`.
    None,
    /// It has that many bytes.
    Length(u64),
    /// It is in the chunked coding.
    Chunked,
    /// It ends with the connection (responses only).
    UntilClose,
}

/// How a response goes on after its head (RFC 9112 §6.3), and what is to be told of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFraming {
    /// Its body.
    pub body: Framing,
    /// The `Content-Length` to forward. For HEAD and 304 it is that of a body that isn't sent.
    pub content_length: Option<u64>,
    /// Whether the connection can be used again when the body has been read.
    pub reusable: bool,
}

/// What `Content-Length` and `Transfer-Encoding` say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    content_length: Option<u64>,
    codings: Codings,
}

/// The transfer codings, in the order in which they were applied (RFC 9112 §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    Absent,
    /// `chunked` alone.
    Chunked,
    /// Others, then `chunked`.
    OthersThenChunked,
    /// Others, without `chunked`.
    Others,
}

impl Lengths {
    pub(crate) const fn new() -> Self {
        Self {
            content_length: None,
            codings: Codings::Absent,
        }
    }

    /// A `Content-Length` line. A list is one length if all its elements are equal (RFC 9112 §6.3, rule 5).
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for element in elements(value) {
            let length = decimal(element)?;
            if self.content_length.is_some_and(|before| before != length) {
                return Err(HeadError::ConflictingContentLength);
            }
            self.content_length = Some(length);
        }
        Ok(())
    }

    /// A `Transfer-Encoding` line. Several are one list.
    ///
    /// Empty elements, which RFC 9110 §5.6.1.2 lets recipients ignore, are refused: where a body ends is not to be guessed.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for coding in elements(value) {
            let mut parts = coding.splitn(2, |byte| *byte == b';');
            let name = trim(parts.next().unwrap_or_default());
            let has_parameters = parts.next().is_some();
            let chunked = name.eq_ignore_ascii_case(b"chunked");
            if !is_token(name) || chunked && has_parameters {
                return Err(HeadError::InvalidTransferEncoding);
            }
            self.codings = match (self.codings, chunked) {
                (Codings::Absent, true) => Codings::Chunked,
                (Codings::Others, true) => Codings::OthersThenChunked,
                (Codings::Absent | Codings::Others, false) => Codings::Others,
                (Codings::Chunked | Codings::OthersThenChunked, true) => {
                    return Err(HeadError::InvalidTransferEncoding);
                }
                (Codings::Chunked | Codings::OthersThenChunked, false) => return Err(HeadError::ChunkedNotFinal),
            };
        }
        Ok(())
    }

    /// The body of a request (RFC 9112 §6.1, §6.3).
    pub(crate) fn of_request(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.transfer(version)?, self.content_length) {
            (true, Some(_)) => Err(HeadError::TransferEncodingWithContentLength),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }

    /// The body of a response to a request with that method.
    pub(crate) fn of_response(
        &self,
        version: Version,
        status: u16,
        method: Method,
    ) -> Result<ResponseFraming, HeadError> {
        if matches!(status, 100..=199 | 204 | 304) || method == Method::Head {
            return Ok(self.without_body(status));
        }
        if method == Method::Connect && matches!(status, 200..=299) {
            // Rule 2: what follows is a tunnel.
            return Ok(ResponseFraming {
                body: Framing::None,
                content_length: None,
                reusable: false,
            });
        }
        Ok(match (self.transfer(version)?, self.content_length) {
            // Rule 3: the coding wins, and the length must not be forwarded. It may be an attempt at smuggling: nothing follows.
            (true, length) => ResponseFraming {
                body: Framing::Chunked,
                content_length: None,
                reusable: length.is_none(),
            },
            (false, Some(length)) => ResponseFraming {
                body: Framing::Length(length),
                content_length: Some(length),
                reusable: true,
            },
            (false, None) => ResponseFraming {
                body: Framing::UntilClose,
                content_length: None,
                reusable: false,
            },
        })
    }

    /// Rule 1: the response ends with its head, whatever the fields say.
    fn without_body(&self, status: u16) -> ResponseFraming {
        let coded = self.codings != Codings::Absent;
        let never = matches!(status, 100..=199 | 204);
        // A server that announces a body that there can't be may send it all the same.
        let announced = never && (coded || self.content_length.is_some_and(|length| length > 0));
        ResponseFraming {
            body: Framing::None,
            content_length: self.content_length.filter(|_| !never && !coded),
            // What follows 101 is another protocol.
            reusable: status != 101 && !announced,
        }
    }

    /// Whether the body is in the chunked coding.
    fn transfer(&self, version: Version) -> Result<bool, HeadError> {
        match self.codings {
            Codings::Absent => Ok(false),
            _ if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
            Codings::Chunked => Ok(true),
            Codings::OthersThenChunked => Err(HeadError::UnsupportedTransferCoding),
            Codings::Others => Err(HeadError::ChunkedNotFinal),
        }
    }
}

/// `1*DIGIT` (RFC 9110 §8.6).
fn decimal(digits: &[u8]) -> Result<u64, HeadError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::InvalidContentLength);
    }
    let mut number: u64 = 0;
    for digit in digits {
        let next = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u64::from(digit - b'0')));
        number = next
            .filter(|number| *number <= BODY_BYTES_MAX)
            .ok_or(HeadError::ContentLengthTooLarge)?;
    }
    Ok(number)
}
