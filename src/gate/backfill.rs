//! Fills a window created by a reload from the ledger's history (rules §5.17) while jobs go on. After the wall clock was
//! followed back (§5.11) all windows are new and are filled in the same way.
//!
//! Each debit is counted once. The window is created and a [`Fence`] put into the ledger under one lock. Debits before the
//! fence are read back here once all of them are settled; those after it count as their jobs end. For a job in flight at that
//! moment, only its debit's number decides which of the two applies.
//!
//! Until it is filled, a window counts what is known so far, oldest first: it admits more than its limit rather than less. A
//! debit committed while the window is created may for a moment be both held and read back, until its job is notified.

use std::io;
use std::ops::ControlFlow;

use super::Gate;
use super::state::GateState;
use crate::policy::Table;
use crate::policy::rules::{Window, WindowId};
use crate::policy::time::UnixTime;
use crate::store::{DebitHistory, Debited, Fence};

/// Debits counted under one lock: some tenths of a millisecond.
const CHUNK: usize = 256;

/// New windows, and the debit number from which they count.
#[derive(Debug)]
#[must_use = "until they are filled they lack earlier debits"]
pub struct Backfill {
    windows: Table<WindowId, Window>,
    fence: Fence,
    /// Debits dated later count as of this time.
    as_of: UnixTime,
}

impl Backfill {
    /// The windows to fill.
    pub fn windows(&self) -> &Table<WindowId, Window> {
        &self.windows
    }

    /// After the clock was followed back: debits before the fence that are dated later count as of `to`.
    pub(super) fn corrected_to(self, to: UnixTime) -> Self {
        Self { as_of: to, ..self }
    }
}

/// The result of a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfilled {
    /// Debits read back, counted once per window and per caller that they count for.
    pub debits: u64,
    /// Whether it finished. If not, the server was shutting down or the windows were removed.
    pub whole: bool,
}

impl Gate {
    /// Separates the debits to read back from those that count as their jobs end. Call it under the lock under which the
    /// windows were created.
    pub(super) fn begin_filling(&self, state: &mut GateState) -> Option<Backfill> {
        if !state.policy.has_new_windows() {
            return None;
        }
        // This wakes the ledger's writer, which never takes the gate's lock.
        let fence = self.ledger.fence();
        let windows = state.policy.count_from(fence.number());
        Some(Backfill {
            windows,
            fence,
            as_of: UnixTime::MAX,
        })
    }

    /// Reads back what was debited before those windows were created, from the history of this gate's ledger. Takes the lock
    /// repeatedly, never for long. Ends early if the server shuts down or the windows are removed. Blocks on the ledger, until
    /// all pending commits are on disk, and on the disk.
    ///
    /// # Errors
    /// The disk failed, or the ledger is closed. Then the windows hold less than was used until the next start.
    pub fn fill(&self, filling: Backfill, history: impl DebitHistory) -> io::Result<Backfilled> {
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
        history.recall(&windows, fence, &mut |debited| {
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
