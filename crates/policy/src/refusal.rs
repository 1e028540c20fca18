//! Why not: a typed value with its reason, its numbers and its time to retry (semantics §8).
//!
//! Absent on purpose: statuses, headers and bodies. `http::reply` has the one table that knows them.

use std::borrow::Cow;
use std::sync::Arc;

use super::rules::{LimitId, Priority};
use super::time::{Span, UnixTime};

/// Why a request was not served, as the code that clients read in `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The request is malformed.
    BadRequest,
    /// Two different API keys in one request.
    AmbiguousKey,
    /// No route has that path.
    NotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// The request, or its body, came too slowly.
    RequestTimeout,
    /// The body is longer than the route takes.
    BodyTooLarge,
    /// No route has that host.
    UnknownHost,
    /// The request's head is longer than the door takes.
    HeadersTooLarge,
    /// Too many requests in too short a time.
    RateLimited,
    /// The API key is of no account.
    InvalidKey,
    /// The caller, or its network, is blocked.
    Blocked,
    /// The caller has used up a quota.
    QuotaDepleted,
    /// The delegating account has as many users as it may.
    TooManyUsers,
    /// The caller has as many jobs in the house as its tier allows.
    ConcurrencyExceeded,
    /// No seat is free, and nobody of lower priority waits.
    QueueFull,
    /// The seat was given to a job of higher priority.
    Displaced,
    /// The wait would exceed what the client asked for.
    WaitTooLong,
    /// The job waited its longest.
    WaitedTooLong,
    /// The door closes.
    ShuttingDown,
    /// As many unmetered requests as the door takes are in flight.
    TooManyInFlight,
    /// What is used can't be written down.
    JournalUnavailable,
    /// How callers were answered can't be read now.
    StatisticsUnavailable,
    /// No server of the upstream could be reached.
    UpstreamUnreachable,
    /// The upstream broke off.
    UpstreamFailed,
    /// The upstream took too long.
    UpstreamTimeout,
}

impl Reason {
    /// All of them, in the order of semantics §8.
    pub const ALL: [Self; 25] = [
        Self::BadRequest,
        Self::AmbiguousKey,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnknownHost,
        Self::HeadersTooLarge,
        Self::RateLimited,
        Self::InvalidKey,
        Self::Blocked,
        Self::QuotaDepleted,
        Self::TooManyUsers,
        Self::ConcurrencyExceeded,
        Self::QueueFull,
        Self::Displaced,
        Self::WaitTooLong,
        Self::WaitedTooLong,
        Self::ShuttingDown,
        Self::TooManyInFlight,
        Self::JournalUnavailable,
        Self::StatisticsUnavailable,
        Self::UpstreamUnreachable,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
    ];

    /// The code in answers, metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::AmbiguousKey => "ambiguous_key",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UnknownHost => "unknown_host",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RateLimited => "rate_limited",
            Self::InvalidKey => "invalid_key",
            Self::Blocked => "blocked",
            Self::QuotaDepleted => "quota_depleted",
            Self::TooManyUsers => "too_many_users",
            Self::ConcurrencyExceeded => "concurrency_exceeded",
            Self::QueueFull => "queue_full",
            Self::Displaced => "displaced",
            Self::WaitTooLong => "wait_too_long",
            Self::WaitedTooLong => "waited_too_long",
            Self::ShuttingDown => "shutting_down",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::JournalUnavailable => "journal_unavailable",
            Self::StatisticsUnavailable => "statistics_unavailable",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}

/// A refusal: the reason with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed: what is wrong, in words.
    BadRequest(Cow<'static, str>),
    /// Two different API keys in one request.
    AmbiguousKey,
    /// No route has that path.
    NotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// The request, or its body, came too slowly: what was expected, in words.
    RequestTimeout(&'static str),
    /// The body is longer than the route takes.
    BodyTooLarge {
        /// Bytes that the route takes.
        limit: u64,
    },
    /// No route has that host.
    UnknownHost,
    /// The request's head is longer than the door takes.
    HeadersTooLarge,
    /// Too many requests in too short a time.
    RateLimited {
        /// By which limit; `None` if callers aren't told of it.
        limit: Option<Exceeded>,
        /// When such a request would pass, by the wall clock.
        reset: UnixTime,
        /// How long until then.
        retry_after: Span,
    },
    /// The API key is of no account.
    InvalidKey,
    /// The caller, or its network, is blocked.
    Blocked,
    /// The caller has used up a quota.
    QuotaDepleted {
        /// The quota's name.
        name: Arc<str>,
        /// Units that the caller may use in its window.
        limit: u64,
        /// Units debited, and held by jobs in the house.
        used: u64,
        /// When there will be room, if that is known: not while jobs in the house hold what is missing.
        retry_after: Option<Span>,
    },
    /// The delegating account has as many users as it may.
    TooManyUsers {
        /// DelegatedUsers that it may have.
        limit: u32,
    },
    /// The caller has as many jobs in the house as its tier allows.
    ConcurrencyExceeded {
        /// Jobs that the tier allows.
        limit: u32,
        /// Jobs that the caller has.
        used: u32,
    },
    /// No seat is free, and nobody of lower priority waits (or the caller has displaced enough).
    QueueFull {
        /// Seats there are.
        seats: u32,
        /// The lowest priority that would have been let in, if any would.
        admits_from: Option<Priority>,
        /// When to come back.
        retry_after: Span,
    },
    /// The seat was given to a job of higher priority.
    Displaced {
        /// The priority of the job that has the seat now.
        by: Priority,
        /// When to come back.
        retry_after: Span,
    },
    /// The wait would exceed what the client asked for.
    WaitTooLong {
        /// What the client asked for.
        asked: Span,
        /// What it would be.
        estimate: Span,
        /// When to come back.
        retry_after: Span,
    },
    /// The job waited its longest.
    WaitedTooLong {
        /// How long it waited.
        waited: Span,
        /// When to come back.
        retry_after: Span,
    },
    /// The door closes.
    ShuttingDown {
        /// When to come back.
        retry_after: Span,
    },
    /// As many unmetered requests as the door takes are in flight.
    TooManyInFlight {
        /// Requests that the door takes.
        limit: u32,
    },
    /// What is used can't be written down.
    JournalUnavailable,
    /// How callers were answered can't be read now.
    StatisticsUnavailable,
    /// No server of the upstream could be reached.
    UpstreamUnreachable,
    /// The upstream broke off.
    UpstreamFailed,
    /// The upstream took too long.
    UpstreamTimeout,
}

/// The request limit that had no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which one.
    pub id: LimitId,
    /// Its name.
    pub name: Arc<str>,
    /// Requests that whoever asked may send in its window, as advertised.
    pub number: u32,
}

