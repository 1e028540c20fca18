//! The JSON Schema of tiers.yaml, by which editors complete a file and check it while it is written.
//!
//! A type a section, whose fields are those that its reader knows and whose bounds are the reader's: a test holds the two
//! together. `docs/tiers.schema.json` is what [`text`] gives.
//!
//! Absent on purpose: reading by these types. They describe the document and no value of them is ever made; and what a schema
//! can't say, such as whether a tier that is named exists, is said by `tiergate check`.

#![expect(
    dead_code,
    reason = "the types describe a document: nobody makes or reads a value of them"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::environment::REFERENCE_PATTERN;
use super::{ACCOUNTS_MAX, KEYS_PER_ACCOUNT_MAX, NAME_CHARS_MAX, words};
use super::{QUOTAS_PER_TIER_MAX, ROUTES_MAX, SERVERS_MAX, TIERS_MAX, UPSTREAMS_MAX};
use super::{answers, document, edge, limits, quotas, routes, tiers, upstreams};
use crate::policy::refusal::Reason;
use crate::policy::rules::{CALLERS_MAX_DEFAULT, LIMITS_MAX, Limit as LimitRules, Priority};

/// The schema as a text, in draft 7, which editors know best.
pub fn text() -> String {
    format!("{:#}\n", value())
}

/// The schema itself.
pub(super) fn value() -> Value {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(plain));
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// Fields that may be left out may not be empty, how wide an integer is in memory is nobody's business, and a description is one
/// line, which editors break as they like.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|one| one.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            // Beside a reference draft 7 reads nothing else.
            schema.insert("allOf".to_owned(), Value::Array(vec![only.into()]));
        }
    }
}

fn written(length: Duration) -> String {
    words::span(length.into())
}

fn reasons() -> Value {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    serde_json::json!({ "enum": codes })
}

/// A length of time: a number and its unit, such as 500ms, 30s, 5m, 24h, 7d or 1h30m.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Length(#[schemars(regex(pattern = r"^([0-9]+(d|h|m|s|ms))+$"))] String);

/// A size: a number and its unit, such as 512B, 64KiB, 25MiB, 1GiB or 10MB.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Size(#[schemars(regex(pattern = r"^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)$"))] String);

/// An IP address and a port.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Address(#[schemars(regex(pattern = r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"))] String);

/// An IP address, or a network such as 10.0.0.0/8.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Network(#[schemars(regex(pattern = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"))] String);

/// A name that the file gives; one of digits alone needs no quotes.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
enum Name {
    Text(#[schemars(length(min = 1, max = NAME_CHARS_MAX))] String),
    Digits(u64),
}

/// What the door does: tiergate's tiers.yaml.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "tiers.yaml")]
struct Document {
    /// The public address, such as 127.0.0.1:8080; 0.0.0.0 is every address of the machine. Port 0 lets the system choose.
    listen: Address,
    /// The operator's listener: metrics, health, accounts. Never public.
    admin: Admin,
    /// The folder of what must survive a restart, for one door alone. A relative path begins where the program was started.
    #[schemars(length(min = 1, max = super::DATA_DIR_BYTES_MAX), extend("default" = "./data"))]
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

/// The operator's listener.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = { "required": ["token", "token_file"] }))]
struct Admin {
    /// Its address, such as 127.0.0.1:9090. Never where the public can reach it.
    listen: Address,
    /// The operator's token, by the variable of the environment that holds it: "${NAME}" is filled in here. Left out, the token lies
    /// in data_dir. TIERGATE_ADMIN_TOKEN stands before it.
    #[schemars(regex(pattern = REFERENCE_PATTERN), extend("x-environment" = true))]
    token: Option<String>,
    /// A file that holds the operator's token alone; its path begins with `/` or `./`. TIERGATE_ADMIN_TOKEN stands before it.
    #[schemars(length(max = super::DATA_DIR_BYTES_MAX), regex(pattern = r"^\.{0,2}/"))]
    token_file: Option<String>,
}

/// Whether an answer waits for the disk.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Durability {
    /// An answer ends when its debit is on the disk.
    Strict,
    /// At once; a crash may lose the debits of the last commit_every.
    Relaxed,
}

/// Bounds of the public listener's connections.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Connections {
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

/// The waiting room.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Queue {
    /// Seats: how many searches may wait. 0: nobody waits.
    #[schemars(range(min = *tiers::SEATS.start(), max = *tiers::SEATS.end()))]
    length: u32,
    /// Who goes first within one priority.
    #[schemars(extend("default" = "fifo"))]
    within_tier: Option<Within>,
    /// The longest that anybody waits; a tier, a route and the client itself may shorten it.
    #[schemars(extend("default" = written(tiers::MAX_WAIT_DEFAULT)))]
    max_wait: Option<Length>,
    /// Every Nth free worker goes to who has waited longest, so that the lowest priority never starves.
    #[schemars(extend("default" = "off"))]
    lifeline: Option<Lifeline>,
}

/// Who goes first within one priority.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Within {
    /// First come, first served.
    Fifo,
    /// Callers take turns.
    Fair,
}

/// Off, or every how many workers.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
enum Lifeline {
    Off(Off),
    Every(#[schemars(range(min = *tiers::LIFELINE.start(), max = *tiers::LIFELINE.end()))] u32),
}

/// Switched off.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Off {
    Off,
}

