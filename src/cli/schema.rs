//! `tiergate schema`: the JSON Schema of tiers.yaml, for editors. `tiergate check` finds more than the schema does.

use std::io::Write;

use super::{CliError, unless_enough};
use crate::config::schema;

/// Writes the schema.
///
/// # Errors
/// It can't be written.
pub fn run(out: &mut impl Write) -> Result<(), CliError> {
    unless_enough(out.write_all(schema::text().as_bytes()).map_err(CliError::from))
}
