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

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use connections::{Connections, idle_max};
use http::HeaderValue;

use crate::policy::rules::ServerId;
use crate::policy::time::Span;
use health::Health;

/// One upstream as the configuration gives it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its servers, in the order of the policy's pool.
    pub servers: Vec<ServerSettings>,
    /// The longest that a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// The longest from the slot to the end of the answer.
    pub timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How its servers are asked whether they are well.
    pub probe: Option<ProbeSettings>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// A name or an address, without brackets.
    pub host: String,
    /// A TCP port.
    pub port: u16,
    /// `host:port` as a `Host` header has it.
    pub authority: HeaderValue,
    /// Jobs that it takes at once; also the unused connections that a core keeps to it.
    pub slots: u32,
}

/// How a server is asked whether it is well: `GET path`, every so often, and any 2xx or 3xx is a yes.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The path to ask.
    pub path: String,
    /// How often.
    pub every: Duration,
}

/// One upstream, shared by all cores.
#[derive(Debug)]
pub struct Upstream {
    servers: Vec<Server>,
    connect_timeout: Span,
    first_byte_timeout: Span,
    timeout: Span,
    idle_timeout: Span,
    probe: Option<ProbeSettings>,
    /// The server that took the last unmetered request.
    turn: AtomicUsize,
}

/// One server with its health.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    health: Health,
}

impl Upstream {
    /// An upstream whose servers are all taken to be well.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            servers,
            connect_timeout,
            first_byte_timeout,
            timeout,
            idle_timeout,
            probe,
        } = settings;
        let servers = servers.into_iter().map(|settings| Server {
            settings,
            health: Health::default(),
        });
        Self {
            servers: servers.collect(),
            connect_timeout: connect_timeout.into(),
            first_byte_timeout: first_byte_timeout.into(),
            timeout: timeout.into(),
            idle_timeout: idle_timeout.into(),
            probe,
            turn: AtomicUsize::new(0),
        }
    }

    /// The server for an unmetered request: they take turns, those that are well before those that rest.
    fn next_server(&self, but: Option<ServerId>) -> Option<ServerId> {
        let count = self.servers.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = || (0..count).map(|step| (first.wrapping_add(step)) % count);
        let other = |at: &usize| but.is_none_or(|but| but.index() != *at);
        let well = turns().filter(other).find(|at| self.servers[*at].health.is_well());
        let at = well.or_else(|| turns().find(other))?;
        Some(ServerId(
            u16::try_from(at).expect("an upstream has fewer than 65,536 servers"),
        ))
    }
}
