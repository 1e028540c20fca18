//! `GET /metrics`: the snapshot that the page shows, put together from the gate, the limits, the accounts and the upstreams.
//! Only the first needs the gate's lock, for as long as it takes to count the jobs in flight.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Admin;
use crate::gate::{GateLevels, UpstreamSlots};
use crate::policy::rules::{Rules, ServerId, UpstreamId};
use crate::telemetry::gauges::{Levels, ServerLevels, UpstreamLevels};
use crate::upstream::UpstreamServer;

/// `GET /metrics`.
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    admin.connections.update();
    let gate = admin.gate.levels();
    let levels = admin.levels(&gate);
    let page = admin.exposition.render(&gate.rules, &levels);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
}

impl Admin {
    fn levels(&self, gate: &GateLevels) -> Levels {
        let servers = self.site.load().servers();
        let upstreams = gate.rules.upstreams.ids().zip(&gate.upstreams);
        Levels {
            queue_capacity: gate.rules.queue.length,
            waiting: gate.waiting,
            oldest: gate.oldest,
            in_flight: gate.in_flight.iter().copied().collect(),
            uploading: gate.uploading.iter().copied().collect(),
            upstreams: upstreams
                .map(|(id, slots)| upstream_levels(id, slots, &gate.rules, &servers))
                .collect(),
            accounts: self.accounts_by_tier(&gate.rules),
            over_quota_share: self.quota_shares.by_tier(&gate.rules),
            debtors: gate.debtors,
            is_paused: gate.is_paused,
            is_admission_stopped: gate.is_admission_stopped,
            viewers: self.status.viewers(),
            limits: self.limits().counted(&gate.rules),
        }
    }

    /// The number of accounts of each tier, in the rules' order; last, those of tiers that don't exist.
    fn accounts_by_tier(&self, rules: &Rules) -> Vec<u32> {
        let mut named = self.store.directory().tiers();
        let mut counts: Vec<u32> = rules
            .tiers
            .iter()
            .map(|tier| named.remove(&*tier.name).unwrap_or(0))
            .collect();
        counts.push(named.values().sum());
        counts
    }
}

/// The snapshot of an upstream. A server that the site doesn't have is of an upstream that was removed.
fn upstream_levels(
    id: UpstreamId,
    slots: &UpstreamSlots,
    rules: &Rules,
    servers: &HashMap<(UpstreamId, ServerId), Arc<UpstreamServer>>,
) -> UpstreamLevels {
    let server = |server: ServerId| {
        let slots = slots.servers.iter().find(|slots| slots.id == server);
        let failures = servers.get(&(id, server)).map(|server| server.failures());
        slots.map_or(ServerLevels::default(), |slots| ServerLevels {
            is_up: slots.up,
            configured: slots.slots,
            available: slots.available(),
            busy: slots.running,
            failures,
        })
    };
    UpstreamLevels {
        available: slots.available,
        busy: slots.busy,
        servers: rules.upstreams[id].servers.ids().map(server).collect(),
    }
}
