//! Request limits at the door: the shards of `policy::limits`, each behind its lock, beside the hall and not in it, since a
//! flood of strangers must not contend with it.
//!
//! A decision takes the locks of the shards that it needs, in the order of their numbers, and one reading of the clock when it
//! has them. Most need one shard: a network's counters of all limits lie together. The wall clock is read again only if some limit is
//! aligned to it: reading it costs as much as a quarter of a decision.
//!
//! A reload takes all locks in the same order, and lets none go before every shard is for the new rules and all else is that goes
//! by them. So all shards of a decision are for the same rules; if those aren't what the request came by, it is told so and finds
//! the configuration that has them. What operators ask names its limit.
//!
//! Absent on purpose: reasons to say no (`policy::limits`), and which limits a request meets (`http`).

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

/// A decision of the limits, and when it was made.
pub type Decided = (Moment, Result<Admitted, Refused>);

/// All request limits of the door.
#[derive(Debug)]
pub struct Limiter {
    /// Locked in the order of their numbers, and before the hall (`Gate`): nobody who has locked that one may lock a shard.
    shards: Box<[Apart]>,
    clock: Clock,
}

/// A shard on cache lines of its own: cores that work on different ones don't disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Apart(Mutex<Kept>);

/// A shard, and the rules that it is for.
#[derive(Debug)]
struct Kept {
    shard: Shard,
    rules: Arc<Rules>,
    /// Whether a limit is aligned to the wall clock. Then its readings are to be in the order of the decisions: one of the window before
    /// would begin another count.
    by_wall: bool,
}

impl Kept {
    fn new(shard: Shard, rules: Arc<Rules>) -> Self {
        Self {
            shard,
            by_wall: is_by_wall(&rules),
            rules,
        }
    }

    /// Whether the rules that hold are these.
    fn are_for(&self, rules: &Arc<Rules>) -> Result<(), Stale> {
        if Arc::ptr_eq(&self.rules, rules) {
            Ok(())
        } else {
            Err(Stale)
        }
    }
}

impl Limiter {
    /// Nobody has sent anything yet.
    pub fn new(rules: Arc<Rules>, clock: Clock) -> Arc<Self> {
        let kept = |shard| Kept::new(shard, Arc::clone(&rules));
        let shards = Shard::all(&rules)
            .into_iter()
            .map(|shard| Apart(Mutex::new(kept(shard))));
        Arc::new(Self {
            shards: shards.collect(),
            clock,
        })
    }

    /// Other rules from now on. What was counted of a limit of the same name goes on counting ([`Reload`]). `then` is called while
    /// every shard is locked: what it puts in force is found by whoever is told that its rules are stale. No decision is made
    /// meanwhile: for some 10 µs more than `then` takes, and 20 to 50 ns for each counter whose limit has another kind or window.
    pub fn reload<T>(&self, rules: &Arc<Rules>, then: impl FnOnce() -> T) -> T {
        let mut all: Vec<_> = self.shards.iter().map(|shard| shard.0.lock()).collect();
        let done = then();
        let before = Arc::clone(&all[0].rules);
        let (reload, at) = (Reload::new(&before, rules), self.moment());
        for kept in &mut all {
            reload.apply(&mut kept.shard, at);
            kept.by_wall = is_by_wall(rules);
            kept.rules = Arc::clone(rules);
        }
        done
    }

    /// Checks all counters, then charges all or none; and when that was. `rules` are those by which the counters were made. `wall`
    /// is what the wall clock has just read.
    ///
    /// # Errors
    /// Other rules hold. Nothing is charged.
    pub fn decide(&self, rules: &Arc<Rules>, counters: &[Counter], wall: UnixTime) -> Result<Decided, Stale> {
        let of = |counter: &Counter| counter.subject.shard();
        match counters.split_first() {
            Some((first, others)) if others.iter().all(|other| of(other) == of(first)) => {
                let kept = &mut *self.shards[of(first)].0.lock();
                kept.are_for(rules)?;
                let at = self.moment_by(kept.by_wall, wall);
                let shards = &mut Alone(&mut kept.shard);
                Ok((at, decide(counters, shards, &rules.limits, at)))
            }
            _ => self.decide_across(rules, counters, wall),
        }
    }

