//! A line for each measurement, on standard error.

use std::time::{Duration, Instant};

use crate::Result;
use crate::contestant::Contestant;
use crate::scenario::{Sample, Scenario};

/// How far it is.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    all: usize,
    done: usize,
}

impl Progress {
    /// None of so many measurements is done.
    pub fn of(all: usize) -> Self {
        let (begun, done) = (Instant::now(), 0);
        Self { begun, all, done }
    }

    /// One more is done.
    pub fn done(&mut self, scenario: &Scenario, contestant: Contestant, round: u32, sample: &Result<Sample>) {
        self.done += 1;
        let each = self.begun.elapsed() / u32::try_from(self.done).unwrap_or(u32::MAX);
        let left = each * u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
        let found = match sample {
            Ok(sample) => found(sample),
            Err(error) => format!("FAILED: {error}"),
        };
        eprintln!(
            "[{:>3}/{}, {} left] {}, round {}: {}: {found}",
            self.done,
            self.all,
            minutes(left),
            scenario.name,
            round + 1,
            contestant.name(),
        );
    }
}

fn found(sample: &Sample) -> String {
    let parts = sample
        .iter()
        .map(|(metric, value)| format!("{} {value:.1}", metric.name()));
    parts.collect::<Vec<_>>().join(", ")
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
