//! Integrity checks for `tiergate db verify`: SQLite's own, and queries that compare rows with their sums.
//!
//! Each query returns one row per error. Rows that retention has removed are no errors.

use rusqlite::{Connection, ErrorCode};

use super::database::ReadError;
use super::retention::{REMOVED, TOTALS_ASKED_FOR};
use super::rollup::{PERIODS_S, USAGE};
use super::rows::INSTANCE;
use super::view::View;

/// The name of SQLite's own check.
const INTEGRITY: &str = "the file is intact (integrity_check)";
/// Errors of one check that are reported singly.
const TOLD_MAX: usize = 5;
/// The longest time from admission to end of a job.
const LONGEST_JOB_MS: i64 = 86_400_000;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// The first errors.
    pub wrong: Vec<String>,
    /// The number of errors.
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

    /// The result for a file that is too damaged to be opened.
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

    /// Whether there are no errors.
    pub const fn is_ok(&self) -> bool {
        self.count == 0
    }
}

impl View {
    /// Runs all checks and passes each result to `done`. Reads the whole database.
    ///
    /// # Errors
    /// The database can't be read at all. Damage that SQLite reports is a result instead.
    pub fn verify(&mut self, mut done: impl FnMut(Check)) -> Result<(), ReadError> {
        self.read(|connection| {
            let integrity = integrity(connection)?;
            let is_whole = integrity.is_ok();
            done(integrity);
            if is_whole {
                let facts = facts();
                for (name, query) in CHECKS {
                    done(ask(connection, name, &format!("{facts} {query}"))?);
                }
            }
            Ok(())
        })
    }
}

fn integrity(connection: &Connection) -> rusqlite::Result<Check> {
    match ask(connection, INTEGRITY, "PRAGMA integrity_check(100)") {
        Ok(check) if check.wrong == ["ok"] => Ok(Check::new(INTEGRITY)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok(Check::damaged(error.to_string()))
        }
        asked => asked,
    }
}

/// Runs the check of that name: the query returns the errors.
fn ask(connection: &Connection, name: &'static str, query: &str) -> rusqlite::Result<Check> {
    let mut check = Check::new(name);
    let mut select = connection.prepare(query)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let what: String = row.get(0)?;
        check.wrong(|| what);
    }
    Ok(check)
}

/// The tables that the queries share: the jobs that are `kept`; each `book`; the single row of `fact`; the `cut` up to which
/// callers' rows of a period may have been removed to limit the database's size; the `hour` since which all jobs are kept; the
/// `calendar_cut` up to which periods may have lost jobs; and the debits `counted` for each calendar, with corrected dates.
fn facts() -> String {
    let asked_for = PERIODS_S.iter().zip(TOTALS_ASKED_FOR);
    let lengths: Vec<String> = asked_for
        .map(|(period_s, asked_for)| format!("({period_s}, {})", asked_for.as_millis()))
        .collect();
    let lengths = lengths.join(", ");
    // Missing numbers are those before the oldest kept job. After a clock that was ahead it is unknown which ones. A period
    // without debits has no sums, and no debits that could be taken for those of the period before.
    format!(
        "WITH kept AS (SELECT * FROM job WHERE instance = {INSTANCE}), \
         book AS (SELECT * FROM rolled_up WHERE instance = {INSTANCE}), \
         fact AS (SELECT \
           coalesce((SELECT job FROM book WHERE book = '{USAGE}'), 0) AS covered, \
           coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = '{REMOVED}'), 0) AS removed, \
           (SELECT min(number) FROM kept) AS first, \
           {LONGEST_JOB_MS} AS longest), \
         length(period_s, asked_for) AS (VALUES {lengths}), \
         newest AS (SELECT *, (SELECT max(start) FROM traffic WHERE period = period_s) AS newest FROM length), \
         cut AS (SELECT period_s, \
           min(newest - asked_for, coalesce((SELECT min(start) FROM usage WHERE period = period_s), newest)) AS cut \
           FROM newest), \
         hour AS (SELECT max((SELECT min(start) FROM usage WHERE period = 3600), \
           CASE first WHEN 1 THEN oldest ELSE oldest + longest END / 3600000 * 3600000) AS whole \
           FROM (SELECT *, (SELECT min(ended) FROM kept) AS oldest FROM fact)), \
         calendar_cut AS (SELECT CASE \
           WHEN removed = 0 THEN NULL \
           WHEN EXISTS (SELECT 1 FROM clock_correction) THEN 1 << 61 \
           WHEN first <> 1 THEN (SELECT min(admitted) FROM kept) END AS cut FROM fact), \
         dated AS (SELECT number, account, network, end_user, units, \
           min(admitted, coalesce((SELECT min(as_of) FROM clock_correction \
             WHERE instance = {INSTANCE} AND undone IS NULL AND last_number >= number), admitted)) AS date \
           FROM kept WHERE units <> 0), \
         debit AS (SELECT * FROM dated UNION ALL SELECT number, account, 0, 0, units, date FROM dated WHERE end_user <> 0), \
         counted AS (SELECT book, period, account, network, end_user, sum(units) AS units FROM \
           (SELECT book, account, network, end_user, units, \
             (SELECT max(period) FROM calendar_sum WHERE calendar = book AND period <= date) AS period \
             FROM book JOIN debit ON number <= job WHERE book <> '{USAGE}') \
           WHERE period IS NOT NULL GROUP BY book, period, account, network, end_user)"
    )
}

