//! The gauges of the gate, accounts and upstream servers, and counters that are kept elsewhere: a scrape copies them from a
//! snapshot.

use std::sync::Arc;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};

use super::registry::Registry;
use super::upstreams::{FailureLevel, ServerFailure};
use crate::policy::rules::{Priority, Rules, UpstreamRules};
use crate::policy::time::Span;

/// Shares of a quota whose users are counted.
pub const QUOTA_SHARES: [f64; 2] = [0.8, 0.95];

/// Where bodies are kept.
const BODY_PLACES: [&str; 2] = ["memory", "file"];

/// Kinds of callers.
const KINDS: [&str; 3] = ["account", "network", "user"];

/// A snapshot of what the gauges show.
#[derive(Clone, Debug)]
pub struct Levels {
    /// The queue's length.
    pub queue_capacity: u32,
    /// Queued jobs by priority.
    pub waiting: [u32; Priority::COUNT],
    /// How long the oldest queued job of each priority has waited.
    pub oldest: [Span; Priority::COUNT],
    /// Jobs in flight by tier, in the rules' order.
    pub in_flight: Vec<u32>,
    /// Those of them whose bodies still arrive.
    pub uploading: Vec<u32>,
    /// By upstream, in the rules' order.
    pub upstreams: Vec<UpstreamLevels>,
    /// Accounts by tier; last, those whose tier does not exist.
    pub accounts: Vec<u32>,
    /// By tier: accounts that have used each of [`QUOTA_SHARES`] of a quota.
    pub over_quota_share: Vec<[u32; QUOTA_SHARES.len()]>,
    /// Callers that have a debit in a window: accounts, networks, users.
    pub debtors: [usize; KINDS.len()],
    /// By request limit: the number of individually counted callers, and of requests ever counted by prefix.
    pub limits: Vec<(usize, u64)>,
    /// Whether dispatch is paused.
    pub is_paused: bool,
    /// Whether an operator has stopped admission.
    pub is_admission_stopped: bool,
    /// Viewers of the status page.
    pub viewers: usize,
    /// Bytes of metered requests' bodies, in memory and in files.
    pub bodies: [u64; BODY_PLACES.len()],
}

/// A snapshot of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamLevels {
    /// Slots of servers that are up and not drained.
    pub available: u32,
    /// Slots in use.
    pub busy: u32,
    /// By server, in the rules' order.
    pub servers: Vec<ServerLevels>,
}

/// A snapshot of an upstream server.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerLevels {
    /// Whether it gets jobs.
    pub is_up: bool,
    /// Its slots, as configured.
    pub configured: u32,
    /// Its slots that count now.
    pub available: u32,
    /// Its slots in use.
    pub busy: u32,
    /// Its failures by kind; `None` if they are not known any more, since it was removed.
    pub failures: Option<[FailureLevel; ServerFailure::ALL.len()]>,
}

/// The gauges, with handles made once for a set of rules.
#[derive(Debug)]
pub(super) struct Gauges {
    pub(super) rules: Arc<Rules>,
    /// Always 1: the version, and one of each tier.
    _constant: Vec<Gauge>,
    queue_capacity: Gauge,
    waiting: [Gauge; Priority::COUNT],
    oldest: [Gauge; Priority::COUNT],
    in_flight: Vec<Gauge>,
    uploading: Vec<Gauge>,
    upstreams: Vec<UpstreamGauges>,
    accounts: Vec<Gauge>,
    over_quota_share: Vec<[Gauge; QUOTA_SHARES.len()]>,
    debtors: [Gauge; KINDS.len()],
    limits: Vec<(Gauge, Total)>,
    dispatch_paused: Gauge,
    admission_stopped: Gauge,
    viewers: Gauge,
    bodies: [Gauge; BODY_PLACES.len()],
}

#[derive(Debug)]
struct UpstreamGauges {
    available: Gauge,
    busy: Gauge,
    servers: Vec<ServerGauges>,
}

#[derive(Debug)]
struct ServerGauges {
    name: String,
    up: Gauge,
    configured: Gauge,
    available: Gauge,
    busy: Gauge,
    failures: [Total; ServerFailure::ALL.len()],
    last_failures: [Gauge; ServerFailure::ALL.len()],
}

