//! Errors and warnings of a configuration: all of them at once, each with its line, an arrow and advice.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::snippet::{self, Excerpt, Lines};
use super::yaml::Location;
use super::{Config, Operators};

/// The most errors shown, and the most warnings; the rest is counted.
pub const SHOWN_PROBLEMS_MAX: usize = 100;

/// Advice that would end beyond this column goes below the arrow instead of beside it.
const SHOWN_WIDTH_MAX: usize = 160;

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is rejected.
    Error,
    /// The file is accepted, but this is probably not intended.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The message, in one line.
    pub message: String,
    /// The advice, in one line; empty if the message is enough.
    pub advice: String,
    /// The location, unless the problem is about the file as a whole.
    pub span: Option<SourceSpan>,
}

/// A location in the file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpan {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// The line of its end.
    pub end_line: u32,
    /// The first column after its end.
    pub end_column: u32,
    /// The text of the line.
    pub excerpt: Excerpt,
}

/// Text before and after a piece of output, such as terminal colours. Empty by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ink(pub &'static str, pub &'static str);

impl Ink {
    fn paint(self, text: impl fmt::Display) -> String {
        format!("{}{text}{}", self.0, self.1)
    }
}

/// The styles of a problem's pieces. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inks {
    /// The word `error`, and its arrow.
    pub error: Ink,
    /// The word `warning`, and its arrow.
    pub warning: Ink,
    /// The message.
    pub message: Ink,
    /// Line numbers and the frame of the line.
    pub margin: Ink,
}

impl Inks {
    fn of(&self, severity: Severity) -> Ink {
        match severity {
            Severity::Error => self.error,
            Severity::Warning => self.warning,
        }
    }
}

/// The problems of a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    problems: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Diagnostics {
    /// An error of the file as a whole: it can't be read, it is too long.
    pub(super) fn of_file(name: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let problem = Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            advice: advice.into(),
            span: None,
        };
        Self {
            name: snippet::printable(name),
            problems: vec![problem],
            errors: 1,
            warnings: 0,
        }
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// At most [`SHOWN_PROBLEMS_MAX`] errors and as many warnings, in the order of the lines.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// The numbers of errors and warnings, in words.
    pub fn summary(&self) -> String {
        let counts = [(self.errors, "error"), (self.warnings, "warning")];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counted = counts.map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }));
        match counted.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "fine".to_owned(),
            counts => counts,
        }
    }

    /// All problems with their lines, and their numbers, in that style.
    pub fn shown(&self, inks: Inks) -> impl fmt::Display {
        DiagnosticsDisplay {
            diagnostics: self,
            inks,
        }
    }

    /// Only the errors; `None` if there are none.
    fn into_errors(mut self) -> Option<ConfigErrors> {
        self.problems.retain(|problem| problem.severity == Severity::Error);
        self.warnings = 0;
        (self.errors > 0).then_some(ConfigErrors(self))
    }
}

/// The result of checking a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The configuration, if there are no errors.
    pub config: Option<Config>,
    /// How operators reach the server, if nothing is wrong with that.
    pub operators: Option<Operators>,
    /// The problems: at least one error if there is no `config`.
    pub diagnostics: Diagnostics,
}

impl Checked {
    pub(super) fn wrong(diagnostics: Diagnostics) -> Self {
        Self {
            config: None,
            operators: None,
            diagnostics,
        }
    }

    /// The configuration, whatever the warnings.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn into_result(self) -> Result<Config, ConfigErrors> {
        let Self {
            config, diagnostics, ..
        } = self;
        let nothing = Diagnostics::of_file(&diagnostics.name, "there is no configuration in it", "");
        match (diagnostics.into_errors(), config) {
            (None, Some(config)) => Ok(config),
            (errors, _) => Err(errors.unwrap_or(ConfigErrors(nothing))),
        }
    }
}

/// All errors of a configuration, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Diagnostics);

impl ConfigErrors {
    /// An error of the file as a whole, with advice.
    pub fn of_whole(name: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self(Diagnostics::of_file(name, message, advice))
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The errors, at most [`SHOWN_PROBLEMS_MAX`], in the order of the lines.
    pub fn problems(&self) -> &[Diagnostic] {
        self.0.problems()
    }

    /// The number of errors, at least 1.
    pub fn count(&self) -> usize {
        self.0.errors()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.shown(Inks::default()).fmt(f)
    }
}

struct DiagnosticsDisplay<'f> {
    diagnostics: &'f Diagnostics,
    inks: Inks,
}

