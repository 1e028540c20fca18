//! How often a caller may displace others (rules §3.4).
//!
//! Without this bound one account could empty the queue again and again by entering and hanging up, at no cost to itself.
//! Exact: within any 60 seconds a caller displaces at most as often as it may.

use std::collections::VecDeque;

use super::caller::{Caller, CallerMap};
use super::time::{Span, Timestamp};

/// How long a displacement counts.
pub const WINDOW: Span = Span::from_secs(60);

/// Displacements of the last minute that are remembered, over all callers. With this many nothing is displaced until the oldest
/// expire: at more than 270 a second the queue serves no purpose.
pub const REMEMBERED_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Displacements {
    /// Displacements of the last minute, oldest first.
    log: VecDeque<(Timestamp, Caller)>,
    /// Their number by caller. No zeros.
    counts: CallerMap<u32>,
}

impl Displacements {
    /// Whether the caller has displaced fewer than `limit` jobs in the last minute.
    pub(super) fn may(&mut self, caller: &Caller, limit: u32, now: Timestamp) -> bool {
        self.forget(now);
        self.log.len() < REMEMBERED_MAX && self.counts.get(caller).copied().unwrap_or(0) < limit
    }

    /// Whether so many displacements are remembered that nobody may displace now.
    pub(super) fn are_exhausted(&self, now: Timestamp) -> bool {
        let over = self.log.partition_point(|(at, _)| now.since(*at) >= WINDOW);
        self.log.len() - over >= REMEMBERED_MAX
    }

    /// Counts a displacement by the caller.
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
