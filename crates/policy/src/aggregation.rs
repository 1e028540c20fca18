//! Counting when there are more networks than may be counted individually (rules §7.9, §7.21): a new network is counted with its
//! wider prefix, and when there are too many of those as well, with one of a fixed number of groups chosen by its region.
//!
//! So at most `callers_max` networks, a quarter as many prefixes and [`GROUPS`] groups have usage. The usage of a network that
//! is not counted individually is with its prefix or group. It stays there until there is capacity and no job of that prefix or
//! group is in flight; then the network is counted individually, beginning with all that they have used. It may be refused too
//! early, never too late: a flood lifts no quota.
//!
//! Request limits have a table of their own (`limits`). Accounts and users need none of this: clients can't create them.

use super::Policy;
use super::caller::{Caller, HashedOrigin, NetworkId};
use super::time::Timestamp;

/// Groups, with the lowest network ids.
pub const GROUPS: u32 = 4_096;

/// Prefixes, as a part of the number of networks.
const PREFIXES_PART: usize = 4;

impl Policy {
    /// Whether networks may have to be counted together now: there are too many, or were, and their shared usage may still
    /// count. While this is false, [`Self::counted_as`] returns the network's own id.
    pub fn is_aggregating(&mut self, now: Timestamp) -> bool {
        let wall = self.wall_clock(now);
        if self.networks() >= self.rules.callers_max as usize {
            self.aggregating_until = wall + self.quotas.memory();
        }
        self.aggregating_until > wall
    }

    /// The id under which a network is counted.
    pub fn counted_as(&mut self, hashed_origin: HashedOrigin, now: Timestamp) -> NetworkId {
        let HashedOrigin {
            network,
            prefix,
            region,
        } = hashed_origin;
        if !self.is_aggregating(now) || self.knows(network) {
            return network;
        }
        let group = NetworkId(u64::from(region % GROUPS));
        // From the narrowest level to the widest: the first with capacity, and the first that may have usage.
        let levels = [network, prefix, group];
        let free = self.level_with_capacity();
        let used = (1..levels.len()).find(|level| self.knows(levels[*level]));
        let level = match used {
            Some(used) if free < used && self.jobs_of(&Caller::Network(levels[used])) == 0 => {
                let (from, to) = (Caller::Network(levels[used]), Caller::Network(levels[free]));
                self.quotas.copy(&from, to);
                free
            }
            Some(used) => used,
            None => free,
        };
        if level > 0 {
            // Its usage may be shared for this long.
            self.aggregating_until = self.wall_clock(now) + self.quotas.memory();
        }
        levels[level]
    }

    /// The level with capacity: one more network (0), one more prefix (1), or neither (2).
    fn level_with_capacity(&self) -> usize {
        let (networks, max) = (self.networks(), self.rules.callers_max as usize);
        let bounds = [max, max + max / PREFIXES_PART];
        bounds.iter().take_while(|bound| networks >= **bound).count()
    }

    /// Networks with usage.
    fn networks(&self) -> usize {
        let [_, networks, _] = self.quotas.callers();
        networks
    }

    /// Whether the network has usage or a job in flight.
    fn knows(&self, network: NetworkId) -> bool {
        let caller = Caller::Network(network);
        self.quotas.knows(&caller) || self.jobs_of(&caller) > 0
    }
}
