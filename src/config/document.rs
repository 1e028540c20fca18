//! The whole document: its sections, and what must fit between them.
//!
//! Every section is read before the first `?`, so that one mistake hides no other.
//!
//! Absent on purpose: what the sections say within themselves.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::accounts::{self, Account};
use super::admin;
use super::answers;
use super::edge::{self, Connections, ForwardedHeader, Keys, Paths};
use super::environment::Surroundings;
use super::error::Report;
use super::excerpt::quoted;
use super::history::{self, History};
use super::limits::{self, LimitRoute};
use super::quotas::Windows;
use super::read::{Entry, Fields, Names, shown};
use super::routes::{self, Route};
use super::tiers;
use super::upstreams::{self, Upstream};
use super::value::{boolean, duration, duration_in, integer, one_of, text};
use super::warnings;
use super::yaml::{Node, Place};
use super::{Config, DATA_DIR_BYTES_MAX, Durability, Operators};
use crate::policy::rules::{CALLERS_MAX_DEFAULT, Limit, PoolRules, Rules, Tier, TierId, Window};

pub(super) const KNOWN: [&str; 28] = [
    "listen",
    "admin",
    "data_dir",
    "durability",
    "commit_every",
    "commit_patience",
    "history",
    "clock_step_max",
    "drain_timeout",
    "cores",
    "connections",
    "queue",
    "tiers",
    "anonymous",
    "keys",
    "trusted_proxies",
    "forwarded_header",
    "proxy_protocol",
    "blocked_networks",
    "limits",
    "max_callers",
    "ratelimit_fields",
    "answers",
    "cors",
    "paths",
    "upstreams",
    "routes",
    "accounts",
];
/// Where what must survive is kept, unless the file says otherwise.
const DATA_DIR_DEFAULT: &str = "./data";
/// Cores of the public listener, at most.
pub(super) const CORES_MAX: u64 = 256;
/// How long running jobs may take when the door closes, unless the file says otherwise.
pub(super) const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How often what nobody waits for is written, unless the file says otherwise.
pub(super) const COMMIT_EVERY_DEFAULT: Duration = Duration::from_millis(10);
/// How long an answer waits for its debit, unless the file says otherwise.
pub(super) const COMMIT_PATIENCE_DEFAULT: Duration = Duration::from_secs(5);
/// The longest step back of the system's clock that is waited out, unless the file says otherwise.
pub(super) const CLOCK_STEP_MAX_DEFAULT: Duration = Duration::from_secs(300);
/// What it may be.
const CLOCK_STEP_MAX: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// The configuration that the document says. If anything is wrong it is in the report, and the answer is of no use.
pub(super) fn read(root: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<Config> {
    let fields = Fields::of(root, "the file", Place::START, &KNOWN, report)?;
    let advice = "add the public address, such as 127.0.0.1:8080";
    let listen = fields.required("listen", advice, report, edge::address);
    let advice = "add the admin listener: { listen: 127.0.0.1:9090 }";
    let admin = fields.required("admin", advice, report, |node, report| {
        admin::read(node, surroundings, report)
    });
    let data_dir = data_dir(&fields, surroundings, report);
    let words = [("strict", Durability::Strict), ("relaxed", Durability::Relaxed)];
    let durability = fields.or("durability", Durability::Strict, report, |node, report| {
        one_of(node, &words, report)
    });
    let commit_every = fields.or("commit_every", COMMIT_EVERY_DEFAULT, report, duration);
    let commit_patience = fields.or("commit_patience", COMMIT_PATIENCE_DEFAULT, report, duration);
    let history = fields.or("history", History::default(), report, history::read);
    let clock_step_max = fields.or("clock_step_max", CLOCK_STEP_MAX_DEFAULT, report, |node, report| {
        duration_in(node, CLOCK_STEP_MAX, report)
    });
    let drain_timeout = fields.or("drain_timeout", DRAIN_TIMEOUT_DEFAULT, report, duration);
    let cores = fields.maybe("cores", report, |node, report| integer(node, 1..=CORES_MAX, report));
    let connections = fields.or("connections", Connections::default(), report, edge::connections);
    let keys = fields.or("keys", Keys::default(), report, edge::keys);
    let trusted_proxies = fields.or("trusted_proxies", Vec::new(), report, edge::trusted_proxies);
    let forwarded_header = fields.or(
        "forwarded_header",
        ForwardedHeader::default(),
        report,
        edge::forwarded_header,
    );
    let proxy_protocol = fields.or("proxy_protocol", Vec::new(), report, edge::trusted_proxies);
    let blocked_networks = fields.or("blocked_networks", Vec::new(), report, edge::blocked_networks);
    let ratelimit_fields = fields.or("ratelimit_fields", true, report, boolean);
    let answers = fields.or("answers", Vec::new(), report, answers::read);
    let callers_max = fields.or("max_callers", CALLERS_MAX_DEFAULT, report, limits::callers_max);
    let cors = fields.maybe("cors", report, edge::cors);
    let paths = fields.or("paths", Paths::default(), report, edge::paths);
    let queue = fields.required("queue", "add the queue: { length: 8 }", report, tiers::queue);
    let levels = levels(&fields, surroundings, report);
    let work = work(&fields, report);

    if let (Some(public), Some(admin), Some(node)) = (listen, &admin, fields.get("admin"))
        && edge::collide(public, admin.listen)
    {
        let message = format!("`listen` ({public}) and `admin.listen` ({}) collide", admin.listen);
        report.add(node.place, message, "give the admin listener a port of its own");
    }
    check_own_paths(&paths, &work.routes, report);
    let read = warnings::Read {
        root,
        queue: queue.as_ref(),
        windows: &levels.windows,
        tiers: &levels.tiers,
        limits: &levels.limits,
        limit_routes: &levels.limit_routes,
        upstreams: &work.upstreams,
        routes: &work.routes,
        paths: &paths,
    };
    warnings::add(&read, report);

    let rules = Rules {
        queue: queue?,
        windows: levels.windows,
        tiers: levels.tiers,
        anonymous: levels.anonymous?,
        pools: work.pools,
        limits: levels.limits,
        callers_max,
    };
    Some(Config {
        listen: listen?,
        admin: admin?,
        data_dir,
        durability,
        commit_every,
        commit_patience,
        history,
        clock_step_max,
        drain_timeout,
        cores: cores.map(|cores| cores as usize),
        connections,
        rules,
        keys,
        trusted_proxies,
        forwarded_header,
        proxy_protocol,
        blocked_networks,
        limits: levels.limit_routes,
        ratelimit_fields,
        answers,
        cors,
        paths,
        upstreams: work.upstreams,
        routes: work.routes.into_iter().map(|(route, _)| route).collect(),
        accounts: levels.accounts,
    })
}

/// What of the document leads operators to the door, if nothing is wrong with that.
pub(super) fn operators(root: &Node, surroundings: &Surroundings<'_>) -> Option<Operators> {
    // What else is wrong has been said.
    let fields = Fields::of(root, "the file", Place::START, &KNOWN, &mut Report::default())?;
    let mut report = Report::default();
    let admin = fields.required("admin", "", &mut report, |node, report| {
        admin::read(node, surroundings, report)
    });
    let data_dir = data_dir(&fields, surroundings, &mut report);
    let admin = admin.filter(|_| report.is_empty())?;
    Some(Operators { admin, data_dir })
}

/// The tiers, the request limits, and what refers to them.
struct Levels {
    windows: Vec<Window>,
    tiers: Vec<Tier>,
    anonymous: Option<TierId>,
    accounts: Vec<Account>,
    limits: Vec<Limit>,
    limit_routes: Vec<LimitRoute>,
}

fn levels(fields: &Fields<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> Levels {
    let entries: Vec<Entry<'_>> = fields
        .required("tiers", "add at least one tier", report, tiers::named)
        .unwrap_or_default();
    let names = Names::of("tier", &entries);
    let mut windows = Windows::default();
    let named: Vec<Entry<'_>> = fields.maybe("limits", report, limits::named).unwrap_or_default();
    let (limits, limit_routes) = limits::read(&named, report);
    let tiers = tiers::read(&entries, &mut windows, &Names::of("limit", &named), report);
    limits::check_names(&named, &tiers, report);
    let advice = "add the name of the tier of those without an account";
    let anonymous = fields.required("anonymous", advice, report, |node, report| names.resolve(node, report));
    let accounts = fields.maybe("accounts", report, |node, report| {
        accounts::read(node, &names, surroundings, report)
    });
    Levels {
        windows: windows.into_found(),
        tiers,
        anonymous: anonymous.map(TierId),
        accounts: accounts.unwrap_or_default(),
        limits,
        limit_routes,
    }
}

/// The upstreams, and what refers to them.
struct Work {
    upstreams: Vec<Upstream>,
    pools: Vec<PoolRules>,
    routes: Vec<(Route, Place)>,
}

fn work(fields: &Fields<'_>, report: &mut Report) -> Work {
    let entries: Vec<Entry<'_>> = fields
        .required("upstreams", "add at least one upstream", report, upstreams::named)
        .unwrap_or_default();
    let names = Names::of("upstream", &entries);
    let (upstreams, pools) = upstreams::read(&entries, report);
    let advice = "add at least one route: [ { path: /search, upstream: …, metered: true } ]";
    let routes = fields.required("routes", advice, report, |node, report| {
        routes::read(node, &names, report)
    });
    Work {
        upstreams,
        pools,
        routes: routes.unwrap_or_default(),
    }
}

/// The data folder, which need not exist yet.
fn data_dir(fields: &Fields<'_>, surroundings: &Surroundings<'_>, report: &mut Report) -> PathBuf {
    let written = fields.or("data_dir", DATA_DIR_DEFAULT, report, folder);
    surroundings.path(written)
}

fn folder<'n>(node: &'n Node, report: &mut Report) -> Option<&'n str> {
    let written = text(node, "the path of a folder", report)?;
    if written.len() <= DATA_DIR_BYTES_MAX && !written.contains('\0') {
        return Some(written);
    }
    report.add(node.place, format!("{} can't be the path of a folder", shown(node)), "");
    None
}

/// Reports routes that the door's own paths, which come first, would hide.
fn check_own_paths(paths: &Paths, routes: &[(Route, Place)], report: &mut Report) {
    for (name, own) in [("me", &paths.me), ("stats", &paths.stats)] {
        let Some(own) = own else { continue };
        for (route, place) in routes.iter().filter(|(route, _)| route.pattern.as_str() == own) {
            let message = format!("{} is the door's own path", quoted(route.pattern.as_str()));
            let advice = format!("rename the route, or move the door's with `paths: {{ {name}: … }}` or `{name}: off`");
            report.add(*place, message, advice);
        }
    }
}
