//! A job that has succeeded, until that is durable (semantics §6): it holds its caller's concurrency and quota, and no slot.
//!
//! Absent on purpose: timers. Whoever awaits it brings the patience ([`Committing::patience`]).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Permit;
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::policy::{DebitNumber, Outcome};
use crate::store::{Commit, Unavailable};

/// Resolves when the answer's last part may go out: the debit is durable and the caller's concurrency given back. Dropped
/// before, the debit is taken back, unless it has become durable.
#[derive(Debug)]
#[must_use = "the answer's last part may go out only once this has resolved"]
pub struct Committing {
    /// `None` once it is settled.
    job: Option<(Permit, Commit)>,
    patience: Span,
}

impl Committing {
    pub(super) fn new(pass: Permit, commit: Commit) -> Self {
        let patience = pass.terms.generation.commit_patience;
        Self {
            job: Some((pass, commit)),
            patience,
        }
    }

    /// How long to wait before [`Self::give_up`].
    pub fn patience(&self) -> Span {
        self.patience
    }

    /// It has taken too long. A debit that became durable at this very moment stands.
    ///
    /// # Errors
    /// [`Refusal::JournalUnavailable`]; everything is given back and nothing debited.
    pub fn give_up(mut self) -> Result<(), Refusal> {
        self.withdraw()
    }

    fn withdraw(&mut self) -> Result<(), Refusal> {
        match self.job.take() {
            Some((pass, commit)) => {
                let number = commit.number();
                settle(pass, commit.withdraw().map(|()| number))
            }
            None => Ok(()),
        }
    }
}

/// The job's debit is durable, under that number, or won't ever be.
fn settle(mut pass: Permit, written: Result<DebitNumber, Unavailable>) -> Result<(), Refusal> {
    match written {
        Ok(number) => {
            pass.end_debited(number);
            Ok(())
        }
        Err(Unavailable) => {
            pass.end(Outcome::Failed);
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
        let (pass, commit) = self.job.take().expect("looked at above");
        Poll::Ready(settle(pass, written.map(|()| commit.number())))
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _untold = self.withdraw();
    }
}
