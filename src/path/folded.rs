//! Every way in which a lenient upstream may read a path.
//!
//! A metered path must not be reached unmetered because the upstream decodes more than tiergate does. So the canonical text is
//! read further as some servers read it, each step in any order and any number of times, until nothing new comes out:
//!
//! | step | done by |
//! |---|---|
//! | decode once more | a proxy before the upstream that decodes too |
//! | overlong UTF-8 is the ASCII it stands for | old IIS and Tomcat |
//! | cut at a decoded `?` or `#` | proxies that forward the decoded path |
//! | strip path parameters, `;` to the segment's end | Tomcat, Jetty; some in the last segment only |
//! | take `..` with spaces behind it for `..` | Windows |
//! | pass over a segment of other dots and spaces | Windows |
//! | resolve `.` and `..` | all that decode more |
//!
//! Each outcome is a reading, and is compared without case, trailing slash, and trailing dots and spaces of a segment.
//! A path means a metered route if any reading of it does. Nearly every path has one reading.
//!
//! Not covered: Unicode's compatibility forms (full-width letters), `%u0073`, and a file system's short names.

use super::escape::{self, SegmentEffect};
use super::spelling::{BadPath, Spelling};
use std::borrow::Cow;

/// Decodings after the first; a path that one more would change is refused.
pub const ROUNDS_MAX: u8 = 3;

/// Readings of one path; a path with more is refused.
pub const READINGS_MAX: usize = 16;

/// Bytes spelled for the readings of one path; a path that needs more is refused. A path of 512 bytes never
/// does: eight steps from each of [`READINGS_MAX`] readings.
pub const READ_BYTES_MAX: usize = 8 * READINGS_MAX * 512;

/// Maps a decoded path to another, or `None` if the step changes nothing.
type ReadStep = fn(&[u8]) -> Option<Vec<u8>>;

/// The steps except decoding. Each is what some upstream does by itself, so an upstream that applies only some of them is covered
/// too.
const STEPS: [ReadStep; 7] = [
    shorten_overlong,
    cut_query,
    strip_parameters,
    strip_last_parameters,
    trim_climbs,
    drop_dotted,
    resolve_dots,
];

/// One way to read a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReading<'s> {
    text: Cow<'s, str>,
    key: Cow<'s, str>,
    rounds: u8,
}

impl<'s> PathReading<'s> {
    fn new(text: Cow<'s, str>, rounds: u8) -> Self {
        let key = match &text {
            Cow::Borrowed(text) => fold_key(text),
            Cow::Owned(text) => Cow::Owned(fold_key(text).into_owned()),
        };
        Self { text, key, rounds }
    }

    /// The reading, encoded as in a [`Spelling`]; the first reading is the spelling. A later one may hold dot segments.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folded form for comparison, with as many segments as [`PathReading::as_str`].
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// All readings of a path: at least one, at most [`READINGS_MAX`], no two alike. The first is the spelling itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<'s> {
    first: PathReading<'s>,
    others: Vec<PathReading<'s>>,
}

impl<'s> Folded<'s> {
    /// Finds all readings. Allocates nothing for lower-case text without `;`, `%`, and dots or spaces at a segment's end.
    ///
    /// # Errors
    /// [`BadPath::EncodedTooOften`], [`BadPath::ControlCharacter`] if one shows at a later decoding, and
    /// [`BadPath::Ambiguous`] for more than [`READINGS_MAX`] readings or [`READ_BYTES_MAX`] bytes.
    pub fn of(spelling: &'s Spelling<'_>) -> Result<Self, BadPath> {
        let text = spelling.as_str();
        let mut folded = Self {
            first: PathReading::new(Cow::Borrowed(text), 0),
            others: Vec::new(),
        };
        if text.contains(['%', ';']) || text.contains("/...") {
            folded.read_on()?;
        }
        Ok(folded)
    }

    /// The readings, the spelling's own first.
    pub fn readings(&self) -> impl Iterator<Item = &PathReading<'s>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether there is only one.
    pub fn is_plain(&self) -> bool {
        self.others.is_empty()
    }

    /// Applies every step to every reading, including new ones.
    fn read_on(&mut self) -> Result<(), BadPath> {
        let mut budget = READ_BYTES_MAX;
        for at in 0..READINGS_MAX {
            let Some((text, rounds)) = self
                .readings()
                .nth(at)
                .map(|reading| (reading.as_str(), reading.rounds))
            else {
                break;
            };
            let decoded = escape::unescape(text.as_bytes()).bytes;
            if let Some(more) = decode_again(&decoded) {
                if rounds == ROUNDS_MAX {
                    return Err(BadPath::EncodedTooOften);
                }
                self.add(&more, rounds + 1, &mut budget)?;
            }
            for step in STEPS {
                if let Some(other) = step(&decoded) {
                    self.add(&other, rounds, &mut budget)?;
                }
            }
        }
        Ok(())
    }

