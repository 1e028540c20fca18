//! Other rules while requests go on: which counters stay. Limits are known again by name.
//!
//! What a reload does to a counter:
//!
//! | the limit | its counters |
//! |---|---|
//! | stays, or changes in its number or in what it is for | stay as they are: as many requests count |
//! | has another kind or window | all that counts does so as if it had come now ([`super::cell`]) |
//! | has another penalty | one that runs goes on, for no longer than the new one or its window, whichever is longer |
//! | blocks by another rule | a block goes on, for no longer than the new rule's |
//! | blocks no more | nobody is blocked by it |
//! | is new | it begins empty |
//! | vanished | is forgotten |
//!
//! So nothing is lifted, and nobody is kept out for longer than the new limit would.
//!
//! Absent on purpose: the locks, all of which must be held (`gate`), and where rules come from.

use super::shard::{CardinalityBudgets, Counted};
use super::{Moment, Shard};
use crate::rules::{LimitId, Rules};

/// The change of all shards from some rules to others.
#[derive(Debug)]
pub struct Reload<'r> {
    from: &'r Rules,
    to: &'r Rules,
    /// Which of the old limits the new ones were, by the new ones.
    known: Vec<Option<LimitId>>,
    /// For what is new, by the new limits: one for all shards together.
    rooms: Vec<CardinalityBudgets>,
}

impl<'r> Reload<'r> {
    /// To be applied to every shard, before any decision by the new rules.
    pub fn new(from: &'r Rules, to: &'r Rules) -> Self {
        Self {
            from,
            to,
            known: to.limits.iter().map(|limit| from.limit_named(&limit.name)).collect(),
            rooms: to.limits.iter().map(|_| CardinalityBudgets::new(to)).collect(),
        }
    }

    /// This shard is for the new rules from now on.
    pub fn apply(&self, shard: &mut Shard, at: Moment) {
        let callers_max = self.to.callers_max as usize;
        shard.reload(|old| {
            let limits = self.to.limits.iter().zip(&self.known).zip(&self.rooms);
            let counted = limits.map(|((limit, known), rooms)| {
                let Some((from, mut counted)) = known.and_then(|id| Some((id, old[id.index()].take()?))) else {
                    return Counted::new((limit, rooms));
                };
                counted.carry(&self.from.limits[from.index()], limit, rooms, callers_max, at);
                counted
            });
            counted.collect()
        });
    }
}
