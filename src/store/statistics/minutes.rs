//! The last hour by minute, in memory: the door's sums, and those of callers.
//!
//! A ring. A minute takes the place of the one that was there before, earlier or later: so after a jump of the wall clock it
//! shows what happens now.
//!
//! Absent on purpose: durability. After a restart it is filled from the journal.

use super::callers::Callers;
use super::counted::{Counted, Counts, Key, Sums};

/// Minutes that are kept: a power of two above the 61 that may be asked for.
const MINUTES: usize = 64;

/// Numbers of callers, each of one caller, minute and column, that are kept at most: about 9 MB.
pub const MINUTE_CELLS_MAX: usize = 200_000;

/// The ring.
#[derive(Debug)]
pub(super) struct Minutes {
    slots: Vec<Minute>,
    /// Cells of callers that may still be taken, in all slots together.
    room: usize,
}

#[derive(Debug, Default)]
struct Minute {
    /// Minutes since the epoch.
    minute: u32,
    door: Sums,
    callers: Callers,
}

impl Minutes {
    /// With room for that many cells of callers.
    pub fn new(room: usize) -> Self {
        Self {
            slots: (0..MINUTES).map(|_| Minute::default()).collect(),
            room,
        }
    }

    /// Counts an entry. Whether there was room to count it for its callers.
    pub fn add(&mut self, counted: &Counted) -> bool {
        let minute = counted.minute();
        let slot = &mut self.slots[place(minute)];
        if slot.minute != minute {
            self.room += slot.callers.len();
            *slot = Minute {
                minute,
                ..Minute::default()
            };
        }
        if counted.door {
            slot.door.add(counted);
        }
        slot.callers.add(counted, &mut self.room)
    }

    /// The door's sums of that minute, if there are any.
    pub fn door(&self, minute: u32) -> Option<&Sums> {
        self.slot(minute).map(|slot| &slot.door)
    }

    /// The caller's numbers of that minute, if there are any.
    pub fn caller(&self, minute: u32, key: Key) -> Option<Counts> {
        self.slot(minute).map(|slot| slot.callers.of(key))
    }

    fn slot(&self, minute: u32) -> Option<&Minute> {
        Some(&self.slots[place(minute)]).filter(|slot| slot.minute == minute)
    }
}

const fn place(minute: u32) -> usize {
    minute as usize % MINUTES
}
