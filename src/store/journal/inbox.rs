//! What is on its way from the event loops to the writer, and whether that is well.
//!
//! Absent on purpose: the disk. Nothing here waits but [`Inbox::take`], which only the writer calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Durability, Pace, Settings};
use crate::clock::Clock;
use crate::policy::DebitNumber;
use crate::policy::time::{Span, Timestamp};
use crate::store::{Commit, Entry, Fence, Post, Record, Ticket};
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

/// What comes in an order that the writer keeps.
#[derive(Debug)]
pub enum Arrival {
    /// A debit.
    Debit(Debit),
    /// Whom to tell when all that came before is settled.
    Fence(Post),
}

#[derive(Debug)]
struct Waiting {
    arrivals: Vec<Arrival>,
    notes: Vec<Entry>,
    /// The last number that a debit or a fence has.
    last_number: u64,
    pace: Pace,
    /// Nothing more comes.
    closing: bool,
    /// Nobody writes any more.
    ended: bool,
    /// Whether the writer sleeps and must be woken.
    asleep: bool,
    /// Debits of the last group.
    last_group: usize,
}

impl Waiting {
    fn next_number(&mut self) -> DebitNumber {
        self.last_number += 1;
        DebitNumber(self.last_number)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    /// Held for a few pushes only.
    waiting: Mutex<Waiting>,
    /// With `waiting`.
    woken: Condvar,
    retry_after: Duration,
    /// The pace's, in nanoseconds: whoever asks whether it is available takes no lock. Written under the lock.
    patience_ns: AtomicU64,
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
        let pace = settings.pace();
        let waiting = Waiting {
            arrivals: Vec::new(),
            notes: Vec::new(),
            last_number: 0,
            pace,
            closing: false,
            ended: false,
            asleep: false,
            last_group: 0,
        };
        Self {
            waiting: Mutex::new(waiting),
            woken: Condvar::new(),
            retry_after: settings.retry_after.into(),
            patience_ns: AtomicU64::new(pace.commit_patience.as_nanos()),
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
        let late = || self.clock.now().since(Timestamp::from_nanos(oldest)) > self.patience();
        let available = !self.failed.load(Ordering::Acquire) && (oldest == NEVER || !late());
        if self.shown.swap(available, Ordering::Relaxed) != available {
            self.meters.available(available);
        }
        available
    }

    /// How long a commit may be under way.
    pub fn patience(&self) -> Span {
        Span::from_nanos(self.patience_ns.load(Ordering::Acquire))
    }

    /// Another pace from now on: debits that come from now on wait or not as it says. Whoever gathers a group by the old one
    /// goes on with the new one.
    pub fn set_pace(&self, pace: Pace) {
        let mut waiting = self.waiting.lock();
        waiting.pace = pace;
        self.patience_ns
            .store(pace.commit_patience.as_nanos(), Ordering::Release);
        drop(waiting);
        self.woken.notify_all();
    }

    /// A debit comes. Once closed it has failed.
    pub fn commit(&self, record: Record) -> Commit {
        let (commit, ticket) = Commit::pending();
        let mut waiting = self.waiting.lock();
        // Not only at the end: the writer may have taken its last, and a relaxed debit would be lost though it seems done.
        if waiting.closing || waiting.ended {
            drop(waiting);
            return Commit::failed();
        }
        let (ticket, answered) = match waiting.pace.durability {
            Durability::Strict => (Some(ticket), None),
            Durability::Relaxed => (None, Some(ticket)),
        };
        let number = waiting.next_number();
        self.push(&mut waiting, Arrival::Debit(Debit { record, ticket }));
        drop(waiting);
        if let Some(ticket) = answered {
            // Nobody has had the time to withdraw it.
            let _stands = ticket.settle(Ok(()));
        }
        commit.numbered(number)
    }

    /// A fence comes. Once closed it is never reached.
    pub fn fence(&self) -> Fence {
        let mut waiting = self.waiting.lock();
        let (fence, post) = Fence::new(waiting.next_number());
        if !(waiting.closing || waiting.ended) {
            self.push(&mut waiting, Arrival::Fence(post));
        }
        fence
    }

    fn push(&self, waiting: &mut Waiting, arrival: Arrival) {
        if waiting.arrivals.is_empty() {
            // Under the lock, so that the writer can't take the debit before its time is written down.
            self.waiting_since.store(self.clock.now().as_nanos(), Ordering::Release);
        }
        waiting.arrivals.push(arrival);
        self.wake(waiting);
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
        let unwritten = std::mem::take(&mut waiting.arrivals);
        drop(waiting);
        // Not under the lock: whoever waits is woken.
        drop(unwritten);
        self.set_failed(true);
    }

    /// Waits for something to write, and moves it to the writer's own. `arrivals` and `notes` come in empty.
    pub fn take(&self, arrivals: &mut Vec<Arrival>, notes: &mut Vec<Entry>) -> Next {
        let mut waiting = self.waiting.lock();
        if waiting.arrivals.is_empty() && !waiting.closing {
            waiting.asleep = true;
            if waiting.notes.is_empty() {
                self.woken.wait_for(&mut waiting, IDLE_WAITS);
            }
            if !waiting.notes.is_empty() {
                // A commit to ride along with may come yet.
                waiting.asleep = true;
                let alone = |waiting: &mut Waiting| waiting.arrivals.is_empty() && !waiting.closing;
                self.woken.wait_while_for(&mut waiting, alone, NOTE_WAITS);
            }
            waiting.asleep = false;
        }
        let pace = waiting.pace;
        if pace.durability == Durability::Relaxed && !waiting.arrivals.is_empty() {
            let goes_on = |waiting: &mut Waiting| !waiting.closing && waiting.pace == pace;
            self.woken
                .wait_while_for(&mut waiting, goes_on, pace.commit_every.into());
        }
        if waiting.pace.durability == Durability::Strict && waiting.last_group > 1 {
            gather(&mut waiting);
        }
        waiting.last_group = waiting.arrivals.len();
        std::mem::swap(&mut waiting.notes, notes);
        self.hand_over(&mut waiting, arrivals)
    }

    /// Waits a while after a failure, and moves the debits that have come to those that the writer has already. Notes stay
    /// where they are bounded.
    pub fn take_after_failure(&self, arrivals: &mut Vec<Arrival>) -> Next {
        let mut waiting = self.waiting.lock();
        self.woken
            .wait_while_for(&mut waiting, |waiting| !waiting.closing, self.retry_after);
        self.hand_over(&mut waiting, arrivals)
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

    fn hand_over(&self, waiting: &mut Waiting, arrivals: &mut Vec<Arrival>) -> Next {
        if arrivals.is_empty() {
            std::mem::swap(&mut waiting.arrivals, arrivals);
        } else {
            arrivals.append(&mut waiting.arrivals);
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
        let before = waiting.arrivals.len();
        if in_vain == LOOKS_IN_VAIN || before >= waiting.last_group || waiting.closing {
            return;
        }
        MutexGuard::unlocked(waiting, thread::yield_now);
        in_vain = if waiting.arrivals.len() > before {
            0
        } else {
            in_vain + 1
        };
    }
}
