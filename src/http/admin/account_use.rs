//! An account shown: its terms, what it has used of each quota, when it was last used, and its jobs that wait and run.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::pages::JobLine;
use super::problem::Problem;
use super::wire::AccountLine;
use super::{Admin, on_disk, times};
use crate::http::quotas::{self, Line};
use crate::policy::caller::{AccountId, Caller};

/// An account, and its use.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    account: AccountLine,
    /// Each quota of the tier whose terms it has, as `/me` shows it to its owner.
    usage: Vec<Line>,
    /// When its last job ended, or a user's of it; `null`: never, or more than 400 days ago.
    last_used: Option<String>,
    /// Its jobs and those of its users that wait, upload or run.
    jobs: Vec<JobLine>,
}

/// `GET /accounts/{name}`.
pub async fn show(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Result<Json<Shown>, Problem> {
    let account = admin.store.directory().by_name(&name);
    let account = account.ok_or_else(Problem::unknown_account)?;
    let id = account.id;
    let last = on_disk(&admin, move |store| store.last_used(id)).await?;
    let last = last.map_err(|error| Problem::unreadable(&error))?;
    let site = admin.site.load();
    let standing = site
        .callers
        .standing_of(Arc::clone(&account), admin.gate.clock().wall());
    let balance = quotas::balance(&standing, &admin.gate, &site.generation().rules);
    Ok(Json(Shown {
        usage: quotas::lines(&standing, &site.generation().rules, &balance),
        account: AccountLine::of(&account, &admin),
        last_used: last.map(times::written),
        jobs: jobs(&admin, id),
    }))
}

/// Its jobs, and those of its users: the highest priority first, then the oldest.
fn jobs(admin: &Admin, account: AccountId) -> Vec<JobLine> {
    let mut view = admin.gate.view();
    view.jobs.retain(|job| match job.caller {
        Caller::Account(id) | Caller::User { of: id, .. } => id == account,
        Caller::Network(_) => false,
    });
    view.jobs
        .sort_by_key(|job| (Reverse(job.priority), Reverse(job.in_house)));
    view.jobs.iter().map(|job| admin.line(job, &view.rules)).collect()
}
