//! The line that an error points to: cut to a width, made printable, and without what must not be shown.

use super::grammar::is_field;
use super::secret::{has_credentials, without_credentials};
use super::yaml::{Location, Node, NodeKind};

/// The most characters of a line that are shown.
const SHOWN_COLUMNS_MAX: usize = 160;
/// The most characters shown before the arrow, if the line must be cut.
const SHOWN_BEFORE_MAX: usize = 60;
/// The most characters of a value that a message quotes.
const QUOTED_CHARS_MAX: usize = 60;
/// A SHA-256 in hexadecimal.
pub(super) const HASH_CHARS: usize = 64;
/// A word of at most this many characters, all YAML signs, is a YAML mark, such as `-`, `---` or `|-`.
const MARK_CHARS_MAX: usize = 3;

/// The part of a line that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// One line, printable, secrets replaced by `*`.
    pub text: String,
    /// Where in `text` the arrow begins, in characters from 0.
    pub start: usize,
    /// Width of the arrow, in characters. At least 1.
    pub width: usize,
}

/// The lines of a file, and what of them may be shown. It keeps a position, and moves on quickly to later lines.
pub(super) struct Lines<'s> {
    source: &'s str,
    fit: Fit<'s>,
    /// The number of the current line, from 1; 0 before the first.
    number: u32,
    /// Where the current line starts in the source.
    begin: usize,
    /// The current line, with `*` for what is hidden.
    chars: Vec<char>,
}

/// What may be shown; all else is hidden.
enum Fit<'s> {
    /// Of a valid document, the keys and values that are no secrets, and the signs between them. No comments.
    Scalars(Vec<&'s Node>),
    /// Of an invalid document, only names of fields and the signs around words: where it has secrets is unknown.
    Names,
}

impl<'s> Lines<'s> {
    /// The lines of a valid document whose secrets are marked.
    pub(super) fn of_document(source: &'s str, root: &'s Node) -> Self {
        let mut scalars = Vec::new();
        collect(root, &mut scalars);
        Self::new(source, Fit::Scalars(scalars))
    }

    /// The lines of a text that is not a valid document.
    pub(super) fn of_text(source: &'s str) -> Self {
        Self::new(source, Fit::Names)
    }

    fn new(source: &'s str, fit: Fit<'s>) -> Self {
        Self {
            source,
            fit,
            number: 0,
            begin: 0,
            chars: Vec::new(),
        }
    }

    /// The line at that location, with an arrow.
    pub(super) fn excerpt(&mut self, place: Location) -> Excerpt {
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

    /// Moves to the line of that number; YAML ends lines with LF, CR LF or CR.
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
        let line: Vec<char> = rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())].chars().collect();
        self.chars = match &self.fit {
            Fit::Scalars(scalars) => scalars_of(&line, number, scalars),
            Fit::Names => names_of(&line),
        };
    }
}

/// The keys, values and refused parts of a document, in its order.
fn collect<'s>(node: &'s Node, scalars: &mut Vec<&'s Node>) {
    match &node.kind {
        NodeKind::Scalar { .. } | NodeKind::Refused => scalars.push(node),
        NodeKind::Sequence(items) => items.iter().for_each(|item| collect(item, scalars)),
        NodeKind::Mapping(fields) => fields.iter().for_each(|(key, value)| {
            collect(key, scalars);
            collect(value, scalars);
        }),
    }
}

/// A line of a document: its scalars, unless they are secrets, and the signs between them.
fn scalars_of(line: &[char], number: u32, scalars: &[&Node]) -> Vec<char> {
    let mut shown = Vec::with_capacity(line.len());
    for node in scalars {
        let Location {
            line: first,
            column,
            end_line,
            end_column,
        } = node.place;
        if !(first..=end_line).contains(&number) {
            continue;
        }
        let from = if number == first { column as usize - 1 } else { 0 };
        let to = if number == end_line {
            end_column as usize - 1
        } else {
            line.len()
        };
        // An overlap was handled with what came before.
        let (from, to) = (from.clamp(shown.len(), line.len()), to.min(line.len()));
        if from >= to {
            continue;
        }
        if push_signs(&line[shown.len()..from], &mut shown) {
            return shown;
        }
        let piece = &line[from..to];
        match is_open(node, piece) {
            true => shown.extend(without_credentials(&String::from_iter(piece)).chars()),
            false => shown.extend(piece.iter().copied().map(hidden)),
        }
    }
    push_signs(&line[shown.len()..], &mut shown);
    shown
}

