//! Forwards a request to an upstream server: an unmetered one at once, a metered one through the gate (rules §2.4–8).

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};

use super::bodies::ArrivingBody;
use super::body::Body;
use super::found::Found;
use super::observation::Observation;
use super::ratelimit::HeldJob;
use super::site::Route;
use super::socket::Connection;
use super::visit::Visit;
use super::way::{Stop, Turn};
use super::{headers, prefer};
use crate::gate::{Entered, Permit, QueuedJob};
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::policy::{self, AdmissionRequest};
use crate::upload::ReceivedBody;
use crate::upstream::UpstreamServer;
use crate::upstream::exchange::{Answered, Errand, Failure, OnHangup, exchange};
use crate::upstream::request_body::RequestBody;

impl Turn<'_> {
    /// Forwards an unmetered request: it needs no queue place and no slot, but the number in flight is capped.
    pub(super) async fn forward_unmetered(
        &self,
        visit: &mut Visit<'_>,
        route: &Route,
        observation: &mut Observation,
    ) -> Result<Response<Body>, Stop> {
        let limit = u32::try_from(self.site.unmetered_max).unwrap_or(u32::MAX);
        let permit = self.site.unmetered.try_take();
        let permit = permit.ok_or(Refusal::TooManyInFlight { limit })?;
        let (mut head, body) = visit.take_streamed(route.max_body);
        observation.uploads(body.progress());
        observation.dispatched(self.upstream_name(route), &mut head.headers, None);
        let errand = Errand::Unmetered {
            upstream: Arc::clone(&route.upstream),
            permit,
        };
        let tries = |server: &Arc<UpstreamServer>| observation.tries(server);
        let answered = exchange(self.connections, errand, head, body, tries).await;
        let answered = answered.map_err(stop_of)?;
        observation.served(answered.took);
        Ok(response(answered))
    }

    fn upstream_name(&self, route: &Route) -> &Arc<str> {
        &self.site.generation.upstreams[route.upstream.id()]
    }

    /// Forwards a metered request: its body is received, it gets a slot or a queue place, then an upstream server. Returns the
    /// answer, with its job while that is still running.
    pub(super) async fn forward_metered(
        &self,
        visit: &mut Visit<'_>,
        route: &Route,
        mut request: AdmissionRequest,
        found: &mut Found,
    ) -> Result<Response<Body>, Stop> {
        let (mut head, upload) = visit.take(route.max_body);
        found.observation.uploads(upload.progress());
        let mut arriving = ArrivingBody::new(upload);
        let admitted = self
            .admit_with_body(&mut arriving, visit.expects, &mut request, &mut head.headers, found)
            .await;
        let (entered, body) = match admitted {
            Ok(admitted) => admitted,
            Err(stop) => {
                visit.give_back(arriving.into_unread());
                return Err(stop);
            }
        };
        let permit = self.granted(entered, visit.connection, &mut found.observation).await?;
        let (waited, since) = (permit.waited(), permit.since());
        let observation = &mut found.observation;
        observation.waited(waited, since);
        observation.dispatched(self.upstream_name(route), &mut head.headers, Some(since));
        let answered = self
            .run_on_upstream(permit, route, head, &body, visit.connection, observation)
            .await?;
        observation.served(answered.took);
        let upstream = answered.took;
        let succeeds = route.success.contains(&answered.head.status.as_u16());
        found.own = answered.body.is_under_way().then_some(HeldJob {
            released: if succeeds { 0 } else { route.cost },
        });
        let mut response = response(answered);
        response.headers_mut().append(SERVER_TIMING, timing(waited, upstream));
        if let Some(wait) = request.waits.client {
            prefer::applied(response.headers_mut(), wait);
        }
        Ok(response)
    }

    /// Admits the job. If its body has not arrived yet, the job takes neither a slot nor a queue place before it has. The end of
    /// the client's stream ends nothing meanwhile: it may follow the body at once.
    async fn admit_with_body(
        &self,
        arriving: &mut ArrivingBody,
        expects: bool,
        request: &mut AdmissionRequest,
        headers: &mut HeaderMap,
        found: &mut Found,
    ) -> Result<(Entered, ReceivedBody), Stop> {
        let clock = *self.site.gate.clock();
        let bodies = &self.site.bodies;
        let rules = &found.newer.of_caller(self.site).generation.rules;
        let priority = rules.tier(request.tier).priority;
        arriving
            .begin(expects, &bodies.budget, request.from, priority, clock.now())
            .await?;
        if arriving.is_received() {
            request.body = policy::RequestBody::Complete;
        }
        let entered = self.admit(request, headers, found)?;
        for quota in entered.overdrawn() {
            let site = found.newer.of_caller(self.site);
            site.note_unenforced(quota, found.standing.as_ref());
        }
        let Entered::Uploading(mut job) = entered else {
            return Ok((entered, arriving.take_received()));
        };
        let body = tokio::select! {
            biased;
            refusal = &mut job => return Err(refusal.into()),
            body = arriving.receive(bodies, clock) => body?,
        };
        Ok((job.arrived()?, body))
    }

    /// Asks the gate for admission by the active rules. If they are newer than those of the caller's identity, the identity is
    /// renewed first. The route and the cost stay.
    fn admit(
        &self,
        request: &mut AdmissionRequest,
        headers: &mut HeaderMap,
        found: &mut Found,
    ) -> Result<Entered, Refusal> {
        loop {
            let site = found.newer.of_caller(self.site);
            if let Ok(entered) = site.gate.enter(&site.generation, request) {
                return entered;
            }
            let newest = self.newer_than(site)?;
            let newest = found.newer.caller_by(newest);
            if let Some(standing) = &mut found.standing {
                *standing = newest.callers.refresh(standing, newest.gate.clock().wall());
                request.caller = standing.caller;
                request.tier = standing.tier_id;
                request.own.clone_from(&standing.own);
                request.delegate.clone_from(&standing.delegate);
                let tier = standing.tier(&newest.generation.rules);
                headers::add_caller_headers(headers, standing.account.as_deref(), tier);
            }
        }
    }

    /// The slot of an admitted job, once it has one.
    async fn granted(
        &self,
        entered: Entered,
        connection: &Connection,
        observation: &mut Observation,
    ) -> Result<Permit, Stop> {
        let waiting = match entered {
            Entered::Running(permit) => return Ok(permit),
            Entered::Queued(waiting) => waiting,
            Entered::Uploading(_) => unreachable!("its body is complete"),
        };
        let clock = self.site.gate.clock();
        let since = clock.now();
        observation.queued(since);
        let granted = self.wait(waiting, connection).await;
        granted.inspect_err(|_| {
            let now = clock.now();
            observation.waited(now.since(since), now);
        })
    }

    /// Waits in the queue until a slot is free, a higher priority displaces the job, the maximum wait is over, or the client
    /// hangs up.
    async fn wait(&self, mut waiting: QueuedJob, connection: &Connection) -> Result<Permit, Stop> {
        let clock = self.site.gate.clock();
        let longest = clock.sleep_until(waiting.until());
        tokio::select! {
            biased;
            result = &mut waiting => result.map_err(Stop::from),
            () = connection.hung_up() => Err(Stop::HungUp),
            () = longest => waiting.expire().map_err(Stop::from),
        }
    }

    /// Runs the request on an upstream server. A client that hangs up cancels it only if the route says so; otherwise the job goes
    /// on without its client (rules §5.8).
    async fn run_on_upstream(
        &self,
        permit: Permit,
        route: &Route,
        head: Parts,
        body: &ReceivedBody,
        connection: &Connection,
        observation: &mut Observation,
    ) -> Result<Answered, Stop> {
        let watched = route.on_hangup == OnHangup::Cancel;
        let errand = Errand::Metered {
            permit,
            upstream: Arc::clone(&route.upstream),
            on_hangup: route.on_hangup,
            success: Arc::clone(&route.success),
        };
        let tries = |server: &Arc<UpstreamServer>| observation.tries(server);
        tokio::select! {
            biased;
            answered = exchange(self.connections, errand, head, RequestBody::received(body), tries) => answered.map_err(stop_of),
            () = connection.hung_up(), if watched => Err(Stop::HungUp),
        }
    }
}

fn stop_of(failure: Failure) -> Stop {
    match failure {
        Failure::Refused(refusal) => refusal.into(),
        Failure::ClientGone => Stop::HungUp,
    }
}

/// The upstream server's answer as the client gets it.
fn response(answered: Answered) -> Response<Body> {
    let Answered { head, body, .. } = answered;
    let mut response = Response::from_parts(head, Body::of_upstream(body));
    *response.version_mut() = Version::HTTP_11;
    headers::remove_hop_by_hop(response.headers_mut());
    response
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `Server-Timing: queue;dur=12.5, upstream;dur=431.0`, in milliseconds: the time in the queue, and from the slot to the head of
/// the upstream server's answer.
fn timing(waited: Span, upstream: Span) -> HeaderValue {
    let millis = |span: Span| span.as_secs_f64() * 1e3;
    let text = format!("queue;dur={:.1}, upstream;dur={:.1}", millis(waited), millis(upstream));
    HeaderValue::from_str(&text).expect("digits and ASCII punctuation")
}
