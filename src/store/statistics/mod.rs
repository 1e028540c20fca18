//! How callers and everybody were answered, by minute, hour and day, and how long the upstreams took: for `/me?period=` and
//! `/stats`.
//!
//! A job counts when it ended, refusals in their minute. What is rolled up is read from there, and the rows since one by one,
//! so an answer is exact to the last commit.

pub(super) mod histogram;
mod period;
mod refusals;

use rusqlite::{Connection, params};

use self::histogram::Histogram;
use self::period::Rows;
use super::database::{Database, ReadError};
use super::rollup::{self, USAGE};
use super::rows::{CallerColumns, caller_columns, millis, unix_time};
use crate::policy::caller::Caller;
use crate::policy::time::UnixTime;

pub use histogram::PERCENTILES;
pub use period::{Period, STATUSES, Speed, Traffic};
pub use refusals::{CALLERS_PER_MINUTE_MAX, Refusals};

/// Answers by status: those of [`STATUSES`], and all.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    counts: [u64; STATUSES.len()],
    total: u64,
}

impl Answers {
    fn add(&mut self, status: i64, count: i64) {
        let count = u64::try_from(count).unwrap_or(0);
        self.total = self.total.saturating_add(count);
        if let Some(place) = STATUSES.iter().position(|known| i64::from(*known) == status) {
            self.counts[place] = self.counts[place].saturating_add(count);
        }
    }
}

/// Whose rows are meant, as columns.
#[derive(Clone, Copy, Debug)]
struct Whose(CallerColumns);

impl Whose {
    /// Whether a row of that caller counts: a user's counts for its account as well.
    fn has(self, row: CallerColumns) -> bool {
        let Self((account, _, end_user)) = self;
        self.0 == row || (account != 0 && end_user == 0 && account == row.0)
    }
}

impl Database {
    /// The answers to a caller, or to everybody, for each of the latest minutes, hours or days, in UTC: exactly
    /// [`Period::rows`], the earliest first; the last one isn't over. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn traffic(&self, whose: Option<Caller>, period: Period, now: UnixTime) -> Result<Vec<Traffic>, ReadError> {
        let whose = whose.map(|caller| Whose(caller_columns(caller)));
        let mut rows: Rows<Answers> = Rows::until(millis(now), period);
        self.read(|connection| {
            match whose {
                None => add_traffic(connection, period, &mut rows)?,
                Some(Whose(caller)) => add_usage(connection, period, caller, &mut rows)?,
            }
            let after = rollup::covers(connection, USAGE)?;
            rollup::each_job(connection, after.job, i64::MAX, |job| {
                let counts = job.status != 0 && &*job.outcome != WITHDRAWN;
                if counts
                    && whose.is_none_or(|whose| whose.has(job.caller))
                    && let Some(row) = rows.at(job.ended)
                {
                    row.add(job.status, 1);
                }
            })?;
            rollup::each_refusal(connection, after.refusal, i64::MAX, |refusal| {
                if whose.is_none_or(|whose| whose.has(refusal.caller))
                    && let Some(row) = rows.at(refusal.minute)
                {
                    row.add(refusal.status, refusal.count);
                }
            })
        })?;
        let row = |(start, answers): (i64, Answers)| Traffic {
            time: unix_time(start),
            counts: answers.counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            total: answers.total,
        };
        Ok(rows.into_rows().map(row).collect())
    }

    /// The [`PERCENTILES`] of how long the upstreams took for successes, for each of the latest minutes, hours or days, as
    /// [`Self::traffic`] has them. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn speed(&self, period: Period, now: UnixTime) -> Result<Vec<Speed>, ReadError> {
        let mut rows: Rows<Histogram> = Rows::until(millis(now), period);
        self.read(|connection| {
            add_times(connection, period, &mut rows)?;
            let after = rollup::covers(connection, USAGE)?;
            rollup::each_job(connection, after.job, i64::MAX, |job| {
                if &*job.outcome == "succeeded"
                    && let Some(row) = rows.at(job.ended)
                {
                    row.add(u32::try_from(job.service_ms).unwrap_or(u32::MAX));
                }
            })
        })?;
        let row = |(start, times): (i64, Histogram)| Speed {
            time: unix_time(start),
            percentiles_ms: times.percentiles_ms(),
        };
        Ok(rows.into_rows().map(row).collect())
    }
}

/// The outcome of jobs whose answers were given up: they were answered with a refusal, which counts.
const WITHDRAWN: &str = "withdrawn";

fn add_traffic(connection: &Connection, period: Period, rows: &mut Rows<Answers>) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(
        "SELECT start, status, sum(jobs) FROM traffic \
         WHERE period = ?1 AND start >= ?2 AND start < ?3 AND status <> 0 AND outcome <> ?4 GROUP BY start, status",
    )?;
    let (first, end) = rows.reach();
    let mut found = select.query(params![period.seconds(), first, end, WITHDRAWN])?;
    while let Some(row) = found.next()? {
        if let Some(answers) = rows.at(row.get(0)?) {
            answers.add(row.get(1)?, row.get(2)?);
        }
    }
    Ok(())
}

/// One look into the table for each row: its key begins with period, start and caller.
fn add_usage(
    connection: &Connection,
    period: Period,
    (account, network, end_user): CallerColumns,
    rows: &mut Rows<Answers>,
) -> rusqlite::Result<()> {
    const WITH_ITS_USERS: &str = "SELECT status, sum(jobs) FROM usage \
         WHERE period = ?1 AND start = ?2 AND status <> 0 AND outcome <> ?3 AND account = ?4 GROUP BY status";
    const ALONE: &str = "SELECT status, sum(jobs) FROM usage \
         WHERE period = ?1 AND start = ?2 AND status <> 0 AND outcome <> ?3 \
           AND account = ?4 AND network = ?5 AND end_user = ?6 GROUP BY status";
    let has_users = account != 0 && end_user == 0;
    let mut select = connection.prepare_cached(if has_users { WITH_ITS_USERS } else { ALONE })?;
    for start in rows.starts() {
        let mut found = match has_users {
            true => select.query(params![period.seconds(), start, WITHDRAWN, account])?,
            false => select.query(params![period.seconds(), start, WITHDRAWN, account, network, end_user])?,
        };
        while let Some(row) = found.next()? {
            if let Some(answers) = rows.at(start) {
                answers.add(row.get(0)?, row.get(1)?);
            }
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
