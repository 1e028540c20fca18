//! A library that is loaded before the C library (`LD_PRELOAD`), so that an unmodified program runs on a file system that fails,
//! tears, delays, hangs or ends the program at the k-th write or sync, and by a clock that steps.
//!
//! `FAULTFS_CONTROL` names the control file (layout.rs), which a test writes while the program runs (`tests/support/faultfs.rs`).
//! `FAULTFS_ROOT` names the folder, by its canonical path, whose files are meant; all others, and sockets, are left alone.
//! `FAULTFS_DATABASE` is the database's file name, `tiergate.db` if it is not set.
//!
//! Only calls through the C library's functions are seen: those of Rust's standard library and of SQLite. `rustix` calls the
//! system itself. A mapped file is written unseen. The kernel's own times (of files, of timers) don't move with the clock.
//! A process that is killed here leaves what it has written to the system, as any does. `FAULTFS_HISTORY` names a file to which
//! every write and sync is added, from which a test makes what a loss of power would have left (`tests/support/power.rs`). That
//! files are made, renamed and removed is not in it: it is taken to be durable at once.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod control;
mod files;
mod history;
mod layout;
mod real;

use libc::{c_char, c_int, c_uint, c_void, clockid_t, iovec, off_t, size_t, ssize_t, time_t, timespec, timeval};

use control::{Verdict, control};

/// Called when the library is loaded, while the process has one thread.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn loaded() {
    control();
}

/// Ends the process: a test must not go on without the faults that it asked for.
fn give_up(why: &str) -> ! {
    for text in ["faultfs: ", why, "\n"] {
        // SAFETY: the text is as long as it says. The system is asked directly, since that can't lead back here.
        unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, text.as_ptr(), text.len()) };
    }
    // SAFETY: it always may.
    unsafe { libc::_exit(96) }
}

/// As if it were killed from outside: nothing is flushed, nobody is asked.
fn die() -> ! {
    // SAFETY: a process may signal itself.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        // SAFETY: it always may. Other threads may need a moment to be gone, too.
        unsafe { libc::pause() };
    }
}

fn fail(error: c_int) -> c_int {
    // SAFETY: it is this thread's own.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// Runs it and leaves this thread's last error as it was: the caller may look at it after a success.
fn quietly<T>(look: impl FnOnce() -> T) -> T {
    // SAFETY: it is this thread's own.
    let error = unsafe { *libc::__errno_location() };
    let found = look();
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = error };
    found
}

/// What becomes of an operation on this descriptor.
fn verdict(operation: u64, descriptor: c_int, length: usize) -> Verdict {
    let Some(control) = control() else {
        return Verdict::Go;
    };
    quietly(|| match control.names().of_descriptor(descriptor) {
        Some(kind) => control.verdict(operation, kind, length),
        None => Verdict::Go,
    })
}

/// What becomes of an operation on this path.
///
/// # Safety
/// `path` must be null or end with a zero.
unsafe fn verdict_of_path(operation: u64, path: *const c_char) -> Verdict {
    let Some(control) = control() else {
        return Verdict::Go;
    };
    // SAFETY: the caller says so.
    quietly(|| match unsafe { control.names().of_name(path) } {
        Some(kind) => control.verdict(operation, kind, 0),
        None => Verdict::Go,
    })
}

/// The history that this file is in. A success leaves the last error as it was.
fn history_of(descriptor: c_int) -> Option<&'static history::History> {
    quietly(|| control()?.history_of(descriptor))
}

/// A write of these pieces, at that place or where the file is: all of it, or its first bytes.
///
/// # Safety
/// The pieces can be read.
unsafe fn write_by(descriptor: c_int, pieces: &[iovec], at: Option<off_t>, whole: impl FnOnce() -> ssize_t) -> ssize_t {
    let length = pieces.iter().map(|piece| piece.iov_len).sum();
    let history = history_of(descriptor);
    // SAFETY: the caller says so.
    let whole = || unsafe {
        match history {
            Some(history) => history.write(descriptor, pieces, length, at, whole),
            None => whole(),
        }
    };
    match verdict(layout::WRITE, descriptor, length) {
        Verdict::Go => whole(),
        Verdict::GoAndDie => {
            whole();
            die()
        }
        Verdict::Die => die(),
        Verdict::Fail(error) => fail(error) as ssize_t,
        Verdict::Tear { keep, die: dies } => {
            // SAFETY: the same.
            unsafe {
                let first = || first_pieces(descriptor, pieces, keep, at);
                match history {
                    Some(history) => history.write(descriptor, pieces, keep, at, first),
                    None => first(),
                };
            }
            if dies {
                die();
            }
            fail(libc::EIO) as ssize_t
        }
    }
}

