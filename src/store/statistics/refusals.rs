//! Refusals, counted in memory and written once a minute, so a flood of them writes nothing.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::last_minute::LastMinute;
use crate::policy::caller::Caller;
use crate::policy::refusal::Reason;
use crate::policy::time::UnixTime;
use crate::store::{LedgerEntry, RefusalRecord};

/// Combinations of caller and kind of refusal that are counted separately within a minute, in all shards together. Further
/// ones are counted together. About 6 MB.
pub const CALLERS_PER_MINUTE_MAX: usize = 65_536;

/// The number of locks, so that cores seldom contend.
const SHARDS: usize = 16;
const CALLERS_PER_SHARD_MAX: usize = CALLERS_PER_MINUTE_MAX / SHARDS;

/// Refusals since the last flush.
#[derive(Debug, Default)]
pub struct RefusalCounts {
    shards: [RefusalShard; SHARDS],
}

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct RefusalShard(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    /// All callers' refusals. Bounded by the tiers, reasons and statuses.
    all: HashMap<RefusalKind, u32>,
    /// Clients choose the callers, so the map keeps the standard library's hasher. At most [`CALLERS_PER_SHARD_MAX`].
    callers: HashMap<(Caller, RefusalKind), u32>,
    /// By tier. A flush leaves it as it is.
    last: LastMinute,
}

/// What distinguishes refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RefusalKind {
    tier: Arc<str>,
    reason: Reason,
    status: u16,
}

impl RefusalCounts {
    /// No refusals yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a refusal at that time in that tier; empty if the tier is not known. Takes a lock for two look-ups, and doesn't allocate for a
    /// caller that was refused in the same way before within the minute.
    pub fn refused(&self, caller: Option<Caller>, tier: &Arc<str>, reason: Reason, status: u16, at: UnixTime) {
        let kind = RefusalKind {
            tier: Arc::clone(tier),
            reason,
            status,
        };
        let mut minute = self.shards[shard(caller)].0.lock();
        if let Some(caller) = caller {
            minute.count_caller(caller, &kind);
        }
        minute.last.count(tier, at);
        add(&mut minute.all, kind, 1);
    }

    /// The counts since the last flush, by reason and status, over all callers.
    pub fn pending(&self) -> Vec<(Reason, u16, u64)> {
        let mut all: HashMap<(Reason, u16), u64> = HashMap::new();
        for shard in &self.shards {
            for (kind, count) in &shard.0.lock().all {
                *all.entry((kind.reason, kind.status)).or_default() += u64::from(*count);
            }
        }
        let entry = |((reason, status), count)| (reason, status, count);
        all.into_iter().map(entry).collect()
    }

    /// Refusals of the 60 seconds up to `now`, by tier; empty for an unknown tier.
    pub fn last_minute(&self, now: UnixTime) -> HashMap<Arc<str>, u64> {
        let mut all = HashMap::new();
        for shard in &self.shards {
            shard.0.lock().last.add_to(&mut all, now);
        }
        all
    }

    /// Takes the counts since the last flush, as of that minute, with each refusal once: by caller for those with a debit, and
    /// for all others together. A user without a debit counts for its account. The order is undefined.
    pub fn flush(&self, minute: UnixTime, has_debit: impl Fn(&Caller) -> bool) -> Vec<LedgerEntry> {
        let minute = UnixTime::from_secs(minute.as_secs() / 60 * 60);
        let mut others: HashMap<RefusalKind, u32> = HashMap::new();
        let mut callers: HashMap<(Caller, RefusalKind), u32> = HashMap::new();
        for shard in &self.shards {
            let counted = shard.0.lock().take();
            for (kind, count) in counted.all {
                add(&mut others, kind, count);
            }
            for ((caller, kind), count) in counted.callers {
                if let Some(known) = caller.counted().find(&has_debit) {
                    if let Some(all) = others.get_mut(&kind) {
                        *all = all.saturating_sub(count);
                    }
                    add(&mut callers, (known, kind), count);
                }
            }
        }
        let others = others.into_iter().map(|(kind, count)| (None, kind, count));
        let callers = callers
            .into_iter()
            .map(|((caller, kind), count)| (Some(caller), kind, count));
        let rows = others.chain(callers).filter(|(_, _, count)| *count > 0);
        let row = |(caller, kind, count): (Option<Caller>, RefusalKind, u32)| {
            LedgerEntry::Refused(RefusalRecord {
                minute,
                caller,
                tier: kind.tier,
                reason: kind.reason,
                status: kind.status,
                count,
            })
        };
        rows.map(row).collect()
    }
}

