//! What is wrong in a configuration: every problem at once, each with its line, an arrow and what to do.
//!
//! Absent on purpose: colours, and any judgement of what is wrong. A problem keeps no more of the file than the piece
//! of the line that is shown, with secrets already hidden.

use std::fmt;

use super::excerpt::{self, Excerpt, Lines};
use super::yaml::Place;

/// Problems that are shown, at most; the rest is counted.
pub const SHOWN_PROBLEMS_MAX: usize = 100;

/// An advice that would end beyond this column stands below the arrow instead of beside it.
const SHOWN_WIDTH_MAX: usize = 160;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line; empty if the message says it all.
    pub advice: String,
    /// Where, unless it is about the file as a whole.
    pub spot: Option<Spot>,
}

/// A place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The line itself.
    pub excerpt: Excerpt,
}

/// Everything that is wrong with a configuration, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    name: String,
    problems: Vec<Problem>,
    count: usize,
}

impl ConfigErrors {
    /// A file that is wrong as a whole: it cannot be read, it is too long.
    pub(super) fn of_file(name: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let problem = Problem {
            message: message.into(),
            advice: advice.into(),
            spot: None,
        };
        Self {
            name: excerpt::printable(name),
            problems: vec![problem],
            count: 1,
        }
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is wrong, at most [`SHOWN_PROBLEMS_MAX`] of it, in the order of the lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How much is wrong. At least 1.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            show(problem, &self.name, f)?;
            writeln!(f)?;
        }
        match self.count - self.problems.len() {
            0 => {}
            more => writeln!(f, "and {more} more\n")?,
        }
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{}: {} error{plural}", self.name, self.count)
    }
}

fn show(problem: &Problem, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Problem { message, advice, spot } = problem;
    writeln!(f, "error: {message}")?;
    let Some(Spot { line, column, excerpt }) = spot else {
        writeln!(f, " --> {name}")?;
        return if advice.is_empty() {
            Ok(())
        } else {
            writeln!(f, "  = {advice}")
        };
    };
    let gutter = line.to_string().len();
    writeln!(f, "{:gutter$}--> {name}:{line}:{column}", "")?;
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{line} | {}", excerpt.text.trim_end())?;
    let arrow = format!(
        "{:indent$}{:^<width$}",
        "",
        "",
        indent = excerpt.start,
        width = excerpt.width
    );
    match advice.as_str() {
        "" => writeln!(f, "{:gutter$} | {arrow}", ""),
        beside if arrow.chars().count() + beside.chars().count() < SHOWN_WIDTH_MAX => {
            writeln!(f, "{:gutter$} | {arrow} {beside}", "")
        }
        below => writeln!(f, "{:gutter$} | {arrow}\n{:gutter$} = {below}", "", ""),
    }
}

/// Problems as they are found, before they are put in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    place: Place,
    message: String,
    advice: String,
}

impl Report {
    /// Puts a problem down.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>, advice: impl Into<String>) {
        self.found.push(Found {
            place,
            message: message.into(),
            advice: advice.into(),
        });
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Problems found so far.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// The errors, in the order of the lines, each with its line, of which `lines` hides the secrets.
    pub(super) fn into_errors(mut self, name: &str, mut lines: Lines<'_>) -> ConfigErrors {
        self.found.sort_by_key(|found| (found.place.line, found.place.column));
        let count = self.found.len();
        self.found.truncate(SHOWN_PROBLEMS_MAX);
        let problem = |Found { place, message, advice }| {
            let spot = Spot {
                line: place.line,
                column: place.column,
                excerpt: lines.excerpt(place),
            };
            Problem {
                message,
                advice,
                spot: Some(spot),
            }
        };
        let problems = self.found.into_iter().map(problem).collect();
        ConfigErrors {
            name: excerpt::printable(name),
            problems,
            count,
        }
    }
}
