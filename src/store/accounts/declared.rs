//! The accounts that tiers.yaml declares, with ids from the store.
//!
//! The database has none of their keys, only a row for each name, which holds its id. A new list is checked, its new names get
//! ids durably, and then the [`Directory`] publishes it, at once for all readers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Value, json};

use super::tables;
use super::{AccountStore, AccountsError, Changing, DeclaredAccount, NO_ID, SHOWN_MAX};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::account::{Account, Origin};
use crate::store::audit::{self, Actor, Stamp};
use crate::store::directory::{Directory, Step};
use crate::store::key_uses;
use crate::store::keys::{Key, KeyHash, KeyId};
use crate::store::rows::{millis, unix_time};

/// Names no longer declared whose ids are kept for their return. Beyond that, those removed longest keep their rows, for their
/// usage, but their names are free.
const REMOVED_NAMES_MAX: i64 = 100_000;

/// The ids of a list, in its order, each with the time when its name was first declared.
pub(super) type Ids = Vec<(AccountId, UnixTime)>;

/// The differences between two lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeclaredChanges {
    /// Newly declared accounts.
    pub added: usize,
    /// Accounts whose tier or keys changed.
    pub changed: usize,
    /// Accounts no longer declared.
    pub removed: usize,
}

/// A new list, checked and with durable ids, but not visible yet. Holds the store's lock, so no account can change meanwhile.
#[derive(Debug)]
#[must_use = "until it is published the old list stands"]
pub struct PreparedAccounts<'s> {
    change: Changing<'s>,
    changes: DeclaredChanges,
}

impl PreparedAccounts<'_> {
    /// Makes the list visible, at once for all readers. Doesn't wait for the disk.
    pub fn publish(self) -> DeclaredChanges {
        self.change.store.directory.take(&self.change.steps);
        self.changes
    }
}

impl AccountStore {
    /// Replaces the declared accounts, in one step for all requests. A name keeps its id: an account that leaves the list and
    /// returns finds its usage. Waits for the disk unless the list is the same.
    ///
    /// # Errors
    /// A name or a key is also in the store, a key is twice in the list, or new names can't be written. Nothing has changed then.
    pub fn declare(&self, declared: &[DeclaredAccount], now: UnixTime) -> Result<DeclaredChanges, AccountsError> {
        Ok(self.prepare_declared(declared, now)?.publish())
    }

    /// The first of two steps, for a caller with work in between: it does all that can fail or wait for the disk, and
    /// [`PreparedAccounts::publish`] makes it visible.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn prepare_declared(
        &self,
        declared: &[DeclaredAccount],
        now: UnixTime,
    ) -> Result<PreparedAccounts<'_>, AccountsError> {
        let mut change = self.begin();
        check(declared, &self.directory)?;
        let names = NameChanges::of(&self.directory, declared);
        let changes = names.counts();
        if changes != DeclaredChanges::default() {
            let ids = change.name(declared, names.audit_detail(), now)?;
            change.steps = steps(&self.directory, declared, &ids);
        }
        Ok(PreparedAccounts { change, changes })
    }
}

impl Changing<'_> {
    /// Gives each name its id, durably, with a row in the audit log.
    fn name(&mut self, declared: &[DeclaredAccount], detail: Value, now: UnixTime) -> Result<Ids, AccountsError> {
        let declared = declared.to_vec();
        let named = self.store.database.write(move |transaction| {
            let Some(named) = assign_ids(transaction, &declared, now)? else {
                return Ok(None);
            };
            log(transaction, &detail, now)?;
            Ok(Some((named.ids, tables::next_id(transaction)?)))
        });
        let named = named.map_err(|error| AccountsError::Unavailable(error.to_string()))?;
        let (ids, next_id) = named.ok_or(AccountsError::NoIds)?;
        (self.next_id, *self.taken) = (next_id, next_id);
        Ok(ids)
    }
}

/// Gives each name of the list at startup its id, and records in the audit log what changed since the last run. `None`: ids
/// are used up.
pub(super) fn declare_at_startup(
    transaction: &Transaction<'_>,
    declared: &[DeclaredAccount],
    now: UnixTime,
) -> rusqlite::Result<Option<Ids>> {
    let Some(named) = assign_ids(transaction, declared, now)? else {
        return Ok(None);
    };
    if named.changes.counts() != DeclaredChanges::default() {
        log(transaction, &named.changes.audit_detail(), now)?;
    }
    Ok(Some(named.ids))
}

