//! `tiergate account list`, and the usage in `account show`.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminClient, escaped};
use super::{CliError, data, limits, table};
use crate::policy::time::UnixTime;

/// Accounts per request.
const PAGE: usize = 1_000;

/// Filters, order and length of the list.
#[derive(Debug, Args)]
pub struct AccountListArgs {
    /// Only accounts of this tier
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Only accounts whose name, email or note contains this text; case is ignored
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Sort by name, or by units used in the last 30 days (UTC), most first
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,
    /// Show at most N accounts [default: all when sorted by name, 100 when sorted by use]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Used,
    Name,
}

impl AccountListArgs {
    /// Fetches the accounts and writes them to `out`.
    pub fn run(&self, client: &AdminClient, json: bool, out: &mut impl Write) -> Result<(), CliError> {
        let accounts = self.ask(client)?;
        if json {
            return Ok(table::json(out, &json!({ "accounts": accounts }))?);
        }
        let now = data::now();
        let rows: Vec<_> = accounts.iter().map(|account| row(account, now)).collect();
        let heads = [
            "NAME",
            "TIER",
            "KEYS",
            "STATE",
            "USED 30D",
            "LAST USED",
            "UNTIL",
            "CONCURRENCY",
            "QUOTAS",
            "LIMITS",
            "USERS",
            "EMAIL",
        ];
        Ok(table::write(out, heads, &rows)?)
    }

    fn ask(&self, client: &AdminClient) -> Result<Vec<Value>, CliError> {
        let mut only = String::new();
        for (name, value) in [("tier", &self.tier), ("search", &self.search)] {
            if let Some(value) = value {
                only.push_str(&format!("&{name}={}", escaped(value)));
            }
        }
        if self.sort == Sort::Used {
            let limit = self.limit.unwrap_or(100);
            if !(1..=PAGE).contains(&limit) {
                let error = format!("--sort used lists 1 to {PAGE} accounts: choose --limit within that");
                return Err(CliError::Unfit(error));
            }
            let path = format!("/accounts?sort=used&limit={limit}{only}");
            let mut page = client.ask(&Method::GET, &path, None)?;
            return Ok(taken(&mut page));
        }
        let (mut accounts, mut after) = (Vec::new(), String::new());
        loop {
            let left = self.limit.unwrap_or(usize::MAX) - accounts.len();
            if left == 0 {
                return Ok(accounts);
            }
            let limit = left.min(PAGE);
            let path = format!("/accounts?limit={limit}{after}{only}");
            let mut page = client.ask(&Method::GET, &path, None)?;
            accounts.extend(taken(&mut page));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", escaped(next)),
                None => return Ok(accounts),
            }
        }
    }
}

fn taken(page: &mut Value) -> Vec<Value> {
    match page["accounts"].take() {
        Value::Array(accounts) => accounts,
        _ => Vec::new(),
    }
}

fn row(account: &Value, now: UnixTime) -> [String; 12] {
    let state = match (account["blocked"].as_bool(), account["origin"].as_str()) {
        (Some(true), _) => "blocked",
        _ if account["blocked_by_rule"].as_array().is_some_and(|by| !by.is_empty()) => "blocked by rule",
        _ if is_over(account, now) => "over",
        _ if account["tier_exists"] == false => "no such tier",
        (_, Some("listed")) => "in tiers.yaml",
        _ => "-",
    };
    let cell = |field| table::cell(&account[field]);
    [
        cell("name"),
        cell("tier"),
        cell("keys"),
        state.to_owned(),
        cell("used_30d"),
        cell("last_used_on"),
        cell("until"),
        cell("concurrency"),
        cell("quotas"),
        limits::cell(&account["limits"]),
        cell("max_users"),
        cell("email"),
    ]
}

/// Whether the account has expired and has the anonymous tier's terms.
fn is_over(account: &Value, now: UnixTime) -> bool {
    let until = account["until"]
        .as_str()
        .and_then(|until| until.parse::<jiff::Timestamp>().ok());
    until.is_some_and(|until| u64::try_from(until.as_millisecond()).unwrap_or(0) <= now.as_millis())
}

/// Writes an account's usage, last use and jobs.
pub fn write_use(account: &Value, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {:<12} {}", "last used", table::cell(&account["last_used"]))?;
    let list = |name: &str| account[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let quota = |line: &Value| {
        let cell = |field| table::cell(&line[field]);
        let enforced = match line["enforced"].as_bool() {
            Some(false) => "not enforced",
            _ => "",
        };
        [
            cell("name"),
            cell("used"),
            cell("held"),
            cell("limit"),
            cell("remaining"),
            cell("window"),
            cell("next_free"),
            enforced.to_owned(),
        ]
    };
    let quotas: Vec<_> = list("usage").iter().map(quota).collect();
    if !quotas.is_empty() {
        writeln!(out, "\nQuotas:")?;
        let heads = [
            "QUOTA",
            "USED",
            "HELD",
            "LIMIT",
            "REMAINING",
            "WINDOW",
            "NEXT UNIT BACK",
            "",
        ];
        table::write(out, heads, &quotas)?;
    }
    let job = |line: &Value| {
        let seconds = |field: &str| line[field].as_f64().unwrap_or(0.0);
        let cell = |field| table::cell(&line[field]);
        [
            cell("state"),
            format!("{:.1}s", seconds("waited_s") + seconds("running_s")),
            cell("priority"),
            cell("upstream"),
            cell("tier"),
        ]
    };
    let jobs: Vec<_> = list("jobs").iter().map(job).collect();
    if jobs.is_empty() {
        return writeln!(out, "\nNo queued or running jobs");
    }
    writeln!(out, "\nJobs:")?;
    table::write(out, ["STATE", "AGE", "PRIORITY", "UPSTREAM", "TIER"], &jobs)
}
