//! Patterns of routes: matching, forwarding, and which of two is narrower.

use super::escape;
use super::folded::{Folded, PathReading, fold_key};
use super::pattern_error::PatternError;
use super::spelling::{BadPath, PATH_BYTES_MAX, Spelling};
use std::borrow::Cow;

/// The most segments of a pattern.
pub const SEGMENTS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal { text: String, key: String },
    Capture,
    Rest,
}

/// A route's path, in axum's syntax: `/search`, `/a/{id}`, `/image/{*rest}`.
///
/// `{id}` matches one segment, `{*rest}` one or more: `/image/{*rest}` matches neither `/image` nor `/image/`, and
/// `/{*rest}` doesn't match `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

impl Pattern {
    /// Parses a pattern, which must be canonical.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(BadPath::TooLong.into());
        }
        let written = text.strip_prefix('/').ok_or(BadPath::NotAbsolute)?;
        let canonical = respell(written)?;
        if canonical != text {
            return Err(PatternError::NotCanonical { canonical });
        }
        let segments = escape::segments(text)
            .map(parse_segment)
            .collect::<Result<Vec<_>, _>>()?;
        let rest = segments.iter().position(|segment| *segment == Segment::Rest);
        if rest.is_some_and(|at| at + 1 < segments.len() || text.ends_with('/')) {
            return Err(PatternError::RestNotLast);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(PatternError::TooManySegments);
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    /// The pattern as written, which is canonical.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches a spelling exactly: case matters, and so does a trailing slash, except where `{*rest}` captures it. The
    /// spelling is then forwarded.
    pub fn matches_exactly(&self, spelling: &Spelling<'_>) -> bool {
        let literal = |text: &str, _: &str, segment: &str| text == segment;
        (self.ends_with_rest() || self.text.ends_with('/') == spelling.has_trailing_slash())
            && self.matches(spelling.segments(), literal)
    }

    /// Whether it matches any reading of a path.
    pub fn matches_folded(&self, folded: &Folded<'_>) -> bool {
        folded.readings().any(|reading| self.matches_reading(reading))
    }

    /// Whether it matches this reading, ignoring case and a trailing slash.
    pub fn matches_reading(&self, reading: &PathReading<'_>) -> bool {
        self.matches(escape::segments(reading.key()), |_, key, segment| key == segment)
    }

    fn matches<'t>(&self, path: impl Iterator<Item = &'t str>, same: impl Fn(&str, &str, &str) -> bool) -> bool {
        let mut path = path;
        for segment in &self.segments {
            match (segment, path.next()) {
                (_, None) => return false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::Literal { text, key }, Some(found)) if !same(text, key, found) => return false,
                (Segment::Literal { .. } | Segment::Capture, Some(_)) => {}
            }
        }
        path.next().is_none()
    }

    /// The path to forward when a metered route matched this reading: literals as in the pattern, captures as in the reading, and
    /// a trailing slash if the pattern has one or `{*rest}` captured one.
    ///
    /// Captures come from the very reading that matched, so what was matched is what is forwarded, and no segment becomes two.
    /// `None` if the pattern doesn't match, or if a capture is a dot segment, which can't be forwarded as one.
    pub fn forwards(&self, reading: &PathReading<'_>) -> Option<Cow<'_, str>> {
        if !self.matches_reading(reading) {
            return None;
        }
        if self
            .segments
            .iter()
            .all(|segment| matches!(segment, Segment::Literal { .. }))
        {
            return Some(Cow::Borrowed(&self.text));
        }
        let mut text = String::with_capacity(self.text.len() + reading.as_str().len());
        let mut path = escape::segments(reading.as_str());
        for segment in &self.segments {
            let taken = if *segment == Segment::Rest { usize::MAX } else { 1 };
            for found in path.by_ref().take(taken) {
                text.push('/');
                text.push_str(if let Segment::Literal { text, .. } = segment {
                    text
                } else {
                    found
                });
            }
        }
        if if self.ends_with_rest() {
            reading.as_str()
        } else {
            &self.text
        }
        .ends_with('/')
        {
            text.push('/');
        }
        Spelling::of(&text)
            .is_ok_and(|spelling| spelling.is_borrowed())
            .then_some(Cow::Owned(text))
    }

    /// Whether it matches every reading of a path that the other matches.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments.iter();
        for segment in &self.segments {
            match (segment, others.next()) {
                (_, None) => return false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::Capture, Some(Segment::Literal { .. } | Segment::Capture)) => {}
                (Segment::Literal { key, .. }, Some(Segment::Literal { key: other, .. })) if key == other => {}
                (Segment::Capture | Segment::Literal { .. }, Some(_)) => return false,
            }
        }
        others.next().is_none()
    }

    /// Whether both match the same reading of some path.
    pub fn meets(&self, other: &Self) -> bool {
        let (mut segments, mut others) = (self.segments.iter(), other.segments.iter());
        loop {
            match (segments.next(), others.next()) {
                (None, None) => return true,
                (None, _) | (_, None) => return false,
                (Some(Segment::Rest), _) | (_, Some(Segment::Rest)) => return true,
                (Some(Segment::Literal { key, .. }), Some(Segment::Literal { key: other, .. })) if key != other => {
                    return false;
                }
                (Some(_), Some(_)) => {}
            }
        }
    }

    /// Whether it is narrower: the other covers it, but not the reverse.
    pub fn is_narrower_than(&self, other: &Self) -> bool {
        other.covers(self) && !self.covers(other)
    }

    /// Whether both match exactly the same spellings, whatever their captures are called.
    pub fn is_like(&self, other: &Self) -> bool {
        self.segments == other.segments && self.text.ends_with('/') == other.text.ends_with('/')
    }

    fn ends_with_rest(&self) -> bool {
        self.segments.last() == Some(&Segment::Rest)
    }
}

