//! The spans of one request.
//!
//! The span of the request and that of its exchange begin when they begin, for their ids go upstream. All else is written when
//! the request ends, from what the access log has too. A request that isn't sampled has only its ids.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::{Traces, traceparent};
use crate::policy::time::Timestamp;
use crate::telemetry::access_log::{AddressDisplay, Entry};

/// The most bytes of a path in a span; a longer one is cut.
const PATH_BYTES_MAX: usize = 1_024;
/// Why there is no answer, where no refusal says so.
const HUNG_UP: &str = "hung_up";
/// The methods that a span names (of the conventions for HTTP spans, stable); any other is `_OTHER`.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// A request's spans, until they are exported.
#[derive(Debug)]
pub struct RequestTrace(Box<Spans>);

#[derive(Debug)]
struct Spans {
    tracer: SdkTracer,
    addresses: AddressDisplay,
    span: Span,
    /// As a parent of others.
    context: Context,
    /// Whether the request is of a trace that its caller began.
    is_callers_trace: bool,
    method: &'static str,
    /// When the request arrived, by both clocks.
    began: (SystemTime, Timestamp),
    priority: Option<u8>,
    /// When it left the queue.
    left_queue: Option<Timestamp>,
    /// The exchange with an upstream server, and when it began.
    exchange: Option<(Span, Timestamp)>,
}

impl RequestTrace {
    /// Begins the span of a request with these headers, which has arrived at `now`.
    pub fn begin(traces: &Traces, headers: &HeaderMap, method: &str, now: Timestamp) -> Self {
        let parent = traceparent::parent(headers);
        let is_callers_trace = parent.is_some();
        let around = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
        let began = (traces.clock.system_time(), now);
        let builder = SpanBuilder::from_name(method)
            .with_kind(SpanKind::Server)
            .with_start_time(began.0);
        let span = traces.tracer.build_with_context(builder, &around);
        Self(Box::new(Spans {
            context: around.with_remote_span_context(span.span_context().clone()),
            tracer: traces.tracer.clone(),
            addresses: traces.addresses,
            span,
            is_callers_trace,
            method,
            began,
            priority: None,
            left_queue: None,
            exchange: None,
        }))
    }

    /// Whether it is sampled.
    pub fn is_recording(&self) -> bool {
        self.0.span.is_recording()
    }

    /// The caller's tier has that priority.
    pub fn identified(&mut self, priority: u8) {
        self.0.priority = Some(priority);
    }

    /// It has left the queue.
    pub fn waited(&mut self, until: Timestamp) {
        self.0.left_queue = Some(until);
    }

    /// It is sent to an upstream server with these headers. A caller's `traceparent` stays as it is if the request isn't sampled.
    pub fn dispatched(&mut self, now: Timestamp, headers: &mut HeaderMap) {
        let spans = &mut self.0;
        if spans.span.is_recording() {
            let span = spans.child("upstream", SpanKind::Client, spans.at(now));
            traceparent::set(headers, span.span_context(), spans.is_callers_trace);
            spans.exchange = Some((span, now));
        } else if !spans.is_callers_trace {
            traceparent::set(headers, spans.span.span_context(), false);
        }
    }

    /// Ends the spans of a request that has become that.
    pub fn finish(self, entry: &Entry<'_>) {
        if self.is_recording() {
            self.0.finish(entry);
        }
    }
}

impl Spans {
    fn finish(mut self, entry: &Entry<'_>) {
        let end = self.began.1 + entry.total;
        self.finish_queue(self.left_queue.unwrap_or(end), entry);
        if let Some((span, since)) = self.exchange.take() {
            let until = entry.service.map_or(end, |service| since + service);
            self.finish_exchange(span, until, entry);
        }
        if entry.route != "none" {
            self.span.update_name(format!("{} {}", self.method, entry.route));
        }
        self.describe(entry);
        let end = self.at(end);
        self.span.end_with_timestamp(end);
    }

