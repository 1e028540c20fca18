//! One generation of the rules: by what jobs are let in until the next reload, and where they are counted.
//!
//! Whoever asks says by which generation it has made out what it asks. Around a reload that may be the one before: then it is told so
//! ([`Stale`](super::Stale)), and asks again by the present one. Ids of tiers, windows and upstreams mean the same in all of them.

use std::sync::Arc;

use crate::policy::Table;
use crate::policy::caller::AccountId;
use crate::policy::rules::{Rules, TierId, UpstreamId};
use crate::policy::time::Span;
use crate::store::AccountView;
use crate::telemetry::Meters;

/// How long quotas stand still, unless the file says otherwise.
pub const CLOCK_STEP_MAX_DEFAULT: Span = Span::from_secs(300);

/// One generation of the rules.
#[derive(Debug)]
pub struct Generation {
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// The accounts as the same file knows them.
    pub accounts: Arc<AccountView>,
    /// The meters of its tiers, pools and limits.
    pub meters: Arc<Meters>,
    /// The names of its pools' upstreams, as jobs are recorded with them.
    pub upstreams: Table<UpstreamId, Arc<str>>,
    /// How long an answer waits for its debit to be durable.
    pub commit_patience: Span,
    /// How long quotas may stand still where the system's clock has stepped back; a longer step is followed.
    pub clock_step_max: Span,
}

/// The names of all upstreams.
pub fn upstreams(rules: &Rules) -> Table<UpstreamId, Arc<str>> {
    rules.upstreams.map(|_, pool| pool.name.as_str().into())
}

impl Generation {
    /// These rules, with nobody listed, and meters that nobody reads: for tests and simulations.
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

    /// The tier of an account that is listed.
    pub(super) fn listed(&self, account: AccountId) -> Option<TierId> {
        self.rules.tier_named(&self.accounts.listed(account)?.tier)
    }
}
