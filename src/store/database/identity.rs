//! Whether the files that are open are still those at their paths.
//!
//! A database that somebody removes or replaces goes on being written, and is gone with the process. So its path is looked
//! at: by `stat` alone, since closing any other descriptor of the file would drop SQLite's locks on it.

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
    /// Bytes of the database when it was looked at last. It never shrinks.
    length: Cell<u64>,
    /// It was found shorter: it stays damaged, though a checkpoint may make it as long again.
    cut: Cell<bool>,
}

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Identity {
    /// Of the database at that path and of its log, both of which are open.
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

    /// What is wrong: a file that is gone, another one in its place, or a database that somebody cut short.
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

    /// How long that file is, if it is that one still.
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
