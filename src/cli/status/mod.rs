//! `tiergate status`: the server at a glance, and whether something is wrong.

pub(super) mod places;
pub(super) mod report;
pub(super) mod text;

use std::time::Duration;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::Args;
use serde_json::Value;

use self::report::StatusReport;
use self::text::Inks;
use super::client::{ANSWER_TIMEOUT, AdminClient};
use super::{CliError, ServerTarget, ignore_broken_pipe, table};

/// Show the running server at a glance: the queue, upstream servers, tiers, the database, the configuration, and what is wrong.
///
/// Exit code 0 if all is well. Exit code 1 if something is wrong: a server is down, no server is available, the database can't be
/// written, the file last read is invalid, dispatch is paused, admission is stopped, or the server does not answer.
///
/// Colours are used on a terminal unless NO_COLOR is set. `tiergate top` shows the same live.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate status --config /etc/tiergate/tiers.yaml || notify-operators")]
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

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Well,
    /// Something is wrong.
    Wrong,
}

/// Fetches the status, and writes it to `out`.
///
/// # Errors
/// No server answers.
pub fn run(status: &Status, out: &mut impl RawStream) -> Result<Condition, CliError> {
    let client = AdminClient::of(&status.target)?;
    let (answer, report) = fetch(&client, ANSWER_TIMEOUT)?;
    let written = match status.target.json {
        true => table::json(out, &answer),
        false => {
            let coloured = AutoStream::choice(out) != ColorChoice::Never;
            text::write(&report, Inks { coloured }, out)
        }
    };
    ignore_broken_pipe(written.map_err(CliError::Output))?;
    Ok(match report.problems.is_empty() {
        true => Condition::Well,
        false => Condition::Wrong,
    })
}

/// The status, as the server tells it and parsed.
///
/// # Errors
/// The server does not answer in that time, or answers something else.
pub(super) fn fetch(client: &AdminClient, longest: Duration) -> Result<(Value, StatusReport), CliError> {
    let answer = client.get_within("/status", longest)?;
    match StatusReport::of(&answer) {
        Some(report) => Ok((answer, report)),
        None => Err(client.no_answer("its status has another form; is it of another version?")),
    }
}
