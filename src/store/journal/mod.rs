//! The journal: every finished metered job, appended, and durable before its answer's last part goes out.
//!
//! ```text
//! event loops ── commit, note ──▶ inbox ──▶ writer (a thread) ──▶ segments ──▶ books (a thread) ──▶ bookkeepers
//!                                                                     └──▶ history, at start and for new windows
//! ```
//!
//! | file | what |
//! |---|---|
//! | `disk` | the seam to the disk, and what is assumed of one |
//! | `format` | header and frames |
//! | `segment` | one file: reading, appending; torn or damaged |
//! | `inbox` | from the event loops to the writer; whether that is well |
//! | `writer` | group commits, turning to a new segment, failures |
//! | `registry` | which segments there are, and what in them does not count |
//! | `books` | closed segments to the bookkeepers, then away |
//! | `totals` | the snapshot of calendar periods |
//! | `survey`, `history` | reading at start, and for windows that a reload has made |
//! | `inspect` | reading for people, also while the door writes |
//!
//! A promise is kept by what is on the disk alone: an entry whose commit resolved is in a segment, below the limit that later
//! segments set, and not void. Everything else follows from that at start.
//!
//! Absent on purpose: decisions about anybody's quota, holds (jobs end with their process), and any wait of an event loop.

mod books;
pub mod disk;
mod format;
mod history;
mod inbox;
pub mod inspect;
mod registry;
mod segment;
mod survey;
mod totals;
mod writer;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use self::books::Books;
use self::disk::{Disk, Lock};
use self::format::Header;
pub use self::history::{History, Remembered};
use self::inbox::Inbox;
pub use self::inbox::NOTES_MAX;
use self::registry::{Hold, Known, Registry};
use self::segment::Active;
use self::survey::{Survey, survey};
use self::totals::{Snapshot, Totals, Unusable};
use self::writer::Writer;
use super::{Bookkeeper, Commit, Debited, Entry, Fence, Ledger, Past, Record};
use crate::clock::Clock;
use crate::policy::rules::{Calendar, Window};
use crate::policy::time::{Span, UnixTime};
use crate::telemetry::JournalMeters;

/// The journal's folder in the data folder.
pub const FOLDER: &str = "journal";
/// The file in the data folder that one process holds.
pub const LOCK: &str = "lock";
/// A segment longer than that ends before its hour, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// How much longer than the longest rolling window segments are kept, and how much is remembered where none is longer.
pub const KEPT_BEYOND: Span = Span::from_secs(2 * 3_600);

/// Tells the time of the wall clock.
pub type Wall = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Whether an answer waits for its debit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It does: nothing that was answered is ever lost.
    #[default]
    Strict,
    /// It does not: a crash may lose what was debited within the last [`Settings::commit_every`].
    Relaxed,
}

/// When what comes is written, and how long anybody waits for it: what may change while the journal is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Whether answers wait.
    pub durability: Durability,
    /// See [`Settings::commit_every`].
    pub commit_every: Span,
    /// See [`Settings::commit_patience`].
    pub commit_patience: Span,
}

/// How to keep a journal.
#[derive(Clone)]
pub struct Settings {
    /// Whether answers wait.
    pub durability: Durability,
    /// How often a relaxed journal commits; a strict one does at once.
    pub commit_every: Span,
    /// A commit under way for longer makes the journal unavailable until one succeeds. Also the longest that dropping the
    /// journal waits for what is still to be written.
    pub commit_patience: Span,
    /// How long after a failure the disk is tried again.
    pub retry_after: Span,
    /// For how long things take.
    pub clock: Clock,
    /// For when a segment begins and how old it is.
    pub wall: Wall,
    /// What operators see.
    pub meters: Arc<JournalMeters>,
}

impl Settings {
    /// As operators have them who say nothing: strict, 10 ms, 5 s, 1 s.
    pub fn new(clock: Clock, wall: Wall, meters: Arc<JournalMeters>) -> Self {
        Self {
            durability: Durability::Strict,
            commit_every: Span::from_millis(10),
            commit_patience: Span::from_secs(5),
            retry_after: Span::from_secs(1),
            clock,
            wall,
            meters,
        }
    }

