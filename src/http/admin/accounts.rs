//! Creates, changes, removes and exports accounts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use http_body::Frame;
use serde::Serialize;

use super::import::HashLine;
use super::operator::Stamped;
use super::problem::Problem;
use super::sent::Sent;
use super::wire::{AccountLine, check_patch, check_spec};
use super::{Admin, on_disk};
use crate::http::caller::decoded;
use crate::policy::time::UnixTime;
use crate::store::{Account, AccountPatch, AccountSpec, AccountStore, Origin};

/// Entries of a page by default.
pub(super) const PAGE_DEFAULT: usize = 100;
/// The most entries of a page.
pub(super) const PAGE_MAX: usize = 1_000;

/// The entry after which a page begins (empty: from the first), and how many entries it has.
///
/// # Errors
/// The query has other parameters or invalid values.
pub(super) fn place(query: &str) -> Result<(String, usize), Problem> {
    let (mut after, mut limit) = (String::new(), PAGE_DEFAULT);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "after" => after = String::from_utf8_lossy(&decoded(value)).into_owned(),
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=PAGE_MAX).contains(number));
                limit = number.ok_or_else(|| Problem::bad_request(format!("`limit` is 1 to {PAGE_MAX}")))?;
            }
            _ => {
                return Err(Problem::bad_request("the query may only have `after` and `limit`"));
            }
        }
    }
    Ok((after, limit))
}

/// `POST /accounts`.
pub async fn add(
    State(admin): State<Arc<Admin>>,
    Stamped(stamp): Stamped,
    Sent(spec): Sent<AccountSpec>,
) -> Result<(StatusCode, Json<AccountLine>), Problem> {
    check_spec(&spec, &admin.rules())?;
    let account = on_disk(&admin, move |store| store.add(spec, stamp)).await??;
    Ok((StatusCode::CREATED, Json(AccountLine::of(&account, &admin))))
}

/// `PATCH /accounts/{name}`.
pub async fn change(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Stamped(stamp): Stamped,
    Sent(patch): Sent<AccountPatch>,
) -> Result<Json<AccountLine>, Problem> {
    let account = admin
        .store
        .directory()
        .by_name(&name)
        .ok_or_else(Problem::unknown_account)?;
    let unblocked = patch.blocked == Some(false);
    check_patch(&patch, &account.tier, &admin.rules())?;
    let account = on_disk(&admin, move |store| store.change(&name, &patch, stamp)).await??;
    if unblocked {
        admin.limits().forgive_account(account.id);
    }
    Ok(Json(AccountLine::of(&account, &admin)))
}

/// `DELETE /accounts/{name}`. Answers with the removed account.
pub async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Stamped(stamp): Stamped,
) -> Result<Json<AccountLine>, Problem> {
    let account = on_disk(&admin, move |store| store.remove(&name, stamp)).await??;
    Ok(Json(AccountLine::of(&account, &admin)))
}

/// `GET /accounts/export?keys=1`: all stored accounts, one JSON object per line, as an import reads it. With `keys=1` it includes
/// the hashes of unexpired keys.
pub async fn export(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Result<impl IntoResponse, Problem> {
    let with_keys = match query.as_deref().unwrap_or_default() {
        "" | "keys=0" => false,
        "keys=1" => true,
        _ => return Err(Problem::bad_request("the query may only have `keys=1`")),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let body = ExportBody {
        store: Arc::clone(&admin.store),
        after: Some(String::new()),
        keys_at: with_keys.then(|| admin.gate.clock().wall()),
    };
    Ok((headers, Body::new(body)))
}

/// Pages of accounts, produced as the client reads them, so that only one page is in memory.
struct ExportBody {
    store: Arc<AccountStore>,
    /// The last name written; `None` at the end.
    after: Option<String>,
    /// When the export began, if it includes keys.
    keys_at: Option<UnixTime>,
}

/// A line of an export.
#[derive(Debug, Serialize)]
struct ExportLine {
    #[serde(flatten)]
    spec: AccountSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_sha256: Option<Vec<HashLine>>,
}

impl ExportLine {
    fn of(account: &Account, keys_at: Option<UnixTime>) -> Self {
        let keys = |now| account.keys().iter().filter(move |key| !key.is_expired(now));
        Self {
            spec: account.spec(),
            key_sha256: keys_at.map(|now| keys(now).map(HashLine::of).collect()),
        }
    }
}

impl http_body::Body for ExportBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(after) = self.after.take() {
            let page = self.store.directory().page(&after, PAGE_MAX);
            self.after = page.last().map(|last| last.name.to_string());
            let mut text = Vec::new();
            for account in page.iter().filter(|account| account.origin == Origin::Stored) {
                serde_json::to_writer(&mut text, &ExportLine::of(account, self.keys_at))
                    .expect("writing to memory cannot fail, and all map keys are strings");
                text.push(b'\n');
            }
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
        Poll::Ready(None)
    }
}
