//! Counters and histograms with handles made once: a look-up by name costs more than all the rest of a refusal.
//!
//! Gauges (such as `tiergate_queue_depth`) are not kept here: a scrape reads them from the gate state.

use std::sync::Arc;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::policy::refusal::Reason;
use crate::policy::rules::{LimitId, Priority, Rules, Tier, TierId, UpstreamId};
use crate::policy::time::Span;
use crate::policy::{End, Table};

/// Upper bounds of the histograms' buckets in seconds: from a hand-over to the longest job.
pub const SECONDS_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Handles of everything counted as it happens.
#[derive(Debug)]
pub struct Meters {
    tiers: Table<TierId, TierMeters>,
    /// Refusals before the caller is known.
    unknown: [Counter; Reason::ALL.len()],
    /// By request limit.
    limits: Vec<Counter>,
    /// By request limit; those without a block rule have one that is not exported.
    limit_blocks: Vec<Counter>,
    /// By the name of a request limit or quota that isn't enforced.
    unenforced: Vec<(Arc<str>, Counter)>,
    /// By the priorities of the job that displaces and the one displaced; those that can't be are not exported.
    displacements: [[Counter; Priority::COUNT]; Priority::COUNT],
    estimate_error: Histogram,
    upstream: Table<UpstreamId, Histogram>,
}

/// Metrics by tier.
#[derive(Debug)]
struct TierMeters {
    jobs: [Counter; End::ALL.len()],
    refusals: [Counter; Reason::ALL.len()],
    /// Time in the queue of jobs that got a slot.
    dispatched: Histogram,
    /// Time in the queue of jobs that left it without one.
    left: Histogram,
    /// Units of quota.
    debits: Counter,
    /// Units of quota.
    releases: [Counter; End::ALL.len()],
}

impl TierMeters {
    fn unobserved() -> Self {
        Self {
            jobs: std::array::from_fn(|_| Counter::noop()),
            refusals: std::array::from_fn(|_| Counter::noop()),
            dispatched: Histogram::noop(),
            left: Histogram::noop(),
            debits: Counter::noop(),
            releases: std::array::from_fn(|_| Counter::noop()),
        }
    }

