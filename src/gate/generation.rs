//! One generation of the rules: what admission decides by until the next reload, and where jobs are counted.
//!
//! Each request names the generation by which it was prepared. Around a reload that may be the previous one: it gets
//! [`Stale`](super::Stale) and retries with the present one. Ids of tiers, windows and upstreams mean the same in all
//! generations.

use std::sync::Arc;

use crate::policy::Table;
use crate::policy::caller::AccountId;
use crate::policy::rules::{Rules, TierId, UpstreamId};
use crate::policy::time::Span;
use crate::store::AccountView;
use crate::telemetry::Meters;

/// The default of `clock_step_max`: how long quotas stand still.
pub const CLOCK_STEP_MAX_DEFAULT: Span = Span::from_secs(300);

/// One generation of the rules.
#[derive(Debug)]
pub struct Generation {
    /// The rules.
    pub rules: Arc<Rules>,
    /// The accounts, as the same file declares them.
    pub accounts: Arc<AccountView>,
    /// The meters of its tiers, upstreams and limits.
    pub meters: Arc<Meters>,
    /// The names of its upstreams, for the records of jobs.
    pub upstreams: Table<UpstreamId, Arc<str>>,
    /// How long a response waits for its debit to be durable.
    pub commit_patience: Span,
    /// How long quotas may stand still after the system's clock stepped back; a longer step is followed.
    pub clock_step_max: Span,
}

/// The names of all upstreams.
pub fn upstreams(rules: &Rules) -> Table<UpstreamId, Arc<str>> {
    rules.upstreams.map(|_, pool| pool.name.as_str().into())
}

impl Generation {
    /// These rules without declared accounts and with meters that are not exported: for tests and simulations.
    pub fn unobserved(rules: Arc<Rules>) -> Arc<Self> {
        Arc::new(Self {
            meters: Meters::unobserved(&rules),
            upstreams: upstreams(&rules),
            rules,
            accounts: Arc::default(),
            commit_patience: Span::from_secs(5),
            clock_step_max: CLOCK_STEP_MAX_DEFAULT,
        })
    }

    /// The tier of a declared account.
    pub(super) fn declared(&self, account: AccountId) -> Option<TierId> {
        self.rules.tier_named(&self.accounts.declared(account)?.tier)
    }
}
