//! Why a head or a body is refused: a value for each rule, with the status of the answer and the RFC's section.

use std::fmt;

/// Why a head is refused. The connection can't be used any further, since nobody knows where the next message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// A TLS record where a request was expected.
    Tls,
    /// The preface of HTTP/2 (`PRI * HTTP/2.0`). Nothing was consumed: the connection can be handed to an HTTP/2 library.
    Http2Preface,
    /// A request line without a version, as in HTTP/0.9.
    Http09,
    /// A version other than 1.0 and 1.x.
    UnsupportedVersion,
    /// A version that isn't `HTTP/` digit `.` digit.
    InvalidVersion,
    /// The request line is not method, target and version with single spaces between.
    InvalidRequestLine,
    /// The method is not a token.
    InvalidMethod,
    /// The method is longer than [`METHOD_BYTES_MAX`](crate::METHOD_BYTES_MAX).
    MethodTooLong,
    /// `CONNECT`: a gateway has no tunnels to offer.
    Connect,
    /// The target is none of the forms, or not one that its method may have, or has a byte that none has.
    InvalidTarget,
    /// The target is longer than its bound.
    TargetTooLong,
    /// The status line is not version, three digits and a reason.
    InvalidStatusLine,
    /// The head is longer than its bound.
    HeadTooLarge,
    /// More field lines than the bound.
    TooManyFields,
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// A control character other than HTAB.
    ControlCharacter,
    /// A field line without a colon, or whose name is not a token.
    InvalidFieldName,
    /// Whitespace between a field's name and its colon.
    SpaceBeforeColon,
    /// A line that begins with whitespace: a folded field line, or whitespace before the first one.
    ObsoleteFolding,
    /// An HTTP/1.1 request without `Host`.
    MissingHost,
    /// More than one `Host` line.
    MultipleHosts,
    /// `Host`, or the authority of an absolute target, is not a host with an optional port.
    InvalidHost,
    /// `Content-Length` is not a decimal number.
    InvalidContentLength,
    /// Several lengths that differ.
    ConflictingContentLength,
    /// `Content-Length` beyond [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX).
    ContentLengthTooLarge,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    TransferEncodingInHttp10,
    /// A request with `Transfer-Encoding` and `Content-Length`.
    TransferEncodingWithContentLength,
    /// `Transfer-Encoding` is not a list of codings, or `chunked` is repeated or has parameters.
    InvalidTransferEncoding,
    /// `chunked` is not the last coding.
    ChunkedNotFinal,
    /// A coding other than `chunked` is applied as well.
    UnsupportedTransferCoding,
    /// More options in `Connection` than [`CONNECTION_OPTIONS_MAX`](crate::CONNECTION_OPTIONS_MAX).
    TooManyConnectionOptions,
    /// An element of `Connection` that is not a token.
    InvalidConnectionOption,
}

impl HeadError {
    /// The status with which a request is refused. A response that is refused becomes 502 (RFC 9112 §6.3).
    pub const fn status(self) -> u16 {
        match self {
            Self::Http2Preface | Self::Http09 | Self::UnsupportedVersion => 505,
            Self::MethodTooLong | Self::Connect | Self::UnsupportedTransferCoding => 501,
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::ContentLengthTooLarge => 413,
            _ => 400,
        }
    }

