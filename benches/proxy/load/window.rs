//! What happens within a stretch of time while clients send.

use std::time::{Duration, Instant};

use super::drive::Load;
use crate::Result;
use crate::process::Process;

/// Clients run for this long before anything counts, and longer for each that has to connect.
const SETTLE: Duration = Duration::from_millis(200);
const SETTLE_EACH: Duration = Duration::from_micros(200);
/// How long a window waits for its first answer.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug)]
pub struct Window {
    /// Its length.
    pub elapsed: Duration,
    /// Answers received.
    pub answers: u64,
    /// Of these, successes.
    pub successes: u64,
    /// Processor time of the proxy.
    pub processor: Duration,
    latencies: Vec<Duration>,
}

impl Window {
    /// Lets the clients settle, calls `begin`, and measures for that long.
    pub async fn measure(
        load: &Load,
        process: Option<&Process>,
        length: Duration,
        begin: impl FnOnce(),
    ) -> Result<Self> {
        tokio::time::sleep(SETTLE + SETTLE_EACH * load.clients()).await;
        load.ensure_no_failure()?;
        let tally = load.tally();
        let processor_time = || process.map_or(Ok(Duration::ZERO), Process::processor_time);
        tally.latencies.borrow_mut().clear();
        begin();
        let (begun, answers, successes) = (Instant::now(), tally.answers.get(), tally.successes.get());
        let processor = processor_time()?;
        tokio::time::sleep(length).await;
        // On a busy machine a short window may see none.
        while tally.answers.get() == answers && begun.elapsed() < FIRST_ANSWER_MAX {
            tokio::time::sleep(length).await;
        }
        let processor = processor_time()?.saturating_sub(processor);
        let elapsed = begun.elapsed();
        load.ensure_no_failure()?;
        let mut latencies = std::mem::take(&mut *tally.latencies.borrow_mut());
        latencies.sort_unstable();
        let window = Self {
            elapsed,
            answers: tally.answers.get() - answers,
            successes: tally.successes.get() - successes,
            processor,
            latencies,
        };
        match window.answers {
            0 => Err("not one answer came".into()),
            _ => Ok(window),
        }
    }

    /// The latency below which that share of answers, 0 to 1, were, in microseconds.
    pub fn latency_us(&self, share: f64) -> f64 {
        percentile(&self.latencies, share).as_secs_f64() * 1e6
    }
}

/// Of sorted values, the one below which that share of them is.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(place.min(last)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 0.5), Duration::from_micros(51));
        assert_eq!(percentile(&values, 0.99), Duration::from_micros(100));
        assert_eq!(percentile(&values, 1.0), Duration::from_micros(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
