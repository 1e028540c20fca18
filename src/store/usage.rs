//! Usage reports for `tiergate usage`: rolled-up rows plus the raw rows after them, so figures are exact to the last commit.
//!
//! A report may start within a rolled-up minute, hour or day. The part of that period within the report is read from raw rows
//! while they are kept; otherwise the report starts with the next whole period, and says so.

use rusqlite::{Connection, Row, ToSql, named_params};

use super::database::{Database, ReadError};
use super::finished::{self, REFUSED, USAGE_KEY};
use super::retention::{BOUNDARY, TOTALS_KEPT};
use super::rollup::{self, PERIODS_S, USAGE, start_of};
use super::rows::{self, INSTANCE, caller_columns, millis, unix_time};
use super::view::{CallerName, View};
use crate::policy::caller::Caller;
use crate::policy::time::{Span, UnixTime};

/// The longest report for each period length: minutes, hours, days.
const REACH: [Span; 3] = [
    Span::from_secs(2 * 3_600),
    Span::from_secs(14 * 86_400),
    Span::from_secs(400 * 86_400),
];
/// The longest time from admission to end of a job that a search by admission finds.
const LONGEST_JOB: Span = Span::from_secs(86_400);

/// What a row of the report is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A tier.
    Tier,
    /// An account, a user of one, or a network.
    Account,
    /// An upstream; refusals have none.
    Upstream,
    /// How jobs ended; refusals are one more.
    Outcome,
}

/// A query for a report.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// The caller; `None`: all callers. An account includes its users.
    pub whose: Option<Caller>,
    /// What a row is for.
    pub by: By,
    /// How far back. At most 400 days; more is reduced to that.
    pub since: Span,
    /// The maximum number of rows.
    pub top: u32,
}

/// Totals of jobs and refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Admitted requests that have ended, by the time of their end.
    pub jobs: u64,
    /// Those of them that succeeded.
    pub succeeded: u64,
    /// Units of quota that were debited.
    pub units: u64,
    /// Requests to metered routes that were answered with a refusal, by their minute. Those that had been admitted (displaced,
    /// waited out, failed at the upstream) are also among `jobs`.
    pub refused: u64,
    /// The total time that jobs waited.
    pub wait: Span,
    /// The total service time of successful jobs.
    pub service: Span,
}

/// A row of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// What it is for.
    pub key: UsageKey,
    /// Its totals.
    pub used: Used,
}

/// What a row is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageKey {
    /// A caller.
    Caller(CallerName),
    /// The name of a tier, an upstream or an outcome; empty for refusals without one.
    Name(String),
}

/// A usage report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// Its start.
    pub from: UnixTime,
    /// Whether it starts when asked. If not, older figures exist only for whole hours or days.
    pub is_whole: bool,
    /// The length of the rolled-up periods in seconds: 60, 3,600 or 86,400.
    pub period_s: i64,
    /// Most units first.
    pub rows: Vec<UsageRow>,
    /// The number of rows without the limit.
    pub rows_total: u64,
    /// The totals of all rows.
    pub total: Used,
}

impl View {
    /// The usage until now.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn usage(&mut self, query: &UsageQuery, now: UnixTime) -> Result<UsageReport, ReadError> {
        self.read(|connection| report(connection, query, now))
    }
}

impl Database {
    /// The usage until now, for the running server. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn usage(&self, query: &UsageQuery, now: UnixTime) -> Result<UsageReport, ReadError> {
        self.read(|connection| report(connection, query, now))
    }
}

fn report(connection: &Connection, query: &UsageQuery, now: UnixTime) -> rusqlite::Result<UsageReport> {
    let since = query.since.min(REACH[2]);
    let place = REACH.iter().position(|reach| since <= *reach).unwrap_or(2);
    let period_s = PERIODS_S[place];
    let asked = millis(now) - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let reach = Reach::of(connection, asked, place)?;
    let source = UsageSource {
        sql: source_of(query.whose),
        period_s,
        reach,
        whose: query.whose.map_or((0, 0, 0), caller_columns),
        covers: rollup::covers(connection, USAGE)?,
    };
    let (total, rows_total) = source.total(connection, query.by)?;
    Ok(UsageReport {
        from: unix_time(reach.from),
        is_whole: reach.from == asked,
        period_s,
        rows: source.rows(connection, query)?,
        rows_total,
        total,
    })
}

