//! Refusals: a typed value with its reason, its numbers and its time to retry (rules §8). `http::reply` maps them to
//! statuses, headers and bodies.

use std::borrow::Cow;
use std::sync::Arc;

use super::rules::{LimitId, Priority};
use super::time::{Span, UnixTime};

/// The reason, as the code that clients read in `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The request is malformed.
    BadRequest,
    /// The request has two different API keys.
    AmbiguousKey,
    /// No route matches the path.
    NotFound,
    /// The route does not allow the method.
    MethodNotAllowed,
    /// The request or its body arrived too slowly.
    RequestTimeout,
    /// The body exceeds the route's limit.
    BodyTooLarge,
    /// No route matches the host.
    UnknownHost,
    /// The request's head exceeds the size limit.
    HeadersTooLarge,
    /// A request limit is exhausted.
    RateLimited,
    /// The API key belongs to no account.
    InvalidKey,
    /// The caller, or its network, is blocked.
    Blocked,
    /// The caller has used up a quota.
    QuotaDepleted,
    /// The delegating account has reached its maximum number of users.
    TooManyUsers,
    /// The caller has as many jobs in flight as its tier allows.
    ConcurrencyExceeded,
    /// The queue is full, and no job of lower priority waits.
    QueueFull,
    /// The job was displaced by one of higher priority.
    Displaced,
    /// The wait would exceed the client's limit.
    WaitTooLong,
    /// The job reached its longest wait.
    WaitedTooLong,
    /// The server is shutting down.
    ShuttingDown,
    /// An operator has stopped admission.
    AdmissionStopped,
    /// An operator has cancelled the queued job.
    CancelledByOperator,
    /// The maximum number of unmetered requests is in flight.
    TooManyInFlight,
    /// There is no room for the request's body.
    TooManyUploads,
    /// The database can't be written.
    JournalUnavailable,
    /// The statistics can't be read at the moment.
    StatisticsUnavailable,
    /// No server of the upstream could be reached.
    UpstreamUnreachable,
    /// The upstream broke the connection.
    UpstreamFailed,
    /// The upstream took too long.
    UpstreamTimeout,
}

impl Reason {
    /// All of them, in the order of rules §8.
    pub const ALL: [Self; 28] = [
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
        Self::AdmissionStopped,
        Self::CancelledByOperator,
        Self::TooManyInFlight,
        Self::TooManyUploads,
        Self::JournalUnavailable,
        Self::StatisticsUnavailable,
        Self::UpstreamUnreachable,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
    ];

    /// The code in responses, metrics and logs.
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
            Self::AdmissionStopped => "admission_stopped",
            Self::CancelledByOperator => "cancelled_by_operator",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::TooManyUploads => "too_many_uploads",
            Self::JournalUnavailable => "journal_unavailable",
            Self::StatisticsUnavailable => "statistics_unavailable",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}

