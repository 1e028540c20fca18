//! The last refusals on metered routes, for operators.
//!
//! A flood of refusals must cost no more than the refusals themselves, so only the first few of each reason and second are kept.
//! All are counted elsewhere (`tiergate_refusals_total`, the database).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use crate::policy::refusal::Reason;
use crate::policy::time::UnixTime;

/// Refusals that are kept: the newest.
pub const KEPT_MAX: usize = 200;

/// Refusals of one reason that are kept of one second.
pub const PER_SECOND_MAX: u64 = 5;

/// What a caller's name is: an account may be named like a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerKind {
    /// An account's name.
    Account,
    /// A network.
    Network,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentRefusal {
    /// When.
    pub at: UnixTime,
    /// Why.
    pub reason: Reason,
    /// The response's status.
    pub status: u16,
    /// The caller's tier, if it was known.
    pub tier: Option<Arc<str>>,
    /// The caller's account, or the client's network; `None` if neither could be told.
    pub caller: Option<String>,
    /// What that is.
    pub kind: CallerKind,
    /// The route as tiers.yaml has it, with its host, if one was found.
    pub route: Option<String>,
}

/// The last refusals.
#[derive(Debug, Default)]
pub struct RecentRefusals {
    /// Oldest first.
    last: Mutex<VecDeque<RecentRefusal>>,
    /// By reason: the second in which one was last kept, and how many were kept in it ([`COUNT_BITS`]). During a flood it is only
    /// read, so cores don't contend for it.
    kept: [AtomicU64; Reason::ALL.len()],
}

/// The lower bits of [`RecentRefusals::kept`]: enough for [`PER_SECOND_MAX`].
const COUNT_BITS: u32 = 8;
const _: () = assert!(PER_SECOND_MAX < 1 << COUNT_BITS);

impl RecentRefusals {
    /// Keeps the refusal, which is described only then, unless enough of that reason and second are kept.
    pub fn note(&self, reason: Reason, at: UnixTime, describe: impl FnOnce() -> RecentRefusal) {
        if !self.claim(reason, at.as_secs()) {
            return;
        }
        let refusal = describe();
        let mut last = self.last.lock();
        if last.len() >= KEPT_MAX {
            last.pop_front();
        }
        last.push_back(refusal);
    }

    /// The refusals that are kept, newest first.
    pub fn all(&self) -> Vec<RecentRefusal> {
        self.last.lock().iter().rev().cloned().collect()
    }

    /// Whether one more refusal of that reason and second is to be kept.
    fn claim(&self, reason: Reason, second: u64) -> bool {
        let cell = &self.kept[reason as usize];
        let next = |seen: u64| {
            let kept = if seen >> COUNT_BITS == second {
                seen & ((1 << COUNT_BITS) - 1)
            } else {
                0
            };
            (kept < PER_SECOND_MAX).then(|| second << COUNT_BITS | (kept + 1))
        };
        cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: Reason, second: u64) -> RecentRefusal {
        RecentRefusal {
            at: UnixTime::from_secs(second),
            reason,
            status: 503,
            tier: None,
            caller: None,
            kind: CallerKind::Network,
            route: None,
        }
    }

    #[test]
    fn a_flood_of_one_reason_hides_no_other() {
        let recent = RecentRefusals::default();
        let note = |reason, second| recent.note(reason, UnixTime::from_secs(second), || refusal(reason, second));
        note(Reason::QueueFull, 100);
        (0..10_000).for_each(|_| note(Reason::RateLimited, 100));
        note(Reason::QueueFull, 100);
        (0..10_000).for_each(|_| note(Reason::RateLimited, 101));
        let all = recent.all();
        let count = |reason| all.iter().filter(|refusal| refusal.reason == reason).count();
        assert_eq!((count(Reason::RateLimited), count(Reason::QueueFull)), (10, 2));
        assert_eq!(all[0].at, UnixTime::from_secs(101), "the newest comes first");
    }

    #[test]
    fn it_keeps_the_newest() {
        let recent = RecentRefusals::default();
        for second in 1..=300 {
            recent.note(Reason::Displaced, UnixTime::from_secs(second), || {
                refusal(Reason::Displaced, second)
            });
        }
        let all = recent.all();
        assert_eq!(all.len(), KEPT_MAX);
        assert_eq!((all[0].at.as_secs(), all[KEPT_MAX - 1].at.as_secs()), (300, 101));
    }
}
