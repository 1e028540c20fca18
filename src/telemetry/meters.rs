//! The door's counters and histograms, with handles made once: a look-up by name costs more than all the rest of a refusal.
//!
//! Gauges (`tiergate_queue_waiting` and the like) are not kept here: they are read from the hall when somebody asks.

use std::sync::Arc;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::policy::refusal::Reason;
use crate::policy::rules::{LimitId, Priority, Rules, TierId, UpstreamId};
use crate::policy::time::Span;
use crate::policy::{End, Table};

/// The upper bounds of the histograms' buckets, in seconds: from a hand-over to the longest search.
pub const SECONDS_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Handles of everything that is counted as it happens.
#[derive(Debug)]
pub struct Meters {
    tiers: Table<TierId, TierMeters>,
    /// Refusals before anybody knew who they are.
    unknown: [Counter; Reason::ALL.len()],
    /// By request limit.
    limits: Vec<Counter>,
    /// By request limit; those without a rule that blocks have one that nobody reads.
    limit_blocks: Vec<Counter>,
    /// By the name of a request limit or a quota that isn't enforced.
    unenforced: Vec<(Arc<str>, Counter)>,
    queue_wait: [Histogram; Priority::COUNT],
    upstream: Table<UpstreamId, Histogram>,
}

/// What is counted by tier.
#[derive(Debug)]
struct TierMeters {
    jobs: [Counter; End::ALL.len()],
    refusals: [Counter; Reason::ALL.len()],
    /// Units of quota.
    debits: Counter,
    /// The same.
    releases: [Counter; End::ALL.len()],
}

impl TierMeters {
    fn unobserved() -> Self {
        Self {
            jobs: std::array::from_fn(|_| Counter::noop()),
            refusals: std::array::from_fn(|_| Counter::noop()),
            debits: Counter::noop(),
            releases: std::array::from_fn(|_| Counter::noop()),
        }
    }

    fn register(tier: &str, recorder: &impl Recorder) -> Self {
        let by_outcome = |name, outcome| counter(recorder, name, [("tier", tier), ("outcome", outcome)]);
        Self {
            jobs: End::ALL.map(|(_, outcome)| by_outcome("tiergate_jobs_total", outcome)),
            refusals: refusals(tier, recorder),
            debits: counter(recorder, "tiergate_quota_debits_total", [("tier", tier)]),
            releases: End::ALL.map(|(_, outcome)| match outcome {
                "succeeded" => Counter::noop(),
                outcome => by_outcome("tiergate_quota_releases_total", outcome),
            }),
        }
    }
}

fn refusals(tier: &str, recorder: &impl Recorder) -> [Counter; Reason::ALL.len()] {
    Reason::ALL.map(|reason| {
        let labels = [("tier", tier), ("reason", reason.code())];
        counter(recorder, "tiergate_refusals_total", labels)
    })
}

impl Meters {
    /// Meters that nobody reads.
    pub fn unobserved(rules: &Rules) -> Arc<Self> {
        Arc::new(Self {
            tiers: rules.tiers.map(|_, _| TierMeters::unobserved()),
            unknown: std::array::from_fn(|_| Counter::noop()),
            limits: rules.limits.iter().map(|_| Counter::noop()).collect(),
            limit_blocks: rules.limits.iter().map(|_| Counter::noop()).collect(),
            unenforced: Vec::new(),
            queue_wait: std::array::from_fn(|_| Histogram::noop()),
            upstream: rules.upstreams.map(|_, _| Histogram::noop()),
        })
    }

    /// Meters for these rules' tiers and pools, known to the recorder by the names of docs/operations.md.
    pub fn register(rules: &Rules, recorder: &impl Recorder) -> Arc<Self> {
        describe(recorder);
        Arc::new(Self {
            tiers: rules.tiers.map(|_, tier| TierMeters::register(&tier.name, recorder)),
            unknown: refusals("none", recorder),
            limits: rules
                .limits
                .iter()
                .map(|limit| counter(recorder, "tiergate_limit_refusals_total", [("limit", &limit.name)]))
                .collect(),
            limit_blocks: rules
                .limits
                .iter()
                .map(|limit| match limit.block_after {
                    Some(_) => counter(recorder, "tiergate_limit_blocks_total", [("limit", &limit.name)]),
                    None => Counter::noop(),
                })
                .collect(),
            unenforced: (rules.unenforced().into_iter())
                .map(|name| {
                    let counter = counter(recorder, "tiergate_unenforced_refusals_total", [("limit", &name)]);
                    (name, counter)
                })
                .collect(),
            queue_wait: std::array::from_fn(|priority| {
                histogram(
                    recorder,
                    "tiergate_queue_wait_seconds",
                    ("priority", &priority.to_string()),
                )
            }),
            upstream: (rules.upstreams)
                .map(|_, pool| histogram(recorder, "tiergate_upstream_seconds", ("upstream", &pool.name))),
        })
    }

