//! The wall clock as the policy follows it (semantics §5.11): from one reading to the next by the monotonic clock, on at once
//! where the system's has stepped forward. Where that has stepped back, it stands still until the system's has caught up; but
//! if that would take longer than it may, it goes back too.

use super::time::{Span, Timestamp, UnixTime};

/// From how far on a reading that differs from what was expected is a step of the system's clock. What is less may be the
/// clock's own steering.
pub const STEP_MIN: Span = Span::from_secs(2);

/// What a reading of the system's wall clock told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// The system's clock is ahead of where it should be by so much, and is followed.
    Forward(Span),
    /// The system's clock is behind where it should be by so much. The policy's clock stands still until that has caught up.
    Back(Span),
    /// The system's clock is so far behind that it is followed back.
    Followed {
        /// How far the policy's clock went back.
        by: Span,
        /// What it reads from now on.
        to: UnixTime,
    },
}

#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The last reading, and when it was taken.
    reading: UnixTime,
    taken: Timestamp,
    /// The latest time that anything was decided by, since the clock was last followed back.
    latest: UnixTime,
    /// When the last step of [`STEP_MIN`] or more was noticed.
    agreed_since: Timestamp,
}

impl WallClock {
    /// What time it is.
    pub(super) fn at(&mut self, now: Timestamp) -> UnixTime {
        self.latest = self.latest.max(self.expected(now));
        self.latest
    }

    /// What the system's clock should read. Less than [`Self::at`] while that stands still.
    pub(super) fn expected(&self, now: Timestamp) -> UnixTime {
        self.reading + now.since(self.taken)
    }

    /// Since when no reading differed by [`STEP_MIN`] or more from what was expected.
    pub(super) fn agreed_since(&self) -> Timestamp {
        self.agreed_since
    }

    /// Follows that reading from now on. It never stands still for longer than `step_max`, or [`STEP_MIN`] if that is more: rather
    /// than that it goes back.
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
        assert_eq!(wall.at(at(7 + 97)), unix(1_005), "until the system's has");
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

    /// Several short steps back would add up to one that is too long to stand still for.
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

    /// Readings are in milliseconds, and the clock is steered: what is no step is not followed back, whatever is allowed.
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
