//! Backups: a copy of the database in one file, made while a server runs or not, and put back while none does.
//!
//! A copy is one read snapshot (`VACUUM INTO`): a copy page by page would begin anew at every commit. It goes to a file beside
//! the one that it becomes, for the owner only, and takes that name when it is whole and durable.

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

/// How the name of a file in the making ends.
const PARTIAL: &str = ".partial";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of the file.
    pub bytes: u64,
    /// Finished jobs that are there one by one.
    pub jobs: u64,
    /// Accounts, without those that were removed.
    pub accounts: u64,
    /// The number of the last job; 0: there was none.
    pub last_job: u64,
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What it holds.
    pub contents: Contents,
    /// Where the files are that were there before, if there were any.
    pub aside: Option<PathBuf>,
    /// Whether there is a key now by which addresses and users are found again.
    pub has_key: bool,
}

/// What is put back, and where.
#[derive(Clone, Copy, Debug)]
pub struct Restore<'p> {
    /// The data folder.
    pub folder: &'p Path,
    /// The backup.
    pub backup: &'p Path,
    /// The key that belongs to it.
    pub key: Option<&'p Path>,
    /// Whether a folder that was used may be used again; what is there is moved aside.
    pub force: bool,
}

/// Why there is no backup, or none was put back. Nothing was changed, unless it says so.
#[derive(Debug)]
pub enum BackupError {
    /// The file is there already.
    Exists(PathBuf),
    /// The file would be in the data folder.
    InDataFolder(PathBuf),
    /// The folder was used.
    Used(PathBuf),
    /// The folder is used by a running server.
    InUse(PathBuf),
    /// What is to be put back can't be: it is damaged, or no backup.
    Unfit(PathBuf, String),
    /// The key is none.
    Key(KeyError),
    /// The data folder or its database can't be opened.
    Open(OpenError),
    /// The copy could not be made.
    Copy(String),
    /// The system's error with that file.
    Disk(PathBuf, io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "{} is there already; --force overwrites it", path.display()),
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

/// A file in the making, which is gone with this unless it is kept.
struct Partial {
    path: PathBuf,
    /// Locked for as long as it is in the making. SQLite's locks are of another kind; what it has opened is closed before this.
    file: File,
}

impl Partial {
    /// An empty one beside `file`, for its owner only. Those that somebody has left behind who was killed are removed.
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

    /// Gives it that name once it is durable.
    fn keep(self, file: &Path, overwrite: bool) -> Result<(), BackupError> {
        let failed = |error| BackupError::Disk(file.to_owned(), error);
        self.file.sync_all().map_err(failed)?;
        match overwrite {
            true => fs::rename(&self.path, file).map_err(failed)?,
            false => match renameat_with(CWD, &self.path, CWD, file, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(rustix::io::Errno::EXIST) => return Err(BackupError::Exists(file.to_owned())),
                // Not every file system can; whether it is there was looked at before.
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
        // If it was kept, it has another name by now.
        let _removed = fs::remove_file(&self.path);
    }
}

/// Removes files in the making of that name that nobody makes any more. What can't be removed is in nobody's way.
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

/// Writes a copy of the database to that file. `told` hears how many bytes are written, and of about how many. Blocks.
///
/// # Errors
/// The file is there already and `force` is not given, or it can't be written, or the database can't be read. Nothing is left
/// behind.
pub fn back_up(view: View, file: &Path, force: bool, told: impl FnMut(u64, u64)) -> Result<Contents, BackupError> {
    if !force && file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let of_database = view.file().parent().and_then(inode);
    if inode(folder_of(file)).is_some_and(|folder| Some(folder) == of_database) {
        return Err(BackupError::InDataFolder(file.to_owned()));
    }
    let partial = Partial::beside(file)?;
    copy(view, &partial.path, told)?;
    let contents = contents(&partial.path)?;
    partial.keep(file, force)?;
    Ok(contents)
}

/// Copies the database into that empty file.
fn copy(view: View, to: &Path, mut told: impl FnMut(u64, u64)) -> Result<(), BackupError> {
    let failed = |error: rusqlite::Error| BackupError::Copy(error.to_string());
    let total = bytes_in_use(view.connection()).map_err(failed)?;
    let Some(name) = to.to_str() else {
        return Err(BackupError::Copy("the file's name is not text".to_owned()));
    };
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let copied = view.connection().execute("VACUUM INTO ?1", [name]);
            // Who waits for it is below.
            let _heard = done.send(copied);
        });
        loop {
            match ended.recv_timeout(TELL_EVERY) {
                Ok(copied) => return copied.map(drop).map_err(failed),
                Err(RecvTimeoutError::Timeout) => told(fs::metadata(to).map_or(0, |found| found.len()), total),
                Err(RecvTimeoutError::Disconnected) => return Err(BackupError::Copy("it broke off".to_owned())),
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

/// Puts a backup back. The files that are there are moved aside; none is removed. Blocks.
///
/// # Errors
/// A server runs on the folder, it was used and `force` is not given, the backup or the key can't be used, or the system refuses
/// something. Until the backup is checked and copied nothing is changed.
pub fn restore(what: &Restore<'_>, stamp: &Stamp, told: impl FnMut(u64, u64)) -> Result<Restored, BackupError> {
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
    copy(view, &partial.path, told)?;
    note(&partial.path, backup, stamp).map_err(|error| BackupError::Copy(error.to_string()))?;
    let contents = contents(&partial.path)?;
    let new_key = key.map(|key| copied_key(folder, key)).transpose()?;
    // From here on there is no way back, and a start says that the database is missing until it is there, with all that
    // belongs to it.
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

/// A backup that can be put back, and its id.
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

/// Writes into the copy that it was put back.
fn note(copy: &Path, backup: &Path, stamp: &Stamp) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    // One file, and nothing beside it: a log would keep the copy's name.
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
