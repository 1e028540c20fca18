//! A reload of the rules while jobs are in flight: what jobs keep, what they get, and which windows are new.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::caller::AccountId;
use super::pool::Pool;
use super::rules::{Rules, TierId, UpstreamId, Window, WindowId};
use super::table::Table;
use super::time::Timestamp;
use super::{DebitNumber, Grant, Policy, State};

impl Policy {
    /// Replaces the rules. Jobs in flight keep their terms, but uploading and queued ones get their tier's new priority; queued
    /// ones keep their order, and none loses its queue place or slot. A job whose tier was removed continues in the tier in
    /// which its account is `declared` now, otherwise in the anonymous tier.
    ///
    /// A drained server stays drained, even if it is removed and comes back under its id. A removed upstream stays as it is
    /// while jobs use it. A new window begins empty ([`Self::count_from`]).
    pub fn reload(
        &mut self,
        rules: Arc<Rules>,
        declared: impl Fn(AccountId) -> Option<TierId>,
        now: Timestamp,
    ) -> Vec<Grant> {
        let mut in_use = BTreeSet::new();
        for job in self.jobs.iter_mut() {
            in_use.insert(job.pool);
            job.tier = rules.tier_after_reload(job.tier, &job.caller, &declared);
            if matches!(job.state, State::Uploading | State::Waiting) {
                job.priority = rules.tier(job.tier).priority;
            }
        }
        self.pools
            .retain(|id, _| rules.upstreams.contains(id) || in_use.contains(&id));
        for (id, new) in rules.upstreams.entries() {
            match self.pools.get_mut(id) {
                Some(pool) => pool.change_to(&new.servers),
                None => self.pools.insert(id, Pool::new(&new.servers)),
            }
        }
        // Before a slot is granted: some of the servers may be new.
        for (pool, server) in &self.drained {
            if let Some(pool) = self.pools.get_mut(*pool) {
                pool.set_drained(*server, true);
            }
        }
        self.queue
            .replace_all(&mut self.jobs, rules.queue.within_tier, self.pools.ids());
        self.quotas.reload(&rules.windows);
        self.rules = rules;
        // A calendar that is new begins its current period now: the next job to end must find the period that it debits.
        self.wall_clock(now);
        let pools: Vec<UpstreamId> = self.pools.ids().collect();
        pools.into_iter().flat_map(|pool| self.fill(pool, now)).collect()
    }

    /// Whether there are windows, new or emptied, for which [`Self::count_from`] has not been called yet.
    pub fn has_new_windows(&self) -> bool {
        self.quotas.has_new_windows()
    }

    /// Sets the first debit number of the new or emptied windows and returns them: debits with that number or above count as
    /// their jobs end; those below are to be read back, including those of jobs in flight now. Call it under the lock under
    /// which the windows were created. No two calls may use the same number: it identifies the windows ([`Self::counts_from`]).
    pub fn count_from(&mut self, first: DebitNumber) -> Table<WindowId, Window> {
        let new = self.quotas.count_from(first).into_iter();
        new.map(|id| (id, self.rules.windows[id].clone())).collect()
    }

    /// Whether that window still exists and counts from that number on.
    pub fn counts_from(&self, window: WindowId, first: DebitNumber) -> bool {
        self.quotas.counts_from(window, first)
    }
}
