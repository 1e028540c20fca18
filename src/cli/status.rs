//! `tiergate status`: the configuration in force, the result of the last reload, and the queue.

use std::io::Write;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminClient, file_errors};
use super::{CliError, ServerTarget, ignore_broken_pipe, table};
use crate::config::diff::DiffLine;

/// Show the status of the running server: its configuration, changes that need a restart, and the queue.
///
/// Exit code 0 if the server runs the configuration in its file, or would after a restart; 1 if the file last read is invalid.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate status --config /etc/tiergate/tiers.yaml")]
pub struct Status {
    #[command(flatten)]
    target: ServerTarget,
}

impl Status {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// The server's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// The last file was valid.
    Valid,
    /// The file last read is invalid.
    Invalid,
}

/// Fetches the status, and writes it to `out`.
///
/// # Errors
/// No server answers.
pub fn run(status: Status, out: &mut impl Write) -> Result<ConfigState, CliError> {
    let client = AdminClient::of(&status.target)?;
    let config = client.ask(&Method::GET, "/config", None)?;
    let queue = client.ask(&Method::GET, "/queue", None)?;
    if status.target.json {
        let queue = counted(&queue);
        table::json(out, &json!({ "config": config, "queue": queue }))?;
    } else {
        ignore_broken_pipe(write_text(&config, &counted(&queue), out))?;
    }
    Ok(match config["last"]["wrong"].is_null() {
        true => ConfigState::Valid,
        false => ConfigState::Invalid,
    })
}

/// The queue's counts: `{ "seats", "waiting", "running", "pools" }`.
fn counted(queue: &Value) -> Value {
    let many = |of: &str| queue[of].as_array().map_or(0, Vec::len);
    json!({
        "seats": queue["seats"],
        "waiting": many("waiting"),
        "running": many("running"),
        "pools": queue["pools"],
    })
}

fn write_text(config: &Value, queue: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let last = &config["last"];
    writeln!(
        out,
        "configuration  {}, in force since {}",
        text(&config["file"]),
        text(&config["since"])
    )?;
    writeln!(out, "last read      {} at {}", text(&last["result"]), text(&last["at"]))?;
    let restart = DiffLine::from_json(&json!({ "changes": config["restart"] })).unwrap_or_default();
    for line in restart {
        writeln!(out, "               {line}")?;
    }
    writeln!(
        out,
        "queue          {} of {} places taken",
        queue["waiting"], queue["seats"]
    )?;
    for pool in queue["pools"].as_array().into_iter().flatten() {
        let (name, running, slots) = (text(&pool["upstream"]), &pool["running"], &pool["slots"]);
        writeln!(out, "upstream       {name}: {running} of {slots} slots taken")?;
    }
    if let Some(wrong) = file_errors(&last["wrong"]) {
        writeln!(
            out,
            "\nThe file is invalid; the previous configuration stays in force:\n\nerror: {wrong}"
        )?;
    }
    Ok(())
}
