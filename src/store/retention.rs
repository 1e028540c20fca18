//! How long rows are kept, and the removal of older ones.
//!
//! Old rows are removed only while the clock is known to be right: it has agreed with the monotonic one for ten minutes, and
//! has moved since the start by at most the elapsed time and one day. So a clock that is ahead for a while removes nothing that
//! is needed when it is back: what windows need is kept for that day and another one.

use rusqlite::{Connection, Transaction, params};

use super::database::{Shared, WriteError};
use super::rollup::{self, PERIODS_S};
use super::rows::{self, INSTANCE, millis, unix_time};
use crate::policy::rules::{Calendar, Window};
use crate::policy::time::{Span, Timestamp, UnixTime};

/// Rows removed per transaction.
const ROWS_MAX: i64 = 2_000;
/// Extra time for which windows' jobs are kept, since the clock may be ahead by [`PER_START`] and more.
const BEYOND_WINDOW: Span = Span::from_secs(2 * 86_400);
/// How long totals are kept: by minute, hour and day.
pub(super) const TOTALS_KEPT: [Span; 3] = [
    Span::from_secs(2 * 3_600),
    Span::from_secs(14 * 86_400),
    Span::from_secs(400 * 86_400),
];
/// How far back `/me?period=` and `/stats` may ask, with a margin.
pub(super) const TOTALS_ASKED_FOR: [Span; 3] = [
    Span::from_secs(2 * 3_600),
    Span::from_secs(4 * 86_400),
    Span::from_secs(62 * 86_400),
];
/// Audit rows that are kept: the newest.
const AUDIT_MAX: i64 = 1_000_000;
/// How long the clock must have agreed with the monotonic one.
const AGREES_FOR: Span = Span::from_secs(600);
/// The tolerance of that comparison between two checks.
const TOLERANCE: Span = Span::from_secs(2);
/// How far the clock may move beyond the elapsed time, per start.
const PER_START: Span = Span::from_secs(86_400);
/// The key in `meta` of the number of removed jobs.
pub(super) const REMOVED: &str = "jobs_removed";
/// The key in `meta` of the time up to which old rows may have been removed.
pub(super) const BOUNDARY: &str = "retention_clock";

/// How long finished jobs are kept beyond the longest rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Their maximum age.
    pub keep: Span,
    /// Bytes in use in the database above which the oldest are removed.
    pub max: u64,
}

impl Default for History {
    /// 30 days, 4 GiB.
    fn default() -> Self {
        Self {
            keep: Span::from_secs(30 * 86_400),
            max: 4 << 30,
        }
    }
}

/// What is kept and rolled up.
#[derive(Debug)]
pub(super) struct Plan {
    calendars: Vec<Calendar>,
    longest: Span,
    history: History,
}

impl Plan {
    pub fn new<'w>(windows: impl IntoIterator<Item = &'w Window>, history: History) -> Self {
        let (mut calendars, mut longest) = (Vec::new(), Span::ZERO);
        for window in windows {
            match window {
                Window::Calendar(calendar) => calendars.push(calendar.clone()),
                Window::Rolling(length) => longest = longest.max(*length),
            }
        }
        Self {
            calendars,
            longest: longest + BEYOND_WINDOW,
            history,
        }
    }

    /// The calendars of quotas.
    pub fn calendars(&self) -> &[Calendar] {
        &self.calendars
    }

    /// The longest rolling window, with a margin.
    pub fn longest(&self) -> Span {
        self.longest
    }
}

/// Since when the clock has agreed with the monotonic one.
#[derive(Debug)]
pub(super) struct Agreement {
    wall: UnixTime,
    at: Timestamp,
    since: Timestamp,
}

impl Agreement {
    pub const fn new(wall: UnixTime, now: Timestamp) -> Self {
        Self {
            wall,
            at: now,
            since: now,
        }
    }

