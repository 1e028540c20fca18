//! Where the admin listener of a running door is, as the door has written it into its data folder: so commands find a door whose
//! tiers.yaml was edited to say otherwise from the next start on, and one that the command line has told otherwise.
//!
//! Absent on purpose: whether it still runs. One that was killed leaves its address behind; who asks there finds nobody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file, in `data_dir`: the address, and the end of its line.
pub const ADDRESS_FILE: &str = "admin.address";
/// Bytes of the longest address.
const BYTES_MAX: u64 = 128;
/// Mode of the file.
const FILE_MODE: u32 = 0o600;

/// Writes the address down, whole or not at all. To be called by whoever holds the folder's lock.
///
/// # Errors
/// The disk's.
pub fn leave_address(folder: &Path, address: SocketAddr) -> io::Result<()> {
    let file = folder.join(ADDRESS_FILE);
    let beside = folder.join(format!("{ADDRESS_FILE}.new"));
    let mut open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&beside)?;
    open.write_all(format!("{address}\n").as_bytes())?;
    fs::rename(&beside, &file)
}

/// The address that a door has left; `None`: none has, or it can't be read.
pub fn left_address(folder: &Path) -> Option<SocketAddr> {
    let mut text = String::new();
    let open = File::open(folder.join(ADDRESS_FILE)).ok()?;
    open.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Takes it away again: the door is closed. To be called by whoever holds the folder's lock still.
///
/// # Errors
/// The disk's.
pub fn clear_address(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(ADDRESS_FILE))
}
