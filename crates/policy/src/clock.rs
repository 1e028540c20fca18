//! The policy and the wall clock (rules §5.11): what happens to remembered times when the clock is followed back.
//!
//! | what remembers wall-clock times | when the clock is followed back to a time |
//! |---|---|
//! | jobs in flight | later admissions count as of that time |
//! | windows of quotas | begin anew, empty, and are to be filled from the database: a window forgets as its clock advances |
//! | users of delegating accounts | users seen later count as seen at that time |
//! | until when networks may be counted together | extended by as long as shared usage may count, if there ever was any |
//!
//! Everything else uses the monotonic clock: the queue, displacements, slot times and request limits. Aligned limits read the
//! system's clock directly (`limits`).

use super::Policy;
use super::time::{Span, Timestamp, UnixTime};
use super::wall_clock::ClockStep;

impl Policy {
    /// The current wall-clock time. It goes back only in [`Self::follow_clock`] (rules §5.11). Begins new calendar periods
    /// that are due.
    pub fn wall_clock(&mut self, now: Timestamp) -> UnixTime {
        let wall = self.wall.at(now);
        if self.quotas.has_to_turn(wall) {
            let in_flight = self
                .jobs
                .iter()
                .flat_map(|(_, job)| job.caller.counted().map(|caller| (caller, job.cost, job.admitted)));
            self.quotas.turn(wall, in_flight);
        }
        wall
    }

    /// Takes a reading of the system's wall clock. Before the first one, the clock is at the epoch. The policy's clock follows
    /// it forward at once. After a step back, the policy's clock stands still; if that would take longer than `step_max` (or
    /// [`super::STEP_MIN`], if that is longer), it goes back at once. Then all windows are new ([`Self::has_new_windows`]), and
    /// the caller sets from where they count ([`Self::count_from`]).
    pub fn follow_clock(&mut self, reading: UnixTime, now: Timestamp, step_max: Span) -> ClockStep {
        let step = self.wall.follow(reading, now, step_max);
        if let ClockStep::Followed { to, .. } = step {
            for job in self.jobs.iter_mut() {
                job.admitted = job.admitted.min(to);
            }
            self.users.go_back(to);
            self.recount(now);
        }
        step
    }

    /// Empties all windows of quotas, because their debits are to be read back with other dates: [`Self::has_new_windows`] is
    /// true afterwards, if there are any. Jobs in flight keep what they hold.
    pub fn recount(&mut self, now: Timestamp) {
        self.quotas.begin_anew(&self.rules.windows);
        let wall = self.wall_clock(now);
        if self.aggregating_until > UnixTime::default() {
            // The shared usage of networks is among what is read back.
            self.aggregating_until = wall + self.quotas.memory();
        }
    }

    /// The expected reading of the system's wall clock. It is behind [`Self::wall_clock`] while that stands still; waits for a
    /// wall-clock time are computed from it.
    pub fn clock_reads(&self, now: Timestamp) -> UnixTime {
        self.wall.expected(now)
    }

    /// The time since which the system's wall clock has advanced like the monotonic one, without a step of [`super::STEP_MIN`]
    /// or more. The first reading counts as a step.
    pub fn clock_agreed_since(&self) -> Timestamp {
        self.wall.agreed_since()
    }
}
