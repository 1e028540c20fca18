//! Other rules while jobs are in the house: what they keep, what they get, and the windows that are new.
//!
//! Absent on purpose: who was on the way (`gate` has it ask again), and what a new window has missed (`gate::filling`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::caller::AccountId;
use super::pool::Pool;
use super::rules::{Rules, TierId, UpstreamId, Window, WindowId};
use super::table::Table;
use super::time::Timestamp;
use super::{DebitNumber, Grant, Policy, State};

impl Policy {
    /// Other rules from now on. Jobs in the house keep their terms, but those who wait get their tier's new priority
    /// and keep their order of arrival; nobody loses a seat or a slot by it. A job whose tier vanished goes on in the tier in which
    /// its account is `listed` now, otherwise as one of the anonymous tier.
    ///
    /// An upstream that vanished goes on as it is while jobs are on it. A window that is new begins empty ([`Self::count_from`]).
    pub fn reload(
        &mut self,
        rules: Arc<Rules>,
        listed: impl Fn(AccountId) -> Option<TierId>,
        now: Timestamp,
    ) -> Vec<Grant> {
        let mut in_use = BTreeSet::new();
        for job in self.jobs.iter_mut() {
            in_use.insert(job.pool);
            job.tier = rules.heir(job.tier, &job.caller, &listed);
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
        self.queue
            .replace_all(&mut self.jobs, rules.queue.within_tier, self.pools.ids());
        self.quotas.reload(&rules.windows);
        self.rules = rules;
        // A calendar that is new here begins its present period now: a job that ends next must find the page it debits.
        self.wall_clock(now);
        let pools: Vec<UpstreamId> = self.pools.ids().collect();
        pools.into_iter().flat_map(|pool| self.fill(pool, now)).collect()
    }

    /// Whether there are windows, made by a reload or begun anew, of which nobody has said yet from where on they count.
    pub fn has_new_windows(&self) -> bool {
        self.quotas.has_new_windows()
    }

    /// The windows that a reload has made, or that were begun anew, empty: debits of that number and above count in them as their
    /// jobs end, and those below are for somebody to read back, jobs' that are in the house now included. To be called under the
    /// lock under which they were made. No two calls may give the same number: it tells whose a window is
    /// ([`Self::counts_from`]).
    pub fn count_from(&mut self, first: DebitNumber) -> Table<WindowId, Window> {
        let new = self.quotas.count_from(first).into_iter();
        new.map(|id| (id, self.rules.windows[id].clone())).collect()
    }

    /// Whether that window is still there and is the one that counts from that number on.
    pub fn counts_from(&self, window: WindowId, first: DebitNumber) -> bool {
        self.quotas.counts_from(window, first)
    }
}
