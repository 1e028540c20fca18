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

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
pub use connections::{Connections, idle_max};
use http::HeaderValue;
use parking_lot::Mutex;

use crate::policy::rules::{ServerId, UpstreamId};
use health::Health;

/// One upstream as the configuration gives it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its servers, and the slots of each.
    pub servers: Vec<(ServerId, Arc<Server>, u32)>,
    /// The longest that a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest from the end of the request to the head of the answer.
    pub first_byte_timeout: Duration,
    /// The longest from the slot to the end of the answer.
    pub timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

impl Settings {
    fn server(&self, id: ServerId) -> Option<Arc<Server>> {
        let mut servers = self.servers.iter();
        servers
            .find(|(of, ..)| *of == id)
            .map(|(_, server, _)| Arc::clone(server))
    }
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

/// One upstream, shared by all cores. It stays the same while its settings change; whoever may still send it something holds it.
#[derive(Debug)]
pub struct Upstream {
    id: UpstreamId,
    settings: ArcSwap<Settings>,
    /// Servers that it no longer has and on which jobs run, or ran when that was last looked for.
    gone: Mutex<HashMap<ServerId, Arc<Server>>>,
    /// Counts unmetered requests: its servers take turns.
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream with those settings.
    pub fn new(id: UpstreamId, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            id,
            settings: ArcSwap::from_pointee(settings),
            gone: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// As the policy knows it.
    pub fn id(&self) -> UpstreamId {
        self.id
    }

    /// Other settings from now on. To be called before the policy gives out slots of new servers; servers that are gone are still
    /// found until [`Self::forget_gone`].
    pub fn change_to(&self, settings: Settings) {
        let before = self.settings.load_full();
        let mut gone = self.gone.lock();
        gone.extend(before.servers.iter().map(|(id, server, _)| (*id, Arc::clone(server))));
        for (id, ..) in &settings.servers {
            gone.remove(id);
        }
        self.settings.store(Arc::new(settings));
    }

    /// Forgets servers that it no longer has and that nothing runs on. To be called after the policy has heard that they are gone:
    /// it gives out no more of their slots then.
    pub fn forget_gone(&self, mut is_used: impl FnMut(ServerId) -> bool) {
        self.gone.lock().retain(|id, _| is_used(*id));
    }

    /// The server of that id, if it has one or had one that is not forgotten.
    pub fn server(&self, id: ServerId) -> Option<Arc<Server>> {
        let listed = || self.settings.load().server(id);
        listed().or_else(|| {
            // It may come back at this moment: then it is in the one or in the other while this is locked.
            let gone = self.gone.lock();
            gone.get(&id).cloned().or_else(listed)
        })
    }

    /// Unused connections that a core keeps to the server: none, if the upstream no longer has it.
    fn idle_max(&self, server: &Arc<Server>) -> usize {
        let settings = self.settings.load();
        let mut servers = settings.servers.iter();
        servers
            .find(|(_, of, _)| Arc::ptr_eq(of, server))
            .map_or(0, |(_, _, slots)| idle_max(*slots))
    }

    /// The server for an unmetered request: they take turns, those that are well before those that rest.
    fn next_server(&self, but: Option<&Arc<Server>>) -> Option<Arc<Server>> {
        let settings = self.settings.load();
        let count = settings.servers.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..count).map(|step| &settings.servers[first.wrapping_add(step) % count].1);
        let mut others = turns.filter(|server| but.is_none_or(|but| !Arc::ptr_eq(but, server)));
        let well = others.clone().find(|server| server.health.is_well());
        well.or_else(|| others.next()).cloned()
    }
}
