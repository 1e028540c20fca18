//! The way of a request, top to bottom (semantics §2).
//!
//! Absent on purpose: sockets (`listener`), and every decision, which are `policy`'s.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;
use tracing::debug;

use super::account::{self, OwnPaths, Pages, Visitor};
use super::address::{Client, Contradiction, TrustedProxies};
use super::body::Body;
use super::caller::KeyPlaces;
use super::limits::{Limits, Met, Sender};
use super::listener::Bounds;
use super::ratelimit::{Metered, Own, Telling};
use super::reply::{Answers, Form, Whom};
use super::routes::{NoRoute, RouteSpec, RouteTable};
use super::socket::Connection;
use super::standing::{Callers, Standing};
use super::target::{host, target};
use super::unenforced::Unenforced;
use super::visit::Visit;
use super::{cors, headers, prefer};
use crate::gate::{Cap, Entered, Gate, Generation, Pass, Waiting};
use crate::path::Spelling;
use crate::policy::Ask;
use crate::policy::caller::{Caller, Network};
use crate::policy::refusal::Refusal;
use crate::policy::rules::PoolId;
use crate::policy::time::Span;
use crate::store::statistics::Refusals;
use crate::store::{Networks, OwnNumbers, Pseudonyms};
use crate::upstream::Connections;
use crate::upstream::exchange::{Answered, Errand, Failure, OnHangup, SLOW_BODY, exchange, malformed_body};
use crate::upstream::upload::{Fault, Upload};

/// What a route does with a request.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it leads.
    pub pool: PoolId,
    /// Whether a request needs a seat, a slot and concurrency.
    pub metered: bool,
    /// Bytes that a request's body may have.
    pub max_body: u64,
    /// The longest that a job waits, if shorter than the queue's.
    pub max_wait: Option<Span>,
    /// The statuses that count as success.
    pub success: Arc<[u16]>,
    /// Units of quota that a success takes.
    pub cost: u32,
    /// What becomes of a running job whose client hangs up.
    pub on_hangup: OnHangup,
}

/// What the door is made of, as the composition root gives it.
#[derive(Debug)]
pub struct Settings {
    /// The routes, in the file's order.
    pub routes: Vec<(RouteSpec, Route)>,
    /// Where keys may be.
    pub keys: KeyPlaces,
    /// Whose word on addresses is taken.
    pub trusted_proxies: TrustedProxies,
    /// What operators have said of networks.
    pub networks: Arc<Networks>,
    /// What networks and delegated users are known by.
    pub pseudonyms: Pseudonyms,
    /// Which pages may read the answers.
    pub cors: Option<CorsLayer>,
    /// Where the door's own pages are.
    pub own_paths: OwnPaths,
    /// What the door's own pages show.
    pub pages: Arc<Pages>,
    /// Where refusals on metered routes are counted.
    pub refusals: Arc<Refusals>,
    /// The request limits.
    pub limits: Arc<Limits>,
    /// How they are told of.
    pub telling: Telling,
    /// How refusals are told.
    pub answers: Answers,
    /// Unmetered requests that are in flight at once.
    pub unmetered: Arc<Cap>,
    /// As many as there may be.
    pub unmetered_max: usize,
    /// What bounds connections.
    pub bounds: Bounds,
}

/// The door, shared by all cores, as one generation of the configuration has it.
#[derive(Debug)]
pub struct Door {
    gate: Arc<Gate>,
    generation: Arc<Generation>,
    table: RouteTable,
    routes: Vec<Route>,
    callers: Callers,
    networks: Arc<Networks>,
    limits: Arc<Limits>,
    unenforced: Unenforced,
    telling: Telling,
    answers: Answers,
    trusted_proxies: TrustedProxies,
    cors: Option<CorsLayer>,
    own_paths: OwnPaths,
    own: axum::Router,
    refusals: Arc<Refusals>,
    unmetered: Arc<Cap>,
    unmetered_max: usize,
    bounds: Bounds,
}

