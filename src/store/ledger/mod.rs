//! Writes finished jobs durably before the last part of their answers is sent.
//!
//! ```text
//! event loops ── commit, note ──▶ queue ──▶ writer (a thread) ──▶ one transaction for a group, synced
//! admin API, roll-ups ── write ─────┘
//! ```
//!
//! A commit resolves when the group in which it was written is synced. While one group is synced the next one gathers. Event
//! loops never wait for the disk.

pub(super) mod commit;
pub(super) mod queue;
pub(super) mod wake_batch;
pub(super) mod writer;

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::policy::time::{Span, UnixTime};
use crate::telemetry::DatabaseMeters;

/// Reads the wall clock.
pub type Wall = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// Whether an answer waits until its debit is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It waits: a debit that was answered for is never lost.
    #[default]
    Strict,
    /// It doesn't: a crash may lose the debits of the last [`LedgerSettings::commit_every`].
    Relaxed,
}

/// When records are written and how long callers wait: the settings that may change while the database is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitSettings {
    /// Whether answers wait.
    pub durability: Durability,
    /// See [`LedgerSettings::commit_every`].
    pub commit_every: Span,
    /// See [`LedgerSettings::commit_patience`].
    pub commit_patience: Span,
}

/// The ledger's settings.
#[derive(Clone)]
pub struct LedgerSettings {
    /// Whether answers wait.
    pub durability: Durability,
    /// How often relaxed debits are committed. Strict ones are committed at once.
    pub commit_every: Span,
    /// A commit under way for longer makes the ledger unavailable until one succeeds. Also the longest that closing waits for
    /// queued records.
    pub commit_patience: Span,
    /// The delay before a retry after a disk failure.
    pub retry_after: Span,
    /// The monotonic clock.
    pub clock: Clock,
    /// The wall clock.
    pub wall: Wall,
    /// Metrics.
    pub meters: Arc<DatabaseMeters>,
}

impl LedgerSettings {
    /// The defaults: strict, 10 ms, 5 s, 1 s.
    pub fn new(clock: Clock, wall: Wall, meters: Arc<DatabaseMeters>) -> Self {
        Self {
            durability: Durability::Strict,
            commit_every: Span::from_millis(10),
            commit_patience: Span::from_secs(5),
            retry_after: Span::from_secs(1),
            clock,
            wall,
            meters,
        }
    }

    /// The part that may change while the database is open.
    pub fn commit_settings(&self) -> CommitSettings {
        CommitSettings {
            durability: self.durability,
            commit_every: self.commit_every,
            commit_patience: self.commit_patience,
        }
    }
}

impl fmt::Debug for LedgerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("durability", &self.durability)
            .field("commit_every", &self.commit_every)
            .field("commit_patience", &self.commit_patience)
            .finish_non_exhaustive()
    }
}
