//! `tiergate diff`: what an edit of tiers.yaml would change, of another file or of what a door runs.
//!
//! Two files are compared here. The running door compares by itself: it knows its accounts, what its command line says
//! otherwise than its file, and the secrets that its environment holds.
//!
//! Absent on purpose: changing anything.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use hyper::body::Bytes;

use super::client::Client;
use super::table;
use super::{CliError, Target, unless_enough};
use crate::config::diff::{self, Line};
use crate::config::{Config, FILE_BYTES_MAX};

/// Where a door compares what it runs with what is sent: tiers.yaml as the body, [`Line::to_json`] as the answer.
const PATH: &str = "/config/diff";

/// Say what an edit of tiers.yaml would change.
#[derive(Debug, Args)]
pub struct Diff {
    /// Compare what the running door does with this file
    #[arg(long, value_name = "NEW", conflicts_with_all = ["old", "new"])]
    running: Option<PathBuf>,
    /// The file as it was
    #[arg(required_unless_present = "running")]
    old: Option<PathBuf>,
    /// The file as it is to be
    #[arg(required_unless_present = "running")]
    new: Option<PathBuf>,
    /// Exit with 1 if anything would change
    #[arg(long)]
    exit_code: bool,
    /// The running door's tiers.yaml, if not NEW: it says where the admin listener is and where the token lies
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "new"])]
    config: Option<PathBuf>,
    /// The data folder that the running door has, if not the one that its tiers.yaml says
    #[arg(long, value_name = "DIR", conflicts_with_all = ["old", "new"])]
    data_dir: Option<PathBuf>,
    /// Where the door's admin listener is, if neither its data folder nor its tiers.yaml says so
    #[arg(long, value_name = "HOST:PORT", value_parser = super::host_and_port, conflicts_with_all = ["old", "new"])]
    admin: Option<String>,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing would change, or the exit code is not to tell.
    Nothing,
    /// Something would change, and the exit code is to tell.
    Changes,
}

impl Diff {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.json
    }
}

/// Compares, and writes what would change to `out`, as far as somebody reads it.
///
/// # Errors
/// It was not compared, or not shown.
pub fn run(diff: Diff, out: &mut impl Write) -> Result<Found, CliError> {
    let lines = match (diff.running, diff.old, diff.new) {
        (Some(new), _, _) => {
            let target = Target {
                config: diff.config.unwrap_or_else(|| new.clone()),
                data_dir: diff.data_dir,
                admin: diff.admin,
                json: false,
            };
            ask(&new, &target)?
        }
        (None, Some(old), Some(new)) => compare(&old, &new)?,
        (None, ..) => return Err(CliError::Unfit("name two files, or --running and one".to_owned())),
    };
    unless_enough(tell(&lines, diff.json, out))?;
    Ok(if diff.exit_code && !lines.is_empty() {
        Found::Changes
    } else {
        Found::Nothing
    })
}

/// What would change if the door took over that file.
fn ask(new: &Path, target: &Target) -> Result<Vec<Line>, CliError> {
    let unreadable = |error| CliError::Input(new.display().to_string(), error);
    // One byte more than is allowed lets the door see that the file is too long.
    let mut text = Vec::new();
    let mut file = File::open(new).map_err(unreadable)?.take(FILE_BYTES_MAX as u64 + 1);
    file.read_to_end(&mut text).map_err(unreadable)?;
    let client = Client::of(target)?;
    let answer = client.send(&Method::POST, PATH, "application/yaml", Bytes::from(text))?;
    let answer = serde_json::from_slice(&answer).unwrap_or_default();
    Line::from_json(&answer).ok_or_else(|| client.no_answer("it tells of no changes"))
}

/// What would change if the one file took the other's place. Of accounts it knows those that the files list.
fn compare(old: &Path, new: &Path) -> Result<Vec<Line>, CliError> {
    let (old, new) = match Config::load_both(old, new) {
        [Ok(old), Ok(new)] => (old, new),
        [old, new] => return Err(CliError::Files(old.err().into_iter().chain(new.err()).collect())),
    };
    let (before, after) = (listed(&old), listed(&new));
    // Who had a tier that goes is touched; and a file that lists none says nothing of how many there are.
    let accounts_of = |tier: &str| after.get(tier).or(before.get(tier)).copied();
    Ok(diff::diff(&old, &new).describe(&accounts_of))
}

/// How many accounts of each tier the file lists, if any.
fn listed(config: &Config) -> HashMap<&str, usize> {
    let mut listed = HashMap::new();
    for account in &config.accounts {
        *listed.entry(&*config.rules.tier(account.tier).name).or_default() += 1;
    }
    listed
}

fn tell(lines: &[Line], is_for_programs: bool, out: &mut impl Write) -> Result<(), CliError> {
    match lines {
        _ if is_for_programs => table::json(out, &Line::to_json(lines))?,
        [] => writeln!(out, "nothing would change")?,
        lines => lines.iter().try_for_each(|line| writeln!(out, "{line}"))?,
    }
    Ok(())
}
