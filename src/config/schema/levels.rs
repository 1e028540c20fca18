//! The queue, the sponsor levels, and the accounts that have them.
//!
//! Absent on purpose: request limits, of which a level only has numbers.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::limits::OwnLimit;
use super::scalars::{Length, Name, Off, written};
use crate::config::{KEYS_PER_ACCOUNT_MAX, QUOTAS_PER_TIER_MAX, quotas, tiers};
use crate::policy::rules::{LIMITS_MAX, Priority};

/// The waiting room.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Queue {
    /// Seats: how many searches may wait. 0: nobody waits.
    #[schemars(range(min = *tiers::SEATS.start(), max = *tiers::SEATS.end()))]
    length: u32,
    /// Who goes first within one priority.
    #[schemars(extend("default" = "fifo"))]
    within_tier: Option<Within>,
    /// The longest that anybody waits; a tier, a route and the client itself may shorten it.
    #[schemars(extend("default" = written(tiers::MAX_WAIT_DEFAULT)))]
    max_wait: Option<Length>,
    /// Every Nth free worker goes to who has waited longest, so that the lowest priority never starves.
    #[schemars(extend("default" = "off"))]
    lifeline: Option<Lifeline>,
}

/// Who goes first within one priority.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Within {
    /// First come, first served.
    Fifo,
    /// Callers take turns.
    Fair,
}

/// Off, or every how many workers.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum Lifeline {
    Off(Off),
    Every(#[schemars(range(min = *tiers::LIFELINE.start(), max = *tiers::LIFELINE.end()))] u32),
}

/// A sponsor level.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = { "required": ["quota", "quotas"] }))]
pub(super) struct Tier {
    /// How much its searches matter: 0 (lowest) to 6 (highest).
    #[schemars(range(min = Priority::LOWEST.get(), max = Priority::HIGHEST.get()))]
    priority: u8,
    /// Searches that one caller may have at once, waiting ones included.
    #[schemars(range(min = *tiers::CONCURRENCY.start(), max = *tiers::CONCURRENCY.end()))]
    concurrency: u32,
    /// Successful searches that one caller has in a window; left out, there is no bound.
    quota: Option<Quota>,
    /// Several quotas by their names, all of which must have room: { daily: { … }, monthly: { … } }.
    #[schemars(extend("minProperties" = 1, "maxProperties" = QUOTAS_PER_TIER_MAX))]
    quotas: Option<BTreeMap<String, Quota>>,
    /// The longest that a search of this tier waits, if shorter than the queue's.
    max_wait: Option<Length>,
    /// Waiting searches that one caller may displace in a minute; left out, 10 for each of its concurrency.
    #[schemars(range(min = *tiers::DISPLACEMENTS.start(), max = *tiers::DISPLACEMENTS.end()))]
    displacements_per_minute: Option<u32>,
    /// Numbers of its callers' own for request limits, by the limits' names.
    #[schemars(extend("minProperties" = 1, "maxProperties" = LIMITS_MAX))]
    limits: Option<BTreeMap<String, OwnLimit>>,
}

/// Successful searches in a window.
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend(
        "oneOf" = [{ "required": ["rolling"] }, { "required": ["calendar"] }],
        "dependencies" = { "zone": ["calendar"] }
    )
)]
pub(super) struct Quota {
    /// How many successes a caller may have in the window.
    #[schemars(range(min = *quotas::LIMIT.start(), max = *quotas::LIMIT.end()))]
    limit: u64,
    /// In any stretch of that length, such as 24h; at least 1s.
    rolling: Option<Length>,
    /// From the beginning of each day or month.
    calendar: Option<Calendar>,
    /// The time zone of the calendar, such as UTC or America/New_York.
    #[schemars(length(min = 1, max = quotas::ZONE_BYTES_MAX), extend("default" = "UTC"))]
    zone: Option<String>,
    /// Whether it refuses anybody; false: it is counted, and what it would refuse is told to the operator alone.
    #[schemars(extend("default" = true))]
    enforce: Option<bool>,
}

/// A calendar's periods.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Calendar {
    /// From midnight to midnight.
    Day,
    /// From the 1st.
    Month,
}

/// Somebody with a key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Account {
    /// Its name: 1 to 64 visible ASCII characters.
    name: Name,
    /// Its tier.
    tier: Name,
    /// The SHA-256 of its key in 64 hexadecimal digits, or a list of up to 16. "${NAME}" is filled in here: the variable of the
    /// environment holds one, or several separated by spaces or commas.
    key_sha256: KeyHashes,
}

/// One hash or several.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum KeyHashes {
    One(KeyHash),
    Several(#[schemars(length(min = 1, max = KEYS_PER_ACCOUNT_MAX))] Vec<KeyHash>),
}

/// A SHA-256 in hexadecimal, or the variable that holds some.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct KeyHash(
    #[schemars(
        regex(pattern = r"^([0-9A-Fa-f]{64}|\$\{[A-Z_][A-Z0-9_]{0,63}\})$"),
        extend("x-environment" = true)
    )]
    String,
);
