//! Retention of finished jobs, and the database's size.

use super::prelude::*;

const KEEP_MS_MIN: u64 = 3_600_000;
const KEEP_MS_MAX: u64 = 3_650 * 86_400_000;
const BYTES_MIN: u64 = 64 << 20;
const BYTES_MAX: u64 = 1 << 40;

/// Retention of finished jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "History")]
pub struct HistorySection {
    /// How long beyond the longest rolling window of all quotas, from 1h to 3650d.
    #[serde(default = "secs::<2_592_000>", with = "As::<LengthIn<KEEP_MS_MIN, KEEP_MS_MAX>>")]
    pub keep: Duration,
    /// Largest size of the database, from 64MiB to 1TiB; beyond it the oldest jobs are removed early.
    #[serde(
        default = "number::<u64, 4_294_967_296>",
        with = "As::<Size<u64, BYTES_MIN, BYTES_MAX>>"
    )]
    pub max: u64,
}

de::by_fields!(HistorySection);