/// A counter whose total is kept elsewhere.
#[derive(Debug)]
struct Total {
    counter: Counter,
    /// The total at the last scrape.
    seen: u64,
}

impl Total {
    /// Sets the total. If it is less than before, what it counts was removed meanwhile and counts from 0 again.
    fn set(&mut self, total: u64) {
        self.counter.increment(total.checked_sub(self.seen).unwrap_or(total));
        self.seen = total;
    }
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

fn key<const N: usize>(name: &'static str, labels: Labels<'_, N>) -> Key {
    let labels = labels.map(|(key, value)| Label::new(key, value.to_owned()));
    Key::from_parts(name, labels.to_vec())
}

fn gauge<const N: usize>(registry: &Registry, name: &'static str, labels: Labels<'_, N>) -> Gauge {
    registry.register_gauge(&key(name, labels), &METADATA)
}

fn total<const N: usize>(registry: &Registry, name: &'static str, labels: Labels<'_, N>, seen: u64) -> Total {
    let counter = registry.register_counter(&key(name, labels), &METADATA);
    Total { counter, seen }
}

impl Gauges {
    /// The gauges for these rules' tiers, limits and upstreams, continuing those of other rules.
    pub(super) fn register(registry: &Registry, rules: &Arc<Rules>, before: Option<&Self>) -> Self {
        let tiers = || rules.tiers.iter().map(|tier| &*tier.name);
        let by_tier = |name| tiers().map(|tier| gauge(registry, name, [("tier", tier)])).collect();
        let by_priority =
            |name| std::array::from_fn(|priority: usize| gauge(registry, name, [("priority", &*priority.to_string())]));
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        let build = gauge(registry, "tiergate_build_info", build);
        let constant: Vec<Gauge> = tier_infos(registry, rules).chain([build]).collect();
        constant.iter().for_each(|gauge| gauge.set(1.0));
        let limit = |name: &str| {
            let seen = before.and_then(|before| before.crowded(name)).unwrap_or(0);
            let crowded = total(registry, "tiergate_limit_crowded_total", [("limit", name)], seen);
            (gauge(registry, "tiergate_limit_callers", [("limit", name)]), crowded)
        };
        let shares = |tier| QUOTA_SHARES.map(|share| over_quota_share(registry, tier, share));
        Self {
            rules: Arc::clone(rules),
            _constant: constant,
            queue_capacity: gauge(registry, "tiergate_queue_capacity", []),
            waiting: by_priority("tiergate_queue_depth"),
            oldest: by_priority("tiergate_queue_oldest_seconds"),
            in_flight: by_tier("tiergate_jobs_in_flight"),
            uploading: by_tier("tiergate_jobs_uploading"),
            upstreams: rules
                .upstreams
                .iter()
                .map(|upstream| UpstreamGauges::register(registry, upstream, before))
                .collect(),
            accounts: tiers()
                .chain(["none"])
                .map(|tier| gauge(registry, "tiergate_accounts", [("tier", tier)]))
                .collect(),
            over_quota_share: tiers().map(shares).collect(),
            debtors: KINDS.map(|kind| gauge(registry, "tiergate_callers", [("kind", kind)])),
            limits: rules.limits.iter().map(|of| limit(&of.name)).collect(),
            dispatch_paused: gauge(registry, "tiergate_dispatch_paused", []),
            admission_stopped: gauge(registry, "tiergate_admission_stopped", []),
            viewers: gauge(registry, "tiergate_status_viewers", []),
            bodies: BODY_PLACES.map(|place| gauge(registry, "tiergate_bodies_bytes", [("place", place)])),
        }
    }

