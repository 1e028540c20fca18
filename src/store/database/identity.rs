//! Whether the files that are open are still those at their paths.
//!
//! A database that somebody removes or replaces goes on being written, and is gone with the process. So its path is looked
//! at: by `stat` alone, since closing any other descriptor of the file would drop SQLite's locks on it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of one open database.
#[derive(Debug)]
pub(in crate::store) struct Identity {
    files: Vec<(PathBuf, Inode)>,
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
        let with_inode = |path: PathBuf| Inode::at(&path).map(|inode| (path, inode));
        let files = [database.to_owned(), super::wal(database)];
        Ok(Self {
            files: files.into_iter().map(with_inode).collect::<io::Result<_>>()?,
        })
    }

    /// What is wrong: a file that is gone, or another one in its place.
    pub fn check(&self) -> Result<(), String> {
        for (path, inode) in &self.files {
            match Inode::at(path) {
                Ok(found) if found == *inode => {}
                Ok(_) => return Err(format!("{} was replaced by another file", path.display())),
                Err(error) => return Err(format!("{} is gone ({error})", path.display())),
            }
        }
        Ok(())
    }
}

impl Inode {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            number: found.ino(),
        })
    }
}
