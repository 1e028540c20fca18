//! Who watches over the servers to which jobs are sent: a task for each.
//!
//! Absent on purpose: how a server is found well or not (`upstream::health`).

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::places::Places;
use crate::gate::Gate;
use crate::policy::rules::{PoolId, ServerId};
use crate::upstream::{ProbeSettings, Server, Workers, health};

/// The tasks, by the places of their servers. Dropped, they end.
#[derive(Debug)]
pub(super) struct Watchers {
    gate: Arc<Gate>,
    workers: Arc<Workers>,
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
    pub(super) fn new(gate: Arc<Gate>, workers: Arc<Workers>) -> Self {
        let tasks = HashMap::new();
        Self { gate, workers, tasks }
    }

    /// Watches over the servers at those places. Who watches over the same server in the same way goes on.
    pub(super) fn watch(&mut self, places: &Places) {
        let mut before = std::mem::take(&mut self.tasks);
        for (pool, id, server, probe) in places.watched() {
            let goes_on = before
                .remove(&(pool, id))
                .filter(|watcher| Arc::ptr_eq(&watcher.server, server) && watcher.probe == probe);
            let watcher = goes_on.unwrap_or_else(|| self.start(server, probe));
            self.tasks.insert((pool, id), watcher);
        }
    }

    fn start(&self, server: &Arc<Server>, probe: Option<ProbeSettings>) -> Watcher {
        // Who had the place before may have left it as that of a server that is down.
        if server.is_well() {
            self.gate.server_up(|| self.workers.place_of(server));
        }
        let (gate, workers) = (Arc::clone(&self.gate), Arc::clone(&self.workers));
        let watching = health::watch(gate, workers, Arc::clone(server), probe.clone());
        Watcher {
            server: Arc::clone(server),
            probe,
            task: tokio::spawn(watching).abort_handle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::gate::{Generation, Occupied};
    use crate::policy::Policy;
    use crate::policy::time::Span;
    use crate::store::memory::MemoryLedger;

    /// An address at which nobody listens, and that nobody else is given while the socket lives.
    fn nobody() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("loopback has free ports");
        let address = socket.local_addr().expect("it is bound").as_socket();
        (socket, address.expect("an address of IPv4"))
    }

    fn config(upstreams: &[&str], at: SocketAddr) -> Config {
        let upstream = |name: &&str| {
            format!(
                "  {name}: {{ servers: [ {{ url: \"http://{at}\", slots: 2 }} ], health: {{ path: /, every: 1s }} }}\n"
            )
        };
        let upstreams: String = upstreams.iter().map(upstream).collect();
        let yaml = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nqueue: {{ length: 8 }}\ntiers:\n  free: {{ priority: 0, \
             concurrency: 1 }}\nanonymous: free\nupstreams:\n{upstreams}routes:\n  - {{ path: /search, upstream: a, metered: true \
             }}\n"
        );
        Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
    }

    /// The bug: a watcher said of a place that its server was down. A reload gives places to others before it has told the watchers
    /// of before to go: the one took the slots of another upstream's server away, or there was no such place, and it panicked.
    #[tokio::test(start_paused = true)]
    async fn who_watches_over_a_server_that_is_gone_says_nothing_of_who_has_its_place() {
        let (_socket, at) = nobody();
        for after in [&["a"][..], &["a", "c"]] {
            let (before, after) = (config(&["a", "b"], at), config(after, at));
            let places = Places::default().arrange(&before, &Occupied::default());
            let generation = |places: &Places, config| Generation::unobserved(Arc::new(places.rules(config)));
            let begun = generation(&places, &before);
            let policy = Policy::new(Arc::clone(&begun.rules));
            let gate = Gate::new(policy, begun, Clock::start(), Arc::new(MemoryLedger::default()));
            let workers = Workers::new(places.upstreams());
            let mut watchers = Watchers::new(Arc::clone(&gate), Arc::clone(&workers));
            watchers.watch(&places);
            // They begin.
            tokio::task::yield_now().await;
            let places = places.arrange(&after, &Occupied::default());
            let swapped = gate.reload(generation(&places, &after), |_| {
                workers.replace(places.upstreams());
                true
            });
            assert!(swapped.is_ok());
            // Until each has asked its server in vain as often as it takes.
            gate.clock().sleep(Span::from_secs(20)).await;
            assert!(watchers.tasks.values().all(|watcher| !watcher.task.is_finished()));
            let slots: Vec<u32> = gate.view().pools.iter().map(|(slots, _)| *slots).collect();
            assert_eq!(slots, [&[0][..], &[0, 2]][after.upstreams.len() - 1]);
        }
    }
}
