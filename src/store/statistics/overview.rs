//! Everything about a period at once, over all callers: for the status page.

use std::collections::BTreeMap;

use rusqlite::{Connection, named_params};

use super::histogram::Histogram;
use super::period::Rows;
use super::{PERCENTILES, Period, WITHDRAWN, times};
use crate::policy::time::UnixTime;
use crate::store::database::{Database, ReadError};
use crate::store::finished::{REFUSED, finished};
use crate::store::rollup::{self, USAGE};
use crate::store::rows::{millis, unix_time};

/// What happened within each row of a period, and in all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// The start of the first row.
    pub first: UnixTime,
    /// Exactly [`Period::rows`], earliest first; the last one is not over.
    pub rows: Vec<OverviewRow>,
    /// Service times of all successes, as in a row.
    pub percentiles_ms: Option<[u32; PERCENTILES.len()]>,
}

/// What happened within one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverviewRow {
    /// Successes.
    pub served: u64,
    /// Other answers of an upstream, by status.
    pub failed: BTreeMap<u16, u64>,
    /// Refusals on metered routes, by reason and status.
    pub refused: BTreeMap<(String, u16), u64>,
    /// Milliseconds that jobs that ended here had waited, by tier.
    pub waited_ms: BTreeMap<String, u64>,
    /// The [`PERCENTILES`] of the successes' service times, in milliseconds; `None` without successes.
    pub percentiles_ms: Option<[u32; PERCENTILES.len()]>,
}

impl Database {
    /// What happened in the latest minutes, hours or days in UTC. Refusals of the current minute are not written yet. Blocks.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn overview(&self, period: Period, now: UnixTime) -> Result<Overview, ReadError> {
        let mut rows: Rows<OverviewRow> = Rows::until(millis(now), period);
        let mut service: Rows<Histogram> = Rows::until(millis(now), period);
        self.read(|connection| {
            add_rows(connection, period, &mut rows)?;
            times(connection, period, &mut service)
        })?;
        let (first, _) = rows.reach();
        let mut all = Histogram::default();
        let pairs = rows.into_rows().zip(service.into_rows());
        let row = |((_, row), (_, times)): ((i64, OverviewRow), (i64, Histogram))| {
            all.merge(&times);
            OverviewRow {
                percentiles_ms: times.percentiles_ms(),
                ..row
            }
        };
        Ok(Overview {
            first: unix_time(first),
            rows: pairs.map(row).collect(),
            percentiles_ms: all.percentiles_ms(),
        })
    }
}

fn add_rows(connection: &Connection, period: Period, rows: &mut Rows<OverviewRow>) -> rusqlite::Result<()> {
    let since = finished(
        "number > :job AND ended >= :first AND ended < :end",
        "number > :refusal AND minute >= :first AND minute < :end",
    );
    let mut select = connection.prepare_cached(&format!(
        "SELECT at, tier, outcome, reason, status, sum(jobs), sum(wait_ms) FROM ( \
           SELECT start AS at, tier, outcome, reason, status, jobs, wait_ms FROM traffic \
             WHERE period = :length / 1000 AND start >= :first AND start < :end \
           UNION ALL SELECT at / :length * :length, tier, outcome, reason, status, jobs, wait_ms FROM ({since})) \
         WHERE outcome <> '{WITHDRAWN}' GROUP BY at, tier, outcome, reason, status"
    ))?;
    let (first, end) = rows.reach();
    let covers = rollup::covers(connection, USAGE)?;
    let mut found = select.query(named_params! {
        ":length": period.seconds() * 1_000,
        ":first": first,
        ":end": end,
        ":job": covers.job,
        ":refusal": covers.refusal,
    })?;
    while let Some(found) = found.next()? {
        let Some(row) = rows.at(found.get(0)?) else { continue };
        let (tier, outcome, reason): (String, String, String) = (found.get(1)?, found.get(2)?, found.get(3)?);
        let status = u16::try_from(found.get::<_, i64>(4)?).unwrap_or(0);
        let number = |at: usize| found.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
        row.add(tier, &outcome, (reason, status), number(5)?, number(6)?);
    }
    Ok(())
}

impl OverviewRow {
    fn add(&mut self, tier: String, outcome: &str, (reason, status): (String, u16), jobs: u64, wait_ms: u64) {
        match outcome {
            "succeeded" => self.served += jobs,
            REFUSED => *self.refused.entry((reason, status)).or_default() += jobs,
            // With status 0 tiergate answered, and the refusal counts.
            "failed" if status > 0 => *self.failed.entry(status).or_default() += jobs,
            _ => {}
        }
        if wait_ms > 0 {
            *self.waited_ms.entry(tier).or_default() += wait_ms;
        }
    }
}
