//! `tiergate pause`: grant no more slots.

use std::io::Write;

use clap::Args;

use super::{CliError, ServerTarget, switch};

/// Pause dispatch: queued searches keep their places and get no slots, running ones finish.
///
/// New searches are queued, or refused if the queue is full. Longest waits and displacement go on. Lasts until `tiergate resume`
/// or until the server stops; meanwhile `tiergate status` exits with 1.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate pause")]
pub struct PauseArgs {
    #[command(flatten)]
    target: ServerTarget,
}

impl PauseArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Pauses dispatch, and writes the result to `out`.
///
/// # Errors
/// No server answers.
pub fn run(pause: PauseArgs, out: &mut impl Write) -> Result<(), CliError> {
    let said = (
        "dispatch is paused: no queued search gets a slot until `tiergate resume`",
        "dispatch was paused already",
    );
    switch::post(&pause.target, "/dispatch/pause", said, out)
}
