//! The only one who asks the system for the time, and the only one who lets time pass.
//!
//! The lint in `.clippy.toml` keeps it so. Tests stop this clock with tokio's paused time.
//!
//! Absent on purpose: what to do when the system's wall clock is set: that is `policy`'s (semantics §5.11). Waits are
//! measured on the monotonic one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::policy::time::{Span, Timestamp, UnixTime};

/// A monotonic clock that reads zero when it is started, and the wall clock beside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The system's.
    System,
    /// It read so when the clock was started.
    Since(UnixTime),
    /// The same, moved by hand.
    Moved(UnixTime, &'static Hands),
}

/// The hands of a clock that tests move.
#[derive(Debug, Default)]
pub struct Hands {
    ahead_ms: AtomicU64,
    /// How far the wall clock was set forward, and back, since it was started.
    forward_ms: AtomicU64,
    back_ms: AtomicU64,
}

impl Hands {
    /// Lets so much time pass at once, for both clocks. Timers that run already don't notice.
    pub fn advance(&self, by: Span) {
        self.ahead_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    /// Sets the wall clock alone forward by so much.
    pub fn step_forward(&self, by: Span) {
        self.forward_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    /// Sets the wall clock alone back by so much. It never reads less than the epoch.
    pub fn step_back(&self, by: Span) {
        self.back_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    fn ahead(&self) -> Span {
        Span::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// What a wall clock reads that would read so, had nobody set it.
    fn set(&self, wall: UnixTime) -> UnixTime {
        let forward = wall.as_millis() + self.forward_ms.load(Ordering::Relaxed);
        UnixTime::from_millis(forward.saturating_sub(self.back_ms.load(Ordering::Relaxed)))
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
impl Clock {
    /// Starts a clock, with the system's wall clock beside it.
    pub fn start() -> Self {
        Self::with(Wall::System)
    }

    /// Starts a clock whose wall clock reads `wall` at that moment and never differs from it: for simulations.
    pub fn start_at(wall: UnixTime) -> Self {
        Self::with(Wall::Since(wall))
    }

    /// The same, with hands to move it: for tests.
    pub fn moved_by(hands: &'static Hands, wall: UnixTime) -> Self {
        Self::with(Wall::Moved(wall, hands))
    }

    fn with(wall: Wall) -> Self {
        Self {
            origin: Instant::now(),
            wall,
        }
    }

    /// What it reads.
    pub fn now(&self) -> Timestamp {
        let passed = Span::from(Instant::now().duration_since(self.origin));
        Timestamp::ZERO + passed + self.ahead()
    }

    /// What the wall clock reads. It may be set, forward or back, at any time.
    pub fn wall(&self) -> UnixTime {
        match self.wall {
            Wall::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                // A clock that stands before 1970 has not been set.
                UnixTime::default() + since.map_or(Span::ZERO, Span::from)
            }
            Wall::Since(began) => began + self.now().since(Timestamp::ZERO),
            Wall::Moved(began, hands) => hands.set(began + self.now().since(Timestamp::ZERO)),
        }
    }

    fn ahead(&self) -> Span {
        match self.wall {
            Wall::Moved(_, hands) => hands.ahead(),
            Wall::System | Wall::Since(_) => Span::ZERO,
        }
    }

    /// Ends when the clock reads `until`, or a millisecond later; at once if it does already.
    pub fn sleep_until(&self, until: Timestamp) -> tokio::time::Sleep {
        let after = Duration::from(until.since(Timestamp::ZERO + self.ahead()));
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
