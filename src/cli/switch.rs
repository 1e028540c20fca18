//! What `tiergate pause`, `resume` and `admission` have in common: one request without a body, and its answer.

use std::io::Write;

use http::Method;
use serde_json::Value;

use super::client::AdminClient;
use super::{CliError, ServerTarget, ignore_broken_pipe, table};

/// Puts the request, and writes `changed` or `unchanged` to `out`, or the answer as JSON.
pub(super) fn post(
    target: &ServerTarget,
    path: &str,
    (changed, unchanged): (&str, &str),
    out: &mut impl Write,
) -> Result<(), CliError> {
    let answer = AdminClient::of(target)?.ask(&Method::POST, path, None)?;
    if target.json {
        return Ok(table::json(out, &answer)?);
    }
    let said = if answer["changed"] == true { changed } else { unchanged };
    ignore_broken_pipe(write_text(said, &answer, out))
}

/// Writes that line, and a second one if the audit log doesn't have what was done.
pub(super) fn write_text(said: &str, answer: &Value, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "{said}")?;
    if answer["changed"] != false && answer["recorded"] == false {
        writeln!(out, "not recorded in the audit log: the database could not be written")?;
    }
    Ok(())
}
