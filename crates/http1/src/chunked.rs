//! The chunked coding (RFC 9112 §7.1), decoded in place: a byte is looked at once, whichever way the body is divided.

use std::ops::Range;

use crate::bytes::{QUOTED_TEXT, TOKEN, find_control, is, is_space};
use crate::field::Field;
use crate::framing::BODY_BYTES_MAX;
use crate::names::Names;
use crate::{BodyError, HeadError};

/// The bounds of what a chunked body has beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of the extensions of all chunks of a body together.
    pub extension_bytes_max: u32,
    /// Bytes of the trailer section, with its empty line.
    pub trailer_bytes_max: u32,
    /// Trailer lines.
    pub trailers_max: u32,
}

impl Default for ChunkLimits {
    /// 8 KiB of extensions, 8 KiB of trailers, 32 lines.
    fn default() -> Self {
        Self {
            extension_bytes_max: 8 << 10,
            trailer_bytes_max: 8 << 10,
            trailers_max: 32,
        }
    }
}

/// What comes next in a buffer of body bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// That range is data of the body; what lies before it is coding. Go on after it.
    Data(Range<usize>),
    /// The whole buffer was used, and the body goes on.
    More,
    /// The body is complete. What follows lies from there on.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Digits of a chunk's size, of which that many have come.
    Size(u8),
    /// Whitespace before the `;` of an extension.
    BeforeExtension,
    ExtensionName {
        begun: bool,
    },
    /// Whitespace after an extension's name.
    AfterName,
    ExtensionValue {
        begun: bool,
    },
    Quoted,
    /// After a backslash in a quoted value.
    QuotedPair,
    AfterQuoted,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    End,
    Failed(BodyError),
}

/// A decoder of one chunked body.
///
/// It is strict: CR LF ends every line, nothing but extensions by their grammar stands between a size and it, a size has at most
/// 16 digits. Extensions are ignored, as RFC 9112 §7.1.1 demands of a recipient that knows none.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Of the chunk: its size, then what is missing of its data.
    left: u64,
    extension_bytes: u32,
    trailers: u32,
    /// The lines of the trailer section, without the empty one, and the beginning of the next.
    trailer_section: Vec<u8>,
    line_start: usize,
    limits: ChunkLimits,
}

impl ChunkedDecoder {
    /// A decoder before the first byte.
    pub const fn new(limits: ChunkLimits) -> Self {
        Self {
            state: State::Size(0),
            left: 0,
            extension_bytes: 0,
            trailers: 0,
            trailer_section: Vec::new(),
            line_start: 0,
            limits,
        }
    }

