//! The table that turns a refusal into its status, headers and body (rules §8). Nothing else in the program knows a refusal's
//! status.
//!
//! Operators may set other statuses, headers and bodies for single reasons; only [`Answers`] knows them.
//!
//! A flood of refusals is the normal case, so an answer is built in one buffer, without a serializer.
//!
//! No answer reveals anything about other callers, the upstream servers or the program's internals.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;

use super::body::Body;
use crate::policy::refusal::{Member, Reason, Refusal};
use crate::policy::rules::Priority;
use crate::policy::time::Span;
use crate::telemetry::request_id::{REQUEST_ID, RequestId};
use crate::template::{Template, Value, write_json};

/// The reason phrase of a status that has no standard one, such as 420.
const PHRASE: &str = "Refused";

/// The caller's tier, in refusals that explain it.
#[derive(Clone, Copy, Debug)]
pub struct Whom<'a> {
    /// The tier's name.
    pub tier: &'a str,
    /// The tier's priority.
    pub priority: Priority,
}

/// The default status of a reason.
const fn status(reason: Reason) -> StatusCode {
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
        | Reason::AdmissionStopped
        | Reason::CancelledByOperator
        | Reason::TooManyInFlight
        | Reason::TooManyUploads
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
        Refusal::AdmissionStopped { .. } => "No new searches are taken at the moment",
        Refusal::CancelledByOperator { .. } => "Cancelled by the operator",
        Refusal::TooManyInFlight { .. } => "Too many requests in flight",
        Refusal::TooManyUploads => "Too many uploads",
        Refusal::JournalUnavailable => "Temporarily unable to record usage",
        Refusal::StatisticsUnavailable => "Statistics can't be read now",
        Refusal::UpstreamUnreachable { .. } => "The search server can't be reached",
        Refusal::UpstreamFailed => "The search server closed the connection early",
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
        | Reason::AdmissionStopped
        | Reason::CancelledByOperator
        | Reason::TooManyInFlight
        | Reason::TooManyUploads
        | Reason::JournalUnavailable
        | Reason::StatisticsUnavailable => "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
        _ => "about:blank",
    }
}

/// The body's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    #[default]
    Json,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

impl Form {
    /// The client's wish: problem+json if `Accept` names it with a weight other than 0.
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

/// An operator's answer to one reason.
#[derive(Clone, Debug, Default)]
pub struct CustomAnswer {
    /// Its status, 400 to 599.
    pub status: Option<StatusCode>,
    /// Headers in addition to the usual ones, at most 16.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body and its type. The placeholders are members by their positions in [`Member::ALL`].
    pub body: Option<(HeaderValue, Template)>,
}

/// How refusals are answered: by default, or as the operator has set it.
#[derive(Debug, Default)]
pub struct Answers {
    /// By reason.
    own: [Option<Box<CustomAnswer>>; Reason::ALL.len()],
    /// Whether pages of all origins may read refusals.
    for_all_origins: bool,
}

impl Answers {
    /// The defaults, except for `own`. `for_all_origins`: pages of all origins may read even refusals that are sent outside of
    /// the CORS layer ([`Self::reply_bytes`]).
    pub fn new(own: Vec<(Reason, CustomAnswer)>, for_all_origins: bool) -> Self {
        let mut answers = Self {
            for_all_origins,
            ..Self::default()
        };
        for (reason, answer) in own {
            answers.own[reason as usize] = Some(Box::new(answer));
        }
        answers
    }

    fn own(&self, reason: Reason) -> Option<&CustomAnswer> {
        self.own[reason as usize].as_deref()
    }

