//! One generation of the rules: by what jobs are let in until the next reload, and where they are counted.
//!
//! Tiers, windows and limits are known by their places in the rules, which a reload may change. So whoever asks says by which
//! generation it has made out what it asks; around a reload that may be the one before, and then names tell what is meant.
//! Pools keep their places from one generation to the next (`serve::places`).
//!
//! Absent on purpose: what becomes of jobs in the house, which is the policy's.

use std::sync::Arc;

use crate::policy::refusal::Refusal;
use crate::policy::rules::{PoolId, Rules, WindowId};
use crate::policy::time::Span;
use crate::policy::{Ask, Delegate};
use crate::telemetry::Meters;

/// One generation of the rules.
#[derive(Debug)]
pub struct Generation {
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// The meters of its tiers, pools and limits.
    pub meters: Arc<Meters>,
    /// How long an answer waits for its debit to be durable.
    pub commit_patience: Span,
}

impl Generation {
    /// These rules, with meters that nobody reads: for tests and simulations.
    pub fn unobserved(rules: Arc<Rules>) -> Arc<Self> {
        Arc::new(Self {
            meters: Meters::unobserved(&rules),
            rules,
            commit_patience: Span::from_secs(5),
        })
    }

    /// What was asked by an older generation's rules, by these. Of a tier that there is no more it is the anonymous one's.
    ///
    /// # Errors
    /// Its upstream is gone.
    pub(super) fn renamed(&self, ask: &Ask, by: &Self) -> Result<Ask, Refusal> {
        let tier = |id| {
            self.rules
                .tier_named(&by.rules.tier(id).name)
                .unwrap_or(self.rules.anonymous)
        };
        let name = |rules: &Rules, pool: PoolId| rules.pools.get(pool.index()).map(|pool| pool.name.clone());
        if name(&self.rules, ask.pool) != name(&by.rules, ask.pool) {
            return Err(Refusal::UpstreamUnreachable);
        }
        Ok(Ask {
            tier: tier(ask.tier),
            delegate: ask.delegate.as_ref().map(|delegate| {
                Box::new(Delegate {
                    tier: tier(delegate.tier),
                    ..(**delegate).clone()
                })
            }),
            ..ask.clone()
        })
    }

    /// The window of an older generation's id, if it is still there.
    pub(super) fn window(&self, id: WindowId, by: &Self) -> Option<WindowId> {
        if std::ptr::eq(self, by) {
            return Some(id);
        }
        let meant = &by.rules.windows[id.index()];
        let at = self.rules.windows.iter().position(|window| window == meant)?;
        Some(WindowId(u8::try_from(at).expect("there are fewer than 256 windows")))
    }
}
