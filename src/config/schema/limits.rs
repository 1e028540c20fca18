//! Request limits, and the numbers that a level has for them.
//!
//! Absent on purpose: quotas, which count successes.

use schemars::JsonSchema;

use super::scalars::{Length, Method, Name};
use crate::config::{limits, routes};
use crate::policy::rules::Limit as LimitRules;

/// How many requests may come in which time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Limit {
    /// What it is called in headers, beside quotas: 1 to 32 of a-z, A-Z, 0-9, -, _ and .
    name: Name,
    /// Whom it counts; of several, each must have room.
    per: Per,
    /// Requests that may come in the window.
    #[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))]
    limit: u64,
    /// In which time, from 10ms (sliding: 600ms) to 31d.
    window: Length,
    /// How it counts.
    #[schemars(extend("default" = "fixed"))]
    kind: Option<Kind>,
    /// Lets all windows of a fixed limit begin with the clock, rather than with a caller's first request.
    align: Option<Align>,
    /// How long who exceeds it is turned away, in place of the rest of the window: 1s to 31d.
    penalty: Option<Length>,
    /// How many are let in of the advertised number, for now.
    #[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))]
    degraded: Option<u64>,
    /// Whether callers are told of it at all.
    #[schemars(extend("default" = true))]
    disclosed: Option<bool>,
    /// When X-RateLimit-Limit, -Remaining and -Reset are sent.
    #[schemars(extend("default" = "always"))]
    headers: Option<LimitHeaders>,
    /// Only for requests like these; left out, for all.
    r#match: Option<Match>,
    /// How many bits of an IPv6 address make a network.
    #[schemars(
        range(min = *limits::V6_PREFIX.start(), max = *limits::V6_PREFIX.end()),
        extend("default" = LimitRules::V6_PREFIX_DEFAULT)
    )]
    v6_prefix: Option<u32>,
    /// Blocks who goes on all the same.
    block_after: Option<BlockAfter>,
    /// Whether it refuses anybody; false: it is counted, and what it would refuse is told to the operator alone.
    #[schemars(extend("default" = true))]
    enforce: Option<bool>,
}

/// Whom a limit counts: one kind of caller, or several.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum Per {
    One(Who),
    Several(#[schemars(length(min = 1, max = 3), extend("uniqueItems" = true))] Vec<Who>),
}

/// A kind of caller.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Who {
    /// An IPv4 address or an IPv6 network.
    Network,
    /// All keys of an account together; who has none is its network.
    Account,
    /// Everybody together.
    Global,
}

/// How a limit counts.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Kind {
    /// A window begins with a caller's first request.
    Fixed,
    /// In any stretch of the window's length, to a sixtieth of it.
    Sliding,
    /// So many at once, then one after each window ÷ limit.
    Burst,
}

/// With what windows begin.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Align {
    /// With the clock, in UTC.
    Clock,
}

/// When an answer bears a limit's X-RateLimit headers.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum LimitHeaders {
    /// On every answer.
    Always,
    /// On refusals.
    OnRefusal,
    /// -Limit and -Remaining on every answer, -Reset on refusals.
    OnRefusalReset,
    /// Never.
    Off,
}

/// Requests that a limit is for.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub(super) struct Match {
    /// The host that is asked, without a port.
    #[schemars(length(min = 1))]
    host: Option<String>,
    /// The path, in every spelling: /search, /image/{id}, /image/{*rest} or /image/*.
    #[schemars(length(max = routes::PATH_BYTES_MAX), regex(pattern = "^/"))]
    path: Option<String>,
    /// The methods, of which GET includes HEAD.
    #[schemars(length(min = 1, max = routes::METHODS_MAX))]
    methods: Option<Vec<Method>>,
}

/// When somebody who is refused again and again is blocked.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct BlockAfter {
    /// So many refusals,
    #[schemars(range(min = *limits::REFUSALS.start(), max = *limits::REFUSALS.end()))]
    refusals: u32,
    /// within so long (10ms to 31d),
    within: Length,
    /// block for so long (1s to 31d).
    r#for: Length,
}

/// A number for a request limit, or a number and whom it is for.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum OwnLimit {
    Number(#[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))] u64),
    Lifting(LiftingLimit),
}

/// A number of a tier's own for a request limit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct LiftingLimit {
    /// Requests in the limit's window.
    #[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))]
    limit: u64,
    /// Lets the network from which the account asks have that number too.
    lifts: Option<Lifts>,
}

/// What else has a number of a tier's own.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Lifts {
    /// The network from which the account asks.
    Network,
}
