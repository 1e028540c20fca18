//! Request targets and hosts (RFC 9112 §3.2, RFC 3986 §3.2.2).

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::HeadError;
use crate::bytes::{PERCENT, find, is_target, reg_name_len};
use crate::field::range;
use crate::request::Method;

/// The form of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm {
    /// A path and perhaps a query.
    Origin,
    /// A whole URI, `http` or `https`.
    Absolute,
    /// `*`: the server as a whole (only `OPTIONS`).
    Asterisk,
}

/// A request target: places in the buffer from which it was parsed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    /// Of the absolute form: host and port.
    pub(crate) authority: Option<Range<u32>>,
    /// Empty if an absolute form has none.
    path: Range<u32>,
    /// From its `?` on; empty without one.
    query: Range<u32>,
}

impl Target {
    pub(crate) const EMPTY: Self = Self {
        form: TargetForm::Origin,
        authority: None,
        path: 0..0,
        query: 0..0,
    };

    pub(crate) fn parse(buffer: &[u8], place: Range<usize>, method: Method) -> Result<Self, HeadError> {
        let bytes = &buffer[place.clone()];
        if !is_target(bytes) {
            let words = bytes.contains(&b' ');
            return Err(if words {
                HeadError::InvalidRequestLine
            } else {
                HeadError::InvalidTarget
            });
        }
        match bytes {
            [b'/', ..] => Ok(Self::with_path(buffer, TargetForm::Origin, None, place)),
            b"*" if method == Method::Options => Ok(Self::with_path(buffer, TargetForm::Asterisk, None, place)),
            _ => Self::absolute(buffer, place),
        }
    }

    /// `http://host:port/path?query` (RFC 9112 §3.2.2).
    fn absolute(buffer: &[u8], place: Range<usize>) -> Result<Self, HeadError> {
        let bytes = &buffer[place.clone()];
        let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
            let start = bytes.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let after_scheme = scheme.ok_or(HeadError::InvalidTarget)?.len();
        let rest = &bytes[after_scheme..];
        let len = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
        check_host(&rest[..len])?;
        let start = place.start + after_scheme;
        let authority = start as u32..(start + len) as u32;
        Ok(Self::with_path(
            buffer,
            TargetForm::Absolute,
            Some(authority),
            start + len..place.end,
        ))
    }

    fn with_path(buffer: &[u8], form: TargetForm, authority: Option<Range<u32>>, place: Range<usize>) -> Self {
        let len = find(&buffer[place.clone()], b'?');
        let end = len.map_or(place.end, |len| place.start + len) as u32;
        Self {
            form,
            authority,
            path: place.start as u32..end,
            query: end..place.end as u32,
        }
    }

    /// The path; `/` if an absolute form has none (RFC 9112 §3.2.1).
    pub(crate) fn path<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        if self.path.is_empty() {
            b"/"
        } else {
            &buffer[range(&self.path)]
        }
    }

    /// What follows the `?`.
    pub(crate) fn query<'b>(&self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        let query = &buffer[range(&self.query)];
        query.split_first().map(|(_, query)| query)
    }

    /// The target as it is sent to a server: path and query, or `*` for `OPTIONS` of an absolute form with neither
    /// (RFC 9112 §3.2.4).
    pub(crate) fn write(&self, buffer: &[u8], method: Method, out: &mut Vec<u8>) {
        if !self.path.is_empty() {
            out.extend_from_slice(&buffer[self.path.start as usize..self.query.end as usize]);
        } else if method == Method::Options && self.query.is_empty() {
            out.push(b'*');
        } else {
            out.push(b'/');
            out.extend_from_slice(&buffer[range(&self.query)]);
        }
    }
}

/// Whether the bytes are a host with an optional port (RFC 9112 §3.2.2, RFC 3986 §3.2.2): a name, an IPv4 address or an IPv6
/// address in brackets, and a port up to 65,535. User information is refused (RFC 9110 §4.2.4), an empty host is too (§4.2.1).
pub(crate) fn check_host(bytes: &[u8]) -> Result<(), HeadError> {
    let port = match bytes {
        [b'[', rest @ ..] => {
            let end = rest
                .iter()
                .position(|byte| *byte == b']')
                .ok_or(HeadError::InvalidHost)?;
            let address = std::str::from_utf8(&rest[..end])
                .ok()
                .and_then(|text| text.parse::<Ipv6Addr>().ok());
            address.ok_or(HeadError::InvalidHost)?;
            &rest[end + 1..]
        }
        _ => {
            let (end, classes) = reg_name_len(bytes);
            if end == 0 || classes & PERCENT != 0 && !percent_encoded(&bytes[..end]) {
                return Err(HeadError::InvalidHost);
            }
            &bytes[end..]
        }
    };
    let digits = match port {
        [] => return Ok(()),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return Err(HeadError::InvalidHost),
    };
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if number <= u32::from(u16::MAX) {
        Ok(())
    } else {
        Err(HeadError::InvalidHost)
    }
}

/// Whether two hexadecimal digits follow every `%`.
fn percent_encoded(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == b'%').skip(1);
    parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit))
}