fn log(transaction: &Transaction<'_>, detail: &Value, now: UnixTime) -> rusqlite::Result<()> {
    let stamp = Stamp::new(now, Actor::tiers_yaml());
    audit::insert(transaction, &stamp, "list_change", "accounts", detail)
}

/// The names that differ between two lists.
#[derive(Debug, Default)]
struct NameChanges {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl NameChanges {
    /// Compares with the list in memory, keys included.
    fn of(directory: &Directory, declared: &[DeclaredAccount]) -> Self {
        let before = directory.declared();
        let mut before: HashMap<&str, &Account> = before.iter().map(|account| (&*account.name, &**account)).collect();
        let mut names = Self::default();
        for wanted in declared {
            match before.remove(wanted.name.as_str()) {
                None => names.added.push(wanted.name.clone()),
                Some(old) if *old.tier != *wanted.tier || !has_keys(old, &wanted.keys) => {
                    names.changed.push(wanted.name.clone());
                }
                Some(_) => {}
            }
        }
        names.removed = before.into_keys().map(str::to_owned).collect();
        names.removed.sort();
        names
    }

    fn counts(&self) -> DeclaredChanges {
        DeclaredChanges {
            added: self.added.len(),
            changed: self.changed.len(),
            removed: self.removed.len(),
        }
    }

    /// For the audit log: the first names of each kind, and the counts.
    fn audit_detail(&self) -> Value {
        let first = |names: &[String]| names.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>();
        let DeclaredChanges {
            added,
            changed,
            removed,
        } = self.counts();
        json!({
            "added": added, "changed": changed, "removed": removed, "names_added": first(&self.added),
            "names_changed": first(&self.changed), "names_removed": first(&self.removed),
        })
    }
}

fn has_keys(account: &Account, hashes: &[KeyHash]) -> bool {
    let has: HashSet<&KeyHash> = account.keys().iter().map(|key| &key.hash).collect();
    has == hashes.iter().collect()
}

/// The database's result for a list.
struct AssignedIds {
    ids: Ids,
    /// Without changes to keys, which the database doesn't have.
    changes: NameChanges,
}

/// Gives every declared name an id that it keeps, so an account that leaves tiers.yaml and returns finds its usage. Writes only
/// what changed. `None`: ids are used up, and nothing is written.
fn assign_ids(
    transaction: &Transaction<'_>,
    declared: &[DeclaredAccount],
    now: UnixTime,
) -> rusqlite::Result<Option<AssignedIds>> {
    let keys = declared.iter().flat_map(|account| account.keys.iter().copied());
    key_uses::forget_unlisted(transaction, &keys.collect())?;
    let mut before = declared_rows(transaction)?;
    let mut named = AssignedIds {
        ids: Vec::with_capacity(declared.len()),
        changes: NameChanges::default(),
    };
    let mut next = tables::next_id(transaction)?;
    if u64::from(next) + declared.len() as u64 > u64::from(NO_ID) {
        return Ok(None);
    }
    for wanted in declared {
        let (id, since) = match before.remove(&wanted.name) {
            Some((id, tier, since)) => {
                if tier != wanted.tier {
                    set_row(transaction, id, &wanted.tier)?;
                    named.changes.changed.push(wanted.name.clone());
                }
                (id, since)
            }
            None => {
                named.changes.added.push(wanted.name.clone());
                declare_name(transaction, wanted, &mut next, now)?
            }
        };
        named.ids.push((AccountId(id), unix_time(since)));
    }
    let mut remove = transaction.prepare_cached("UPDATE account SET removed_at = ?2 WHERE id = ?1")?;
    for (name, (id, ..)) in before {
        remove.execute(params![id, millis(now)])?;
        named.changes.removed.push(name);
    }
    if !named.changes.removed.is_empty() {
        named.changes.removed.sort();
        forget_names(transaction)?;
    }
    Ok(Some(named))
}

/// The declared accounts by name: id, tier, and the time since which they are declared.
fn declared_rows(connection: &Connection) -> rusqlite::Result<HashMap<String, (u32, String, i64)>> {
    let mut select = connection
        .prepare("SELECT name, id, tier, created FROM account WHERE origin = 'listed' AND removed_at IS NULL")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
    rows.collect()
}

fn set_row(transaction: &Transaction<'_>, id: u32, tier: &str) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached("UPDATE account SET removed_at = NULL, tier = ?2 WHERE id = ?1")?;
    update.execute(params![id, tier]).map(drop)
}

/// The id of a newly declared name, its former one or a new one, and the time when it was first declared.
fn declare_name(
    transaction: &Transaction<'_>,
    wanted: &DeclaredAccount,
    next: &mut u32,
    now: UnixTime,
) -> rusqlite::Result<(u32, i64)> {
    let mut find = transaction.prepare_cached(
        "SELECT id, created FROM account WHERE name = ?1 AND origin = 'listed' ORDER BY id DESC LIMIT 1",
    )?;
    let found = find.query_row([&wanted.name], |row| Ok((row.get(0)?, row.get(1)?)));
    if let Some((id, since)) = found.optional()? {
        set_row(transaction, id, &wanted.tier)?;
        return Ok((id, since));
    }
    let (id, since) = (*next, millis(now));
    *next += 1;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO account (id, name, origin, tier, blocked, created) VALUES (?1, ?2, 'listed', ?3, 0, ?4)",
    )?;
    insert.execute(params![id, wanted.name, wanted.tier, since])?;
    Ok((id, since))
}

