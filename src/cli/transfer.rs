//! `tiergate account import` and `export`: bulk transfer of accounts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{AdminClient, escaped};
use super::progress::Progress;
use super::{CliError, table};

/// The largest import that a server accepts, in bytes.
const IMPORT_BYTES_MAX: usize = 512 << 20;
/// The number of changes shown.
const SHOWN_MAX: usize = 50;
/// Mode of an export, which has email addresses and perhaps hashes of keys.
const FILE_MODE: u32 = 0o600;

/// Arguments of `account import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File to import; `-` for standard input
    file: String,
    /// Update existing accounts with the fields in the file; other fields and keys are kept
    #[arg(long)]
    update: bool,
    /// Show what would change, without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Record this source for new accounts, such as `sponsors`
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Remove accounts of the source that are not in the file; more than a tenth of them only with --yes
    #[arg(long, requires = "source", requires = "update")]
    remove_missing: bool,
    /// Confirm the removal of more than a tenth of the source's accounts
    #[arg(long)]
    yes: bool,
}

/// Arguments of `account export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Include the SHA-256 of each unexpired key, so that keys keep working after an import elsewhere
    #[arg(long)]
    keys: bool,
    /// Write to this file instead of standard output, readable only by its owner
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long, requires = "output")]
    force: bool,
}

impl ImportArgs {
    /// Imports the file, and shows the changes.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn run(self, client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
        let bytes = read(&self.file)?;
        let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
        let kind = if is_json { "application/x-ndjson" } else { "text/csv" };
        let progress = Progress::waiting_for(format!("importing {} KiB", bytes.len().div_ceil(1_024)));
        let answer = client.send(&Method::POST, &self.path(), kind, bytes.into())?;
        drop(progress);
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| client.no_answer("it is not JSON"))?;
        if json {
            return Ok(table::json(out, &answer)?);
        }
        if self.update || self.dry_run {
            show_changes(&answer, out)?;
        }
        let accounts = if self.dry_run { "accounts (dry run)" } else { "accounts" };
        writeln!(
            out,
            "{accounts}: {} added, {} updated, {} removed, {} unchanged; new keys: {}",
            answer["added"], answer["updated"], answer["removed"], answer["unchanged"], answer["keys_added"],
        )?;
        if answer["needs_yes"] == true {
            writeln!(
                out,
                "this would remove more than a tenth of the source's accounts: pass --yes to confirm"
            )?;
        }
        Ok(())
    }

    fn path(&self) -> String {
        let flags = [
            ("update", self.update),
            ("dry_run", self.dry_run),
            ("remove_missing", self.remove_missing),
            ("yes", self.yes),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        let mut query: Vec<String> = set.map(|(name, _)| format!("{name}=1")).collect();
        query.extend(self.source.iter().map(|source| format!("source={}", escaped(source))));
        format!("/accounts/import?{}", query.join("&"))
    }
}

fn read(file: &str) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let most = IMPORT_BYTES_MAX as u64 + 1;
    let read = if file == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| CliError::Input(file.to_owned(), error))?;
    match bytes.len() > IMPORT_BYTES_MAX {
        true => Err(CliError::Unfit(format!(
            "{file} is longer than {} MiB; import it in parts",
            IMPORT_BYTES_MAX >> 20
        ))),
        false => Ok(bytes),
    }
}

fn show_changes(answer: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let changes = answer["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        return Ok(());
    }
    let row = |change: &Value| {
        let field = |(name, values): (&String, &Value)| {
            format!("{name}: {} → {}", table::cell(&values[0]), table::cell(&values[1]))
        };
        let fields = change["fields"].as_object().into_iter().flatten().map(field);
        let fields = fields.collect::<Vec<_>>().join(", ");
        [
            table::cell(&change["change"]),
            table::cell(&change["name"]),
            table::cell(&change["tier"]),
            table::cell(&change["keys_added"]),
            table::cell(&fields.into()),
        ]
    };
    let rows: Vec<_> = changes.iter().take(SHOWN_MAX).map(row).collect();
    table::write(out, ["CHANGE", "NAME", "TIER", "NEW KEYS", "FIELDS"], &rows)?;
    let counts = ["added", "updated", "removed"].map(|count| answer[count].as_u64().unwrap_or(0));
    let more = counts.iter().sum::<u64>().saturating_sub(rows.len() as u64);
    if more > 0 {
        writeln!(out, "and {more} more")?;
    }
    Ok(())
}

impl ExportArgs {
    /// Writes the export.
    ///
    /// # Errors
    /// The server doesn't answer, or the file exists or can't be written. No partial file is left; an old file stays.
    pub fn run(self, client: &AdminClient, out: &mut impl Write) -> Result<(), CliError> {
        let path = match self.keys {
            true => "/accounts/export?keys=1",
            false => "/accounts/export",
        };
        let Some(file) = &self.output else {
            return client.copy(path, out);
        };
        let failed = |error| unwritten(file, &error);
        if !self.force && fs::symlink_metadata(file).is_ok() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let beside = ReplacementFile::of(file).map_err(failed)?;
        let mut writer = BufWriter::new(&beside.file);
        let progress = Progress::waiting_for("exporting".to_owned());
        client.copy(path, &mut writer)?;
        drop(progress);
        writer.flush().map_err(failed)?;
        drop(writer);
        beside.take_place(file, self.force).map_err(failed)
    }
}

fn unwritten(file: &Path, error: &io::Error) -> CliError {
    let file = file.display();
    CliError::Unfit(match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{file} exists; pass --force to overwrite it"),
        _ => format!("can't write {file}: {error}"),
    })
}

/// A temporary file that replaces another once complete, and is removed otherwise.
struct ReplacementFile {
    file: File,
    path: PathBuf,
}

impl ReplacementFile {
    fn of(file: &Path) -> io::Result<Self> {
        let mut name = file.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        name.push(format!(".new.{}", std::process::id()));
        let path = file.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)?;
        Ok(Self { file, path })
    }

    fn take_place(&self, file: &Path, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match force {
            true => fs::rename(&self.path, file),
            // A hard link doesn't overwrite a file created meanwhile.
            false => fs::hard_link(&self.path, file),
        }
    }
}

impl Drop for ReplacementFile {
    fn drop(&mut self) {
        // Fails after a rename.
        let _ = fs::remove_file(&self.path);
    }
}
