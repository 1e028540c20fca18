//! Errors when the database is opened, read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A data folder, or the database in it, can't be opened. Nothing was changed.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the data folder.
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A command found no database, and no server was ever started here.
    Unused {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder was used, and its database is missing.
    Missing {
        /// Its path.
        file: PathBuf,
    },
    /// The database is damaged.
    Damaged {
        /// Its path.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file belongs to another program or another data folder.
    Foreign {
        /// Its path.
        file: PathBuf,
        /// What it seems to be.
        what: String,
    },
    /// The database was written by a newer tiergate.
    Newer {
        /// Its path.
        file: PathBuf,
        /// Its schema version.
        version: i64,
    },
    /// The folder holds files of an unreleased version.
    Outdated {
        /// One of them.
        file: PathBuf,
    },
    /// An I/O error.
    Disk {
        /// The failed action, to follow "can't".
        what: &'static str,
        /// The path concerned.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
}

impl OpenError {
    /// Wraps an I/O error of that action on that path.
    pub(in crate::store) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Disk { what, path, error }
    }

    /// Wraps SQLite's error with that file.
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
                "there is no database in {}: name the data folder with --data-dir, or start a server to create it",
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
            Self::Foreign { file, what } => write!(
                f,
                "the file {} is not this data folder's database ({what}): {RESTORE}",
                file.display()
            ),
            Self::Newer { file, version } => write!(
                f,
                "the database {} was written by a newer tiergate (its schema is version {version}, this program knows up to {}): \
                 run that version",
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
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => ": `data_dir` must be a folder",
        io::ErrorKind::PermissionDenied => ": it must belong to the user that runs tiergate",
        _ => "",
    }
}

/// SQLite's error as an I/O error, as far as possible.
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

/// The database can't be written at present, and the change was not made. Only if the disk failed during the commit itself may
/// it still appear after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError(pub(in crate::store) String);

impl WriteError {
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
