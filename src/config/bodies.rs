//! Room and pace for the bodies of metered requests.

use super::prelude::*;
use super::schema::KIND;
use super::value::{parse_size, show_size};

const BYTES_MAX: u64 = 1 << 40;
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// One network may have this part of `memory` and of `spool`.
pub(super) const NETWORK_SHARE: u64 = 8;

/// Bodies of metered requests, which are complete before their jobs are queued. A body is kept in memory while there is room,
/// otherwise in a file below `data_dir`; one network may have an eighth of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Bodies")]
pub struct BodiesSection {
    /// Memory for all bodies together.
    #[serde(
        default = "number::<u64, 67_108_864>",
        with = "As::<Size<u64, MEMORY_BYTES_MIN, BYTES_MAX>>"
    )]
    pub memory: u64,
    /// The largest body in memory; a larger one goes to a file.
    #[serde(default = "number::<u64, 4_194_304>", with = "As::<Size<u64, 0, BYTES_MAX>>")]
    pub memory_each: u64,
    /// Files of all bodies together. With no room left, uploads of the lowest priority are refused.
    #[serde(default = "number::<u64, 1_073_741_824>", with = "As::<Size<u64, 0, BYTES_MAX>>")]
    pub spool: u64,
    /// How long a client may send nothing of its body.
    #[serde(default = "secs::<30>", with = "As::<Length>")]
    pub timeout: Duration,
    /// The least average rate of a body, from its 30th second on, such as 1KiB/s.
    #[serde(default = "number::<u64, 1_024>", with = "As::<Rate>")]
    pub rate_min: u64,
    /// How long a body may take in all.
    #[serde(default = "secs::<3_600>", with = "As::<Length>")]
    pub upload_max: Duration,
}

de::by_fields!(BodiesSection);

/// Bytes per second: a size, `/s`.
struct Rate;

impl Scalar for Rate {
    type Value = u64;

    fn read(node: &Node, report: &mut Report) -> Option<u64> {
        let written = text(node, "a rate", report)?;
        let rate = written.strip_suffix("/s").and_then(|size| parse_size(size).ok());
        if rate.is_some_and(|rate| rate <= BYTES_MAX) {
            return rate;
        }
        let advice = "write a size for each second, such as 1KiB/s";
        report.add(node.place, format!("{} is not a rate", shown(node)), advice);
        None
    }

    fn stand_in() -> u64 {
        0
    }

    fn written(rate: &u64) -> Value {
        format!("{}/s", show_size(*rate)).into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)/s$", KIND: "rate" })
    }
}
