//! The rows of an answer: which there are, and what falls into which.
//!
//! Absent on purpose: JSON. That is the edge's.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::policy::time::UnixTime;

use super::counted::{Counts, STATUSES, Sums, minute};
use super::histogram::PERCENTILES;
use super::layout::{Cell, Grain};
use super::rollup::Rollup;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A minute, of the last 60.
    Minute,
    /// An hour, of the last 72.
    Hour,
    /// A day, of the last 60.
    Day,
}

impl Period {
    /// How many rows there are.
    pub const fn rows(self) -> usize {
        match self {
            Self::Minute | Self::Day => 60,
            Self::Hour => 72,
        }
    }

    /// How long a row is.
    const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }
}

/// How often which answer was given within one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// When it begins.
    pub time: UnixTime,
    /// By status, as in [`STATUSES`]. Saturates.
    pub counts: [u32; STATUSES.len()],
    /// All answers, of other statuses as well.
    pub total: u64,
}

/// How long the searches that succeeded within one row took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// When it begins.
    pub time: UnixTime,
    /// As in [`PERCENTILES`], in milliseconds; the first and the last are exact, the others at most 3.2 % off. `None` if no
    /// search succeeded.
    pub percentiles_ms: Option<[u32; PERCENTILES.len()]>,
}

/// Something that adds up.
pub(super) trait Add: Clone + Default {
    /// Adds the other's.
    fn add(&mut self, other: &Self);
}

impl Add for Counts {
    fn add(&mut self, other: &Self) {
        for (count, more) in self.iter_mut().zip(other) {
            *count = count.saturating_add(*more);
        }
    }
}

impl Add for Sums {
    fn add(&mut self, other: &Self) {
        self.merge(other);
    }
}

/// Rows in the making.
#[derive(Debug)]
pub(super) struct Rows<T = Counts> {
    period: Period,
    /// The first row, in periods since the epoch.
    first: u32,
    rows: Vec<T>,
}

impl<T: Add> Rows<T> {
    /// Empty ones, of which `now` falls into the last. Within the first rows after the epoch it falls into an earlier one.
    pub fn until(now: UnixTime, period: Period) -> Self {
        let current = minute(now) / period.minutes();
        Self {
            period,
            // There are at most 72.
            first: current.saturating_sub(period.rows() as u32 - 1),
            rows: vec![T::default(); period.rows()],
        }
    }

    /// Fills rows by their number since the epoch.
    pub fn fill(&mut self, mut row: impl FnMut(u32) -> Option<T>) {
        for (number, place) in (self.first..).zip(&mut self.rows) {
            *place = row(number).unwrap_or_default();
        }
    }

    /// The hours of all rows.
    pub fn hours(&self) -> RangeInclusive<u32> {
        let first = u64::from(self.first);
        let hour = |row: u64| u32::try_from(row * u64::from(self.period.minutes()) / 60).unwrap_or(u32::MAX);
        hour(first)..=hour(first + self.rows.len() as u64).saturating_sub(1)
    }

    /// The files of which something may fall into a row.
    pub fn wanted<'a>(&self, shelf: &'a [Arc<Rollup>]) -> Vec<&'a Arc<Rollup>> {
        let hours = self.hours();
        let wants = |rollup: &&Arc<Rollup>| match (rollup.grain(), self.period) {
            (_, Period::Minute) | (Grain::Day, Period::Hour) => false,
            (Grain::Hour, _) => rollup.reaches(*hours.start(), *hours.end()),
            (Grain::Day, Period::Day) => rollup.reaches(hours.start() / 24, hours.end() / 24),
        };
        shelf.iter().filter(wants).collect()
    }

    /// Adds what belongs to an hour or a day to its row, if it has one.
    pub fn add(&mut self, grain: Grain, bucket: u32, more: &T) {
        if let Some(row) = self.row(grain, bucket) {
            row.add(more);
        }
    }

    fn row(&mut self, grain: Grain, bucket: u32) -> Option<&mut T> {
        let number = match (grain, self.period) {
            (Grain::Hour, Period::Hour) | (Grain::Day, Period::Day) => bucket,
            (Grain::Hour, Period::Day) => bucket / 24,
            _ => return None,
        };
        let place = number.checked_sub(self.first)?;
        self.rows.get_mut(usize::try_from(place).ok()?)
    }

    fn times(&self) -> impl Iterator<Item = UnixTime> + use<T> {
        let length_s = u64::from(self.period.minutes()) * 60;
        (u64::from(self.first)..).map(move |row| UnixTime::from_secs(row * length_s))
    }
}

impl Rows<Counts> {
    /// Adds a caller's cell to its row, if it has one.
    pub fn add_cell(&mut self, grain: Grain, cell: &Cell) {
        if let Some(row) = self.row(grain, cell.bucket) {
            let count = &mut row[cell.column.place()];
            *count = count.saturating_add(cell.count.into());
        }
    }

    /// As they are told.
    pub fn into_traffic(self) -> Vec<Traffic> {
        let row = |(time, counts): (UnixTime, &Counts)| Traffic {
            time,
            counts: std::array::from_fn(|place| u32::try_from(counts[place]).unwrap_or(u32::MAX)),
            total: counts.iter().fold(0, |total, count| total.saturating_add(*count)),
        };
        self.times().zip(&self.rows).map(row).collect()
    }
}

impl Rows<Sums> {
    /// As they are told.
    pub fn into_speed(self) -> Vec<Speed> {
        let row = |(time, sums): (UnixTime, &Sums)| Speed {
            time,
            percentiles_ms: sums.searches.percentiles_ms(),
        };
        self.times().zip(&self.rows).map(row).collect()
    }
}
