//! What callers have in flight: their jobs, uploading and queued ones included (rules §4), and the quota that these hold
//! (§5.2). Only callers with a job have an entry.

use std::collections::hash_map::Entry;

use super::caller::{Caller, CallerMap};

/// By caller.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    loads: CallerMap<Load>,
}

/// What one caller has in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Jobs.
    pub(super) jobs: u32,
    /// Those of them whose bodies still arrive.
    pub(super) uploading: u32,
    /// Those of them that are queued.
    pub(super) queued: u32,
    /// Units of quota held for them.
    pub(super) held: u64,
}

impl Concurrency {
    /// What the caller has in flight.
    pub(super) fn load(&self, caller: &Caller) -> Load {
        self.loads.get(caller).copied().unwrap_or_default()
    }

    /// Adds a job.
    pub(super) fn acquire(&mut self, caller: Caller, cost: u32) {
        let load = self.loads.entry(caller).or_default();
        load.jobs += 1;
        load.held += u64::from(cost);
    }

    /// The body of one of its jobs still arrives.
    pub(super) fn begin_upload(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.uploading += 1;
        }
    }

    /// The body of one of its jobs is complete, or will never be.
    pub(super) fn end_upload(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.uploading -= 1;
        }
    }

    /// One of its jobs was queued.
    pub(super) fn enqueue(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.queued += 1;
        }
    }

    /// One of its jobs has left the queue.
    pub(super) fn dequeue(&mut self, caller: &Caller) {
        if let Some(load) = self.loads.get_mut(caller) {
            load.queued -= 1;
        }
    }

    /// Removes a job. A caller without jobs has no entry.
    pub(super) fn release(&mut self, caller: Caller, cost: u32) {
        match self.loads.entry(caller) {
            Entry::Occupied(entry) if entry.get().jobs == 1 => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => {
                let load = entry.get_mut();
                load.jobs -= 1;
                load.held -= u64::from(cost);
            }
            Entry::Vacant(_) => unreachable!("a job was counted at admission"),
        }
    }

    /// Callers with a job in flight.
    pub(super) fn callers(&self) -> usize {
        self.loads.len()
    }
}
