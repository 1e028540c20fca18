//! Who used how much, for `tiergate usage`: rolled-up rows, and the raw rows since, so that figures are exact to the last
//! commit.
//!
//! A span begins within a minute, hour or day that is added up as a whole. What belongs to the span of that first one is read
//! from raw rows, as long as these are kept; otherwise the figures begin with the next whole one, and the report says so.

use rusqlite::{Connection, Row, ToSql, named_params};

use super::database::ReadError;
use super::finished::{self, REFUSED, USAGE_KEY};
use super::retention::{BOUNDARY, TOTALS_KEPT};
use super::rollup::{self, PERIODS_S, USAGE, start_of};
use super::rows::{self, INSTANCE, caller_columns, millis, unix_time};
use super::view::{CallerName, View};
use crate::policy::caller::Caller;
use crate::policy::time::{Span, UnixTime};

/// Up to which length of time which periods are added up: minutes, hours, days.
const REACH: [Span; 3] = [
    Span::from_secs(2 * 3_600),
    Span::from_secs(14 * 86_400),
    Span::from_secs(400 * 86_400),
];
/// How long before its end a job may have been admitted, to be found by when it was.
const LONGEST_JOB: Span = Span::from_secs(86_400);

/// What a row of the answer stands for.
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

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// Whose; `None`: everybody's. An account's includes its users'.
    pub whose: Option<Caller>,
    /// What a row stands for.
    pub by: By,
    /// How far back. More than 400 days is taken as that.
    pub since: Span,
    /// Rows, at most.
    pub top: u32,
}

/// What adds up of some jobs and refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Finished jobs, by when they ended.
    pub jobs: u64,
    /// Those of them that succeeded.
    pub succeeded: u64,
    /// Units of quota that were debited.
    pub units: u64,
    /// Refusals, by the minute in which they were given.
    pub refused: u64,
    /// How long all jobs waited, together.
    pub wait: Span,
    /// How long the upstreams took for those that succeeded, together.
    pub service: Span,
}

/// A row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// What it stands for: a name of a tier, upstream or outcome; empty for none.
    pub key: UsageKey,
    /// What was used.
    pub used: Used,
}

/// What a row stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageKey {
    /// Somebody who is counted.
    Caller(CallerName),
    /// The name of a tier, an upstream or an outcome; empty: refusals without one.
    Name(String),
}

/// Who used how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// Since when.
    pub from: UnixTime,
    /// Whether that is as long ago as was asked. If not, what is older is kept in whole hours or days only.
    pub is_whole: bool,
    /// The length of what is added up, in seconds: 60, 3,600 or 86,400.
    pub period_s: i64,
    /// The most units first.
    pub rows: Vec<UsageRow>,
    /// How many rows there would be.
    pub rows_total: u64,
    /// All of them together.
    pub total: Used,
}

impl View {
    /// Who used how much until now.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn usage(&mut self, query: &UsageQuery, now: UnixTime) -> Result<UsageReport, ReadError> {
        self.read(|connection| report(connection, query, now))
    }
}

fn report(connection: &Connection, query: &UsageQuery, now: UnixTime) -> rusqlite::Result<UsageReport> {
    let since = query.since.min(REACH[2]);
    let place = REACH.iter().position(|reach| since <= *reach).unwrap_or(2);
    let period_s = PERIODS_S[place];
    let asked = millis(now) - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let reach = Reach::of(connection, asked, place)?;
    let source = Source {
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

/// From when on figures are told, and how they are found.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// What ended before doesn't count.
    from: i64,
    /// When the first whole period begins: what is before is read from raw rows.
    whole: i64,
    /// No job with a lower number ended at `from` or later, if it took no longer than [`LONGEST_JOB`].
    first: i64,
}

impl Reach {
    /// As close to what is asked as the rows that there are allow.
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

/// Up to when retention may have removed periods of that length by their age.
fn removed_before(connection: &Connection, place: usize) -> rusqlite::Result<Option<i64>> {
    let clock = rows::meta(connection, BOUNDARY)?.and_then(|text| text.parse::<i64>().ok());
    let kept = i64::try_from(TOTALS_KEPT[place].as_millis()).unwrap_or(i64::MAX);
    Ok(clock.map(|clock| clock - kept))
}

/// The last period since then of which callers' rows are gone, because the database would have been too large.
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

/// Whether all jobs that ended between these are still there one by one. `is_aged`: what was added up of them may be gone.
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

/// The rows that count, from all tables, and what they are bound with.
struct Source {
    sql: String,
    period_s: i64,
    reach: Reach,
    whose: (i64, i64, i64),
    covers: super::rows::Numbers,
}

/// The rows of that caller, or of everybody: rolled-up periods, and what is not in one that counts as a whole.
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

/// What is summed up of the rows of a source, in the order in which [`used`] reads it.
const SUMS: &str = "sum(CASE outcome WHEN 'refused' THEN 0 ELSE jobs END) AS finished, \
                    sum(CASE outcome WHEN 'succeeded' THEN jobs ELSE 0 END) AS succeeded, \
                    sum(units) AS used, \
                    sum(CASE outcome WHEN 'refused' THEN jobs ELSE 0 END) AS refused, \
                    sum(wait_ms) AS waited, \
                    sum(CASE outcome WHEN 'succeeded' THEN service_ms ELSE 0 END) AS served";

impl By {
    /// The columns by which rows are put together.
    const fn columns(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Account => "account, network, end_user",
            Self::Upstream => "upstream",
            Self::Outcome => "outcome",
        }
    }
}

impl Source {
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

/// The [`SUMS`] from that column on; of no rows at all they are nothing.
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
