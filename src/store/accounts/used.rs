//! What accounts have used of late, and when each was last used, for operators.
//!
//! `usage` is sorted by period, time and account: so one account is looked up in each day, and all accounts at once are one
//! range of each day, without the networks.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::AccountStore;
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;
use crate::store::database::ReadError;
use crate::store::rollup::{self, REFUSED, USAGE, start_of};
use crate::store::rows::{INSTANCE, millis, unix_time};

/// Days of which units are added up, today among them.
const USED_DAYS: i64 = 30;

const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;

/// What an account has used of late. What its users have counts with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUse {
    /// Units debited within the last [`USED_DAYS`] days (UTC), by when jobs ended.
    pub units: u64,
    /// When the last of these days began on which one of its jobs ended.
    pub last_day: Option<UnixTime>,
}

impl AccountUse {
    fn add(&mut self, units: i64, day: i64) {
        self.units = self.units.saturating_add(u64::try_from(units).unwrap_or(0));
        self.last_day = self.last_day.max(Some(unix_time(day)));
    }
}

impl AccountStore {
    /// What these accounts have used. Blocks.
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

    /// What all accounts have used that have used anything. Blocks, the longer the more accounts there are.
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

    /// When the last job of that account, or of a user of it, ended: exactly while single jobs are kept, otherwise when the hour or
    /// day began in which it did. `None`: in the last 400 days there was none. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn last_used(&self, account: AccountId) -> Result<Option<UnixTime>, ReadError> {
        self.database.read(|connection| {
            let covered = rollup::covers(connection, USAGE)?.job;
            let newest = last_of(connection, account, covered + 1, i64::MAX)?;
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
            let first = rollup::first_number_since(connection, unix_time(hour - HOUR_S * 1_000))?;
            let exact = last_of(connection, account, first, covered)?;
            Ok(Some(unix_time(exact.unwrap_or(hour).max(hour))))
        })
    }
}

/// When the days began of which units are added up.
fn days(now: UnixTime) -> impl Iterator<Item = i64> {
    let today = start_of(millis(now), DAY_S);
    (0..USED_DAYS).map(move |day| today - day * DAY_S * 1_000)
}

/// What accounts have used since the last roll-up.
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

/// When the account's last job of those numbers ended.
fn last_of(connection: &Connection, account: AccountId, first: i64, last: i64) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached(
        "SELECT max(ended) FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND account = ?4",
    )?;
    select.query_row(params![INSTANCE, first, last, account.0], |row| row.get(0))
}

/// When the last period of that length began, of those that begin between these, in which a job of the account ended.
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
