//! A store of a test's own, and what the tests say to it.

use std::sync::Arc;

use tiergate::policy::caller::AccountId;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{
    AccountSpec, AccountStore, AccountView, AccountsError, DATABASE_FILE, Database, DeclaredAccount, KeyHash, keys,
};

use crate::database;
use crate::folder::Folder;

pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub const DAY: Span = Span::from_secs(24 * 60 * 60);

/// The store in that folder. It is closed when it is dropped.
pub fn open(folder: &Folder, listed: &[DeclaredAccount]) -> Result<AccountStore, AccountsError> {
    open_with(folder, listed, &[], NOW).map(|(store, _)| store)
}

/// The same at that time, with networks that tiers.yaml blocks, and the database below it.
pub fn open_with(
    folder: &Folder,
    listed: &[DeclaredAccount],
    blocked: &[&str],
    now: UnixTime,
) -> Result<(AccountStore, Arc<Database>), AccountsError> {
    let database = database::open_at(folder.path(), now);
    let blocked = blocked.iter().map(|text| text.parse().expect("a network")).collect();
    AccountStore::open(Arc::clone(&database), listed, blocked, now).map(|store| (store, database))
}

/// The database of a folder whose store is closed.
pub fn database_of(folder: &Folder) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path().join(DATABASE_FILE)).expect("it was made")
}

/// The numbers that a query answers with.
pub fn numbers(connection: &rusqlite::Connection, query: &str) -> Vec<i64> {
    let mut select = connection.prepare(query).expect("a query");
    let rows = select.query_map([], |row| row.get(0)).expect("an answer");
    rows.collect::<Result<_, _>>().expect("numbers")
}

pub fn new(name: &str) -> AccountSpec {
    AccountSpec {
        name: name.to_owned(),
        tier: "$20".to_owned(),
        ..AccountSpec::default()
    }
}

pub fn listed(name: &str, keys: &[&str]) -> DeclaredAccount {
    DeclaredAccount {
        name: name.to_owned(),
        tier: "free".to_owned(),
        keys: keys.iter().map(|key| hash(key)).collect(),
    }
}

pub fn hash(key: &str) -> KeyHash {
    keys::hash(key.as_bytes())
}

/// Whose key that is.
pub fn found(store: &AccountStore, key: &str, now: UnixTime) -> Option<AccountId> {
    let known = AccountView::of(store.directory());
    known.find(key.as_bytes(), now).map(|account| account.id)
}
