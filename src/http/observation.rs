//! What is noted of a request for the access log, the request metrics and its trace, from its arrival to the end of its answer.
//!
//! It is counted, logged and traced when it is dropped: with the answer's body, or when the client is gone.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request};

use super::site::Site;
use super::standing::Standing;
use crate::clock::Clock;
use crate::policy::refusal::Reason;
use crate::policy::rules::Tier;
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::store::Account;
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::request_id::RequestId;
use crate::telemetry::requests::RouteMeters;
use crate::telemetry::traces::RequestTrace;
use crate::upload::UploadProgress;
use crate::upstream::UpstreamServer;

/// A request under observation.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) request_id: RequestId,
    clock: Clock,
    began: Timestamp,
    route: Arc<RouteMeters>,
    status: Option<u16>,
    bytes_out: u64,
    /// Its spans, if there are traces.
    trace: Option<RequestTrace>,
    /// For the access log and the trace, if there is one of them.
    details: Option<Box<Details>>,
}

/// What only the access log and traces want to know.
#[derive(Debug)]
struct Details {
    log: Option<Arc<AccessLog>>,
    at: UnixTime,
    client: IpAddr,
    method: Method,
    path: String,
    user_agent: Option<HeaderValue>,
    metered: bool,
    account: Option<Arc<Account>>,
    tier: Option<Arc<str>>,
    reason: Option<Reason>,
    upload: Option<Arc<UploadProgress>>,
    /// Since when it is queued, or was.
    queued: Option<Timestamp>,
    wait: Option<Span>,
    upstream: Option<Arc<str>>,
    server: Option<Arc<UpstreamServer>>,
    service: Option<Span>,
}

impl Observation {
    /// Begins with a request's head. Its id is the one that it brings along, if that is valid.
    pub(super) fn begin<B>(site: &Site, request: &Request<B>, client: IpAddr) -> Self {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        let mut observation = Self::new(site, RequestId::of(headers));
        let trace = site.traces.as_ref().map(|traces| {
            let now = observation.began;
            RequestTrace::begin(traces, headers, method.as_str(), now)
        });
        let log = site.access_log.as_ref();
        if log.is_some() || trace.as_ref().is_some_and(RequestTrace::is_recording) {
            let has_user_agent = log.is_some_and(|log| log.has_user_agent());
            observation.details = Some(Box::new(Details {
                user_agent: (headers.get(header::USER_AGENT).filter(|_| has_user_agent)).cloned(),
                ..Details::new(site, client, method.clone(), path.to_owned())
            }));
        }
        observation.trace = trace;
        observation
    }

    /// Begins with what could not be read as a request. It is in no trace.
    pub(super) fn unreadable(site: &Site, client: IpAddr) -> Self {
        let mut observation = Self::new(site, RequestId::new());
        if site.access_log.is_some() {
            let method = Method::from_bytes(b"-").expect("`-` is a token");
            observation.details = Some(Box::new(Details::new(site, client, method, "-".to_owned())));
        }
        observation
    }

    fn new(site: &Site, request_id: RequestId) -> Self {
        let clock = *site.gate.clock();
        Self {
            request_id,
            clock,
            began: clock.now(),
            route: Arc::clone(&site.request_meters.none),
            status: None,
            bytes_out: 0,
            trace: None,
            details: None,
        }
    }

    /// The request is for that route, or for an own page.
    pub(super) fn routed(&mut self, route: &Arc<RouteMeters>, metered: bool) {
        self.route = Arc::clone(route);
        if let Some(details) = &mut self.details {
            details.metered = metered;
        }
    }

    /// The caller is known.
    pub(super) fn identified(&mut self, standing: &Standing, tier: &Tier) {
        if let Some(details) = &mut self.details {
            details.account.clone_from(&standing.account);
            details.tier = Some(Arc::clone(&tier.name));
        }
        if let Some(trace) = &mut self.trace {
            trace.identified(tier.priority.get());
        }
    }

    /// The request's body is read with that progress.
    pub(super) fn uploads(&mut self, upload: &Arc<UploadProgress>) {
        if let Some(details) = &mut self.details {
            details.upload = Some(Arc::clone(upload));
        }
    }

    /// It is in the queue since then.
    pub(super) fn queued(&mut self, since: Timestamp) {
        if let Some(details) = &mut self.details {
            details.queued = Some(since);
        }
    }

    /// It waited that long in the queue until `now`, for a slot or in vain.
    pub(super) fn waited(&mut self, wait: Span, now: Timestamp) {
        if let Some(details) = &mut self.details {
            details.wait = Some(wait);
        }
        if let Some(trace) = &mut self.trace {
            trace.waited(now);
        }
    }

    /// It goes to that upstream, with these headers, to which the trace's are added. It has its slot `since` then, if it needs one.
    pub(super) fn dispatched(&mut self, upstream: &Arc<str>, headers: &mut HeaderMap, since: Option<Timestamp>) {
        if let Some(details) = &mut self.details {
            details.upstream = Some(Arc::clone(upstream));
        }
        if let Some(trace) = &mut self.trace {
            trace.dispatched(since.unwrap_or_else(|| self.clock.now()), headers);
        }
    }

    /// It goes to that server, perhaps after another one could not be reached.
    pub(super) fn tries(&mut self, server: &Arc<UpstreamServer>) {
        if let Some(details) = &mut self.details {
            details.server = Some(Arc::clone(server));
        }
    }

    /// The server has answered: the time from the slot to the head of its answer.
    pub(super) fn served(&mut self, service: Span) {
        if let Some(details) = &mut self.details {
            details.service = Some(service);
        }
    }

    /// Its answer begins.
    pub(super) fn answered(&mut self, status: u16, reason: Option<Reason>) {
        self.status = Some(status);
        if let Some(details) = &mut self.details {
            details.reason = reason;
        }
    }

    /// So many bytes of the answer's body were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }
}

impl Details {
    fn new(site: &Site, client: IpAddr, method: Method, path: String) -> Self {
        Self {
            log: site.access_log.clone(),
            at: site.gate.clock().wall(),
            client,
            method,
            path,
            user_agent: None,
            metered: false,
            account: None,
            tier: None,
            reason: None,
            upload: None,
            queued: None,
            wait: None,
            upstream: None,
            server: None,
            service: None,
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let now = self.clock.now();
        let total = now.since(self.began);
        self.route.finished(self.status, total);
        let Some(details) = &self.details else { return };
        let entry = Entry {
            at: details.at,
            request_id: self.request_id.as_str(),
            client: details.client,
            account: details.account.as_ref().map(|account| &*account.name),
            tier: details.tier.as_deref(),
            route: &self.route.name,
            metered: details.metered,
            method: details.method.as_str(),
            path: &details.path,
            status: self.status,
            reason: details.reason.map(Reason::code),
            bytes_in: details.upload.as_ref().map_or(0, |upload| upload.received()),
            bytes_out: self.bytes_out,
            // A client that hangs up ends a wait without a word.
            wait: details.wait.or_else(|| Some(now.since(details.queued?))),
            upstream: details.upstream.as_deref(),
            server: details.server.as_ref().map(|server| server.name()),
            service: details.service,
            total,
            user_agent: details.user_agent.as_ref().map(HeaderValue::as_bytes),
        };
        if let Some(log) = &details.log {
            log.record(&entry, now);
        }
        if let Some(trace) = self.trace.take() {
            trace.finish(&entry);
        }
    }
}