/// A refusal: the reason with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed; says why.
    BadRequest(Cow<'static, str>),
    /// The request has two different API keys.
    AmbiguousKey,
    /// No route matches the path.
    NotFound,
    /// The route does not allow the method.
    MethodNotAllowed,
    /// The request or its body arrived too slowly; says what was expected.
    RequestTimeout(&'static str),
    /// The body exceeds the route's limit.
    BodyTooLarge {
        /// The route's limit in bytes.
        limit: u64,
    },
    /// No route matches the host.
    UnknownHost,
    /// The request's head exceeds the size limit.
    HeadersTooLarge,
    /// A request limit is exhausted.
    RateLimited {
        /// The limit; `None` if callers aren't told about it.
        limit: Option<Exceeded>,
        /// When such a request would pass, by the wall clock.
        reset: UnixTime,
        /// Time until then.
        retry_after: Span,
    },
    /// The API key belongs to no account.
    InvalidKey,
    /// The caller, or its network, is blocked.
    Blocked,
    /// The caller has used up a quota.
    QuotaDepleted {
        /// The quota's name.
        name: Arc<str>,
        /// Units that the caller may use in its window.
        limit: u64,
        /// Units debited, and held by jobs in flight.
        used: u64,
        /// Time until the job would fit, if known: not while jobs in flight hold what is missing.
        retry_after: Option<Span>,
    },
    /// The delegating account has reached its maximum number of users.
    TooManyUsers {
        /// The maximum number of its users.
        limit: u32,
    },
    /// The caller has as many jobs in flight as its tier allows.
    ConcurrencyExceeded {
        /// Jobs that the tier allows.
        limit: u32,
        /// Jobs of the caller in flight.
        used: u32,
    },
    /// The queue is full, and no job of lower priority waits (or the caller has displaced enough).
    QueueFull {
        /// The queue's length.
        capacity: u32,
        /// The lowest priority that would have been admitted, if any.
        admits_from: Option<Priority>,
        /// When to retry.
        retry_after: Span,
    },
    /// The job was displaced by one of higher priority.
    Displaced {
        /// The priority of the job that displaced it.
        by: Priority,
        /// When to retry.
        retry_after: Span,
    },
    /// The wait would exceed the client's limit.
    WaitTooLong {
        /// The client's limit.
        asked: Span,
        /// The estimated wait.
        estimate: Span,
        /// When to retry.
        retry_after: Span,
    },
    /// The job reached its longest wait.
    WaitedTooLong {
        /// How long it waited.
        waited: Span,
        /// When to retry.
        retry_after: Span,
    },
    /// The server is shutting down.
    ShuttingDown {
        /// When to retry.
        retry_after: Span,
    },
    /// An operator has stopped admission.
    AdmissionStopped {
        /// When to retry.
        retry_after: Span,
    },
    /// An operator has cancelled the queued job.
    CancelledByOperator {
        /// When to retry.
        retry_after: Span,
    },
    /// The maximum number of unmetered requests is in flight.
    TooManyInFlight {
        /// The maximum number.
        limit: u32,
    },
    /// There is no room for the request's body.
    TooManyUploads,
    /// The database can't be written.
    JournalUnavailable,
    /// The statistics can't be read at the moment.
    StatisticsUnavailable,
    /// No server of the upstream could be reached.
    UpstreamUnreachable {
        /// Time until one is probed, if all are down.
        retry_after: Option<Span>,
    },
    /// The upstream broke the connection.
    UpstreamFailed,
    /// The upstream took too long.
    UpstreamTimeout,
}

/// The exhausted request limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit.
    pub id: LimitId,
    /// Its name.
    pub name: Arc<str>,
    /// Requests in its window, as advertised to the caller.
    pub number: u32,
}

/// A detail of a refusal: the members of the default body, in their order. A refusal has some of them.
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
    /// The lowest priority that would have been admitted.
    LowestAdmittedPriority,
    /// The priority of the job that displaced it.
    DisplacedByPriority,
    /// The client's longest wait, in seconds.
    Wait,
    /// The estimated wait, in seconds.
    Estimate,
    /// How long the job waited, in seconds.
    Waited,
    /// The caller's tier.
    Tier,
    /// The caller's priority.
    Priority,
    /// When to retry, in seconds.
    RetryAfter,
    /// The request's id.
    RequestId,
}

impl Member {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 17] = [
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
        (Self::RequestId, "request_id"),
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
            Self::AdmissionStopped { .. } => Reason::AdmissionStopped,
            Self::CancelledByOperator { .. } => Reason::CancelledByOperator,
            Self::TooManyInFlight { .. } => Reason::TooManyInFlight,
            Self::TooManyUploads => Reason::TooManyUploads,
            Self::JournalUnavailable => Reason::JournalUnavailable,
            Self::StatisticsUnavailable => Reason::StatisticsUnavailable,
            Self::UpstreamUnreachable { .. } => Reason::UpstreamUnreachable,
            Self::UpstreamFailed => Reason::UpstreamFailed,
            Self::UpstreamTimeout => Reason::UpstreamTimeout,
        }
    }

    /// When to retry, if known.
    pub const fn retry_after(&self) -> Option<Span> {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::Displaced { retry_after, .. }
            | Self::WaitTooLong { retry_after, .. }
            | Self::WaitedTooLong { retry_after, .. }
            | Self::RateLimited { retry_after, .. }
            | Self::ShuttingDown { retry_after }
            | Self::AdmissionStopped { retry_after }
            | Self::CancelledByOperator { retry_after } => Some(*retry_after),
            Self::TooManyInFlight { .. }
            | Self::TooManyUploads
            | Self::JournalUnavailable
            | Self::StatisticsUnavailable => Some(Span::from_secs(1)),
            Self::QuotaDepleted { retry_after, .. } | Self::UpstreamUnreachable { retry_after } => *retry_after,
            _ => None,
        }
    }
}
