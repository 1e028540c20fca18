//! Counters by neighbourhood, for those who can't be counted by themselves: as many as there are places, and beyond that one for all the
//! rest of a row.
//!
//! What somebody has sent and still counts always lies in the counter that it meets next. So nobody who counts is ever taken out, and who
//! is given a counter of its own, a caller out of its neighbourhood or a neighbourhood out of the rest of its row, begins it as a copy of
//! the one that it shared: it may be refused too early, never too late. Nobody adds to the shared one any more, and it ends.
//!
//! The row is told by the region (IPv4 /16, IPv6 /32). Who has a region to itself, be it with all of its neighbourhoods, can fill one
//! row of each shard and no other: those of other regions have the others. Only who sends from very many regions fills all rows,
//! and then nobody is served who wasn't known before.
//!
//! Absent on purpose: when somebody is counted here (`table`).

use super::counter_state::CounterState;
use super::table::{Entry, key};
use super::{Moment, SHARDS, Subject};
use crate::rules::Limit;

/// Places of a row. The last one is for all who find none. An IPv4 region has about four neighbourhoods in each shard.
const WAYS: usize = 16;
/// In all shards together there is one place to so many networks that may be counted by themselves,
const PART: usize = 4;
/// but so many rows in each of them at least, lest few regions fill them all.
const ROWS_MIN: usize = 64;

/// Rows of [`WAYS`] places; none until one is needed.
#[derive(Debug, Default)]
pub(super) struct Neighbourhoods {
    places: Vec<Entry>,
}

impl Neighbourhoods {
    /// The counter at a place where [`Self::settle`] has just put somebody.
    pub(super) fn cell(&mut self, place: usize) -> &mut CounterState {
        &mut self.places[place].cell
    }

    /// What counts of the neighbourhood, its own or as part of the rest; `None`: nothing.
    pub(super) fn counted(&mut self, subject: &Subject, limit: &Limit, at: Moment) -> Option<&CounterState> {
        if self.places.is_empty() {
            return None;
        }
        let key = key(subject.wider);
        let mut row = self.row(subject);
        let rest = row.end - 1;
        let place = row.find(|place| *place == rest || self.places[*place].key == key);
        let cell = &mut self.places[place.unwrap_or(rest)].cell;
        (!cell.forget(limit, at)).then_some(cell)
    }

    /// The place where the neighbourhood is counted from now on. `max` networks may be counted by themselves in all shards together.
    pub(super) fn settle(&mut self, subject: &Subject, max: usize, limit: &Limit, at: Moment) -> usize {
        if self.places.is_empty() {
            let places = (max / PART / SHARDS).max(WAYS * ROWS_MIN).next_power_of_two();
            self.places = std::iter::repeat_with(Entry::default).take(places).collect();
        }
        let key = key(subject.wider);
        let row = self.row(subject);
        let (rest, own) = (row.end - 1, row.start..row.end - 1);
        if let Some(place) = own.clone().find(|place| self.places[*place].key == key) {
            return place;
        }
        let mut is_free = |place: &usize| {
            let entry = &mut self.places[*place];
            entry.key == 0 || entry.cell.forget(limit, at)
        };
        let Some(free) = own.clone().find(&mut is_free) else {
            return rest;
        };
        self.places[rest].cell.forget(limit, at);
        let cell = self.places[rest].cell.clone();
        self.places[free] = Entry { key, cell };
        free
    }

    /// All counters.
    pub(super) fn cells(&mut self) -> impl Iterator<Item = &mut CounterState> {
        self.places.iter_mut().map(|entry| &mut entry.cell)
    }

    /// Gives the memory back if nothing counts.
    pub(super) fn sweep(&mut self, limit: &Limit, at: Moment) {
        if self.places.iter_mut().all(|entry| entry.cell.forget(limit, at)) {
            self.places = Vec::new();
        }
    }

    fn row(&self, subject: &Subject) -> std::ops::Range<usize> {
        let rows = self.places.len() / WAYS;
        let begin = (subject.region as usize & (rows - 1)) * WAYS;
        begin..begin + WAYS
    }
}
