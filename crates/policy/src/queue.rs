//! The queue: who waits, who is served next, who is displaced (rules §3).
//!
//! All pools share the queue's places; a slot belongs to one pool. So there is a line for each pool and priority, and the job
//! to displace is searched over all pools.
//!
//! With `fifo` every step is O(1) in the number of queued jobs; with `fair` it is O(log callers), except the estimate for a job
//! whose client states a longest wait.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::caller::{Caller, CallerMap};
use super::jobs::{Jobs, List, State};
use super::rules::{Priority, UpstreamId, Within};
use super::table::Table;

#[derive(Debug)]
pub(super) struct Queue {
    /// Queued jobs by priority.
    waiting: [u32; Priority::COUNT],
    pools: Table<UpstreamId, [Line; Priority::COUNT]>,
    /// The last ticket: grows with every job that is queued or served.
    ticket: u64,
}

impl Queue {
    pub(super) fn new(within: Within, pools: impl Iterator<Item = UpstreamId>) -> Self {
        Self {
            waiting: [0; Priority::COUNT],
            pools: pools.map(|pool| (pool, lines(within))).collect(),
            ticket: 0,
        }
    }

    /// Queued jobs.
    pub(super) fn len(&self) -> u32 {
        self.waiting.iter().sum()
    }

    /// Queued jobs by priority.
    pub(super) fn waiting(&self) -> &[u32; Priority::COUNT] {
        &self.waiting
    }

    /// The lowest priority with a queued job.
    pub(super) fn lowest(&self) -> Option<Priority> {
        Priority::all().find(|priority| self.waiting[priority.index()] > 0)
    }

    /// Jobs ahead of a new one of that priority: queued ones of the same or a higher priority.
    pub(super) fn ahead(&self, pool: UpstreamId, priority: Priority) -> u32 {
        self.pools[pool][priority.index()..]
            .iter()
            .map(|line| line.list.len())
            .sum()
    }

    /// As [`Self::ahead`], for a caller whose turns count: with `fair` it does not wait for all jobs of the others.
    pub(super) fn ahead_of(&self, pool: UpstreamId, priority: Priority, caller: &Caller) -> u32 {
        let lines = &self.pools[pool];
        let higher: u32 = lines[priority.index() + 1..].iter().map(|line| line.list.len()).sum();
        higher + lines[priority.index()].ahead_of(caller)
    }

    /// Queues the job.
    pub(super) fn enqueue(&mut self, jobs: &mut Jobs, index: u32) {
        self.ticket += 1;
        let job = jobs.at_mut(index);
        job.ticket = self.ticket;
        let (priority, pool, caller) = (job.priority.index(), job.pool, job.caller);
        self.waiting[priority] += 1;
        self.pools[pool][priority].push(jobs, index, caller, self.ticket);
    }

    /// Removes the job from the queue.
    pub(super) fn leave(&mut self, jobs: &mut Jobs, index: u32) {
        let job = jobs.at(index);
        let (priority, pool, caller) = (job.priority.index(), job.pool, job.caller);
        self.waiting[priority] -= 1;
        self.pools[pool][priority].remove(jobs, index, &caller);
    }

    /// Removes the next job in the order of service: of the highest priority, the first in line.
    pub(super) fn take_next(&mut self, jobs: &mut Jobs, pool: UpstreamId) -> Option<u32> {
        let line = self.pools[pool].iter().rposition(|line| line.list.len() > 0)?;
        let index = self.pools[pool][line]
            .first()
            .expect("a non-empty line has a first job");
        self.serve(jobs, pool, line, index);
        Some(index)
    }

    /// Removes the job of the pool that was queued first, whatever its priority.
    pub(super) fn take_oldest(&mut self, jobs: &mut Jobs, pool: UpstreamId) -> Option<u32> {
        let (line, index) = self.pools[pool]
            .iter()
            .enumerate()
            .filter_map(|(line, of)| Some((line, of.list.head()?)))
            .min_by_key(|(_, index)| jobs.at(*index).ticket)?;
        self.serve(jobs, pool, line, index);
        Some(index)
    }