    /// What of it may change while the journal is open.
    pub fn pace(&self) -> Pace {
        Pace {
            durability: self.durability,
            commit_every: self.commit_every,
            commit_patience: self.commit_patience,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("durability", &self.durability)
            .field("commit_every", &self.commit_every)
            .field("commit_patience", &self.commit_patience)
            .finish_non_exhaustive()
    }
}

/// Why a journal can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the data folder.
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file was written by a newer tiergate.
    Newer {
        /// Which one.
        file: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// The system refuses something that must be done.
    Disk {
        /// What, as in "can't ... the folder".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl OpenError {
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Disk { what, path, error }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { folder } => {
                write!(f, "the data folder {} is in use by another tiergate", folder.display())
            }
            Self::Newer { file, version } => write!(
                f,
                "{} was written by a newer tiergate: its format is version {version}, and this program knows versions up to {}",
                file.display(),
                format::VERSION,
            ),
            Self::Disk { what, path, error } => {
                let hint = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": the disk is full",
                    io::ErrorKind::ReadOnlyFilesystem => ": it is read-only",
                    io::ErrorKind::PermissionDenied => ": it must belong to the user that tiergate runs as",
                    _ => "",
                };
                write!(f, "can't {what} {}{hint} ({error})", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { error, .. } => Some(error),
            Self::InUse { .. } | Self::Newer { .. } => None,
        }
    }
}

/// An open journal. Dropped, it writes what is queued, as long as that takes no longer than patience lasts.
pub struct Journal {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    books: Arc<Mutex<Books>>,
    threads: Threads,
}

/// A data folder that no other process has, for as long as this or a journal that was opened in it is there.
pub struct Taken {
    data_folder: PathBuf,
    lock: Lock,
}

impl Taken {
    /// Takes that folder, and makes it and the journal's in it if they aren't there. Whoever reads or writes anything else
    /// there does so afterwards.
    ///
    /// # Errors
    /// The folder is in use, or the system refuses something.
    pub fn take(disk: &dyn Disk, data_folder: &Path) -> Result<Self, OpenError> {
        let lock = take_folder(disk, data_folder, &data_folder.join(FOLDER))?;
        Ok(Self {
            data_folder: data_folder.to_owned(),
            lock,
        })
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("data_folder", &self.data_folder)
            .finish_non_exhaustive()
    }
}

/// How many threads still run.
#[derive(Clone, Debug)]
struct Threads(Arc<(Mutex<usize>, Condvar)>);

/// One of them, and the lock on the folder: that goes with the last.
struct Alive {
    threads: Threads,
    /// Given back in `drop`, before anybody hears that the thread has ended.
    lock: Option<Arc<Lock>>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.lock = None;
        let (running, ended) = &*self.threads.0;
        *running.lock() -= 1;
        ended.notify_all();
    }
}

impl Journal {
    /// Takes that data folder and opens the journal in it, for whoever has nothing else there: as [`Self::open_in`].
    ///
    /// # Errors
    /// The folder is in use, of a newer format, or the system refuses something.
    pub fn open(
        data_folder: &Path,
        settings: Settings,
        windows: &[Window],
        bookkeepers: Vec<Box<dyn Bookkeeper>>,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, History), OpenError> {
        let taken = Taken::take(&*disk, data_folder)?;
        Self::open_in(taken, settings, windows, bookkeepers, disk)
    }

    /// Opens the journal in that data folder, or begins one: looks through all segments, cuts off what a crash has left half
    /// written, makes a new segment, and starts the threads. Damage is logged, and everything readable used. Blocks on the
    /// disk.
    ///
    /// Closed segments go to the bookkeepers once the history is replayed or dropped.
    ///
    /// # Errors
    /// The folder is of a newer format, or the system refuses something.
    pub fn open_in(
        taken: Taken,
        settings: Settings,
        windows: &[Window],
        bookkeepers: Vec<Box<dyn Bookkeeper>>,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, History), OpenError> {
        let Taken { data_folder, lock } = taken;
        let (folder, lock) = (data_folder.join(FOLDER), Arc::new(lock));
        let survey = survey(&*disk, &folder).map_err(OpenError::disk("read the journal in", &folder))?;
        if let Some((number, version)) = survey.newer {
            let file = segment::path(&folder, number);
            return Err(OpenError::Newer { file, version });
        }
        let snapshot = find_snapshot(&*disk, &folder)?;
        report(&survey);
        let in_books = bookkeepers.iter().filter_map(|keeper| keeper.covers());
        let in_sums = snapshot
            .iter()
            .flat_map(|found| found.calendars.iter().map(|(_, covers)| *covers));
        let booked = in_books.chain(in_sums).max();
        let header = next_header(&survey, booked, (settings.wall)());
        let registry = Arc::new(recover(&*disk, &folder, survey, &settings.meters)?);
        let make = OpenError::disk("make a segment in", &folder);
        let active = Active::create(&*disk, &folder, header).map_err(make)?;

        let Settings { wall, meters, .. } = settings.clone();
        let witnesses = bookkeepers.iter().filter_map(|keeper| keeper.witness()).collect();
        let inbox = Arc::new(Inbox::new(&settings));
        let writer = Writer::new(
            (Arc::clone(&disk), folder.clone()),
            Arc::clone(&wall),
            Arc::clone(&inbox),
            Arc::clone(&registry),
            (meters, witnesses),
            active,
        );
        let horizon = horizon(windows, wall());
        let history = History::new(
            (Arc::clone(&disk), folder.clone()),
            (&registry, registry.hold()),
            windows,
            snapshot.clone(),
            u64::MAX,
            |closed| {
                let number = closed.known.number;
                closed.ended >= horizon || !books::covered(&bookkeepers, number)
            },
        );
        let totals = Totals::new(
            (Arc::clone(&disk), folder.clone()),
            Arc::clone(&wall),
            calendars(windows),
            snapshot,
        );
        let books = Books {
            disk,
            folder: folder.clone(),
            wall,
            registry: Arc::clone(&registry),
            totals: totals.map_err(OpenError::disk("write to", &folder))?,
            keepers: bookkeepers,
            keep: kept(windows),
        };
        let books = Arc::new(Mutex::new(books));
        let journal = Self {
            inbox,
            registry: Arc::clone(&registry),
            books: Arc::clone(&books),
            threads: Threads(Arc::new((Mutex::new(0), Condvar::new()))),
        };
        let start = OpenError::disk("start a thread for", &folder);
        let start_books = OpenError::disk("start a thread for", &folder);
        journal.start("journal", &lock, move || writer.run()).map_err(start)?;
        journal
            .start("books", &lock, move || books::run(&books, &registry))
            .map_err(start_books)?;
        Ok((journal, history))
    }

