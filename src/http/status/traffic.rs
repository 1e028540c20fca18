//! The past: the last hour, three days and sixty days, read off the event loops, and kept for all viewers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tracing::error;

use crate::clock::Clock;
use crate::http::quotas::written;
use crate::policy::rules::{Priority, Rules};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::store::Database;
use crate::store::statistics::{Overview, OverviewRow, PERCENTILES, Period, RefusalCounts};

/// A period that is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub period: Period,
    /// In JSON and in the page's query.
    pub name: &'static str,
    /// On the page.
    pub title: &'static str,
    /// What a row is.
    pub unit: &'static str,
    pub step_s: u64,
    /// After so long it is read again.
    pub keep: Span,
}

/// The periods that are shown.
pub const PERIODS: [Shown; 3] = [
    Shown {
        period: Period::Minute,
        name: "1h",
        title: "1 hour",
        unit: "per minute",
        step_s: 60,
        keep: Span::from_secs(15),
    },
    Shown {
        period: Period::Hour,
        name: "3d",
        title: "3 days",
        unit: "per hour",
        step_s: 3_600,
        keep: Span::from_secs(60),
    },
    Shown {
        period: Period::Day,
        name: "60d",
        title: "60 days",
        unit: "per day",
        step_s: 86_400,
        keep: Span::from_secs(300),
    },
];

/// After a failed reading the next attempt comes so much later.
const RETRY_AFTER: Span = Span::from_secs(5);

/// The past as it was last read.
#[derive(Debug)]
pub struct TrafficCache {
    database: Arc<Database>,
    refusals: Arc<RefusalCounts>,
    /// Held while a query runs.
    turn: tokio::sync::Mutex<()>,
    held: Mutex<[Entry; PERIODS.len()]>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// When it is out of date; `None`: it was never read.
    until: Option<Timestamp>,
    traffic: Option<Arc<Traffic>>,
}

/// All periods, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub struct Held(pub [Option<Arc<Traffic>>; PERIODS.len()]);

impl Held {
    /// A JSON object with each period under its name, `null` if it can't be read.
    pub fn json(&self) -> String {
        let member = |(shown, held): (&Shown, &Option<Arc<Traffic>>)| {
            let json = held.as_ref().map_or("null", |held| &held.json);
            format!("\"{}\":{json}", shown.name)
        };
        let members: Vec<String> = PERIODS.iter().zip(&self.0).map(member).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// One period, as it is sent to viewers.
#[derive(Debug)]
pub struct Traffic {
    /// Differs from that of every earlier reading.
    pub version: u64,
    pub data: Data,
    pub json: String,
}

/// The members of one period's JSON. In lists there is a number for each row, earliest first; the last row is not over.
#[derive(Debug, PartialEq, Serialize)]
pub struct Data {
    pub period: &'static str,
    /// The start of the first row.
    pub first: Option<String>,
    #[serde(skip)]
    pub first_s: u64,
    pub step_s: u64,
    /// Successes.
    pub served: Vec<u64>,
    /// What was turned away, by kind.
    #[serde(flatten)]
    pub groups: BTreeMap<&'static str, Vec<u64>>,
    /// The same by reason, over all rows, the most frequent first.
    pub reasons: Vec<ReasonLine>,
    /// Places taken on average, by priority.
    pub places: BTreeMap<u8, Vec<f64>>,
    /// Service times of successes in milliseconds; `null` without successes.
    #[serde(flatten)]
    pub percentiles: BTreeMap<String, Vec<Option<u32>>>,
    /// The same over all rows.
    pub percentiles_ms: Option<BTreeMap<String, u32>>,
}

/// Why requests were turned away, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonLine {
    /// A code as clients are told it; `failed` for an upstream's answer that is no success.
    pub reason: String,
    pub status: u16,
    pub group: &'static str,
    pub count: u64,
}

/// Kinds of reasons with their titles, in the order in which they are drawn.
pub const GROUPS: [(&str, &str); 5] = [
    ("room", "No place"),
    ("limits", "Own limits"),
    ("rate", "Too fast"),
    ("request", "Bad requests"),
    ("fault", "Faults"),
];

fn group(reason: &str) -> &'static str {
    match reason {
        "queue_full" | "displaced" | "wait_too_long" | "waited_too_long" => "room",
        "shutting_down" | "admission_stopped" | "cancelled_by_operator" | "too_many_uploads" => "room",
        "quota_depleted" | "concurrency_exceeded" | "too_many_users" => "limits",
        "rate_limited" | "blocked" => "rate",
        "failed" | "journal_unavailable" => "fault",
        reason if reason.starts_with("upstream_") => "fault",
        _ => "request",
    }
}

