//! The counters of one limit in one shard: individual ones up to a budget, and beyond that one per prefix (rules §7.9, §7.20).
//!
//! An open-addressing table with linear probing. Its keys are keyed hashes that callers can't choose, so they are not hashed
//! again. An expired counter is removed when it is met, and by a sweep that looks at a fixed number of places each time.
//!
//! When the budget for networks (`cardinality`) is used up, a new network shares the counter of its prefix
//! (`prefix_aggregation`). As soon as there is budget again it gets its own counter, which begins as a copy of the shared one:
//! a flood lifts no limit.

use std::sync::Arc;

use super::cardinality::CardinalityBudget;
use super::counter_state::CounterState;
use super::prefix_aggregation::PrefixAggregator;
use super::{Moment, Subject};
use crate::rules::Limit;

/// The initial and minimum number of places. A power of two.
const PLACES_MIN: usize = 8;
/// Places to search for an expired counter when the table is full.
const SWEPT_WHEN_FULL: usize = 16;

/// All counters of one limit in one shard.
#[derive(Debug)]
pub(super) struct CounterTable {
    /// A power of two. A place with key 0 is free.
    places: Vec<CounterEntry>,
    used: usize,
    /// For networks. Accounts are not bounded by it, since clients can't create any.
    budget: Arc<CardinalityBudget>,
    /// Where the next sweep begins.
    hand: usize,
    /// Callers that are not counted individually.
    prefixes: PrefixAggregator,
    /// Requests ever counted by prefix.
    aggregated: u64,
}

#[derive(Debug, Default)]
pub(super) struct CounterEntry {
    pub(super) key: u64,
    pub(super) state: CounterState,
}

const _: () = assert!(size_of::<CounterEntry>() == 24, "a million of them are kept");

/// Where a counter is. Valid until the table changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    At(usize),
    /// An index into the prefix counters.
    Prefix(usize),
    /// It has no counter yet.
    Nowhere,
}

impl CounterTable {
    pub(super) fn new(budget: Arc<CardinalityBudget>) -> Self {
        Self {
            places: Vec::new(),
            used: 0,
            budget,
            hand: 0,
            prefixes: PrefixAggregator::default(),
            aggregated: 0,
        }
    }

