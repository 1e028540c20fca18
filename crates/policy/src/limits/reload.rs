//! Other rules while requests go on: which counters stay, and how a request that has met the limits by older (or newer) rules is
//! decided by the ones that hold. Limits are known again by name.
//!
//! What a reload does to a counter:
//!
//! | the limit | its counters |
//! |---|---|
//! | stays, or changes in its number or in what it is for | stay as they are: as many requests count |
//! | has another kind or window | all that counts does so as if it had come now ([`super::cell`]) |
//! | has another penalty | one that runs goes on, for no longer than the new one or its window, whichever is longer |
//! | blocks by another rule | a block goes on, for no longer than the new rule's |
//! | blocks no more | nobody is blocked by it |
//! | is new | it begins empty |
//! | vanished | is forgotten |
//!
//! So nothing is lifted, and nobody is kept out for longer than the new limit would.
//!
//! Absent on purpose: the locks, all of which must be held (`gate`), and where rules come from.

use smallvec::SmallVec;

use super::shard::{Counted, Rooms};
use super::{Admitted, COUNTERS_INLINE, Counter, Left, Lefts, Moment, Refused, Shard, Shards, decide};
use crate::rules::{LIMITS_MAX, LimitId, LimitSet, Rules};

/// The change of all shards from some rules to others.
#[derive(Debug)]
pub struct Reload<'r> {
    from: &'r Rules,
    to: &'r Rules,
    /// Which of the old limits the new ones were.
    names: Names,
    /// For what is new, by the new limits: one for all shards together.
    rooms: Vec<Rooms>,
}

impl<'r> Reload<'r> {
    /// To be applied to every shard, before any decision by the new rules.
    pub fn new(from: &'r Rules, to: &'r Rules) -> Self {
        Self {
            from,
            to,
            names: Names::of(to, from),
            rooms: to.limits.iter().map(|_| Rooms::new(to)).collect(),
        }
    }

    /// This shard is for the new rules from now on.
    pub fn apply(&self, shard: &mut Shard, at: Moment) {
        let callers_max = self.to.callers_max as usize;
        shard.reload(|old| {
            let limits = (0..).map(LimitId).zip(&self.to.limits).zip(&self.rooms);
            let counted = limits.map(|((id, limit), rooms)| {
                let known = self.names.find(id);
                let Some((from, mut counted)) = known.and_then(|id| Some((id, old[id.index()].take()?))) else {
                    return Counted::new((limit, rooms));
                };
                counted.carry(&self.from.limits[from.index()], limit, rooms, callers_max, at);
                counted
            });
            counted.collect()
        });
    }
}

/// Which limits of some rules are which of others, by name.
#[derive(Debug)]
pub struct Names([Option<LimitId>; LIMITS_MAX]);

impl Names {
    /// Of the limits of `these` rules, which they are in `those`.
    pub fn of(these: &Rules, those: &Rules) -> Self {
        let mut known = [None; LIMITS_MAX];
        for (known, limit) in known.iter_mut().zip(&these.limits) {
            let mut others = (0..).map(LimitId).zip(&those.limits);
            *known = others.find(|(_, other)| other.name == limit.name).map(|(id, _)| id);
        }
        Self(known)
    }

    /// Which it is there; `None`: there is no such limit.
    pub fn find(&self, id: LimitId) -> Option<LimitId> {
        self.0[id.index()]
    }
}

/// Decides about counters that were made by `theirs` where the rules `ours` hold: [`decide`], and the answer in terms of `theirs`.
/// What only one of them knows, or only one enforces, is neither checked nor charged.
///
/// # Errors
/// As [`decide`].
#[expect(clippy::result_large_err, reason = "as the decision's own, which it answers with")]
pub fn decide_by_name(
    counters: &[Counter],
    theirs: &Rules,
    shards: &mut impl Shards,
    ours: &Rules,
    at: Moment,
) -> Result<Admitted, Refused> {
    let (there, back) = (Names::of(theirs, ours), Names::of(ours, theirs));
    let ours_of = |(place, counter): (usize, &Counter)| {
        let limit = there.find(counter.limit)?;
        // By the number of the one and the word of the other it would be refused as neither says.
        let is_as_before = theirs.limits[counter.limit.index()].enforce == ours.limits[limit.index()].enforce;
        is_as_before.then_some((place, Counter { limit, ..*counter }))
    };
    let (places, known): (SmallVec<[usize; COUNTERS_INLINE]>, SmallVec<[Counter; COUNTERS_INLINE]>) =
        counters.iter().enumerate().filter_map(ours_of).unzip();
    let theirs_of = |left: Left| {
        let limit = back.find(left.limit)?;
        Some(Left { limit, ..left })
    };
    let lefts = |lefts: Lefts| lefts.into_iter().filter_map(theirs_of).collect();
    match decide(&known, shards, &ours.limits, at) {
        Ok(admitted) => Ok(Admitted {
            left: lefts(admitted.left),
            unenforced: (admitted.unenforced.iter())
                .filter_map(|id| back.find(id))
                .fold(LimitSet::default(), LimitSet::with),
        }),
        Err(Refused::Blocked { lasts }) => Err(Refused::Blocked { lasts }),
        Err(Refused::Limited {
            by,
            retry_after,
            left,
            blocked,
        }) => Err(Refused::Limited {
            by: places[by],
            retry_after,
            left: lefts(left),
            blocked: blocked.into_iter().map(|place| places[place]).collect(),
        }),
    }
}
