//! Request limits: how many requests a caller may send in a time window (rules §7).
//!
//! A request meets some counters: for each limit that matches it, those of the subjects that the limit counts. All are checked,
//! then all are charged, or none is. Counters lie in [`SHARDS`] shards, chosen by the subject's wider prefix: a flood from one
//! prefix loads one shard, and the subjects that share a counter when that shard is full are in the same shard.
//!
//! ```text
//! decide ─┬─ blocked by rule ─────────────────────────────► Refused (blocked)
//!         ├─ a counter is exhausted: penalties and blocks begin where they are due
//!         │                     the one that lasts longest ► Refused (rate limited)
//!         └─ every counter is charged ────────────────────► Admitted, what is left of each
//! ```
//!
//! A limit that isn't enforced refuses nothing and otherwise counts as if it did: it charges nothing for a request that it
//! would refuse, its penalties and blocks begin as usual, and [`Admitted`] reports it.
//!
//! There are no timers: expired counters are dropped when they are next met, and by a sweep of a few places at a time.

mod cardinality;
mod counter_state;
mod prefix_aggregation;
mod reload;
mod shard;
mod table;

use smallvec::SmallVec;

use self::counter_state::Reading;
pub use self::reload::Reload;
use self::shard::CounterCheck;
pub use self::shard::Shard;
use super::rules::{Limit, LimitId, LimitSet};
use super::time::{Span, Timestamp, UnixTime};

/// Shards of all counters, each behind its own lock. A power of two.
pub const SHARDS: usize = 64;

/// Counters of one request that are kept inline; more go to the heap.
pub const COUNTERS_INLINE: usize = 4;

/// Whom a counter counts, by ids that callers can't choose: tiergate assigns those of accounts, and those of networks are keyed
/// hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its id, unique within a limit.
    pub id: u64,
    /// For a network, the wider prefix (IPv4 /24, IPv6 /48); otherwise the same as `id`.
    pub wider: u64,
    /// For a network, the region that contains the wider prefix (IPv4 /16, IPv6 /32); otherwise unused.
    pub region: u32,
    /// Whether it is a network. A client may have any number of those.
    pub is_network: bool,
}

const _: () = assert!(size_of::<Subject>() == 24, "every request makes some");

impl Subject {
    /// The shard that counts it.
    pub const fn shard(&self) -> usize {
        (self.wider >> (u64::BITS - SHARDS.trailing_zeros())) as usize
    }
}

/// A counter that a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The limit.
    pub limit: LimitId,
    /// Whom it counts.
    pub subject: Subject,
    /// Requests in the window, as advertised to the subject.
    pub number: u32,
    /// Requests that are admitted: fewer than `number` if the limit is degraded.
    pub enforced: u32,
    /// Whether the limit applies to this request. If not, only a block by its rule counts.
    pub matches: bool,
}

/// The time of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Timestamp,
    /// The wall clock, for aligned windows and for times shown to callers.
    pub wall: UnixTime,
}

/// What a counter has left after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub limit: LimitId,
    /// Requests in the window, as advertised to the subject.
    pub number: u32,
    /// Remaining requests, as advertised.
    pub remaining: u32,
    /// Time until the next counted request expires; if another request would be refused, until it would pass. Zero if none
    /// counts.
    pub until: Span,
}

/// What is left in each counter whose limit applies to the request and is enforced, in the order of the counters.
pub type Lefts = SmallVec<[Left; COUNTERS_INLINE]>;

/// An admitted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What is left in each counter.
    pub left: Lefts,
    /// Limits that would have refused it if they were enforced. They were charged nothing.
    pub unenforced: LimitSet,
}

/// Why a request is refused. Nothing was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A limit is exhausted.
    Limited {
        /// The counter with the longest wait, as an index into the counters.
        by: usize,
        /// Time until the request would pass.
        retry_after: Span,
        /// All enforced counters; exhausted ones have nothing left.
        left: Lefts,
        /// Counters whose subject is blocked from now on, as indices.
        blocked: SmallVec<[usize; 1]>,
    },
    /// A limit's block rule has blocked one of the subjects.
    Blocked {
        /// Time until the block ends.
        lasts: Span,
    },
}

/// The shards that a decision needs.
pub trait Shards {
    /// The shard of that number, below [`SHARDS`].
    fn shard(&mut self, number: usize) -> &mut Shard;
}

impl Shards for Vec<Shard> {
    fn shard(&mut self, number: usize) -> &mut Shard {
        &mut self[number]
    }
}

/// Checks all counters, then charges all or none (rules §7.8).
///
/// # Errors
/// A counter of an enforced limit is exhausted, or its subject is blocked.
#[expect(
    clippy::result_large_err,
    reason = "refusals are the common case in a flood and must not allocate"
)]
pub fn decide(
    counters: &[Counter],
    shards: &mut impl Shards,
    rules: &[Limit],
    at: Moment,
) -> Result<Admitted, Refused> {
    // Limits that aren't enforced and would refuse because of a block,
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
    // or because they are exhausted.
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

/// By the indices of their counters.
type Checks = SmallVec<[(usize, CounterCheck); COUNTERS_INLINE]>;

/// Begins the penalties and blocks that are due, and finds the limit with the longest wait: a client that retries after that
/// time is not refused by another limit.
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
    let (by, retry_after) = longest.expect("called only if a counter refused");
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
