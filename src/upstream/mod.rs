//! The worker pool: servers, connections, health, forwarding, streaming.
//!
//! Which server takes a metered job is the policy's decision (`policy::pool`), since slots change under the hall's lock. This
//! room carries it out: a connection of the core's own, the request, the answer, the timeouts.
//!
//! Invariant: an answer's last part is handed over only after the job has given back everything (semantics §6).
//!
//! Absent on purpose: statuses and bodies of refusals, who the caller is, TLS to workers.

pub mod answer;
mod connections;
pub mod exchange;
pub mod health;
pub mod pace;
pub mod upload;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
pub use connections::{Connections, idle_max};
use http::HeaderValue;

use crate::policy::rules::{PoolId, ServerId};
use crate::policy::time::Span;
use health::Health;

/// One upstream as the configuration gives it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its servers, by their places in the policy's pool, and the slots of each: none, if no more jobs are to be sent there.
    pub servers: Vec<(Arc<Server>, u32)>,
    /// The longest that a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// The longest from the slot to the end of the answer.
    pub timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

/// How a server is asked whether it is well: `GET path`, every so often, and any 2xx or 3xx is a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The path to ask.
    pub path: String,
    /// How often.
    pub every: Duration,
}

/// One server with its health. It stays the same while the configuration changes around it.
#[derive(Debug)]
pub struct Server {
    /// No other server of this process has it.
    number: u64,
    /// A name or an address, without brackets.
    host: String,
    /// A TCP port.
    port: u16,
    /// `host:port` as a `Host` header has it.
    authority: HeaderValue,
    health: Health,
}

impl Server {
    /// A server that is taken to be well. `host` is a name or an address, without brackets; `authority` is `host:port` as a
    /// `Host` header has it.
    pub fn new(host: String, port: u16, authority: HeaderValue) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            host,
            port,
            authority,
            health: Health::default(),
        })
    }

    /// Whether it is well, as those who use it have found.
    pub fn is_well(&self) -> bool {
        self.health.is_well()
    }

    /// Whether it is the server at that address.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        (self.host.as_str(), self.port) == (host, port)
    }
}

/// One upstream, shared by all cores.
#[derive(Debug)]
pub struct Upstream {
    servers: Vec<(Arc<Server>, u32)>,
    connect_timeout: Span,
    first_byte_timeout: Span,
    timeout: Span,
    idle_timeout: Span,
    /// The server that took the last unmetered request.
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream of those servers.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            servers,
            connect_timeout,
            first_byte_timeout,
            timeout,
            idle_timeout,
        } = settings;
        Self {
            servers,
            connect_timeout: connect_timeout.into(),
            first_byte_timeout: first_byte_timeout.into(),
            timeout: timeout.into(),
            idle_timeout: idle_timeout.into(),
            turn: AtomicUsize::new(0),
        }
    }

    fn server(&self, id: ServerId) -> &Arc<Server> {
        &self.servers[id.index()].0
    }

    fn slots(&self, id: ServerId) -> u32 {
        self.servers[id.index()].1
    }

    /// The server for an unmetered request: they take turns, those that are well before those that rest.
    fn next_server(&self, but: Option<ServerId>) -> Option<ServerId> {
        let count = self.servers.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = || (0..count).map(|step| (first.wrapping_add(step)) % count);
        let other = |at: &usize| self.servers[*at].1 > 0 && but.is_none_or(|but| but.index() != *at);
        let well = turns().filter(other).find(|at| self.servers[*at].0.health.is_well());
        let at = well.or_else(|| turns().find(other))?;
        Some(ServerId(
            u16::try_from(at).expect("an upstream has fewer than 65,536 servers"),
        ))
    }
}

/// All upstreams, by their places, as they are at present.
#[derive(Debug)]
pub struct Workers(ArcSwap<Vec<Arc<Upstream>>>);

impl Workers {
    /// Those.
    pub fn new(upstreams: Vec<Arc<Upstream>>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(upstreams)))
    }

    /// These from now on; to be called under the hall's lock, in the step that changes its rules. What runs goes on where it is: a
    /// server that somebody uses has its place here too.
    pub fn replace(&self, upstreams: Vec<Arc<Upstream>>) {
        self.0.store(Arc::new(upstreams));
    }

    /// The place of that server, if it has one. Who asks under the hall's lock ([`Gate::server_down`](crate::gate::Gate::server_down))
    /// knows it until the lock is free.
    pub fn place_of(&self, server: &Arc<Server>) -> Option<(PoolId, ServerId)> {
        (0..)
            .map(PoolId)
            .zip(self.0.load().iter())
            .find_map(|(pool, upstream)| {
                let mut servers = (0..).map(ServerId).zip(&upstream.servers);
                let (id, _) = servers.find(|(_, (at, _))| Arc::ptr_eq(at, server))?;
                Some((pool, id))
            })
    }

    /// The upstream at that place; `None`: it is gone.
    fn get(&self, pool: PoolId) -> Option<Arc<Upstream>> {
        self.0.load().get(pool.index()).cloned()
    }
}
