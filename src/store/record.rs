//! What is written down: how jobs ended, and how often callers were refused.
//!
//! Absent on purpose: how it lies on the disk.

use std::sync::Arc;

use crate::policy::caller::Caller;
use crate::policy::refusal::Reason;
use crate::policy::rules::{Priority, WindowId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{End, Policy};

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A job that has ended.
    Job(Record),
    /// Refusals within a minute.
    Refused(Refused),
}

/// How a metered job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was let in. It counts at that time (semantics §5.6).
    pub admitted: UnixTime,
    /// Who is counted. A user's jobs count for its delegating account as well.
    pub caller: Caller,
    /// The name of the tier whose terms it came with.
    pub tier: Arc<str>,
    /// The name of the upstream that it was for.
    pub upstream: Arc<str>,
    /// Its priority at the end.
    pub priority: Priority,
    /// How it ended.
    pub end: End,
    /// The status with which the worker answered; 0 if it did not.
    pub status: u16,
    /// What it costs if it succeeds, in units of quota.
    pub cost: u32,
    /// From admission to its slot, or to its end if it got none. Kept to the millisecond.
    pub waited: Span,
    /// From its slot to the end of the worker's answer; zero without a slot. Kept to the millisecond.
    pub searched: Span,
}

impl Record {
    /// When it ended. Each part is rounded to the millisecond by itself, so it is the same before and after a restart.
    pub fn ended(&self) -> UnixTime {
        self.admitted + self.waited + self.searched
    }

    /// Units of quota that it takes: its cost if it succeeded, otherwise 0.
    pub const fn debit(&self) -> u32 {
        match self.end {
            End::Succeeded => self.cost,
            _ => 0,
        }
    }

    /// Tells the policy again what it debited, in those windows.
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
pub struct Refused {
    /// The minute in which they were told, by its start.
    pub minute: UnixTime,
    /// To whom; `None`: to callers that have used no quota, together.
    pub caller: Option<Caller>,
    /// The tier on whose terms; empty: refused before it was known.
    pub tier: Arc<str>,
    /// Why.
    pub reason: Reason,
    /// The status that they were told with.
    pub status: u16,
    /// How many. At least 1.
    pub count: u32,
}