    fn serve(&mut self, jobs: &mut Jobs, pool: UpstreamId, line: usize, index: u32) {
        self.ticket += 1;
        let caller = jobs.at(index).caller;
        self.waiting[line] -= 1;
        self.pools[pool][line].serve(jobs, index, &caller, self.ticket);
    }

    /// Of the queued jobs of that priority, the one that would be served last.
    pub(super) fn last(&self, jobs: &Jobs, priority: Priority) -> Option<u32> {
        let lines = self.pools.iter().map(|lines| &lines[priority.index()]);
        let last = lines.filter_map(|line| line.last(jobs)).max_by_key(|(rank, _)| *rank);
        last.map(|(_, index)| index)
    }

    /// The queued jobs in the order of service: those of higher priority first, and the last one is [`Self::last`] of the lowest
    /// priority.
    pub(super) fn in_order(&self, jobs: &Jobs) -> Vec<u32> {
        let mut order = Vec::new();
        for priority in (0..Priority::COUNT).rev() {
            let lines = self.pools.iter().map(|lines| &lines[priority]);
            let mut ranked: Vec<((u32, u64), u32)> = lines.flat_map(|line| line.ranked(jobs)).collect();
            ranked.sort_unstable();
            order.extend(ranked.into_iter().map(|(_, index)| index));
        }
        order
    }

    /// Rebuilds the queue with the jobs' current priorities, in the order in which they were queued. Displaces nothing.
    pub(super) fn replace_all(&mut self, jobs: &mut Jobs, within: Within, pools: impl Iterator<Item = UpstreamId>) {
        let mut queued: Vec<(u64, u32)> = jobs
            .iter()
            .filter(|(_, job)| job.state == State::Waiting)
            .map(|(id, job)| (job.ticket, u32::try_from(id.index()).expect("an index is a u32")))
            .collect();
        queued.sort_unstable();
        let ticket = self.ticket;
        *self = Self {
            ticket,
            ..Self::new(within, pools)
        };
        for (_, index) in queued {
            self.enqueue(jobs, index);
        }
    }
}

fn lines(within: Within) -> [Line; Priority::COUNT] {
    std::array::from_fn(|_| Line {
        list: List::default(),
        turns: match within {
            Within::Fifo => None,
            Within::Fair => Some(Turns::default()),
        },
    })
}

/// The jobs that wait for one pool with one priority.
#[derive(Debug)]
struct Line {
    /// All of them in the order in which they were queued.
    list: List,
    /// The callers' turns, with `fair`.
    turns: Option<Turns>,
}

impl Line {
    fn push(&mut self, jobs: &mut Jobs, index: u32, caller: Caller, ticket: u64) {
        self.list.push(jobs, index);
        if let Some(turns) = &mut self.turns {
            turns.push(index, caller, ticket);
        }
    }

    fn remove(&mut self, jobs: &mut Jobs, index: u32, caller: &Caller) {
        self.list.remove(jobs, index);
        if let Some(turns) = &mut self.turns {
            turns.remove(index, caller, None);
        }
    }

    fn serve(&mut self, jobs: &mut Jobs, index: u32, caller: &Caller, ticket: u64) {
        self.list.remove(jobs, index);
        if let Some(turns) = &mut self.turns {
            turns.remove(index, caller, Some(ticket));
        }
    }

    fn first(&self) -> Option<u32> {
        match &self.turns {
            None => self.list.head(),
            Some(turns) => turns.first(),
        }
    }

    /// The one that would be served last, with a rank to compare it with those of other pools: with `fair` the later round,
    /// then the later turn; with `fifo` the later ticket.
    fn last(&self, jobs: &Jobs) -> Option<((u32, u64), u32)> {
        match &self.turns {
            None => self.list.tail().map(|index| ((0, jobs.at(index).ticket), index)),
            Some(turns) => turns.last(),
        }
    }

