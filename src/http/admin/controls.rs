//! What an operator may do at once (rules §11): pause and resume dispatch, stop and start admission, cancel a waiting job.
//!
//! These act first, so that they work while the disk doesn't, and are then recorded in the audit log: `recorded` tells whether it
//! has the action.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use super::Admin;
use super::operator::Stamped;
use super::pages::JobLine;
use super::problem::Problem;
use crate::policy::JobId;
use crate::store::Stamp;
use crate::store::audit;

/// The state after a switch.
#[derive(Debug, Serialize)]
pub(super) struct Switched {
    paused: bool,
    admission_stopped: bool,
    /// Whether it was otherwise before.
    changed: bool,
    /// Whether the audit log has it; nothing is recorded if nothing changed.
    recorded: bool,
}

/// `POST /dispatch/pause`.
pub(super) async fn pause(State(admin): State<Arc<Admin>>, Stamped(stamp): Stamped) -> Json<Switched> {
    let changed = admin.gate.pause();
    switched(&admin, stamp, changed, "dispatch_pause").await
}

/// `POST /dispatch/resume`.
pub(super) async fn resume(State(admin): State<Arc<Admin>>, Stamped(stamp): Stamped) -> Json<Switched> {
    let changed = admin.gate.resume();
    switched(&admin, stamp, changed, "dispatch_resume").await
}

/// `POST /admission/stop`.
pub(super) async fn stop(State(admin): State<Arc<Admin>>, Stamped(stamp): Stamped) -> Json<Switched> {
    let changed = admin.gate.stop_admission();
    switched(&admin, stamp, changed, "admission_stop").await
}

/// `POST /admission/start`.
pub(super) async fn start(State(admin): State<Arc<Admin>>, Stamped(stamp): Stamped) -> Json<Switched> {
    let changed = admin.gate.start_admission();
    switched(&admin, stamp, changed, "admission_start").await
}

async fn switched(admin: &Arc<Admin>, stamp: Stamp, changed: bool, action: &'static str) -> Json<Switched> {
    let recorded = changed && {
        warn!(by = %stamp.by, action, "operator action");
        record(admin, stamp, action, String::new(), json!({})).await
    };
    Json(Switched {
        paused: admin.gate.is_paused(),
        admission_stopped: admin.gate.is_admission_stopped(),
        changed,
        recorded,
    })
}

/// A cancelled job, as it was.
#[derive(Debug, Serialize)]
pub(super) struct Cancelled {
    cancelled: JobLine,
    recorded: bool,
}

/// `DELETE /queue/{job}`: cancels a waiting job, whose client is refused.
pub(super) async fn cancel(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Stamped(stamp): Stamped,
) -> Result<Json<Cancelled>, Problem> {
    let id: JobId = id
        .parse()
        .map_err(|error| Problem::bad_request(format!("{error}: see GET /queue")))?;
    let view = admin.gate.view();
    let job = view.jobs.iter().find(|job| job.id == id);
    let line = admin.line(job.ok_or_else(Problem::unknown_job)?, &view.rules);
    // It may have got a slot meanwhile.
    if !admin.gate.cancel(id) {
        return Err(Problem::not_queued());
    }
    warn!(by = %stamp.by, job = %id, caller = line.caller, "operator cancelled a queued job");
    let detail = json!({ "caller": line.caller, "tier": line.tier, "waited_s": line.waited_s });
    let recorded = record(&admin, stamp, "job_cancel", id.to_string(), detail).await;
    Ok(Json(Cancelled {
        cancelled: line,
        recorded,
    }))
}

/// Records what was done. Returns whether the audit log has it; if not, the program's log says why.
pub(super) async fn record(
    admin: &Arc<Admin>,
    stamp: Stamp,
    action: &'static str,
    subject: String,
    detail: Value,
) -> bool {
    let database = Arc::clone(&admin.database);
    let written = tokio::task::spawn_blocking(move || audit::record(&database, stamp, action, subject, detail));
    match written.await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            warn!(%error, action, "can't record the action in the audit log");
            false
        }
        // Its panic is on standard error.
        Err(_) => false,
    }
}
