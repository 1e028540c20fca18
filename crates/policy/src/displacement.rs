//! How often a caller may displace another (semantics §3.4).
//!
//! Without this bound one account could clear the hall again and again by entering and hanging up, at no cost to
//! itself. Exact: within any 60 seconds a caller displaces at most as often as it may.
//!
//! Absent on purpose: who is displaced (`queue`).

use std::collections::VecDeque;

use super::caller::{Caller, CallerMap};
use super::time::{Span, Timestamp};

/// How far back displacements count.
pub const WINDOW: Span = Span::from_secs(60);

/// Displacements of the last minute that are remembered, of all callers together. With so many in a minute nobody
/// displaces anybody until the oldest are past: at more than 270 a second the hall is not a queue any more.
pub const REMEMBERED_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Displacements {
    /// Those of the last minute, oldest first.
    log: VecDeque<(Timestamp, Caller)>,
    /// How many of them are whose. No zeros.
    counts: CallerMap<u32>,
}

impl Displacements {
    /// Whether the caller has displaced fewer than `limit` in the last minute.
    pub(super) fn may(&mut self, caller: &Caller, limit: u32, now: Timestamp) -> bool {
        self.forget(now);
        self.log.len() < REMEMBERED_MAX && self.counts.get(caller).copied().unwrap_or(0) < limit
    }

    /// The caller displaces somebody.
    pub(super) fn note(&mut self, caller: Caller, now: Timestamp) {
        self.log.push_back((now, caller));
        *self.counts.entry(caller).or_insert(0) += 1;
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, caller)) = self.log.front().copied()
            && now.since(at) >= WINDOW
        {
            self.log.pop_front();
            if let Some(count) = self.counts.get_mut(&caller) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&caller);
                }
            }
        }
    }
}
