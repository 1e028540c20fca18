//! The admin listener: metrics, health, the gate state, accounts and networks. It must never be public.
//!
//! - `pages`: health and the queue; `scrape`: metrics; `quota_shares`: a count for them
//! - `status`: all of it at a glance
//! - `servers`: upstream servers, and draining them; `controls`: pausing, stopping and cancelling
//! - `refusals`: the last refusals; `audit`: the audit log
//! - `page`: the operator's page; `session`: its sessions
//! - `config`: the configuration
//! - `account_list`, `account_use`: accounts and their usage; `callers`: all callers that use most
//! - `accounts`, `keys`, `networks`: changes
//! - `import`: accounts from elsewhere
//! - `hosts`: for which hosts it answers; `operator`: the origin of a request
//! - `wire`: accounts and keys in JSON; `limits`: numbers for request limits; `times`: times and durations
//! - `problem`: errors
//!
//! `/metrics`, `/healthz` and `/readyz` are for monitoring and need no token. Everything else requires the operator token and
//! answers 401 without it, whether the path exists or not, but for the operator's page and its log-in; and 421 for a host that isn't the listener's, which a monitor may ask for.
//!
//! There are no roles: the token permits everything, and so does a session of the operator's page, which began with the token.

mod account_list;
mod account_use;
mod accounts;
mod active;
mod audit;
mod callers;
pub mod config;
mod controls;
mod hosts;
mod import;
mod keys;
mod limits;
mod networks;
mod operator;
mod page;
mod pages;
mod problem;
pub mod quota_shares;
mod refusals;
mod scrape;
mod sent;
mod servers;
mod session;
mod status;
mod times;
mod wire;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::util::MapRequest;
use tracing::{debug, warn};

use self::config::{ConfigRequestSender, Running};
use self::hosts::LocalAddress;
use self::operator::Peer;
use self::problem::Problem;
use self::quota_shares::QuotaShares;
pub use self::session::Sessions;
use super::limits::Limits;
use super::listener::ACCEPT_PAUSE;
use super::patience::{Patience, Patient};
use super::recent::RecentRefusals;
use super::site::Site;
use super::status::Feed;
use crate::gate::Gate;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, Timestamp};
use crate::store::statistics::RefusalCounts;
use crate::store::{AccountStore, AdminToken, ChangeError, Database, DrainedServers};
use crate::telemetry::connections::ConnectionMeters;
use crate::telemetry::exposition::Exposition;

/// The most connections of operators and scrapers at once.
pub const CONNECTIONS_MAX: usize = 256;

/// The longest time for reading a request's head.
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// How long a client may read nothing of its answer. `/metrics` needs no token, and a client that never reads would keep its
/// connection for ever.
const SEND_TIMEOUT: Span = Span::from_secs(30);

/// The longest time for reading a request's body.
const BODY_TIMEOUT: Span = Span::from_secs(30);

/// The most bytes of a configuration to compare: as many as a file may have.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// The state behind the admin listener.
#[derive(Debug)]
pub struct Admin {
    /// The gate.
    pub gate: Arc<Gate>,
    /// The active site.
    pub site: Arc<ArcSwap<Site>>,
    /// Accounts and networks.
    pub store: Arc<AccountStore>,
    /// The database.
    pub database: Arc<Database>,
    /// Drained upstream servers.
    pub drained: Arc<DrainedServers>,
    /// Counts of refusals.
    pub refusals: Arc<RefusalCounts>,
    /// The last refusals.
    pub recent: Arc<RecentRefusals>,
    /// When the server was started.
    pub started: Timestamp,
    /// The active operator token.
    pub token: Arc<ArcSwap<AdminToken>>,
    /// The sessions of the operator's page.
    pub sessions: Sessions,
    /// The active configuration.
    pub running: Arc<ArcSwap<Running>>,
    /// The channel to the reload task.
    pub config_requests: ConfigRequestSender,
    /// The metrics.
    pub exposition: Arc<Exposition>,
    /// The status page's viewers.
    pub status: Arc<Feed>,
    /// Connections of both listeners.
    pub connections: Arc<ConnectionMeters>,
    /// Accounts that have used most of a quota.
    pub quota_shares: QuotaShares,
    /// Whether the proxy accepts requests.
    pub open: AtomicBool,
}

