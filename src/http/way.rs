//! The request path, top to bottom (rules §2): `Turn::handle` has its steps in order. `forward` continues once the route and
//! the caller are known; `policy` makes the decisions.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;
use tracing::debug;

use super::account::Visitor;
use super::address::Client;
use super::body::Body;
use super::found::Found;
use super::limits::Sender;
use super::observation::Observation;
use super::ratelimit::Metered;
use super::recent::{CallerKind, RecentRefusal};
use super::reply::{Form, Whom};
use super::routes::NoRoute;
use super::site::Site;
use super::socket::Connection;
use super::standing::Standing;
pub use super::stop::HungUp;
pub(super) use super::stop::Stop;
use super::target::{host, target};
pub use super::visit::Begun;
use super::visit::Visit;
use super::{cors, headers, prefer};
use crate::path::Spelling;
use crate::policy::caller::{Caller, Network};
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::time::{Span, UnixTime};
use crate::policy::{AdmissionRequest, RequestBody, WaitLimits};
use crate::store::OwnNumbers;
use crate::telemetry::request_id::{REQUEST_ID, RequestId};
use crate::upstream::Connections;

/// What one thread serves requests with: the shared site, which a reload may replace, and the thread's own connections.
#[derive(Debug)]
pub struct Core {
    /// The active site.
    pub site: Arc<ArcSwap<Site>>,
    /// The thread's connections to upstream servers.
    pub connections: Arc<Connections>,
}

/// The site that received a request, whose routes and keys apply. If a reload came before identity, limits and quotas were decided,
/// the newest site decides those ([`super::newer::Newer`]).
pub(super) struct Turn<'c> {
    pub(super) site: &'c Site,
    /// The active site.
    pub(super) newest: &'c ArcSwap<Site>,
    pub(super) connections: &'c Arc<Connections>,
}

/// Where a request comes from.
#[derive(Debug)]
struct RequestOrigin {
    client: Client,
    /// The network's individual numbers.
    network: Option<OwnNumbers>,
}

/// The caller's identity after the request limits, the site that identified it, and the query without the key.
struct Known<'f> {
    request_id: &'f RequestId,
    standing: &'f Standing,
    site: &'f Site,
    query: Option<String>,
}

impl Core {
    /// Answers a request by `site`, by which it has begun, and which may be older than the active one.
    ///
    /// # Errors
    /// The client has hung up.
    pub async fn serve(
        &self,
        site: &Site,
        connection: &Arc<Connection>,
        request: Request<Incoming>,
        begun: Begun,
    ) -> Result<Response<Body>, HungUp> {
        let turn = Turn {
            site,
            newest: &self.site,
            connections: &self.connections,
        };
        turn.serve(connection, request, begun).await
    }
}

