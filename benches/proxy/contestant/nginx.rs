//! nginx.

use std::fs;
use std::path::Path;

use super::template::filled;
use super::{Place, write_accounts};
use crate::Result;
use crate::lab::Lab;
use crate::process::Process;
use crate::setup::{CONCURRENCY, Limit, Setup};

const TEMPLATE: &str = include_str!("../nginx.conf");

/// Starts it, a master and one worker.
pub fn start(place: &Place, setup: &Setup, lab: &Lab) -> Result<Process> {
    let keys = write_accounts(&place.folder, "keys.map", setup.accounts, |account| {
        format!("{} {};", account.key(), account.name())
    })?;
    let (rate, burst) = match setup.limit {
        Limit::Ample => ("1000000r/s", " burst=1000000 nodelay"),
        // It has no longer windows.
        Limit::One => ("1r/m", ""),
    };
    let text = filled(
        TEMPLATE,
        &[
            ("listen", &place.listen),
            ("admin", &place.admin),
            ("upstream", &place.upstream),
            ("folder", &place.folder.display()),
            ("descriptors", &(setup.connections + setup.connections.min(2_000) + 64)),
            ("keys", &keys.display()),
            ("rate", &rate),
            ("burst", &burst),
            ("concurrency", &CONCURRENCY),
            ("slots", &setup.slots),
        ],
    )?;
    let file = place.folder.join("nginx.conf");
    fs::write(&file, text)?;
    let (folder, file) = (place.folder.to_string_lossy(), file.to_string_lossy());
    let arguments = ["-e", "stderr", "-p", &folder, "-c", &file];
    Process::start(lab.cores.proxy, Path::new("nginx"), &arguments, &place.folder)
}
