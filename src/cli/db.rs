//! `tiergate db verify`: check the integrity of a database or a backup.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::data::DataTarget;
use super::{CliError, ignore_broken_pipe, table};
use crate::store::verify::Check;
use crate::store::{OpenError, View};

/// Maintain the database.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate db verify")]
pub struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
    #[command(flatten)]
    target: DataTarget,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Verify the database: its integrity, and its sums against its rows
    ///
    /// Reads the whole database, whether a server runs or not, and changes nothing. Exit code 1 if anything is wrong.
    #[command(after_help = "Example: tiergate db verify /var/backups/tiergate-2026-11-30.db")]
    Verify {
        /// Backup to verify instead of the database in the data folder
        file: Option<PathBuf>,
    },
}

impl DbArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Verifies the database, and writes the results to `out`. Returns whether everything is right.
///
/// # Errors
/// The database can't be read.
pub fn run(db: &DbArgs, out: &mut impl Write) -> Result<bool, CliError> {
    let DbCommand::Verify { file } = &db.command;
    let opened = match file {
        Some(file) => {
            let input = |error| CliError::Input(file.display().to_string(), error);
            std::fs::metadata(file).map_err(input)?;
            View::open_file(file).map_err(CliError::Open)
        }
        None => db.target.view().map(|(view, _)| view),
    };
    let mut all = Vec::new();
    let mut told = Ok(());
    let mut done = |check: Check| {
        if !db.target.json && told.is_ok() {
            told = tell(&check, out);
        }
        all.push(check);
    };
    let name = match opened {
        Ok(mut view) => {
            view.verify(done)?;
            view.file().display().to_string()
        }
        Err(CliError::Open(OpenError::Damaged { file, what })) => {
            done(Check::damaged(what));
            file.display().to_string()
        }
        Err(error) => return Err(error),
    };
    let is_ok = all.iter().all(Check::is_ok);
    if db.target.json {
        let checks: Vec<Value> = all.iter().map(in_json).collect();
        told = table::json(out, &json!({ "file": name, "ok": is_ok, "checks": checks }));
    } else if told.is_ok() && !is_ok {
        told = writeln!(
            out,
            "{name} failed verification: restore a backup (`tiergate restore`), or keep the file and report this"
        );
    }
    ignore_broken_pipe(told.map_err(CliError::Output))?;
    Ok(is_ok)
}

fn tell(check: &Check, out: &mut impl Write) -> std::io::Result<()> {
    let word = if check.is_ok() { "ok   " } else { "wrong" };
    writeln!(out, "{word}  {}", check.name)?;
    for wrong in &check.wrong {
        writeln!(out, "         {wrong}")?;
    }
    match check.count - check.wrong.len() as u64 {
        0 => Ok(()),
        more => writeln!(out, "         and {more} more"),
    }
}

fn in_json(check: &Check) -> Value {
    json!({ "name": check.name, "ok": check.is_ok(), "wrong": check.wrong, "count": check.count })
}
