//! Forwards a request to an upstream server: an unmetered one at once, a metered one through the gate (rules §2.4–8).

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};

use super::body::Body;
use super::observation::Observation;
use super::ratelimit::HeldJob;
use super::site::Route;
use super::socket::Connection;
use super::visit::Visit;
use super::way::{Found, Stop, Turn};
use super::{headers, prefer};
use crate::gate::{Entered, Permit, QueuedJob};
use crate::policy::AdmissionRequest;
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::upstream::UpstreamServer;
use crate::upstream::exchange::{Answered, Errand, Failure, OnHangup, exchange};
use crate::upstream::upload::Upload;

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
        let (mut head, upload) = visit.take(route.max_body);
        observation.uploads(upload.progress());
        observation.dispatched(self.upstream_name(route), &mut head.headers, None);
        let errand = Errand::Unmetered {
            upstream: Arc::clone(&route.upstream),
            permit,
        };
        let tries = |server: &Arc<UpstreamServer>| observation.tries(server);
        let answered = exchange(self.connections, errand, head, upload, tries).await;
        let answered = answered.map_err(stop_of)?;
        observation.served(answered.took);
        Ok(response(answered))
    }

    fn upstream_name(&self, route: &Route) -> &Arc<str> {
        &self.site.generation.upstreams[route.upstream.id()]
    }

    /// Forwards a metered request: it gets a slot or a queue place, then an upstream server. Returns the answer, with its
    /// job while that is still running.
    pub(super) async fn forward_metered(
        &self,
        visit: &mut Visit<'_>,
        route: &Route,
        mut request: AdmissionRequest,
        found: &mut Found,
    ) -> Result<Response<Body>, Stop> {
        let (mut head, mut upload) = visit.take(route.max_body);
        found.observation.uploads(upload.progress());
        // A client that expects 100 Continue sends nothing before it, and gets it with the slot.
        if !visit.expects {
            upload.take_arrived().await?;
        }
        request.ready = visit.expects || upload.may_ask();
        let wait = request.prefer_wait;
        let entered = match self.admit(&mut request, &mut head.headers, found) {
            Ok(entered) => entered,
            Err(refusal) => {
                visit.give_back(upload);
                return Err(refusal.into());
            }
        };
        for quota in entered.overdrawn() {
            let site = found.newer.of_caller(self.site);
            site.note_unenforced(quota, found.standing.as_ref());
        }
        let observation = &mut found.observation;
        let granted = self.granted(entered, &mut upload, request.ready, visit.connection, observation);
        let permit = match granted.await {
            Ok(permit) => permit,
            Err(stop) => {
                visit.give_back(upload);
                return Err(stop);
            }
        };
        let (waited, since) = (permit.waited(), permit.since());
        let observation = &mut found.observation;
        observation.waited(waited, since);
        observation.dispatched(self.upstream_name(route), &mut head.headers, Some(since));
        let answered = self
            .run_on_upstream(permit, route, head, upload, visit.connection, observation)
            .await?;
        observation.served(answered.took);
        let upstream = answered.took;
        let succeeds = route.success.contains(&answered.head.status.as_u16());
        found.own = answered.body.is_under_way().then_some(HeldJob {
            released: if succeeds { 0 } else { route.cost },
        });
        let mut response = response(answered);
        response.headers_mut().append(SERVER_TIMING, timing(waited, upstream));
        if let Some(wait) = wait {
            prefer::applied(response.headers_mut(), wait);
        }
        Ok(response)
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
        upload: &mut Upload,
        is_ready: bool,
        connection: &Connection,
        observation: &mut Observation,
    ) -> Result<Permit, Stop> {
        let waiting = match entered {
            Entered::Running(permit) => return Ok(permit),
            Entered::Queued(waiting) => waiting,
        };
        let clock = self.site.gate.clock();
        let since = clock.now();
        observation.queued(since);
        let granted = self.wait(waiting, upload, is_ready, connection).await;
        granted.inspect_err(|_| {
            let now = clock.now();
            observation.waited(now.since(since), now);
        })
    }

    /// Waits in the queue until a slot is free, a higher priority displaces the job, the maximum wait is over, or the client
    /// hangs up. Meanwhile the body is read as far as its window goes.
    async fn wait(
        &self,
        mut waiting: QueuedJob,
        upload: &mut Upload,
        mut is_ready: bool,
        connection: &Connection,
    ) -> Result<Permit, Stop> {
        let clock = self.site.gate.clock();
        let mut longest = std::pin::pin!(clock.sleep_until(waiting.until()));
        loop {
            tokio::select! {
                biased;
                verdict = &mut waiting => return verdict.map_err(Stop::from),
                () = connection.hung_up() => return Err(Stop::HungUp),
                () = &mut longest => return waiting.expire().map_err(Stop::from),
                ready = upload.until_ready(clock), if !is_ready => {
                    ready?;
                    is_ready = true;
                    waiting.ask_slot();
                }
            }
        }
    }

    /// Runs the request on an upstream server. A client that hangs up cancels it only if the body is incomplete or the route says
    /// so; otherwise the job goes on without its client (rules §5.8).
    async fn run_on_upstream(
        &self,
        permit: Permit,
        route: &Route,
        head: Parts,
        upload: Upload,
        connection: &Connection,
        observation: &mut Observation,
    ) -> Result<Answered, Stop> {
        let watched = route.on_hangup == OnHangup::Cancel || !upload.is_complete();
        let errand = Errand::Metered {
            permit,
            upstream: Arc::clone(&route.upstream),
            on_hangup: route.on_hangup,
            success: Arc::clone(&route.success),
        };
        let tries = |server: &Arc<UpstreamServer>| observation.tries(server);
        tokio::select! {
            biased;
            answered = exchange(self.connections, errand, head, upload, tries) => answered.map_err(stop_of),
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
