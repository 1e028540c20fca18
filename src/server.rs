//! The composition root: the one module that names every concrete type. It makes no decisions.

mod access_logs;
mod clock_steps;
pub mod config_watch;
mod data_dir;
mod error;
mod health_tasks;
mod reload;
mod settings;
mod statistics;
mod threads;
mod upstreams;

use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};

use self::access_logs::AccessLogs;
use self::config_watch::Saved;
use self::data_dir::{Opened, record_admin_address};
pub use self::error::ServeError;
pub use self::reload::hang_ups;
use self::reload::{Parts, Reloader};
use self::settings::{body_bounds, site};
use self::statistics::{minute_of, note_each_minute, note_refusals};
use self::threads::{ListenerThreads, connections_max, cores};
use self::upstreams::Upstreams;
use crate::clock::Clock;
use crate::config::diff::DiffLine;
use crate::config::{self, Config, Overrides};
use crate::gate::{Gate, Generation, Limiter, ResizableSemaphore, upstreams};
use crate::http::account::Pages;
use crate::http::admin::config::{CONFIG_REQUESTS_MAX, ConfigLoad, ConfigRequest, Json, Running};
use crate::http::admin::quota_shares::{QuotaShares, count_each_minute};
use crate::http::admin::{self, Admin, Sessions};
use crate::http::recent::RecentRefusals;
use crate::http::status::{self, Feed};
use crate::policy::rules::Rules;
use crate::policy::time::{Timestamp, UnixTime};
use crate::store::statistics::RefusalCounts;
use crate::store::{AccountStore, AccountView, Database, DrainedServers, Ledger, OldData, Pseudonyms};
use crate::telemetry::access_log::DroppedLines;
use crate::telemetry::connections::ConnectionMeters;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::traces::Traces;
use crate::telemetry::{ConfigMeters, DatabaseMeters, Meters};
use crate::upload::{SPOOL_FOLDER, SpoolDir, UploadBudget};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listening sockets: one per core for the public listener, all on one address, and one for the admin listener.
#[derive(Debug)]
pub struct Sockets {
    public: Vec<StdListener>,
    admin: StdListener,
    addresses: (SocketAddr, SocketAddr),
}

impl Sockets {
    /// Address of the public listener.
    pub fn public_address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }
}

/// Listens on the configuration's addresses. Clients can connect from now on; [`run`] serves them.
///
/// # Errors
/// The server can't listen on an address.
pub fn bind(config: &Config) -> Result<Sockets, ServeError> {
    let admin = listen(config.admin.listen, false)?;
    let admin_address = local(&admin, config.admin.listen)?;
    // The threads share the address by SO_REUSEPORT. So could a second tiergate, unnoticed, with a queue of its own: bind
    // exclusively first, which fails if the address is in use.
    let exclusive = listen(config.listen, false)?;
    let public_address = local(&exclusive, config.listen)?;
    drop(exclusive);
    let public = (0..cores(config))
        .map(|_| listen(public_address, true))
        .collect::<Result<_, _>>()?;
    Ok(Sockets {
        public,
        admin,
        addresses: (public_address, admin_address),
    })
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

/// The file that a configuration was read from, for reloads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Its content when it was read.
    pub seen: Saved,
    /// Overrides from the command line.
    pub overrides: Overrides,
}

impl Source {
    /// The file's name in messages.
    pub fn name(&self) -> String {
        self.file.display().to_string()
    }
}

