//! Read access to the policy: rules, jobs, usage. Nothing here changes a later decision.

use std::sync::Arc;

use super::caller::Caller;
use super::pool::ServerState;
use super::rules::{Priority, Rules, ServerId, UpstreamId, WindowId};
use super::time::{Span, Timestamp};
use super::{Job, JobId, Policy, Stats, Usage};

impl Policy {
    /// The rules in force.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Counters of everything that has happened.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Queued jobs by priority.
    pub fn waiting(&self) -> &[u32; Priority::COUNT] {
        self.queue.waiting()
    }

    /// Slots of the pool's servers that are up and not drained.
    pub fn slots(&self, pool: UpstreamId) -> u32 {
        self.pools[pool].slots()
    }

    /// Jobs that hold a slot of the pool.
    pub fn running(&self, pool: UpstreamId) -> u32 {
        self.pools[pool].running()
    }

    /// The pool's servers, by ascending id, with removed ones that still have jobs.
    pub fn servers(&self, pool: UpstreamId) -> impl Iterator<Item = ServerState> {
        self.pools.get(pool).into_iter().flat_map(|pool| pool.servers())
    }

    /// The mean time that a slot of the pool was held recently; `None` before any was measured.
    pub fn slot_time(&self, pool: UpstreamId) -> Option<Span> {
        self.pools.get(pool)?.slot_time()
    }

    /// Whether a job holds a slot of that server.
    pub fn runs_on(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.runs_on(server))
    }

    /// Jobs in flight: uploading, queued, running, moving and ending.
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Callers with a job in flight.
    pub fn callers(&self) -> usize {
        self.concurrency.callers()
    }

    /// The caller's jobs in flight.
    pub fn jobs_of(&self, caller: &Caller) -> u32 {
        self.concurrency.load(caller).jobs
    }

    /// The caller's jobs whose bodies still arrive.
    pub fn uploading_of(&self, caller: &Caller) -> u32 {
        self.concurrency.load(caller).uploading
    }

    /// The caller's queued jobs.
    pub fn waiting_of(&self, caller: &Caller) -> u32 {
        self.concurrency.load(caller).queued
    }

    /// What the caller has used and holds in that window.
    pub fn usage(&mut self, window: WindowId, caller: &Caller, now: Timestamp) -> Usage {
        let wall = self.wall_clock(now);
        let held = self.concurrency.load(caller).held;
        self.quotas.usage(window, caller, held, wall)
    }

    /// Units that the caller has used and holds in that window; 0 if the window doesn't exist. Cheaper than [`Self::usage`].
    pub fn taken(&mut self, window: WindowId, caller: &Caller, now: Timestamp) -> u64 {
        if !self.rules.windows.contains(window) {
            return 0;
        }
        let wall = self.wall_clock(now);
        let held = self.concurrency.load(caller).held;
        self.quotas.taken(window, caller, held, wall)
    }

    /// Whether admission has ended.
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

    /// The jobs in flight, in no particular order.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter()
    }

    /// The job, while it is in flight.
    pub fn job(&self, job: JobId) -> Option<&Job> {
        self.jobs.get(job)
    }
}
