//! The whole document, one field per section, and the checks across sections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use ipnet::IpNet;

use super::access_log::{AccessLogSection, LogAddresses, WordOrFields};
use super::accounts::{self, ACCOUNTS_MAX, AccountSection};
use super::admin::AdminSection;
use super::answers::{self, Answer, REASONS_MAX};
use super::bodies::BodiesSection;
use super::diff::Tree;
use super::environment::EnvContext;
use super::history::HistorySection;
use super::limits::{self, LimitRoute, LimitSection};
use super::lint;
use super::listener::{
    Address, BLOCKED_NETWORKS_MAX, Cidr, ConnectionsSection, Cors, ForwardedHeaderSetting, KeysSection, Paths,
    TRUSTED_PROXIES_MAX, collide,
};
use super::prelude::*;
use super::quotas::Windows;
use super::readyz::ReadyzSection;
use super::routes::{self, ROUTES_MAX, RouteSection};
use super::schema::KIND;
use super::tiers::{self, QueueSection, TIERS_MAX, TierSection};
use super::upstreams::{self, UPSTREAMS_MAX, UpstreamSection};
use super::{DATA_DIR_BYTES_MAX, DurabilitySetting, Operators};
use crate::policy::Table;
use crate::policy::refusal::Reason;
use crate::policy::rules::{LIMITS_MAX, Rules, TierId};