    /// Shows the snapshot, which must be of the same rules.
    pub(super) fn show(&mut self, levels: &Levels) {
        self.queue_capacity.set(levels.queue_capacity);
        self.dispatch_paused.set(f64::from(u8::from(levels.is_paused)));
        self.admission_stopped
            .set(f64::from(u8::from(levels.is_admission_stopped)));
        self.viewers.set(levels.viewers as f64);
        for (gauge, bytes) in self.bodies.iter().zip(levels.bodies) {
            gauge.set(bytes as f64);
        }
        show_all(&self.waiting, levels.waiting);
        show_all(&self.oldest, levels.oldest.map(Span::as_secs_f64));
        show_all(&self.in_flight, levels.in_flight.iter().copied());
        show_all(&self.uploading, levels.uploading.iter().copied());
        show_all(&self.accounts, levels.accounts.iter().copied());
        // Bounded by memory, so exact as floats.
        show_all(&self.debtors, levels.debtors.map(|callers| callers as f64));
        for (gauges, accounts) in self.over_quota_share.iter().zip(&levels.over_quota_share) {
            show_all(gauges, *accounts);
        }
        for ((callers, crowded), (counted, requests)) in self.limits.iter_mut().zip(&levels.limits) {
            callers.set(*counted as f64);
            crowded.set(*requests);
        }
        for (gauges, levels) in self.upstreams.iter_mut().zip(&levels.upstreams) {
            gauges.available.set(levels.available);
            gauges.busy.set(levels.busy);
            for (gauges, levels) in gauges.servers.iter_mut().zip(&levels.servers) {
                gauges.show(levels);
            }
        }
    }

    /// How many requests the limit of that name had counted by prefix, if it existed.
    fn crowded(&self, name: &str) -> Option<u64> {
        let at = self.rules.limits.iter().position(|limit| *limit.name == *name)?;
        Some(self.limits[at].1.seen)
    }

    /// The failures that had been seen of that server, if it existed.
    fn failures(&self, upstream: &str, server: &str) -> Option<[u64; ServerFailure::ALL.len()]> {
        let at = self.rules.upstreams.iter().position(|of| of.name == upstream)?;
        let server = self.upstreams[at].servers.iter().find(|of| of.name == server)?;
        Some(server.failures.each_ref().map(|total| total.seen))
    }
}

fn show_all(gauges: &[Gauge], values: impl IntoIterator<Item = impl Into<f64>>) {
    for (gauge, value) in gauges.iter().zip(values) {
        gauge.set(value.into());
    }
}

fn tier_infos<'a>(registry: &'a Registry, rules: &'a Rules) -> impl Iterator<Item = Gauge> + 'a {
    rules.tiers.entries().map(|(id, tier)| {
        let priority = tier.priority.get().to_string();
        let anonymous = if id == rules.anonymous { "true" } else { "false" };
        let labels = [
            ("tier", &*tier.name),
            ("priority", &*priority),
            ("anonymous", anonymous),
        ];
        gauge(registry, "tiergate_tier_info", labels)
    })
}

fn over_quota_share(registry: &Registry, tier: &str, share: f64) -> Gauge {
    let labels = [("tier", tier), ("share", &*share.to_string())];
    gauge(registry, "tiergate_accounts_over_quota_share", labels)
}

impl UpstreamGauges {
    fn register(registry: &Registry, rules: &UpstreamRules, before: Option<&Gauges>) -> Self {
        let upstream = &*rules.name;
        let servers = rules.servers.iter();
        Self {
            available: gauge(registry, "tiergate_slots", [("upstream", upstream)]),
            busy: gauge(registry, "tiergate_jobs_running", [("upstream", upstream)]),
            servers: servers
                .map(|server| {
                    let seen = before.and_then(|before| before.failures(upstream, &server.name));
                    ServerGauges::register(registry, upstream, &server.name, seen.unwrap_or_default())
                })
                .collect(),
        }
    }
}

impl ServerGauges {
    fn register(registry: &Registry, upstream: &str, server: &str, seen: [u64; ServerFailure::ALL.len()]) -> Self {
        let of = [("upstream", upstream), ("server", server)];
        let slots = |state| {
            let labels = [of[0], of[1], ("state", state)];
            gauge(registry, "tiergate_upstream_server_slots", labels)
        };
        let by_reason = |kind: ServerFailure| [of[0], of[1], ("reason", kind.name())];
        let failures = |kind: ServerFailure| {
            let name = "tiergate_upstream_server_failures_total";
            total(registry, name, by_reason(kind), seen[kind as usize])
        };
        let last_failure = |kind| {
            let name = "tiergate_upstream_server_last_failure_timestamp_seconds";
            gauge(registry, name, by_reason(kind))
        };
        Self {
            name: server.to_owned(),
            up: gauge(registry, "tiergate_upstream_server_up", of),
            configured: slots("configured"),
            available: slots("available"),
            busy: slots("busy"),
            failures: ServerFailure::ALL.map(failures),
            last_failures: ServerFailure::ALL.map(last_failure),
        }
    }

