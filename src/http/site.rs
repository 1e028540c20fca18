//! The site: one generation of the configuration, as the request path uses it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tower_http::cors::CorsLayer;

use super::account::{self, OwnPaths, Pages};
use super::address::TrustedProxies;
use super::bodies::BodySettings;
use super::caller::KeyPlaces;
use super::limits::Limits;
use super::listener::ListenerBounds;
use super::observation::Observation;
use super::ratelimit::HeaderPolicy;
use super::recent::RecentRefusals;
use super::reply::Answers;
use super::routes::{RouteSpec, RouteTable};
use super::standing::{Callers, Standing};
use super::status::Feed;
use super::unenforced::Unenforced;
use crate::gate::{Gate, Generation, ResizableSemaphore};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{ServerId, UpstreamId};
use crate::policy::time::Span;
use crate::store::statistics::RefusalCounts;
use crate::store::{Networks, Pseudonyms};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::requests::RequestMeters;
use crate::telemetry::traces::Traces;
use crate::upstream::exchange::OnHangup;
use crate::upstream::{Upstream, UpstreamServer};

/// A route's settings.
#[derive(Clone, Debug)]
pub struct Route {
    /// The upstream that serves it.
    pub upstream: Arc<Upstream>,
    /// Whether a request needs a slot or a queue place, and concurrency.
    pub metered: bool,
    /// The most bytes of a request's body.
    pub max_body: u64,
    /// The longest wait in the queue, if shorter than the queue's own.
    pub max_wait: Option<Span>,
    /// The statuses that count as success.
    pub success: Arc<[u16]>,
    /// Units of quota per success.
    pub cost: u32,
    /// What happens to a running job whose client hangs up.
    pub on_hangup: OnHangup,
}

/// The parts of a site, as the composition root provides them.
#[derive(Debug)]
pub struct SiteSettings {
    /// The routes, in the file's order.
    pub routes: Vec<(RouteSpec, Route)>,
    /// Where API keys may be.
    pub keys: KeyPlaces,
    /// The proxies that may name the client's address.
    pub trusted_proxies: TrustedProxies,
    /// Operators' entries for networks.
    pub networks: Arc<Networks>,
    /// Pseudonyms of networks and delegated users.
    pub pseudonyms: Pseudonyms,
    /// CORS, if enabled.
    pub cors: Option<CorsLayer>,
    /// The paths of tiergate's own pages.
    pub own_paths: OwnPaths,
    /// The content of tiergate's own pages.
    pub pages: Arc<Pages>,
    /// What the status page shows.
    pub status: Arc<Feed>,
    /// Counts refusals on metered routes.
    pub refusals: Arc<RefusalCounts>,
    /// Keeps the last of them.
    pub recent: Arc<RecentRefusals>,
    /// The request limits.
    pub limits: Arc<Limits>,
    /// Which rate limit headers answers carry.
    pub header_policy: HeaderPolicy,
    /// How refusals are answered.
    pub answers: Answers,
    /// Bounds the unmetered requests in flight.
    pub unmetered: Arc<ResizableSemaphore>,
    /// The size of that bound.
    pub unmetered_max: usize,
    /// Where bodies are kept, and how slowly they may arrive.
    pub bodies: BodySettings,
    /// Bounds on connections.
    pub bounds: ListenerBounds,
    /// Metrics of every request.
    pub request_meters: RequestMeters,
    /// The access log, if there is one.
    pub access_log: Option<Arc<AccessLog>>,
    /// Traces, if they are exported.
    pub traces: Option<Traces>,
    /// The upstreams of the file.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Hosts for which the admin listener answers besides its own, in lower case.
    pub admin_hosts: Vec<String>,
    /// Whether tiergate is only ready while an upstream server is up.
    pub ready_needs_upstream: bool,
}

