//! What is noted of a request for the access log and the request metrics, from its arrival to the end of its answer.
//!
//! It is counted and logged when it is dropped: with the answer's body, or when the client is gone.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use http::header::{self, HeaderValue};
use http::request::Parts;

use super::site::Site;
use super::standing::Standing;
use crate::clock::Clock;
use crate::policy::refusal::Reason;
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::store::Account;
use crate::telemetry::access_log::{AccessLog, Entry};
use crate::telemetry::request_id::RequestId;
use crate::telemetry::requests::RouteMeters;
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
    /// For the access log, if there is one.
    line: Option<Box<LogDetails>>,
}

/// What only the access log wants to know.
#[derive(Debug)]
struct LogDetails {
    log: Arc<AccessLog>,
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
    wait: Option<Span>,
    upstream: Option<Arc<str>>,
    server: Option<Arc<UpstreamServer>>,
    service: Option<Span>,
}

impl Observation {
    /// Begins with a request's head. Its id is the one that it brings along, if that is valid.
    pub(super) fn begin(site: &Site, head: &Parts, client: IpAddr) -> Self {
        let line = site.access_log.as_ref().map(|log| LogDetails {
            user_agent: (head.headers.get(header::USER_AGENT).filter(|_| log.has_user_agent())).cloned(),
            ..LogDetails::new(site, log, client, head.method.clone(), head.uri.path().to_owned())
        });
        Self::new(site, RequestId::of(&head.headers), line)
    }

    /// Begins with what could not be read as a request.
    pub(super) fn unreadable(site: &Site, client: IpAddr) -> Self {
        let log = site.access_log.as_ref();
        let method = || Method::from_bytes(b"-").expect("`-` is a token");
        let line = log.map(|log| LogDetails::new(site, log, client, method(), "-".to_owned()));
        Self::new(site, RequestId::new(), line)
    }

    fn new(site: &Site, request_id: RequestId, line: Option<LogDetails>) -> Self {
        let clock = *site.gate.clock();
        Self {
            request_id,
            clock,
            began: clock.now(),
            route: Arc::clone(&site.request_meters.none),
            status: None,
            bytes_out: 0,
            line: line.map(Box::new),
        }
    }

    /// The request is for that route, or for an own page.
    pub(super) fn routed(&mut self, route: &Arc<RouteMeters>, metered: bool) {
        self.route = Arc::clone(route);
        if let Some(line) = &mut self.line {
            line.metered = metered;
        }
    }

    /// The caller is known.
    pub(super) fn identified(&mut self, standing: &Standing, tier: &Arc<str>) {
        if let Some(line) = &mut self.line {
            line.account.clone_from(&standing.account);
            line.tier = Some(Arc::clone(tier));
        }
    }

    /// The request's body is read with that progress.
    pub(super) fn uploads(&mut self, upload: &Arc<UploadProgress>) {
        if let Some(line) = &mut self.line {
            line.upload = Some(Arc::clone(upload));
        }
    }

    /// It waited that long in the queue, for a slot or in vain.
    pub(super) fn waited(&mut self, wait: Span) {
        if let Some(line) = &mut self.line {
            line.wait = Some(wait);
        }
    }

    /// It is sent to that server of that upstream.
    pub(super) fn dispatched(&mut self, upstream: &Arc<str>, server: Option<Arc<UpstreamServer>>) {
        if let Some(line) = &mut self.line {
            line.upstream = Some(Arc::clone(upstream));
            line.server = server;
        }
    }

    /// The server that has answered, and the time from the slot to the head of its answer.
    pub(super) fn served(&mut self, server: Arc<UpstreamServer>, service: Span) {
        if let Some(line) = &mut self.line {
            line.server = Some(server);
            line.service = Some(service);
        }
    }

    /// Its answer begins.
    pub(super) fn answered(&mut self, status: u16, reason: Option<Reason>) {
        self.status = Some(status);
        if let Some(line) = &mut self.line {
            line.reason = reason;
        }
    }

    /// So many bytes of the answer's body were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }
}

impl LogDetails {
    fn new(site: &Site, log: &Arc<AccessLog>, client: IpAddr, method: Method, path: String) -> Self {
        Self {
            log: Arc::clone(log),
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
        let Some(line) = &self.line else { return };
        let entry = Entry {
            at: line.at,
            request_id: self.request_id.as_str(),
            client: line.client,
            account: line.account.as_ref().map(|account| &*account.name),
            tier: line.tier.as_deref(),
            route: &self.route.name,
            metered: line.metered,
            method: line.method.as_str(),
            path: &line.path,
            status: self.status,
            reason: line.reason.map(Reason::code),
            bytes_in: line.upload.as_ref().map_or(0, |upload| upload.received()),
            bytes_out: self.bytes_out,
            wait: line.wait,
            upstream: line.upstream.as_deref(),
            server: line.server.as_ref().map(|server| server.name()),
            service: line.service,
            total,
            user_agent: line.user_agent.as_ref().map(HeaderValue::as_bytes),
        };
        line.log.record(&entry, now);
    }
}
