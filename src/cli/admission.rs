//! `tiergate admission`: stop and start taking new searches.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{CliError, ServerTarget, switch};

/// Stop or start taking new searches on the running server.
///
/// While admission is stopped, new searches are refused with 503 `admission_stopped`; queued and running ones go on. Lasts until
/// `tiergate admission start` or until the server stops; meanwhile `tiergate status` exits with 1.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate admission stop")]
pub struct AdmissionArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: AdmissionCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum AdmissionCommand {
    /// Refuse new searches; queued and running ones go on
    #[command(after_help = "Example: tiergate admission stop")]
    Stop,
    /// Take new searches again
    #[command(after_help = "Example: tiergate admission start")]
    Start,
}

impl AdmissionArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Stops or starts admission, and writes the result to `out`.
///
/// # Errors
/// No server answers.
pub fn run(admission: AdmissionArgs, out: &mut impl Write) -> Result<(), CliError> {
    let (path, said) = match admission.command {
        AdmissionCommand::Stop => (
            "/admission/stop",
            (
                "admission is stopped: new searches are refused until `tiergate admission start`",
                "admission was stopped already",
            ),
        ),
        AdmissionCommand::Start => (
            "/admission/start",
            ("new searches are taken again", "admission was not stopped"),
        ),
    };
    switch::post(&admission.target, path, said, out)
}
