//! What the tests of the store share: a wall clock to set, jobs, a blocked writer, and folders as a crash leaves them.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

use rusqlite::Connection;
use tiergate::clock::{Clock, ClockControl};
use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::rules::{Priority, Rules, Window, WindowId};
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::store::{
    Commit, DATABASE_FILE, DataDir, Database, DebitHistory, Debited, History, Ledger, LedgerSettings, OpenError,
    Record, Unavailable,
};
use tiergate::telemetry::DatabaseMeters;

use crate::folder::Folder;
use crate::rules;
pub use crate::rules::calendar;

/// 2026-11-01T00:00:00Z.
pub const MONTH: UnixTime = UnixTime::from_secs(1_793_491_200);
/// 2026-12-01T00:00:00Z.
pub const NEXT_MONTH: UnixTime = UnixTime::from_secs(1_796_083_200);
pub const HOUR: Span = Span::from_secs(3_600);
pub const DAY: Span = Span::from_secs(86_400);

/// A wall clock that the test sets.
#[derive(Clone, Debug)]
pub struct WallClock(Arc<AtomicU64>);

impl WallClock {
    pub fn at(time: UnixTime) -> Self {
        Self(Arc::new(AtomicU64::new(time.as_millis())))
    }

    pub fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.0.load(Ordering::SeqCst))
    }

    pub fn set(&self, time: UnixTime) {
        self.0.store(time.as_millis(), Ordering::SeqCst);
    }

    pub fn advance(&self, span: Span) {
        self.set(self.now() + span);
    }
}

/// Retries at once after a failure.
pub fn settings(wall: &WallClock) -> LedgerSettings {
    let wall = wall.clone();
    LedgerSettings {
        retry_after: Span::from_millis(1),
        ..LedgerSettings::new(
            Clock::start(),
            Arc::new(move || wall.now()),
            DatabaseMeters::unobserved(),
        )
    }
}

/// A rolling day, and months in UTC.
pub fn windows() -> Vec<Window> {
    vec![Window::Rolling(DAY), months()]
}

pub fn months() -> Window {
    calendar("month UTC", [MONTH, NEXT_MONTH])
}

/// One tier with those windows, and room for all.
pub fn rules(windows: &[Window]) -> Arc<Rules> {
    let rules = rules::rules()
        .windows(windows.to_vec())
        .tier("free", |tier| tier.concurrency(1_000))
        .upstream("search", &[1_000]);
    Arc::new(rules.build())
}

pub fn open_with(
    folder: &Path,
    settings: LedgerSettings,
    windows: &[Window],
    history: History,
) -> Result<Arc<Database>, OpenError> {
    Database::open(DataDir::take(folder)?, settings, windows, history).map(Arc::new)
}

/// With [`windows`], and what is kept by default.
pub fn open(folder: &Path, wall: &WallClock) -> Result<Arc<Database>, OpenError> {
    open_with(folder, settings(wall), &windows(), History::default())
}

/// A store whose process can be restarted, with the system's clock, which jumps, and a monotonic one.
pub struct Site {
    pub folder: Folder,
    pub wall: WallClock,
    clock_control: &'static ClockControl,
    history: History,
    database: Option<Arc<Database>>,
}

impl Site {
    /// With [`windows`].
    pub fn at(wall: UnixTime, history: History) -> Self {
        let mut site = Self {
            folder: Folder::in_memory(),
            wall: WallClock::at(wall),
            clock_control: Box::leak(Box::default()),
            history,
            database: None,
        };
        site.reopen();
        site
    }

    /// The process ends and another begins, with a monotonic clock of its own.
    pub fn reopen(&mut self) {
        self.database = None;
        self.clock_control = Box::leak(Box::default());
        let settings = LedgerSettings {
            clock: Clock::moved_by(self.clock_control, self.wall.now()),
            ..settings(&self.wall)
        };
        let opened = open_with(self.folder.path(), settings, &windows(), self.history);
        self.database = Some(opened.expect("the folder can be used"));
    }

    pub fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("it is open")
    }

    /// Both clocks.
    pub fn advance(&self, span: Span) {
        self.clock_control.advance(span);
        self.wall.advance(span);
    }
}

/// A success of that account, worth one unit.
pub fn success(account: u32, admitted: UnixTime) -> Record {
    Record {
        admitted,
        caller: Caller::Account(AccountId(account)),
        tier: Arc::from("free"),
        upstream: Arc::from("search"),
        priority: Priority::LOWEST,
        end: End::Succeeded,
        status: 200,
        cost: 1,
        waited: Span::from_millis(3),
        slot_time: Span::from_millis(700),
    }
}

/// What each account has used by then, in the rolling window and in the month.
pub fn used(database: &Database, now: UnixTime) -> (BTreeMap<u32, u64>, BTreeMap<u32, u64>) {
    let all = told(database, &windows());
    let month = match months() {
        Window::Calendar(calendar) => calendar.period(now),
        Window::Rolling(_) => unreachable!("it is a calendar"),
    };
    let (mut rolling, mut monthly) = (BTreeMap::new(), BTreeMap::new());
    for debit in all {
        let (to, counts) = match debit.window {
            WindowId(0) => (&mut rolling, debit.at + DAY > now),
            _ => (&mut monthly, debit.at >= month),
        };
        if let (Caller::Account(account), true) = (debit.caller, counts) {
            *to.entry(account.0).or_default() += debit.units;
        }
    }
    (rolling, monthly)
}

/// What a backfill of those windows reads.
pub fn told(database: &Database, windows: &[Window]) -> Vec<Debited> {
    let mut all = Vec::new();
    let fence = database.fence();
    let recalled = database
        .debit_history()
        .recall(&windows.to_vec().into(), fence, &mut |debit| {
            all.push(debit);
            ControlFlow::Continue(())
        });
    recalled.expect("the database can be read");
    all
}