/// What must hold, and the query for violations.
const CHECKS: [(&str, &str); 7] = [
    (
        "job numbers have no gaps",
        "SELECT CASE WHEN missing > 0 THEN missing || ' of ' || last || ' jobs are missing, ' || seen || ' are there' \
                     ELSE 'there are ' || -missing || ' jobs more than numbers' END \
         FROM (SELECT *, last - seen - removed AS missing FROM \
           (SELECT removed, (SELECT count(*) FROM kept) AS seen, \
                   max(covered, coalesce((SELECT max(number) FROM kept), 0)) AS last FROM fact)) \
         WHERE missing <> 0",
    ),
    (
        "successes took their cost, and other jobs no units",
        "SELECT 'job ' || number || ' took ' || units || ' units instead of ' || due \
         FROM (SELECT number, units, CASE outcome WHEN 'succeeded' THEN cost ELSE 0 END AS due FROM kept) \
         WHERE units <> due ORDER BY number",
    ),
    (
        "each hour lists its jobs",
        "SELECT 'job ' || number || ' is not among those of its hour' FROM kept \
         WHERE number <= (SELECT covered FROM fact) AND NOT EXISTS \
           (SELECT 1 FROM job_hour WHERE job_hour.instance = kept.instance AND hour = admitted / 3600000 * 3600000 \
              AND number BETWEEN first_number AND last_number) \
         ORDER BY number",
    ),
    (
        "sums of calendar periods are those of their jobs",
        // The sum of a period that began before the oldest kept job may exceed its jobs.
        "SELECT calendar || ' of ' || printf('(%d, %d, %d)', account, network, end_user) || ': ' || units \
                || ' units, and its jobs took ' || jobs \
         FROM (SELECT summed.*, coalesce(counted.units, 0) AS jobs FROM calendar_sum AS summed \
           LEFT JOIN counted ON book = calendar AND counted.period = summed.period AND counted.account = summed.account \
             AND counted.network = summed.network AND counted.end_user = summed.end_user) \
         WHERE calendar IN (SELECT book FROM book) AND (jobs > units OR (jobs < units \
           AND (SELECT cut IS NULL OR cut + longest < period FROM calendar_cut, fact))) \
         UNION ALL \
         SELECT book || ': ' || count(*) || ' callers have debits and no sum' FROM counted \
         WHERE (book, period, account, network, end_user) NOT IN \
           (SELECT calendar, period, account, network, end_user FROM calendar_sum) \
         GROUP BY book",
    ),
    (
        "rolled-up jobs and refusals exist",
        // Jobs that are not rolled up are never removed.
        "SELECT book || ' is rolled up to job ' || job || ' and refusal ' || refusal || ', which do not exist' FROM book \
         WHERE job < 0 OR refusal < 0 OR job > (SELECT max(number) FROM kept) \
           OR refusal > (SELECT max(number) FROM refusal WHERE refusal.instance = book.instance) \
         UNION ALL \
         SELECT book || ' is rolled up to job ' || job || ', and the jobs after it are gone' FROM book \
         WHERE job + 1 < (SELECT first FROM fact)",
    ),
    (
        "traffic is the sum of usage",
        "SELECT 'period of ' || period_s || ' s from ' || start || ': usage has ' || jobs || ' jobs and ' || units \
                || ' units more than traffic' \
         FROM (SELECT period, start, sum(jobs) AS jobs, sum(units) AS units, sum(wait_ms) AS wait, sum(service_ms) AS service \
           FROM (SELECT period, start, outcome, jobs, units, wait_ms, service_ms FROM usage UNION ALL \
                 SELECT period, start, outcome, -jobs, -units, -wait_ms, -service_ms FROM traffic) \
           GROUP BY period, start, outcome) JOIN cut ON period_s = period \
         WHERE (jobs <> 0 OR units <> 0 OR wait <> 0 OR service <> 0) \
           AND NOT (coalesce(start <= cut, 0) AND max(jobs, units, wait, service) <= 0) \
         ORDER BY period, start",
    ),
    (
        "usage by hour is the sum of its jobs",
        // In an hour without any row, the callers' rows may have been removed.
        "SELECT 'hour from ' || start || ' of ' || printf('(%d, %d, %d)', account, network, end_user) || ': ' || jobs \
                || ' jobs and ' || units || ' units more than its jobs' \
         FROM (SELECT start, account, network, end_user, sum(jobs) AS jobs, sum(units) AS units, sum(wait_ms) AS wait, \
                      sum(service_ms) AS service, sum(rolled) AS rolled \
           FROM (SELECT start, account, network, end_user, tier, upstream, outcome, status, \
                        jobs, units, wait_ms, service_ms, 1 AS rolled \
                   FROM usage WHERE period = 3600 AND start >= (SELECT whole FROM hour) AND outcome <> 'refused' \
                 UNION ALL \
                 SELECT ended / 3600000 * 3600000, account, network, end_user, tier, upstream, outcome, status, \
                        -1, -units, -wait_ms, -service_ms, 0 \
                   FROM kept WHERE number <= (SELECT covered FROM fact) AND ended >= (SELECT whole FROM hour)) \
           GROUP BY start, account, network, end_user, tier, upstream, outcome, status) \
         WHERE (jobs <> 0 OR units <> 0 OR wait <> 0 OR service <> 0) \
           AND NOT (rolled = 0 AND coalesce(start <= (SELECT cut FROM cut WHERE period_s = 3600), 0)) \
         ORDER BY start",
    ),
];
