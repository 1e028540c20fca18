//! Request limits: how many, of whom, in which time; which requests they are for; and where callers are told of them.
//!
//! Absent on purpose: counting (`policy::limits`) and the headers themselves (`http`).

use http::Method;

use crate::path::Pattern;

/// What of a request makes a limit match, and where callers are told of the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRoute {
    /// The host that is asked, as in [`super::Route::host`]; `None`: any.
    pub host: Option<String>,
    /// The path, in every reading and without regard to case; `None`: any.
    pub pattern: Option<Pattern>,
    /// The methods, of which `GET` includes `HEAD`; `None`: all of them.
    pub methods: Option<Vec<Method>>,
    /// When an answer bears `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub headers: LimitHeaders,
}

/// When an answer bears a limit's `X-RateLimit` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeaders {
    /// On every answer.
    #[default]
    Always,
    /// `X-RateLimit-Limit` and `-Remaining` on every answer, `-Reset` on refusals only (AniList).
    OnRefusalReset,
    /// On refusals only.
    OnRefusal,
    /// Never.
    Off,
}
