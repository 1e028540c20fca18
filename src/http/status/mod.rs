//! The status page for API users: the queue, what a request would meet now, and the traffic of the past.
//!
//! - `live`: the present, as one producer sees it a few times a second; `headline`: the same in a sentence
//! - `traffic`: the past, read from the database off the event loops
//! - `page`: both as HTML, which needs no script
//! - `viewers`: how many may follow; `stream`: the events that they get
//!
//! All viewers are shown the same, so everything here is made once and shared. Nobody is identified, and no server is named.

mod headline;
mod live;
mod page;
mod stream;
mod traffic;
mod viewers;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::live::{Live, Numbers};
use self::stream::{Frames, Stream};
use self::traffic::{PERIODS, TrafficCache};
use self::viewers::Viewers;
pub use self::viewers::{VIEWERS_MAX, VIEWERS_PER_NETWORK_MAX};
use super::account::Visitor;
use super::quotas::written;
use crate::gate::Gate;
use crate::policy::refusal::Refusal;
use crate::policy::rules::UpstreamId;
use crate::policy::time::{Span, Timestamp};
use crate::store::Database;
use crate::store::statistics::RefusalCounts;
use crate::web::{self, Asset};

/// The state is looked at, and viewers get an event, at most this often. With more than 250 viewers it is a millisecond for each
/// of them, so that all together cost no more than 1,000 events a second.
pub const LOOK_EVERY_MIN: Span = Span::from_millis(250);
/// The longest time between two looks.
pub const LOOK_EVERY_MAX: Span = Span::from_secs(1);
/// After so long without a change the state is sent all the same, so that viewers know that it still holds.
pub const BEAT_EVERY: Span = Span::from_secs(10);
/// How often it is looked whether a part of the past is out of date.
const TRAFFIC_EVERY: Span = Span::from_secs(5);

/// The paths of the status page and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPaths {
    /// The page.
    pub page: String,
    json: String,
    events: String,
    assets: String,
}

impl StatusPaths {
    /// Those of the page at that path.
    pub fn new(page: String) -> Self {
        let below = |rest: &str| format!("{page}{rest}");
        Self {
            json: below(".json"),
            events: below("/events"),
            assets: below("/assets"),
            page,
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        let assets = web::STATUS.all().map(|asset| self.asset(asset));
        [self.page.clone(), self.json.clone(), self.events.clone()]
            .into_iter()
            .chain(assets)
            .collect()
    }

    /// The paths by which requests are counted.
    pub(super) fn metered(&self) -> [&str; 4] {
        [&self.page, &self.json, &self.events, &self.assets]
    }

    /// The folder of the assets, if that is the path of one.
    pub(super) fn assets_of(&self, path: &str) -> Option<&str> {
        path.starts_with(&self.assets).then_some(&*self.assets)
    }

    fn asset(&self, asset: &Asset) -> String {
        format!("{}/{}", self.assets, asset.name)
    }
}

/// What the page shows, and where it asks further, by the configuration.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its own paths; `None`: it is off.
    pub paths: Option<StatusPaths>,
    /// The path of `/me`, if that is on.
    pub me: Option<String>,
    /// Where the page sends a viewer's key to `/me`.
    pub key: KeyPlace,
    /// The upstreams of metered routes with the paths of those, in the file's order.
    pub upstreams: Vec<(UpstreamId, Vec<String>)>,
}

/// Where a request carries its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyPlace {
    /// A header; `authorization` for a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// What all viewers are shown, made once for all of them.
#[derive(Debug)]
pub struct Feed {
    gate: Arc<Gate>,
    traffic: TrafficCache,
    shown: ArcSwap<Shown>,
    viewers: Arc<Viewers>,
    frames: watch::Sender<Frames>,
    seen: Mutex<Seen>,
    /// The page for each of the [`PERIODS`], and what it was made of.
    pages: Mutex<[Option<(Timestamp, Bytes)>; PERIODS.len()]>,
}

