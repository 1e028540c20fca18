//! `GET /audit`: the audit log, newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use serde_json::Value;

use super::Admin;
use super::problem::Problem;
use super::times::{point, written};
use crate::http::caller::decoded;
use crate::policy::time::UnixTime;
use crate::store::audit::{self, AuditEntry};

/// Rows by default.
const ROWS_DEFAULT: usize = 200;
/// The most rows.
const ROWS_MAX: usize = 1_000;

/// Rows of the log, newest first.
#[derive(Debug, Serialize)]
pub(super) struct AuditLog {
    changes: Vec<AuditLine>,
}

#[derive(Debug, Serialize)]
struct AuditLine {
    id: i64,
    at: String,
    /// As the log has it, such as `alice@127.0.0.1`.
    who: String,
    /// The name that the operator gave. It is not verified: anybody with the token may give any name.
    operator_unverified: Option<String>,
    /// The peer's address; or `tiers.yaml`, `command`, `tiergate`.
    from: String,
    action: String,
    subject: String,
    detail: Value,
}

impl From<AuditEntry> for AuditLine {
    fn from(entry: AuditEntry) -> Self {
        // A name may contain an @, an address doesn't.
        let (operator, from) = match entry.who.rsplit_once('@') {
            Some((operator, from)) => (Some(operator.to_owned()), from.to_owned()),
            None => (None, entry.who.clone()),
        };
        Self {
            id: entry.id,
            at: written(entry.at),
            who: entry.who,
            operator_unverified: operator,
            from,
            action: entry.action,
            subject: entry.subject,
            detail: entry.detail,
        }
    }
}

/// `GET /audit?since=TIME&limit=N`.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
) -> Result<Json<AuditLog>, Problem> {
    let (since, limit) = parse(query.as_deref().unwrap_or_default())?;
    let database = Arc::clone(&admin.database);
    let reading =
        tokio::task::spawn_blocking(move || database.read(|connection| audit::rows(connection, since, limit)));
    let entries = reading.await.map_err(|_| Problem::task_failed())?;
    let entries = entries.map_err(|error| Problem::unreadable(&error))?;
    Ok(Json(AuditLog {
        changes: entries.into_iter().map(AuditLine::from).collect(),
    }))
}

fn parse(query: &str) -> Result<(UnixTime, usize), Problem> {
    let (mut since, mut limit) = (UnixTime::default(), ROWS_DEFAULT);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "since" => since = point(&String::from_utf8_lossy(&decoded(value)), "since")?,
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=ROWS_MAX).contains(number));
                limit = number.ok_or_else(|| Problem::bad_request(format!("`limit` is 1 to {ROWS_MAX}")))?;
            }
            _ => return Err(Problem::bad_request("the query may only have `since` and `limit`")),
        }
    }
    Ok((since, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_apart_from_the_address() {
        let line = |who: &str| {
            let line = AuditLine::from(AuditEntry {
                id: 1,
                at: UnixTime::default(),
                who: who.to_owned(),
                action: String::new(),
                subject: String::new(),
                detail: Value::Null,
            });
            (line.operator_unverified, line.from)
        };
        assert_eq!(line("a@b@::1"), (Some("a@b".to_owned()), "::1".to_owned()));
        assert_eq!(line("tiers.yaml"), (None, "tiers.yaml".to_owned()));
    }
}