/// Beyond [`REMOVED_NAMES_MAX`], the names removed longest lose their ids.
fn forget_names(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let count: i64 = transaction.query_row(
        "SELECT count(*) FROM account WHERE origin = 'listed' AND removed_at IS NOT NULL",
        [],
        |row| row.get(0),
    )?;
    if count <= REMOVED_NAMES_MAX {
        return Ok(());
    }
    transaction
        .execute(
            "UPDATE account SET origin = 'unlisted' WHERE id IN (SELECT id FROM account \
             WHERE origin = 'listed' AND removed_at IS NOT NULL ORDER BY removed_at, id LIMIT ?1)",
            [count - REMOVED_NAMES_MAX],
        )
        .map(drop)
}

/// Adds the declared accounts to a directory that has only stored ones.
///
/// # Errors
/// A name or a key is also stored, or a key is twice in the list.
pub(super) fn fill(directory: &Directory, declared: &[DeclaredAccount], ids: &Ids) -> Result<(), AccountsError> {
    check(declared, directory)?;
    directory.take(&steps(directory, declared, ids));
    Ok(())
}

/// Checks the list against the stored accounts and against itself.
fn check(declared: &[DeclaredAccount], directory: &Directory) -> Result<(), AccountsError> {
    let is_stored = |account: &Arc<Account>| account.origin == Origin::Stored;
    let both = declared
        .iter()
        .filter(|account| directory.by_name(&account.name).as_ref().is_some_and(is_stored));
    let both: Vec<String> = both.map(|account| account.name.clone()).take(SHOWN_MAX).collect();
    if !both.is_empty() {
        return Err(AccountsError::DeclaredAndStored(both));
    }
    let mut owners: HashMap<KeyId, &str> = HashMap::new();
    for account in declared {
        for hash in &account.keys {
            let stored = directory.owner(KeyId::of(hash)).filter(is_stored);
            let stored = stored.map(|owner| owner.name.to_string());
            let earlier = owners.insert(KeyId::of(hash), &account.name);
            if let Some(other) = stored.or_else(|| earlier.map(str::to_owned)) {
                let declared = account.name.clone();
                return Err(AccountsError::SharedKey { declared, other });
            }
        }
    }
    Ok(())
}

/// The steps from the directory's list to this one.
fn steps(directory: &Directory, declared: &[DeclaredAccount], ids: &Ids) -> Vec<Step> {
    let mut before: HashMap<AccountId, Arc<Account>> = directory
        .declared()
        .into_iter()
        .map(|account| (account.id, account))
        .collect();
    let mut steps = Vec::new();
    for (wanted, (id, since)) in declared.iter().zip(ids) {
        let keys = wanted.keys.iter().map(|hash| Key::plain(*hash, *since)).collect();
        let tier = directory.interner().share(&wanted.tier);
        let account = Arc::new(Account::declared(*id, &wanted.name, tier, *since).with_keys(keys));
        match before.remove(id) {
            None => steps.push(Step::add(account)),
            Some(old) if old != account => steps.push(Step::change(old, account)),
            Some(_) => {}
        }
    }
    steps.extend(before.into_values().map(Step::remove));
    steps
}