    fn finish_queue(&self, until: Timestamp, entry: &Entry<'_>) {
        // One that got a slot at once has not been in the queue.
        let Some(wait) = entry.wait.filter(|wait| !wait.is_zero()) else {
            return;
        };
        let result = match entry.upstream {
            Some(_) => "dispatched",
            None => entry.reason.unwrap_or(HUNG_UP),
        };
        let end = self.at(until);
        let start = end.checked_sub(wait.into()).unwrap_or(end);
        let mut span = self.child("queue", SpanKind::Internal, start);
        span.set_attribute(KeyValue::new("tiergate.queue.result", result));
        span.end_with_timestamp(end);
    }

    fn finish_exchange(&self, mut span: Span, until: Timestamp, entry: &Entry<'_>) {
        let set = &mut |name, value| span.set_attribute(KeyValue::new(name, value));
        set("http.request.method", self.method.into());
        set_text(set, "tiergate.upstream", entry.upstream);
        if let Some((host, port)) = entry.server.and_then(|server| server.rsplit_once(':')) {
            let host = host.trim_matches(['[', ']']);
            set("server.address", host.to_owned().into());
            set("server.port", port.parse().unwrap_or(0_i64).into());
        }
        // Without the head of an answer, the status is that of a refusal.
        let status = entry.status.filter(|_| entry.service.is_some());
        if let Some(status) = status {
            set("http.response.status_code", i64::from(status).into());
        }
        let error = match status {
            Some(status) => (status >= 400).then(|| status.to_string().into()),
            None => Some(entry.reason.unwrap_or(HUNG_UP).into()),
        };
        fail(&mut span, error);
        span.end_with_timestamp(self.at(until));
    }

    /// The attributes of the request's span.
    fn describe(&mut self, entry: &Entry<'_>) {
        let client = self.addresses.shown(entry.client);
        let set = &mut |name, value| self.span.set_attribute(KeyValue::new(name, value));
        set("http.request.method", self.method.into());
        set("url.scheme", "http".into());
        set("url.path", cut(entry.path).to_owned().into());
        set_text(set, "http.route", Some(entry.route).filter(|route| *route != "none"));
        set_text(
            set,
            "client.address",
            client.map(|client| client.to_string()).as_deref(),
        );
        set_text(set, "tiergate.request_id", Some(entry.request_id));
        set_text(set, "tiergate.account", entry.account);
        set_text(set, "tiergate.tier", entry.tier);
        if let Some(priority) = self.priority {
            set("tiergate.priority", i64::from(priority).into());
        }
        if let Some(status) = entry.status {
            set("http.response.status_code", i64::from(status).into());
        }
        set_text(set, "tiergate.reason", entry.reason);
        let error = match (entry.status, entry.reason) {
            (Some(500..), Some(reason)) => Some(reason.into()),
            (Some(status @ 500..), None) => Some(status.to_string().into()),
            (Some(_), _) => None,
            (None, _) => Some(HUNG_UP.into()),
        };
        fail(&mut self.span, error);
    }

    fn child(&self, name: &'static str, kind: SpanKind, start: SystemTime) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(start);
        self.tracer.build_with_context(builder, &self.context)
    }

    /// That time by the wall clock, as it was set when the request arrived.
    fn at(&self, time: Timestamp) -> SystemTime {
        self.began.0 + Duration::from(time.since(self.began.1))
    }
}

fn set_text(set: &mut impl FnMut(&'static str, Value), name: &'static str, text: Option<&str>) {
    if let Some(text) = text {
        set(name, text.to_owned().into());
    }
}

/// Marks the span as failed, if it has.
fn fail(span: &mut Span, error: Option<StringValue>) {
    if let Some(error) = error {
        span.set_attribute(KeyValue::new("error.type", error));
        span.set_status(Status::error(""));
    }
}

fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}
