//! All state that changes together, under one lock (docs/decisions/one-lock.md): the policy, and its decisions about jobs that
//! have not been notified yet.
//!
//! A result stays here until its waiter takes it. So it can't be lost between a sender and a receiver, and when a waiter is
//! dropped with an untaken slot, the slot is passed on in the same step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Generation;
use crate::policy::rules::{Priority, Rules, ServerId, UpstreamId};
use crate::policy::time::UnixTime;
use crate::policy::{Admission, Displaced, Grant, JobId, Policy};
use crate::store::ServerName;

#[derive(Debug)]
pub(super) struct GateState {
    pub(super) policy: Policy,
    /// The generation of the policy's rules.
    pub(super) generation: Arc<Generation>,
    /// Jobs that upload, are queued or move, or whose result has not been taken yet. One for each `UploadingJob`, `QueuedJob` and
    /// `Relocating`.
    waiters: HashMap<JobId, Waiter>,
    /// Servers that are drained, whether the rules have them or not, with their ids as soon as those are known.
    pub(super) drained: BTreeMap<ServerName, Option<(UpstreamId, ServerId)>>,
}

#[derive(Debug, Default)]
struct Waiter {
    verdict: Option<WaitResult>,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) enum WaitResult {
    Granted(Grant),
    Refused(Displaced),
}

impl GateState {
    pub(super) fn new(policy: Policy, generation: Arc<Generation>) -> Self {
        Self {
            policy,
            generation,
            waiters: HashMap::new(),
            drained: BTreeMap::new(),
        }
    }

    /// Drains the servers of these rules that are drained by name. Call it before the policy takes the rules: it grants slots
    /// then.
    pub(super) fn drain_named(&mut self, rules: &Rules) {
        for (name, known) in &mut self.drained {
            if let Some((pool, server)) = ids_of(rules, name) {
                *known = Some((pool, server));
                self.policy.drain(pool, server);
            }
        }
    }

    /// Registers the admitted job as a waiter, unless it has its slot, and tells the job that it displaced.
    #[must_use]
    pub(super) fn admitted(&mut self, admission: &mut Admission) -> Option<Waker> {
        match admission {
            Admission::Running { .. } => None,
            Admission::Uploading { job, .. } => {
                self.expect(*job);
                None
            }
            Admission::Queued {
                job,
                priority,
                displaced,
                ..
            } => {
                self.expect(*job);
                let out = displaced.take()?;
                self.generation.meters.displaced(*priority, out.priority);
                self.tell_displaced(out)
            }
        }
    }

    /// Registers the job as a waiter.
    pub(super) fn expect(&mut self, job: JobId) {
        self.waiters.insert(job, Waiter::default());
    }

    /// Stores the result for the waiter. Wake it after releasing the lock.
    #[must_use]
    pub(super) fn tell(&mut self, job: JobId, verdict: WaitResult) -> Option<Waker> {
        let waiter = self
            .waiters
            .get_mut(&job)
            .expect("an uploading, queued or moving job has a waiter");
        waiter.verdict = Some(verdict);
        waiter.waker.take()
    }

    #[must_use]
    pub(super) fn tell_displaced(&mut self, out: Displaced) -> Option<Waker> {
        self.tell(out.job, WaitResult::Refused(out))
    }

    #[must_use]
    pub(super) fn tell_granted(&mut self, grant: Option<Grant>) -> Option<Waker> {
        grant.and_then(|grant| self.tell(grant.job, WaitResult::Granted(grant)))
    }

    /// Takes the job's result, or registers the task to wake. A result can be taken once.
    pub(super) fn poll(&mut self, job: JobId, cx: &Context<'_>) -> Poll<WaitResult> {
        let waiter = self.waiters.get_mut(&job).expect("polled after completion");
        let Some(verdict) = waiter.verdict.take() else {
            if !waiter.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                waiter.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        self.waiters.remove(&job);
        Poll::Ready(verdict)
    }

    /// The date of an admitted job that has not ended. Changes when the clock is followed back.
    pub(super) fn date(&self, job: JobId) -> Option<UnixTime> {
        Some(self.policy.job(job)?.admitted)
    }

    /// The date and the priority of an admitted job that has not ended. A reload changes the priority while the job is queued.
    pub(super) fn date_and_priority(&self, job: JobId) -> Option<(UnixTime, Priority)> {
        let job = self.policy.job(job)?;
        Some((job.admitted, job.priority))
    }

    /// Whether the job has a waiter.
    pub(super) fn expects(&self, job: JobId) -> bool {
        self.waiters.contains_key(&job)
    }

    /// Removes the waiter, and returns a result that was not taken.
    pub(super) fn forget(&mut self, job: JobId) -> Option<WaitResult> {
        self.waiters.remove(&job)?.verdict
    }
}

/// The ids of the server in these rules.
pub(super) fn ids_of(rules: &Rules, name: &ServerName) -> Option<(UpstreamId, ServerId)> {
    let (pool, upstream) = rules.upstreams.entries().find(|(_, of)| *of.name == *name.upstream)?;
    let (server, _) = upstream.servers.entries().find(|(_, of)| *of.name == *name.server)?;
    Some((pool, server))
}
