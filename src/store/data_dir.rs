//! The data folder: which process holds it, and whether its database is the expected one.
//!
//! | file | what |
//! |---|---|
//! | `tiergate.db`, `-wal`, `-shm` | the database, which only SQLite opens |
//! | `id` | marks a used folder: written after the database's first commit, and held in it too |
//! | `running` | exists from a start until a clean stop has truncated the write-ahead log |
//! | `lock` | locked by the process that holds the folder |
//!
//! A used folder is refused if its database is missing, damaged or another's, so that no data is silently lost.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::database::OpenError;
use super::database::connection::{self, APPLICATION_ID};
use super::database::wal;
use super::pseudonym::KEY_FILE;
use crate::policy::time::UnixTime;

/// The database's file in the data folder.
pub const DATABASE_FILE: &str = "tiergate.db";
/// Marks a used folder.
pub const ID_FILE: &str = "id";
/// Exists while a server runs, and after one that did not stop cleanly.
pub const RUNNING_FILE: &str = "running";
/// The file that the holder of the folder locks.
pub const LOCK_FILE: &str = "lock";

const FOLDER_MODE: u32 = 0o700;
/// Readable by the owner only.
pub(super) const FILE_MODE: u32 = 0o600;
/// Files of unreleased versions, which had no database.
const OUTDATED: [&str; 2] = ["journal", "accounts.redb"];
/// The size of SQLite's header, and its magic string (<https://sqlite.org/fileformat2.html#the_database_header>).
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 32;

/// The folder that collects moved files until all are moved.
const ASIDE_BEGUN: &str = "before.new";

/// What happens to an existing database at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldData {
    /// It is used.
    #[default]
    Use,
    /// It is moved aside, even if damaged, and an empty one is created.
    SetAside,
}

/// A data folder, held exclusively while this exists.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closing the file releases the lock. `None` once released.
    lock: Mutex<Option<File>>,
}

/// The state of a data folder before its database is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FolderState {
    /// Nothing was ever committed here.
    New,
    /// It was used. The id is that of [`ID_FILE`], if it was written.
    Used {
        /// See [`ID_FILE`].
        id: Option<String>,
        /// The file is shorter than its header says; only its write-ahead log can explain that.
        short: bool,
    },
}

impl DataDir {
    /// Takes the folder; creates it and its parents if needed.
    ///
    /// # Errors
    /// It is in use, holds files of an unreleased version, or an I/O error.
    pub fn take(path: &Path) -> Result<Self, OpenError> {
        make_folder(path).map_err(OpenError::disk("make the data folder", path))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = path.join(LOCK_FILE);
        let lock = options
            .open(&file)
            .map_err(OpenError::disk("make the lock in the data folder", &file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    folder: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::disk("take the lock", &file)(error)),
        }
        if let Some(outdated) = OUTDATED.iter().map(|name| path.join(name)).find(|file| file.exists()) {
            return Err(OpenError::Outdated { file: outdated });
        }
        Ok(Self {
            path: path.to_owned(),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Releases the folder to other processes.
    pub(super) fn release(&self) {
        *self.lock.lock() = None;
    }

    /// The path of its database, which may not exist yet.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }

    /// Moves the database aside with its write-ahead log and the marks of its use, even if damaged, so that an empty one can be
    /// created. Deletes nothing. Returns where it was moved to; `None` if there was nothing to move.
    ///
    /// # Errors
    /// An I/O error.
    pub fn set_aside(&self, now: UnixTime) -> Result<Option<PathBuf>, OpenError> {
        let database = self.database();
        let files = [
            database.clone(),
            wal(&database),
            shm(&database),
            self.path.join(ID_FILE),
            self.path.join(RUNNING_FILE),
        ];
        self.move_aside(&files, now)
    }

    /// Whether the folder has or had a database.
    pub(super) fn was_used(&self) -> bool {
        let database = self.database();
        let marks = [database.clone(), wal(&database), self.path.join(ID_FILE)];
        marks.iter().any(|file| file.symlink_metadata().is_ok())
    }

    /// Moves the database aside to be replaced, with the key if that is replaced too. The mark of a used folder stays: a start in
    /// between finds the database missing. Returns where it was moved to; `None` if there was nothing to move.
    ///
    /// # Errors
    /// An I/O error.
    pub(super) fn make_room(&self, now: UnixTime, with_key: bool) -> Result<Option<PathBuf>, OpenError> {
        let database = self.database();
        let mut files = vec![
            database.clone(),
            wal(&database),
            shm(&database),
            self.path.join(RUNNING_FILE),
        ];
        files.extend(with_key.then(|| self.path.join(KEY_FILE)));
        self.move_aside(&files, now)
    }

    /// Moves those files that exist into a new folder, or continues a move that was killed.
    fn move_aside(&self, files: &[PathBuf], now: UnixTime) -> Result<Option<PathBuf>, OpenError> {
        let there: Vec<&PathBuf> = files.iter().filter(|file| file.symlink_metadata().is_ok()).collect();
        let begun = self.path.join(ASIDE_BEGUN);
        let place = |file: &PathBuf| begun.join(file.file_name().unwrap_or_default());
        if there.iter().any(|file| place(file).symlink_metadata().is_ok()) {
            // These belong to another database, which was whole since.
            self.name_aside(&begun, now)?;
        }
        if there.is_empty() && !begun.exists() {
            return Ok(None);
        }
        match DirBuilder::new().mode(FOLDER_MODE).create(&begun) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(OpenError::disk("make the folder", &begun)(error));
            }
            _ => {}
        }
        for file in there {
            fs::rename(file, place(file)).map_err(OpenError::disk("move aside", file))?;
        }
        self.name_aside(&begun, now).map(Some)
    }

    /// Renames the folder of moved files to its final name.
    fn name_aside(&self, begun: &Path, now: UnixTime) -> Result<PathBuf, OpenError> {
        let mut at = now.as_millis();
        let name = |at| self.path.join(format!("before-{at}"));
        while name(at).exists() {
            at += 1;
        }
        let aside = name(at);
        fs::rename(begun, &aside).map_err(OpenError::disk("name the folder", &aside))?;
        self.sync().map_err(OpenError::disk("sync the folder", &self.path))?;
        Ok(aside)
    }

    /// Checks whether the database may be opened. Opens the file, so call it before SQLite does: closing it drops SQLite's locks.
    ///
    /// # Errors
    /// The folder was used, and its database is missing, damaged, or another's.
    pub(super) fn inspect(&self) -> Result<FolderState, OpenError> {
        let file = self.database();
        let id = self.id()?;
        let length = match fs::metadata(&file) {
            Ok(found) if found.is_file() => Some(found.len()),
            Ok(_) => {
                return Err(OpenError::Foreign {
                    file,
                    what: "it is not a regular file".to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(OpenError::disk("look for the database", &file)(error)),
        };
        match (length, &id) {
            (None, Some(_)) => return Err(OpenError::Missing { file }),
            // A server runs only after the id is written.
            (None, None) if self.path.join(RUNNING_FILE).exists() => return Err(OpenError::Missing { file }),
            // A start that died before its database was whole.
            (None | Some(0), None) => return Ok(FolderState::New),
            (Some(0), Some(_)) => {
                return Err(damaged(file, "it is empty"));
            }
            (Some(_), _) => {}
        }
        let short = self.look_at_header(&file, length.unwrap_or(0))?;
        if id.is_some() && self.path.join(RUNNING_FILE).exists() && !wal(&file).exists() {
            return Err(log_gone(file));
        }
        Ok(FolderState::Used { id, short })
    }

    /// Whether the file is shorter than its header says.
    fn look_at_header(&self, file: &Path, length: u64) -> Result<bool, OpenError> {
        let mut header = [0; HEADER_BYTES];
        let read = File::open(file).and_then(|mut open| open.read_exact(&mut header));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(file.to_owned(), "it is cut off within its header"));
            }
            read => read.map_err(OpenError::disk("read the database", file))?,
        }
        if &header[..16] != MAGIC {
            return Err(match header.iter().all(|byte| *byte == 0) {
                true => damaged(file.to_owned(), "it begins with zeros"),
                false => OpenError::Foreign {
                    file: file.to_owned(),
                    what: "it is not an SQLite database".to_owned(),
                },
            });
        }
        let number = |at: usize| {
            let [a, b, c, d] = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u64::from(u32::from_be_bytes([a, b, c, d]))
        };
        if number(68) != APPLICATION_ID as u64 {
            return Err(OpenError::Foreign {
                file: file.to_owned(),
                what: "it is another program's database".to_owned(),
            });
        }
        // 1 means 65,536 (§1.3.2 there).
        let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            page => page,
        };
        let short = length < number(28) * page;
        if short && !wal(file).metadata().is_ok_and(|wal| wal.len() > 0) {
            let what = format!("it has {length} bytes, and its header says {}", number(28) * page);
            return Err(damaged(file.to_owned(), &what));
        }
        Ok(short)
    }