/// The number that a query returns.
pub fn count(database: &Database, sql: &str) -> i64 {
    let number = database.read(|connection| connection.query_row(sql, [], |row| row.get(0)));
    number.expect("the database can be read")
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until a commit resolves.
pub fn wait(mut commit: Commit) -> Result<(), Unavailable> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(settled) = pin!(&mut commit).poll(&mut Context::from_waker(&waker)) {
            return settled;
        }
        std::thread::park();
    }
}

/// Commits, and waits.
pub fn debit(database: &Database, record: Record) {
    assert_eq!(wait(database.commit(record)), Ok(()));
}

/// Waits until the condition holds; nothing takes so long unless it is broken.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let (clock, patience) = (Clock::start(), Span::from_secs(20));
    while !is_so() {
        assert!(clock.now().since(Timestamp::ZERO) < patience, "in vain: {what}");
        std::thread::yield_now();
    }
}

/// Keeps the writer busy until this is dropped: what is committed meanwhile waits.
pub struct Held {
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    /// Returns when it is busy.
    pub fn up(database: &Arc<Database>) -> Self {
        let (busy, is_busy): (Sender<()>, Receiver<()>) = channel();
        let (release, released) = channel();
        let database = Arc::clone(database);
        let thread = std::thread::spawn(move || {
            let held = database.write(move |_| {
                let _unheard = busy.send(());
                // A dropped sender releases it, too.
                let _released = released.recv();
                Ok(())
            });
            // It may be closed meanwhile.
            let _written = held;
        });
        is_busy.recv().expect("the writer does its work");
        Self {
            release: Some(release),
            thread: Some(thread),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Another program's lock on the database: no group can be written until it is dropped.
pub struct Locked(Connection);

impl Locked {
    pub fn new(folder: &Path) -> Self {
        let connection = Connection::open(folder.join(DATABASE_FILE)).expect("it is there");
        connection
            .busy_timeout(std::time::Duration::from_secs(20))
            .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE"))
            .expect("a lock");
        Self(connection)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _rolled_back = self.0.execute_batch("ROLLBACK");
    }
}

/// The folder as SIGKILL at this moment would leave it. What is committed meanwhile may be in it or not.
///
/// A copy takes time, and a kill doesn't, so a copy must not mix two logs. A reader keeps SQLite from overwriting the log,
/// unless all of the log was in the database when the reader started: then the reader uses the database alone, and the next
/// commit starts a new log over the old one. A copy made meanwhile could have the old header and the first frames of the old
/// log, which are valid, and frames of the new one behind them, which aren't. Opening it put old versions of some pages over
/// the newer database: one run in about 500 failed with "database disk image is malformed", and debits could be missing. A kill
/// never leaves that, because a new log's header is written before its frames. So a copy is repeated if the header changed
/// meanwhile.
pub fn as_killed(folder: &Path) -> Folder {
    (0..COPIES_MAX)
        .find_map(|_| copied_within_one_log(folder))
        .expect("the log is rarely restarted")
}

/// Attempts of a copy. Few meet a restart of the log.
const COPIES_MAX: usize = 1_000;

/// The folder's copy, unless a new log was started meanwhile.
fn copied_within_one_log(folder: &Path) -> Option<Folder> {
    let copy = Folder::in_memory();
    let log = log_header(folder);
    // While this reads, a log that isn't all in the database goes on: what is moved into the database meanwhile is in both.
    let reading = Connection::open(folder.join(DATABASE_FILE)).expect("it is there");
    let begun = reading.execute_batch("BEGIN; SELECT count(*) FROM meta");
    begun.expect("it can be read");
    for name in ["id", "running", DATABASE_FILE, "tiergate.db-wal"] {
        // Closing what was read drops SQLite's locks on the file, which no other process is kept out by here. A program that
        // copies would hold all locks of this process until it runs.
        std::fs::copy(folder.join(name), copy.path().join(name)).expect("it is there");
    }
    (log_header(folder) == log).then_some(copy)
}

/// The log's header, whose salts are new with each log; empty if the log is.
fn log_header(folder: &Path) -> Vec<u8> {
    let log = File::open(wal(folder)).expect("it is there");
    let mut header = Vec::new();
    log.take(WAL_HEADER as u64)
        .read_to_end(&mut header)
        .expect("it can be read");
    header
}

pub fn wal(folder: &Path) -> PathBuf {
    folder.join("tiergate.db-wal")
}

/// Bytes of a log's header, and of that of a frame (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
pub const WAL_HEADER: usize = 32;
pub const FRAME_HEADER: usize = 24;
pub const PAGE: usize = 4_096;

/// Bytes of a log, and where each of its commits ends.
pub fn commits(log: &[u8]) -> Vec<usize> {
    let frames = log.get(WAL_HEADER..).unwrap_or_default();
    let ends = |(number, frame): (usize, &[u8])| {
        let commits = frame.get(4..8).is_some_and(|size| size != [0; 4]);
        commits.then(|| WAL_HEADER + (number + 1) * (FRAME_HEADER + PAGE))
    };
    frames
        .chunks(FRAME_HEADER + PAGE)
        .enumerate()
        .filter_map(ends)
        .collect()
}

/// A die: xorshift, seeded.
#[derive(Debug)]
pub struct Die(u64);

impl Die {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// `TIERGATE_SEED=7` runs that one alone.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let one = std::env::var("TIERGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(1..1 + count, |seed: u64| seed..seed + 1);
    println!("seeds {seeds:?}");
    seeds
}
