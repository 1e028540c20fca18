//! Who is who, in memory: nothing in it waits for a disk. Requests look here for whoever is stored; those that tiers.yaml lists
//! are here for operators, and known to a request by its own file (`known`).
//!
//! Absent on purpose: reasons against a change. Whoever steps here has checked, and has written it down before.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use super::account::{Account, Origin};
use super::keys::{Key, KeyHash, KeyId};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// All accounts and their keys.
#[derive(Debug, Default)]
pub struct Directory {
    state: RwLock<State>,
}

/// Guarded by the directory's lock, which is held for a look-up and never across an await.
#[derive(Debug, Default)]
struct State {
    /// Keys come from strangers, so the map keeps the standard library's hasher, which is made against attack.
    keys: HashMap<KeyId, Held>,
    accounts: HashMap<AccountId, Entry>,
    names: BTreeMap<String, AccountId>,
    /// Accounts by the name of their tier.
    tiers: BTreeMap<String, u32>,
}

/// A key with its owner beside it: one look-up a request.
#[derive(Debug)]
struct Held {
    key: Arc<Key>,
    account: Arc<Account>,
}

#[derive(Debug)]
struct Entry {
    account: Arc<Account>,
    keys: Vec<Arc<Key>>,
}

/// Accounts of tiers that there aren't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The first of them, in the order of their names.
    pub accounts: Vec<Arc<Account>>,
    /// How many there are in all.
    pub count: u32,
}

/// One step of a change: the disk and the memory take the same.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The account is as this says.
    Put(Arc<Account>),
    /// The account is gone, and its keys with it.
    Remove(Arc<Account>),
    /// The key is as this says.
    Give(Arc<Key>),
    /// The key is gone.
    Take(Arc<Key>),
}

impl Directory {
    /// Whose the key of that hash is, of those who are stored; nobody's if it has expired.
    pub(super) fn stored_owner(&self, hash: &KeyHash, now: UnixTime) -> Option<Arc<Account>> {
        let state = self.state.read();
        let held = state.keys.get(&KeyId::of(hash))?;
        let is_stored = held.account.origin == Origin::Stored;
        let is_it = is_stored && bool::from(held.key.hash.ct_eq(hash)) && !held.key.is_expired(now);
        is_it.then(|| Arc::clone(&held.account))
    }

    /// The account of that id.
    pub fn get(&self, id: AccountId) -> Option<Arc<Account>> {
        self.state
            .read()
            .accounts
            .get(&id)
            .map(|entry| Arc::clone(&entry.account))
    }

