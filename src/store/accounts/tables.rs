//! The file of the accounts: how it is made and opened, what its tables hold, one transaction to read all and one to write.
//!
//! Absent on purpose: reasons against a change, and what is in memory.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
    WriteTransaction,
};

use super::{Listed, OpenError};
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::account::Account;
use crate::store::directory::Step;
use crate::store::encoding;
use crate::store::keys::{Key, KeyHash};
use crate::store::network::NetworkEntry;

/// Mode of the file: nobody else reads it.
const FILE_MODE: u32 = 0o600;
/// Bytes that redb keeps in memory. The directory has all that requests need.
const CACHE_BYTES: usize = 4 << 20;
/// The form of what lies in the tables. A greater one is of a later version of the program. The first had no networks, and
/// accounts no request limits: it is read, and becomes this one with the first change, so that an earlier program may go on
/// with it until then.
const FORMAT: u64 = 2;
/// The least id. 0 is nobody's.
const FIRST_ID: u32 = 1;
/// `format`, and `next_id`: the least id that nobody has had.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// [`encoding::account`] by id.
const ACCOUNTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("accounts");
/// [`encoding::key`] by hash.
const KEYS: TableDefinition<'_, &KeyHash, &[u8]> = TableDefinition::new("keys");
/// [`encoding::network`] by [`encoding::network_key`].
const NETWORKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("networks");
/// Names that were listed in tiers.yaml and aren't any more, of which the ids are kept.
const UNLISTED_MAX: usize = 100_000;
/// The id of a name in tiers.yaml, and when it was first listed, in milliseconds.
const LISTED: TableDefinition<'_, &str, (u32, u64)> = TableDefinition::new("listed");

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

pub(super) fn open_file(builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
    if !path.try_exists().map_err(disk)? {
        make_file(builder, path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(disk)?;
    builder.create_with_backend(FileBackend::new(file)?)
}

/// Makes the file whole under another name, and then gives it its own. redb can't open a file whose making was cut off, and
/// what looks like one could also be what a disk has left of many accounts: so none is ever there.
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
pub(super) struct Read {
    pub(super) accounts: Vec<Account>,
    pub(super) keys: Vec<Key>,
    pub(super) networks: Vec<NetworkEntry>,
    /// The ids of the names that were asked for, in their order, and when they were first listed.
    pub(super) listed: Vec<(AccountId, UnixTime)>,
    pub(super) next_id: u32,
}

/// Any fault of redb's but the opening itself.
fn fault(error: impl Into<redb::Error>) -> OpenError {
    match error.into() {
        redb::Error::Corrupted(what) => OpenError::Damaged(what),
        other => OpenError::Disk(other.to_string()),
    }
}

/// Reads everything. When the door is opened, with those that tiers.yaml lists and the time, names that are listed get an id if
/// they have none, and blocks whose time is over go.
pub(super) fn read(database: &Database, listed: Option<(&[Listed], UnixTime)>) -> Result<Read, OpenError> {
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
        let mut networks = networks(&transaction)?;
        let named = match listed {
            Some((listed, now)) => {
                drop_what_is_over(&transaction, &mut networks, now)?;
                name_listed(&transaction, listed, now, &mut next_id)?
            }
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
            networks,
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

fn networks(transaction: &WriteTransaction) -> Result<Vec<NetworkEntry>, OpenError> {
    let table = transaction.open_table(NETWORKS).map_err(fault)?;
    let mut networks = Vec::new();
    for entry in table.iter().map_err(fault)? {
        let (key, bytes) = entry.map_err(fault)?;
        networks.push(encoding::read_network(key.value(), bytes.value())?);
    }
    Ok(networks)
}

/// Takes the blocks away whose time is over, and the networks of which nothing else is said.
fn drop_what_is_over(
    transaction: &WriteTransaction,
    networks: &mut Vec<NetworkEntry>,
    now: UnixTime,
) -> Result<(), OpenError> {
    for entry in networks.iter_mut().filter(|entry| entry.has_block_over(now)) {
        *entry = entry.at(now);
        put_network(transaction, entry)?;
    }
    networks.retain(|entry| !entry.is_bare());
    Ok(())
}

/// The network is as this says: gone, if that is nothing.
fn put_network(transaction: &WriteTransaction, entry: &NetworkEntry) -> Result<(), OpenError> {
    let mut table = transaction.open_table(NETWORKS).map_err(fault)?;
    let key = encoding::network_key(&entry.network);
    if entry.is_bare() {
        table.remove(key.as_slice()).map_err(fault)?;
    } else {
        let bytes = encoding::network(entry);
        table.insert(key.as_slice(), bytes.as_slice()).map_err(fault)?;
    }
    Ok(())
}

/// Gives every listed name an id of its own that it keeps: who is taken out of tiers.yaml and comes back finds what it has
/// used. Only when there are too many names that aren't listed any more, all of those are forgotten.
fn name_listed(
    transaction: &WriteTransaction,
    listed: &[Listed],
    now: UnixTime,
    next_id: &mut u32,
) -> Result<Vec<(AccountId, UnixTime)>, OpenError> {
    let mut table = transaction.open_table(LISTED).map_err(fault)?;
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
    let known = usize::try_from(table.len().map_err(fault)?).unwrap_or(usize::MAX);
    if known.saturating_sub(listed.len()) > UNLISTED_MAX {
        let names: HashSet<&str> = listed.iter().map(|account| account.name.as_str()).collect();
        table.retain(|name, _| names.contains(name)).map_err(fault)?;
    }
    Ok(ids)
}

/// Gives every listed name its id, in a transaction of its own; the next id is then what this answers with. Durable when this
/// has returned. Where every name has one, nothing is written.
pub(super) fn name(
    database: &Database,
    listed: &[Listed],
    now: UnixTime,
    mut next_id: u32,
) -> Result<(Vec<(AccountId, UnixTime)>, u32), OpenError> {
    let transaction = begin_write(database)?;
    let before = next_id;
    let ids = name_listed(&transaction, listed, now, &mut next_id)?;
    if next_id == before {
        transaction.abort().map_err(fault)?;
        return Ok((ids, next_id));
    }
    {
        let mut meta = transaction.open_table(META).map_err(fault)?;
        meta.insert("next_id", u64::from(next_id)).map_err(fault)?;
    }
    transaction.commit().map_err(fault)?;
    Ok((ids, next_id))
}

/// Writes the steps, the networks and the next id in one transaction. Durable when this has returned.
pub(super) fn write(
    database: &Database,
    steps: &[Step],
    networks: &[Arc<NetworkEntry>],
    next_id: u32,
) -> Result<(), OpenError> {
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
        for network in networks {
            put_network(&transaction, network)?;
        }
        let mut meta = transaction.open_table(META).map_err(fault)?;
        meta.insert("format", FORMAT).map_err(fault)?;
        meta.insert("next_id", u64::from(next_id)).map_err(fault)?;
    }
    transaction.commit().map_err(fault)
}