/// Serves until `shutdown`. Then it rejects new and queued jobs, and returns when the running ones have ended, at the latest
/// after `drain_timeout`. All time comes from `clock`. Changes of `source` are reloaded when saved, and at each of the
/// `hang_ups`, including those received before the call.
///
/// # Errors
/// The server could not start, and has served nothing; or a background task failed, and it has shut down.
pub async fn run(
    config: Config,
    source: Option<Source>,
    hang_ups: Option<Signal>,
    sockets: Sockets,
    old_data: OldData,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let parts = open(config, source, old_data, clock).await?;
    let (services, config, site) = (
        Arc::clone(&parts.services),
        Arc::clone(&parts.config),
        Arc::clone(&parts.site),
    );
    let Sockets {
        public,
        admin: admin_socket,
        addresses: (public_address, admin_address),
    } = sockets;

    let (admin, received) = admin(&parts);
    let mut background = JoinSet::new();
    let listener = admin::listen(admin_socket).map_err(|error| ServeError::Listen(admin_address, error))?;
    background.spawn(admin::serve(listener, Arc::clone(&admin)));
    background.spawn(Reloader::new(parts).follow(hang_ups, received));
    background.spawn(note_each_minute(
        Arc::clone(&services.refusals),
        Arc::clone(&services.gate),
        Arc::clone(&services.database) as _,
    ));
    background.spawn(clock_steps::tick(Arc::clone(&services)));
    background.spawn(status::produce(Arc::clone(&services.status)));
    background.spawn(count_each_minute(Arc::clone(&admin)));
    let threads = ListenerThreads::start(public, &site, clock)?;

    let data_dir = config.load().data_dir.clone();
    blocking(move || record_admin_address(&data_dir, admin_address)).await;
    let version = env!("CARGO_PKG_VERSION");
    info!(public = %public_address, admin = %admin_address, version, "listening");
    warn_of_admin(admin_address);
    let ended = until(shutdown, &mut background).await;
    if let Err(error) = &ended {
        error!(%error, "background task failed; shutting down");
    }
    shut_down(&services, &config.load_full(), &admin, threads, background, clock).await;
    ended
}

/// The admin API's state, and the channel for its requests to the reload task.
fn admin(parts: &Parts) -> (Arc<Admin>, mpsc::Receiver<ConfigRequest>) {
    let services = &parts.services;
    let (config_requests, received) = mpsc::channel(CONFIG_REQUESTS_MAX);
    let admin = Admin {
        gate: Arc::clone(&services.gate),
        site: Arc::clone(&parts.site),
        exposition: Arc::clone(&services.exposition),
        status: Arc::clone(&services.status),
        connections: Arc::clone(&services.connection_meters),
        quota_shares: QuotaShares::default(),
        store: Arc::clone(&services.store),
        database: Arc::clone(&services.database),
        drained: Arc::clone(&services.drained),
        refusals: Arc::clone(&services.refusals),
        recent: Arc::clone(&services.recent),
        started: services.started,
        token: Arc::clone(&parts.token),
        sessions: Sessions::default(),
        running: Arc::clone(&parts.running),
        config_requests,
        open: AtomicBool::new(true),
    };
    (Arc::new(admin), received)
}

/// Drains running jobs, at most for `drain_timeout`, then writes what is left to write and releases the data folder.
async fn shut_down(
    services: &Arc<Services>,
    config: &Config,
    admin: &Admin,
    threads: ListenerThreads,
    mut background: JoinSet<()>,
    clock: Clock,
) {
    let (gate, drain_timeout) = (&services.gate, config.drain_timeout);
    info!(
        in_flight = gate.in_flight(),
        ?drain_timeout,
        "shutting down: rejecting queued requests, draining running ones; a second signal exits immediately"
    );
    admin.open.store(false, Ordering::Relaxed);
    services.status.close();
    gate.shut_down();
    threads.drain(gate, drain_timeout.into()).await;
    background.shutdown().await;
    note_refusals(&services.refusals, minute_of(clock.wall()), gate, &*services.database);
    let (data_dir, services) = (config.data_dir.clone(), Arc::clone(services));
    blocking(move || {
        services.access_logs.close();
        if let Some(traces) = &services.traces {
            traces.close();
        }
        Opened::close(&data_dir, &services.database);
    })
    .await;
    info!("stopped");
}