/// What can be told of a refusal: the members of the default body, in their order. A refusal has some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// What is wrong, in words.
    Error,
    /// The code of the reason.
    Reason,
    /// The answer's status.
    Status,
    /// The name of the limit, quota or bound.
    Name,
    /// Its number.
    Limit,
    /// How much of it is used.
    Used,
    /// How much is left.
    Remaining,
    /// When such a request would pass, in Unix seconds.
    Reset,
    /// The lowest priority that would have been let in.
    LowestAdmittedPriority,
    /// The priority of the job that has the seat now.
    DisplacedByPriority,
    /// The wait that the client asked for, in seconds.
    Wait,
    /// The wait that was to be expected, in seconds.
    Estimate,
    /// How long the job waited, in seconds.
    Waited,
    /// The tier of whoever asked.
    Tier,
    /// Its priority.
    Priority,
    /// In how many seconds to come back.
    RetryAfter,
}

impl Member {
    /// All of them, each with its name.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::Error, "error"),
        (Self::Reason, "reason"),
        (Self::Status, "status"),
        (Self::Name, "name"),
        (Self::Limit, "limit"),
        (Self::Used, "used"),
        (Self::Remaining, "remaining"),
        (Self::Reset, "reset"),
        (Self::LowestAdmittedPriority, "lowest_admitted_priority"),
        (Self::DisplacedByPriority, "displaced_by_priority"),
        (Self::Wait, "wait"),
        (Self::Estimate, "estimate"),
        (Self::Waited, "waited"),
        (Self::Tier, "tier"),
        (Self::Priority, "priority"),
        (Self::RetryAfter, "retry_after"),
    ];
}

impl Refusal {
    /// The reason without its numbers.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BadRequest(_) => Reason::BadRequest,
            Self::AmbiguousKey => Reason::AmbiguousKey,
            Self::NotFound => Reason::NotFound,
            Self::MethodNotAllowed => Reason::MethodNotAllowed,
            Self::RequestTimeout(_) => Reason::RequestTimeout,
            Self::BodyTooLarge { .. } => Reason::BodyTooLarge,
            Self::UnknownHost => Reason::UnknownHost,
            Self::HeadersTooLarge => Reason::HeadersTooLarge,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::InvalidKey => Reason::InvalidKey,
            Self::Blocked => Reason::Blocked,
            Self::QuotaDepleted { .. } => Reason::QuotaDepleted,
            Self::TooManyUsers { .. } => Reason::TooManyUsers,
            Self::ConcurrencyExceeded { .. } => Reason::ConcurrencyExceeded,
            Self::QueueFull { .. } => Reason::QueueFull,
            Self::Displaced { .. } => Reason::Displaced,
            Self::WaitTooLong { .. } => Reason::WaitTooLong,
            Self::WaitedTooLong { .. } => Reason::WaitedTooLong,
            Self::ShuttingDown { .. } => Reason::ShuttingDown,
            Self::TooManyInFlight { .. } => Reason::TooManyInFlight,
            Self::JournalUnavailable => Reason::JournalUnavailable,
            Self::StatisticsUnavailable => Reason::StatisticsUnavailable,
            Self::UpstreamUnreachable => Reason::UpstreamUnreachable,
            Self::UpstreamFailed => Reason::UpstreamFailed,
            Self::UpstreamTimeout => Reason::UpstreamTimeout,
        }
    }

    /// When to come back, if that is known.
    pub const fn retry_after(&self) -> Option<Span> {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::Displaced { retry_after, .. }
            | Self::WaitTooLong { retry_after, .. }
            | Self::WaitedTooLong { retry_after, .. }
            | Self::RateLimited { retry_after, .. }
            | Self::ShuttingDown { retry_after } => Some(*retry_after),
            Self::TooManyInFlight { .. } | Self::JournalUnavailable | Self::StatisticsUnavailable => {
                Some(Span::from_secs(1))
            }
            Self::QuotaDepleted { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
