//! The audit log: what operators changed, when, and from where.
//!
//! A row is written in the transaction of the change that it records, so neither exists without the other. It holds no
//! secrets: keys are named by their ids.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rusqlite::{Connection, params};
use serde_json::Value;

use super::database::{Database, ReadError, WriteError};
use super::rows::{millis, unix_time};
use crate::policy::time::UnixTime;

/// Characters of an operator's name, all of them visible ASCII.
pub const OPERATOR_CHARS: RangeInclusive<usize> = 1..=64;
/// Rows that the log keeps: the newest.
pub const AUDIT_ROWS_MAX: i64 = 1_000_000;

/// The origin of a change: `127.0.0.1` or `alice@127.0.0.1` for the admin API, `tiers.yaml`, or `tiergate` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// A client of the admin API at that address. The operator's name is its own, unverified claim; one outside
    /// [`OPERATOR_CHARS`] is left out.
    pub fn peer(address: IpAddr, operator: Option<&str>) -> Self {
        let address = address.to_canonical();
        match operator.filter(|name| is_operator(name)) {
            Some(name) => Self(format!("{name}@{address}").into()),
            None => Self(address.to_string().into()),
        }
    }

    /// A command that opens the file itself, run under that operator's name.
    pub fn command(operator: Option<&str>) -> Self {
        match operator.filter(|name| is_operator(name)) {
            Some(name) => Self(format!("{name}@command").into()),
            None => Self("command".into()),
        }
    }

    /// A reload of tiers.yaml.
    pub fn tiers_yaml() -> Self {
        Self("tiers.yaml".into())
    }

    /// tiergate itself.
    pub fn server() -> Self {
        Self("tiergate".into())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether that is a valid operator's name.
pub fn is_operator(name: &str) -> bool {
    OPERATOR_CHARS.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// When a change is made, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When.
    pub at: UnixTime,
    /// By whom.
    pub by: Actor,
}

impl Stamp {
    /// Creates a stamp.
    pub const fn new(at: UnixTime, by: Actor) -> Self {
        Self { at, by }
    }
}

/// A change by tiergate itself.
impl From<UnixTime> for Stamp {
    fn from(at: UnixTime) -> Self {
        Self::new(at, Actor::server())
    }
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its number, greater than that of every earlier row.
    pub id: i64,
    /// When.
    pub at: UnixTime,
    /// The [`Actor`], as text.
    pub who: String,
    /// What was done, such as `account_add`.
    pub action: String,
    /// What was changed: an account's name, a network, a key's id, a file.
    pub subject: String,
    /// Details, without secrets; an object.
    pub detail: Value,
}

/// Adds a row, in the connection's current transaction.
///
/// # Errors
/// The database can't be written.
pub fn insert(
    connection: &Connection,
    stamp: &Stamp,
    action: &str,
    subject: &str,
    detail: &Value,
) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT INTO audit (at, who, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    insert.execute(params![
        millis(stamp.at),
        &*stamp.by.0,
        action,
        subject,
        detail.to_string()
    ])?;
    let mut delete = connection.prepare_cached("DELETE FROM audit WHERE id <= ?1")?;
    delete
        .execute([connection.last_insert_rowid().saturating_sub(AUDIT_ROWS_MAX)])
        .map(drop)
}

/// Adds a row for a change made elsewhere, such as a reload. Durable when it returns. Blocks.
///
/// # Errors
/// The database can't be written.
pub fn record(
    database: &Database,
    stamp: Stamp,
    action: &'static str,
    subject: String,
    detail: Value,
) -> Result<(), WriteError> {
    database.write(move |transaction| insert(transaction, &stamp, action, &subject, &detail))
}

/// The rows since then, newest first, at most `limit`.
///
/// # Errors
/// The database can't be read.
pub fn read(connection: &Connection, since: UnixTime, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
    Ok(rows(connection, since, limit)?)
}

/// The same, for a read of several things.
///
/// # Errors
/// The database can't be read.
pub fn rows(connection: &Connection, since: UnixTime, limit: usize) -> rusqlite::Result<Vec<AuditEntry>> {
    // Order by id, the order of writing: dates may go back after a step of the clock.
    let mut select = connection
        .prepare("SELECT id, at, who, action, subject, detail FROM audit WHERE at >= ?1 ORDER BY id DESC LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map(params![millis(since), limit], |row| {
        let detail: String = row.get(5)?;
        Ok(AuditEntry {
            id: row.get(0)?,
            at: unix_time(row.get(1)?),
            who: row.get(2)?,
            action: row.get(3)?,
            subject: row.get(4)?,
            // Show invalid JSON, written by another program, as text.
            detail: serde_json::from_str(&detail).unwrap_or(Value::String(detail)),
        })
    })?;
    rows.collect()
}
