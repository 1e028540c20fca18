//! Health checks of upstream servers, one task per server.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::upstreams::Upstreams;
use crate::gate::Gate;
use crate::policy::rules::{ServerId, UpstreamId};
use crate::upstream::{ProbeSettings, UpstreamServer, health};

/// The tasks, by server id. Dropping it ends them.
#[derive(Debug)]
pub(super) struct HealthTasks {
    gate: Arc<Gate>,
    tasks: HashMap<(UpstreamId, ServerId), HealthTask>,
}

#[derive(Debug)]
struct HealthTask {
    server: Arc<UpstreamServer>,
    probe: Option<ProbeSettings>,
    task: AbortHandle,
}

impl Drop for HealthTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthTasks {
    /// Starts without tasks.
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        let tasks = HashMap::new();
        Self { gate, tasks }
    }

    /// Runs a task for each server of those upstreams. A task for the same server and probe keeps running.
    pub(super) fn watch(&mut self, upstreams: &Upstreams) {
        let mut before = std::mem::take(&mut self.tasks);
        for (id, server, probe) in upstreams.watched() {
            let goes_on = before
                .remove(&id)
                .filter(|health_task| Arc::ptr_eq(&health_task.server, server) && health_task.probe == probe);
            let health_task = goes_on.unwrap_or_else(|| self.start(id, server, probe));
            self.tasks.insert(id, health_task);
        }
    }

    fn start(
        &self,
        id: (UpstreamId, ServerId),
        server: &Arc<UpstreamServer>,
        probe: Option<ProbeSettings>,
    ) -> HealthTask {
        // A server that was removed while it was down, and is listed again, gets another try.
        if server.is_healthy() {
            self.gate.server_up(id.0, id.1);
        }
        let watching = health::watch(Arc::clone(&self.gate), id, Arc::clone(server), probe.clone());
        HealthTask {
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
    use crate::gate::Generation;
    use crate::policy::caller::{Caller, Network, NetworkId};
    use crate::policy::rules::TierId;
    use crate::policy::time::{Span, Timestamp};
    use crate::policy::{AdmissionRequest, Policy, RequestBody, WaitLimits};
    use crate::store::memory::MemoryLedger;
    use crate::telemetry::upstreams::ServerFailure;

    /// An address without a listener, reserved while the socket lives.
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

    /// Regression: the task of a removed server marked down whichever server had taken its place, and took that upstream's slots;
    /// or there was no such place, and it panicked. Ids are never reused.
    #[tokio::test(start_paused = true)]
    async fn a_watcher_of_a_server_that_is_gone_says_nothing_of_others() {
        let (_socket, at) = nobody();
        for after in [&["a"][..], &["a", "c"]] {
            let (before, after) = (config(&["a", "b"], at), config(after, at));
            let mut upstreams = Upstreams::default();
            let begun = Generation::unobserved(Arc::new(upstreams.apply(&before).expect("few names")));
            let policy = Policy::new(Arc::clone(&begun.rules));
            let gate = Gate::new(policy, begun, Clock::start(), Arc::new(MemoryLedger::default()));
            let mut health_tasks = HealthTasks::new(Arc::clone(&gate));
            health_tasks.watch(&upstreams);
            tokio::task::yield_now().await;
            let next = Generation::unobserved(Arc::new(upstreams.apply(&after).expect("few names")));
            assert!(gate.reload(next, || {}).filling.is_none());
            // Long enough for every probe to fail as often as it takes.
            gate.clock().sleep(Span::from_secs(20)).await;
            assert!(
                health_tasks
                    .tasks
                    .values()
                    .all(|health_task| !health_task.task.is_finished())
            );
            let slots: Vec<u32> = gate.view().pools.iter().map(|pool| pool.0).collect();
            assert_eq!(slots, [&[0][..], &[0, 2]][after.upstreams.len() - 1]);
        }
    }

    /// Down at 3 s, after three failed probes; then probed at 4, 6, 10, 18, 34 s.
    #[tokio::test(start_paused = true)]
    async fn retry_after_follows_the_probes_of_a_dead_server() {
        let (_socket, at) = nobody();
        let mut config = config(&["a"], at);
        config.rules.queue.length = 0;
        let mut upstreams = Upstreams::default();
        let generation = Generation::unobserved(Arc::new(upstreams.apply(&config).expect("few names")));
        let policy = Policy::new(Arc::clone(&generation.rules));
        let ledger = Arc::new(MemoryLedger::default());
        let gate = Gate::new(policy, Arc::clone(&generation), Clock::start(), ledger);
        let mut health_tasks = HealthTasks::new(Arc::clone(&gate));
        health_tasks.watch(&upstreams);
        for (second, next_probe) in [(5, 6), (7, 10), (11, 18), (19, 34)] {
            gate.clock()
                .sleep_until(Timestamp::ZERO + Span::from_secs(second))
                .await;
            let refusal = gate.enter(&generation, &anyone()).expect("it is the present one");
            let after = refusal.err().and_then(|refusal| refusal.retry_after());
            let after = after.expect("the queue has no places").as_secs_f64();
            // And half a second for a slot, spread by up to a quarter and a second.
            let least = (next_probe - second) as f64 + 0.49;
            assert!(
                (least..=least * 1.25 + 1.1).contains(&after),
                "at {second} s: {after} s"
            );
        }
        assert!(!gate.has_server_up());
        let upstream = upstreams.at(UpstreamId(0));
        let failures = upstream.servers()[0].1.failures()[ServerFailure::Probe as usize];
        assert_eq!(failures.count, 3 + 4, "probes until now");
    }

    fn anyone() -> AdmissionRequest {
        AdmissionRequest {
            caller: Caller::Network(NetworkId(1)),
            from: Network::of(Ipv4Addr::LOCALHOST.into()),
            tier: TierId(0),
            own: None,
            delegate: None,
            cost: 1,
            pool: UpstreamId(0),
            body: RequestBody::Complete,
            waits: WaitLimits::default(),
        }
    }
}
