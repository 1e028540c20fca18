//! What is on its way from the event loops to the writer, and whether that is well.
//!
//! Absent on purpose: the disk. Nothing here waits but [`Inbox::take`], which only the writer calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Durability, Settings};
use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};
use crate::store::{Commit, Entry, Record, Ticket};
use crate::telemetry::JournalMeters;

/// Records that debit nothing and wait to be written. More are dropped and counted: they are for statistics.
pub const NOTES_MAX: usize = 65_536;
/// The longest that a note waits for a commit to ride along with.
const NOTE_WAITS: Duration = Duration::from_secs(1);
/// How often the writer looks at the wall clock when nothing comes.
const IDLE_WAITS: Duration = Duration::from_secs(60);
/// How often the writer looks in vain for more of a crowd, and how often at all, before it writes what there is. A look takes
/// less than a microsecond.
const LOOKS_IN_VAIN: u32 = 8;
/// See [`LOOKS_IN_VAIN`].
const LOOKS_MAX: u32 = 256;
/// No time at all, for [`Inbox::waiting_since`] and [`Inbox::flying_since`].
const NEVER: u64 = u64::MAX;

/// A debit, and who waits for it.
#[derive(Debug)]
pub struct Debit {
    /// What is to be written.
    pub record: Record,
    /// Whom to tell; nobody, if answers don't wait.
    pub ticket: Option<Ticket>,
}

#[derive(Debug, Default)]
struct Waiting {
    debits: Vec<Debit>,
    notes: Vec<Entry>,
    /// Nothing more comes.
    closing: bool,
    /// Nobody writes any more.
    ended: bool,
    /// Whether the writer sleeps and must be woken.
    asleep: bool,
    /// Debits of the last group.
    last_group: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    /// Held for a few pushes only.
    waiting: Mutex<Waiting>,
    /// With `waiting`.
    woken: Condvar,
    durability: Durability,
    commit_every: Duration,
    retry_after: Duration,
    patience: Span,
    clock: Clock,
    meters: Arc<JournalMeters>,
    /// The disk has failed, and no try since has succeeded. Written by the writer.
    failed: AtomicBool,
    /// When the oldest debit came that the writer has not taken. Written under the lock.
    waiting_since: AtomicU64,
    /// When the oldest debit came that the writer has taken and not settled. Written by the writer.
    flying_since: AtomicU64,
    /// What the gauge shows.
    shown: AtomicBool,
}

/// What the writer is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Write,
    /// Write what there is; then it is over.
    Close,
}

