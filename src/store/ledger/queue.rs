//! The queue from the event loops to the writer, and the writer's health.
//!
//! Only [`WriteQueue::take`] and [`WriteQueue::take_after_failure`] block, and only the writer calls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::commit::{Commit, Ticket};
use super::{CommitSettings, Durability, LedgerSettings};
use crate::clock::Clock;
use crate::policy::DebitNumber;
use crate::policy::time::{Span, Timestamp};
use crate::store::database::WriteError;
use crate::store::recall::{Fence, FenceSignal};
use crate::store::record::{LedgerEntry, Record};
use crate::telemetry::DatabaseMeters;

/// Queued rows that debit nothing. Further ones are dropped and counted: they are for statistics.
pub const NOTES_MAX: usize = 65_536;
/// The group size, in debits, from which the next group is given time to gather.
const GATHER_DEBITS_MIN: usize = 4;
/// The longest that a group gathers.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// The longest that a note waits for a commit to join.
const NOTE_WAITS: Duration = Duration::from_secs(1);
/// No time, in [`WriteQueue::waiting_since`] and [`WriteQueue::in_flight_since`].
const NEVER: u64 = u64::MAX;

/// A debit and its waiter.
#[derive(Debug)]
pub(in crate::store) struct Debit {
    /// The record to write.
    pub record: Record,
    /// The waiter's ticket; `None` if answers don't wait.
    pub ticket: Option<Ticket>,
}

/// Other changes on the writing connection. They get an error while nothing can be written.
pub(in crate::store) type Work = Box<dyn FnOnce(Result<&mut Connection, WriteError>) + Send>;

/// An item whose order the writer keeps.
pub(in crate::store) enum Arrival {
    /// A debit to write.
    Debit(Debit),
    /// To be notified once everything before it is settled.
    Fence(FenceSignal),
    /// Another change.
    Work(Work),
}

/// Guarded by the queue's lock, which is held for a few pushes only.
struct WriteQueueState {
    arrivals: Vec<Arrival>,
    notes: Vec<LedgerEntry>,
    /// The last number given to a debit or a fence.
    last_number: u64,
    commit_settings: CommitSettings,
    /// The queue is closed.
    closing: bool,
    /// The writer has ended.
    ended: bool,
    /// Whether the writer sleeps.
    asleep: bool,
    /// The number of arrivals that wakes it.
    wake_at: usize,
    /// Debits and changes in the last group.
    last_group: usize,
}

impl WriteQueueState {
    fn next_number(&mut self) -> DebitNumber {
        self.last_number += 1;
        DebitNumber(self.last_number)
    }

    fn is_closed(&self) -> bool {
        self.closing || self.ended
    }
}

pub(in crate::store) struct WriteQueue {
    state: Mutex<WriteQueueState>,
    /// Used with `state`.
    woken: Condvar,
    retry_after: Duration,
    /// `commit_patience` in nanoseconds, so that availability is checked without a lock. Written under the lock.
    patience_ns: AtomicU64,
    clock: Clock,
    meters: Arc<DatabaseMeters>,
    /// The disk failed and no retry has succeeded since. Written by the writer.
    failed: AtomicBool,
    /// The database's file is gone or replaced. Written by the checkpoint thread.
    lost: AtomicBool,
    /// When the oldest debit that the writer has not taken arrived. Written under the lock.
    waiting_since: AtomicU64,
    /// When the oldest debit that the writer has taken but not settled arrived. Written by the writer.
    in_flight_since: AtomicU64,
    /// The value last shown in the metric.
    shown: AtomicBool,
    /// How often the writer has written everything it had.
    commits: AtomicU64,
}

/// The writer's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Next {
    /// Write and continue.
    Write,
    /// Write and end.
    Close,
}

impl WriteQueue {
    /// Creates an empty queue.
    pub fn new(settings: &LedgerSettings) -> Self {
        settings.meters.available(true);
        let commit_settings = settings.commit_settings();
        let state = WriteQueueState {
            arrivals: Vec::new(),
            notes: Vec::new(),
            last_number: 0,
            commit_settings,
            closing: false,
            ended: false,
            asleep: false,
            wake_at: 1,
            last_group: 0,
        };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
            retry_after: settings.retry_after.into(),
            patience_ns: AtomicU64::new(commit_settings.commit_patience.as_nanos()),
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

    /// Whether records become durable at present: the disk works, and no debit has waited for longer than the commit patience.
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

    /// Changes them for later debits. A group that is gathering continues with the new settings.
    pub fn set_commit_settings(&self, settings: CommitSettings) {
        let mut state = self.state.lock();
        state.commit_settings = settings;
        self.patience_ns
            .store(settings.commit_patience.as_nanos(), Ordering::Release);
        drop(state);
        self.woken.notify_all();
    }

    /// Adds a debit. Fails if the queue is closed.
    pub fn commit(&self, record: Record) -> Commit {
        let (commit, ticket) = Commit::pending();
        let mut state = self.state.lock();
        // Check the writer too: a relaxed debit after its last group would be lost though it seems done.
        if state.is_closed() {
            drop(state);
            return Commit::failed();
        }
        let (ticket, answered) = match state.commit_settings.durability {
            Durability::Strict => (Some(ticket), None),
            Durability::Relaxed => (None, Some(ticket)),
        };
        let number = state.next_number();
        self.push(&mut state, Arrival::Debit(Debit { record, ticket }));
        drop(state);
        if let Some(ticket) = answered {
            // The other end was just created, so it can't have been withdrawn.
            let _stands = ticket.settle(Ok(()));
        }
        commit.numbered(number)
    }

    /// Adds a fence. It is never reached if the queue is closed.
    pub fn fence(&self) -> Fence {
        let mut state = self.state.lock();
        let (fence, post) = Fence::new(state.next_number());
        if !state.is_closed() {
            self.push(&mut state, Arrival::Fence(post));
        }
        fence
    }

    /// Adds a change. If the queue is closed it is dropped, and its caller learns that the database is closed.
    pub fn work(&self, work: Work) {
        let mut state = self.state.lock();
        if !state.is_closed() {
            self.push(&mut state, Arrival::Work(work));
        }
    }

    fn push(&self, state: &mut WriteQueueState, arrival: Arrival) {
        let urgent = !matches!(arrival, Arrival::Debit(_));
        if !urgent && self.waiting_since.load(Ordering::Relaxed) == NEVER {
            // Under the lock, so that the writer can't take the debit before its time is stored.
            self.waiting_since.store(self.clock.now().as_nanos(), Ordering::Release);
        }
        state.arrivals.push(arrival);
        if urgent || state.arrivals.len() >= state.wake_at {
            self.wake(state);
        }
    }

    /// Adds a note.
    pub fn note(&self, entry: LedgerEntry) {
        let mut state = self.state.lock();
        if state.notes.len() >= NOTES_MAX || state.is_closed() {
            self.meters.dropped_row();
            return;
        }
        state.notes.push(entry);
        if state.notes.len() == 1 && state.wake_at == 1 {
            // The first note starts the writer's timed wait.
            self.wake(&mut state);
        }
    }

    /// Refuses further items.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.woken.notify_all();
    }