    /// Compares both clocks' readings with the last ones.
    pub fn look(&mut self, wall: UnixTime, now: Timestamp) {
        let expected = self.wall + now.since(self.at);
        if wall.since(expected) >= TOLERANCE || expected.since(wall) >= TOLERANCE {
            self.since = now;
        }
        (self.wall, self.at) = (wall, now);
    }

    /// Whether they have agreed for long enough.
    pub const fn is_long(&self, now: Timestamp) -> bool {
        now.since(self.since).as_nanos() >= AGREES_FOR.as_nanos()
    }
}

/// The time up to which retention may go since this start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boundary {
    /// Where the last start left it, and when this start took over.
    left: UnixTime,
    taken: Timestamp,
}

impl Boundary {
    /// Loads it from the database. A new database starts at the clock's time, before it has rows that a clock which is ahead
    /// later could remove.
    pub fn take(connection: &Connection, wall: UnixTime, now: Timestamp) -> rusqlite::Result<Self> {
        let left = match rows::meta(connection, BOUNDARY)?.and_then(|text| text.parse().ok()) {
            Some(left) => unix_time(left),
            None => {
                rows::set_meta(connection, BOUNDARY, &millis(wall).to_string())?;
                wall
            }
        };
        Ok(Self { left, taken: now })
    }

    /// The current time for retention. It skips to the oldest row, before which there is nothing to remove, so a database created
    /// under a clock far in the past is not held back.
    pub fn at(&mut self, connection: &Connection, wall: UnixTime, now: Timestamp) -> rusqlite::Result<UnixTime> {
        if let Some(oldest) = oldest(connection)?.filter(|oldest| *oldest > self.left) {
            (self.left, self.taken) = (oldest, now);
        }
        Ok(wall.min(self.left + now.since(self.taken) + PER_START))
    }
}

/// The approximate admission of the oldest job that windows may need, or the start of the oldest period with sums.
fn oldest(connection: &Connection) -> rusqlite::Result<Option<UnixTime>> {
    let mut select = connection.prepare_cached(
        "SELECT min(oldest) FROM (SELECT min(hour) AS oldest FROM job_hour WHERE instance = ?1 \
                                  UNION ALL SELECT min(period) FROM calendar_sum)",
    )?;
    let oldest: Option<i64> = select.query_row([INSTANCE], |row| row.get(0))?;
    Ok(oldest.map(unix_time))
}

/// Removes rows that are too old as of that time, in small steps.
pub(super) fn remove_old(shared: &Shared, now: UnixTime) -> Result<(), WriteError> {
    // A new calendar needs the rows that are about to be removed.
    rollup::roll_up_all(shared)?;
    let plan = shared.upkeep.plan();
    let certain = UnixTime::from_millis(now.as_millis().saturating_sub(BEYOND_WINDOW.as_millis()));
    let calendars: Vec<(String, UnixTime)> = plan
        .calendars()
        .iter()
        .map(|calendar| (calendar.name.to_string(), calendar.period(certain)))
        .collect();
    shared.write(move |transaction| {
        forget_calendars(transaction, &calendars)?;
        let oldest = "SELECT coalesce(max(id), 0) - ?1 FROM audit";
        transaction.execute(&format!("DELETE FROM audit WHERE id <= ({oldest})"), [AUDIT_MAX])?;
        rows::set_meta(transaction, BOUNDARY, &millis(now).to_string())
    })?;
    let before = move |kept: Span| millis(UnixTime::from_millis(now.as_millis().saturating_sub(kept.as_millis())));
    for (period, kept) in PERIODS_S.into_iter().zip(TOTALS_KEPT) {
        remove_totals(shared, period, before(kept))?;
    }
    let kept = plan.longest.max(plan.history.keep);
    while shared.write(move |transaction| remove_jobs(transaction, before(kept)))? {}
    while shared.write(move |transaction| remove_refusals(transaction, before(kept)))? {}
    remove_beyond(shared, &plan, before)
}

