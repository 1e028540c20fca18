//! The accounts in memory: never waits for a disk. Requests look stored accounts up here; declared accounts are here for
//! operators, and a request finds them in its own generation (`account_view`).
//!
//! A change is checked, and durable in the database, before it is made here.
//!
//! There may be a million accounts. Each is held once, with its keys, behind one pointer; three indices hold that pointer: by
//! key id, by account id, and by name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use super::account::{Account, Origin};
use super::interner::Interner;
use super::key_sightings::KeySightings;
use super::keys::{Key, KeyHash, KeyId};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// All accounts and their keys.
#[derive(Debug, Default)]
pub struct Directory {
    state: RwLock<DirectoryState>,
    interner: Interner,
    sightings: Arc<KeySightings>,
}

/// Guarded by the directory's lock, which is held for a look-up and never across an await.
#[derive(Debug, Default)]
struct DirectoryState {
    /// Clients choose the keys, so the map keeps the standard library's hasher, which resists flooding.
    keys: HashMap<KeyId, Arc<Account>>,
    accounts: HashMap<AccountId, Arc<Account>>,
    names: BTreeSet<OrderedByName>,
    /// The number of accounts of each tier.
    tiers: BTreeMap<Arc<str>, u32>,
    /// The accounts declared in tiers.yaml.
    declared: BTreeSet<AccountId>,
}

/// Orders accounts by name.
#[derive(Debug)]
struct OrderedByName(Arc<Account>);

impl Borrow<str> for OrderedByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for OrderedByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for OrderedByName {}

impl PartialOrd for OrderedByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

/// Accounts whose tier doesn't exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsWithoutTier {
    /// The first of them, by name.
    pub accounts: Vec<Arc<Account>>,
    /// Their number.
    pub count: u32,
}

/// One step of a change, applied to the database and to memory: an account with its keys, before and after. Steps applied
/// together may move a key from one account to another.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// `None`: it is new.
    pub before: Option<Arc<Account>>,
    /// `None`: it is removed.
    pub after: Option<Arc<Account>>,
}

impl Step {
    /// Adds an account.
    pub fn add(account: Arc<Account>) -> Self {
        Self {
            before: None,
            after: Some(account),
        }
    }

    /// Removes an account with its keys.
    pub fn remove(account: Arc<Account>) -> Self {
        Self {
            before: Some(account),
            after: None,
        }
    }

    /// Replaces an account.
    pub fn change(before: Arc<Account>, after: Arc<Account>) -> Self {
        Self {
            before: Some(before),
            after: Some(after),
        }
    }

    /// Keys that the step removes.
    pub fn removed_keys(&self) -> impl Iterator<Item = &Key> {
        let has = |key: &&Key| self.after.as_ref().is_some_and(|after| after.key(key.id()).is_some());
        keys(self.before.as_ref()).filter(move |key| !has(key))
    }

    /// Keys that the step adds or changes.
    pub fn added_keys(&self) -> impl Iterator<Item = &Key> {
        let had = |key: &&Key| self.before.as_ref().and_then(|before| before.key(key.id())) == Some(*key);
        keys(self.after.as_ref()).filter(move |key| !had(key))
    }
}

fn keys(account: Option<&Arc<Account>>) -> impl Iterator<Item = &Key> {
    account.into_iter().flat_map(|account| account.keys())
}

impl Directory {
    /// A directory of these accounts.
    pub(super) fn of(accounts: Vec<Arc<Account>>, interner: Interner, sightings: Arc<KeySightings>) -> Self {
        Self {
            state: RwLock::new(DirectoryState::of(accounts)),
            interner,
            sightings,
        }
    }

    /// Strings shared by accounts.
    pub(super) const fn interner(&self) -> &Interner {
        &self.interner
    }

    /// Where uses of keys are noted.
    pub(super) fn sightings(&self) -> &KeySightings {
        &self.sightings
    }

    /// The stored account with that key, if the key has not expired.
    pub(super) fn stored_owner(&self, hash: &KeyHash, now: UnixTime) -> Option<Arc<Account>> {
        let state = self.state.read();
        let (id, account) = (KeyId::of(hash), state.keys.get(&KeyId::of(hash))?);
        let key = account.key(id)?;
        let is_stored = account.origin == Origin::Stored;
        let is_it = is_stored && bool::from(key.hash.ct_eq(hash)) && !key.is_expired(now);
        is_it.then(|| Arc::clone(account))
    }

    /// Finds an account by id.
    pub fn get(&self, id: AccountId) -> Option<Arc<Account>> {
        self.state.read().accounts.get(&id).cloned()
    }

