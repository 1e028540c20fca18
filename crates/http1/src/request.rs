//! Request heads (RFC 9112 §3).

use std::ops::Range;

use crate::HeadError;
use crate::bytes::{TOKEN, class, token_len};
use crate::connection::{Expect, Upgrade};
use crate::field::{Field, Fields, range};
use crate::framing::Framing;
use crate::head::{FieldSection, HeadLimits, Stage, Version};
use crate::names::{Name, Names};
use crate::target::{Target, TargetForm, check_host};

/// Bytes of a method. The longest that is registered has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// A request's method (RFC 9110 §9), as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
    /// `OPTIONS`.
    Options,
    /// `PATCH`.
    Patch,
    /// `TRACE`.
    Trace,
    /// `CONNECT`, which no request head here has.
    Connect,
    /// Any other.
    #[default]
    Other,
}

impl Method {
    /// The method of that name, which is case-sensitive (RFC 9110 §9.1).
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether it only reads (RFC 9110 §9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110 §9.2.2).
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// A request head, parsed as it arrives. It holds places in the caller's buffer, not the bytes: what asks for bytes is given the
/// buffer again. Kept and used again, it allocates nothing.
#[derive(Clone, Debug)]
pub struct RequestHead {
    stage: Stage,
    section: FieldSection,
    version: Version,
    method: Method,
    method_place: Range<u32>,
    target: Target,
    host: Option<Field>,
    framing: Framing,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestHead {
    /// A head of which nothing was parsed.
    pub const fn new() -> Self {
        Self {
            stage: Stage::StartLine,
            section: FieldSection::new(),
            version: Version::Http11,
            method: Method::Other,
            method_place: 0..0,
            target: Target::EMPTY,
            host: None,
            framing: Framing::None,
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
    /// Returns the length of the head when it is complete: the body, or the next message, begins there. One empty line before
    /// the request line is ignored (RFC 9112 §2.2) and counts as part of the head.
    ///
    /// # Errors
    /// The rule that the head breaks, as soon as the line that breaks it is complete. The result doesn't depend on how the bytes
    /// were divided among calls.
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
            let Some(line) = self.start_line(buffer, limits)? else {
                return Ok(None);
            };
            self.request_line(buffer, line, limits)?;
            self.stage = Stage::Fields;
        }
        let end = self.section.parse(buffer, names, limits)?;
        if end.is_some() {
            self.finish(buffer)?;
        }
        Ok(end)
    }

    /// The first line that isn't empty. What can't be the beginning of a request is refused before its line has ended, since TLS
    /// and other binary protocols know no lines.
    fn start_line(&mut self, buffer: &[u8], limits: &HeadLimits) -> Result<Option<Range<usize>>, HeadError> {
        loop {
            let start = self.section.lines.start;
            match buffer.get(start) {
                None => return Ok(None),
                Some(0x16) => return Err(HeadError::Tls),
                Some(b'\r' | b'\n') => {}
                Some(byte) if class(*byte) & TOKEN == 0 => return Err(HeadError::InvalidMethod),
                Some(_) => {}
            }
            // Beside the target: method, two spaces, version and line end.
            let line_max = start + limits.target_bytes_max as usize + METHOD_BYTES_MAX + 12;
            let bytes_max = line_max.min(limits.head_bytes_max as usize);
            let line = self.section.lines.next(buffer, bytes_max);
            match line {
                Ok(Some(line)) if line.is_empty() && start == 0 => {}
                Err(HeadError::HeadTooLarge) => return Err(too_long(&buffer[start..bytes_max], line_max == bytes_max)),
                line => return line,
            }
        }
    }

    /// `method SP request-target SP HTTP-version` (RFC 9112 §3), nothing more lenient.
    fn request_line(&mut self, buffer: &[u8], line: Range<usize>, limits: &HeadLimits) -> Result<(), HeadError> {
        let text = &buffer[line.clone()];
        let (method_end, _) = token_len(text);
        let method = &text[..method_end];
        if method_end == 0 || text.get(method_end).is_some_and(|byte| *byte != b' ') {
            return Err(HeadError::InvalidMethod);
        }
        let Some((b' ', version)) = text.len().checked_sub(9).and_then(|at| text[at..].split_first()) else {
            return Err(wrong_version(text));
        };
        let Some(target) = text
            .get(method_end + 1..text.len() - 9)
            .filter(|target| !target.is_empty())
        else {
            return Err(wrong_version(text));
        };
        match Version::parse(version) {
            Ok(version) => self.version = version,
            Err(error) => {
                return Err(if text == b"PRI * HTTP/2.0" {
                    HeadError::Http2Preface
                } else {
                    error
                });
            }
        }
        if method.len() > METHOD_BYTES_MAX {
            return Err(HeadError::MethodTooLong);
        }
        let kind = Method::of(method);
        if kind == Method::Connect {
            return Err(HeadError::Connect);
        }
        if target.len() > limits.target_bytes_max as usize {
            return Err(HeadError::TargetTooLong);
        }
        let start = line.start + method_end + 1;
        let place = start..start + target.len();
        self.target = Target::parse(buffer, place, kind)?;
        self.method = kind;
        self.method_place = line.start as u32..(line.start + method_end) as u32;
        Ok(())
    }

    /// What can be said only when all fields are there.
    fn finish(&mut self, buffer: &[u8]) -> Result<(), HeadError> {
        self.framing = self.section.lengths.of_request(self.version)?;
        let mut hosts = self.section.fields.all(Name::HOST);
        let host = hosts.next().copied();
        if hosts.next().is_some() {
            return Err(HeadError::MultipleHosts);
        }
        match host {
            Some(host) => {
                let value = host.value(buffer);
                if !value.is_empty() {
                    check_host(value)?;
                }
            }
            None if self.version == Version::Http11 => return Err(HeadError::MissingHost),
            None => {}
        }
        self.host = host;
        Ok(())
    }

    /// Whether the request line was accepted. Then its version, method and target can be asked for even though the head isn't
    /// complete or was refused; so can the fields that were accepted.
    pub fn has_request_line(&self) -> bool {
        !self.method_place.is_empty()
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was spelled: a token of at most [`METHOD_BYTES_MAX`].
    pub fn method_bytes<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[range(&self.method_place)]
    }

    /// The form of the target.
    pub fn target_form(&self) -> TargetForm {
        self.target.form
    }

    /// The path of the target: visible ASCII without `#` and `?`; `/` if an absolute form has none; `*` of the asterisk form.
    pub fn path<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        self.target.path(buffer)
    }

