//! The line to which an error points: cut to a width, made printable, its secrets hidden.
//!
//! Absent on purpose: what counts as a secret in a document that could be read (`secret`); here are only its places,
//! and a guess for a document that could not.

use super::yaml::Place;

/// Characters of a line that are shown, at most.
const SHOWN_COLUMNS_MAX: usize = 160;
/// Characters that are shown before the place that the arrow marks, at most, if the line must be cut.
const SHOWN_BEFORE_MAX: usize = 60;
/// Characters of a value that a message quotes, at most.
const QUOTED_CHARS_MAX: usize = 60;
/// In a document that could not be read, a word of letters and digits this long may be a key.
const SUSPECT_CHARS_MIN: usize = 16;
/// A SHA-256 in hexadecimal.
pub(super) const HASH_CHARS: usize = 64;

/// A line of the file, or as much of it as is fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// One line, printable, secrets replaced by `*`.
    pub text: String,
    /// Where in `text` the arrow begins, in characters from 0.
    pub start: usize,
    /// How wide the arrow is, in characters. At least 1.
    pub width: usize,
}

/// The lines of a file and what of them must not be shown. It stands at one line and is quick to go to a later one.
pub(super) struct Lines<'s> {
    source: &'s str,
    secrets: Secrets,
    /// The number of the line at which it stands, from 1; 0 before the first.
    number: u32,
    /// Where that line begins in the source.
    begin: usize,
    /// The line, secrets hidden.
    chars: Vec<char>,
}

/// What must not be shown.
#[derive(Default)]
pub(super) struct Secrets {
    /// These places.
    pub(super) places: Vec<Place>,
    /// And, in a document that could not be read or holds what may stand nowhere, whatever looks like a key.
    pub(super) suspects: bool,
}

impl<'s> Lines<'s> {
    pub(super) fn new(source: &'s str, secrets: Secrets) -> Self {
        Self {
            source,
            secrets,
            number: 0,
            begin: 0,
            chars: Vec::new(),
        }
    }

    /// The line at that place, with an arrow under the place.
    pub(super) fn excerpt(&mut self, place: Place) -> Excerpt {
        if self.number != place.line {
            self.go_to(place.line);
        }
        let length = self.chars.len();
        let start = (place.column as usize).saturating_sub(1).min(length);
        let end = if place.end_line == place.line {
            place.end_column as usize - 1
        } else {
            length
        };
        cut(&self.chars, start, end.clamp(start, length))
    }

    /// Goes to the line of that number; YAML ends lines with LF, CR LF or CR.
    fn go_to(&mut self, number: u32) {
        if number < self.number || self.number == 0 {
            (self.number, self.begin) = (1, 0);
        }
        while self.number < number {
            let rest = &self.source[self.begin..];
            let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let ending = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            self.begin = self.source.len().min(self.begin + end + ending);
            self.number += 1;
        }
        let rest = &self.source[self.begin..];
        self.chars = rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())].chars().collect();
        self.secrets
            .places
            .iter()
            .for_each(|secret| hide(&mut self.chars, number, *secret));
        if self.secrets.suspects {
            hide_suspects(&mut self.chars);
        }
    }
}

/// Hides what of the secret lies on that line.
fn hide(chars: &mut [char], line: u32, secret: Place) {
    if !(secret.line..=secret.end_line).contains(&line) {
        return;
    }
    let from = if line == secret.line {
        secret.column as usize - 1
    } else {
        0
    };
    let to = if line == secret.end_line {
        secret.end_column as usize - 1
    } else {
        chars.len()
    };
    hide_between(chars, from, to);
}

fn hide_between(chars: &mut [char], from: usize, to: usize) {
    let to = to.min(chars.len());
    if let Some(secret) = chars.get_mut(from..to) {
        secret.iter_mut().filter(|c| !c.is_whitespace()).for_each(|c| *c = '*');
    }
}

/// Hides what looks like a key: all words after `key_sha256` that are no hash, and long words of letters and digits.
fn hide_suspects(chars: &mut [char]) {
    let word = |c: &char| c.is_alphanumeric() || "_-+/=.~$".contains(*c);
    let mut after_key = false;
    let mut from = 0;
    while from < chars.len() {
        let length = chars[from..].iter().take_while(|c| word(c)).count();
        let text: String = chars[from..from + length].iter().collect();
        let letters_and_digits =
            text.contains(|c: char| c.is_ascii_digit()) && text.contains(|c: char| c.is_alphabetic());
        if length > 0 && !is_hash(&text) && (after_key || (length >= SUSPECT_CHARS_MIN && letters_and_digits)) {
            // The field's own name, in whatever spelling, is what makes the rest suspect: it stays.
            if !super::secret::names_a_secret(&text) {
                hide_between(chars, from, from + length);
            }
        }
        after_key |= super::secret::names_a_secret(&text);
        from += length.max(1);
    }
}

