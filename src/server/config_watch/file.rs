//! What stands in a file: its bytes, or why there are none. Bounded in bytes, and held up by nothing but a disk.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::config::FILE_BYTES_MAX;

/// What a file holds: at most [`FILE_BYTES_MAX`] bytes and one, which tells one that is too long; or why that can't be had.
pub type Saved = Result<Vec<u8>, Unreadable>;

/// Why a file can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// There is none of this name.
    Gone,
    /// The name is that of something else: a folder, a device, a pipe.
    NoFile,
    /// The system refuses it: the kind of its error, and its words.
    System(io::ErrorKind, String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("there is no such file"),
            Self::NoFile => f.write_str("it is a folder, a device or a pipe, and no file"),
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

/// What a file holds. Blocks on the disk.
///
/// # Errors
/// It is not there, is no file, or the system refuses it.
pub fn read(file: &Path) -> Saved {
    read_unless(file, None).map(|(_, bytes)| bytes.unwrap_or_default())
}

/// By what a file can be told from what it was: where it lies, how long it is and when it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
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

/// The file's stamp before it was read, and what it holds, or `None` if it has the stamp `known`. Blocks on the disk.
pub(super) fn read_unless(file: &Path, known: Option<Stamp>) -> Result<(Stamp, Option<Vec<u8>>), Unreadable> {
    // Before it is opened: a device may do something when it is.
    let _found = regular(fs::metadata(file)?)?;
    // A network's disk answers anew only when the file is opened, so its stamp is taken then; and by then it may be a pipe.
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = opened.open(file)?;
    let stamp = Stamp::of(&regular(file.metadata()?)?);
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
