//! The counters of one limit in one shard: by whom they count, as many as there may be, and beyond that by neighbourhood
//! (semantics §7.9).
//!
//! An open table with linear probing. Its keys are keyed hashes, which no stranger can choose, so they need no hashing again. A
//! counter that is over is taken out as it is met, and by a sweep that looks at so many places each time.
//!
//! When there is no room for more networks (`room`), who can't be counted shares the counter of its neighbourhood
//! (`neighbourhoods`). As soon as there is room again it is counted by itself, beginning with all that its neighbourhood holds:
//! a flood lifts no limit.
//!
//! Absent on purpose: what a counter means (`cell`).

use std::sync::Arc;

use super::cardinality::CardinalityBudget;
use super::counter_state::CounterState;
use super::prefix_aggregation::Neighbourhoods;
use super::{Moment, Subject};
use crate::rules::Limit;

/// Places that a table begins with, and at least has. A power of two.
const PLACES_MIN: usize = 8;
/// Places that are looked through for one that is over, when a table is full.
const SWEPT_WHEN_FULL: usize = 16;

/// All counters of one limit in one shard.
#[derive(Debug)]
pub(super) struct Table {
    /// A power of two of them. Places of key 0 are free.
    places: Vec<Entry>,
    used: usize,
    /// For networks. Accounts are not bounded by it: no stranger makes any.
    room: Arc<CardinalityBudget>,
    /// Where the sweep goes on.
    hand: usize,
    /// Who is not counted by itself.
    neighbourhoods: Neighbourhoods,
    /// How many requests were counted by neighbourhood.
    crowded: u64,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) key: u64,
    pub(super) cell: CounterState,
}

const _: () = assert!(size_of::<Entry>() == 24, "a million of them are kept");

/// Where a counter is, until the table changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// There.
    At(usize),
    /// At that place of the second table.
    Neighbourhood(usize),
    /// Nowhere as yet.
    Nowhere,
}

impl Table {
    pub(super) fn new(room: Arc<CardinalityBudget>) -> Self {
        Self {
            places: Vec::new(),
            used: 0,
            room,
            hand: 0,
            neighbourhoods: Neighbourhoods::default(),
            crowded: 0,
        }
    }

