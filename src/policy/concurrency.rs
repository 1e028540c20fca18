//! A caller's jobs in the house, waiting ones included (semantics §4).
//!
//! Absent on purpose: timers that "reset" a count, and callers without a job.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::caller::Caller;

/// Callers come from strangers, so the map keeps the standard library's hasher, which is made against attack.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    jobs: HashMap<Caller, u32>,
}

impl Concurrency {
    /// The caller's jobs in the house.
    pub(super) fn used(&self, caller: &Caller) -> u32 {
        self.jobs.get(caller).copied().unwrap_or(0)
    }

    /// One more.
    pub(super) fn take(&mut self, caller: Caller) {
        *self.jobs.entry(caller).or_insert(0) += 1;
    }

    /// One less. A caller without a job is forgotten.
    pub(super) fn give_back(&mut self, caller: Caller) {
        match self.jobs.entry(caller) {
            Entry::Occupied(entry) if *entry.get() == 1 => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => *entry.get_mut() -= 1,
            Entry::Vacant(_) => unreachable!("a job gives back what it took at admission"),
        }
    }

    /// Callers that have a job in the house.
    pub(super) fn callers(&self) -> usize {
        self.jobs.len()
    }
}