/// The canonical spelling of a pattern; text in braces is kept.
fn respell(written: &str) -> Result<String, PatternError> {
    let mut segments = Vec::new();
    let mut open = true;
    for segment in written.split('/') {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ if segment.contains(['{', '}']) => segments.push(segment.to_owned()),
            _ => {
                let path = format!("/{segment}");
                let spelling = Spelling::of(&path)?;
                open = spelling.has_trailing_slash();
                segments.extend(spelling.segments().map(str::to_owned));
            }
        }
    }
    let slash = if open && !segments.is_empty() { "/" } else { "" };
    Ok(format!("/{}{slash}", segments.join("/")))
}

fn parse_segment(written: &str) -> Result<Segment, PatternError> {
    let segment = || written.to_owned();
    if let Some(name) = written.strip_prefix('{').and_then(|written| written.strip_suffix('}')) {
        let (kind, name) = match name.strip_prefix('*') {
            Some(name) => (Segment::Rest, name),
            None => (Segment::Capture, name),
        };
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return if named {
            Ok(kind)
        } else {
            Err(PatternError::Name { segment: segment() })
        };
    }
    if written.contains('*') {
        return Err(PatternError::Star { segment: segment() });
    }
    if written.contains(['{', '}']) {
        return Err(PatternError::Brace { segment: segment() });
    }
    if is_ambiguous(written) {
        return Err(PatternError::Ambiguous { segment: segment() });
    }
    Ok(Segment::Literal {
        text: segment(),
        key: fold_key(&format!("/{written}"))[1..].to_owned(),
    })
}

