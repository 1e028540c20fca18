//! The document as a whole, a field a section.
//!
//! Absent on purpose: what stands in the sections.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::answers::Answer;
use super::edge::{Admin, Connections, Cors, ForwardedHeader, Keys, Paths};
use super::levels::{Account, Queue, Tier};
use super::limits::Limit;
use super::scalars::{Address, Length, Name, Network, Size, written};
use super::work::{Route, Upstream};
use crate::config::value::show_size;
use crate::config::{
    ACCOUNTS_MAX, DATA_DIR_BYTES_MAX, ROUTES_MAX, TIERS_MAX, UPSTREAMS_MAX, document, edge, history, limits,
};
use crate::policy::refusal::Reason;
use crate::policy::rules::{CALLERS_MAX_DEFAULT, LIMITS_MAX};

/// What the door does: tiergate's tiers.yaml.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "tiers.yaml")]
pub(super) struct Document {
    /// The public address, such as 127.0.0.1:8080; 0.0.0.0 is every address of the machine. Port 0 lets the system choose.
    listen: Address,
    /// The operator's listener: metrics, health, accounts. Never public.
    admin: Admin,
    /// The folder of what must survive a restart, used by one server only. A relative path begins in the folder of this file.
    #[schemars(length(min = 1, max = DATA_DIR_BYTES_MAX), extend("default" = "./data"))]
    data_dir: Option<String>,
    /// Whether an answer waits until its debit is on the disk.
    #[schemars(extend("default" = "strict"))]
    durability: Option<Durability>,
    /// How often what nobody waits for is written, in relaxed durability.
    #[schemars(extend("default" = written(document::COMMIT_EVERY_DEFAULT)))]
    commit_every: Option<Length>,
    /// How long an answer waits for its debit to be on the disk before it is given up.
    #[schemars(extend("default" = written(document::COMMIT_PATIENCE_DEFAULT)))]
    commit_patience: Option<Length>,
    /// How long finished jobs are kept.
    history: Option<History>,
    /// A step back of the system's clock by more than this, from 1s to 24h, is followed at once; a smaller one is waited out.
    #[schemars(extend("default" = written(document::CLOCK_STEP_MAX_DEFAULT)))]
    clock_step_max: Option<Length>,
    /// How long running searches may take to finish when the door closes; waiting ones are sent away at once.
    #[schemars(extend("default" = written(document::DRAIN_TIMEOUT_DEFAULT)))]
    drain_timeout: Option<Length>,
    /// Cores of the public listener; left out, as many as the machine has.
    #[schemars(range(min = 1, max = document::CORES_MAX))]
    cores: Option<u64>,
    /// Bounds of the public listener's connections.
    connections: Option<Connections>,
    /// The waiting room, shared by all tiers. When its seats are taken, a search displaces one of a lower priority or is refused.
    queue: Queue,
    /// The sponsor levels by their names: 1 to 64 visible ASCII characters. `tiergate check` compares those whose name is a price,
    /// such as $5.
    #[schemars(extend("minProperties" = 1, "maxProperties" = TIERS_MAX))]
    tiers: BTreeMap<String, Tier>,
    /// The tier of those without a key. Each IPv4 address, and each IPv6 /64, is one caller.
    anonymous: Name,
    /// Where a request carries its key. The door takes it out before the request goes on.
    keys: Option<Keys>,
    /// Proxies before the door that are believed when they say for whom they ask.
    #[schemars(length(max = edge::TRUSTED_PROXIES_MAX), extend("default" = []))]
    trusted_proxies: Option<Vec<Network>>,
    /// In which header trusted proxies say for whom they ask: name the one that they write.
    #[schemars(extend("default" = "either"))]
    forwarded_header: Option<ForwardedHeader>,
    /// Peers that begin each connection with a header of the PROXY protocol.
    #[schemars(length(max = edge::TRUSTED_PROXIES_MAX), extend("default" = []))]
    proxy_protocol: Option<Vec<Network>>,
    /// Networks that are turned away with 403.
    #[schemars(length(max = edge::BLOCKED_NETWORKS_MAX), extend("default" = []))]
    blocked_networks: Option<Vec<Network>>,
    /// How many requests may come in which time; the door answers the next with 429. All that match must have room.
    #[schemars(length(max = LIMITS_MAX), extend("default" = []))]
    limits: Option<Vec<Limit>>,
    /// Networks that are counted one by one; those beyond share counters with their neighbours.
    #[schemars(range(min = *limits::CALLERS.start(), max = *limits::CALLERS.end()), extend("default" = CALLERS_MAX_DEFAULT))]
    max_callers: Option<u32>,
    /// Whether answers bear the fields RateLimit and RateLimit-Policy.
    #[schemars(extend("default" = true))]
    ratelimit_fields: Option<bool>,
    /// How refusals are told where it isn't the usual way, by their reason.
    #[schemars(extend("minProperties" = 1, "propertyNames" = reasons()))]
    answers: Option<BTreeMap<String, Answer>>,
    /// Pages of other sites that may call the door; left out, none may.
    cors: Option<Cors>,
    /// The door's own pages.
    paths: Option<Paths>,
    /// The pools of workers by their names: 1 to 64 letters, digits, _ and -.
    #[schemars(extend("minProperties" = 1, "maxProperties" = UPSTREAMS_MAX))]
    upstreams: BTreeMap<String, Upstream>,
    /// What is forwarded; anything else is 404.
    #[schemars(length(min = 1, max = ROUTES_MAX))]
    routes: Vec<Route>,
    /// Who has a key, beside the accounts that `tiergate account` keeps.
    #[schemars(length(max = ACCOUNTS_MAX), extend("default" = []))]
    accounts: Option<Vec<Account>>,
}

/// Whether an answer waits for the disk.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Durability {
    /// An answer ends when its debit is on the disk.
    Strict,
    /// At once; a crash may lose the debits of the last commit_every.
    Relaxed,
}

/// How long finished jobs are kept.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct History {
    /// For so long beyond the longest rolling window of all quotas, from 1h to 3650d.
    #[schemars(extend("default" = written(history::History::default().keep)))]
    keep: Option<Length>,
    /// When the database uses more than this, from 64MiB to 1TiB, the oldest go before that.
    #[schemars(extend("default" = show_size(history::History::default().max)))]
    max: Option<Size>,
}

fn reasons() -> Value {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    serde_json::json!({ "enum": codes })
}
