//! Imports: many accounts created, and on request updated and removed, to match a file. One transaction, all or nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::{AccountStore, ChangeError, Changing, Event, ImportError, room_for_a_key};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::account::{Account, AccountPatch, Change, Origin, SOURCE};
use crate::store::audit::Stamp;
use crate::store::directory::Step;
use crate::store::keys::{Beginning, Key, KeyHash, KeyId, LABEL};

/// Wrong lines, and changes, that a result lists. All are counted.
pub const LINES_MAX: usize = 1_000;
/// Without confirmation, an import may remove at most one in this many of a source's accounts.
const REMOVED_SHARE: usize = 10;

/// A line of an import.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// The account that it names.
    pub name: String,
    /// Its terms. A new account needs a tier; an existing account keeps its source.
    pub terms: AccountPatch,
    /// Keys to add.
    pub keys: Vec<Key>,
    /// How they begin, of those that were given in plain text.
    pub beginnings: Vec<(KeyHash, Beginning)>,
}

/// Import options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Whether existing accounts are updated. Otherwise their names are errors.
    pub update: bool,
    /// Whether to report the changes without making them.
    pub dry_run: bool,
    /// The source of new accounts, whatever their lines say.
    pub source: Option<String>,
    /// Whether to remove the source's accounts that the file doesn't name. Needs `source` and `update`.
    pub remove_missing: bool,
    /// Whether more than a tenth of the source's accounts may be removed.
    pub yes: bool,
}

/// What an import has changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New accounts.
    pub added: usize,
    /// Existing accounts that changed or got keys.
    pub updated: usize,
    /// Existing accounts that stayed as they were.
    pub unchanged: usize,
    /// Removed accounts.
    pub removed: usize,
    /// New keys.
    pub keys_added: usize,
    /// Whether the removals need [`ImportOptions::yes`]; only for a dry run.
    pub needs_yes: bool,
    /// The first [`LINES_MAX`] added, updated or removed accounts.
    pub changes: Vec<Changed>,
}

/// An account that an import has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// `None`: it is new.
    pub before: Option<Arc<Account>>,
    /// `None`: it is removed.
    pub after: Option<Arc<Account>>,
    /// Its new keys.
    pub keys_added: usize,
}

impl AccountStore {
    /// Applies the lines, each with its number. Several lines with the same name and terms give one account several keys. Declared
    /// accounts are never touched. Consumes the lines under the store's lock.
    ///
    /// # Errors
    /// What is wrong. Nothing has changed then.
    pub fn import(
        &self,
        lines: impl Iterator<Item = (usize, Result<ImportRow, String>)>,
        options: &ImportOptions,
        stamp: impl Into<Stamp>,
    ) -> Result<Imported, ImportError> {
        let stamp = stamp.into();
        if let Some(source) = &options.source {
            SOURCE.text(source).map_err(ChangeError::from)?;
        }
        let mut plan = ImportPlan {
            change: self.begin(),
            options,
            now: stamp.at,
            seen: HashMap::new(),
            keys: HashSet::new(),
            contested: Vec::new(),
            wrong: Wrong::default(),
        };
        for (line, row) in lines {
            let added = row.and_then(|row| plan.add(line, row).map_err(|error| error.to_string()));
            if let Err(error) = added {
                plan.wrong.add(line, error);
            }
        }
        let needs_yes = plan.remove_missing()?;
        let (change, imported) = plan.finish(needs_yes)?;
        if !options.dry_run && !change.steps.is_empty() {
            let event = event(options, &imported);
            change.commit(stamp, event)?;
        }
        Ok(imported)
    }
}

fn event(options: &ImportOptions, imported: &Imported) -> Event {
    let detail = json!({
        "update": options.update, "remove_missing": options.remove_missing,
        "added": imported.added, "updated": imported.updated, "removed": imported.removed,
        "keys_added": imported.keys_added,
    });
    Event::new("account_import", options.source.as_deref().unwrap_or("-"), detail)
}

/// The lines that are wrong.
#[derive(Debug, Default)]
struct Wrong {
    first: Vec<(usize, String)>,
    count: usize,
}

impl Wrong {
    fn add(&mut self, line: usize, error: String) {
        self.count += 1;
        if self.first.len() < LINES_MAX {
            self.first.push((line, error));
        }
    }
}

/// The steps that the lines need so far.
struct ImportPlan<'s, 'o> {
    change: Changing<'s>,
    options: &'o ImportOptions,
    now: UnixTime,
    /// The step of each account name.
    seen: HashMap<Box<str>, usize>,
    keys: HashSet<KeyId>,
    /// Lines whose key belongs to another account that may be removed.
    contested: Vec<(usize, KeyId)>,
    wrong: Wrong,
}

