//! An in-memory ledger for tests and simulations. It never fails.

use std::io;
use std::ops::ControlFlow;

use parking_lot::Mutex;

use super::recall::tell;
use super::{Commit, DebitHistory, Debited, Fence, Ledger, LedgerEntry, Record};
use crate::policy::rules::{Window, WindowId};
use crate::policy::time::Timestamp;
use crate::policy::{DebitNumber, Policy, Table};

/// Keeps all entries in order.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    state: Mutex<MemoryLedgerState>,
}

#[derive(Debug, Default)]
struct MemoryLedgerState {
    /// Each entry with the number of its debit, or of the debit before it.
    entries: Vec<(DebitNumber, LedgerEntry)>,
    /// The last number given to a debit or a fence.
    last: u64,
}

impl MemoryLedgerState {
    fn next(&mut self) -> DebitNumber {
        self.last += 1;
        DebitNumber(self.last)
    }
}

impl MemoryLedger {
    /// All entries so far.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        let state = self.state.lock();
        state.entries.iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// Restores quota usage in the policy, as a database does when it is opened.
    pub fn restore(&self, policy: &mut Policy, now: Timestamp) {
        for (_, entry) in &self.state.lock().entries {
            if let LedgerEntry::Job(record) = entry
                && record.debit() > 0
            {
                record.restore(policy, now, |_| true);
            }
        }
    }
}

impl Ledger for MemoryLedger {
    fn is_available(&self) -> bool {
        true
    }

    fn note(&self, entry: LedgerEntry) {
        let mut state = self.state.lock();
        let last = DebitNumber(state.last);
        state.entries.push((last, entry));
    }

    fn commit(&self, record: Record) -> Commit {
        let mut state = self.state.lock();
        let number = state.next();
        state.entries.push((number, LedgerEntry::Job(record)));
        Commit::done().numbered(number)
    }

    fn fence(&self) -> Fence {
        let (fence, post) = Fence::new(self.state.lock().next());
        post.reached(0);
        fence
    }
}

impl DebitHistory for &MemoryLedger {
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let entries = self.state.lock().entries.clone();
        for (_, entry) in entries.iter().filter(|(number, _)| *number < fence.number()) {
            if tell(entry, windows.ids(), each).is_break() {
                break;
            }
        }
        Ok(())
    }
}
