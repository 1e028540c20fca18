//! The pace of a body: fast enough to ask for a slot, and fast enough to keep one waiting (rules §6).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// The rate in bytes per second at which a slot may wait for a body.
pub const PACE_BYTES: u64 = 64 * 1024;

/// How long a body may be slower than that while it holds a slot.
pub const PACE_WINDOW: Span = Span::from_secs(2);

/// Measures a body's pace before it has a slot, over intervals of [`PACE_WINDOW`].
#[derive(Debug)]
pub(super) struct Pace {
    since: Timestamp,
    bytes: u64,
}

impl Pace {
    /// Starts with that many bytes already received.
    pub(super) fn starting(now: Timestamp, bytes: u64) -> Self {
        Self { since: now, bytes }
    }

    /// Counts received bytes. Returns whether the body is fast enough: a second's worth at the rate.
    pub(super) fn is_enough(&mut self, bytes: u64, now: Timestamp) -> bool {
        self.bytes += bytes;
        let took = now.since(self.since);
        let wanted = u128::from(PACE_BYTES) * u128::from(took.as_nanos()) / 1_000_000_000;
        let enough = self.bytes >= PACE_BYTES && u128::from(self.bytes) >= wanted;
        if took >= PACE_WINDOW {
            *self = Self::starting(now, 0);
        }
        enough
    }
}

/// Detects that the upstream server starves: that fewer bytes than required arrived during [`PACE_WINDOW`] of waiting for the
/// client. Time in which the server itself reads nothing does not count.
pub(super) struct Starved {
    clock: Clock,
    bytes: u64,
    waited: Span,
    since: Option<Timestamp>,
    alarm: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for Starved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starved")
            .field("bytes", &self.bytes)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

impl Starved {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            bytes: 0,
            waited: Span::ZERO,
            since: None,
            alarm: None,
        }
    }

    pub(super) fn fed(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.count();
        self.alarm = None;
    }

    fn count(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited + self.clock.now().since(since);
        }
        if self.waited >= PACE_WINDOW && self.bytes >= Self::wanted() {
            (self.waited, self.bytes) = (Span::ZERO, 0);
        }
    }

    /// Bytes that must arrive in each [`PACE_WINDOW`].
    fn wanted() -> u64 {
        PACE_BYTES * PACE_WINDOW.as_nanos() / 1_000_000_000
    }

    /// No data is available. Ready when that has lasted too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.count();
            if self.waited >= PACE_WINDOW {
                return Poll::Ready(());
            }
            let left = Span::from_nanos(PACE_WINDOW.as_nanos() - self.waited.as_nanos());
            self.since = Some(self.clock.now());
            let clock = self.clock;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(clock.sleep(left)));
            ready!(alarm.as_mut().poll(cx));
            self.alarm = None;
        }
    }
}