/// tiergate's configuration, tiers.yaml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tiers.yaml")]
pub struct Config {
    /// Address of the public listener, such as 127.0.0.1:8080; 0.0.0.0 for all addresses of the machine. Port 0 picks a free
    /// port.
    #[serde(with = "As::<Address>")]
    #[schemars(extend("x-add" = "add the public address, such as 127.0.0.1:8080"))]
    pub listen: SocketAddr,
    /// The admin listener: metrics, health, accounts. Never public.
    #[schemars(extend("x-add" = "add the admin listener: { listen: 127.0.0.1:9090 }"))]
    pub admin: AdminSection,
    /// When /readyz says ready.
    #[serde(default)]
    pub readyz: ReadyzSection,
    /// Data folder, for all state that survives a restart; used by one server only. A relative path starts in the folder of this
    /// file.
    #[serde(default = "Folder::stand_in", with = "As::<Folder>")]
    pub data_dir: PathBuf,
    /// Whether an answer waits until its debit is on disk.
    #[serde(default)]
    pub durability: DurabilitySetting,
    /// How often writes that no request waits for are committed, with relaxed durability.
    #[serde(default = "millis::<10>", with = "As::<Length>")]
    pub commit_every: Duration,
    /// How long an answer waits for its debit to be on disk before it is abandoned.
    #[serde(default = "secs::<5>", with = "As::<Length>")]
    pub commit_patience: Duration,
    /// Retention of finished jobs.
    #[serde(default)]
    pub history: HistorySection,
    /// The system clock going back by more than this, from 1s to 24h, is followed at once; a smaller step is waited out.
    #[serde(default = "secs::<300>", with = "As::<LengthIn<1_000, 86_400_000>>")]
    pub clock_step_max: Duration,
    /// How long running jobs may take to finish at shutdown; queued ones are rejected immediately.
    #[serde(default = "secs::<30>", with = "As::<Length>")]
    pub drain_timeout: Duration,
    /// Number of cores for the public listener; by default all of the machine.
    #[serde(default, with = "Maybe::<Whole<usize, 1, 256>>")]
    pub cores: Option<usize>,
    /// Limits for connections of the public listener.
    #[serde(default)]
    pub connections: ConnectionsSection,
    /// Room and pace for the bodies of metered requests.
    #[serde(default)]
    pub bodies: BodiesSection,
    /// The queue, shared by all tiers. When it is full, a job displaces one of a lower priority or is refused.
    #[schemars(extend("x-add" = "add the queue: { length: 8 }"))]
    pub(super) queue: QueueSection,
    /// The sponsor tiers by name: 1 to 64 visible ASCII characters. `tiergate check` compares tiers whose name is a price, such
    /// as $5.
    #[schemars(extend("x-add" = "add at least one tier"))]
    #[serde(with = "ByName::<(String, TierSection), TIERS_MAX>")]
    pub(super) tiers: Vec<(String, TierSection)>,
    /// The tier of callers without a key. Each IPv4 address, and each IPv6 /64, is one caller.
    #[serde(with = "As::<TierName>")]
    #[schemars(extend("x-add" = "add the name of the tier of those without an account"))]
    pub(super) anonymous: TierId,
    /// Where requests carry their key; by default x-api-key, x-trace-key, `Authorization: Bearer` or ?key=. The server removes
    /// the key before forwarding.
    #[serde(default = "KeysSection::everywhere")]
    pub keys: KeysSection,
    /// Proxies in front of the server whose forwarding headers are trusted.
    #[serde(default, with = "As::<Several<Cidr, 0, TRUSTED_PROXIES_MAX>>")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which trusted proxies send the client's address: choose the one that they write.
    #[serde(default)]
    pub forwarded_header: ForwardedHeaderSetting,
    /// Peers that start each connection with a PROXY protocol header.
    #[serde(default, with = "As::<Several<Cidr, 0, TRUSTED_PROXIES_MAX>>")]
    pub proxy_protocol: Vec<IpNet>,
    /// Networks that are blocked with 403.
    #[serde(default, with = "As::<Several<Cidr, 0, BLOCKED_NETWORKS_MAX>>")]
    pub blocked_networks: Vec<IpNet>,
    /// Request rate limits; requests beyond them get 429. A request must be within all limits that match it.
    #[serde(rename = "limits", default, with = "Items::<LimitSection, 0, LIMITS_MAX>")]
    pub(super) request_limits: Vec<LimitSection>,
    /// Networks that are counted one by one; further ones share counters with their neighbours.
    #[serde(default = "number::<u32, 1_000_000>", with = "As::<Whole<u32, 1_000, 100_000_000>>")]
    pub(super) max_callers: u32,
    /// Whether answers have the header fields RateLimit and RateLimit-Policy.
    #[serde(default = "yes")]
    pub ratelimit_fields: bool,
    /// Custom answers to refusals, by reason.
    #[serde(
        rename = "answers",
        default,
        with = "ByName::<(String, answers::Written), REASONS_MAX>"
    )]
    #[schemars(extend("propertyNames" = answers::reasons()))]
    pub(super) told: Vec<(String, answers::Written)>,
    /// Pages of other sites that may call the server (CORS); by default none.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// Paths of the server's own pages.
    #[serde(default)]
    pub paths: Paths,
    /// The access log, with a line for each request: `off`, all, metered, errors, or what it has, its format and its file.
    #[serde(default, with = "WordOrFields")]
    pub access_log: Option<AccessLogSection>,
    /// How clients' addresses are written to the access log.
    #[serde(default)]
    pub log_addresses: LogAddresses,
    /// Pools of upstream servers by name: 1 to 64 letters, digits, _ and -.
    #[schemars(extend("x-add" = "add at least one upstream"))]
    #[serde(with = "ByName::<UpstreamSection, UPSTREAMS_MAX>")]
    pub upstreams: Vec<UpstreamSection>,
    /// Which requests are forwarded; all others get 404.
    #[schemars(extend("x-add" = "add at least one route: [ { path: /search, upstream: …, metered: true } ]"))]
    #[serde(with = "Items::<RouteSection, 1, ROUTES_MAX>")]
    pub routes: Vec<RouteSection>,
    /// Accounts, in addition to those that `tiergate account` manages.
    #[serde(default, with = "Items::<AccountSection, 0, ACCOUNTS_MAX>")]
    pub accounts: Vec<AccountSection>,
    /// The policy's rules, from `queue`, `tiers`, `anonymous`, `limits`, `max_callers` and `upstreams`.
    #[serde(skip, default = "no_rules")]
    pub rules: Rules,
    /// How requests match limits, and where limits are shown; in the same order as `rules.limits`.
    #[serde(skip)]
    pub limits: Vec<LimitRoute>,
    /// Custom answers to refusals; each reason at most once.
    #[serde(skip)]
    pub answers: Vec<(Reason, Answer)>,
}

/// Placeholder until they are known.
fn no_rules() -> Rules {
    Rules {
        queue: QueueSection::default().rules(),
        windows: Table::default(),
        tiers: Table::default(),
        anonymous: TierId(0),
        upstreams: Table::default(),
        limits: Vec::new(),
        callers_max: 0,
    }
}

/// The path of a folder, which need not exist.
struct Folder;

impl Scalar for Folder {
    type Value = PathBuf;

    fn read(node: &Node, report: &mut Report) -> Option<PathBuf> {
        let written = text(node, "the path of a folder", report)?;
        if written.len() <= DATA_DIR_BYTES_MAX && !written.contains('\0') {
            return Some(written.into());
        }
        report.add(node.place, format!("{} can't be the path of a folder", shown(node)), "");
        None
    }

    fn stand_in() -> PathBuf {
        "./data".into()
    }

    fn written(folder: &PathBuf) -> Value {
        folder.to_string_lossy().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1, KIND: "the path of a folder" })
    }
}

