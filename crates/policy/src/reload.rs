//! Other rules while jobs are in the house: what they keep, what they get, and the windows that are new.
//!
//! Absent on purpose: who was on the way (`gate` has it ask again), and what a new window has missed (`gate::filling`).

use std::sync::Arc;

use super::caller::AccountId;
use super::pool::Pool;
use super::rules::{PoolId, Rules, TierId, Window, WindowId};
use super::time::Timestamp;
use super::{DebitNumber, Grant, Policy, State};

impl Policy {
    /// Other rules from now on. Jobs in the house keep their terms, but those who wait get their tier's new priority
    /// and keep their order of arrival; nobody loses a seat or a slot by it. Tiers are known again by name. A job whose tier
    /// vanished goes on in the tier in which its account is `listed` now, otherwise as one of the anonymous tier.
    ///
    /// A window that is new begins empty ([`Self::count_from`]).
    ///
    /// The pools are those of the old rules, in the same order; others may follow them. Where nobody is, a pool may be another
    /// one's, and the last ones may be gone.
    pub fn reload(
        &mut self,
        rules: Arc<Rules>,
        listed: impl Fn(AccountId) -> Option<TierId>,
        now: Timestamp,
    ) -> Vec<Grant> {
        for job in self.jobs.iter_mut() {
            job.tier = rules.heir(&self.rules.tier(job.tier).name, &job.caller, &listed);
            if matches!(job.state, State::Uploading | State::Waiting) {
                job.priority = rules.tier(job.tier).priority;
            }
        }
        for ((pool, old), new) in self.pools.iter_mut().zip(&self.rules.pools).zip(&rules.pools) {
            if old.name == new.name {
                pool.resize(&new.slots);
            } else {
                debug_assert_eq!(pool.running(), 0, "a place that is given to others is free");
                *pool = Pool::new(new);
            }
        }
        debug_assert!(
            self.pools
                .iter()
                .skip(rules.pools.len())
                .all(|pool| pool.running() == 0)
        );
        self.pools.truncate(rules.pools.len());
        let known = self.pools.len();
        self.pools.extend(rules.pools.iter().skip(known).map(Pool::new));
        self.queue
            .replace_all(&mut self.jobs, rules.queue.within_tier, self.pools.len());
        self.quotas.reload(&rules.windows);
        self.rules = rules;
        // A calendar that is new here begins its present period now: a job that ends next must find the page it debits.
        self.wall_clock(now);
        let pools = 0..u16::try_from(self.pools.len()).expect("a PoolId is a u16");
        pools.flat_map(|pool| self.fill(PoolId(pool), now)).collect()
    }

    /// Whether there are windows, made by a reload or begun anew, of which nobody has said yet from where on they count.
    pub fn has_new_windows(&self) -> bool {
        self.quotas.has_new_windows()
    }

    /// The windows that a reload has made, or that were begun anew, empty: debits of that number and above count in them as their
    /// jobs end, and those below are for somebody to read back, jobs' that are in the house now included. To be called under the
    /// lock under which they were made. No two calls may give the same number: it tells whose a window is
    /// ([`Self::counting_from`]).
    pub fn count_from(&mut self, first: DebitNumber) -> Vec<Window> {
        let new = self.quotas.count_from(first);
        let windows = self.rules.windows.iter().zip(new);
        windows
            .filter(|(_, new)| *new)
            .map(|(window, _)| window.clone())
            .collect()
    }

    /// Which window that is now, if it is still there and is the one that counts from that number on.
    pub fn counting_from(&self, window: &Window, first: DebitNumber) -> Option<WindowId> {
        self.quotas.counting_from(window, first)
    }
}
