//! All that changes together, under one lock (docs/decisions/one-lock.md): the policy, and what it has decided about jobs
//! that have not heard yet.
//!
//! A verdict lies here until its waiter takes it; so it can't be lost between a sender and a receiver, and a waiter that
//! goes away with a slot's verdict untaken gives the slot on in the same step.
//!
//! Absent on purpose: the lock and the clock, which are the gate's.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Generation;
use crate::policy::refusal::Refusal;
use crate::policy::time::UnixTime;
use crate::policy::{Displaced, Grant, JobId, Policy};

#[derive(Debug)]
pub(super) struct GateState {
    pub(super) policy: Policy,
    /// Whose rules the policy has.
    pub(super) generation: Arc<Generation>,
    /// Those who have not yet heard what became of them: jobs in a seat, jobs that move, and jobs that do neither any
    /// more and whose verdict lies here until they take it. As many as there are values of `QueuedJob` and `Relocating`.
    waiters: HashMap<JobId, Waiter>,
}

#[derive(Debug, Default)]
struct Waiter {
    verdict: Option<WaitResult>,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) enum WaitResult {
    Granted(Grant),
    /// Of a job with that date.
    Refused(Refusal, UnixTime),
}

impl GateState {
    pub(super) fn new(policy: Policy, generation: Arc<Generation>) -> Self {
        Self {
            policy,
            generation,
            waiters: HashMap::new(),
        }
    }

    /// From now on the job waits for a verdict.
    pub(super) fn expect(&mut self, job: JobId) {
        self.waiters.insert(job, Waiter::default());
    }

    /// Lays the verdict down for the waiter. Wake it once the lock is open.
    #[must_use]
    pub(super) fn tell(&mut self, job: JobId, verdict: WaitResult) -> Option<Waker> {
        let waiter = self
            .waiters
            .get_mut(&job)
            .expect("whoever has a seat or moves has a waiter");
        waiter.verdict = Some(verdict);
        waiter.waker.take()
    }

    #[must_use]
    pub(super) fn tell_displaced(&mut self, out: Displaced) -> Option<Waker> {
        self.tell(out.job, WaitResult::Refused(out.refusal, out.admitted))
    }

    #[must_use]
    pub(super) fn tell_granted(&mut self, grant: Option<Grant>) -> Option<Waker> {
        grant.and_then(|grant| self.tell(grant.job, WaitResult::Granted(grant)))
    }

    /// The job's verdict, if there is one; otherwise who is to be woken when there is. The verdict can be heard once.
    pub(super) fn poll(&mut self, job: JobId, cx: &Context<'_>) -> Poll<WaitResult> {
        let waiter = self
            .waiters
            .get_mut(&job)
            .expect("whoever waits has a waiter until it takes its verdict");
        let Some(verdict) = waiter.verdict.take() else {
            if !waiter.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                waiter.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        self.waiters.remove(&job);
        Poll::Ready(verdict)
    }

    /// The date of a job that is admitted and has not ended. A clock that was followed back has changed it.
    pub(super) fn date(&self, job: JobId) -> Option<UnixTime> {
        Some(self.policy.job(job)?.admitted)
    }

    /// Whether the job has not yet heard what became of it.
    pub(super) fn expects(&self, job: JobId) -> bool {
        self.waiters.contains_key(&job)
    }

    /// The job waits no longer. The verdict that it has not heard, if there is one.
    pub(super) fn forget(&mut self, job: JobId) -> Option<WaitResult> {
        self.waiters.remove(&job)?.verdict
    }
}
