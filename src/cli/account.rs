//! `tiergate account`: who has an account, and on what terms. Values go to the server as they were written, and the server says
//! what is wrong with them.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::account_list::{self, List};
use super::client::{Client, escaped};
use super::limits::{self, Given};
use super::{CliError, Target, table, transfer, unless_enough};

/// Users of a delegating account, unless it is said.
const USERS_DEFAULT: u32 = 10_000;

/// Accounts: add, list, show, set, remove, import, export.
#[derive(Debug, Args)]
pub struct Account {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

impl Account {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.target.json
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account. It has no key yet: `tiergate key add NAME`
    Add {
        /// Its name: 1 to 64 visible ASCII characters without spaces
        #[arg(long)]
        name: String,
        /// The name of its tier
        #[arg(long)]
        tier: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// List accounts, those of tiers.yaml too, with the units that they used in the last 30 days.
    ///
    /// Example: tiergate account list --tier gold --sort used --limit 20
    List(List),
    /// Show an account: its terms, what it has used of each quota, when it was last used, and its jobs that wait and run.
    ///
    /// Example: tiergate account show acme
    Show {
        /// Its name
        name: String,
    },
    /// Change an account. What isn't named stays as it is
    Set {
        /// Its name
        name: String,
        /// The name of its tier
        #[arg(long)]
        tier: Option<String>,
        #[command(flatten)]
        terms: Terms,
        /// Let it in again, also where the rule of a limit has blocked it; its penalty by that limit ends too
        #[arg(long, conflicts_with = "block")]
        unblock: bool,
        /// Let it ask for nobody but itself
        #[arg(long, conflicts_with_all = ["delegate", "max_users"])]
        no_delegate: bool,
    },
    /// Remove an account and its keys for good. An account of the same name that comes later starts anew
    Remove {
        /// Its name
        name: String,
        /// Yes, remove it
        #[arg(long)]
        yes: bool,
    },
    /// Make accounts from a file, with the keys that they have: all of them, or none and every line that is wrong.
    ///
    /// CSV, whose first line names the columns name, tier, email and key (the last two may be missing), or JSON lines with the
    /// fields of an export and `key`. Keys are in plain text there, and only their hashes are kept.
    Import(transfer::Import),
    /// Write all stored accounts as JSON lines, as an import takes them
    Export(transfer::Export),
}

#[derive(Debug, Args)]
struct Terms {
    /// How its owner is reached; empty takes it away
    #[arg(long)]
    email: Option<String>,
    /// A limit of its own for one of its tier's quotas, or `NAME=tier` for the tier's
    #[arg(long, value_name = "NAME=N", value_parser = quota)]
    quota: Vec<(String, Option<u64>)>,
    /// A number of its own for a request limit (`NAME=N,lifts=network` lifts its network's too), or `NAME=` for the tier's
    #[arg(long, value_name = "NAME=N", value_parser = limits::raise)]
    limit: Vec<Given>,
    /// Searches at once, or `tier` for as many as its tier allows
    #[arg(long, value_name = "N", value_parser = concurrency)]
    concurrency: Option<Concurrency>,
    /// From that day (UTC) or time on it has the anonymous tier's terms, such as 2027-01-01; or `never`
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// Turn it away
    #[arg(long)]
    block: bool,
    /// Let it ask for users of its own, whom it names with `uid` or `X-Tiergate-User`
    #[arg(long)]
    delegate: bool,
    /// How many of them; 10000 unless it is said
    #[arg(long, value_name = "N")]
    max_users: Option<u32>,
    /// What operators want to remember; empty takes it away
    #[arg(long)]
    note: Option<String>,
    /// The source of imports that it comes from: `import --remove-missing` of that source may remove it; empty takes it away
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Concurrency(Option<u32>);

fn concurrency(text: &str) -> Result<Concurrency, String> {
    match text {
        "tier" => Ok(Concurrency(None)),
        number => number
            .parse()
            .map(|number| Concurrency(Some(number)))
            .map_err(|_| "write a number, or `tier`".to_owned()),
    }
}

fn quota(text: &str) -> Result<(String, Option<u64>), String> {
    let wrong = || "write NAME=N, such as daily=5000, or NAME=tier".to_owned();
    let (name, limit) = text.split_once('=').ok_or_else(wrong)?;
    let limit = match limit {
        "tier" => None,
        number => Some(number.parse().map_err(|_| wrong())?),
    };
    Ok((name.to_owned(), limit))
}

impl Terms {
    /// The fields that are named. For a new account there is nothing to take away, so `null`s are left out.
    fn fields(self, is_new: bool) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            if !(is_new && value.is_null()) {
                fields.insert(name.to_owned(), value);
            }
        };
        let or_nothing = |text: String| {
            if text.is_empty() {
                Value::Null
            } else {
                Value::from(text)
            }
        };
        if let Some(email) = self.email {
            put("email", or_nothing(email));
        }
        if let Some(Concurrency(number)) = self.concurrency {
            put("concurrency", number.into());
        }
        let quotas = self.quota.into_iter().filter(|(_, limit)| !is_new || limit.is_some());
        let quotas: Map<String, Value> = quotas.map(|(name, limit)| (name, limit.into())).collect();
        if !quotas.is_empty() {
            put("quotas", quotas.into());
        }
        let limits = self.limit.into_iter().filter(|(_, raise)| !is_new || !raise.is_null());
        let limits = limits::fields(limits.collect());
        if !limits.is_empty() {
            put("limits", limits.into());
        }
        if let Some(until) = self.until {
            put(
                "until",
                or_nothing(if until == "never" { String::new() } else { until }),
            );
        }
        if self.block {
            put("blocked", true.into());
        }
        if self.delegate || self.max_users.is_some() {
            put("max_users", self.max_users.unwrap_or(USERS_DEFAULT).into());
        }
        if let Some(note) = self.note {
            put("note", or_nothing(note));
        }
        if let Some(source) = self.source {
            put("source", or_nothing(source));
        }
        fields
    }
}

/// Does what is asked, and writes the answer to `out`, as far as somebody reads it.
///
/// # Errors
/// It was not done, or not shown.
pub fn run(account: Account, out: &mut impl Write) -> Result<(), CliError> {
    unless_enough(answer(account, out))
}

fn answer(account: Account, out: &mut impl Write) -> Result<(), CliError> {
    let Account { target, command } = account;
    if let Command::Remove { name, yes: false } = &command {
        let error = format!("this would remove {name} and its keys for good; say --yes if that is meant");
        return Err(CliError::Unfit(error));
    }
    let client = Client::of(&target)?;
    let path = |name: &str| format!("/accounts/{}", escaped(name));
    let (said, answer) = match command {
        Command::List(list) => return list.run(&client, target.json, out),
        Command::Import(import) => return import.run(&client, target.json, out),
        Command::Export(export) => return export.run(&client, out),
        Command::Show { name } => {
            let shown = client.ask(&Method::GET, &path(&name), None)?;
            if !target.json {
                show(&shown, out)?;
                return Ok(account_list::tell_use(&shown, out)?);
            }
            ("", shown)
        }
        Command::Add { name, tier, terms } => {
            let mut fields = terms.fields(true);
            fields.insert("name".to_owned(), name.into());
            fields.insert("tier".to_owned(), tier.into());
            ("added", client.ask(&Method::POST, "/accounts", Some(&fields.into()))?)
        }
        Command::Set {
            name,
            tier,
            terms,
            unblock,
            no_delegate,
        } => {
            let mut fields = terms.fields(false);
            fields.extend(tier.map(|tier| ("tier".to_owned(), tier.into())));
            fields.extend(unblock.then(|| ("blocked".to_owned(), false.into())));
            fields.extend(no_delegate.then(|| ("max_users".to_owned(), Value::Null)));
            if fields.is_empty() {
                return Err(CliError::Unfit("nothing to change was named; see --help".to_owned()));
            }
            (
                "changed",
                client.ask(&Method::PATCH, &path(&name), Some(&fields.into()))?,
            )
        }
        Command::Remove { name, .. } => ("removed", client.ask(&Method::DELETE, &path(&name), None)?),
    };
    if target.json {
        return Ok(table::json(out, &answer)?);
    }
    if !said.is_empty() {
        writeln!(out, "{said}:")?;
    }
    show(&answer, out)
}

/// Every field of an account, a line each.
const FIELDS: [&str; 16] = [
    "name",
    "tier",
    "email",
    "concurrency",
    "quotas",
    "limits",
    "until",
    "blocked",
    "blocked_by_rule",
    "max_users",
    "note",
    "source",
    "keys",
    "created",
    "origin",
    "id",
];

fn show(account: &Value, out: &mut impl Write) -> Result<(), CliError> {
    for field in FIELDS {
        let name = match field {
            "blocked_by_rule" => "by rule".to_owned(),
            field => field.replace('_', " "),
        };
        let cell = match field {
            "limits" => limits::cell(&account[field]),
            "blocked_by_rule" => table::blocks_by_rule(&account[field]),
            _ => table::cell(&account[field]),
        };
        writeln!(out, "  {name:<12} {cell}")?;
    }
    Ok(())
}