impl Admin {
    /// The active rules.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.gate.generation().rules)
    }

    /// The active request limits.
    fn limits(&self) -> Arc<Limits> {
        Arc::clone(self.site.load().limits())
    }
}

/// Serves the admin listener for as long as it is polled.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let router = router(Arc::clone(&admin));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if admin.connections.admin.accept_failed(admin.gate.clock().now()) {
                    warn!(%error, "accepting connections of operators fails; they wait in the system's backlog");
                }
                admin.gate.clock().sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Unspecified if the connection is broken already.
        let local = stream
            .local_addr()
            .map_or(Ipv4Addr::UNSPECIFIED.into(), |local| local.ip());
        let stream = Patient::new(stream, Patience::new(*admin.gate.clock(), SEND_TIMEOUT));
        let counted = Arc::new(admin.connections.admin.opened());
        let service = MapRequest::new(router.clone(), move |mut request: http::Request<_>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            request.extensions_mut().insert(LocalAddress(local));
            request.extensions_mut().insert(Arc::clone(&counted));
            request
        });
        let service = TowerToHyperService::new(service);
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "operator connection failed");
            }
            drop(place);
        });
    }
}

fn router(admin: Arc<Admin>) -> Router {
    let open = Router::new()
        .route("/metrics", get(scrape::metrics))
        .route("/healthz", get(pages::healthz))
        .route("/readyz", get(pages::readyz));
    let guarded = Router::new()
        .route("/status", get(status::show))
        .route("/traffic", get(page::traffic))
        .route("/queue", get(pages::queue))
        .route("/queue/{job}", delete(controls::cancel))
        .route("/dispatch/pause", post(controls::pause))
        .route("/dispatch/resume", post(controls::resume))
        .route("/admission/stop", post(controls::stop))
        .route("/admission/start", post(controls::start))
        .route("/servers", get(servers::list))
        .route(
            "/servers/{upstream}/{server}/drain",
            post(servers::drain).delete(servers::undrain),
        )
        .route("/refusals", get(refusals::list))
        .route(
            "/callers",
            get(callers::list).layer(Extension(callers::LastReport::default())),
        )
        .route("/audit", get(audit::list))
        .route("/config", get(config::show))
        .route("/config/diff", post(config::compare))
        .route("/reload", post(config::reload))
        .route("/accounts", get(account_list::list).post(accounts::add))
        .route(
            "/accounts/import",
            post(import::import).layer(Extension(import::ImportLock::default())),
        )
        .route("/accounts/export", get(accounts::export))
        .route(
            "/accounts/{name}",
            get(account_use::show).patch(accounts::change).delete(accounts::remove),
        )
        .route("/accounts/{name}/keys", get(keys::list).post(keys::add))
        .route("/keys/{id}", delete(keys::revoke))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route("/networks", get(networks::list))
        .route(
            "/networks/{network}",
            get(networks::show).patch(networks::change).delete(networks::remove),
        )
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::not_found())
        .layer(from_fn_with_state(Arc::clone(&admin), session::guard))
        .layer(from_fn_with_state(Arc::clone(&admin), hosts::check));
    let page = page::router().layer(from_fn_with_state(Arc::clone(&admin), hosts::check));
    let counted = open.merge(page).merge(guarded).layer(from_fn(active::count));
    counted.with_state(admin)
}

/// Runs blocking disk work beside the runtime's thread.
async fn on_disk<T: Send + 'static>(
    admin: &Arc<Admin>,
    work: impl FnOnce(&AccountStore) -> T + Send + 'static,
) -> Result<T, Problem> {
    let store = Arc::clone(&admin.store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.map_err(|_| {
        Problem::from(ChangeError::Unavailable(
            "the task failed; see tiergate's log".to_owned(),
        ))
    })
}

/// Makes a standard listener usable on this runtime.
///
/// # Errors
/// I/O errors of the system.
pub fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