impl Door {
    /// A door before this gate, by the rules of that generation.
    pub fn new(gate: Arc<Gate>, generation: Arc<Generation>, settings: Settings) -> Self {
        let Settings {
            routes,
            keys,
            trusted_proxies,
            networks,
            pseudonyms,
            cors,
            own_paths,
            pages,
            refusals,
            limits,
            telling,
            answers,
            unmetered,
            unmetered_max,
            bounds,
        } = settings;
        let (specs, routes) = routes.into_iter().unzip();
        Self {
            networks,
            limits,
            unenforced: Unenforced::new(&generation.rules),
            telling,
            answers,
            callers: Callers::new(
                keys,
                Arc::clone(&generation.accounts),
                pseudonyms,
                Arc::clone(&generation.rules),
            ),
            gate,
            generation,
            table: RouteTable::new(specs),
            routes,
            trusted_proxies,
            cors,
            own: account::router(&own_paths, pages),
            own_paths,
            refusals,
            unmetered,
            unmetered_max,
            bounds,
        }
    }

    /// The hall behind it.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// By which it decides.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// How refusals are told.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// The request limits.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What bounds connections.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Counts a request that the limit or quota of that name would have refused, were it enforced.
    fn note_unenforced(&self, name: &str, standing: Option<&Standing<'_>>) {
        self.generation.meters.unenforced(name);
        self.unenforced.note(name, standing, self.gate.clock().now());
    }

    /// Counts a refusal that was told outside of [`Core::serve`].
    pub fn note_refusal(&self, refusal: &Refusal) {
        self.generation.meters.refusal(None, refusal.reason());
    }
}

/// One core's door: the shared one, which may be exchanged at any time, with connections of the core's own.
#[derive(Debug)]
pub struct Core {
    /// The shared door, as it is at present.
    pub door: Arc<ArcSwap<Door>>,
    /// The core's connections to workers.
    pub connections: Arc<Connections>,
}

/// The door of one request: it keeps the one that it came to.
struct Turn<'c> {
    door: &'c Door,
    connections: &'c Arc<Connections>,
}

/// The client is gone: there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client hung up")
    }
}

impl std::error::Error for HungUp {}

/// Why a request ends before a worker has answered it.
#[derive(Debug)]
enum Stop {
    Refused {
        refusal: Refusal,
        allow: Option<HeaderValue>,
    },
    HungUp,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, allow: None }
    }
}

impl From<Contradiction> for Stop {
    fn from(contradiction: Contradiction) -> Self {
        Refusal::BadRequest(contradiction.to_string().into()).into()
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::ClientGone => Self::HungUp,
            Fault::Malformed => malformed_body().into(),
            Fault::TooLong { limit } => Refusal::BodyTooLarge { limit }.into(),
            Fault::TooSlow => Refusal::RequestTimeout(SLOW_BODY).into(),
        }
    }
}

/// Where a request comes from.
#[derive(Debug)]
struct Origin {
    client: Client,
    /// What its network has of its own.
    network: Option<OwnNumbers>,
}

/// What was found out about a request on its way.
#[derive(Debug, Default)]
struct Found<'d> {
    /// Who asks.
    standing: Option<Standing<'d>>,
    /// Whether its route is metered.
    metered: bool,
    /// What request limits said of it.
    met: Option<Met>,
    /// Its job, while that is in the house.
    own: Option<Own>,
}

