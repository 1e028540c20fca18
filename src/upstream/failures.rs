//! A server's failures since the program started: how many of each kind, and the last one in words.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::policy::time::UnixTime;
use crate::telemetry::upstreams::{FailureLevel, ServerFailure};

/// The most bytes of an error's text that are kept.
const TEXT_BYTES_MAX: usize = 256;

/// A server's failures.
#[derive(Debug, Default)]
pub(super) struct Failures {
    kinds: [FailuresOfKind; ServerFailure::ALL.len()],
    last: Mutex<Option<LastFailure>>,
}

#[derive(Debug, Default)]
struct FailuresOfKind {
    count: AtomicU64,
    /// When the last one was, in Unix milliseconds.
    last_ms: AtomicU64,
}

/// The last failure of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When.
    pub at: UnixTime,
    /// Its kind.
    pub kind: ServerFailure,
    /// What went wrong, for operators.
    pub error: String,
}

impl Failures {
    /// Counts a failure.
    pub(super) fn note(&self, kind: ServerFailure, error: impl fmt::Display, at: UnixTime) {
        let of = &self.kinds[kind as usize];
        of.count.fetch_add(1, Relaxed);
        of.last_ms.store(at.as_millis(), Relaxed);
        let mut error = error.to_string();
        if error.len() > TEXT_BYTES_MAX {
            let end = (0..=TEXT_BYTES_MAX).rev().find(|end| error.is_char_boundary(*end));
            error.truncate(end.unwrap_or(0));
        }
        *self.last.lock() = Some(LastFailure { at, kind, error });
    }

    pub(super) fn levels(&self) -> [FailureLevel; ServerFailure::ALL.len()] {
        self.kinds.each_ref().map(|of| FailureLevel {
            count: of.count.load(Relaxed),
            last: UnixTime::from_millis(of.last_ms.load(Relaxed)),
        })
    }

    pub(super) fn last(&self) -> Option<LastFailure> {
        self.last.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_kind_and_the_last_is_kept() {
        let failures = Failures::default();
        assert_eq!((failures.last(), failures.levels()), (None, Default::default()));
        let at = UnixTime::from_millis;
        failures.note(ServerFailure::Connect, "refused", at(1_000));
        failures.note(ServerFailure::Connect, "refused again", at(2_000));
        failures.note(ServerFailure::Probe, "ä".repeat(TEXT_BYTES_MAX), at(3_000));
        let levels = failures.levels();
        let counts = levels.map(|level| (level.count, level.last.as_millis()));
        assert_eq!(counts, [(2, 2_000), (0, 0), (0, 0), (1, 3_000)]);
        let last = failures.last().expect("the third");
        assert_eq!((last.at, last.kind), (at(3_000), ServerFailure::Probe));
        assert_eq!(last.error, "ä".repeat(TEXT_BYTES_MAX / 2));
    }
}
