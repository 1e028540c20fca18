//! `tiergate account`: who has an account, and on what terms. Values go to the server as they were written, and the server says
//! what is wrong with them.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::account_fields::{Terms, show};
use super::account_list::{self, List};
use super::client::{Client, escaped};
use super::{CliError, Target, table, transfer, unless_enough};

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
        #[command(flatten)]
        terms: Terms<true>,
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
        #[command(flatten)]
        terms: Terms<false>,
        /// Let it in again, also where the rule of a limit has blocked it; its penalty by that limit ends too
        #[arg(long, conflicts_with = "blocked")]
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
        Command::Add { name, terms } => {
            let mut fields = terms.0;
            fields.insert("name".to_owned(), name.into());
            ("added", client.ask(&Method::POST, "/accounts", Some(&fields.into()))?)
        }
        Command::Set {
            name,
            terms,
            unblock,
            no_delegate,
        } => {
            let mut fields = terms.0;
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
    Ok(show(&answer, out)?)
}