impl Core {
    /// Answers a request, or has nobody left to answer.
    ///
    /// # Errors
    /// The client has hung up.
    pub async fn serve(
        &self,
        connection: &Arc<Connection>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, HungUp> {
        let door = self.door.load_full();
        let turn = Turn {
            door: &door,
            connections: &self.connections,
        };
        turn.serve(connection, peer, request).await
    }
}

impl<'c> Turn<'c> {
    async fn serve(
        &self,
        connection: &Arc<Connection>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, HungUp> {
        match &self.door.cors {
            Some(layer) if cors::is_preflight(&request) => {
                Ok(preflight(layer, self.visit(connection, peer, request)).await)
            }
            Some(layer) if request.method() != Method::OPTIONS => {
                let inner = tower::service_fn(|request| self.answer(connection, peer, request));
                layer.layer(inner).oneshot(request).await
            }
            _ => self.answer(connection, peer, request).await,
        }
    }

    fn visit<'v>(&self, connection: &'v Connection, peer: SocketAddr, request: Request<Incoming>) -> Visit<'v> {
        let client = self.door.trusted_proxies.client(peer, request.headers());
        Visit::new(request, client, connection)
    }

    async fn answer(
        &self,
        connection: &Connection,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, HungUp> {
        let mut visit = self.visit(connection, peer, request);
        let form = Form::wanted(&visit.head.headers);
        // Without the query, in which there may be a key.
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (visit.head.method.to_string(), visit.head.uri.path().to_owned()));
        let (method, path) = asked.unzip();
        let mut found = Found::default();
        match self.way(&mut visit, &mut found).await {
            Ok(mut response) => {
                self.tell(response.headers_mut(), &found);
                debug!(method, path, status = response.status().as_u16(), "answered");
                visit.leave_unread(&mut response).await;
                Ok(response)
            }
            Err(Stop::HungUp) => {
                debug!(method, path, "hung up");
                Err(HungUp)
            }
            Err(Stop::Refused { refusal, allow }) => {
                debug!(method, path, reason = refusal.reason().code(), "refused");
                let mut response = self.refuse(&refusal, &found, form);
                if let Some(allow) = allow {
                    response.headers_mut().insert(header::ALLOW, allow);
                }
                visit.leave_unread(&mut response).await;
                Ok(response)
            }
        }
    }

    fn refuse(&self, refusal: &Refusal, found: &Found<'_>, form: Form) -> Response<Body> {
        let standing = found.standing.as_ref();
        let tier = standing.map(|standing| standing.tier_id);
        self.door.generation.meters.refusal(tier, refusal.reason());
        if let Some(met) = &found.met {
            let meters = &self.door.generation.meters;
            met.refused.into_iter().for_each(|limit| meters.limited(limit));
            met.blocking.iter().for_each(|limit| meters.blocked(limit));
        }
        let whom = standing.map(|Standing { tier, .. }| Whom {
            tier: &tier.name,
            priority: tier.priority,
        });
        let mut response = self.door.answers.reply(refusal, whom, form);
        if found.metered {
            let caller = standing.map(|standing| standing.caller);
            self.door.refusals.refused(caller, response.status().as_u16());
        }
        self.tell(response.headers_mut(), found);
        response
    }

    /// What the answer tells of limits. A flood is refused by request limits: then the hall isn't asked.
    fn tell(&self, headers: &mut HeaderMap, found: &Found<'_>) {
        let is_limited = found.met.as_ref().is_some_and(|met| met.refused.is_some());
        let standing = found.standing.as_ref().filter(|_| found.metered && !is_limited);
        let metered = standing.map(|standing| Metered {
            standing,
            gate: &self.door.gate,
            generation: &self.door.generation,
            own: found.own,
        });
        let telling = &self.door.telling;
        telling.tell(headers, self.door.limits.rules(), found.met.as_ref(), metered);
    }

