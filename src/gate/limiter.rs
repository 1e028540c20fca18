//! The request limits: the shards of `policy::limits`, each behind its own lock. They are outside the gate state, so that a
//! flood does not contend for its lock.
//!
//! A decision locks the shards that it needs, in ascending order, and then reads the clock once. Most decisions need one shard:
//! a network's counters of all limits lie together. The wall clock is read again only if a limit is aligned to it: that costs a
//! quarter of a decision.
//!
//! A reload takes all locks in the same order, and releases none before every shard and everything else that depends on the
//! rules is switched. So all shards of a decision have the same rules. If those aren't the request's, it gets [`Stale`] and
//! retries with the new configuration. Operators' queries name their limit.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Stale;
use crate::clock::Clock;
use crate::policy::limits::{
    Admitted, COUNTERS_INLINE, Counter, Moment, Refused, Reload, Shard, Shards, Subject, decide,
};
use crate::policy::rules::{Kind, Rules};
use crate::policy::time::{Span, UnixTime};
use crate::sync::{Mutex, MutexGuard};

/// A decision of the limits, and its time.
pub type Decided = (Moment, Result<Admitted, Refused>);

/// All request limits.
#[derive(Debug)]
pub struct Limiter {
    /// Locked in ascending order, and before the gate state: never lock a shard while holding that.
    shards: Box<[CacheAligned]>,
    clock: Clock,
}

/// A shard on its own cache lines: cores that work on different shards don't disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct CacheAligned(Mutex<ShardState>);

/// A shard and its rules.
#[derive(Debug)]
struct ShardState {
    shard: Shard,
    rules: Arc<Rules>,
    /// Whether a limit is aligned to the wall clock. Then readings must follow the order of the decisions: an earlier one could
    /// belong to the previous window and restart the count.
    by_wall: bool,
}

impl ShardState {
    fn new(shard: Shard, rules: Arc<Rules>) -> Self {
        Self {
            shard,
            by_wall: is_by_wall(&rules),
            rules,
        }
    }

    /// Fails if the rules in force are others.
    fn check_rules(&self, rules: &Arc<Rules>) -> Result<(), Stale> {
        if Arc::ptr_eq(&self.rules, rules) {
            Ok(())
        } else {
            Err(Stale)
        }
    }
}

impl Limiter {
    /// All counters are empty.
    pub fn new(rules: Arc<Rules>, clock: Clock) -> Arc<Self> {
        let state = |shard| ShardState::new(shard, Arc::clone(&rules));
        let shards = Shard::all(&rules)
            .into_iter()
            .map(|shard| CacheAligned(Mutex::new(state(shard))));
        Arc::new(Self {
            shards: shards.collect(),
            clock,
        })
    }

    /// Replaces the rules. A limit of the same name keeps its counts ([`Reload`]). `then` is called while every shard is
    /// locked, so what it publishes is visible to every request that gets [`Stale`]. Decisions are blocked for some 10 µs plus
    /// the time of `then`, and 20 to 50 ns for each counter whose limit changes its kind or window.
    pub fn reload<T>(&self, rules: &Arc<Rules>, then: impl FnOnce() -> T) -> T {
        let mut all: Vec<_> = self.shards.iter().map(|shard| shard.0.lock()).collect();
        let done = then();
        let before = Arc::clone(&all[0].rules);
        let (reload, at) = (Reload::new(&before, rules), self.moment());
        for state in &mut all {
            reload.apply(&mut state.shard, at);
            state.by_wall = is_by_wall(rules);
            state.rules = Arc::clone(rules);
        }
        done
    }

    /// Checks all counters, then charges all or none; returns the time of the decision as well. `rules` are those that the
    /// counters were made for, `wall` the latest reading of the wall clock.
    ///
    /// # Errors
    /// Other rules are in force. Nothing is charged.
    pub fn decide(&self, rules: &Arc<Rules>, counters: &[Counter], wall: UnixTime) -> Result<Decided, Stale> {
        let of = |counter: &Counter| counter.subject.shard();
        match counters.split_first() {
            Some((first, others)) if others.iter().all(|other| of(other) == of(first)) => {
                let state = &mut *self.shards[of(first)].0.lock();
                state.check_rules(rules)?;
                let at = self.moment_by(state.by_wall, wall);
                let shards = &mut SingleShard(&mut state.shard);
                Ok((at, decide(counters, shards, &rules.limits, at)))
            }
            _ => self.decide_across(rules, counters, wall),
        }
    }