impl Turn<'_> {
    async fn serve(
        &self,
        connection: &Arc<Connection>,
        request: Request<Incoming>,
        begun: Begun,
    ) -> Result<Response<Body>, HungUp> {
        let answer = |request, begun: Begun| {
            let visit = Visit::new(request, begun.client, connection);
            self.answer(visit, begun.observation)
        };
        match &self.site.cors {
            Some(layer) if cors::is_preflight(&request) => {
                let visit = Visit::new(request, begun.client, connection);
                Ok(preflight(layer, visit, begun.observation).await)
            }
            Some(layer) if request.method() != Method::OPTIONS => {
                let mut begun = Some(begun);
                let inner = tower::service_fn(|request| {
                    let begun = begun.take().expect("a request is answered once");
                    answer(request, begun)
                });
                layer.layer(inner).oneshot(request).await
            }
            _ => answer(request, begun).await,
        }
    }

    async fn answer(&self, mut visit: Visit<'_>, observation: Observation) -> Result<Response<Body>, HungUp> {
        let form = Form::wanted(&visit.head.headers);
        // Without the query, which may contain a key.
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (visit.head.method.to_string(), visit.head.uri.path().to_owned()));
        let (method, path) = asked.unzip();
        let mut found = Found::new(observation);
        found.client = visit.client.ok().map(|client| client.address);
        match self.handle(&mut visit, &mut found).await {
            Ok(mut response) => {
                self.set_limit_headers(response.headers_mut(), &found);
                found.observation.answered(response.status().as_u16(), None);
                debug!(method, path, status = response.status().as_u16(), "request answered");
                visit.leave_unread(&mut response).await;
                Ok(observed(response, found))
            }
            Err(Stop::HungUp) => {
                debug!(method, path, "client hung up");
                Err(HungUp)
            }
            Err(Stop::Refused { refusal, allow }) => {
                debug!(method, path, reason = refusal.reason().code(), "request refused");
                let mut response = self.refuse(&refusal, &found, form);
                found
                    .observation
                    .answered(response.status().as_u16(), Some(refusal.reason()));
                if let Some(allow) = allow {
                    response.headers_mut().insert(header::ALLOW, allow);
                }
                visit.leave_unread(&mut response).await;
                Ok(observed(response, found))
            }
        }
    }

    fn refuse(&self, refusal: &Refusal, found: &Found, form: Form) -> Response<Body> {
        let (site, standing) = (found.newer.of_caller(self.site), found.standing.as_ref());
        let tier = standing.map(|standing| standing.tier_id);
        site.generation.meters.refusal(tier, refusal.reason());
        if let Some(met) = &found.met {
            let meters = &found.newer.of_limits(self.site).generation.meters;
            met.refused.into_iter().for_each(|limit| meters.limited(limit));
            met.blocking.iter().for_each(|limit| meters.blocked(limit));
        }
        let tier = standing.map(|standing| standing.tier(&site.generation.rules));
        let whom = tier.map(|tier| Whom {
            tier: &tier.name,
            priority: tier.priority,
        });
        let mut response = site.answers.reply(refusal, whom, form, &found.observation.request_id);
        if found.metered {
            let caller = standing.map(|standing| standing.caller);
            let tier = tier.map_or_else(Arc::default, |tier| Arc::clone(&tier.name));
            let status = response.status().as_u16();
            let now = site.gate.clock().wall();
            site.refusals.refused(caller, &tier, refusal.reason(), status, now);
            site.recent.note(refusal.reason(), now, || {
                self.recent(refusal.reason(), status, now, found)
            });
        }
        self.set_limit_headers(response.headers_mut(), found);
        response
    }

    /// The refusal as operators are shown it.
    fn recent(&self, reason: Reason, status: u16, at: UnixTime, found: &Found) -> RecentRefusal {
        let rules = &found.newer.of_caller(self.site).generation.rules;
        let standing = found.standing.as_ref();
        let account = standing.and_then(|standing| standing.account.as_ref());
        let network = || found.client.map(|address| Network::of(address).to_string());
        RecentRefusal {
            at,
            reason,
            status,
            tier: standing.map(|standing| Arc::clone(&standing.tier(rules).name)),
            caller: account.map(|account| account.name.to_string()).or_else(network),
            kind: account.map_or(CallerKind::Network, |_| CallerKind::Account),
            route: found.route.map(|route| self.site.table.name(route)),
        }
    }

    /// Sets the rate limit headers. A flood is refused by request limits: then the gate isn't asked.
    fn set_limit_headers(&self, headers: &mut HeaderMap, found: &Found) {
        let is_limited = found.met.as_ref().is_some_and(|met| met.refused.is_some());
        let standing = found.standing.as_ref().filter(|_| found.metered && !is_limited);
        let (of_limits, of_caller) = (found.newer.of_limits(self.site), found.newer.of_caller(self.site));
        let metered = standing.map(|standing| Metered {
            standing,
            gate: &of_caller.gate,
            rules: &of_caller.generation.rules,
            job: found.own,
        });
        // The site that decided the limits chooses the headers; if no limit matched, the site of the identity does.
        let header_policy = &if found.met.is_some() { of_limits } else { of_caller }.header_policy;
        header_policy.set_headers(headers, of_limits.limits.rules(), found.met.as_ref(), metered);
    }

    /// The steps of rules §2, in their order.
    async fn handle(&self, visit: &mut Visit<'_>, found: &mut Found) -> Result<Response<Body>, Stop> {
        // 1. Malformed or no route: answered before anything is charged.
        if visit.head_length() > self.site.bounds.head_max {
            return Err(Refusal::HeadersTooLarge.into());
        }
        let origin = self.check_network(visit.client?)?;
        let host = host(&visit.head)?;
        // Also before tiergate's own paths: otherwise keys could be guessed without a limit, under a host that no limit names.
        if !self.site.table.knows(&host) {
            return Err(Refusal::UnknownHost.into());
        }
        if let Some(response) = self.own_path(visit, &host, &origin, found).await? {
            return Ok(response);
        }
        let (number, path) = self.find(&host, &visit.head, found)?;
        if visit.head.method == Method::OPTIONS {
            return Ok(options(self.site.table.allow(number)));
        }
        let route = &self.site.routes[number];
        self.routed(number, found);
        if visit.declared_length().is_some_and(|length| length > route.max_body) {
            return Err(Refusal::BodyTooLarge { limit: route.max_body }.into());
        }
        // 2–3. Identity and request limits.
        let known = self.identify_and_limit(visit, &host, &origin, route.metered, found)?;
        let Known {
            standing,
            query,
            request_id,
            ..
        } = &known;
        let wait = prefer::wait(&visit.head.headers);
        let tier = standing.tier(&known.site.generation.rules);
        headers::prepare_for_upstream(&mut visit.head.headers, origin.client, &host);
        headers::add_caller_headers(&mut visit.head.headers, standing.account.as_deref(), tier);
        visit.head.headers.insert(REQUEST_ID, request_id.value().clone());
        visit.head.uri = target(&path, query.as_deref())?;
        visit.head.version = Version::HTTP_11;
        // 4. Not metered: forward.
        if !route.metered {
            return self.forward_unmetered(visit, route, &mut found.observation).await;
        }
        // 4–8. Metered.
        let ask = AdmissionRequest {
            caller: standing.caller,
            from: Network::of(origin.client.address),
            tier: standing.tier_id,
            own: standing.own.clone(),
            delegate: standing.delegate.clone(),
            cost: route.cost,
            pool: route.upstream.id(),
            body: RequestBody::Arriving,
            waits: WaitLimits {
                route: route.max_wait,
                client: wait,
            },
        };
        self.forward_metered(visit, route, ask, found).await
    }

    /// Refuses a blocked network, whatever it requests.
    fn check_network(&self, client: Client) -> Result<RequestOrigin, Refusal> {
        let known = self.site.networks.find(client.address, self.site.gate.clock().wall());
        if known.blocked {
            return Err(Refusal::Blocked);
        }
        Ok(RequestOrigin {
            client,
            network: known.limits,
        })
    }

    /// The newest configuration, for a request that was told that this one's rules are stale. So each further iteration needs
    /// another reload.
    ///
    /// # Errors
    /// There is no newer one: a reload failed halfway, and the server shuts down.
    pub(super) fn newer_than(&self, tried: &Site) -> Result<Arc<Site>, Refusal> {
        let newest = self.newest.load_full();
        if std::ptr::eq(Arc::as_ptr(&newest), tried) {
            let retry_after = Span::from_secs(1);
            return Err(Refusal::ShuttingDown { retry_after });
        }
        Ok(newest)
    }

    /// Identifies the caller, which charges nothing, then applies the request limits: all matching ones are charged, or none. An
    /// unknown key is refused after its network has been charged, so that guessing is limited. Whether the network is counted by
    /// itself or by its prefix is looked up only if `needs_caller`: for metered requests and for `/me`.
    fn identify_and_limit<'f>(
        &'f self,
        visit: &mut Visit<'_>,
        host: &str,
        origin: &RequestOrigin,
        needs_caller: bool,
        found: &'f mut Found,
    ) -> Result<Known<'f>, Refusal> {
        let now = self.site.gate.clock().wall();
        let known_by = self.site.limits.known_by(origin.client.address);
        let mut known = match self.site.callers.identify(&mut visit.head, known_by.network, now) {
            Ok(known) => Ok(known),
            Err(refusal @ (Refusal::InvalidKey | Refusal::Blocked)) => Err(refusal),
            Err(malformed) => return Err(malformed),
        };
        let (path, method) = (visit.head.uri.path(), &visit.head.method);
        let charged = loop {
            let site = found.newer.of_limits(self.site);
            let sender = Sender {
                address: origin.client.address,
                known_by,
                network: origin.network.as_ref(),
                standing: known.as_ref().ok().map(|(standing, _)| standing),
            };
            let matching = site.limits.matching(host, path, method);
            let Ok((met, charged)) = site.limits.charge(matching, &sender, now) else {
                let newest = self.newer_than(site)?;
                let newest = found.newer.limits_by(newest);
                if let Ok((standing, _)) = &mut known {
                    *standing = newest.callers.refresh(standing, now);
                }
                continue;
            };
            for id in met.iter().flat_map(|met| met.unenforced.iter()) {
                site.note_unenforced(&site.limits.rules()[id.index()].name, sender.standing);
            }
            found.met = met;
            break charged;
        };
        // Floods and blocked callers end here, without asking the gate.
        match (known, charged) {
            (_, Err(Refusal::Blocked)) => Err(Refusal::Blocked),
            (Ok((standing, _)), Err(refusal)) => {
                found.identified(standing, self.site);
                Err(refusal)
            }
            (Err(unknown), charged) => charged.and(Err(unknown)),
            (Ok((mut standing, query)), Ok(())) => {
                if needs_caller && standing.account.is_none() {
                    standing.caller = Caller::Network(self.site.gate.counted_as(known_by));
                }
                found.identified(standing, self.site);
                Ok(Known {
                    request_id: &found.observation.request_id,
                    standing: found.standing.as_ref().expect("set above"),
                    site: found.newer.of_caller(self.site),
                    query,
                })
            }
        }
    }

    /// Tiergate's own paths come before the routes.
    async fn own_path(
        &self,
        visit: &mut Visit<'_>,
        host: &str,
        origin: &RequestOrigin,
        found: &mut Found,
    ) -> Result<Option<Response<Body>>, Stop> {
        let path = visit.head.uri.path();
        if path == "*" && visit.head.method == Method::OPTIONS {
            return Ok(Some(options(&OWN_METHODS)));
        }
        let own = &self.site.own_paths;
        let spelled = || own.find(Spelling::of(path).ok()?.as_str());
        let Some(page) = own.find(path).or_else(spelled) else {
            return Ok(None);
        };
        match visit.head.method {
            Method::OPTIONS => return Ok(Some(options(&OWN_METHODS))),
            Method::GET | Method::HEAD => {}
            _ => {
                let allow = Some(OWN_METHODS.clone());
                return Err(Stop::Refused {
                    refusal: Refusal::MethodNotAllowed,
                    allow,
                });
            }
        }
        let meters = self.site.request_meters.own(own.metered_as(page));
        found.observation.routed(meters, false);
        let is_me = own.me.as_deref() == Some(page);
        let known = self.identify_and_limit(visit, host, origin, is_me, found)?;
        let mut request = Request::new(axum::body::Body::empty());
        *request.method_mut() = visit.head.method.clone();
        *request.uri_mut() = target(page, known.query.as_deref())?;
        let visitor = Visitor::of(known.standing, origin.client.address, known.site, is_me);
        request.extensions_mut().insert(visitor);
        let answer: Result<_, Infallible> = self.site.own.clone().oneshot(request).await;
        let Ok(answer) = answer;
        if let Some(refusal) = answer.extensions().get::<Refusal>() {
            return Err(refusal.clone().into());
        }
        let mut response = answer.map(Body::own);
        let caching = response.headers_mut().entry(header::CACHE_CONTROL);
        caching.or_insert(HeaderValue::from_static("no-store"));
        Ok(Some(response))
    }

    /// The request is for that route.
    fn routed(&self, number: usize, found: &mut Found) {
        found.route = Some(number);
        found.metered = self.site.routes[number].metered;
        let meters = &self.site.request_meters.routes[number];
        found.observation.routed(meters, found.metered);
    }

    /// The route, and the path to forward: exactly what was matched.
    fn find(&self, host: &str, head: &Parts, found: &mut Found) -> Result<(usize, String), Stop> {
        match self.site.table.find(host, head.uri.path(), &head.method) {
            Ok(found) => Ok((found.route, found.path.into_owned())),
            Err(NoRoute::BadPath(bad)) => Err(Refusal::BadRequest(bad.to_string().into()).into()),
            Err(NoRoute::NotFound) => Err(Refusal::NotFound.into()),
            Err(NoRoute::UnknownHost) => Err(Refusal::UnknownHost.into()),
            Err(NoRoute::MethodNotAllowed { allow, route }) => {
                self.routed(route, found);
                let allow = Some(allow.clone());
                Err(Stop::Refused {
                    refusal: Refusal::MethodNotAllowed,
                    allow,
                })
            }
        }
    }
}

/// Answers a CORS preflight.
async fn preflight(layer: &CorsLayer, mut visit: Visit<'_>, observation: Observation) -> Response<Body> {
    let (mut asked, ()) = Request::new(()).into_parts();
    std::mem::swap(&mut asked, &mut visit.head);
    let inner = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::default())));
    let Ok(mut response) = layer.layer(inner).oneshot(Request::from_parts(asked, ())).await;
    visit.leave_unread(&mut response).await;
    let mut found = Found::new(observation);
    found.observation.answered(response.status().as_u16(), None);
    observed(response, found)
}

/// The answer with the request's id, whose body goes on with the observation.
fn observed(mut response: Response<Body>, found: Found) -> Response<Body> {
    let id = found.observation.request_id.value().clone();
    response.headers_mut().insert(REQUEST_ID, id);
    response.map(|body| body.observed(found.observation))
}

static OWN_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// `OPTIONS` is answered by tiergate and never metered.
fn options(allow: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow.clone());
    response
}
