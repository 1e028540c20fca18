//! A file system and a clock that fail when a test says so, under the real program: the tests' side of `tests/faultfs`.
//!
//! ```text
//! let faults = FaultFs::new(&folder);
//! faults.arm(Fault::new(Operation::Write, 3, Mode::Fail(Failure::Io)).of(FileKind::Wal));
//! let program = Program::begin_in_environment(folder, yaml, "info", &faults.env()).opened().await;
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::folder::Folder;
use super::power;

#[path = "../faultfs/src/layout.rs"]
pub mod layout;

/// What the program asks of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Write = layout::WRITE as isize,
    Sync = layout::SYNC as isize,
    /// Of a file's length, and allocation.
    Truncate = layout::TRUNCATE as isize,
    /// The file is the new name.
    Rename = layout::RENAME as isize,
    Unlink = layout::UNLINK as isize,
    Any = layout::ANY as isize,
}

/// Of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Database = layout::DATABASE as isize,
    Wal = layout::WAL as isize,
    /// Any other file or folder below the test's folder.
    Other = layout::OTHER as isize,
    Any = layout::ANY as isize,
}

/// How an operation fails that is not done at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Io,
    NoSpace,
}

/// How much of a torn write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Half,
    /// The first ones, and never the last one of all.
    Bytes(u64),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Fail(Failure),
    /// A write is done in part and fails with EIO. What is no write fails with EIO.
    Tear(Keep),
    /// The same, and the program is killed.
    TearAndKill(Keep),
    KillBefore,
    KillAfter,
    /// It is done so much later; by milliseconds.
    Delay(Duration),
    /// It is done once [`FaultFs::release`] or [`FaultFs::clear`] lets it.
    Hang,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub operation: Operation,
    pub file: FileKind,
    /// It meets the so manieth that matches from when it is armed, counted from 1.
    pub number: u64,
    pub mode: Mode,
    /// It meets all from there on, until it is cleared.
    pub goes_on: bool,
}

impl Fault {
    /// Meets one operation, of any file.
    pub fn new(operation: Operation, number: u64, mode: Mode) -> Self {
        Self {
            operation,
            file: FileKind::Any,
            number,
            mode,
            goes_on: false,
        }
    }

    /// Meets only operations of that file.
    pub fn of(self, file: FileKind) -> Self {
        Self { file, ..self }
    }

    /// Meets all that follow as well.
    pub fn and_all_after(self) -> Self {
        Self { goes_on: true, ..self }
    }
}

/// The faults of one folder. Nothing hangs any more once it is dropped.
#[derive(Debug)]
pub struct FaultFs {
    control: File,
    path: PathBuf,
    root: PathBuf,
    history: Option<PathBuf>,
    armed: AtomicU64,
}

impl FaultFs {
    /// Faults for what is in that folder. Builds the library if it is not built.
    pub fn new(folder: &Folder) -> Self {
        Self::open(folder, None)
    }

    /// The same, with a history of what is written and synced, for [`lose_power`](Self::lose_power). It slows the program down.
    pub fn with_history(folder: &Folder) -> Self {
        Self::open(folder, Some("faultfs.history"))
    }

    fn open(folder: &Folder, history: Option<&str>) -> Self {
        let root = folder.path().canonicalize().expect("the folder is there");
        let path = root.join("faultfs.control");
        let mut options = File::options();
        let control = options.read(true).write(true).create(true).truncate(true).open(&path);
        let control = control.expect("a folder to write to");
        control.set_len(layout::BYTES).expect("room for a page");
        Self {
            control,
            path,
            history: history.map(|name| root.join(name)),
            root,
            armed: AtomicU64::new(0),
        }
    }

