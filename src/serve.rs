//! The composition root: the one file that names every concrete type. It reads like a request's way, from the socket to
//! the worker.
//!
//! Absent on purpose: decisions.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use http::HeaderValue;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

mod data;

use data::Data;

use crate::clock::Clock;
use crate::config::{self, Config, Origins};
use crate::gate::Gate;
use crate::http::account::OwnPaths;
use crate::http::admin::{self, Admin};
use crate::http::caller::{KeyPlaces, TrustedProxies};
use crate::http::cors;
use crate::http::door::{self, Core, Door, Route};
use crate::http::listener::{self, Bounds};
use crate::http::routes::RouteSpec;
use crate::policy::rules::{PoolId, Rules, ServerId};
use crate::policy::time::Span;
use crate::store::statistics::Statistics;
use crate::store::{Directory, KeyError, Ledger, OpenError, Pseudonyms, TokenError, journal};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::{JournalMeters, Meters};
use crate::upstream::exchange::OnHangup;
use crate::upstream::{Connections, ProbeSettings, ServerSettings, Settings, Upstream, health, idle_max};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How often the wall clock is read, and a part of the callers swept.
const TICK_EVERY: Span = Span::from_secs(1);

/// How often the histograms are folded.
const UPKEEP_EVERY: Span = Span::from_secs(5);

/// Sockets that listen: one for each core of the public listener, on one address, and the operator's.
#[derive(Debug)]
pub struct Sockets {
    public: Vec<StdListener>,
    admin: StdListener,
    addresses: (SocketAddr, SocketAddr),
}

impl Sockets {
    /// Where searches come in.
    pub fn public_address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where operators look.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }
}

/// Why the door can't be opened or served.
#[derive(Debug)]
pub enum ServeError {
    /// An address can't be listened on.
    Listen(SocketAddr, io::Error),
    /// A core's thread can't be started.
    Thread(io::Error),
    /// The journal can't be opened.
    Journal(journal::OpenError),
    /// The key under which networks are known can't be had.
    Key(KeyError),
    /// The folder of what must survive can't be made.
    Folder(PathBuf, io::Error),
    /// The statistics in this folder can't be opened.
    Statistics(PathBuf, io::Error),
    /// What callers have used can't be read back from this folder.
    History(PathBuf, io::Error),
    /// The accounts in this file can't be opened.
    Accounts(PathBuf, OpenError),
    /// There is no token for operators.
    Token(TokenError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Thread(error) => write!(f, "can't start a thread: {error}"),
            Self::Journal(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Folder(folder, error) => write!(
                f,
                "can't make the folder {} (`data_dir` in tiers.yaml): {error}{}",
                folder.display(),
                match error.kind() {
                    io::ErrorKind::AlreadyExists => ", and it is no folder",
                    _ => "",
                }
            ),
            Self::Statistics(folder, error) => {
                write!(f, "can't open the statistics in {}: {error}", folder.display())
            }
            Self::History(folder, error) => write!(
                f,
                "can't read what callers have used from the journal in {}: {error}",
                folder.display()
            ),
            Self::Token(error) => error.fmt(f),
            Self::Accounts(file, error) => write!(f, "can't open the accounts in {}: {error}", file.display()),
        }
    }
}

impl std::error::Error for ServeError {}

/// Listens on the configuration's addresses. From now on clients can connect; they are answered by [`run`].
///
/// # Errors
/// An address that can't be listened on.
pub fn bind(config: &Config) -> Result<Sockets, ServeError> {
    let admin = listen(config.admin.listen, false)?;
    let admin_address = local(&admin, config.admin.listen)?;
    // Cores share the address, and another door could share it as well, with a queue of its own, and nobody would notice.
    // So it is first taken for itself, which fails if anybody listens on it.
    let alone = listen(config.listen, false)?;
    let public_address = local(&alone, config.listen)?;
    drop(alone);
    let public = (0..cores(config))
        .map(|_| listen(public_address, true))
        .collect::<Result<_, _>>()?;
    Ok(Sockets {
        public,
        admin,
        addresses: (public_address, admin_address),
    })
}

fn cores(config: &Config) -> usize {
    config
        .cores
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn listen(address: SocketAddr, shared: bool) -> Result<StdListener, ServeError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(StdListener::from(socket))
    };
    open().map_err(|error| ServeError::Listen(address, error))
}

fn local(listener: &StdListener, asked: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|error| ServeError::Listen(asked, error))
}

