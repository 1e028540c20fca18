//! The threads of the public listener, and the limit of its connections.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::ServeError;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::Gate;
use crate::http::listener;
use crate::http::site::Site;
use crate::http::way::Core;
use crate::policy::time::Span;
use crate::upstream::{Connections, idle_max};

pub(super) fn cores(config: &Config) -> usize {
    config
        .cores
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The threads of the public listener, one per core.
pub(super) struct ListenerThreads {
    closing: CancellationToken,
    abort: CancellationToken,
    ended: Vec<oneshot::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl ListenerThreads {
    pub(super) fn start(
        listeners: Vec<StdListener>,
        site: &Arc<ArcSwap<Site>>,
        clock: Clock,
    ) -> Result<Self, ServeError> {
        let mut cores = Self {
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
            ended: Vec::new(),
            threads: Vec::new(),
        };
        for (number, listener) in listeners.into_iter().enumerate() {
            let site = Arc::clone(site);
            let (closing, abort) = (cores.closing.clone(), cores.abort.clone());
            let (send_ended, ended) = oneshot::channel();
            let runtime = runtime().map_err(ServeError::Thread)?;
            let body = move || {
                runtime.block_on(async {
                    let tasks = TaskTracker::new();
                    let connections = Arc::new(Connections::new(clock, tasks.clone()));
                    let core = Arc::new(Core { site, connections });
                    let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
                    tokio::select! {
                        () = listener::serve(core, listener, closing, tasks) => {}
                        () = abort.cancelled() => {}
                    }
                });
                // Don't wait for pending DNS lookups.
                runtime.shutdown_background();
                // Fails if the receiver was dropped with the server.
                let _gone = send_ended.send(());
            };
            let thread = std::thread::Builder::new().name(format!("core-{number}")).spawn(body);
            cores.threads.push(thread.map_err(ServeError::Thread)?);
            cores.ended.push(ended);
        }
        Ok(cores)
    }

    /// Waits until every core has ended; after `patience` it aborts what still runs.
    pub(super) async fn drain(mut self, gate: &Gate, patience: Span) {
        self.closing.cancel();
        let ended = std::mem::take(&mut self.ended);
        let all = async {
            for core in ended {
                // A core that panicked has ended too.
                let _ = core.await;
            }
        };
        tokio::select! {
            () = all => {}
            () = gate.clock().sleep(patience) => {
                // Count before aborting: afterwards nothing is in flight.
                warn!(in_flight = gate.in_flight(), "drain_timeout elapsed; aborting running jobs");
            }
        }
        self.abort.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("listener thread panicked");
            }
        }
    }
}

/// A server dropped before it was drained leaves no thread behind.
impl Drop for ListenerThreads {
    fn drop(&mut self) {
        self.closing.cancel();
        self.abort.cancel();
    }
}

/// Descriptors for anything but connections: listeners, event queues, the admin listener's connections, probes, stdio.
const OTHER_DESCRIPTORS: usize = 512;

/// The limit of client connections: as configured, or as many as the descriptors allow beside those for upstream servers. Raises
/// the process's limit as far as allowed.
pub(super) fn connections_max(config: &Config) -> usize {
    let servers = || config.upstreams.iter().flat_map(|upstream| &upstream.servers);
    let kept: usize = servers().map(|server| idle_max(server.slots)).sum();
    let used: usize = servers().map(|server| server.slots as usize).sum();
    let others = kept * cores(config) + used + config.connections.unmetered_max + OTHER_DESCRIPTORS;
    let wanted = config.connections.max.saturating_add(others);
    let allowed = raise_descriptors(wanted);
    if allowed >= wanted {
        return config.connections.max;
    }
    let max = allowed
        .saturating_sub(others)
        .max(allowed / 4)
        .clamp(1, config.connections.max);
    warn!(
        descriptors = allowed,
        wanted, max, "too few file descriptors for connections.max; raise the limit (ulimit -n, LimitNOFILE)"
    );
    max
}

/// Raises the limit of open descriptors to `wanted`, or as far as allowed, and returns it.
fn raise_descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let raised = (wanted as u64).min(hard);
    let now = if soft >= raised {
        soft
    } else {
        let asked = Rlimit {
            current: Some(raised),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, asked).is_ok() {
            raised
        } else {
            soft
        }
    };
    usize::try_from(now).unwrap_or(usize::MAX)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
