//! Quotas: what callers have used in the windows of the rules (rules §5). `concurrency` has what is held for jobs in
//! flight; it becomes a debit here, or is released there.
//!
//! A rolling window of length L advances in buckets of width w = max(1 s, L ÷ 1,440). The debits of bucket b, which lie in
//! [b·w, (b+1)·w), expire together at (b+1)·w + L: up to w late, never early. So no interval of length L ever holds more than
//! the limit. A calendar period begins empty.
//!
//! A window created by a reload counts debits from a certain number on. Earlier debits are read back from the database, even
//! those of jobs that are still in flight: so each debit is counted once, by its job's end or by the read-back, in any order.
//!
//! Times are those of the policy's wall clock (`wall_clock`). If that goes back, every window begins anew, as if a reload had
//! created it: what it forgot while the clock was ahead is only in the database.
//!
//! There are no timers: a caller with nothing left in a window is dropped when it is looked up, and by a sweep of one shelf at
//! a time.

use super::bucket_log::BucketLog;
use super::caller::{Caller, CallerMap};
use super::event::DebitNumber;
use super::rules::{Calendar, Window, WindowId};
use super::shelves::{SHELVES, Shelves};
use super::table::Table;
use super::time::{Span, UnixTime};

/// Buckets of a rolling window, at most (plus one that is expiring).
const BUCKETS: u64 = 1_440;
/// When a debit is made, debits this many buckets older have left the window.
const REACH: u64 = BUCKETS + 1;
/// Buckets of one caller stored inline.
const INLINE: usize = 10;
/// The minimum bucket width.
const BUCKET_MS_MIN: u64 = 1_000;
/// All windows that the rules use.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    windows: Table<WindowId, WindowCounter>,
    /// When the next calendar period begins.
    turns_at: Option<UnixTime>,
    /// The longest time that a debit counts in any window.
    memory: Span,
}

/// A caller's usage in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units debited.
    pub used: u64,
    /// Units held for jobs in flight.
    pub held: u64,
    /// When the next debited unit expires; `None` if there is none, or if it never does.
    pub next_free: Option<UnixTime>,
    /// When all current debits will have expired; `None` if there are none, or if they never do.
    pub next_reset: Option<UnixTime>,
}

#[derive(Debug)]
struct WindowCounter {
    counts: Counts,
    /// Debits below this number don't count when their jobs end: they are read back.
    first: DebitNumber,
    /// The window is new, and [`Quotas::count_from`] has not been called yet.
    is_new: bool,
}

#[derive(Debug)]
enum Counts {
    Rolling(Rolling),
    Paged(Paged),
}

/// The longest calendar period, for how long users are remembered: a month of 31 days in which clocks are set back by an hour,
/// as October in Europe.
const PERIOD_MAX: Span = Span::from_secs(31 * 86_400 + 3_600);

impl Quotas {
    pub(super) fn new(windows: &Table<WindowId, Window>) -> Self {
        let mut quotas = Self::default();
        quotas.reload(windows);
        quotas.count_from(DebitNumber::default());
        quotas
    }

