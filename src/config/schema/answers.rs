//! How refusals are told where it isn't the usual way.
//!
//! Absent on purpose: which reasons there are: the document's field has them from the code.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use crate::config::answers;

/// What an answer has instead of the usual.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "dependencies" = { "content_type": ["body"] }))]
pub(super) struct Answer {
    /// Its status.
    #[schemars(range(min = *answers::STATUSES.start(), max = *answers::STATUSES.end()))]
    status: Option<u16>,
    /// Headers that it bears beside the usual ones. Names in braces are filled in, such as {retry_after}.
    #[schemars(extend("minProperties" = 1, "maxProperties" = answers::HEADERS_MAX))]
    headers: Option<BTreeMap<String, Filled>>,
    /// The type of its body.
    #[schemars(regex(pattern = "^[^/]+/"), extend("default" = "application/json"))]
    content_type: Option<String>,
    /// Its body. Names in braces are filled in, such as {limit}, {remaining}, {retry_after}, {error}.
    #[schemars(length(min = 1))]
    body: Option<String>,
}

/// A header's value: a text, or a number.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum Filled {
    Text(#[schemars(length(min = 1))] String),
    Number(i64),
    Switch(bool),
}
