//! The accounts in the database, and what is said of networks: one transaction a change, durable before it is acknowledged,
//! and only then taken into the [`Directory`] and the [`Networks`], where requests look.
//!
//! Checks are made against these two, which mirror the database for as long as the lock is held: so a change reads nothing.
//! Everything here waits for the disk, so it is called where waiting does no harm.

mod error;
mod listed;
mod networks;
mod tables;
mod used;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

pub use self::error::{AccountsError, ChangeError, ImportError, RelistError};
pub use self::listed::{Relisted, Relisting};
use self::tables::Read;
pub use self::used::AccountUse;
use super::account::{Account, Change, Illegal, NewAccount, Origin, is_text};
use super::database::Database;
use super::directory::{Directory, Step};
use super::keys::{KEYS_PER_ACCOUNT_MAX, Key, KeyHash, KeyId, LABEL_BYTES_MAX, Secret};
use super::network::NetworkEntry;
use super::networks::Networks;
use crate::policy::caller::AccountId;
use crate::policy::time::{Span, UnixTime};

/// Accounts in the store, at most.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Listed names that an error shows.
const SHOWN_MAX: usize = 20;

/// An account as tiers.yaml lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The name of its tier.
    pub tier: String,
    /// SHA-256 of each of its keys.
    pub keys: Vec<KeyHash>,
}

/// The accounts, and what is said of networks, in the database and in memory.
pub struct AccountStore {
    directory: Arc<Directory>,
    networks: Arc<Networks>,
    database: Arc<Database>,
    /// The least id that nobody has had. Held for a whole change.
    next_id: Mutex<u32>,
}

impl fmt::Debug for AccountStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountStore").finish_non_exhaustive()
    }
}

/// A key that was just made, with the only sight of it that there will ever be.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The key itself.
    pub secret: Secret,
    /// What is kept of it.
    pub key: Arc<Key>,
}

/// A line of an import.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// Its number in what was sent, counted from 1.
    pub line: usize,
    /// Whom it names.
    pub account: NewAccount,
    /// The key that it brings along.
    pub key: Option<Secret>,
}

/// What an import has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Accounts.
    pub accounts: usize,
    /// Keys.
    pub keys: usize,
}

impl AccountStore {
    /// The accounts in that database, and those listed beside them; and the networks in it, beside those that tiers.yaml has
    /// `blocked`. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be read or written, or a name or a key is in both places.
    pub fn open(
        database: Arc<Database>,
        listed: &[Listed],
        blocked: Vec<IpNet>,
        now: UnixTime,
    ) -> Result<Self, AccountsError> {
        let named = listed.to_vec();
        let read = database.write(move |transaction| {
            tables::drop_what_is_over(transaction, now)?;
            let ids = tables::name_listed(transaction, &named, now)?;
            Ok((tables::read(transaction)?, ids))
        });
        let (read, ids) = read.map_err(|error| AccountsError::Disk(error.to_string()))?;
        check_stored(&read)?;
        let directory = Arc::new(Directory::default());
        directory.restore(read.accounts, read.keys);
        listed::fill(&directory, listed, &ids)?;
        let networks = Arc::new(Networks::new(blocked));
        networks.restore(read.networks);
        Ok(Self {
            directory,
            networks,
            database,
            next_id: Mutex::new(read.next_id),
        })
    }

    /// Where requests look whose a key is.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Where requests look what is said of their network.
    pub fn networks(&self) -> &Arc<Networks> {
        &self.networks
    }

