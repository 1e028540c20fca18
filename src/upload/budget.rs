//! Who gets how much room for a body, and whose upload ends when there is none (rules §2.4): decisions under one lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::policy::caller::Network;
use crate::policy::rules::Priority;
use crate::policy::time::{Span, Timestamp};

/// One network may have this part of each bound.
const NETWORK_SHARE: u64 = 8;

/// Bounds of all bodies of metered requests together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// In memory.
    pub memory: u64,
    /// Of one body in memory; a longer one goes to a file.
    pub memory_each: u64,
    /// In files.
    pub spool: u64,
}

/// What bodies take up, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In memory.
    pub memory: u64,
    /// In files.
    pub spool: u64,
}

/// The room that all bodies share.
#[derive(Debug)]
pub struct UploadBudget {
    state: Mutex<BudgetState>,
}

#[derive(Debug)]
struct BudgetState {
    bounds: BodyBounds,
    used: Usage,
    networks: HashMap<Network, NetworkUsage>,
    bodies: HashMap<u64, BodyEntry>,
    next_id: u64,
}

/// What one network's bodies take up.
#[derive(Debug, Default)]
struct NetworkUsage {
    used: Usage,
    bodies: u32,
}

#[derive(Debug)]
struct BodyEntry {
    network: Network,
    priority: Priority,
    began: Timestamp,
    used: Usage,
    /// Whether it is still arriving: a complete body is never taken away.
    arriving: bool,
    /// Whether it had to make room for another one. It takes up nothing any more.
    ended: bool,
    waker: Option<Waker>,
}

/// Where a part of a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// To memory.
    Memory,
    /// To its file, with all that came before.
    Spool,
}

/// The upload has ended, for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// One body's part of the room. Dropping it gives that back.
#[derive(Debug)]
pub struct UploadRoom {
    budget: Arc<UploadBudget>,
    id: u64,
}

impl UploadBudget {
    /// An empty room.
    pub fn new(bounds: BodyBounds) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(BudgetState {
                bounds,
                used: Usage::default(),
                networks: HashMap::new(),
                bodies: HashMap::new(),
                next_id: 0,
            }),
        })
    }

    /// Changes the bounds for all that arrives from now on.
    pub fn change_to(&self, bounds: BodyBounds) {
        self.state.lock().bounds = bounds;
    }

    /// What bodies take up now.
    pub fn used(&self) -> Usage {
        self.state.lock().used
    }

    /// Room for a body that begins to arrive from that network, for a job of that priority.
    pub fn begin(self: &Arc<Self>, network: Network, priority: Priority, now: Timestamp) -> UploadRoom {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.networks.entry(network).or_default().bodies += 1;
        let entry = BodyEntry {
            network,
            priority,
            began: now,
            used: Usage::default(),
            arriving: true,
            ended: false,
            waker: None,
        };
        state.bodies.insert(id, entry);
        UploadRoom {
            budget: Arc::clone(self),
            id,
        }
    }
}

impl UploadRoom {
    /// Takes room for that many further bytes. If there is none, the upload of the lowest priority ends, of those the slowest:
    /// among its own network's if that has its share, otherwise among all.
    ///
    /// # Errors
    /// That is this one.
    pub(super) fn take(&self, bytes: u64, now: Timestamp) -> Result<Room, NoRoom> {
        let mut victims = Vec::new();
        let taken = self.budget.state.lock().take(self.id, bytes, now, &mut victims);
        victims.into_iter().for_each(Waker::wake);
        taken
    }

    /// The body is complete: it keeps its room until it is dropped.
    pub(super) fn complete(&self) {
        self.budget.state.lock().body(self.id).arriving = false;
    }

    /// Ready when the upload had to make room for another one.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.budget.state.lock();
        let body = state.body(self.id);
        if body.ended {
            return Poll::Ready(());
        }
        body.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for UploadRoom {
    fn drop(&mut self) {
        self.budget.state.lock().remove(self.id);
    }
}

impl BudgetState {
    fn body(&mut self, id: u64) -> &mut BodyEntry {
        self.bodies.get_mut(&id).expect("its room is not dropped yet")
    }

    fn take(&mut self, id: u64, bytes: u64, now: Timestamp, victims: &mut Vec<Waker>) -> Result<Room, NoRoom> {
        let body = self.body(id);
        let (network, before, ended) = (body.network, body.used, body.ended);
        if ended {
            return Err(NoRoom);
        }
        if before.spool == 0 && self.fits_in_memory(network, before.memory, bytes) {
            self.add(
                id,
                Usage {
                    memory: bytes,
                    spool: 0,
                },
            );
            return Ok(Room::Memory);
        }
        self.subtract(id, before);
        self.add(
            id,
            Usage {
                memory: 0,
                spool: before.memory + before.spool + bytes,
            },
        );
        while let Some(scope) = self.overfull(network) {
            let victim = self.victim(scope, now);
            // What else takes up room is complete, and stays.
            let victim = victim.unwrap_or(id);
            victims.extend(self.end(victim).filter(|_| victim != id));
            if victim == id {
                return Err(NoRoom);
            }
        }
        Ok(Room::Spool)
    }

