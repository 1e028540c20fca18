//! Accounts and network entries in the database. A change is one transaction with its audit row, durable before it is
//! acknowledged, and only then visible to requests in the [`Directory`] and [`Networks`].
//!
//! Changes are checked against these two, which mirror the database while the lock is held, so a change reads no rows.
//! Everything here waits for the disk: call it where blocking is safe.

mod declared;
mod error;
mod import;
mod networks;
mod tables;
mod used;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub use self::declared::{DeclaredChanges, PreparedAccounts};
pub use self::error::{AccountsError, ChangeError, ImportError};
pub use self::import::{Changed, ImportOptions, ImportRow, Imported, LINES_MAX};
pub use self::used::AccountUse;
use super::account::{Account, AccountPatch, AccountSpec, Origin};
use super::audit::{self, Stamp};
use super::database::{Database, ReadError};
use super::directory::{Directory, Step};
use super::key_uses::KeyUse;
use super::keys::{Beginning, KEYS_PER_ACCOUNT_MAX, Key, KeyHash, KeyId, LABEL, PlaintextKey};
use super::network::NetworkEntry;
use super::networks::Networks;
use crate::policy::caller::AccountId;
use crate::policy::time::{Span, UnixTime};

/// Accounts in the store, at most. Those that tiers.yaml lists don't count.
pub const ACCOUNTS_MAX: usize = 1_000_000;
/// Never given out: as the next id it means that ids are used up.
const NO_ID: u32 = u32::MAX;
/// Names that an error or an audit row shows.
const SHOWN_MAX: usize = 20;

/// An account as tiers.yaml lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredAccount {
    /// Its name.
    pub name: String,
    /// The name of its tier.
    pub tier: String,
    /// SHA-256 of each of its keys.
    pub keys: Vec<KeyHash>,
}

/// The accounts and network entries, in the database and in memory.
pub struct AccountStore {
    directory: Arc<Directory>,
    networks: Arc<Networks>,
    database: Arc<Database>,
    /// The lowest unused id. Held for a whole change.
    next_id: Mutex<u32>,
}

impl fmt::Debug for AccountStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountStore").finish_non_exhaustive()
    }
}

/// A new key, with its secret, which is not kept.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The key in plain text.
    pub secret: PlaintextKey,
    /// What is stored.
    pub key: Key,
}

impl AccountStore {
    /// Loads the accounts and network entries of that database, and adds the accounts that tiers.yaml declares and the networks that
    /// it blocks. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be read or written, no id is left for a declared name, or a name or a key is in both places.
    pub fn open(
        database: Arc<Database>,
        declared: &[DeclaredAccount],
        blocked: Vec<IpNet>,
        now: UnixTime,
    ) -> Result<Self, AccountsError> {
        let named = declared.to_vec();
        let named = database.write(move |transaction| {
            tables::delete_expired(transaction, now)?;
            declared::declare_at_startup(transaction, &named, now)
        });
        let named = named.map_err(|error| AccountsError::Disk(error.to_string()))?;
        let ids = named.ok_or(AccountsError::NoIds)?;
        let read = database.read(tables::read);
        let read = read.map_err(|error| AccountsError::Disk(error.to_string()))??;
        let directory = Directory::of(read.accounts, read.interner, Arc::clone(database.key_sightings()));
        declared::fill(&directory, declared, &ids)?;
        let networks = Networks::new(blocked);
        networks.restore(read.networks);
        Ok(Self {
            directory: Arc::new(directory),
            networks: Arc::new(networks),
            database,
            next_id: Mutex::new(read.next_id),
        })
    }

    /// The index in which requests look keys up.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The index in which requests look their network up.
    pub fn networks(&self) -> &Arc<Networks> {
        &self.networks
    }

