//! The accounts on disk, in redb: one transaction a change, durable before it is acknowledged, and only then taken into the
//! [`Directory`], where requests look.
//!
//! Checks are made against the directory, which mirrors the disk for as long as the lock is held: so a change reads nothing. A
//! write that fails leaves open whether it took place; the file is then opened anew and the directory filled from it, at once or
//! at the next change.
//!
//! Absent on purpose: async. Everything here waits for a disk, so it is called where waiting does no harm. And keys in plain text.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableTable, StorageError, TableDefinition, WriteTransaction};

use super::account::{Account, Change, Illegal, NewAccount, Origin, is_text};
use super::directory::{Directory, Step};
use super::encoding::{self, Unreadable};
use super::keys::{KEYS_PER_ACCOUNT_MAX, Key, KeyHash, KeyId, LABEL_BYTES_MAX, Secret};
use crate::policy::caller::AccountId;
use crate::policy::time::{Span, UnixTime};

/// Accounts in the store, at most.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Mode of the file: nobody else reads it.
const FILE_MODE: u32 = 0o600;
/// Bytes that redb keeps in memory. The directory has all that requests need.
const CACHE_BYTES: usize = 4 << 20;
/// The form of what lies in the tables. A greater one is of a later version of the program.
const FORMAT: u64 = 1;
/// The least id. 0 is nobody's.
const FIRST_ID: u32 = 1;
/// Listed names that an error shows.
const SHOWN_MAX: usize = 20;

/// `format`, and `next_id`: the least id that nobody has had.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// [`encoding::account`] by id.
const ACCOUNTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("accounts");
/// [`encoding::key`] by hash.
const KEYS: TableDefinition<'_, &KeyHash, &[u8]> = TableDefinition::new("keys");
/// The id of a name in tiers.yaml, and when it was first listed, in milliseconds.
const LISTED: TableDefinition<'_, &str, (u32, u64)> = TableDefinition::new("listed");

/// Opens the database, whenever that is needed.
pub type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send + Sync>;

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

/// The accounts, on disk and in memory.
pub struct AccountStore {
    directory: Arc<Directory>,
    open: Opener,
    disk: Mutex<Disk>,
}

/// Guarded by the store's lock, which is held for a whole change.
struct Disk {
    /// `None` after a write that failed, until it is opened anew, and once it is closed.
    database: Option<Database>,
    /// It is not opened again: another process may have it by now.
    is_closed: bool,
    next_id: u32,
}

impl fmt::Debug for AccountStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountStore").finish_non_exhaustive()
    }
}

/// Why the accounts can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has them open.
    InUse,
    /// They were written by a later version of the program.
    Newer,
    /// What lies there is not what was written: what is wrong.
    Damaged(String),
    /// The disk's.
    Disk(String),
    /// These names are both in tiers.yaml and in the store: at most 20 of them.
    ListedAndStored(Vec<String>),
    /// The account `listed` of tiers.yaml has a key that the account `other` has too.
    KeyOfTwo {
        /// In tiers.yaml.
        listed: String,
        /// There or in the store.
        other: String,
    },
    /// No id is left for another account.
    NoIds,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another process has them open; is the door running already?"),
            Self::Newer => f.write_str("they were written by a later version of tiergate; run that one"),
            Self::Damaged(what) => write!(f, "they are damaged ({what}); restore them from a backup"),
            Self::Disk(error) => f.write_str(error),
            Self::ListedAndStored(names) => write!(
                f,
                "listed in tiers.yaml under `accounts`, and stored as well: {}; take each out of tiers.yaml, or remove it from the \
                 store (start without the list, then `tiergate account remove NAME --yes`)",
                names.join(", ")
            ),
            Self::KeyOfTwo { listed, other } => write!(
                f,
                "the account {listed} of tiers.yaml has a key that {other} has too; give each account keys of its own"
            ),
            Self::NoIds => f.write_str("there have been as many accounts as there can ever be"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::UpgradeRequired(_) => Self::Damaged("of an old format that was never ours".to_owned()),
            DatabaseError::Storage(error) => error.into(),
            other => Self::Disk(other.to_string()),
        }
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Damaged(what),
            // A file that is none of redb's, or was cut off.
            StorageError::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            StorageError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            other => Self::Disk(other.to_string()),
        }
    }
}

impl From<Unreadable> for OpenError {
    fn from(_: Unreadable) -> Self {
        Self::Damaged("a record is not of the form that it should have".to_owned())
    }
}

