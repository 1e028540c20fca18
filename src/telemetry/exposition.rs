//! The page that Prometheus scrapes.

use std::sync::Arc;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use parking_lot::Mutex;

use super::registry::Registry;
use crate::policy::rules::{Priority, Rules};

/// All metrics of one server. Not global: two servers in a process have two.
pub struct Exposition {
    registry: Registry,
    gauges: Mutex<Option<Gauges>>,
}

/// A snapshot of the gauges.
#[derive(Clone, Debug)]
pub struct Levels {
    /// The queue's length.
    pub seats: u32,
    /// Queued jobs by priority.
    pub waiting: [u32; Priority::COUNT],
    /// By pool: slots of servers that are up, and slots in use.
    pub pools: Vec<(u32, u32)>,
    /// Accounts by tier; last, those whose tier does not exist.
    pub accounts: Vec<u32>,
    /// Callers that have a debit in a window: accounts, networks, users.
    pub debtors: [usize; KINDS.len()],
    /// By request limit: the number of individually counted callers, and of requests ever counted by prefix.
    pub limits: Vec<(usize, u64)>,
    /// Viewers of the status page.
    pub viewers: usize,
}

/// Kinds of callers.
const KINDS: [&str; 3] = ["account", "network", "user"];

/// The gauges, with handles made once for a set of rules.
#[derive(Debug)]
struct Gauges {
    rules: Arc<Rules>,
    /// Always 1.
    _build: Gauge,
    seats: Gauge,
    waiting: [Gauge; Priority::COUNT],
    pools: Vec<(Gauge, Gauge)>,
    accounts: Vec<Gauge>,
    debtors: [Gauge; KINDS.len()],
    limits: Vec<(Gauge, Crowded)>,
    viewers: Gauge,
}

/// Requests that a limit has counted by prefix.
#[derive(Debug)]
struct Crowded {
    counter: Counter,
    /// Their number at the last scrape.
    seen: u64,
}

impl Crowded {
    /// Sets the total. If it is less than before, the limit was removed meanwhile and counts from 0 again.
    fn are(&mut self, requests: u64) {
        self.counter
            .increment(requests.checked_sub(self.seen).unwrap_or(requests));
        self.seen = requests;
    }
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

impl Exposition {
    /// No metrics yet.
    pub fn new() -> Self {
        let registry = Registry::default();
        describe(&registry);
        Self {
            registry,
            gauges: Mutex::new(None),
        }
    }

    /// Where metrics are registered. A series lives as long as its handle; those of removed names stay for a while
    /// ([`GONE_MAX`](super::registry::GONE_MAX)).
    pub fn recorder(&self) -> &impl Recorder {
        &self.registry
    }

    /// The gauges for these rules' tiers, limits and pools, continuing those of other rules.
    fn gauges(&self, rules: &Arc<Rules>, before: Option<&Gauges>) -> Gauges {
        let gauge = |name: &'static str, labels: Vec<Label>| {
            self.registry.register_gauge(&Key::from_parts(name, labels), &METADATA)
        };
        let build = gauge(
            "tiergate_build_info",
            vec![Label::new("version", env!("CARGO_PKG_VERSION"))],
        );
        build.set(1.0);
        let of_limit = |name: &str| vec![Label::new("limit", name.to_owned())];
        let of_pool = |name: &str| vec![Label::new("upstream", name.to_owned())];
        Gauges {
            rules: Arc::clone(rules),
            _build: build,
            debtors: KINDS.map(|kind| gauge("tiergate_callers", vec![Label::new("kind", kind)])),
            seats: gauge("tiergate_queue_capacity", Vec::new()),
            viewers: gauge("tiergate_status_viewers", Vec::new()),
            waiting: std::array::from_fn(|priority| {
                gauge(
                    "tiergate_queue_depth",
                    vec![Label::new("priority", priority.to_string())],
                )
            }),
            limits: rules
                .limits
                .iter()
                .map(|limit| {
                    let crowded = Key::from_parts("tiergate_limit_crowded_total", of_limit(&limit.name));
                    let crowded = Crowded {
                        counter: self.registry.register_counter(&crowded, &METADATA),
                        seen: before.and_then(|before| before.seen(&limit.name)).unwrap_or(0),
                    };
                    (gauge("tiergate_limit_callers", of_limit(&limit.name)), crowded)
                })
                .collect(),
            pools: rules
                .upstreams
                .iter()
                .map(|pool| {
                    let slots = gauge("tiergate_slots", of_pool(&pool.name));
                    (slots, gauge("tiergate_jobs_running", of_pool(&pool.name)))
                })
                .collect(),
            accounts: rules
                .tiers
                .iter()
                .map(|tier| &*tier.name)
                .chain(["none"])
                .map(|tier| gauge("tiergate_accounts", vec![Label::new("tier", tier.to_owned())]))
                .collect(),
        }
    }

