//! Dry run: logs what unenforced limits and quotas would have refused, rarely enough that a flood doesn't fill the log. The
//! metric counts every one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::info;

use super::standing::Standing;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, Timestamp};

/// At most one line per limit or quota in this time.
const LOG_EVERY: Span = Span::from_secs(60);

/// The unenforced limits and quotas.
#[derive(Debug)]
pub struct Unenforced {
    of: Vec<(Arc<str>, Told)>,
}

/// The log state of one.
#[derive(Debug, Default)]
struct Told {
    /// The time of the next line, in nanoseconds of tiergate's clock.
    next: AtomicU64,
    /// Would-be refusals since the last line.
    unlogged: AtomicU64,
}

impl Unenforced {
    /// The unenforced limits and quotas of these rules.
    pub fn new(rules: &Rules) -> Self {
        let of = rules.unenforced().into_iter().map(|name| (name, Told::default()));
        Self { of: of.collect() }
    }

    /// Logs that this limit or quota would have refused a request, if a line is due. Addresses of anonymous clients are not
    /// logged: they were not refused.
    pub fn note(&self, name: &str, standing: Option<&Standing>, now: Timestamp) {
        let known = self.of.iter().find(|(known, _)| **known == *name);
        let Some(requests) = known.and_then(|(_, log_state)| log_state.due(now)) else {
            return;
        };
        let account = standing.and_then(|standing| standing.account.as_ref());
        let last_caller = account.map_or("anonymous", |account| &account.name);
        info!(
            limit = name,
            requests,
            last_caller,
            "dry run: a limit that is not enforced would have refused requests since the last such line"
        );
    }
}

impl Told {
    /// The number to log now, including this one.
    fn due(&self, now: Timestamp) -> Option<u64> {
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        if now.as_nanos() < next {
            return None;
        }
        // Of several threads one logs.
        let after = (now + LOG_EVERY).as_nanos();
        self.next
            .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(self.unlogged.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_logged_at_once_then_one_line_a_minute() {
        let (log_state, at) = (Told::default(), |secs| Timestamp::ZERO + Span::from_secs(secs));
        assert_eq!(log_state.due(at(5)), Some(1));
        assert_eq!([log_state.due(at(5)), log_state.due(at(64))], [None, None]);
        assert_eq!(log_state.due(at(65)), Some(3));
        assert_eq!(log_state.due(at(66)), None);
        assert_eq!(log_state.due(at(1_000)), Some(2));
    }
}
