//! Who is counted when there are more networks than may be counted one by one (semantics §7.9): a network that isn't known yet
//! is counted with its neighbourhood, and when those are too many as well, with one of a fixed number of crowds.
//!
//! So at most `callers_max` networks, a quarter as many neighbourhoods and [`CROWDS`] crowds have used anything. Who is not
//! counted by itself stays with its neighbourhood while that has used anything: a flood lifts no quota.
//!
//! Absent on purpose: request limits, which have a table of their own (`limits`), and accounts and users, which no stranger
//! makes.

use super::Policy;
use super::caller::{Caller, NetworkId};
use super::time::Timestamp;

/// Crowds that there may be, known by the first numbers.
pub const CROWDS: u64 = 4_096;

/// A quarter as many neighbourhoods as networks.
const NEIGHBOURHOODS_PART: usize = 4;

impl Policy {
    /// Whether networks may have to be counted by neighbourhood now: there are too many, or were, and what neighbourhoods have
    /// used may count still. As long as this is false, [`Self::counted_as`] gives everybody's own.
    pub fn is_crowded(&mut self, now: Timestamp) -> bool {
        let wall = self.wall_clock(now);
        if self.networks() >= self.rules.callers_max as usize {
            self.crowded_until = wall + self.quotas.memory();
        }
        self.crowded_until > wall
    }

    /// As whom the network is counted whose neighbourhood is known by that number.
    pub fn counted_as(&mut self, own: NetworkId, neighbourhood: NetworkId, now: Timestamp) -> NetworkId {
        if !self.is_crowded(now) || self.knows(own) {
            return own;
        }
        let (networks, max) = (self.networks(), self.rules.callers_max as usize);
        if self.knows(neighbourhood) {
            neighbourhood
        } else if networks < max {
            own
        } else if networks < max + max / NEIGHBOURHOODS_PART {
            neighbourhood
        } else {
            NetworkId(neighbourhood.0 % CROWDS)
        }
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