    /// The next piece of `buffer`, which begins where the last piece ended. Data of no bytes is never returned.
    ///
    /// # Errors
    /// The rule that the coding breaks. Data that was returned before was right, but the body is not complete.
    pub fn next(&mut self, buffer: &[u8]) -> Result<Piece, BodyError> {
        let result = self.advance(buffer);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn advance(&mut self, buffer: &[u8]) -> Result<Piece, BodyError> {
        let mut at = 0;
        loop {
            match self.state {
                State::End => return Ok(Piece::End(at)),
                State::Failed(error) => return Err(error),
                _ if at == buffer.len() => return Ok(Piece::More),
                State::Data => return Ok(Piece::Data(self.data(buffer, at))),
                State::Trailers => {
                    if !self.trailer_line(buffer, &mut at)? {
                        return Ok(Piece::More);
                    }
                }
                state => match self.usual(state, &buffer[at..]) {
                    Some(len) => at += len,
                    None => {
                        self.state = self.step(state, buffer[at])?;
                        at += 1;
                    }
                },
            }
        }
    }

    /// The bytes of the chunk from there on.
    fn data(&mut self, buffer: &[u8], at: usize) -> Range<usize> {
        let here = buffer.len() - at;
        let len = usize::try_from(self.left).map_or(here, |left| left.min(here));
        self.left -= len as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        at..at + len
    }

    /// The line end after a chunk's data, or a whole size line without extensions, if that is what comes next. How long it is.
    #[inline]
    fn usual(&mut self, state: State, rest: &[u8]) -> Option<usize> {
        if state == State::DataCr && rest.starts_with(b"\r\n") {
            self.state = State::Size(0);
            return Some(2);
        }
        if state != State::Size(0) {
            return None;
        }
        let mut size = 0;
        // Fifteen digits are less than any bound.
        for (at, byte) in rest.iter().enumerate().take(16) {
            let Some(digit) = (*byte as char).to_digit(16) else {
                if at == 0 || !rest[at..].starts_with(b"\r\n") {
                    return None;
                }
                self.left = size;
                self.state = if size == 0 { State::Trailers } else { State::Data };
                return Some(at + 2);
            };
            size = size << 4 | u64::from(digit);
        }
        None
    }

    /// One byte of the coding.
    fn step(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        match state {
            State::Size(digits) => self.size(digits, byte),
            State::SizeLf if byte == b'\n' && self.left == 0 => Ok(State::Trailers),
            State::SizeLf | State::DataLf if byte != b'\n' => Err(BodyError::InvalidLineEnd),
            State::SizeLf => Ok(State::Data),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataCr => Err(BodyError::InvalidLineEnd),
            State::DataLf => Ok(State::Size(0)),
            _ => {
                self.extension_bytes += 1;
                if self.extension_bytes > self.limits.extension_bytes_max {
                    return Err(BodyError::ChunkExtensionsTooLong);
                }
                extension(state, byte)
            }
        }
    }

    /// `chunk-size = 1*HEXDIG`.
    fn size(&mut self, digits: u8, byte: u8) -> Result<State, BodyError> {
        let Some(digit) = (byte as char).to_digit(16) else {
            return match byte {
                _ if digits == 0 => Err(BodyError::InvalidChunkSize),
                b'\r' => Ok(State::SizeLf),
                b'\n' => Err(BodyError::InvalidLineEnd),
                b';' | b' ' | b'\t' => self.step(State::BeforeExtension, byte),
                _ => Err(BodyError::InvalidChunkSize),
            };
        };
        // Nothing is left of the chunk before, so this begins at 0.
        if digits == 16 || self.left > BODY_BYTES_MAX >> 4 {
            return Err(BodyError::ChunkSizeTooLarge);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size(digits + 1))
    }

    /// Takes bytes up to the end of a trailer line. Whether the line has ended.
    fn trailer_line(&mut self, buffer: &[u8], at: &mut usize) -> Result<bool, BodyError> {
        let rest = &buffer[*at..];
        let ended = rest.iter().position(|byte| *byte == b'\n');
        let taken = ended.map_or(rest.len(), |lf| lf + 1);
        if self.trailer_section.len() + taken > self.limits.trailer_bytes_max as usize {
            return Err(BodyError::TrailersTooLarge);
        }
        *at += taken;
        if rest[..taken] == *b"\r\n" && self.line_start == self.trailer_section.len() {
            self.state = State::End;
            return Ok(true);
        }
        self.trailer_section.extend_from_slice(&rest[..taken]);
        if ended.is_some() {
            self.check_trailer()?;
        }
        Ok(ended.is_some())
    }

    /// Checks the line that has just ended.
    fn check_trailer(&mut self) -> Result<(), BodyError> {
        let line = &self.trailer_section[self.line_start..];
        let text = line.strip_suffix(b"\r\n").ok_or(BodyError::InvalidLineEnd)?;
        if text.is_empty() {
            self.trailer_section.truncate(self.line_start);
            self.state = State::End;
            return Ok(());
        }
        if let Some(at) = find_control(text) {
            let bare_cr = text[at] == b'\r';
            return Err(if bare_cr {
                BodyError::InvalidLineEnd
            } else {
                BodyError::InvalidTrailer(HeadError::ControlCharacter)
            });
        }
        self.trailers += 1;
        if self.trailers > self.limits.trailers_max {
            return Err(BodyError::TooManyTrailers);
        }
        Field::parse(text, 0..text.len(), Names::own()).map_err(BodyError::InvalidTrailer)?;
        self.line_start = self.trailer_section.len();
        Ok(())
    }

    /// The lines of the trailer section, each with its CR LF and in the grammar of a field line, once the body is complete; see
    /// [`Fields::parse`](crate::Fields::parse). Only fields that are known to be meant for a trailer may be merged into a head or
    /// acted upon (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> &[u8] {
        &self.trailer_section
    }

    /// Whether the body is complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }
}

/// One byte of `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` (RFC 9112 §7.1.1).
fn extension(state: State, byte: u8) -> Result<State, BodyError> {
    let ends = matches!(
        state,
        State::ExtensionName { begun: true } | State::ExtensionValue { begun: true } | State::AfterQuoted
    );
    let next = match (state, byte) {
        (State::Quoted, b'"') => State::AfterQuoted,
        (State::Quoted, b'\\') => State::QuotedPair,
        (State::Quoted, byte) if is(byte, QUOTED_TEXT) => State::Quoted,
        (State::QuotedPair, byte) if is(byte, QUOTED_TEXT) || matches!(byte, b'"' | b'\\') => State::Quoted,
        (State::Quoted | State::QuotedPair, _) => return Err(BodyError::InvalidChunkExtension),
        (_, b'\r') if ends => State::SizeLf,
        (State::BeforeExtension | State::AfterName, b';') => State::ExtensionName { begun: false },
        (_, b';') if ends => State::ExtensionName { begun: false },
        (State::ExtensionName { begun: true } | State::AfterName, b'=') => State::ExtensionValue { begun: false },
        (State::ExtensionName { begun: true }, byte) if is_space(byte) => State::AfterName,
        (State::ExtensionValue { begun: true } | State::AfterQuoted, byte) if is_space(byte) => State::BeforeExtension,
        (State::AfterQuoted, _) => return Err(BodyError::InvalidChunkExtension),
        (state, byte) if is_space(byte) => state,
        (State::ExtensionValue { begun: false }, b'"') => State::Quoted,
        (State::ExtensionName { .. }, byte) if is(byte, TOKEN) => State::ExtensionName { begun: true },
        (State::ExtensionValue { .. }, byte) if is(byte, TOKEN) => State::ExtensionValue { begun: true },
        _ => return Err(BodyError::InvalidChunkExtension),
    };
    Ok(next)
}