    /// Creates an empty database for the owner only, all or nothing: an interrupted start leaves no file that looks damaged.
    /// SQLite gives its log and other files the same owner and mode.
    pub(super) fn make_database(&self) -> Result<(), OpenError> {
        let (file, new) = (self.database(), self.path.join(format!("{DATABASE_FILE}.new")));
        let failed = || OpenError::disk("make the database", &new);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        drop(options.open(&new).map_err(failed())?);
        connection::create(&new)?;
        let kept = File::open(&new).and_then(|made| made.sync_all());
        kept.map_err(failed())?;
        fs::rename(&new, &file).map_err(failed())?;
        self.sync().map_err(failed())
    }

    /// Reads [`ID_FILE`].
    fn id(&self) -> Result<Option<String>, OpenError> {
        let file = self.path.join(ID_FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::disk("read", &file)(error)),
        }
    }

    /// Marks the folder as used by the database of that id.
    pub(super) fn write_id(&self, id: &str) -> Result<(), OpenError> {
        self.write(ID_FILE, &format!("{id}\n"))
    }

    /// Marks that a server runs. The write-ahead log must exist by now.
    pub(super) fn mark_running(&self) -> Result<(), OpenError> {
        self.write(RUNNING_FILE, "")
    }

    /// Marks a clean stop, with a truncated log.
    pub(super) fn mark_stopped(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(RUNNING_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.sync()
    }

    /// Writes a small file durably, all or nothing.
    fn write(&self, name: &str, text: &str) -> Result<(), OpenError> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            self.sync()
        });
        written.map_err(OpenError::disk("write", &path))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// The last run did not stop cleanly, and the write-ahead log is missing.
pub(super) fn log_gone(file: PathBuf) -> OpenError {
    let what = format!(
        "the last run did not stop cleanly, and its log {} is gone; if another program has opened the database since and \
         checkpointed the log, remove {} and start again",
        wal(&file).display(),
        file.with_file_name(RUNNING_FILE).display()
    );
    damaged(file, &what)
}

/// Creates the folder and its parents, durably.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A new random id.
pub(super) fn new_id() -> io::Result<String> {
    let mut random = [0; ID_DIGITS / 2];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn damaged(file: PathBuf, what: &str) -> OpenError {
    OpenError::Damaged {
        file,
        what: what.to_owned(),
    }
}

fn shm(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-shm");
    PathBuf::from(name)
}