    /// The page with current gauges, by the current rules. It omits what these rules no longer have.
    pub fn render(&self, rules: &Arc<Rules>, levels: &Levels) -> String {
        let mut known = self.gauges.lock();
        let gauges = match &mut *known {
            Some(known) if Arc::ptr_eq(&known.rules, rules) => known,
            // Register the new handles before dropping the old ones: series that stay keep their values.
            other => {
                let gauges = self.gauges(rules, other.as_ref());
                other.insert(gauges)
            }
        };
        gauges.seats.set(levels.seats);
        gauges.viewers.set(levels.viewers as f64);
        for (gauge, callers) in gauges.debtors.iter().zip(levels.debtors) {
            // Bounded by memory, so exact as a float.
            gauge.set(callers as f64);
        }
        for ((callers, crowded), (counted, requests)) in gauges.limits.iter_mut().zip(&levels.limits) {
            callers.set(*counted as f64);
            crowded.are(*requests);
        }
        for (gauge, waiting) in gauges.waiting.iter().zip(levels.waiting) {
            gauge.set(waiting);
        }
        for ((slots, running), (up, held)) in gauges.pools.iter().zip(&levels.pools) {
            slots.set(*up);
            running.set(*held);
        }
        for (gauge, accounts) in gauges.accounts.iter().zip(&levels.accounts) {
            gauge.set(*accounts);
        }
        self.registry.page()
    }

    /// Drops surplus series of removed names. Call it when names may have been removed, since scrapes may be rare.
    pub fn retire_unused(&self) {
        self.registry.retire_unused();
    }
}

impl Gauges {
    /// How many requests the limit of that name had counted by prefix, if it existed.
    fn seen(&self, name: &str) -> Option<u64> {
        let at = self.rules.limits.iter().position(|limit| *limit.name == *name)?;
        Some(self.limits[at].1.seen)
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

fn describe(recorder: &impl Recorder) {
    let texts = [
        ("tiergate_build_info", "Always 1; the running version is in the labels."),
        (
            "tiergate_queue_capacity",
            "The queue's length: the maximum number of queued jobs.",
        ),
        ("tiergate_queue_depth", "Queued jobs, by priority."),
        ("tiergate_status_viewers", "Open streams of events of the status page."),
        ("tiergate_slots", "Slots of the servers that are up, by upstream."),
        ("tiergate_callers", "Callers with a debit in an open window."),
        ("tiergate_jobs_running", "Jobs that hold a slot, by upstream."),
        (
            "tiergate_limit_callers",
            "Callers that a request limit counts individually.",
        ),
        (
            "tiergate_accounts",
            "Accounts by tier, including those declared in tiers.yaml; `none`: their tier does not exist.",
        ),
    ];
    recorder.describe_counter(
        KeyName::from_const_str("tiergate_limit_crowded_total"),
        None,
        "Requests of callers beyond max_callers, counted by network prefix.".into(),
    );
    for (name, text) in texts {
        recorder.describe_gauge(KeyName::from_const_str(name), None, text.into());
    }
}