    /// What the program's environment must say.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("the folder's name is text").to_owned();
        let mut pairs = vec![
            ("LD_PRELOAD", text(library())),
            ("FAULTFS_CONTROL", text(&self.path)),
            ("FAULTFS_ROOT", text(&self.root)),
        ];
        if let Some(history) = &self.history {
            pairs.push(("FAULTFS_HISTORY", text(history)));
        }
        let owned = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        owned.collect()
    }

    /// Leaves of what was never synced only what `keep` says, sector by sector. The program is gone, and has used
    /// [`with_history`](Self::with_history).
    pub fn lose_power(&self, keep: impl FnMut() -> bool) {
        let history = self.history.as_ref().expect("there is a history");
        power::lose(&self.root, history, keep);
    }

    /// Sets a fault instead of the one that is set, which lets go what hangs.
    pub fn arm(&self, fault: Fault) {
        self.clear();
        let slot = self.armed.fetch_add(1, Relaxed) % layout::SLOT_COUNT;
        let (mode, parameter) = fault.mode.words();
        for (field, value) in [
            (layout::OPERATION, fault.operation as u64),
            (layout::FILE_KIND, fault.file as u64),
            (layout::NUMBER, fault.number),
            (layout::GOES_ON, fault.goes_on.into()),
            (layout::MODE, mode),
            (layout::PARAMETER, parameter),
            (layout::RELEASED, 0),
            (layout::MATCHED, 0),
            (layout::FIRED, 0),
        ] {
            self.set(field_of(slot, field), value);
        }
        self.set(layout::ACTIVE, 1 + slot);
    }

    /// From now on all goes well, and what hangs goes on.
    pub fn clear(&self) {
        self.set(layout::ACTIVE, 0);
        self.release();
    }

    /// What hangs goes on, and nothing hangs any more by the fault that is set.
    pub fn release(&self) {
        if let Some(slot) = self.slot() {
            self.set(field_of(slot, layout::RELEASED), 1);
        }
    }

    /// How often the fault that was set last has met an operation.
    pub fn fired(&self) -> u64 {
        self.slot().map_or(0, |slot| self.get(field_of(slot, layout::FIRED)))
    }

    /// The file that it met last.
    pub fn fired_on(&self) -> Option<FileKind> {
        let slot = self.slot().filter(|_| self.fired() > 0)?;
        let kinds = [FileKind::Database, FileKind::Wal, FileKind::Other];
        let met = self.get(field_of(slot, layout::FIRED_KIND));
        kinds.into_iter().find(|kind| *kind as u64 == met)
    }

    /// How often the program has asked for that since the last [`reset`](Self::reset), of any file.
    pub fn seen(&self, operation: Operation) -> u64 {
        self.seen_of(operation, FileKind::Any)
    }

    /// The same, of that file.
    pub fn seen_of(&self, operation: Operation, file: FileKind) -> u64 {
        seen_words(operation, file).map(|at| self.get(at)).sum()
    }

    /// Counts from 0. Nothing that is counted should be under way.
    pub fn reset(&self) {
        seen_words(Operation::Any, FileKind::Any).for_each(|at| self.set(at, 0));
    }

    /// How many processes have loaded the library.
    pub fn loaded(&self) -> u64 {
        self.get(layout::LOADED)
    }

    /// The program's wall clock goes so many milliseconds ahead, or back, of where it is.
    pub fn step_clock(&self, ms: i64) {
        let now = self.get(layout::CLOCK_MS).cast_signed();
        self.set(layout::CLOCK_MS, (now + ms).cast_unsigned());
    }

    /// The slot of the fault that was set last.
    fn slot(&self) -> Option<u64> {
        let last = self.armed.load(Relaxed).checked_sub(1)?;
        Some(last % layout::SLOT_COUNT)
    }

    /// The library maps the file as shared, so both sides have the same page.
    fn set(&self, at: u64, value: u64) {
        let written = self.control.write_all_at(&value.to_ne_bytes(), at);
        written.expect("the page is there");
    }

    fn get(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.control.read_exact_at(&mut word, at).expect("the page is there");
        u64::from_ne_bytes(word)
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Mode {
    /// The mode's word and its parameter's.
    fn words(self) -> (u64, u64) {
        let kept = |keep| match keep {
            Keep::Half => layout::HALF,
            Keep::Bytes(bytes) => bytes,
        };
        match self {
            Self::Fail(failure) => {
                let error = match failure {
                    Failure::Io => rustix::io::Errno::IO,
                    Failure::NoSpace => rustix::io::Errno::NOSPC,
                };
                (layout::MODE_FAIL, error.raw_os_error() as u64)
            }
            Self::Tear(keep) => (layout::MODE_TEAR, kept(keep)),
            Self::TearAndKill(keep) => (layout::MODE_TEAR_AND_KILL, kept(keep)),
            Self::KillBefore => (layout::MODE_KILL_BEFORE, 0),
            Self::KillAfter => (layout::MODE_KILL_AFTER, 0),
            Self::Delay(by) => (layout::MODE_DELAY, by.as_millis() as u64),
            Self::Hang => (layout::MODE_HANG, 0),
        }
    }
}

fn field_of(slot: u64, field: u64) -> u64 {
    layout::SLOTS + slot * layout::SLOT_BYTES + field
}

/// Where those operations are counted.
fn seen_words(operation: Operation, file: FileKind) -> impl Iterator<Item = u64> {
    let among = |wanted: u64, count| match wanted {
        layout::ANY => 0..count,
        one => one..one + 1,
    };
    let files = among(file as u64, layout::FILE_KINDS);
    among(operation as u64, layout::OPERATIONS)
        .flat_map(move |operation| files.clone().map(move |file| operation * layout::FILE_KINDS + file))
        .map(|place| layout::SEEN + 8 * place)
}

/// The library, built when it is first asked for.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| build(&["--lib"]).join("libtiergate_faultfs.so"))
}

/// Builds that of the library's package. Where it is then.
pub fn build(what: &[&str]) -> PathBuf {
    // Apart from what cargo builds for the tests themselves, so that none waits for the other.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faultfs");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--package", "tiergate-faultfs", "--offline", "--quiet"]);
    let built = cargo.args(what).arg("--target-dir").arg(&target).output();
    let built = built.expect("cargo has started this test as well");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the library can't be built: {said}");
    target.join("debug")
}
