//! Counts of the last 60 seconds, by tier.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::policy::time::UnixTime;

/// How long an event counts, in seconds.
const SECONDS: u64 = 60;

/// Events of the last 60 seconds, by tier and second.
#[derive(Debug, Default)]
pub(super) struct LastMinute {
    /// Oldest first; at most [`SECONDS`], each with a count for every tier in it.
    seconds: VecDeque<(u64, HashMap<Arc<str>, u64>)>,
}

impl LastMinute {
    /// Counts one event. If the clock was set back, it counts in the latest second.
    pub(super) fn count(&mut self, tier: &Arc<str>, at: UnixTime) {
        let second = at.as_secs();
        if self.seconds.back().is_none_or(|(latest, _)| *latest < second) {
            while self
                .seconds
                .front()
                .is_some_and(|(oldest, _)| oldest + SECONDS <= second)
            {
                self.seconds.pop_front();
            }
            self.seconds.push_back((second, HashMap::new()));
        }
        let (_, counts) = self.seconds.back_mut().expect("pushed if it was empty");
        match counts.get_mut(tier) {
            Some(count) => *count += 1,
            None => drop(counts.insert(Arc::clone(tier), 1)),
        }
    }

    /// Adds what counts at that time.
    pub(super) fn add_to(&self, all: &mut HashMap<Arc<str>, u64>, now: UnixTime) {
        let still = |(second, _): &&(u64, _)| second + SECONDS > now.as_secs();
        for (_, counts) in self.seconds.iter().filter(still) {
            for (tier, count) in counts {
                *all.entry(Arc::clone(tier)).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_for_sixty_seconds() {
        let [free, paid] = ["free", "paid"].map(Arc::from);
        let mut last = LastMinute::default();
        for (tier, second) in [(&free, 100), (&free, 100), (&paid, 101), (&free, 159), (&free, 130)] {
            last.count(tier, UnixTime::from_secs(second));
        }
        let at = |second| {
            let mut all = HashMap::new();
            last.add_to(&mut all, UnixTime::from_secs(second));
            [&free, &paid].map(|tier| all.get(tier).copied().unwrap_or(0))
        };
        assert_eq!(at(159), [4, 1], "the clock was set back for the last one");
        assert_eq!(at(160), [2, 1]);
        assert_eq!(at(161), [2, 0]);
        assert_eq!(at(219), [0, 0]);
    }

    #[test]
    fn it_holds_a_minute_however_long_it_counts() {
        let free = Arc::from("free");
        let mut last = LastMinute::default();
        for second in 0..1_000 {
            last.count(&free, UnixTime::from_secs(second));
            assert!(last.seconds.len() <= 60);
        }
    }
}
