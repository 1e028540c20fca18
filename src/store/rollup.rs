//! Roll-ups: jobs and refusals by minute, hour and day, and quota usage by calendar period.
//!
//! Each book (`usage`, and one per calendar) stores the row up to which it is complete, and advances by a bounded number of
//! rows in one transaction, so each row counts exactly once. Queries add the raw rows after that to the rolled-up ones.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use super::corrections::Corrections;
use super::database::{Shared, WriteError};
use super::finished::{TRAFFIC_KEY, USAGE_KEY, finished};
use super::rows::{DebitRow, INSTANCE, Numbers, caller_columns, millis};
use super::statistics::histogram;
use crate::policy::caller::Caller;
use crate::policy::rules::Calendar;
use crate::policy::time::UnixTime;

/// Rows of each kind per transaction: commits wait for some ten milliseconds at most.
const ROWS_MAX: i64 = 1_000;
/// The book of `usage`, `traffic` and `service_time`.
pub(super) const USAGE: &str = "usage";
/// The lengths of roll-up periods in seconds: a minute, an hour, a day.
pub(super) const PERIODS_S: [i64; 3] = [60, 3_600, 86_400];

const HOUR_MS: i64 = 3_600_000;

/// The rows up to which that book is complete.
pub(super) fn covers(connection: &Connection, book: &str) -> rusqlite::Result<Numbers> {
    let mut select =
        connection.prepare_cached("SELECT job, refusal FROM rolled_up WHERE book = ?1 AND instance = ?2")?;
    let found = select.query_row(params![book, INSTANCE], |row| {
        Ok(Numbers {
            job: row.get(0)?,
            refusal: row.get(1)?,
        })
    });
    Ok(found.optional()?.unwrap_or(Numbers { job: 0, refusal: 0 }))
}

/// A lower bound: no job with a lower number was admitted at that time or later.
pub(super) fn first_number_since(connection: &Connection, at: UnixTime) -> rusqlite::Result<i64> {
    let hour = millis(at) / HOUR_MS * HOUR_MS;
    let mut select =
        connection.prepare_cached("SELECT min(first_number) FROM job_hour WHERE instance = ?1 AND hour >= ?2")?;
    let first: Option<i64> = select.query_row(params![INSTANCE, hour], |row| row.get(0))?;
    let after = covers(connection, USAGE)?.job + 1;
    Ok(first.map_or(after, |first| first.min(after)))
}

/// Rolls up all rows, step by step.
pub(super) fn roll_up_all(shared: &Shared) -> Result<(), WriteError> {
    let plan = shared.upkeep.plan();
    while shared.write(roll_up_usage)? {}
    for calendar in plan.calendars() {
        loop {
            let calendar = calendar.clone();
            if !shared.write(move |transaction| roll_up_calendar(transaction, &calendar))? {
                break;
            }
        }
    }
    Ok(())
}

fn set_covers(transaction: &Transaction<'_>, book: &str, covers: Numbers) -> rusqlite::Result<()> {
    let mut set = transaction.prepare_cached(
        "INSERT INTO rolled_up (book, instance, job, refusal) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (book, instance) DO UPDATE SET job = excluded.job, refusal = excluded.refusal",
    )?;
    set.execute(params![book, INSTANCE, covers.job, covers.refusal])
        .map(drop)
}

/// One step of the usage book. Whether there may be more.
fn roll_up_usage(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let before = covers(transaction, USAGE)?;
    let after = Numbers {
        job: step(transaction, "job", before.job)?,
        refusal: step(transaction, "refusal", before.refusal)?,
    };
    if after == before {
        return Ok(false);
    }
    for period in PERIODS_S {
        for add in [&*ADD_USAGE, &*ADD_TRAFFIC] {
            transaction.prepare_cached(add)?.execute(named_params! {
                ":period": period,
                ":job": before.job,
                ":last_job": after.job,
                ":refusal": before.refusal,
                ":last_refusal": after.refusal,
            })?;
        }
    }
    add_times(transaction, (before.job, after.job))?;
    let mut hours = transaction.prepare_cached(
        "INSERT INTO job_hour (instance, hour, first_number, last_number) \
         SELECT instance, admitted / 3600000 * 3600000 AS hour, min(number), max(number) FROM job \
           WHERE instance = ?1 AND number > ?2 AND number <= ?3 GROUP BY hour \
         ON CONFLICT (instance, hour) DO UPDATE SET first_number = min(first_number, excluded.first_number), \
                                                    last_number = max(last_number, excluded.last_number)",
    )?;
    hours.execute(params![INSTANCE, before.job, after.job])?;
    set_covers(transaction, USAGE, after)?;
    Ok(after.job - before.job >= ROWS_MAX || after.refusal - before.refusal >= ROWS_MAX)
}

