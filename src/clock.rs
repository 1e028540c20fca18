//! The only module that reads the system's clocks or waits for time to pass.
//!
//! A lint in `.clippy.toml` enforces it. Tests stop this clock with tokio's paused time. Waits use the monotonic clock;
//! `policy` handles steps of the wall clock (rules §5.11).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::policy::time::{Span, Timestamp, UnixTime};

/// A monotonic clock that reads zero at its start, and a wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The system's wall clock.
    System,
    /// A wall clock that read this at the start and never differs from the monotonic one.
    Since(UnixTime),
    /// The same, moved by tests.
    Moved(UnixTime, &'static ClockControl),
}

/// Controls for tests that move a clock.
#[derive(Debug, Default)]
pub struct ClockControl {
    ahead_ms: AtomicU64,
    /// How far the wall clock was set forward and back since the start.
    forward_ms: AtomicU64,
    back_ms: AtomicU64,
}

impl ClockControl {
    /// Advances both clocks at once. Running timers don't notice.
    pub fn advance(&self, by: Span) {
        self.ahead_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    /// Sets only the wall clock forward.
    pub fn step_forward(&self, by: Span) {
        self.forward_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    /// Sets only the wall clock back. It never reads less than the epoch.
    pub fn step_back(&self, by: Span) {
        self.back_ms.fetch_add(by.as_millis(), Ordering::Relaxed);
    }

    fn ahead(&self) -> Span {
        Span::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Applies the steps to an unmoved reading.
    fn apply_steps(&self, wall: UnixTime) -> UnixTime {
        let forward = wall.as_millis() + self.forward_ms.load(Ordering::Relaxed);
        UnixTime::from_millis(forward.saturating_sub(self.back_ms.load(Ordering::Relaxed)))
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
impl Clock {
    /// Starts a clock with the system's wall clock.
    pub fn start() -> Self {
        Self::with(Wall::System)
    }

    /// Starts a clock whose wall clock reads `wall` now and never differs from the monotonic one: for simulations.
    pub fn start_at(wall: UnixTime) -> Self {
        Self::with(Wall::Since(wall))
    }

    /// Like [`Self::start_at`], moved by `clock_control`: for tests.
    pub fn moved_by(clock_control: &'static ClockControl, wall: UnixTime) -> Self {
        Self::with(Wall::Moved(wall, clock_control))
    }

    fn with(wall: Wall) -> Self {
        Self {
            origin: Instant::now(),
            wall,
        }
    }

    /// Reads the monotonic clock.
    pub fn now(&self) -> Timestamp {
        let passed = Span::from(Instant::now().duration_since(self.origin));
        Timestamp::ZERO + passed + self.ahead()
    }

    /// Reads the wall clock. It may be set, forward or back, at any time.
    pub fn wall(&self) -> UnixTime {
        match self.wall {
            Wall::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                // A system clock before 1970 has not been set.
                UnixTime::default() + since.map_or(Span::ZERO, Span::from)
            }
            Wall::Since(began) => began + self.now().since(Timestamp::ZERO),
            Wall::Moved(began, clock_control) => clock_control.apply_steps(began + self.now().since(Timestamp::ZERO)),
        }
    }

    /// Reads the wall clock as exactly as the system does: for times that other machines compare.
    pub fn system_time(&self) -> SystemTime {
        match self.wall {
            Wall::System => SystemTime::now(),
            Wall::Since(_) | Wall::Moved(..) => SystemTime::UNIX_EPOCH + Duration::from_millis(self.wall().as_millis()),
        }
    }

    fn ahead(&self) -> Span {
        match self.wall {
            Wall::Moved(_, clock_control) => clock_control.ahead(),
            Wall::System | Wall::Since(_) => Span::ZERO,
        }
    }

    /// Ends when the clock reads `until`, or a millisecond later; at once if it already does.
    pub fn sleep_until(&self, until: Timestamp) -> tokio::time::Sleep {
        let after = Duration::from(until.since(Timestamp::ZERO + self.ahead()));
        // Beyond the reach of the runtime's timer is as good as never.
        let deadline = self
            .origin
            .checked_add(after)
            .unwrap_or_else(|| self.origin + Duration::from_secs(u32::MAX.into()));
        tokio::time::sleep_until(deadline)
    }

    /// Ends after `span`.
    pub fn sleep(&self, span: Span) -> tokio::time::Sleep {
        self.sleep_until(self.now() + span)
    }
}
