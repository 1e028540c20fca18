//! Single finished jobs, for `tiergate jobs`.

use rusqlite::{Connection, Row, named_params};

use super::database::ReadError;
use super::rollup;
use super::rows::{INSTANCE, caller_columns, millis, unix_time};
use super::view::{CallerName, View};
use crate::policy::caller::Caller;
use crate::policy::time::{Span, UnixTime};

/// The longest time from admission to end of a job that a search by end time finds.
const LONGEST_JOB: Span = Span::from_secs(86_400);

/// A filter for jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// The caller; an account includes its users.
    pub whose: Option<Caller>,
    /// The tier.
    pub tier: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// The earliest end.
    pub since: Option<UnixTime>,
    /// The number after which to start.
    pub after: i64,
}

/// A finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedJob {
    /// Its number, in the order in which jobs became durable.
    pub number: i64,
    /// When it was admitted.
    pub admitted: UnixTime,
    /// When it ended.
    pub ended: UnixTime,
    /// Its caller.
    pub caller: CallerName,
    /// Its caller's tier.
    pub tier: String,
    /// The upstream that served it.
    pub upstream: String,
    /// Its priority, from 0 to 6.
    pub priority: u8,
    /// Its outcome.
    pub outcome: String,
    /// The status of the upstream's answer; 0 without one.
    pub status: u16,
    /// Units of quota that it takes if it succeeds.
    pub cost: u64,
    /// Units that it took.
    pub units: u64,
    /// The time from admission to its slot, or to its end without one.
    pub wait: Span,
    /// The time from its slot to the end of the upstream's answer.
    pub service: Span,
}

impl View {
    /// The last `limit` matching jobs, in the order of their numbers.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn last_jobs(&mut self, query: &JobQuery, limit: u32) -> Result<Vec<FinishedJob>, ReadError> {
        let mut jobs = self.read(|connection| select(connection, query, "DESC", limit))?;
        jobs.reverse();
        Ok(jobs)
    }

    /// The first `limit` matching jobs, in the order of their numbers, and the number after which to continue: all jobs up to it
    /// were examined, matching or not.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn next_jobs(&mut self, query: &JobQuery, limit: u32) -> Result<(Vec<FinishedJob>, i64), ReadError> {
        self.read(|connection| {
            let jobs = select(connection, query, "ASC", limit)?;
            let seen = match jobs.last() {
                Some(last) if jobs.len() >= limit as usize => last.number,
                _ => last_number(connection)?,
            };
            Ok((jobs, seen.max(query.after)))
        })
    }

    /// The number of the last job; 0 without one.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn last_number(&mut self) -> Result<i64, ReadError> {
        self.read(last_number)
    }
}

fn last_number(connection: &Connection) -> rusqlite::Result<i64> {
    let mut last = connection.prepare_cached("SELECT coalesce(max(number), 0) FROM job WHERE instance = ?1")?;
    last.query_row([INSTANCE], |row| row.get(0))
}

fn select(connection: &Connection, query: &JobQuery, order: &str, limit: u32) -> rusqlite::Result<Vec<FinishedJob>> {
    let mut after = query.after;
    if let Some(since) = query.since {
        let earlier = UnixTime::from_millis(since.as_millis().saturating_sub(LONGEST_JOB.as_millis()));
        after = after.max(rollup::first_number_since(connection, earlier)? - 1);
    }
    let (account, network, end_user) = query.whose.map_or((0, 0, 0), caller_columns);
    // Binding an unused parameter is an error, so every condition names all of them.
    let whose = match query.whose {
        None => ":account + :network + :end_user IS NOT NULL",
        Some(Caller::Account(_)) => "job.account = :account AND :network + :end_user IS NOT NULL",
        Some(_) => "job.account = :account AND job.network = :network AND job.end_user = :end_user",
    };
    let sql = format!(
        "SELECT job.number, job.admitted, job.ended, job.account, job.network, job.end_user, account.name, account.removed_at, \
                job.tier, job.upstream, job.priority, job.outcome, job.status, job.cost, job.units, job.wait_ms, job.service_ms \
         FROM job LEFT JOIN account ON account.id = job.account \
         WHERE job.instance = :instance AND job.number > :after AND {whose} \
           AND (:tier IS NULL OR job.tier = :tier) AND (:outcome IS NULL OR job.outcome = :outcome) \
           AND (:since IS NULL OR job.ended >= :since) \
         ORDER BY job.number {order} LIMIT :limit"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let parameters = named_params! {
        ":account": account,
        ":network": network,
        ":end_user": end_user,
        ":instance": INSTANCE,
        ":after": after,
        ":tier": query.tier,
        ":outcome": query.outcome,
        ":since": query.since.map(millis),
        ":limit": limit,
    };
    select.query_map(parameters, finished)?.collect()
}

fn finished(row: &Row<'_>) -> rusqlite::Result<FinishedJob> {
    let number =
        |column: usize| -> rusqlite::Result<u64> { Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0)) };
    Ok(FinishedJob {
        number: row.get(0)?,
        admitted: unix_time(row.get(1)?),
        ended: unix_time(row.get(2)?),
        caller: CallerName::of(row, 3)?,
        tier: row.get(8)?,
        upstream: row.get(9)?,
        priority: row.get(10)?,
        outcome: row.get(11)?,
        status: row.get(12)?,
        cost: number(13)?,
        units: number(14)?,
        wait: Span::from_millis(number(15)?),
        service: Span::from_millis(number(16)?),
    })
}
