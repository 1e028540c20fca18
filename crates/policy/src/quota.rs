//! Quotas: what callers have used within the windows that the rules use (semantics §5). What is set aside for jobs in the
//! house is `concurrency`'s; it becomes a debit here, or is given back there.
//!
//! A rolling window of length L advances in buckets of width w = max(1 s, L ÷ 1,440). The debits of bucket b, which lie in
//! [b·w, (b+1)·w), leave together at (b+1)·w + L: up to w late, never early. So no stretch of length L ever holds more than
//! the limit. A calendar's period begins with an empty page.
//!
//! A window that a reload has made counts from a debit's number on. What was written down before it is read back, also what
//! is of jobs that are in the house still: so each debit is counted once, by its job's end or by whoever reads, in whatever
//! order.
//!
//! A time here is a point of the wall clock as `wall` follows it. Where that goes back, every window begins anew, as if a reload
//! had made it: what it forgot while the clock was ahead is nowhere but in what was written down.
//!
//! Absent on purpose: limits and names, which are the tiers'; time zones; and timers. Who has nothing left in a window is
//! forgotten when somebody looks, and by a sweep of one shelf at a time.

use super::bucket_log::BucketLog;
use super::caller::{Caller, CallerMap};
use super::event::DebitNumber;
use super::rules::{Calendar, Window, WindowId};
use super::shelves::{SHELVES, Shelves};
use super::table::Table;
use super::time::{Span, UnixTime};

/// Buckets of a rolling window, at most (and one that is leaving).
const BUCKETS: u64 = 1_440;
/// A debit that lies so many buckets before another has left the window when the other is made.
const REACH: u64 = BUCKETS + 1;
/// Buckets of one caller that lie in one piece of memory.
const INLINE: usize = 10;
/// The narrowest bucket.
const BUCKET_MS_MIN: u64 = 1_000;
/// All windows that the rules use.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    windows: Table<WindowId, Counted>,
    /// When the next calendar's period begins.
    turns_at: Option<UnixTime>,
    /// The longest that a debit counts in any window.
    memory: Span,
}

/// What a caller has used in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units debited.
    pub used: u64,
    /// Units set aside for jobs in the house.
    pub held: u64,
    /// When the next debited unit comes back; `None` if there is none, or if it never does.
    pub next_free: Option<UnixTime>,
    /// When all that are debited now will have come back; `None` if there are none, or if they never do.
    pub next_reset: Option<UnixTime>,
}

#[derive(Debug)]
struct Counted {
    counts: Counts,
    /// Debits below don't count as their jobs end: somebody reads them back.
    first: DebitNumber,
    /// It has been made, and nobody has said yet from where on it counts.
    is_new: bool,
}

#[derive(Debug)]
enum Counts {
    Rolling(Rolling),
    Paged(Paged),
}

/// A calendar's longest period that matters for how long users are remembered: a month of 31 days in which clocks are put back
/// by an hour, as October is in Europe.
const PERIOD_MAX: Span = Span::from_secs(31 * 86_400 + 3_600);

impl Quotas {
    pub(super) fn new(windows: &Table<WindowId, Window>) -> Self {
        let mut quotas = Self::default();
        quotas.reload(windows);
        quotas.count_from(DebitNumber::default());
        quotas
    }

