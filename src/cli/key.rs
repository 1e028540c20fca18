//! `tiergate key`: the API keys of an account. A key named by itself is hashed to its id here and never sent to the server.

use std::io::{self, BufRead, Write};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::client::{AdminClient, escaped};
use super::table;
use super::{CliError, ServerTarget, ignore_broken_pipe};
use crate::store::KeyId;
use crate::store::keys::hash;

/// Add, list, rotate and revoke API keys.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate key add acme")]
pub struct KeyArgs {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    command: KeyCommand,
}

impl KeyArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Create a key and print it; it can't be shown again
    #[command(after_help = "Example: tiergate key add acme --label production --expires 90d")]
    Add {
        /// Name of the account
        name: String,
        /// Label for the key
        #[arg(long)]
        label: Option<String>,
        /// Lifetime, such as 90d, or expiry date, such as 2027-01-01
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// List an account's keys: ids, first characters, labels and last uses, not the keys themselves
    #[command(after_help = "Example: tiergate key list acme")]
    List {
        /// Name of the account
        name: String,
    },
    /// Replace a key with a new one, and print the new one; it can't be shown again
    #[command(after_help = "Example: tiergate key rotate 0123456789ab --overlap 7d")]
    Rotate {
        /// Old key: its id (12 hexadecimal digits), the key itself, or `-` for a line of standard input
        key: String,
        /// How long the old key keeps working
        #[arg(long, value_name = "TIME", default_value = "1d")]
        overlap: String,
    },
    /// Revoke a key, immediately and permanently
    #[command(after_help = "Example: tiergate key revoke 0123456789ab")]
    Revoke {
        /// Key: its id (12 hexadecimal digits), the key itself, or `-` for a line of standard input
        key: String,
    },
}

/// Runs the command, and writes the answer to `out`.
///
/// # Errors
/// The command failed, or its output can't be written. EPIPE is an error only for a new key.
pub fn run(key: KeyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let KeyArgs { target, command } = key;
    let client = AdminClient::of(&target)?;
    let answer = match command {
        KeyCommand::List { name } => return ignore_broken_pipe(list(&client, &name, target.json, out)),
        KeyCommand::Add { name, label, expires } => {
            let mut fields = Map::new();
            fields.extend(label.map(|label| ("label".to_owned(), label.into())));
            fields.extend(expires.map(|expires| ("expires".to_owned(), expires.into())));
            let path = format!("/accounts/{}/keys", escaped(&name));
            client.ask(&Method::POST, &path, Some(&fields.into()))?
        }
        KeyCommand::Rotate { key, overlap } => {
            let fields = Map::from_iter([("overlap".to_owned(), overlap.into())]);
            let path = format!("/keys/{}/rotate", id(&key)?);
            client.ask(&Method::POST, &path, Some(&fields.into()))?
        }
        KeyCommand::Revoke { key } => {
            let answer = client.ask(&Method::DELETE, &format!("/keys/{}", id(&key)?), None)?;
            return ignore_broken_pipe(revoked(&answer, target.json, out));
        }
    };
    if target.json {
        return Ok(table::json(out, &answer)?);
    }
    shown(&answer, out)
}

fn revoked(answer: &Value, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    if json {
        return Ok(table::json(out, answer)?);
    }
    let (id, label) = (table::cell(&answer["id"]), table::cell(&answer["label"]));
    Ok(writeln!(out, "revoked {id} ({label})")?)
}

/// Writes the key alone on its line, for scripts; details for people go to standard error.
fn shown(answer: &Value, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "{}", answer["key"].as_str().unwrap_or_default())?;
    let until = |expires: &Value| match expires.as_str() {
        Some(expires) => format!("works until {expires}"),
        None => "does not expire".to_owned(),
    };
    let id = table::cell(&answer["id"]);
    eprintln!(
        "This key is shown only once. Its id is {id}; it {}.",
        until(&answer["expires"])
    );
    if answer["old"].is_object() {
        eprintln!(
            "The old key ({}) {}.",
            table::cell(&answer["old"]["id"]),
            until(&answer["old"]["expires"])
        );
    }
    Ok(())
}

fn list(client: &AdminClient, name: &str, json: bool, out: &mut impl Write) -> Result<(), CliError> {
    let answer = client.ask(&Method::GET, &format!("/accounts/{}/keys", escaped(name)), None)?;
    if json {
        return Ok(table::json(out, &answer)?);
    }
    let row = |key: &Value| {
        let state = if key["expired"] == true { "expired" } else { "-" };
        let cell = |field| table::cell(&key[field]);
        [
            cell("id"),
            cell("begins"),
            cell("label"),
            cell("created"),
            cell("last_used"),
            cell("expires"),
            state.to_owned(),
        ]
    };
    let rows: Vec<_> = answer["keys"].as_array().into_iter().flatten().map(row).collect();
    Ok(table::write(
        out,
        ["ID", "BEGINS", "LABEL", "CREATED", "LAST USED", "EXPIRES", "STATE"],
        &rows,
    )?)
}

/// The id of the given key.
fn id(given: &str) -> Result<KeyId, CliError> {
    let mut line = String::new();
    let named = if given == "-" {
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| CliError::Input("standard input".to_owned(), error))?;
        line.trim()
    } else {
        given
    };
    Ok(named.parse().unwrap_or_else(|_| KeyId::of(&hash(named.as_bytes()))))
}
