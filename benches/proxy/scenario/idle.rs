//! Connections that are open and do nothing.

use std::rc::Rc;

use tokio::task::JoinSet;

use crate::Result;
use crate::callers::Callers;
use crate::load::{Client, Job, Target};
use crate::setup::Setup;

/// Connections that are opened at the same time.
const AT_ONCE: u32 = 64;

/// Opens that many connections from many addresses, each of which sends one request and is kept.
pub async fn open(target: Target, connections: u32, setup: &Setup) -> Result<Vec<Client>> {
    let callers = Rc::new(Callers::first(setup, connections));
    let mut openers = JoinSet::new();
    for first in 0..AT_ONCE {
        let callers = Rc::clone(&callers);
        openers.spawn_local(async move {
            let mut kept = Vec::new();
            let mut number = first;
            while let Some(caller) = callers.next() {
                let mut client = Client::new(target, number);
                number += AT_ONCE;
                client
                    .send(&Job::search(), caller)
                    .await
                    .map_err(|error| error.to_string())?;
                kept.push(client);
            }
            Ok::<_, String>(kept)
        });
    }
    let mut all = Vec::new();
    while let Some(opened) = openers.join_next().await {
        all.extend(opened??);
    }
    Ok(all)
}
