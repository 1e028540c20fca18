//! What a caller may know of itself: `/me`.
//!
//! Absent on purpose: other callers.

use std::net::IpAddr;

use axum::extract::Extension;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::quotas::{self, Line};
use super::standing::Standing;
use crate::gate::Gate;

/// `GET /me`, by the names that trace.moe's clients read, and beside them what explains them.
#[derive(Clone, Debug, Serialize)]
pub struct Me {
    /// An account's e-mail address, otherwise its name; the address of somebody without one.
    id: String,
    tier: String,
    priority: u8,
    concurrency: u32,
    /// Of the quota that leaves least; `null`: there is no limit.
    quota: Option<u64>,
    #[serde(rename = "quotaUsed")]
    quota_used: u64,
    quotas: Vec<Line>,
    running: u32,
    waiting: u32,
}

impl Me {
    /// What the caller of that standing, at that address, is told.
    pub fn of(standing: &Standing<'_>, address: IpAddr, gate: &Gate) -> Self {
        let balance = quotas::balance(standing, gate);
        let waiting = gate.waiting_of(&standing.caller);
        let quotas = quotas::lines(standing, &balance);
        let tightest = quotas.iter().min_by_key(|line| line.remaining);
        Self {
            id: standing.id(address),
            tier: standing.tier.name.to_string(),
            priority: standing.tier.priority.get(),
            concurrency: standing.concurrency(),
            quota: tightest.map(|line| line.limit),
            quota_used: tightest.map_or(0, |line| line.used),
            running: balance.jobs.saturating_sub(waiting),
            waiting,
            quotas,
        }
    }
}

async fn me(Extension(me): Extension<Me>) -> Json<Me> {
    Json(me)
}

/// The door's own paths. A request brings what it is told along as an extension.
pub fn router(me_path: Option<&str>) -> Router {
    let router = Router::new();
    match me_path {
        Some(path) => router.route(path, get(me)),
        None => router,
    }
}
