//! Whether a database is whole, for `tiergate db verify`: SQLite's own check, and ours of what its rows add up to.
//!
//! One pass over all jobs in the order of their numbers, and a few sums. What retention has removed is nothing wrong.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, named_params};

use super::corrections::Corrections;
use super::database::ReadError;
use super::finished::REFUSED;
use super::retention::{self, TOTALS_ASKED_FOR};
use super::rollup::{self, PERIODS_S, USAGE};
use super::rows::{CallerColumns, INSTANCE, caller_columns, caller_of, millis, unix_time};
use super::view::View;

/// The check that SQLite makes.
const INTEGRITY: &str = "the file is whole (integrity_check)";
/// Mistakes of one kind that are told one by one.
const TOLD_MAX: usize = 5;
/// How long before its end a job may have been admitted.
const LONGEST_JOB_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What should be so.
    pub name: &'static str,
    /// What is not, one by one: the first few of them.
    pub wrong: Vec<String>,
    /// How many there are in all.
    pub count: u64,
}

impl Check {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            wrong: Vec::new(),
            count: 0,
        }
    }

    /// That of a file which is too damaged to be opened.
    pub fn damaged(what: String) -> Self {
        let mut check = Self::new(INTEGRITY);
        check.wrong(|| what);
        check
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.len() < TOLD_MAX {
            self.wrong.push(what());
        }
        self.count += 1;
    }

    /// Whether nothing is wrong.
    pub const fn is_ok(&self) -> bool {
        self.count == 0
    }
}

impl View {
    /// Checks the database, one thing after the other, and tells of each as it is done. Reads all of it.
    ///
    /// # Errors
    /// The database can't be read at all. What SQLite calls damage is told as what is wrong.
    pub fn verify(&mut self, mut done: impl FnMut(Check)) -> Result<(), ReadError> {
        self.read(|connection| {
            let integrity = integrity(connection)?;
            let is_whole = integrity.is_ok();
            done(integrity);
            if is_whole {
                jobs(connection)?.into_iter().for_each(&mut done);
                done(marks(connection)?);
                done(traffic(connection)?);
                done(hours(connection)?);
            }
            Ok(())
        })
    }
}

