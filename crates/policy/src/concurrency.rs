//! What callers have in the house: their jobs, waiting ones included (semantics §4), and the quota that these hold (§5.2).
//!
//! Absent on purpose: timers that "reset" a count, and callers without a job.

use std::collections::hash_map::Entry;

use super::caller::{Caller, CallerMap};

/// By caller.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    loads: CallerMap<Load>,
}

/// What one caller has in the house.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Jobs.
    pub(super) jobs: u32,
    /// Those of them that have a seat.
    pub(super) seated: u32,
    /// Units of quota set aside for them.
    pub(super) held: u64,
}

impl Concurrency {
    /// What the caller has in the house.
    pub(super) fn load(&self, caller: &Caller) -> Load {
        self.loads.get(caller).copied().unwrap_or_default()
    }

    /// One job more.
    pub(super) fn take(&mut self, caller: Caller, cost: u32) {
        let load = self.loads.entry(caller).or_default();
        load.jobs += 1;
        load.held += u64::from(cost);
    }

    /// One of its jobs has sat down.
    pub(super) fn enqueue(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.seated += 1;
        }
    }

    /// One of its jobs has left its seat.
    pub(super) fn stand(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.seated -= 1;
        }
    }

    /// One job less. A caller without a job is forgotten.
    pub(super) fn give_back(&mut self, caller: Caller, cost: u32) {
        match self.loads.entry(caller) {
            Entry::Occupied(entry) if entry.get().jobs == 1 => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => {
                let load = entry.get_mut();
                load.jobs -= 1;
                load.held -= u64::from(cost);
            }
            Entry::Vacant(_) => unreachable!("a job gives back what it took at admission"),
        }
    }

    /// Callers that have a job in the house.
    pub(super) fn callers(&self) -> usize {
        self.loads.len()
    }
}
