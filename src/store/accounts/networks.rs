//! Changes to what is said of networks, in the database.

use std::sync::Arc;

use ipnet::IpNet;

use super::{AccountStore, ChangeError, Changing};
use crate::policy::time::UnixTime;
use crate::store::network::{NETWORKS_MAX, NetworkChange, NetworkEntry, canonical};

impl AccountStore {
    /// Says something of a network, and answers with all that is said of it now; that may be nothing any more. What leaves
    /// everything as it is is not written.
    ///
    /// # Errors
    /// What it would say is out of bounds, there are too many networks, or it is to be unblocked and tiers.yaml blocks it.
    pub fn set_network(
        &self,
        network: IpNet,
        what: &NetworkChange,
        now: UnixTime,
    ) -> Result<Arc<NetworkEntry>, ChangeError> {
        let network = canonical(network);
        let mut change = self.begin();
        let old = self.networks.get(network);
        let old = old.unwrap_or_else(|| Arc::new(self.networks.bare(network)));
        if old.listed && what.block == Some(None) {
            return Err(ChangeError::ListedNetwork);
        }
        let new = Arc::new(old.changed(what, now)?);
        if new == old {
            return Ok(new);
        }
        if old.is_bare() {
            change.make_room_for_network(now)?;
        }
        change.networks.push(Arc::clone(&new));
        change.commit(now)?;
        Ok(new)
    }

    /// Takes back all that is said of a network, and answers with what it was.
    ///
    /// # Errors
    /// Nothing is said of it, or by tiers.yaml alone.
    pub fn remove_network(&self, network: IpNet, now: UnixTime) -> Result<Arc<NetworkEntry>, ChangeError> {
        let network = canonical(network);
        let mut change = self.begin();
        let old = self.networks.get(network).ok_or(ChangeError::UnknownNetwork)?;
        if old.is_bare() {
            return Err(ChangeError::ListedNetwork);
        }
        change.networks.push(Arc::new(self.networks.bare(network)));
        change.commit(now)?;
        Ok(old)
    }
}

impl Changing<'_> {
    /// Sees that there is room for one more. Blocks whose time is over go if they are in the way.
    fn make_room_for_network(&mut self, now: UnixTime) -> Result<(), ChangeError> {
        let networks = &self.store.networks;
        if networks.len() < NETWORKS_MAX {
            return Ok(());
        }
        let over = networks.over(now);
        if !over.iter().any(|entry| entry.is_bare()) {
            return Err(ChangeError::TooManyNetworks);
        }
        self.networks.extend(over);
        Ok(())
    }
}
