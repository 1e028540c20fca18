//! How many callers one limit counts individually, over all shards.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The part of the budget that one shard may use, so that a flood from one prefix leaves capacity for the others,
const SHARE: usize = 8;
/// or this many callers, if that is more.
const SHARE_MIN: usize = 1_024;

/// The number of callers that one limit counts individually. Shards update it under different locks, and no decision waits for
/// another shard: as many threads may exceed `max` by a few for a moment.
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

    /// The maximum number of callers.
    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets the maximum. If there are more callers already, none is added until enough have expired.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Whether a shard that counts `in_shard` callers may add one.
    pub(super) fn has_room(&self, in_shard: usize) -> bool {
        let max = self.max();
        in_shard < (max / SHARE).max(SHARE_MIN) && self.used.load(Ordering::Relaxed) < max
    }

    pub(super) fn take(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}