/// Sets up everything that serving needs.
async fn open(config: Config, source: Option<Source>, old_data: OldData, clock: Clock) -> Result<Parts, ServeError> {
    let exposition = Arc::new(Exposition::new());
    let mut upstreams = Upstreams::default();
    let rules = upstreams
        .apply(&config)
        .expect("a file has fewer names than there are ids");
    let rules = Arc::new(rules);
    let database_meters = DatabaseMeters::register(exposition.recorder());
    let (config, opened) = open_data_dir(config, &rules, clock, database_meters, old_data).await?;
    let Opened {
        database,
        accounts: store,
        drained,
        token,
        pseudonyms,
        policy,
    } = opened;
    let accounts = Arc::new(AccountView::of(store.directory()));
    let generation = generation(&config, rules, accounts, &exposition);
    let meters = ConfigMeters::register(exposition.recorder(), clock.wall());
    let ledger: Arc<dyn Ledger> = Arc::clone(&database) as _;
    let access_logs = AccessLogs::open(&config, DroppedLines::register(exposition.recorder()), clock)?;
    let traces = Traces::from_environment(exposition.recorder(), clock);
    let gate = Gate::new(policy, Arc::clone(&generation), clock, ledger);
    let refusals = Arc::new(RefusalCounts::new());
    let services = Arc::new(Services {
        status: Feed::new(Arc::clone(&gate), Arc::clone(&database), Arc::clone(&refusals)),
        gate,
        limiter: Limiter::new(Arc::clone(&generation.rules), clock),
        store,
        pages: Pages::new(Arc::clone(&database)),
        database,
        pseudonyms,
        refusals,
        recent: Arc::default(),
        drained,
        started: clock.now(),
        uploads: UploadBudget::new(body_bounds(&config)),
        spool: SpoolDir::new(config.data_dir.join(SPOOL_FOLDER)),
        unmetered: ResizableSemaphore::new(config.connections.unmetered_max),
        connections: ResizableSemaphore::new(connections_max(&config)),
        connection_meters: Arc::new(ConnectionMeters::register(exposition.recorder())),
        exposition,
        access_logs,
        traces,
    });
    drain(&services, &upstreams);
    services.status.bound_viewers(connections_max(&config));
    Ok(Parts {
        site: Arc::new(ArcSwap::from_pointee(site(&config, &services, &upstreams, &generation))),
        token: Arc::new(ArcSwap::from_pointee(token)),
        running: Arc::new(ArcSwap::from_pointee(initial(source.as_ref(), clock.wall()))),
        config: Arc::new(ArcSwap::from_pointee(config)),
        services,
        source,
        upstreams,
        meters,
    })
}

/// Waits for `shutdown`, or for a background task to end. Each runs as long as the server, so one that ends has panicked, and a
/// reload may be half done.
async fn until(shutdown: impl Future<Output = ()>, background: &mut JoinSet<()>) -> Result<(), ServeError> {
    tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = background.join_next() => Err(ServeError::Broken(match ended {
            Ok(()) => "it ended on its own".to_owned(),
            Err(broken) => broken.to_string(),
        })),
    }
}

/// The initial configuration, as the admin API shows it.
fn initial(source: Option<&Source>, at: UnixTime) -> Running {
    let seen = source.and_then(|source| Some((source, source.seen.as_ref().ok()?)));
    Running {
        name: source.map_or_else(|| "no file: a preset".to_owned(), Source::name),
        since: at,
        document: seen.map_or(Json::Null, |(_, bytes)| config::document(bytes)),
        lint: seen.map_or(Json::Null, |(source, bytes)| {
            config::warnings(&source.file, &source.name(), bytes)
        }),
        restart: DiffLine::to_json(&[]),
        last: ConfigLoad {
            at,
            result: "started",
            changes: DiffLine::to_json(&[]),
            wrong: Json::Null,
        },
    }
}