    /// Adds a reading unless it is known. The budget is in bytes.
    fn add(&mut self, decoded: &[u8], rounds: u8, budget: &mut usize) -> Result<(), BadPath> {
        *budget = budget.checked_sub(decoded.len()).ok_or(BadPath::Ambiguous)?;
        if decoded.iter().any(u8::is_ascii_control) {
            return Err(BadPath::ControlCharacter);
        }
        let text = escape::spell(decoded, |_| SegmentEffect::Down);
        if self.readings().any(|reading| reading.text == text) {
            return Ok(());
        }
        if self.others.len() + 1 == READINGS_MAX {
            return Err(BadPath::Ambiguous);
        }
        self.others.push(PathReading::new(Cow::Owned(text), rounds));
        Ok(())
    }
}

/// Decodes once more; a `%` that starts no escape is literal.
fn decode_again(decoded: &[u8]) -> Option<Vec<u8>> {
    if !decoded.contains(&b'%') {
        return None;
    }
    let more = escape::unescape(decoded);
    more.found.then_some(more.bytes)
}

/// Replaces overlong UTF-8 of two to four bytes by its ASCII character.
fn shorten_overlong(decoded: &[u8]) -> Option<Vec<u8>> {
    if !decoded.iter().any(|byte| matches!(byte, 0xC0 | 0xC1 | 0xE0 | 0xF0)) {
        return None;
    }
    let mut short = Vec::with_capacity(decoded.len());
    let mut rest = decoded;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, length) = match rest {
            [0xC0..=0xC1, low @ 0x80..=0xBF, ..] => ((first & 1) << 6 | (low & 0x3F), 2),
            [0xE0, high @ 0x80..=0x81, low @ 0x80..=0xBF, ..] => ((high & 1) << 6 | (low & 0x3F), 3),
            [0xF0, 0x80, high @ 0x80..=0x81, low @ 0x80..=0xBF, ..] => ((high & 1) << 6 | (low & 0x3F), 4),
            _ => (first, 1),
        };
        short.push(byte);
        rest = &tail[length - 1..];
    }
    (short.len() < decoded.len()).then_some(short)
}

/// Cuts at the first `?` or `#`.
fn cut_query(decoded: &[u8]) -> Option<Vec<u8>> {
    let end = decoded.iter().position(|byte| matches!(byte, b'?' | b'#'))?;
    Some(decoded[..end].to_vec())
}

/// Strips parameters from each segment: its first `;` and the rest.
fn strip_parameters(decoded: &[u8]) -> Option<Vec<u8>> {
    rewrite(decoded, |segment| Some(name(segment)))
}

/// Strips parameters from the last segment only.
fn strip_last_parameters(decoded: &[u8]) -> Option<Vec<u8>> {
    let path = decoded.strip_suffix(b"/").unwrap_or(decoded);
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let end = start + name(&path[start..]).len();
    (end < path.len()).then(|| path[..end].to_vec())
}

/// Strips the spaces after each `..`.
fn trim_climbs(decoded: &[u8]) -> Option<Vec<u8>> {
    rewrite(decoded, |segment| is_climb(segment).then_some(b".."))
}

/// Drops segments of dots and spaces other than `..`.
fn drop_dotted(decoded: &[u8]) -> Option<Vec<u8>> {
    rewrite(decoded, |segment| {
        (is_dotted(segment) && !is_climb(segment)).then_some(b"")
    })
}

/// Resolves RFC 3986's dot segments.
fn resolve_dots(decoded: &[u8]) -> Option<Vec<u8>> {
    let dot = |segment: &[u8]| matches!(segment, b"." | b"..");
    if !decoded.split(|&byte| byte == b'/').any(dot) {
        return None;
    }
    let mut resolved: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|&byte| byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(resolved.pop()),
            _ => resolved.push(segment),
        }
    }
    Some(resolved.join(&b'/'))
}

/// Replaces segments; `None` if all stay as they are.
fn rewrite(decoded: &[u8], other: impl for<'t> Fn(&'t [u8]) -> Option<&'t [u8]>) -> Option<Vec<u8>> {
    let segments = || decoded.split(|&byte| byte == b'/');
    if !segments().any(|segment| other(segment).is_some_and(|other| other != segment)) {
        return None;
    }
    Some(
        segments()
            .map(|segment| other(segment).unwrap_or(segment))
            .collect::<Vec<_>>()
            .join(&b'/'),
    )
}

/// The part before the first `;`.
fn name(segment: &[u8]) -> &[u8] {
    segment
        .iter()
        .position(|&byte| byte == b';')
        .map_or(segment, |end| &segment[..end])
}

/// Whether it is empty, or only dots and spaces.
fn is_dotted(segment: &[u8]) -> bool {
    segment.iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// Whether it is `..`, with or without trailing spaces.
fn is_climb(segment: &[u8]) -> bool {
    segment
        .strip_prefix(b"..")
        .is_some_and(|rest| rest.iter().all(|&byte| byte == b' '))
}

/// The folded form of a canonical text, segment by segment; borrowed if folding changes nothing.
pub(super) fn fold_key(text: &str) -> Cow<'_, str> {
    let folds = |byte: u8| byte == b'%' || byte.is_ascii_uppercase();
    if !text.bytes().any(folds) && !text.ends_with('.') && !text.contains("./") {
        return Cow::Borrowed(text);
    }
    let mut key = String::with_capacity(text.len());
    for segment in escape::segments(text) {
        key.push('/');
        if segment.contains('%') {
            let decoded = escape::unescape(segment.as_bytes()).bytes;
            escape::push_encoded(&mut key, &lower(trim(&decoded)));
        } else {
            let trimmed = segment.trim_end_matches('.');
            let kept = if trimmed.is_empty() { segment } else { trimmed };
            key.extend(kept.chars().map(|c| c.to_ascii_lowercase()));
        }
    }
    Cow::Owned(key)
}

