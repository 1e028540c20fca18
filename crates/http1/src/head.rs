//! What request and response heads have in common: lines are found and parsed as they arrive, each byte once.

use std::ops::Range;

use crate::HeadError;
use crate::bytes::find_control;
use crate::connection::Connection;
use crate::field::{Field, Fields};
use crate::framing::Lengths;
use crate::names::{Name, Names};

/// The bounds of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of a head, from its first to the end of its empty line. What lies beyond is never parsed.
    pub head_bytes_max: u32,
    /// Bytes of a request target. RFC 9112 §3 recommends at least 8,000.
    pub target_bytes_max: u32,
    /// Field lines.
    pub fields_max: u32,
}

impl Default for HeadLimits {
    /// 32 KiB, of which 16 KiB for the target, and 100 lines.
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            target_bytes_max: 16 << 10,
            fields_max: 100,
        }
    }
}

/// An HTTP version, as far as it matters (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0.
    Http10,
    /// 1.1, or a later minor version, which is treated like it.
    Http11,
}

impl Version {
    /// `HTTP/` digit `.` digit, with that case (RFC 9112 §2.3).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        match bytes {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                if *major == b'1' {
                    Ok(Self::Http11)
                } else {
                    Err(HeadError::UnsupportedVersion)
                }
            }
            _ => Err(HeadError::InvalidVersion),
        }
    }
}

/// Where the next line begins, and how far it was searched for its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) start: usize,
    searched: usize,
}

impl Lines {
    pub(crate) const fn new() -> Self {
        Self { start: 0, searched: 0 }
    }

    /// The next line, without its CR LF and without any control character but HTAB. `None`: its end has not come yet.
    ///
    /// # Errors
    /// [`HeadError::HeadTooLarge`] if it does not end within the first `bytes_max` of the buffer; a bare CR or LF
    /// (RFC 9112 §2.2); another control character (RFC 9110 §5.5).
    #[inline]
    pub(crate) fn next(&mut self, buffer: &[u8], bytes_max: usize) -> Result<Option<Range<usize>>, HeadError> {
        let within = &buffer[..buffer.len().min(bytes_max)];
        let unsearched = within.get(self.searched..).unwrap_or_default();
        let Some(at) = find_control(unsearched) else {
            self.searched = within.len();
            return self.unfinished(buffer, bytes_max);
        };
        let at = self.searched + at;
        match (within[at], within.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                let line = self.start..at;
                self.start = at + 2;
                self.searched = self.start;
                Ok(Some(line))
            }
            (b'\r', None) => {
                self.searched = at;
                self.unfinished(buffer, bytes_max)
            }
            (b'\r', Some(_)) => Err(HeadError::BareCr),
            (b'\n', _) => Err(HeadError::BareLf),
            _ => Err(HeadError::ControlCharacter),
        }
    }

    fn unfinished(&self, buffer: &[u8], bytes_max: usize) -> Result<Option<Range<usize>>, HeadError> {
        if buffer.len() >= bytes_max {
            Err(HeadError::HeadTooLarge)
        } else {
            Ok(None)
        }
    }
}

/// How far a head was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its first line has not ended.
    #[default]
    StartLine,
    /// Its empty line has not come.
    Fields,
    /// It ends there.
    Complete(u32),
    /// It was refused.
    Refused(HeadError),
}

/// The part of a head after its first line.
#[derive(Clone, Debug)]
pub(crate) struct FieldSection {
    pub(crate) lines: Lines,
    pub(crate) fields: Fields,
    pub(crate) lengths: Lengths,
    pub(crate) connection: Connection,
}

impl FieldSection {
    pub(crate) const fn new() -> Self {
        Self {
            lines: Lines::new(),
            fields: Fields::new(),
            lengths: Lengths::new(),
            connection: Connection::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.lines = Lines::new();
        self.fields.clear();
        self.lengths = Lengths::new();
        self.connection.clear();
    }

    /// Parses the lines that have come. The end of the head, if it has.
    pub(crate) fn parse(
        &mut self,
        buffer: &[u8],
        names: &Names,
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        while let Some(line) = self.lines.next(buffer, limits.head_bytes_max as usize)? {
            if line.is_empty() {
                self.fields.nominate(buffer, self.connection.nominated());
                return Ok(Some(self.lines.start));
            }
            if self.fields.len() >= limits.fields_max as usize {
                return Err(HeadError::TooManyFields);
            }
            let end = line.end;
            let field = Field::parse(buffer, line, names)?;
            self.fields.push(field, end);
            if field.known() != Name::OTHER {
                self.note(buffer, &field)?;
            }
        }
        Ok(None)
    }

    /// Remembers what the field says about the message or the connection.
    fn note(&mut self, buffer: &[u8], field: &Field) -> Result<(), HeadError> {
        let value = field.value(buffer);
        match field.known() {
            Name::CONTENT_LENGTH => self.lengths.content_length(value),
            Name::TRANSFER_ENCODING => self.lengths.transfer_encoding(value),
            Name::CONNECTION => self.connection.options(value, field.value_start()),
            Name::UPGRADE => {
                self.connection.upgrade(value);
                Ok(())
            }
            Name::EXPECT => {
                self.connection.expect(value);
                Ok(())
            }
            Name::TE => {
                self.connection.te(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