    /// What follows the target's `?`.
    pub fn query<'b>(&self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        self.target.query(buffer)
    }

    /// Appends the target as an origin server is sent it: path and query, or `*` (RFC 9112 §3.2.1, §3.2.4).
    pub fn write_target(&self, buffer: &[u8], out: &mut Vec<u8>) {
        self.target.write(buffer, self.method, out);
    }

    /// The host and port that the request is for: those of an absolute target, whatever `Host` says (RFC 9112 §3.2.2), otherwise
    /// those of `Host`. `None` if `Host` is empty, or is missing in HTTP/1.0 (§3.3: a default may be taken, or the request
    /// refused).
    pub fn host<'b>(&self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        let host = match (&self.target.authority, &self.host) {
            (Some(authority), _) => &buffer[range(authority)],
            (None, Some(host)) => host.value(buffer),
            (None, None) => b"",
        };
        (!host.is_empty()).then_some(host)
    }

    /// The field lines.
    pub fn fields(&self) -> &Fields {
        &self.section.fields
    }

    /// The body: [`Framing::None`], [`Framing::Length`] or [`Framing::Chunked`].
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client will use the connection again (RFC 9112 §9.3): not after `Connection: close`, and in HTTP/1.0 only with
    /// `keep-alive`. A proxy that clients choose must not keep connections of HTTP/1.0; a gateway may.
    pub fn persists(&self) -> bool {
        self.section.connection.persists(self.version)
    }

    /// What the client would change to. `None` in HTTP/1.0 and unless `Connection` has the option `upgrade` (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.section.connection.upgrade_of(self.version)
    }

    /// What the client waits for before it sends the body. `None` in HTTP/1.0 (RFC 9110 §10.1.1).
    pub fn expect(&self) -> Option<Expect> {
        self.section.connection.expect_of(self.version)
    }

    /// Whether the client takes trailers (`TE: trailers`, RFC 9110 §6.5.1).
    pub fn takes_trailers(&self) -> bool {
        self.section.connection.takes_trailers()
    }
}

/// What is wrong with a request line that doesn't end in a space and eight bytes, or has no target before them.
#[cold]
fn wrong_version(text: &[u8]) -> HeadError {
    match text.split(|byte| *byte == b' ').collect::<Vec<_>>()[..] {
        [_, target] if !target.is_empty() => HeadError::Http09,
        [_, target, version] if !target.is_empty() && version.starts_with(b"HTTP/") => HeadError::InvalidVersion,
        _ => HeadError::InvalidRequestLine,
    }
}

/// A request line that doesn't end in time. It is the method that is too long if nothing else has begun.
#[cold]
fn too_long(bytes: &[u8], by_target: bool) -> HeadError {
    let start = &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)];
    if start.len() > METHOD_BYTES_MAX && !start.contains(&b' ') {
        HeadError::MethodTooLong
    } else if by_target {
        HeadError::TargetTooLong
    } else {
        HeadError::HeadTooLarge
    }
}
