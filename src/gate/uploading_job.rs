//! A job whose body still arrives (rules §2.5): it holds quota and its callers' concurrency. The caller reads the body, and calls
//! [`UploadingJob::arrived`] when it is complete.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::state::WaitResult;
use super::{Entered, Gate, JobTerms};
use crate::policy::refusal::Refusal;
use crate::policy::rules::Priority;
use crate::policy::time::{Span, UnixTime};
use crate::policy::{End, JobId, UnenforcedQuotas, WaitLimits};
use crate::store::LedgerEntry;

/// A job whose body still arrives. Dropping it ends the upload. Awaited, it resolves if the job has to end before its body is
/// complete, to the refusal: the server shuts down.
#[derive(Debug)]
#[must_use = "dropping it ends the upload"]
pub struct UploadingJob {
    gate: Arc<Gate>,
    /// `None` once the job has ended, or its body is complete.
    job: Option<JobId>,
    terms: JobTerms,
    priority: Priority,
    waits: WaitLimits,
}

impl UploadingJob {
    pub(super) fn new(gate: Arc<Gate>, job: JobId, terms: JobTerms, priority: Priority, waits: WaitLimits) -> Self {
        Self {
            gate,
            job: Some(job),
            terms,
            priority,
            waits,
        }
    }

    /// Its priority on admission.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    pub(super) fn overdrawn(&self) -> &UnenforcedQuotas {
        &self.terms.overdrawn
    }

    /// The body is complete: the job gets a slot or a queue place. So the result is never [`Entered::Uploading`].
    ///
    /// # Errors
    /// There is neither for it, or the server shuts down. The job has ended and holds nothing.
    pub fn arrived(mut self) -> Result<Entered, Refusal> {
        let job = self.job.take().expect("not called after it has resolved");
        let (decision, woken) = {
            let mut state = self.gate.state.lock();
            let unheard = state.forget(job);
            match state.policy.arrive(job, self.waits, self.gate.now()) {
                Some(Ok(mut admission)) => {
                    let woken = state.admitted(&mut admission);
                    (Ok(Ok(admission)), woken)
                }
                Some(Err(refusal)) => (Ok(Err(refusal)), None),
                None => (
                    Err(unheard.expect("a job that is no longer uploading has a result")),
                    None,
                ),
            }
        };
        super::wake(woken);
        match decision {
            Ok(Ok(admission)) => {
                self.terms.admitted = admission.admitted();
                Ok(self.gate.entered(admission, self.terms.clone(), self.waits))
            }
            // It counts as a refusal, like one on arrival.
            Ok(Err(refusal)) => Err(refusal),
            Err(result) => Err(self.hear(result)),
        }
    }

    fn hear(&mut self, result: WaitResult) -> Refusal {
        let WaitResult::Refused(out) = result else {
            unreachable!("an uploading job waits for no slot")
        };
        self.note(out.admitted, out.priority);
        out.refusal
    }

    /// Counts and records that the upload ended unfinished.
    fn note(&mut self, admitted: UnixTime, priority: Priority) {
        (self.terms.admitted, self.priority) = (admitted, priority);
        let end = End::UploadEnded;
        let meters = &self.terms.generation.meters;
        meters.job(self.terms.tier, end, self.terms.cost);
        let record = self.terms.record(self.priority, end, 0, Span::ZERO, Span::ZERO);
        self.gate.ledger.note(LedgerEntry::Job(record));
    }
}

impl Future for UploadingJob {
    type Output = Refusal;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Refusal> {
        let job = self.job.expect("polled after completion");
        let Poll::Ready(result) = self.gate.state.lock().poll(job, cx) else {
            return Poll::Pending;
        };
        self.job = None;
        Poll::Ready(self.hear(result))
    }
}

impl Drop for UploadingJob {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let (admitted, priority) = {
            let mut state = self.gate.state.lock();
            let known = state.date_and_priority(job);
            state.policy.end_upload(job);
            match state.forget(job) {
                Some(WaitResult::Refused(out)) => (out.admitted, out.priority),
                _ => known.unwrap_or((self.terms.admitted, self.priority)),
            }
        };
        self.note(admitted, priority);
    }
}
