//! The one table: a refusal to its status, headers and body (semantics §8). Nothing else in the program knows a refusal's
//! status.
//!
//! A flood is the normal case, so an answer is put together in one buffer, without a serializer.
//!
//! Absent on purpose: reasons to refuse, and anything of another caller, an upstream or the program's inside.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use crate::policy::refusal::{Exceeded, Reason, Refusal};
use crate::policy::rules::Priority;
use crate::policy::time::Span;

/// Whom a refusal is told to, where that explains it.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// The name of its tier.
    pub tier: &'a str,
    /// The tier's priority.
    pub priority: Priority,
}

/// The status of a reason.
pub const fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::BadRequest | Reason::AmbiguousKey => StatusCode::BAD_REQUEST,
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::InvalidKey | Reason::Blocked => StatusCode::FORBIDDEN,
        Reason::QuotaDepleted | Reason::TooManyUsers | Reason::ConcurrencyExceeded => StatusCode::PAYMENT_REQUIRED,
        Reason::QueueFull
        | Reason::Displaced
        | Reason::WaitTooLong
        | Reason::WaitedTooLong
        | Reason::ShuttingDown
        | Reason::TooManyInFlight
        | Reason::JournalUnavailable
        | Reason::StatisticsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::UpstreamUnreachable | Reason::UpstreamFailed => StatusCode::BAD_GATEWAY,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn error(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::BadRequest(what) => what,
        Refusal::AmbiguousKey => "Two different API keys in one request",
        Refusal::NotFound => "Not found",
        Refusal::MethodNotAllowed => "Method not allowed",
        Refusal::RequestTimeout(what) => what,
        Refusal::BodyTooLarge { .. } => "The request's body is too large",
        Refusal::UnknownHost => "Unknown host",
        Refusal::HeadersTooLarge => "The request's head is too large",
        Refusal::RateLimited { .. } => "Too many requests",
        Refusal::InvalidKey => "Invalid API key",
        Refusal::Blocked => "Blocked",
        Refusal::QuotaDepleted { .. } => "Search quota depleted",
        Refusal::TooManyUsers { .. } => "Too many users",
        Refusal::ConcurrencyExceeded { .. } => "Concurrency limit exceeded",
        Refusal::QueueFull { .. } => "Search queue is full",
        Refusal::Displaced { .. } => "Search queue is full (made room for a higher tier)",
        Refusal::WaitTooLong { .. } => "The wait would exceed what was asked for",
        Refusal::WaitedTooLong { .. } => "Waited too long in the queue",
        Refusal::ShuttingDown { .. } => "Shutting down",
        Refusal::TooManyInFlight { .. } => "Too many requests in flight",
        Refusal::JournalUnavailable => "Temporarily unable to record usage",
        Refusal::StatisticsUnavailable => "Statistics can't be read now",
        Refusal::UpstreamUnreachable => "The search server can't be reached",
        Refusal::UpstreamFailed => "The search server broke off",
        Refusal::UpstreamTimeout => "The search server took too long",
    }
}

/// The problem type of RFC 9457 as draft-ietf-httpapi-ratelimit-headers registers it, where one fits.
const fn problem_type(reason: Reason) -> &'static str {
    match reason {
        Reason::RateLimited | Reason::QuotaDepleted | Reason::TooManyUsers | Reason::ConcurrencyExceeded => {
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        }
        Reason::QueueFull
        | Reason::Displaced
        | Reason::WaitTooLong
        | Reason::WaitedTooLong
        | Reason::TooManyInFlight
        | Reason::JournalUnavailable
        | Reason::StatisticsUnavailable => "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        _ => "about:blank",
    }
}

/// How the client wants to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    #[default]
    Json,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

impl Form {
    /// The client's wish: problem+json if its `Accept` names it, with a weight other than 0.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let names = |value: &HeaderValue| {
            value.to_str().is_ok_and(|accept| {
                accept.split(',').any(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let named = parts
                        .next()
                        .is_some_and(|name| name.eq_ignore_ascii_case("application/problem+json"));
                    named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)))
                })
            })
        };
        if headers.get_all(header::ACCEPT).iter().any(names) {
            Self::Problem
        } else {
            Self::Json
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Problem => HeaderValue::from_static("application/problem+json"),
        }
    }
}

/// A refusal as an answer.
pub fn reply(refusal: &Refusal, whom: Option<Whom<'_>>, form: Form) -> Response<Body> {
    let reason = refusal.reason();
    let mut response = Response::new(Body::whole(Bytes::from(body(refusal, whom, form))));
    *response.status_mut() = status(reason);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, form.content_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_ceil()));
    }
    if reason == Reason::ShuttingDown {
        // The connection is about to be closed whether its core knows that already or not.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A refusal as the bytes of a whole HTTP/1.1 answer, for a connection that hyper has given up.
pub fn reply_bytes(refusal: &Refusal) -> Vec<u8> {
    let body = body(refusal, None, Form::Json);
    let status = status(refusal.reason());
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    )
    .into_bytes()
}

