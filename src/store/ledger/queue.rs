//! What is to be written, from the event loops to the writer, and whether that goes well.
//!
//! Nothing here waits but [`Queue::take`] and [`Queue::take_after_failure`], which only the writer calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::commit::{Commit, Ticket};
use super::{Durability, Pace, Settings};
use crate::clock::Clock;
use crate::policy::DebitNumber;
use crate::policy::time::{Span, Timestamp};
use crate::store::database::WriteError;
use crate::store::recall::{Fence, Post};
use crate::store::record::{Entry, Record};
use crate::telemetry::DatabaseMeters;

/// Rows that debit nothing and wait to be written. More are dropped and counted: they are for statistics.
pub const NOTES_MAX: usize = 65_536;
/// Groups of so many debits and more let the next group gather.
const CROWD_MIN: usize = 4;
/// The longest that a group gathers when many commit.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// The longest that a note waits for a commit to ride along with.
const NOTE_WAITS: Duration = Duration::from_secs(1);
/// No time at all, for [`Queue::waiting_since`] and [`Queue::in_flight_since`].
const NEVER: u64 = u64::MAX;

/// A debit, and who waits for it.
#[derive(Debug)]
pub(in crate::store) struct Debit {
    /// What is to be written.
    pub record: Record,
    /// Whom to tell; nobody, if answers don't wait.
    pub ticket: Option<Ticket>,
}

/// Work on the writing connection, for changes that are no finished jobs. Gets an error while nothing can be written.
pub(in crate::store) type Work = Box<dyn FnOnce(Result<&mut Connection, WriteError>) + Send>;

/// What comes in an order that the writer keeps.
pub(in crate::store) enum Arrival {
    /// A debit.
    Debit(Debit),
    /// Whom to tell when all that came before is settled.
    Fence(Post),
    /// A change.
    Work(Work),
}

/// Guarded by the queue's lock, which is held for a few pushes only.
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
    /// Whether the writer sleeps.
    asleep: bool,
    /// It is woken by so many arrivals.
    wake_at: usize,
    /// Debits and changes of the last group.
    last_group: usize,
}

impl Waiting {
    fn next_number(&mut self) -> DebitNumber {
        self.last_number += 1;
        DebitNumber(self.last_number)
    }

    fn is_shut(&self) -> bool {
        self.closing || self.ended
    }
}

/// See the module.
pub(in crate::store) struct Queue {
    waiting: Mutex<Waiting>,
    /// With `waiting`.
    woken: Condvar,
    retry_after: Duration,
    /// The pace's, in nanoseconds: whether the ledger is available is asked without a lock. Written under the lock.
    patience_ns: AtomicU64,
    clock: Clock,
    meters: Arc<DatabaseMeters>,
    /// The disk has failed, and no try since has succeeded. Written by the writer.
    failed: AtomicBool,
    /// The database's file is gone or replaced. Written by the thread of checkpoints.
    lost: AtomicBool,
    /// When the oldest debit came that the writer has not taken. Written under the lock.
    waiting_since: AtomicU64,
    /// When the oldest debit came that the writer has taken and not settled. Written by the writer.
    in_flight_since: AtomicU64,
    /// What the gauge shows.
    shown: AtomicBool,
    /// How often the writer had nothing left to write.
    commits: AtomicU64,
}

/// What the writer is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Next {
    /// Go on.
    Write,
    /// Write what there is; then it is over.
    Close,
}

