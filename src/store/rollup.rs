//! Adding up: jobs and refusals by minute, hour and day, and what callers have used in calendar periods.
//!
//! Each book (`usage`, and one for each calendar) says up to which row it is complete, and moves on by a bounded number of
//! rows in one transaction, so a row counts once whatever happens. What is asked for is the rolled-up rows and the raw rows
//! after them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::corrections::Corrections;
use super::database::{Shared, WriteError};
use super::rows::{CallerColumns, DebitRow, INSTANCE, Names, Numbers, caller_columns, millis};
use super::statistics::histogram;
use crate::policy::caller::Caller;
use crate::policy::rules::Calendar;
use crate::policy::time::UnixTime;

/// Rows of each kind in one transaction: commits wait for some ten milliseconds at most.
const ROWS_MAX: i64 = 1_000;
/// The book of [`Totals`].
pub(super) const USAGE: &str = "usage";
/// The lengths of what is added up, in seconds: a minute, an hour, a day.
pub(super) const PERIODS_S: [i64; 3] = [60, 3_600, 86_400];
/// The outcome of refusals.
pub(super) const REFUSED: &str = "refused";

const HOUR_MS: i64 = 3_600_000;

/// Up to which rows that book is complete.
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

/// No job with a lower number was admitted at that time or later.
pub(super) fn first_number_since(connection: &Connection, at: UnixTime) -> rusqlite::Result<i64> {
    let hour = millis(at) / HOUR_MS * HOUR_MS;
    let mut select =
        connection.prepare_cached("SELECT min(first_number) FROM job_hour WHERE instance = ?1 AND hour >= ?2")?;
    let first: Option<i64> = select.query_row(params![INSTANCE, hour], |row| row.get(0))?;
    let after = covers(connection, USAGE)?.job + 1;
    Ok(first.map_or(after, |first| first.min(after)))
}

/// Rolls up all that there is, step by step.
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

/// One step of the book of usage. Whether there may be more.
fn roll_up_usage(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let before = covers(transaction, USAGE)?;
    let mut totals = Totals::default();
    let mut after = before;
    let mut hours: HashMap<i64, (i64, i64)> = HashMap::new();
    each_job(transaction, before.job, ROWS_MAX, |job| {
        after.job = job.number;
        let hour = hours
            .entry(job.admitted / HOUR_MS * HOUR_MS)
            .or_insert((job.number, job.number));
        hour.1 = job.number;
        totals.add_job(&job);
    })?;
    each_refusal(transaction, before.refusal, ROWS_MAX, |refusal| {
        after.refusal = refusal.number;
        totals.add_refusal(&refusal);
    })?;
    if after == before {
        return Ok(false);
    }
    totals.write(transaction)?;
    write_hours(transaction, hours)?;
    set_covers(transaction, USAGE, after)?;
    Ok(after.job - before.job >= ROWS_MAX || after.refusal - before.refusal >= ROWS_MAX)
}