/// The start of a report, and how its figures are found.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// Rows that ended earlier don't count.
    from: i64,
    /// The start of the first whole period. Earlier figures are read from raw rows.
    whole: i64,
    /// No job with a lower number ended at `from` or later, unless it took longer than [`LONGEST_JOB`].
    first: i64,
}

impl Reach {
    /// As close to the requested start as the existing rows allow.
    fn of(connection: &Connection, asked: i64, place: usize) -> rusqlite::Result<Self> {
        let period_s = PERIODS_S[place];
        let period_ms = period_s * 1_000;
        let begun = start_of(asked, period_s);
        let next = if begun == asked { asked } else { begun + period_ms };
        let aged = removed_before(connection, place)?.map_or(next, |before| start_of(before, period_s) + period_ms);
        let whole = aged.max(next);
        let whole = cut_until(connection, period_s, whole)?.map_or(whole, |cut| cut + period_ms);
        let longest = i64::try_from(LONGEST_JOB.as_millis()).unwrap_or(i64::MAX);
        let first = rollup::first_number_since(connection, unix_time(begun - longest))?;
        let has_raw = whole == asked || has_raw(connection, (begun, whole), first, (period_s, aged > next))?;
        Ok(Self {
            from: if has_raw { asked } else { whole },
            whole,
            first,
        })
    }
}

/// The time up to which retention may have removed periods of that length for their age.
fn removed_before(connection: &Connection, place: usize) -> rusqlite::Result<Option<i64>> {
    let clock = rows::meta(connection, BOUNDARY)?.and_then(|text| text.parse::<i64>().ok());
    let kept = i64::try_from(TOTALS_KEPT[place].as_millis()).unwrap_or(i64::MAX);
    Ok(clock.map(|clock| clock - kept))
}

/// The last period since then whose callers' rows were removed to limit the database's size.
fn cut_until(connection: &Connection, period_s: i64, since: i64) -> rusqlite::Result<Option<i64>> {
    connection.query_row(
        "SELECT max(start) FROM \
           (SELECT start FROM (SELECT start, jobs FROM traffic WHERE period = ?1 AND start >= ?2 UNION ALL \
                               SELECT start, -jobs FROM usage WHERE period = ?1 AND start >= ?2) \
            GROUP BY start HAVING sum(jobs) <> 0)",
        (period_s, since),
        |row| row.get(0),
    )
}

/// Whether all jobs that ended in that span are still kept singly. `is_aged`: their totals may be removed.
fn has_raw(
    connection: &Connection,
    (begun, end): (i64, i64),
    first: i64,
    (period_s, is_aged): (i64, bool),
) -> rusqlite::Result<bool> {
    let up_to = rollup::covers(connection, USAGE)?.job;
    let raw: i64 = connection.query_row(
        "SELECT count(*) FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND ended >= ?4 AND ended < ?5",
        (INSTANCE, first, up_to, begun, end),
        |row| row.get(0),
    )?;
    let rolled: i64 = connection.query_row(
        "SELECT coalesce(sum(jobs), 0) FROM traffic WHERE period = ?1 AND start >= ?2 AND start < ?3 AND outcome <> ?4",
        (period_s, begun, end, REFUSED),
        |row| row.get(0),
    )?;
    let oldest: Option<(i64, i64)> = connection.query_row(
        "SELECT min(number), ended FROM job WHERE instance = ?1",
        [INSTANCE],
        |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?)),
    )?;
    let longest = i64::try_from(LONGEST_JOB.as_millis()).unwrap_or(i64::MAX);
    let reaches_back = match oldest {
        None => up_to == 0,
        Some((number, ended)) => number == 1 || ended.saturating_add(longest) < begun,
    };
    Ok(raw >= rolled && ((rolled > 0 && !is_aged) || reaches_back))
}

/// A query for the rows that count, and its parameters.
struct UsageSource {
    sql: String,
    period_s: i64,
    reach: Reach,
    whose: (i64, i64, i64),
    covers: super::rows::Numbers,
}

