//! HAProxy.

use std::fs;
use std::path::Path;

use super::template::filled;
use super::{Place, write_accounts};
use crate::Result;
use crate::lab::Lab;
use crate::process::Process;
use crate::setup::{CONCURRENCY, Setup};

const TEMPLATE: &str = include_str!("../haproxy.cfg");

/// Starts it. `headers`: it sends what tiergate sends.
pub fn start(place: &Place, setup: &Setup, lab: &Lab, headers: bool) -> Result<Process> {
    let keys = write_accounts(&place.folder, "keys.map", setup.accounts, |account| {
        let (tier, priority) = account.tier();
        format!("{} {} {tier} {priority}", account.key(), account.name())
    })?;
    let window_s = setup.limit.window_s();
    let text = filled(
        TEMPLATE,
        &[
            ("listen", &place.listen),
            ("admin", &place.admin),
            ("upstream", &place.upstream),
            ("connections", &setup.connections),
            ("keys", &keys.display()),
            ("headers", &if headers { "yes" } else { "no" }),
            ("limit", &setup.limit.number()),
            ("window", &format!("{window_s}s")),
            ("window_s", &window_s),
            ("quota", &setup.quota),
            ("concurrency", &CONCURRENCY),
            ("slots", &setup.slots),
            ("places", &setup.places),
        ],
    )?;
    fs::write(place.folder.join("haproxy.cfg"), text)?;
    let program = Path::new("haproxy");
    Process::start(lab.cores.proxy, program, &["-db", "-f", "haproxy.cfg"], &place.folder)
}
