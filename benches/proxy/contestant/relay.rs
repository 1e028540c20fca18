//! The bare relay on hyper (`hyper_relay.rs`).

use super::Place;
use crate::Result;
use crate::lab::Lab;
use crate::process::Process;

/// Starts it.
pub fn start(place: &Place, lab: &Lab) -> Result<Process> {
    let (listen, upstream) = (place.listen.to_string(), place.upstream.to_string());
    Process::start(lab.cores.proxy, &lab.relay, &[&listen, &upstream], &place.folder)
}
