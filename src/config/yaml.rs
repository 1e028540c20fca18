//! Parses text to a small tree of nodes with locations. The only file that uses the YAML crate.
//!
//! A scalar keeps its text: the field that reads it decides its type, so `no` is a name where a name is expected, and a hash of
//! 64 digits is never a number. Duplicate keys are kept, so that the reader reports both lines.

use std::cell::Cell;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::error::Report;

/// The deepest nesting of lists and mappings.
pub(super) const DEPTH_MAX: usize = 32;
/// Scalars, lists and mappings of a document, keys included.
pub(super) const NODES_MAX: usize = 100_000;

/// A location: lines and columns (in characters) from 1; the end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Location {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) end_line: u32,
    pub(super) end_column: u32,
}

impl Location {
    /// The first character of the file.
    pub(super) const START: Self = Self::point(1, 1);

    const fn point(line: u32, column: u32) -> Self {
        Self {
            line,
            column,
            end_line: line,
            end_column: column + 1,
        }
    }
}

/// A node of the document.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Location,
    /// Whether its text must not be quoted.
    pub(super) secret: Cell<bool>,
    pub(super) kind: NodeKind,
}

/// The kind of a node.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// A single value. `quoted` if it can't be anything but text.
    Scalar {
        text: String,
        quoted: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
    /// Something that has been reported already; readers ignore it.
    Refused,
}

impl Node {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The first field of that name in a mapping: its key and its value.
    pub(super) fn field(&self, name: &str) -> Option<(&Node, &Node)> {
        let NodeKind::Mapping(fields) = &self.kind else {
            return None;
        };
        let found = fields.iter().find(|(key, _)| key.text() == Some(name));
        found.map(|(key, value)| (&**key, &**value))
    }

    /// The value of the first field of that name of a mapping.
    pub(super) fn value(&self, name: &str) -> Option<&Node> {
        self.field(name).map(|(_, value)| value)
    }

    /// The items of a list; none if it is something else.
    pub(super) fn items(&self) -> &[Rc<Node>] {
        match &self.kind {
            NodeKind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Whether the value is empty, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// A stand-in for something missing, which has been reported.
    pub(super) fn refused(place: Location) -> Self {
        Self::new(place, NodeKind::Refused)
    }

    /// A default from the schema, as if it were written here.
    pub(super) fn of(value: &serde_json::Value, place: Location) -> Self {
        let scalar = |text: String, quoted| NodeKind::Scalar { text, quoted };
        let kind = match value {
            serde_json::Value::Array(items) => {
                NodeKind::Sequence(items.iter().map(|item| Rc::new(Self::of(item, place))).collect())
            }
            serde_json::Value::String(text) => scalar(text.clone(), true),
            other => scalar(other.to_string(), false),
        };
        Self::new(place, kind)
    }

    fn new(place: Location, kind: NodeKind) -> Self {
        Self {
            place,
            secret: Cell::new(false),
            kind,
        }
    }
}

/// A syntax error: location, message and advice.
pub(super) struct Broken(pub(super) Location, pub(super) String, pub(super) String);

impl Broken {
    fn at(place: Location, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self(place, message.into(), advice.into())
    }
}

/// The file's text, without a byte-order mark.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, (String, Broken)> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let broken = |text: &str, length: usize, message: &str, advice: &str| {
        let before = &text[..length];
        let line_start = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let breaks = before.matches('\n').count() + before.replace("\r\n", "").matches('\r').count();
        let place = Location::point(narrow(breaks + 1), narrow(before[line_start..].chars().count() + 1));
        (text.to_owned(), Broken::at(place, message, advice))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (lossy, at) = (String::from_utf8_lossy(bytes), error.valid_up_to());
        broken(&lossy, at, "this is not UTF-8", "save the file as UTF-8")
    })?;
    // YAML forbids them, and a parser that stops at NUL would read half of a file.
    match text.find(|c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some(at) => Err(broken(text, at, "a control character stands here", "take it out")),
        None => Ok(text),
    }
}

/// Parses the text; `None` if it has no document. Reports what a document must not have.
pub(super) fn parse(text: &str, report: &mut Report) -> Result<Option<Rc<Node>>, Broken> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut tree = Tree {
        report,
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| not_yaml(text, &error))?;
        tree.take(event, place_of(span))?;
    }
    Ok(tree.root)
}

/// A list or mapping that has not ended: where it begins, whether it is a mapping, and what is in it.
type Open = (Location, bool, Vec<Rc<Node>>);