fn integrity(connection: &Connection) -> rusqlite::Result<Check> {
    let mut check = Check::new(INTEGRITY);
    let lines = connection
        .prepare("PRAGMA integrity_check(100)")
        .and_then(|mut select| {
            let lines = select.query_map([], |row| row.get(0))?;
            lines.collect::<rusqlite::Result<Vec<String>>>()
        });
    match lines {
        Ok(lines) => lines
            .into_iter()
            .filter(|line| line != "ok")
            .for_each(|line| check.wrong(|| line)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            check.wrong(|| error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(check)
}

/// The pass over all jobs.
fn jobs(connection: &Connection) -> rusqlite::Result<Vec<Check>> {
    let mut pass = Pass::new(connection)?;
    let mut select = connection.prepare(
        "SELECT number, admitted, account, network, end_user, outcome, cost, units FROM job \
         WHERE instance = ?1 ORDER BY number",
    )?;
    let mut rows = select.query([INSTANCE])?;
    while let Some(row) = rows.next()? {
        pass.look(&Job {
            number: row.get(0)?,
            admitted: row.get(1)?,
            caller: (row.get(2)?, row.get(3)?, row.get(4)?),
            succeeded: row.get_ref(5)?.as_str()? == "succeeded",
            cost: row.get(6)?,
            units: row.get(7)?,
        });
    }
    pass.calendars(connection)
}

/// A job as far as it is looked at.
struct Job {
    number: i64,
    admitted: i64,
    caller: CallerColumns,
    succeeded: bool,
    cost: i64,
    units: i64,
}

/// What the pass over all jobs keeps.
struct Pass {
    numbers: Check,
    units: Check,
    hours: Check,
    corrections: Corrections,
    /// The first and last number of each hour, and up to which number they are known.
    ranges: HashMap<i64, (i64, i64)>,
    covered: i64,
    /// Jobs that are there, and the number of the last.
    seen: i64,
    last: i64,
    /// When the oldest job that is kept was admitted; `None`: none was ever removed. After a clock that was ahead nobody knows which
    /// were, and all may be.
    cut: Option<i64>,
    calendars: Vec<CalendarSums>,
}

/// The sums of a calendar, counted anew.
struct CalendarSums {
    name: String,
    covered: i64,
    /// When its periods begin of which there are sums, in their order.
    periods: Vec<i64>,
    counted: HashMap<(i64, CallerColumns), i64>,
}

impl Pass {
    fn new(connection: &Connection) -> rusqlite::Result<Self> {
        let (first, oldest): (Option<i64>, Option<i64>) = connection.query_row(
            "SELECT min(number), min(admitted) FROM job WHERE instance = ?1",
            [INSTANCE],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let are_removed = retention::jobs_removed(connection)? > 0;
        let was_ahead: bool =
            connection.query_row("SELECT count(*) > 0 FROM clock_correction", [], |row| row.get(0))?;
        let mut select =
            connection.prepare("SELECT hour, first_number, last_number FROM job_hour WHERE instance = ?1")?;
        let ranges = select.query_map([INSTANCE], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        Ok(Self {
            numbers: Check::new("jobs are numbered without holes"),
            units: Check::new("a success took its cost, and nothing else took units"),
            hours: Check::new("each hour knows its jobs"),
            corrections: Corrections::read(connection)?,
            ranges: ranges.collect::<rusqlite::Result<_>>()?,
            covered: rollup::covers(connection, USAGE)?.job,
            seen: 0,
            last: 0,
            cut: match are_removed {
                false => None,
                true if was_ahead => Some(i64::MAX / 2),
                true => oldest.filter(|_| first != Some(1)),
            },
            calendars: CalendarSums::all(connection)?,
        })
    }

    fn look(&mut self, job: &Job) {
        let date = millis(self.corrections.date(job.number, unix_time(job.admitted)));
        self.seen += 1;
        self.last = job.number;
        let right = if job.succeeded { job.cost } else { 0 };
        if job.units != right {
            self.units
                .wrong(|| format!("job {} took {} units instead of {right}", job.number, job.units));
        }
        let hour = job.admitted.div_euclid(HOUR_MS) * HOUR_MS;
        let range = self.ranges.get(&hour);
        let is_known = range.is_some_and(|(first, last)| (*first..=*last).contains(&job.number));
        if job.number <= self.covered && !is_known {
            self.hours
                .wrong(|| format!("job {} is not among those of its hour", job.number));
        }
        for calendar in &mut self.calendars {
            calendar.count(job, date);
        }
    }

    /// Every number up to the last one is of a job that is there, or of one that retention has removed and counted.
    fn check_numbers(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let last = self.last.max(self.covered);
        let missing = last - self.seen - retention::jobs_removed(connection)?;
        if missing != 0 {
            let seen = self.seen;
            self.numbers.wrong(|| match missing {
                0.. => format!("{missing} of {last} jobs are missing, {seen} are there"),
                _ => format!("there are {} jobs more than numbers", -missing),
            });
        }
        Ok(())
    }

    fn calendars(mut self, connection: &Connection) -> rusqlite::Result<Vec<Check>> {
        self.check_numbers(connection)?;
        let mut sums = Check::new("sums of calendar periods are those of their jobs");
        for calendar in &self.calendars {
            calendar.compare(connection, self.cut, &mut sums)?;
        }
        Ok(vec![self.numbers, self.units, self.hours, sums])
    }
}

impl CalendarSums {
    fn all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut books = connection.prepare("SELECT book, job FROM rolled_up WHERE instance = ?1 AND book <> ?2")?;
        let books: Vec<(String, i64)> = books
            .query_map((INSTANCE, USAGE), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut select =
            connection.prepare("SELECT DISTINCT period FROM calendar_sum WHERE calendar = ?1 ORDER BY period")?;
        let calendar = |(name, covered): (String, i64)| {
            let periods = select.query_map([&name], |row| row.get(0))?;
            Ok(Self {
                periods: periods.collect::<rusqlite::Result<_>>()?,
                name,
                covered,
                counted: HashMap::new(),
            })
        };
        books.into_iter().map(calendar).collect()
    }

    /// A period without debits has no sums, and no debits that could be taken for those of the period before.
    fn count(&mut self, job: &Job, date: i64) {
        if job.units == 0 || job.number > self.covered {
            return;
        }
        let later = self.periods.partition_point(|period| *period <= date);
        let Some(period) = later.checked_sub(1).map(|place| self.periods[place]) else {
            return;
        };
        for caller in caller_of(job.caller).counted() {
            *self.counted.entry((period, caller_columns(caller))).or_default() += job.units;
        }
    }

    fn compare(&self, connection: &Connection, cut: Option<i64>, check: &mut Check) -> rusqlite::Result<()> {
        let mut select = connection
            .prepare("SELECT period, account, network, end_user, units FROM calendar_sum WHERE calendar = ?1")?;
        let mut rows = select.query([&self.name])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            let period: i64 = row.get(0)?;
            let caller = (row.get(1)?, row.get(2)?, row.get(3)?);
            let sum: i64 = row.get(4)?;
            let counted = self.counted.get(&(period, caller)).copied();
            seen += usize::from(counted.is_some());
            let counted = counted.unwrap_or(0);
            // Of a period that began before the jobs that are kept, there may be more than they add up to.
            let reaches_back = cut.is_none_or(|cut| cut + LONGEST_JOB_MS < period);
            if counted > sum || (reaches_back && counted < sum) {
                check.wrong(|| {
                    format!(
                        "{} of {:?}: {sum} units, and its jobs took {counted}",
                        self.name, caller
                    )
                });
            }
        }
        if seen != self.counted.len() {
            let missing = self.counted.len() - seen;
            check.wrong(|| format!("{}: {missing} callers have debits and no sum", self.name));
        }
        Ok(())
    }
}

/// Books say up to which row they are complete: that row must have been there.
fn marks(connection: &Connection) -> rusqlite::Result<Check> {
    let mut check = Check::new("what is rolled up is there");
    let last = |table: &str| -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT max(number) FROM {table} WHERE instance = ?1");
        connection.query_row(&sql, [INSTANCE], |row| row.get(0))
    };
    let (last_job, last_refusal) = (last("job")?, last("refusal")?);
    let first: Option<i64> =
        connection.query_row("SELECT min(number) FROM job WHERE instance = ?1", [INSTANCE], |row| {
            row.get(0)
        })?;
    let mut select = connection.prepare("SELECT book, job, refusal FROM rolled_up WHERE instance = ?1")?;
    let mut rows = select.query([INSTANCE])?;
    while let Some(row) = rows.next()? {
        let (book, job, refusal): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_beyond = |mark: i64, last: Option<i64>| mark < 0 || last.is_some_and(|last| mark > last);
        if is_beyond(job, last_job) || is_beyond(refusal, last_refusal) {
            check.wrong(|| format!("{book} is rolled up to job {job} and refusal {refusal}, which there aren't"));
        }
        // Jobs that are not rolled up are never removed.
        if first.is_some_and(|first| first > job + 1) {
            check.wrong(|| format!("{book} is rolled up to job {job}, and the jobs after it are gone"));
        }
    }
    Ok(check)
}

/// Which periods of that length may have lost callers' rows, because the database would have been too large: those up to this one.
fn cut_off(connection: &Connection, period_s: i64) -> rusqlite::Result<Option<i64>> {
    let first = |table: &str, which: &str| -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT {which}(start) FROM {table} WHERE period = ?1");
        connection.query_row(&sql, [period_s], |row| row.get(0))
    };
    let Some(newest) = first("traffic", "max")? else {
        return Ok(None);
    };
    let place = PERIODS_S.iter().position(|known| *known == period_s).unwrap_or(0);
    let asked_for = i64::try_from(TOTALS_ASKED_FOR[place].as_millis()).unwrap_or(i64::MAX);
    let needed = newest.saturating_sub(asked_for);
    // The oldest rows go first, and the last of them may be some of a period's.
    Ok(Some(first("usage", "min")?.unwrap_or(needed).min(needed)))
}

/// What all callers used is what they used one by one.
fn traffic(connection: &Connection) -> rusqlite::Result<Check> {
    let mut check = Check::new("traffic is the sum of usage");
    let mut select = connection.prepare(
        "SELECT start, sum(jobs), sum(units), sum(wait_ms), sum(service_ms) FROM \
           (SELECT start, outcome, jobs, units, wait_ms, service_ms FROM usage WHERE period = ?1 UNION ALL \
            SELECT start, outcome, -jobs, -units, -wait_ms, -service_ms FROM traffic WHERE period = ?1) \
         GROUP BY start, outcome \
         HAVING sum(jobs) <> 0 OR sum(units) <> 0 OR sum(wait_ms) <> 0 OR sum(service_ms) <> 0",
    )?;
    for period_s in PERIODS_S {
        let cut = cut_off(connection, period_s)?;
        let mut rows = select.query([period_s])?;
        while let Some(row) = rows.next()? {
            let start: i64 = row.get(0)?;
            let more: [i64; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            let is_cut = cut.is_some_and(|cut| start <= cut);
            if is_cut && more.iter().all(|more| *more <= 0) {
                continue;
            }
            let [jobs, units, ..] = more;
            check.wrong(|| {
                format!(
                    "period of {period_s} s from {start}: usage has {jobs} jobs and {units} units more than traffic"
                )
            });
        }
    }
    Ok(check)
}

/// What is added up by hour is what its jobs add up to, in hours of which all jobs are kept.
fn hours(connection: &Connection) -> rusqlite::Result<Check> {
    let mut check = Check::new("usage by hour is the sum of its jobs");
    let (first, oldest): (Option<i64>, Option<i64>) = connection.query_row(
        "SELECT min(number), min(ended) FROM job WHERE instance = ?1",
        [INSTANCE],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let rolled: Option<i64> =
        connection.query_row("SELECT min(start) FROM usage WHERE period = 3600", [], |row| row.get(0))?;
    let (Some(oldest), Some(rolled)) = (oldest, rolled) else {
        return Ok(check);
    };
    let cut = cut_off(connection, 3_600)?;
    let raw = match first {
        Some(1) => oldest.div_euclid(HOUR_MS) * HOUR_MS,
        _ => (oldest + LONGEST_JOB_MS).div_euclid(HOUR_MS) * HOUR_MS,
    };
    let mut select = connection.prepare(
        "SELECT start, account, network, end_user, sum(jobs), sum(units), sum(rolled) FROM \
           (SELECT start, account, network, end_user, tier, upstream, outcome, status, jobs, units, wait_ms, service_ms, \
                   1 AS rolled \
              FROM usage WHERE period = 3600 AND start >= :from AND outcome <> :refused \
            UNION ALL \
            SELECT ended / 3600000 * 3600000, account, network, end_user, tier, upstream, outcome, status, \
                   -1, -units, -wait_ms, -service_ms, 0 \
              FROM job WHERE instance = :instance AND number <= :covered AND ended >= :from) \
         GROUP BY start, account, network, end_user, tier, upstream, outcome, status \
         HAVING sum(jobs) <> 0 OR sum(units) <> 0 OR sum(wait_ms) <> 0 OR sum(service_ms) <> 0",
    )?;
    let mut rows = select.query(named_params! {
        ":from": raw.max(rolled),
        ":refused": REFUSED,
        ":instance": INSTANCE,
        ":covered": rollup::covers(connection, USAGE)?.job,
    })?;
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let caller: CallerColumns = (row.get(1)?, row.get(2)?, row.get(3)?);
        let (jobs, units): (i64, i64) = (row.get(4)?, row.get(5)?);
        if row.get::<_, i64>(6)? == 0 && cut.is_some_and(|cut| start <= cut) {
            continue;
        }
        check.wrong(|| format!("hour from {start} of {caller:?}: {jobs} jobs and {units} units more than its jobs"));
    }
    Ok(check)
}