    /// Other windows from now on. What was counted in one that stays goes on counting.
    pub(super) fn reload(&mut self, windows: &Table<WindowId, Window>) {
        self.windows.retain(|id, _| windows.contains(id));
        for (id, window) in windows.entries() {
            if !self.windows.contains(id) {
                self.windows.insert(id, Counted::new(window));
            }
        }
        let length = |window: &Window| match window {
            Window::Rolling(length) => *length + Span::from_millis(Rolling::new(*length).width_ms),
            Window::Calendar(_) => PERIOD_MAX,
        };
        self.memory = windows.iter().map(length).max().unwrap_or_default();
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Every window begins anew, empty.
    pub(super) fn begin_anew(&mut self, windows: &Table<WindowId, Window>) {
        self.windows = windows.map(|_, window| Counted::new(window));
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Whether there are windows of which nobody has said yet from where on they count.
    pub(super) fn has_new_windows(&self) -> bool {
        self.windows.iter().any(|counted| counted.is_new)
    }

    /// New windows count debits of that number and above. Which are new.
    pub(super) fn count_from(&mut self, first: DebitNumber) -> Vec<WindowId> {
        let new = |(id, counted): (WindowId, &mut Counted)| {
            let is_new = std::mem::replace(&mut counted.is_new, false);
            is_new.then(|| {
                counted.first = first;
                id
            })
        };
        self.windows.entries_mut().filter_map(new).collect()
    }

    /// Whether that window is there and counts from that number on.
    pub(super) fn counts_from(&self, window: WindowId, first: DebitNumber) -> bool {
        self.windows.get(window).is_some_and(|counted| counted.first == first)
    }

    fn all(&self) -> impl Iterator<Item = &Counts> {
        self.windows.iter().map(|counted| &counted.counts)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Counts> {
        self.windows.iter_mut().map(|counted| &mut counted.counts)
    }

    /// How long a debit may count.
    pub(super) fn memory(&self) -> Span {
        self.memory
    }

    /// Whether a calendar's period has ended: then call [`Self::turn`] first of all.
    pub(super) fn has_to_turn(&self, now: UnixTime) -> bool {
        self.turns_at.is_some_and(|at| at <= now)
    }

    /// Begins the periods that have begun. `in_house` are the jobs in the house, each with its caller, what it holds and since
    /// when: what they hold belongs to the period in which they were let in (semantics §5.6).
    pub(super) fn turn(&mut self, now: UnixTime, in_house: impl Iterator<Item = (Caller, u32, UnixTime)> + Clone) {
        for counts in self.all_mut() {
            if let Counts::Paged(paged) = counts
                && paged.until.is_some_and(|until| until <= now)
            {
                paged.turn(now, in_house.clone());
            }
        }
        self.turns_at = self.all().filter_map(Counts::turns_at).min();
    }

    /// Units that the caller has used and holds in the window; `held` is what it holds in all.
    pub(super) fn taken(&mut self, window: WindowId, caller: &Caller, held: u64, now: UnixTime) -> u64 {
        match &mut self.windows[window].counts {
            Counts::Rolling(rolling) => rolling.used(caller, now) + held,
            Counts::Paged(paged) => paged.used(caller) + held - paged.carried(caller),
        }
    }

    /// When that many debited units will have come back; `None` if there aren't so many.
    pub(super) fn back(&self, window: WindowId, caller: &Caller, units: u64) -> Option<UnixTime> {
        match &self.windows[window].counts {
            Counts::Rolling(rolling) => rolling.back(caller, units),
            Counts::Paged(paged) => paged.until.filter(|_| paged.used(caller) >= units),
        }
    }

    /// What the caller has used in the window; `held` is what it holds in all. Of a window that there isn't nothing was used.
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

    /// A job that was let in at that time has succeeded: it counts in every window, unless somebody reads it back there.
    pub(super) fn debit(&mut self, caller: Caller, admitted: UnixTime, units: u32, number: DebitNumber) {
        for counted in self.windows.iter_mut().filter(|counted| number >= counted.first) {
            counted.counts.add(caller, admitted, units.into());
        }
    }

    /// The same in one window only: a debit of the past. One from the future counts as of now.
    pub(super) fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: UnixTime) {
        if let Some(counted) = self.windows.get_mut(window) {
            counted.counts.add(caller, admitted.min(now), units);
        }
    }

    /// All that `from` has used, `to` has used from now on, in every window. It has used nothing yet.
    pub(super) fn copy(&mut self, from: &Caller, to: Caller) {
        for counts in self.all_mut() {
            match counts {
                Counts::Rolling(rolling) => rolling.logs.copy(from, to),
                Counts::Paged(paged) => paged.pages.copy(from, to),
            }
        }
    }

    /// A job that was let in at that time has ended: what it held is no longer carried from an earlier period.
    pub(super) fn let_go(&mut self, caller: &Caller, admitted: UnixTime, units: u32) {
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

    /// Forgets callers of one shelf of each table who have nothing left in it. The next call looks at the next shelf.
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

    /// Callers that have a debit in the window that knows most: accounts, networks, users.
    pub(super) fn callers(&self) -> [usize; 3] {
        let kinds = |counts: &Counts| match counts {
            Counts::Rolling(rolling) => rolling.logs.kinds,
            Counts::Paged(paged) => paged.pages.kinds,
        };
        let widest = |kind: usize| self.all().map(|counts| kinds(counts)[kind]).max();
        [0, 1, 2].map(|kind| widest(kind).unwrap_or(0))
    }
}

impl Counted {
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
            _ if units == 0 => {} // it would make a debtor of the caller
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

/// A window of that length that ends now, whenever that is.
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

    /// When the bucket leaves.
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

/// A calendar's present period.
#[derive(Debug)]
struct Paged {
    calendar: Calendar,
    since: UnixTime,
    /// `None`: the last one that was computed.
    until: Option<UnixTime>,
    pages: Shelves<u64>,
    /// What jobs hold that were let in before the period. Usually empty.
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

    fn turn(&mut self, now: UnixTime, in_house: impl Iterator<Item = (Caller, u32, UnixTime)>) {
        let starts = &self.calendar.starts;
        let begun = starts.partition_point(|start| *start <= now);
        self.since = self.calendar.period(now);
        self.until = starts.get(begun).copied();
        self.pages = Shelves::default();
        self.carried.clear();
        for (caller, units, admitted) in in_house {
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