/// Removes the sums of past periods, and of calendars without quotas.
fn forget_calendars(transaction: &Transaction<'_>, present: &[(String, UnixTime)]) -> rusqlite::Result<()> {
    let mut books = transaction.prepare_cached("SELECT book FROM rolled_up WHERE book <> ?1")?;
    let books: Vec<String> = books
        .query_map([rollup::USAGE], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for book in books {
        match present.iter().find(|(name, _)| *name == book) {
            Some((_, period)) => transaction.execute(
                "DELETE FROM calendar_sum WHERE calendar = ?1 AND period < ?2",
                params![book, millis(*period)],
            )?,
            None => {
                transaction.execute("DELETE FROM calendar_sum WHERE calendar = ?1", [&book])?;
                transaction.execute("DELETE FROM rolled_up WHERE book = ?1", [&book])?
            }
        };
    }
    Ok(())
}

/// Removes totals of periods that began before that time, in small steps.
fn remove_totals(shared: &Shared, period: i64, before: i64) -> Result<(), WriteError> {
    while shared.write(move |transaction| remove_usage(transaction, period, before))? {}
    shared.write(move |transaction| {
        for delete in [
            "DELETE FROM traffic WHERE period = ?1 AND start < ?2",
            "DELETE FROM service_time WHERE period = ?1 AND start < ?2",
        ] {
            transaction.execute(delete, params![period, before])?;
        }
        Ok(())
    })
}

/// Removes some callers' rows of periods that began before that time. Whether there may be more.
fn remove_usage(transaction: &Transaction<'_>, period: i64, before: i64) -> rusqlite::Result<bool> {
    let removed = transaction.execute(
        "DELETE FROM usage WHERE (period, start, account, network, end_user, tier, upstream, outcome, status) IN \
             (SELECT period, start, account, network, end_user, tier, upstream, outcome, status \
              FROM usage WHERE period = ?1 AND start < ?2 ORDER BY period, start LIMIT ?3)",
        params![period, before, ROWS_MAX],
    )?;
    Ok(i64::try_from(removed).unwrap_or(ROWS_MAX) == ROWS_MAX)
}

/// Removes the oldest rows that neither windows nor `/me?period=` need until the database is within its limit: first jobs,
/// then callers' minutes, hours and days.
fn remove_beyond(shared: &Shared, plan: &Plan, before: impl Fn(Span) -> i64) -> Result<(), WriteError> {
    let (max, jobs) = (plan.history.max, before(plan.longest));
    let [minutes, hours, days] = TOTALS_ASKED_FOR.map(before);
    let removed_some = move |transaction: &Transaction<'_>| {
        let is_too_large = bytes_in_use(transaction)? > max;
        Ok(is_too_large
            && (remove_jobs(transaction, jobs)?
                || remove_usage(transaction, PERIODS_S[0], minutes)?
                || remove_usage(transaction, PERIODS_S[1], hours)?
                || remove_usage(transaction, PERIODS_S[2], days)?))
    };
    while shared.write(removed_some)? {}
    let in_use = shared.write(|transaction| bytes_in_use(transaction))?;
    if in_use > max {
        tracing::warn!(
            in_use,
            max,
            "database larger than history.max: all remaining rows are needed"
        );
    }
    Ok(())
}

/// The job number up to which every book is complete.
fn covered(connection: &Connection) -> rusqlite::Result<i64> {
    let mut select = connection.prepare_cached("SELECT coalesce(min(job), 0) FROM rolled_up WHERE instance = ?1")?;
    select.query_row([INSTANCE], |row| row.get(0))
}