/// Strips trailing dots and spaces, unless the segment has nothing else.
fn trim(segment: &[u8]) -> &[u8] {
    let end = segment.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    end.map_or(segment, |last| &segment[..=last])
}

/// Folds case: to upper and then to lower, so that characters without a lower case of their own (`ſ`, `K`) fold too. The dot
/// left over from `İ` is dropped. Bytes that aren't UTF-8 stay.
fn lower(segment: &[u8]) -> Vec<u8> {
    if segment.is_ascii() {
        return segment.to_ascii_lowercase();
    }
    let mut folded = Vec::with_capacity(segment.len());
    for chunk in segment.utf8_chunks() {
        let chars = chunk
            .valid()
            .chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase);
        folded.extend(chars.filter(|&c| c != '\u{307}').collect::<String>().into_bytes());
        folded.extend(chunk.invalid());
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(raw: &str) -> Vec<String> {
        let spelling = Spelling::of(raw).unwrap();
        let folded = Folded::of(&spelling).unwrap_or_else(|bad| panic!("{raw}: {bad}"));
        folded
            .readings()
            .map(|reading| reading.key().trim_end_matches('/').to_owned())
            .collect()
    }

    #[test]
    fn some_reading_of_a_trick_is_the_metered_path() {
        for raw in [
            "/Search",
            "/SEARCH/",
            "/search;x",
            "/search;a=%252F..",
            "/SEARCH;jsessionid=1/",
            "/;x/search",
            "/search/%20%252f..",
            "/%2573earch",
            "/%25252573earch",
            "/x/..;/search",
            "/x/..;a=b/search",
            "/x/%252e%252e/search",
            "/x%252f..%252fsearch",
            "/x%255c..%255csearch",
            "/search%253bx",
            "/search%3Fx=1",
            "/search%2523",
            "/search.",
            "/search%20",
            "/search.%20.",
            "/.../search",
            "/x/..%20/search",
            "/%c5%bfearch",
            "/ſearch",
            "/%c1%b3earch",
            "/%e0%81%b3earch",
            "/%f0%80%81%b3earch",
            "/x%c0%af%c0%ae%c0%ae%c0%afsearch",
            "/x/%25c0%25ae./search",
        ] {
            assert!(keys(raw).contains(&"/search".to_owned()), "{raw}: {:?}", keys(raw));
        }
        assert!(keys("/li%E2%84%AAe").contains(&"/like".to_owned()));
        assert!(keys("/%C4%B0mage").contains(&"/image".to_owned()));
    }

    #[test]
    fn a_plain_path_has_one_reading_and_allocates_nothing() {
        for raw in ["/", "/search", "/image/a.b/c_d/", "/a/.hidden"] {
            let spelling = Spelling::of(raw).unwrap();
            let folded = Folded::of(&spelling).unwrap();
            assert!(
                folded.is_plain() && matches!(folded.first.key, Cow::Borrowed(_)),
                "{raw}"
            );
        }
        assert_eq!(keys("/Image/%C3%9C%20b/100%25.jpg"), ["/image/%C3%BC%20b/100%25.jpg"]);
    }

    /// Regression: one step passed over a segment of a space and climbed `..`; an upstream that only climbs reads another path.
    #[test]
    fn partial_normalization_is_a_reading_too() {
        assert!(keys("/search/..;x/..;y").contains(&"/search".to_owned()));
        assert!(keys("/search/%20/..;").contains(&"/search".to_owned()));
        assert!(keys("/;x/search;y").contains(&"/;x/search".to_owned()));
        assert!(keys("/x/..;/search;y").contains(&"/x/..;/search".to_owned()));
    }

    #[test]
    fn the_bounds_are_kept() {
        let bad = |raw: &str| Folded::of(&Spelling::of(raw).unwrap()).map(|folded| folded.others.len());
        assert_eq!(bad("/%2525252573earch"), Err(BadPath::EncodedTooOften));
        assert_eq!(bad("/a%2500"), Err(BadPath::ControlCharacter));
        assert_eq!(bad("/%c0%80"), Err(BadPath::ControlCharacter));
        let tangled = "/a;b/..;/%253b/%25253b%252e%252e/%252f..;/%25252e%253f/..;x%2523/%c0%ae;";
        assert_eq!(bad(tangled), Err(BadPath::Ambiguous));
        assert_eq!(
            bad(&"/a;b%2541/%c0%af%2520/..;%25252f".repeat(240)),
            Err(BadPath::Ambiguous)
        );
        assert_eq!(bad(&"/a;b".repeat(2000)), Ok(2));
    }
}