    /// Replaces the windows. One that stays keeps its counts.
    pub(super) fn reload(&mut self, windows: &Table<WindowId, Window>) {
        self.windows.retain(|id, _| windows.contains(id));
        for (id, window) in windows.entries() {
            if !self.windows.contains(id) {
                self.windows.insert(id, WindowCounter::new(window));
            }
        }
        let length = |window: &Window| match window {
            Window::Rolling(length) => *length + Span::from_millis(Rolling::new(*length).width_ms),
            Window::Calendar(_) => PERIOD_MAX,
        };
        self.memory = windows.iter().map(length).max().unwrap_or_default();
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Empties every window.
    pub(super) fn begin_anew(&mut self, windows: &Table<WindowId, Window>) {
        self.windows = windows.map(|_, window| WindowCounter::new(window));
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Whether there are windows without a first debit number.
    pub(super) fn has_new_windows(&self) -> bool {
        self.windows.iter().any(|counted| counted.is_new)
    }

    /// Sets the first debit number of new windows, and returns which are new.
    pub(super) fn count_from(&mut self, first: DebitNumber) -> Vec<WindowId> {
        let new = |(id, counted): (WindowId, &mut WindowCounter)| {
            let is_new = std::mem::replace(&mut counted.is_new, false);
            is_new.then(|| {
                counted.first = first;
                id
            })
        };
        self.windows.entries_mut().filter_map(new).collect()
    }

    /// Whether that window exists and counts from that number on.
    pub(super) fn counts_from(&self, window: WindowId, first: DebitNumber) -> bool {
        self.windows.get(window).is_some_and(|counted| counted.first == first)
    }

    fn all(&self) -> impl Iterator<Item = &Counts> {
        self.windows.iter().map(|counted| &counted.counts)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Counts> {
        self.windows.iter_mut().map(|counted| &mut counted.counts)
    }

    /// The longest time that a debit may count.
    pub(super) fn memory(&self) -> Span {
        self.memory
    }

    /// Whether a calendar period has ended: then call [`Self::turn`] before anything else.
    pub(super) fn has_to_turn(&self, now: UnixTime) -> bool {
        self.turns_at.is_some_and(|at| at <= now)
    }

    /// Begins the periods that are due. `in_flight` are the jobs in flight with their caller, held units and admission time:
    /// what they hold belongs to the period of their admission (rules §5.6).
    pub(super) fn turn(&mut self, now: UnixTime, in_flight: impl Iterator<Item = (Caller, u32, UnixTime)> + Clone) {
        for counts in self.all_mut() {
            if let Counts::Paged(paged) = counts
                && paged.until.is_some_and(|until| until <= now)
            {
                paged.turn(now, in_flight.clone());
            }
        }
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Units that the caller has used and holds in the window; `held` is what it holds in total.
    pub(super) fn taken(&mut self, window: WindowId, caller: &Caller, held: u64, now: UnixTime) -> u64 {
        match &mut self.windows[window].counts {
            Counts::Rolling(rolling) => rolling.used(caller, now) + held,
            Counts::Paged(paged) => paged.used(caller) + held - paged.carried(caller),
        }
    }

    /// When that many debited units will have expired; `None` if there aren't that many.
    pub(super) fn back(&self, window: WindowId, caller: &Caller, units: u64) -> Option<UnixTime> {
        match &self.windows[window].counts {
            Counts::Rolling(rolling) => rolling.back(caller, units),
            Counts::Paged(paged) => paged.until.filter(|_| paged.used(caller) >= units),
        }
    }

    /// The caller's usage in the window; `held` is what it holds in total. Zero if the window doesn't exist.
    pub(super) fn usage(&mut self, window: WindowId, caller: &Caller, held: u64, now: UnixTime) -> Usage {
        if !self.windows.contains(window) {
            return Usage::default();
        }
        let taken = self.taken(window, caller, held, now);
        match &self.windows[window].counts {
            Counts::Rolling(rolling) => {
                let used = taken - held;
                Usage {
                    used,
                    held,
                    next_free: rolling.back(caller, 1),
                    next_reset: rolling.back(caller, used.max(1)),
                }
            }
            Counts::Paged(paged) => {
                let used = paged.used(caller);
                let until = paged.until.filter(|_| used > 0);
                Usage {
                    used,
                    held: taken - used,
                    next_free: until,
                    next_reset: until,
                }
            }
        }
    }

    /// A job admitted at that time has succeeded: debits every window except those that read this debit back.
    pub(super) fn debit(&mut self, caller: Caller, admitted: UnixTime, units: u32, number: DebitNumber) {
        for counted in self.windows.iter_mut().filter(|counted| number >= counted.first) {
            counted.counts.add(caller, admitted, units.into());
        }
    }

    /// Debits one window with a past debit. One from the future counts as of now.
    pub(super) fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: UnixTime) {
        if let Some(counted) = self.windows.get_mut(window) {
            counted.counts.add(caller, admitted.min(now), units);
        }
    }

    /// Copies the usage of `from` to `to`, which has none yet, in every window.
    pub(super) fn copy(&mut self, from: &Caller, to: Caller) {
        for counts in self.all_mut() {
            match counts {
                Counts::Rolling(rolling) => rolling.logs.copy(from, to),
                Counts::Paged(paged) => paged.pages.copy(from, to),
            }
        }
    }

    /// A job admitted at that time has ended: it is no longer carried over from an earlier period.
    pub(super) fn release(&mut self, caller: &Caller, admitted: UnixTime, units: u32) {
        for counts in self.all_mut() {
            if let Counts::Paged(paged) = counts
                && admitted < paged.since
                && let Some(carried) = paged.carried.get_mut(caller)
            {
                *carried -= u64::from(units);
                if *carried == 0 {
                    paged.carried.remove(caller);
                }
            }
        }
    }

    /// Drops callers without usage from one shelf of each table. The next call looks at the next shelf.
    pub(super) fn sweep(&mut self, now: UnixTime) {
        for counts in self.all_mut() {
            if let Counts::Rolling(rolling) = counts {
                rolling.sweep(now);
            }
        }
    }

    /// Whether the caller has a debit in any window.
    pub(super) fn knows(&self, caller: &Caller) -> bool {
        self.all().any(|counts| match counts {
            Counts::Rolling(rolling) => rolling.logs.get(caller).is_some(),
            Counts::Paged(paged) => paged.pages.get(caller).is_some(),
        })
    }

    /// Callers with a debit in the window that has most: accounts, networks, users.
    pub(super) fn callers(&self) -> [usize; 3] {
        let kinds = |counts: &Counts| match counts {
            Counts::Rolling(rolling) => rolling.logs.kinds,
            Counts::Paged(paged) => paged.pages.kinds,
        };
        let widest = |kind: usize| self.all().map(|counts| kinds(counts)[kind]).max();
        [0, 1, 2].map(|kind| widest(kind).unwrap_or(0))
    }
}

impl WindowCounter {
    fn new(window: &Window) -> Self {
        Self {
            counts: Counts::new(window),
            first: DebitNumber::default(),
            is_new: true,
        }
    }
}

impl Counts {
    fn new(window: &Window) -> Self {
        match window {
            Window::Rolling(length) => Self::Rolling(Rolling::new(*length)),
            Window::Calendar(calendar) => Self::Paged(Paged::new(calendar.clone())),
        }
    }

    fn add(&mut self, caller: Caller, admitted: UnixTime, units: u64) {
        match self {
            _ if units == 0 => {} // would create an entry for the caller
            Self::Rolling(rolling) => rolling.add(caller, admitted, units),
            Self::Paged(paged) if admitted >= paged.since => *paged.pages.or_default(caller) += units,
            Self::Paged(_) => {}
        }
    }

    fn turns_at(&self) -> Option<UnixTime> {
        match self {
            Self::Rolling(_) => None,
            Self::Paged(paged) => paged.until,
        }
    }
}

/// A window of that length that ends now.
#[derive(Debug)]
struct Rolling {
    length_ms: u64,
    width_ms: u64,
    logs: Shelves<Box<BucketLog<INLINE>>>,
    swept: usize,
}

impl Rolling {
    fn new(length: Span) -> Self {
        let length_ms = length.as_nanos().div_ceil(1_000_000);
        Self {
            length_ms,
            width_ms: length_ms.div_ceil(BUCKETS).max(BUCKET_MS_MIN),
            logs: Shelves::default(),
            swept: 0,
        }
    }

    fn bucket(&self, at: UnixTime) -> u64 {
        at.as_millis() / self.width_ms
    }

    /// The first bucket that still counts.
    fn first(&self, now: UnixTime) -> u64 {
        self.bucket(UnixTime::from_millis(now.as_millis().saturating_sub(self.length_ms)))
    }

    /// When the bucket leaves the window.
    fn leaves(&self, bucket: u64) -> UnixTime {
        let ends = (bucket + 1).saturating_mul(self.width_ms);
        UnixTime::from_millis(ends.saturating_add(self.length_ms))
    }

    fn used(&mut self, caller: &Caller, now: UnixTime) -> u64 {
        let first = self.first(now);
        let used = self.logs.get_mut(caller).map(|log| {
            log.forget_before(first);
            log.used()
        });
        if used == Some(0) {
            self.logs.remove(caller);
        }
        used.unwrap_or(0)
    }

    fn back(&self, caller: &Caller, units: u64) -> Option<UnixTime> {
        let log = self.logs.get(caller)?;
        let mut sum = 0;
        log.buckets()
            .find(|(_, units_there)| {
                sum += units_there;
                sum >= units
            })
            .map(|(bucket, _)| self.leaves(bucket))
    }

    fn add(&mut self, caller: Caller, admitted: UnixTime, units: u64) {
        let bucket = self.bucket(admitted);
        self.logs.or_default(caller).add(bucket, units, REACH);
    }

    fn sweep(&mut self, now: UnixTime) {
        let first = self.first(now);
        self.logs.retain_shelf(self.swept, |log| {
            log.forget_before(first);
            log.used() > 0
        });
        self.swept = (self.swept + 1) % SHELVES;
    }
}

/// The current period of a calendar.
#[derive(Debug)]
struct Paged {
    calendar: Calendar,
    since: UnixTime,
    /// `None`: the last computed period.
    until: Option<UnixTime>,
    pages: Shelves<u64>,
    /// Units held by jobs that were admitted before the period. Usually empty.
    carried: CallerMap<u64>,
}

impl Paged {
    fn new(calendar: Calendar) -> Self {
        Self {
            since: UnixTime::default(),
            until: calendar.starts.first().copied(),
            calendar,
            pages: Shelves::default(),
            carried: CallerMap::default(),
        }
    }

    fn turn(&mut self, now: UnixTime, in_flight: impl Iterator<Item = (Caller, u32, UnixTime)>) {
        let starts = &self.calendar.starts;
        let begun = starts.partition_point(|start| *start <= now);
        self.since = self.calendar.period(now);
        self.until = starts.get(begun).copied();
        self.pages = Shelves::default();
        self.carried.clear();
        for (caller, units, admitted) in in_flight {
            if admitted < self.since && units > 0 {
                *self.carried.entry(caller).or_default() += u64::from(units);
            }
        }
    }

    fn used(&self, caller: &Caller) -> u64 {
        self.pages.get(caller).copied().unwrap_or(0)
    }

    fn carried(&self, caller: &Caller) -> u64 {
        self.carried.get(caller).copied().unwrap_or(0)
    }
}
