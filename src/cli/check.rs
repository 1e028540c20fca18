//! `tiergate check`: everything that is wrong or unwise in a tiers.yaml, for people with the lines, for editors and CI in JSON.
//!
//! Absent on purpose: any judgement (`config`), and a look at a running door. A file is judged by itself, and in the environment
//! of whoever asks; what it names and isn't there is a warning, since the door may run elsewhere.

use std::io::{self, Write, stdin};
use std::path::{Path, PathBuf};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};

use super::{CliError, table, unless_enough};
use crate::config::{self, Checked, Config, Diagnostics, Ink, Inks, System};

/// What is typed for the standard input.
const STANDARD_INPUT: &str = "-";

/// Say everything that is wrong or unwise in a tiers.yaml, line by line.
///
/// Errors are what the door can't follow, warnings what it follows and is hardly meant. Exit code 0 if there are no errors, 1 if
/// there are, 2 with --strict if there are warnings alone; a command line that can't be read is 2 as well.
#[derive(Debug, Args)]
pub struct Check {
    /// The file; `-` is the standard input
    #[arg(default_value = "tiers.yaml")]
    file: PathBuf,
    /// Answer in JSON, for editors and CI
    #[arg(long)]
    json: bool,
    /// Take warnings for errors, with an exit code of their own
    #[arg(long)]
    strict: bool,
    /// When to use colours. By default on a terminal, unless NO_COLOR or CLICOLOR_FORCE say otherwise
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

/// How a file was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The door can use it.
    Fine,
    /// There are errors.
    Wrong,
    /// There are warnings, and they were to be taken seriously.
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

/// Judges the file. Problems for people go to `err`, all else to `out`.
///
/// # Errors
/// What was found can't be written.
pub fn run(command: &Check, out: &mut impl Write, err: &mut impl RawStream) -> Result<Verdict, CliError> {
    let checked = judged(&command.file);
    unless_enough(tell(command, &checked, out, err).map_err(CliError::from))?;
    let findings = &checked.findings;
    Ok(match (findings.errors(), findings.warnings()) {
        (1.., _) => Verdict::Wrong,
        (0, 1..) if command.strict => Verdict::Unwise,
        _ => Verdict::Fine,
    })
}

fn tell(command: &Check, checked: &Checked, out: &mut impl Write, err: &mut impl RawStream) -> io::Result<()> {
    let Checked { config, findings, .. } = checked;
    if command.json {
        return table::json(out, &findings.to_json());
    }
    if !findings.problems().is_empty() {
        let inks = inks(command.color, err);
        writeln!(err, "{}", findings.shown(inks))?;
    }
    match config {
        Some(config) => writeln!(out, "{}: {}", findings.name(), fine(findings, config)),
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

/// What is in a file that the door can use.
fn fine(findings: &Diagnostics, config: &Config) -> String {
    format!(
        "{} (tiers: {}, seats: {}, limits: {}, upstreams: {}, routes: {}, accounts: {})",
        match findings.warnings() {
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
