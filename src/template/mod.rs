//! Texts with places to fill in: compiled and tried once, so that to fill them in costs next to nothing and can't fail.
//!
//! A place is a name in braces, such as `{limit}`. Every other brace stands for itself, so JSON is written as it is.
//!
//! Absent on purpose: what the places mean, and loops, conditions and formats.

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<str>);