    /// All of them with their ranks, as in [`Self::last`], in no particular order.
    fn ranked(&self, jobs: &Jobs) -> Vec<((u32, u64), u32)> {
        match &self.turns {
            None => {
                let all = self.list.iter(jobs);
                all.map(|index| ((0, jobs.at(index).ticket), index)).collect()
            }
            Some(turns) => turns.ranked().collect(),
        }
    }

    fn ahead_of(&self, caller: &Caller) -> u32 {
        match &self.turns {
            None => self.list.len(),
            Some(turns) => turns.ahead_of(caller),
        }
    }
}

/// Callers take turns: a ring of callers, each with its own jobs in order.
///
/// A caller joins at the end of the ring, and returns there when it has been served. So the order of service runs in rounds,
/// and the last to be served is the newest job of the last caller in the ring among those with the most jobs.
#[derive(Debug, Default)]
struct Turns {
    /// The ring, by turn: the ticket with which a caller joined it or was last served. The job lists are never empty.
    ring: BTreeMap<u64, VecDeque<u32>>,
    /// The turn of each caller.
    callers: CallerMap<u64>,
    /// Callers with more than one job, as (jobs, turn). Usually none: then the last in the ring is served last.
    several: BTreeSet<(u32, u64)>,
}

impl Turns {
    fn push(&mut self, index: u32, caller: Caller, ticket: u64) {
        let turn = *self.callers.entry(caller).or_insert(ticket);
        let jobs = self.ring.entry(turn).or_default();
        jobs.push_back(index);
        let now = count(jobs);
        self.recount((now - 1, turn), (now, turn));
    }

    /// Removes the job. If it is `served`, its caller goes to the end of the ring with that ticket.
    fn remove(&mut self, index: u32, caller: &Caller, served: Option<u64>) {
        let Entry::Occupied(mut place) = self.callers.entry(*caller) else {
            unreachable!("a caller with a job in line has a turn")
        };
        let turn = *place.get();
        let next = served.unwrap_or(turn);
        let mut jobs = self.ring.remove(&turn).expect("a caller's turn is in the ring");
        let before = count(&jobs);
        jobs.retain(|of| *of != index);
        let left = count(&jobs);
        if left == 0 {
            place.remove();
        } else {
            *place.get_mut() = next;
            self.ring.insert(next, jobs);
        }
        self.recount((before, turn), (left, next));
    }

    fn recount(&mut self, before: (u32, u64), after: (u32, u64)) {
        if before.0 > 1 {
            self.several.remove(&before);
        }
        if after.0 > 1 {
            self.several.insert(after);
        }
    }

    fn first(&self) -> Option<u32> {
        let (_, jobs) = self.ring.first_key_value()?;
        jobs.front().copied()
    }

    fn last(&self) -> Option<((u32, u64), u32)> {
        let rank = match self.several.last() {
            Some(rank) => *rank,
            None => (1, *self.ring.last_key_value()?.0),
        };
        let newest = self.ring[&rank.1].back()?;
        Some((rank, *newest))
    }

    fn ranked(&self) -> impl Iterator<Item = ((u32, u64), u32)> {
        let of_turn = |(turn, jobs): (&u64, &VecDeque<u32>)| {
            let turn = *turn;
            let rounds = (1..).zip(jobs.iter().copied().collect::<Vec<_>>());
            rounds.map(move |(round, index)| ((round, turn), index))
        };
        self.ring.iter().flat_map(of_turn)
    }

    /// Jobs ahead of the caller's next one. With `own` jobs in line, that one is served in round `own` (counted from 0): every
    /// earlier round serves each caller once, and that round only the callers with an earlier turn. O(callers in line), at most
    /// the queue's length.
    fn ahead_of(&self, caller: &Caller) -> u32 {
        let Some(turn) = self.callers.get(caller) else {
            return u32::try_from(self.ring.len()).expect("the queue's length is a u32");
        };
        let own = count(&self.ring[turn]);
        let before = |(at, jobs)| count(jobs).min(own + u32::from(at < turn));
        self.ring.iter().map(before).sum()
    }
}

fn count(jobs: &VecDeque<u32>) -> u32 {
    u32::try_from(jobs.len()).expect("the queue's length is a u32")
}
