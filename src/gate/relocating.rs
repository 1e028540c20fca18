//! The wait of a job between two slots: its server could not be reached, and no other server has a free slot at the moment
//! (rules §2.7). Such a job is neither displaced nor refused at shutdown; its owner decides how long it waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::state::WaitResult;
use super::{Permit, wake};
use crate::policy::Outcome;

/// A job between two slots: it holds its caller's concurrency, and gets the next free slot of its pool. Resolves to its permit
/// with that slot; dropped before that, the job counts as cancelled.
#[derive(Debug)]
#[must_use = "dropping it ends the job"]
pub struct Relocating {
    /// Without a slot. `None` once it has one or is over.
    permit: Option<Permit>,
}

impl Relocating {
    pub(super) fn new(permit: Permit) -> Self {
        Self { permit: Some(permit) }
    }

    /// Ends the job without another slot. One granted at this very moment goes to the next in line.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else { return };
        let waker = {
            let mut state = permit.gate.state.lock();
            // In one step: a later grant would have no waiter.
            state.forget(permit.job);
            let next = state.policy.forgo(permit.job, permit.gate.now());
            state.tell_granted(next)
        };
        wake(waker);
        permit.settle(outcome, 0);
    }
}

impl Future for Relocating {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let permit = self.permit.as_ref().expect("polled after completion");
        let Poll::Ready(verdict) = permit.gate.state.lock().poll(permit.job, cx) else {
            return Poll::Pending;
        };
        let WaitResult::Granted(grant) = verdict else {
            unreachable!("a moving job is never refused: only queued jobs are")
        };
        let permit = self.permit.take().expect("checked above");
        Poll::Ready(permit.at(grant.server))
    }
}

impl Drop for Relocating {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
