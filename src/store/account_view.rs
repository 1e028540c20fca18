//! The accounts as one configuration generation sees them: those declared in its tiers.yaml, which are fixed, and the stored
//! ones, which operators may change at any time.

use std::collections::HashMap;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::account::Account;
use super::directory::Directory;
use super::keys::{self, KeyForm, KeyHash, KeyId};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// The accounts as one configuration generation sees them.
#[derive(Debug, Default)]
pub struct AccountView {
    /// Clients choose the keys, so the map keeps the standard library's hasher, which resists flooding.
    keys: HashMap<KeyId, Arc<Account>>,
    declared: HashMap<AccountId, Arc<Account>>,
    directory: Arc<Directory>,
}

impl AccountView {
    /// The accounts that are declared now, and whatever the directory has stored at any time.
    pub fn of(directory: &Arc<Directory>) -> Self {
        let mut known = Self {
            directory: Arc::clone(directory),
            ..Self::default()
        };
        for account in directory.declared() {
            let held = account.keys().iter().map(|key| (key.id(), Arc::clone(&account)));
            known.keys.extend(held);
            known.declared.insert(account.id, account);
        }
        known
    }

    /// The account of a key that has not expired. A key in tiergate's form with a wrong checksum needs no look-up. Hashes are
    /// looked up and compared, never keys, so the duration reveals nothing about any key.
    pub fn find(&self, key: &[u8], now: UnixTime) -> Option<Arc<Account>> {
        if KeyForm::of(key) == KeyForm::Misspelled {
            return None;
        }
        let hash = keys::hash(key);
        let listed = self.listed_owner(&hash);
        let is_listed = listed.is_some();
        let owner = listed.or_else(|| self.directory.stored_owner(&hash, now))?;
        self.directory.sightings().used(&hash, key, is_listed, now);
        Some(owner)
    }

    // A declared key never expires.
    fn listed_owner(&self, hash: &KeyHash) -> Option<Arc<Account>> {
        let account = self.keys.get(&KeyId::of(hash))?;
        let held = account.key(KeyId::of(hash))?;
        bool::from(held.hash.ct_eq(hash)).then(|| Arc::clone(account))
    }

    /// The account of that id, if this generation's tiers.yaml lists it.
    pub fn declared(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.declared.get(&id)
    }
}