    /// The section by which it is refused.
    pub const fn section(self) -> &'static str {
        self.table().0
    }

    const fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Tls => ("RFC 9112 §2.2", "a TLS record instead of a request"),
            Self::Http2Preface => ("RFC 9113 §3.4", "HTTP/2 instead of HTTP/1.1"),
            Self::Http09 => ("RFC 9112 §3", "a request line without a version"),
            Self::UnsupportedVersion => ("RFC 9110 §2.5", "unsupported HTTP version"),
            Self::InvalidVersion => ("RFC 9112 §2.3", "malformed HTTP version"),
            Self::InvalidRequestLine => ("RFC 9112 §3", "malformed request line"),
            Self::InvalidMethod => ("RFC 9112 §3.1", "the method is not a token"),
            Self::MethodTooLong => ("RFC 9112 §3", "the method is too long"),
            Self::Connect => ("RFC 9110 §9.3.6", "CONNECT is not supported"),
            Self::InvalidTarget => ("RFC 9112 §3.2", "malformed request target"),
            Self::TargetTooLong => ("RFC 9112 §3", "the request target is too long"),
            Self::InvalidStatusLine => ("RFC 9112 §4", "malformed status line"),
            Self::HeadTooLarge => ("RFC 6585 §5", "the head is too large"),
            Self::TooManyFields => ("RFC 6585 §5", "too many header fields"),
            Self::BareCr => ("RFC 9112 §2.2", "CR without LF"),
            Self::BareLf => ("RFC 9112 §2.2", "LF without CR"),
            Self::ControlCharacter => ("RFC 9110 §5.5", "a control character in the head"),
            Self::InvalidFieldName => ("RFC 9112 §5.1", "malformed header field name"),
            Self::SpaceBeforeColon => (
                "RFC 9112 §5.1",
                "whitespace between a header field's name and its colon",
            ),
            Self::ObsoleteFolding => ("RFC 9112 §5.2", "a header line that begins with whitespace"),
            Self::MissingHost => ("RFC 9112 §3.2", "no Host header field"),
            Self::MultipleHosts => ("RFC 9112 §3.2", "more than one Host header field"),
            Self::InvalidHost => ("RFC 9112 §3.2", "malformed host"),
            Self::InvalidContentLength => ("RFC 9112 §6.3", "malformed Content-Length"),
            Self::ConflictingContentLength => ("RFC 9112 §6.3", "Content-Length values that differ"),
            Self::ContentLengthTooLarge => ("RFC 9110 §8.6", "Content-Length is too large"),
            Self::TransferEncodingInHttp10 => ("RFC 9112 §6.1", "Transfer-Encoding in HTTP/1.0"),
            Self::TransferEncodingWithContentLength => ("RFC 9112 §6.1", "Transfer-Encoding beside Content-Length"),
            Self::InvalidTransferEncoding => ("RFC 9112 §6.1", "malformed Transfer-Encoding"),
            Self::ChunkedNotFinal => ("RFC 9112 §6.3", "chunked is not the final transfer coding"),
            Self::UnsupportedTransferCoding => ("RFC 9112 §6.1", "unsupported transfer coding"),
            Self::TooManyConnectionOptions => ("RFC 9110 §7.6.1", "too many connection options"),
            Self::InvalidConnectionOption => ("RFC 9110 §7.6.1", "malformed Connection header field"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table().1)
    }
}

impl std::error::Error for HeadError {}

/// Why a body is refused. The connection can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk's size is missing or not hexadecimal.
    InvalidChunkSize,
    /// A chunk's size has more than 16 digits or is beyond [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX).
    ChunkSizeTooLarge,
    /// A chunk extension does not match its grammar.
    InvalidChunkExtension,
    /// The extensions of all chunks together are longer than their bound.
    ChunkExtensionsTooLong,
    /// A line of the chunked coding does not end in CR LF, or a chunk's data is not followed by it.
    InvalidLineEnd,
    /// A trailer line does not match the grammar of a field line.
    InvalidTrailer(HeadError),
    /// The trailer section is longer than its bound.
    TrailersTooLarge,
    /// More trailer lines than the bound.
    TooManyTrailers,
    /// The connection ended before the body did.
    Incomplete,
}

impl BodyError {
    /// The status with which a request is refused, if no response was begun. A response that is refused becomes 502, or is
    /// broken off so that the client sees it.
    pub const fn status(self) -> u16 {
        match self {
            Self::TrailersTooLarge | Self::TooManyTrailers => 431,
            _ => 400,
        }
    }

    /// The section by which it is refused.
    pub const fn section(self) -> &'static str {
        match self {
            Self::InvalidChunkSize | Self::ChunkSizeTooLarge | Self::InvalidLineEnd => "RFC 9112 §7.1",
            Self::InvalidChunkExtension | Self::ChunkExtensionsTooLong => "RFC 9112 §7.1.1",
            Self::InvalidTrailer(_) | Self::TrailersTooLarge | Self::TooManyTrailers => "RFC 9112 §7.1.2",
            Self::Incomplete => "RFC 9112 §8",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidChunkSize => f.write_str("malformed chunk size"),
            Self::ChunkSizeTooLarge => f.write_str("the chunk size is too large"),
            Self::InvalidChunkExtension => f.write_str("malformed chunk extension"),
            Self::ChunkExtensionsTooLong => f.write_str("the chunk extensions are too long"),
            Self::InvalidLineEnd => f.write_str("CR LF is missing in the chunked body"),
            Self::InvalidTrailer(why) => write!(f, "malformed trailer: {why}"),
            Self::TrailersTooLarge => f.write_str("the trailers are too large"),
            Self::TooManyTrailers => f.write_str("too many trailers"),
            Self::Incomplete => f.write_str("the connection ended before the body did"),
        }
    }
}

impl std::error::Error for BodyError {}