    /// The refusal as an answer.
    pub fn reply(
        &self,
        refusal: &Refusal,
        whom: Option<Whom<'_>>,
        form: Form,
        request_id: &RequestId,
    ) -> Response<Body> {
        let reason = refusal.reason();
        let own = self.own(reason);
        let told = Told {
            refusal,
            whom,
            status: self.status(reason),
            request_id,
        };
        let (kind, body) = told.body(own, form);
        let mut response = Response::new(Body::whole(Bytes::from(body)));
        *response.status_mut() = told.status;
        if told.status.canonical_reason().is_none() {
            // Otherwise hyper would write `<none>`.
            let phrase = ReasonPhrase::from_static(PHRASE.as_bytes());
            response.extensions_mut().insert(phrase);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = refusal.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_ceil()));
        }
        for (name, value) in told.headers(own) {
            headers.append(name, value);
        }
        if reason == Reason::ShuttingDown {
            // The connection is about to be closed, whether its thread knows that already or not.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The refusal as the bytes of a whole HTTP/1.1 answer, for a connection that hyper has given up. The request could not be
    /// read, so its origin is unknown: the CORS header is sent only if every origin is allowed. Also returns the length of the body.
    pub fn reply_bytes(&self, refusal: &Refusal, request_id: &RequestId) -> (Vec<u8>, usize) {
        let own = self.own(refusal.reason());
        let told = Told {
            refusal,
            whom: None,
            status: self.status(refusal.reason()),
            request_id,
        };
        let (kind, body) = told.body(own, Form::Json);
        let phrase = told.status.canonical_reason().unwrap_or(PHRASE);
        let mut bytes = format!("HTTP/1.1 {} {phrase}\r\n", told.status.as_u16()).into_bytes();
        let fixed = [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
            (header::CONNECTION, HeaderValue::from_static("close")),
            (REQUEST_ID, request_id.value().clone()),
        ];
        let for_all = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let cors = self.for_all_origins.then_some(for_all);
        for (name, value) in fixed.into_iter().chain(cors).chain(told.headers(own)) {
            bytes.extend(name.as_str().as_bytes());
            bytes.extend(b": ");
            bytes.extend(value.as_bytes());
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes.extend(body.as_bytes());
        (bytes, body.len())
    }

    /// The status of that reason's answers.
    pub fn status(&self, reason: Reason) -> StatusCode {
        let own = self.own(reason).and_then(|own| own.status);
        own.unwrap_or_else(|| status(reason))
    }
}

/// A refusal being rendered.
struct Told<'a> {
    refusal: &'a Refusal,
    whom: Option<Whom<'a>>,
    status: StatusCode,
    request_id: &'a RequestId,
}

impl<'a> Told<'a> {
    fn headers(&self, own: Option<&'a CustomAnswer>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let own = own.map_or(&[][..], |own| &own.headers);
        own.iter().filter_map(|(name, template)| {
            let mut text = String::new();
            template.render(&mut text, |place| self.value(Member::ALL[place].0));
            // Template values are valid header text.
            Some((name.clone(), HeaderValue::from_str(text.trim()).ok()?))
        })
    }

    fn body(&self, own: Option<&CustomAnswer>, form: Form) -> (HeaderValue, String) {
        let mut text = String::with_capacity(320);
        if let Some((kind, template)) = own.and_then(|own| own.body.as_ref()) {
            template.render(&mut text, |place| self.value(Member::ALL[place].0));
            return (kind.clone(), text);
        }
        if form == Form::Problem {
            name(&mut text, "type");
            write_json(&mut text, Value::Text(problem_type(self.refusal.reason())));
            name(&mut text, "title");
            write_json(&mut text, Value::Text(error(self.refusal)));
        }
        for (member, called) in Member::ALL {
            match self.value(member) {
                Value::Missing if !self.is_null(member) => {}
                _ if member == Member::Status && form == Form::Json => {}
                value => {
                    name(&mut text, called);
                    write_json(&mut text, value);
                }
            }
        }
        if form == Form::Problem
            && let Some(limit) = violated(self.refusal)
        {
            name(&mut text, "violated-policies");
            text.push('[');
            write_json(&mut text, Value::Text(limit));
            text.push(']');
        }
        text.push('}');
        (form.content_type(), text)
    }

    /// The value of a member of the refusal. Default bodies and operators' bodies both read members here only.
    fn value(&self, member: Member) -> Value<'_> {
        let refusal = self.refusal;
        match member {
            Member::Error => Value::Text(error(refusal)),
            Member::Reason => Value::Text(refusal.reason().code()),
            Member::RequestId => Value::Text(self.request_id.as_str()),
            Member::Status => Value::Number(self.status.as_u16().into()),
            Member::Tier => self.explained().map_or(Value::Missing, |whom| Value::Text(whom.tier)),
            Member::Priority => self
                .explained()
                .map_or(Value::Missing, |whom| Value::Number(whom.priority.get().into())),
            Member::RetryAfter => {
                let after = refusal.retry_after();
                after.map_or(Value::Missing, |after| Value::Number(after.as_secs_ceil()))
            }
            other => explain(refusal, other),
        }
    }

    /// The caller's tier. Hidden in a 429: it would tell a right key from a wrong one without admitting the caller.
    fn explained(&self) -> Option<Whom<'a>> {
        self.whom.filter(|_| self.refusal.reason() != Reason::RateLimited)
    }

    /// Nobody would have been admitted: that is shown as `null` instead of being left out.
    fn is_null(&self, member: Member) -> bool {
        member == Member::LowestAdmittedPriority && matches!(self.refusal, Refusal::QueueFull { .. })
    }
}

