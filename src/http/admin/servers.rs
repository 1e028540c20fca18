//! The upstream servers: their health, and draining them and taking them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use tracing::warn;

use super::Admin;
use super::operator::Stamped;
use super::problem::Problem;
use super::times::written;
use crate::gate::GateView;
use crate::http::site::Site;
use crate::policy::ServerState;
use crate::policy::rules::{UpstreamId, UpstreamRules};
use crate::policy::time::UnixTime;
use crate::store::{ServerName, Stamp};
use crate::upstream::LastFailure;

/// One upstream server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerLine {
    pub(super) upstream: String,
    /// Its address, as in tiers.yaml.
    pub(super) server: String,
    /// Whether tiers.yaml has it.
    pub(super) listed: bool,
    /// Slots that tiers.yaml gives it.
    pub(super) slots: u32,
    /// Those that count now: none while it is down or drained.
    pub(super) available: u32,
    /// Jobs that hold one.
    pub(super) running: u32,
    /// `null` if tiers.yaml doesn't have it.
    pub(super) up: Option<bool>,
    /// Why it is down.
    pub(super) why_down: Option<String>,
    /// What last went wrong with it; left out if nothing has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failure: Option<FailureLine>,
    pub(super) drained: bool,
    pub(super) drained_since: Option<String>,
}

/// A failure of a server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FailureLine {
    at: String,
    /// `connect`, `timeout`, `broken` or `probe`.
    reason: &'static str,
    error: String,
}

impl From<LastFailure> for FailureLine {
    fn from(failure: LastFailure) -> Self {
        Self {
            at: written(failure.at),
            reason: failure.kind.name(),
            error: failure.error,
        }
    }
}

/// `GET /servers`.
#[derive(Debug, Serialize)]
pub(super) struct ServerList {
    servers: Vec<ServerLine>,
}

/// The result of draining a server or taking it back.
#[derive(Debug, Serialize)]
pub(super) struct Drained {
    #[serde(flatten)]
    server: ServerLine,
    /// Whether it was otherwise before.
    changed: bool,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<ServerList> {
    let mut servers: Vec<ServerLine> = admin.servers(&admin.gate.view()).into_values().flatten().collect();
    servers.extend(admin.drained_elsewhere(&servers));
    Json(ServerList { servers })
}

/// `POST /servers/{upstream}/{server}/drain`.
pub(super) async fn drain(
    State(admin): State<Arc<Admin>>,
    Path((upstream, server)): Path<(String, String)>,
    Stamped(stamp): Stamped,
) -> Result<Json<Drained>, Problem> {
    set(admin, ServerName::new(&upstream, &server), true, stamp).await
}

/// `DELETE /servers/{upstream}/{server}/drain`.
pub(super) async fn undrain(
    State(admin): State<Arc<Admin>>,
    Path((upstream, server)): Path<(String, String)>,
    Stamped(stamp): Stamped,
) -> Result<Json<Drained>, Problem> {
    set(admin, ServerName::new(&upstream, &server), false, stamp).await
}

async fn set(admin: Arc<Admin>, name: ServerName, drained: bool, stamp: Stamp) -> Result<Json<Drained>, Problem> {
    admin.server(&name).ok_or_else(Problem::unknown_server)?;
    let by = stamp.by.clone();
    let (of, server) = (Arc::clone(&admin), name.clone());
    let changing = tokio::task::spawn_blocking(move || {
        let apply = || of.apply_drain(&server, drained);
        match drained {
            true => of.drained.drain(&server, stamp, apply),
            false => of.drained.undrain(&server, stamp, apply),
        }
    });
    let changed = changing.await.map_err(|_| Problem::task_failed())??;
    if changed {
        let action = if drained { "drained" } else { "taken back" };
        warn!(%by, server = %name, "upstream server {action} by an operator");
    }
    let line = admin.server(&name).unwrap_or_else(|| ServerLine::unlisted(&name, None));
    Ok(Json(Drained { server: line, changed }))
}

impl ServerLine {
    /// A server that tiers.yaml doesn't have.
    fn unlisted(name: &ServerName, drained_since: Option<UnixTime>) -> Self {
        Self {
            upstream: name.upstream.to_string(),
            server: name.server.to_string(),
            listed: false,
            slots: 0,
            available: 0,
            running: 0,
            up: None,
            why_down: None,
            last_failure: None,
            drained: drained_since.is_some(),
            drained_since: drained_since.map(written),
        }
    }
}

impl Admin {
    /// The servers of each upstream, in the order of tiers.yaml; last those that were removed and still have jobs.
    pub(super) fn servers(&self, view: &GateView) -> BTreeMap<UpstreamId, Vec<ServerLine>> {
        let (site, since) = (self.site.load(), self.drained.all());
        let upstreams = view.rules.upstreams.entries().zip(&view.servers);
        upstreams
            .map(|((id, rules), states)| {
                let line = |state: &ServerState| server_line(&site, id, rules, state, &since);
                let place = |state: &&ServerState| {
                    let mut ids = rules.servers.ids();
                    ids.position(|id| id == state.id).unwrap_or(usize::MAX)
                };
                let mut states: Vec<&ServerState> = states.iter().collect();
                states.sort_by_key(place);
                (id, states.into_iter().map(line).collect())
            })
            .collect()
    }