    fn show(&mut self, levels: &ServerLevels) {
        self.up.set(f64::from(u8::from(levels.is_up)));
        self.configured.set(levels.configured);
        self.available.set(levels.available);
        self.busy.set(levels.busy);
        let known = levels.failures.iter().flatten();
        for ((total, last), level) in self.failures.iter_mut().zip(&self.last_failures).zip(known) {
            total.set(level.count);
            // In milliseconds it is exact as a float.
            last.set(level.last.as_millis() as f64 / 1e3);
        }
    }
}

/// The gauges of this module with their help texts.
const GAUGES: [(&str, &str); 20] = [
    ("tiergate_build_info", "Always 1; the running version is in the labels."),
    (
        "tiergate_tier_info",
        "Always 1; a tier's priority, and whether callers without an account have it, are in the labels.",
    ),
    (
        "tiergate_queue_capacity",
        "The queue's length: the maximum number of queued jobs.",
    ),
    ("tiergate_queue_depth", "Queued jobs, by priority."),
    (
        "tiergate_queue_oldest_seconds",
        "How long the oldest queued job has waited, by priority, in seconds; 0 if there is none.",
    ),
    (
        "tiergate_jobs_in_flight",
        "Admitted jobs that have not ended: uploading, queued, running, or about to end.",
    ),
    (
        "tiergate_jobs_uploading",
        "Admitted jobs whose bodies still arrive: they have neither a queue place nor a slot.",
    ),
    (
        "tiergate_dispatch_paused",
        "1 while an operator has paused dispatch: queued jobs get no slot.",
    ),
    (
        "tiergate_admission_stopped",
        "1 while an operator has stopped admission: new metered requests are refused.",
    ),
    ("tiergate_status_viewers", "Open streams of events of the status page."),
    (
        "tiergate_bodies_bytes",
        "Bodies of metered requests that are kept, in memory or in files.",
    ),
    (
        "tiergate_slots",
        "Slots of the servers that are up and not drained, by upstream.",
    ),
    ("tiergate_callers", "Callers with a debit in an open window."),
    ("tiergate_jobs_running", "Jobs that hold a slot, by upstream."),
    (
        "tiergate_upstream_server_up",
        "1 if the upstream server is up, 0 while it is marked down.",
    ),
    (
        "tiergate_upstream_server_slots",
        "Slots of an upstream server: configured, available (0 while it is down or drained), busy.",
    ),
    (
        "tiergate_upstream_server_last_failure_timestamp_seconds",
        "When an upstream server last failed that way, in Unix seconds; 0 if it never did.",
    ),
    (
        "tiergate_limit_callers",
        "Callers that a request limit counts individually.",
    ),
    (
        "tiergate_accounts",
        "Accounts by tier, including those declared in tiers.yaml; `none`: their tier does not exist.",
    ),
    (
        "tiergate_accounts_over_quota_share",
        "Accounts that have used at least that share of one of their quotas, as of the last minute.",
    ),
];

/// The counters of this module with their help texts.
const COUNTERS: [(&str, &str); 2] = [
    (
        "tiergate_limit_crowded_total",
        "Requests of callers beyond max_callers, counted by network prefix.",
    ),
    (
        "tiergate_upstream_server_failures_total",
        "Failures of an upstream server, by reason.",
    ),
];

/// Describes the metrics of this module.
pub(super) fn describe(recorder: &impl Recorder) {
    for (name, about) in GAUGES {
        recorder.describe_gauge(KeyName::from_const_str(name), None, about.into());
    }
    for (name, about) in COUNTERS {
        recorder.describe_counter(KeyName::from_const_str(name), None, about.into());
    }
}