    /// The steps of semantics §2, in their order.
    async fn way(&self, visit: &mut Visit<'_>, found: &mut Found<'c>) -> Result<Response<Body>, Stop> {
        // 1. Malformed, no such route: answered before anything is charged.
        if visit.head_length() > self.door.bounds.head_max {
            return Err(Refusal::HeadersTooLarge.into());
        }
        let origin = self.let_in(visit.client?)?;
        let host = host(&visit.head)?;
        // Before the door's own paths too: limits that name their hosts would let keys be guessed at any other.
        if !self.door.table.knows(&host) {
            return Err(Refusal::UnknownHost.into());
        }
        if let Some(response) = self.own_path(visit, &host, &origin, found).await? {
            return Ok(response);
        }
        let (number, path) = self.find(&host, &visit.head, found)?;
        if visit.head.method == Method::OPTIONS {
            return Ok(options(self.door.table.allow(number)));
        }
        let route = &self.door.routes[number];
        found.metered = route.metered;
        if visit.declared_length().is_some_and(|length| length > route.max_body) {
            return Err(Refusal::BodyTooLarge { limit: route.max_body }.into());
        }
        // 2–3. Who, and request limits.
        let (standing, query) = self.limited(visit, &host, &origin, route.metered, found)?;
        let wait = prefer::wait(&visit.head.headers);
        headers::for_worker(&mut visit.head.headers, origin.client, &host, standing);
        visit.head.uri = target(&path, query.as_deref())?;
        visit.head.version = Version::HTTP_11;
        // 4. Not metered: forward.
        if !route.metered {
            return self.forward(visit, route).await;
        }
        // 4–8. Metered.
        let ask = Ask {
            caller: standing.caller,
            from: Network::of(origin.client.address),
            tier: standing.tier_id,
            own: standing.own.clone(),
            delegate: standing.delegate.clone(),
            cost: route.cost,
            pool: route.pool,
            ready: false,
            max_wait: route.max_wait,
            prefer_wait: wait,
        };
        let (response, own) = self.search(visit, route, ask, standing).await?;
        found.own = own;
        Ok(response)
    }

    /// A blocked network is turned away, whatever it asks.
    fn let_in(&self, client: Client) -> Result<Origin, Refusal> {
        let known = self.door.networks.find(client.address, self.door.gate.clock().wall());
        if known.blocked {
            return Err(Refusal::Blocked);
        }
        Ok(Origin {
            client,
            network: known.limits,
        })
    }

