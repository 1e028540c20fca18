//! The mapped control file: counts what happens, says what shall happen instead, and waits where that is to wait.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use libc::{c_int, timespec};

use crate::files::Names;
use crate::history::History;
use crate::layout;

/// What becomes of an operation.
pub enum Verdict {
    /// It is done.
    Go,
    /// It is done, and the process is killed.
    GoAndDie,
    /// The process is killed.
    Die,
    /// It fails with this error.
    Fail(c_int),
    /// Of a write so many bytes are done, then it fails with EIO or the process is killed.
    Tear { keep: usize, die: bool },
}

/// The control file, and what the environment named.
pub struct Control {
    page: NonNull<u8>,
    names: Names,
    history: Option<History>,
}

// SAFETY: the page is mapped for good, and only atomics in it are used.
unsafe impl Send for Control {}
// SAFETY: the same.
unsafe impl Sync for Control {}

static CONTROL: OnceLock<Option<Control>> = OnceLock::new();

/// The control file, if the environment names one.
pub fn control() -> Option<&'static Control> {
    CONTROL.get_or_init(Control::of_environment).as_ref()
}

fn variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: the name ends with a zero. Nobody else runs when the library is loaded, which is when this is called.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: what it returns ends with a zero, and is copied before the environment can change.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

impl Control {
    fn of_environment() -> Option<Self> {
        let path = variable(c"FAULTFS_CONTROL")?;
        let root = variable(c"FAULTFS_ROOT")?;
        let database = variable(c"FAULTFS_DATABASE").unwrap_or(c"tiergate.db");
        // SAFETY: the path ends with a zero.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        let (mode, length) = (libc::PROT_READ | libc::PROT_WRITE, layout::BYTES as usize);
        // SAFETY: a new mapping, where the system likes it. A bad descriptor is an error.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), length, mode, libc::MAP_SHARED, file, 0) };
        if file < 0 || page == libc::MAP_FAILED {
            crate::give_up("FAULTFS_CONTROL can't be mapped");
        }
        // SAFETY: it is ours and open; the mapping stays.
        unsafe { libc::close(file) };
        let control = Self {
            page: NonNull::new(page.cast())?,
            names: Names::new(root, database),
            history: variable(c"FAULTFS_HISTORY").map(History::in_file),
        };
        control.word(layout::LOADED).fetch_add(1, Relaxed);
        Some(control)
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < layout::BYTES);
        // SAFETY: it is within the page and aligned, as was just seen, and nobody uses it but as an atomic or through the file.
        unsafe { AtomicU64::from_ptr(self.page.as_ptr().add(offset as usize).cast()) }
    }

    /// Which file is meant.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The history, if the file behind this descriptor is in it.
    pub fn history_of(&self, descriptor: c_int) -> Option<&History> {
        let history = self.history.as_ref()?;
        self.names.of_descriptor(descriptor).map(|_| history)
    }

    /// What is added to the wall clock, in milliseconds.
    pub fn clock_ms(&self) -> i64 {
        let word: *mut u64 = self.word(layout::CLOCK_MS).as_ptr();
        // SAFETY: an aligned word of the page, which lives as long as the process.
        unsafe { AtomicI64::from_ptr(word.cast()) }.load(Relaxed)
    }

    /// Counts an operation on a file of that kind, waits if it is to wait, and says what becomes of it. `length`: bytes written.
    pub fn verdict(&self, operation: u64, kind: u64, length: usize) -> Verdict {
        let seen = layout::SEEN + 8 * (operation * layout::FILE_KINDS + kind);
        self.word(seen).fetch_add(1, Relaxed);
        let Some(slot) = self.word(layout::ACTIVE).load(Acquire).checked_sub(1) else {
            return Verdict::Go;
        };
        let slot = layout::SLOTS + (slot % layout::SLOT_COUNT) * layout::SLOT_BYTES;
        let field = |field| self.word(slot + field);
        let matches = |field_of, value| [layout::ANY, value].contains(&field(field_of).load(Relaxed));
        if !matches(layout::OPERATION, operation) || !matches(layout::FILE_KIND, kind) {
            return Verdict::Go;
        }
        let number = field(layout::MATCHED).fetch_add(1, Relaxed) + 1;
        let wanted = field(layout::NUMBER).load(Relaxed);
        let goes_on = field(layout::GOES_ON).load(Relaxed) != 0;
        if number < wanted || (number > wanted && !goes_on) {
            return Verdict::Go;
        }
        field(layout::FIRED_KIND).store(kind, Relaxed);
        field(layout::FIRED).fetch_add(1, Release);
        let parameter = field(layout::PARAMETER).load(Relaxed);
        match field(layout::MODE).load(Relaxed) {
            layout::MODE_FAIL => Verdict::Fail(parameter as c_int),
            mode @ (layout::MODE_TEAR | layout::MODE_TEAR_AND_KILL) => {
                let half = length / 2;
                let first = usize::try_from(parameter)
                    .unwrap_or(usize::MAX)
                    .min(length.saturating_sub(1));
                Verdict::Tear {
                    keep: if parameter == layout::HALF { half } else { first },
                    die: mode == layout::MODE_TEAR_AND_KILL,
                }
            }
            layout::MODE_KILL_BEFORE => Verdict::Die,
            layout::MODE_KILL_AFTER => Verdict::GoAndDie,
            layout::MODE_DELAY => {
                sleep_ms(parameter);
                Verdict::Go
            }
            layout::MODE_HANG => {
                while field(layout::RELEASED).load(Acquire) == 0 {
                    sleep_ms(1);
                }
                Verdict::Go
            }
            _ => crate::give_up("an unknown mode stands in FAULTFS_CONTROL"),
        }
    }
}

/// Signals don't shorten it.
fn sleep_ms(ms: u64) {
    let mut left = timespec {
        tv_sec: (ms / 1_000) as libc::time_t,
        tv_nsec: (ms % 1_000 * 1_000_000) as libc::c_long,
    };
    // SAFETY: it reads and writes what is ours.
    while unsafe { libc::nanosleep(&raw const left, &raw mut left) } != 0 {}
}
