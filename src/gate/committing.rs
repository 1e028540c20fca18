//! A successful job until its debit is durable (rules §6): it holds its caller's concurrency and quota, and no slot. The
//! caller brings the timer ([`Committing::patience`]).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Permit;
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::policy::{DebitNumber, Outcome};
use crate::store::{Commit, Unavailable};

/// Resolves when the last part of the response may be sent: the debit is durable and the caller's concurrency released.
/// Dropping it earlier withdraws the debit, unless it is already durable.
#[derive(Debug)]
#[must_use = "the last part of the response may be sent only after this has resolved"]
pub struct Committing {
    /// `None` once it is settled.
    job: Option<(Permit, Commit)>,
    patience: Span,
}

impl Committing {
    pub(super) fn new(permit: Permit, commit: Commit) -> Self {
        let patience = permit.terms.generation.commit_patience;
        Self {
            job: Some((permit, commit)),
            patience,
        }
    }

    /// How long to wait before [`Self::give_up`].
    pub fn patience(&self) -> Span {
        self.patience
    }

    /// The commit takes too long. A debit that became durable at this very moment stands.
    ///
    /// # Errors
    /// [`Refusal::JournalUnavailable`]: everything is released and nothing debited.
    pub fn give_up(mut self) -> Result<(), Refusal> {
        self.withdraw()
    }

    fn withdraw(&mut self) -> Result<(), Refusal> {
        match self.job.take() {
            Some((permit, commit)) => {
                let number = commit.number();
                settle(permit, commit.withdraw().map(|()| number))
            }
            None => Ok(()),
        }
    }
}

/// Settles the job: its debit is durable with that number, or will never be.
fn settle(mut permit: Permit, written: Result<DebitNumber, Unavailable>) -> Result<(), Refusal> {
    match written {
        Ok(number) => {
            permit.end_debited(number);
            Ok(())
        }
        Err(Unavailable) => {
            permit.end(Outcome::Failed);
            Err(Refusal::JournalUnavailable)
        }
    }
}

impl Future for Committing {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((_, commit)) = &mut self.job else {
            return Poll::Ready(Ok(()));
        };
        let Poll::Ready(written) = Pin::new(commit).poll(cx) else {
            return Poll::Pending;
        };
        let (permit, commit) = self.job.take().expect("checked above");
        Poll::Ready(settle(permit, written.map(|()| commit.number())))
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        // The client is gone.
        let _untold = self.withdraw();
    }
}