/// Whether that piece of a line, where the scalar stands, is of the scalar alone and may be shown.
fn is_open(node: &Node, piece: &[char]) -> bool {
    let NodeKind::Scalar { text, quoted } = &node.kind else {
        return false;
    };
    let one_line = node.place.line == node.place.end_line;
    let piece = String::from_iter(piece);
    // A quoted scalar on one line ends with its quote; of any other, the parser may include what is beside it.
    let its_own = (one_line && *quoted) || text.contains(piece.trim().trim_matches(['"', '\'']));
    !node.secret.get() && its_own
}

/// The text between scalars: YAML's signs are shown, and what they introduce is hidden. Returns whether a comment ends the line;
/// comments are hidden.
fn push_signs(between: &[char], shown: &mut Vec<char>) -> bool {
    let mut named = false;
    for c in between {
        named = match c {
            '#' => {
                shown.extend("# …".chars());
                return true;
            }
            '&' | '*' | '!' | '%' => true,
            c if c.is_whitespace() || ",[]{}".contains(*c) => false,
            _ => named,
        };
        let sign = c.is_whitespace() || (!named && ",[]{}:-?|>+\"'.".contains(*c)) || "&*!".contains(*c);
        shown.push(if sign { *c } else { '*' });
    }
    false
}

fn hidden(c: char) -> char {
    if c.is_whitespace() { c } else { '*' }
}

/// A line of an invalid document: the names of fields before a colon, and the signs around words.
fn names_of(line: &[char]) -> Vec<char> {
    let mut shown = Vec::with_capacity(line.len());
    for word in line.chunk_by(|a, b| a.is_whitespace() == b.is_whitespace()) {
        if word[0] == '#' {
            shown.extend("# …".chars());
            break;
        }
        push_name(word, &mut shown);
    }
    shown
}

/// One word of it, or white space.
fn push_name(word: &[char], shown: &mut Vec<char>) {
    const BEFORE: &str = "{[\"'";
    const AFTER: &str = "]},:\"'";
    let is_mark = word.len() <= MARK_CHARS_MAX && word.iter().all(|c| c.is_ascii_punctuation());
    if is_mark || word[0].is_whitespace() {
        return shown.extend(word);
    }
    let before = word.iter().take_while(|c| BEFORE.contains(**c)).count();
    let name = word[before..]
        .iter()
        .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
        .count();
    let rest = &word[before + name..];
    let colon = rest.iter().take_while(|c| "\"'".contains(**c)).count();
    let is_name = rest.get(colon) == Some(&':') && is_field(&String::from_iter(&word[before..before + name]));
    let open = if is_name { before + name + colon + 1 } else { before };
    let after = word[open..].iter().rev().take_while(|c| AFTER.contains(**c)).count();
    shown.extend(&word[..open]);
    shown.extend(word[open..word.len() - after].iter().copied().map(hidden));
    shown.extend(&word[word.len() - after..]);
}

/// Whether that is a SHA-256 in hexadecimal, which is not secret.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == HASH_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The part of the line that is shown, printable; `start` and `end` are adjusted to it.
fn cut(chars: &[char], start: usize, end: usize) -> Excerpt {
    let first = match chars.len() > SHOWN_COLUMNS_MAX && start >= SHOWN_COLUMNS_MAX - SHOWN_BEFORE_MAX {
        true => start - SHOWN_BEFORE_MAX,
        false => 0,
    };
    let last = chars.len().min(first + SHOWN_COLUMNS_MAX);
    let more = |is_cut: bool| if is_cut { "…" } else { "" };
    let shown = |from: usize, to: usize| printable(&String::from_iter(&chars[from.min(last)..to.min(last)]));
    let before = more(first > 0).to_owned() + &shown(first, start);
    Excerpt {
        start: before.chars().count(),
        width: shown(start, end).chars().count().max(1),
        text: before + &shown(start, last) + more(last < chars.len()),
    }
}

