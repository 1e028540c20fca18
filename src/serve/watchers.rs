//! Who watches over the servers to which jobs are sent: a task for each.
//!
//! Absent on purpose: how a server is found well or not (`upstream::health`).

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::places::Places;
use crate::gate::Gate;
use crate::policy::rules::{PoolId, ServerId};
use crate::upstream::{ProbeSettings, Server, health};

/// The tasks, by the places of their servers. Dropped, they end.
#[derive(Debug)]
pub(super) struct Watchers {
    gate: Arc<Gate>,
    tasks: HashMap<(PoolId, ServerId), Watcher>,
}

#[derive(Debug)]
struct Watcher {
    server: Arc<Server>,
    probe: Option<ProbeSettings>,
    task: AbortHandle,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watchers {
    /// Nobody watches as yet.
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        let tasks = HashMap::new();
        Self { gate, tasks }
    }

    /// Watches over the servers at those places. Who watches over the same server in the same way goes on.
    pub(super) fn watch(&mut self, places: &Places) {
        let mut before = std::mem::take(&mut self.tasks);
        for (pool, id, server, probe) in places.watched() {
            let goes_on = before
                .remove(&(pool, id))
                .filter(|watcher| Arc::ptr_eq(&watcher.server, server) && watcher.probe == probe);
            let watcher = goes_on.unwrap_or_else(|| self.start(pool, id, server, probe));
            self.tasks.insert((pool, id), watcher);
        }
    }

    fn start(&self, pool: PoolId, id: ServerId, server: &Arc<Server>, probe: Option<ProbeSettings>) -> Watcher {
        // Who had the place before may have left it as that of a server that is down.
        if server.is_well() {
            self.gate.server_up(pool, id);
        }
        let watching = health::watch(Arc::clone(&self.gate), Arc::clone(server), probe.clone(), pool, id);
        Watcher {
            server: Arc::clone(server),
            probe,
            task: tokio::spawn(watching).abort_handle(),
        }
    }
}