fn write_hours(transaction: &Transaction<'_>, hours: HashMap<i64, (i64, i64)>) -> rusqlite::Result<()> {
    let mut write = transaction.prepare_cached(
        "INSERT INTO job_hour (instance, hour, first_number, last_number) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (instance, hour) DO UPDATE SET first_number = min(first_number, excluded.first_number), \
                                                    last_number = max(last_number, excluded.last_number)",
    )?;
    for (hour, (first, last)) in hours {
        write.execute(params![INSTANCE, hour, first, last])?;
    }
    Ok(())
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

/// A job, as far as it is added up.
pub(super) struct JobRow {
    pub number: i64,
    pub admitted: i64,
    pub ended: i64,
    pub caller: CallerColumns,
    pub tier: Arc<str>,
    pub upstream: Arc<str>,
    pub outcome: Arc<str>,
    pub status: i64,
    pub units: i64,
    pub wait_ms: i64,
    pub service_ms: i64,
}

/// Tells so many jobs after that number, in their order.
pub(super) fn each_job(
    connection: &Connection,
    after: i64,
    rows_max: i64,
    mut each: impl FnMut(JobRow),
) -> rusqlite::Result<()> {
    let mut names = Names::default();
    let mut select = connection.prepare_cached(
        "SELECT number, admitted, ended, account, network, end_user, tier, upstream, outcome, status, units, wait_ms, service_ms \
         FROM job WHERE instance = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = select.query(params![INSTANCE, after, rows_max])?;
    while let Some(row) = rows.next()? {
        each(JobRow {
            number: row.get(0)?,
            admitted: row.get(1)?,
            ended: row.get(2)?,
            caller: (row.get(3)?, row.get(4)?, row.get(5)?),
            tier: names.get(row.get_ref(6)?.as_str()?),
            upstream: names.get(row.get_ref(7)?.as_str()?),
            outcome: names.get(row.get_ref(8)?.as_str()?),
            status: row.get(9)?,
            units: row.get(10)?,
            wait_ms: row.get(11)?,
            service_ms: row.get(12)?,
        });
    }
    Ok(())
}

/// Refusals of a minute.
pub(super) struct RefusalRow {
    pub number: i64,
    pub minute: i64,
    pub caller: CallerColumns,
    pub tier: Arc<str>,
    pub reason: Arc<str>,
    pub status: i64,
    pub count: i64,
}

/// Tells so many rows of refusals after that number, in their order.
pub(super) fn each_refusal(
    connection: &Connection,
    after: i64,
    rows_max: i64,
    mut each: impl FnMut(RefusalRow),
) -> rusqlite::Result<()> {
    let mut names = Names::default();
    let mut select = connection.prepare_cached(
        "SELECT number, minute, account, network, end_user, tier, reason, status, count \
         FROM refusal WHERE instance = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = select.query(params![INSTANCE, after, rows_max])?;
    while let Some(row) = rows.next()? {
        each(RefusalRow {
            number: row.get(0)?,
            minute: row.get(1)?,
            caller: (row.get(2)?, row.get(3)?, row.get(4)?),
            tier: names.get(row.get_ref(5)?.as_str()?),
            reason: names.get(row.get_ref(6)?.as_str()?),
            status: row.get(7)?,
            count: row.get(8)?,
        });
    }
    Ok(())
}

/// What adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub jobs: i64,
    pub units: i64,
    pub wait_ms: i64,
    pub service_ms: i64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.units += other.units;
        self.wait_ms += other.wait_ms;
        self.service_ms += other.service_ms;
    }
}

/// A caller's row of `usage`, without its period.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UsageKey {
    start: i64,
    caller: CallerColumns,
    tier: Arc<str>,
    upstream: Arc<str>,
    outcome: Arc<str>,
    status: i64,
}

/// A row of `traffic`, without its period.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TrafficKey {
    start: i64,
    tier: Arc<str>,
    upstream: Arc<str>,
    outcome: Arc<str>,
    reason: Arc<str>,
    status: i64,
}

/// A row of `service_time`, without its period.
#[derive(Clone, Copy, Debug)]
struct Times {
    jobs: i64,
    min_ms: i64,
    max_ms: i64,
}

/// What some rows add up to, by minute.
#[derive(Debug, Default)]
struct Totals {
    usage: HashMap<UsageKey, Sums>,
    traffic: HashMap<TrafficKey, Sums>,
    times: HashMap<(i64, u16), Times>,
}

impl Totals {
    fn add_job(&mut self, job: &JobRow) {
        let sums = Sums {
            jobs: 1,
            units: job.units,
            wait_ms: job.wait_ms,
            service_ms: job.service_ms,
        };
        let start = start_of(job.ended, PERIODS_S[0]);
        self.add(
            start,
            job.caller,
            &job.tier,
            (&job.upstream, &job.outcome, &"".into()),
            job.status,
            sums,
        );
        if &*job.outcome == "succeeded" {
            let bucket = histogram::bucket(u32::try_from(job.service_ms).unwrap_or(u32::MAX));
            let of = Times {
                jobs: 1,
                min_ms: job.service_ms,
                max_ms: job.service_ms,
            };
            merge_times(&mut self.times, (start, bucket), of);
        }
    }

    fn add_refusal(&mut self, refusal: &RefusalRow) {
        let sums = Sums {
            jobs: refusal.count,
            ..Sums::default()
        };
        let start = start_of(refusal.minute, PERIODS_S[0]);
        let what = (&"".into(), &REFUSED.into(), &refusal.reason);
        self.add(start, refusal.caller, &refusal.tier, what, refusal.status, sums);
    }

    fn add(
        &mut self,
        start: i64,
        caller: CallerColumns,
        tier: &Arc<str>,
        (upstream, outcome, reason): (&Arc<str>, &Arc<str>, &Arc<str>),
        status: i64,
        sums: Sums,
    ) {
        let key = UsageKey {
            start,
            caller,
            tier: Arc::clone(tier),
            upstream: Arc::clone(upstream),
            outcome: Arc::clone(outcome),
            status,
        };
        self.usage.entry(key).or_default().add(sums);
        let key = TrafficKey {
            start,
            tier: Arc::clone(tier),
            upstream: Arc::clone(upstream),
            outcome: Arc::clone(outcome),
            reason: Arc::clone(reason),
            status,
        };
        self.traffic.entry(key).or_default().add(sums);
    }

