//! Answers by minute, hour and day, for one caller or all, and service times of the upstreams: for `/me?period=` and `/stats`.
//!
//! A job counts when it ended, refusals in their minute. Rolled-up rows and the raw rows after them are added, so a result is
//! exact to the last commit.

pub(super) mod histogram;
mod last_minute;
mod overview;
mod period;
mod refusals;

use rusqlite::{Connection, named_params, params};

use self::histogram::Histogram;
use self::period::Rows;
use super::database::{Database, ReadError};
use super::finished;
use super::rollup::{self, USAGE};
use super::rows::{INSTANCE, caller_columns, millis, unix_time};
use crate::policy::caller::Caller;
use crate::policy::time::UnixTime;

pub use histogram::PERCENTILES;
pub use overview::{Overview, OverviewRow};
pub use period::{Period, STATUSES, Speed, Traffic};
pub use refusals::{CALLERS_PER_MINUTE_MAX, RefusalCounts};

/// Answers by status, as in [`STATUSES`], and their total.
#[derive(Clone, Copy, Debug, Default)]
struct AnswerCounts {
    counts: [u64; STATUSES.len()],
    total: u64,
}

impl AnswerCounts {
    fn add(&mut self, status: i64, count: i64) {
        let count = u64::try_from(count).unwrap_or(0);
        self.total = self.total.saturating_add(count);
        if let Some(place) = STATUSES.iter().position(|known| i64::from(*known) == status) {
            self.counts[place] = self.counts[place].saturating_add(count);
        }
    }
}

impl Database {
    /// The answers to a caller, or to all, for each of the latest minutes, hours or days in UTC: exactly [`Period::rows`],
    /// earliest first; the last one is not over. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn traffic(&self, whose: Option<Caller>, period: Period, now: UnixTime) -> Result<Vec<Traffic>, ReadError> {
        let mut rows: Rows<AnswerCounts> = Rows::until(millis(now), period);
        self.read(|connection| add_answers(connection, period, whose, &mut rows))?;
        let row = |(start, answers): (i64, AnswerCounts)| Traffic {
            time: unix_time(start),
            counts: answers.counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            total: answers.total,
        };
        Ok(rows.into_rows().map(row).collect())
    }

    /// The [`PERCENTILES`] of the upstreams' service times for successes, for the periods of [`Self::traffic`]. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn speed(&self, period: Period, now: UnixTime) -> Result<Vec<Speed>, ReadError> {
        let mut rows: Rows<Histogram> = Rows::until(millis(now), period);
        self.read(|connection| times(connection, period, &mut rows))?;
        let row = |(start, times): (i64, Histogram)| Speed {
            time: unix_time(start),
            percentiles_ms: times.percentiles_ms(),
        };
        Ok(rows.into_rows().map(row).collect())
    }
}

/// The outcome of withdrawn jobs. They were answered with a refusal, which is counted instead.
const WITHDRAWN: &str = "withdrawn";

/// For all callers, reads all rows of `traffic` in range. For one caller, looks `usage` up once per row, since its key begins
/// with period, start and caller.
fn add_answers(
    connection: &Connection,
    period: Period,
    whose: Option<Caller>,
    rows: &mut Rows<AnswerCounts>,
) -> rusqlite::Result<()> {
    let condition = finished::of(whose);
    let table = if whose.is_none() { "traffic" } else { "usage" };
    let since = finished::finished(
        &format!("number > :job AND ended >= :first AND ended < :end AND {condition}"),
        &format!("number > :refusal AND minute >= :first AND minute < :end AND {condition}"),
    );
    let mut select = connection.prepare_cached(&format!(
        "WITH RECURSIVE shown(first) AS (VALUES (:first) UNION ALL SELECT first + :length FROM shown WHERE first + :length < :end) \
         SELECT at, status, sum(jobs) FROM ( \
           SELECT start AS at, status, outcome, jobs FROM shown CROSS JOIN {table} \
             WHERE period = :length / 1000 AND start = first AND {condition} \
           UNION ALL SELECT at / :length * :length, status, outcome, jobs FROM ({since})) \
         WHERE status <> 0 AND outcome <> '{WITHDRAWN}' GROUP BY at, status"
    ))?;
    let (first, end) = rows.reach();
    let covers = rollup::covers(connection, USAGE)?;
    let (account, network, end_user) = whose.map_or((0, 0, 0), caller_columns);
    let mut found = select.query(named_params! {
        ":length": period.seconds() * 1_000,
        ":first": first,
        ":end": end,
        ":job": covers.job,
        ":refusal": covers.refusal,
        ":account": account,
        ":network": network,
        ":end_user": end_user,
    })?;
    while let Some(row) = found.next()? {
        if let Some(answers) = rows.at(row.get(0)?) {
            answers.add(row.get(1)?, row.get(2)?);
        }
    }
    Ok(())
}

/// The service times of successes, rolled up or not yet.
fn times(connection: &Connection, period: Period, rows: &mut Rows<Histogram>) -> rusqlite::Result<()> {
    add_times(connection, period, rows)?;
    let mut select = connection.prepare_cached(
        "SELECT ended, service_ms FROM job WHERE instance = ?1 AND number > ?2 AND outcome = 'succeeded'",
    )?;
    let mut found = select.query(params![INSTANCE, rollup::covers(connection, USAGE)?.job])?;
    while let Some(row) = found.next()? {
        if let Some(times) = rows.at(row.get(0)?) {
            times.add(u32::try_from(row.get::<_, i64>(1)?).unwrap_or(u32::MAX));
        }
    }
    Ok(())
}

fn add_times(connection: &Connection, period: Period, rows: &mut Rows<Histogram>) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(
        "SELECT start, bucket, jobs, min_ms, max_ms FROM service_time WHERE period = ?1 AND start >= ?2 AND start < ?3",
    )?;
    let (first, end) = rows.reach();
    let mut found = select.query(params![period.seconds(), first, end])?;
    while let Some(row) = found.next()? {
        if let Some(times) = rows.at(row.get(0)?) {
            times.add_bucket(row.get(1)?, row.get(2)?, (row.get(3)?, row.get(4)?));
        }
    }
    Ok(())
}