struct Tree<'r> {
    report: &'r mut Report,
    open: Vec<Open>,
    root: Option<Rc<Node>>,
    nodes: usize,
    documents: usize,
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, place: Location) -> Result<(), Broken> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                let advice = "keep one document in the file: no `---`";
                let second = Broken::at(place, "a second document begins here", advice);
                if self.documents > 1 { Err(second) } else { Ok(()) }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let advice = "write the value out; a value that begins with `*` is put in quotes";
                self.report.add(place, "aliases (`*name`) are not supported", advice);
                self.add(place, NodeKind::Refused)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(anchor, tag.is_some(), place);
                let (text, quoted) = (text.into_owned(), style != ScalarStyle::Plain);
                self.add(place, NodeKind::Scalar { text, quoted })
            }
            Event::SequenceStart(_, anchor, tag) => self.begin(false, anchor, tag.is_some(), place),
            Event::MappingStart(_, anchor, tag) => self.begin(true, anchor, tag.is_some(), place),
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            _ => Ok(()),
        }
    }

    fn properties(&mut self, anchor: usize, tagged: bool, place: Location) {
        if anchor != 0 {
            let advice = "write the value out where it is needed";
            self.report.add(place, "anchors (`&name`) are not supported", advice);
        }
        if tagged {
            let advice = "leave it out; a value that begins with `!` is put in quotes";
            self.report.add(place, "tags (`!name`) are not supported", advice);
        }
    }

    fn begin(&mut self, mapping: bool, anchor: usize, tagged: bool, place: Location) -> Result<(), Broken> {
        self.properties(anchor, tagged, place);
        if self.open.len() == DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.open.push((place, mapping, Vec::new()));
        Ok(())
    }

    fn end(&mut self, end: Location) -> Result<(), Broken> {
        let Some((place, mapping, children)) = self.open.pop() else {
            return Ok(());
        };
        let (end_line, end_column) = (end.end_line, end.end_column);
        let place = Location {
            end_line,
            end_column,
            ..place
        };
        let kind = match mapping {
            true => self.mapping(children),
            false => NodeKind::Sequence(children),
        };
        self.add(place, kind)
    }

    fn mapping(&mut self, children: Vec<Rc<Node>>) -> NodeKind {
        let mut entries = Vec::with_capacity(children.len() / 2);
        let mut merged = false;
        let mut children = children.into_iter();
        while let (Some(key), Some(value)) = (children.next(), children.next()) {
            if matches!(&key.kind, NodeKind::Scalar { text, quoted: false } if text == "<<") {
                let message = "merge keys (`<<`) are not supported";
                self.report.add(key.place, message, "write the fields out");
                merged = true;
            }
            entries.push((key, value));
        }
        // A merge makes the missing fields unknown.

        if merged {
            NodeKind::Refused
        } else {
            NodeKind::Mapping(entries)
        }
    }

    fn add(&mut self, place: Location, kind: NodeKind) -> Result<(), Broken> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("there are more than {NODES_MAX} values up to here");
            return Err(Broken::at(place, message, ""));
        }
        let node = Rc::new(Node::new(place, kind));
        match self.open.last_mut() {
            Some((.., children)) => children.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

fn place_of(span: Span) -> Location {
    Location {
        line: narrow(span.start.line()).max(1),
        column: narrow(span.start.col() + 1),
        end_line: narrow(span.end.line()).max(1),
        end_column: narrow(span.end.col() + 1),
    }
}

fn too_deep(place: Location) -> Broken {
    let message = format!("this is nested more than {DEPTH_MAX} deep");
    Broken::at(place, message, "no setting is that deep: is a bracket missing?")
}

fn not_yaml(text: &str, error: &ScanError) -> Broken {
    let marker = error.marker();
    let place = Location::point(narrow(marker.line()).max(1), narrow(marker.col() + 1));
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return too_deep(place);
    }
    let offset = marker.byte_offset().filter(|offset| text.is_char_boundary(*offset));
    let advice = match offset.map(|offset| text.split_at(offset)) {
        Some((before, _)) if has_open_wildcard(text, before) => {
            "a path with `{*rest}` in it is put in quotes: path: \"/image/{*rest}\""
        }
        Some((before, after)) if before.ends_with(['*', '&']) || after.starts_with(['*', '&']) => {
            "a value that begins with `*` or `&` is put in quotes"
        }
        Some((before, _)) if indented_with_tab(text, before) => "indent with spaces: YAML takes no tabs there",
        _ => "mind the indentation, and brackets and quotes that are not closed",
    };
    let why = super::snippet::printable(&error.info());
    Broken::at(place, format!("this is not YAML: {why}"), advice)
}

/// Whether a `{*` without quotes around it stands on the line of that place, or the one before.
fn has_open_wildcard(text: &str, before: &str) -> bool {
    let begin = before.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    text[begin..].lines().take(2).any(|line| {
        let at = line.find("{*");
        at.is_some_and(|at| line[..at].matches(['"', '\'']).count().is_multiple_of(2))
    })
}

/// Whether the line of that place begins with white space that has a tab in it.
fn indented_with_tab(text: &str, before: &str) -> bool {
    let line = &text[before.rfind(['\n', '\r']).map_or(0, |at| at + 1)..];
    line.chars().take_while(|c| matches!(c, ' ' | '\t')).any(|c| c == '\t')
}