    fn fits_in_memory(&self, network: Network, of_body: u64, bytes: u64) -> bool {
        let BodyBounds {
            memory, memory_each, ..
        } = self.bounds;
        of_body + bytes <= memory_each
            && self.used.memory + bytes <= memory
            && self.networks[&network].used.memory + bytes <= memory / NETWORK_SHARE
    }

    /// Whose files take up too much: those of that network, or of all.
    fn overfull(&self, network: Network) -> Option<Option<Network>> {
        let spool = self.bounds.spool;
        if self.networks[&network].used.spool > spool / NETWORK_SHARE {
            Some(Some(network))
        } else if self.used.spool > spool {
            Some(None)
        } else {
            None
        }
    }

    /// The upload to end, among those of that network or of all: of the lowest priority, then the slowest, then the newest.
    fn victim(&self, scope: Option<Network>, now: Timestamp) -> Option<u64> {
        let candidates = self.bodies.iter().filter(|(_, body)| {
            body.arriving && body.used.spool > 0 && scope.is_none_or(|network| network == body.network)
        });
        candidates
            .min_by(|(a_id, a), (b_id, b)| {
                let pace = |body: &BodyEntry| u128::from(body.used.spool);
                let took = |body: &BodyEntry| u128::from(now.since(body.began).max(Span::from_nanos(1)).as_nanos());
                a.priority
                    .cmp(&b.priority)
                    .then_with(|| (pace(a) * took(b)).cmp(&(pace(b) * took(a))))
                    .then_with(|| b_id.cmp(a_id))
            })
            .map(|(id, _)| *id)
    }

    /// Ends the upload. What it takes up counts no longer: its file is dropped as soon as its task runs.
    fn end(&mut self, id: u64) -> Option<Waker> {
        let used = self.body(id).used;
        self.subtract(id, used);
        let body = self.body(id);
        body.ended = true;
        body.arriving = false;
        body.waker.take()
    }

    fn add(&mut self, id: u64, more: Usage) {
        self.change(id, |used| {
            used.memory += more.memory;
            used.spool += more.spool;
        });
    }

    fn subtract(&mut self, id: u64, less: Usage) {
        self.change(id, |used| {
            used.memory -= less.memory;
            used.spool -= less.spool;
        });
    }

    /// Counts the same for the body, its network and all.
    fn change(&mut self, id: u64, by: impl Fn(&mut Usage)) {
        let body = self.bodies.get_mut(&id).expect("its room is not dropped yet");
        by(&mut body.used);
        let network = self.networks.get_mut(&body.network).expect("it has a body");
        by(&mut network.used);
        by(&mut self.used);
    }

