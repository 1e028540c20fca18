//! How long finished jobs are kept, and how large the database may become by them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Report;
use super::read::Fields;
use super::value::{duration_in, size};
use super::yaml::Node;

pub(super) const KNOWN: [&str; 2] = ["keep", "max"];

/// How long finished jobs may be kept.
const KEEP: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(3_650 * 86_400);
/// How large the database may be said to become, in bytes.
const MAX_BYTES: RangeInclusive<u64> = 64 << 20..=1 << 40;

/// How long finished jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// For so long beyond the longest rolling window, for which they are kept in any case. Default 30 days; 1 hour to 3,650 days.
    pub keep: Duration,
    /// Bytes of the database's pages in use beyond which the oldest go before that. Default 4 GiB; 64 MiB to 1 TiB.
    pub max: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(30 * 86_400),
            max: 4 << 30,
        }
    }
}

/// `history: { keep, max }`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<History> {
    let fields = Fields::of(node, "`history`", node.place, &KNOWN, report)?;
    let default = History::default();
    Some(History {
        keep: fields.or("keep", default.keep, report, |node, report| {
            duration_in(node, KEEP, report)
        }),
        max: fields.or("max", default.max, report, |node, report| size(node, MAX_BYTES, report)),
    })
}
