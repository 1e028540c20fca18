//! Accounts, keys and networks as rows: one view to read all, and what a change writes.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Listed;
use crate::policy::Own;
use crate::policy::caller::AccountId;
use crate::policy::rules::Raise;
use crate::policy::time::UnixTime;
use crate::store::account::{Account, Origin};
use crate::store::directory::Step;
use crate::store::keys::{Key, KeyHash};
use crate::store::network::{Block, NetworkEntry};
use crate::store::rows::{millis, unix_time};

/// What lies in the database.
pub(super) struct Read {
    pub(super) accounts: Vec<Account>,
    pub(super) keys: Vec<Key>,
    pub(super) networks: Vec<NetworkEntry>,
    /// The least id that nobody has had.
    pub(super) next_id: u32,
}

/// Reads all that is stored.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Read> {
    Ok(Read {
        accounts: accounts(connection)?,
        keys: keys(connection)?,
        networks: networks(connection)?,
        next_id: next_id(connection)?,
    })
}

/// The least id that nobody has had: accounts that were removed keep their rows. 0 is nobody's.
pub(super) fn next_id(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT coalesce(max(id), 0) + 1 FROM account", [], |row| row.get(0))
}

fn accounts(connection: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut own = own_numbers(connection)?;
    let mut select = connection.prepare(
        "SELECT id, name, email, tier, until, blocked, max_users, note, created, concurrency \
         FROM account WHERE origin = 'stored' AND removed_at IS NULL",
    )?;
    let account = |row: &Row<'_>| {
        let id = row.get(0)?;
        let mut own = own.remove(&id).unwrap_or_default();
        own.concurrency = row.get(9)?;
        Ok(Account {
            id: AccountId(id),
            name: row.get(1)?,
            email: row.get(2)?,
            tier: row.get(3)?,
            own: Arc::new(own),
            until: row.get::<_, Option<i64>>(4)?.map(unix_time),
            blocked: row.get(5)?,
            users_max: row.get(6)?,
            note: row.get(7)?,
            created: unix_time(row.get(8)?),
            origin: Origin::Stored,
        })
    };
    select.query_map([], account)?.collect()
}

/// What accounts have of their own, by id.
fn own_numbers(connection: &Connection) -> rusqlite::Result<HashMap<u32, Own>> {
    let mut all: HashMap<u32, Own> = HashMap::new();
    let mut quotas = connection.prepare("SELECT account, quota, units FROM account_quota ORDER BY account, quota")?;
    let mut rows = quotas.query([])?;
    while let Some(row) = rows.next()? {
        let quota = (row.get::<_, String>(1)?.into(), row.get::<_, i64>(2)?.cast_unsigned());
        all.entry(row.get(0)?).or_default().quotas.push(quota);
    }
    let mut limits = connection.prepare(
        "SELECT account, request_limit, requests, lifts_network FROM account_limit ORDER BY account, request_limit",
    )?;
    let mut rows = limits.query([])?;
    while let Some(row) = rows.next()? {
        let raise = Raise {
            number: row.get(2)?,
            lifts_network: row.get(3)?,
        };
        let limit = (row.get::<_, String>(1)?.into(), raise);
        all.entry(row.get(0)?).or_default().limits.push(limit);
    }
    Ok(all)
}

fn keys(connection: &Connection) -> rusqlite::Result<Vec<Key>> {
    let mut select = connection.prepare("SELECT hash, account, label, created, expires FROM api_key")?;
    let key = |row: &Row<'_>| {
        Ok(Key {
            hash: row.get::<_, KeyHash>(0)?,
            account: AccountId(row.get(1)?),
            label: row.get(2)?,
            created: unix_time(row.get(3)?),
            expires: row.get::<_, Option<i64>>(4)?.map(unix_time),
        })
    };
    select.query_map([], key)?.collect()
}

