//! How keys begin and when they were last used, in the database: written each minute, read for operators.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::database::{Database, ReadError, Shared, WriteError};
use super::key_sightings::Sighted;
use super::keys::{Beginning, KeyHash};
use super::rows::{millis, unix_time};
use crate::policy::time::UnixTime;

/// Keys that one transaction writes: commits wait for it.
const WRITTEN_AT_ONCE: usize = 5_000;

/// What is known of a key besides its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// How it begins; `None` until it is used, if it was given by its hash.
    pub begins: Option<Beginning>,
    /// When it was last used; a use more than a minute ago is known after a crash, too.
    pub last_used: Option<UnixTime>,
}

impl Database {
    /// The keys' beginnings and last uses, in that order. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn key_uses(&self, keys: &[KeyHash]) -> Result<Vec<KeyUse>, ReadError> {
        let mut uses: Vec<KeyUse> = self.read(|connection| keys.iter().map(|key| read(connection, key)).collect())?;
        for (key, used) in keys.iter().zip(&mut uses) {
            if let Some(sighted) = self.key_sightings().of(key) {
                used.begins = used.begins.or(Some(sighted.begins));
                used.last_used = used.last_used.max(Some(sighted.last_used));
            }
        }
        Ok(uses)
    }

    /// Writes the uses of keys since the last time, as the upkeep thread does each minute. Blocks.
    ///
    /// # Errors
    /// The database can't be written. The next run makes up for it.
    pub fn write_key_uses(&self) -> Result<(), WriteError> {
        write_all(self.shared())
    }
}

/// Writes all uses that are not written yet, a bounded number at once.
pub(super) fn write_all(shared: &Shared) -> Result<(), WriteError> {
    for uses in shared.key_sightings.unwritten().chunks(WRITTEN_AT_ONCE) {
        let writing = uses.to_vec();
        shared.write(move |transaction| write(transaction, &writing))?;
        shared.key_sightings.written(uses);
    }
    Ok(())
}

/// Writes these uses. Stored keys that have been revoked meanwhile have no row, and get none.
pub(super) fn write(transaction: &Transaction<'_>, uses: &[Sighted]) -> rusqlite::Result<()> {
    let mut stored = transaction
        .prepare_cached("UPDATE api_key SET begins = coalesce(begins, ?2), last_used = ?3 WHERE hash = ?1")?;
    let mut listed = transaction.prepare_cached(
        "INSERT INTO listed_key (hash, begins, last_used) VALUES (?1, ?2, ?3) \
         ON CONFLICT (hash) DO UPDATE SET last_used = excluded.last_used",
    )?;
    for used in uses {
        let statement = if used.is_listed { &mut listed } else { &mut stored };
        statement.execute(params![used.hash, used.begins.as_str(), millis(used.last_used)])?;
    }
    Ok(())
}

/// Forgets keys that tiers.yaml no longer lists.
pub(super) fn forget_unlisted(transaction: &Transaction<'_>, listed: &HashSet<KeyHash>) -> rusqlite::Result<()> {
    let mut select = transaction.prepare("SELECT hash FROM listed_key")?;
    let known = select.query_map([], |row| row.get::<_, KeyHash>(0))?;
    let known: Vec<KeyHash> = known.collect::<rusqlite::Result<_>>()?;
    let mut delete = transaction.prepare_cached("DELETE FROM listed_key WHERE hash = ?1")?;
    for hash in known.iter().filter(|hash| !listed.contains(*hash)) {
        delete.execute([hash])?;
    }
    Ok(())
}

fn read(connection: &Connection, key: &KeyHash) -> rusqlite::Result<KeyUse> {
    let mut select = connection.prepare_cached(
        "SELECT begins, last_used FROM api_key WHERE hash = ?1 \
         UNION ALL SELECT begins, last_used FROM listed_key WHERE hash = ?1",
    )?;
    let found = select.query_row([key], |row| {
        let begins: Option<String> = row.get(0)?;
        let last_used: Option<i64> = row.get(1)?;
        Ok(KeyUse {
            begins: begins.map(|begins| Beginning::kept(begins.as_bytes())),
            last_used: last_used.map(unix_time),
        })
    });
    Ok(found.optional()?.unwrap_or_default())
}