    /// Who asks, which charges nothing, and then the request limits: all that match are charged, or none is. A key of nobody's
    /// is told of after its network has been charged, so that guessing is limited. The hall is asked as whom a network is counted
    /// only if that `matters`: for a search, and for what somebody is told of itself.
    fn limited<'f>(
        &self,
        visit: &mut Visit<'_>,
        host: &str,
        origin: &Origin,
        matters: bool,
        found: &'f mut Found<'c>,
    ) -> Result<(&'f Standing<'c>, Option<String>), Refusal> {
        let (path, method) = (visit.head.uri.path(), &visit.head.method);
        let matching = self.door.limits.matching(host, path, method);
        let now = self.door.gate.clock().wall();
        let known_by = self.door.limits.known_by(origin.client.address);
        let known = match self.door.callers.who(&mut visit.head, known_by.network, now) {
            Ok(known) => Ok(known),
            Err(refusal @ (Refusal::InvalidKey | Refusal::Blocked)) => Err(refusal),
            Err(malformed) => return Err(malformed),
        };
        let sender = Sender {
            address: origin.client.address,
            known_by,
            network: origin.network.as_ref(),
            standing: known.as_ref().ok().map(|(standing, _)| standing),
        };
        let (met, charged) = self.door.limits.charge(matching, &sender, now);
        for id in met.iter().flat_map(|met| met.unenforced.iter()) {
            let name = &self.door.limits.rules()[id.index()].name;
            self.door.note_unenforced(name, sender.standing);
        }
        found.met = met;
        // A flood, and who is blocked, end here: neither asks the hall for anything.
        match (known, charged) {
            (_, Err(Refusal::Blocked)) => Err(Refusal::Blocked),
            (Ok((standing, _)), Err(refusal)) => {
                found.standing = Some(standing);
                Err(refusal)
            }
            (Err(unknown), charged) => charged.and(Err(unknown)),
            (Ok((mut standing, query)), Ok(())) => {
                if matters && standing.account.is_none() {
                    standing.caller = Caller::Network(self.door.gate.counted_as(known_by));
                }
                Ok((found.standing.insert(standing), query))
            }
        }
    }

    /// The door's own paths come before the routes.
    async fn own_path(
        &self,
        visit: &mut Visit<'_>,
        host: &str,
        origin: &Origin,
        found: &mut Found<'c>,
    ) -> Result<Option<Response<Body>>, Stop> {
        let path = visit.head.uri.path();
        if path == "*" && visit.head.method == Method::OPTIONS {
            return Ok(Some(options(&OWN_METHODS)));
        }
        let own = &self.door.own_paths;
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
        let is_me = own.me.as_deref() == Some(page);
        let (standing, query) = self.limited(visit, host, origin, is_me, found)?;
        let mut request = Request::new(axum::body::Body::empty());
        *request.method_mut() = visit.head.method.clone();
        *request.uri_mut() = target(page, query.as_deref())?;
        request
            .extensions_mut()
            .insert(Visitor::of(standing, origin.client.address, self.door, is_me));
        let answer: Result<_, Infallible> = self.door.own.clone().oneshot(request).await;
        let Ok(answer) = answer;
        if let Some(refusal) = answer.extensions().get::<Refusal>() {
            return Err(refusal.clone().into());
        }
        let mut response = answer.map(Body::own);
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(Some(response))
    }

    /// The route, and the path to forward: what was matched and nothing else.
    fn find(&self, host: &str, head: &Parts, found: &mut Found<'_>) -> Result<(usize, String), Stop> {
        match self.door.table.find(host, head.uri.path(), &head.method) {
            Ok(found) => Ok((found.route, found.path.into_owned())),
            Err(NoRoute::BadPath(bad)) => Err(Refusal::BadRequest(bad.to_string().into()).into()),
            Err(NoRoute::NotFound) => Err(Refusal::NotFound.into()),
            Err(NoRoute::UnknownHost) => Err(Refusal::UnknownHost.into()),
            Err(NoRoute::MethodNotAllowed { allow, metered }) => {
                found.metered = metered;
                let allow = Some(allow.clone());
                Err(Stop::Refused {
                    refusal: Refusal::MethodNotAllowed,
                    allow,
                })
            }
        }
    }

    /// An unmetered request: no seat and no slot, but a cap on how many are in flight.
    async fn forward(&self, visit: &mut Visit<'_>, route: &Route) -> Result<Response<Body>, Stop> {
        let limit = u32::try_from(self.door.unmetered_max).unwrap_or(u32::MAX);
        let place = self.door.unmetered.try_take();
        let place = place.ok_or(Refusal::TooManyInFlight { limit })?;
        let (head, upload) = visit.take(route.max_body);
        let errand = Errand::Unmetered {
            pool: route.pool,
            place,
        };
        let answered = exchange(self.connections, errand, head, upload).await;
        Ok(response(answered.map_err(stop)?))
    }

    /// A metered request: a slot or a seat, then a worker. With the answer comes its job, while that is in the house.
    async fn search(
        &self,
        visit: &mut Visit<'_>,
        route: &Route,
        mut ask: Ask,
        standing: &Standing<'_>,
    ) -> Result<(Response<Body>, Option<Own>), Stop> {
        let (head, mut upload) = visit.take(route.max_body);
        // A client that waits for 100 Continue sends nothing before it, and gets it with the slot.
        if !visit.expects {
            upload.take_arrived().await?;
        }
        ask.ready = visit.expects || upload.may_ask();
        let wait = ask.prefer_wait;
        let entered = match self.door.gate.enter(&self.door.generation, &ask) {
            Ok(entered) => entered,
            Err(refusal) => {
                visit.give_back(upload);
                return Err(refusal.into());
            }
        };
        for quota in entered.overdrawn() {
            self.door.note_unenforced(quota, Some(standing));
        }
        let pass = match entered {
            Entered::Running(pass) => pass,
            Entered::Seated(waiting) => match self.wait(waiting, &mut upload, ask.ready, visit.connection).await {
                Ok(pass) => pass,
                Err(stop) => {
                    visit.give_back(upload);
                    return Err(stop);
                }
            },
        };
        let waited = pass.waited();
        let answered = self.work(pass, route, head, upload, visit.connection).await?;
        let upstream = answered.took;
        let succeeds = route.success.contains(&answered.head.status.as_u16());
        let own = answered.body.is_under_way().then_some(Own {
            released: if succeeds { 0 } else { route.cost },
        });
        let mut response = response(answered);
        response.headers_mut().append(SERVER_TIMING, timing(waited, upstream));
        if let Some(wait) = wait {
            prefer::applied(response.headers_mut(), wait);
        }
        Ok((response, own))
    }

    /// In a seat: until a slot is handed over, somebody of a higher priority needs the seat, the longest wait is over, or
    /// the client hangs up. Meanwhile the body is read as far as its window goes.
    async fn wait(
        &self,
        mut waiting: Waiting,
        upload: &mut Upload,
        mut asked: bool,
        connection: &Connection,
    ) -> Result<Pass, Stop> {
        let clock = self.door.gate.clock();
        let mut longest = std::pin::pin!(clock.sleep_until(waiting.until()));
        loop {
            tokio::select! {
                biased;
                verdict = &mut waiting => return verdict.map_err(Stop::from),
                () = connection.hung_up() => return Err(Stop::HungUp),
                () = &mut longest => return waiting.expire().map_err(Stop::from),
                ready = upload.until_ready(clock), if !asked => {
                    ready?;
                    asked = true;
                    waiting.ask_slot();
                }
            }
        }
    }

    /// At a worker. A client that hangs up takes the request with it only if it is incomplete, or the route says so;
    /// otherwise the job goes on without its client (semantics §5.8).
    async fn work(
        &self,
        pass: Pass,
        route: &Route,
        head: Parts,
        upload: Upload,
        connection: &Connection,
    ) -> Result<Answered, Stop> {
        let watched = route.on_hangup == OnHangup::Cancel || !upload.is_complete();
        let errand = Errand::Metered {
            pass,
            on_hangup: route.on_hangup,
            success: Arc::clone(&route.success),
        };
        tokio::select! {
            biased;
            answered = exchange(self.connections, errand, head, upload) => answered.map_err(stop),
            () = connection.hung_up(), if watched => Err(Stop::HungUp),
        }
    }
}

