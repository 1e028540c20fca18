//! A queued job: slot hand-over, displacement, longest wait, hang-up. The caller brings the timer and calls
//! [`QueuedJob::expire`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::state::WaitResult;
use super::{Gate, JobTerms, Permit, wake};
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::rules::Priority;
use crate::policy::time::{Span, Timestamp};
use crate::policy::{Displaced, End, JobId, UnenforcedQuotas};
use crate::store::LedgerEntry;

/// A queued job. Resolves to a slot or a refusal; dropping it earlier means that the client has hung up.
#[derive(Debug)]
#[must_use = "dropping it removes the job from the queue"]
pub struct QueuedJob {
    gate: Arc<Gate>,
    /// `None` once the result is taken.
    job: Option<JobId>,
    terms: JobTerms,
    /// As of the last decision about it: a reload changes it while the job is queued.
    priority: Priority,
    since: Timestamp,
    until: Timestamp,
    /// How long it was expected to wait.
    estimate: Span,
}

impl QueuedJob {
    pub(super) fn new(
        gate: Arc<Gate>,
        job: JobId,
        terms: JobTerms,
        priority: Priority,
        until: Timestamp,
        estimate: Span,
    ) -> Self {
        let since = gate.now();
        Self {
            gate,
            job: Some(job),
            terms,
            priority,
            since,
            until,
            estimate,
        }
    }

    /// When the job's longest wait ends: call [`Self::expire`] then.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    pub(super) fn overdrawn(&self) -> &UnenforcedQuotas {
        &self.terms.overdrawn
    }

    /// The job's longest wait has ended. If it was granted a slot at this very moment, it keeps it.
    ///
    /// # Errors
    /// A refusal; the job has left the queue.
    pub fn expire(mut self) -> Result<Permit, Refusal> {
        let job = self.job.take().expect("not called after it has resolved");
        let verdict = {
            let mut state = self.gate.state.lock();
            if let Some((admitted, priority)) = state.date_and_priority(job) {
                (self.terms.admitted, self.priority) = (admitted, priority);
            }
            let expired = state.policy.expire(job, self.gate.now());
            let unheard = state.forget(job);
            match expired {
                Some(refusal) => Err(refusal),
                None => Ok(unheard.expect("a job that is no longer queued has a result")),
            }
        };
        match verdict {
            Err(refusal) => {
                self.note(End::WaitedOut);
                Err(refusal)
            }
            Ok(verdict) => self.hear(verdict),
        }
    }

    fn hear(&mut self, verdict: WaitResult) -> Result<Permit, Refusal> {
        match verdict {
            WaitResult::Granted(grant) => {
                self.terms.admitted = grant.admitted;
                self.terms.generation.meters.estimated(self.estimate, grant.waited);
                Ok(self.gate.permit(grant, self.terms.clone()))
            }
            WaitResult::Refused(out) => {
                self.turned_away(&out);
                Err(out.refusal)
            }
        }
    }

    fn turned_away(&mut self, out: &Displaced) {
        (self.terms.admitted, self.priority) = (out.admitted, out.priority);
        self.note(match out.refusal.reason() {
            Reason::ShuttingDown => End::ShutDown,
            Reason::CancelledByOperator => End::CancelledByOperator,
            _ => End::Displaced,
        });
    }

    /// Counts and records that the job ended without a slot.
    fn note(&self, end: End) {
        let waited = self.gate.now().since(self.since);
        let meters = &self.terms.generation.meters;
        meters.job(self.terms.tier, end, self.terms.cost);
        meters.left(self.terms.tier, waited);
        let record = self.terms.record(self.priority, end, 0, waited, Span::ZERO);
        self.gate.ledger.note(LedgerEntry::Job(record));
    }
}

impl Future for QueuedJob {
    type Output = Result<Permit, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let job = self.job.expect("polled after completion");
        let Poll::Ready(verdict) = self.gate.state.lock().poll(job, cx) else {
            return Poll::Pending;
        };
        self.job = None;
        Poll::Ready(self.hear(verdict))
    }
}

impl Drop for QueuedJob {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let (refused, waker) = {
            let mut state = self.gate.state.lock();
            if let Some((admitted, priority)) = state.date_and_priority(job) {
                (self.terms.admitted, self.priority) = (admitted, priority);
            }
            state.policy.hang_up(job);
            match state.forget(job) {
                Some(WaitResult::Granted(_)) => {
                    let next = state.policy.decline(job, self.gate.now());
                    (None, state.tell_granted(next))
                }
                Some(WaitResult::Refused(out)) => (Some(out), None),
                None => (None, None),
            }
        };
        wake(waker);
        match refused {
            None => self.note(End::HungUp),
            Some(out) => self.turned_away(&out),
        }
    }
}
