//! When the upstream server's slots were busy, and how long each was idle between two jobs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::load::percentile;

/// A log of slots, as the upstream server sees them.
#[derive(Debug)]
pub struct SlotLog {
    running: u32,
    most: u32,
    begun: Instant,
    since: Instant,
    busy: Duration,
    /// When slots became idle that are still idle.
    idle_since: VecDeque<Instant>,
    idle: Vec<Duration>,
}

impl SlotLog {
    /// A log that begins now, without any job.
    pub fn new(now: Instant) -> Self {
        Self {
            running: 0,
            most: 0,
            begun: now,
            since: now,
            busy: Duration::ZERO,
            idle_since: VecDeque::new(),
            idle: Vec::new(),
        }
    }

    /// A job has arrived. It takes the slot that has been idle longest.
    pub fn started(&mut self, now: Instant) {
        self.pass(now);
        self.running += 1;
        self.most = self.most.max(self.running);
        if let Some(since) = self.idle_since.pop_front() {
            self.idle.push(now.saturating_duration_since(since));
        }
    }

    /// A job's answer is about to be sent.
    pub fn finished(&mut self, now: Instant) {
        self.pass(now);
        self.running = self.running.saturating_sub(1);
        self.idle_since.push_back(now);
    }

    /// Forgets all but the jobs that are running, and how many were at most.
    pub fn reset(&mut self, now: Instant) {
        self.pass(now);
        self.begun = now;
        self.busy = Duration::ZERO;
        self.idle.clear();
    }

    /// The most jobs at once.
    pub fn most(&self) -> u32 {
        self.most
    }

    /// The share of all time, in %, for which so many slots were busy.
    pub fn busy_percent(&self, slots: u32) -> f64 {
        let all = self.since.saturating_duration_since(self.begun) * slots;
        100.0 * self.busy.as_secs_f64() / all.as_secs_f64()
    }

    /// Of the times for which a slot was idle between two jobs, the one below which that share of them is, in microseconds.
    pub fn idle_us(&self, share: f64) -> f64 {
        let mut idle = self.idle.clone();
        idle.sort_unstable();
        percentile(&idle, share).as_secs_f64() * 1e6
    }

    /// Counts until now.
    pub fn pass(&mut self, now: Instant) {
        self.busy += now.saturating_duration_since(self.since) * self.running;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_idle_between_two_jobs() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut log = SlotLog::new(begin);
        log.started(at(0));
        log.started(at(10));
        log.finished(at(20));
        log.finished(at(25));
        log.started(at(26));
        log.started(at(40));
        log.pass(at(50));
        assert_eq!(log.idle, [6, 15].map(Duration::from_millis));
        assert_eq!(log.most(), 2);
        // 10 ms one, 10 ms two, 5 ms one, 1 ms none, 14 ms one, 10 ms two.
        assert_eq!(log.busy, Duration::from_millis(69));
        assert!((log.busy_percent(2) - 69.0).abs() < 1e-9);
    }
}
