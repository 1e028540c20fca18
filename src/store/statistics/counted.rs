//! What an entry of the journal counts for: when, for whom, in which column, and whether its search time does.
//!
//! Absent on purpose: where the counts are kept.

use crate::policy::End;
use crate::policy::caller::{AccountId, Caller};
use crate::policy::time::{Span, UnixTime};
use crate::store::{Entry, Record};

use super::histogram::Histogram;

/// The statuses that have a column of their own, in this order.
pub const STATUSES: [u16; 6] = [200, 400, 402, 405, 500, 503];

/// Columns: [`STATUSES`], and all other statuses together.
pub(super) const COLUMNS: usize = STATUSES.len() + 1;

/// Numbers by column.
pub(super) type Counts = [u64; COLUMNS];

/// One of [`COLUMNS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Column(u8);

impl Column {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(COLUMNS).map(Self)
    }

    /// Where the status counts.
    pub fn of(status: u16) -> Self {
        let own = STATUSES.iter().position(|known| *known == status);
        // Seven columns fit.
        Self(own.unwrap_or(COLUMNS - 1) as u8)
    }

    /// The column of that number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < COLUMNS).then_some(Self(number))
    }

    /// Its number: its place in [`Counts`].
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its place in [`Counts`].
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// Bytes of a [`Key`].
pub(super) const KEY_BYTES: usize = 13;

/// A caller as it lies in tables and files, and in the order in which it lies there: kind, account, and the network's or the
/// user's hash, most significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub [u8; KEY_BYTES]);

impl From<Caller> for Key {
    fn from(caller: Caller) -> Self {
        let (kind, AccountId(account), hash) = match caller {
            Caller::Account(account) => (0, account, 0),
            Caller::Network(network) => (1, AccountId(0), network.0),
            Caller::User { of, user } => (2, of, user.0),
        };
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = kind;
        bytes[1..5].copy_from_slice(&account.to_be_bytes());
        bytes[5..].copy_from_slice(&hash.to_be_bytes());
        Self(bytes)
    }
}

/// What one entry counts for.
#[derive(Debug)]
pub(super) struct Counted {
    /// When it ended; a refusal's minute.
    pub at: UnixTime,
    /// Its status.
    pub column: Column,
    /// How often. At least 1.
    pub count: u32,
    /// Whether it counts for the whole door.
    pub door: bool,
    /// For whom it counts: a user, and then its account.
    pub callers: [Option<Key>; 2],
    /// How long it searched, if it succeeded.
    pub searched_ms: Option<u32>,
}

impl Counted {
    /// `None` if it counts for nothing: nobody was answered.
    pub fn of(entry: &Entry) -> Option<Self> {
        let counted = match entry {
            Entry::Job(record) => Self {
                at: ended(record),
                column: Column::of(record.status),
                count: u32::from(record.status != 0),
                door: true,
                callers: match record.caller {
                    Caller::User { of, .. } => [Some(record.caller.into()), Some(Caller::Account(of).into())],
                    caller => [Some(caller.into()), None],
                },
                searched_ms: (record.end == End::Succeeded).then(|| whole_ms(record.searched)),
            },
            Entry::Refused(refused) => Self {
                at: refused.minute,
                column: Column::of(refused.status),
                count: refused.count,
                door: refused.caller.is_none(),
                callers: [refused.caller.map(Key::from), None],
                searched_ms: None,
            },
        };
        (counted.count > 0).then_some(counted)
    }

    /// The minute since the epoch. Saturates, as the hour does.
    pub fn minute(&self) -> u32 {
        minute(self.at)
    }

    /// The hour since the epoch.
    pub fn hour(&self) -> u32 {
        hour(self.at)
    }
}

/// The door's own sums of some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// By column.
    pub counts: Counts,
    /// Search times of successes.
    pub searches: Histogram,
}

impl Sums {
    /// Adds what counts for the door.
    pub fn add(&mut self, counted: &Counted) {
        let count = &mut self.counts[counted.column.place()];
        *count = count.saturating_add(counted.count.into());
        if let Some(ms) = counted.searched_ms {
            self.searches.add(ms);
        }
    }

    /// Adds the other's.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.searches.merge(&other.searches);
    }

    /// Takes out what was added before.
    pub fn subtract(&mut self, other: &Self) {
        for (count, less) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_sub(less);
        }
        self.searches.subtract(&other.searches);
    }
}

/// When the job ended. Each part is rounded to the millisecond by itself, as the journal keeps it: so a job counts at the
/// same time before and after a restart.
fn ended(record: &Record) -> UnixTime {
    record.admitted + record.waited + record.searched
}

/// In whole milliseconds, rounded down. Saturates.
fn whole_ms(span: Span) -> u32 {
    u32::try_from(span.as_nanos() / 1_000_000).unwrap_or(u32::MAX)
}

/// Minutes since the epoch. Saturates.
pub(super) fn minute(at: UnixTime) -> u32 {
    u32::try_from(at.as_secs() / 60).unwrap_or(u32::MAX)
}

/// Hours since the epoch. Saturates with [`minute`].
pub(super) fn hour(at: UnixTime) -> u32 {
    minute(at) / 60
}
