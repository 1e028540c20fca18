//! The ledger's entries: how jobs ended, and how often callers were refused.

use std::sync::Arc;

use crate::policy::caller::Caller;
use crate::policy::refusal::Reason;
use crate::policy::rules::{Priority, WindowId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{End, Policy};

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEntry {
    /// A finished job.
    Job(Record),
    /// Refusals within a minute.
    Refused(RefusalRecord),
}

/// How a metered job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was admitted. It counts at that time (rules §5.6).
    pub admitted: UnixTime,
    /// Its caller. A user's jobs count for its delegating account as well.
    pub caller: Caller,
    /// The name of the caller's tier.
    pub tier: Arc<str>,
    /// The name of its upstream.
    pub upstream: Arc<str>,
    /// Its priority at the end.
    pub priority: Priority,
    /// How it ended.
    pub end: End,
    /// The status of the upstream server's answer; 0 without one.
    pub status: u16,
    /// Its cost if it succeeds, in units of quota.
    pub cost: u32,
    /// The time from admission to its slot, or to its end without one. Kept to the millisecond.
    pub waited: Span,
    /// The time from its slot to the end of the upstream server's answer; zero without a slot. Kept to the millisecond.
    pub slot_time: Span,
}

impl Record {
    /// When it ended. Each part is rounded to the millisecond by itself, so the result is the same after a restart.
    pub fn ended(&self) -> UnixTime {
        self.admitted + self.waited + self.slot_time
    }

    /// Units of quota that it takes: its cost if it succeeded, otherwise 0.
    pub const fn debit(&self) -> u32 {
        match self.end {
            End::Succeeded => self.cost,
            _ => 0,
        }
    }

    /// Replays its debit into the policy, in those windows.
    pub(super) fn restore(&self, policy: &mut Policy, now: Timestamp, counts: impl Fn(WindowId) -> bool) {
        let windows: Vec<WindowId> = policy.rules().windows.ids().collect();
        for window in windows.into_iter().filter(|window| counts(*window)) {
            for caller in self.caller.counted() {
                policy.remember(window, caller, self.admitted, self.debit().into(), now);
            }
        }
    }
}

/// Refusals of one kind within one minute, on metered routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRecord {
    /// The start of the minute.
    pub minute: UnixTime,
    /// The caller; `None`: all callers that have used no quota, together.
    pub caller: Option<Caller>,
    /// The caller's tier; empty if it was refused before that was known.
    pub tier: Arc<str>,
    /// The reason.
    pub reason: Reason,
    /// The status of the answers.
    pub status: u16,
    /// Their number, at least 1.
    pub count: u32,
}