/// A browser's question whether a page may ask.
async fn preflight(layer: &CorsLayer, mut visit: Visit<'_>) -> Response<Body> {
    let (mut asked, ()) = Request::new(()).into_parts();
    std::mem::swap(&mut asked, &mut visit.head);
    let inner = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::default())));
    let Ok(mut response) = layer.layer(inner).oneshot(Request::from_parts(asked, ())).await;
    visit.leave_unread(&mut response).await;
    response
}

fn stop(failure: Failure) -> Stop {
    match failure {
        Failure::Refused(refusal) => refusal.into(),
        Failure::ClientGone => Stop::HungUp,
    }
}

/// A worker's answer as the client gets it.
fn response(answered: Answered) -> Response<Body> {
    let Answered { head, body, .. } = answered;
    let mut response = Response::from_parts(head, Body::of_worker(body));
    *response.version_mut() = Version::HTTP_11;
    headers::remove_hop_by_hop(response.headers_mut());
    response
}

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// `Server-Timing: queue;dur=12.5, upstream;dur=431.0`, in milliseconds: how long the job waited, and from the slot to the
/// head of the worker's answer.
fn timing(waited: Span, upstream: Span) -> HeaderValue {
    let millis = |span: Span| span.as_secs_f64() * 1e3;
    let text = format!("queue;dur={:.1}, upstream;dur={:.1}", millis(waited), millis(upstream));
    HeaderValue::from_str(&text).expect("numbers are header values")
}

static OWN_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// `OPTIONS` is answered by the door and never metered.
fn options(allow: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow.clone());
    response
}
