//! The door, as one generation of the configuration has it: what a request meets on its `way`.
//!
//! Absent on purpose: what happens to a request.

use std::sync::Arc;

use tower_http::cors::CorsLayer;

use super::account::{self, OwnPaths, Pages};
use super::address::TrustedProxies;
use super::caller::KeyPlaces;
use super::limits::Limits;
use super::listener::Bounds;
use super::ratelimit::Telling;
use super::reply::Answers;
use super::routes::{RouteSpec, RouteTable};
use super::standing::{Callers, Standing};
use super::unenforced::Unenforced;
use crate::gate::{Gate, Generation, ResizableSemaphore};
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::store::statistics::Refusals;
use crate::store::{Networks, Pseudonyms};
use crate::upstream::Upstream;
use crate::upstream::exchange::OnHangup;

/// What a route does with a request.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it leads.
    pub upstream: Arc<Upstream>,
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
    pub unmetered: Arc<ResizableSemaphore>,
    /// As many as there may be.
    pub unmetered_max: usize,
    /// What bounds connections.
    pub bounds: Bounds,
}

/// The door, shared by all cores, as one generation of the configuration has it.
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
    pub(super) telling: Telling,
    pub(super) answers: Answers,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) cors: Option<CorsLayer>,
    pub(super) own_paths: OwnPaths,
    pub(super) own: axum::Router,
    pub(super) refusals: Arc<Refusals>,
    pub(super) unmetered: Arc<ResizableSemaphore>,
    pub(super) unmetered_max: usize,
    pub(super) bounds: Bounds,
}

impl Site {
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
    pub(super) fn note_unenforced(&self, name: &str, standing: Option<&Standing>) {
        self.generation.meters.unenforced(name);
        self.unenforced.note(name, standing, self.gate.clock().now());
    }

    /// Counts a refusal that was told outside of [`Core::serve`](super::way::Core::serve).
    pub fn note_refusal(&self, refusal: &Refusal) {
        self.generation.meters.refusal(None, refusal.reason());
    }
}
