//! `tiergate check`: errors and warnings of a tiers.yaml, with the lines for people, in JSON for editors and CI.
//!
//! The file is judged by itself, in this environment. What it names and is missing here is a
//! warning: the server may run elsewhere.

use std::io::{self, Write, stdin};
use std::path::{Path, PathBuf};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};

use super::{CliError, ignore_broken_pipe, table};
use crate::config::{self, Checked, Config, Diagnostics, Ink, Inks, System};

/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Check a tiers.yaml, and show every error and warning with its line.
///
/// Exit code 0 if there are no errors; 1 if there are; 2 with --strict if there are only warnings, and for an invalid command
/// line.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate check --strict /etc/tiergate/tiers.yaml")]
pub struct CheckArgs {
    /// File to check; `-` for standard input
    #[arg(default_value = "tiers.yaml")]
    file: PathBuf,
    /// Print JSON, for editors and CI
    #[arg(long)]
    json: bool,
    /// Exit with 2 if there are warnings
    #[arg(long)]
    strict: bool,
    /// When to use colours; `auto` uses them on a terminal and honours NO_COLOR and CLICOLOR_FORCE
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No errors.
    Fine,
    /// Errors.
    Wrong,
    /// Warnings only, with --strict.
    Unwise,
}

impl Verdict {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Wrong => 1,
            Self::Unwise => 2,
        }
    }
}

/// Checks the file. Writes problems for people to `err`, everything else to `out`.
///
/// # Errors
/// The output can't be written.
pub fn run(command: &CheckArgs, out: &mut impl Write, err: &mut impl RawStream) -> Result<Verdict, CliError> {
    let checked = judged(&command.file);
    ignore_broken_pipe(tell(command, &checked, out, err).map_err(CliError::from))?;
    let diagnostics = &checked.diagnostics;
    Ok(match (diagnostics.errors(), diagnostics.warnings()) {
        (1.., _) => Verdict::Wrong,
        (0, 1..) if command.strict => Verdict::Unwise,
        _ => Verdict::Fine,
    })
}

fn tell(command: &CheckArgs, checked: &Checked, out: &mut impl Write, err: &mut impl RawStream) -> io::Result<()> {
    let Checked {
        config, diagnostics, ..
    } = checked;
    if command.json {
        return table::json(out, &diagnostics.to_json());
    }
    if !diagnostics.problems().is_empty() {
        let inks = inks(command.color, err);
        writeln!(err, "{}", diagnostics.shown(inks))?;
    }
    match config {
        Some(config) => writeln!(out, "{}: {}", diagnostics.name(), fine(diagnostics, config)),
        None => Ok(()),
    }
}

fn judged(file: &Path) -> Checked {
    if file != Path::new(STANDARD_INPUT) {
        return config::check_file(file, &System);
    }
    match config::bytes_of(stdin().lock()) {
        Ok(bytes) => config::check("<stdin>", &bytes, &System),
        Err(error) => config::unreadable("<stdin>", &error),
    }
}

/// A summary of a file without errors.
fn fine(diagnostics: &Diagnostics, config: &Config) -> String {
    format!(
        "{} (tiers: {}, queue length: {}, limits: {}, upstreams: {}, routes: {}, accounts: {})",
        match diagnostics.warnings() {
            0 => "fine",
            _ => "no errors",
        },
        config.rules.tiers.len(),
        config.rules.queue.length,
        config.rules.limits.len(),
        config.upstreams.len(),
        config.routes.len(),
        config.accounts.len(),
    )
}

fn inks(colour: Colour, err: &impl RawStream) -> Inks {
    const RESET: &str = "\x1b[0m";
    let coloured = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => AutoStream::choice(err) != ColorChoice::Never,
    };
    if !coloured {
        return Inks::default();
    }
    Inks {
        error: Ink("\x1b[1;31m", RESET),
        warning: Ink("\x1b[1;33m", RESET),
        message: Ink("\x1b[1m", RESET),
        margin: Ink("\x1b[1;34m", RESET),
    }
}