/// The last number of the next step's rows in that table; `after` if there are none.
fn step(transaction: &Transaction<'_>, table: &str, after: i64) -> rusqlite::Result<i64> {
    let sql = format!(
        "SELECT coalesce(max(number), ?2) FROM \
           (SELECT number FROM {table} WHERE instance = ?1 AND number > ?2 ORDER BY number LIMIT ?3)"
    );
    let mut select = transaction.prepare_cached(&sql)?;
    select.query_row(params![INSTANCE, after, ROWS_MAX], |row| row.get(0))
}

/// Adds the rows of a step to `usage`, for one period length.
static ADD_USAGE: LazyLock<String> = LazyLock::new(|| add_to("usage", USAGE_KEY));
/// The same for `traffic`.
static ADD_TRAFFIC: LazyLock<String> = LazyLock::new(|| add_to("traffic", TRAFFIC_KEY));

fn add_to(table: &str, key: &str) -> String {
    let step = finished(
        "number > :job AND number <= :last_job",
        "number > :refusal AND number <= :last_refusal",
    );
    let sums = ["jobs", "units", "wait_ms", "service_ms"];
    let added = sums.map(|sum| format!("sum({sum})")).join(", ");
    let updated = sums.map(|sum| format!("{sum} = {sum} + excluded.{sum}")).join(", ");
    format!(
        "INSERT INTO {table} (period, start, {key}, {}) \
         SELECT :period, at / (:period * 1000) * (:period * 1000) AS start, {key}, {added} FROM ({step}) \
           WHERE true GROUP BY start, {key} \
         ON CONFLICT (period, start, {key}) DO UPDATE SET {updated}",
        sums.join(", ")
    )
}

/// Adds the service times of the successes numbered from `after`, exclusive, to `last`.
fn add_times(transaction: &Transaction<'_>, (after, last): (i64, i64)) -> rusqlite::Result<()> {
    let mut times: HashMap<(i64, i64, u16), (i64, i64, i64)> = HashMap::new();
    let mut select = transaction.prepare_cached(
        "SELECT ended, service_ms FROM job \
         WHERE instance = ?1 AND number > ?2 AND number <= ?3 AND outcome = 'succeeded'",
    )?;
    let mut rows = select.query(params![INSTANCE, after, last])?;
    while let Some(row) = rows.next()? {
        let (ended, ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let bucket = histogram::bucket(u32::try_from(ms).unwrap_or(u32::MAX));
        for period in PERIODS_S {
            let of = times
                .entry((period, start_of(ended, period), bucket))
                .or_insert((0, ms, ms));
            *of = (of.0 + 1, of.1.min(ms), of.2.max(ms));
        }
    }
    let mut add = transaction.prepare_cached(
        "INSERT INTO service_time (period, start, bucket, jobs, min_ms, max_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (period, start, bucket) DO UPDATE SET jobs = jobs + excluded.jobs, min_ms = min(min_ms, excluded.min_ms), \
                                   max_ms = max(max_ms, excluded.max_ms)",
    )?;
    for ((period, start, bucket), (jobs, min_ms, max_ms)) in times {
        add.execute(params![period, start, bucket, jobs, min_ms, max_ms])?;
    }
    Ok(())
}

/// The start of the period that contains that time.
pub(super) const fn start_of(at_ms: i64, period_s: i64) -> i64 {
    let period_ms = period_s * 1_000;
    at_ms.div_euclid(period_ms) * period_ms
}

/// One step of a calendar's book. Whether there may be more.
fn roll_up_calendar(transaction: &Transaction<'_>, calendar: &Calendar) -> rusqlite::Result<bool> {
    let before = covers(transaction, &calendar.name)?;
    let corrections = Corrections::read(transaction)?;
    let mut sums: HashMap<(UnixTime, Caller), i64> = HashMap::new();
    let mut after = before;
    let mut rows = 0;
    let sql = format!(
        "SELECT {} FROM job WHERE instance = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        DebitRow::COLUMNS
    );
    let mut select = transaction.prepare_cached(&sql)?;
    let found = select.query_map(params![INSTANCE, before.job, ROWS_MAX], DebitRow::of)?;
    for row in found {
        let row = row?;
        rows += 1;
        after.job = row.number;
        if row.units == 0 {
            continue;
        }
        let period = calendar.period(corrections.date(row.number, row.admitted));
        for caller in row.caller.counted() {
            *sums.entry((period, caller)).or_default() += i64::try_from(row.units).unwrap_or(i64::MAX);
        }
    }
    if after != before {
        add_to_calendar(transaction, &calendar.name, sums)?;
        set_covers(transaction, &calendar.name, after)?;
    }
    Ok(rows == ROWS_MAX)
}

/// Adds to a calendar's sums, by period and caller.
pub(super) fn add_to_calendar(
    transaction: &Transaction<'_>,
    calendar: &str,
    sums: HashMap<(UnixTime, Caller), i64>,
) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO calendar_sum (calendar, period, account, network, end_user, units) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (calendar, period, account, network, end_user) DO UPDATE SET units = units + excluded.units",
    )?;
    for ((period, caller), units) in sums {
        let (account, network, end_user) = caller_columns(caller);
        add.execute(params![calendar, millis(period), account, network, end_user, units])?;
    }
    Ok(())
}
