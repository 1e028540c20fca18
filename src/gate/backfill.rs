//! A window that a reload has made, filled from what the ledger remembers (semantics §5.5) while searches go on. Where the wall
//! clock was followed back (§5.11) all windows are new, and filled in the same way.
//!
//! Each debit is counted once. The window is made and a [`Fence`] put into the ledger under one lock. What was
//! committed before the fence is read back here, when all of it is settled, and what comes after counts as its job ends; a job
//! that is in the house at that moment is of the one kind or the other by its debit's number, and by nothing else.
//!
//! Until it is filled a window counts what is known so far, oldest first: it lets in more than its limit rather than less.
//! What a job commits while the window is made may for a moment be both held and read back, until the job hears that it is
//! durable.
//!
//! Absent on purpose: the disk (`store`), and a thread to wait for it on.

use std::io;
use std::ops::ControlFlow;

use super::Gate;
use super::state::GateState;
use crate::policy::Table;
use crate::policy::rules::{Window, WindowId};
use crate::policy::time::UnixTime;
use crate::store::{Debited, Fence, Past};

/// Debits that are told under one lock: some tenths of a millisecond.
const CHUNK: usize = 256;

/// Windows that are new, and from where on they count by themselves.
#[derive(Debug)]
#[must_use = "until they are filled they know nothing of what was before"]
pub struct Backfill {
    windows: Table<WindowId, Window>,
    fence: Fence,
    /// Debits dated later count as of then.
    as_of: UnixTime,
}

impl Backfill {
    /// Which windows are to be filled.
    pub fn windows(&self) -> &Table<WindowId, Window> {
        &self.windows
    }

    /// Where the clock was followed back, debits before the fence that are dated later count as of that time.
    pub(super) fn corrected_to(self, to: UnixTime) -> Self {
        Self { as_of: to, ..self }
    }
}

/// What became of a filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfilled {
    /// Debits that were told, counted once for each window and each caller that they count for.
    pub debits: u64,
    /// Whether it went to its end: otherwise the door was closing, or the windows were gone again.
    pub whole: bool,
}

impl Gate {
    /// Parts what is to be read back from what counts by itself. Under the lock under which the windows were made.
    pub(super) fn begin_filling(&self, state: &mut GateState) -> Option<Backfill> {
        if !state.policy.has_new_windows() {
            return None;
        }
        // This wakes the ledger's writer, which never asks for the lock.
        let fence = self.ledger.fence();
        let windows = state.policy.count_from(fence.number());
        Some(Backfill {
            windows,
            fence,
            as_of: UnixTime::MAX,
        })
    }

    /// Reads back what was debited before those windows were made, from the past of this gate's ledger. Takes the lock again
    /// and again, never for long. Ends early if the door closes or the windows are gone. Blocks: on the ledger, until all
    /// that is on its way to the disk is there, and on the disk.
    ///
    /// # Errors
    /// The disk's, or the ledger is closed. Then the windows hold less than was used, until the next start.
    pub fn fill(&self, filling: Backfill, past: impl Past) -> io::Result<Backfilled> {
        let Backfill { windows, fence, as_of } = filling;
        let number = fence.number();
        let mut filled = Backfilled { debits: 0, whole: true };
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut tell = |chunk: &mut Vec<Debited>| {
            let mut state = self.state.lock();
            let counts: Table<WindowId, bool> = windows.map(|id, _| state.policy.counts_from(id, number));
            if state.policy.is_closing() || counts.iter().all(|counts| !counts) {
                filled.whole = false;
                return ControlFlow::Break(());
            }
            let now = self.clock.now();
            for debited in chunk.drain(..) {
                if counts[debited.window] {
                    let at = debited.at.min(as_of);
                    state
                        .policy
                        .remember(debited.window, debited.caller, at, debited.units, now);
                    filled.debits += 1;
                }
            }
            ControlFlow::Continue(())
        };
        past.recall(&windows, fence, &mut |debited| {
            chunk.push(debited);
            if chunk.len() < CHUNK {
                return ControlFlow::Continue(());
            }
            tell(&mut chunk)
        })?;
        if !chunk.is_empty() {
            let _end = tell(&mut chunk);
        }
        Ok(filled)
    }
}
