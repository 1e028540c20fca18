//! Request limits: who may send how many requests in which time (semantics §7).
//!
//! A request meets some counters: of each limit that matches it, those of whom the limit counts. All are checked, then all are
//! charged, or none is. Counters lie in [`SHARDS`] shards, told apart by the neighbourhood of whom they count, so that a flood
//! from one neighbourhood crowds one shard, and those who are counted together when it is full are in one.
//!
//! ```text
//! decide ─┬─ blocked by rule ─────────────────────────────► Refused (blocked)
//!         ├─ some counter has no room: penalties and blocks begin where they are due
//!         │                     the one that lasts longest ► Refused (rate limited)
//!         └─ every counter is charged ────────────────────► Admitted, what is left of each
//! ```
//!
//! A limit that isn't enforced refuses nobody, and counts as it would if it did: whom it would refuse is charged nothing by it, its
//! penalties and blocks begin where they would, and [`Admitted`] says that it would have refused the request.
//!
//! Absent on purpose: locks and clocks (`gate` brings both), which requests a limit is for (`http`), and timers: what is over
//! vanishes when it is met, and by a sweep of a few places at a time.

mod cardinality;
mod counter_state;
mod prefix_aggregation;
mod reload;
mod shard;
mod table;

use smallvec::SmallVec;

use self::counter_state::Reading;
pub use self::reload::Reload;
use self::shard::Check;
pub use self::shard::Shard;
use super::rules::{Limit, LimitId, LimitSet};
use super::time::{Span, Timestamp, UnixTime};

/// Parts of all counters, each behind a lock of its own. A power of two.
pub const SHARDS: usize = 64;

/// Counters that one request meets, beyond which they are kept on the heap.
pub const COUNTERS_INLINE: usize = 4;

/// Whom a counter is of, by numbers that no stranger can choose: accounts have theirs from the door, networks are known by
/// keyed hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who it is. Different subjects of one limit have different ones.
    pub id: u64,
    /// Its neighbourhood: of a network the wider prefix (IPv4 /24, IPv6 /48), of others the same as `id`.
    pub wider: u64,
    /// The region in which the neighbourhood lies: of a network the prefix that is wider still (IPv4 /16, IPv6 /32). Of others it
    /// doesn't matter.
    pub region: u32,
    /// Whether it is a network, of which a stranger may have any number.
    pub is_network: bool,
}

const _: () = assert!(size_of::<Subject>() == 24, "every request makes some");

impl Subject {
    /// The shard in which it is counted.
    pub const fn shard(&self) -> usize {
        (self.wider >> (u64::BITS - SHARDS.trailing_zeros())) as usize
    }
}

/// A counter that a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Of which limit.
    pub limit: LimitId,
    /// Of whom.
    pub subject: Subject,
    /// Requests that the subject may send in the window, as it is told.
    pub number: u32,
    /// Requests that are let in: fewer, if the limit is degraded.
    pub enforced: u32,
    /// Whether the limit is for this request. If not, only a block by its rule counts.
    pub matches: bool,
}

/// When a decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub now: Timestamp,
    /// By the wall clock, for windows that are aligned to it, and to tell when.
    pub wall: UnixTime,
}

/// What a counter has left after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which limit.
    pub limit: LimitId,
    /// Requests in the window, as the subject is told.
    pub number: u32,
    /// Requests that are left of them, as it is told.
    pub remaining: u32,
    /// Until the next of those that were sent counts no more; if another one would be refused, until it would pass. Zero if
    /// none counts.
    pub until: Span,
}

/// What every counter whose limit is for the request, and is enforced, has left, in their order.
pub type Lefts = SmallVec<[Left; COUNTERS_INLINE]>;

/// A request is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What it left.
    pub left: Lefts,
    /// Limits that would have refused it, were they enforced. They were charged nothing.
    pub unenforced: LimitSet,
}

/// Why a request is not let in. Nothing was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A limit has no room.
    Limited {
        /// The one that lasts longest, by its place among the counters.
        by: usize,
        /// Until the request would pass.
        retry_after: Span,
        /// All enforced counters; those that have no room have nothing left.
        left: Lefts,
        /// Counters whose subject is blocked from now on, by their places.
        blocked: SmallVec<[usize; 1]>,
    },
    /// The rule of a limit has blocked one of the subjects.
    Blocked {
        /// Until it is let in again.
        lasts: Span,
    },
}

