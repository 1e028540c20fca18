//! The only one who asks the system for the time, and the only one who lets time pass.
//!
//! The lint in `.clippy.toml` keeps it so. Tests stop this clock with tokio's paused time.
//!
//! Absent on purpose: waits on the wall clock. They are measured on the monotonic one (semantics §5.11).

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::policy::time::{Span, Timestamp, UnixTime};

/// A monotonic clock that reads zero when it is started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
impl Clock {
    /// Starts a clock.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What it reads.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(Span::from(Instant::now().duration_since(self.origin)).as_nanos())
    }

    /// What the wall clock reads; the epoch, before it.
    pub fn wall(&self) -> UnixTime {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Ends when the clock reads `until`, or a millisecond later; at once if it does already.
    pub fn sleep_until(&self, until: Timestamp) -> tokio::time::Sleep {
        let after = Duration::from(until.since(Timestamp::ZERO));
        // As far in the future as the runtime's timer reaches is as good as never.
        let deadline = self
            .origin
            .checked_add(after)
            .unwrap_or_else(|| self.origin + Duration::from_secs(u32::MAX.into()));
        tokio::time::sleep_until(deadline)
    }

    /// Ends after so long.
    pub fn sleep(&self, span: Span) -> tokio::time::Sleep {
        self.sleep_until(self.now() + span)
    }
}