/// Anything else, which happens or does not. The error, if it fails without being tried.
fn or_error(verdict: Verdict, whole: impl FnOnce() -> c_int) -> Result<c_int, c_int> {
    match verdict {
        Verdict::Go => Ok(whole()),
        Verdict::GoAndDie => {
            whole();
            die()
        }
        Verdict::Die | Verdict::Tear { die: true, .. } => die(),
        Verdict::Fail(error) => Err(error),
        Verdict::Tear { die: false, .. } => Err(libc::EIO),
    }
}

fn do_by(verdict: Verdict, whole: impl FnOnce() -> c_int) -> c_int {
    or_error(verdict, whole).unwrap_or_else(fail)
}

/// The pieces up to that many bytes, each by a write of its own, at these positions or where the file is.
///
/// # Safety
/// As for `writev`.
unsafe fn first_pieces(descriptor: c_int, pieces: &[iovec], keep: usize, mut at: Option<off_t>) -> ssize_t {
    let mut left = keep;
    for piece in pieces {
        let length = piece.iov_len.min(left);
        // SAFETY: a part of what the caller may write.
        let written = unsafe {
            match at {
                Some(at) => real::PWRITE.get()(descriptor, piece.iov_base, length, at),
                None => real::WRITE.get()(descriptor, piece.iov_base, length),
            }
        };
        if written < 0 {
            return written;
        }
        left -= length;
        at = at.map(|at| at + length as off_t);
    }
    (keep - left) as ssize_t
}

/// # Safety
/// As for `writev`.
unsafe fn pieces<'a>(first: *const iovec, count: c_int) -> &'a [iovec] {
    match usize::try_from(count) {
        // SAFETY: the caller of `writev` says that there are so many.
        Ok(count) if !first.is_null() => unsafe { std::slice::from_raw_parts(first, count) },
        _ => &[],
    }
}

