//! Which file a descriptor or a path means: the system is asked each time, so duplicates, renames and inherited descriptors need
//! no book-keeping. Nothing here allocates.

use std::ffi::CStr;
use std::io::Write;
use std::mem::MaybeUninit;

use libc::{c_char, c_int};

use crate::layout::{DATABASE, OTHER, WAL};

const PATH_BYTES: usize = libc::PATH_MAX as usize;

/// The system's name of a descriptor's file, which ends with a zero.
pub fn link_of(descriptor: c_int) -> [u8; 40] {
    let mut link = [0; 40];
    // The last byte stays 0. A descriptor's number has at most 11 letters, so it fits.
    let _fits = write!(&mut link[..39], "/proc/self/fd/{descriptor}");
    link
}

/// What the environment named.
pub struct Names {
    root: Text,
    database: Text,
}

/// A text of bounded length.
struct Text {
    bytes: [u8; PATH_BYTES],
    length: usize,
}

impl Text {
    const EMPTY: Self = Self {
        bytes: [0; PATH_BYTES],
        length: 0,
    };

    /// Adds it, or nothing if it is too long.
    fn add(&mut self, more: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + more.len()) {
            room.copy_from_slice(more);
            self.length += more.len();
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Names {
    /// Everything below that folder; the database has that file name.
    pub fn new(root: &CStr, database: &CStr) -> Self {
        let mut names = Self {
            root: Text::EMPTY,
            database: Text::EMPTY,
        };
        names.root.add(root.to_bytes());
        names.database.add(database.to_bytes());
        names
    }

    /// The kind of the file behind this descriptor: `None` if it is no file or folder below the root, or SQLite's shared memory,
    /// which nobody needs after a crash.
    pub fn of_descriptor(&self, descriptor: c_int) -> Option<u64> {
        let mut status = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: it writes to what is ours, and any number may be asked for.
        if unsafe { libc::fstat(descriptor, status.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: `fstat` succeeded, so it is filled in.
        let mode = unsafe { status.assume_init() }.st_mode & libc::S_IFMT;
        if mode != libc::S_IFREG && mode != libc::S_IFDIR {
            return None;
        }
        let link = link_of(descriptor);
        let mut path = [0_u8; PATH_BYTES];
        // SAFETY: the link's name ends with a zero, and no more is written than there is room for.
        let length = unsafe {
            libc::readlink(
                link.as_ptr().cast::<c_char>(),
                path.as_mut_ptr().cast::<c_char>(),
                PATH_BYTES,
            )
        };
        let path = &path[..usize::try_from(length).ok()?];
        self.of_path(path.strip_suffix(b" (deleted)").unwrap_or(path))
    }

    /// The same of a path, whose links are not followed.
    ///
    /// # Safety
    /// `path` must be null or end with a zero.
    pub unsafe fn of_name(&self, path: *const c_char) -> Option<u64> {
        if path.is_null() {
            return None;
        }
        // SAFETY: the caller says so.
        let path = unsafe { CStr::from_ptr(path) }.to_bytes();
        if path.starts_with(b"/") {
            return self.of_path(path);
        }
        let mut whole = Text::EMPTY;
        // SAFETY: no more is written than there is room for.
        if unsafe { libc::getcwd(whole.bytes.as_mut_ptr().cast::<c_char>(), PATH_BYTES) }.is_null() {
            return None;
        }
        whole.length = whole.bytes.iter().position(|byte| *byte == 0)?;
        whole.add(b"/");
        whole.add(path);
        self.of_path(whole.get())
    }

    fn of_path(&self, path: &[u8]) -> Option<u64> {
        let below = path.strip_prefix(self.root.get())?;
        if !below.is_empty() && !below.starts_with(b"/") {
            return None;
        }
        let name = below.rsplit(|byte| *byte == b'/').next()?;
        match name.strip_prefix(self.database.get()) {
            Some(b"") => Some(DATABASE),
            Some(b"-wal") => Some(WAL),
            Some(b"-shm") => None,
            _ => Some(OTHER),
        }
    }
}
