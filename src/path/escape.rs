//! Percent-escapes and segments, byte by byte. Nothing is refused here; the callers check the results.

/// The result of decoding each percent-escape once.
pub(super) struct Unescaped {
    /// The bytes; a `%` that starts no escape is kept.
    pub bytes: Vec<u8>,
    /// Whether there was any escape.
    pub found: bool,
    /// Whether there was a `%` that starts no escape.
    pub broken: bool,
}

/// Decodes each percent-escape once.
pub(super) fn unescape(escaped: &[u8]) -> Unescaped {
    let mut out = Unescaped {
        bytes: Vec::with_capacity(escaped.len()),
        found: false,
        broken: false,
    };
    let mut at = 0;
    while let Some(&byte) = escaped.get(at) {
        at += 1;
        if byte != b'%' {
            out.bytes.push(byte);
        } else if let Some(byte) = hex_pair(&escaped[at..]) {
            out.bytes.push(byte);
            out.found = true;
            at += 2;
        } else {
            out.bytes.push(byte);
            out.broken = true;
        }
    }
    out
}

/// The byte of the first two characters in hexadecimal.
fn hex_pair(tail: &[u8]) -> Option<u8> {
    let digit = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// The byte of a canonical escape: upper-case digits, for a byte that must be escaped.
pub(super) fn canonical_escape(tail: &[u8]) -> Option<u8> {
    let byte = hex_pair(tail)?;
    let upper = !tail[..2].iter().any(u8::is_ascii_lowercase);
    (upper && !is_plain(byte) && !is_slash(byte) && !byte.is_ascii_control()).then_some(byte)
}

/// RFC 3986's unreserved, sub-delims, `:` and `@`: what a segment may hold without an escape.
pub(super) fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b','
        | b';' | b'=' | b':' | b'@')
}

/// Whether some upstream takes the byte for a separator of segments.
pub(super) fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Appends a segment in its canonical spelling.
pub(super) fn push_encoded(text: &mut String, segment: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in segment {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The effect of a segment on the path so far.
pub(super) enum SegmentEffect {
    /// Adds a segment.
    Down,
    /// No effect.
    Stay,
    /// Removes the last segment; no effect at the root.
    Up,
}

/// Joins the segments of a decoded path in canonical spelling: it starts with `/`, has no empty segment, and ends with `/` if it
/// is the root or if the last segment was not a [`SegmentEffect::Down`].
pub(super) fn spell(decoded: &[u8], step: impl Fn(&[u8]) -> SegmentEffect) -> String {
    let mut text = String::with_capacity(decoded.len() + 8);
    let mut open = true;
    for segment in decoded.split(|&byte| is_slash(byte)) {
        let step = if segment.is_empty() {
            SegmentEffect::Stay
        } else {
            step(segment)
        };
        open = !matches!(step, SegmentEffect::Down);
        match step {
            SegmentEffect::Down => {
                text.push('/');
                push_encoded(&mut text, segment);
            }
            SegmentEffect::Stay => {}
            SegmentEffect::Up => text.truncate(text.rfind('/').unwrap_or(0)),
        }
    }
    if open {
        text.push('/');
    }
    text
}

/// The segments of a canonical text, without its trailing slash: none at the root.
pub(super) fn segments(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|segment| !segment.is_empty())
}