impl Inbox {
    /// An empty one.
    pub fn new(settings: &Settings) -> Self {
        settings.meters.available(true);
        Self {
            waiting: Mutex::default(),
            woken: Condvar::new(),
            durability: settings.durability,
            commit_every: settings.commit_every.into(),
            retry_after: settings.retry_after.into(),
            patience: settings.commit_patience,
            clock: settings.clock,
            meters: Arc::clone(&settings.meters),
            failed: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NEVER),
            flying_since: AtomicU64::new(NEVER),
            shown: AtomicBool::new(true),
        }
    }

    /// Whether records become durable at present: the disk does not fail, and nothing has been under way for longer than
    /// patience lasts.
    pub fn is_available(&self) -> bool {
        let oldest = self
            .waiting_since
            .load(Ordering::Acquire)
            .min(self.flying_since.load(Ordering::Acquire));
        let late = || self.clock.now().since(Timestamp::from_nanos(oldest)) > self.patience;
        let available = !self.failed.load(Ordering::Acquire) && (oldest == NEVER || !late());
        if self.shown.swap(available, Ordering::Relaxed) != available {
            self.meters.available(available);
        }
        available
    }

    /// A debit comes. Once closed it has failed.
    pub fn commit(&self, record: Record) -> Commit {
        let (commit, ticket) = match self.durability {
            Durability::Strict => {
                let (commit, ticket) = Commit::pending();
                (commit, Some(ticket))
            }
            Durability::Relaxed => (Commit::done(), None),
        };
        let mut waiting = self.waiting.lock();
        // Not only at the end: the writer may have taken its last, and a relaxed debit would be lost though it seems done.
        if waiting.closing || waiting.ended {
            drop(waiting);
            return Commit::failed();
        }
        if waiting.debits.is_empty() {
            // Under the lock, so that the writer can't take the debit before its time is written down.
            self.waiting_since.store(self.clock.now().as_nanos(), Ordering::Release);
        }
        waiting.debits.push(Debit { record, ticket });
        self.wake(&mut waiting);
        commit
    }

    /// A note comes.
    pub fn note(&self, entry: Entry) {
        let mut waiting = self.waiting.lock();
        if waiting.notes.len() >= NOTES_MAX || waiting.closing || waiting.ended {
            self.meters.dropped_note();
            return;
        }
        waiting.notes.push(entry);
        if waiting.notes.len() == 1 {
            // From now on the writer has something to wait with.
            self.wake(&mut waiting);
        }
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.waiting.lock().closing = true;
        self.woken.notify_all();
    }

    /// Nobody writes any more: what waits has failed, and so has whatever comes.
    pub fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        let unwritten = std::mem::take(&mut waiting.debits);
        drop(waiting);
        // Not under the lock: whoever waits is woken.
        drop(unwritten);
        self.set_failed(true);
    }

    /// Waits for something to write, and moves it to the writer's own. `debits` and `notes` come in empty.
    pub fn take(&self, debits: &mut Vec<Debit>, notes: &mut Vec<Entry>) -> Next {
        let mut waiting = self.waiting.lock();
        if waiting.debits.is_empty() && !waiting.closing {
            waiting.asleep = true;
            if waiting.notes.is_empty() {
                self.woken.wait_for(&mut waiting, IDLE_WAITS);
            }
            if !waiting.notes.is_empty() {
                // A commit to ride along with may come yet.
                waiting.asleep = true;
                let alone = |waiting: &mut Waiting| waiting.debits.is_empty() && !waiting.closing;
                self.woken.wait_while_for(&mut waiting, alone, NOTE_WAITS);
            }
            waiting.asleep = false;
        }
        if self.durability == Durability::Relaxed && !waiting.debits.is_empty() {
            self.woken
                .wait_while_for(&mut waiting, |waiting| !waiting.closing, self.commit_every);
        }
        if self.durability == Durability::Strict && waiting.last_group > 1 {
            gather(&mut waiting);
        }
        waiting.last_group = waiting.debits.len();
        std::mem::swap(&mut waiting.notes, notes);
        self.hand_over(&mut waiting, debits)
    }

    /// Waits a while after a failure, and moves the debits that have come to those that the writer has already. Notes stay
    /// where they are bounded.
    pub fn take_after_failure(&self, debits: &mut Vec<Debit>) -> Next {
        let mut waiting = self.waiting.lock();
        self.woken
            .wait_while_for(&mut waiting, |waiting| !waiting.closing, self.retry_after);
        self.hand_over(&mut waiting, debits)
    }

    /// The disk has failed, or does its work again.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
        // So that the gauge shows it though nobody asks.
        self.is_available();
    }

    /// All that the writer had taken is settled. How long its oldest debit waited, if there was one.
    pub fn landed(&self) -> Option<Span> {
        match self.flying_since.swap(NEVER, Ordering::AcqRel) {
            NEVER => None,
            since => Some(self.clock.now().since(Timestamp::from_nanos(since))),
        }
    }

    fn hand_over(&self, waiting: &mut Waiting, debits: &mut Vec<Debit>) -> Next {
        if debits.is_empty() {
            std::mem::swap(&mut waiting.debits, debits);
        } else {
            debits.append(&mut waiting.debits);
        }
        // First the later, then the earlier of the two: who looks between sees the oldest twice rather than not at all.
        let since = self.waiting_since.load(Ordering::Acquire);
        self.flying_since.fetch_min(since, Ordering::AcqRel);
        self.waiting_since.store(NEVER, Ordering::Release);
        if waiting.closing { Next::Close } else { Next::Write }
    }

    fn wake(&self, waiting: &mut Waiting) {
        // One call to the system for all that come while it wakes up.
        if std::mem::take(&mut waiting.asleep) {
            self.woken.notify_one();
        }
    }
}

/// Lets those come in who were let go together by the last group: they come back within a microsecond of each other, and the
/// first would otherwise take a sync for itself, while the others wait for that and the next.
fn gather(waiting: &mut MutexGuard<'_, Waiting>) {
    let mut in_vain = 0;
    for _ in 0..LOOKS_MAX {
        let before = waiting.debits.len();
        if in_vain == LOOKS_IN_VAIN || before >= waiting.last_group || waiting.closing {
            return;
        }
        MutexGuard::unlocked(waiting, thread::yield_now);
        in_vain = if waiting.debits.len() > before { 0 } else { in_vain + 1 };
    }
}
