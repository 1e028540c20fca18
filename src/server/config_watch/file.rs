//! Reads a file: its bytes, or why they can't be read. Bounded in size; blocks on nothing but the disk.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::config::FILE_BYTES_MAX;

/// A file's content: at most [`FILE_BYTES_MAX`] bytes and one more, which marks a file that is too long; or why it can't be read.
pub type Saved = Result<Vec<u8>, Unreadable>;

/// Why a file can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no such file.
    Gone,
    /// It is not a regular file: a folder, a device, a pipe.
    NoFile,
    /// The kind and text of the system's error.
    System(io::ErrorKind, String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("no such file"),
            Self::NoFile => f.write_str("it is not a regular file but a folder, a device or a pipe"),
            Self::System(_, words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            kind => Self::System(kind, error.to_string()),
        }
    }
}

/// Reads a file. Blocks on the disk.
///
/// # Errors
/// It doesn't exist, is no regular file, or the system refuses to read it.
pub fn read(file: &Path) -> Saved {
    read_unless(file, None).map(|(_, bytes)| bytes.unwrap_or_default())
}

/// Metadata that changes with a file's content: its location, length and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    length_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            length_bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// The file's stamp before reading, and its content, or `None` if the stamp equals `known`. Blocks on the disk.
pub(super) fn read_unless(file: &Path, known: Option<FileStamp>) -> Result<(FileStamp, Option<Vec<u8>>), Unreadable> {
    // Before opening: opening a device may have effects.
    let _found = regular(fs::metadata(file)?)?;
    // Network file systems revalidate on open, so the stamp is taken after it; by then the path may be a pipe.
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = opened.open(file)?;
    let stamp = FileStamp::of(&regular(file.metadata()?)?);
    if known == Some(stamp) {
        return Ok((stamp, None));
    }
    Ok((stamp, Some(bytes(&file)?)))
}

fn regular(found: Metadata) -> Result<Metadata, Unreadable> {
    if found.is_file() {
        Ok(found)
    } else {
        Err(Unreadable::NoFile)
    }
}

fn bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
