//! `tiergate resume`: grant slots again.

use std::io::Write;

use clap::Args;

use super::{CliError, ServerTarget, switch};

/// Resume dispatch after `tiergate pause`: all free slots are granted at once, in order.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate resume")]
pub struct ResumeArgs {
    #[command(flatten)]
    target: ServerTarget,
}

impl ResumeArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Resumes dispatch, and writes the result to `out`.
///
/// # Errors
/// No server answers.
pub fn run(resume: ResumeArgs, out: &mut impl Write) -> Result<(), CliError> {
    let said = ("dispatch goes on", "dispatch was not paused");
    switch::post(&resume.target, "/dispatch/resume", said, out)
}
