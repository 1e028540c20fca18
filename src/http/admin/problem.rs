//! Errors of the admin API: `{ "error", "reason" }`, and for an import the lines.
//!
//! No message repeats input where a key may be. Refusals to callers are in `http::reply`.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::policy::caller::{WIDE_BITS_V4, WIDE_BITS_V6};
use crate::policy::time::Span;
use crate::store::{ChangeError, DrainError};

/// An error of the admin API.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    reason: &'static str,
    error: Cow<'static, str>,
    lines: Vec<LineError>,
    retry_after: Option<Span>,
}

/// An error in a line of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// The error.
    pub error: String,
}

#[derive(Serialize)]
struct ProblemBody<'p> {
    error: &'p str,
    reason: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lines: &'p [LineError],
}

impl Problem {
    fn new(status: StatusCode, reason: &'static str, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason,
            error: error.into(),
            lines: Vec::new(),
            retry_after: None,
        }
    }

    /// The request can't be understood or is invalid.
    pub fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error)
    }

    /// The token is missing or wrong.
    pub fn unauthorized() -> Self {
        let error = "this needs the operator's token: Authorization: Bearer TOKEN (TIERGATE_ADMIN_TOKEN, or where `admin` \
                     in tiers.yaml says, or the file admin.token in data_dir)";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
    }

    /// A log-in with a wrong token; so many further attempts are possible at once.
    pub fn wrong_token(left: usize) -> Self {
        let left = match left {
            0 => "try again in a minute".to_owned(),
            1 => "one attempt is left this minute".to_owned(),
            left => format!("{left} attempts are left this minute"),
        };
        let error = format!("this is not the operator's token: {left}");
        Self::new(StatusCode::FORBIDDEN, "wrong_token", error)
    }

    /// There were too many log-ins with a wrong token.
    pub fn too_many_attempts(retry_after: Span) -> Self {
        let seconds = retry_after.as_secs_ceil();
        let error = format!("too many log-ins with a wrong token: try again in {seconds} s");
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", error)
        }
    }

    /// A request by a session that the operator's own page would not make.
    pub fn foreign() -> Self {
        let error =
            "a request by a session must come from the operator's page itself, and a change needs its X-Tiergate-CSRF";
        Self::new(StatusCode::FORBIDDEN, "foreign_request", error)
    }

    /// The system has no random bytes for a session.
    pub fn no_session(error: &std::io::Error) -> Self {
        let error = format!("the system gives no random bytes: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error)
    }

    /// There is no such path.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such path")
    }

    /// The path exists, but not with this method.
    pub fn method_not_allowed() -> Self {
        let error = "the path does not allow this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
    }

    /// There is no such account.
    pub fn unknown_account() -> Self {
        ChangeError::UnknownAccount.into()
    }

    /// The network has no entry, though it may lie in `others`, which have one.
    pub fn unknown_network(others: impl Iterator<Item = String>) -> Self {
        let problem = Self::from(ChangeError::UnknownNetwork);
        let others: Vec<String> = others.collect();
        if others.is_empty() {
            return problem;
        }
        let error = format!("{}, but it lies in {}", problem.error, others.join(", "));
        Self {
            error: error.into(),
            ..problem
        }
    }

    /// Blocking this network would lock out a large part of all clients, and `confirm` is missing.
    pub fn wide_network(network: &ipnet::IpNet) -> Self {
        let error = format!(
            "{network} is wider than /{WIDE_BITS_V4} (IPv4) or /{WIDE_BITS_V6} (IPv6): this locks out a large part of \
             all clients, perhaps including you; send \"confirm\": true if that is meant"
        );
        Self::new(StatusCode::CONFLICT, "wide_network", error)
    }

    /// The database can't be read.
    pub fn unreadable(error: &crate::store::ReadError) -> Self {
        let error = format!("the database can't be read: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error)
    }

    /// The body is longer than allowed.
    pub fn too_large(bytes_max: usize) -> Self {
        let error = match bytes_max >> 20 {
            0 => format!("the body is longer than {} KiB", bytes_max >> 10),
            mib => format!("the body is longer than {mib} MiB: send it in parts"),
        };
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error)
    }

    /// The body did not arrive in time.
    pub fn too_slow(timeout: Span) -> Self {
        let error = format!("the body did not arrive within {timeout}");
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error)
    }

    /// The request is for a host that isn't the admin listener's.
    pub fn unknown_host() -> Self {
        let error = "the admin listener doesn't answer for this host: use localhost or the listener's address, or add the name to \
                     `admin.hosts` in tiers.yaml";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", error)
    }

    /// No upstream has such a server, and none is drained.
    pub fn unknown_server() -> Self {
        let error = "there is no such upstream server: GET /servers lists them";
        Self::new(StatusCode::NOT_FOUND, "unknown_server", error)
    }

    /// There is no such job in flight.
    pub fn unknown_job() -> Self {
        let error = "there is no such job: it has ended, or there never was one";
        Self::new(StatusCode::NOT_FOUND, "unknown_job", error)
    }

    /// The job isn't queued.
    pub fn not_queued() -> Self {
        let error = "the job is not queued (any more): only queued jobs can be cancelled";
        Self::new(StatusCode::CONFLICT, "not_queued", error)
    }

    /// A task of tiergate's panicked.
    pub fn task_failed() -> Self {
        ChangeError::Unavailable("the task failed; see tiergate's log".to_owned()).into()
    }

    /// Tiergate runs a preset.
    pub fn no_file() -> Self {
        let error = "tiergate runs a preset: there is no file to reload";
        Self::new(StatusCode::CONFLICT, "no_file", error)
    }

    /// Too many requests wait for an answer, or tiergate shuts down.
    pub fn busy() -> Self {
        let error = "too many configuration requests at once, or tiergate is shutting down: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error)
    }

    /// The message.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// `count` lines of an import are invalid, so nothing was imported. `lines` are the first of them.
    pub fn lines(lines: Vec<LineError>, count: usize) -> Self {
        let error = match count {
            1 => "1 line is wrong, so nothing was imported".to_owned(),
            _ => format!("{count} lines are wrong, so nothing was imported"),
        };
        Self {
            lines,
            ..Self::new(StatusCode::BAD_REQUEST, "bad_lines", error)
        }
    }
}