    /// Makes an account, with an id that nobody has had.
    ///
    /// # Errors
    /// Its name is taken, what it says is out of bounds, or there are too many.
    pub fn add(&self, new: NewAccount, now: UnixTime) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin();
        if self.directory.by_name(&new.name).is_some() {
            return Err(ChangeError::NameTaken);
        }
        let account = Arc::new(new.made(change.next_id()?, now)?);
        change.steps.push(Step::Put(Arc::clone(&account)));
        change.commit(now)?;
        Ok(account)
    }

    /// Changes the account of that name, and answers with what it is now.
    ///
    /// # Errors
    /// There is none, it is listed, or what it would say is out of bounds.
    pub fn change(&self, name: &str, what: &Change, now: UnixTime) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin();
        let account = Arc::new(self.stored(name)?.changed(what)?);
        change.steps.push(Step::Put(Arc::clone(&account)));
        change.commit(now)?;
        Ok(account)
    }

    /// Removes the account of that name and its keys, and answers with what it was. An account of the same name that comes later
    /// is another one.
    ///
    /// # Errors
    /// There is none, or it is listed.
    pub fn remove(&self, name: &str, now: UnixTime) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin();
        let account = self.stored(name)?;
        let keys = self.directory.keys_of(account.id).into_iter().map(Step::Take);
        change.steps.extend(keys);
        change.steps.push(Step::Remove(Arc::clone(&account)));
        change.commit(now)?;
        Ok(account)
    }

    /// Makes a key for the account of that name. Its expired keys are forgotten if they are in the way.
    ///
    /// # Errors
    /// There is none, it is listed, it has too many keys, or the label is out of bounds.
    pub fn mint(
        &self,
        name: &str,
        label: String,
        expires: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<Minted, ChangeError> {
        let mut change = self.begin();
        let account = self.stored(name)?;
        let minted = change.mint(account.id, label, expires, now)?;
        change.commit(now)?;
        Ok(minted)
    }

    /// Makes a key that takes the place of another: it has the same label, and lives as long from now as the other did from its
    /// beginning. The other stays for `overlap`, if it would have lived so long. Answers with both.
    ///
    /// # Errors
    /// There is no such key, its account is listed or has too many, or it has expired.
    pub fn rotate(&self, id: KeyId, overlap: Span, now: UnixTime) -> Result<(Minted, Arc<Key>), ChangeError> {
        let mut change = self.begin();
        let old = self.stored_key(id)?;
        if old.is_expired(now) {
            return Err(ChangeError::KeyExpired);
        }
        let expires = old.expires.map(|expires| now + expires.since(old.created));
        let minted = change.mint(old.account, old.label.clone(), expires, now)?;
        let until = old.expires.unwrap_or(now + overlap).min(now + overlap);
        let old = Arc::new(Key {
            expires: Some(until),
            ..Key::clone(&old)
        });
        change.steps.push(Step::Give(Arc::clone(&old)));
        change.commit(now)?;
        Ok((minted, old))
    }

    /// Makes a key worthless, at once and for good. Answers with what it was.
    ///
    /// # Errors
    /// There is no such key, or its account is listed.
    pub fn revoke(&self, id: KeyId, now: UnixTime) -> Result<Arc<Key>, ChangeError> {
        let mut change = self.begin();
        let key = self.stored_key(id)?;
        change.steps.push(Step::Take(Arc::clone(&key)));
        change.commit(now)?;
        Ok(key)
    }

    /// Makes all these accounts with their keys, or none. Lines of one name and the same terms give one account several keys.
    ///
    /// # Errors
    /// What is wrong, and nothing was made.
    pub fn import(&self, rows: Vec<ImportRow>, now: UnixTime) -> Result<Imported, ImportError> {
        let (change, seen) = self.prepare(rows, now)?;
        change.commit(now)?;
        Ok(Imported {
            accounts: seen.accounts.len(),
            keys: seen.keys.len(),
        })
    }

    /// Whether these could be imported now. Makes nothing.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_import(&self, rows: Vec<ImportRow>, now: UnixTime) -> Result<(), ImportError> {
        self.prepare(rows, now).map(|_| ())
    }

    fn prepare(&self, rows: Vec<ImportRow>, now: UnixTime) -> Result<(Changing<'_>, Seen), ImportError> {
        let mut change = self.begin();
        let mut seen = Seen::default();
        let mut wrong = Vec::new();
        for row in rows {
            let line = row.line;
            if let Err(error) = change.import(row, &mut seen, now) {
                wrong.push((line, error));
            }
        }
        if wrong.is_empty() {
            Ok((change, seen))
        } else {
            Err(ImportError::Lines(wrong))
        }
    }

    fn stored(&self, name: &str) -> Result<Arc<Account>, ChangeError> {
        let account = self.directory.by_name(name).ok_or(ChangeError::UnknownAccount)?;
        match account.origin {
            Origin::Stored => Ok(account),
            Origin::Listed => Err(ChangeError::Listed),
        }
    }

    fn stored_key(&self, id: KeyId) -> Result<Arc<Key>, ChangeError> {
        let key = self.directory.key(id).ok_or(ChangeError::UnknownKey)?;
        match self.directory.get(key.account) {
            Some(account) if account.origin == Origin::Listed => Err(ChangeError::Listed),
            _ => Ok(key),
        }
    }

    /// Takes the lock.
    fn begin(&self) -> Changing<'_> {
        let taken = self.next_id.lock();
        Changing {
            store: self,
            next_id: *taken,
            taken,
            steps: Vec::new(),
            networks: Vec::new(),
        }
    }
}

