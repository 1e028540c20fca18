//! The operator's listener: metrics, health, who is in the house, the accounts, and what is said of networks. Never public.
//!
//! `pages` is what one looks at, `config` the configuration, `account_list` and `account_use` show accounts and what they have
//! used, `accounts`, `keys` and `networks` what one changes, `import` reads
//! accounts from elsewhere,
//! `operator` is who asks, `wire` is how accounts and keys look in JSON, `limits` how numbers for request limits do, `times` how points and lengths of
//! time are written, `problem` how an error looks.
//!
//! `/metrics`, `/healthz` and `/readyz` are for monitors and open to whoever reaches the listener; everything else wants the
//! operator's token, and is 401 without it, whether there is such a path or not.
//!
//! Absent on purpose: sessions, cookies and roles. Who has the token may do everything.

mod account_list;
mod account_use;
mod accounts;
pub mod config;
mod import;
mod keys;
mod limits;
mod networks;
mod operator;
mod pages;
mod problem;
mod sent;
mod times;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::util::MapRequest;
use tracing::debug;

use self::config::{Desk, Running};
use self::operator::Peer;
use self::problem::Problem;
use super::limits::Limits;
use super::listener::ACCEPT_PAUSE;
use super::patience::{Patience, Patient};
use super::site::Site;
use crate::gate::Gate;
use crate::policy::rules::Rules;
use crate::policy::time::Span;
use crate::store::{AccountStore, AdminToken, ChangeError};
use crate::telemetry::exposition::Exposition;

/// Connections of operators and scrapers at once.
pub const CONNECTIONS_MAX: usize = 256;

/// The longest that a request's head may take.
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The longest that a client may take nothing of its answer. `/metrics` is answered to whoever reaches the listener, and who
/// never reads would keep a place for ever.
const SEND_TIMEOUT: Span = Span::from_secs(30);

/// The longest that a request's body may take.
const BODY_TIMEOUT: Span = Span::from_secs(30);

/// Bytes of a configuration that is compared with the one that runs: as many as a file may have.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// What the operator's listener shows.
#[derive(Debug)]
pub struct Admin {
    /// The hall.
    pub gate: Arc<Gate>,
    /// The door, as it is at present.
    pub site: Arc<ArcSwap<Site>>,
    /// Who has an account, and what is said of networks.
    pub store: Arc<AccountStore>,
    /// What an operator must show, as it is at present.
    pub token: Arc<ArcSwap<AdminToken>>,
    /// The configuration that runs.
    pub running: Arc<ArcSwap<Running>>,
    /// Where it is exchanged.
    pub desk: Desk,
    /// The metrics.
    pub exposition: Arc<Exposition>,
    /// Whether the door is open.
    pub open: AtomicBool,
}

impl Admin {
    /// By what is decided at present.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.gate.generation().rules)
    }

    /// The request limits, as they are at present.
    fn limits(&self) -> Arc<Limits> {
        Arc::clone(self.site.load().limits())
    }
}

/// Serves operators for as long as it is polled.
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
                debug!(%error, "no connection");
                admin.gate.clock().sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let stream = Patient::new(stream, Patience::new(*admin.gate.clock(), SEND_TIMEOUT));
        let service = MapRequest::new(router.clone(), move |mut request: http::Request<_>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            request
        });
        let service = TowerToHyperService::new(service);
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                debug!(%error, "an operator's connection broke off");
            }
            drop(place);
        });
    }
}

fn router(admin: Arc<Admin>) -> Router {
    let open = Router::new()
        .route("/metrics", get(pages::metrics))
        .route("/healthz", get(pages::healthz))
        .route("/readyz", get(pages::readyz));
    let guarded = Router::new()
        .route("/queue", get(pages::queue))
        .route("/config", get(config::show))
        .route("/config/diff", post(config::compare))
        .route("/reload", post(config::reload))
        .route("/accounts", get(account_list::list).post(accounts::add))
        .route(
            "/accounts/import",
            post(import::import).layer(Extension(import::Turn::default())),
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
        .layer(from_fn_with_state(Arc::clone(&admin), guard));
    open.merge(guarded).with_state(admin)
}

/// Lets pass who shows the token.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Result<Response, Problem> {
    let presented = request.headers().get(header::AUTHORIZATION);
    let token = presented.and_then(|value| super::caller::bearer(value));
    if token.is_some_and(|token| admin.token.load().is(token.trim_ascii())) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::unauthorized())
    }
}

/// What waits for a disk does so beside the runtime's thread.
async fn on_disk<T: Send + 'static>(
    admin: &Arc<Admin>,
    work: impl FnOnce(&AccountStore) -> T + Send + 'static,
) -> Result<T, Problem> {
    let store = Arc::clone(&admin.store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.map_err(|_| Problem::from(ChangeError::Unavailable("the work broke off".to_owned())))
}

/// An operator's listener is an ordinary one.
///
/// # Errors
/// The system's.
pub fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