impl fmt::Display for DiagnosticsDisplay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { diagnostics, inks } = self;
        for problem in &diagnostics.problems {
            show(problem, &diagnostics.name, *inks, f)?;
            writeln!(f)?;
        }
        match diagnostics.errors + diagnostics.warnings - diagnostics.problems.len() {
            0 => {}
            more => writeln!(f, "and {more} more\n")?,
        }
        write!(f, "{}: {}", diagnostics.name, diagnostics.summary())
    }
}

fn show(problem: &Diagnostic, name: &str, inks: Inks, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Diagnostic { message, advice, .. } = problem;
    let (word, ink) = (problem.severity.word(), inks.of(problem.severity));
    let margin = |text: &str| inks.margin.paint(text);
    writeln!(f, "{}{}", ink.paint(word), inks.message.paint(format!(": {message}")))?;
    let Some(span) = &problem.span else {
        writeln!(f, " {} {name}", margin("-->"))?;
        return match advice.as_str() {
            "" => Ok(()),
            advice => writeln!(f, "  {} {advice}", margin("=")),
        };
    };
    let (line, excerpt) = (span.line, &span.excerpt);
    let gutter = line.to_string().len();
    writeln!(f, "{:gutter$}{} {name}:{line}:{}", "", margin("-->"), span.column)?;
    writeln!(f, "{:gutter$} {}", "", margin("|"))?;
    writeln!(f, "{} {}", margin(&format!("{line} |")), excerpt.text.trim_end())?;
    let arrow = "^".repeat(excerpt.width);
    let (before, arrow_end) = (excerpt.start, excerpt.start + excerpt.width);
    write!(f, "{:gutter$} {} {:before$}{}", "", margin("|"), "", ink.paint(arrow))?;
    match advice.as_str() {
        "" => writeln!(f),
        beside if arrow_end + beside.chars().count() < SHOWN_WIDTH_MAX => writeln!(f, " {}", ink.paint(beside)),
        below => writeln!(f, "\n{:gutter$} {} {below}", "", margin("=")),
    }
}

/// Collects problems before they are sorted.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// The lines and columns of the errors.
    wrong: BTreeSet<(u32, u32)>,
    /// Fields of mappings that a mistyped one probably stands for.
    meant: HashSet<(Location, &'static str)>,
}

/// Location, message and advice.
type Finding = (Location, String, String);

impl Report {
    /// Adds an error.
    pub(super) fn add(&mut self, place: Location, message: impl Into<String>, advice: impl Into<String>) {
        self.wrong.insert((place.line, place.column));
        self.errors.push((place, message.into(), advice.into()));
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, place: Location, message: impl Into<String>, advice: impl Into<String>) {
        self.warnings.push((place, message.into(), advice.into()));
    }

    /// Whether there are no errors.
    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether there are no errors within that location.
    pub(super) fn is_sound(&self, place: Location) -> bool {
        let from = (place.line, place.column);
        let to = (place.end_line, place.end_column).max((place.line, place.column + 1));
        self.wrong.range(from..to).next().is_none()
    }

    /// Notes that a mistyped field of the mapping at that location probably stands for this one.
    pub(super) fn mean(&mut self, mapping: Location, field: &'static str) {
        self.meant.insert((mapping, field));
    }

    /// Whether that was noted.
    pub(super) fn is_meant(&self, mapping: Location, field: &'static str) -> bool {
        self.meant.contains(&(mapping, field))
    }

    /// Errors found so far.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// The problems in the order of the lines, each with its line, in which `lines` hides secrets.
    pub(super) fn into_findings(self, name: &str, mut lines: Lines<'_>) -> Diagnostics {
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        let mut found: Vec<(Severity, Finding)> = Vec::new();
        for (severity, mut some) in [(Severity::Error, self.errors), (Severity::Warning, self.warnings)] {
            some.sort_by_key(|(place, ..)| (place.line, place.column));
            some.truncate(SHOWN_PROBLEMS_MAX);
            found.extend(some.into_iter().map(|found| (severity, found)));
        }
        found.sort_by_key(|(_, (place, ..))| (place.line, place.column));
        let problem = |(severity, (place, message, advice)): (Severity, Finding)| Diagnostic {
            severity,
            message,
            advice,
            span: Some(SourceSpan {
                line: place.line,
                column: place.column,
                end_line: place.end_line,
                end_column: place.end_column,
                excerpt: lines.excerpt(place),
            }),
        };
        Diagnostics {
            name: snippet::printable(name),
            problems: found.into_iter().map(problem).collect(),
            errors,
            warnings,
        }
    }
}
