//! `tiergate diff`: what an edit of tiers.yaml would change, compared with another file or with the running configuration.
//!
//! Two files are compared here. The running server compares by itself: it knows its accounts, the overrides of its command line,
//! and the secrets in its environment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use hyper::body::Bytes;

use super::client::{AdminClient, escaped};
use super::table;
use super::{CliError, ServerTarget, ignore_broken_pipe};
use crate::config::diff::{self, DiffLine};
use crate::config::{Config, FILE_BYTES_MAX};

/// The server's endpoint: tiers.yaml as the body, its name in messages as the query, [`DiffLine::to_json`] as the answer.
const PATH: &str = "/config/diff";

/// Show what an edit of tiers.yaml would change.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate diff --running tiers.yaml")]
pub struct DiffArgs {
    /// Compare the running configuration with this file
    #[arg(long, value_name = "NEW", conflicts_with_all = ["old", "new"])]
    running: Option<PathBuf>,
    /// The old file
    #[arg(required_unless_present = "running")]
    old: Option<PathBuf>,
    /// The new file
    #[arg(required_unless_present = "running")]
    new: Option<PathBuf>,
    /// Exit with 1 if anything would change
    #[arg(long)]
    exit_code: bool,
    /// Path to the running server's tiers.yaml, if not NEW; it names the admin listener and the token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "new"])]
    config: Option<PathBuf>,
    /// Data folder of the running server, if not the one that its tiers.yaml names
    #[arg(long, value_name = "DIR", conflicts_with_all = ["old", "new"])]
    data_dir: Option<PathBuf>,
    /// Address of the server's admin listener, if neither its data folder nor its tiers.yaml has it
    #[arg(long, value_name = "HOST:PORT", value_parser = super::host_and_port, conflicts_with_all = ["old", "new"])]
    admin: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffOutcome {
    /// Nothing would change, or --exit-code was not given.
    Nothing,
    /// Something would change, and --exit-code was given.
    Changes,
}

impl DiffArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.json
    }
}

/// Compares, and writes what would change to `out`.
///
/// # Errors
/// The comparison failed, or its output can't be written.
pub fn run(diff: DiffArgs, out: &mut impl Write) -> Result<DiffOutcome, CliError> {
    let lines = match (diff.running, diff.old, diff.new) {
        (Some(new), _, _) => {
            let target = ServerTarget {
                config: diff.config.unwrap_or_else(|| new.clone()),
                data_dir: diff.data_dir,
                admin: diff.admin,
                json: false,
            };
            ask(&new, &target)?
        }
        (None, Some(old), Some(new)) => compare(&old, &new)?,
        (None, ..) => return Err(CliError::Unfit("give two files, or --running and one".to_owned())),
    };
    ignore_broken_pipe(tell(&lines, diff.json, out))?;
    Ok(if diff.exit_code && !lines.is_empty() {
        DiffOutcome::Changes
    } else {
        DiffOutcome::Nothing
    })
}

/// What would change if the running server loaded that file.
fn ask(new: &Path, target: &ServerTarget) -> Result<Vec<DiffLine>, CliError> {
    let unreadable = |error| CliError::Input(new.display().to_string(), error);
    // One byte over the limit, so the server sees that the file is too long.
    let mut text = Vec::new();
    let mut file = File::open(new).map_err(unreadable)?.take(FILE_BYTES_MAX as u64 + 1);
    file.read_to_end(&mut text).map_err(unreadable)?;
    let client = AdminClient::of(target)?;
    let path = format!("{PATH}?name={}", escaped(&new.display().to_string()));
    let answer = client.send(&Method::POST, &path, "application/yaml", Bytes::from(text))?;
    let answer = serde_json::from_slice(&answer).unwrap_or_default();
    DiffLine::from_json(&answer).ok_or_else(|| client.no_answer("it has no `changes`"))
}

/// What would change from the old file to the new one. Only accounts listed in the files are counted.
fn compare(old: &Path, new: &Path) -> Result<Vec<DiffLine>, CliError> {
    let (old, new) = match Config::load_both(old, new) {
        [Ok(old), Ok(new)] => (old, new),
        [old, new] => return Err(CliError::Files(old.err().into_iter().chain(new.err()).collect())),
    };
    let (before, after) = (listed(&old), listed(&new));
    // A removed tier affects the accounts listed in it before. A file without listed accounts gives no number.
    let accounts_of = |tier: &str| after.get(tier).or(before.get(tier)).copied();
    Ok(diff::diff(&old, &new).describe(&accounts_of))
}

/// The number of listed accounts per tier.
fn listed(config: &Config) -> HashMap<&str, usize> {
    let mut listed = HashMap::new();
    for account in &config.accounts {
        *listed.entry(&*config.rules.tier(account.tier).name).or_default() += 1;
    }
    listed
}

fn tell(lines: &[DiffLine], wants_json: bool, out: &mut impl Write) -> Result<(), CliError> {
    match lines {
        _ if wants_json => table::json(out, &DiffLine::to_json(lines))?,
        [] => writeln!(out, "nothing would change")?,
        lines => lines.iter().try_for_each(|line| writeln!(out, "{line}"))?,
    }
    Ok(())
}
