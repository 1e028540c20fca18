//! One generation of the rules: by what jobs are let in until the next reload, and where they are counted.
//!
//! Tiers, windows and limits are known by their places in the rules, which a reload may change. So whoever asks says by which
//! generation it has made out what it asks; around a reload that may be the one before. Then it is told so, and asks again by the
//! present one ([`Stale`](super::Stale)). Pools keep their places from one generation to the next (`serve::places`).
//!
//! Absent on purpose: what becomes of jobs in the house, which is the policy's.

use std::sync::Arc;

use crate::policy::caller::AccountId;
use crate::policy::rules::{Rules, TierId, WindowId};
use crate::policy::time::Span;
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
    pub upstreams: Vec<Arc<str>>,
    /// How long an answer waits for its debit to be durable.
    pub commit_patience: Span,
    /// How long quotas may stand still where the system's clock has stepped back; a longer step is followed.
    pub clock_step_max: Span,
}

/// The names of all pools' upstreams, by the pools' places.
pub fn upstreams(rules: &Rules) -> Vec<Arc<str>> {
    rules.pools.iter().map(|pool| pool.name.as_str().into()).collect()
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

#[cfg(test)]
mod tests {
    use super::super::{Entered, Gate, Stale};
    use super::*;
    use crate::clock::Clock;
    use crate::policy::caller::{Caller, Network, NetworkId};
    use crate::policy::rules::{PoolId, PoolRules, Priority, QueueRules, Tier, Within};
    use crate::policy::{Ask, Outcome, Policy};
    use crate::store::memory::MemoryLedger;

    fn rules(concurrency: u32) -> Arc<Rules> {
        let tier = Tier {
            name: "free".into(),
            priority: Priority::LOWEST,
            concurrency,
            quotas: Vec::new(),
            max_wait: None,
            displacements_per_minute: 0,
            limits: Vec::new(),
        };
        let pool = PoolRules {
            name: "search".to_owned(),
            slots: vec![4],
        };
        Arc::new(Rules {
            queue: QueueRules {
                length: 1,
                within_tier: Within::Fifo,
                max_wait: Span::from_secs(1),
                lifeline: None,
            },
            windows: Vec::new(),
            tiers: vec![tier],
            anonymous: TierId(0),
            pools: vec![pool],
            limits: Vec::new(),
            callers_max: 1,
        })
    }

    #[test]
    fn whoever_asks_by_an_older_generation_takes_nothing() {
        let (before, after) = (Generation::unobserved(rules(5)), Generation::unobserved(rules(1)));
        let policy = Policy::new(Arc::clone(&before.rules));
        let ledger = Arc::new(MemoryLedger::default());
        let gate = Gate::new(policy, Arc::clone(&before), Clock::start(), ledger);
        assert!(gate.reload(Arc::clone(&after), |_| true).is_ok());
        let ask = Ask {
            caller: Caller::Network(NetworkId(1)),
            from: Network::of([192, 0, 2, 1].into()),
            tier: TierId(0),
            own: None,
            delegate: None,
            cost: 1,
            pool: PoolId(0),
            ready: true,
            max_wait: None,
            prefer_wait: None,
        };
        assert!(matches!(gate.enter(&before, &ask), Err(Stale)));
        assert_eq!((gate.in_house(), gate.view().tally.arrived), (0, 0));
        let Ok(Ok(Entered::Running(pass))) = gate.enter(&after, &ask) else {
            panic!("there are slots")
        };
        let refused = gate.enter(&after, &ask).expect("it is the present one");
        assert!(refused.is_err(), "by its terms it has one job");
        assert_eq!(gate.view().tally.arrived, 2);
        pass.settle(Outcome::Failed, 0);
    }
}