/// Whether a literal has more than one reading, or ends in characters that folding strips.
fn is_ambiguous(literal: &str) -> bool {
    let path = format!("/{literal}");
    let readings =
        Spelling::of(&path).and_then(|spelling| Folded::of(&spelling).map(|folded| folded.readings().count()));
    readings != Ok(1) || literal.ends_with('.') || literal.ends_with("%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_pattern_is_written_in_its_one_spelling() {
        for text in [
            "/",
            "/search",
            "/a/{id}",
            "/a/{id}/",
            "/{*rest}",
            "/a%20b/.x",
            "/100%25",
        ] {
            assert_eq!(pattern(text).as_str(), text);
        }
        for (text, canonical) in [
            ("//search", "/search"),
            ("/a/./b/../{id}", "/a/{id}"),
            ("/a/..", "/"),
            ("/%73earch", "/search"),
            ("/a%2fb/{id}/", "/a/b/{id}/"),
            ("/a\\b", "/a/b"),
            ("/ü", "/%C3%BC"),
        ] {
            assert_eq!(
                Pattern::parse(text),
                Err(PatternError::NotCanonical {
                    canonical: canonical.into()
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        let segment = |text: &str| text.to_owned();
        assert_eq!(Pattern::parse("search"), Err(BadPath::NotAbsolute.into()));
        assert_eq!(Pattern::parse("/%zz"), Err(BadPath::BrokenEscape.into()));
        assert_eq!(Pattern::parse("/{*rest}/a"), Err(PatternError::RestNotLast));
        assert_eq!(Pattern::parse("/{*rest}/"), Err(PatternError::RestNotLast));
        assert_eq!(
            Pattern::parse("/{}"),
            Err(PatternError::Name { segment: segment("{}") })
        );
        assert_eq!(
            Pattern::parse("/{*}"),
            Err(PatternError::Name {
                segment: segment("{*}")
            })
        );
        assert_eq!(
            Pattern::parse("/{a}.png"),
            Err(PatternError::Brace {
                segment: segment("{a}.png")
            })
        );
        for text in ["*", "a*", "{a}*"] {
            let error = PatternError::Star { segment: segment(text) };
            assert_eq!(Pattern::parse(&format!("/image/{text}")), Err(error), "{text}");
        }
        for text in ["search;x", "search.", "a%20", "...", "%2541", "a%3Fb", "%C1%B3"] {
            let error = PatternError::Ambiguous { segment: segment(text) };
            assert_eq!(Pattern::parse(&format!("/{text}")), Err(error), "{text}");
        }
        assert_eq!(
            Pattern::parse(&"/a".repeat(SEGMENTS_MAX + 1)),
            Err(PatternError::TooManySegments)
        );
        pattern(&"/a".repeat(SEGMENTS_MAX));
    }

    #[test]
    fn exactly_means_case_and_trailing_slash_too() {
        for (text, path, matches) in [
            ("/", "/", true),
            ("/a", "/a", true),
            ("/a", "/A", false),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/{id}", "/a/b", true),
            ("/a/{id}", "/a/b/", false),
            ("/a/{id}", "/a/b/c", false),
            ("/a/{*rest}", "/a/b/c/", true),
            ("/a/{*rest}", "/a/", false),
            ("/a/{*rest}", "/a", false),
            ("/{*rest}", "/", false),
            ("/{*rest}", "/a", true),
        ] {
            assert_eq!(
                pattern(text).matches_exactly(&Spelling::of(path).unwrap()),
                matches,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn two_patterns_meet_where_both_match_some_path() {
        for (one, other, meet) in [
            ("/a", "/A/", true),
            ("/a", "/b", false),
            ("/a", "/a/b", false),
            ("/a/{x}", "/{y}/b", true),
            ("/a/{x}", "/{y}", false),
            ("/a/{*rest}", "/{y}/b/c", true),
            ("/a/{*rest}", "/a", false),
            ("/{*rest}", "/", false),
            ("/{*rest}", "/a/{*rest}", true),
            ("/", "/", true),
        ] {
            assert_eq!(pattern(one).meets(&pattern(other)), meet, "{one} {other}");
            assert_eq!(pattern(other).meets(&pattern(one)), meet, "{other} {one}");
        }
    }

    #[test]
    fn the_matched_path_is_the_forwarded_path() {
        for (text, path, forwarded) in [
            ("/search", "/Search;x/", Some("/search")),
            ("/search/", "/SEARCH", Some("/search/")),
            ("/Search/{id}", "/search/A%20b/", Some("/Search/A%20b")),
            ("/search/{id}", "/search/a%2541", Some("/search/a%2541")),
            ("/search/{id}", "/%2573earch/a%252541", Some("/search/a%2541")),
            ("/search/{*rest}", "/SEARCH/A/b/", Some("/search/A/b/")),
            ("/search/{*rest}", "/search%252f..%252fx", None),
            ("/search/{id}", "/search", None),
        ] {
            let spelling = Spelling::of(path).unwrap();
            let folded = Folded::of(&spelling).unwrap();
            let found = folded.readings().find(|reading| pattern(text).matches_reading(reading));
            let pattern = pattern(text);
            assert_eq!(
                found.and_then(|reading| pattern.forwards(reading)).as_deref(),
                forwarded,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn narrower_is_a_strict_partial_order() {
        let all = [
            "/",
            "/a",
            "/A/",
            "/{x}",
            "/a/b",
            "/a/{x}",
            "/{x}/b",
            "/a/{*r}",
            "/{x}/{*r}",
            "/{*r}",
        ]
        .map(pattern);
        for (narrow, wide, narrower) in [
            ("/a", "/{x}", true),
            ("/a", "/A/", false),
            ("/{x}", "/{*r}", true),
            ("/a/b", "/a/{x}", true),
            ("/a/{x}", "/{x}/b", false),
            ("/a/{x}", "/{*r}", true),
            ("/{x}/b", "/{x}/{*r}", true),
            ("/", "/{*r}", false),
            ("/{*r}", "/{*r}", false),
        ] {
            assert_eq!(
                pattern(narrow).is_narrower_than(&pattern(wide)),
                narrower,
                "{narrow} {wide}"
            );
        }
        for a in &all {
            assert!(a.covers(a) && !a.is_narrower_than(a));
            for b in &all {
                assert!(!(a.is_narrower_than(b) && b.is_narrower_than(a)));
                for c in &all {
                    assert!(!(a.is_narrower_than(b) && b.is_narrower_than(c)) || a.is_narrower_than(c));
                }
            }
        }
    }
}