/// The shards that a decision may need.
pub trait Shards {
    /// The shard of that number, less than [`SHARDS`].
    fn shard(&mut self, number: usize) -> &mut Shard;
}

impl Shards for Vec<Shard> {
    fn shard(&mut self, number: usize) -> &mut Shard {
        &mut self[number]
    }
}

/// Checks all counters, then charges all or none (semantics §7.8).
///
/// # Errors
/// Some counter of a limit that is enforced has no room, or its subject is blocked.
#[expect(
    clippy::result_large_err,
    reason = "a flood is mostly refused, and a refusal may not allocate"
)]
pub fn decide(
    counters: &[Counter],
    shards: &mut impl Shards,
    rules: &[Limit],
    at: Moment,
) -> Result<Admitted, Refused> {
    // Limits that aren't enforced and would refuse: by a block,
    let mut blocking = LimitSet::default();
    for counter in counters {
        let Some(lasts) = shards.shard(counter.subject.shard()).blocked_for(counter, rules, at) else {
            continue;
        };
        if rules[counter.limit.index()].enforce {
            return Err(Refused::Blocked { lasts });
        }
        blocking = blocking.with(counter.limit);
    }
    // or for want of room.
    let mut full = LimitSet::default();
    let mut checks = Checks::new();
    let mut has_room = true;
    for (place, counter) in counters.iter().enumerate() {
        if !counter.matches || blocking.has(counter.limit) {
            continue;
        }
        let check = shards.shard(counter.subject.shard()).check(counter, rules, at);
        if check.reading.refused.is_some() {
            let is_enforced = rules[counter.limit.index()].enforce;
            has_room &= !is_enforced;
            full = if is_enforced { full } else { full.with(counter.limit) };
        }
        checks.push((place, check));
    }
    if !has_room {
        return Err(refuse(counters, &checks, shards, rules, at));
    }
    let mut left = Lefts::new();
    for (place, check) in &checks {
        let counter = &counters[*place];
        let shard = shards.shard(counter.subject.shard());
        if full.has(counter.limit) {
            if let Some(lasts) = check.reading.refused {
                shard.refuse(counter, lasts, rules, at);
            }
            continue;
        }
        let reading = shard.charge(counter, check.place, rules, at);
        if rules[counter.limit.index()].enforce {
            left.push(left_of(counter, reading));
        }
    }
    Ok(Admitted {
        left,
        unenforced: blocking.or(full),
    })
}

/// By the places of their counters.
type Checks = SmallVec<[(usize, Check); COUNTERS_INLINE]>;

/// Begins the penalties and blocks that are due, and says which limit keeps the request out for longest: who comes back when it
/// says shall not be refused by another.
fn refuse(counters: &[Counter], checks: &Checks, shards: &mut impl Shards, rules: &[Limit], at: Moment) -> Refused {
    let (mut all, mut blocked) = (Lefts::new(), SmallVec::new());
    let mut longest: Option<(usize, Span)> = None;
    for (place, check) in checks {
        let (counter, reading) = (&counters[*place], check.reading);
        let is_enforced = rules[counter.limit.index()].enforce;
        let Some(lasts) = reading.refused else {
            if is_enforced {
                all.push(left_of(counter, reading));
            }
            continue;
        };
        let (lasts, is_blocked) = shards.shard(counter.subject.shard()).refuse(counter, lasts, rules, at);
        if !is_enforced {
            continue;
        }
        if is_blocked {
            blocked.push(*place);
        }
        if longest.is_none_or(|(_, longest)| lasts > longest) {
            longest = Some((*place, lasts));
        }
        all.push(Left {
            remaining: 0,
            until: lasts,
            ..left_of(counter, reading)
        });
    }
    let (by, retry_after) = longest.expect("some counter has no room");
    Refused::Limited {
        by,
        retry_after,
        left: all,
        blocked,
    }
}

fn left_of(counter: &Counter, reading: Reading) -> Left {
    let remaining = counter.number.saturating_sub(reading.used);
    Left {
        limit: counter.limit,
        number: counter.number,
        remaining,
        until: reading.refused.unwrap_or(reading.next),
    }
}
