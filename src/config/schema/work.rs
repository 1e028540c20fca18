//! What is forwarded where: upstreams, their servers, routes.
//!
//! Absent on purpose: who may ask for it.

use schemars::JsonSchema;

use super::scalars::{Length, Method, Name, Size, written};
use crate::config::{SERVERS_MAX, routes, upstreams};

/// A pool of workers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Upstream {
    /// Its servers.
    #[schemars(length(min = 1, max = SERVERS_MAX))]
    servers: Vec<Server>,
    /// How long connecting may take.
    #[schemars(extend("default" = written(upstreams::CONNECT_TIMEOUT_DEFAULT)))]
    connect_timeout: Option<Length>,
    /// How long the answer's first byte may take; left out, as long as timeout.
    first_byte_timeout: Option<Length>,
    /// How long a request may take in all.
    #[schemars(extend("default" = written(upstreams::TIMEOUT_DEFAULT)))]
    timeout: Option<Length>,
    /// How long an unused connection is kept: less than the worker keeps it.
    #[schemars(extend("default" = written(upstreams::IDLE_TIMEOUT_DEFAULT)))]
    idle_timeout: Option<Length>,
    /// How its servers are asked whether they are well; left out, they are judged by their answers alone.
    health: Option<Health>,
}

/// A server of a pool.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Server {
    /// Where it is: http://host or http://host:port.
    #[schemars(regex(pattern = "^[Hh][Tt][Tt][Pp]://[^/?#@]+$"))]
    url: String,
    /// How many searches it works on at once: never more are sent to it.
    #[schemars(range(min = *upstreams::SLOTS.start(), max = *upstreams::SLOTS.end()))]
    slots: u32,
}

/// How a server is asked whether it is well.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Health {
    /// What is asked for, such as /health; any 2xx or 3xx is well.
    #[schemars(length(max = upstreams::PROBE_CHARS_MAX), regex(pattern = "^/"))]
    path: String,
    /// How often.
    #[schemars(extend("default" = written(upstreams::HEALTH_EVERY_DEFAULT)))]
    every: Option<Length>,
}

/// What is forwarded where.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Route {
    /// The host that is asked, without a port; left out, any.
    #[schemars(length(min = 1))]
    host: Option<String>,
    /// The path: /search, /image/{id} or "/image/{*rest}".
    #[schemars(length(max = routes::PATH_BYTES_MAX), regex(pattern = "^/"))]
    path: String,
    /// The methods; left out, all of them.
    #[schemars(length(min = 1, max = routes::METHODS_MAX))]
    methods: Option<Vec<Method>>,
    /// The upstream to which it leads.
    upstream: Name,
    /// Whether a request needs a seat, a worker's slot, concurrency and quota.
    #[schemars(extend("default" = false))]
    metered: Option<bool>,
    /// The largest upload.
    #[schemars(extend("default" = "1MiB"))]
    max_body: Option<Size>,
    /// The longest wait on this route, if shorter than the queue's; for metered routes.
    max_wait: Option<Length>,
    /// The statuses that count against the quota; for metered routes.
    #[schemars(
        length(min = 1, max = routes::SUCCESSES_MAX),
        inner(range(min = *routes::STATUSES.start(), max = *routes::STATUSES.end())),
        extend("default" = [200], "uniqueItems" = true)
    )]
    success: Option<Vec<u32>>,
    /// What a success takes of the quota; 0 is a peek. For metered routes.
    #[schemars(range(min = *routes::COST.start(), max = *routes::COST.end()), extend("default" = 1))]
    cost: Option<u32>,
    /// What happens to a search whose client has gone; for metered routes.
    #[schemars(extend("default" = "finish"))]
    on_hangup: Option<OnHangup>,
}

/// What happens to a search whose client has gone.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum OnHangup {
    /// It is finished and counted.
    Finish,
    /// It is dropped.
    Cancel,
}
