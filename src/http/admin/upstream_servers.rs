//! Upstream servers as operators see them: slots, whether they are up, and what last went wrong.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::times;
use crate::gate::UpstreamSlots;
use crate::policy::rules::{ServerId, UpstreamId, UpstreamRules};
use crate::upstream::{LastFailure, UpstreamServer};

/// A server in JSON.
#[derive(Debug, Serialize)]
pub(super) struct ServerLine {
    /// `host:port`.
    server: String,
    /// Whether it gets jobs.
    up: bool,
    /// Its slots.
    configured: u32,
    /// Its slots that count now.
    available: u32,
    /// Its slots in use.
    running: u32,
    /// What last went wrong with it; left out if nothing has.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<FailureLine>,
}

/// A failure in JSON.
#[derive(Debug, Serialize)]
struct FailureLine {
    at: String,
    /// `connect`, `timeout`, `broken` or `probe`.
    reason: &'static str,
    error: String,
}

impl From<LastFailure> for FailureLine {
    fn from(failure: LastFailure) -> Self {
        Self {
            at: times::written(failure.at),
            reason: failure.kind.name(),
            error: failure.error,
        }
    }
}

/// The upstream's servers, in the file's order. `known` are those of the active site.
pub(super) fn server_lines(
    upstream: UpstreamId,
    rules: &UpstreamRules,
    slots: &UpstreamSlots,
    known: &HashMap<(UpstreamId, ServerId), Arc<UpstreamServer>>,
) -> Vec<ServerLine> {
    let line = |(id, of): (ServerId, &crate::policy::rules::ServerRules)| {
        let slots = slots.servers.iter().find(|slots| slots.id == id);
        let server = known.get(&(upstream, id));
        ServerLine {
            server: of.name.clone(),
            up: slots.is_some_and(|slots| slots.is_up),
            configured: of.slots,
            available: slots.map_or(0, |slots| slots.available()),
            running: slots.map_or(0, |slots| slots.busy),
            last_failure: server.and_then(|server| server.last_failure()).map(Into::into),
        }
    };
    rules.servers.entries().map(line).collect()
}
