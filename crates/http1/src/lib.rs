//! A strict HTTP/1.1 engine for proxies (RFC 9110, RFC 9112), without I/O.
//!
//! The caller owns the buffers and the sockets. It fills a buffer with what has arrived, and asks:
//!
//! ```text
//! buffer ─► RequestHead::parse ─► framing ─► BodyDecoder::next ─► End(where the next message begins)
//!           ResponseHead::parse ┘            │
//!                 │                          └► ranges of the buffer that are data: no copies
//!                 └► Fields::copy ─► the kept lines, straight into an output buffer
//! ```
//!
//! Heads and bodies are parsed as they arrive, each byte once. The results are places in the buffer, so nothing borrows it, and
//! storage is kept from one message to the next: a request allocates nothing.
//!
//! Whatever two recipients could understand differently is refused: bare CR and LF, folded lines, control characters, whitespace
//! around names, more than one `Host`, lengths that contradict each other, codings that are not a single `chunked`. An error is a
//! value that names its rule and the status of the answer.
//!
//! ```
//! use tiergate_http1::{ChunkLimits, BodyDecoder, HeadLimits, NameSet, Names, Piece, RequestHead};
//!
//! let names = Names::new(["x-api-key"])?;
//! let key = names.find(b"x-api-key");
//! let buffer = b"POST /search HTTP/1.1\r\nHost: a.example\r\nX-Api-Key: k\r\nAccept: */*\r\nContent-Length: 3\r\n\r\nabcGET";
//!
//! let mut head = RequestHead::new();
//! let len = head.parse(buffer, &names, &HeadLimits::default())?.expect("the head is complete");
//! assert_eq!(head.path(buffer), b"/search");
//! assert_eq!(head.fields().get(key).map(|field| field.value(buffer)), Some(&b"k"[..]));
//!
//! let mut out = Vec::new();
//! let dropped = NameSet::REWRITTEN.with(key);
//! head.fields().copy(buffer, &mut out, |field| !dropped.contains(field.known()) && !field.is_nominated());
//! assert_eq!(out, b"Accept: */*\r\n");
//!
//! let mut body = BodyDecoder::new(head.framing(), ChunkLimits::default());
//! assert_eq!(body.next(&buffer[len..])?, Piece::Data(0..3));
//! assert_eq!(body.next(&buffer[len + 3..])?, Piece::End(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod body;
mod bytes;
mod chunked;
mod connection;
mod error;
mod field;
mod framing;
mod head;
mod names;
mod request;
mod response;
mod target;
mod write;

pub use body::BodyDecoder;
pub use chunked::{ChunkLimits, ChunkedDecoder, Piece};
pub use connection::{CONNECTION_OPTIONS_MAX, Expect, Upgrade};
pub use error::{BodyError, HeadError};
pub use field::{Field, Fields};
pub use framing::{BODY_BYTES_MAX, Framing, ResponseFraming};
pub use head::{HeadLimits, Version};
pub use names::{NAMES_MAX, Name, NameSet, Names, NamesError};
pub use request::{METHOD_BYTES_MAX, Method, RequestHead};
pub use response::ResponseHead;
pub use target::TargetForm;
pub use write::{
    CONTINUE, ChunkHeader, LAST_CHUNK, status_line, write_chunk, write_content_length, write_decimal, write_field,
    write_status_line,
};
