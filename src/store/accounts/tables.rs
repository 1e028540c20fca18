//! Accounts, keys and networks as rows: one snapshot reads all, and a change writes its steps.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, ToSql, Transaction, params, params_from_iter};

use super::{AccountsError, NO_ID};
use crate::policy::caller::AccountId;
use crate::policy::rules::LimitOverride;
use crate::policy::time::UnixTime;
use crate::store::account::{Account, AccountSpec, Numbers, OwnLimit, columns};
use crate::store::directory::Step;
use crate::store::interner::Interner;
use crate::store::keys::{Beginning, Key, KeyHash};
use crate::store::network::{Block, NetworkEntry};
use crate::store::rows::{millis, unix_time};

pub(super) struct Stored {
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) interner: Interner,
    pub(super) networks: Vec<NetworkEntry>,
    /// The lowest unused id.
    pub(super) next_id: u32,
}

/// Reads everything. There may be a million accounts, so each is built in its final form.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Result<Stored, AccountsError>> {
    let interner = Interner::default();
    let accounts = match accounts(connection, &interner)? {
        Ok(accounts) => accounts,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(Stored {
        accounts,
        interner,
        networks: networks(connection)?,
        next_id: next_id(connection)?,
    }))
}

/// The lowest unused id: removed accounts keep their rows. 0 is no account's, and [`NO_ID`] means that ids are used up.
pub(super) fn next_id(connection: &Connection) -> rusqlite::Result<u32> {
    let next: i64 = connection.query_row("SELECT coalesce(max(id), 0) + 1 FROM account", [], |row| row.get(0))?;
    Ok(u32::try_from(next).unwrap_or(NO_ID))
}

/// The accounts by id, with their overrides and keys.
fn accounts(
    connection: &Connection,
    interner: &Interner,
) -> rusqlite::Result<Result<Vec<Arc<Account>>, AccountsError>> {
    let mut own = own_numbers(connection)?;
    let mut keys = keys(connection)?.into_iter().peekable();
    let fields = columns().collect::<Vec<_>>().join(", ");
    let mut select = connection.prepare(&format!(
        "SELECT id, name, created, {fields} FROM account WHERE origin = 'stored' AND removed_at IS NULL ORDER BY id",
    ))?;
    let mut rows = select.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name, created) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (quotas, limits) = own.remove(&id).unwrap_or_default();
        let spec = AccountSpec {
            quotas,
            limits,
            ..AccountSpec::read(name, row, 3)?
        };
        let account = Account::of(spec, AccountId(id), unix_time(created), interner);
        let its = std::iter::from_fn(|| keys.next_if(|(of, _)| *of == id).map(|(_, key)| key));
        accounts.push(Arc::new(account.with_keys(its.collect())));
    }
    Ok(match keys.next() {
        None => Ok(accounts),
        Some((of, key)) => Err(AccountsError::Damaged(format!(
            "the key {} belongs to the account {of}, which does not exist",
            key.id()
        ))),
    })
}

/// An account's overrides: of quotas, and of request limits.
type OwnNumbers = (Numbers<u64>, Numbers<OwnLimit>);

/// The overrides of all accounts, by id.
fn own_numbers(connection: &Connection) -> rusqlite::Result<HashMap<u32, OwnNumbers>> {
    let mut all: HashMap<u32, OwnNumbers> = HashMap::new();
    let mut quotas = connection.prepare("SELECT account, quota, units FROM account_quota")?;
    let mut rows = quotas.query([])?;
    while let Some(row) = rows.next()? {
        let units = row.get::<_, i64>(2)?.cast_unsigned();
        all.entry(row.get(0)?).or_default().0.insert(row.get(1)?, units);
    }
    let mut limits = connection.prepare("SELECT account, request_limit, requests, lifts_network FROM account_limit")?;
    let mut rows = limits.query([])?;
    while let Some(row) = rows.next()? {
        let raise = LimitOverride {
            number: row.get(2)?,
            lifts_network: row.get(3)?,
        };
        all.entry(row.get(0)?).or_default().1.insert(row.get(1)?, raise.into());
    }
    Ok(all)
}

/// All keys, sorted once by account id: the table is sorted by hash.
fn keys(connection: &Connection) -> rusqlite::Result<Vec<(u32, Key)>> {
    let count: i64 = connection.query_row("SELECT count(*) FROM api_key", [], |row| row.get(0))?;
    let mut keys = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut select = connection.prepare("SELECT hash, account, label, created, expires FROM api_key")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key = Key {
            hash: row.get::<_, KeyHash>(0)?,
            label: row.get::<_, String>(2)?.into(),
            created: unix_time(row.get(3)?),
            expires: row.get::<_, Option<i64>>(4)?.map(unix_time),
        };
        keys.push((row.get(1)?, key));
    }
    keys.sort_unstable_by_key(|(account, _)| *account);
    Ok(keys)
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
        let error: Box<dyn std::error::Error + Send + Sync> = format!("`{text}` is not a network").into();
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error)
    })
}