/// The last look at the state.
#[derive(Debug, Default)]
struct Seen {
    look: Option<Arc<Look>>,
    numbers: Numbers,
}

/// The state at one moment.
#[derive(Debug)]
struct Look {
    at: Timestamp,
    /// The same in Unix seconds.
    wall_s: u64,
    /// Grows whenever the state has changed.
    version: u64,
    live: Live,
    /// The state as JSON, with the time of the look.
    json: String,
}

impl Feed {
    /// A feed that nobody follows yet.
    pub fn new(gate: Arc<Gate>, database: Arc<Database>, refusals: Arc<RefusalCounts>) -> Arc<Self> {
        let off = Shown {
            paths: None,
            me: None,
            key: KeyPlace::default(),
            upstreams: Vec::new(),
        };
        Arc::new(Self {
            gate,
            traffic: TrafficCache::new(database, refusals),
            shown: ArcSwap::from_pointee(off),
            viewers: Arc::default(),
            frames: watch::Sender::new(Frames::default()),
            seen: Mutex::default(),
            pages: Mutex::default(),
        })
    }

    /// Shows from now on what a new configuration says.
    pub fn show(&self, shown: Shown) {
        self.shown.store(Arc::new(shown));
        self.seen.lock().look = None;
    }

    /// How many follow it.
    pub fn viewers(&self) -> usize {
        self.viewers.count()
    }

    /// Bounds the viewers by the listener's connections.
    pub fn bound_viewers(&self, connections: usize) {
        self.viewers.bound(connections);
    }

    /// Ends all streams, and lets no more begin.
    pub fn close(&self) {
        self.frames.send_modify(|frames| frames.is_closed = true);
    }

    /// The state now, or as it was less than [`LOOK_EVERY_MIN`] ago.
    fn look(&self) -> Arc<Look> {
        let clock = self.gate.clock();
        let mut seen = self.seen.lock();
        let now = clock.now();
        if let Some(look) = &seen.look
            && now.since(look.at) < LOOK_EVERY_MIN
        {
            return Arc::clone(look);
        }
        let live = Live::of(&self.gate.snapshot(), &self.shown.load(), &mut seen.numbers);
        let version = match &seen.look {
            Some(last) if last.live == live => last.version,
            Some(last) => last.version + 1,
            None => now.as_nanos(), // later than every version before
        };
        let wall = clock.wall();
        let json = live.json(written(wall).unwrap_or_default());
        let look = Arc::new(Look {
            at: now,
            wall_s: wall.as_secs(),
            version,
            live,
            json,
        });
        seen.look = Some(Arc::clone(&look));
        look
    }

    /// How long until the next look, by the number of viewers.
    fn look_every(&self) -> Span {
        let for_all = Span::from_millis(u64::try_from(self.viewers()).unwrap_or(u64::MAX));
        for_all.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
    }

    /// Sends viewers the state, if it has changed or was sent too long ago.
    fn send_live(&self) {
        let look = self.look();
        self.frames.send_if_modified(|frames| {
            let is_due = frames.version != look.version || look.at.since(frames.sent) >= BEAT_EVERY;
            if is_due {
                frames.set_live(look.version, look.at, &look.json);
            }
            is_due
        });
    }

    /// Sends viewers what is new of the past.
    async fn send_traffic(&self) {
        let rules = self.gate.generation();
        self.traffic.refresh(self.gate.clock(), &rules.rules).await;
        let held = self.traffic.held();
        self.frames.send_if_modified(|frames| frames.set_traffic(&held));
    }

    /// A page's data: the state, and the past if it can be read.
    async fn data(&self) -> (Arc<Look>, traffic::Held) {
        let generation = self.gate.generation();
        self.traffic.refresh(self.gate.clock(), &generation.rules).await;
        (self.look(), self.traffic.held())
    }

    /// The past as a JSON object, with each period under its name.
    pub async fn past(&self) -> String {
        self.data().await.1.json()
    }

