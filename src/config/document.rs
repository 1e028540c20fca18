//! The whole document, a field a section, and what must fit between the sections.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accounts::{self, ACCOUNTS_MAX, Account};
use super::admin::{self, Admin};
use super::answers::{self, Answer, REASONS_MAX};
use super::de;
use super::diff::Tree;
use super::entries::{KnownNames, List, Named, Names, Part};
use super::environment::Surroundings;
use super::error::Report;
use super::history::History;
use super::limits::{self, Limit, LimitRoute};
use super::lint;
use super::listener::{
    Address, BLOCKED_NETWORKS_MAX, Connections, Cors, ForwardedHeader, Keys, Network, Paths, TRUSTED_PROXIES_MAX,
    collide,
};
use super::quotas::Windows;
use super::routes::{self, ROUTES_MAX, Route};
use super::scalar::{
    As, Length, LengthIn, Maybe, Parsed, Several, TierName, Whole, Wrong, millis, number, secs, wrong, yes,
};
use super::tiers::{self, Queue, TIERS_MAX, Tier};
use super::upstreams::{self, UPSTREAMS_MAX, Upstream};
use super::value::shown;
use super::yaml::{Kind, Node};
use super::{Config, DATA_DIR_BYTES_MAX, Durability, Operators};
use crate::policy::refusal::Reason;
use crate::policy::rules::{LIMITS_MAX, Rules, TierId};

/// What the server does: tiergate's tiers.yaml.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tiers.yaml")]
pub(super) struct Document {
    /// The public address, such as 127.0.0.1:8080; 0.0.0.0 is every address of the machine. Port 0 lets the system choose.
    #[serde(with = "As::<Address>")]
    #[schemars(extend("x-add" = "add the public address, such as 127.0.0.1:8080"))]
    listen: SocketAddr,
    /// The operator's listener: metrics, health, accounts. Never public.
    #[schemars(extend("x-add" = "add the admin listener: { listen: 127.0.0.1:9090 }"))]
    admin: admin::Written,
    /// The folder of what must survive a restart, used by one server only. A relative path begins in the folder of this file.
    #[serde(default = "data", with = "As::<Folder>")]
    data_dir: String,
    /// Whether an answer waits until its debit is on the disk.
    #[serde(default)]
    durability: Durability,
    /// How often what nobody waits for is written, in relaxed durability.
    #[serde(default = "millis::<10>", with = "As::<Length>")]
    commit_every: Duration,
    /// How long an answer waits for its debit to be on the disk before it is given up.
    #[serde(default = "secs::<5>", with = "As::<Length>")]
    commit_patience: Duration,
    /// How long finished jobs are kept.
    #[serde(default)]
    history: History,
    /// A step back of the system's clock by more than this, from 1s to 24h, is followed at once; a smaller one is waited out.
    #[serde(default = "secs::<300>", with = "As::<LengthIn<1_000, 86_400_000>>")]
    clock_step_max: Duration,
    /// How long running searches may take to finish at shutdown; waiting ones are sent away at once.
    #[serde(default = "secs::<30>", with = "As::<Length>")]
    drain_timeout: Duration,
    /// Cores of the public listener; left out, as many as the machine has.
    #[serde(default, with = "Maybe::<Whole<usize, 1, 256>>")]
    cores: Option<usize>,
    /// Bounds of the public listener's connections.
    #[serde(default)]
    connections: Connections,
    /// The queue, shared by all tiers. When it is full, a search displaces one of a lower priority or is refused.
    #[schemars(extend("x-add" = "add the queue: { length: 8 }"))]
    queue: Queue,
    /// The sponsor levels by their names: 1 to 64 visible ASCII characters. `tiergate check` compares those whose name is a price,
    /// such as $5.
    #[schemars(extend("x-add" = "add at least one tier"))]
    tiers: Named<Tier, TIERS_MAX>,
    /// The tier of those without a key. Each IPv4 address, and each IPv6 /64, is one caller.
    #[serde(with = "As::<TierName>")]
    #[schemars(extend("x-add" = "add the name of the tier of those without an account"))]
    anonymous: TierId,
    /// Where a request carries its key; left out, in x-api-key, x-trace-key, `Authorization: Bearer` or ?key=. The server takes it
    /// out before the request goes on.
    #[serde(default = "Keys::everywhere")]
    keys: Keys,
    /// Proxies before the server that are believed when they say for whom they ask.
    #[serde(default, with = "As::<Several<Network, 0, TRUSTED_PROXIES_MAX>>")]
    trusted_proxies: Vec<IpNet>,
    /// In which header trusted proxies say for whom they ask: name the one that they write.
    #[serde(default)]
    forwarded_header: ForwardedHeader,
    /// Peers that begin each connection with a header of the PROXY protocol.
    #[serde(default, with = "As::<Several<Network, 0, TRUSTED_PROXIES_MAX>>")]
    proxy_protocol: Vec<IpNet>,
    /// Networks that are turned away with 403.
    #[serde(default, with = "As::<Several<Network, 0, BLOCKED_NETWORKS_MAX>>")]
    blocked_networks: Vec<IpNet>,
    /// How many requests may come in which time; the server answers the next with 429. All that match must have room.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    limits: List<Limit, 0, LIMITS_MAX>,
    /// Networks that are counted one by one; those beyond share counters with their neighbours.
    #[serde(default = "number::<u32, 1_000_000>", with = "As::<Whole<u32, 1_000, 100_000_000>>")]
    max_callers: u32,
    /// Whether answers bear the fields RateLimit and RateLimit-Policy.
    #[serde(default = "yes")]
    ratelimit_fields: bool,
    /// How refusals are told where it isn't the usual way, by their reason.
    #[serde(default)]
    #[schemars(extend("propertyNames" = answers::reasons()))]
    answers: Named<answers::Written, REASONS_MAX>,
    /// Pages of other sites that may call the server; left out, none may.
    #[serde(default)]
    cors: Option<Cors>,
    /// The server's own pages.
    #[serde(default)]
    paths: Paths,
    /// The pools of upstream servers by their names: 1 to 64 letters, digits, _ and -.
    #[schemars(extend("x-add" = "add at least one upstream"))]
    upstreams: Named<Upstream, UPSTREAMS_MAX>,
    /// What is forwarded; anything else is 404.
    #[schemars(extend("x-add" = "add at least one route: [ { path: /search, upstream: …, metered: true } ]"))]
    routes: List<Route, 1, ROUTES_MAX>,
    /// Who has a key, beside the accounts that `tiergate account` keeps.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    accounts: List<Account, 0, ACCOUNTS_MAX>,
}

