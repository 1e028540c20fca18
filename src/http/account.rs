//! Tiergate's own pages: what callers may know of themselves (`/me`) and what everybody may know of the proxy (`/stats`).

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use tokio::sync::Semaphore;
use tracing::error;

use super::quotas::{self, QuotaLine, written};
use super::site::Site;
use super::standing::Standing;
use super::status::{self, Feed, StatusPaths};
use crate::policy::caller::{Caller, Network};
use crate::policy::refusal::Refusal;
use crate::policy::time::UnixTime;
use crate::store::statistics::{PERCENTILES, Period, STATUSES, Speed, Traffic};
use crate::store::{Database, ReadError};

/// Queries of the statistics that run at once.
const QUERIES_MAX: usize = 2;
/// Queries of the statistics that may wait for their turn.
const QUERIES_WAITING_MAX: usize = 64;

/// The paths of tiergate's own pages; `None`: the page is off.
#[derive(Clone, Debug, Default)]
pub struct OwnPaths {
    /// The path of `/me`.
    pub me: Option<String>,
    /// The path of `/stats`.
    pub stats: Option<String>,
    /// The paths of the status page.
    pub status: Option<StatusPaths>,
    /// All of them.
    all: Vec<String>,
}

impl OwnPaths {
    /// These paths.
    pub fn new(me: Option<String>, stats: Option<String>, status: Option<String>) -> Self {
        let status = status.map(StatusPaths::new);
        let below = status.iter().flat_map(StatusPaths::all);
        let all = [&me, &stats].into_iter().flatten().cloned().chain(below).collect();
        Self { me, stats, status, all }
    }

    /// The paths by which their requests are counted: assets, whose names change, together.
    pub fn metered(&self) -> impl Iterator<Item = &str> {
        let own = [&self.me, &self.stats].into_iter().flatten().map(String::as_str);
        own.chain(self.status.iter().flat_map(StatusPaths::metered))
    }

    /// The one of them by which a request for that page is counted.
    pub fn metered_as<'p>(&'p self, page: &'p str) -> &'p str {
        let assets = self.status.as_ref().and_then(|status| status.assets_of(page));
        assets.unwrap_or(page)
    }

    /// The page at that path, if it is one.
    pub fn find(&self, path: &str) -> Option<&str> {
        self.all.iter().map(String::as_str).find(|own| *own == path)
    }
}

/// What a request for a page brings along.
#[derive(Clone, Debug)]
pub struct Visitor {
    caller: Caller,
    /// Only for `/me`.
    me: Option<Me>,
    network: Network,
    now: UnixTime,
}

impl Visitor {
    /// The caller with this standing and address, on its way to that page.
    pub fn of(standing: &Standing, address: IpAddr, site: &Site, is_me: bool) -> Self {
        Self {
            caller: standing.caller,
            me: is_me.then(|| Me::of(standing, address, site)),
            network: Network::of(address),
            now: site.gate().clock().wall(),
        }
    }

    /// The network from which it comes.
    pub(super) fn network(&self) -> Network {
        self.network
    }
}

/// The answer to `GET /me`: the names that trace.moe's clients read, and new members that explain them. All values are read at
/// one moment.
#[derive(Clone, Debug, Serialize)]
struct Me {
    /// The account's mail address, otherwise its name; the client's address if there is no account.
    id: String,
    tier: String,
    priority: u8,
    concurrency: u32,
    /// These three describe one quota: the enforced one with the fewest units left; among equals, the one that stays so for
    /// longest, as a refusal would name it. `null`: there is no limit.
    quota: Option<u64>,
    #[serde(rename = "quotaUsed")]
    quota_used: u64,
    /// When all used units will have come back; `null` if none are used.
    #[serde(rename = "quotaReset")]
    quota_reset: Option<String>,
    quotas: Vec<QuotaLine>,
    running: u32,
    waiting: u32,
    /// Jobs whose bodies still arrive.
    uploading: u32,
}

impl Me {
    fn of(standing: &Standing, address: IpAddr, site: &Site) -> Self {
        let (rules, tier) = (&site.generation().rules, standing.tier(&site.generation().rules));
        let balance = quotas::balance(standing, site.gate(), rules);
        let quotas = quotas::lines(standing, rules, &balance);
        let enforced = quotas.iter().zip(&balance.usages).filter(|(line, _)| line.enforced);
        let tightest = enforced.min_by_key(|(line, usage)| (line.remaining, Reverse(usage.next_free)));
        let tightest = tightest.map(|(line, _)| line);
        Self {
            id: standing.id(address),
            tier: tier.name.to_string(),
            priority: tier.priority.get(),
            concurrency: standing.concurrency(rules),
            quota: tightest.map(|line| line.limit),
            quota_used: tightest.map_or(0, |line| line.used),
            quota_reset: tightest.and_then(|line| line.next_reset.clone()),
            running: balance.jobs - balance.waiting - balance.uploading,
            waiting: balance.waiting,
            uploading: balance.uploading,
            quotas,
        }
    }
}

