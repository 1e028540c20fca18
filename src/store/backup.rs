//! Backups: the database copied into one file, with or without a running server, and restored while none runs.
//!
//! A copy is one read snapshot (`VACUUM INTO`): a page-by-page copy would restart at every commit. It is written to a partial
//! file beside its target, readable by the owner only, and renamed once it is whole and durable.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::audit::{self, Stamp};
use super::data_dir::{DATABASE_FILE, DataDir, FILE_MODE};
use super::database::OpenError;
use super::pseudonym::{KEY_FILE, KeyError, Pseudonyms};
use super::retention::bytes_in_use;
use super::rows;
use super::view::View;

/// The suffix of partial files.
const PARTIAL: &str = ".partial";
/// How often progress is reported.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The contents of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Finished jobs that are kept singly.
    pub jobs: u64,
    /// Accounts, without removed ones.
    pub accounts: u64,
    /// The number of the last job; 0 without one.
    pub last_job: u64,
}

/// A finished restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The contents of the backup.
    pub contents: Contents,
    /// The folder to which the previous files were moved, if there were any.
    pub aside: Option<PathBuf>,
    /// Whether there is a key now, by which addresses and users keep their counters.
    pub has_key: bool,
}

/// What to restore, and where.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'p> {
    /// The data folder.
    pub folder: &'p Path,
    /// The backup.
    pub backup: &'p Path,
    /// The key that belongs to the backup.
    pub key: Option<&'p Path>,
    /// Whether a used folder may be overwritten; its files are moved aside.
    pub force: bool,
}

/// A backup or a restore failed. Nothing was changed unless the text says so.
#[derive(Debug)]
pub enum BackupError {
    /// The file already exists.
    Exists(PathBuf),
    /// The file would be in the data folder.
    InDataFolder(PathBuf),
    /// The folder was used before.
    Used(PathBuf),
    /// The folder is used by a running server.
    InUse(PathBuf),
    /// The backup can't be restored: it is damaged, or not a backup.
    Unfit(PathBuf, String),
    /// The key file is not a key.
    Key(KeyError),
    /// The data folder or its database can't be opened.
    Open(OpenError),
    /// The copy could not be made.
    Copy(String),
    /// An I/O error with that file.
    Disk(PathBuf, io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "{} already exists; --force overwrites it", path.display()),
            Self::InDataFolder(path) => write!(
                f,
                "{} is in the data folder, whose files only the server writes: name another place",
                path.display()
            ),
            Self::Used(folder) => write!(
                f,
                "the data folder {} was used before; --force moves its database aside and restores the backup",
                folder.display()
            ),
            Self::InUse(folder) => write!(
                f,
                "a server is running on the data folder {}: stop it first",
                folder.display()
            ),
            Self::Unfit(path, what) => write!(f, "{} can't be restored: {what}", path.display()),
            Self::Key(error) => error.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Copy(what) => write!(f, "the copy could not be made: {what}"),
            Self::Disk(path, error) => write!(f, "can't write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BackupError {}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InUse { folder } => Self::InUse(folder),
            error => Self::Open(error),
        }
    }
}

/// A partial file, deleted on drop unless it is kept.
struct Partial {
    path: PathBuf,
    /// Locked while it is partial. SQLite uses another kind of lock, and closes its descriptors before this one.
    file: File,
}

impl Partial {
    /// Creates an empty one beside `file`, for the owner only, and removes those that killed processes left behind.
    fn beside(file: &Path) -> Result<Self, BackupError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        remove_left_behind(folder_of(file), &format!(".{name}."));
        let path = file.with_file_name(format!(".{name}.{}{PARTIAL}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let made = options.open(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(BackupError::Disk(path, error)),
        }
    }

    /// Renames it to `file` once it is durable.
    fn keep(self, file: &Path, overwrite: bool) -> Result<(), BackupError> {
        let failed = |error| BackupError::Disk(file.to_owned(), error);
        self.file.sync_all().map_err(failed)?;
        match overwrite {
            true => fs::rename(&self.path, file).map_err(failed)?,
            false => match renameat_with(CWD, &self.path, CWD, file, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(rustix::io::Errno::EXIST) => return Err(BackupError::Exists(file.to_owned())),
                // Not every file system supports it; the caller has checked for an existing file.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    fs::rename(&self.path, file).map_err(failed)?;
                }
                Err(error) => return Err(failed(error.into())),
            },
        }
        File::open(folder_of(file))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A kept file has its new name by now.
        let _removed = fs::remove_file(&self.path);
    }
}

