//! Which segments there are, and what in them does not count: what the writer, the bookkeeping and the reading at start all
//! must agree on.
//!
//! Absent on purpose: the disk, and whatever lies in a segment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::format::Header;
use crate::policy::time::UnixTime;
use crate::telemetry::JournalMeters;

/// A segment that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub number: u64,
    /// When it was made; `None` if its header can't be read.
    pub made: Option<UnixTime>,
    /// The lowest sequence number that may be in it.
    pub first_sequence: u64,
    /// The length of its file in bytes.
    pub bytes: u64,
    /// Frames that are known to have been durable.
    pub durable: u32,
    /// Whether something in it can't be read any more.
    pub damaged: bool,
}

/// A segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which one.
    pub known: Known,
    /// Entries of this sequence number and above don't count: they are in a later segment, or nobody was promised them.
    pub limit: u64,
    /// When the next segment was made whose header can be read; when it was made itself, where the clock went back between. All
    /// that is in it was let in before, or within the hour that a segment is written.
    pub ended: UnixTime,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<u64, Known>,
    /// Sequence numbers of entries that were taken back.
    voids: BTreeSet<u64>,
    /// How many read closed segments, so that none may go and none be summed up.
    held: usize,
    closing: bool,
    /// Segments below are closed, and all that was taken back of what is in them is known.
    settled: u64,
    /// How many times that has risen.
    turns: u64,
}

/// Keeps closed segments, and what is summed up of them, as they are.
#[derive(Debug)]
pub struct Hold(Arc<Registry>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.held -= 1;
        // What was left undone meanwhile is to be done.
        state.turns += 1;
        self.0.turned.notify_all();
    }
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    /// With `state`: something for the bookkeeping to do.
    turned: Condvar,
    meters: Arc<JournalMeters>,
}

impl Registry {
    /// With what was found at start.
    pub fn new(found: impl IntoIterator<Item = Known>, voids: BTreeSet<u64>, meters: Arc<JournalMeters>) -> Self {
        let state = State {
            segments: found.into_iter().map(|known| (known.number, known)).collect(),
            voids,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            turned: Condvar::new(),
            meters,
        }
    }

    /// A new segment is written from now on.
    pub fn begun(&self, header: &Header, bytes: u64) {
        let known = Known {
            number: header.number,
            made: Some(header.made),
            first_sequence: header.first_sequence,
            bytes,
            durable: 0,
            damaged: false,
        };
        self.change(|state| {
            if let Some(previous) = state.segments.get_mut(&header.previous) {
                previous.durable = previous.durable.max(header.previous_durable);
            }
            state.segments.insert(header.number, known);
        });
    }

    /// All segments below that one are closed, and nothing in them will be taken back any more.
    pub fn settled(&self, number: u64) {
        let mut state = self.state.lock();
        if state.settled < number {
            state.settled = number;
            state.turns += 1;
            self.turned.notify_all();
        }
    }

    /// A segment's file has that length now.
    pub fn grown(&self, number: u64, bytes: u64) {
        let mut state = self.state.lock();
        match state.segments.get_mut(&number) {
            Some(known) if known.bytes != bytes => known.bytes = bytes,
            _ => return,
        }
        self.show(&state);
    }

    /// A segment's file is gone.
    pub fn gone(&self, number: u64) {
        self.change(|state| {
            state.segments.remove(&number);
            let lowest = state.segments.values().map(|known| known.first_sequence).min();
            state.voids = state.voids.split_off(&lowest.unwrap_or(0));
        });
    }

    /// Something in a segment can't be read any more. Whether that is news.
    pub fn damaged(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let known = state.segments.get_mut(&number);
        known.is_some_and(|known| !std::mem::replace(&mut known.damaged, true))
    }

    /// An entry was taken back, durably.
    pub fn voided(&self, sequence: u64) {
        self.state.lock().voids.insert(sequence);
    }

    /// Sequence numbers of what was taken back.
    pub fn voids(&self) -> BTreeSet<u64> {
        self.state.lock().voids.clone()
    }

    /// The closed segments that are settled, the oldest first.
    pub fn closed(&self) -> Vec<Closed> {
        let state = self.state.lock();
        let mut later: Option<Known> = None;
        // The last one's header can always be read: the start makes a new segment.
        let mut ended = UnixTime::default();
        let mut limit = u64::MAX;
        let mut closed = Vec::new();
        for known in state.segments.values().rev() {
            if let Some(next) = later.replace(*known) {
                limit = limit.min(next.first_sequence);
                ended = next.made.unwrap_or(ended);
                if known.number >= state.settled {
                    continue;
                }
                closed.push(Closed {
                    known: *known,
                    limit,
                    ended: known.made.map_or(ended, |made| made.max(ended)),
                });
            }
        }
        closed.reverse();
        closed
    }

    /// From now on the bookkeeping begins nothing, until this is dropped: nothing is removed or summed up. It may be at it
    /// still.
    pub fn hold(self: &Arc<Self>) -> Hold {
        self.state.lock().held += 1;
        Hold(Arc::clone(self))
    }

    /// Whether the bookkeeping is to leave off.
    pub fn is_held(&self) -> bool {
        self.state.lock().held > 0
    }

    /// Ends the bookkeeping.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.turned.notify_all();
    }

    /// How many times more has been settled.
    pub fn turns(&self) -> u64 {
        self.state.lock().turns
    }

    /// Waits until more is settled than after so many turns, or that long. Whether to go on.
    pub fn wait(&self, turns: u64, longest: Duration) -> bool {
        let mut state = self.state.lock();
        let idle = |state: &mut State| state.turns == turns && !state.closing;
        self.turned.wait_while_for(&mut state, idle, longest);
        !state.closing
    }

    /// Waits until nobody holds it. Whether to go on.
    pub fn wait_free(&self) -> bool {
        let mut state = self.state.lock();
        let idle = |state: &mut State| state.held > 0 && !state.closing;
        self.turned.wait_while(&mut state, idle);
        !state.closing
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.show(&state);
    }

    fn show(&self, state: &State) {
        self.meters
            .bytes(state.segments.values().map(|known| known.bytes).sum());
    }
}