    /// The writer has ended: fails everything queued and everything later.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let unwritten = std::mem::take(&mut state.arrivals);
        drop(state);
        // Outside the lock: dropping a ticket wakes its waiter.
        drop(unwritten);
        self.set_failed(true);
    }

    /// Whether the writer has ended.
    pub fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Waits for items and moves them to the writer's buffers. `arrivals` and `notes` must be empty.
    pub fn take(&self, arrivals: &mut Vec<Arrival>, notes: &mut Vec<LedgerEntry>) -> Next {
        let mut state = self.state.lock();
        state.wake_at = 1;
        let idle = |state: &mut WriteQueueState| state.arrivals.is_empty() && !state.closing;
        state.asleep = true;
        self.woken
            .wait_while(&mut state, |state| idle(state) && state.notes.is_empty());
        if idle(&mut state) {
            // Wait for a commit that the notes can join.
            state.asleep = true;
            self.woken.wait_while_for(&mut state, idle, NOTE_WAITS);
        }
        let settings = state.commit_settings;
        let gathers = match settings.durability {
            Durability::Relaxed if !state.arrivals.is_empty() => Some((usize::MAX, settings.commit_every.into())),
            Durability::Strict if state.last_group >= GATHER_DEBITS_MIN => Some((state.last_group, GATHER_MAX)),
            _ => None,
        };
        if let Some((group, longest)) = gathers {
            state.wake_at = group;
            state.asleep = true;
            let urgent = |arrival: &Arrival| !matches!(arrival, Arrival::Debit(_));
            let goes_on = |state: &mut WriteQueueState| {
                state.arrivals.len() < group
                    && !state.closing
                    && state.commit_settings == settings
                    && !state.arrivals.last().is_some_and(urgent)
            };
            self.woken.wait_while_for(&mut state, goes_on, longest);
        }
        state.asleep = false;
        state.last_group = state.arrivals.len();
        std::mem::swap(&mut state.notes, notes);
        self.hand_over(&mut state, arrivals)
    }

    /// Waits after a failure, then appends new arrivals to those that the writer has. Notes stay here, where they are bounded.
    pub fn take_after_failure(&self, arrivals: &mut Vec<Arrival>) -> Next {
        let mut state = self.state.lock();
        self.woken
            .wait_while_for(&mut state, |state| !state.closing, self.retry_after);
        self.hand_over(&mut state, arrivals)
    }

    /// Records that the disk has failed or works again.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
        // Updates the metric.
        self.is_available();
    }

    /// Records whether the database's file is gone or replaced. Returns whether that has changed.
    pub fn set_lost(&self, lost: bool) -> bool {
        let was = self.lost.swap(lost, Ordering::AcqRel);
        self.is_available();
        was != lost
    }

    /// Everything that the writer had taken is settled. Returns how long its oldest debit waited.
    pub fn landed(&self) -> Option<Span> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        match self.in_flight_since.swap(NEVER, Ordering::AcqRel) {
            NEVER => None,
            since => Some(self.clock.now().since(Timestamp::from_nanos(since))),
        }
    }

    /// Increases with each write.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn hand_over(&self, state: &mut WriteQueueState, arrivals: &mut Vec<Arrival>) -> Next {
        if arrivals.is_empty() {
            std::mem::swap(&mut state.arrivals, arrivals);
        } else {
            arrivals.append(&mut state.arrivals);
        }
        // Read the later time first: a reader in between sees the oldest debit twice rather than not at all.
        let since = self.waiting_since.load(Ordering::Acquire);
        self.in_flight_since.fetch_min(since, Ordering::AcqRel);
        self.waiting_since.store(NEVER, Ordering::Release);
        if state.closing { Next::Close } else { Next::Write }
    }

    fn wake(&self, state: &mut WriteQueueState) {
        // One system call, however many items arrive while the writer wakes up.
        if std::mem::take(&mut state.asleep) {
            self.woken.notify_one();
        }
    }
}
