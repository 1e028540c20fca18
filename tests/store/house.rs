//! What the tests of the journal share: a wall clock to set, jobs, and waiting without a runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use tiergate::clock::Clock;
use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::rules::{Calendar, Priority, Window};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::journal::disk::Disk;
use tiergate::store::journal::{History, Journal, OpenError, Remembered, Settings};
use tiergate::store::{Bookkeeper, Commit, Entry, Record, Unavailable};
use tiergate::telemetry::JournalMeters;

use crate::disk::TestDisk;

/// 2026-11-01T00:00:00Z.
pub const MONTH: UnixTime = UnixTime::from_secs(1_793_491_200);
pub const HOUR: Span = Span::from_secs(3_600);

/// A wall clock that goes when it is told to.
#[derive(Clone, Debug)]
pub struct WallClock(Arc<AtomicU64>);

impl WallClock {
    pub fn at(time: UnixTime) -> Self {
        Self(Arc::new(AtomicU64::new(time.as_millis())))
    }

    pub fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.0.load(Ordering::SeqCst))
    }

    pub fn advance(&self, span: Span) {
        self.0.store((self.now() + span).as_millis(), Ordering::SeqCst);
    }
}

/// Tries again at once after a failure.
pub fn settings(wall: &WallClock) -> Settings {
    let wall = wall.clone();
    Settings {
        retry_after: Span::from_millis(1),
        ..Settings::new(
            Clock::start(),
            Arc::new(move || wall.now()),
            JournalMeters::unobserved(),
        )
    }
}

/// A rolling day, and months in UTC.
pub fn windows() -> Vec<Window> {
    vec![
        Window::Rolling(HOUR.saturating_mul(24)),
        Window::Calendar(Calendar {
            name: "month UTC".into(),
            starts: Arc::new([MONTH, UnixTime::from_secs(1_796_083_200)]),
        }),
    ]
}

pub const DATA: &str = "/data";

pub fn open_with(
    disk: &TestDisk,
    wall: &WallClock,
    windows: &[Window],
    bookkeepers: Vec<Box<dyn Bookkeeper>>,
) -> Result<(Journal, History), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open(Path::new(DATA), settings(wall), windows, bookkeepers, disk)
}

pub fn open(disk: &TestDisk, wall: &WallClock) -> Result<(Journal, History), OpenError> {
    open_with(disk, wall, &windows(), Vec::new())
}

/// A success of that account, worth one unit.
pub fn success(account: u32, admitted: UnixTime) -> Record {
    Record {
        admitted,
        caller: Caller::Account(AccountId(account)),
        tier: Arc::from("free"),
        priority: Priority::LOWEST,
        end: End::Succeeded,
        status: 200,
        cost: 1,
        waited: Span::from_millis(3),
        searched: Span::from_millis(700),
    }
}

/// All entries that are remembered.
pub fn entries(history: History) -> Vec<Entry> {
    let mut all = Vec::new();
    history
        .replay(|remembered| {
            if let Remembered::Entry { entry, .. } = remembered {
                all.push(entry);
            }
        })
        .expect("the disk can be read");
    all
}

/// What each account has used: in the rolling window, and in the month.
pub fn used(history: History) -> (BTreeMap<u32, u64>, BTreeMap<u32, u64>) {
    let (mut rolling, mut month) = (BTreeMap::new(), BTreeMap::new());
    let add = |to: &mut BTreeMap<u32, u64>, caller: Caller, units: u64| {
        if let Caller::Account(account) = caller {
            *to.entry(account.0).or_default() += units;
        }
    };
    history
        .replay(|remembered| match remembered {
            Remembered::Total { caller, units, .. } => add(&mut month, caller, units),
            Remembered::Entry {
                entry: Entry::Job(record),
                covered,
                ..
            } => {
                assert!(!covered[0], "rolling windows are in no snapshot");
                if record.debit() > 0 {
                    add(&mut rolling, record.caller, record.debit().into());
                    if !covered[1] {
                        add(&mut month, record.caller, record.debit().into());
                    }
                }
            }
            Remembered::Entry { .. } => {}
        })
        .expect("the disk can be read");
    (rolling, month)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a commit; `Err` gives it back if the disk is stuck meanwhile.
pub fn wait(disk: &TestDisk, commit: Commit) -> Result<Result<(), Unavailable>, Commit> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut commit = commit;
    loop {
        if let Poll::Ready(settled) = pin!(&mut commit).poll(&mut Context::from_waker(&waker)) {
            return Ok(settled);
        }
        if disk.is_stuck() {
            return Err(commit);
        }
        std::thread::park();
    }
}