/// Whether that is a SHA-256 in hexadecimal, which is none of the secrets.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == HASH_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As much of the line as is shown, printable; `start` and `end` follow what happens to it.
fn cut(chars: &[char], start: usize, end: usize) -> Excerpt {
    let (first, last) = window(chars.len(), start);
    let mut text = String::from(if first > 0 { "…" } else { "" });
    let mut length = text.chars().count();
    let (mut arrow_start, mut arrow_end) = (length, length);
    for (at, c) in chars.iter().enumerate().take(last).skip(first) {
        if at == start {
            arrow_start = length;
        }
        length += push_printable(&mut text, *c);
        if at < end {
            arrow_end = length;
        }
    }
    if start >= last {
        arrow_start = length;
    }
    if last < chars.len() {
        text.push('…');
    }
    Excerpt {
        text,
        start: arrow_start,
        width: arrow_end.saturating_sub(arrow_start).max(1),
    }
}

/// Which characters of a line are shown, so that `start` is among them.
fn window(length: usize, start: usize) -> (usize, usize) {
    if length <= SHOWN_COLUMNS_MAX {
        return (0, length);
    }
    let first = if start < SHOWN_COLUMNS_MAX - SHOWN_BEFORE_MAX {
        0
    } else {
        start - SHOWN_BEFORE_MAX
    };
    (first, length.min(first + SHOWN_COLUMNS_MAX))
}

/// Appends the character, escaped if a terminal could misread it; the answer is how many characters that took.
fn push_printable(text: &mut String, c: char) -> usize {
    match c {
        '\t' => {
            text.push(' ');
            1
        }
        c if misleading(c) => {
            let escaped = c.escape_unicode();
            let length = escaped.len();
            text.extend(escaped);
            length
        }
        c => {
            text.push(c);
            1
        }
    }
}

/// Controls, ends of lines, and marks that reorder or hide what stands beside them.
fn misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything escaped that a terminal could misread.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_printable(&mut shown, c);
    }
    shown
}

/// The text in backquotes, printable and cut.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", printable(&cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32, end_column: u32) -> Place {
        Place {
            line,
            column,
            end_line: line,
            end_column,
        }
    }

    #[test]
    fn lines_end_as_yaml_ends_them() {
        let mut lines = Lines::new("one\ntwo\r\nthree\rfour", Secrets::default());
        let mut line = |number| lines.excerpt(place(number, 1, 2)).text;
        assert_eq!(
            [1, 2, 3, 4, 5, 9, 2].map(&mut line),
            ["one", "two", "three", "four", "", "", "two"]
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_arrow() {
        let line = "x".repeat(1000);
        let mut lines = Lines::new(&line, Secrets::default());
        let excerpt = lines.excerpt(place(1, 500, 505));
        assert_eq!(excerpt.text.chars().count(), SHOWN_COLUMNS_MAX + 2);
        assert_eq!((excerpt.start, excerpt.width), (SHOWN_BEFORE_MAX + 1, 5));
    }

    #[test]
    fn what_a_terminal_could_misread_is_escaped() {
        let mut lines = Lines::new("a\u{202e}b\tc", Secrets::default());
        let excerpt = lines.excerpt(place(1, 3, 4));
        assert_eq!(excerpt.text, "a\\u{202e}b c");
        assert_eq!((excerpt.start, excerpt.width), (9, 1));
    }

    #[test]
    fn a_secret_is_hidden_whether_or_not_the_document_could_be_read() {
        let secrets = Secrets {
            places: vec![place(1, 8, 14)],
            suspects: false,
        };
        assert_eq!(
            Lines::new("- key: secret }", secrets).excerpt(place(1, 1, 2)).text,
            "- key: ****** }"
        );
        let suspects = || Secrets {
            places: Vec::new(),
            suspects: true,
        };
        let broken = "  - { name: a, key_sha256: [hunter2, other], tier: x";
        let shown = Lines::new(broken, suspects()).excerpt(place(1, 1, 2)).text;
        assert_eq!(shown, "  - { name: a, key_sha256: [*******, *****], ****: *");
        let listed = Lines::new("    - tg_0123456789abcdef", suspects())
            .excerpt(place(1, 1, 2))
            .text;
        assert_eq!(listed, "    - *******************");
    }
}