impl From<DrainError> for Problem {
    fn from(error: DrainError) -> Self {
        let (status, reason) = match &error {
            DrainError::TooMany => (StatusCode::CONFLICT, "too_many_drained"),
            DrainError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, reason, error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let (status, reason) = match &error {
            ChangeError::UnknownAccount => (StatusCode::NOT_FOUND, "unknown_account"),
            ChangeError::UnknownKey => (StatusCode::NOT_FOUND, "unknown_key"),
            ChangeError::Declared => (StatusCode::CONFLICT, "listed"),
            ChangeError::NameTaken | ChangeError::NotUpdating => (StatusCode::CONFLICT, "name_taken"),
            ChangeError::TooManyAccounts => (StatusCode::CONFLICT, "too_many_accounts"),
            ChangeError::KeyTaken => (StatusCode::CONFLICT, "key_taken"),
            ChangeError::TooManyKeys => (StatusCode::CONFLICT, "too_many_keys"),
            ChangeError::KeyExpired => (StatusCode::CONFLICT, "key_expired"),
            ChangeError::Differs => (StatusCode::CONFLICT, "differs"),
            ChangeError::NoTier => (StatusCode::BAD_REQUEST, "bad_request"),
            ChangeError::TooManyRemoved { .. } => (StatusCode::CONFLICT, "too_many_removed"),
            ChangeError::UnknownNetwork => (StatusCode::NOT_FOUND, "unknown_network"),
            ChangeError::DeclaredNetwork => (StatusCode::CONFLICT, "listed"),
            ChangeError::TooManyNetworks => (StatusCode::CONFLICT, "too_many_networks"),
            ChangeError::Illegal(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            ChangeError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, reason, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            error: &self.error,
            reason: self.reason,
            lines: &self.lines,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(retry_after) = self.retry_after {
            let seconds = HeaderValue::from(retry_after.as_secs_ceil());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