/// The document's configuration, if it has no errors.
pub(super) fn read(root: &Rc<Node>, env: &EnvContext<'_>, report: &mut Report) -> Option<Config> {
    let names = KnownNames {
        tiers: Names::of("tier", keys(root, "tiers"), TIERS_MAX),
        limits: limits::names(root),
        upstreams: Names::of("upstream", keys(root, "upstreams"), UPSTREAMS_MAX),
    };
    let mut config: Config = de::document(root, names, report)?;
    if let Some(node) = root.value("admin") {
        config.admin.check(node, env, report);
    }
    check_listeners(&config, root, report);
    Part::new(root, report).within("paths", |part| config.paths.check(part));
    accounts::check(&mut config.accounts, root.value("accounts"), env, report);
    config.answers = answers::checked(&config.told, root.value("answers"), report);
    (config.rules, config.limits) = rules(&config, root, report);
    if !report.is_empty() {
        return None;
    }
    let tiers = config.tiers.iter_mut().zip(&config.rules.tiers);
    tiers.for_each(|((_, tier), read)| tier.settle(read));
    config.data_dir = env.path(&config.data_dir);
    if let Some(file) = config.access_log.as_mut().and_then(|log| log.file.as_mut()) {
        *file = env.path(&*file);
    }
    Some(config)
}

/// The policy's rules. Errors and warnings within and between the sections are reported.
fn rules(config: &Config, root: &Node, report: &mut Report) -> (Rules, Vec<LimitRoute>) {
    let (mut windows, queue) = (Windows::default(), config.queue.rules());
    let (limits, limit_routes) = limits::checked(&config.request_limits, root.value("limits"), report);
    let (tiers, partly) = tiers::checked(&config.tiers, root.value("tiers"), &mut windows, report);
    limits::check_names_of_quotas(root, tiers.iter().chain(&partly), report);
    let upstreams = upstreams::checked(&config.upstreams, root.value("upstreams"), report);
    let routes = routes::checked(&config.routes, root.value("routes"), &config.paths, report);
    let windows = windows.into_found();
    let mut has_queue = false;
    Part::new(root, report).within("queue", |part| has_queue = part.right(&["length"]));
    let read = lint::LintInput {
        root,
        queue: Some(&queue).filter(|_| has_queue),
        windows: &windows,
        tiers: &tiers,
        limits: &limits,
        limit_routes: &limit_routes,
        upstreams: &upstreams,
        routes: &routes,
        paths: &config.paths,
        bodies: &config.bodies,
    };
    lint::add(&read, report);
    let rules = Rules {
        queue,
        windows: windows.into(),
        tiers: tiers.into(),
        anonymous: config.anonymous,
        upstreams: Table::numbered(upstreams.iter().map(UpstreamSection::rules)),
        limits,
        callers_max: config.max_callers,
    };
    (rules, limit_routes)
}

impl Config {
    /// All settings, as they write themselves.
    pub(super) fn settings(&self) -> Tree {
        let tiers = self.tiers.iter().map(|(name, _)| name.as_str());
        let upstreams = self.upstreams.iter().map(|upstream| upstream.name.as_str());
        let names = KnownNames {
            tiers: Names::of("tier", tiers, TIERS_MAX),
            limits: Names::default(),
            upstreams: Names::of("upstream", upstreams, UPSTREAMS_MAX),
        };
        de::with_names(names, || Tree::of(self))
    }
}

/// The names of the entries of a section.
fn keys<'n>(root: &'n Node, section: &str) -> impl Iterator<Item = &'n str> {
    let entries = match root.value(section).map(|section| &section.kind) {
        Some(NodeKind::Mapping(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries
        .iter()
        .filter(|(key, _)| !key.secret.get())
        .filter_map(|(key, _)| key.text())
}

/// Reports listeners with conflicting addresses.
fn check_listeners(config: &Config, root: &Node, report: &mut Report) {
    let (public, admin) = (config.listen, config.admin.listen);
    let mut part = Part::new(root, report);
    let mut are_right = part.right(&["listen"]);
    part.within("admin", |part| are_right &= part.right(&["listen"]));
    if are_right && collide(public, admin) {
        let message = format!("`listen` ({public}) and `admin.listen` ({admin}) collide");
        part.add("admin", message, "give the admin listener a port of its own");
    }
}

/// How operators reach the server, if nothing is wrong with that.
pub(super) fn operators(root: &Rc<Node>, env: &EnvContext<'_>) -> Option<Operators> {
    let mut report = Report::default();
    let mut config: Config = de::document(root, KnownNames::default(), &mut report)?;
    let are_right = Part::new(root, &mut report).sound(&["data_dir"]);
    let node = root
        .value("admin")
        .filter(|node| are_right && report.is_sound(node.place))?;
    let mut report = Report::default();
    config.admin.check(node, env, &mut report);
    let (admin, data_dir) = (config.admin, env.path(&config.data_dir));
    report.is_empty().then_some(Operators { admin, data_dir })
}