    /// A job is over: the units of quota that it held are debited if it has succeeded, otherwise given back.
    pub fn job(&self, tier: TierId, end: End, units: u32) {
        let meters = &self.tiers[tier];
        meters.jobs[end as usize].increment(1);
        match end {
            End::Succeeded => meters.debits.increment(units.into()),
            _ => meters.releases[end as usize].increment(units.into()),
        }
    }

    /// A request was refused; `tier` is that of whoever sent it, if that was known.
    pub fn refusal(&self, tier: Option<TierId>, reason: Reason) {
        let of_tier = tier.map(|tier| &self.tiers[tier].refusals);
        of_tier.unwrap_or(&self.unknown)[reason as usize].increment(1);
    }

    /// A request was refused by that limit.
    pub fn limited(&self, limit: LimitId) {
        self.limits[limit.index()].increment(1);
    }

    /// The rule of that limit has blocked somebody.
    pub fn blocked(&self, limit: LimitId) {
        self.limit_blocks[limit.index()].increment(1);
    }

    /// A request would have been refused by the limit or quota of that name, were it enforced.
    pub fn unenforced(&self, name: &str) {
        if let Some((_, counter)) = self.unenforced.iter().find(|(known, _)| **known == *name) {
            counter.increment(1);
        }
    }

    /// A job got its slot after so long.
    pub fn waited(&self, priority: Priority, waited: Span) {
        self.queue_wait[priority.index()].record(waited.as_secs_f64());
    }

    /// A job held its slot for so long.
    pub fn held(&self, pool: UpstreamId, held: Span) {
        self.upstream[pool].record(held.as_secs_f64());
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_counter(
        name("tiergate_jobs_total"),
        None,
        "Metered requests that were let in, by how they ended.".into(),
    );
    recorder.describe_counter(
        name("tiergate_refusals_total"),
        None,
        "Requests that the door answered with a refusal.".into(),
    );
    recorder.describe_counter(
        name("tiergate_limit_refusals_total"),
        None,
        "Requests that a request limit refused.".into(),
    );
    recorder.describe_counter(
        name("tiergate_limit_blocks_total"),
        None,
        "Blocks that the rule of a request limit has made.".into(),
    );
    recorder.describe_counter(
        name("tiergate_unenforced_refusals_total"),
        None,
        "Requests that a request limit or quota would have refused, were it enforced.".into(),
    );
    recorder.describe_counter(
        name("tiergate_quota_debits_total"),
        None,
        "Units of quota that successes have taken.".into(),
    );
    recorder.describe_counter(
        name("tiergate_quota_releases_total"),
        None,
        "Units of quota that were set aside and given back, by how the job ended.".into(),
    );
    recorder.describe_histogram(
        name("tiergate_queue_wait_seconds"),
        Some(Unit::Seconds),
        "From admission to a slot, of jobs that got one.".into(),
    );
    recorder.describe_histogram(
        name("tiergate_upstream_seconds"),
        Some(Unit::Seconds),
        "How long a job held its slot: from the slot to the end of the upstream's answer.".into(),
    );
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

fn counter<const N: usize>(recorder: &impl Recorder, name: &'static str, labels: [(&'static str, &str); N]) -> Counter {
    let labels = labels.map(|(key, value)| Label::new(key, value.to_owned()));
    recorder.register_counter(&Key::from_parts(name, labels.to_vec()), &METADATA)
}

fn histogram(recorder: &impl Recorder, name: &'static str, (key, value): (&'static str, &str)) -> Histogram {
    recorder.register_histogram(
        &Key::from_parts(name, vec![Label::new(key, value.to_owned())]),
        &METADATA,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_lies_where_its_meaning_is_looked_up() {
        for (at, (end, _)) in End::ALL.iter().enumerate() {
            assert_eq!(*end as usize, at);
        }
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }
}
