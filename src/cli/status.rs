//! `tiergate status`: whether the door is open, which configuration it runs and what became of the last one, who waits and runs.
//!
//! Absent on purpose: who they are (`GET /queue`), and history, which the metrics have.

use std::io::Write;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, wrong_file};
use super::{CliError, Target, table, unless_enough};
use crate::config::diff::Line;

/// Say how the running door is: its configuration, what of it needs a restart, and the queue.
///
/// Exit code 0 if the door runs what its file says, or would after a restart; 1 if the file that was last read is wrong.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    target: Target,
}

impl Status {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

/// How the door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs what its file says.
    Well,
    /// The file that it has last read is wrong.
    Wrong,
}

/// Asks the door, and writes how it is to `out`.
///
/// # Errors
/// No door answers.
pub fn run(status: Status, out: &mut impl Write) -> Result<Standing, CliError> {
    let client = Client::of(&status.target)?;
    let config = client.ask(&Method::GET, "/config", None)?;
    let queue = client.ask(&Method::GET, "/queue", None)?;
    if status.target.json {
        let queue = counted(&queue);
        table::json(out, &json!({ "config": config, "queue": queue }))?;
    } else {
        unless_enough(told(&config, &counted(&queue), out))?;
    }
    Ok(match config["last"]["wrong"].is_null() {
        true => Standing::Well,
        false => Standing::Wrong,
    })
}

/// How many there are, by `{ "seats", "waiting", "running", "pools" }`.
fn counted(queue: &Value) -> Value {
    let many = |of: &str| queue[of].as_array().map_or(0, Vec::len);
    json!({
        "seats": queue["seats"],
        "waiting": many("waiting"),
        "running": many("running"),
        "pools": queue["pools"],
    })
}

fn told(config: &Value, queue: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let last = &config["last"];
    writeln!(
        out,
        "configuration  {}, in force since {}",
        text(&config["file"]),
        text(&config["since"])
    )?;
    writeln!(out, "last read      {} at {}", text(&last["result"]), text(&last["at"]))?;
    let restart = Line::from_json(&json!({ "changes": config["restart"] })).unwrap_or_default();
    for line in restart {
        writeln!(out, "               {line}")?;
    }
    writeln!(
        out,
        "queue          {} of {} seats taken",
        queue["waiting"], queue["seats"]
    )?;
    for pool in queue["pools"].as_array().into_iter().flatten() {
        let (name, running, slots) = (text(&pool["upstream"]), &pool["running"], &pool["slots"]);
        writeln!(out, "upstream       {name}: {running} of {slots} slots taken")?;
    }
    if let Some(wrong) = wrong_file(&last["wrong"]) {
        writeln!(
            out,
            "\nThe file is wrong, and the configuration before goes on:\n\nerror: {wrong}"
        )?;
    }
    Ok(())
}
