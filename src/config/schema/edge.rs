//! Who may talk to the door and how: the operator's listener, connections, keys, proxies, pages of other sites, and the door's own
//! pages.
//!
//! Absent on purpose: what is refused there, which is `limits` and `answers`.

use schemars::JsonSchema;

use super::scalars::{Address, Length, Off, Size, written};
use crate::config::environment::REFERENCE_PATTERN;
use crate::config::{DATA_DIR_BYTES_MAX, edge};

/// The operator's listener.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = { "required": ["token", "token_file"] }))]
pub(super) struct Admin {
    /// Its address, such as 127.0.0.1:9090. Never where the public can reach it.
    listen: Address,
    /// The operator's token, by the variable of the environment that holds it: "${NAME}" is filled in here. Left out, the token lies
    /// in data_dir. TIERGATE_ADMIN_TOKEN stands before it.
    #[schemars(regex(pattern = REFERENCE_PATTERN), extend("x-environment" = true))]
    token: Option<String>,
    /// A file that holds the operator's token alone; its path begins with `/`, or with `./` from the folder of this file.
    /// TIERGATE_ADMIN_TOKEN stands before it.
    #[schemars(length(max = DATA_DIR_BYTES_MAX), regex(pattern = r"^\.{0,2}/"))]
    token_file: Option<String>,
}

/// Bounds of the public listener's connections.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Connections {
    /// Open connections; more wait.
    #[schemars(
        range(min = *edge::CONNECTIONS.start(), max = *edge::CONNECTIONS.end()),
        extend("default" = edge::Connections::default().max)
    )]
    max: Option<u64>,
    /// How long a request's head may take, idle connections included.
    #[schemars(extend("default" = written(edge::Connections::default().head_timeout)))]
    head_timeout: Option<Length>,
    /// How long a client may take nothing of its answer.
    #[schemars(extend("default" = written(edge::Connections::default().send_timeout)))]
    send_timeout: Option<Length>,
    /// The longest head of a request, from 8KiB to 1MiB.
    #[schemars(extend("default" = "64KiB"))]
    head_max: Option<Size>,
    /// Headers of a request.
    #[schemars(
        range(min = *edge::HEADERS.start(), max = *edge::HEADERS.end()),
        extend("default" = edge::Connections::default().headers_max)
    )]
    headers_max: Option<u64>,
    /// Requests at once on routes that are not metered.
    #[schemars(
        range(min = *edge::UNMETERED.start(), max = *edge::UNMETERED.end()),
        extend("default" = edge::Connections::default().unmetered_max)
    )]
    unmetered_max: Option<u64>,
}

/// Where a request carries its key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Keys {
    /// Headers that hold nothing but the key.
    #[schemars(length(max = edge::KEY_HEADERS_MAX), extend("default" = ["x-api-key"]))]
    headers: Option<Vec<String>>,
    /// Whether `Authorization: Bearer KEY` is understood.
    #[schemars(extend("default" = true))]
    bearer: Option<bool>,
    /// The name of the query parameter that holds the key; left out, there is none.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.~-]{1,64}$"))]
    query: Option<String>,
}

/// In which header trusted proxies say for whom they ask.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "kebab-case")]
pub(super) enum ForwardedHeader {
    /// In either of the two; where they name different clients, neither is believed.
    Either,
    /// In X-Forwarded-For.
    XForwardedFor,
    /// In Forwarded (RFC 7239).
    Forwarded,
}

/// Pages of other sites that may call the door.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Cors {
    /// Their origins, scheme://host or scheme://host:port, or "*" alone for all.
    #[schemars(length(min = 1, max = edge::ORIGINS_MAX))]
    origins: Vec<String>,
    /// How long browsers remember the answer.
    #[schemars(extend("default" = written(edge::MAX_AGE_DEFAULT)))]
    max_age: Option<Length>,
}

/// The door's own pages.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Paths {
    /// What a caller has used.
    #[schemars(extend("default" = "/me"))]
    me: Option<OwnPath>,
    /// How the door has answered everybody.
    #[schemars(extend("default" = "/stats"))]
    stats: Option<OwnPath>,
}

/// A path of letters, digits and _ - . ~, or off.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum OwnPath {
    Off(Off),
    Path(#[schemars(length(max = edge::PATH_CHARS_MAX), regex(pattern = r"^(/[A-Za-z0-9_.~-]+)+$"))] String),
}
