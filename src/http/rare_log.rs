//! Log lines that requests cause, rarely enough that a flood doesn't fill the log.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::time::{Span, Timestamp};

/// At most one line in this time.
const LOG_EVERY: Span = Span::from_secs(60);

/// The log state of one kind of event.
#[derive(Debug, Default)]
pub(super) struct RareLog {
    /// The time of the next line, in nanoseconds of tiergate's clock.
    next: AtomicU64,
    /// Events since the last line.
    unlogged: AtomicU64,
}

impl RareLog {
    /// The number of events to log now, including this one; `None` if it is too early for a line.
    pub(super) fn due(&self, now: Timestamp) -> Option<u64> {
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
    fn the_first_event_is_logged_at_once_then_one_line_a_minute() {
        let (log_state, at) = (RareLog::default(), |secs| Timestamp::ZERO + Span::from_secs(secs));
        assert_eq!(log_state.due(at(5)), Some(1));
        assert_eq!([log_state.due(at(5)), log_state.due(at(64))], [None, None]);
        assert_eq!(log_state.due(at(65)), Some(3));
        assert_eq!(log_state.due(at(66)), None);
        assert_eq!(log_state.due(at(1_000)), Some(2));
    }
}
