//! What an operator may do at once (§11).

use tiergate_policy::rules::{ServerId, UpstreamId};
use tiergate_policy::time::Timestamp;

use super::{Granted, Job, Model, Number};

impl Model {
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn is_admission_stopped(&self) -> bool {
        self.admission_stopped
    }

    pub fn is_drained(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.drained.contains(&(pool, server))
    }

    /// §11.1: while dispatch is paused, no job gets its first slot.
    pub(super) fn dispatchable(&self, pool: UpstreamId) -> Option<ServerId> {
        if self.paused { None } else { self.free(pool) }
    }

    pub fn pause(&mut self) {
        self.paused = true;
    }

    pub fn resume(&mut self, now: Timestamp) -> Vec<Granted> {
        self.paused = false;
        self.pools().flat_map(|pool| self.grant_all(pool, now)).collect()
    }

    pub fn stop_admission(&mut self) {
        self.admission_stopped = true;
    }

    pub fn start_admission(&mut self) {
        self.admission_stopped = false;
    }

    pub fn drain(&mut self, pool: UpstreamId, server: ServerId) {
        self.drained.push((pool, server));
    }

    /// §11.3: also for one that was removed meanwhile, with its upstream.
    pub fn undrain(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Granted> {
        self.drained.retain(|drained| *drained != (pool, server));
        if self.pools().any(|of| of == pool) {
            self.grant_all(pool, now)
        } else {
            Vec::new()
        }
    }

    /// The nth of the drained servers, in a circle.
    pub fn nth_drained(&self, nth: usize) -> Option<(UpstreamId, ServerId)> {
        let at = nth.checked_rem(self.drained.len())?;
        Some(self.drained[at])
    }

    /// §11.4: whether it was queued.
    pub fn cancel(&mut self, number: Number) -> bool {
        let queued = self.job(number).is_some_and(Job::is_queued);
        if queued {
            self.remove(number);
            self.stats.cancelled_by_operator += 1;
        }
        queued
    }
}
