//! The canonical text of a request's path. A path without one is refused. `folded` finds how else an upstream may read it,
//! `pattern` matches it to routes.

use super::escape::{self, SegmentEffect};
use std::borrow::Cow;
use std::fmt;

/// The longest path, in bytes, as received and as spelled.
pub const PATH_BYTES_MAX: usize = 8 * 1024;

/// Why a path is refused. It quotes nothing of the path, so it can be shown to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It doesn't start with `/`.
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    BrokenEscape,
    /// A NUL or another ASCII control character, after any decoding.
    ControlCharacter,
    /// Longer than [`PATH_BYTES_MAX`].
    TooLong,
    /// Still encoded after one decoding and [`ROUNDS_MAX`](super::ROUNDS_MAX) more.
    EncodedTooOften,
    /// Upstreams may read it differently, and the intended reading is unknown.
    Ambiguous,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute => f.write_str("the path must begin with a slash"),
            Self::BrokenEscape => f.write_str("a % in the path must be followed by two hexadecimal digits"),
            Self::ControlCharacter => f.write_str("the path holds a control character"),
            Self::TooLong => write!(f, "the path is longer than {PATH_BYTES_MAX} bytes"),
            Self::EncodedTooOften => f.write_str("the path is percent-encoded too many times over"),
            Self::Ambiguous => f.write_str("the path can be read in more than one way"),
        }
    }
}

impl std::error::Error for BadPath {}

/// A canonical path: it starts with `/`; it has no `//`, no `.` or `..` segment, no `\` and no encoded slash; only bytes that
/// must be are escaped, in upper case. A trailing slash is kept. At most [`PATH_BYTES_MAX`] bytes, all ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling<'a> {
    text: Cow<'a, str>,
}

impl<'a> Spelling<'a> {
    /// Canonicalizes the path of a request target as received, without its query.
    ///
    /// Decodes percent-escapes once (an encoded slash becomes a slash, and so does a backslash), collapses slashes, resolves `.`
    /// and `..` (which stays at the root, RFC 3986 §5.2.4). Borrows text that is canonical already.
    ///
    /// # Errors
    /// Every [`BadPath`] but `EncodedTooOften` and `Ambiguous`.
    pub fn of(raw_path: &'a str) -> Result<Self, BadPath> {
        if raw_path.len() > PATH_BYTES_MAX {
            return Err(BadPath::TooLong);
        }
        if is_canonical(raw_path.as_bytes()) {
            return Ok(Self {
                text: Cow::Borrowed(raw_path),
            });
        }
        if !raw_path.starts_with('/') && !raw_path.starts_with('\\') {
            return Err(BadPath::NotAbsolute);
        }
        let decoded = escape::unescape(raw_path.as_bytes());
        if decoded.broken {
            return Err(BadPath::BrokenEscape);
        }
        if decoded.bytes.iter().any(u8::is_ascii_control) {
            return Err(BadPath::ControlCharacter);
        }
        let text = escape::spell(&decoded.bytes, dots);
        if text.len() > PATH_BYTES_MAX {
            return Err(BadPath::TooLong);
        }
        Ok(Self { text: Cow::Owned(text) })
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical text, borrowed from the request if it was canonical.
    pub fn into_text(self) -> Cow<'a, str> {
        self.text
    }

    /// Whether it was received in canonical spelling.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Whether it ends with `/`; the root does.
    pub fn has_trailing_slash(&self) -> bool {
        self.text.ends_with('/')
    }

    /// Its segments: none at the root; a trailing slash adds none.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        escape::segments(&self.text)
    }
}

/// RFC 3986's dot segments.
fn dots(segment: &[u8]) -> SegmentEffect {
    match segment {
        b"." => SegmentEffect::Stay,
        b".." => SegmentEffect::Up,
        _ => SegmentEffect::Down,
    }
}

/// Whether the text is canonical already.
fn is_canonical(path: &[u8]) -> bool {
    let Some(mut rest) = path.strip_prefix(b"/") else {
        return false;
    };
    loop {
        let mut length = 0;
        while let Some(&byte) = rest.get(length).filter(|&&byte| byte != b'/') {
            length += match byte {
                b'%' if escape::canonical_escape(&rest[length + 1..]).is_some() => 3,
                _ if escape::is_plain(byte) => 1,
                _ => return false,
            };
        }
        let (segment, after) = rest.split_at(length);
        match after.split_first() {
            _ if matches!(segment, b"." | b"..") => return false,
            None => return true,
            Some(_) if segment.is_empty() => return false,
            Some((_, next)) => rest = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(raw: &str) -> String {
        Spelling::of(raw)
            .unwrap_or_else(|bad| panic!("{raw}: {bad}"))
            .into_text()
            .into_owned()
    }

    #[test]
    fn there_is_one_spelling() {
        for (raw, canonical) in [
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/", "/a/b/"),
            ("/a%2fb%5Cc", "/a/b/c"),
            ("\\a\\..\\b", "/b"),
            ("/%73earch", "/search"),
            ("/%2573earch", "/%2573earch"),
            ("/a b/ü", "/a%20b/%C3%BC"),
            ("/%c3%bc%3b%40%3F%23", "/%C3%BC;@%3F%23"),
            ("/.../..x/.x", "/.../..x/.x"),
            ("/%ff", "/%FF"),
        ] {
            assert_eq!(spelled(raw), canonical, "{raw}");
            assert!(Spelling::of(canonical).unwrap().is_borrowed(), "{canonical}");
        }
    }

    #[test]
    fn paths_without_a_spelling_are_refused() {
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        let grows = format!("/{}", " ".repeat(PATH_BYTES_MAX / 2));
        for (raw, bad) in [
            ("", BadPath::NotAbsolute),
            ("*", BadPath::NotAbsolute),
            ("%2Fa", BadPath::NotAbsolute),
            ("/%zz", BadPath::BrokenEscape),
            ("/%2", BadPath::BrokenEscape),
            ("/a%", BadPath::BrokenEscape),
            ("/%+1", BadPath::BrokenEscape),
            ("/%u0073earch", BadPath::BrokenEscape),
            ("/a%00", BadPath::ControlCharacter),
            ("/a%0d%0a", BadPath::ControlCharacter),
            ("/a\u{7f}", BadPath::ControlCharacter),
            (&long, BadPath::TooLong),
            (&grows, BadPath::TooLong),
        ] {
            assert_eq!(Spelling::of(raw).map(Spelling::into_text), Err(bad), "{raw}");
        }
        assert!(Spelling::of(&long[..PATH_BYTES_MAX]).unwrap().is_borrowed());
    }
}