    /// Adds them to the tables, for each length of period.
    fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for period in PERIODS_S {
            write_usage(
                transaction,
                period,
                &widened(&self.usage, |key, sums| {
                    let start = start_of(key.start, period);
                    (UsageKey { start, ..key.clone() }, *sums)
                }),
            )?;
            write_traffic(
                transaction,
                period,
                &widened(&self.traffic, |key, sums| {
                    let start = start_of(key.start, period);
                    (TrafficKey { start, ..key.clone() }, *sums)
                }),
            )?;
            let mut times = HashMap::new();
            for ((start, bucket), of) in &self.times {
                merge_times(&mut times, (start_of(*start, period), *bucket), *of);
            }
            write_times(transaction, period, &times)?;
        }
        Ok(())
    }
}

/// When the period began in which that is.
pub(super) const fn start_of(at_ms: i64, period_s: i64) -> i64 {
    let period_ms = period_s * 1_000;
    at_ms.div_euclid(period_ms) * period_ms
}

fn widened<K: Eq + Hash>(from: &HashMap<K, Sums>, widen: impl Fn(&K, &Sums) -> (K, Sums)) -> HashMap<K, Sums> {
    let mut to: HashMap<K, Sums> = HashMap::new();
    for (key, sums) in from.iter().map(|(key, sums)| widen(key, sums)) {
        to.entry(key).or_default().add(sums);
    }
    to
}

fn merge_times(times: &mut HashMap<(i64, u16), Times>, key: (i64, u16), of: Times) {
    times
        .entry(key)
        .and_modify(|known| {
            known.jobs += of.jobs;
            known.min_ms = known.min_ms.min(of.min_ms);
            known.max_ms = known.max_ms.max(of.max_ms);
        })
        .or_insert(of);
}

fn write_usage(transaction: &Transaction<'_>, period: i64, rows: &HashMap<UsageKey, Sums>) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO usage (period, start, account, network, end_user, tier, upstream, outcome, status, \
                            jobs, units, wait_ms, service_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (period, start, account, network, end_user, tier, upstream, outcome, status) DO UPDATE SET jobs = jobs + excluded.jobs, units = units + excluded.units, \
                                   wait_ms = wait_ms + excluded.wait_ms, service_ms = service_ms + excluded.service_ms",
    )?;
    for (key, sums) in rows {
        let (account, network, end_user) = key.caller;
        add.execute(params![
            period,
            key.start,
            account,
            network,
            end_user,
            &*key.tier,
            &*key.upstream,
            &*key.outcome,
            key.status,
            sums.jobs,
            sums.units,
            sums.wait_ms,
            sums.service_ms,
        ])?;
    }
    Ok(())
}

fn write_traffic(transaction: &Transaction<'_>, period: i64, rows: &HashMap<TrafficKey, Sums>) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO traffic (period, start, tier, upstream, outcome, reason, status, jobs, units, wait_ms, service_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (period, start, tier, upstream, outcome, reason, status) DO UPDATE SET jobs = jobs + excluded.jobs, units = units + excluded.units, \
                                   wait_ms = wait_ms + excluded.wait_ms, service_ms = service_ms + excluded.service_ms",
    )?;
    for (key, sums) in rows {
        add.execute(params![
            period,
            key.start,
            &*key.tier,
            &*key.upstream,
            &*key.outcome,
            &*key.reason,
            key.status,
            sums.jobs,
            sums.units,
            sums.wait_ms,
            sums.service_ms,
        ])?;
    }
    Ok(())
}

fn write_times(transaction: &Transaction<'_>, period: i64, rows: &HashMap<(i64, u16), Times>) -> rusqlite::Result<()> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO service_time (period, start, bucket, jobs, min_ms, max_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (period, start, bucket) DO UPDATE SET jobs = jobs + excluded.jobs, min_ms = min(min_ms, excluded.min_ms), \
                                   max_ms = max(max_ms, excluded.max_ms)",
    )?;
    for ((start, bucket), of) in rows {
        add.execute(params![period, start, bucket, of.jobs, of.min_ms, of.max_ms])?;
    }
    Ok(())
}
