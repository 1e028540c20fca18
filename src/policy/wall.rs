//! The wall clock as the policy follows it (semantics §5.11): from one reading to the next by the monotonic clock, on at once
//! where the system's has stepped forward, standing still where it has stepped back until that has caught up.
//!
//! Absent on purpose: any way to ask what time it is.

use super::time::{Span, Timestamp, UnixTime};

/// What a reading of the system's wall clock told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is ahead of where it should be by so much.
    Forward(Span),
    /// It is behind by so much.
    Back(Span),
}

#[derive(Debug, Default)]
pub(super) struct Wall {
    /// The last reading, and when it was taken.
    reading: UnixTime,
    taken: Timestamp,
    /// The latest time that anything was decided by.
    latest: UnixTime,
}

impl Wall {
    /// What time it is.
    pub(super) fn at(&mut self, now: Timestamp) -> UnixTime {
        self.latest = self.latest.max(self.expected(now));
        self.latest
    }

    fn expected(&self, now: Timestamp) -> UnixTime {
        self.reading + now.since(self.taken)
    }

    /// Follows that reading from now on. How far it is from what was expected.
    pub(super) fn follow(&mut self, reading: UnixTime, now: Timestamp) -> Step {
        let expected = self.expected(now);
        (self.reading, self.taken) = (reading, now);
        if reading >= expected {
            Step::Forward(reading.since(expected))
        } else {
            Step::Back(expected.since(reading))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_waited_out_and_a_step_forward_is_followed() {
        let at = |secs| Timestamp::ZERO + Span::from_secs(secs);
        let unix = UnixTime::from_secs;
        let mut wall = Wall::default();
        assert_eq!(wall.follow(unix(1_000), at(0)), Step::Forward(Span::from_secs(1_000)));
        assert_eq!(wall.at(at(5)), unix(1_005));
        assert_eq!(wall.follow(unix(907), at(7)), Step::Back(Span::from_secs(100)));
        assert_eq!(wall.at(at(8)), unix(1_005), "it stands still");
        assert_eq!(wall.at(at(7 + 97)), unix(1_005), "until the system's has");
        assert_eq!(wall.at(at(7 + 99)), unix(1_006), "caught up");
        assert_eq!(wall.follow(unix(5_000), at(110)), Step::Forward(Span::from_secs(3_990)));
        assert_eq!(wall.at(at(111)), unix(5_001));
    }
}
