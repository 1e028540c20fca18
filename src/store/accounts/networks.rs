//! Changes to network entries in the database.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::json;

use super::{AccountStore, ChangeError, Changing, Event};
use crate::policy::time::UnixTime;
use crate::store::account::Change;
use crate::store::audit::Stamp;
use crate::store::network::{NETWORKS_MAX, NetworkChange, NetworkEntry, canonical};

impl AccountStore {
    /// Changes a network's entry and returns the result, which may be empty. Writes nothing if nothing changes.
    ///
    /// # Errors
    /// A value would be out of bounds, there are too many networks, or tiers.yaml blocks the network that is to be unblocked.
    pub fn set_network(
        &self,
        network: IpNet,
        what: &NetworkChange,
        stamp: impl Into<Stamp>,
    ) -> Result<Arc<NetworkEntry>, ChangeError> {
        let (network, stamp) = (canonical(network), stamp.into());
        let now = stamp.at;
        let mut change = self.begin();
        let old = self.networks.get(network);
        let old = old.unwrap_or_else(|| Arc::new(self.networks.bare(network)));
        if old.declared && what.block == Change::Clear {
            return Err(ChangeError::DeclaredNetwork);
        }
        let new = Arc::new(old.changed(what, now)?);
        if new == old {
            return Ok(new);
        }
        if old.is_bare() {
            change.make_room_for_network(now)?;
        }
        change.networks.push(Arc::clone(&new));
        change.commit(stamp, event(&new, what))?;
        Ok(new)
    }

    /// Removes a network's entry and returns it.
    ///
    /// # Errors
    /// There is none, or only tiers.yaml has one.
    pub fn remove_network(&self, network: IpNet, stamp: impl Into<Stamp>) -> Result<Arc<NetworkEntry>, ChangeError> {
        let network = canonical(network);
        let mut change = self.begin();
        let old = self.networks.get(network).ok_or(ChangeError::UnknownNetwork)?;
        if old.is_bare() {
            return Err(ChangeError::DeclaredNetwork);
        }
        change.networks.push(Arc::new(self.networks.bare(network)));
        change.commit(
            stamp.into(),
            Event::new("network_remove", &network.to_string(), json!({})),
        )?;
        Ok(old)
    }
}

fn event(entry: &NetworkEntry, what: &NetworkChange) -> Event {
    let (action, block) = match &what.block {
        Change::Set(block) => ("network_block", Some(block)),
        Change::Clear => ("network_unblock", None),
        Change::Keep => ("network_change", None),
    };
    let limits: Vec<&str> = what.limits.iter().map(|(name, _)| &**name).collect();
    let detail = json!({
        "limits": limits, "note": what.note != Change::Keep, "until_ms": block.and_then(|block| block.until).map(UnixTime::as_millis),
        "why": block.and_then(|block| block.why.as_deref()),
    });
    Event::new(action, &entry.network.to_string(), detail)
}

impl Changing<'_> {
    /// Checks that one more entry fits. Drops expired blocks if they are in the way.
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
