//! The wait for a record to be durable.
//!
//! It has no timers: the caller brings its patience, and withdraws when that is over.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::wake_batch::{Bell, WakeBatch};
use crate::policy::DebitNumber;
use crate::sync::Mutex;

/// The record is not durable, and won't be: nothing may be answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record could not be made durable")
    }
}

impl std::error::Error for Unavailable {}

/// The end at which a ledger says what became of a record. Dropped unsettled, it has failed.
#[derive(Debug)]
pub struct Ticket(Arc<Mutex<Slip>>);

/// Resolves when the record is durable. Dropped before, the record is written all the same: only [`Self::withdraw`] takes
/// it back.
#[derive(Debug)]
#[must_use = "the record counts only once this has resolved"]
pub struct Commit {
    slip: Arc<Mutex<Slip>>,
    number: DebitNumber,
}

#[derive(Debug, Default)]
struct Slip {
    settled: Option<Result<(), Unavailable>>,
    withdrawn: bool,
    /// Who waits, and the bell of its event loop.
    waiter: Option<(Waker, Option<Arc<Bell>>)>,
}

impl Commit {
    /// A record on its way, and the end at which to say what became of it.
    pub fn pending() -> (Self, Ticket) {
        let slip = Arc::new(Mutex::new(Slip::default()));
        let number = DebitNumber::LAST;
        let ticket = Ticket(Arc::clone(&slip));
        (Self { slip, number }, ticket)
    }

    /// The same, of a debit that has that number in its ledger.
    pub fn numbered(self, number: DebitNumber) -> Self {
        Self { number, ..self }
    }

    /// The number of its debit; [`DebitNumber::LAST`], if it has none.
    pub fn number(&self) -> DebitNumber {
        self.number
    }

    /// A record that is as durable as it ever will be.
    pub fn done() -> Self {
        let (commit, ticket) = Self::pending();
        // Nobody has had the time to withdraw it.
        let _stands = ticket.settle(Ok(()));
        commit
    }

    /// A record that nobody will write.
    pub fn failed() -> Self {
        Self::pending().0
    }

    /// Nobody waits any more, and the job is not to count. What became of the record if that is known already: then it
    /// stands as it is. Otherwise it is taken back: if it reaches the disk nevertheless, a later record says that it is void.
    ///
    /// # Errors
    /// It will not be durable, or is taken back.
    pub fn withdraw(self) -> Result<(), Unavailable> {
        let mut slip = self.slip.lock();
        slip.withdrawn = true;
        slip.settled.unwrap_or(Err(Unavailable))
    }
}

impl Future for Commit {
    type Output = Result<(), Unavailable>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slip = self.slip.lock();
        match slip.settled {
            Some(settled) => Poll::Ready(settled),
            None => {
                let waits = |(waker, _): &(Waker, _)| waker.will_wake(cx.waker());
                if !slip.waiter.as_ref().is_some_and(waits) {
                    slip.waiter = Some((cx.waker().clone(), Bell::nearest()));
                }
                Poll::Pending
            }
        }
    }
}

/// What a ledger must do about a record that has just been settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a record that was withdrawn must be made void"]
pub enum Standing {
    /// Nothing: its waiter has heard, or will.
    Stands,
    /// It was withdrawn before it was settled: as far as anybody knows it does not count.
    Withdrawn,
}

impl Ticket {
    /// Whether nobody waits any more and the record is not to count.
    pub fn is_withdrawn(&self) -> bool {
        self.0.lock().withdrawn
    }

    /// Says what became of the record, and wakes its waiter.
    pub fn settle(self, outcome: Result<(), Unavailable>) -> Standing {
        self.put(outcome, &mut WakeBatch::default())
    }

    /// Says what became of the record; its waiter is woken with the others in `wakes`.
    pub(in crate::store) fn settle_later(self, outcome: Result<(), Unavailable>, wakes: &mut WakeBatch) -> Standing {
        self.put(outcome, wakes)
    }

    fn put(&self, outcome: Result<(), Unavailable>, wakes: &mut WakeBatch) -> Standing {
        let mut slip = self.0.lock();
        if slip.withdrawn {
            return Standing::Withdrawn;
        }
        slip.settled = Some(outcome);
        let waiter = slip.waiter.take();
        drop(slip);
        if let Some((waker, bell)) = waiter {
            wakes.push(waker, bell);
        }
        Standing::Stands
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.lock().settled.is_none() {
            // Withdrawn or not, it will not be durable.
            let _unheard = self.put(Err(Unavailable), &mut WakeBatch::default());
        }
    }
}
