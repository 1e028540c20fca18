//! `tiergate job`: list the jobs in flight, and cancel a waiting one.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminClient, escaped};
use super::{CliError, ServerTarget, ignore_broken_pipe, switch, table};

/// List the searches in the queue and at work on the running server, and cancel a waiting one.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate job list")]
pub struct JobArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// List waiting, running and uploading searches with their ids
    #[command(after_help = "Example: tiergate job list --json")]
    List,
    /// Cancel a waiting search: its client gets 503 `cancelled_by_operator`, and it costs no quota
    #[command(after_help = "Example: tiergate job cancel 7-2")]
    Cancel {
        /// The job's id, as `tiergate job list` shows it
        id: String,
    },
}

impl JobArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Runs the command, and writes the answer to `out`.
///
/// # Errors
/// No server answers, or the job is not queued.
pub fn run(job: JobArgs, out: &mut impl Write) -> Result<(), CliError> {
    let client = AdminClient::of(&job.target)?;
    let id = match job.command {
        JobCommand::List => return ignore_broken_pipe(list(&client, job.target.json, out)),
        JobCommand::Cancel { id } => id,
    };
    if id.is_empty() {
        return Err(CliError::Unfit("write a job's id, such as 7-2".to_owned()));
    }
    let answer = client.ask(&Method::DELETE, &format!("/queue/{}", escaped(&id)), None)?;
    if job.target.json {
        return Ok(table::json(out, &answer)?);
    }
    ignore_broken_pipe(write_text(&answer, out))
}

/// Waiting jobs first, then running and uploading ones, each in the order of `GET /queue`.
fn list(client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let queue = client.ask(&Method::GET, "/queue", None)?;
    let lists = [&queue["waiting"], &queue["running"], &queue["uploading"]];
    if json {
        let [waiting, running, uploading] = lists;
        let jobs = json!({ "waiting": waiting, "running": running, "uploading": uploading });
        return Ok(table::json(out, &jobs)?);
    }
    let row = |job: &Value| {
        [
            "id",
            "state",
            "caller",
            "tier",
            "priority",
            "upstream",
            "waited_s",
            "running_s",
            "ends_in_s",
        ]
        .map(|name| table::cell(&job[name]))
    };
    let jobs = lists.into_iter().filter_map(Value::as_array).flatten();
    let rows: Vec<_> = jobs.map(row).collect();
    let heads = [
        "ID",
        "STATE",
        "CALLER",
        "TIER",
        "PRIORITY",
        "UPSTREAM",
        "WAITED s",
        "RUNNING s",
        "ENDS IN s",
    ];
    Ok(table::write(out, heads, &rows)?)
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
