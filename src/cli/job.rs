//! `tiergate job`: cancel one waiting job.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::client::{AdminClient, escaped};
use super::{CliError, ServerTarget, ignore_broken_pipe, switch, table};

/// Cancel a search that waits in the queue of the running server.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate job cancel 7-2")]
pub struct JobArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Cancel a waiting search: its client gets 503 `cancelled_by_operator`, and it costs no quota
    #[command(after_help = "Example: tiergate job cancel 7-2")]
    Cancel {
        /// The job's id, as GET /queue and the operator's page show it
        id: String,
    },
}

impl JobArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Cancels the job, and writes what it was to `out`.
///
/// # Errors
/// No server answers, or the job is not queued.
pub fn run(job: JobArgs, out: &mut impl Write) -> Result<(), CliError> {
    let JobCommand::Cancel { id } = job.command;
    if id.is_empty() {
        return Err(CliError::Unfit("write a job's id, such as 7-2".to_owned()));
    }
    let path = format!("/queue/{}", escaped(&id));
    let answer = AdminClient::of(&job.target)?.ask(&Method::DELETE, &path, None)?;
    if job.target.json {
        return Ok(table::json(out, &answer)?);
    }
    ignore_broken_pipe(write_text(&answer, out))
}

fn write_text(answer: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let cell = |name: &str| table::cell(&answer["cancelled"][name]);
    let said = format!(
        "cancelled {}: {} (tier {}), after {} s in the queue",
        cell("id"),
        cell("caller"),
        cell("tier"),
        cell("waited_s")
    );
    switch::write_text(&said, answer, out)
}
