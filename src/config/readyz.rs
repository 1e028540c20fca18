//! When `/readyz` says ready.

use super::prelude::*;

/// When `/readyz` says ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Readyz")]
pub struct ReadyzSection {
    /// Whether it depends on the upstream servers.
    #[serde(default)]
    pub upstreams: ReadyzUpstreams,
}

/// Whether readiness depends on the upstream servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ReadyzUpstreams {
    /// It doesn't: requests wait for a server.
    #[default]
    Ignore,
    /// Ready only while a server of any upstream is up.
    Any,
}
