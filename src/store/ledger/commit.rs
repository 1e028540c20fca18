//! Waiting for a record to become durable.
//!
//! There are no timers here: the caller sets its own limit, and withdraws when it is over.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::wake_batch::{LoopWaker, WakeBatch};
use crate::policy::DebitNumber;
use crate::sync::Mutex;

/// The record is not durable and never will be: don't acknowledge the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record could not be made durable")
    }
}

impl std::error::Error for Unavailable {}

/// The ledger's end, which reports what became of a record. Dropping it unsettled means failure.
#[derive(Debug)]
pub struct Ticket(Arc<Mutex<CommitState>>);

/// Resolves when the record is durable. Dropping it does not cancel the write: only [`Self::withdraw`] does.
#[derive(Debug)]
#[must_use = "the record counts only once this has resolved"]
pub struct Commit {
    state: Arc<Mutex<CommitState>>,
    number: DebitNumber,
}

#[derive(Debug, Default)]
struct CommitState {
    settled: Option<Result<(), Unavailable>>,
    withdrawn: bool,
    /// The waiting task, and the waker of its event loop.
    waiter: Option<(Waker, Option<Arc<LoopWaker>>)>,
}

impl Commit {
    /// A pending record, and the ticket to settle it with.
    pub fn pending() -> (Self, Ticket) {
        let state = Arc::new(Mutex::new(CommitState::default()));
        let number = DebitNumber::LAST;
        let ticket = Ticket(Arc::clone(&state));
        (Self { state, number }, ticket)
    }

    /// Attaches the number of its debit.
    pub fn numbered(self, number: DebitNumber) -> Self {
        Self { number, ..self }
    }

    /// The number of its debit; [`DebitNumber::LAST`] without one.
    pub fn number(&self) -> DebitNumber {
        self.number
    }

    /// A record that needs no further wait.
    pub fn done() -> Self {
        let (commit, ticket) = Self::pending();
        // The other end was just created, so it can't have been withdrawn.
        let _settlement = ticket.settle(Ok(()));
        commit
    }

    /// A record that will not be written.
    pub fn failed() -> Self {
        Self::pending().0
    }

    /// Withdraws the record, so that the job does not count. If it is settled already, returns that result and changes nothing.
    /// Otherwise the record is void: if it reaches the disk nevertheless, a later record says so.
    ///
    /// # Errors
    /// The record is not durable, or is withdrawn now.
    pub fn withdraw(self) -> Result<(), Unavailable> {
        let mut state = self.state.lock();
        state.withdrawn = true;
        state.settled.unwrap_or(Err(Unavailable))
    }
}

impl Future for Commit {
    type Output = Result<(), Unavailable>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.state.lock();
        match state.settled {
            Some(settled) => Poll::Ready(settled),
            None => {
                let waits = |(waker, _): &(Waker, _)| waker.will_wake(cx.waker());
                if !state.waiter.as_ref().is_some_and(waits) {
                    state.waiter = Some((cx.waker().clone(), LoopWaker::current()));
                }
                Poll::Pending
            }
        }
    }
}

/// What the ledger must do about a record that was just settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that was withdrawn must be made void"]
pub enum Settlement {
    /// Nothing: the result reaches its waiter.
    Stands,
    /// Mark it as void: it was withdrawn before it was settled.
    Withdrawn,
}

impl Ticket {
    /// Whether the record was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        self.0.lock().withdrawn
    }

    /// Settles the record and wakes its waiter.
    pub fn settle(self, outcome: Result<(), Unavailable>) -> Settlement {
        self.put(outcome, &mut WakeBatch::default())
    }

    /// Settles the record; its waiter is woken with the others in `wakes`.
    pub(in crate::store) fn settle_later(self, outcome: Result<(), Unavailable>, wakes: &mut WakeBatch) -> Settlement {
        self.put(outcome, wakes)
    }

    fn put(&self, outcome: Result<(), Unavailable>, wakes: &mut WakeBatch) -> Settlement {
        let mut state = self.0.lock();
        if state.withdrawn {
            return Settlement::Withdrawn;
        }
        state.settled = Some(outcome);
        let waiter = state.waiter.take();
        drop(state);
        if let Some((waker, loop_waker)) = waiter {
            wakes.push(waker, loop_waker);
        }
        Settlement::Stands
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.lock().settled.is_none() {
            // Withdrawn or not, it will not be durable.
            let _settlement = self.put(Err(Unavailable), &mut WakeBatch::default());
        }
    }
}
