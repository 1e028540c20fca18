//! Request limits at the door: the shards of `policy::limits`, each behind its lock, beside the hall and not in it, since a
//! flood of strangers must not contend with it.
//!
//! A decision takes the locks of the shards that it needs, in the order of their numbers, and one reading of the clock when it
//! has them. Most need one shard: a network's counters of all limits lie together.
//!
//! Absent on purpose: reasons to say no (`policy::limits`), and which limits a request meets (`http`).

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Clock;
use crate::policy::limits::{COUNTERS_INLINE, Counter, Lefts, Moment, Refused, Shard, Shards, Subject, decide};
use crate::policy::rules::{LimitId, Rules};
use crate::sync::{Mutex, MutexGuard};

/// All request limits of the door.
#[derive(Debug)]
pub struct Limiter {
    shards: Box<[Apart]>,
    rules: Arc<Rules>,
    clock: Clock,
}

/// A shard on cache lines of its own: cores that work on different ones don't disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(Mutex<Shard>);

impl Limiter {
    /// Nobody has sent anything yet.
    pub fn new(rules: Arc<Rules>, clock: Clock) -> Arc<Self> {
        let shards = Shard::all(&rules).into_iter().map(|shard| Apart(Mutex::new(shard)));
        Arc::new(Self {
            shards: shards.collect(),
            rules,
            clock,
        })
    }

    /// Checks all counters, then charges all or none; and when that was.
    pub fn decide(&self, counters: &[Counter]) -> (Moment, Result<Lefts, Refused>) {
        let of = |counter: &Counter| counter.subject.shard();
        match counters.split_first() {
            Some((first, others)) if others.iter().all(|other| of(other) == of(first)) => {
                let mut alone = self.shards[of(first)].0.lock();
                let at = self.moment();
                (at, decide(counters, &mut Alone(&mut alone), &self.rules.limits, at))
            }
            _ => self.decide_across(counters),
        }
    }

    /// The same for counters that lie in several shards.
    fn decide_across(&self, counters: &[Counter]) -> (Moment, Result<Lefts, Refused>) {
        let mut numbers: SmallVec<[usize; COUNTERS_INLINE]> =
            counters.iter().map(|counter| counter.subject.shard()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut locked = Locked(
            numbers
                .into_iter()
                .map(|number| (number, self.shards[number].0.lock()))
                .collect(),
        );
        let at = self.moment();
        (at, decide(counters, &mut locked, &self.rules.limits, at))
    }

    /// Lifts what rules have blocked of the subject, and what was counted towards it. Whether it was blocked.
    pub fn forgive(&self, limit: LimitId, subject: &Subject) -> bool {
        let mut shard = self.shards[subject.shard()].0.lock();
        let at = self.moment();
        shard.forgive(limit, subject, at)
    }

    /// Forgets some of what is over. To be called every second.
    pub fn tick(&self) {
        for shard in &self.shards {
            let mut shard = shard.0.lock();
            shard.sweep(&self.rules.limits, self.moment());
        }
    }

    /// Of each limit: who is counted by itself, and how many requests ever were counted by neighbourhood.
    pub fn counted(&self) -> Vec<(usize, u64)> {
        let mut sums = vec![(0, 0); self.rules.limits.len()];
        for shard in &self.shards {
            let shard = shard.0.lock();
            for ((callers, crowded), limit) in sums.iter_mut().zip((0..).map(LimitId)) {
                let (more, requests) = shard.counted(limit);
                *callers += more;
                *crowded += requests;
            }
        }
        sums
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            wall: self.clock.wall(),
        }
    }
}

/// The one shard of a decision.
struct Alone<'l>(&'l mut Shard);

impl Shards for Alone<'_> {
    fn shard(&mut self, _: usize) -> &mut Shard {
        self.0
    }
}

/// The shards of one decision, in the order of their numbers.
struct Locked<'l>(SmallVec<[(usize, MutexGuard<'l, Shard>); COUNTERS_INLINE]>);

impl Shards for Locked<'_> {
    fn shard(&mut self, number: usize) -> &mut Shard {
        let locked = self.0.iter_mut().find(|(locked, _)| *locked == number);
        &mut locked.expect("every counter's shard was locked").1
    }
}
