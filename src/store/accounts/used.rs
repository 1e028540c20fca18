//! Recent usage of accounts, and when each was last used, for operators.
//!
//! `usage` is sorted by period, time and account: one account is one look-up per day, and all accounts are one range per
//! day, without the networks.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::AccountStore;
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::database::ReadError;
use crate::store::finished::REFUSED;
use crate::store::rollup::{self, USAGE, start_of};
use crate::store::rows::{INSTANCE, millis, unix_time};

/// Days, today included, whose units are added up.
const USED_DAYS: i64 = 30;

const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;

/// An account's recent usage, its users' included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUse {
    /// Units debited in the last 30 days (UTC), by the end of the jobs.
    pub units: u64,
    /// The start of the last of these days on which one of its jobs ended.
    pub last_day: Option<UnixTime>,
}

impl AccountUse {
    fn add(&mut self, units: i64, day: i64) {
        self.units = self.units.saturating_add(u64::try_from(units).unwrap_or(0));
        self.last_day = self.last_day.max(Some(unix_time(day)));
    }
}

impl AccountStore {
    /// The usage of these accounts. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn used_by(&self, accounts: &[AccountId], now: UnixTime) -> Result<HashMap<AccountId, AccountUse>, ReadError> {
        self.database.read(|connection| {
            let mut all = not_rolled_up(connection, now)?;
            all.retain(|account, _| accounts.contains(account));
            let mut select = connection.prepare_cached(
                "SELECT sum(units), count(*) FROM usage \
                 WHERE period = ?1 AND start = ?2 AND account = ?3 AND outcome <> ?4",
            )?;
            for account in accounts {
                for day in days(now) {
                    let parameters = params![DAY_S, day, account.0, REFUSED];
                    let (units, rows): (Option<i64>, i64) =
                        select.query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
                    if rows > 0 {
                        all.entry(*account).or_default().add(units.unwrap_or(0), day);
                    }
                }
            }
            Ok(all)
        })
    }

    /// The usage of all accounts that have any. Blocks, longer the more accounts there are.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn used_by_all(&self, now: UnixTime) -> Result<HashMap<AccountId, AccountUse>, ReadError> {
        self.database.read(|connection| {
            let mut all = not_rolled_up(connection, now)?;
            let mut select = connection.prepare_cached(
                "SELECT account, sum(units) FROM usage \
                 WHERE period = ?1 AND start = ?2 AND account > 0 AND outcome <> ?3 GROUP BY account",
            )?;
            for day in days(now) {
                let mut rows = select.query(params![DAY_S, day, REFUSED])?;
                while let Some(row) = rows.next()? {
                    all.entry(AccountId(row.get(0)?)).or_default().add(row.get(1)?, day);
                }
            }
            Ok(all)
        })
    }

    /// When the last job of that account, or of a user of it, ended: exact while single jobs are kept, otherwise the start of its
    /// hour or day. `None`: there was none in the last 400 days. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn last_used(&self, account: AccountId) -> Result<Option<UnixTime>, ReadError> {
        self.database.read(|connection| last_end(connection, account))
    }
}

fn last_end(connection: &Connection, account: AccountId) -> rusqlite::Result<Option<UnixTime>> {
    let rolled_up = rollup::covers(connection, USAGE)?.job;
    let newest = last_of(connection, account, rolled_up + 1, i64::MAX)?;
    if newest.is_some() {
        return Ok(newest.map(unix_time));
    }
    let Some(day) = last_period(connection, account, DAY_S, (i64::MIN, i64::MAX))? else {
        return Ok(None);
    };
    let hour = last_period(connection, account, HOUR_S, (day, day + DAY_S * 1_000))?;
    let Some(hour) = hour else {
        return Ok(Some(unix_time(day)));
    };
    // Few jobs take more than an hour, so try the narrow range of numbers first.
    for longest_s in [HOUR_S, DAY_S] {
        let (first, last) = numbers_around(connection, hour, longest_s)?;
        let exact = last_of(connection, account, first, last)?;
        if let Some(exact) = exact.filter(|ended| *ended >= hour) {
            return Ok(Some(unix_time(exact)));
        }
    }
    Ok(Some(unix_time(hour)))
}

/// The starts of the days whose units are added up.
fn days(now: UnixTime) -> impl Iterator<Item = i64> {
    let today = start_of(millis(now), DAY_S);
    (0..USED_DAYS).map(move |day| today - day * DAY_S * 1_000)
}

/// The usage since the last roll-up.
fn not_rolled_up(connection: &Connection, now: UnixTime) -> rusqlite::Result<HashMap<AccountId, AccountUse>> {
    let mut all: HashMap<AccountId, AccountUse> = HashMap::new();
    let mut select = connection.prepare_cached(
        "SELECT account, units, ended FROM job WHERE instance = ?1 AND number > ?2 AND account > 0 AND ended >= ?3",
    )?;
    let since = days(now).last().unwrap_or(0);
    let mut rows = select.query(params![INSTANCE, rollup::covers(connection, USAGE)?.job, since])?;
    while let Some(row) = rows.next()? {
        let day = start_of(row.get(2)?, DAY_S);
        all.entry(AccountId(row.get(0)?)).or_default().add(row.get(1)?, day);
    }
    Ok(all)
}