pub(super) fn write(
    transaction: &Transaction<'_>,
    steps: &[Step],
    beginnings: &HashMap<KeyHash, Beginning>,
    networks: &[Arc<NetworkEntry>],
    now: UnixTime,
) -> rusqlite::Result<()> {
    // Delete first: a key may move from one account to another.
    let mut delete = transaction.prepare_cached("DELETE FROM api_key WHERE hash = ?1")?;
    for key in steps.iter().flat_map(Step::removed_keys) {
        delete.execute([key.hash])?;
    }
    for step in steps {
        match (&step.before, &step.after) {
            (_, Some(account)) => put_account(transaction, step.before.as_deref(), account)?,
            (Some(account), None) => remove_account(transaction, account, now)?,
            (None, None) => {}
        }
    }
    put_keys(transaction, steps, beginnings)?;
    networks.iter().try_for_each(|entry| put_network(transaction, entry))
}

/// Upserts an account: id, name and creation time are fixed, its fields are updated.
static PUT: LazyLock<String> = LazyLock::new(|| {
    let fields: Vec<&str> = columns().collect();
    let values: Vec<String> = (4..).take(fields.len()).map(|number| format!("?{number}")).collect();
    let updates: Vec<String> = fields
        .iter()
        .map(|field| format!("{field} = excluded.{field}"))
        .collect();
    format!(
        "INSERT INTO account (id, name, created, origin, {}) VALUES (?1, ?2, ?3, 'stored', {}) \
         ON CONFLICT (id) DO UPDATE SET {}",
        fields.join(", "),
        values.join(", "),
        updates.join(", ")
    )
});

fn put_account(transaction: &Transaction<'_>, before: Option<&Account>, account: &Account) -> rusqlite::Result<()> {
    let (before, spec) = (before.map(Account::spec), account.spec());
    if before
        .as_ref()
        .is_some_and(|before| before.differences(&spec).is_empty())
    {
        return Ok(());
    }
    put_spec(transaction, account, &spec)?;
    if before.is_some_and(|before| !before.quotas.is_empty() || !before.limits.is_empty()) {
        forget_own_numbers(transaction, account.id)?;
    }
    put_own_numbers(transaction, account.id, &spec)
}

/// Writes the account's terms, except its overrides.
fn put_spec(transaction: &Transaction<'_>, account: &Account, spec: &AccountSpec) -> rusqlite::Result<()> {
    let (id, name, created) = (account.id.0, &*account.name, millis(account.created));
    let mut row = vec![id.to_sql()?, name.to_sql()?, created.to_sql()?];
    row.extend(spec.row()?);
    transaction
        .prepare_cached(&PUT)?
        .execute(params_from_iter(row))
        .map(drop)
}

fn put_own_numbers(transaction: &Transaction<'_>, account: AccountId, spec: &AccountSpec) -> rusqlite::Result<()> {
    if !spec.quotas.is_empty() {
        let mut quota =
            transaction.prepare_cached("INSERT INTO account_quota (account, quota, units) VALUES (?1, ?2, ?3)")?;
        for (name, units) in &spec.quotas {
            quota.execute(params![account.0, name, units.cast_signed()])?;
        }
    }
    if !spec.limits.is_empty() {
        let mut limit = transaction.prepare_cached(
            "INSERT INTO account_limit (account, request_limit, requests, lifts_network) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (name, own) in &spec.limits {
            let raise = LimitOverride::from(*own);
            limit.execute(params![account.0, name, raise.number, raise.lifts_network])?;
        }
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

/// The account's row stays to name its usage. Its owner's data is deleted.
fn remove_account(transaction: &Transaction<'_>, account: &Account, now: UnixTime) -> rusqlite::Result<()> {
    put_spec(transaction, account, &account.spec().remainder())?;
    let mut remove = transaction.prepare_cached("UPDATE account SET removed_at = ?2 WHERE id = ?1")?;
    remove.execute(params![account.id.0, millis(now)])?;
    forget_own_numbers(transaction, account.id)
}

/// Writes new and changed keys in the table's order, so that many keys write each page once.
fn put_keys(
    transaction: &Transaction<'_>,
    steps: &[Step],
    beginnings: &HashMap<KeyHash, Beginning>,
) -> rusqlite::Result<()> {
    let of = |step: &'_ Step| step.after.as_ref().map_or(0, |after| after.id.0);
    let mut keys: Vec<(&Key, u32)> = steps
        .iter()
        .flat_map(|step| step.added_keys().map(move |key| (key, of(step))))
        .collect();
    keys.sort_unstable_by_key(|(key, _)| key.hash);
    let mut put = transaction.prepare_cached(
        "INSERT INTO api_key (hash, account, label, created, expires, begins) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (hash) DO UPDATE SET account = excluded.account, label = excluded.label, \
             created = excluded.created, expires = excluded.expires, begins = coalesce(excluded.begins, begins)",
    )?;
    for (key, account) in keys {
        put.execute(params![
            key.hash,
            account,
            &*key.label,
            millis(key.created),
            key.expires.map(millis),
            beginnings.get(&key.hash).map(Beginning::as_str),
        ])?;
    }
    Ok(())
}

/// Replaces the network's rows; deletes them if the entry is empty.
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

/// Deletes expired blocks, and entries that are empty without them.
pub(super) fn delete_expired(transaction: &Transaction<'_>, now: UnixTime) -> rusqlite::Result<()> {
    let over: Vec<NetworkEntry> = networks(transaction)?
        .into_iter()
        .filter(|entry| entry.has_block_over(now))
        .collect();
    over.iter()
        .try_for_each(|entry| put_network(transaction, &entry.at(now)))
}
