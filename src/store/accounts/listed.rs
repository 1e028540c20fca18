//! The accounts that tiers.yaml lists: beside those in the store, with ids that the store gives them.
//!
//! Of them the disk has the ids alone, by name. So a list is first checked, then its new names get their ids, durably, and then
//! it is taken into the [`Directory`], all at once for whoever looks.
//!
//! Absent on purpose: whether a tier exists, and where the list is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::tables;
use super::{AccountStore, Changing, Listed, RelistError, SHOWN_MAX};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::account::{Account, Origin};
use crate::store::directory::{Directory, Step};
use crate::store::keys::{Key, KeyHash, KeyId};

/// Why a list can't stand beside what is stored.
#[derive(Debug)]
pub(super) enum Collision {
    /// These names are in both: at most 20 of them.
    Names(Vec<String>),
    /// The account `listed` has a key that the account `other` has too.
    Key { listed: String, other: String },
}

/// What another list has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relisted {
    /// Accounts that were not listed before.
    pub come: usize,
    /// Accounts whose tier or keys are others now.
    pub changed: usize,
    /// Accounts that are listed no longer.
    pub gone: usize,
}

/// Another list, checked and with an id for each name, durably, but not shown to anybody yet. No account can be changed while
/// it is there.
#[derive(Debug)]
#[must_use = "until it is taken the old list stands"]
pub struct Relisting<'s> {
    change: Changing<'s>,
    relisted: Relisted,
}

impl Relisting<'_> {
    /// From now on the accounts that are listed are these, all at once for whoever looks. Waits for no disk.
    pub fn take(self) -> Relisted {
        self.change.store.directory.take(&self.change.steps);
        self.relisted
    }
}

impl AccountStore {
    /// The accounts that tiers.yaml lists are these from now on, in one step for whoever looks. A name has the id that it had
    /// whenever it was listed; who is not in the list any more has no account, and finds what it has used if it is listed
    /// again. Waits for the disk.
    ///
    /// # Errors
    /// A name or a key is in the store as well, or a key in the list twice; or new names can't be written down. Nothing has
    /// changed for anybody then.
    pub fn relist(&self, listed: &[Listed], now: UnixTime) -> Result<Relisted, RelistError> {
        Ok(self.prepare_list(listed, now)?.take())
    }

    /// The same in two steps, for whoever has something else to do between: everything that waits for the disk or can fail is
    /// done, and [`Relisting::take`] shows it.
    ///
    /// # Errors
    /// As [`Self::relist`].
    pub fn prepare_list(&self, listed: &[Listed], now: UnixTime) -> Result<Relisting<'_>, RelistError> {
        let mut change = self.begin();
        check(listed, &self.directory)?;
        let ids = change.name(listed, now)?;
        let relisted = differences(&self.directory, listed, &ids, &mut change.steps);
        Ok(Relisting { change, relisted })
    }
}

impl Changing<'_> {
    /// Gives each name its id, durably.
    fn name(&mut self, listed: &[Listed], now: UnixTime) -> Result<Vec<(AccountId, UnixTime)>, RelistError> {
        let listed = listed.to_vec();
        let named = self.store.database.write(move |transaction| {
            let ids = tables::name_listed(transaction, &listed, now)?;
            Ok((ids, tables::next_id(transaction)?))
        });
        let (ids, next_id) = named.map_err(|error| RelistError::Unavailable(error.to_string()))?;
        (self.next_id, *self.taken) = (next_id, next_id);
        Ok(ids)
    }
}

/// Puts the listed accounts into a directory that has only what is stored.
///
/// # Errors
/// A name or a key is in both, or a key in the list twice.
pub(super) fn fill(directory: &Directory, listed: &[Listed], ids: &[(AccountId, UnixTime)]) -> Result<(), Collision> {
    check(listed, directory)?;
    let mut steps = Vec::new();
    differences(directory, listed, ids, &mut steps);
    directory.take(&steps);
    Ok(())
}

/// Whether that list can stand beside what the directory has stored.
fn check(listed: &[Listed], directory: &Directory) -> Result<(), Collision> {
    let is_stored = |account: &Account| account.origin == Origin::Stored;
    let both = listed
        .iter()
        .filter(|account| directory.by_name(&account.name).is_some_and(|found| is_stored(&found)));
    let both: Vec<String> = both.map(|account| account.name.clone()).take(SHOWN_MAX).collect();
    if !both.is_empty() {
        return Err(Collision::Names(both));
    }
    let mut owners: HashMap<KeyId, &str> = HashMap::new();
    for account in listed {
        for hash in &account.keys {
            let stored = directory.owner(hash).filter(|owner| is_stored(owner));
            let stored = stored.map(|owner| owner.name.clone());
            let earlier = owners.insert(KeyId::of(hash), &account.name);
            if let Some(other) = stored.or_else(|| earlier.map(str::to_owned)) {
                let listed = account.name.clone();
                return Err(Collision::Key { listed, other });
            }
        }
    }
    Ok(())
}

/// The steps from the list that the directory has to this one. First goes what is to go, so that a key may pass from one
/// account to another.
fn differences(
    directory: &Directory,
    listed: &[Listed],
    ids: &[(AccountId, UnixTime)],
    steps: &mut Vec<Step>,
) -> Relisted {
    let mut before: HashMap<AccountId, (Arc<Account>, Vec<Arc<Key>>)> = directory
        .listed()
        .into_iter()
        .map(|(account, keys)| (account.id, (account, keys)))
        .collect();
    let mut relisted = Relisted::default();
    let mut arrivals = Vec::new();
    for (wanted, (id, since)) in listed.iter().zip(ids) {
        let account = Account::listed(*id, wanted.name.clone(), wanted.tier.clone(), *since);
        let (old, keys) = match before.remove(id) {
            Some((old, keys)) => (Some(old), keys),
            None => (None, Vec::new()),
        };
        let (had, has): (HashSet<KeyHash>, HashSet<KeyHash>) = (
            keys.iter().map(|key| key.hash).collect(),
            wanted.keys.iter().copied().collect(),
        );
        let is_other = old.as_deref() != Some(&account);
        match &old {
            None => relisted.come += 1,
            Some(_) if is_other || had != has => relisted.changed += 1,
            Some(_) => {}
        }
        if is_other {
            arrivals.push(Step::Put(Arc::new(account)));
        }
        steps.extend(keys.into_iter().filter(|key| !has.contains(&key.hash)).map(Step::Take));
        let new = wanted.keys.iter().filter(|hash| !had.contains(*hash));
        arrivals.extend(new.map(|hash| Step::Give(Arc::new(key(*hash, *id, *since)))));
    }
    relisted.gone = before.len();
    steps.extend(before.into_values().map(|(account, _)| Step::Remove(account)));
    steps.append(&mut arrivals);
    relisted
}

fn key(hash: KeyHash, account: AccountId, created: UnixTime) -> Key {
    Key {
        hash,
        account,
        label: String::new(),
        created,
        expires: None,
    }
}
