//! Lists, creates, rotates and revokes API keys. Paths hold a key's id, never the key: paths end up in logs. The key itself is
//! shown once, when it is created.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::operator::Stamped;
use super::problem::Problem;
use super::sent::{BodyField, BodyFields, Sent};
use super::wire::KeyLine;
use super::{Admin, on_disk, times};
use crate::policy::time::{Span, UnixTime};
use crate::store::{AccountStore, ChangeError, KeyId, KeyUse, Minted};

/// How long a rotated key stays valid by default.
const OVERLAP_DEFAULT: Span = Span::from_secs(24 * 60 * 60);
/// An answer that contains a key must not be cached.
const NOT_STORED: [(HeaderName, HeaderValue); 1] = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// All keys of an account, oldest first.
#[derive(Debug, Serialize)]
pub struct KeyList {
    keys: Vec<KeyLine>,
}

/// A new key.
#[derive(Debug, Serialize)]
pub struct NewKey {
    /// The key itself, shown only here.
    key: String,
    #[serde(flatten)]
    line: KeyLine,
}

impl NewKey {
    fn of(minted: &Minted, now: UnixTime) -> Self {
        let unused = KeyUse {
            begins: Some(minted.secret.beginning()),
            last_used: None,
        };
        Self {
            key: minted.secret.reveal().to_owned(),
            line: KeyLine::of(&minted.key, &unused, now),
        }
    }
}

/// A new key that replaces another, which stays valid for a while.
#[derive(Debug, Serialize)]
pub struct Rotated {
    #[serde(flatten)]
    new: NewKey,
    old: KeyLine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewKeyLine {
    label: String,
    expires: Option<String>,
}

impl BodyFields for NewKeyLine {
    fn all() -> Vec<BodyField> {
        vec![
            BodyField::optional("label", "text"),
            BodyField::optional(
                "expires",
                "a length of time or a time as text, such as \"90d\" or \"2027-01-01\", or null",
            ),
        ]
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateLine {
    overlap: Option<String>,
}

impl BodyFields for RotateLine {
    fn all() -> Vec<BodyField> {
        vec![BodyField::optional(
            "overlap",
            "a length of time as text, such as \"24h\", or null",
        )]
    }
}

/// `GET /accounts/{name}/keys`.
pub async fn list(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Result<Json<KeyList>, Problem> {
    let directory = admin.store.directory();
    let account = directory.by_name(&name).ok_or_else(Problem::unknown_account)?;
    let now = admin.gate.clock().wall();
    let keys = Arc::clone(&account);
    let uses = on_disk(&admin, move |store| store.key_uses(keys.keys())).await?;
    let uses = uses.map_err(|error| Problem::unreadable(&error))?;
    let line = |(key, used)| KeyLine::of(key, used, now);
    Ok(Json(KeyList {
        keys: account.keys().iter().zip(&uses).map(line).collect(),
    }))
}

/// `POST /accounts/{name}/keys`.
pub async fn add(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Stamped(stamp): Stamped,
    Sent(line): Sent<NewKeyLine>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<NewKey>), Problem> {
    let now = stamp.at;
    let expires = line
        .expires
        .as_deref()
        .map(|expires| times::ahead(expires, "expires", now));
    let expires = expires.transpose()?;
    let minted = on_disk(&admin, move |store| store.mint(&name, line.label, expires, stamp)).await??;
    Ok((StatusCode::CREATED, NOT_STORED, Json(NewKey::of(&minted, now))))
}

/// `POST /keys/{id}/rotate`.
pub async fn rotate(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Stamped(stamp): Stamped,
    Sent(line): Sent<RotateLine>,
) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1], Json<Rotated>), Problem> {
    let (id, now) = (id_of(&id)?, stamp.at);
    let overlap = match line.overlap {
        Some(overlap) => times::span(&overlap, "overlap")?,
        None => OVERLAP_DEFAULT,
    };
    let rotated = on_disk(&admin, move |store| {
        let used = use_of(store, id);
        store.rotate(id, overlap, stamp).map(|rotated| (rotated, used))
    });
    let ((minted, old), used) = rotated.await??;
    let rotated = Rotated {
        new: NewKey::of(&minted, now),
        old: KeyLine::of(&old, &used, now),
    };
    Ok((StatusCode::CREATED, NOT_STORED, Json(rotated)))
}

/// `DELETE /keys/{id}`. Answers with the revoked key.
pub async fn revoke(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Stamped(stamp): Stamped,
) -> Result<Json<KeyLine>, Problem> {
    let (id, now) = (id_of(&id)?, stamp.at);
    let revoked = on_disk(&admin, move |store| {
        let used = use_of(store, id);
        store.revoke(id, stamp).map(|key| (key, used))
    });
    let (key, used) = revoked.await??;
    Ok(Json(KeyLine::of(&key, &used, now)))
}

/// What is known of the key of that id; nothing if it can't be read, which must not keep a key from being revoked.
fn use_of(store: &AccountStore, id: KeyId) -> KeyUse {
    let key = store.directory().owner(id).and_then(|owner| owner.key(id).cloned());
    let uses = key.and_then(|key| store.key_uses(&[key]).ok());
    uses.and_then(|uses| uses.first().copied()).unwrap_or_default()
}

fn id_of(text: &str) -> Result<KeyId, Problem> {
    text.parse().map_err(|_| Problem::from(ChangeError::UnknownKey))
}