    /// Where the subject is counted, or will be. If there is no budget for it, it gets a place with its prefix.
    pub(super) fn find(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Place {
        let key = key(subject.id);
        if let Some(place) = self.at(key) {
            return Place::At(place);
        }
        if !subject.is_network {
            return Place::Nowhere;
        }
        if !self.has_room(limit, at) {
            let max = self.budget.max();
            return Place::Prefix(self.prefixes.settle(subject, max, limit, at));
        }
        let Some(shared) = self.prefixes.counted(subject, limit, at) else {
            return Place::Nowhere;
        };
        let state = shared.clone();
        let place = self.insert(key);
        self.places[place].state = state;
        Place::At(place)
    }

    /// The counter at a place that [`Self::find`] has just returned; `None` if there is none.
    pub(super) fn state(&mut self, place: Place) -> Option<&mut CounterState> {
        match place {
            Place::At(at) => Some(&mut self.places[at].state),
            Place::Prefix(at) => Some(self.prefixes.state(at)),
            Place::Nowhere => None,
        }
    }

    /// The counter of the subject at a place found before other inserts; a new one if it had none.
    pub(super) fn take(&mut self, subject: &Subject, place: Place) -> &mut CounterState {
        let key = key(subject.id);
        let at = match place {
            Place::Prefix(at) => return self.prefixes.state(at),
            Place::At(at) if self.places[at].key == key => at,
            // The table has grown since, or an entry was removed.
            Place::At(_) => self.at(key).unwrap_or_else(|| self.insert(key)),
            Place::Nowhere => self.insert(key),
        };
        &mut self.places[at].state
    }

    /// Whether the subject's counter may contain requests of others with its prefix: it shares one with them, or its own began as a
    /// copy of that. A copy counts no longer than its original.
    pub(super) fn is_shared(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> bool {
        subject.is_network && self.prefixes.counted(subject, limit, at).is_some()
    }

    pub(super) fn own(&mut self, subject: &Subject) -> Option<&mut CounterState> {
        let at = self.at(key(subject.id))?;
        Some(&mut self.places[at].state)
    }

    /// The subject's own counter, created if there is budget.
    pub(super) fn own_or_new(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Option<&mut CounterState> {
        let key = key(subject.id);
        if subject.is_network && self.at(key).is_none() && !self.has_room(limit, at) {
            return None;
        }
        let place = self.at(key).unwrap_or_else(|| self.insert(key));
        Some(&mut self.places[place].state)
    }

    pub(super) fn note_aggregated(&mut self) {
        self.aggregated += 1;
    }

    /// The number of individually counted callers, and of requests ever counted by prefix.
    pub(super) fn counted(&self) -> (usize, u64) {
        (self.used, self.aggregated)
    }

    /// Removes the subject's counter.
    pub(super) fn forget(&mut self, subject: &Subject) {
        if let Some(at) = self.at(key(subject.id)) {
            self.remove(at);
        }
    }

    /// All counters, including those of prefixes.
    pub(super) fn states(&mut self) -> impl Iterator<Item = &mut CounterState> {
        let own = self.places.iter_mut().map(|entry| &mut entry.state);
        own.chain(self.prefixes.states())
    }

    /// Sets how many networks may be counted individually.
    pub(super) fn set_max(&self, max: usize) {
        self.budget.set_max(max);
    }

    /// Looks at that many places, drops expired counters and frees unused memory.
    pub(super) fn sweep(&mut self, places: usize, limit: &Limit, at: Moment) {
        self.forget_some(places, limit, at);
        if self.places.len() > PLACES_MIN && self.used < self.places.len() / 4 {
            self.resize(self.places.len() / 2);
        }
        self.prefixes.sweep(limit, at);
    }

    /// Whether one more network may be counted individually, if need be in place of an expired one. The table does not shrink,
    /// so a [`Place`] found before stays valid.
    fn has_room(&mut self, limit: &Limit, at: Moment) -> bool {
        if !self.budget.has_room(self.used) {
            self.forget_some(SWEPT_WHEN_FULL, limit, at);
        }
        self.budget.has_room(self.used)
    }

    fn forget_some(&mut self, places: usize, limit: &Limit, at: Moment) {
        for _ in 0..places.min(self.places.len()) {
            self.hand &= self.places.len() - 1;
            let entry = &mut self.places[self.hand];
            if entry.key != 0 && entry.state.forget(limit, at) {
                // An entry after it may have moved here.
                self.remove(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    fn at(&self, key: u64) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = key as usize & mask;
        // Ends: at least a quarter of the places is free.
        loop {
            match self.places[at].key {
                0 => return None,
                found if found == key => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The key must not be in the table.
    fn insert(&mut self, key: u64) -> usize {
        if (self.used + 1) * 4 > self.places.len() * 3 {
            self.resize((self.places.len() * 2).max(PLACES_MIN));
        }
        self.used += 1;
        self.budget.take();
        self.put(CounterEntry {
            key,
            state: CounterState::Empty,
        })
    }

    fn put(&mut self, entry: CounterEntry) -> usize {
        let mask = self.places.len() - 1;
        let mut at = entry.key as usize & mask;
        while self.places[at].key != 0 {
            at = (at + 1) & mask;
        }
        self.places[at] = entry;
        at
    }

    fn resize(&mut self, places: usize) {
        let larger = std::iter::repeat_with(CounterEntry::default).take(places).collect();
        for entry in std::mem::replace(&mut self.places, larger) {
            if entry.key != 0 {
                self.put(entry);
            }
        }
    }

    /// Frees the place, and moves up the entries that a probe would no longer reach.
    fn remove(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        self.places[hole] = CounterEntry::default();
        self.used -= 1;
        self.budget.give_back();
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            if self.places[at].key == 0 {
                return;
            }
            let home = self.places[at].key as usize & mask;
            // Whether the probe from its home to it passes the hole.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places.swap(at, hole);
                hole = at;
            }
        }
    }
}

/// Key 0 marks a free place.
pub(super) fn key(id: u64) -> u64 {
    id.max(1)
}
