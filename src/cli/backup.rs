//! `tiergate backup` and `tiergate restore`: a copy of the database in one file, and back.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::operator;
use super::data::{self, DataTarget};
use super::progress::Progress;
use super::{CliError, table, unless_enough};
use crate::store::audit::{Actor, Stamp};
use crate::store::backup::{self, Contents, Restored};

/// What no backup holds.
const NOT_IN_IT: [(&str, &str); 2] = [
    (
        "network.key",
        "without it nobody's addresses and users can be told from the backup, and they begin anew after a restore",
    ),
    ("admin.token", "a new one is made at a start"),
];

/// Copy the database to a file, while a server runs or not.
///
/// The file holds accounts, hashes of API keys, networks, finished jobs and usage as of one moment, and is for its owner only.
/// It does not hold network.key and admin.token: keep a copy of network.key apart from backups. Nothing is overwritten without
/// --force. The copy is written beside the file under another name first, so it is whole or not there.
///
/// Example: tiergate backup /var/backups/tiergate-2026-11-30.db
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write
    file: PathBuf,
    /// Overwrite it if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: DataTarget,
}

/// Put a backup back, while no server runs on the data folder.
///
/// The backup is checked and copied before anything is changed. In a folder that was used --force is needed; what is there is
/// moved to a folder before-TIME in it, and nothing is deleted.
///
/// Example: tiergate restore /var/backups/tiergate-2026-11-30.db --key /root/network.key
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup
    file: PathBuf,
    /// The network.key that belongs to it, if it is not in the data folder
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Restore into a folder that was used; what is there is moved aside
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: DataTarget,
}

impl Backup {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

impl Restore {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

/// Makes the backup, and says to `out` what it holds.
///
/// # Errors
/// There is none now; nothing is left behind.
pub fn run(backup: &Backup, out: &mut impl Write) -> Result<(), CliError> {
    let (view, _) = backup.target.view()?;
    let bar = Progress::of_bytes();
    let made = backup::back_up(view, &backup.file, backup.force, |done, total| bar.told(done, total));
    drop(bar);
    let contents = made?;
    let file = backup.file.display();
    unless_enough(match backup.target.json {
        true => {
            let without: Vec<&str> = NOT_IN_IT.iter().map(|(name, _)| *name).collect();
            let mut line = in_json(&contents, &backup.file);
            line["not_in_it"] = without.into();
            table::json(out, &line).map_err(CliError::Output)
        }
        false => {
            let written = writeln!(out, "{file}: {} bytes, {}", contents.bytes, told(&contents));
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

/// Puts it back, and says to `out` what was.
///
/// # Errors
/// It was not put back.
pub fn restore(restore: &Restore, out: &mut impl Write) -> Result<(), CliError> {
    let folder = restore.target.folder()?;
    let what = backup::Restore {
        folder: &folder,
        backup: &restore.file,
        key: restore.key.as_deref(),
        force: restore.force,
    };
    let stamp = Stamp::new(data::now(), Actor::command(operator().as_deref()));
    let bar = Progress::of_bytes();
    let restored = backup::restore(&what, &stamp, |done, total| bar.told(done, total));
    drop(bar);
    let restored = restored?;
    unless_enough(match restore.target.json {
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
    writeln!(out, "restored into {}: {}", folder.display(), told(&restored.contents))?;
    if let Some(aside) = &restored.aside {
        writeln!(out, "What was there is in {}", aside.display())?;
    }
    if !restored.has_key {
        writeln!(
            out,
            "There is no network.key in the folder: a start makes a new one, and what callers without an account have used begins \
             anew. If you have the old one, put it there before (or restore again with --key FILE)"
        )?;
    }
    Ok(())
}

fn told(contents: &Contents) -> String {
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
