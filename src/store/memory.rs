//! A ledger that lasts as long as its process: for tests and simulations.
//!
//! Absent on purpose: failure.

use parking_lot::Mutex;

use super::{Commit, Entry, Ledger, Record};
use crate::policy::Policy;
use crate::policy::time::Timestamp;

/// Keeps everything, in the order in which it came.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    entries: Mutex<Vec<Entry>>,
}

impl MemoryLedger {
    /// Everything that was written down.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    /// Tells the policy what callers have used, as a journal does when it is opened.
    pub fn restore(&self, policy: &mut Policy, now: Timestamp) {
        for entry in &*self.entries.lock() {
            if let Entry::Job(record) = entry
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

    fn note(&self, entry: Entry) {
        self.entries.lock().push(entry);
    }

    fn commit(&self, record: Record) -> Commit {
        self.note(Entry::Job(record));
        Commit::done()
    }
}
