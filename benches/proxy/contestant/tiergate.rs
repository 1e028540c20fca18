//! tiergate. Its database with the accounts is made once for each number of accounts, and copied for each start, so that what is
//! measured is a server that has started with them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;

use super::template::filled;
use super::{Place, STARTING_MAX, free_address, write_accounts};
use crate::Result;
use crate::lab::Lab;
use crate::process::Process;
use crate::setup::{CONCURRENCY, Setup};

const TEMPLATE: &str = include_str!("../tiergate.yaml");
const CONFIG: &str = "tiergate.yaml";
/// Its data folder, below its folder.
const DATA: &str = "data";
/// The operator's token, in the data folder.
const TOKEN: &str = "admin.token";

/// How it is configured.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    durability: &'static str,
    metered: bool,
}

/// Strict durability.
pub const STRICT: Mode = Mode {
    durability: "strict",
    metered: true,
};
/// Relaxed durability.
pub const RELAXED: Mode = Mode {
    durability: "relaxed",
    metered: true,
};
/// A route that is not metered: request limits and keys only.
pub const UNMETERED: Mode = Mode {
    durability: "relaxed",
    metered: false,
};

/// Data folders with accounts, by their number.
#[derive(Debug, Default)]
pub struct Prepared(RefCell<BTreeMap<u32, PathBuf>>);

/// Starts it with the setup's accounts.
pub async fn start(place: &Place, setup: &Setup, lab: &Lab, mode: Mode) -> Result<Process> {
    let known = lab.prepared.0.borrow().get(&setup.accounts).cloned();
    let prepared = match known {
        Some(folder) => folder,
        None => {
            let folder = prepare(setup, lab).await?;
            lab.prepared.0.borrow_mut().insert(setup.accounts, folder.clone());
            folder
        }
    };
    copy_files(&prepared, &place.folder.join(DATA))?;
    serve(place, setup, lab, mode)
}

fn serve(place: &Place, setup: &Setup, lab: &Lab, mode: Mode) -> Result<Process> {
    let text = filled(
        TEMPLATE,
        &[
            ("listen", &place.listen),
            ("admin", &place.admin),
            ("upstream", &place.upstream),
            ("connections", &setup.connections),
            ("durability", &mode.durability),
            ("metered", &mode.metered),
            ("limit", &setup.limit.number()),
            ("window", &format!("{}s", setup.limit.window_s())),
            ("quota", &setup.quota),
            ("concurrency", &CONCURRENCY),
            ("slots", &setup.slots),
            ("places", &setup.places),
        ],
    )?;
    fs::write(place.folder.join(CONFIG), text)?;
    let arguments = ["serve", "--config", CONFIG];
    Process::start(lab.cores.proxy, &lab.tiergate, &arguments, &place.folder)
}

/// Imports the accounts into a new database. Returns its folder.
async fn prepare(setup: &Setup, lab: &Lab) -> Result<PathBuf> {
    let place = Place {
        folder: lab.new_folder()?,
        listen: free_address()?,
        admin: free_address()?,
        upstream: lab.backend.address(),
    };
    let mut process = serve(&place, setup, lab, RELAXED)?;
    let accounts = write_accounts(&place.folder, "accounts.csv", setup.accounts, |account| {
        let (name, (tier, _)) = (account.name(), account.tier());
        let header = if account.0 == 0 { "name,email,tier,key\n" } else { "" };
        format!("{header}{name},{name}@bot.example,{tier},{}", account.key())
    })?;
    await_token(&place.folder.join(DATA).join(TOKEN), &mut process).await?;
    let output = Command::new(&lab.tiergate)
        .args(["account", "import", "--config", CONFIG])
        .arg(&accounts)
        .current_dir(&place.folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("tiergate account import failed: {error}").into());
    }
    drop(process);
    Ok(place.folder.join(DATA))
}

/// Waits until the operator's token is there. The admin listener is there by then.
async fn await_token(token: &Path, process: &mut Process) -> Result<()> {
    let begun = Instant::now();
    while !token.exists() {
        process.ensure_running()?;
        if begun.elapsed() > STARTING_MAX {
            return Err(format!("there is no token after {STARTING_MAX:?}").into());
        }
        tokio::time::sleep(super::RETRY).await;
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
