//! Reads back recorded debits while more are recorded, for a window that a reload has created (rules §5.17).
//!
//! A [`Fence`] divides a ledger's debits by their numbers. Those below it are read back once all of them are settled, so none
//! of them can still be withdrawn; those above count as their jobs end.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{LedgerEntry, Record};
use crate::policy::caller::Caller;
use crate::policy::rules::{Window, WindowId};
use crate::policy::time::UnixTime;
use crate::policy::{DebitNumber, Table};

/// A point in the order of a ledger's debits.
#[derive(Debug)]
pub struct Fence {
    number: DebitNumber,
    reached: Receiver<i64>,
}

/// The ledger's end of a fence, which reports that everything below it is settled.
pub struct FenceSignal(SyncSender<i64>);

impl Fence {
    /// A fence with that unique number, and its ledger's end.
    pub fn new(number: DebitNumber) -> (Self, FenceSignal) {
        let (signal, reached) = sync_channel(1);
        (Self { number, reached }, FenceSignal(signal))
    }

    /// Divides debits: lower numbers came before the fence, greater ones after it.
    pub fn number(&self) -> DebitNumber {
        self.number
    }

    /// Waits until all debits below are settled: durable, or never to count. Returns the number of the first job above. Blocks.
    ///
    /// # Errors
    /// The ledger is closed.
    pub fn wait(&self) -> io::Result<i64> {
        let ended = || io::Error::other("the database is closed");
        self.reached.recv().map_err(|_| ended())
    }
}

impl FenceSignal {
    /// Everything below the fence is settled; jobs after it have this number or a greater one.
    pub fn reached(self, first: i64) {
        // The waiter may be gone.
        let _unheard = self.0.try_send(first);
    }
}

impl fmt::Debug for FenceSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceSignal").finish_non_exhaustive()
    }
}

/// A debit read back for one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debited {
    /// The window.
    pub window: WindowId,
    /// The caller. A user's debit is also reported for its account.
    pub caller: Caller,
    /// When the job was admitted, or the start of the calendar period.
    pub at: UnixTime,
    /// Units, at least 1.
    pub units: u64,
}

/// A ledger's recorded debits.
pub trait DebitHistory {
    /// Waits for the fence, then calls `each` for every debit below it that counts, once per window in which it may lie, until
    /// `each` breaks. Blocks on the disk.
    ///
    /// # Errors
    /// A disk error, or the ledger is closed. The debits reported so far are incomplete then.
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()>;
}

/// Reports what the entry debits in those windows.
pub(super) fn tell(
    entry: &LedgerEntry,
    windows: impl Iterator<Item = WindowId> + Clone,
    each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let LedgerEntry::Job(record) = entry else {
        return ControlFlow::Continue(());
    };
    let units = u64::from(record.debit());
    if units == 0 {
        return ControlFlow::Continue(());
    }
    let Record {
        admitted: at, caller, ..
    } = *record;
    for caller in caller.counted() {
        for window in windows.clone() {
            each(Debited {
                window,
                caller,
                at,
                units,
            })?;
        }
    }
    ControlFlow::Continue(())
}
