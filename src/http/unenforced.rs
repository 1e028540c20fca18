//! Limits and quotas that aren't enforced: what they would have refused is logged, seldom enough that a flood doesn't fill the log.
//!
//! Absent on purpose: what would have been refused, which is `policy`'s, and the metric, which counts every one (`telemetry`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::info;

use super::standing::Standing;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, Timestamp};

/// One line of each limit or quota in so long.
const TOLD_EVERY: Span = Span::from_secs(60);

/// Those that aren't enforced.
#[derive(Debug)]
pub struct Unenforced {
    of: Vec<(Arc<str>, Told)>,
}

/// What was told of one.
#[derive(Debug, Default)]
struct Told {
    /// Nothing is told before that, in nanoseconds of the door's clock.
    next: AtomicU64,
    /// Refusals that it would have made since the last line.
    untold: AtomicU64,
}

impl Unenforced {
    /// Those of these rules.
    pub fn new(rules: &Rules) -> Self {
        let of = rules.unenforced().into_iter().map(|name| (name, Told::default()));
        Self { of: of.collect() }
    }

    /// The limit or quota of that name would have refused a request of that standing: logs it, if that is due. Of strangers no
    /// address is told: nobody has turned them away.
    pub fn note(&self, name: &str, standing: Option<&Standing>, now: Timestamp) {
        let known = self.of.iter().find(|(known, _)| **known == *name);
        let Some(refusals) = known.and_then(|(_, told)| told.due(now)) else {
            return;
        };
        let account = standing.and_then(|standing| standing.account.as_ref());
        let last = account.map_or("somebody without an account", |account| &account.name);
        info!(
            limit = name,
            refusals, last, "not enforced: so many requests would have been refused since the last such line"
        );
    }
}

impl Told {
    /// How many are to be told now, this one included.
    fn due(&self, now: Timestamp) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        if now.as_nanos() < next {
            return None;
        }
        // Of several at once one tells.
        let after = (now + TOLD_EVERY).as_nanos();
        self.next
            .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute() {
        let (told, at) = (Told::default(), |secs| Timestamp::ZERO + Span::from_secs(secs));
        assert_eq!(told.due(at(5)), Some(1));
        assert_eq!([told.due(at(5)), told.due(at(64))], [None, None]);
        assert_eq!(told.due(at(65)), Some(3));
        assert_eq!(told.due(at(66)), None);
        assert_eq!(told.due(at(1_000)), Some(2));
    }
}