/// A sponsor level.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = { "required": ["quota", "quotas"] }))]
struct Tier {
    /// How much its searches matter: 0 (lowest) to 6 (highest).
    #[schemars(range(min = Priority::LOWEST.get(), max = Priority::HIGHEST.get()))]
    priority: u8,
    /// Searches that one caller may have at once, waiting ones included.
    #[schemars(range(min = *tiers::CONCURRENCY.start(), max = *tiers::CONCURRENCY.end()))]
    concurrency: u32,
    /// Successful searches that one caller has in a window; left out, there is no bound.
    quota: Option<Quota>,
    /// Several quotas by their names, all of which must have room: { daily: { … }, monthly: { … } }.
    #[schemars(extend("minProperties" = 1, "maxProperties" = QUOTAS_PER_TIER_MAX))]
    quotas: Option<BTreeMap<String, Quota>>,
    /// The longest that a search of this tier waits, if shorter than the queue's.
    max_wait: Option<Length>,
    /// Waiting searches that one caller may displace in a minute; left out, 10 for each of its concurrency.
    #[schemars(range(min = *tiers::DISPLACEMENTS.start(), max = *tiers::DISPLACEMENTS.end()))]
    displacements_per_minute: Option<u32>,
    /// Numbers of its callers' own for request limits, by the limits' names.
    #[schemars(extend("minProperties" = 1, "maxProperties" = LIMITS_MAX))]
    limits: Option<BTreeMap<String, OwnLimit>>,
}

/// Successful searches in a window.
#[derive(JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend(
        "oneOf" = [{ "required": ["rolling"] }, { "required": ["calendar"] }],
        "dependencies" = { "zone": ["calendar"] }
    )
)]
struct Quota {
    /// How many successes a caller may have in the window.
    #[schemars(range(min = *quotas::LIMIT.start(), max = *quotas::LIMIT.end()))]
    limit: u64,
    /// In any stretch of that length, such as 24h; at least 1s.
    rolling: Option<Length>,
    /// From the beginning of each day or month.
    calendar: Option<Calendar>,
    /// The time zone of the calendar, such as UTC or America/New_York.
    #[schemars(length(min = 1, max = quotas::ZONE_BYTES_MAX), extend("default" = "UTC"))]
    zone: Option<String>,
    /// Whether it refuses anybody; false: it is counted, and what it would refuse is told to the operator alone.
    #[schemars(extend("default" = true))]
    enforce: Option<bool>,
}

/// A calendar's periods.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Calendar {
    /// From midnight to midnight.
    Day,
    /// From the 1st.
    Month,
}

/// A number for a request limit, or a number and whom it is for.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
enum OwnLimit {
    Number(#[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))] u64),
    Lifting(LiftingLimit),
}

/// A number of a tier's own for a request limit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct LiftingLimit {
    /// Requests in the limit's window.
    #[schemars(range(min = *limits::NUMBER.start(), max = *limits::NUMBER.end()))]
    limit: u64,
    /// Lets the network from which the account asks have that number too.
    lifts: Option<Lifts>,
}

/// What else has a number of a tier's own.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Lifts {
    /// The network from which the account asks.
    Network,
}

/// Where a request carries its key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Keys {
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
enum ForwardedHeader {
    /// In either of the two; where they name different clients, neither is believed.
    Either,
    /// In X-Forwarded-For.
    XForwardedFor,
    /// In Forwarded (RFC 7239).
    Forwarded,
}

/// How many requests may come in which time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Limit {
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
enum Per {
    One(Who),
    Several(#[schemars(length(min = 1, max = 3), extend("uniqueItems" = true))] Vec<Who>),
}

/// A kind of caller.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Who {
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
enum Kind {
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
enum Align {
    /// With the clock, in UTC.
    Clock,
}

/// When an answer bears a limit's X-RateLimit headers.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum LimitHeaders {
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
struct Match {
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

/// A method, such as GET or POST.
#[derive(JsonSchema)]
#[schemars(inline)]
struct Method(#[schemars(regex(pattern = "^[^a-z ]{1,32}$"))] String);

/// When somebody who is refused again and again is blocked.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct BlockAfter {
    /// So many refusals,
    #[schemars(range(min = *limits::REFUSALS.start(), max = *limits::REFUSALS.end()))]
    refusals: u32,
    /// within so long (10ms to 31d),
    within: Length,
    /// block for so long (1s to 31d).
    r#for: Length,
}

/// What an answer has instead of the usual.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "dependencies" = { "content_type": ["body"] }))]
struct Answer {
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
enum Filled {
    Text(#[schemars(length(min = 1))] String),
    Number(i64),
    Switch(bool),
}

/// Pages of other sites that may call the door.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Cors {
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
struct Paths {
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
enum OwnPath {
    Off(Off),
    Path(#[schemars(length(max = edge::PATH_CHARS_MAX), regex(pattern = r"^(/[A-Za-z0-9_.~-]+)+$"))] String),
}

/// A pool of workers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Upstream {
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
struct Server {
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
struct Health {
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
struct Route {
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
enum OnHangup {
    /// It is finished and counted.
    Finish,
    /// It is dropped.
    Cancel,
}

/// Somebody with a key.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Account {
    /// Its name: 1 to 64 visible ASCII characters.
    name: Name,
    /// Its tier.
    tier: Name,
    /// The SHA-256 of its key in 64 hexadecimal digits, or a list of up to 16. "${NAME}" is filled in here: the variable of the
    /// environment holds one, or several separated by spaces or commas.
    key_sha256: KeyHashes,
}

/// One hash or several.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
enum KeyHashes {
    One(KeyHash),
    Several(#[schemars(length(min = 1, max = KEYS_PER_ACCOUNT_MAX))] Vec<KeyHash>),
}

/// A SHA-256 in hexadecimal, or the variable that holds some.
#[derive(JsonSchema)]
#[schemars(inline)]
struct KeyHash(
    #[schemars(
        regex(pattern = r"^([0-9A-Fa-f]{64}|\$\{[A-Z_][A-Z0-9_]{0,63}\})$"),
        extend("x-environment" = true)
    )]
    String,
);

#[cfg(test)]
mod tests;
