//! Accounts: made, changed, removed, exported.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use http_body::Frame;

use super::problem::Problem;
use super::sent::Sent;
use super::wire::{AccountLine, ChangeLine, NewLine, Terms};
use super::{Admin, on_disk};
use crate::http::caller::decoded;
use crate::store::{AccountStore, Origin};

/// Entries of a page unless it is asked for more or fewer.
pub(super) const PAGE_DEFAULT: usize = 100;
/// Entries of a page, at most.
pub(super) const PAGE_MAX: usize = 1_000;

/// After which entry a page begins (from the first: empty), and how many it has.
///
/// # Errors
/// The query says anything else.
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
                return Err(Problem::bad_request(
                    "the query may say `after` and `limit`, and nothing else",
                ));
            }
        }
    }
    Ok((after, limit))
}

/// `POST /accounts`.
pub async fn add(
    State(admin): State<Arc<Admin>>,
    Sent(line): Sent<NewLine>,
) -> Result<(StatusCode, Json<AccountLine>), Problem> {
    let new = line.account(&admin.rules())?;
    let now = admin.gate.clock().wall();
    let account = on_disk(&admin, move |store| store.add(new, now)).await??;
    Ok((StatusCode::CREATED, Json(AccountLine::of(&account, &admin))))
}

/// `PATCH /accounts/{name}`.
pub async fn change(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Sent(line): Sent<ChangeLine>,
) -> Result<Json<AccountLine>, Problem> {
    let account = admin
        .store
        .directory()
        .by_name(&name)
        .ok_or_else(Problem::unknown_account)?;
    let unblocked = line.unblocks();
    let change = line.change(&account.tier, &admin.rules())?;
    let now = admin.gate.clock().wall();
    let account = on_disk(&admin, move |store| store.change(&name, &change, now)).await??;
    if unblocked {
        admin.limits().forgive_account(account.id);
    }
    Ok(Json(AccountLine::of(&account, &admin)))
}

/// `DELETE /accounts/{name}`. Answers with what it was.
pub async fn remove(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Result<Json<AccountLine>, Problem> {
    let now = admin.gate.clock().wall();
    let account = on_disk(&admin, move |store| store.remove(&name, now)).await??;
    Ok(Json(AccountLine::of(&account, &admin)))
}

/// `GET /accounts/export`: what is stored, a JSON object a line, as an import takes it. Keys are not in it: nobody knows them.
pub async fn export(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let body = Export {
        store: Arc::clone(&admin.store),
        after: Some(String::new()),
    };
    (headers, Body::new(body))
}

/// Pages of accounts, made as the client takes them: so memory holds one, however many there are.
struct Export {
    store: Arc<AccountStore>,
    /// The last name that is written; `None` at the end.
    after: Option<String>,
}

impl http_body::Body for Export {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(after) = self.after.take() {
            let page = self.store.directory().page(&after, PAGE_MAX);
            self.after = page.last().map(|last| last.name.clone());
            let mut text = Vec::new();
            for account in page.iter().filter(|account| account.origin == Origin::Stored) {
                serde_json::to_writer(&mut text, &Terms::of(account)).expect("memory takes it, and its keys are text");
                text.push(b'\n');
            }
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
        Poll::Ready(None)
    }
}