/// A change that is being put together, under the store's lock.
#[derive(Debug)]
struct Changing<'s> {
    store: &'s AccountStore,
    /// The next id as the last change left it.
    taken: parking_lot::MutexGuard<'s, u32>,
    next_id: u32,
    steps: Vec<Step>,
    /// Networks as they will be.
    networks: Vec<Arc<NetworkEntry>>,
}

/// What the lines of an import have named so far.
#[derive(Default)]
struct Seen {
    accounts: HashMap<String, (AccountId, NewAccount, usize)>,
    keys: HashSet<KeyId>,
}

impl Changing<'_> {
    fn next_id(&mut self) -> Result<AccountId, ChangeError> {
        let made = usize::try_from(self.next_id - *self.taken).unwrap_or(usize::MAX);
        if self.store.directory.len().saturating_add(made) >= ACCOUNTS_MAX {
            return Err(ChangeError::TooManyAccounts);
        }
        let id = AccountId(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(ChangeError::TooManyAccounts)?;
        Ok(id)
    }

    fn mint(
        &mut self,
        account: AccountId,
        label: String,
        expires: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<Minted, ChangeError> {
        if !is_text(&label, LABEL_BYTES_MAX) {
            return Err(Illegal::Label.into());
        }
        let keys = self.store.directory.keys_of(account);
        if keys.len() >= KEYS_PER_ACCOUNT_MAX {
            let (expired, alive): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.is_expired(now));
            if alive.len() >= KEYS_PER_ACCOUNT_MAX {
                return Err(ChangeError::TooManyKeys);
            }
            self.steps.extend(expired.into_iter().map(Step::Take));
        }
        let unavailable = |error: io::Error| ChangeError::Unavailable(error.to_string());
        let secret = loop {
            // Two in 10^14 share an id; such a one is never given out.
            let secret = Secret::mint().map_err(unavailable)?;
            if self.store.directory.owner(&secret.hash()).is_none() {
                break secret;
            }
        };
        let key = Arc::new(Key {
            hash: secret.hash(),
            account,
            label,
            created: now,
            expires,
        });
        self.steps.push(Step::Give(Arc::clone(&key)));
        Ok(Minted { secret, key })
    }

    fn import(&mut self, row: ImportRow, seen: &mut Seen, now: UnixTime) -> Result<(), ChangeError> {
        let ImportRow { account: new, key, .. } = row;
        let id = match seen.accounts.get(&new.name) {
            Some((_, earlier, _)) if *earlier != new => return Err(ChangeError::Differs),
            Some((_, _, keys)) if *keys >= KEYS_PER_ACCOUNT_MAX => return Err(ChangeError::TooManyKeys),
            Some((id, ..)) => *id,
            None => {
                if self.store.directory.by_name(&new.name).is_some() {
                    return Err(ChangeError::NameTaken);
                }
                let account = new.clone().made(self.next_id()?, now)?;
                let id = account.id;
                self.steps.push(Step::Put(Arc::new(account)));
                seen.accounts.insert(new.name.clone(), (id, new.clone(), 0));
                id
            }
        };
        let Some(secret) = key else { return Ok(()) };
        let hash = secret.hash();
        if self.store.directory.owner(&hash).is_some() || !seen.keys.insert(KeyId::of(&hash)) {
            return Err(ChangeError::KeyTaken);
        }
        if let Some((_, _, keys)) = seen.accounts.get_mut(&new.name) {
            *keys += 1;
        }
        self.steps.push(Step::Give(Arc::new(Key {
            hash,
            account: id,
            label: String::new(),
            created: now,
            expires: None,
        })));
        Ok(())
    }

    /// Makes the steps durable, then visible.
    fn commit(mut self, now: UnixTime) -> Result<(), ChangeError> {
        // Ids that were taken for an account that was then refused come again: nobody has seen them.
        let (steps, networks) = (self.steps.clone(), self.networks.clone());
        let written = self
            .store
            .database
            .write(move |transaction| tables::write(transaction, &steps, &networks, now));
        written.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        *self.taken = self.next_id;
        self.store.directory.take(&self.steps);
        self.store.networks.take(&self.networks);
        Ok(())
    }
}

/// Fails if two stored accounts have one name, or a key is nobody's.
fn check_stored(read: &Read) -> Result<(), AccountsError> {
    let names: HashSet<&str> = read.accounts.iter().map(|account| account.name.as_str()).collect();
    let ids: HashSet<AccountId> = read.accounts.iter().map(|account| account.id).collect();
    if names.len() < read.accounts.len() || read.keys.iter().any(|key| !ids.contains(&key.account)) {
        return Err(AccountsError::Damaged(
            "two accounts of one name, or a key of nobody".to_owned(),
        ));
    }
    Ok(())
}
