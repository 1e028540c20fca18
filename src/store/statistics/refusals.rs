//! Refusals, counted in memory and written down once a minute: so a flood writes nothing.
//!
//! Absent on purpose: who has a debit. Whoever flushes says so.

use std::collections::HashMap;
use std::mem;

use parking_lot::Mutex;

use crate::policy::caller::Caller;
use crate::policy::time::UnixTime;
use crate::store::{Entry, Refused};

/// Callers, each with one status, that are told apart within a minute, in all shards together. Beyond that only the door is
/// counted. About 4 MB.
pub const CALLERS_PER_MINUTE_MAX: usize = 65_536;

/// Locks, so that cores seldom wait for one another.
const SHARDS: usize = 16;
const CALLERS_PER_SHARD_MAX: usize = CALLERS_PER_MINUTE_MAX / SHARDS;

/// Refusals since the last flush.
#[derive(Debug, Default)]
pub struct Refusals {
    shards: [Shard; SHARDS],
}

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    /// Of everybody, by status. As many as the door has statuses.
    door: Vec<(u16, u32)>,
    /// Callers are strangers, so the map keeps the standard library's hasher. At most [`CALLERS_PER_SHARD_MAX`].
    callers: HashMap<(Caller, u16), u32>,
}

impl Refusals {
    /// Nobody was refused yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one. A user's counts for its account as well. Takes a lock or two for a look into a map, and allocates nothing for a
    /// caller that was refused before within the minute.
    pub fn refused(&self, caller: Option<Caller>, status: u16) {
        {
            let mut minute = self.shards[shard(caller)].0.lock();
            minute.count_door(status);
            if let Some(caller) = caller {
                minute.count_caller(caller, status);
            }
        }
        if let Some(Caller::User { of, .. }) = caller {
            let account = Caller::Account(of);
            let mut minute = self.shards[shard(Some(account))].0.lock();
            minute.count_caller(account, status);
        }
    }

    /// What was counted since the last flush, as of that minute: the door's sums, then those of callers that have a debit.
    /// Afterwards nothing is counted. The callers' order is no order.
    pub fn flush(&self, minute: UnixTime, has_debit: impl Fn(&Caller) -> bool) -> Vec<Entry> {
        let minute = UnixTime::from_secs(minute.as_secs() / 60 * 60);
        let mut door: Vec<(u16, u32)> = Vec::new();
        let mut entries = Vec::new();
        for shard in &self.shards {
            let counted = mem::take(&mut *shard.0.lock());
            for (status, count) in counted.door {
                add(&mut door, status, count);
            }
            let debited = counted.callers.into_iter().filter(|((caller, _), _)| has_debit(caller));
            entries.extend(debited.map(|((caller, status), count)| {
                Entry::Refused(Refused {
                    minute,
                    caller: Some(caller),
                    status,
                    count,
                })
            }));
        }
        let door = door.into_iter().map(|(status, count)| {
            Entry::Refused(Refused {
                minute,
                caller: None,
                status,
                count,
            })
        });
        door.chain(entries).collect()
    }
}

impl Minute {
    fn count_door(&mut self, status: u16) {
        add(&mut self.door, status, 1);
    }

    fn count_caller(&mut self, caller: Caller, status: u16) {
        if let Some(count) = self.callers.get_mut(&(caller, status)) {
            *count = count.saturating_add(1);
        } else if self.callers.len() < CALLERS_PER_SHARD_MAX {
            self.callers.insert((caller, status), 1);
        }
    }
}

fn add(counts: &mut Vec<(u16, u32)>, status: u16, more: u32) {
    match counts.iter_mut().find(|(known, _)| *known == status) {
        Some((_, count)) => *count = count.saturating_add(more),
        None => counts.push((status, more)),
    }
}

/// Networks and users are keyed hashes and accounts are numbered one by one: each spreads evenly as it is.
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

    fn refused(caller: Option<Caller>, status: u16, count: u32) -> Entry {
        Entry::Refused(Refused {
            minute: MINUTE,
            caller,
            status,
            count,
        })
    }

    #[test]
    fn a_flush_tells_of_the_door_and_of_those_who_have_a_debit_and_then_all_is_forgotten() {
        let refusals = Refusals::new();
        let account = Caller::Account(AccountId(7));
        let user = Caller::User {
            of: AccountId(7),
            user: UserId(3),
        };
        refusals.refused(None, 400);
        refusals.refused(Some(account), 402);
        refusals.refused(Some(user), 402);
        refusals.refused(Some(Caller::Network(NetworkId(9))), 503);

        let late = MINUTE + crate::policy::time::Span::from_secs(59);
        let mut entries = refusals.flush(late, |caller| !matches!(caller, Caller::Network(_)));
        entries.sort_by_key(|entry| format!("{entry:?}"));
        let mut expected = vec![
            refused(None, 400, 1),
            refused(None, 402, 2),
            refused(None, 503, 1),
            refused(Some(account), 402, 2),
            refused(Some(user), 402, 1),
        ];
        expected.sort_by_key(|entry| format!("{entry:?}"));
        assert_eq!(entries, expected);
        assert_eq!(refusals.flush(late, |_| true), []);
    }

    #[test]
    fn a_flood_of_callers_takes_no_more_than_its_room_and_every_one_counts_for_the_door() {
        let refusals = Refusals::new();
        let flood = CALLERS_PER_MINUTE_MAX as u64 * 2;
        for network in 0..flood {
            refusals.refused(Some(Caller::Network(NetworkId(network))), 503);
        }
        let entries = refusals.flush(MINUTE, |_| true);
        assert_eq!(entries.len(), CALLERS_PER_MINUTE_MAX + 1);
        assert_eq!(
            entries.first(),
            Some(&refused(None, 503, u32::try_from(flood).expect("fits")))
        );
    }
}
