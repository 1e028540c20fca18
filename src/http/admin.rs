//! The operator's listener: metrics, health, and who is in the house. Never public.
//!
//! Absent on purpose: keys. Callers are shown by account name or network.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use super::listener::ACCEPT_PAUSE;
use crate::gate::{Gate, JobView};
use crate::policy::State as JobState;
use crate::policy::caller::Caller;
use crate::policy::rules::Rules;
use crate::policy::time::Span;
use crate::store::Directory;
use crate::telemetry::exposition::{Exposition, Gauges, Levels};

/// Connections of operators and scrapers at once.
pub const CONNECTIONS_MAX: usize = 256;

/// The longest that a request's head may take.
const HEAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What the operator's listener shows.
#[derive(Debug)]
pub struct Admin {
    /// The hall.
    pub gate: Arc<Gate>,
    /// The names of tiers and pools.
    pub rules: Arc<Rules>,
    /// The names of accounts.
    pub accounts: Arc<Directory>,
    /// The metrics.
    pub exposition: Arc<Exposition>,
    /// Those that are read when somebody asks.
    pub gauges: Gauges,
    /// Whether the door is open.
    pub open: AtomicBool,
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
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "no connection");
                admin.gate.clock().sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
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
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/queue", get(queue))
        .with_state(admin)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let view = admin.gate.view();
    let levels = Levels {
        seats: view.seats,
        waiting: view.waiting,
        pools: view.pools,
    };
    let page = admin.exposition.render(&admin.gauges, &levels);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
}

/// Whether the program runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the door takes requests: not any more once it is closing.
async fn readyz(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.open.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    }
}

/// `GET /queue`: who waits and who runs.
#[derive(Debug, Serialize)]
struct QueuePage {
    seats: u32,
    waiting: Vec<JobLine>,
    running: Vec<JobLine>,
    pools: Vec<PoolLine>,
}

#[derive(Debug, Serialize)]
struct PoolLine {
    upstream: String,
    slots: u32,
    running: u32,
}

#[derive(Debug, Serialize)]
struct JobLine {
    /// An account's name, or a network.
    caller: String,
    tier: String,
    priority: u8,
    upstream: String,
    /// `uploading` or `waiting`; `running`, `moving` (from a server that could not be reached) or `ending`.
    state: &'static str,
    /// Seconds in the house, without those on the slot that it holds.
    waited_s: f64,
    /// Seconds since the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    running_s: Option<f64>,
}

async fn queue(State(admin): State<Arc<Admin>>) -> Json<QueuePage> {
    let mut view = admin.gate.view();
    // The highest priority first, then who has been here longest: in `fifo` as they are served.
    view.jobs
        .sort_by_key(|job| (std::cmp::Reverse(job.priority), std::cmp::Reverse(job.in_house)));
    let waits = |job: &&JobView| matches!(job.state, JobState::Uploading | JobState::Waiting);
    let line = |job: &JobView| admin.line(job);
    Json(QueuePage {
        seats: view.seats,
        waiting: view.jobs.iter().filter(waits).map(line).collect(),
        running: view.jobs.iter().filter(|job| !waits(job)).map(line).collect(),
        pools: admin
            .rules
            .pools
            .iter()
            .zip(&view.pools)
            .map(|(pool, (slots, running))| PoolLine {
                upstream: pool.name.clone(),
                slots: *slots,
                running: *running,
            })
            .collect(),
    })
}

impl Admin {
    fn line(&self, job: &JobView) -> JobLine {
        let caller = match job.caller {
            Caller::Account(id) | Caller::User { of: id, .. } => self
                .accounts
                .get(id)
                .map_or_else(|| "?".to_owned(), |account| account.name.clone()),
            Caller::Network(_) => job.from.to_string(),
        };
        let seconds = |span: Span| (span.as_secs_f64() * 1e3).round() / 1e3;
        let running = job.running.unwrap_or(Span::ZERO);
        JobLine {
            caller,
            tier: self.rules.tier(job.tier).name.to_string(),
            priority: job.priority.get(),
            upstream: self.rules.pools[job.pool.index()].name.clone(),
            state: match job.state {
                JobState::Uploading => "uploading",
                JobState::Waiting => "waiting",
                JobState::Running { .. } => "running",
                JobState::Moving { .. } => "moving",
                JobState::Ending => "ending",
            },
            waited_s: seconds(Span::from_nanos(job.in_house.as_nanos() - running.as_nanos())),
            running_s: job.running.map(seconds),
        }
    }
}

/// An operator's listener is an ordinary one.
///
/// # Errors
/// The system's.
pub fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
