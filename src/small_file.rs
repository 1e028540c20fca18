//! Reads a small file named in the configuration, such as one that holds a token, without ever blocking on it.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads at most `max + 1` bytes of the file: a longer result than `max` means that the file is too long.
///
/// # Errors
/// The file can't be read, is not UTF-8, or is not a regular file: a pipe could block without end, and is empty when it is
/// read again.
pub fn read(path: &Path, max: usize) -> io::Result<String> {
    // Check before opening: opening a device may have side effects.
    let _found = regular(fs::metadata(path)?)?;
    // The path may have become a pipe since. Don't block on it.
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = opened.open(path)?;
    let _found = regular(file.metadata()?)?;
    let mut text = String::new();
    file.take(max as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn regular(found: Metadata) -> io::Result<Metadata> {
    if found.is_file() {
        return Ok(found);
    }
    let why = "it is a folder, a device or a pipe, and no file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
