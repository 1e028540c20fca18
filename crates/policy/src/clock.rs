//! The policy and the wall clock (semantics §5.11): where that is followed back, everything that remembers a later time.
//!
//! | what remembers times of the wall clock | when it is followed back to a time |
//! |---|---|
//! | jobs in flight | those that were admitted later count as of that time |
//! | windows of quotas | begin anew, empty, for somebody to read back what was debited: a window forgets as its clock goes on |
//! | users of delegating accounts | users seen later count as seen at that time |
//! | until when networks may be counted together | as long as what they have used together may count, if they ever were |
//!
//! All else goes by the monotonic clock: the queue, displacements, slot times and request limits. Limits that are aligned read the
//! system's clock as it stands (`limits`).

use super::Policy;
use super::time::{Span, Timestamp, UnixTime};
use super::wall_clock::ClockStep;

impl Policy {
    /// What time it is by the wall clock: it goes back only where [`Self::follow_clock`] says so (semantics §5.11). Turns the page
    /// where a calendar's period has ended.
    pub fn wall_clock(&mut self, now: Timestamp) -> UnixTime {
        let wall = self.wall.at(now);
        if self.quotas.has_to_turn(wall) {
            let in_house = self
                .jobs
                .iter()
                .flat_map(|(_, job)| job.caller.counted().map(|caller| (caller, job.cost, job.admitted)));
            self.quotas.turn(wall, in_house);
        }
        wall
    }

    /// The system's wall clock reads so. Until it has first been read it is taken to stand at the epoch. The policy's follows it
    /// forward at once. Where it has stepped back, the policy's stands still; but rather than to do so for longer than `step_max`
    /// ([`super::STEP_MIN`] if that is longer) it goes back at once. Then all windows are new ([`Self::has_new_windows`]), and the
    /// caller says from where on they count ([`Self::count_from`]).
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

    /// All windows of quotas begin anew, empty, since what was debited is to be read back with other dates than before:
    /// [`Self::has_new_windows`] is true afterwards, if there are any. Jobs in flight keep what they hold.
    pub fn recount(&mut self, now: Timestamp) {
        self.quotas.begin_anew(&self.rules.windows);
        let wall = self.wall_clock(now);
        if self.crowded_until > UnixTime::default() {
            // What networks have used together is among what is read back.
            self.crowded_until = wall + self.quotas.memory();
        }
    }

    /// What the system's wall clock should read by now. It is behind [`Self::wall_clock`] while that stands still: the wait for a
    /// time of the wall clock is counted from here.
    pub fn clock_reads(&self, now: Timestamp) -> UnixTime {
        self.wall.expected(now)
    }

    /// Since when the system's wall clock has gone as the monotonic one does, without a step of [`super::STEP_MIN`] or more in
    /// either direction. The first reading is a step.
    pub fn clock_agreed_since(&self) -> Timestamp {
        self.wall.agreed_since()
    }
}
