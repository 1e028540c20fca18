//! Bodies, however they end.

use crate::BodyError;
use crate::chunked::{ChunkLimits, ChunkedDecoder, Piece};
use crate::framing::Framing;

/// A reader of one body. It finds the body's data in buffers that the caller has filled, and where the next message begins.
#[derive(Clone, Debug)]
pub struct BodyDecoder(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Bytes that are missing.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// A reader of a body with that framing.
    pub const fn new(framing: Framing, limits: ChunkLimits) -> Self {
        Self(match framing {
            Framing::None => Kind::Length(0),
            Framing::Length(length) => Kind::Length(length),
            Framing::Chunked => Kind::Chunked(ChunkedDecoder::new(limits)),
            Framing::UntilClose => Kind::UntilClose,
        })
    }

    /// The next piece of `buffer`, which begins where the last piece ended. Data of no bytes is never returned.
    ///
    /// # Errors
    /// The rule that the chunked coding breaks.
    #[inline]
    pub fn next(&mut self, buffer: &[u8]) -> Result<Piece, BodyError> {
        match &mut self.0 {
            Kind::Length(0) => Ok(Piece::End(0)),
            _ if buffer.is_empty() => Ok(Piece::More),
            Kind::Length(left) => {
                let len = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= len as u64;
                Ok(Piece::Data(0..len))
            }
            Kind::Chunked(decoder) => decoder.next(buffer),
            Kind::UntilClose => Ok(Piece::Data(0..buffer.len())),
        }
    }

    /// The sender has closed its side, after all that it sent went through [`next`](Self::next).
    ///
    /// # Errors
    /// [`BodyError::Incomplete`] if the body isn't complete (RFC 9112 §8). A body that ends with the connection always is.
    pub fn close(&self) -> Result<(), BodyError> {
        if self.is_complete() || matches!(self.0, Kind::UntilClose) {
            Ok(())
        } else {
            Err(BodyError::Incomplete)
        }
    }

    /// Whether the body is complete and something else may follow it. Never, of a body that ends with the connection.
    pub fn is_complete(&self) -> bool {
        match &self.0 {
            Kind::Length(left) => *left == 0,
            Kind::Chunked(decoder) => decoder.is_complete(),
            Kind::UntilClose => false,
        }
    }

    /// The lines of the trailer section of a complete chunked body; empty for others. See [`ChunkedDecoder::trailers`].
    pub fn trailers(&self) -> &[u8] {
        match &self.0 {
            Kind::Chunked(decoder) => decoder.trailers(),
            Kind::Length(_) | Kind::UntilClose => b"",
        }
    }
}