impl Minute {
    /// What was counted since the last flush.
    fn take(&mut self) -> Self {
        let last = mem::take(&mut self.last);
        let empty = Self {
            last,
            ..Self::default()
        };
        mem::replace(self, empty)
    }

    fn count_caller(&mut self, caller: Caller, kind: &RefusalKind) {
        let key = (caller, kind.clone());
        if let Some(count) = self.callers.get_mut(&key) {
            *count = count.saturating_add(1);
        } else if self.callers.len() < CALLERS_PER_SHARD_MAX {
            self.callers.insert(key, 1);
        }
    }
}

fn add<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K, more: u32) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}

/// Networks and users are keyed hashes and accounts are numbered consecutively: both spread evenly without hashing.
const fn shard(caller: Option<Caller>) -> usize {
    let spread = match caller {
        None => 0,
        Some(Caller::Account(account)) => account.0 as u64,
        Some(Caller::Network(network)) => network.0,
        Some(Caller::User { user, .. }) => user.0,
    };
    (spread % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::caller::{AccountId, NetworkId, UserId};

    const MINUTE: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn refused(caller: Option<Caller>, reason: Reason, status: u16, count: u32) -> LedgerEntry {
        LedgerEntry::Refused(RefusalRecord {
            minute: MINUTE,
            caller,
            tier: "free".into(),
            reason,
            status,
            count,
        })
    }

    fn sorted(mut entries: Vec<LedgerEntry>) -> Vec<LedgerEntry> {
        entries.sort_by_key(|entry| format!("{entry:?}"));
        entries
    }

    #[test]
    fn a_flush_reports_each_refusal_once() {
        let refusals = RefusalCounts::new();
        let tier: Arc<str> = "free".into();
        let (account, of) = (Caller::Account(AccountId(7)), AccountId(7));
        let (user, other) = (UserId(3), UserId(4));
        let (user, other) = (Caller::User { of, user }, Caller::User { of, user: other });
        refusals.refused(None, &tier, Reason::BadRequest, 400, MINUTE);
        refusals.refused(Some(account), &tier, Reason::QuotaDepleted, 402, MINUTE);
        refusals.refused(Some(user), &tier, Reason::QuotaDepleted, 402, MINUTE);
        refusals.refused(Some(other), &tier, Reason::QuotaDepleted, 402, MINUTE);
        refusals.refused(
            Some(Caller::Network(NetworkId(9))),
            &tier,
            Reason::QueueFull,
            503,
            MINUTE,
        );

        let mut pending = refusals.pending();
        pending.sort_unstable();
        let expected = [
            (Reason::BadRequest, 400, 1),
            (Reason::QuotaDepleted, 402, 3),
            (Reason::QueueFull, 503, 1),
        ];
        assert_eq!(pending, expected);

        let late = MINUTE + crate::policy::time::Span::from_secs(59);
        let entries = refusals.flush(late, |caller| [account, user].contains(caller));
        let expected = vec![
            refused(None, Reason::BadRequest, 400, 1),
            refused(None, Reason::QueueFull, 503, 1),
            refused(Some(account), Reason::QuotaDepleted, 402, 2),
            refused(Some(user), Reason::QuotaDepleted, 402, 1),
        ];
        assert_eq!(sorted(entries), sorted(expected));
        assert_eq!(refusals.flush(late, |_| true), []);
    }

    #[test]
    fn a_flood_of_callers_is_bounded_and_loses_no_refusal() {
        let refusals = RefusalCounts::new();
        let tier: Arc<str> = "free".into();
        let flood = CALLERS_PER_MINUTE_MAX as u64 * 2;
        for network in 0..flood {
            refusals.refused(
                Some(Caller::Network(NetworkId(network))),
                &tier,
                Reason::QueueFull,
                503,
                MINUTE,
            );
        }
        let entries = refusals.flush(MINUTE, |_| true);
        assert_eq!(entries.len(), CALLERS_PER_MINUTE_MAX + 1);
        let rest = u32::try_from(flood).expect("fits") - CALLERS_PER_MINUTE_MAX as u32;
        assert!(entries.contains(&refused(None, Reason::QueueFull, 503, rest)));
    }
}