    /// The account of that name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        let state = self.state.read();
        let id = state.names.get(name)?;
        state.accounts.get(id).map(|entry| Arc::clone(&entry.account))
    }

    /// The account's keys, the oldest first. None if there is no such account.
    pub fn keys_of(&self, id: AccountId) -> Vec<Arc<Key>> {
        let state = self.state.read();
        let mut keys = state
            .accounts
            .get(&id)
            .map(|entry| entry.keys.clone())
            .unwrap_or_default();
        keys.sort_by_key(|key| (key.created, key.id()));
        keys
    }

    /// The key of that id.
    pub fn key(&self, id: KeyId) -> Option<Arc<Key>> {
        self.state.read().keys.get(&id).map(|held| Arc::clone(&held.key))
    }

    /// Up to `limit` accounts in the order of their names, those after that name.
    pub fn page(&self, after: &str, limit: usize) -> Vec<Arc<Account>> {
        let state = self.state.read();
        let names = state.names.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        names
            .filter_map(|(_, id)| state.accounts.get(id))
            .take(limit)
            .map(|entry| Arc::clone(&entry.account))
            .collect()
    }

    /// How many accounts name each tier. Every name is of a tier that there is or was: strangers can't add any.
    pub fn tiers(&self) -> BTreeMap<String, u32> {
        self.state.read().tiers.clone()
    }

    /// The accounts whose tier is none of those: how many, and the first `named_max` of them. As long as there are accounts, if
    /// there is such a one.
    pub fn lost(&self, is_tier: impl Fn(&str) -> bool, named_max: usize) -> Lost {
        let state = self.state.read();
        let lost = state.tiers.iter().filter(|(tier, _)| !is_tier(tier));
        let count = lost.map(|(_, count)| count).sum();
        if count == 0 {
            return Lost::default();
        }
        let accounts = state.names.values().filter_map(|id| state.accounts.get(id));
        let lost = accounts.filter(|entry| !is_tier(&entry.account.tier));
        Lost {
            accounts: lost.take(named_max).map(|entry| Arc::clone(&entry.account)).collect(),
            count,
        }
    }

    /// Who is listed in tiers.yaml, with their keys.
    pub(super) fn listed(&self) -> Vec<(Arc<Account>, Vec<Arc<Key>>)> {
        let state = self.state.read();
        let entries = state.accounts.values();
        let listed = entries.filter(|entry| entry.account.origin == Origin::Listed);
        listed
            .map(|entry| (Arc::clone(&entry.account), entry.keys.clone()))
            .collect()
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.state.read().accounts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the steps, all at once for whoever looks.
    pub(super) fn take(&self, steps: &[Step]) {
        let mut state = self.state.write();
        for step in steps {
            state.step(step);
        }
    }

    /// What is stored is this and nothing else; who is listed stays.
    pub(super) fn restore(&self, accounts: Vec<Account>, keys: Vec<Key>) {
        let mut new = State::default();
        let mut state = self.state.write();
        for entry in state
            .accounts
            .values()
            .filter(|entry| entry.account.origin == Origin::Listed)
        {
            new.step(&Step::Put(Arc::clone(&entry.account)));
            for key in &entry.keys {
                new.step(&Step::Give(Arc::clone(key)));
            }
        }
        for account in accounts {
            new.step(&Step::Put(Arc::new(account)));
        }
        for key in keys {
            new.step(&Step::Give(Arc::new(key)));
        }
        *state = new;
    }

    /// Whose the key of that hash is, expired or not.
    pub(super) fn owner(&self, hash: &KeyHash) -> Option<Arc<Account>> {
        let state = self.state.read();
        state.keys.get(&KeyId::of(hash)).map(|held| Arc::clone(&held.account))
    }
}

impl State {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(account) => self.put(account),
            Step::Remove(account) => self.remove(account.id),
            Step::Give(key) => self.give(key),
            Step::Take(key) => self.take(key),
        }
    }

    fn put(&mut self, account: &Arc<Account>) {
        let keys = self.accounts.remove(&account.id).map_or_else(Vec::new, |entry| {
            self.uncount(&entry.account);
            entry.keys
        });
        for key in &keys {
            if let Some(held) = self.keys.get_mut(&key.id()) {
                held.account = Arc::clone(account);
            }
        }
        self.names.insert(account.name.clone(), account.id);
        *self.tiers.entry(account.tier.clone()).or_default() += 1;
        let account = Arc::clone(account);
        self.accounts.insert(account.id, Entry { account, keys });
    }

    fn remove(&mut self, id: AccountId) {
        let Some(entry) = self.accounts.remove(&id) else { return };
        self.uncount(&entry.account);
        self.names.remove(&entry.account.name);
        for key in entry.keys {
            self.keys.remove(&key.id());
        }
    }

    fn uncount(&mut self, account: &Account) {
        if let Some(count) = self.tiers.get_mut(&account.tier) {
            *count -= 1;
            if *count == 0 {
                self.tiers.remove(&account.tier);
            }
        }
    }

    fn give(&mut self, key: &Arc<Key>) {
        let Some(entry) = self.accounts.get_mut(&key.account) else {
            return;
        };
        entry.keys.retain(|other| other.hash != key.hash);
        entry.keys.push(Arc::clone(key));
        let held = Held {
            key: Arc::clone(key),
            account: Arc::clone(&entry.account),
        };
        self.keys.insert(key.id(), held);
    }

    fn take(&mut self, key: &Key) {
        self.keys.remove(&key.id());
        if let Some(entry) = self.accounts.get_mut(&key.account) {
            entry.keys.retain(|other| other.hash != key.hash);
        }
    }
}
