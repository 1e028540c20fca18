//! `tiergate account`: accounts and their terms. The server validates values.

use std::io::Write;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::account_fields::{TermsArgs, show};
use super::account_list::{self, AccountListArgs};
use super::client::{AdminClient, escaped};
use super::{CliError, ServerTarget, ignore_broken_pipe, table, transfer};

/// Add, list, show, change, remove, import and export accounts.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate account list --sort used")]
pub struct AccountArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: AccountCommand,
}

impl AccountArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Add an account. It has no API key yet: see `tiergate key add`
    #[command(after_help = "Example: tiergate account add --name acme --tier gold --email ops@acme.example")]
    Add {
        /// Name: 1 to 64 visible ASCII characters without spaces
        #[arg(long)]
        name: String,
        #[command(flatten)]
        terms: TermsArgs<true>,
    },
    /// List accounts, including those in tiers.yaml, with the units used in the last 30 days
    #[command(after_help = "Example: tiergate account list --tier gold --sort used --limit 20")]
    List(AccountListArgs),
    /// Show an account: its terms, quota usage, last use, and queued and running jobs
    #[command(after_help = "Example: tiergate account show acme")]
    Show {
        /// Name of the account
        name: String,
    },
    /// Change an account; fields that are not given stay as they are
    #[command(after_help = "Example: tiergate account set acme --tier platinum --quota daily=5000 --until never")]
    Set {
        /// Name of the account
        name: String,
        #[command(flatten)]
        terms: TermsArgs<false>,
        /// Unblock the account, including blocks by the rule of a limit; its penalty by that limit ends too
        #[arg(long, conflicts_with = "blocked")]
        unblock: bool,
        /// Stop the account from sending requests for users of its own
        #[arg(long, conflicts_with_all = ["delegate", "max_users"])]
        no_delegate: bool,
    },
    /// Remove an account and its keys permanently. A later account of the same name starts afresh
    #[command(after_help = "Example: tiergate account remove acme --yes")]
    Remove {
        /// Name of the account
        name: String,
        /// Confirm the removal
        #[arg(long)]
        yes: bool,
    },
    /// Import accounts and their keys from a file: all of them, or none if any line is invalid
    ///
    /// The file is CSV, whose header names the columns name, tier, email and key (the last two are optional), or JSON lines
    /// with the fields of an export and `key`. Keys in the file are plain text; only their hashes are stored.
    #[command(after_help = "Example: tiergate account import sponsors.csv --source sponsors --update --dry-run")]
    Import(transfer::ImportArgs),
    /// Export all stored accounts as JSON lines, for `account import`
    #[command(after_help = "Example: tiergate account export --output accounts.jsonl")]
    Export(transfer::ExportArgs),
}

/// Runs the command, and writes the answer to `out`.
///
/// # Errors
/// The command failed, or its output can't be written.
pub fn run(account: AccountArgs, out: &mut impl Write) -> Result<(), CliError> {
    ignore_broken_pipe(answer(account, out))
}

fn answer(account: AccountArgs, out: &mut impl Write) -> Result<(), CliError> {
    let AccountArgs { target, command } = account;
    if let AccountCommand::Remove { name, yes: false } = &command {
        let error = format!("this removes {name} and its keys permanently; pass --yes to confirm");
        return Err(CliError::Unfit(error));
    }
    let client = AdminClient::of(&target)?;
    let path = |name: &str| format!("/accounts/{}", escaped(name));
    let (action, answer) = match command {
        AccountCommand::List(list) => return list.run(&client, target.json, out),
        AccountCommand::Import(import) => return import.run(&client, target.json, out),
        AccountCommand::Export(export) => return export.run(&client, out),
        AccountCommand::Show { name } => {
            let shown = client.ask(&Method::GET, &path(&name), None)?;
            if !target.json {
                show(&shown, out)?;
                return Ok(account_list::write_use(&shown, out)?);
            }
            ("", shown)
        }
        AccountCommand::Add { name, terms } => {
            let mut fields = terms.0;
            fields.insert("name".to_owned(), name.into());
            ("added", client.ask(&Method::POST, "/accounts", Some(&fields.into()))?)
        }
        AccountCommand::Set {
            name,
            terms,
            unblock,
            no_delegate,
        } => {
            let mut fields = terms.0;
            fields.extend(unblock.then(|| ("blocked".to_owned(), false.into())));
            fields.extend(no_delegate.then(|| ("max_users".to_owned(), Value::Null)));
            if fields.is_empty() {
                return Err(CliError::Unfit("nothing to change; see --help".to_owned()));
            }
            (
                "changed",
                client.ask(&Method::PATCH, &path(&name), Some(&fields.into()))?,
            )
        }
        AccountCommand::Remove { name, .. } => ("removed", client.ask(&Method::DELETE, &path(&name), None)?),
    };
    if target.json {
        return Ok(table::json(out, &answer)?);
    }
    if !action.is_empty() {
        writeln!(out, "{action}:")?;
    }
    Ok(show(&answer, out)?)
}