impl Queue {
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
            wake_at: 1,
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
            lost: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NEVER),
            in_flight_since: AtomicU64::new(NEVER),
            shown: AtomicBool::new(true),
            commits: AtomicU64::new(0),
        }
    }

    /// Whether rows become durable at present: the disk does not fail, and nothing has been under way for longer than
    /// patience lasts.
    pub fn is_available(&self) -> bool {
        let oldest = self
            .waiting_since
            .load(Ordering::Acquire)
            .min(self.in_flight_since.load(Ordering::Acquire));
        let late = || self.clock.now().since(Timestamp::from_nanos(oldest)) > self.patience();
        let fails = self.failed.load(Ordering::Acquire) || self.lost.load(Ordering::Acquire);
        let available = !fails && (oldest == NEVER || !late());
        if self.shown.swap(available, Ordering::Relaxed) != available {
            self.meters.available(available);
        }
        available
    }

    /// How long a commit may be under way.
    pub fn patience(&self) -> Span {
        Span::from_nanos(self.patience_ns.load(Ordering::Acquire))
    }

    /// Another pace from now on: debits that come from now on wait or not as it says. A group that gathers by the old one
    /// goes on by the new one.
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
        if waiting.is_shut() {
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
        if !waiting.is_shut() {
            self.push(&mut waiting, Arrival::Fence(post));
        }
        fence
    }

    /// A change comes. Once closed it is dropped, and its caller hears that the database is closed.
    pub fn work(&self, work: Work) {
        let mut waiting = self.waiting.lock();
        if !waiting.is_shut() {
            self.push(&mut waiting, Arrival::Work(work));
        }
    }

    fn push(&self, waiting: &mut Waiting, arrival: Arrival) {
        let urgent = !matches!(arrival, Arrival::Debit(_));
        if !urgent && self.waiting_since.load(Ordering::Relaxed) == NEVER {
            // Under the lock, so that the writer can't take the debit before its time is written down.
            self.waiting_since.store(self.clock.now().as_nanos(), Ordering::Release);
        }
        waiting.arrivals.push(arrival);
        if urgent || waiting.arrivals.len() >= waiting.wake_at {
            self.wake(waiting);
        }
    }

    /// A note comes.
    pub fn note(&self, entry: Entry) {
        let mut waiting = self.waiting.lock();
        if waiting.notes.len() >= NOTES_MAX || waiting.is_shut() {
            self.meters.dropped_row();
            return;
        }
        waiting.notes.push(entry);
        if waiting.notes.len() == 1 && waiting.wake_at == 1 {
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
        // Not under the lock: dropping a ticket wakes its waiter.
        drop(unwritten);
        self.set_failed(true);
    }

    /// Whether all that came was written, or has failed.
    pub fn has_ended(&self) -> bool {
        self.waiting.lock().ended
    }

    /// Waits for something to write, and moves it to the writer's own. `arrivals` and `notes` come in empty.
    pub fn take(&self, arrivals: &mut Vec<Arrival>, notes: &mut Vec<Entry>) -> Next {
        let mut waiting = self.waiting.lock();
        waiting.wake_at = 1;
        let idle = |waiting: &mut Waiting| waiting.arrivals.is_empty() && !waiting.closing;
        waiting.asleep = true;
        self.woken
            .wait_while(&mut waiting, |waiting| idle(waiting) && waiting.notes.is_empty());
        if idle(&mut waiting) {
            // A commit to ride along with may come yet.
            waiting.asleep = true;
            self.woken.wait_while_for(&mut waiting, idle, NOTE_WAITS);
        }
        let pace = waiting.pace;
        let gathers = match pace.durability {
            Durability::Relaxed if !waiting.arrivals.is_empty() => Some((usize::MAX, pace.commit_every.into())),
            Durability::Strict if waiting.last_group >= CROWD_MIN => Some((waiting.last_group, GATHER_MAX)),
            _ => None,
        };
        if let Some((crowd, longest)) = gathers {
            waiting.wake_at = crowd;
            waiting.asleep = true;
            let urgent = |arrival: &Arrival| !matches!(arrival, Arrival::Debit(_));
            let goes_on = |waiting: &mut Waiting| {
                waiting.arrivals.len() < crowd
                    && !waiting.closing
                    && waiting.pace == pace
                    && !waiting.arrivals.last().is_some_and(urgent)
            };
            self.woken.wait_while_for(&mut waiting, goes_on, longest);
        }
        waiting.asleep = false;
        waiting.last_group = waiting.arrivals.len();
        std::mem::swap(&mut waiting.notes, notes);
        self.hand_over(&mut waiting, arrivals)
    }

    /// Waits a while after a failure, and moves what has come to what the writer has already. Notes stay where they are
    /// bounded.
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

    /// The database's file is gone or replaced, or is the one that is open again. Whether that is news.
    pub fn set_lost(&self, lost: bool) -> bool {
        let was = self.lost.swap(lost, Ordering::AcqRel);
        self.is_available();
        was != lost
    }

    /// All that the writer had taken is settled. How long its oldest debit waited, if there was one.
    pub fn landed(&self) -> Option<Span> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        match self.in_flight_since.swap(NEVER, Ordering::AcqRel) {
            NEVER => None,
            since => Some(self.clock.now().since(Timestamp::from_nanos(since))),
        }
    }

    /// Rises whenever something was written.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn hand_over(&self, waiting: &mut Waiting, arrivals: &mut Vec<Arrival>) -> Next {
        if arrivals.is_empty() {
            std::mem::swap(&mut waiting.arrivals, arrivals);
        } else {
            arrivals.append(&mut waiting.arrivals);
        }
        // First the later, then the earlier of the two: who looks between sees the oldest twice rather than not at all.
        let since = self.waiting_since.load(Ordering::Acquire);
        self.in_flight_since.fetch_min(since, Ordering::AcqRel);
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
