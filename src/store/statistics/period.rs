//! The rows of a result, by period.

use crate::policy::time::UnixTime;

use super::PERCENTILES;

/// The statuses with a column of their own, in order.
pub const STATUSES: [u16; 6] = [200, 400, 402, 405, 500, 503];

/// The length of a row.
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
    /// The number of rows.
    pub const fn rows(self) -> usize {
        match self {
            Self::Minute | Self::Day => 60,
            Self::Hour => 72,
        }
    }

    /// The length of a row in seconds.
    pub(in crate::store) const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

/// The number of answers by status within one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The start of the row.
    pub time: UnixTime,
    /// By status, as in [`STATUSES`]. Saturating.
    pub counts: [u32; STATUSES.len()],
    /// All answers, of other statuses too.
    pub total: u64,
}

/// The upstreams' service times for successes within one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// The start of the row.
    pub time: UnixTime,
    /// The [`PERCENTILES`], in milliseconds; the first and the last are exact, the others at most 3.2 % off. `None` without
    /// successes.
    pub percentiles_ms: Option<[u32; PERCENTILES.len()]>,
}

/// Rows being built, by their start.
#[derive(Debug)]
pub(super) struct Rows<T> {
    length_ms: i64,
    /// The start of the first row.
    first: i64,
    rows: Vec<T>,
}

impl<T: Default> Rows<T> {
    /// Empty rows, of which the last contains `now`. Shortly after the epoch an earlier one does.
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

    /// The row that contains that time.
    pub fn at(&mut self, at: i64) -> Option<&mut T> {
        let place = at.checked_sub(self.first)?.div_euclid(self.length_ms);
        self.rows.get_mut(usize::try_from(place).ok()?)
    }

    /// The start of each row.
    pub fn starts(&self) -> impl Iterator<Item = i64> + use<T> {
        let (first, length_ms) = (self.first, self.length_ms);
        (0..i64::try_from(self.rows.len()).unwrap_or(0)).map(move |row| first + row * length_ms)
    }

    /// The start of the first row, and the end of the last.
    pub fn reach(&self) -> (i64, i64) {
        let length = i64::try_from(self.rows.len()).unwrap_or(0) * self.length_ms;
        (self.first, self.first + length)
    }

    /// The rows with their starts.
    pub fn into_rows(self) -> impl Iterator<Item = (i64, T)> {
        let starts = self.starts();
        starts.zip(self.rows)
    }
}
