//! The queue and the sponsor tiers.

use super::limits::{self, TierLimit};
use super::prelude::*;
use super::quotas::{QUOTAS_PER_TIER_MAX, QuotaSection, Windows, check_name};
use crate::policy::rules::{self, LIMITS_MAX, Priority, QueueRules};
use crate::policy::time::Span;

/// The most tiers.
pub const TIERS_MAX: usize = 256;
/// Displacements per minute for each job of a tier's concurrency, by default.
pub(super) const DISPLACEMENTS_EACH: u32 = 10;

/// The queue, shared by all tiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Queue")]
pub(super) struct QueueSection {
    /// The most queued jobs. With 0, no job waits.
    #[serde(with = "As::<Whole<u32, 0, 65_536>>")]
    #[schemars(extend("x-add" = "add `length`: how many jobs may wait"))]
    length: u32,
    /// Order within one priority.
    #[serde(default)]
    within_tier: WithinTierSetting,
    /// Longest wait in the queue; a tier, a route and the client itself may shorten it.
    #[serde(default = "secs::<30>", with = "As::<Length>")]
    max_wait: Duration,
    /// Every Nth free slot goes to the job that has waited longest, so that the lowest priority never starves.
    #[serde(default, with = "As::<OrOff<Every>>")]
    lifeline: Option<u32>,
}

/// Order within one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum WithinTierSetting {
    /// First come, first served.
    #[default]
    Fifo,
    /// Callers take turns.
    Fair,
}

impl QueueSection {
    /// The policy's queue.
    pub(super) fn rules(&self) -> QueueRules {
        QueueRules {
            length: self.length,
            within_tier: match self.within_tier {
                WithinTierSetting::Fifo => rules::Within::Fifo,
                WithinTierSetting::Fair => rules::Within::Fair,
            },
            max_wait: self.max_wait.into(),
            lifeline: self.lifeline,
        }
    }
}

/// Interval, in slots, of the job that has waited longest.
type Every = Whole<u32, 2, 1_000>;

/// A sponsor tier.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Tier")]
#[schemars(extend("not" = { "required": ["quota", "quotas"] }))]
pub(super) struct TierSection {
    /// Priority of its jobs: 0 (lowest) to 6 (highest).
    #[serde(with = "As::<Whole<u8, 0, 6>>")]
    #[schemars(extend("x-add" = "add `priority`: 0 (lowest) to 6 (highest)"))]
    priority: u8,
    /// Jobs that one caller may have at once, including queued ones.
    #[serde(with = "As::<Whole<u32, 1, 10_000>>")]
    #[schemars(extend("x-add" = "add `concurrency`: how many jobs a caller may have at once"))]
    concurrency: u32,
    /// Successful jobs that one caller may have in a window; by default unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<QuotaSection>,
    /// Several quotas by name, all of which apply: { daily: { … }, monthly: { … } }.
    #[serde(default, with = "ByName::<(String, QuotaSection), QUOTAS_PER_TIER_MAX>")]
    quotas: Vec<(String, QuotaSection)>,
    /// Longest wait of this tier's jobs in the queue, if shorter than the queue's.
    #[serde(default, with = "Maybe::<Length>")]
    max_wait: Option<Duration>,
    /// Queued jobs that one caller may displace per minute; by default 10 for each of its concurrency.
    #[serde(default, with = "Maybe::<Whole<u32, 0, 1_000_000>>")]
    displacements_per_minute: Option<u32>,
    /// Its callers' own numbers for request limits, by the limits' names.
    #[serde(default, with = "ByName::<(String, TierLimit), LIMITS_MAX>")]
    limits: Vec<(String, TierLimit)>,
}

impl Item for TierSection {
    const NOUN: &'static str = "tier";
}

/// Checks the tiers. Returns the valid ones, and partly valid ones, which are compared with none.
pub(super) fn checked(
    tiers: &[(String, TierSection)],
    node: Option<&Node>,
    windows: &mut Windows,
    report: &mut Report,
) -> (Vec<rules::Tier>, Vec<rules::Tier>) {
    let (mut right, mut partly) = (Vec::new(), Vec::new());
    for entry in entries(tiers, node) {
        let (what, tier) = (TierSection::called(entry.name), entry.value);
        if !name_is_legal(entry.name, |c| c.is_ascii_graphic()) {
            let advice = "use 1 to 64 visible ASCII characters without spaces: the name travels in a header";
            report.add(entry.at, format!("{what} has no legal name"), advice);
        }
        let mut part = entry.part(report);
        if part.value("quota").is_some() && part.value("quotas").is_some() {
            let message = format!("{what} has both `quota` and `quotas`");
            part.add("quotas", message, "put them all into `quotas`, each with its name");
        }
        let quotas = quotas(&entry, windows, report);
        let limits = limits::own(&tier.limits, entry.node.value("limits"), report);
        if !entry.part(report).right(&["priority", "concurrency"]) {
            continue;
        }
        let default = tier.concurrency * DISPLACEMENTS_EACH;
        let read = match entry.part(report).sound(&["quota", "quotas", "limits"]) {
            true => &mut right,
            false => &mut partly,
        };
        read.extend(Priority::new(tier.priority).map(|priority| rules::Tier {
            name: entry.name.into(),
            priority,
            concurrency: tier.concurrency,
            quotas,
            max_wait: tier.max_wait.map(Span::from),
            displacements_per_minute: tier.displacements_per_minute.unwrap_or(default),
            limits,
        }));
    }
    (right, partly)
}

fn quotas(entry: &Entry<'_, TierSection>, windows: &mut Windows, report: &mut Report) -> Vec<rules::Quota> {
    let TierSection { quota, quotas, .. } = entry.value;
    let only = quota.as_ref().zip(entry.node.value("quota"));
    let only = only.and_then(|(quota, node)| quota.checked(None, node.place, node, windows, report));
    let mut named = Vec::new();
    for quota in entries(quotas, entry.node.value("quotas")) {
        let what = QuotaSection::called(quota.name);
        check_name(&what, quota.name, "the tier's", "daily", quota.at, report);
        let read = quota
            .value
            .checked(Some(quota.name), quota.at, quota.node, windows, report);
        named.extend(read);
    }
    only.map_or(named, |only| vec![only])
}

impl TierSection {
    /// Adds what follows from other fields: a single quota becomes one of several, named after its window.
    pub(super) fn settle(&mut self, read: &rules::Tier) {
        self.displacements_per_minute = Some(read.displacements_per_minute);
        if let (Some(quota), [only]) = (self.quota.take(), &*read.quotas) {
            self.quotas = vec![(only.name.to_string(), quota)];
        }
    }
}
