//! Checks whether the open files are still those at their paths.
//!
//! A database that is removed or replaced while open is still written, and lost with the process. So its path is checked by
//! `stat` alone: closing another descriptor of the file would drop SQLite's locks on it.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of one open database.
#[derive(Debug)]
pub(in crate::store) struct Identity {
    database: PathBuf,
    log: PathBuf,
    inodes: [Inode; 2],
    /// Length of the database at the last check. It never shrinks.
    length: Cell<u64>,
    /// Found shorter once: it stays damaged even if a checkpoint makes it longer again.
    cut: Cell<bool>,
}

/// Identifies a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Identity {
    /// Of that database and its log, both open.
    pub fn of(database: &Path) -> io::Result<Self> {
        let log = super::wal(database);
        let (inode, length) = look(database)?;
        Ok(Self {
            inodes: [inode, look(&log)?.0],
            database: database.to_owned(),
            log,
            length: Cell::new(length),
            cut: Cell::new(false),
        })
    }

    /// The error: a file is gone, replaced, or was truncated by another program.
    pub fn check(&self) -> Result<(), String> {
        let length = Self::same(&self.database, self.inodes[0])?;
        Self::same(&self.log, self.inodes[1])?;
        if length < self.length.get() || self.cut.get() {
            self.cut.set(true);
            return Err(format!(
                "{} was cut short by another program: restart tiergate",
                self.database.display()
            ));
        }
        self.length.set(length);
        Ok(())
    }

    /// The length of that file, if it is still the same one.
    fn same(path: &Path, inode: Inode) -> Result<u64, String> {
        match look(path) {
            Ok((found, length)) if found == inode => Ok(length),
            Ok(_) => Err(format!("{} was replaced by another file", path.display())),
            Err(error) => Err(format!("{} is gone ({error})", path.display())),
        }
    }
}

fn look(path: &Path) -> io::Result<(Inode, u64)> {
    let found = fs::metadata(path)?;
    let inode = Inode {
        device: found.dev(),
        number: found.ino(),
    };
    Ok((inode, found.len()))
}
