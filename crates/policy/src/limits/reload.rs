//! Which counters survive a reload. Limits are matched by name.
//!
//! What a reload does to a counter:
//!
//! | the limit | its counters |
//! |---|---|
//! | stays, or changes its number or what it applies to | stay: the same requests count |
//! | changes its kind or window | every request counts as if it had come now ([`super::counter_state`]) |
//! | changes its penalty | a running one goes on, at most for the longer of the new penalty and the window |
//! | changes its block rule | a running block goes on, at most for the new rule's time |
//! | loses its block rule | blocks end |
//! | is new | begin empty |
//! | is removed | are dropped |
//!
//! So a reload lifts no limit, and refuses no caller for longer than the new limit would. The caller must hold the locks of all
//! shards.

use super::shard::{CardinalityBudgets, LimitCounters};
use super::{Moment, Shard};
use crate::rules::{LimitId, Rules};

/// The change of all shards from one set of rules to another.
#[derive(Debug)]
pub struct Reload<'r> {
    from: &'r Rules,
    to: &'r Rules,
    /// For each new limit, the old one of the same name.
    known: Vec<Option<LimitId>>,
    /// For each new limit that has no old one: budgets shared by all shards.
    budgets: Vec<CardinalityBudgets>,
}

impl<'r> Reload<'r> {
    /// Must be applied to every shard before any decision by the new rules.
    pub fn new(from: &'r Rules, to: &'r Rules) -> Self {
        Self {
            from,
            to,
            known: to.limits.iter().map(|limit| from.limit_named(&limit.name)).collect(),
            budgets: to.limits.iter().map(|_| CardinalityBudgets::new(to)).collect(),
        }
    }

    /// Switches this shard to the new rules.
    pub fn apply(&self, shard: &mut Shard, at: Moment) {
        let callers_max = self.to.callers_max as usize;
        shard.reload(|old| {
            let limits = self.to.limits.iter().zip(&self.known).zip(&self.budgets);
            let counted = limits.map(|((limit, known), budgets)| {
                let Some((from, mut counted)) = known.and_then(|id| Some((id, old[id.index()].take()?))) else {
                    return LimitCounters::new((limit, budgets));
                };
                counted.carry(&self.from.limits[from.index()], limit, budgets, callers_max, at);
                counted
            });
            counted.collect()
        });
    }
}