/// Serves until `shutdown`; then takes no new jobs, turns away those who wait, and ends when the running ones have, at the
/// latest after `drain_timeout`. All time is told by `clock`.
///
/// # Errors
/// The door could not be opened. Nothing is served then.
pub async fn run(
    config: Config,
    sockets: Sockets,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let rules = Arc::new(config.rules.clone());
    let exposition = Arc::new(Exposition::new());
    let meters = Meters::register(&rules, exposition.recorder());
    let journal_meters = JournalMeters::register(exposition.recorder());
    let (config, data) = open_data(config, &rules, clock, journal_meters).await?;
    let Data {
        journal,
        accounts: store,
        token,
        pseudonyms,
        statistics,
        policy,
    } = data;
    let accounts = Arc::clone(store.directory());
    let ledger: Arc<dyn Ledger> = Arc::clone(&journal) as _;
    let patience = config.commit_patience.into();
    let gate = Gate::new(policy, clock, Arc::clone(&meters), ledger, patience);
    let upstreams: Vec<Arc<Upstream>> = config.upstreams.iter().map(upstream).collect();
    let settings = door_settings(&config, accounts, pseudonyms, Arc::clone(&statistics));
    let door = Arc::new(Door::new(Arc::clone(&gate), Arc::clone(&rules), meters, settings));
    let addresses = sockets.addresses;

    let mut background = tokio::task::JoinSet::new();
    for (pool, upstream) in (0..).map(PoolId).zip(&upstreams) {
        for server in 0..config.upstreams[pool.index()].servers.len() {
            let server = ServerId(u16::try_from(server).expect("the configuration bounds servers"));
            background.spawn(health::watch(Arc::clone(&gate), Arc::clone(upstream), pool, server));
        }
    }
    let admin = Arc::new(Admin {
        gate: Arc::clone(&gate),
        gauges: exposition.gauges(&rules),
        exposition: Arc::clone(&exposition),
        rules,
        store: Arc::clone(&store),
        token,
        open: AtomicBool::new(true),
    });
    let admin_listener = admin::listen(sockets.admin).map_err(|error| ServeError::Listen(addresses.1, error))?;
    background.spawn(admin::serve(admin_listener, Arc::clone(&admin)));
    let ticking = Arc::clone(&gate);
    background.spawn(async move {
        loop {
            clock.sleep(TICK_EVERY).await;
            ticking.tick();
        }
    });
    background.spawn(async move {
        loop {
            clock.sleep(UPKEEP_EVERY).await;
            exposition.upkeep();
        }
    });

    let cores = Cores::start(&config, sockets.public, &door, &upstreams, clock)?;
    tell(addresses);
    shutdown.await;

    info!(
        in_house = gate.in_house(),
        drain_timeout = ?config.drain_timeout,
        "closing: no new searches, those who wait are turned away; a second signal ends it at once"
    );
    admin.open.store(false, Ordering::Relaxed);
    gate.shut_down();
    cores.drain(&gate, config.drain_timeout.into()).await;
    background.shutdown().await;
    blocking(move || Data::close(&journal, &store)).await;
    info!("closed");
    Ok(())
}

/// What waits for a disk does so beside the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the work does not panic")
}

async fn open_data(
    config: Config,
    rules: &Arc<Rules>,
    clock: Clock,
    meters: Arc<JournalMeters>,
) -> Result<(Config, Data), ServeError> {
    let rules = Arc::clone(rules);
    blocking(move || {
        let data = Data::open(&config, &rules, clock, meters)?;
        Ok((config, data))
    })
    .await
}

fn tell((public, admin): (SocketAddr, SocketAddr)) {
    info!(%public, %admin, version = env!("CARGO_PKG_VERSION"), "the door is open");
}

/// The threads of the public listener, one a core.
struct Cores {
    closing: CancellationToken,
    broken_off: CancellationToken,
    ended: Vec<oneshot::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Cores {
    fn start(
        config: &Config,
        listeners: Vec<StdListener>,
        door: &Arc<Door>,
        upstreams: &[Arc<Upstream>],
        clock: Clock,
    ) -> Result<Self, ServeError> {
        let bounds = Bounds {
            connections: Arc::new(Semaphore::new(connections_max(config))),
            head_timeout: config.connections.head_timeout,
            send_timeout: config.connections.send_timeout.into(),
            head_max: config.connections.head_max,
            headers_max: config.connections.headers_max,
        };
        let mut cores = Self {
            closing: CancellationToken::new(),
            broken_off: CancellationToken::new(),
            ended: Vec::new(),
            threads: Vec::new(),
        };
        for (number, listener) in listeners.into_iter().enumerate() {
            let (door, upstreams, bounds) = (Arc::clone(door), upstreams.to_vec(), bounds.clone());
            let (closing, broken_off) = (cores.closing.clone(), cores.broken_off.clone());
            let (tell_ended, ended) = oneshot::channel();
            let runtime = runtime().map_err(ServeError::Thread)?;
            let body = move || {
                runtime.block_on(async {
                    let tasks = TaskTracker::new();
                    let connections = Arc::new(Connections::new(upstreams, clock, tasks.clone()));
                    let core = Arc::new(Core { door, connections });
                    let listener = TcpListener::from_std(listener).expect("it was opened to be polled");
                    tokio::select! {
                        () = listener::serve(core, listener, bounds, closing, tasks) => {}
                        () = broken_off.cancelled() => {}
                    }
                });
                // Not waiting for look-ups of names that may still be under way.
                runtime.shutdown_background();
                // Nobody listens any more if the whole door is being dropped.
                let _gone = tell_ended.send(());
            };
            let thread = std::thread::Builder::new().name(format!("core-{number}")).spawn(body);
            cores.threads.push(thread.map_err(ServeError::Thread)?);
            cores.ended.push(ended);
        }
        Ok(cores)
    }

    /// Ends when every core has ended; after `patience` what still runs is broken off.
    async fn drain(mut self, gate: &Gate, patience: Span) {
        self.closing.cancel();
        let ended = std::mem::take(&mut self.ended);
        let all = async {
            for core in ended {
                // A core that is gone without a word has ended too.
                let _ = core.await;
            }
        };
        tokio::select! {
            () = all => {}
            () = gate.clock().sleep(patience) => {
                // Before they are: afterwards there is nobody left to be counted.
                warn!(in_house = gate.in_house(), "drain_timeout is over, searches are broken off");
            }
        }
        self.broken_off.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a core's thread panicked");
            }
        }
    }
}