/// What tiergate's own pages show, and a bound on concurrent readers.
#[derive(Debug)]
pub struct Pages {
    database: Arc<Database>,
    running: Arc<Semaphore>,
    /// Running and waiting queries.
    pending: Arc<Semaphore>,
}

/// Tiergate's own pages. A request carries its [`Visitor`] as an extension. If an answer carries a [`Refusal`] as an extension,
/// the refusal is sent instead.
pub fn router(paths: &OwnPaths, pages: Arc<Pages>, feed: &Arc<Feed>) -> Router {
    let mut router = Router::new();
    if let Some(path) = &paths.me {
        router = router.route(path, get(me));
    }
    if let Some(path) = &paths.stats {
        router = router.route(path, get(stats));
    }
    let router = router.with_state(pages);
    match &paths.status {
        Some(status) => router.merge(status::router(status, Arc::clone(feed))),
        None => router,
    }
}

#[derive(Debug, Default, Deserialize)]
struct PageQuery {
    period: Option<String>,
    r#type: Option<String>,
}

type Parameters = Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>;

async fn me(State(pages): State<Arc<Pages>>, Extension(visitor): Extension<Visitor>, query: Parameters) -> Response {
    let Ok(Query(query)) = query else {
        return refused("the query is malformed or repeats a parameter");
    };
    let Some(period) = query.period else {
        return Json(visitor.me).into_response();
    };
    let Some(period) = period_of(&period) else {
        return refused(BAD_PERIOD);
    };
    pages.traffic(Some(visitor.caller), period, visitor.now).await
}

async fn stats(State(pages): State<Arc<Pages>>, Extension(visitor): Extension<Visitor>, query: Parameters) -> Response {
    let Ok(Query(query)) = query else {
        return refused("the query is malformed or repeats a parameter");
    };
    let Some(period) = period_of(query.period.as_deref().unwrap_or("hour")) else {
        return refused(BAD_PERIOD);
    };
    match query.r#type.as_deref().unwrap_or("traffic") {
        "traffic" => pages.traffic(None, period, visitor.now).await,
        "speed" => pages.speed(period, visitor.now).await,
        _ => refused("type must be traffic or speed"),
    }
}

const BAD_PERIOD: &str = "period must be minute, hour or day";

fn period_of(word: &str) -> Option<Period> {
    match word {
        "minute" => Some(Period::Minute),
        "hour" => Some(Period::Hour),
        "day" => Some(Period::Day),
        _ => None,
    }
}

fn refused(why: &'static str) -> Response {
    Extension(Refusal::BadRequest(why.into())).into_response()
}

impl Pages {
    /// Pages that read this database.
    pub fn new(database: Arc<Database>) -> Arc<Self> {
        Arc::new(Self {
            database,
            running: Arc::new(Semaphore::new(QUERIES_MAX)),
            pending: Arc::new(Semaphore::new(QUERIES_MAX + QUERIES_WAITING_MAX)),
        })
    }

    async fn traffic(&self, whose: Option<Caller>, period: Period, now: UnixTime) -> Response {
        self.answer(move |database| database.traffic(whose, period, now), traffic_row)
            .await
    }

    async fn speed(&self, period: Period, now: UnixTime) -> Response {
        self.answer(move |database| database.speed(period, now), speed_row)
            .await
    }

    /// Runs a query on a blocking thread. Its permit is held until the query ends, even if the request is dropped.
    async fn answer<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<Vec<T>, ReadError> + Send + 'static,
        row: impl Fn(T) -> Row,
    ) -> Response {
        let Ok(place) = Arc::clone(&self.pending).try_acquire_owned() else {
            return Extension(Refusal::StatisticsUnavailable).into_response();
        };
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let database = Arc::clone(&self.database);
        let read = tokio::task::spawn_blocking(move || {
            let _until_read = (place, turn);
            read(&database)
        });
        let read = read.await.map_err(|error| error.to_string());
        match read.and_then(|rows| rows.map_err(|error| error.to_string())) {
            Ok(rows) => Json(rows.into_iter().map(row).collect::<Vec<_>>()).into_response(),
            Err(error) => {
                error!(%error, "statistics query failed");
                Extension(Refusal::StatisticsUnavailable).into_response()
            }
        }
    }
}

fn speed_row(Speed { time, percentiles_ms }: Speed) -> Row {
    let nth = |place: usize| percentiles_ms.map(|all| all[place]);
    let names = PERCENTILES.iter().enumerate();
    Row::of(
        time,
        names.map(|(place, name)| (format!("p{name}"), Value::from(nth(place)))),
    )
}

fn traffic_row(Traffic { time, counts, total }: Traffic) -> Row {
    let counts = STATUSES.iter().zip(counts);
    let counts = counts.map(|(status, count)| (status.to_string(), Value::from(count)));
    Row::of(time, counts.chain([("total".to_owned(), Value::from(total))]))
}

/// A JSON object whose members keep this order.
struct Row(Vec<(String, Value)>);

impl Row {
    fn of(time: UnixTime, columns: impl Iterator<Item = (String, Value)>) -> Self {
        let time = ("time".to_owned(), Value::from(written(time)));
        Self(std::iter::once(time).chain(columns).collect())
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