    /// [`Self::decide`] for counters in several shards.
    fn decide_across(&self, rules: &Arc<Rules>, counters: &[Counter], wall: UnixTime) -> Result<Decided, Stale> {
        let mut numbers: SmallVec<[usize; COUNTERS_INLINE]> =
            counters.iter().map(|counter| counter.subject.shard()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| (number, self.shards[number].0.lock());
        let mut locked = Locked(numbers.into_iter().map(lock).collect());
        let mut by_wall = false;
        if let Some((_, state)) = locked.0.first() {
            state.check_rules(rules)?;
            by_wall = state.by_wall;
        }
        let at = self.moment_by(by_wall, wall);
        Ok((at, decide(counters, &mut locked, &rules.limits, at)))
    }

    /// The remaining time of the subject's block by the rule of that limit, and the current time. `wall` is the latest reading
    /// of the wall clock.
    pub fn block(&self, limit: &str, subject: Subject, wall: UnixTime) -> Option<(UnixTime, Span)> {
        let state = &mut *self.shards[subject.shard()].0.lock();
        let id = state.rules.limit_named(limit)?;
        let at = self.moment_by(state.by_wall, wall);
        // Like a request to which the limit doesn't apply: only a block matters, and nothing is charged.
        let counter = Counter {
            limit: id,
            subject,
            number: 0,
            enforced: 0,
            matches: false,
        };
        match decide(&[counter], &mut SingleShard(&mut state.shard), &state.rules.limits, at) {
            Err(Refused::Blocked { lasts }) => Some((at.wall, lasts)),
            _ => None,
        }
    }

    /// Lifts the block on the subject by the rule of that limit and drops its counted refusals. Returns whether it was blocked.
    pub fn forgive(&self, limit: &str, subject: &Subject) -> bool {
        let mut state = self.shards[subject.shard()].0.lock();
        let at = self.moment();
        let limit = state.rules.limit_named(limit);
        limit.is_some_and(|limit| state.shard.forgive(limit, subject, at))
    }

    /// Drops some expired counters. Call it every second.
    pub fn tick(&self) {
        for shard in &self.shards {
            let ShardState { shard, rules, .. } = &mut *shard.0.lock();
            shard.sweep(&rules.limits, self.moment());
        }
    }

    /// For each limit of `rules`: the number of individually counted callers, and of requests ever counted by prefix.
    pub fn counted(&self, rules: &Rules) -> Vec<(usize, u64)> {
        let mut sums = vec![(0, 0); rules.limits.len()];
        for shard in &self.shards {
            let state = shard.0.lock();
            for ((callers, aggregated), limit) in sums.iter_mut().zip(&rules.limits) {
                let counted = state.rules.limit_named(&limit.name).map(|id| state.shard.counted(id));
                let (more, requests) = counted.unwrap_or_default();
                *callers += more;
                *aggregated += requests;
            }
        }
        sums
    }

    fn moment(&self) -> Moment {
        self.moment_at(self.clock.wall())
    }

    fn moment_at(&self, wall: UnixTime) -> Moment {
        Moment {
            now: self.clock.now(),
            wall,
        }
    }

    /// Reads the wall clock again if a decision depends on it; otherwise the last reading is good enough for display.
    fn moment_by(&self, by_wall: bool, last: UnixTime) -> Moment {
        self.moment_at(if by_wall { self.clock.wall() } else { last })
    }
}

fn is_by_wall(rules: &Rules) -> bool {
    rules.limits.iter().any(|limit| limit.kind == Kind::Aligned)
}

/// The shard of a decision that needs only one.
struct SingleShard<'l>(&'l mut Shard);

impl Shards for SingleShard<'_> {
    fn shard(&mut self, _: usize) -> &mut Shard {
        self.0
    }
}

/// The shards of one decision, in ascending order.
struct Locked<'l>(SmallVec<[(usize, MutexGuard<'l, ShardState>); COUNTERS_INLINE]>);

impl Shards for Locked<'_> {
    fn shard(&mut self, number: usize) -> &mut Shard {
        let locked = self.0.iter_mut().find(|(locked, _)| *locked == number);
        &mut locked.expect("every counter's shard was locked").1.shard
    }
}
