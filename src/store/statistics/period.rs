//! The rows of an answer: which there are, and what falls into which.

use crate::policy::time::UnixTime;

use super::PERCENTILES;

/// The statuses that have a column of their own, in this order.
pub const STATUSES: [u16; 6] = [200, 400, 402, 405, 500, 503];

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

    /// How long a row is, in seconds.
    pub(in crate::store) const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
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

/// How long the upstreams took for what succeeded within one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// When it begins.
    pub time: UnixTime,
    /// As in [`PERCENTILES`], in milliseconds; the first and the last are exact, the others at most 3.2 % off. `None` if
    /// nothing succeeded.
    pub percentiles_ms: Option<[u32; PERCENTILES.len()]>,
}

/// Rows in the making, by when they begin.
#[derive(Debug)]
pub(super) struct Rows<T> {
    length_ms: i64,
    /// When the first row begins.
    first: i64,
    rows: Vec<T>,
}

impl<T: Default> Rows<T> {
    /// Empty ones, of which `now` falls into the last. Within the first rows after the epoch it falls into an earlier one.
    pub fn until(now: i64, period: Period) -> Self {
        let length_ms = period.seconds() * 1_000;
        let before = i64::try_from(period.rows()).unwrap_or(0) - 1;
        let mut rows = Vec::new();
        rows.resize_with(period.rows(), T::default);
        Self {
            length_ms,
            first: (now / length_ms - before).max(0) * length_ms,
            rows,
        }
    }

    /// The row in which that time lies.
    pub fn at(&mut self, at: i64) -> Option<&mut T> {
        let place = at.checked_sub(self.first)?.div_euclid(self.length_ms);
        self.rows.get_mut(usize::try_from(place).ok()?)
    }

    /// When each begins.
    pub fn starts(&self) -> impl Iterator<Item = i64> + use<T> {
        let (first, length_ms) = (self.first, self.length_ms);
        (0..i64::try_from(self.rows.len()).unwrap_or(0)).map(move |row| first + row * length_ms)
    }

    /// When the first begins, and when the last ends.
    pub fn reach(&self) -> (i64, i64) {
        let length = i64::try_from(self.rows.len()).unwrap_or(0) * self.length_ms;
        (self.first, self.first + length)
    }

    /// Each with when it begins.
    pub fn into_rows(self) -> impl Iterator<Item = (i64, T)> {
        let starts = self.starts();
        starts.zip(self.rows)
    }
}
