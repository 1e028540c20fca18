//! Counters shared by prefix, for callers that can't be counted individually: one per prefix while there are free places, and
//! beyond that one for all other prefixes of a row.
//!
//! What a caller has sent and still counts is always in the counter that its next request meets. So a counter that counts is
//! never removed. When a caller gets its own counter instead of its prefix's, or a prefix instead of the row's shared one, the
//! new counter begins as a copy of the shared one: the caller may be refused too early, never too late. Nothing is added to the
//! shared counter any more, and it expires.
//!
//! The region (IPv4 /16, IPv6 /32) chooses the row. A client that holds a whole region can fill one row of each shard and no
//! other. Only a client with very many regions fills all rows; then only known callers are served.

use super::counter_state::CounterState;
use super::table::{CounterEntry, key};
use super::{Moment, SHARDS, Subject};
use crate::rules::Limit;

/// Places of a row. The last one is for all prefixes without one. An IPv4 region has about four prefixes in each shard.
const WAYS: usize = 16;
/// Over all shards there is one place for this many individually counted networks,
const PART: usize = 4;
/// but each shard has at least this many rows, so that a few regions can't fill them all.
const ROWS_MIN: usize = 64;

/// Rows of [`WAYS`] places; empty until one is needed.
#[derive(Debug, Default)]
pub(super) struct PrefixAggregator {
    places: Vec<CounterEntry>,
}

impl PrefixAggregator {
    /// The counter at a place that [`Self::settle`] has just returned.
    pub(super) fn state(&mut self, place: usize) -> &mut CounterState {
        &mut self.places[place].state
    }

    /// The counter of the prefix, or of the rest of its row; `None` if neither counts anything.
    pub(super) fn counted(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Option<&CounterState> {
        if self.places.is_empty() {
            return None;
        }
        let key = key(subject.wider);
        let mut row = self.row(subject);
        let rest = row.end - 1;
        let place = row.find(|place| *place == rest || self.places[*place].key == key);
        let state = &mut self.places[place.unwrap_or(rest)].state;
        (!state.forget(limit, at)).then_some(state)
    }

    /// The place that counts the prefix from now on. `max` is the number of individually counted networks over all shards.
    pub(super) fn settle(&mut self, subject: &Subject, max: usize, limit: &Limit, at: Moment) -> usize {
        if self.places.is_empty() {
            let places = (max / PART / SHARDS).max(WAYS * ROWS_MIN).next_power_of_two();
            self.places = std::iter::repeat_with(CounterEntry::default).take(places).collect();
        }
        let key = key(subject.wider);
        let row = self.row(subject);
        let (rest, own) = (row.end - 1, row.start..row.end - 1);
        if let Some(place) = own.clone().find(|place| self.places[*place].key == key) {
            return place;
        }
        let mut is_free = |place: &usize| {
            let entry = &mut self.places[*place];
            entry.key == 0 || entry.state.forget(limit, at)
        };
        let Some(free) = own.clone().find(&mut is_free) else {
            return rest;
        };
        self.places[rest].state.forget(limit, at);
        let state = self.places[rest].state.clone();
        self.places[free] = CounterEntry { key, state };
        free
    }

    pub(super) fn states(&mut self) -> impl Iterator<Item = &mut CounterState> {
        self.places.iter_mut().map(|entry| &mut entry.state)
    }

    /// Frees the memory if nothing counts.
    pub(super) fn sweep(&mut self, limit: &Limit, at: Moment) {
        if self.places.iter_mut().all(|entry| entry.state.forget(limit, at)) {
            self.places = Vec::new();
        }
    }

    fn row(&self, subject: &Subject) -> std::ops::Range<usize> {
        let rows = self.places.len() / WAYS;
        let begin = (subject.region as usize & (rows - 1)) * WAYS;
        begin..begin + WAYS
    }
}
