//! The address of a running server's admin listener, as a file in the data folder. It lets commands find a server whose
//! tiers.yaml was edited since its start, or whose command line overrides it.
//!
//! A killed server leaves its file behind, so the address may be stale.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file, in `data_dir`: the address and a newline.
pub const ADDRESS_FILE: &str = "admin.address";
/// Bytes of the longest address.
const BYTES_MAX: u64 = 128;
/// Mode of the file.
const FILE_MODE: u32 = 0o600;

/// Writes the address, all or nothing. The caller holds the folder's lock.
///
/// # Errors
/// A disk error.
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

/// The address in the file; `None` if there is none, or it can't be read.
pub fn left_address(folder: &Path) -> Option<SocketAddr> {
    let mut text = String::new();
    let open = File::open(folder.join(ADDRESS_FILE)).ok()?;
    open.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Removes the file when the server has stopped. The caller still holds the folder's lock.
///
/// # Errors
/// A disk error.
pub fn clear_address(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(ADDRESS_FILE))
}
