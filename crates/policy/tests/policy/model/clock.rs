//! The wall clock, and what is dated by it.

use tiergate_policy::ClockStep;
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::Model;

/// The wall clock: what the system's last read, and when; and the latest time that was told since it was last followed back,
/// before which it doesn't go.
#[derive(Debug, Default)]
pub(super) struct Wall {
    pub(super) reading: UnixTime,
    pub(super) taken: Timestamp,
    pub(super) latest: UnixTime,
}

impl Model {
    /// §5.11: it goes back only where it is followed back.
    pub fn wall_clock(&mut self, now: Timestamp) -> UnixTime {
        self.wall.latest = self.wall.latest.max(self.wall_expected(now));
        self.wall.latest
    }

    /// What the system's wall clock should read.
    pub fn wall_expected(&self, now: Timestamp) -> UnixTime {
        self.wall.reading + now.since(self.wall.taken)
    }

    /// §5.11: rather than to stand still for longer than `step_max` it goes back, and all that is dated later is dated as of then.
    pub fn follow_clock(&mut self, reading: UnixTime, now: Timestamp, step_max: Span) -> ClockStep {
        let expected = self.wall_expected(now);
        let by = self.wall.latest.max(expected).since(reading);
        (self.wall.reading, self.wall.taken) = (reading, now);
        if by > step_max {
            self.go_back(reading);
            ClockStep::Followed { by, to: reading }
        } else if reading >= expected {
            ClockStep::Forward(reading.since(expected))
        } else {
            ClockStep::Back(expected.since(reading))
        }
    }

    fn go_back(&mut self, to: UnixTime) {
        self.wall.latest = to;
        let jobs = self.jobs.iter_mut().map(|job| &mut job.admitted);
        let seen = self.users.iter_mut().map(|(.., seen)| seen);
        let swept = self.users_swept.iter_mut().map(|(_, swept)| swept);
        jobs.chain(seen).chain(swept).for_each(|at| *at = to.min(*at));
        self.debits.go_back(to);
    }
}