fn data() -> String {
    "./data".to_owned()
}

/// The path of a folder, which need not exist yet.
struct Folder;

impl Parsed for Folder {
    type Value = String;
    const WHAT: &'static str = "the path of a folder";
    const EXAMPLE: &'static str = "./data";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        if written.len() <= DATA_DIR_BYTES_MAX && !written.contains('\0') {
            return Ok(written.to_owned());
        }
        wrong(format!("{} can't be the path of a folder", shown(node)), "")
    }
}

/// The configuration that the document says. If anything is wrong it is in the report, and the answer is of no use.
pub(super) fn read(root: &Rc<Node>, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<Config> {
    let names = KnownNames {
        tiers: Names::of("tier", keys(root, "tiers"), TIERS_MAX),
        limits: limits::names(root),
        upstreams: Names::of("upstream", keys(root, "upstreams"), UPSTREAMS_MAX),
    };
    let mut document: Document = de::document(root, names, report)?;
    let admin = root
        .value("admin")
        .map(|node| document.admin.checked(node, surroundings, report));
    check_listeners(&document, root, report);
    Part::new(root, report).within("paths", |part| document.paths.check(part));
    let sections = checked(&mut document, root, surroundings, report);
    let admin = admin.filter(|_| report.is_empty())?;
    Some(config(document, admin, sections, surroundings))
}

/// The sections that are checked item by item.
struct Sections {
    rules: Rules,
    limits: Vec<LimitRoute>,
    answers: Vec<(Reason, Answer)>,
    upstreams: Vec<Upstream>,
    routes: Vec<Route>,
    accounts: Vec<Account>,
}

/// What is wrong within and between the sections, and what is unwise.
fn checked(document: &mut Document, root: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Sections {
    let (mut windows, queue) = (Windows::default(), document.queue.rules());
    let (limits, limit_routes) = limits::checked(&document.limits.0, report);
    let (tiers, partly) = tiers::checked(&mut document.tiers.0, &mut windows, report);
    limits::check_names_of_quotas(root, tiers.iter().chain(&partly), report);
    let answers = answers::checked(&document.answers.0, report);
    let (upstreams, pools) = upstreams::checked(&document.upstreams.0, report);
    let routes = routes::checked(&document.routes.0, &document.paths, report);
    let accounts = accounts::checked(&mut document.accounts.0, surroundings, report);
    let windows = windows.into_found();
    let mut has_queue = false;
    Part::new(root, report).within("queue", |part| has_queue = part.right(&["length"]));
    let read = lint::Read {
        root,
        queue: Some(&queue).filter(|_| has_queue),
        windows: &windows,
        tiers: &tiers,
        limits: &limits,
        limit_routes: &limit_routes,
        upstreams: &upstreams,
        routes: &routes,
        paths: &document.paths,
    };
    lint::add(&read, report);
    let rules = Rules {
        queue,
        windows,
        tiers,
        anonymous: document.anonymous,
        pools,
        limits,
        callers_max: document.max_callers,
    };
    Sections {
        rules,
        limits: limit_routes,
        answers,
        upstreams,
        routes: routes.into_iter().map(|(route, _)| route).collect(),
        accounts,
    }
}

fn config(document: Document, admin: Admin, sections: Sections, surroundings: &Surroundings<'_>) -> Config {
    let mut written = Tree::of(&document);
    IN_FIELDS.iter().for_each(|(name, _)| written.set(name, Tree::Nothing));
    Config {
        written: Arc::new(written),
        listen: document.listen,
        admin,
        data_dir: surroundings.path(&document.data_dir),
        durability: document.durability,
        commit_every: document.commit_every,
        commit_patience: document.commit_patience,
        history: document.history,
        clock_step_max: document.clock_step_max,
        drain_timeout: document.drain_timeout,
        cores: document.cores,
        connections: document.connections,
        rules: sections.rules,
        keys: document.keys,
        trusted_proxies: document.trusted_proxies,
        forwarded_header: document.forwarded_header,
        proxy_protocol: document.proxy_protocol,
        blocked_networks: document.blocked_networks,
        limits: sections.limits,
        ratelimit_fields: document.ratelimit_fields,
        answers: sections.answers,
        cors: document.cors,
        paths: document.paths,
        upstreams: sections.upstreams,
        routes: sections.routes,
        accounts: sections.accounts,
    }
}

/// What a field writes of itself.
type Of = fn(&Config) -> Tree;

/// Settings that a command line may say instead, or that take a restart: what counts stands in the fields.
const IN_FIELDS: [(&str, Of); 5] = [
    ("listen", |config| Tree::of(&config.listen)),
    ("admin", |config| Tree::of(&config.admin)),
    ("data_dir", |config| Tree::of(&config.data_dir.to_string_lossy())),
    ("cores", |config| Tree::of(&config.cores)),
    ("upstreams", |config| {
        let named = |upstream: &Upstream| (upstream.name.clone(), Tree::of(upstream));
        Tree::Map(config.upstreams.iter().map(named).collect())
    }),
];

impl Config {
    /// All settings, as they write themselves.
    pub(super) fn settings(&self) -> Tree {
        let mut settings = (*self.written).clone();
        IN_FIELDS.iter().for_each(|(name, of)| settings.set(name, of(self)));
        settings
    }
}

/// The names of the entries of a section.
fn keys<'n>(root: &'n Node, section: &str) -> impl Iterator<Item = &'n str> {
    let entries = match root.value(section).map(|section| &section.kind) {
        Some(Kind::Mapping(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries
        .iter()
        .filter(|(key, _)| !key.secret.get())
        .filter_map(|(key, _)| key.text())
}

/// Reports listeners that can't both have their address.
fn check_listeners(document: &Document, root: &Node, report: &mut Report) {
    let (public, admin) = (document.listen, document.admin.listen);
    let mut part = Part::new(root, report);
    let mut are_right = part.right(&["listen"]);
    part.within("admin", |part| are_right &= part.right(&["listen"]));
    if are_right && collide(public, admin) {
        let message = format!("`listen` ({public}) and `admin.listen` ({admin}) collide");
        part.add("admin", message, "give the admin listener a port of its own");
    }
}

/// What of the document leads operators to the server, if nothing is wrong with that.
pub(super) fn operators(root: &Rc<Node>, surroundings: &Surroundings<'_>) -> Option<Operators> {
    let mut report = Report::default();
    let document: Document = de::document(root, KnownNames::default(), &mut report)?;
    let are_right = Part::new(root, &mut report).sound(&["data_dir"]);
    let node = root
        .value("admin")
        .filter(|node| are_right && report.is_sound(node.place))?;
    let mut report = Report::default();
    let admin = document.admin.checked(node, surroundings, &mut report);
    let data_dir = surroundings.path(&document.data_dir);
    report.is_empty().then_some(Operators { admin, data_dir })
}
