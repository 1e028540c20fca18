//! `tiergate reload`: make the running server reload its tiers.yaml.

use std::io::Write;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::AdminClient;
use super::{CliError, ServerTarget, ignore_broken_pipe, table};
use crate::config::diff::DiffLine;

/// Reload tiers.yaml on the running server, which also does so by itself when the file is saved.
///
/// Exit code 1 if the file is invalid; then nothing has changed.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate reload --config /etc/tiergate/tiers.yaml")]
pub struct ReloadArgs {
    #[command(flatten)]
    target: ServerTarget,
}

impl ReloadArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Triggers a reload, and writes the changes to `out`.
///
/// # Errors
/// No server answers, or its file is invalid.
pub fn run(reload: ReloadArgs, out: &mut impl Write) -> Result<(), CliError> {
    let client = AdminClient::of(&reload.target)?;
    let answer = client.ask(&Method::POST, "/reload", None)?;
    if reload.target.json {
        return Ok(table::json(out, &answer)?);
    }
    let lines = DiffLine::from_json(&answer).ok_or_else(|| client.no_answer("it has no `changes`"))?;
    ignore_broken_pipe(write_text(&answer, &lines, out))
}

fn write_text(answer: &Value, lines: &[DiffLine], out: &mut impl Write) -> Result<(), CliError> {
    match answer["result"].as_str().unwrap_or("?") {
        "unchanged" => writeln!(out, "nothing has changed")?,
        result => writeln!(out, "{result}")?,
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
