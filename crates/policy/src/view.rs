//! What the policy tells of itself: the rules, the house, what somebody has used.
//!
//! Absent on purpose: whatever changes what is decided next.

use std::sync::Arc;

use super::caller::Caller;
use super::rules::{Priority, Rules, ServerId, UpstreamId, WindowId};
use super::time::Timestamp;
use super::{Job, JobId, Policy, Stats, Usage};

impl Policy {
    /// What it decides by.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Everything that ever happened, counted.
    pub fn tally(&self) -> &Stats {
        &self.tally
    }

    /// Jobs that have a seat, by priority.
    pub fn waiting(&self) -> &[u32; Priority::COUNT] {
        self.queue.waiting()
    }

    /// Slots of the pool's servers that are up.
    pub fn slots(&self, pool: UpstreamId) -> u32 {
        self.pools[pool].slots()
    }

    /// Jobs that hold a slot of the pool.
    pub fn running(&self, pool: UpstreamId) -> u32 {
        self.pools[pool].running()
    }

    /// Whether a job holds a slot of that server.
    pub fn runs_on(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.runs_on(server))
    }

    /// Jobs in the house: waiting, running, moving and ending.
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Callers that have a job in the house.
    pub fn callers(&self) -> usize {
        self.concurrency.callers()
    }

    /// The caller's jobs in the house.
    pub fn jobs_of(&self, caller: &Caller) -> u32 {
        self.concurrency.load(caller).jobs
    }

    /// The caller's jobs that have a seat.
    pub fn waiting_of(&self, caller: &Caller) -> u32 {
        self.concurrency.load(caller).seated
    }

    /// What the caller has used in that window and holds of it.
    pub fn usage(&mut self, window: WindowId, caller: &Caller, now: Timestamp) -> Usage {
        let wall = self.wall_clock(now);
        let held = self.concurrency.load(caller).held;
        self.quotas.usage(window, caller, held, wall)
    }

    /// Whether no more jobs are let in.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the caller has a debit in any window.
    pub fn has_debit(&self, caller: &Caller) -> bool {
        self.quotas.knows(caller)
    }

    /// Callers that have a debit in a window: accounts, networks, users.
    pub fn debtors(&self) -> [usize; 3] {
        self.quotas.callers()
    }

    /// The jobs in the house, in no particular order.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter()
    }

    /// The job, while it is in the house.
    pub fn job(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(job)
    }
}
