//! Response heads (RFC 9112 §4).

use std::ops::Range;

use crate::HeadError;
use crate::field::{Fields, range};
use crate::framing::ResponseFraming;
use crate::head::{FieldSection, HeadLimits, Stage, Version};
use crate::names::Names;
use crate::request::Method;

/// A response head, parsed as it arrives. It holds places in the caller's buffer, not the bytes: what asks for bytes is given the
/// buffer again. Kept and used again, it allocates nothing.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    stage: Stage,
    section: FieldSection,
    version: Version,
    status: u16,
    reason: Range<u32>,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseHead {
    /// A head of which nothing was parsed.
    pub const fn new() -> Self {
        Self {
            stage: Stage::StartLine,
            section: FieldSection::new(),
            version: Version::Http11,
            status: 0,
            reason: 0..0,
        }
    }

    /// Forgets the head, for the next one of the connection.
    pub fn clear(&mut self) {
        self.section.clear();
        let section = std::mem::replace(&mut self.section, FieldSection::new());
        *self = Self { section, ..Self::new() };
    }

    /// Parses what has come since the last call. `buffer` begins with the message and has only grown since.
    ///
    /// Returns the length of the head when it is complete: the body, or the next message, begins there. Interim responses (1xx)
    /// are heads of their own.
    ///
    /// # Errors
    /// The rule that the head breaks, as soon as the line that breaks it is complete; the response becomes 502. The result doesn't
    /// depend on how the bytes were divided among calls. [`HeadLimits::target_bytes_max`] has no meaning here.
    pub fn parse(&mut self, buffer: &[u8], names: &Names, limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        match self.stage {
            Stage::Complete(len) => return Ok(Some(len as usize)),
            Stage::Refused(error) => return Err(error),
            Stage::StartLine | Stage::Fields => {}
        }
        let result = self.parse_more(buffer, names, limits);
        match result {
            Ok(Some(len)) => self.stage = Stage::Complete(len as u32),
            Ok(None) => {}
            Err(error) => self.stage = Stage::Refused(error),
        }
        result
    }

    fn parse_more(&mut self, buffer: &[u8], names: &Names, limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        if self.stage == Stage::StartLine {
            let Some(line) = self.section.lines.next(buffer, limits.head_bytes_max as usize)? else {
                return Ok(None);
            };
            self.status_line(buffer, line)?;
            self.stage = Stage::Fields;
        }
        self.section.parse(buffer, names, limits)
    }

    /// `HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 §4). The space before a reason that is absent may be too:
    /// widespread servers leave it out, and nothing else can be meant.
    fn status_line(&mut self, buffer: &[u8], line: Range<usize>) -> Result<(), HeadError> {
        let text = &buffer[line.clone()];
        let (version, rest) = text.split_at_checked(8).ok_or(HeadError::InvalidStatusLine)?;
        self.version = Version::parse(version)?;
        let (digits, reason) = match rest {
            [b' ', a, b, c] => ([a, b, c], line.end),
            [b' ', a, b, c, b' ', ..] => ([a, b, c], line.start + 13),
            _ => return Err(HeadError::InvalidStatusLine),
        };
        if digits[0] == &b'0' || !digits.iter().all(|digit| digit.is_ascii_digit()) {
            return Err(HeadError::InvalidStatusLine);
        }
        self.status = digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(*digit - b'0'));
        self.reason = reason as u32..line.end as u32;
        Ok(())
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The status code, 100 to 999. One from 600 on is invalid and to be treated like 5xx (RFC 9110 §15).
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase, which means nothing: visible ASCII, space, HTAB and opaque bytes from 0x80.
    pub fn reason<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[range(&self.reason)]
    }

    /// The field lines.
    pub fn fields(&self) -> &Fields {
        &self.section.fields
    }

    /// The body of this response to a request with that method (RFC 9112 §6.3), and whether the connection can be used again.
    ///
    /// # Errors
    /// A framing that contradicts itself, or that isn't understood: it becomes 502.
    pub fn framing(&self, method: Method) -> Result<ResponseFraming, HeadError> {
        let framing = self.section.lengths.of_response(self.version, self.status, method)?;
        let persists = self.section.connection.persists(self.version);
        Ok(ResponseFraming {
            reusable: framing.reusable && persists,
            ..framing
        })
    }
}
