//! A file of a few lines that somebody names, such as one with a token: read whole, and never waited for.
//!
//! Absent on purpose: what stands in it.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The text in that file, or its first `max` bytes and one more: whoever gets more than `max` knows that it is too long.
///
/// # Errors
/// It can't be read, is no text, or is no regular file: a pipe could be waited for without end, and is empty when it is read again.
pub fn read(path: &Path, max: usize) -> io::Result<String> {
    // Before it is opened: a device may do something when it is.
    let _found = regular(fs::metadata(path)?)?;
    // By then it may be a pipe, to which nobody might ever write.
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