    /// What is known of these keys of an account, in their order. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn key_uses(&self, keys: &[Key]) -> Result<Vec<KeyUse>, ReadError> {
        let hashes: Vec<KeyHash> = keys.iter().map(|key| key.hash).collect();
        self.database.key_uses(&hashes)
    }

    /// Creates an account with an unused id.
    ///
    /// # Errors
    /// Its name is taken, a value is out of bounds, or there are too many accounts.
    pub fn add(&self, new: AccountSpec, stamp: impl Into<Stamp>) -> Result<Arc<Account>, ChangeError> {
        let stamp = stamp.into();
        let mut change = self.begin();
        if self.directory.by_name(&new.name).is_some() {
            return Err(ChangeError::NameTaken);
        }
        new.check()?;
        let account = Account::of(new, change.next_id()?, stamp.at, self.directory.interner());
        let account = Arc::new(account);
        change.steps.push(Step::add(Arc::clone(&account)));
        let detail = json!({ "id": account.id.0, "tier": &*account.tier });
        change.commit(stamp, Event::new("account_add", &account.name, detail))?;
        Ok(account)
    }

    /// Changes the account of that name and returns the result. Writes nothing if nothing changes.
    ///
    /// # Errors
    /// There is no such account, it is declared, or a value would be out of bounds.
    pub fn change(
        &self,
        name: &str,
        what: &AccountPatch,
        stamp: impl Into<Stamp>,
    ) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin();
        let before = self.stored(name)?;
        let account = Arc::new(before.changed(what, self.directory.interner())?);
        let fields = before.spec().differences(&account.spec());
        if fields.is_empty() {
            return Ok(before);
        }
        change.steps.push(Step::change(before, Arc::clone(&account)));
        let mut detail = json!({ "fields": fields });
        if fields.contains(&"tier") {
            detail["tier"] = (&*account.tier).into();
        }
        if fields.contains(&"blocked") {
            detail["blocked"] = account.blocked.into();
        }
        change.commit(stamp.into(), Event::new("account_change", name, detail))?;
        Ok(account)
    }

    /// Removes the account of that name with its keys and returns it. A later account of the same name is a different one. The
    /// database keeps the id, name and tier of the removed one, to identify its usage.
    ///
    /// # Errors
    /// There is no such account, or it is declared.
    pub fn remove(&self, name: &str, stamp: impl Into<Stamp>) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin();
        let account = self.stored(name)?;
        change.steps.push(Step::remove(Arc::clone(&account)));
        let detail = json!({ "id": account.id.0, "keys": account.keys().len() });
        change.commit(stamp.into(), Event::new("account_remove", name, detail))?;
        Ok(account)
    }

    /// Creates a key for the account of that name. Expired keys are dropped if they are in the way.
    ///
    /// # Errors
    /// There is no such account, it is declared or has too many keys, or the label is out of bounds.
    pub fn mint(
        &self,
        name: &str,
        label: String,
        expires: Option<UnixTime>,
        stamp: impl Into<Stamp>,
    ) -> Result<Minted, ChangeError> {
        let stamp = stamp.into();
        let mut change = self.begin();
        let account = self.stored(name)?;
        let (minted, keys) = self.minted(&account, label, expires, stamp.at)?;
        change.give_minted(&account, keys, &minted);
        let detail = json!({ "account": name, "expires_ms": expires.map(UnixTime::as_millis) });
        change.commit(stamp, Event::new("key_add", &minted.key.id().to_string(), detail))?;
        Ok(minted)
    }

    /// Replaces a key by a new one with the same label and lifetime, counted from now. The old key stays valid for `overlap`,
    /// unless it expires sooner. Returns both.
    ///
    /// # Errors
    /// There is no such key, it has expired, or its account is declared or has too many keys.
    pub fn rotate(&self, id: KeyId, overlap: Span, stamp: impl Into<Stamp>) -> Result<(Minted, Key), ChangeError> {
        let stamp = stamp.into();
        let now = stamp.at;
        let mut change = self.begin();
        let (account, old) = self.stored_key(id)?;
        if old.is_expired(now) {
            return Err(ChangeError::KeyExpired);
        }
        let expires = old.expires.map(|expires| now + expires.since(old.created));
        let (minted, mut keys) = self.minted(&account, old.label.to_string(), expires, now)?;
        let until = old.expires.unwrap_or(now + overlap).min(now + overlap);
        let old = Key {
            expires: Some(until),
            ..old
        };
        keys.retain(|key| key.hash != old.hash);
        keys.push(old.clone());
        change.give_minted(&account, keys, &minted);
        let detail = json!({
            "account": &*account.name, "new": minted.key.id().to_string(), "old_expires_ms": until.as_millis(),
        });
        change.commit(stamp, Event::new("key_rotate", &id.to_string(), detail))?;
        Ok((minted, old))
    }

    /// Revokes a key at once and for good, and returns what it was.
    ///
    /// # Errors
    /// There is no such key, or its account is declared.
    pub fn revoke(&self, id: KeyId, stamp: impl Into<Stamp>) -> Result<Key, ChangeError> {
        let mut change = self.begin();
        let (account, key) = self.stored_key(id)?;
        let others = account.keys().iter().filter(|other| other.hash != key.hash);
        change.give(&account, others.cloned().collect());
        let detail = json!({ "account": &*account.name });
        change.commit(stamp.into(), Event::new("key_revoke", &id.to_string(), detail))?;
        Ok(key)
    }

    /// A new key, and the account's keys including it.
    fn minted(
        &self,
        account: &Account,
        label: String,
        expires: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<(Minted, Vec<Key>), ChangeError> {
        LABEL.text(&label)?;
        let mut keys = room_for_a_key(account, now)?;
        let unavailable = |error: io::Error| ChangeError::Unavailable(error.to_string());
        let secret = loop {
            // Two in 10^14 keys share an id; never give out such a key.
            let secret = PlaintextKey::mint().map_err(unavailable)?;
            if self.directory.owner(KeyId::of(&secret.hash())).is_none() {
                break secret;
            }
        };
        let key = Key {
            label: label.into(),
            expires,
            ..Key::plain(secret.hash(), now)
        };
        keys.push(key.clone());
        Ok((Minted { secret, key }, keys))
    }

    fn stored(&self, name: &str) -> Result<Arc<Account>, ChangeError> {
        let account = self.directory.by_name(name).ok_or(ChangeError::UnknownAccount)?;
        match account.origin {
            Origin::Stored => Ok(account),
            Origin::Declared => Err(ChangeError::Declared),
        }
    }

    fn stored_key(&self, id: KeyId) -> Result<(Arc<Account>, Key), ChangeError> {
        let account = self.directory.owner(id).ok_or(ChangeError::UnknownKey)?;
        let key = account.key(id).cloned().ok_or(ChangeError::UnknownKey)?;
        match account.origin {
            Origin::Stored => Ok((account, key)),
            Origin::Declared => Err(ChangeError::Declared),
        }
    }

    fn begin(&self) -> Changing<'_> {
        let taken = self.next_id.lock();
        Changing {
            store: self,
            next_id: *taken,
            taken,
            steps: Vec::new(),
            beginnings: HashMap::new(),
            networks: Vec::new(),
        }
    }
}

