//! Reading back what was written down, while more is written: for a window that a reload has made (semantics §5.5).
//!
//! A [`Fence`] parts the debits of a ledger by their numbers. Those below it are read back once all of them are settled, so
//! none of them can be taken back any more; those above count as their jobs end.
//!
//! Absent on purpose: the windows, which get what counts, once (`gate`).

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Entry, Record};
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

/// The end at which a ledger says that all below its fence is settled.
pub struct Post(SyncSender<i64>);

impl Fence {
    /// A fence of that number, which no debit has and no other fence; and its other end.
    pub fn new(number: DebitNumber) -> (Self, Post) {
        let (post, reached) = sync_channel(1);
        (Self { number, reached }, Post(post))
    }

    /// Debits below came before it, those above after.
    pub fn number(&self) -> DebitNumber {
        self.number
    }

    /// Waits until all debits below are settled: they are durable, or will never count. Answers with the number of the
    /// first job that is above. Blocks.
    ///
    /// # Errors
    /// The ledger writes no more.
    pub fn wait(&self) -> io::Result<i64> {
        let ended = || io::Error::other("the database is closed");
        self.reached.recv().map_err(|_| ended())
    }
}

impl Post {
    /// All below is settled, and jobs of this number and above came after it.
    pub fn reached(self, first: i64) {
        // Nobody may wait any more.
        let _unheard = self.0.try_send(first);
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

/// A debit that is read back, for one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debited {
    /// The window.
    pub window: WindowId,
    /// Whose. What a user has used comes for its account as well.
    pub caller: Caller,
    /// When the job was let in, or the beginning of the calendar's period.
    pub at: UnixTime,
    /// Units, at least 1.
    pub units: u64,
}

/// A ledger's past.
pub trait Past {
    /// Waits for the fence, and tells every debit below it that counts, once for each of those windows in which it may lie,
    /// until
    /// `each` breaks off. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's, or the ledger writes no more. Then what was told is not all.
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()>;
}

/// Tells what that entry debits in those windows.
pub(super) fn tell(
    entry: &Entry,
    windows: impl Iterator<Item = WindowId> + Clone,
    each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Entry::Job(record) = entry else {
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
