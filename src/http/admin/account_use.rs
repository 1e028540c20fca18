//! Shows an account: its terms, its usage of each quota, when it was last used, and its queued and running jobs.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::pages::JobLine;
use super::problem::Problem;
use super::wire::AccountLine;
use super::{Admin, on_disk, times};
use crate::http::quotas::{self, QuotaLine};
use crate::policy::caller::{AccountId, Caller};
use crate::policy::time::UnixTime;
use crate::store::Account;

/// An account and its usage.
#[derive(Debug, Serialize)]
pub struct AccountDetails {
    #[serde(flatten)]
    account: AccountLine,
    /// Each quota of the account's effective tier, as `/me` shows it.
    usage: Vec<QuotaLine>,
    /// When the last job of the account or its users ended; `null`: never, or more than 400 days ago.
    last_used: Option<String>,
    /// Queued, uploading and running jobs of the account and its users.
    jobs: Vec<JobLine>,
}

/// `GET /accounts/{name}`.
pub async fn show(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Result<Json<AccountDetails>, Problem> {
    let account = admin.store.directory().by_name(&name);
    let account = account.ok_or_else(Problem::unknown_account)?;
    let id = account.id;
    let last = on_disk(&admin, move |store| store.last_used(id)).await?;
    let last = last.map_err(|error| Problem::unreadable(&error))?;
    Ok(Json(AccountDetails {
        usage: usage_of(&admin, &account, admin.gate.clock().wall()),
        account: AccountLine::of(&account, &admin),
        last_used: last.map(times::written),
        jobs: jobs(&admin, id),
    }))
}

/// The usage of each quota of the account's effective tier.
pub(super) fn usage_of(admin: &Admin, account: &Arc<Account>, now: UnixTime) -> Vec<QuotaLine> {
    let site = admin.site.load();
    let standing = site.callers.standing_of(Arc::clone(account), now);
    let rules = &site.generation().rules;
    let balance = quotas::balance(&standing, &admin.gate, rules);
    quotas::lines(&standing, rules, &balance)
}

/// Jobs of the account and its users: the highest priority first, then the oldest.
fn jobs(admin: &Admin, account: AccountId) -> Vec<JobLine> {
    let mut view = admin.gate.view();
    view.jobs.retain(|job| match job.caller {
        Caller::Account(id) | Caller::User { of: id, .. } => id == account,
        Caller::Network(_) => false,
    });
    view.jobs.sort_by_key(|job| (Reverse(job.priority), Reverse(job.age)));
    view.jobs.iter().map(|job| admin.line(job, &view.rules)).collect()
}