/// One generation of the configuration, shared by all threads.
#[derive(Debug)]
pub struct Site {
    pub(super) gate: Arc<Gate>,
    pub(super) generation: Arc<Generation>,
    pub(super) table: RouteTable,
    pub(super) routes: Vec<Route>,
    pub(super) callers: Callers,
    pub(super) networks: Arc<Networks>,
    pub(super) limits: Arc<Limits>,
    pub(super) unenforced: Unenforced,
    pub(super) header_policy: HeaderPolicy,
    pub(super) answers: Answers,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) cors: Option<CorsLayer>,
    pub(super) own_paths: OwnPaths,
    pub(super) own: axum::Router,
    pub(super) refusals: Arc<RefusalCounts>,
    pub(super) recent: Arc<RecentRefusals>,
    pub(super) unmetered: Arc<ResizableSemaphore>,
    pub(super) unmetered_max: usize,
    pub(super) bodies: BodySettings,
    pub(super) bounds: ListenerBounds,
    pub(super) request_meters: RequestMeters,
    pub(super) access_log: Option<Arc<AccessLog>>,
    pub(super) traces: Option<Traces>,
    pub(super) upstreams: Vec<Arc<Upstream>>,
    pub(super) admin_hosts: Vec<String>,
    ready_needs_upstream: bool,
}

impl Site {
    /// A site with this gate and the rules of that generation.
    pub fn new(gate: Arc<Gate>, generation: Arc<Generation>, settings: SiteSettings) -> Self {
        let SiteSettings {
            routes,
            keys,
            trusted_proxies,
            networks,
            pseudonyms,
            cors,
            own_paths,
            pages,
            status,
            refusals,
            recent,
            limits,
            header_policy,
            answers,
            unmetered,
            unmetered_max,
            bodies,
            bounds,
            request_meters,
            access_log,
            traces,
            upstreams,
            admin_hosts,
            ready_needs_upstream,
        } = settings;
        let (specs, routes) = routes.into_iter().unzip();
        Self {
            networks,
            limits,
            unenforced: Unenforced::new(&generation.rules),
            header_policy,
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
            own: account::router(&own_paths, pages, &status),
            own_paths,
            refusals,
            recent,
            unmetered,
            unmetered_max,
            bodies,
            bounds,
            request_meters,
            access_log,
            traces,
            upstreams,
            admin_hosts,
            ready_needs_upstream,
        }
    }

    /// The gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The generation whose rules it applies.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The request limits.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Bounds on connections.
    pub fn bounds(&self) -> &ListenerBounds {
        &self.bounds
    }

    /// The servers of its upstreams.
    pub fn servers(&self) -> HashMap<(UpstreamId, ServerId), Arc<UpstreamServer>> {
        let servers = self.upstreams.iter().flat_map(|upstream| {
            let servers = upstream.servers().into_iter();
            servers.map(|(id, server)| ((upstream.id(), id), server))
        });
        servers.collect()
    }

    /// Whether tiergate is only ready while an upstream server is up.
    pub fn ready_needs_upstream(&self) -> bool {
        self.ready_needs_upstream
    }

    /// Counts a request that the unenforced limit or quota of that name would have refused.
    pub(super) fn note_unenforced(&self, name: &str, standing: Option<&Standing>) {
        self.generation.meters.unenforced(name);
        self.unenforced.note(name, standing, self.gate.clock().now());
    }

    /// Refuses what could not be read as a request: the whole answer, and what counts and logs it when it is dropped.
    pub(super) fn refuse_unreadable(&self, refusal: &Refusal, client: IpAddr) -> (Vec<u8>, Observation) {
        self.generation.meters.refusal(None, refusal.reason());
        let mut observation = Observation::unreadable(self, client);
        let status = self.answers.status(refusal.reason());
        observation.answered(status.as_u16(), Some(refusal.reason()));
        let (answer, body_length) = self.answers.reply_bytes(refusal, &observation.request_id);
        observation.sent(body_length);
        (answer, observation)
    }
}
