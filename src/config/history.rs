//! How long finished jobs are kept, and how large the database may become by them.

use super::prelude::*;

const KEEP_MS_MIN: u64 = 3_600_000;
const KEEP_MS_MAX: u64 = 3_650 * 86_400_000;
const BYTES_MIN: u64 = 64 << 20;
const BYTES_MAX: u64 = 1 << 40;

/// How long finished jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// For so long beyond the longest rolling window of all quotas, from 1h to 3650d.
    #[serde(default = "secs::<2_592_000>", with = "As::<LengthIn<KEEP_MS_MIN, KEEP_MS_MAX>>")]
    pub keep: Duration,
    /// When the database uses more than this, from 64MiB to 1TiB, the oldest go before that.
    #[serde(
        default = "number::<u64, 4_294_967_296>",
        with = "As::<Size<u64, BYTES_MIN, BYTES_MAX>>"
    )]
    pub max: u64,
}

de::by_fields!(History);
