//! `GET /refusals`: the last refusals on metered routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Admin;
use super::times::written;
use crate::http::recent::{CallerKind, KEPT_MAX, PER_SECOND_MAX, RecentRefusal};

/// The refusals that are kept, newest first.
#[derive(Debug, Serialize)]
pub(super) struct RefusalList {
    refusals: Vec<RefusalLine>,
    /// At most so many are kept.
    kept_max: usize,
    /// Of one reason, so many of each second; further ones are only counted.
    per_reason_and_second_max: u64,
}

#[derive(Debug, Serialize)]
struct RefusalLine {
    at: String,
    reason: &'static str,
    status: u16,
    tier: Option<String>,
    /// An account's name, or a network.
    caller: Option<String>,
    kind: CallerKind,
    route: Option<String>,
}

impl From<RecentRefusal> for RefusalLine {
    fn from(refusal: RecentRefusal) -> Self {
        Self {
            at: written(refusal.at),
            reason: refusal.reason.code(),
            status: refusal.status,
            tier: refusal.tier.map(|tier| tier.to_string()),
            caller: refusal.caller,
            kind: refusal.kind,
            route: refusal.route,
        }
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<RefusalList> {
    Json(RefusalList {
        refusals: admin.recent.all().into_iter().map(RefusalLine::from).collect(),
        kept_max: KEPT_MAX,
        per_reason_and_second_max: PER_SECOND_MAX,
    })
}
