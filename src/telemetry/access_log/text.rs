//! The text of values in a line. Each request that is logged pays for it.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;

use super::entry::LineFormat;
use crate::policy::time::{Span, UnixTime};

/// The most bytes of a path, a method, a route or a user agent in a line; a longer one is cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// A second as lines have it: at a high rate it is the same for many of them, and most of the work.
#[derive(Debug, Default)]
pub struct SecondText {
    of: Option<(u64, LineFormat)>,
    text: String,
}

impl SecondText {
    pub(super) fn of(&mut self, at: UnixTime, format: LineFormat) -> &str {
        let second = at.as_secs();
        if self.of != Some((second, format)) {
            let time = i64::try_from(second)
                .ok()
                .and_then(|second| Timestamp::from_second(second).ok());
            let pattern = match format {
                LineFormat::Json | LineFormat::Logfmt => "%Y-%m-%dT%H:%M:%S",
                LineFormat::Combined => "%d/%b/%Y:%H:%M:%S +0000",
            };
            self.text.clear();
            write_to(&mut self.text, time.unwrap_or(Timestamp::MAX).strftime(pattern));
            self.of = Some((second, format));
        }
        &self.text
    }
}

pub(super) fn write_to(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string doesn't fail");
}

/// The formatter of the standard library takes a multiple of the time.
pub(super) fn write_number(out: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[first..]).expect("digits are ASCII"));
}

/// Milliseconds with one decimal, as in `Server-Timing`.
pub(super) fn write_millis(out: &mut String, span: Span) {
    let tenths = span.as_nanos() / 100_000;
    write_number(out, tenths / 10);
    out.push('.');
    write_number(out, tenths % 10);
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn write_time(out: &mut String, second: &str, at: UnixTime) {
    let millis = at.as_millis() % 1_000;
    out.push_str(second);
    out.push('.');
    for digit in [millis / 100, millis / 10 % 10, millis % 10] {
        write_number(out, digit);
    }
    out.push('Z');
}

/// The text with escapes as in JSON, cut at [`TEXT_BYTES_MAX`].
pub(super) fn write_escaped(out: &mut String, text: &str) {
    let cut = text.len() > TEXT_BYTES_MAX;
    let text = if cut {
        &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
    } else {
        text
    };
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
    // Without an early end, so that many bytes are looked at at once.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        out.push_str(text);
    } else {
        text.chars().for_each(|letter| escape(out, letter));
    }
    if cut {
        out.push('…');
    }
}

/// Control characters, and those that reorder a terminal's line, are shown as numbers.
pub(super) fn escape(out: &mut String, letter: char) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            unicode(out, letter)
        }
        letter if letter.is_control() => unicode(out, letter),
        letter => out.push(letter),
    }
}

/// All of these are below U+10000.
fn unicode(out: &mut String, letter: char) {
    write_to(out, format_args!("\\u{:04x}", u32::from(letter)));
}

pub(super) fn write_address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            write_number(out, first.into());
            for octet in rest {
                out.push('.');
                write_number(out, octet.into());
            }
        }
        IpAddr::V6(address) => write_to(out, address),
    }
}
