//! The queue and the sponsor levels.
//!
//! Absent on purpose: what is legal and unwise (`warnings`).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Report;
use super::excerpt::quoted;
use super::limits;
use super::quotas::{self, Windows};
use super::read::{Entry, Fields, Names, entries};
use super::value::{duration, is_off, name_is_legal, one_of, small_integer};
use super::yaml::Node;
use crate::policy::rules::{Priority, QueueRules, Tier, Within};
use crate::policy::time::Span;

/// Tiers, at most.
pub const TIERS_MAX: usize = 256;
/// Seats of the queue.
pub(super) const SEATS: RangeInclusive<u32> = 0..=65_536;
/// Every how many slots one goes to who has waited longest.
pub(super) const LIFELINE: RangeInclusive<u32> = 2..=1_000;
/// Jobs that a caller has in the house at once.
pub(super) const CONCURRENCY: RangeInclusive<u32> = 1..=10_000;
/// Jobs that a caller displaces in a minute.
pub(super) const DISPLACEMENTS: RangeInclusive<u32> = 0..=1_000_000;
/// Displacements a minute that each job of a tier's concurrency brings, unless the tier says otherwise.
pub(super) const DISPLACEMENTS_EACH: u32 = 10;
/// The longest wait unless the queue says otherwise.
pub(super) const MAX_WAIT_DEFAULT: Duration = Duration::from_secs(30);

pub(super) const QUEUE_FIELDS: [&str; 4] = ["length", "within_tier", "max_wait", "lifeline"];
pub(super) const KNOWN: [&str; 7] = [
    "priority",
    "concurrency",
    "quota",
    "quotas",
    "max_wait",
    "displacements_per_minute",
    "limits",
];

/// `queue: { length, within_tier, max_wait, lifeline }`.
pub(super) fn queue(node: &Node, report: &mut Report) -> Option<QueueRules> {
    let fields = Fields::of(node, "`queue`", node.place, &QUEUE_FIELDS, report)?;
    let advice = "add `length`: how many jobs may wait";
    let length = fields.required("length", advice, report, |node, report| {
        small_integer(node, SEATS, report)
    });
    let words = [("fifo", Within::Fifo), ("fair", Within::Fair)];
    let within_tier = fields.or("within_tier", Within::Fifo, report, |node, report| {
        one_of(node, &words, report)
    });
    let max_wait = fields.or("max_wait", MAX_WAIT_DEFAULT, report, duration).into();
    let lifeline = fields.maybe("lifeline", report, |node, report| {
        if is_off(node) {
            None
        } else {
            small_integer(node, LIFELINE, report)
        }
    });
    Some(QueueRules {
        length: length?,
        within_tier,
        max_wait,
        lifeline,
    })
}

/// The entries of `tiers: { … }`.
pub(super) fn named<'n>(node: &'n Node, report: &mut Report) -> Option<Vec<Entry<'n>>> {
    entries(node, "tier", TIERS_MAX, report)
}

/// Each tier that is right.
pub(super) fn read(entries: &[Entry<'_>], windows: &mut Windows, limits: &Names<'_>, report: &mut Report) -> Vec<Tier> {
    entries
        .iter()
        .filter_map(|entry| tier(entry, windows, limits, report))
        .collect()
}

fn tier(entry: &Entry<'_>, windows: &mut Windows, names: &Names<'_>, report: &mut Report) -> Option<Tier> {
    let what = format!("tier {}", quoted(entry.name));
    if !name_is_legal(entry.name, |c| c.is_ascii_graphic()) {
        let advice = "use 1 to 64 visible ASCII characters without spaces: the name travels in a header";
        report.add(entry.at, format!("{what} has no legal name"), advice);
    }
    let fields = Fields::of(entry.value, what.as_str(), entry.at, &KNOWN, report)?;
    let priority = fields.required(
        "priority",
        "add `priority`: 0 (lowest) to 6 (highest)",
        report,
        priority,
    );
    let advice = "add `concurrency`: how many jobs a caller may have at once";
    let concurrency = fields.required("concurrency", advice, report, |node, report| {
        small_integer(node, CONCURRENCY, report)
    });
    let only = fields.maybe("quota", report, |node, report| quotas::one(node, windows, report));
    let named = fields.maybe("quotas", report, |node, report| quotas::named(node, windows, report));
    if let (Some(_), Some(named)) = (fields.get("quota"), fields.get("quotas")) {
        let message = format!("{what} has both `quota` and `quotas`");
        report.add(named.place, message, "put them all into `quotas`, each with its name");
    }
    let max_wait = fields.maybe("max_wait", report, duration).map(Span::from);
    let displacements = fields.maybe("displacements_per_minute", report, |node, report| {
        small_integer(node, DISPLACEMENTS, report)
    });
    let limits = fields.maybe("limits", report, |node, report| limits::raises(node, names, report));
    let (priority, concurrency) = (priority?, concurrency?);
    let displacements_per_minute = displacements.unwrap_or(concurrency * DISPLACEMENTS_EACH);
    Some(Tier {
        name: entry.name.into(),
        priority,
        concurrency,
        quotas: only.or(named).unwrap_or_default(),
        max_wait,
        displacements_per_minute,
        limits: limits.unwrap_or_default(),
    })
}

fn priority(node: &Node, report: &mut Report) -> Option<Priority> {
    let highest = u32::from(Priority::HIGHEST.get());
    let number = small_integer(node, 0..=highest, report)?;
    u8::try_from(number).ok().and_then(Priority::new)
}