    fn register(tier: &Tier, recorder: &impl Recorder) -> Self {
        let (priority, tier) = (tier.priority.get().to_string(), &*tier.name);
        let by_outcome = |name, outcome| counter(recorder, name, [("tier", tier), ("outcome", outcome)]);
        let wait = |result| {
            let labels = [("tier", tier), ("priority", &priority), ("result", result)];
            histogram(recorder, "tiergate_queue_wait_seconds", labels)
        };
        Self {
            dispatched: wait("dispatched"),
            left: wait("left"),
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
    /// Metrics that are not exported.
    pub fn unobserved(rules: &Rules) -> Arc<Self> {
        Arc::new(Self {
            tiers: rules.tiers.map(|_, _| TierMeters::unobserved()),
            unknown: std::array::from_fn(|_| Counter::noop()),
            limits: rules.limits.iter().map(|_| Counter::noop()).collect(),
            limit_blocks: rules.limits.iter().map(|_| Counter::noop()).collect(),
            unenforced: Vec::new(),
            displacements: std::array::from_fn(|_| std::array::from_fn(|_| Counter::noop())),
            estimate_error: Histogram::noop(),
            upstream: rules.upstreams.map(|_, _| Histogram::noop()),
        })
    }

    /// Registers metrics for these rules' tiers and pools under the names of docs/metrics.md.
    pub fn register(rules: &Rules, recorder: &impl Recorder) -> Arc<Self> {
        describe(recorder);
        Arc::new(Self {
            tiers: rules.tiers.map(|_, tier| TierMeters::register(tier, recorder)),
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
            displacements: std::array::from_fn(|by| std::array::from_fn(|of| displacement(by, of, recorder))),
            estimate_error: histogram(recorder, "tiergate_estimate_error_seconds", []),
            upstream: (rules.upstreams)
                .map(|_, pool| histogram(recorder, "tiergate_upstream_seconds", [("upstream", &pool.name)])),
        })
    }

    /// A job has ended: its held units of quota are debited on success, otherwise released.
    pub fn job(&self, tier: TierId, end: End, units: u32) {
        let meters = &self.tiers[tier];
        meters.jobs[end as usize].increment(1);
        match end {
            End::Succeeded => meters.debits.increment(units.into()),
            _ => meters.releases[end as usize].increment(units.into()),
        }
    }

    /// A request was refused; `tier` is the caller's, if known.
    pub fn refusal(&self, tier: Option<TierId>, reason: Reason) {
        let of_tier = tier.map(|tier| &self.tiers[tier].refusals);
        of_tier.unwrap_or(&self.unknown)[reason as usize].increment(1);
    }

    /// That limit refused a request.
    pub fn limited(&self, limit: LimitId) {
        self.limits[limit.index()].increment(1);
    }

    /// The rule of that limit has blocked a subject.
    pub fn blocked(&self, limit: LimitId) {
        self.limit_blocks[limit.index()].increment(1);
    }

    /// The limit or quota of that name would have refused a request if it were enforced.
    pub fn unenforced(&self, name: &str) {
        if let Some((_, counter)) = self.unenforced.iter().find(|(known, _)| **known == *name) {
            counter.increment(1);
        }
    }

    /// A job got its slot after `waited`.
    pub fn dispatched(&self, tier: TierId, waited: Span) {
        self.tiers[tier].dispatched.record(waited.as_secs_f64());
    }

    /// A job left the queue without a slot after `waited`.
    pub fn left(&self, tier: TierId, waited: Span) {
        self.tiers[tier].left.record(waited.as_secs_f64());
    }

    /// A queued job got its slot after `waited`; on admission that was expected to be `estimate`.
    pub fn estimated(&self, estimate: Span, waited: Span) {
        let error = (estimate.as_secs_f64() - waited.as_secs_f64()).abs();
        self.estimate_error.record(error);
    }

    /// A job of priority `by` displaced one of priority `of`.
    pub fn displaced(&self, by: Priority, of: Priority) {
        self.displacements[by.index()][of.index()].increment(1);
    }

    /// A job held its slot for `held`.
    pub fn held(&self, pool: UpstreamId, held: Span) {
        self.upstream[pool].record(held.as_secs_f64());
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_counter(
        name("tiergate_jobs_total"),
        None,
        "Admitted metered requests, by how they ended.".into(),
    );
    recorder.describe_counter(
        name("tiergate_refusals_total"),
        None,
        "Refused requests, by reason.".into(),
    );
    recorder.describe_counter(
        name("tiergate_limit_refusals_total"),
        None,
        "Requests refused by a request limit.".into(),
    );
    recorder.describe_counter(
        name("tiergate_limit_blocks_total"),
        None,
        "Blocks made by the rule of a request limit.".into(),
    );
    recorder.describe_counter(
        name("tiergate_unenforced_refusals_total"),
        None,
        "Requests that a request limit or quota with enforce: false would have refused.".into(),
    );
    recorder.describe_counter(
        name("tiergate_quota_debits_total"),
        None,
        "Units of quota debited for successful jobs.".into(),
    );
    recorder.describe_counter(
        name("tiergate_quota_releases_total"),
        None,
        "Units of quota held and released without a debit, by how the job ended.".into(),
    );
    recorder.describe_histogram(
        name("tiergate_queue_wait_seconds"),
        Some(Unit::Seconds),
        "Time in the queue, by tier, its priority, and whether the job got a slot, in seconds.".into(),
    );
    recorder.describe_histogram(
        name("tiergate_estimate_error_seconds"),
        Some(Unit::Seconds),
        "Difference between the wait estimated on admission and the real one, of queued jobs that got a slot, in seconds.".into(),
    );
    recorder.describe_counter(
        name("tiergate_displacements_total"),
        None,
        "Queued jobs displaced, by the priority of the job that displaced them and by their own.".into(),
    );
    recorder.describe_histogram(
        name("tiergate_upstream_seconds"),
        Some(Unit::Seconds),
        "Time that a job held its slot, until the end of the upstream's response, in seconds.".into(),
    );
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

fn counter<const N: usize>(recorder: &impl Recorder, name: &'static str, labels: [(&'static str, &str); N]) -> Counter {
    let labels = labels.map(|(key, value)| Label::new(key, value.to_owned()));
    recorder.register_counter(&Key::from_parts(name, labels.to_vec()), &METADATA)
}

fn histogram<const N: usize>(
    recorder: &impl Recorder,
    name: &'static str,
    labels: [(&'static str, &str); N],
) -> Histogram {
    let labels = labels.map(|(key, value)| Label::new(key, value.to_owned()));
    recorder.register_histogram(&Key::from_parts(name, labels.to_vec()), &METADATA)
}

/// Only a lower priority is displaced.
fn displacement(by: usize, of: usize, recorder: &impl Recorder) -> Counter {
    if by <= of {
        return Counter::noop();
    }
    let [by, of] = [by, of].map(|priority| priority.to_string());
    counter(recorder, "tiergate_displacements_total", [("by", &*by), ("of", &*of)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_reasons_are_listed_in_the_order_of_their_numbers() {
        for (at, (end, _)) in End::ALL.iter().enumerate() {
            assert_eq!(*end as usize, at);
        }
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }
}
