//! `GET /status`: how the server is, at a glance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Admin;
use super::config::Summary;
use super::servers::ServerLine;
use crate::gate::{GateView, JobView};
use crate::policy::State as JobState;
use crate::policy::rules::{TierId, UpstreamId};
use crate::policy::time::Span;
use crate::store::Ledger;

/// The whole status. A member keeps its name and meaning.
#[derive(Debug, Serialize)]
pub(super) struct StatusPage {
    version: &'static str,
    uptime_s: f64,
    /// Whether dispatch is paused.
    paused: bool,
    admission_stopped: bool,
    shutting_down: bool,
    queue: QueueLine,
    tiers: Vec<TierLine>,
    upstreams: Vec<UpstreamLine>,
    database: DatabaseLine,
    /// The configuration in force, and the last reload.
    config: Summary,
    /// Whatever an operator should look at; empty if all is well.
    problems: Vec<StatusProblem>,
}

#[derive(Debug, Serialize)]
struct QueueLine {
    seats: u32,
    waiting: u32,
    /// Queued jobs by priority, 0 to 6.
    by_priority: Vec<u32>,
    /// Seconds since the longest queued job was queued.
    oldest_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct TierLine {
    tier: String,
    priority: u8,
    /// Jobs whose bodies still arrive.
    uploading: u32,
    waiting: u32,
    /// Jobs with a slot, and those on their way to another or about to end.
    running: u32,
    /// Refusals on metered routes in the last 60 seconds.
    refused_last_minute: u64,
}

#[derive(Debug, Serialize)]
struct UpstreamLine {
    upstream: String,
    /// Slots of all servers.
    slots: u32,
    /// Those of the servers that are up and not drained.
    available: u32,
    running: u32,
    waiting: u32,
    servers: Vec<ServerLine>,
}

#[derive(Debug, Serialize)]
struct DatabaseLine {
    /// Whether it can be written. Metered requests are refused otherwise.
    available: bool,
}

#[derive(Debug, Serialize)]
struct StatusProblem {
    reason: &'static str,
    error: String,
}

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<StatusPage> {
    let view = admin.gate.view();
    let upstreams = upstreams(&view, admin.servers(&view));
    let oldest = view.jobs.iter().filter(|job| is_queued(job)).map(|job| job.age).max();
    let mut page = StatusPage {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: seconds(admin.gate.clock().now().since(admin.started)),
        paused: view.paused,
        admission_stopped: view.admission_stopped,
        shutting_down: !admin.open.load(Ordering::Relaxed),
        queue: QueueLine {
            seats: view.rules.queue.length,
            waiting: view.waiting.iter().sum(),
            by_priority: view.waiting.to_vec(),
            oldest_s: oldest.map(seconds),
        },
        tiers: tiers(&admin, &view),
        upstreams,
        database: DatabaseLine {
            available: admin.database.is_available(),
        },
        config: Summary::of(&admin.running.load()),
        problems: Vec::new(),
    };
    page.problems = problems(&page);
    Json(page)
}

fn tiers(admin: &Admin, view: &GateView) -> Vec<TierLine> {
    let refused = admin.refusals.last_minute(admin.gate.clock().wall());
    let count = |tier: TierId, counts: fn(&JobView) -> bool| {
        let of_tier = view.jobs.iter().filter(|job| job.tier == tier && counts(job));
        u32::try_from(of_tier.count()).unwrap_or(u32::MAX)
    };
    let line = |(id, tier): (TierId, &crate::policy::rules::Tier)| TierLine {
        tier: tier.name.to_string(),
        priority: tier.priority.get(),
        uploading: count(id, is_uploading),
        waiting: count(id, is_queued),
        running: count(id, |job| !is_uploading(job) && !is_queued(job)),
        refused_last_minute: refused.get(&tier.name).copied().unwrap_or(0),
    };
    view.rules.tiers.entries().map(line).collect()
}

fn upstreams(view: &GateView, mut servers: BTreeMap<UpstreamId, Vec<ServerLine>>) -> Vec<UpstreamLine> {
    let entries = view.rules.upstreams.entries().zip(&view.pools);
    entries
        .map(|((id, rules), (available, running))| {
            let waiting = view.jobs.iter().filter(|job| job.pool == id && is_queued(job));
            let servers = servers.remove(&id).unwrap_or_default();
            UpstreamLine {
                upstream: rules.name.clone(),
                slots: servers.iter().map(|server| server.slots).sum(),
                available: *available,
                running: *running,
                waiting: u32::try_from(waiting.count()).unwrap_or(u32::MAX),
                servers,
            }
        })
        .collect()
}

fn problems(page: &StatusPage) -> Vec<StatusProblem> {
    let mut problems = Vec::new();
    let mut add =
        |is_so: bool, reason, error: String| problems.extend(is_so.then_some(StatusProblem { reason, error }));
    add(
        page.shutting_down,
        "shutting_down",
        "the server is shutting down".to_owned(),
    );
    add(
        page.paused,
        "paused",
        "dispatch is paused: no queued search gets a slot until `tiergate resume`".to_owned(),
    );
    add(
        page.admission_stopped,
        "admission_stopped",
        "admission is stopped: new searches are refused until `tiergate admission start`".to_owned(),
    );
    add(
        !page.database.available,
        "database_unavailable",
        "the database can't be written: metered requests are refused".to_owned(),
    );
    add(
        page.config.is_wrong(),
        "reload_failed",
        "the configuration file last read is invalid; the previous configuration stays in force".to_owned(),
    );
    for upstream in &page.upstreams {
        for server in upstream.servers.iter().filter(|server| !server.drained) {
            let why = server.why_down.as_deref().unwrap_or("no answer");
            let error = format!(
                "server {} of upstream {} is down: {why}",
                server.server, upstream.upstream
            );
            add(server.up == Some(false), "server_down", error);
        }
        let error = format!(
            "upstream {} has no server that is up and not drained",
            upstream.upstream
        );
        add(upstream.slots > 0 && upstream.available == 0, "no_server", error);
    }
    problems
}

fn is_queued(job: &JobView) -> bool {
    job.state == JobState::Waiting
}

fn is_uploading(job: &JobView) -> bool {
    job.state == JobState::Uploading
}

/// To the millisecond.
pub(super) fn seconds(span: Span) -> f64 {
    (span.as_secs_f64() * 1e3).round() / 1e3
}