    fn start(&self, name: &str, lock: &Arc<Lock>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.threads.0.0.lock() += 1;
        let alive = Alive {
            threads: self.threads.clone(),
            lock: Some(Arc::clone(lock)),
        };
        let run = move || {
            let _alive = alive;
            work();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}

impl Ledger for Journal {
    fn is_available(&self) -> bool {
        self.inbox.is_available()
    }

    fn note(&self, entry: Entry) {
        self.inbox.note(entry);
    }

    fn commit(&self, record: Record) -> Commit {
        self.inbox.commit(record)
    }

    fn fence(&self) -> Fence {
        self.inbox.fence()
    }
}

/// What the journal remembers, for windows that are new: nothing of it is removed or summed up while this is there.
pub struct Remains {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    wall: Wall,
    registry: Arc<Registry>,
    hold: Hold,
}

impl Past for Remains {
    fn recall(
        self,
        windows: &[Window],
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let until = fence.wait()?;
        let snapshot = Snapshot::find(&*self.disk, &self.folder)?;
        let horizon = horizon(windows, (self.wall)());
        let rolls = windows.iter().any(|window| matches!(window, Window::Rolling(_)));
        let history = History::new(
            (self.disk, self.folder),
            (&self.registry, self.hold),
            windows,
            snapshot,
            until,
            |closed| rolls && closed.ended >= horizon,
        );
        history.recall(each)
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Another pace from now on. A debit that comes from now on is answered for as it says; one that waits to be durable goes
    /// on waiting, and what was answered without waiting is durable as soon as it would have been.
    pub fn set_pace(&self, pace: Pace) {
        self.inbox.set_pace(pace);
    }

    /// Other windows from now on: segments are kept for as long as the longest rolling one reaches, and calendar periods are
    /// summed up for these calendars; for one that is new from the oldest segment on that there is. To be called just before
    /// the policy gets the windows, and not if it won't: calendars that are left out lose their sums.
    ///
    /// What is answered holds on to all that there is, until it is recalled or dropped. Blocks on the disk, for as long as it
    /// takes to enter one segment into the books.
    pub fn reload_windows(&self, windows: &[Window]) -> Remains {
        let hold = self.registry.hold();
        let mut books = self.books.lock();
        books.reload(calendars(windows), kept(windows));
        Remains {
            disk: Arc::clone(&books.disk),
            folder: books.folder.clone(),
            wall: Arc::clone(&books.wall),
            registry: Arc::clone(&self.registry),
            hold,
        }
    }

    /// Writes what is queued, as long as that takes no longer than patience lasts, and lets go of the folder. Whatever is asked
    /// for later is refused. Blocks on the disk.
    pub fn close(&self) {
        self.inbox.close();
        self.registry.close();
        let (running, ended) = &*self.threads.0;
        let mut running = running.lock();
        // A disk that hangs must not hold up the end of the process.
        let late = ended.wait_while_for(&mut running, |running| *running > 0, self.inbox.patience().into());
        if late.timed_out() {
            tracing::error!("the journal could not be closed in time: what it had not written is lost");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}

fn take_folder(disk: &dyn Disk, data_folder: &Path, folder: &Path) -> Result<Lock, OpenError> {
    disk.create_folder(folder)
        .map_err(OpenError::disk("make the folder", folder))?;
    // Before anything is promised that lies in it: a folder without a name is lost with all that is in it.
    disk.sync_folder(data_folder)
        .map_err(OpenError::disk("make durable the folder", folder))?;
    let path = data_folder.join(LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse {
            folder: data_folder.to_owned(),
        },
        _ => OpenError::disk("take the lock", &path)(error),
    })
}

/// The snapshot, if there is one that can be used; one that is damaged is put aside, and the sums are made anew.
fn find_snapshot(disk: &dyn Disk, folder: &Path) -> Result<Option<Snapshot>, OpenError> {
    let path = folder.join(totals::NAME);
    match Snapshot::find(disk, folder) {
        Ok(snapshot) => Ok(snapshot),
        Err(Unusable::Newer(version)) => Err(OpenError::Newer { file: path, version }),
        Err(Unusable::Disk(error)) => Err(OpenError::disk("read", &path)(error)),
        Err(Unusable::Damaged) => {
            tracing::error!(
                file = %path.display(),
                "the sums of calendar periods are damaged: they are kept aside, and summed up from the segments there are",
            );
            books::put_aside(disk, folder, totals::NAME).map_err(OpenError::disk("put aside", &path))?;
            Ok(None)
        }
    }
}

fn report(survey: &Survey) {
    let last = survey.segments.last().map(|segment| segment.number);
    for segment in &survey.segments {
        let (number, damaged) = (segment.number, segment.findings.damaged());
        if damaged > 0 && !segment.is_unused() {
            tracing::error!(
                segment = number,
                damaged,
                "records in the journal can't be read any more: the rest is used, and the segment will be kept aside",
            );
        }
        if segment.findings.torn() > 0 && last == Some(number) {
            let torn = segment.findings.torn();
            tracing::warn!(segment = number, torn, "what a crash left half written is cut off");
        }
    }
}

/// The header of a new segment, where `booked` is the last that is in anybody's books. That one may be gone, and the new one must
/// not be taken for it: nobody would enter it.
fn next_header(survey: &Survey, booked: Option<u64>, now: UnixTime) -> Header {
    let listed = survey.segments.last().map(|last| last.number);
    let number = listed.max(booked).map_or(1, |last| last + 1);
    let last = survey.segments.iter().rfind(|segment| !segment.is_unused());
    Header {
        number,
        first_sequence: survey.next_sequence(),
        made: now,
        previous: last.map_or(0, |last| last.number),
        // All that is there has been read, so it is on the disk, unless a crash left gaps in it.
        previous_durable: last.map_or(0, |last| match last.findings.torn() {
            0 => last.findings.frames,
            _ => last.findings.durable,
        }),
    }
}

/// Cuts off the last segment's torn tail, and removes those without any entry.
fn recover(disk: &dyn Disk, folder: &Path, survey: Survey, meters: &Arc<JournalMeters>) -> Result<Registry, OpenError> {
    let mut found = Vec::new();
    let last = survey.segments.last().map(|segment| segment.number);
    for segment in &survey.segments {
        let (number, findings) = (segment.number, &segment.findings);
        let path = segment::path(folder, number);
        let bytes = findings.bytes();
        if segment.is_unused() {
            // What lies in it nevertheless was never whole; somebody may want to see it.
            match findings.tail {
                0 => disk::remove(disk, &path).map_err(OpenError::disk("remove the unused segment", &path))?,
                _ => books::put_aside(disk, folder, &segment::name(number))
                    .map_err(OpenError::disk("put aside the segment", &path))?,
            }
            continue;
        }
        let cut = last == Some(number) && bytes < segment.bytes;
        if cut {
            disk.cut(&path, bytes)
                .map_err(OpenError::disk("cut off what was not used of", &path))?;
        }
        found.push(Known {
            number,
            made: findings.header.map(|header| header.made),
            first_sequence: segment.first_sequence().unwrap_or(0),
            bytes: if cut { bytes } else { segment.bytes },
            durable: findings.durable,
            damaged: findings.damaged() > 0,
        });
    }
    Ok(Registry::new(found, survey.voids, Arc::clone(meters)))
}

/// How long segments are kept after their end.
fn kept(windows: &[Window]) -> Span {
    longest(windows) + KEPT_BEYOND
}

/// What ended before has nothing that lies in a rolling window.
fn horizon(windows: &[Window], now: UnixTime) -> UnixTime {
    UnixTime::from_millis(now.as_millis().saturating_sub(kept(windows).as_nanos() / 1_000_000))
}

fn longest(windows: &[Window]) -> Span {
    let length = |window: &Window| match window {
        Window::Rolling(span) => *span,
        Window::Calendar(_) => Span::ZERO,
    };
    windows.iter().map(length).max().unwrap_or(Span::ZERO)
}

fn calendars(windows: &[Window]) -> impl Iterator<Item = Calendar> + '_ {
    windows.iter().filter_map(|window| match window {
        Window::Rolling(_) => None,
        Window::Calendar(calendar) => Some(calendar.clone()),
    })
}
