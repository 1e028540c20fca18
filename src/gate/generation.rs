//! One generation of the rules: by what jobs are let in until the next reload, and where they are counted.
//!
//! Tiers, windows and limits are known by their places in the rules, which a reload may change. So whoever asks says by which
//! generation it has made out what it asks; around a reload that may be the one before. Then it is let in on the terms of that one
//! or not at all: what the two rules would say together neither may say. Names tell which windows and pools are meant. Pools keep
//! their places from one generation to the next (`serve::places`).
//!
//! Absent on purpose: what becomes of jobs in the house, which is the policy's.

use std::sync::Arc;

use crate::policy::caller::{AccountId, Caller};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{PoolId, Rules, Tier, TierId};
use crate::policy::time::Span;
use crate::policy::{Ask, Table, Terms};
use crate::store::KnownAccounts;
use crate::telemetry::Meters;

/// How long quotas stand still, unless the file says otherwise.
pub const CLOCK_STEP_MAX_DEFAULT: Span = Span::from_secs(300);

/// One generation of the rules.
#[derive(Debug)]
pub struct Generation {
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// The accounts as the same file knows them.
    pub accounts: Arc<KnownAccounts>,
    /// The meters of its tiers, pools and limits.
    pub meters: Arc<Meters>,
    /// The names of its pools' upstreams, as jobs are recorded with them.
    pub upstreams: Table<PoolId, Arc<str>>,
    /// How long an answer waits for its debit to be durable.
    pub commit_patience: Span,
    /// How long quotas may stand still where the system's clock has stepped back; a longer step is followed.
    pub clock_step_max: Span,
}

/// The terms of rules that hold no more.
#[derive(Debug)]
pub(super) struct OldTerms {
    tier: Tier,
    delegating: Option<Tier>,
}

impl OldTerms {
    pub(super) fn as_terms(&self) -> Terms<'_> {
        Terms {
            tier: &self.tier,
            delegating: self.delegating.as_ref(),
        }
    }
}

/// The names of all upstreams.
pub fn upstreams(rules: &Rules) -> Table<PoolId, Arc<str>> {
    rules.pools.map(|_, pool| pool.name.as_str().into())
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

    /// What was asked by an older generation's rules, as if by these, and the terms on which it was: those of the old rules, with
    /// the priority that jobs have now which came by them and wait.
    ///
    /// # Errors
    /// Its upstream is gone.
    pub(super) fn taken_over(&self, ask: &Ask, by: &Self) -> Result<(Ask, OldTerms), Refusal> {
        let mut ask = ask.clone();
        let tier = self.old(&ask.caller, &mut ask.tier, by);
        let delegate = ask.delegate.as_deref_mut();
        let delegating = delegate.map(|delegate| self.old(&Caller::Account(delegate.account), &mut delegate.tier, by));
        Ok((ask, OldTerms { tier, delegating }))
    }

    /// The caller's terms by an older generation's tier, which becomes the one that has taken it over.
    fn old(&self, caller: &Caller, id: &mut TierId, by: &Self) -> Tier {
        let mut tier = by.rules.tier(*id).clone();
        *id = self.rules.heir(*id, caller, |account| self.listed(account));
        tier.priority = self.rules.tier(*id).priority;
        tier.quotas.retain(|quota| self.rules.windows.contains(quota.window));
        tier
    }
}
