//! The wait in a seat: hand-over of a slot, displacement, longest wait, hang-up.
//!
//! Absent on purpose: timers. Whoever holds a [`Waiting`] knows when to call [`Waiting::expire`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::hall::Verdict;
use super::{Gate, Pass, wake};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{PoolId, TierId};
use crate::policy::time::Timestamp;
use crate::policy::{End, JobId};

/// A job in a seat. Resolves to a slot or a refusal; dropped before that, its client has hung up.
#[derive(Debug)]
#[must_use = "dropping it gives the seat back"]
pub struct Waiting {
    gate: Arc<Gate>,
    /// `None` once the verdict is taken.
    job: Option<JobId>,
    tier: TierId,
    pool: PoolId,
    until: Timestamp,
}

impl Waiting {
    pub(super) fn new(gate: Arc<Gate>, job: JobId, tier: TierId, pool: PoolId, until: Timestamp) -> Self {
        Self {
            gate,
            job: Some(job),
            tier,
            pool,
            until,
        }
    }

    /// When the job will have waited its longest: call [`Self::expire`] then.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// The body has arrived far enough: the job asks for a slot. Poll for what becomes of it.
    pub fn ask_slot(&self) {
        let Some(job) = self.job else { return };
        let waker = {
            let mut hall = self.gate.hall.lock();
            let grant = hall.policy.ask_slot(job, self.gate.now());
            hall.tell_granted(grant)
        };
        wake(waker);
    }

    /// The job has waited its longest. A slot that it was given at this very moment is its own all the same.
    ///
    /// # Errors
    /// A refusal; the seat is given back.
    pub fn expire(mut self) -> Result<Pass, Refusal> {
        let job = self
            .job
            .take()
            .expect("whoever has taken its verdict has nothing left to wait for");
        let verdict = {
            let mut hall = self.gate.hall.lock();
            let expired = hall.policy.expire(job, self.gate.now());
            let unheard = hall.forget(job);
            match expired {
                Some(refusal) => Err(refusal),
                None => Ok(unheard.expect("whoever has no seat any more has a verdict")),
            }
        };
        match verdict {
            Err(refusal) => {
                self.gate.meters.job(self.tier, End::WaitedOut);
                Err(refusal)
            }
            Ok(verdict) => self.hear(verdict),
        }
    }

    fn hear(&self, verdict: Verdict) -> Result<Pass, Refusal> {
        match verdict {
            Verdict::Granted(grant) => Ok(self.gate.pass(grant, self.tier, self.pool)),
            Verdict::Refused(refusal) => Err(refusal),
        }
    }
}

impl Future for Waiting {
    type Output = Result<Pass, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let job = self.job.expect("not polled after it has resolved");
        let Poll::Ready(verdict) = self.gate.hall.lock().poll(job, cx) else {
            return Poll::Pending;
        };
        self.job = None;
        Poll::Ready(self.hear(verdict))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let (gone_in_time, waker) = {
            let mut hall = self.gate.hall.lock();
            let seated = hall.policy.hang_up(job);
            let declined = match hall.forget(job) {
                Some(Verdict::Granted(_)) => Some(hall.policy.decline(job, self.gate.now())),
                Some(Verdict::Refused(_)) | None => None,
            };
            let gone = seated || declined.is_some();
            (gone, hall.tell_granted(declined.flatten()))
        };
        wake(waker);
        if gone_in_time {
            self.gate.meters.job(self.tier, End::HungUp);
        }
    }
}
