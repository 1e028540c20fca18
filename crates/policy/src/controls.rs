//! What an operator may do at once (rules §11): pause dispatch, stop admission, drain a server, cancel a waiting job.
//!
//! Pausing and stopping last until they are taken back or the process ends. A drain belongs to the server's id, so it lasts over
//! reloads; `gate` knows the names, and keeps them over restarts.

use super::refusal::Refusal;
use super::rules::{ServerId, UpstreamId};
use super::time::Timestamp;
use super::{Displaced, Grant, JobId, Policy, place};

impl Policy {
    /// Pauses dispatch: no job gets its first slot, not on admission either. Queued jobs keep their places, and may be displaced
    /// and reach their longest waits. Jobs that have a slot go on; if such a job loses its server, it moves as ever.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Resumes dispatch: grants all free slots, in the order of service.
    pub fn resume(&mut self, now: Timestamp) -> Vec<Grant> {
        self.paused = false;
        let pools: Vec<UpstreamId> = self.pools.ids().collect();
        pools.into_iter().flat_map(|pool| self.fill(pool, now)).collect()
    }

    /// Whether dispatch is paused.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops admission: every further job is refused, and so is an uploading one when its body is complete. Other jobs in flight
    /// go on, queued ones too.
    pub fn stop_admission(&mut self) {
        self.admission_stopped = true;
    }

    /// Starts admission again.
    pub fn start_admission(&mut self) {
        self.admission_stopped = false;
    }

    /// Whether admission is stopped.
    pub fn is_admission_stopped(&self) -> bool {
        self.admission_stopped
    }

    /// Drains the server: it gets no more jobs, and its slots don't count. Jobs on it go on. This lasts until
    /// [`Self::undrain`], also for a server that the rules don't have now.
    pub fn drain(&mut self, pool: UpstreamId, server: ServerId) {
        self.drained.insert((pool, server));
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.set_drained(server, true);
        }
    }

    /// Takes a drained server back: if it is up, its slots go to moving jobs, then to queued ones.
    pub fn undrain(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Grant> {
        self.drained.remove(&(pool, server));
        match self.pools.get_mut(pool) {
            Some(of) => of.set_drained(server, false),
            None => return Vec::new(),
        }
        self.fill(pool, now)
    }

    /// Cancels a queued job: it leaves the queue and is refused. `None`, without effect, if it is not queued (any more).
    pub fn cancel(&mut self, job: JobId) -> Option<Displaced> {
        if !self.is_queued(job) {
            return None;
        }
        let lost = self.leave(place(job));
        self.stats.cancelled_by_operator += 1;
        let retry_after = self.estimated_retry_after(lost.pool, lost.priority);
        Some(Displaced {
            job,
            tier: lost.tier,
            priority: lost.priority,
            admitted: lost.admitted,
            refusal: Refusal::CancelledByOperator { retry_after },
        })
    }
}