    /// Drained servers besides these.
    fn drained_elsewhere(&self, servers: &[ServerLine]) -> Vec<ServerLine> {
        let is_there = |name: &ServerName| {
            let mut servers = servers.iter();
            servers.any(|line| line.upstream == *name.upstream && line.server == *name.server)
        };
        let drained = self.drained.all().into_iter().filter(|(name, _)| !is_there(name));
        drained
            .map(|(name, since)| ServerLine::unlisted(&name, Some(since)))
            .collect()
    }

    fn server(&self, name: &ServerName) -> Option<ServerLine> {
        let mut servers: Vec<ServerLine> = self.servers(&self.gate.view()).into_values().flatten().collect();
        servers.extend(self.drained_elsewhere(&servers));
        let mut servers = servers.into_iter();
        servers.find(|line| line.upstream == *name.upstream && line.server == *name.server)
    }

    /// Drains the server or takes it back, for jobs and for unmetered requests. Called under the lock of the drained servers, under
    /// which a reload looks at them after it has swapped the site.
    fn apply_drain(&self, name: &ServerName, drained: bool) {
        let site = self.site.load();
        let mut upstreams = site.upstreams.iter();
        let named = upstreams.find(|upstream| *site.generation.upstreams[upstream.id()] == *name.upstream);
        if let Some(upstream) = named {
            upstream.set_drained(|server| (server == &*name.server).then_some(drained));
        }
        match drained {
            true => self.gate.drain(name.clone()),
            false => self.gate.undrain(name),
        }
    }
}

fn server_line(
    site: &Site,
    id: UpstreamId,
    rules: &UpstreamRules,
    state: &ServerState,
    since: &BTreeMap<ServerName, UnixTime>,
) -> ServerLine {
    let mut upstreams = site.upstreams.iter();
    let server = upstreams
        .find(|upstream| upstream.id() == id)
        .and_then(|upstream| upstream.server(state.id));
    let listed = rules.servers.get(state.id).map(|rules| rules.name.clone());
    let removed = || {
        server
            .as_ref()
            .map_or_else(|| "?".to_owned(), |server| server.name().to_owned())
    };
    let name = listed.clone().unwrap_or_else(removed);
    ServerLine {
        drained_since: since
            .get(&ServerName::new(&rules.name, &name))
            .map(|since| written(*since)),
        upstream: rules.name.clone(),
        server: name,
        listed: listed.is_some(),
        slots: state.slots,
        available: state.available(),
        running: state.running,
        up: listed.is_some().then_some(state.up),
        last_failure: server.as_ref().and_then(|server| server.last_failure()).map(Into::into),
        why_down: server.filter(|_| !state.up).and_then(|server| server.why_down()),
        drained: state.drained,
    }
}
