//! The policy's wall clock (rules §5.11, §5.16). Between two readings of the system's clock it advances with the monotonic clock.
//! It follows a step forward at once. After a step back it stands still until the system's clock has caught up; if that would
//! take longer than allowed, it goes back too.

use super::time::{Span, Timestamp, UnixTime};

/// The smallest difference from the expected reading that counts as a step of the system's clock. Less may be clock steering.
pub const STEP_MIN: Span = Span::from_secs(2);

/// The result of reading the system's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// The system's clock is ahead of the expected time by this much, and is followed.
    Forward(Span),
    /// The system's clock is behind the expected time by this much. The policy's clock stands still until it has caught up.
    Back(Span),
    /// The system's clock is so far behind that it is followed back.
    Followed {
        /// How far the policy's clock went back.
        by: Span,
        /// Its new reading.
        to: UnixTime,
    },
}

#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The last reading, and when it was taken.
    reading: UnixTime,
    taken: Timestamp,
    /// The latest time used in a decision since the clock was last followed back.
    latest: UnixTime,
    /// When the last step of [`STEP_MIN`] or more was noticed.
    agreed_since: Timestamp,
}

impl WallClock {
    /// The current time.
    pub(super) fn at(&mut self, now: Timestamp) -> UnixTime {
        self.latest = self.latest.max(self.expected(now));
        self.latest
    }

    /// The expected reading of the system's clock. Behind [`Self::at`] while that stands still.
    pub(super) fn expected(&self, now: Timestamp) -> UnixTime {
        self.reading + now.since(self.taken)
    }

    /// The time since which no reading differed by [`STEP_MIN`] or more from the expected one.
    pub(super) fn agreed_since(&self) -> Timestamp {
        self.agreed_since
    }

    /// Follows a new reading. The clock never stands still for longer than `step_max` (or [`STEP_MIN`], if that is more): it
    /// goes back instead.
    pub(super) fn follow(&mut self, reading: UnixTime, now: Timestamp, step_max: Span) -> ClockStep {
        let expected = self.expected(now);
        let (ahead, behind) = (reading.since(expected), expected.since(reading));
        if ahead.max(behind) >= STEP_MIN {
            self.agreed_since = now;
        }
        (self.reading, self.taken) = (reading, now);
        let by = self.latest.max(expected).since(reading);
        if by > step_max.max(STEP_MIN) {
            self.latest = reading;
            ClockStep::Followed { by, to: reading }
        } else if behind.is_zero() {
            ClockStep::Forward(ahead)
        } else {
            ClockStep::Back(behind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Span = Span::from_secs(300);

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Span::from_secs(secs)
    }

    fn unix(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn a_step_back_is_waited_out_and_a_step_forward_is_followed() {
        let mut wall = WallClock::default();
        assert_eq!(
            wall.follow(unix(1_000), at(0), MAX),
            ClockStep::Forward(Span::from_secs(1_000))
        );
        assert_eq!(wall.at(at(5)), unix(1_005));
        assert_eq!(
            wall.follow(unix(907), at(7), MAX),
            ClockStep::Back(Span::from_secs(100))
        );
        assert_eq!(wall.at(at(8)), unix(1_005), "it stands still");
        assert_eq!(wall.at(at(7 + 97)), unix(1_005), "until the system clock has");
        assert_eq!(wall.at(at(7 + 99)), unix(1_006), "caught up");
        assert_eq!(
            wall.follow(unix(5_000), at(110), MAX),
            ClockStep::Forward(Span::from_secs(3_990))
        );
        assert_eq!(wall.at(at(111)), unix(5_001));
    }

    #[test]
    fn a_long_step_back_is_followed_at_once() {
        let mut wall = WallClock::default();
        wall.follow(unix(9_000), at(0), MAX);
        assert_eq!(wall.at(at(10)), unix(9_010));
        let followed = |by, to| ClockStep::Followed {
            by: Span::from_secs(by),
            to: unix(to),
        };
        assert_eq!(wall.follow(unix(8_709), at(10), MAX), followed(301, 8_709));
        assert_eq!(wall.at(at(11)), unix(8_710));
    }

    /// Several short steps back must not add up to a long standstill.
    #[test]
    fn short_steps_back_together_are_followed_when_they_are_long() {
        let mut wall = WallClock::default();
        wall.follow(unix(9_000), at(0), MAX);
        assert_eq!(wall.at(at(0)), unix(9_000));
        for step in [1, 2] {
            let back = ClockStep::Back(Span::from_secs(150));
            assert_eq!(wall.follow(unix(9_000 - step * 150), at(0), MAX), back);
            assert_eq!(wall.at(at(0)), unix(9_000));
        }
        let to = unix(8_699);
        let by = Span::from_secs(301);
        assert_eq!(wall.follow(to, at(0), MAX), ClockStep::Followed { by, to });
        assert_eq!(wall.at(at(0)), to);
    }

    /// Readings are in milliseconds and the clock is steered: a difference below a step is never followed back.
    #[test]
    fn what_is_no_step_is_never_followed_back() {
        let mut wall = WallClock::default();
        wall.follow(unix(9_000), at(0), Span::ZERO);
        assert_eq!(wall.at(at(9)), unix(9_009));
        let second = Span::from_secs(1);
        assert_eq!(wall.follow(unix(9_008), at(9), Span::ZERO), ClockStep::Back(second));
        assert_eq!(wall.at(at(9)), unix(9_009));
    }

    #[test]
    fn the_clocks_agree_since_the_last_step() {
        let mut wall = WallClock::default();
        wall.follow(unix(9_000), at(5), MAX);
        assert_eq!(wall.agreed_since(), at(5), "the first reading is a step");
        wall.follow(unix(9_001), at(5), MAX);
        wall.follow(unix(9_011), at(16), MAX);
        assert_eq!(wall.agreed_since(), at(5), "a second is none");
        for (reading, now) in [(9_012, 20), (9_009, 22), (8_000, 23)] {
            wall.follow(unix(reading), at(now), MAX);
        }
        assert_eq!(wall.agreed_since(), at(23));
    }
}
