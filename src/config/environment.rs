//! Expands what the file only names, so that it holds no secrets: `${NAME}`, an environment variable, and files with one secret.
//! The lookups go through [`Environment`], so that reading a document stays pure.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Report, Severity};
use super::relative;
use super::snippet::printable;
use super::yaml::Location;
use crate::small_file;

/// The longest name of a variable, in characters.
const NAME_CHARS_MAX: usize = 64;
/// The most bytes that a variable or file may hold.
const HELD_BYTES_MAX: usize = 4096;
/// The names of variables that can be expanded.
pub(super) const REFERENCE_PATTERN: &str = r"^\$\{[A-Z_][A-Z0-9_]{0,63}\}$";

/// The source of variables and files.
pub trait Environment {
    /// The value of that variable; `None` if it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a regular file, as far as it is checked. The path is relative to the working directory.
    ///
    /// # Errors
    /// It can't be read, or is no regular file.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        let held = std::env::var_os(name)?;
        Some(held.to_string_lossy().into_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        small_file::read(path, HELD_BYTES_MAX)
    }
}

/// An empty environment.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Where to look up, and how to report what is missing.
#[derive(Clone, Copy)]
pub(super) struct EnvContext<'e> {
    environment: &'e dyn Environment,
    /// The folder of relative paths; empty is the working directory.
    folder: &'e Path,
    lacking: Severity,
}

impl<'e> EnvContext<'e> {
    /// Missing values are errors.
    pub(super) fn complete(environment: &'e dyn Environment, folder: &'e Path) -> Self {
        let lacking = Severity::Error;
        Self {
            environment,
            folder,
            lacking,
        }
    }

    /// Missing values are warnings: they may exist where the server runs.
    pub(super) fn elsewhere(environment: &'e dyn Environment, folder: &'e Path) -> Self {
        let lacking = Severity::Warning;
        Self {
            environment,
            folder,
            lacking,
        }
    }

    /// A path in the file, relative to the working directory.
    pub(super) fn path(&self, written: impl AsRef<Path>) -> PathBuf {
        relative::resolved(self.folder, written)
    }

    /// The value of the variable that is named at that location.
    pub(super) fn variable(&self, name: &str, place: Location, report: &mut Report) -> Option<String> {
        let held = self.environment.variable(name);
        if held.is_none() {
            let message = format!("the variable `{name}` is not set");
            self.lacks(place, message, "set it in the environment of tiergate", report);
        }
        bounded(held?, place, report)
    }

    /// The text of the file that is named at that location.
    pub(super) fn file(&self, written: &str, place: Location, report: &mut Report) -> Option<String> {
        match self.environment.file(&self.path(written)) {
            Ok(held) => bounded(held, place, report),
            Err(error) => {
                let message = format!("the file that is named here can't be read: {error}");
                let folder = match Path::new(written).is_relative() && self.folder != Path::new("") {
                    true => format!(
                        " in {}, where relative paths begin,",
                        printable(&self.folder.display().to_string())
                    ),
                    false => String::new(),
                };
                let advice = format!("see that it exists{folder} and that the server may read it");
                self.lacks(place, message, &advice, report);
                None
            }
        }
    }

    fn lacks(&self, place: Location, message: String, advice: &str, report: &mut Report) {
        match self.lacking {
            Severity::Warning => report.warn(place, message, format!("{advice}: it does not start otherwise")),
            Severity::Error => report.add(place, message, advice),
        }
    }
}

fn bounded(held: String, place: Location, report: &mut Report) -> Option<String> {
    if held.len() <= HELD_BYTES_MAX {
        return Some(held);
    }
    let message = format!("what is named here holds more than {HELD_BYTES_MAX} bytes");
    report.add(place, message, "is it the right one?");
    None
}

/// The name in `${NAME}`, if the text is nothing else. Only capital letters: so a secret in braces is hardly taken for a name,
/// and shown.
pub(super) fn reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| !c.is_ascii_digit());
    (begins && name.len() <= NAME_CHARS_MAX && name.chars().all(legal)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_in_capitals_alone() {
        assert_eq!(reference("${BOT_KEY_2}"), Some("BOT_KEY_2"));
        assert_eq!(reference("${_}"), Some("_"));
        let long = format!("${{{}}}", "A".repeat(65));
        for none in [
            "${}", "${2A}", "${a}", "$A", "${A", "x${A}", "${A}${B}", "${A} ", "${A:-b}", &long,
        ] {
            assert_eq!(reference(none), None, "{none}");
        }
    }
}