/// The account's keys, with space for one more. Drops expired ones if they are in the way.
fn room_for_a_key(account: &Account, now: UnixTime) -> Result<Vec<Key>, ChangeError> {
    let mut keys = account.keys().to_vec();
    if keys.len() >= KEYS_PER_ACCOUNT_MAX {
        keys.retain(|key| !key.is_expired(now));
    }
    match keys.len() < KEYS_PER_ACCOUNT_MAX {
        true => Ok(keys),
        false => Err(ChangeError::TooManyKeys),
    }
}

/// The audit row of a change.
#[derive(Debug)]
struct Event {
    action: &'static str,
    subject: String,
    detail: Value,
}

impl Event {
    fn new(action: &'static str, subject: &str, detail: Value) -> Self {
        let subject = subject.to_owned();
        Self {
            action,
            subject,
            detail,
        }
    }
}

/// A change in preparation, under the store's lock.
#[derive(Debug)]
struct Changing<'s> {
    store: &'s AccountStore,
    /// The next id before this change.
    taken: parking_lot::MutexGuard<'s, u32>,
    next_id: u32,
    steps: Vec<Step>,
    /// How new keys begin, as far as that is known.
    beginnings: HashMap<KeyHash, Beginning>,
    /// Network entries after the change.
    networks: Vec<Arc<NetworkEntry>>,
}

impl Changing<'_> {
    fn next_id(&mut self) -> Result<AccountId, ChangeError> {
        let made = usize::try_from(self.next_id - *self.taken).unwrap_or(usize::MAX);
        let is_full = self.store.directory.stored().saturating_add(made) >= ACCOUNTS_MAX;
        if is_full || self.next_id == NO_ID {
            return Err(ChangeError::TooManyAccounts);
        }
        let id = AccountId(self.next_id);
        self.next_id += 1;
        Ok(id)
    }

    /// Replaces the account's keys.
    fn give(&mut self, account: &Arc<Account>, keys: Vec<Key>) {
        let after = Account::clone(account).with_keys(keys);
        self.steps.push(Step::change(Arc::clone(account), Arc::new(after)));
    }

    /// The same, with a new key among them.
    fn give_minted(&mut self, account: &Arc<Account>, keys: Vec<Key>, minted: &Minted) {
        self.beginnings.insert(minted.key.hash, minted.secret.beginning());
        self.give(account, keys);
    }

    /// Makes the steps durable, with the event, and then visible. On an error nothing changes; ids taken are given out again,
    /// since no one has seen them.
    fn commit(mut self, stamp: Stamp, event: Event) -> Result<(), ChangeError> {
        let steps = Arc::new(std::mem::take(&mut self.steps));
        let (written, networks) = (Arc::clone(&steps), self.networks.clone());
        let beginnings = std::mem::take(&mut self.beginnings);
        let written = self.store.database.write(move |transaction| {
            tables::write(transaction, &written, &beginnings, &networks, stamp.at)?;
            audit::insert(transaction, &stamp, event.action, &event.subject, &event.detail)
        });
        written.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        *self.taken = self.next_id;
        self.store.directory.take(&steps);
        self.store.networks.take(&self.networks);
        Ok(())
    }
}