/// Why a change was not made. After all but [`Self::Unavailable`] everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// No account has that name.
    UnknownAccount,
    /// It stands in tiers.yaml, and is changed there.
    Listed,
    /// Another account has that name.
    NameTaken,
    /// There are [`ACCOUNTS_MAX`], or no id is left.
    TooManyAccounts,
    /// No key has that id.
    UnknownKey,
    /// Another account has that key, or the same account has it already.
    KeyTaken,
    /// The account has [`KEYS_PER_ACCOUNT_MAX`] that have not expired.
    TooManyKeys,
    /// The key has expired: there is nothing to rotate.
    KeyExpired,
    /// Two lines of an import give the same name different terms.
    Differs,
    /// What was asked for is out of bounds.
    Illegal(Illegal),
    /// The disk's, or the system has no random numbers. It may have taken place all the same, and is to be looked up.
    Unavailable(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAccount => f.write_str("there is no such account"),
            Self::Listed => f.write_str("the account stands in tiers.yaml: change it there"),
            Self::NameTaken => f.write_str("an account of that name exists already"),
            Self::TooManyAccounts => write!(f, "there are {ACCOUNTS_MAX} accounts, and there can't be more"),
            Self::UnknownKey => f.write_str("there is no such key"),
            Self::KeyTaken => f.write_str("an account has that key already"),
            Self::TooManyKeys => write!(
                f,
                "the account has {KEYS_PER_ACCOUNT_MAX} keys, and can't have more: revoke one first"
            ),
            Self::KeyExpired => f.write_str("the key has expired: add a new one instead"),
            Self::Differs => f.write_str("an earlier line gives the account of that name other terms"),
            Self::Illegal(why) => why.fmt(f),
            Self::Unavailable(why) => write!(
                f,
                "the accounts can't be written at present ({why}); see whether the change took place before trying again"
            ),
        }
    }
}

impl std::error::Error for ChangeError {}

impl From<Illegal> for ChangeError {
    fn from(why: Illegal) -> Self {
        Self::Illegal(why)
    }
}

impl From<OpenError> for ChangeError {
    fn from(error: OpenError) -> Self {
        Self::Unavailable(error.to_string())
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

/// Why an import was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// These lines are wrong, in their order: all that are.
    Lines(Vec<(usize, ChangeError)>),
    /// It could not be written.
    Whole(ChangeError),
}

impl From<ChangeError> for ImportError {
    fn from(error: ChangeError) -> Self {
        Self::Whole(error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(lines) => {
                let shown = |(line, error): &(usize, ChangeError)| writeln!(f, "line {line}: {error}");
                lines.iter().try_for_each(shown)
            }
            Self::Whole(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

/// What an import has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Accounts.
    pub accounts: usize,
    /// Keys.
    pub keys: usize,
}

impl AccountStore {
    /// The accounts in that file, which is made if it isn't there, and those listed beside them.
    ///
    /// # Errors
    /// The file can't be opened or read, or a name or a key is in both places.
    pub fn open(path: &Path, listed: &[Listed], now: UnixTime) -> Result<Self, OpenError> {
        let path = path.to_owned();
        Self::open_with(Box::new(move |builder| open_file(builder, &path)), listed, now)
    }

    /// The same, by an opener of one's own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(open: Opener, listed: &[Listed], now: UnixTime) -> Result<Self, OpenError> {
        let database = open(&builder())?;
        let directory = Arc::new(Directory::default());
        let read = read(&database, Some((listed, now)))?;
        fill(&directory, listed, &read)?;
        directory.restore(read.accounts, read.keys);
        Ok(Self {
            directory,
            open,
            disk: Mutex::new(Disk {
                database: Some(database),
                is_closed: false,
                next_id: read.next_id,
            }),
        })
    }

    /// Where requests look.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Closes the file for good: changes are refused from now on. What was acknowledged is in it whether or not this succeeds;
    /// without it the next opening takes longer.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(&self) -> Result<(), OpenError> {
        let mut disk = self.disk.lock();
        disk.is_closed = true;
        match disk.database.take() {
            Some(database) => Ok(database.close()?),
            None => Ok(()),
        }
    }

    /// Makes an account, with an id that nobody has had.
    ///
    /// # Errors
    /// Its name is taken, what it says is out of bounds, or there are too many.
    pub fn add(&self, new: NewAccount, now: UnixTime) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin()?;
        if self.directory.by_name(&new.name).is_some() {
            return Err(ChangeError::NameTaken);
        }
        let account = Arc::new(new.made(change.next_id()?, now)?);
        change.steps.push(Step::Put(Arc::clone(&account)));
        change.commit()?;
        Ok(account)
    }

