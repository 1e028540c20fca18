//! A model of usage, so simple that it is obviously right: every debit is kept with the time of its job's admission, and every
//! question is answered by looking at all of them. Written from docs/rules.md (§5), not from the policy.
//!
//! Holds and limits are elsewhere in the model, and nothing is ever forgotten.

use tiergate_policy::Table;
use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Window, WindowId};
use tiergate_policy::time::{Span, UnixTime};

/// The window's bucket is its 1,440th part, but at least a second.
const BUCKETS: u64 = 1_440;

#[derive(Clone, Copy, Debug)]
struct Debit {
    caller: Caller,
    admitted: UnixTime,
    units: u64,
}

/// Every debit, by window.
#[derive(Debug)]
pub struct Debits {
    windows: Vec<(WindowId, Window, Vec<Debit>)>,
}

impl Debits {
    pub fn new(windows: &Table<WindowId, Window>) -> Self {
        let mut debits = Self { windows: Vec::new() };
        debits.reload(windows);
        debits
    }

    /// §5.5: counts belong to the window.
    pub fn reload(&mut self, windows: &Table<WindowId, Window>) {
        let before = std::mem::take(&mut self.windows);
        let debits = |window: &Window| {
            let known = before.iter().find(|(_, known, _)| same(known, window));
            known.map_or_else(Vec::new, |(_, _, debits)| debits.clone())
        };
        let windows = windows.entries();
        self.windows = windows
            .map(|(id, window)| (id, window.clone(), debits(window)))
            .collect();
    }

    /// §5.5: in every window that any tier uses.
    pub fn debit(&mut self, caller: Caller, admitted: UnixTime, units: u64) {
        for (_, _, debits) in &mut self.windows {
            debits.push(Debit {
                caller,
                admitted,
                units,
            });
        }
    }

    /// §5.11: the clock was followed back. What is dated later counts as of then.
    pub fn go_back(&mut self, to: UnixTime) {
        for debit in self.windows.iter_mut().flat_map(|(_, _, debits)| debits) {
            debit.admitted = debit.admitted.min(to);
        }
    }

    /// All debits ever, for reading them back.
    pub fn all(&self) -> Vec<(WindowId, Caller, UnixTime, u64)> {
        let of = |(window, _, debits): &(WindowId, Window, Vec<Debit>)| {
            let told = |debit: &Debit| (*window, debit.caller, debit.admitted, debit.units);
            debits.iter().map(told).collect::<Vec<_>>()
        };
        self.windows.iter().flat_map(of).collect()
    }

    /// In one window only.
    pub fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64) {
        let mut windows = self.windows.iter_mut();
        let (_, _, debits) = windows.find(|(id, ..)| *id == window).expect("it is one of the rules'");
        debits.push(Debit {
            caller,
            admitted,
            units,
        });
    }

    pub fn used(&self, window: WindowId, caller: Caller, now: UnixTime) -> u64 {
        self.counting(window, now)
            .filter(|(debit, _)| debit.caller == caller)
            .map(|(debit, _)| debit.units)
            .sum()
    }

    /// The first moment at which that many of the caller's units will have expired, if that many ever do.
    pub fn back(&self, window: WindowId, caller: Caller, units: u64, now: UnixTime) -> Option<UnixTime> {
        let mut leaving: Vec<(UnixTime, u64)> = self
            .counting(window, now)
            .filter(|(debit, _)| debit.caller == caller && debit.units > 0)
            .filter_map(|(debit, leaves)| Some((leaves?, debit.units)))
            .collect();
        leaving.sort_unstable();
        let mut sum = 0;
        let last = leaving.into_iter().find(|(_, there)| {
            sum += there;
            sum >= units
        })?;
        Some(last.0)
    }

    /// Whether the caller has a debit in any window.
    pub fn has_debit(&self, caller: Caller, now: UnixTime) -> bool {
        self.ids().any(|window| self.used(window, caller, now) > 0)
    }

    /// Accounts, networks and users that have a debit, in the window that has most of them.
    pub fn debtors(&self, callers: &[Caller], now: UnixTime) -> [usize; 3] {
        let kind = |caller: &Caller| match caller {
            Caller::Account(_) => 0,
            Caller::Network(_) => 1,
            Caller::User { .. } => 2,
        };
        [0, 1, 2].map(|asked| {
            let of_kind = || callers.iter().copied().filter(|caller| kind(caller) == asked);
            let debtors = |window| of_kind().filter(|caller| self.used(window, *caller, now) > 0).count();
            self.ids().map(debtors).max().unwrap_or(0)
        })
    }

    /// When something will expire.
    pub fn edges(&self, now: UnixTime) -> Vec<UnixTime> {
        let mut edges: Vec<UnixTime> = self
            .ids()
            .flat_map(|window| self.counting(window, now).filter_map(|(_, leaves)| leaves))
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn ids(&self) -> impl Iterator<Item = WindowId> {
        self.windows.iter().map(|(id, ..)| *id)
    }

    fn counting(&self, window: WindowId, now: UnixTime) -> impl Iterator<Item = (Debit, Option<UnixTime>)> {
        let (_, window, debits) = self
            .windows
            .iter()
            .find(|(id, ..)| *id == window)
            .expect("it is one of the rules'");
        debits
            .iter()
            .map(|debit| (*debit, leaves(window, debit.admitted)))
            .filter(move |(_, leaves)| leaves.is_none_or(|leaves| now < leaves))
    }
}

/// When a debit of that admission no longer counts in the window; `None`: it counts for good.
pub fn leaves(window: &Window, admitted: UnixTime) -> Option<UnixTime> {
    match window {
        // §5.4: up to one bucket late, never early.
        Window::Rolling(length) => {
            let (length, width) = (millis(*length), width(*length));
            let bucket_ends = (admitted.as_millis() / width + 1) * width;
            Some(UnixTime::from_millis(bucket_ends + length))
        }
        // §5.6: a search begun in May is May's.
        Window::Calendar(calendar) => calendar.starts.iter().copied().find(|start| admitted < *start),
    }
}

/// A rolling window's bucket, in milliseconds.
pub fn width(length: Span) -> u64 {
    millis(length).div_ceil(BUCKETS).max(1_000)
}

fn millis(length: Span) -> u64 {
    length.as_nanos().div_ceil(1_000_000)
}

fn same(one: &Window, other: &Window) -> bool {
    match (one, other) {
        (Window::Rolling(one), Window::Rolling(other)) => one == other,
        (Window::Calendar(one), Window::Calendar(other)) => one.name == other.name,
        _ => false,
    }
}