/// Removes partial files of that name that no process holds. Failures don't matter.
fn remove_left_behind(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_partial = |name: &str| name.starts_with(prefix) && name.ends_with(PARTIAL);
        if !name.to_str().is_some_and(is_partial) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let mut journal = entry.path().into_os_string();
            journal.push("-journal");
            let _removed = (fs::remove_file(entry.path()), fs::remove_file(journal));
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Writes a copy of the database to that file. `progress` gets the bytes written and the approximate total. Blocks.
///
/// # Errors
/// The file exists without `force`, it can't be written, or the database can't be read. Nothing is left behind.
pub fn back_up(view: View, file: &Path, force: bool, progress: impl FnMut(u64, u64)) -> Result<Contents, BackupError> {
    if !force && file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let of_database = view.file().parent().and_then(inode);
    if inode(folder_of(file)).is_some_and(|folder| Some(folder) == of_database) {
        return Err(BackupError::InDataFolder(file.to_owned()));
    }
    let partial = Partial::beside(file)?;
    copy(view, &partial.path, progress)?;
    let contents = contents(&partial.path)?;
    partial.keep(file, force)?;
    Ok(contents)
}

/// Copies the database into that empty file.
fn copy(view: View, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), BackupError> {
    let failed = |error: rusqlite::Error| BackupError::Copy(error.to_string());
    let total = bytes_in_use(view.connection()).map_err(failed)?;
    let Some(name) = to.to_str() else {
        return Err(BackupError::Copy("the file's name is not text".to_owned()));
    };
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let copied = view.connection().execute("VACUUM INTO ?1", [name]);
            // The receiver below outlives this thread.
            let _heard = done.send(copied);
        });
        loop {
            match ended.recv_timeout(TELL_EVERY) {
                Ok(copied) => return copied.map(drop).map_err(failed),
                Err(RecvTimeoutError::Timeout) => progress(fs::metadata(to).map_or(0, |found| found.len()), total),
                Err(RecvTimeoutError::Disconnected) => return Err(BackupError::Copy("it was interrupted".to_owned())),
            }
        }
    })
}

fn contents(file: &Path) -> Result<Contents, BackupError> {
    let mut view = View::open_file(file)?;
    let read = view.read(|connection| {
        let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
        Ok(Contents {
            bytes: fs::metadata(file).map_or(0, |found| found.len()),
            jobs: count("SELECT count(*) FROM job")?,
            accounts: count("SELECT count(*) FROM account WHERE removed_at IS NULL")?,
            last_job: count("SELECT coalesce(max(number), 0) FROM job")?,
        })
    });
    read.map_err(|error| BackupError::Copy(error.to_string()))
}

/// Restores a backup. Existing files are moved aside, never deleted. Blocks.
///
/// # Errors
/// A server runs on the folder, the folder was used and `force` is not given, the backup or the key can't be used, or an I/O
/// error. Nothing changes until the backup is checked and copied.
pub fn restore(what: &Restore<'_>, stamp: &Stamp, progress: impl FnMut(u64, u64)) -> Result<Restored, BackupError> {
    let Restore {
        folder,
        backup,
        key,
        force,
    } = *what;
    let (view, id) = checked(backup)?;
    if let Some(key) = key {
        Pseudonyms::read_file(key).map_err(BackupError::Key)?;
    }
    let dir = DataDir::take(folder)?;
    if !force && dir.was_used() {
        return Err(BackupError::Used(folder.to_owned()));
    }
    let database = folder.join(DATABASE_FILE);
    let partial = Partial::beside(&database)?;
    copy(view, &partial.path, progress)?;
    note(&partial.path, backup, stamp).map_err(|error| BackupError::Copy(error.to_string()))?;
    let contents = contents(&partial.path)?;
    let new_key = key.map(|key| copied_key(folder, key)).transpose()?;
    // No way back from here: until the database and all that belongs to it are in place, a start reports it missing.
    let aside = dir.make_room(stamp.at, new_key.is_some())?;
    dir.write_id(&id)?;
    if let Some(new) = new_key {
        new.keep(&folder.join(KEY_FILE), true)?;
    }
    partial.keep(&database, true)?;
    Ok(Restored {
        contents,
        aside,
        has_key: folder.join(KEY_FILE).exists(),
    })
}

/// Opens a restorable backup; also returns its id.
fn checked(backup: &Path) -> Result<(View, String), BackupError> {
    let unfit = |what: &str| BackupError::Unfit(backup.to_owned(), what.to_owned());
    match fs::metadata(backup) {
        Ok(found) if !found.is_file() => return Err(unfit("it is not a regular file")),
        Ok(found) if found.len() == 0 => return Err(unfit("it is empty")),
        Ok(_) => {}
        Err(error) => return Err(unfit(&error.to_string())),
    }
    let opened = View::open_file(backup).map_err(|error| match error {
        OpenError::Damaged { what, .. } => unfit(&format!("it is damaged ({what})")),
        OpenError::Foreign { what, .. } => unfit(&what),
        OpenError::Newer { version, .. } => unfit(&format!(
            "it was written by a newer tiergate (its schema is version {version}): restore it with that version"
        )),
        error => unfit(&error.to_string()),
    })?;
    let connection = opened.connection();
    let check: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match check {
        Ok(found) if found == "ok" => {}
        Ok(found) => return Err(unfit(&format!("it is damaged ({found})"))),
        Err(error) => return Err(unfit(&format!("it is damaged ({error})"))),
    }
    match rows::meta(connection, "id") {
        Ok(Some(id)) => Ok((opened, id)),
        Ok(None) => Err(unfit("no server has used it: it has no id")),
        Err(error) => Err(unfit(&format!("it is damaged ({error})"))),
    }
}

/// Records the restore in the copy's audit log.
fn note(copy: &Path, backup: &Path, stamp: &Stamp) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    // No files beside it: a write-ahead log would keep the partial file's name.
    connection.pragma_update_and_check(None, "journal_mode", "memory", |row| row.get::<_, String>(0))?;
    let name = backup.display().to_string();
    audit::insert(&connection, stamp, "restore", &name, &serde_json::json!({}))
}

fn copied_key(folder: &Path, key: &Path) -> Result<Partial, BackupError> {
    let partial = Partial::beside(&folder.join(KEY_FILE))?;
    let copied = fs::read(key).and_then(|text| fs::write(&partial.path, text));
    copied.map_err(|error| BackupError::Disk(partial.path.clone(), error))?;
    Ok(partial)
}