fn networks(connection: &Connection) -> rusqlite::Result<Vec<NetworkEntry>> {
    let mut numbers: HashMap<String, Vec<(Arc<str>, u32)>> = HashMap::new();
    let mut limits = connection
        .prepare("SELECT network, request_limit, requests FROM network_limit ORDER BY network, request_limit")?;
    let mut rows = limits.query([])?;
    while let Some(row) = rows.next()? {
        let number = (row.get::<_, String>(1)?.into(), row.get(2)?);
        numbers.entry(row.get(0)?).or_default().push(number);
    }
    let mut select =
        connection.prepare("SELECT network, note, blocked_since, blocked_until, block_reason FROM network")?;
    let entry = |row: &Row<'_>| {
        let name: String = row.get(0)?;
        let since: Option<i64> = row.get(2)?;
        let until: Option<i64> = row.get(3)?;
        let why = row.get(4)?;
        let block = since.map(|since| Block {
            since: unix_time(since),
            until: until.map(unix_time),
            why,
        });
        Ok(NetworkEntry {
            limits: numbers.remove(&name).unwrap_or_default().into(),
            note: row.get(1)?,
            block,
            ..NetworkEntry::bare(network_of(&name)?, false)
        })
    };
    select.query_map([], entry)?.collect()
}

fn network_of(text: &str) -> rusqlite::Result<IpNet> {
    text.parse().map_err(|_| {
        let error: Box<dyn std::error::Error + Send + Sync> = format!("`{text}` is no network").into();
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error)
    })
}

/// Writes what a change makes of accounts, keys and networks.
pub(super) fn write(
    transaction: &Transaction<'_>,
    steps: &[Step],
    networks: &[Arc<NetworkEntry>],
    now: UnixTime,
) -> rusqlite::Result<()> {
    for step in steps {
        match step {
            Step::Put(account) => put_account(transaction, account)?,
            Step::Remove(account) => remove_account(transaction, account.id, now)?,
            Step::Give(key) => put_key(transaction, key)?,
            Step::Take(key) => {
                let mut delete = transaction.prepare_cached("DELETE FROM api_key WHERE hash = ?1")?;
                delete.execute([key.hash])?;
            }
        }
    }
    networks.iter().try_for_each(|entry| put_network(transaction, entry))
}

fn put_account(transaction: &Transaction<'_>, account: &Account) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO account (id, name, origin, tier, email, note, concurrency, max_users, until, blocked, created) \
         VALUES (?1, ?2, 'stored', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (id) DO UPDATE SET tier = excluded.tier, email = excluded.email, note = excluded.note, \
             concurrency = excluded.concurrency, max_users = excluded.max_users, until = excluded.until, \
             blocked = excluded.blocked",
    )?;
    put.execute(params![
        account.id.0,
        account.name,
        account.tier,
        account.email,
        account.note,
        account.own.concurrency,
        account.users_max,
        account.until.map(millis),
        account.blocked,
        millis(account.created),
    ])?;
    forget_own_numbers(transaction, account.id)?;
    let mut quota =
        transaction.prepare_cached("INSERT INTO account_quota (account, quota, units) VALUES (?1, ?2, ?3)")?;
    for (name, units) in &account.own.quotas {
        quota.execute(params![account.id.0, &**name, units.cast_signed()])?;
    }
    let mut limit = transaction.prepare_cached(
        "INSERT INTO account_limit (account, request_limit, requests, lifts_network) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (name, raise) in &account.own.limits {
        limit.execute(params![account.id.0, &**name, raise.number, raise.lifts_network])?;
    }
    Ok(())
}

fn forget_own_numbers(transaction: &Transaction<'_>, account: AccountId) -> rusqlite::Result<()> {
    for delete in [
        "DELETE FROM account_quota WHERE account = ?1",
        "DELETE FROM account_limit WHERE account = ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([account.0])?;
    }
    Ok(())
}

