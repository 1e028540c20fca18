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
use crate::gate::{Entered, Permit, QueuedJob, UploadingJob};
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::policy::{AdmissionRequest, RequestBody};
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
        let (head, upload) = visit.take(route.max_body);
        observation.uploads(upload.progress());
        observation.dispatched(self.upstream_name(route), None);
        let errand = Errand::Unmetered {
            upstream: Arc::clone(&route.upstream),
            permit,
        };
        let answered = exchange(self.connections, errand, head, upload)
            .await
            .map_err(stop_of)?;
        observation.served(Arc::clone(&answered.server), answered.took);
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
        // A client that expects 100 Continue sends nothing before it, and gets it once it is admitted.
        if !visit.expects {
            upload.take_arrived().await?;
        }
        if upload.is_complete() {
            request.body = RequestBody::Complete;
        }
        let wait = request.waits.client;
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
        let arrived = match entered {
            Entered::Uploading(uploading) => self.upload(uploading, &mut upload, visit.connection).await,
            entered => Ok(entered),
        };
        let (clock, since) = (self.site.gate.clock(), self.site.gate.clock().now());
        let permit = match arrived {
            Ok(Entered::Running(permit)) => Ok(permit),
            Ok(Entered::Queued(waiting)) => self.wait(waiting, visit.connection).await,
            Ok(Entered::Uploading(_)) => unreachable!("its body has arrived"),
            Err(stop) => Err(stop),
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(stop) => {
                found.observation.waited(clock.now().since(since));
                visit.give_back(upload);
                return Err(stop);
            }
        };
        let waited = permit.waited();
        found.observation.waited(waited);
        let server = route.upstream.server(permit.server());
        found.observation.dispatched(self.upstream_name(route), server);
        let answered = self
            .run_on_upstream(permit, route, head, upload, visit.connection)
            .await?;
        found.observation.served(Arc::clone(&answered.server), answered.took);
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

    /// Reads the body until it is in its window, or until so much has arrived that the rest will keep its pace while the job runs.
    async fn upload(
        &self,
        mut uploading: UploadingJob,
        upload: &mut Upload,
        connection: &Connection,
    ) -> Result<Entered, Stop> {
        let clock = self.site.gate.clock();
        let longest = self.site.generation.rules.queue.max_wait;
        tokio::select! {
            biased;
            refusal = &mut uploading => return Err(refusal.into()),
            () = connection.hung_up() => return Err(Stop::HungUp),
            () = clock.sleep(longest) => {
                return Err(Refusal::RequestTimeout("the request's body did not arrive in time").into());
            }
            ready = upload.until_ready(clock) => ready?,
        }
        uploading.arrived().map_err(Stop::from)
    }

    /// Waits in the queue until a slot is free, a higher priority displaces the job, the maximum wait is over, or the client
    /// hangs up.
    async fn wait(&self, mut waiting: QueuedJob, connection: &Connection) -> Result<Permit, Stop> {
        let longest = self.site.gate.clock().sleep_until(waiting.until());
        tokio::select! {
            biased;
            verdict = &mut waiting => verdict.map_err(Stop::from),
            () = connection.hung_up() => Err(Stop::HungUp),
            () = longest => waiting.expire().map_err(Stop::from),
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
    ) -> Result<Answered, Stop> {
        let watched = route.on_hangup == OnHangup::Cancel || !upload.is_complete();
        let errand = Errand::Metered {
            permit,
            upstream: Arc::clone(&route.upstream),
            on_hangup: route.on_hangup,
            success: Arc::clone(&route.success),
        };
        tokio::select! {
            biased;
            answered = exchange(self.connections, errand, head, upload) => answered.map_err(stop_of),
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
