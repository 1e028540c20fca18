//! The history of what was written and synced, from which a test makes what a loss of power would have left.
//!
//! A record is written before what it records, and nothing else is written in between.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use libc::{c_int, c_void, iovec, off_t};

use crate::layout::{
    RECORD_AT, RECORD_BORN, RECORD_INODE, RECORD_KIND, RECORD_LENGTH, RECORD_NEW, RECORD_OLD, RECORD_SYNC,
    RECORD_SYNC_FAILED, RECORD_TRUNCATE, RECORD_WORDS, RECORD_WRITE,
};
use crate::real;

const CHUNK_BYTES: usize = 4_096;

/// The file of the history.
pub struct History {
    file: c_int,
    order: Mutex<()>,
}

/// A file, and how long it is.
struct Known {
    inode: u64,
    born: u64,
    length: u64,
}

impl History {
    /// At the end of that file.
    pub fn in_file(path: &CStr) -> Self {
        let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero.
        let file = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
        if file < 0 {
            crate::give_up("FAULTFS_HISTORY can't be opened");
        }
        Self {
            file,
            order: Mutex::new(()),
        }
    }

    /// Records a write of the first `length` bytes of these pieces, and does it. Without `at` it goes where the file is.
    ///
    /// # Safety
    /// The pieces can be read.
    pub unsafe fn write<T>(
        &self,
        descriptor: c_int,
        pieces: &[iovec],
        length: usize,
        at: Option<off_t>,
        whole: impl FnOnce() -> T,
    ) -> T {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let file = known(descriptor);
        let at = at.map_or_else(|| position(descriptor, &file), |at| at as u64);
        let old = file.length.saturating_sub(at).min(length as u64);
        self.header(RECORD_WRITE, &file, at, old, length as u64);
        self.old_bytes(descriptor, at, old);
        let mut left = length;
        for piece in pieces {
            let length = piece.iov_len.min(left);
            // SAFETY: the caller says so.
            unsafe { self.add(piece.iov_base, length) };
            left -= length;
        }
        whole()
    }

    /// Records that the file gets that length, and does it. With `longer` it never gets shorter.
    pub fn set_length<T>(&self, descriptor: c_int, length: u64, longer: bool, whole: impl FnOnce() -> T) -> T {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let file = known(descriptor);
        let length = if longer { length.max(file.length) } else { length };
        let old = file.length.saturating_sub(length);
        self.header(RECORD_TRUNCATE, &file, length, old, 0);
        self.old_bytes(descriptor, length, old);
        whole()
    }

    /// Does it, and records that it succeeded or failed.
    pub fn sync(&self, descriptor: c_int, whole: impl FnOnce() -> c_int) -> c_int {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let result = whole();
        let kind = if result == 0 { RECORD_SYNC } else { RECORD_SYNC_FAILED };
        crate::quietly(|| self.header(kind, &known(descriptor), 0, 0, 0));
        result
    }

    fn header(&self, kind: u64, file: &Known, at: u64, old: u64, new: u64) {
        let mut words = [0; RECORD_WORDS];
        words[RECORD_KIND] = kind;
        words[RECORD_INODE] = file.inode;
        words[RECORD_BORN] = file.born;
        words[RECORD_AT] = at;
        words[RECORD_LENGTH] = file.length;
        words[RECORD_OLD] = old;
        words[RECORD_NEW] = new;
        // SAFETY: these words are ours.
        unsafe { self.add(words.as_ptr().cast(), size_of_val(&words)) };
    }

    /// Copies what stands there in the file.
    fn old_bytes(&self, descriptor: c_int, at: u64, length: u64) {
        let mut chunk = [0_u8; CHUNK_BYTES];
        let mut done = 0;
        let reader = Reader::of(descriptor);
        while done < length {
            let wanted = CHUNK_BYTES.min((length - done) as usize);
            let read = reader.read(&mut chunk[..wanted], at + done);
            // SAFETY: so many were read.
            unsafe { self.add(chunk.as_ptr().cast(), read) };
            done += read as u64;
        }
    }

    /// # Safety
    /// So many bytes can be read there.
    unsafe fn add(&self, mut bytes: *const c_void, mut length: usize) {
        while length > 0 {
            // SAFETY: the caller says so.
            let written = unsafe { real::WRITE.get()(self.file, bytes, length) };
            if written <= 0 {
                crate::give_up("FAULTFS_HISTORY can't be written");
            }
            length -= written as usize;
            // SAFETY: at most one past the last byte.
            bytes = unsafe { bytes.byte_add(written as usize) };
        }
    }
}

/// Reads a file that may be open for writing only.
struct Reader {
    descriptor: c_int,
    own: bool,
}

impl Reader {
    fn of(descriptor: c_int) -> Self {
        // SAFETY: it reads a flag.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
        if flags & libc::O_ACCMODE != libc::O_WRONLY {
            return Self { descriptor, own: false };
        }
        // When this one is closed, the process loses its locks of the file. SQLite, which has some, never opens so.
        let link = crate::files::link_of(descriptor);
        // SAFETY: the name ends with a zero.
        let descriptor = unsafe { libc::open(link.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) };
        Self { descriptor, own: true }
    }

    /// At least one byte.
    fn read(&self, into: &mut [u8], at: u64) -> usize {
        let (start, length) = (into.as_mut_ptr().cast(), into.len());
        // SAFETY: no more is read than there is room for.
        let read = unsafe { libc::pread64(self.descriptor, start, length, at as off_t) };
        if read <= 0 {
            crate::give_up("what a write overwrites can't be read");
        }
        read as usize
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.own {
            // SAFETY: it is ours.
            unsafe { libc::close(self.descriptor) };
        }
    }
}

fn known(descriptor: c_int) -> Known {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: an empty path means the descriptor itself; it writes to what is ours.
    let result = unsafe {
        libc::statx(
            descriptor,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            wanted,
            status.as_mut_ptr(),
        )
    };
    if result != 0 {
        crate::give_up("a file can't be asked for its number");
    }
    // SAFETY: zeros are a status, and it was filled in.
    let status = unsafe { status.assume_init() };
    Known {
        inode: status.stx_ino,
        born: (status.stx_btime.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(status.stx_btime.tv_nsec.into()),
        length: status.stx_size,
    }
}

/// Where a write without a place goes.
fn position(descriptor: c_int, file: &Known) -> u64 {
    // SAFETY: it reads a flag.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFL) } & libc::O_APPEND != 0 {
        return file.length;
    }
    // SAFETY: it moves nothing.
    unsafe { libc::lseek64(descriptor, 0, libc::SEEK_CUR) as u64 }
}