/// Control characters, line ends, and marks that reorder or hide text.
fn misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything escaped that a terminal could misread.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            c if misleading(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// The text in backquotes, printable and cut; `***` if it holds credentials.
pub(super) fn quoted(text: &str) -> String {
    let text = if has_credentials(text) { "***" } else { text };
    let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", printable(&cut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Report;
    use crate::config::secret::{References, mark};
    use crate::config::yaml;

    fn place(line: u32, column: u32, end_column: u32) -> Location {
        Location {
            line,
            column,
            end_line: line,
            end_column,
        }
    }

    #[test]
    fn lines_end_as_yaml_ends_them() {
        let mut lines = Lines::of_text("[\n{\r\n}\r]");
        let mut line = |number| lines.excerpt(place(number, 1, 2)).text;
        assert_eq!([1, 2, 3, 4, 5, 9, 2].map(&mut line), ["[", "{", "}", "]", "", "", "{"]);
    }

    #[test]
    fn a_long_line_is_cut_around_the_arrow() {
        let line = "x".repeat(1000);
        let mut lines = Lines::of_text(&line);
        let excerpt = lines.excerpt(place(1, 500, 505));
        assert_eq!(excerpt.text.chars().count(), SHOWN_COLUMNS_MAX + 2);
        assert_eq!((excerpt.start, excerpt.width), (SHOWN_BEFORE_MAX + 1, 5));
    }

    #[test]
    fn terminal_control_characters_are_escaped() {
        let line: Vec<char> = "a\u{202e}b\tc".chars().collect();
        let excerpt = cut(&line, 2, 3);
        assert_eq!(excerpt.text, "a\\u{202e}b c");
        assert_eq!((excerpt.start, excerpt.width), (9, 1));
    }

    fn of_document(text: &str) -> String {
        let Ok(Some(root)) = yaml::parse(text, &mut Report::default()) else {
            panic!("this is a document: {text}")
        };
        mark(&root, References::Shown);
        let mut lines = Lines::of_document(text, &root);
        let count = text.lines().count() as u32;
        let shown: Vec<String> = (1..=count)
            .map(|number| lines.excerpt(place(number, 1, 2)).text)
            .collect();
        shown.join("\n")
    }

    #[test]
    fn documents_show_known_settings_and_no_secret() {
        for (text, shown) in [
            ("queue: { length: 8 } # hunter2", "queue: { length: 8 } # …"),
            ("# hunter2\nlisten: a#b #hunter2", "# …\nlisten: a#b # …"),
            (
                "data_dir: some\n  where # hunter2\nlisten: a",
                "data_dir: some\n  where # …\nlisten: a",
            ),
            (
                "admin: { token: [hunter2, \"${NAME}\"] }",
                "admin: { token: [*******, \"${NAME}\"] }",
            ),
            (
                "admin:\n  token: |-\n    hunter2\n    hunter2\n# hunter2",
                "admin:\n  token: |-\n    *******\n    *******\n# …",
            ),
            ("adminn: { tokn: hunter2 }", "adminn: { ****: ******* }"),
            ("admin: hunter2", "admin: *******"),
            ("listen: { token: hunter2 }", "listen: { token: ******* }"),
            ("data_dir: &hunter2 a", "data_dir: &******* a"),
            ("data_dir: !<hunter2> a", "data_dir: !********* a"),
            (
                "answers: { blocked: { body: 'a # b' } }",
                "answers: { blocked: { body: 'a # b' } }",
            ),
            (
                "answers:\n  blocked:\n    body: |\n      a # b\n    # hunter2\n",
                "answers:\n  blocked:\n    body: |\n      a # b\n    # …",
            ),
            ("data_dir: \"a\n  b\"  # hunter2", "data_dir: \"a\n  b\"  # …"),
        ] {
            assert_eq!(of_document(text), shown, "{text}");
        }
    }

    #[test]
    fn the_first_of_overlapping_scalars_decides() {
        let at = |column, end_column| Node::refused(place(1, column, end_column));
        let line: Vec<char> = "abcdef".chars().collect();
        let shown = scalars_of(&line, 1, &[&at(1, 5), &at(3, 7)]);
        assert_eq!(String::from_iter(shown), "******");
    }

    #[test]
    fn unparsable_text_is_shown_by_its_field_names() {
        for (text, shown) in [
            (
                "  - { name: a, key_sha256: [hunter2, x], tier: x",
                "  - { name: *, key_sha256: [*******, *], tier: *",
            ),
            ("token: my_secret_token", "token: ***************"),
            ("    - hunter2", "    - *******"),
            ("token:hunter2 # hunter2", "token:******* # …"),
            ("\"token\": \"hunter2", "\"token\": \"*******"),
            ("hunter2: x", "*******: *"),
        ] {
            assert_eq!(Lines::of_text(text).excerpt(place(1, 1, 2)).text, shown);
        }
    }
}