/// What `write` and `pwrite` write, as `writev` names it.
fn piece(bytes: *const c_void, length: size_t) -> [iovec; 1] {
    [iovec {
        iov_base: bytes.cast_mut(),
        iov_len: length,
    }]
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, length: size_t) -> ssize_t {
    let all = piece(bytes, length);
    // SAFETY: the caller's arguments.
    unsafe { write_by(descriptor, &all, None, || real::WRITE.get()(descriptor, bytes, length)) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(descriptor: c_int, bytes: *const c_void, length: size_t, at: off_t) -> ssize_t {
    let all = piece(bytes, length);
    let whole = || {
        // SAFETY: the caller's arguments.
        unsafe { real::PWRITE.get()(descriptor, bytes, length, at) }
    };
    // SAFETY: the same.
    unsafe { write_by(descriptor, &all, Some(at), whole) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(descriptor: c_int, bytes: *const c_void, length: size_t, at: off_t) -> ssize_t {
    // SAFETY: the same function, where an offset has 64 bits.
    unsafe { pwrite64(descriptor, bytes, length, at) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(descriptor: c_int, first: *const iovec, count: c_int) -> ssize_t {
    let whole = || {
        // SAFETY: the caller's arguments.
        unsafe { real::WRITEV.get()(descriptor, first, count) }
    };
    // SAFETY: the same.
    unsafe { write_by(descriptor, pieces(first, count), None, whole) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64(descriptor: c_int, first: *const iovec, count: c_int, at: off_t) -> ssize_t {
    let whole = || {
        // SAFETY: the caller's arguments.
        unsafe { real::PWRITEV.get()(descriptor, first, count, at) }
    };
    // SAFETY: the same.
    unsafe { write_by(descriptor, pieces(first, count), Some(at), whole) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev(descriptor: c_int, first: *const iovec, count: c_int, at: off_t) -> ssize_t {
    // SAFETY: the same function, where an offset has 64 bits.
    unsafe { pwritev64(descriptor, first, count, at) }
}

/// Copies within the system would not be seen. Rust's standard library goes on with reads and writes.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_at: *mut off_t,
    to: c_int,
    to_at: *mut off_t,
    length: size_t,
    flags: c_uint,
) -> ssize_t {
    if is_watched(to) {
        return fail(libc::EINVAL) as ssize_t;
    }
    // SAFETY: the caller's arguments.
    unsafe { real::COPY_FILE_RANGE.get()(from, from_at, to, to_at, length, flags) }
}

/// As `copy_file_range`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(to: c_int, from: c_int, at: *mut off_t, length: size_t) -> ssize_t {
    if is_watched(to) {
        return fail(libc::EINVAL) as ssize_t;
    }
    // SAFETY: the caller's arguments.
    unsafe { real::SENDFILE.get()(to, from, at, length) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(to: c_int, from: c_int, at: *mut off_t, length: size_t) -> ssize_t {
    // SAFETY: the same function, where an offset has 64 bits.
    unsafe { sendfile64(to, from, at, length) }
}

fn is_watched(descriptor: c_int) -> bool {
    control().is_some_and(|control| quietly(|| control.names().of_descriptor(descriptor)).is_some())
}

/// A sync, which is in the history if it fails, too.
fn sync_by(descriptor: c_int, whole: impl FnOnce() -> c_int) -> c_int {
    let Some(history) = history_of(descriptor) else {
        return do_by(verdict(layout::SYNC, descriptor, 0), whole);
    };
    // Others may go on while this one waits.
    match verdict(layout::SYNC, descriptor, 0) {
        Verdict::GoAndDie => {
            history.sync(descriptor, whole);
            die()
        }
        verdict => history.sync(descriptor, || do_by(verdict, whole)),
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    // SAFETY: the caller's argument.
    sync_by(descriptor, || unsafe { real::FSYNC.get()(descriptor) })
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    // SAFETY: the caller's argument.
    sync_by(descriptor, || unsafe { real::FDATASYNC.get()(descriptor) })
}

/// Sets the length, and has it in the history. With `longer` it never gets shorter.
fn recorded_length(descriptor: c_int, length: off_t, longer: bool, whole: impl FnOnce() -> c_int) -> c_int {
    match history_of(descriptor) {
        Some(history) => history.set_length(descriptor, length as u64, longer, whole),
        None => whole(),
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(descriptor: c_int, length: off_t) -> c_int {
    // SAFETY: the caller's arguments.
    let whole = || unsafe { real::FTRUNCATE.get()(descriptor, length) };
    do_by(verdict(layout::TRUNCATE, descriptor, 0), || {
        recorded_length(descriptor, length, false, whole)
    })
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(descriptor: c_int, length: off_t) -> c_int {
    // SAFETY: the same function, where an offset has 64 bits.
    unsafe { ftruncate64(descriptor, length) }
}

/// It returns its error and sets none.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(descriptor: c_int, at: off_t, length: off_t) -> c_int {
    // SAFETY: the caller's arguments.
    let whole = || unsafe { real::POSIX_FALLOCATE.get()(descriptor, at, length) };
    let allocate = || recorded_length(descriptor, at + length, true, whole);
    or_error(verdict(layout::TRUNCATE, descriptor, 0), allocate).unwrap_or_else(|error| error)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(descriptor: c_int, at: off_t, length: off_t) -> c_int {
    // SAFETY: the same function, where an offset has 64 bits.
    unsafe { posix_fallocate64(descriptor, at, length) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { do_by(verdict_of_path(layout::RENAME, to), || real::RENAME.get()(from, to)) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's argument.
    unsafe { do_by(verdict_of_path(layout::UNLINK, path), || real::UNLINK.get()(path)) }
}

/// Seconds and nanoseconds, so many milliseconds later.
fn shifted(time: timespec) -> timespec {
    let ms = control().map_or(0, control::Control::clock_ms);
    let nanoseconds = time.tv_nsec + ms.rem_euclid(1_000) * 1_000_000;
    timespec {
        tv_sec: time.tv_sec + ms.div_euclid(1_000) + nanoseconds / 1_000_000_000,
        tv_nsec: nanoseconds % 1_000_000_000,
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's arguments.
    let result = unsafe { real::CLOCK_GETTIME.get()(clock, time) };
    if result == 0 && [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE].contains(&clock) {
        // SAFETY: it has just been written.
        unsafe { *time = shifted(*time) };
    }
    result
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int {
    // SAFETY: the caller's arguments.
    let result = unsafe { real::GETTIMEOFDAY.get()(time, zone) };
    if result == 0 && !time.is_null() {
        // SAFETY: it has just been written.
        let now = unsafe { &mut *time };
        let later = shifted(timespec {
            tv_sec: now.tv_sec,
            tv_nsec: now.tv_usec * 1_000,
        });
        (now.tv_sec, now.tv_usec) = (later.tv_sec, later.tv_nsec / 1_000);
    }
    result
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(seconds: *mut time_t) -> time_t {
    let now = shifted(real::now()).tv_sec;
    if !seconds.is_null() {
        // SAFETY: the caller wants it there.
        unsafe { *seconds = now };
    }
    now
}
