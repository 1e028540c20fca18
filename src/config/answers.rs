//! How refusals are told where it isn't the usual way: another status, further headers, a body of the operator's own.
//!
//! Absent on purpose: which refusals there are (`policy::refusal`) and their usual answers (`http::reply`).

use http::{HeaderName, HeaderValue};

use crate::template::Template;

/// What an answer to one reason has instead of the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status, 400 to 599.
    pub status: Option<u16>,
    /// Headers that it bears beside the usual ones.
    pub headers: Vec<(HeaderName, Template)>,
    /// Its body, and of what type that is.
    pub body: Option<(HeaderValue, Template)>,
}
