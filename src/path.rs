//! A stand-in: the shape of a route's path.
//!
//! Absent on purpose: everything but the shape; the room itself replaces this file.

use std::fmt;

/// What a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(&'static str);

impl Pattern {
    /// The pattern of that text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.starts_with('/') {
            true => Ok(Self(text.to_owned())),
            false => Err(PatternError("a path begins with `/`")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