    /// Changes the account of that name, and answers with what it is now.
    ///
    /// # Errors
    /// There is none, it is listed, or what it would say is out of bounds.
    pub fn change(&self, name: &str, what: &Change) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin()?;
        let account = Arc::new(self.stored(name)?.changed(what)?);
        change.steps.push(Step::Put(Arc::clone(&account)));
        change.commit()?;
        Ok(account)
    }

    /// Removes the account of that name and its keys, and answers with what it was. An account of the same name that comes later
    /// is another one.
    ///
    /// # Errors
    /// There is none, or it is listed.
    pub fn remove(&self, name: &str) -> Result<Arc<Account>, ChangeError> {
        let mut change = self.begin()?;
        let account = self.stored(name)?;
        let keys = self.directory.keys_of(account.id).into_iter().map(Step::Take);
        change.steps.extend(keys);
        change.steps.push(Step::Remove(Arc::clone(&account)));
        change.commit()?;
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
        let mut change = self.begin()?;
        let account = self.stored(name)?;
        let minted = change.mint(account.id, label, expires, now)?;
        change.commit()?;
        Ok(minted)
    }

    /// Makes a key that takes the place of another: it has the same label, and lives as long from now as the other did from its
    /// beginning. The other stays for `overlap`, if it would have lived so long. Answers with both.
    ///
    /// # Errors
    /// There is no such key, its account is listed or has too many, or it has expired.
    pub fn rotate(&self, id: KeyId, overlap: Span, now: UnixTime) -> Result<(Minted, Arc<Key>), ChangeError> {
        let mut change = self.begin()?;
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
        change.commit()?;
        Ok((minted, old))
    }

    /// Makes a key worthless, at once and for good. Answers with what it was.
    ///
    /// # Errors
    /// There is no such key, or its account is listed.
    pub fn revoke(&self, id: KeyId) -> Result<Arc<Key>, ChangeError> {
        let mut change = self.begin()?;
        let key = self.stored_key(id)?;
        change.steps.push(Step::Take(Arc::clone(&key)));
        change.commit()?;
        Ok(key)
    }

    /// Makes all these accounts with their keys, or none. Lines of one name and the same terms give one account several keys.
    ///
    /// # Errors
    /// What is wrong, and nothing was made.
    pub fn import(&self, rows: Vec<ImportRow>, now: UnixTime) -> Result<Imported, ImportError> {
        let (change, seen) = self.prepare(rows, now)?;
        change.commit()?;
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
        let mut change = self.begin()?;
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

    /// Takes the lock, and opens the file anew if a write has failed.
    fn begin(&self) -> Result<Changing<'_>, ChangeError> {
        let mut disk = self.disk.lock();
        if disk.is_closed {
            return Err(ChangeError::Unavailable("they are closed".to_owned()));
        }
        if disk.database.is_none() {
            self.reopen(&mut disk)?;
        }
        let next_id = disk.next_id;
        Ok(Changing {
            store: self,
            disk,
            next_id,
            steps: Vec::new(),
        })
    }

    /// Opens the file anew, and fills the directory with what it says.
    fn reopen(&self, disk: &mut Disk) -> Result<(), OpenError> {
        disk.database = None;
        let database = (self.open)(&builder())?;
        let read = read(&database, None)?;
        self.directory.restore(read.accounts, read.keys);
        disk.next_id = disk.next_id.max(read.next_id);
        disk.database = Some(database);
        Ok(())
    }
}

/// A change that is being put together, under the store's lock.
struct Changing<'s> {
    store: &'s AccountStore,
    disk: parking_lot::MutexGuard<'s, Disk>,
    next_id: u32,
    steps: Vec<Step>,
}

/// What the lines of an import have named so far.
#[derive(Default)]
struct Seen {
    accounts: HashMap<String, (AccountId, NewAccount, usize)>,
    keys: HashSet<KeyId>,
}