    fn remove(&mut self, id: u64) {
        let (network, used) = {
            let body = self.body(id);
            (body.network, body.used)
        };
        self.subtract(id, used);
        self.bodies.remove(&id);
        let Entry::Occupied(mut entry) = self.networks.entry(network) else {
            unreachable!("a network is kept while it has a body")
        };
        entry.get_mut().bodies -= 1;
        if entry.get().bodies == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn network(nth: u8) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, nth)))
    }

    fn priority(level: u8) -> Priority {
        Priority::new(level).expect("at most 6")
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Span::from_secs(secs)
    }

    const BOUNDS: BodyBounds = BodyBounds {
        memory: 80,
        memory_each: 6,
        spool: 160,
    };

    fn is_ended(room: &UploadRoom) -> bool {
        room.poll_ended(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn memory_first_then_a_file() {
        let budget = UploadBudget::new(BOUNDS);
        let room = budget.begin(network(1), priority(0), at(0));
        assert_eq!(room.take(6, at(0)), Ok(Room::Memory));
        assert_eq!(budget.used(), Usage { memory: 6, spool: 0 });
        // One more than each may have in memory.
        assert_eq!(room.take(1, at(0)), Ok(Room::Spool));
        assert_eq!(budget.used(), Usage { memory: 0, spool: 7 });
        // A network has an eighth of the memory: 10.
        let others: Vec<UploadRoom> = (0..3).map(|_| budget.begin(network(1), priority(0), at(0))).collect();
        let taken: Vec<_> = others.iter().map(|room| room.take(4, at(0))).collect();
        assert_eq!(taken, [Ok(Room::Memory), Ok(Room::Memory), Ok(Room::Spool)]);
        drop((room, others));
        assert_eq!(budget.used(), Usage::default());
        assert!(budget.state.lock().networks.is_empty());
    }

    /// A network that has its share of the files ends an upload of its own, however many others there are.
    #[test]
    fn a_network_beyond_its_share_ends_its_own_upload() {
        let budget = UploadBudget::new(BOUNDS);
        let other = budget.begin(network(2), priority(0), at(0));
        assert_eq!(other.take(15, at(1)), Ok(Room::Spool));
        let first = budget.begin(network(1), priority(3), at(0));
        assert_eq!(first.take(15, at(1)), Ok(Room::Spool));
        let low = budget.begin(network(1), priority(2), at(0));
        assert_eq!(
            low.take(7, at(1)),
            Err(NoRoom),
            "22 of 20, and it has the lowest priority"
        );
        let high = budget.begin(network(1), priority(4), at(0));
        assert_eq!(high.take(7, at(1)), Ok(Room::Spool));
        assert!(is_ended(&first) && !is_ended(&other) && !is_ended(&high));
        assert_eq!(first.take(1, at(2)), Err(NoRoom));
        assert_eq!(budget.used(), Usage { memory: 0, spool: 22 });
    }

    #[test]
    fn of_equal_priorities_the_slowest_ends() {
        let budget = UploadBudget::new(BOUNDS);
        let rooms: Vec<UploadRoom> = (0..9)
            .map(|nth| budget.begin(network(nth), priority(1), at(0)))
            .collect();
        for (room, bytes) in rooms.iter().zip([17, 18, 16, 19, 18, 18, 18, 18]) {
            assert_eq!(room.take(bytes, at(10)), Ok(Room::Spool));
        }
        // 142 of 160: with 19 more, the third ends.
        assert_eq!(rooms[8].take(19, at(10)), Ok(Room::Spool));
        let ended: Vec<bool> = rooms.iter().map(is_ended).collect();
        assert_eq!(ended.iter().position(|ended| *ended), Some(2));
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
    }

    #[test]
    fn a_complete_body_is_never_taken_away() {
        let budget = UploadBudget::new(BOUNDS);
        let complete: Vec<UploadRoom> = (0..8)
            .map(|nth| budget.begin(network(nth), priority(0), at(0)))
            .collect();
        for room in &complete {
            assert_eq!(room.take(20, at(0)), Ok(Room::Spool));
            room.complete();
        }
        let newcomer = budget.begin(network(9), priority(6), at(0));
        assert_eq!(newcomer.take(5, at(0)), Ok(Room::Memory));
        assert_eq!(
            newcomer.take(5, at(0)),
            Err(NoRoom),
            "all room is taken by complete bodies"
        );
        assert!(complete.iter().all(|room| !is_ended(room)));
        drop(complete);
        let next = budget.begin(network(9), priority(0), at(0));
        assert_eq!(next.take(20, at(0)), Ok(Room::Spool));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(u8, u8),
        Take(usize, u64),
        Complete(usize),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => (0..4u8, 0..7u8).prop_map(|(network, priority)| Step::Begin(network, priority)),
            4 => (0..16usize, 0..12u64).prop_map(|(which, bytes)| Step::Take(which, bytes)),
            1 => (0..16usize).prop_map(Step::Complete),
            1 => (0..16usize).prop_map(Step::Drop),
        ];
        proptest::collection::vec(step, 1..200)
    }

    /// A body of the model: all that it ever took, if it has not ended.
    struct Known {
        room: UploadRoom,
        network: u8,
        priority: u8,
        complete: bool,
        bytes: u64,
        ended: bool,
    }

    proptest! {
        /// Nothing takes up more than the bounds, nothing is lost or counted twice, and only uploads of the lowest priority end.
        #[test]
        fn the_bounds_hold_whatever_arrives(steps in steps()) {
            let budget = UploadBudget::new(BOUNDS);
            let mut bodies: Vec<Known> = Vec::new();
            for (second, step) in (1..).zip(steps) {
                let count = bodies.len().max(1);
                match step {
                    Step::Begin(of, level) => bodies.push(Known {
                        room: budget.begin(network(of), priority(level), at(second)),
                        network: of,
                        priority: level,
                        complete: false,
                        bytes: 0,
                        ended: false,
                    }),
                    Step::Take(which, bytes) => if let Some(body) = bodies.get_mut(which % count).filter(|body| !body.complete) {
                        let taken = body.room.take(bytes, at(second));
                        prop_assert!(!body.ended || taken.is_err());
                        let (by, of) = (body.priority, body.network);
                        if taken.is_ok() {
                            body.bytes += bytes;
                        }
                        for other in bodies.iter_mut().filter(|body| !body.ended) {
                            other.ended = is_ended(&other.room);
                            prop_assert!(!other.ended || !other.complete);
                            prop_assert!(!other.ended || other.priority <= by || other.network == of);
                        }
                    },
                    Step::Complete(which) => if let Some(body) = bodies.get_mut(which % count).filter(|body| !body.ended) {
                        body.room.complete();
                        body.complete = true;
                    },
                    Step::Drop(which) => if which % count < bodies.len() {
                        bodies.remove(which % count);
                    },
                }
                let used = budget.used();
                prop_assert!(used.memory <= BOUNDS.memory && used.spool <= BOUNDS.spool);
                let live = bodies.iter().filter(|body| !body.ended);
                prop_assert_eq!(used.memory + used.spool, live.map(|body| body.bytes).sum::<u64>());
                for of in 0..4 {
                    let state = budget.state.lock();
                    let used = state.networks.get(&network(of)).map_or(Usage::default(), |network| network.used);
                    prop_assert!(used.memory <= BOUNDS.memory / 8 && used.spool <= BOUNDS.spool / 8);
                }
            }
            bodies.clear();
            prop_assert_eq!(budget.used(), Usage::default());
            prop_assert!(budget.state.lock().networks.is_empty());
        }
    }
}
