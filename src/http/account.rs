//! What a caller may know of itself: `/me`.
//!
//! Absent on purpose: other callers.

use std::net::IpAddr;

use axum::extract::Extension;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::door::Standing;
use crate::policy::rules::Tier;

/// Who asks, as the door has found out.
#[derive(Clone, Debug)]
pub struct Who {
    /// The account's name, or the address of somebody without one.
    pub id: String,
    /// The caller's terms.
    pub tier: Tier,
}

impl Who {
    /// The caller of that standing, at that address.
    pub fn of(standing: &Standing<'_>, address: IpAddr) -> Self {
        let id = standing
            .account
            .as_ref()
            .map_or_else(|| address.to_string(), |account| account.name.clone());
        Self {
            id,
            tier: standing.tier.clone(),
        }
    }
}

/// `GET /me`, by the names that trace.moe's clients read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    id: String,
    tier: String,
    priority: u8,
    concurrency: u32,
    quota: Option<u64>,
    quota_used: u64,
}

async fn me(Extension(Who { id, tier }): Extension<Who>) -> Json<Me> {
    Json(Me {
        id,
        priority: tier.priority.get(),
        concurrency: tier.concurrency,
        quota: tier.quota.map(|quota| quota.limit),
        quota_used: 0,
        tier: tier.name,
    })
}

/// The door's own paths. A request brings its [`Who`] along as an extension.
pub fn router(me_path: Option<&str>) -> Router {
    let router = Router::new();
    match me_path {
        Some(path) => router.route(path, get(me)),
        None => router,
    }
}
