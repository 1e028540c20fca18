//! `tiergate reload`: the running door reads its tiers.yaml again, at once.
//!
//! Absent on purpose: what would change (`diff`), and what is wrong with a file that no door reads (`check`).

use std::io::Write;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::Client;
use super::{CliError, Target, table, unless_enough};
use crate::config::diff::Line;

/// Let the running door read its tiers.yaml again, at once; it does so by itself when the file is saved.
///
/// Exit code 1 if the file is wrong, and then nothing has changed.
#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    target: Target,
}

impl Reload {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

/// Asks the door, and writes what has changed to `out`.
///
/// # Errors
/// No door answers, or its file is wrong.
pub fn run(reload: Reload, out: &mut impl Write) -> Result<(), CliError> {
    let client = Client::of(&reload.target)?;
    let answer = client.ask(&Method::POST, "/reload", None)?;
    if reload.target.json {
        return Ok(table::json(out, &answer)?);
    }
    let lines = Line::from_json(&answer).ok_or_else(|| client.no_answer("it tells of no changes"))?;
    unless_enough(told(&answer, &lines, out))
}

fn told(answer: &Value, lines: &[Line], out: &mut impl Write) -> Result<(), CliError> {
    match answer["result"].as_str().unwrap_or("?") {
        "unchanged" => writeln!(out, "nothing has changed")?,
        result => writeln!(out, "{result}")?,
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
