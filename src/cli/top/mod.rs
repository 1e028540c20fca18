//! `tiergate top`: what `tiergate status` shows, live, with the callers who use most.
//!
//! `callers` parses who they are; the rest is the screen (feature `tui`): `app` is its state, a pure function of keys and answers;
//! `tables` sorts; `screen` draws; `poll` brings in keys, answers and signals; `terminal` runs it all.

#[cfg(feature = "tui")]
mod app;
mod callers;
#[cfg(feature = "tui")]
mod poll;
#[cfg(feature = "tui")]
mod screen;
#[cfg(feature = "tui")]
mod tables;
#[cfg(feature = "tui")]
mod terminal;
#[cfg(all(test, feature = "tui"))]
mod tests;
#[cfg(feature = "tui")]
mod theme;

use std::io::{IsTerminal, Write, stdin, stdout};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use self::callers::Callers;
use super::client::{ANSWER_TIMEOUT, AdminClient};
use super::status::report::StatusReport;
use super::{CliError, ServerTarget, ignore_broken_pipe, status, table};

/// Watch the running server live: the queue, upstream servers, tiers, and the callers who use most.
///
/// Refreshed once a second. The keys are listed at the bottom; q ends. Colours are used unless NO_COLOR is set. With --json, prints
/// one snapshot and ends: what `tiergate status --json` prints, and the callers.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate top --config /etc/tiergate/tiers.yaml")]
pub struct TopArgs {
    #[command(flatten)]
    target: ServerTarget,
}

impl TopArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// What the server has said, both parts at nearly the same time.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tui"), expect(dead_code, reason = "only the screen reads it"))]
pub(super) struct Snapshot {
    /// Its status.
    pub report: StatusReport,
    /// The callers who use most.
    pub callers: Callers,
}

/// Prints a snapshot, or shows the screen until the operator ends it.
///
/// # Errors
/// No server answers, or there is no terminal.
pub fn run(top: &TopArgs, out: &mut impl Write) -> Result<(), CliError> {
    if top.target.json {
        let (answer, _) = fetch(&AdminClient::of(&top.target)?, ANSWER_TIMEOUT)?;
        return ignore_broken_pipe(table::json(out, &answer).map_err(CliError::Output));
    }
    let term = std::env::var("TERM").unwrap_or_default();
    check_terminal(stdin().is_terminal(), stdout().is_terminal(), &term)?;
    show(AdminClient::of(&top.target)?)
}

#[cfg(feature = "tui")]
fn show(client: AdminClient) -> Result<(), CliError> {
    terminal::show(client)
}

#[cfg(not(feature = "tui"))]
fn show(_: AdminClient) -> Result<(), CliError> {
    Err(CliError::Unfit(
        "this build has no screen: build it with the feature `tui`; `tiergate top --json` prints one snapshot"
            .to_owned(),
    ))
}

/// One snapshot, as the server tells it and parsed: the status, with a member `callers`, which is an error if they can't be read.
///
/// # Errors
/// The server does not tell its status.
fn fetch(client: &AdminClient, longest: Duration) -> Result<(Value, Snapshot), CliError> {
    let (mut answer, report) = status::fetch(client, longest)?;
    let asked = client.get_within("/callers", longest).and_then(|told| {
        let callers = Callers::of(&told).ok_or_else(|| client.no_answer("its callers have another form"))?;
        Ok((told, callers))
    });
    let (told, callers) = asked.unwrap_or_else(|error| (error.to_json(), Callers::unknown(brief(&error))));
    answer["callers"] = told;
    Ok((answer, Snapshot { report, callers }))
}

/// An error in a line, without advice.
fn brief(error: &CliError) -> String {
    match error {
        CliError::NotRunning(_, error) => error.to_string(),
        CliError::NoAnswer(_, what) => what.clone(),
        error => {
            let said = error.to_string();
            let line = said.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

/// Whether the screen can be drawn.
fn check_terminal(input: bool, output: bool, term: &str) -> Result<(), CliError> {
    let why = match (input, output, term) {
        (_, false, _) => "standard output is not a terminal",
        (false, _, _) => "standard input is not a terminal",
        (_, _, "dumb") => "TERM=dumb says that this one can't place text",
        _ => return Ok(()),
    };
    Err(CliError::Terminal(why.to_owned()))
}
