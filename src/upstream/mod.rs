//! Upstream servers: connections, health, forwarding, streaming.
//!
//! The policy chooses the server of a metered job (`policy::pool`), since slots change under the gate's lock. This module does
//! the rest: a connection of the thread's own, the request, the answer, the timeouts.
//!
//! Invariant: an answer's last part is handed over only after the job has released everything (rules §6).
//!
//! There is no TLS to upstream servers.

pub mod answer;
mod connections;
pub mod exchange;
mod failures;
pub mod health;
pub mod request_body;
pub mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
pub use connections::{Connections, idle_max};
pub use failures::LastFailure;
use http::HeaderValue;
use parking_lot::Mutex;

use crate::policy::refusal::Refusal;
use crate::policy::rules::{ServerId, UpstreamId};
use crate::policy::time::{Span, Timestamp};
use health::Health;

/// One configured upstream.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Its servers, and the slots of each.
    pub servers: Vec<(ServerId, Arc<UpstreamServer>, u32)>,
    /// The longest time for connecting.
    pub connect_timeout: Duration,
    /// The longest time from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// The longest time from the slot to the end of the answer.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

impl UpstreamSettings {
    fn server(&self, id: ServerId) -> Option<Arc<UpstreamServer>> {
        let mut servers = self.servers.iter();
        servers
            .find(|(of, ..)| *of == id)
            .map(|(_, server, _)| Arc::clone(server))
    }
}

/// How a server is probed: `GET path` at an interval; any 2xx or 3xx is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The probe path.
    pub path: String,
    /// The interval.
    pub every: Duration,
}

/// One server with its health. It outlives reloads of the configuration.
#[derive(Debug)]
pub struct UpstreamServer {
    /// Unique in this process.
    number: u64,
    /// A name or an address, without brackets.
    host: String,
    /// A TCP port.
    port: u16,
    /// `host:port` as a `Host` header has it.
    authority: HeaderValue,
    health: Health,
    /// Whether an operator has drained it: it gets no unmetered requests either.
    drained: AtomicBool,
}

impl UpstreamServer {
    /// A server that is assumed to be healthy. `host` is a name or an address, without brackets; `authority` is `host:port` as a
    /// `Host` header has it.
    pub fn new(host: String, port: u16, authority: HeaderValue) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            host,
            port,
            authority,
            health: Health::default(),
            drained: AtomicBool::new(false),
        })
    }

    /// Whether it is up, as requests and probes have found.
    pub fn is_healthy(&self) -> bool {
        self.health.is_healthy()
    }

    /// Why it is down, if it is.
    pub fn why_down(&self) -> Option<String> {
        self.health.why_down()
    }

    /// Its name in tiers.yaml and logs: `host:port`.
    pub fn name(&self) -> &str {
        self.authority.to_str().unwrap_or("?")
    }

    /// Whether it is the server at that address.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        (self.host.as_str(), self.port) == (host, port)
    }
}

/// One upstream, shared by all threads. It stays the same while its settings change, and lives as long as a request may use it.
#[derive(Debug)]
pub struct Upstream {
    id: UpstreamId,
    settings: ArcSwap<UpstreamSettings>,
    /// Removed servers with running jobs, as of the last check.
    gone: Mutex<HashMap<ServerId, Arc<UpstreamServer>>>,
    /// Round robin for unmetered requests.
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream with those settings.
    pub fn new(id: UpstreamId, settings: UpstreamSettings) -> Arc<Self> {
        Arc::new(Self {
            id,
            settings: ArcSwap::from_pointee(settings),
            gone: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Its id in the policy.
    pub fn id(&self) -> UpstreamId {
        self.id
    }

    /// Changes the settings. Call it before the policy gives out slots of new servers; removed servers are still found until
    /// [`Self::forget_gone`].
    pub fn change_to(&self, settings: UpstreamSettings) {
        let before = self.settings.load_full();
        let mut gone = self.gone.lock();
        gone.extend(before.servers.iter().map(|(id, server, _)| (*id, Arc::clone(server))));
        for (id, ..) in &settings.servers {
            gone.remove(id);
        }
        self.settings.store(Arc::new(settings));
    }

    /// Forgets removed servers without running jobs. Call it after the policy has been told that they are removed: then it gives
    /// out no more of their slots.
    pub fn forget_gone(&self, mut is_used: impl FnMut(ServerId) -> bool) {
        self.gone.lock().retain(|id, _| is_used(*id));
    }

    /// The server with that id, if the upstream has it or had it and has not forgotten it.
    pub fn server(&self, id: ServerId) -> Option<Arc<UpstreamServer>> {
        let listed = || self.settings.load().server(id);
        listed().or_else(|| {
            // It may come back at this moment: then it is in the one or in the other while this is locked.
            let gone = self.gone.lock();
            gone.get(&id).cloned().or_else(listed)
        })
    }

    /// The servers that the upstream has now.
    pub fn servers(&self) -> Vec<(ServerId, Arc<UpstreamServer>)> {
        let settings = self.settings.load();
        let servers = settings.servers.iter();
        servers.map(|(id, server, _)| (*id, Arc::clone(server))).collect()
    }

    /// If all servers are down: how long it is until the first of them is probed, at least a second.
    fn until_probe(&self, now: Timestamp) -> Option<Span> {
        let settings = self.settings.load();
        let servers = settings.servers.iter().map(|(_, server, _)| &server.health);
        if servers.clone().any(Health::is_healthy) {
            return None;
        }
        let first = servers.map(|health| health.until_probe(now)).min()?;
        Some(first.max(health::PROBE_DELAY_MIN))
    }

    /// The refusal of a request for which no server could be reached.
    fn unreachable(&self, now: Timestamp) -> Refusal {
        let retry_after = self.until_probe(now);
        Refusal::UpstreamUnreachable { retry_after }
    }

    /// Idle connections that a thread keeps to the server: none if the upstream no longer has it.
    fn idle_max(&self, server: &Arc<UpstreamServer>) -> usize {
        let settings = self.settings.load();
        let mut servers = settings.servers.iter();
        servers
            .find(|(_, of, _)| Arc::ptr_eq(of, server))
            .map_or(0, |(_, _, slots)| idle_max(*slots))
    }

    /// Drains servers or takes them back: those for whose names the function says which.
    pub fn set_drained(&self, drained: impl Fn(&str) -> Option<bool>) {
        for (_, server, _) in &self.settings.load().servers {
            if let Some(drained) = drained(server.name()) {
                server.drained.store(drained, Ordering::Relaxed);
            }
        }
    }

    /// The server for an unmetered request: round robin, servers that are up first, and none that is drained.
    fn next_server(&self, but: Option<&Arc<UpstreamServer>>) -> Option<Arc<UpstreamServer>> {
        let settings = self.settings.load();
        let count = settings.servers.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..count).map(|step| &settings.servers[first.wrapping_add(step) % count].1);
        let may = |server: &&Arc<UpstreamServer>| !server.drained.load(Ordering::Relaxed);
        let mut others = turns.filter(|server| may(server) && but.is_none_or(|but| !Arc::ptr_eq(but, server)));
        let healthy = others.clone().find(|server| server.health.is_healthy());
        healthy.or_else(|| others.next()).cloned()
    }
}