fn body(refusal: &Refusal, whom: Option<Whom<'_>>, form: Form) -> String {
    let reason = refusal.reason();
    let mut json = Members(String::with_capacity(320));
    match form {
        Form::Json => json.text("error", error(refusal)),
        Form::Problem => {
            json.text("type", problem_type(reason));
            json.text("title", error(refusal));
            json.number("status", status(reason).as_u16());
            json.text("error", error(refusal));
        }
    }
    json.text("reason", reason.code());
    explain(refusal, &mut json);
    if let Some(Whom { tier, priority }) = whom {
        json.text("tier", tier);
        json.number("priority", priority.get());
    }
    if let Some(after) = refusal.retry_after() {
        json.number("retry_after", after.as_secs_ceil());
    }
    if form == Form::Problem {
        match refusal {
            Refusal::RateLimited {
                limit: Some(Exceeded { name, .. }),
                ..
            }
            | Refusal::QuotaDepleted { name, .. } => json.raw("violated-policies", &format!("[\"{name}\"]")),
            Refusal::ConcurrencyExceeded { .. } => json.raw("violated-policies", r#"["concurrency"]"#),
            _ => {}
        }
    }
    json.0.push('}');
    json.0
}

/// The numbers that explain a refusal.
fn explain(refusal: &Refusal, json: &mut Members) {
    match refusal {
        Refusal::BodyTooLarge { limit } => json.number("limit", limit),
        Refusal::RateLimited {
            limit: Some(exceeded),
            reset,
            ..
        } => {
            json.text("name", &exceeded.name);
            json.number("limit", exceeded.number);
            json.number("remaining", 0);
            json.number("reset", reset.as_secs_ceil());
        }
        Refusal::QuotaDepleted { name, limit, used, .. } => {
            json.text("name", name);
            json.number("limit", limit);
            json.number("used", used);
        }
        Refusal::TooManyUsers { limit } => {
            json.text("name", "users");
            json.number("limit", limit);
        }
        Refusal::ConcurrencyExceeded { limit, used } => {
            json.text("name", "concurrency");
            json.number("limit", limit);
            json.number("used", used);
        }
        Refusal::QueueFull { seats, admits_from, .. } => {
            json.text("name", "queue");
            json.number("limit", seats);
            match admits_from {
                Some(priority) => json.number("lowest_admitted_priority", priority.get()),
                None => json.raw("lowest_admitted_priority", "null"),
            }
        }
        Refusal::Displaced { by, .. } => json.number("displaced_by_priority", by.get()),
        Refusal::WaitTooLong { asked, estimate, .. } => {
            json.number("wait", asked.as_secs_ceil());
            json.number("estimate", (*estimate).min(ESTIMATE_MAX).as_secs_ceil());
        }
        Refusal::WaitedTooLong { waited, .. } => json.number("waited", format_args!("{:.1}", waited.as_secs_f64())),
        Refusal::TooManyInFlight { limit } => {
            json.text("name", "unmetered");
            json.number("limit", limit);
        }
        _ => {}
    }
}

/// Beyond that an estimate says no more than "long".
const ESTIMATE_MAX: Span = Span::from_secs(86_400);

/// A JSON object being written. Its names need no escaping.
struct Members(String);

impl Members {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push_str(value);
    }

    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        // Writing to a String can't fail.
        let _ = write!(self.0, "{value}");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        for character in value.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                control if control.is_control() => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(refusal: &Refusal, form: Form) -> serde_json::Value {
        let whom = Whom {
            tier: "a \"tier\"\\\u{7}",
            priority: Priority::LOWEST,
        };
        serde_json::from_str(&body(refusal, Some(whom), form)).expect("every body is JSON")
    }

    #[test]
    fn a_refusal_explains_itself() {
        let full = Refusal::QueueFull {
            seats: 8,
            admits_from: Priority::new(5),
            retry_after: Span::from_millis(2_100),
        };
        let expected = serde_json::json!({
            "error": "Search queue is full", "reason": "queue_full", "name": "queue", "limit": 8,
            "lowest_admitted_priority": 5, "tier": "a \"tier\"\\\u{7}", "priority": 0, "retry_after": 3,
        });
        assert_eq!(json(&full, Form::Json), expected);
    }

    #[test]
    fn a_problem_has_the_same_members() {
        let busy = Refusal::ConcurrencyExceeded { limit: 1, used: 1 };
        let (plain, problem) = (json(&busy, Form::Json), json(&busy, Form::Problem));
        for (name, value) in plain.as_object().expect("an object") {
            assert_eq!(&problem[name], value, "{name}");
        }
        assert_eq!(
            problem["type"],
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        );
        assert_eq!(problem["status"], 402);
        assert_eq!(problem["violated-policies"], serde_json::json!(["concurrency"]));
    }

    #[test]
    fn a_problem_is_told_as_one_only_to_whoever_asks() {
        let wanted = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            Form::wanted(&headers)
        };
        assert_eq!(wanted("text/html, application/problem+json;q=0.5"), Form::Problem);
        assert_eq!(wanted("application/problem+json;q=0"), Form::Json);
        assert_eq!(wanted("*/*"), Form::Json);
        assert_eq!(Form::wanted(&HeaderMap::new()), Form::Json);
    }
}
