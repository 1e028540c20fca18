//! How many accounts have used most of a quota, by tier: counted once a minute, in batches, so that no scrape and no job waits
//! for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Admin;
use crate::http::standing::Standing;
use crate::policy::caller::Caller;
use crate::policy::rules::{Rules, WindowId};
use crate::policy::time::Span;
use crate::telemetry::gauges::QUOTA_SHARES;

/// How often the accounts are counted.
const COUNT_EVERY: Span = Span::from_secs(60);

/// Accounts whose usage is read under one lock of the gate state; `benches/metrics.rs` measures for how long. Between two
/// batches jobs and other tasks have their turn.
const BATCH_ACCOUNTS: usize = 256;

type Counts = [u32; QUOTA_SHARES.len()];

/// Accounts that have used each of [`QUOTA_SHARES`] of one of their quotas, as of the last count.
#[derive(Debug, Default)]
pub struct QuotaShares(Mutex<HashMap<Arc<str>, Counts>>);

impl QuotaShares {
    /// By tier, in the rules' order.
    pub(super) fn by_tier(&self, rules: &Rules) -> Vec<Counts> {
        let counts = self.0.lock();
        let of = |tier: &str| counts.get(tier).copied().unwrap_or_default();
        rules.tiers.iter().map(|tier| of(&tier.name)).collect()
    }
}

/// Counts the accounts now and once a minute, forever.
pub async fn count_each_minute(admin: Arc<Admin>) {
    loop {
        let counts = admin.count_quota_shares().await;
        *admin.quota_shares.0.lock() = counts;
        admin.gate.clock().sleep(COUNT_EVERY).await;
    }
}

impl Admin {
    async fn count_quota_shares(&self) -> HashMap<Arc<str>, Counts> {
        let mut counts: HashMap<Arc<str>, Counts> = HashMap::new();
        let mut after = String::new();
        loop {
            let accounts = self.store.directory().page(&after, BATCH_ACCOUNTS);
            let Some(last) = accounts.last() else {
                return counts;
            };
            after = last.name.to_string();
            {
                let (site, now) = (self.site.load(), self.gate.clock().wall());
                let rules = &site.generation().rules;
                let standings = accounts
                    .into_iter()
                    .map(|account| site.callers.standing_of(account, now));
                for (standing, share) in self.shares(standings.collect(), rules) {
                    let tier = &standing.tier(rules).name;
                    let counts = counts.entry(Arc::clone(tier)).or_default();
                    for (count, threshold) in counts.iter_mut().zip(QUOTA_SHARES) {
                        *count += u32::from(share >= threshold);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Of each caller, the largest share of an enforced quota that it has used or holds.
    fn shares(&self, standings: Vec<Standing>, rules: &Rules) -> Vec<(Standing, f64)> {
        let limits = |standing: &Standing| -> Vec<(WindowId, u64)> {
            let quotas = standing.tier(rules).quotas.iter().filter(|quota| quota.enforce);
            let limits = quotas.map(|quota| (quota.window, standing.limit(quota)));
            // Of a quota of 0 nothing can be used.
            limits.filter(|(_, limit)| *limit > 0).collect()
        };
        let limits: Vec<_> = standings.iter().map(limits).collect();
        let wanted: Vec<(Caller, WindowId)> = standings
            .iter()
            .zip(&limits)
            .flat_map(|(standing, limits)| limits.iter().map(|(window, _)| (standing.caller, *window)))
            .collect();
        let mut taken = self.gate.taken(&wanted).into_iter();
        let mut share = |limits: Vec<(WindowId, u64)>| {
            let shares = limits.into_iter().zip(&mut taken);
            // Units are counts of searches, far below 2^53.
            shares
                .map(|((_, limit), taken)| taken as f64 / limit as f64)
                .fold(0.0, f64::max)
        };
        standings
            .into_iter()
            .zip(limits)
            .map(|(standing, limits)| (standing, share(limits)))
            .collect()
    }
}
