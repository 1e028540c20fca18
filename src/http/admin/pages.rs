//! Read-only pages for operators: health and the queue. Callers are shown by account name or network, never by key.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Admin;
use super::servers::ServerLine;
use super::status::seconds;
use crate::gate::{GateView, JobView};
use crate::http::recent::CallerKind;
use crate::policy::State as JobState;
use crate::policy::caller::Caller;
use crate::policy::rules::{Rules, UpstreamId};
use crate::policy::time::Span;

/// Liveness: 200 while the process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Readiness: 503 during shutdown, and, if the configuration says so, while no upstream server is up.
pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if !admin.open.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if admin.site.load().ready_needs_upstream() && !admin.gate.has_server_up() {
        (StatusCode::SERVICE_UNAVAILABLE, "no upstream server is up\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// `GET /queue`: the jobs in flight.
#[derive(Debug, Serialize)]
pub(super) struct QueuePage {
    seats: u32,
    /// Without a place: their bodies still arrive.
    uploading: Vec<JobLine>,
    waiting: Vec<JobLine>,
    running: Vec<JobLine>,
    pools: Vec<PoolLine>,
}

#[derive(Debug, Serialize)]
struct PoolLine {
    upstream: String,
    /// Slots of servers that are up and not drained.
    slots: u32,
    running: u32,
    /// Slots of all servers.
    configured: u32,
    servers: Vec<ServerLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct JobLine {
    /// Its id, by which it can be cancelled while it is queued.
    id: String,
    /// An account's name, or a network.
    pub(super) caller: String,
    kind: CallerKind,
    pub(super) tier: String,
    priority: u8,
    upstream: String,
    /// The server that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// `uploading` or `waiting`; `running`, `moving` (from a server that could not be reached) or `ending`.
    state: &'static str,
    /// Seconds since the job's body was complete, without those on its slot; of an uploading one, since its head.
    pub(super) waited_s: f64,
    /// Seconds since it got its slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    running_s: Option<f64>,
    /// Seconds until it is expected to get a slot, of a queued one in `GET /queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_in_s: Option<f64>,
    /// Seconds until it is expected to have given back its slot, by the mean of its upstream's last slot times.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_in_s: Option<f64>,
}

pub(super) async fn queue(State(admin): State<Arc<Admin>>) -> Json<QueuePage> {
    let mut view = admin.gate.view();
    // Queued jobs stay in their order of service; all others by priority, then oldest first.
    view.jobs.sort_by_key(|job| {
        let is_queued = job.state == JobState::Waiting;
        (!is_queued).then_some((Reverse(job.priority), Reverse(job.age)))
    });
    let uploads = |job: &&JobView| job.state == JobState::Uploading;
    let waits = |job: &&JobView| job.state == JobState::Waiting;
    let line = |job: &JobView| admin.line(job, &view.rules);
    let mut servers = admin.servers(&view);
    let pools = view.rules.upstreams.entries().zip(&view.pools);
    let pools = pools.map(|((id, rules), (slots, running))| PoolLine {
        upstream: rules.name.clone(),
        slots: *slots,
        running: *running,
        configured: rules.slots(),
        servers: servers.remove(&id).unwrap_or_default(),
    });
    let pools = pools.collect();
    let mut expected = Expected::of(&view);
    let waiting = |job: &JobView| {
        let (starts_in, ends_in) = expected.next(job.pool);
        JobLine {
            starts_in_s: starts_in.map(seconds),
            ends_in_s: ends_in.map(seconds),
            ..line(job)
        }
    };
    Json(QueuePage {
        seats: view.rules.queue.length,
        uploading: view.jobs.iter().filter(uploads).map(line).collect(),
        waiting: view.jobs.iter().filter(waits).map(waiting).collect(),
        running: (view.jobs.iter())
            .filter(|job| !uploads(job) && !waits(job))
            .map(line)
            .collect(),
        pools,
    })
}

/// When queued jobs are expected to get a slot: they leave one after the other, as fast as the slots of their upstream become free.
struct Expected {
    paused: bool,
    /// Of each upstream: slots, those in use, the mean slot time, and the queued jobs so far.
    pools: HashMap<UpstreamId, (u32, u32, Option<Span>, u64)>,
}

impl Expected {
    fn of(view: &GateView) -> Self {
        let pools = view.rules.upstreams.ids().zip(&view.pools).zip(&view.slot_times);
        Self {
            paused: view.paused,
            pools: pools
                .map(|((id, (slots, running)), slot_time)| (id, (*slots, *running, *slot_time, 0)))
                .collect(),
        }
    }

    /// When the next job of that upstream is expected to begin and to end, from now.
    fn next(&mut self, pool: UpstreamId) -> (Option<Span>, Option<Span>) {
        let Some((slots, running, slot_time, before)) = self.pools.get_mut(&pool) else {
            return (None, None);
        };
        let turns = (*before + 1).saturating_sub(u64::from(slots.saturating_sub(*running)));
        *before += 1;
        if self.paused || *slots == 0 {
            return (None, None);
        }
        let after = |slot_time: Span| Span::from_nanos(slot_time.as_nanos().saturating_mul(turns) / u64::from(*slots));
        let starts_in = if turns == 0 {
            Some(Span::ZERO)
        } else {
            slot_time.map(after)
        };
        let ends_in = starts_in.zip(*slot_time).map(|(start, takes)| start + takes);
        (starts_in, ends_in)
    }
}

impl Admin {
    pub(super) fn line(&self, job: &JobView, rules: &Rules) -> JobLine {
        let (caller, kind) = match job.caller {
            Caller::Account(id) | Caller::User { of: id, .. } => {
                let account = self.store.directory().get(id);
                let name = account.map_or_else(|| "?".to_owned(), |account| account.name.to_string());
                (name, CallerKind::Account)
            }
            Caller::Network(_) => (job.from.to_string(), CallerKind::Network),
        };
        let running = job.running.unwrap_or(Span::ZERO);
        JobLine {
            id: job.id.to_string(),
            caller,
            kind,
            tier: rules.tier(job.tier).name.to_string(),
            priority: job.priority.get(),
            upstream: rules
                .upstreams
                .get(job.pool)
                .map_or_else(String::new, |pool| pool.name.clone()),
            server: match job.state {
                JobState::Running { server, .. } => rules
                    .upstreams
                    .get(job.pool)
                    .and_then(|pool| pool.servers.get(server))
                    .map(|server| server.name.clone()),
                _ => None,
            },
            state: match job.state {
                JobState::Uploading => "uploading",
                JobState::Waiting => "waiting",
                JobState::Running { .. } => "running",
                JobState::Moving { .. } => "moving",
                JobState::Ending => "ending",
            },
            waited_s: seconds(Span::from_nanos(job.age.as_nanos() - running.as_nanos())),
            running_s: job.running.map(seconds),
            starts_in_s: None,
            ends_in_s: job.ends_in.map(seconds),
        }
    }
}
