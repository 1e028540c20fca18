//! When requests are sent, and precise waiting.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Tokio's timers are this coarse; what is left is spent yielding.
const COARSE: Duration = Duration::from_millis(3);

/// A fixed rate of requests, shared by many clients. A request is due at its time, whether a client is free then or not, so its
/// latency includes the time that it waited for one: a slow answer can't hide those behind it.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    interval: Duration,
    next: Cell<u32>,
    turn: Mutex<()>,
}

impl Pace {
    /// That many requests a second, from now on.
    pub fn per_second(rate: u32) -> Self {
        Self {
            begin: Instant::now(),
            interval: Duration::from_secs(1) / rate,
            next: Cell::new(0),
            turn: Mutex::new(()),
        }
    }

    /// Waits for the next request's time, and returns it.
    pub async fn due(&self) -> Instant {
        // One client waits for the time, the others in order for their turn.
        let _turn = self.turn.lock().await;
        let due = self.begin + self.interval * self.next.get();
        self.next.set(self.next.get() + 1);
        until(due).await;
        due
    }
}

/// Waits until that time, to a few microseconds.
pub async fn until(time: Instant) {
    if let Some(left) = time.checked_duration_since(Instant::now() + COARSE) {
        tokio::time::sleep(left).await;
    }
    while Instant::now() < time {
        tokio::task::yield_now().await;
    }
}

/// Keeps the core of load and upstream server awake, so that no time passes until it wakes up.
pub async fn spin() {
    loop {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// The clients take far longer than the interval, and no request's time is moved for that.
    #[tokio::test(flavor = "current_thread")]
    async fn requests_stay_due_at_their_time_behind_slow_ones() {
        let pace = Rc::new(Pace::per_second(2_000));
        let begin = pace.begin;
        let mut dues = Vec::new();
        for _ in 0..4 {
            dues.push(pace.due().await.duration_since(begin));
            until(Instant::now() + Duration::from_millis(5)).await;
        }
        assert_eq!(dues, [0, 500, 1_000, 1_500].map(Duration::from_micros));
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}
