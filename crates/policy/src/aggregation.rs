//! Who is counted when there are more networks than may be counted one by one (semantics §7.9): a network that isn't known yet
//! is counted with its neighbourhood, and when those are too many as well, with one of a fixed number of crowds, told by its
//! region.
//!
//! So at most `callers_max` networks, a quarter as many neighbourhoods and [`CROWDS`] crowds have used anything. What one who is
//! not counted by itself has used is with its neighbourhood or its crowd. It stays there while there is no room, or while jobs of
//! theirs are in the house; then it is counted apart, beginning with all that they have used. It may be refused too early, never
//! too late: a flood lifts no quota.
//!
//! Absent on purpose: request limits, which have a table of their own (`limits`), and accounts and users, which no stranger
//! makes.

use super::Policy;
use super::caller::{Caller, NetworkId, Whereabouts};
use super::time::Timestamp;

/// Crowds that there may be, known by the first numbers.
pub const CROWDS: u32 = 4_096;

/// A quarter as many neighbourhoods as networks.
const NEIGHBOURHOODS_PART: usize = 4;

impl Policy {
    /// Whether networks may have to be counted with others now: there are too many, or were, and what they have used together may
    /// count still. As long as this is false, [`Self::counted_as`] gives everybody's own.
    pub fn is_crowded(&mut self, now: Timestamp) -> bool {
        let wall = self.wall_clock(now);
        if self.networks() >= self.rules.callers_max as usize {
            self.crowded_until = wall + self.quotas.memory();
        }
        self.crowded_until > wall
    }

    /// As whom the network is counted that is there.
    pub fn counted_as(&mut self, whereabouts: Whereabouts, now: Timestamp) -> NetworkId {
        let Whereabouts {
            network,
            neighbourhood,
            region,
        } = whereabouts;
        if !self.is_crowded(now) || self.knows(network) {
            return network;
        }
        let crowd = NetworkId(u64::from(region % CROWDS));
        // From the narrowest to the widest: where there is room for it, and where it may have used something.
        let levels = [network, neighbourhood, crowd];
        let room = self.level_with_room();
        let used = (1..levels.len()).find(|level| self.knows(levels[*level]));
        let level = match used {
            Some(used) if room < used && self.jobs_of(&Caller::Network(levels[used])) == 0 => {
                let (from, to) = (Caller::Network(levels[used]), Caller::Network(levels[room]));
                self.quotas.copy(&from, to);
                room
            }
            Some(used) => used,
            None => room,
        };
        if level > 0 {
            // What it uses now counts with the others' for so long.
            self.crowded_until = self.wall_clock(now) + self.quotas.memory();
        }
        levels[level]
    }

    /// Whether there is room for one more network (0), for one more neighbourhood (1), or for neither (2).
    fn level_with_room(&self) -> usize {
        let (networks, max) = (self.networks(), self.rules.callers_max as usize);
        let bounds = [max, max + max / NEIGHBOURHOODS_PART];
        bounds.iter().take_while(|bound| networks >= **bound).count()
    }

    /// Networks that have used something.
    fn networks(&self) -> usize {
        let [_, networks, _] = self.quotas.callers();
        networks
    }

    /// Whether the network has used something, or has a job in the house.
    fn knows(&self, network: NetworkId) -> bool {
        let caller = Caller::Network(network);
        self.quotas.knows(&caller) || self.jobs_of(&caller) > 0
    }
}