impl TrafficCache {
    /// Nothing is read yet.
    pub fn new(database: Arc<Database>, refusals: Arc<RefusalCounts>) -> Self {
        Self {
            database,
            refusals,
            turn: tokio::sync::Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// What is known.
    pub fn held(&self) -> Held {
        Held(self.held.lock().clone().map(|entry| entry.traffic))
    }

    /// Reads what is out of date. While another task does so, waits only for what was never read.
    pub async fn refresh(&self, clock: &Clock, rules: &Arc<Rules>) {
        let now = clock.now();
        let (stale, unknown) = {
            let held = self.held.lock();
            let stale = |entry: &Entry| entry.until.is_none_or(|until| until <= now);
            (held.iter().any(stale), held.iter().any(|entry| entry.until.is_none()))
        };
        if !stale {
            return;
        }
        let turn = if unknown {
            Some(self.turn.lock().await)
        } else {
            self.turn.try_lock().ok()
        };
        if turn.is_none() {
            return;
        }
        for (at, shown) in PERIODS.iter().enumerate() {
            let is_fresh = self.held.lock()[at].until.is_some_and(|until| until > clock.now());
            if !is_fresh {
                self.read(at, shown, clock, rules).await;
            }
        }
    }

    async fn read(&self, at: usize, shown: &'static Shown, clock: &Clock, rules: &Arc<Rules>) {
        let (database, wall) = (Arc::clone(&self.database), clock.wall());
        let read = tokio::task::spawn_blocking(move || database.overview(shown.period, wall)).await;
        let read = read.map_err(|error| error.to_string());
        let now = clock.now();
        let mut held = self.held.lock();
        match read.and_then(|overview| overview.map_err(|error| error.to_string())) {
            Ok(mut overview) => {
                self.add_pending(&mut overview);
                let data = Data::of(shown, &overview, wall, rules);
                let json = serde_json::to_string(&data).expect("names and numbers can be written");
                let version = now.as_nanos().max(1);
                held[at].traffic = Some(Arc::new(Traffic { version, data, json }));
                held[at].until = Some(now + shown.keep);
            }
            Err(error) => {
                error!(%error, "statistics query failed");
                held[at].until = Some(now + RETRY_AFTER);
            }
        }
    }

    /// Refusals are written at the end of their minute.
    fn add_pending(&self, overview: &mut Overview) {
        if let Some(row) = overview.rows.last_mut() {
            for (reason, status, count) in self.refusals.pending() {
                *row.refused.entry((reason.code().to_owned(), status)).or_default() += count;
            }
        }
    }
}

impl Data {
    fn of(shown: &Shown, overview: &Overview, now: UnixTime, rules: &Rules) -> Self {
        let rows = &overview.rows;
        let names = || PERCENTILES.iter().map(|name| format!("p{name}"));
        let percentile = |place: usize| {
            rows.iter()
                .map(|row| row.percentiles_ms.map(|all| all[place]))
                .collect()
        };
        Self {
            period: shown.name,
            first: written(overview.first),
            first_s: overview.first.as_secs(),
            step_s: shown.step_s,
            served: rows.iter().map(|row| row.served).collect(),
            groups: GROUPS
                .iter()
                .map(|(name, _)| (*name, rows.iter().map(|row| turned_away(row, name)).collect()))
                .collect(),
            reasons: reasons(rows),
            places: places(shown, overview, now, rules),
            percentiles: names()
                .enumerate()
                .map(|(place, name)| (name, percentile(place)))
                .collect(),
            percentiles_ms: overview.percentiles_ms.map(|all| names().zip(all).collect()),
        }
    }

    /// All that was turned away.
    pub fn turned_away(&self) -> u64 {
        self.groups.values().flatten().sum()
    }

    /// Places taken on average over all rows.
    pub fn places_mean(&self) -> f64 {
        self.places.values().flatten().sum::<f64>() / self.served.len().max(1) as f64
    }
}

fn all(row: &OverviewRow) -> impl Iterator<Item = (&str, u16, u64)> {
    let refused = row
        .refused
        .iter()
        .map(|((reason, status), count)| (reason.as_str(), *status, *count));
    refused.chain(row.failed.iter().map(|(status, count)| ("failed", *status, *count)))
}

fn turned_away(row: &OverviewRow, name: &str) -> u64 {
    all(row)
        .filter(|(reason, ..)| group(reason) == name)
        .map(|(.., count)| count)
        .sum()
}

fn reasons(rows: &[OverviewRow]) -> Vec<ReasonLine> {
    let mut counts: BTreeMap<(&str, u16), u64> = BTreeMap::new();
    for (reason, status, count) in rows.iter().flat_map(all) {
        *counts.entry((reason, status)).or_default() += count;
    }
    let line = |((reason, status), count): ((&str, u16), u64)| ReasonLine {
        group: group(reason),
        reason: reason.to_owned(),
        status,
        count,
    };
    let mut lines: Vec<ReasonLine> = counts.into_iter().map(line).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.count));
    lines
}

/// By Little's law: the sum of the waits that ended in a row, divided by its length. Tiers that are gone have no priority any
/// more, and are left out.
fn places(shown: &Shown, overview: &Overview, now: UnixTime, rules: &Rules) -> BTreeMap<u8, Vec<f64>> {
    let priorities: HashMap<&str, Priority> = rules.tiers.iter().map(|tier| (&*tier.name, tier.priority)).collect();
    let mut means: BTreeMap<u8, Vec<f64>> = BTreeMap::new();
    for priority in priorities.values() {
        means.insert(priority.get(), vec![0.0; overview.rows.len()]);
    }
    let last = overview.rows.len().saturating_sub(1);
    for (at, row) in overview.rows.iter().enumerate() {
        let begun = overview.first.as_millis() + at as u64 * shown.step_s * 1_000;
        let so_far = now.as_millis().saturating_sub(begun).max(1_000);
        let length_ms = if at == last {
            so_far.min(shown.step_s * 1_000)
        } else {
            shown.step_s * 1_000
        };
        for (tier, waited_ms) in &row.waited_ms {
            if let Some(mean) = priorities
                .get(&**tier)
                .and_then(|priority| means.get_mut(&priority.get()))
            {
                mean[at] += *waited_ms as f64 / length_ms as f64;
            }
        }
    }
    for mean in means.values_mut().flatten() {
        *mean = (*mean * 100.0).round() / 100.0;
    }
    means
}