/// Drains the servers that were drained when the last process ended.
fn drain(services: &Services, upstreams: &Upstreams) {
    upstreams.set_drained(&services.drained);
    for (server, _) in services.drained.all() {
        warn!(%server, "upstream server is drained: it gets no requests until `tiergate server undrain`");
        services.gate.drain(server);
    }
}

/// Warns of an admin listener that other machines may reach.
fn warn_of_admin(address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        warn!(admin = %address, "admin listener is not on a loopback address: other machines may reach it; it must never be public");
    }
}

/// State that outlives configurations.
#[derive(Debug)]
struct Services {
    gate: Arc<Gate>,
    limiter: Arc<Limiter>,
    store: Arc<AccountStore>,
    database: Arc<Database>,
    pseudonyms: Pseudonyms,
    pages: Arc<Pages>,
    status: Arc<Feed>,
    refusals: Arc<RefusalCounts>,
    recent: Arc<RecentRefusals>,
    drained: Arc<DrainedServers>,
    started: Timestamp,
    /// Room for the bodies of metered requests.
    uploads: Arc<UploadBudget>,
    spool: SpoolDir,
    /// Unmetered requests in flight.
    unmetered: Arc<ResizableSemaphore>,
    /// Open connections.
    connections: Arc<ResizableSemaphore>,
    connection_meters: Arc<ConnectionMeters>,
    exposition: Arc<Exposition>,
    access_logs: AccessLogs,
    traces: Option<Traces>,
}

fn generation(
    config: &Config,
    rules: Arc<Rules>,
    accounts: Arc<AccountView>,
    exposition: &Exposition,
) -> Arc<Generation> {
    let meters = Meters::register(&rules, exposition.recorder());
    // Drop the series of past generations.
    exposition.retire_unused();
    Arc::new(Generation {
        accounts,
        meters,
        upstreams: upstreams(&rules),
        rules,
        commit_patience: config.commit_patience.into(),
        clock_step_max: config.clock_step_max.into(),
    })
}

/// Runs blocking work, such as disk I/O, off the runtime's threads. A panic in it propagates.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work)
        .await
        .map_err(JoinError::try_into_panic)
    {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime shuts down, and cancels this future too.
        Err(Err(_cancelled)) => std::future::pending().await,
    }
}

/// Work panicked. The panic message goes to standard error only: it may quote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskPanicked;

impl fmt::Display for TaskPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("internal error; see tiergate's standard error for details")
    }
}

/// Like [`blocking`], for work that changes nothing: a panic becomes an error.
///
/// # Errors
/// The work panicked.
async fn attempt<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TaskPanicked> {
    tokio::task::spawn_blocking(work).await.map_err(|_broken| TaskPanicked)
}

async fn open_data_dir(
    config: Config,
    rules: &Arc<Rules>,
    clock: Clock,
    meters: Arc<DatabaseMeters>,
    old_data: OldData,
) -> Result<(Config, Opened), ServeError> {
    let rules = Arc::clone(rules);
    blocking(move || {
        let opened = Opened::open(&config, &rules, clock, meters, old_data)?;
        Ok((config, opened))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: the reload task could panic unnoticed, and no file was reloaded ever again.
    #[tokio::test]
    async fn a_failed_task_shuts_the_server_down_with_its_error() {
        let mut background = JoinSet::new();
        background.spawn(std::future::pending());
        assert!(until(async {}, &mut background).await.is_ok());
        background.spawn(async { blocking(|| panic!("no such tier")).await });
        let ended = until(std::future::pending(), &mut background).await;
        let error = ended.expect_err("it panicked").to_string();
        assert!(error.contains("no such tier"), "{error}");
    }

    #[tokio::test]
    async fn a_panic_becomes_a_fault_without_its_text() {
        assert_eq!(attempt(|| 5).await, Ok(5));
        let broken: Result<(), TaskPanicked> = attempt(|| panic!("no such line: token")).await;
        assert_eq!(broken, Err(TaskPanicked));
        assert!(!TaskPanicked.to_string().contains("token"));
    }
}