/// The account keeps its row, so that what it has used keeps its name.
fn remove_account(transaction: &Transaction<'_>, account: AccountId, now: UnixTime) -> rusqlite::Result<()> {
    let mut remove = transaction.prepare_cached("UPDATE account SET removed_at = ?2 WHERE id = ?1")?;
    remove.execute(params![account.0, millis(now)])?;
    forget_own_numbers(transaction, account)
}

fn put_key(transaction: &Transaction<'_>, key: &Key) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO api_key (hash, account, label, created, expires) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (hash) DO UPDATE SET account = excluded.account, label = excluded.label, \
             created = excluded.created, expires = excluded.expires",
    )?;
    put.execute(params![
        key.hash,
        key.account.0,
        key.label,
        millis(key.created),
        key.expires.map(millis)
    ])
    .map(drop)
}

/// The network is as this says: gone, if that is nothing.
fn put_network(transaction: &Transaction<'_>, entry: &NetworkEntry) -> rusqlite::Result<()> {
    let name = entry.network.to_string();
    for delete in [
        "DELETE FROM network_limit WHERE network = ?1",
        "DELETE FROM network WHERE network = ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([&name])?;
    }
    if entry.is_bare() {
        return Ok(());
    }
    let block = entry.block.as_ref();
    let mut put = transaction.prepare_cached(
        "INSERT INTO network (network, note, blocked_since, blocked_until, block_reason) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    put.execute(params![
        name,
        entry.note,
        block.map(|block| millis(block.since)),
        block.and_then(|block| block.until).map(millis),
        block.and_then(|block| block.why.as_deref()),
    ])?;
    let mut limit = transaction
        .prepare_cached("INSERT INTO network_limit (network, request_limit, requests) VALUES (?1, ?2, ?3)")?;
    for (request_limit, requests) in entry.limits.iter() {
        limit.execute(params![name, &**request_limit, requests])?;
    }
    Ok(())
}

/// Gives every listed name an id of its own that it keeps: a name that is taken out of tiers.yaml and comes back finds what
/// it has used. Answers with the ids in the order of the list, each with when it was first listed.
pub(super) fn name_listed(
    transaction: &Transaction<'_>,
    listed: &[Listed],
    now: UnixTime,
) -> rusqlite::Result<Vec<(AccountId, UnixTime)>> {
    let mut find = transaction.prepare_cached(
        "SELECT id, created FROM account WHERE name = ?1 AND origin = 'listed' ORDER BY id DESC LIMIT 1",
    )?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO account (id, name, origin, tier, blocked, created) VALUES (?1, ?2, 'listed', ?3, 0, ?4)",
    )?;
    let mut next = next_id(transaction)?;
    // Who is listed no longer is marked so; those that are, one by one.
    transaction.execute(
        "UPDATE account SET removed_at = ?1 WHERE origin = 'listed' AND removed_at IS NULL",
        [millis(now)],
    )?;
    let mut list = transaction.prepare_cached("UPDATE account SET removed_at = NULL, tier = ?2 WHERE id = ?1")?;
    let mut ids = Vec::with_capacity(listed.len());
    for account in listed {
        let found: Option<(u32, i64)> = find
            .query_row([&account.name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, since) = match found {
            Some(known) => {
                list.execute(params![known.0, account.tier])?;
                known
            }
            None => {
                let new = (next, millis(now));
                next += 1;
                insert.execute(params![new.0, account.name, account.tier, new.1])?;
                new
            }
        };
        ids.push((AccountId(id), unix_time(since)));
    }
    Ok(ids)
}

/// Drops blocks whose time is over, and networks of which nothing else is said.
pub(super) fn drop_what_is_over(transaction: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    let over: Vec<NetworkEntry> = networks(transaction)?
        .into_iter()
        .filter(|entry| entry.has_block_over(now))
        .collect();
    over.iter()
        .try_for_each(|entry| put_network(transaction, &entry.at(now)))
}