    /// Where the subject is counted, or will be. Where there is no room for it, it gets a place in its neighbourhood.
    pub(super) fn find(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Place {
        let key = key(subject.id);
        if let Some(place) = self.at(key) {
            return Place::At(place);
        }
        if !subject.is_network {
            return Place::Nowhere;
        }
        if !self.has_room(limit, at) {
            let max = self.room.max();
            return Place::Neighbourhood(self.neighbourhoods.settle(subject, max, limit, at));
        }
        let Some(shared) = self.neighbourhoods.counted(subject, limit, at) else {
            return Place::Nowhere;
        };
        let cell = shared.clone();
        let place = self.insert(key);
        self.places[place].cell = cell;
        Place::At(place)
    }

    /// The counter at the place where [`Self::find`] has just found the subject; `None`: nowhere.
    pub(super) fn cell(&mut self, place: Place) -> Option<&mut CounterState> {
        match place {
            Place::At(at) => Some(&mut self.places[at].cell),
            Place::Neighbourhood(at) => Some(self.neighbourhoods.cell(at)),
            Place::Nowhere => None,
        }
    }

    /// The counter of the subject, which was found there before others came in; a new one if it was nowhere.
    pub(super) fn take(&mut self, subject: &Subject, place: Place) -> &mut CounterState {
        let key = key(subject.id);
        let at = match place {
            Place::Neighbourhood(at) => return self.neighbourhoods.cell(at),
            Place::At(at) if self.places[at].key == key => at,
            // The table has grown meanwhile, or somebody was taken out.
            Place::At(_) => self.at(key).unwrap_or_else(|| self.insert(key)),
            Place::Nowhere => self.insert(key),
        };
        &mut self.places[at].cell
    }

    /// Whether what its neighbours have sent may be in the counter that the subject meets: it shares one with them, or its own
    /// began as a copy of that. What was copied counts no longer than what it was copied from.
    pub(super) fn is_shared(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> bool {
        subject.is_network && self.neighbourhoods.counted(subject, limit, at).is_some()
    }

    /// The subject's own counter, if it has one.
    pub(super) fn own(&mut self, subject: &Subject) -> Option<&mut CounterState> {
        let at = self.at(key(subject.id))?;
        Some(&mut self.places[at].cell)
    }

    /// The subject's own counter, a new one if there is room.
    pub(super) fn own_or_new(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Option<&mut CounterState> {
        let key = key(subject.id);
        if subject.is_network && self.at(key).is_none() && !self.has_room(limit, at) {
            return None;
        }
        let place = self.at(key).unwrap_or_else(|| self.insert(key));
        Some(&mut self.places[place].cell)
    }

    /// A request was counted by neighbourhood.
    pub(super) fn note_crowded(&mut self) {
        self.crowded += 1;
    }

    /// Who is counted by itself, and how many requests ever were counted by neighbourhood.
    pub(super) fn counted(&self) -> (usize, u64) {
        (self.used, self.crowded)
    }

    /// Nothing is counted of the subject any more.
    pub(super) fn forget(&mut self, subject: &Subject) {
        if let Some(at) = self.at(key(subject.id)) {
            self.remove(at);
        }
    }

    /// All counters, also those of neighbourhoods.
    pub(super) fn cells(&mut self) -> impl Iterator<Item = &mut CounterState> {
        let own = self.places.iter_mut().map(|entry| &mut entry.cell);
        own.chain(self.neighbourhoods.cells())
    }

    /// So many networks may be counted by themselves from now on.
    pub(super) fn set_max(&self, max: usize) {
        self.room.set_max(max);
    }

    /// Looks through that many places and forgets what is over. Gives back memory that isn't needed any more.
    pub(super) fn sweep(&mut self, places: usize, limit: &Limit, at: Moment) {
        self.forget_some(places, limit, at);
        if self.places.len() > PLACES_MIN && self.used < self.places.len() / 4 {
            self.resize(self.places.len() / 2);
        }
        self.neighbourhoods.sweep(limit, at);
    }

    /// Whether one more network may be counted by itself, if need be in the place of one that is over. The table does not get smaller: a
    /// [`Place`] that was found before is still in it.
    fn has_room(&mut self, limit: &Limit, at: Moment) -> bool {
        if !self.room.has_room(self.used) {
            self.forget_some(SWEPT_WHEN_FULL, limit, at);
        }
        self.room.has_room(self.used)
    }

    fn forget_some(&mut self, places: usize, limit: &Limit, at: Moment) {
        for _ in 0..places.min(self.places.len()) {
            self.hand &= self.places.len() - 1;
            let entry = &mut self.places[self.hand];
            if entry.key != 0 && entry.cell.forget(limit, at) {
                // What comes after it may have moved here.
                self.remove(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    fn at(&self, key: u64) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = key as usize & mask;
        // A quarter of the places at least is free, so this ends.
        loop {
            match self.places[at].key {
                0 => return None,
                found if found == key => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The key is not in the table.
    fn insert(&mut self, key: u64) -> usize {
        if (self.used + 1) * 4 > self.places.len() * 3 {
            self.resize((self.places.len() * 2).max(PLACES_MIN));
        }
        self.used += 1;
        self.room.take();
        self.put(Entry {
            key,
            cell: CounterState::Empty,
        })
    }

    fn put(&mut self, entry: Entry) -> usize {
        let mask = self.places.len() - 1;
        let mut at = entry.key as usize & mask;
        while self.places[at].key != 0 {
            at = (at + 1) & mask;
        }
        self.places[at] = entry;
        at
    }

    fn resize(&mut self, places: usize) {
        let larger = std::iter::repeat_with(Entry::default).take(places).collect();
        for entry in std::mem::replace(&mut self.places, larger) {
            if entry.key != 0 {
                self.put(entry);
            }
        }
    }

    /// Frees the place, and moves up who would not be found past it.
    fn remove(&mut self, mut hole: usize) {
        let mask = self.places.len() - 1;
        self.places[hole] = Entry::default();
        self.used -= 1;
        self.room.give_back();
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            if self.places[at].key == 0 {
                return;
            }
            let home = self.places[at].key as usize & mask;
            // Whether the way from its home to it leads over the hole.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places.swap(at, hole);
                hole = at;
            }
        }
    }
}

/// 0 stands for a free place.
pub(super) fn key(id: u64) -> u64 {
    id.max(1)
}