    /// Finds an account by name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        let state = self.state.read();
        state.names.get(name).map(|found| Arc::clone(&found.0))
    }

    /// The account with the key of that id, expired or not.
    pub fn owner(&self, id: KeyId) -> Option<Arc<Account>> {
        self.state.read().keys.get(&id).cloned()
    }

    /// Up to `limit` accounts in the order of names, after that name.
    pub fn page(&self, after: &str, limit: usize) -> Vec<Arc<Account>> {
        let state = self.state.read();
        let names = state.names.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        names.take(limit).map(|found| Arc::clone(&found.0)).collect()
    }

    /// The number of accounts per tier. Only operators add names, so the map stays small.
    pub fn tiers(&self) -> BTreeMap<Arc<str>, u32> {
        self.state.read().tiers.clone()
    }

    /// The accounts whose tier `is_tier` denies: their number, and the first `named_max`. Scans the accounts
    /// only if there is one.
    pub fn without_tier(&self, is_tier: impl Fn(&str) -> bool, named_max: usize) -> AccountsWithoutTier {
        let state = self.state.read();
        let lost = state.tiers.iter().filter(|(tier, _)| !is_tier(tier));
        let count = lost.map(|(_, count)| count).sum();
        if count == 0 {
            return AccountsWithoutTier::default();
        }
        let lost = state.names.iter().filter(|found| !is_tier(&found.0.tier));
        AccountsWithoutTier {
            accounts: lost.take(named_max).map(|found| Arc::clone(&found.0)).collect(),
            count,
        }
    }

    /// The accounts declared in tiers.yaml.
    pub(super) fn declared(&self) -> Vec<Arc<Account>> {
        let state = self.state.read();
        let declared = state.declared.iter().filter_map(|id| state.accounts.get(id));
        declared.map(Arc::clone).collect()
    }

    /// The stored accounts of that import source, in the order of names.
    pub(super) fn of_source(&self, source: &str) -> Vec<Arc<Account>> {
        let state = self.state.read();
        let is_of =
            |account: &&Arc<Account>| account.origin == Origin::Stored && account.source.as_deref() == Some(source);
        let accounts = state.names.iter().map(|found| &found.0);
        accounts.filter(is_of).map(Arc::clone).collect()
    }

    /// The number of accounts.
    pub fn len(&self) -> usize {
        self.state.read().accounts.len()
    }

    /// The number of stored accounts.
    pub(super) fn stored(&self) -> usize {
        let state = self.state.read();
        state.accounts.len() - state.declared.len()
    }

    /// Whether there are no accounts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies the steps, at once for all requests.
    pub(super) fn take(&self, steps: &[Step]) {
        let mut state = self.state.write();
        // Remove first: a key may move from one account to another.
        for account in steps.iter().filter_map(|step| step.before.as_ref()) {
            state.remove(account);
        }
        for account in steps.iter().filter_map(|step| step.after.as_ref()) {
            state.put(Arc::clone(account));
        }
    }
}

impl DirectoryState {
    fn of(accounts: Vec<Arc<Account>>) -> Self {
        let keys = accounts.iter().map(|account| account.keys().len()).sum();
        let mut state = Self {
            keys: HashMap::with_capacity(keys),
            accounts: HashMap::with_capacity(accounts.len()),
            // Collecting builds a dense tree.
            names: accounts
                .iter()
                .map(|account| OrderedByName(Arc::clone(account)))
                .collect(),
            ..Self::default()
        };
        for account in accounts {
            state.index(account);
        }
        state
    }

    fn put(&mut self, account: Arc<Account>) {
        self.names.replace(OrderedByName(Arc::clone(&account)));
        self.index(account);
    }

    /// Adds it to all indices except the one by name.
    fn index(&mut self, account: Arc<Account>) {
        for key in account.keys() {
            self.keys.insert(key.id(), Arc::clone(&account));
        }
        if account.origin == Origin::Declared {
            self.declared.insert(account.id);
        }
        *self.tiers.entry(Arc::clone(&account.tier)).or_default() += 1;
        self.accounts.insert(account.id, account);
    }

    fn remove(&mut self, account: &Account) {
        let Some(account) = self.accounts.remove(&account.id) else {
            return;
        };
        if let Some(count) = self.tiers.get_mut(&account.tier) {
            *count -= 1;
            if *count == 0 {
                self.tiers.remove(&account.tier);
            }
        }
        self.declared.remove(&account.id);
        self.names.remove::<str>(&account.name);
        for key in account.keys() {
            self.keys.remove(&key.id());
        }
    }
}
