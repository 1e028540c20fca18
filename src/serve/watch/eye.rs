//! One look at a file, and what the last one found.
//!
//! Absent on purpose: when to look (`watch`).

use std::path::PathBuf;

use super::ears::Ears;
use super::look::{Saved, Stamp, read_unless};

/// Who looks at one file.
#[derive(Debug)]
pub(super) struct Eye {
    file: PathBuf,
    ears: Option<Ears>,
    /// The file's when it was last read; `None` if it could not be.
    stamp: Option<Stamp>,
}

impl Eye {
    pub(super) fn new(file: PathBuf, ears: Option<Ears>) -> Self {
        Self {
            file,
            ears,
            stamp: None,
        }
    }

    /// What the file holds; `None` if it was read before, need not be again (`reads`), and bears no sign of change. Blocks on
    /// the disk.
    pub(super) fn look(&mut self, reads: bool) -> Option<Saved> {
        // First, so that nothing happens between hearing and seeing.
        if let Some(ears) = &mut self.ears {
            ears.turn(&self.file, reads);
        }
        let known = self.stamp.filter(|_| !reads);
        match read_unless(&self.file, known) {
            Ok((stamp, bytes)) => {
                self.stamp = Some(stamp);
                bytes.map(Ok)
            }
            Err(why) => {
                self.stamp = None;
                Some(Err(why))
            }
        }
    }
}
