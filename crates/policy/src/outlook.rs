//! What a request would meet if it came now, and who has which place in the queue: for the status page, which changes nothing.

use super::rules::{Priority, Tier, UpstreamId};
use super::time::{Span, Timestamp};
use super::{JobId, Policy};

/// What a metered request would meet if it came now, with its body, from a caller within its own limits (rules §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A slot at once.
    Slot,
    /// A free queue place.
    Place,
    /// The queue place of a job of that priority, which it displaces.
    Displaces(Priority),
    /// A full queue.
    Full,
    /// A server that shuts down.
    Closed,
    /// Admission that an operator has stopped.
    Stopped,
}

/// Whether the queue has a place for a job of some priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// That of a job of this lower priority, the lowest that waits.
    Below(Priority),
    /// None: the lowest priority that waits, if anything does.
    Full(Option<Priority>),
}

impl Policy {
    /// Whether the queue has a place for a job of that priority, its caller's displacements aside.
    pub(super) fn room(&self, priority: Priority) -> Room {
        if self.queue.len() < self.rules.queue.length {
            return Room::Free;
        }
        match self.queue.lowest() {
            Some(lowest) if lowest < priority => Room::Below(lowest),
            lowest => Room::Full(lowest),
        }
    }

    /// What a request of that tier for a slot of that pool would meet. A caller that has displaced as often as it may meets a
    /// full queue instead.
    ///
    /// # Panics
    /// If the rules have no such pool.
    pub fn outlook(&self, pool: UpstreamId, tier: &Tier, now: Timestamp) -> Outlook {
        if self.closing {
            return Outlook::Closed;
        }
        if self.admission_stopped {
            return Outlook::Stopped;
        }
        if self.dispatchable(pool).is_some() {
            return Outlook::Slot;
        }
        let may_displace = || tier.displacements_per_minute > 0 && !self.displacements.are_exhausted(now);
        match self.room(tier.priority) {
            Room::Free => Outlook::Place,
            Room::Below(lowest) if may_displace() => Outlook::Displaces(lowest),
            Room::Below(_) | Room::Full(_) => Outlook::Full,
        }
    }

    /// How long a new job of that priority would wait; `None` while no server of the pool is up or dispatch is paused, so that
    /// nobody can tell.
    pub fn expected_wait(&self, pool: UpstreamId, priority: Priority) -> Option<Span> {
        (self.slots(pool) > 0 && !self.paused).then(|| self.estimate(pool, priority))
    }

    /// The queued jobs, the next to be served first and the first to be displaced last (with `lifeline`, one of some slots goes
    /// to another). `None` if more than `max` are queued. O(n log n).
    pub fn places(&self, max: u32) -> Option<Vec<JobId>> {
        let in_order = || self.queue.in_order(&self.jobs).into_iter();
        (self.queue.len() <= max).then(|| in_order().map(|index| self.jobs.id(index)).collect())
    }

    /// The most jobs that were ever in flight at once: what [`Self::jobs`] takes time for.
    pub fn in_flight_max(&self) -> usize {
        self.jobs.reach()
    }
}