/// The violated limit, as draft-ietf-httpapi-ratelimit-headers defines it.
fn violated(refusal: &Refusal) -> Option<&str> {
    match refusal {
        Refusal::RateLimited { limit, .. } => limit.as_ref().map(|exceeded| &*exceeded.name),
        Refusal::QuotaDepleted { name, .. } => Some(name),
        Refusal::ConcurrencyExceeded { .. } => Some("concurrency"),
        _ => None,
    }
}

/// The numbers that explain a refusal.
fn explain(refusal: &Refusal, member: Member) -> Value<'_> {
    let number = |number: u32| Value::Number(number.into());
    match (refusal, member) {
        (Refusal::BodyTooLarge { limit }, Member::Limit) => Value::Number(*limit),
        (
            Refusal::RateLimited {
                limit: Some(exceeded),
                reset,
                ..
            },
            member,
        ) => match member {
            Member::Name => Value::Text(&exceeded.name),
            Member::Limit => number(exceeded.number),
            Member::Remaining => Value::Number(0),
            Member::Reset => Value::Number(reset.as_secs_ceil()),
            _ => Value::Missing,
        },
        (Refusal::QuotaDepleted { name, limit, used, .. }, member) => match member {
            Member::Name => Value::Text(name),
            Member::Limit => Value::Number(*limit),
            Member::Used => Value::Number(*used),
            Member::Remaining => Value::Number(limit.saturating_sub(*used)),
            _ => Value::Missing,
        },
        (Refusal::TooManyUsers { .. }, Member::Name) => Value::Text("users"),
        (Refusal::TooManyUsers { limit }, Member::Limit) => number(*limit),
        (Refusal::ConcurrencyExceeded { .. }, Member::Name) => Value::Text("concurrency"),
        (Refusal::ConcurrencyExceeded { limit, .. }, Member::Limit) => number(*limit),
        (Refusal::ConcurrencyExceeded { used, .. }, Member::Used) => number(*used),
        (Refusal::QueueFull { .. }, Member::Name) => Value::Text("queue"),
        (Refusal::QueueFull { capacity, .. }, Member::Limit) => number(*capacity),
        (Refusal::QueueFull { admits_from, .. }, Member::LowestAdmittedPriority) => {
            admits_from.map_or(Value::Missing, |priority| number(priority.get().into()))
        }
        (Refusal::Displaced { by, .. }, Member::DisplacedByPriority) => number(by.get().into()),
        (Refusal::WaitTooLong { asked, .. }, Member::Wait) => Value::Number(asked.as_secs_ceil()),
        (Refusal::WaitTooLong { estimate, .. }, Member::Estimate) => {
            Value::Number((*estimate).min(ESTIMATE_MAX).as_secs_ceil())
        }
        (Refusal::WaitedTooLong { waited, .. }, Member::Waited) => Value::Decimal(waited.as_secs_f64()),
        (Refusal::TooManyInFlight { .. }, Member::Name) => Value::Text("unmetered"),
        (Refusal::TooManyInFlight { limit }, Member::Limit) => number(*limit),
        _ => Value::Missing,
    }
}

/// Longer estimates say no more than "long".
const ESTIMATE_MAX: Span = Span::from_secs(86_400);

/// Begins the next member of an object. The name needs no escaping.
fn name(json: &mut String, name: &str) {
    json.push(if json.is_empty() { '{' } else { ',' });
    json.push('"');
    json.push_str(name);
    json.push_str("\":");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(refusal: &Refusal, form: Form) -> serde_json::Value {
        let whom = Whom {
            tier: "a \"tier\"\\\u{7}",
            priority: Priority::LOWEST,
        };
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static("7f3e"))]);
        let told = Told {
            refusal,
            whom: Some(whom),
            status: status(refusal.reason()),
            request_id: &RequestId::of(&headers),
        };
        serde_json::from_str(&told.body(None, form).1).expect("every body is JSON")
    }

    #[test]
    fn a_refusal_explains_itself() {
        let full = Refusal::QueueFull {
            capacity: 8,
            admits_from: Priority::new(5),
            retry_after: Span::from_millis(2_100),
        };
        let expected = serde_json::json!({
            "error": "Search queue is full", "reason": "queue_full", "name": "queue", "limit": 8,
            "lowest_admitted_priority": 5, "tier": "a \"tier\"\\\u{7}", "priority": 0, "retry_after": 3,
            "request_id": "7f3e",
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
    fn a_problem_document_is_sent_only_on_request() {
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
