//! What isn't in the rollups yet, by hour, in memory.
//!
//! When a segment has been rolled up, precisely its entries are taken out again. The door's part of that is small and done at
//! once; the callers' part may be large, and the lock is wanted by every answer. So it is first only noted as *settling*, in
//! the same moment in which the rollup comes onto the shelf, then taken out in small steps; a reader subtracts what is still
//! settling. Thus an entry counts exactly once at every moment.
//!
//! Absent on purpose: durability, and time. Who calls says what may be forgotten.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::callers::Callers;
use super::counted::{Column, Counted, Counts, Key, Sums};
use super::layout::Cell;

/// Numbers of callers, each of one caller, hour and column, that are kept at most: about 9 MB.
pub const HOUR_CELLS_MAX: usize = 200_000;

/// Hours that are kept at most; beyond that the earliest goes. More than a rollup's longest life, so reached only if segments
/// can't be closed for months or the wall clock runs wild.
pub const UNROLLED_HOURS_MAX: usize = 2_048;

/// Cells that are taken out in one step, under one holding of the lock: about 20 µs.
const STEP_CELLS: usize = 256;

/// Sums by hour.
#[derive(Debug)]
pub(super) struct Unrolled {
    hours: BTreeMap<u32, Hour>,
    /// Cells of callers that may still be taken, in all hours together.
    room: usize,
    /// What is in a rollup on the shelf and still in `hours`. In order.
    settling: Vec<Cell>,
}

#[derive(Debug, Default)]
struct Hour {
    door: Sums,
    callers: Callers,
}

impl Unrolled {
    /// With room for that many cells of callers.
    pub const fn new(room: usize) -> Self {
        Self {
            hours: BTreeMap::new(),
            room,
            settling: Vec::new(),
        }
    }

    /// Counts an entry. Whether there was room to count it for its callers.
    pub fn add(&mut self, counted: &Counted) -> bool {
        let hour = self.hours.entry(counted.hour()).or_default();
        if counted.door {
            hour.door.add(counted);
        }
        let counts = hour.callers.add(counted, &mut self.room);
        if self.hours.len() > UNROLLED_HOURS_MAX {
            self.forget_earliest();
        }
        counts
    }

    /// Takes out a segment's sums for the door, and notes those of its callers, in order, as settling. Afterwards
    /// [`Self::settle`] is called until nothing is left.
    pub fn rolled(&mut self, door: &BTreeMap<u32, Sums>, callers: Vec<Cell>) {
        debug_assert!(self.settling.is_empty(), "segments are closed one after the other");
        for (hour, sums) in door {
            if let Some(unrolled) = self.hours.get_mut(hour) {
                unrolled.door.subtract(sums);
            }
        }
        self.settling = callers;
    }

    /// Takes out some of what is settling. Whether anything is left to do.
    pub fn settle(&mut self) -> bool {
        for _ in 0..STEP_CELLS {
            let Some(cell) = self.settling.pop() else {
                self.settling = Vec::new();
                self.hours
                    .retain(|_, hour| !hour.callers.is_empty() || hour.door != Sums::default());
                return false;
            };
            if let Some(hour) = self.hours.get_mut(&cell.bucket) {
                hour.callers.subtract(cell.key, cell.column, cell.count, &mut self.room);
            }
        }
        true
    }

    /// Forgets hours before `earliest`, but never the latest `kept`: a wall clock that has jumped ahead for a while costs
    /// nothing. They are of entries that the journal has lost, which nobody will take out.
    pub fn forget_before(&mut self, earliest: u32, kept: usize) {
        while self.hours.len() > kept && self.hours.first_key_value().is_some_and(|(hour, _)| *hour < earliest) {
            self.forget_earliest();
        }
    }

    fn forget_earliest(&mut self) {
        if let Some((_, hour)) = self.hours.pop_first() {
            self.room += hour.callers.len();
        }
    }

    /// The door's sums of these hours.
    pub fn door(&self, hours: RangeInclusive<u32>) -> impl Iterator<Item = (u32, &Sums)> {
        self.hours.range(hours).map(|(hour, sums)| (*hour, &sums.door))
    }

    /// The caller's numbers of these hours.
    pub fn caller(&self, key: Key, hours: RangeInclusive<u32>) -> impl Iterator<Item = (u32, Counts)> {
        self.hours.range(hours).map(move |(hour, sums)| {
            let mut counts = sums.callers.of(key);
            for column in Column::all() {
                let count = &mut counts[column.place()];
                *count = count.saturating_sub(self.settling_of(key, *hour, column).into());
            }
            (*hour, counts)
        })
    }

    /// How many of these are in a rollup already.
    fn settling_of(&self, key: Key, hour: u32, column: Column) -> u32 {
        let found = self
            .settling
            .binary_search_by_key(&(key, hour, column), |cell| (cell.key, cell.bucket, cell.column));
        found.map_or(0, |place| self.settling[place].count)
    }
}