/// Removes some jobs admitted before that time. Whether there may be more.
fn remove_jobs(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<bool> {
    let mut oldest = transaction.prepare_cached(
        "SELECT hour, first_number, last_number FROM job_hour WHERE instance = ?1 AND hour + 3600000 <= ?2 \
         ORDER BY hour LIMIT 1",
    )?;
    let mut found = oldest.query(params![INSTANCE, before])?;
    let Some(row) = found.next()? else { return Ok(false) };
    let (hour, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    drop(found);
    let until = last.min(first + ROWS_MAX - 1).min(covered(transaction)?);
    if until < first {
        return Ok(false);
    }
    let removed = transaction.execute(
        "DELETE FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND admitted < ?4",
        params![INSTANCE, first, until, before],
    )?;
    count_removed(transaction, removed)?;
    if until < last {
        transaction.execute(
            "UPDATE job_hour SET first_number = ?3 WHERE instance = ?1 AND hour = ?2",
            params![INSTANCE, hour, until + 1],
        )?;
        return Ok(true);
    }
    transaction.execute(
        "DELETE FROM job_hour WHERE instance = ?1 AND hour = ?2",
        params![INSTANCE, hour],
    )?;
    Ok(true)
}

/// Lets `db verify` distinguish a missing number from a removed one.
fn count_removed(transaction: &Transaction<'_>, more: usize) -> rusqlite::Result<()> {
    let before = rows::meta(transaction, REMOVED)?.and_then(|text| text.parse::<i64>().ok());
    let removed = before.unwrap_or(0) + i64::try_from(more).unwrap_or(i64::MAX);
    rows::set_meta(transaction, REMOVED, &removed.to_string())
}

/// Removes some refusals from before that time. Whether there may be more.
fn remove_refusals(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<bool> {
    let covered = rollup::covers(transaction, rollup::USAGE)?.refusal;
    let removed = transaction.execute(
        "DELETE FROM refusal WHERE instance = ?1 AND number IN \
             (SELECT number FROM refusal WHERE minute < ?2 AND number <= ?3 LIMIT ?4)",
        params![INSTANCE, before, covered, ROWS_MAX],
    )?;
    Ok(i64::try_from(removed).unwrap_or(ROWS_MAX) == ROWS_MAX)
}

/// Bytes of the pages in use: the file doesn't shrink.
pub(super) fn bytes_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
    Ok(u64::try_from(used).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn clocks_agree_again_ten_minutes_after_the_last_step() {
        let mut agreement = Agreement::new(START, at(0));
        let mut wall = START;
        for second in 1..=2_000 {
            let (goes, back) = match second {
                700 => (3_600, 0),
                1_000 => (0, 3_599),
                // A slewed clock.
                _ => (second % 3, 0),
            };
            wall = UnixTime::from_secs(wall.as_secs() + goes - back);
            agreement.look(wall, at(second));
            let is_long = (600..700).contains(&second) || second >= 1_600;
            assert_eq!(agreement.is_long(at(second)), is_long, "{second}");
        }
    }

    #[test]
    fn the_boundary_goes_no_further_than_time_and_a_day() {
        let connection = Connection::open_in_memory().expect("a database");
        connection
            .execute_batch(include_str!("schema.sql"))
            .expect("the schema");
        let far = START + Span::from_secs(1 << 33);
        let mut boundary = Boundary::take(&connection, START, at(50)).expect("a boundary");
        let told = boundary.at(&connection, far, at(150)).expect("a time");
        assert_eq!(told, START + PER_START + Span::from_secs(100));
        assert_eq!(
            boundary.at(&connection, START, at(150)),
            Ok(START),
            "the clock is behind"
        );
        // Another start, with a clock that is ahead.
        let mut boundary = Boundary::take(&connection, far, at(0)).expect("a boundary");
        let told = boundary.at(&connection, far, at(10)).expect("a time");
        assert_eq!(told, START + PER_START + Span::from_secs(10));
        // No row is older.
        let hour = "INSERT INTO job_hour VALUES (1, ?1, 1, 1)";
        connection.execute(hour, [millis(far)]).expect("a row");
        assert_eq!(boundary.at(&connection, far, at(20)), Ok(far));
    }
}