    /// The page, made at most once for each look and period.
    async fn page(&self, period: usize) -> Option<Bytes> {
        let (look, held) = self.data().await;
        let shown = self.shown.load();
        let paths = shown.paths.as_ref()?;
        let mut pages = self.pages.lock();
        if let Some((at, page)) = &pages[period]
            && *at == look.at
        {
            return Some(page.clone());
        }
        let page = Bytes::from(page::page(&shown, paths, &look, &held, period));
        pages[period] = Some((look.at, page.clone()));
        Some(page)
    }
}

/// Feeds the viewers while there are any. Runs as long as the server.
pub async fn produce(feed: Arc<Feed>) {
    let clock = *feed.gate.clock();
    let live = async {
        loop {
            feed.viewers.some().await;
            feed.send_live();
            clock.sleep(feed.look_every()).await;
        }
    };
    let past = async {
        loop {
            feed.viewers.some().await;
            feed.send_traffic().await;
            clock.sleep(TRAFFIC_EVERY).await;
        }
    };
    let ((), ()) = tokio::join!(live, past);
}

/// The page and what belongs to it. As for [`super::account::router`], a [`Refusal`] among the extensions is sent instead.
pub fn router(paths: &StatusPaths, feed: Arc<Feed>) -> Router {
    let mut router = Router::new()
        .route(&paths.page, get(page))
        .route(&paths.json, get(json))
        .route(&paths.events, get(events));
    for asset in web::STATUS.all() {
        router = router.route(&paths.asset(asset), get(async move || asset_response(asset)));
    }
    router.with_state(feed)
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    period: Option<String>,
}

async fn page(State(feed): State<Arc<Feed>>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let asked = asked.ok().and_then(|Query(asked)| asked.period);
    let named = |asked: String| PERIODS.iter().position(|period| period.name == asked);
    match feed.page(asked.and_then(named).unwrap_or(0)).await {
        Some(page) => with_headers(
            Body::from(page),
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY),
                (header::REFERRER_POLICY, "no-referrer"),
            ],
        ),
        None => Extension(Refusal::NotFound).into_response(),
    }
}

async fn json(State(feed): State<Arc<Feed>>) -> Response {
    let (look, held) = feed.data().await;
    let text = format!("{{\"now\":{},\"traffic\":{}}}", look.json, held.json());
    with_headers(Body::from(text), [(header::CONTENT_TYPE, "application/json")])
}

async fn events(State(feed): State<Arc<Feed>>, Extension(visitor): Extension<Visitor>) -> Response {
    // Before it is asked whether they have ended: so the end can't be missed.
    let latest = feed.frames.subscribe();
    if latest.borrow().is_closed {
        let retry_after = LOOK_EVERY_MAX;
        return Extension(Refusal::ShuttingDown { retry_after }).into_response();
    }
    let viewer = match feed.viewers.enter(visitor.network()) {
        Ok(viewer) => viewer,
        Err(refusal) => return Extension(refusal).into_response(),
    };
    let (look, held) = feed.data().await;
    let first = Frames::first(look.version, look.at, &look.json, &held);
    let stream = Stream::new(first, latest, viewer);
    with_headers(
        Body::new(stream),
        [
            (header::CONTENT_TYPE, "text/event-stream"),
            // nginx holds events back otherwise.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ],
    )
}

/// An asset, to be kept for ever.
pub(super) fn asset_response(asset: &'static Asset) -> Response {
    with_headers(
        Body::from(&*asset.text),
        [
            (header::CONTENT_TYPE, asset.content_type),
            (header::CACHE_CONTROL, web::CACHE_FOR_EVER),
        ],
    )
}

/// A response with these headers.
pub(super) fn with_headers<const N: usize>(body: Body, headers: [(HeaderName, &'static str); N]) -> Response {
    let mut response = Response::new(body);
    let safe = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    for (name, value) in headers.into_iter().chain([safe]) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