    /// The same for counters that lie in several shards.
    fn decide_across(&self, rules: &Arc<Rules>, counters: &[Counter], wall: UnixTime) -> Result<Decided, Stale> {
        let mut numbers: SmallVec<[usize; COUNTERS_INLINE]> =
            counters.iter().map(|counter| counter.subject.shard()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| (number, self.shards[number].0.lock());
        let mut locked = Locked(numbers.into_iter().map(lock).collect());
        let mut by_wall = false;
        if let Some((_, kept)) = locked.0.first() {
            kept.are_for(rules)?;
            by_wall = kept.by_wall;
        }
        let at = self.moment_by(by_wall, wall);
        Ok((at, decide(counters, &mut locked, &rules.limits, at)))
    }

    /// For how long the subject is blocked yet by the rule of the limit of that name, and at what time. `wall` is what the wall
    /// clock has just read.
    pub fn block(&self, limit: &str, subject: Subject, wall: UnixTime) -> Option<(UnixTime, Span)> {
        let kept = &mut *self.shards[subject.shard()].0.lock();
        let id = kept.rules.limit_named(limit)?;
        let at = self.moment_by(kept.by_wall, wall);
        // As a request would that the limit isn't for: then a block is all that counts, and nothing is charged.
        let counter = Counter {
            limit: id,
            subject,
            number: 0,
            enforced: 0,
            matches: false,
        };
        match decide(&[counter], &mut Alone(&mut kept.shard), &kept.rules.limits, at) {
            Err(Refused::Blocked { lasts }) => Some((at.wall, lasts)),
            _ => None,
        }
    }

    /// Lifts what the rule of the limit of that name has blocked of the subject, and what was counted towards it. Whether it was
    /// blocked.
    pub fn forgive(&self, limit: &str, subject: &Subject) -> bool {
        let mut kept = self.shards[subject.shard()].0.lock();
        let at = self.moment();
        let limit = kept.rules.limit_named(limit);
        limit.is_some_and(|limit| kept.shard.forgive(limit, subject, at))
    }

    /// Forgets some of what is over. To be called every second.
    pub fn tick(&self) {
        for shard in &self.shards {
            let Kept { shard, rules, .. } = &mut *shard.0.lock();
            shard.sweep(&rules.limits, self.moment());
        }
    }

    /// Of each limit of `rules`, by name: who is counted by itself, and how many requests ever were counted by neighbourhood.
    pub fn counted(&self, rules: &Rules) -> Vec<(usize, u64)> {
        let mut sums = vec![(0, 0); rules.limits.len()];
        for shard in &self.shards {
            let kept = shard.0.lock();
            for ((callers, crowded), limit) in sums.iter_mut().zip(&rules.limits) {
                let counted = kept.rules.limit_named(&limit.name).map(|id| kept.shard.counted(id));
                let (more, requests) = counted.unwrap_or_default();
                *callers += more;
                *crowded += requests;
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

    /// With another reading of the wall clock if it decides; otherwise the last one will do, which is only told.
    fn moment_by(&self, by_wall: bool, last: UnixTime) -> Moment {
        self.moment_at(if by_wall { self.clock.wall() } else { last })
    }
}

fn is_by_wall(rules: &Rules) -> bool {
    rules.limits.iter().any(|limit| limit.kind == Kind::Aligned)
}

/// The one shard of a decision.
struct Alone<'l>(&'l mut Shard);

impl Shards for Alone<'_> {
    fn shard(&mut self, _: usize) -> &mut Shard {
        self.0
    }
}

/// The shards of one decision, in the order of their numbers.
struct Locked<'l>(SmallVec<[(usize, MutexGuard<'l, Kept>); COUNTERS_INLINE]>);

impl Shards for Locked<'_> {
    fn shard(&mut self, number: usize) -> &mut Shard {
        let locked = self.0.iter_mut().find(|(locked, _)| *locked == number);
        &mut locked.expect("every counter's shard was locked").1.shard
    }
}
