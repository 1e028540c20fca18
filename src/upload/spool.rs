//! Files for bodies that don't fit in memory. A file has no name, so it ends with the process or with its last user, whatever
//! happens. Reading and writing is done off the event loops.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;

use crate::policy::time::{Span, Timestamp};

/// The folder's name in the data folder.
pub const SPOOL_FOLDER: &str = "spool";

/// Nothing is written while the file system has fewer free bytes: uploads fail, the database never does.
pub const SPOOL_FREE_BYTES_MIN: u64 = 256 << 20;

/// The free space is looked at whenever a file has grown by this much.
const FREE_CHECKED_EVERY_BYTES: u64 = 8 << 20;

/// How often the log says that nothing can be written.
const LOG_EVERY: Span = Span::from_secs(60);

/// The folder for these files. It is made when it is first needed.
#[derive(Clone, Debug)]
pub struct SpoolDir {
    path: Arc<Path>,
    free_bytes_min: u64,
    logged: Arc<Mutex<Option<Timestamp>>>,
}

impl SpoolDir {
    /// A folder, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            free_bytes_min: SPOOL_FREE_BYTES_MIN,
            logged: Arc::default(),
        }
    }

    /// A body could not be written, and its upload ends. The log says so once a minute.
    pub(super) fn note_failure(&self, error: &io::Error, now: Timestamp) {
        let mut logged = self.logged.lock();
        if logged.is_none_or(|at| now.since(at) >= LOG_EVERY) {
            *logged = Some(now);
            warn!(folder = %self.path.display(), %error, "can't write an upload to a file; refusing it");
        }
    }

    /// As if so many bytes had to stay free.
    #[cfg(test)]
    pub(super) fn keeping_free(self, free_bytes_min: u64) -> Self {
        Self { free_bytes_min, ..self }
    }

    fn create(&self) -> io::Result<File> {
        match tempfile::tempfile_in(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.path)?;
                tempfile::tempfile_in(&self.path)
            }
            created => created,
        }
    }

    fn check_free(&self, file: &File) -> io::Result<()> {
        let free = rustix::fs::fstatvfs(file)?;
        if free.f_bavail.saturating_mul(free.f_frsize) < self.free_bytes_min {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A body's file while it is written.
#[derive(Debug)]
pub(super) struct SpoolFile {
    dir: SpoolDir,
    file: Option<Arc<File>>,
    bytes: u64,
}

impl SpoolFile {
    pub(super) fn new(dir: SpoolDir) -> Self {
        Self {
            dir,
            file: None,
            bytes: 0,
        }
    }

    /// Appends the parts.
    ///
    /// # Errors
    /// The file can't be made or written, or the file system is nearly full.
    pub(super) async fn append(&mut self, parts: Vec<Bytes>) -> io::Result<()> {
        let (dir, file, at) = (self.dir.clone(), self.file.clone(), self.bytes);
        let written = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(dir.create()?),
            };
            let mut end = at;
            for part in parts {
                file.write_all_at(&part, end)?;
                end += part.len() as u64;
            }
            if at == 0 || end / FREE_CHECKED_EVERY_BYTES > at / FREE_CHECKED_EVERY_BYTES {
                dir.check_free(&file)?;
            }
            Ok::<_, io::Error>((file, end))
        });
        let (file, end) = written.await.map_err(io::Error::other)??;
        (self.file, self.bytes) = (Some(file), end);
        Ok(())
    }

    /// The complete file, and its length in bytes. `None` if nothing was written.
    pub(super) fn finish(self) -> Option<(Arc<File>, u64)> {
        self.file.map(|file| (file, self.bytes))
    }
}

/// Reads at most `max` bytes of the file from there.
///
/// # Errors
/// It can't be read, or it is shorter.
pub(super) async fn read_at(file: Arc<File>, at: u64, max: usize) -> io::Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut part = vec![0; max];
        file.read_exact_at(&mut part, at)?;
        Ok::<_, io::Error>(Bytes::from(part))
    });
    read.await.map_err(io::Error::other)?
}
