//! How many callers one limit may count one by one, in all shards together.
//!
//! Absent on purpose: who they are (`table`).

use std::sync::atomic::{AtomicUsize, Ordering};

/// A shard may have this part of all, so that a flood from one neighbourhood leaves room for the others,
const SHARE: usize = 8;
/// or so many, if that is more.
const SHARE_MIN: usize = 1_024;

/// The callers of one limit, counted together. They are counted under the locks of different shards, and no decision waits for
/// another's count: a few more than `max` may be let in at one moment by as many threads.
#[derive(Debug)]
pub(super) struct CardinalityBudget {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl CardinalityBudget {
    pub(super) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Callers that there may be in all.
    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// So many from now on. If there are more already, nobody is added until there are fewer.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Whether a shard that has so many may have one more.
    pub(super) fn has_room(&self, in_shard: usize) -> bool {
        let max = self.max();
        in_shard < (max / SHARE).max(SHARE_MIN) && self.used.load(Ordering::Relaxed) < max
    }

    /// One more.
    pub(super) fn take(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}