impl Changing<'_> {
    fn next_id(&mut self) -> Result<AccountId, ChangeError> {
        let made = usize::try_from(self.next_id - self.disk.next_id).unwrap_or(usize::MAX);
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
    fn commit(mut self) -> Result<(), ChangeError> {
        // Ids that were taken for an account that was then refused come again: nobody has seen them.
        let database = self
            .disk
            .database
            .as_ref()
            .expect("it was opened when the change began");
        match write(database, &self.steps, self.next_id) {
            Ok(()) => {
                self.disk.next_id = self.next_id;
                self.store.directory.take(&self.steps);
                Ok(())
            }
            Err(error) => {
                // Nobody knows whether it took place, and redb writes no more. What the disk says is what is.
                self.disk.database = None;
                let reopened = self.store.reopen(&mut self.disk);
                tracing::warn!(%error, reopened = reopened.is_ok(), "accounts could not be written");
                Err(ChangeError::Unavailable(error.to_string()))
            }
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_file(builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
    if !path.try_exists().map_err(disk)? {
        make_file(builder, path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(disk)?;
    builder.create_with_backend(FileBackend::new(file)?)
}

/// Makes the file whole under another name, and then gives it its own. redb can't open a file whose making was cut off, and what
/// looks like one could also be what a disk has left of many accounts: so none is ever there.
fn make_file(builder: &Builder, path: &Path) -> Result<(), DatabaseError> {
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE);
    let file = options.open(&beside).map_err(disk)?;
    builder.create_with_backend(FileBackend::new(file)?)?.close()?;
    // A link overwrites nobody's file, should another door have been quicker.
    match fs::hard_link(&beside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(disk(error)),
        _ => fs::remove_file(&beside).map_err(disk)?,
    }
    // A file is there after a loss of power only if its folder says so.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(disk)?;
    folder.sync_all().map_err(disk)
}

fn disk(error: io::Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}

/// What lies on the disk.
struct Read {
    accounts: Vec<Account>,
    keys: Vec<Key>,
    /// The ids of the names that were asked for, in their order, and when they were first listed.
    listed: Vec<(AccountId, UnixTime)>,
    next_id: u32,
}

/// Any fault of redb's but the opening itself.
fn fault(error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        redb::Error::Corrupted(what) => OpenError::Damaged(what),
        other => OpenError::Disk(other.to_string()),
    }
}

/// Reads everything. Names that are listed get an id if they have none, and those that aren't any more lose theirs.
fn read(database: &Database, listed: Option<(&[Listed], UnixTime)>) -> Result<Read, OpenError> {
    let transaction = begin_write(database)?;
    let read = {
        let mut meta = transaction.open_table(META).map_err(fault)?;
        let number = |table: &redb::Table<'_, &str, u64>, name: &str| {
            let found = table.get(name).map_err(fault)?;
            Ok::<_, OpenError>(found.map(|guard| guard.value()))
        };
        let format = number(&meta, "format")?;
        if format.is_some_and(|format| format > FORMAT) {
            return Err(OpenError::Newer);
        }
        let known = number(&meta, "next_id")?.map_or(Ok(FIRST_ID), u32::try_from);
        let known = known.map_err(|_| OpenError::NoIds)?;
        let mut next_id = known;
        let accounts = accounts(&transaction)?;
        let keys = keys(&transaction)?;
        let named = match listed {
            Some((listed, now)) => name_listed(&transaction, listed, now, &mut next_id)?,
            None => Vec::new(),
        };
        if format.is_none() {
            meta.insert("format", FORMAT).map_err(fault)?;
        }
        if next_id != known {
            meta.insert("next_id", u64::from(next_id)).map_err(fault)?;
        }
        Read {
            accounts,
            keys,
            listed: named,
            next_id,
        }
    };
    transaction.commit().map_err(fault)?;
    Ok(read)
}

fn begin_write(database: &Database) -> Result<WriteTransaction, OpenError> {
    let mut transaction = database.begin_write().map_err(fault)?;
    // Changes are rare, so they may take two syncs each: after a crash the file is open at once, and no torn page is ever
    // taken for a whole one by a checksum that was not made against malice.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn accounts(transaction: &WriteTransaction) -> Result<Vec<Account>, OpenError> {
    let table = transaction.open_table(ACCOUNTS).map_err(fault)?;
    let mut accounts = Vec::new();
    for entry in table.iter().map_err(fault)? {
        let (id, bytes) = entry.map_err(fault)?;
        accounts.push(encoding::read_account(AccountId(id.value()), bytes.value())?);
    }
    Ok(accounts)
}

fn keys(transaction: &WriteTransaction) -> Result<Vec<Key>, OpenError> {
    let table = transaction.open_table(KEYS).map_err(fault)?;
    let mut keys = Vec::new();
    for entry in table.iter().map_err(fault)? {
        let (hash, bytes) = entry.map_err(fault)?;
        keys.push(encoding::read_key(*hash.value(), bytes.value())?);
    }
    Ok(keys)
}

/// Gives every listed name an id of its own that it keeps for as long as it is listed.
fn name_listed(
    transaction: &WriteTransaction,
    listed: &[Listed],
    now: UnixTime,
    next_id: &mut u32,
) -> Result<Vec<(AccountId, UnixTime)>, OpenError> {
    let mut table = transaction.open_table(LISTED).map_err(fault)?;
    let names: HashSet<&str> = listed.iter().map(|account| account.name.as_str()).collect();
    table.retain(|name, _| names.contains(name)).map_err(fault)?;
    let mut ids = Vec::with_capacity(listed.len());
    for account in listed {
        let found = table.get(account.name.as_str()).map_err(fault)?;
        let found = found.map(|guard| guard.value());
        let (id, since) = match found {
            Some(found) => found,
            None => {
                let id = *next_id;
                *next_id = id.checked_add(1).ok_or(OpenError::NoIds)?;
                let new = (id, now.as_millis());
                table.insert(account.name.as_str(), new).map_err(fault)?;
                new
            }
        };
        ids.push((AccountId(id), UnixTime::from_millis(since)));
    }
    Ok(ids)
}

/// Puts the listed accounts into the directory, unless they collide with what is stored, or the stored with each other.
fn fill(directory: &Directory, listed: &[Listed], read: &Read) -> Result<(), OpenError> {
    let stored: HashMap<&str, AccountId> = read
        .accounts
        .iter()
        .map(|account| (account.name.as_str(), account.id))
        .collect();
    let ids: HashMap<AccountId, &str> = stored.iter().map(|(name, id)| (*id, *name)).collect();
    if stored.len() < read.accounts.len() || read.keys.iter().any(|key| !ids.contains_key(&key.account)) {
        return Err(OpenError::Damaged(
            "two accounts of one name, or a key of nobody".to_owned(),
        ));
    }
    let both = listed
        .iter()
        .filter(|account| stored.contains_key(account.name.as_str()));
    let both: Vec<String> = both.map(|account| account.name.clone()).take(SHOWN_MAX).collect();
    if !both.is_empty() {
        return Err(OpenError::ListedAndStored(both));
    }
    let mut owners: HashMap<KeyId, &str> = read.keys.iter().map(|key| (key.id(), ids[&key.account])).collect();
    for (account, (id, since)) in listed.iter().zip(&read.listed) {
        let (name, tier) = (account.name.clone(), account.tier.clone());
        let mut steps = vec![Step::Put(Arc::new(Account::listed(*id, name, tier, *since)))];
        for hash in &account.keys {
            if let Some(other) = owners.insert(KeyId::of(hash), &account.name) {
                return Err(OpenError::KeyOfTwo {
                    listed: account.name.clone(),
                    other: other.to_owned(),
                });
            }
            steps.push(Step::Give(Arc::new(Key {
                hash: *hash,
                account: *id,
                label: String::new(),
                created: *since,
                expires: None,
            })));
        }
        directory.take(&steps);
    }
    Ok(())
}

/// Writes the steps and the next id in one transaction. Durable when this has returned.
fn write(database: &Database, steps: &[Step], next_id: u32) -> Result<(), OpenError> {
    let transaction = begin_write(database)?;
    {
        let mut accounts = transaction.open_table(ACCOUNTS).map_err(fault)?;
        let mut keys = transaction.open_table(KEYS).map_err(fault)?;
        for step in steps {
            match step {
                Step::Put(account) => {
                    let bytes = encoding::account(account);
                    accounts.insert(account.id.0, bytes.as_slice()).map_err(fault)?;
                }
                Step::Remove(account) => {
                    accounts.remove(account.id.0).map_err(fault)?;
                }
                Step::Give(key) => {
                    let bytes = encoding::key(key);
                    keys.insert(&key.hash, bytes.as_slice()).map_err(fault)?;
                }
                Step::Take(key) => {
                    keys.remove(&key.hash).map_err(fault)?;
                }
            }
        }
        let mut meta = transaction.open_table(META).map_err(fault)?;
        meta.insert("next_id", u64::from(next_id)).map_err(fault)?;
    }
    transaction.commit().map_err(fault)
}
