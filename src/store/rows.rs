//! Jobs and refusals as database rows: written by the writer, read to rebuild windows and to roll up.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, params};

use super::record::{LedgerEntry, Record, RefusalRecord};
use crate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use crate::policy::time::UnixTime;

/// The number of this instance of tiergate. There is only one so far.
pub(super) const INSTANCE: i64 = 1;

/// The columns account, network and end_user of a caller (schema.sql).
pub(super) type CallerColumns = (i64, i64, i64);

pub(super) const fn caller_columns(caller: Caller) -> CallerColumns {
    match caller {
        Caller::Account(AccountId(account)) => (account as i64, 0, 0),
        Caller::Network(NetworkId(network)) => (0, network.cast_signed(), 0),
        Caller::User { of, user } => (of.0 as i64, 0, user.0.cast_signed()),
    }
}

pub(super) fn caller_of((account, network, end_user): CallerColumns) -> Caller {
    let of = AccountId(u32::try_from(account).unwrap_or(0));
    match (of, end_user) {
        (AccountId(0), _) => Caller::Network(NetworkId(network.cast_unsigned())),
        (_, 0) => Caller::Account(of),
        _ => Caller::User {
            of,
            user: UserId(end_user.cast_unsigned()),
        },
    }
}

/// A time as a column value.
pub(super) fn millis(at: UnixTime) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// The time in a column value.
pub(super) fn unix_time(millis: i64) -> UnixTime {
    UnixTime::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The numbers of the next rows of this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// In `job`.
    pub job: i64,
    /// In `refusal`.
    pub refusal: i64,
}

impl Numbers {
    /// The numbers after all rows that exist or were rolled up and removed.
    pub fn next(connection: &Connection) -> rusqlite::Result<Self> {
        let last = |table: &str, rolled: &str| -> rusqlite::Result<i64> {
            let sql = format!(
                "SELECT max(coalesce((SELECT max(number) FROM {table} WHERE instance = ?1), 0), \
                            coalesce((SELECT max({rolled}) FROM rolled_up WHERE instance = ?1), 0))"
            );
            connection.query_row(&sql, [INSTANCE], |row| row.get(0))
        };
        Ok(Self {
            job: last("job", "job")? + 1,
            refusal: last("refusal", "refusal")? + 1,
        })
    }
}

/// The insert statements of one transaction.
pub(super) struct Inserts<'t> {
    job: CachedStatement<'t>,
    /// The tier, upstream and outcome bound to the job statement.
    bound: Option<(Arc<str>, Arc<str>, &'static str)>,
    refusal: CachedStatement<'t>,
}

impl<'t> Inserts<'t> {
    pub fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            job: transaction.prepare_cached(
                "INSERT INTO job (instance, number, admitted, ended, account, network, end_user, tier, upstream, \
                                  priority, outcome, status, cost, units, wait_ms, service_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?,
            bound: None,
            refusal: transaction.prepare_cached(
                "INSERT INTO refusal (instance, number, minute, account, network, end_user, tier, reason, status, count) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
        })
    }

    /// Inserts the entry under the next number of its table, and returns that number.
    pub fn insert(&mut self, entry: &LedgerEntry, next: &mut Numbers) -> rusqlite::Result<i64> {
        let number = match entry {
            LedgerEntry::Job(record) => {
                self.insert_job(record, next.job)?;
                &mut next.job
            }
            LedgerEntry::Refused(refused) => {
                self.insert_refusal(refused, next.refusal)?;
                &mut next.refusal
            }
        };
        *number += 1;
        Ok(*number - 1)
    }

    /// A statement keeps its bindings: texts are bound again only if they differ from the row before, since binding copies them.
    fn insert_job(&mut self, record: &Record, number: i64) -> rusqlite::Result<()> {
        let (account, network, end_user) = caller_columns(record.caller);
        let job = &mut self.job;
        let numbers = [
            (2, number),
            (3, millis(record.admitted)),
            (4, millis(record.ended())),
            (5, account),
            (6, network),
            (7, end_user),
            (10, record.priority.get().into()),
            (12, record.status.into()),
            (13, record.cost.into()),
            (14, record.debit().into()),
            (15, i64::try_from(record.waited.as_millis()).unwrap_or(i64::MAX)),
            (16, i64::try_from(record.slot_time.as_millis()).unwrap_or(i64::MAX)),
        ];
        for (column, value) in numbers {
            job.raw_bind_parameter(column, value)?;
        }
        let outcome = record.end.name();
        match &self.bound {
            Some(bound) if Arc::ptr_eq(&bound.0, &record.tier) && Arc::ptr_eq(&bound.1, &record.upstream) => {
                if bound.2 != outcome {
                    job.raw_bind_parameter(11, outcome)?;
                }
            }
            _ => {
                job.raw_bind_parameter(1, INSTANCE)?;
                job.raw_bind_parameter(8, &*record.tier)?;
                job.raw_bind_parameter(9, &*record.upstream)?;
                job.raw_bind_parameter(11, outcome)?;
            }
        }
        self.bound = Some((Arc::clone(&record.tier), Arc::clone(&record.upstream), outcome));
        job.raw_execute().map(drop)
    }

    fn insert_refusal(&mut self, refused: &RefusalRecord, number: i64) -> rusqlite::Result<()> {
        let (account, network, end_user) = refused.caller.map_or((0, 0, 0), caller_columns);
        let inserted = self.refusal.execute(params![
            INSTANCE,
            number,
            millis(refused.minute),
            account,
            network,
            end_user,
            &*refused.tier,
            refused.reason.code(),
            refused.status,
            refused.count,
        ]);
        inserted.map(drop)
    }
}

/// Marks jobs that were withdrawn while they were written: they took no units.
pub(super) fn mark_withdrawn(transaction: &Transaction<'_>, numbers: &[i64]) -> rusqlite::Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let mut mark = transaction
        .prepare_cached("UPDATE job SET outcome = 'withdrawn', units = 0 WHERE instance = ?1 AND number = ?2")?;
    for number in numbers {
        mark.execute(params![INSTANCE, number])?;
    }
    Ok(())
}

/// Tests that the database can be written, with a sync.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    let mut write = connection.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('probe', '1') \
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
    )?;
    write.execute([]).map(drop)
}

/// A debit: the columns of a job that windows need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DebitRow {
    pub number: i64,
    pub admitted: UnixTime,
    pub caller: Caller,
    pub units: u64,
}

impl DebitRow {
    /// The columns that [`Self::of`] reads, in order.
    pub const COLUMNS: &'static str = "number, admitted, account, network, end_user, units";

    pub fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            admitted: unix_time(row.get(1)?),
            caller: caller_of((row.get(2)?, row.get(3)?, row.get(4)?)),
            units: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        })
    }
}

/// Reads a value of `meta`.
pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    select.query_row([key], |row| row.get(0)).optional()
}

/// Writes a value of `meta`.
pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let mut set = connection.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?;
    set.execute([key, value]).map(drop)
}