/// A door that is dropped before it was drained leaves no thread behind.
impl Drop for Cores {
    fn drop(&mut self) {
        self.closing.cancel();
        self.broken_off.cancel();
    }
}

/// Descriptors beside connections: listeners, event queues, the operator's connections, probes, the standard ones.
const DESCRIPTORS_BESIDE: usize = 512;

/// How many connections clients may have: as configured, or as many as there are descriptors for after those that workers
/// need. Raises the process's limit as far as it goes.
fn connections_max(config: &Config) -> usize {
    let servers = || config.upstreams.iter().flat_map(|upstream| &upstream.servers);
    let kept: usize = servers().map(|server| idle_max(server.slots)).sum();
    let used: usize = servers().map(|server| server.slots as usize).sum();
    let beside = kept * cores(config) + used + config.connections.unmetered_max + DESCRIPTORS_BESIDE;
    let wanted = config.connections.max.saturating_add(beside);
    let allowed = raise_descriptors(wanted);
    if allowed >= wanted {
        return config.connections.max;
    }
    let max = allowed
        .saturating_sub(beside)
        .max(allowed / 4)
        .clamp(1, config.connections.max);
    warn!(
        descriptors = allowed,
        wanted, max, "too few descriptors for connections.max: raise the limit (ulimit -n, LimitNOFILE)"
    );
    max
}

/// Raises the limit of open descriptors to `wanted`, or as far as it may go. What it is then.
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

fn upstream(config: &config::Upstream) -> Arc<Upstream> {
    let server = |server: &config::Server| ServerSettings {
        host: server.host.clone(),
        port: server.port,
        authority: HeaderValue::from_str(&server.authority()).expect("the configuration lets through only hosts"),
        slots: server.slots,
    };
    Arc::new(Upstream::new(Settings {
        servers: config.servers.iter().map(server).collect(),
        connect_timeout: config.connect_timeout,
        first_byte_timeout: config.first_byte_timeout,
        timeout: config.timeout,
        idle_timeout: config.idle_timeout,
        probe: config.health.as_ref().map(|health| ProbeSettings {
            path: health.path.clone(),
            every: health.every,
        }),
    }))
}

fn door_settings(
    config: &Config,
    accounts: Arc<Directory>,
    pseudonyms: Pseudonyms,
    statistics: Arc<Statistics>,
) -> door::Settings {
    let cors = config.cors.as_ref().map(|cors| {
        let origins = match &cors.origins {
            Origins::Any => None,
            Origins::List(origins) => Some(origins.clone()),
        };
        cors::layer(origins, cors.max_age)
    });
    door::Settings {
        routes: config.routes.iter().map(route).collect(),
        keys: KeyPlaces::new(
            config.keys.headers.clone(),
            config.keys.bearer,
            config.keys.query.clone(),
        ),
        trusted_proxies: TrustedProxies::new(config.trusted_proxies.clone()),
        accounts,
        pseudonyms,
        cors,
        own_paths: OwnPaths {
            me: config.paths.me.clone(),
            stats: config.paths.stats.clone(),
        },
        statistics,
        unmetered_max: config.connections.unmetered_max,
        head_max: config.connections.head_max,
    }
}

fn route(config: &config::Route) -> (RouteSpec, Route) {
    let spec = RouteSpec {
        host: config.host.clone(),
        pattern: config.pattern.clone(),
        methods: config.methods.clone(),
        metered: config.metered,
    };
    let route = Route {
        pool: config.upstream,
        metered: config.metered,
        max_body: config.max_body,
        max_wait: config.max_wait.map(Span::from),
        success: config.success.as_slice().into(),
        cost: config.cost,
        on_hangup: match config.on_hangup {
            config::OnHangup::Finish => OnHangup::Finish,
            config::OnHangup::Cancel => OnHangup::Cancel,
        },
    };
    (spec, route)
}