/// The range of numbers of the rolled-up jobs that ended in that hour and took at most `longest_s`.
fn numbers_around(connection: &Connection, hour: i64, longest_s: i64) -> rusqlite::Result<(i64, i64)> {
    let first = rollup::first_number_since(connection, unix_time(hour - longest_s * 1_000))?;
    // A job that took long may have a lower number than jobs of its hour: take all that may have ended in it.
    let mut select = connection
        .prepare_cached("SELECT max(last_number) FROM job_hour WHERE instance = ?1 AND hour BETWEEN ?2 AND ?3")?;
    let last: Option<i64> = select.query_row(params![INSTANCE, hour - DAY_S * 1_000, hour], |row| row.get(0))?;
    // No maximum: the jobs of that hour are no longer kept.
    Ok((first, last.unwrap_or(0)))
}

/// When the account's last job in that range of numbers ended.
fn last_of(connection: &Connection, account: AccountId, first: i64, last: i64) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached(
        "SELECT max(ended) FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND account = ?4",
    )?;
    select.query_row(params![INSTANCE, first, last, account.0], |row| row.get(0))
}

/// The start of the last period of that length, within these bounds, in which a job of the account ended.
fn last_period(
    connection: &Connection,
    account: AccountId,
    period_s: i64,
    (from, to): (i64, i64),
) -> rusqlite::Result<Option<i64>> {
    let mut before =
        connection.prepare_cached("SELECT max(start) FROM usage WHERE period = ?1 AND start >= ?2 AND start < ?3")?;
    let mut used = connection.prepare_cached(
        "SELECT 1 FROM usage WHERE period = ?1 AND start = ?2 AND account = ?3 AND outcome <> ?4 LIMIT 1",
    )?;
    let mut end = to;
    loop {
        let start: Option<i64> = before.query_row(params![period_s, from, end], |row| row.get(0))?;
        let Some(start) = start else { return Ok(None) };
        let parameters = params![period_s, start, account.0, REFUSED];
        if used.query_row(parameters, |_| Ok(())).optional()?.is_some() {
            return Ok(Some(start));
        }
        end = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = HOUR_S * 1_000;
    const COVERED: i64 = 29 * 24 * 1_000;

    /// A thousand jobs an hour for 29 days, all rolled up: by number and hour alone.
    fn a_month() -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        let schema = include_str!("../schema.sql");
        connection.execute_batch(schema).expect("the schema");
        for hour in 0..29 * 24 {
            let numbers = params![hour * HOUR_MS, hour * 1_000 + 1, hour * 1_000 + 1_000];
            let insert = "INSERT INTO job_hour VALUES (1, ?1, ?2, ?3)";
            connection.execute(insert, numbers).expect("a row");
        }
        let insert = "INSERT INTO rolled_up (book, instance, job, refusal) VALUES ('usage', 1, ?1, 0)";
        connection.execute(insert, [COVERED]).expect("a row");
        connection
    }

    fn add(connection: &Connection, number: i64, admitted: i64, ended: i64) {
        let job = "INSERT INTO job VALUES (1, ?1, ?2, ?3, 1, 0, 0, 't', 'u', 0, 'succeeded', 200, 1, 1, 0, 0)";
        connection
            .execute(job, params![number, admitted, ended])
            .expect("a row");
        for period in [HOUR_S, DAY_S] {
            let used = "INSERT INTO usage VALUES (?1, ?2, 1, 0, 0, 't', 'u', 'succeeded', 200, 1, 1, 0, 0)";
            connection
                .execute(used, params![period, start_of(ended, period)])
                .expect("a row");
        }
    }

    /// Regression: for an account last used 29 days ago, all jobs of those 29 days were read.
    #[test]
    fn only_the_hours_of_the_last_use_are_read() {
        let connection = a_month();
        let around = |hour: i64| numbers_around(&connection, hour * HOUR_MS, HOUR_S).expect("it can be read");
        assert_eq!(around(30), (29_001, 31_000));
        assert_eq!(around(0), (1, 1_000));
        let (first, last) = around(10_000);
        assert!(first > last, "jobs of that hour are gone: {first} {last}");
    }

    #[test]
    fn the_last_use_is_exact_while_jobs_are_kept() {
        let connection = a_month();
        let last = || last_end(&connection, AccountId(1)).expect("it can be read");
        assert_eq!(last(), None);
        add(&connection, 30_500, 30 * HOUR_MS, 30 * HOUR_MS + 7);
        assert_eq!(last(), Some(unix_time(30 * HOUR_MS + 7)));
        // It took 20 hours, and no other job ended in its last hour.
        add(&connection, COVERED, 695 * HOUR_MS, 715 * HOUR_MS + 9);
        assert_eq!(last(), Some(unix_time(715 * HOUR_MS + 9)));
        connection.execute("DELETE FROM job", []).expect("they go");
        assert_eq!(last(), Some(unix_time(715 * HOUR_MS)), "when its hour began");
    }
}