impl<'s> ImportPlan<'s, '_> {
    fn add(&mut self, line: usize, mut row: ImportRow) -> Result<(), ChangeError> {
        let at = match self.seen.get(&*row.name) {
            Some(at) => {
                row.terms.source = Change::Keep;
                let known = account_of(&self.change.steps[*at]);
                let again = known.changed(&row.terms, self.change.store.directory.interner())?;
                if again != **known {
                    return Err(ChangeError::Differs);
                }
                *at
            }
            None => {
                let step = self.step(&mut row)?;
                let at = self.change.steps.len();
                self.change.steps.push(step);
                self.seen.insert(row.name.into(), at);
                at
            }
        };
        self.change.beginnings.extend(row.beginnings);
        row.keys.into_iter().try_for_each(|key| self.give(line, at, key))
    }

    /// The account that a line names, before and after.
    fn step(&mut self, row: &mut ImportRow) -> Result<Step, ChangeError> {
        let (directory, interner) = (&self.change.store.directory, self.change.store.directory.interner());
        let Some(before) = directory.by_name(&row.name) else {
            let tier = row.terms.tier.as_deref().ok_or(ChangeError::NoTier)?;
            let (tier, id) = (interner.share(tier), self.change.next_id()?);
            let account = Account::bare(id, &row.name, tier, self.now, Origin::Stored);
            if let Some(source) = &self.options.source {
                row.terms.source = Change::Set(source.clone());
            }
            return Ok(Step::add(Arc::new(account.changed(&row.terms, interner)?)));
        };
        match before.origin {
            _ if !self.options.update => Err(ChangeError::NotUpdating),
            Origin::Declared => Err(ChangeError::Declared),
            Origin::Stored => {
                row.terms.source = Change::Keep;
                let after = before.changed(&row.terms, interner)?;
                let after = match after == *before {
                    true => Arc::clone(&before),
                    false => Arc::new(after),
                };
                Ok(Step::change(before, after))
            }
        }
    }

    /// Adds the key to the step's account, unless the account had it before.
    fn give(&mut self, line: usize, at: usize, key: Key) -> Result<(), ChangeError> {
        let id = key.id();
        LABEL.text(&key.label)?;
        if !self.keys.insert(id) {
            return Err(ChangeError::KeyTaken);
        }
        let account = account_of(&self.change.steps[at]);
        match self.change.store.directory.owner(id) {
            Some(owner) if owner.id == account.id && owner.key(id).is_some_and(|held| held.hash == key.hash) => {
                return Ok(());
            }
            Some(owner) if owner.id != account.id && self.may_remove(&owner) => self.contested.push((line, id)),
            Some(_) => return Err(ChangeError::KeyTaken),
            None => {}
        }
        let mut keys = room_for_a_key(account, self.now)?;
        keys.push(key);
        let after = Account::clone(account).with_keys(keys);
        self.change.steps[at].after = Some(Arc::new(after));
        Ok(())
    }

    fn may_remove(&self, account: &Account) -> bool {
        let is_of_source = account.source.is_some() && account.source.as_deref() == self.options.source.as_deref();
        self.options.remove_missing && is_of_source && account.origin == Origin::Stored
    }

    /// Removes the source's accounts that no line named. Whether they need confirmation.
    fn remove_missing(&mut self) -> Result<bool, ImportError> {
        let mut removed: HashSet<AccountId> = HashSet::new();
        let mut needs_yes = false;
        if let (true, Some(source)) = (self.options.remove_missing, &self.options.source) {
            let accounts = self.change.store.directory.of_source(source);
            let of = accounts.len();
            let missing = accounts
                .into_iter()
                .filter(|account| !self.seen.contains_key(&account.name));
            let before = self.change.steps.len();
            self.change.steps.extend(missing.map(Step::remove));
            let gone = self.change.steps[before..]
                .iter()
                .filter_map(|step| step.before.as_ref());
            removed.extend(gone.map(|account| account.id));
            needs_yes = removed.len().saturating_mul(REMOVED_SHARE) > of;
            let is_asked = self.options.yes || self.options.dry_run;
            if needs_yes && !is_asked && self.wrong.count == 0 {
                let (source, removed) = (source.clone(), removed.len());
                return Err(ChangeError::TooManyRemoved { removed, of, source }.into());
            }
        }
        for (line, id) in std::mem::take(&mut self.contested) {
            let owner = self.change.store.directory.owner(id);
            if owner.is_some_and(|owner| !removed.contains(&owner.id)) {
                self.wrong.add(line, ChangeError::KeyTaken.to_string());
            }
        }
        Ok(needs_yes && !self.options.yes)
    }

    /// The change to commit, and its summary.
    fn finish(mut self, needs_yes: bool) -> Result<(Changing<'s>, Imported), ImportError> {
        if self.wrong.count > 0 {
            let Wrong { mut first, count } = self.wrong;
            first.sort_by_key(|(line, _)| *line);
            return Err(ImportError::Lines { first, count });
        }
        let mut imported = Imported {
            needs_yes,
            ..Imported::default()
        };
        self.change.steps.retain(|step| {
            let keys_added = step.added_keys().count();
            match (&step.before, &step.after) {
                (None, _) => imported.added += 1,
                (_, None) => imported.removed += 1,
                (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {
                    imported.unchanged += 1;
                    return false;
                }
                _ => imported.updated += 1,
            }
            imported.keys_added += keys_added;
            if imported.changes.len() < LINES_MAX {
                imported.changes.push(Changed {
                    before: step.before.clone(),
                    after: step.after.clone(),
                    keys_added,
                });
            }
            true
        });
        Ok((self.change, imported))
    }
}

fn account_of(step: &Step) -> &Arc<Account> {
    step.after.as_ref().expect("a line never removes an account")
}
