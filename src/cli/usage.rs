//! `tiergate usage`: usage by account, network, tier, upstream or outcome, from the data folder.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::data::{self, DataTarget};
use super::{CliError, ignore_broken_pipe, table};
use crate::policy::time::Span;
use crate::store::usage::{By, UsageKey, UsageQuery, UsageReport, Used};

/// Show how many jobs, units and refusals accounts and networks had.
///
/// JOBS are admitted requests that have ended, however they ended; REFUSED are requests that tiergate answered with an error of
/// its own. A request that was admitted and then displaced, timed out in the queue or failed at the upstream is in both.
///
/// The figures are exact to the last finished job. Spans up to 2h are summed from minutes, up to 14d from hours, and longer ones
/// from days; the part of the first minute, hour or day within the span is counted job by job, as long as single jobs are kept
/// (`history` in tiers.yaml). Reads the database directly, whether a server runs or not.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate usage acme --since 7d --by outcome")]
pub struct UsageArgs {
    /// Show only this account, including its users, or an address such as 192.0.2.7
    #[arg(value_name = "ACCOUNT|ADDRESS")]
    who: Option<String>,
    /// Show only this user of the account, by the name that the account gives it
    #[arg(long, value_name = "NAME", requires = "who")]
    user: Option<String>,
    /// Show at most the N rows with the most units
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    /// Group rows by this column [default: account, or tier if an account is given]
    #[arg(long, value_enum)]
    by: Option<Column>,
    /// Look this far back, such as 30m, 24h or 7d; at most 366d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = data::length)]
    since: Span,
    #[command(flatten)]
    target: DataTarget,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Column {
    Tier,
    Account,
    Upstream,
    Outcome,
}

impl UsageArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Reads the usage, and writes it to `out`.
///
/// # Errors
/// The database can't be read, or the caller is unknown.
pub fn run(usage: &UsageArgs, out: &mut impl Write) -> Result<(), CliError> {
    let (mut view, folder) = usage.target.view()?;
    let whose = match &usage.who {
        Some(name) => Some(data::caller(&mut view, &folder, name, usage.user.as_deref())?),
        None => None,
    };
    let by = match usage.by {
        Some(Column::Tier) => By::Tier,
        Some(Column::Account) => By::Account,
        Some(Column::Upstream) => By::Upstream,
        Some(Column::Outcome) => By::Outcome,
        None if whose.is_some() => By::Tier,
        None => By::Account,
    };
    let query = UsageQuery {
        whose,
        by,
        since: usage.since,
        top: usage.top,
    };
    let now = data::now();
    let report = view.usage(&query, now)?;
    ignore_broken_pipe(match usage.target.json {
        true => table::json(out, &in_json(&report, by, data::rfc3339(now))).map_err(CliError::Output),
        false => tell(&report, by, &data::readable(now), out),
    })
}

fn in_json(report: &UsageReport, by: By, until: String) -> Value {
    let rows = report.rows.iter().map(|row| {
        let mut line = figures(&row.used);
        let (name, key) = match &row.key {
            UsageKey::Caller(caller) => ("caller", data::caller_json(caller)),
            UsageKey::Name(name) if name.is_empty() => (column(by), Value::Null),
            UsageKey::Name(name) => (column(by), name.as_str().into()),
        };
        line[name] = key;
        line
    });
    json!({
        "from": data::rfc3339(report.from),
        "until": until,
        "complete": report.is_whole,
        "period_s": report.period_s,
        "total": figures(&report.total),
        "rows_total": report.rows_total,
        "rows": rows.collect::<Vec<_>>(),
    })
}

const fn column(by: By) -> &'static str {
    match by {
        By::Tier => "tier",
        By::Account => "caller",
        By::Upstream => "upstream",
        By::Outcome => "outcome",
    }
}

fn figures(used: &Used) -> Value {
    let mean = |sum: Span, count| sum.as_millis().checked_div(count);
    json!({
        "jobs": used.jobs,
        "succeeded": used.succeeded,
        "units": used.units,
        "refused": used.refused,
        "wait_ms_mean": mean(used.wait, used.jobs),
        "service_ms_mean": mean(used.service, used.succeeded),
    })
}

fn tell(report: &UsageReport, by: By, until: &str, out: &mut impl Write) -> Result<(), CliError> {
    let row = |name: String, used: &Used| {
        [
            name,
            used.jobs.to_string(),
            used.succeeded.to_string(),
            used.units.to_string(),
            used.refused.to_string(),
            data::mean(used.wait, used.jobs),
            data::mean(used.service, used.succeeded),
        ]
    };
    let named = |key: &UsageKey| match key {
        UsageKey::Caller(caller) => caller.to_string(),
        UsageKey::Name(name) if name.is_empty() => "-".to_owned(),
        UsageKey::Name(name) => name.clone(),
    };
    let mut rows: Vec<_> = report
        .rows
        .iter()
        .map(|line| row(named(&line.key), &line.used))
        .collect();
    rows.push(row("total".to_owned(), &report.total));
    let head = column(by).to_uppercase();
    let heads = [
        &head,
        "JOBS",
        "SUCCEEDED",
        "UNITS",
        "REFUSED",
        "MEAN WAIT",
        "MEAN SERVICE",
    ];
    table::write(out, heads, &rows)?;
    let shown = report.rows.len() as u64;
    if report.rows_total > shown {
        let rest = report.rows_total - shown;
        let rows = if rest == 1 { "row" } else { "rows" };
        writeln!(out, "{rest} more {rows}: see --top")?;
    }
    writeln!(out, "{} to {until} UTC", data::readable(report.from))?;
    if !report.is_whole {
        let period = match report.period_s {
            60 => "minutes",
            3_600 => "hours",
            _ => "days",
        };
        writeln!(
            out,
            "Older jobs are kept only as sums of whole {period}, so the figures start with the first whole one"
        )?;
    }
    Ok(())
}
