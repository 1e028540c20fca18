//! The journal's seam to the disk: every file that it touches, it touches through here, so that faults can be put in.
//!
//! What is assumed of a disk: what was synced stays; what was not may be there, be missing, or be there in part, by sectors of
//! 512 bytes; a sector that is written again is either as before or as after. A rename is whole or not at all.
//!
//! Absent on purpose: what lies in the files.

use std::any::Any;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// For the folder's owner only.
const FOLDER_MODE: u32 = 0o700;
/// For the file's owner only.
const FILE_MODE: u32 = 0o600;

/// A lock on a folder, held until it is dropped.
pub type Lock = Box<dyn Any + Send + Sync>;

/// Files and folders. Errors are those of the system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes the folder and those above it, for its owner only. Nothing to do if it is there.
    ///
    /// # Errors
    /// The system's.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Takes the file as a lock, among all processes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: somebody else has it. Otherwise the system's.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// The names of the files in a folder, in any order; those that aren't UTF-8 are left out.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file, for its owner only, to be written and read.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or the system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to be read.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Cuts the file off at that length.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()>;

    /// Gives a file another name; who had that name is gone.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which files are in a folder, and under which names.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads from `offset` on as much as fits and is there; 0 at the end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts it off at that length.
    ///
    /// # Errors
    /// The system's.
    fn cut(&self, bytes: u64) -> io::Result<()>;

    /// Makes durable what was written, and the length. After an error nobody knows what is, and a second try would lie: the
    /// system may have thrown the pages away.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;
}

/// The disk there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Puts bytes into a file of that name, whole or not at all: under another name first, synced, then renamed.
///
/// # Errors
/// The system's. What had that name before is then still there.
pub fn replace(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    remove(disk, &new)?;
    let file = disk.create(&new)?;
    fill(&*file)?;
    file.sync()?;
    drop(file);
    disk.rename(&new, &path)?;
    disk.sync_folder(folder)
}

/// Reads until the buffer is full or the file is at its end. How much there was.
///
/// # Errors
/// The system's.
pub fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Removes a file, if it is there.
///
/// # Errors
/// The system's.
pub fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
