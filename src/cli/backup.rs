//! `tiergate backup` and `tiergate restore`: copy the database to one file, and back.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::operator;
use super::data::{self, DataTarget};
use super::progress::Progress;
use super::{CliError, ignore_broken_pipe, table};
use crate::store::audit::{Actor, Stamp};
use crate::store::backup::{self, Contents, Restored};

/// Files that no backup contains, and why that matters.
const NOT_IN_IT: [(&str, &str); 2] = [
    (
        "network.key",
        "without it the backup's addresses and users can't be identified, and their usage starts afresh after a restore",
    ),
    ("admin.token", "a new one is created at the next start"),
];

/// Back up the database to a file, whether a server runs or not.
///
/// The file holds accounts, hashes of API keys, networks, finished jobs and usage at one moment; only its owner can read it. It
/// does not contain network.key and admin.token: keep a copy of network.key apart from backups. The copy is written under
/// another name first, so the file is complete or absent.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate backup /var/backups/tiergate-2026-11-30.db")]
pub struct Backup {
    /// File to write
    file: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: DataTarget,
}

/// Restore a backup, while no server runs on the data folder.
///
/// The backup is verified and copied before anything changes. A folder with data needs --force; that data is moved to its
/// subfolder before-TIME, and nothing is deleted.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate restore /var/backups/tiergate-2026-11-30.db --key /root/network.key")]
pub struct RestoreArgs {
    /// Backup to restore
    file: PathBuf,
    /// The backup's network.key, if it is not in the data folder
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Restore into a folder with data, which is moved aside
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: DataTarget,
}

impl Backup {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

impl RestoreArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Makes the backup, and writes a summary to `out`.
///
/// # Errors
/// The backup failed; no file is left behind.
pub fn run(backup: &Backup, out: &mut impl Write) -> Result<(), CliError> {
    let (view, _) = backup.target.view()?;
    let bar = Progress::of_bytes();
    let made = backup::back_up(view, &backup.file, backup.force, |done, total| bar.update(done, total));
    drop(bar);
    let contents = made?;
    let file = backup.file.display();
    ignore_broken_pipe(match backup.target.json {
        true => {
            let without: Vec<&str> = NOT_IN_IT.iter().map(|(name, _)| *name).collect();
            let mut line = in_json(&contents, &backup.file);
            line["not_in_it"] = without.into();
            table::json(out, &line).map_err(CliError::Output)
        }
        false => {
            let written = writeln!(out, "{file}: {} bytes, {}", contents.bytes, summary(&contents));
            written
                .and_then(|()| writeln!(out, "Not in it:"))
                .and_then(|()| {
                    NOT_IN_IT
                        .iter()
                        .try_for_each(|(name, why)| writeln!(out, "  {name:<12} {why}"))
                })
                .map_err(CliError::Output)
        }
    })
}

/// Restores the backup, and writes a summary to `out`.
///
/// # Errors
/// Nothing was restored.
pub fn restore(restore: &RestoreArgs, out: &mut impl Write) -> Result<(), CliError> {
    let folder = restore.target.folder()?;
    let what = backup::Restore {
        folder: &folder,
        backup: &restore.file,
        key: restore.key.as_deref(),
        force: restore.force,
    };
    let stamp = Stamp::new(data::now(), Actor::command(operator().as_deref()));
    let bar = Progress::of_bytes();
    let restored = backup::restore(&what, &stamp, |done, total| bar.update(done, total));
    drop(bar);
    let restored = restored?;
    ignore_broken_pipe(match restore.target.json {
        true => {
            let mut line = in_json(&restored.contents, &folder);
            line["aside"] = restored.aside.map(|aside| aside.display().to_string()).into();
            line["has_key"] = restored.has_key.into();
            table::json(out, &line).map_err(CliError::Output)
        }
        false => tell(&restored, &folder, out).map_err(CliError::Output),
    })
}

fn tell(restored: &Restored, folder: &Path, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "restored into {}: {}",
        folder.display(),
        summary(&restored.contents)
    )?;
    if let Some(aside) = &restored.aside {
        writeln!(out, "the previous data is in {}", aside.display())?;
    }
    if !restored.has_key {
        writeln!(
            out,
            "There is no network.key in the folder: the next start creates one, and the usage of callers without an account \
             starts afresh. If you have the old one, put it there first, or restore again with --key FILE"
        )?;
    }
    Ok(())
}

fn summary(contents: &Contents) -> String {
    let Contents {
        jobs,
        accounts,
        last_job,
        ..
    } = contents;
    format!("accounts: {accounts}, finished jobs: {jobs} (newest: number {last_job})")
}

fn in_json(contents: &Contents, place: &Path) -> Value {
    json!({
        "path": place.display().to_string(),
        "bytes": contents.bytes,
        "jobs": contents.jobs,
        "accounts": contents.accounts,
        "last_job": contents.last_job,
    })
}
