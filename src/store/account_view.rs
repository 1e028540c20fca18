//! The accounts as one tiers.yaml knows them: whom it lists, which never changes for whoever decides by it, and whom operators
//! have stored, who may change at any time.

use std::collections::HashMap;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::account::Account;
use super::directory::Directory;
use super::keys::{self, Form, KeyHash, KeyId};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// The accounts as one tiers.yaml knows them.
#[derive(Debug, Default)]
pub struct AccountView {
    /// Keys come from strangers, so the map keeps the standard library's hasher, which is made against attack.
    keys: HashMap<KeyId, Arc<Account>>,
    listed: HashMap<AccountId, Arc<Account>>,
    directory: Arc<Directory>,
}

impl AccountView {
    /// Those that are listed now, and whoever is stored in that directory, now or later.
    pub fn of(directory: &Arc<Directory>) -> Self {
        let mut known = Self {
            directory: Arc::clone(directory),
            ..Self::default()
        };
        for account in directory.listed() {
            let held = account.keys().iter().map(|key| (key.id(), Arc::clone(&account)));
            known.keys.extend(held);
            known.listed.insert(account.id, account);
        }
        known
    }

    /// Whose key it is; nobody's if it has expired. A key of our own form with a wrong checksum is told without a look-up. What is
    /// looked up and compared is a hash, so the time that it takes says nothing about any key.
    pub fn find(&self, key: &[u8], now: UnixTime) -> Option<Arc<Account>> {
        if Form::of(key) == Form::Misspelled {
            return None;
        }
        let hash = keys::hash(key);
        self.listed_owner(&hash)
            .or_else(|| self.directory.stored_owner(&hash, now))
    }

    /// A listed key never expires.
    fn listed_owner(&self, hash: &KeyHash) -> Option<Arc<Account>> {
        let account = self.keys.get(&KeyId::of(hash))?;
        let held = account.key(KeyId::of(hash))?;
        bool::from(held.hash.ct_eq(hash)).then(|| Arc::clone(account))
    }

    /// The account of that id, if it is listed in this file.
    pub fn listed(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.listed.get(&id)
    }
}
