//! `tiergate schema`: the JSON Schema of tiers.yaml, for editors. `tiergate check` finds more than the schema does.

use std::io::Write;

use super::{CliError, ignore_broken_pipe};
use crate::config::schema;

/// Writes the schema.
///
/// # Errors
/// It can't be written.
pub fn run(out: &mut impl Write) -> Result<(), CliError> {
    ignore_broken_pipe(out.write_all(schema::text().as_bytes()).map_err(CliError::from))
}