/// Selects the rows of that caller or of all: rolled-up whole periods, and the raw rows outside of these.
fn source_of(whose: Option<Caller>) -> String {
    let whose = finished::of(whose);
    let raw = finished::finished(
        &format!("number >= :first AND (number > :job OR ended < :whole) AND ended >= :from AND {whose}"),
        &format!("(number > :refusal OR minute < :whole) AND minute >= :from AND {whose}"),
    );
    format!(
        "WITH source AS ( \
           SELECT {USAGE_KEY}, jobs, units, wait_ms, service_ms FROM usage \
             WHERE period = :period AND start >= :whole AND {whose} \
           UNION ALL \
           SELECT {USAGE_KEY}, jobs, units, wait_ms, service_ms FROM ({raw}))"
    )
}

/// The sums over a source's rows, in the order in which [`used`] reads them.
const SUMS: &str = "sum(CASE outcome WHEN 'refused' THEN 0 ELSE jobs END) AS finished, \
                    sum(CASE outcome WHEN 'succeeded' THEN jobs ELSE 0 END) AS succeeded, \
                    sum(units) AS used, \
                    sum(CASE outcome WHEN 'refused' THEN jobs ELSE 0 END) AS refused, \
                    sum(wait_ms) AS waited, \
                    sum(CASE outcome WHEN 'succeeded' THEN service_ms ELSE 0 END) AS served";

impl By {
    /// The columns that group rows.
    const fn columns(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Account => "account, network, end_user",
            Self::Upstream => "upstream",
            Self::Outcome => "outcome",
        }
    }
}

impl UsageSource {
    fn total(&self, connection: &Connection, by: By) -> rusqlite::Result<(Used, u64)> {
        let (source, columns) = (&self.sql, by.columns());
        let sql = format!(
            "{source} SELECT (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM source)), {SUMS} FROM source"
        );
        self.with(&[], |parameters| {
            connection.query_row(&sql, parameters, |row| {
                let rows: i64 = row.get(0)?;
                Ok((used(row, 1)?, rows.unsigned_abs()))
            })
        })
    }

    fn rows(&self, connection: &Connection, query: &UsageQuery) -> rusqlite::Result<Vec<UsageRow>> {
        let (source, columns) = (&self.sql, query.by.columns());
        let (names, join) = match query.by {
            By::Account => (
                "account, network, end_user, \
                 (SELECT name FROM account AS named WHERE named.id = grouped.account), \
                 (SELECT removed_at FROM account AS named WHERE named.id = grouped.account)",
                5,
            ),
            By::Tier | By::Upstream | By::Outcome => (columns, 1),
        };
        let sql = format!(
            "{source} SELECT {names}, finished, succeeded, used, refused, waited, served FROM \
               (SELECT {columns}, {SUMS} FROM source GROUP BY {columns}) AS grouped \
             ORDER BY used DESC, finished DESC, refused DESC, {columns} LIMIT :top"
        );
        self.with(&[(":top", &query.top)], |parameters| {
            let mut select = connection.prepare(&sql)?;
            let row = |row: &Row<'_>| {
                Ok(UsageRow {
                    key: match query.by {
                        By::Account => UsageKey::Caller(CallerName::of(row, 0)?),
                        _ => UsageKey::Name(row.get(0)?),
                    },
                    used: used(row, join)?,
                })
            };
            select.query_map(parameters, row)?.collect()
        })
    }

    fn with<T>(&self, more: &[(&str, &dyn ToSql)], work: impl FnOnce(&[(&str, &dyn ToSql)]) -> T) -> T {
        let (account, network, end_user) = self.whose;
        let own = named_params! {
            ":account": account,
            ":network": network,
            ":end_user": end_user,
            ":period": self.period_s,
            ":from": self.reach.from,
            ":whole": self.reach.whole,
            ":first": self.reach.first,
            ":job": self.covers.job,
            ":refusal": self.covers.refusal,
        };
        work(&[own, more].concat())
    }
}

/// Reads the [`SUMS`] from column `first` on. They are null if there are no rows.
fn used(row: &Row<'_>, first: usize) -> rusqlite::Result<Used> {
    let number = |place: usize| -> rusqlite::Result<u64> {
        let sum: Option<i64> = row.get(first + place)?;
        Ok(u64::try_from(sum.unwrap_or(0)).unwrap_or(0))
    };
    Ok(Used {
        jobs: number(0)?,
        succeeded: number(1)?,
        units: number(2)?,
        refused: number(3)?,
        wait: Span::from_millis(number(4)?),
        service: Span::from_millis(number(5)?),
    })
}
