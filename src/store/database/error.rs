//! Why the database can't be opened, read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a data folder, or the database in it, can't be opened. Nothing was changed.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the data folder.
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A command looks for a database where no server was ever started.
    Unused {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder was used, and its database is not there.
    Missing {
        /// Where it should be.
        file: PathBuf,
    },
    /// The database is not whole.
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file is another program's, or another data folder's.
    Foreign {
        /// Which file.
        file: PathBuf,
        /// Whose it seems to be.
        what: String,
    },
    /// The database was written by a newer version of the program.
    Newer {
        /// Which file.
        file: PathBuf,
        /// The version of its schema.
        version: i64,
    },
    /// The folder holds files of a version before the database.
    Outdated {
        /// One of them.
        file: PathBuf,
    },
    /// The system refuses something that must be done.
    Disk {
        /// What, as in "can't ... the folder".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl OpenError {
    /// The system's error while doing that at that place.
    pub(in crate::store) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Disk { what, path, error }
    }

    /// SQLite's error with that file.
    pub(in crate::store) fn sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign {
                file,
                what: "it is not an SQLite database".to_owned(),
            },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged {
                file,
                what: error.to_string(),
            },
            _ => Self::Disk {
                what: "use the database",
                path: file,
                error: as_io(error),
            },
        }
    }
}

const RESTORE: &str = "restore a backup (`tiergate restore`), or start empty with `tiergate serve --new-data`, which moves the \
                       old file aside";

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { folder } => {
                write!(f, "the data folder {} is in use by another tiergate", folder.display())
            }
            Self::Unused { folder } => write!(
                f,
                "there is no database in {}: name the data folder with --data-dir, or start a server, which makes it",
                folder.display()
            ),
            Self::Missing { file } => write!(
                f,
                "the database {} is missing, though its folder was used before: {RESTORE}",
                file.display()
            ),
            Self::Damaged { file, what } => {
                write!(f, "the database {} is damaged ({what}): {RESTORE}", file.display())
            }
            Self::Foreign { file, what } => write!(f, "the file {} is foreign: {what}: {RESTORE}", file.display()),
            Self::Newer { file, version } => write!(
                f,
                "the database {} was written by a newer tiergate (its schema is version {version}, this program knows up to {}): run \
                 that version",
                file.display(),
                super::connection::SCHEMA_VERSION,
            ),
            Self::Outdated { file } => write!(
                f,
                "{} is of an unreleased version of tiergate, which this one can't read: move the folder's contents away, or name \
                 another folder with `data_dir`",
                file.display()
            ),
            Self::Disk { what, path, error } => {
                write!(f, "can't {what} {}{} ({error})", path.display(), hint(error.kind()))
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { error, .. } => Some(error),
            _ => None,
        }
    }
}

fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => ": it is read-only",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => ": it is no folder, as `data_dir` must be",
        io::ErrorKind::PermissionDenied => ": it must belong to the user that tiergate runs as",
        _ => "",
    }
}

/// SQLite's error as the system's, as far as it is one.
fn as_io(error: &rusqlite::Error) -> io::Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
        Some(ErrorCode::CannotOpen) => io::ErrorKind::NotFound,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => io::ErrorKind::WouldBlock,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

/// The database can't be written at present. What was asked for has not taken place, unless the system failed at the very
/// moment of its commit: then a crash may still show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError(pub(in crate::store) String);

impl WriteError {
    /// SQLite's error with that file.
    pub(super) fn of(error: &rusqlite::Error, file: Option<&str>) -> Self {
        let why = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "the disk is full",
            Some(ErrorCode::ReadOnly) => "it is read-only",
            _ => return Self(error.to_string()),
        };
        Self(format!(
            "can't write to {}: {why} ({error})",
            file.unwrap_or("the database")
        ))
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

/// The database can't be read at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub(in crate::store) String);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self(match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                format!("the database is damaged ({error}): {RESTORE}")
            }
            _ => error.to_string(),
        })
    }
}
