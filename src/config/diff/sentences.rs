//! The paths of which a difference says more than `name old → new`. A setting that isn't here is compared all the same.

use super::tree::Tree;
use crate::config::tiers::DISPLACEMENTS_EACH;

/// What is said of a path, and of all that `*` stands for in it.
pub(super) struct Sentence {
    path: &'static str,
    /// What is called so, of which `{}` is the name.
    pub(super) called: Option<&'static str>,
    /// What is said where nothing is there.
    pub(super) absent: &'static str,
    /// Whether it takes a restart: see [`Config::applied_to`](crate::config::Config::applied_to).
    pub(super) restart: bool,
    /// It is shown as a whole, beside what stands on the other side.
    pub(super) whole: Option<fn(&Tree, &Tree) -> String>,
    /// What is said of one that came.
    pub(super) added: Option<fn(&Tree) -> String>,
    /// What is said of one that went, if it isn't the same: it has all settings of now.
    pub(super) removed: Option<fn(&Tree) -> String>,
    /// What one item is called of a list that may be long: each is told for itself.
    pub(super) each: Option<&'static str>,
    /// Unless it says otherwise it is so many times that field beside it: both are one change then.
    pub(super) follows: Option<(&'static str, u64)>,
    /// By what an item is known, as far as it isn't by its first field; what the first leaves over is known by the second.
    pub(super) known_by: &'static [fn(&Tree) -> String],
    /// One that went and one that came are one change: a quota without a name of its own is called after its window.
    pub(super) renamed: bool,
}

const fn of(path: &'static str) -> Sentence {
    Sentence {
        path,
        called: None,
        absent: "none",
        restart: false,
        whole: None,
        added: None,
        removed: None,
        each: None,
        follows: None,
        known_by: &[],
        renamed: false,
    }
}

const fn entry(path: &'static str, called: &'static str, added: fn(&Tree) -> String) -> Sentence {
    let (called, added) = (Some(called), Some(added));
    Sentence {
        called,
        added,
        ..of(path)
    }
}

const fn item(path: &'static str, called: &'static str, whole: fn(&Tree, &Tree) -> String) -> Sentence {
    let (called, whole) = (Some(called), Some(whole));
    Sentence {
        called,
        whole,
        ..of(path)
    }
}

const fn absent(path: &'static str, absent: &'static str) -> Sentence {
    Sentence { absent, ..of(path) }
}

const fn whole(path: &'static str, show: fn(&Tree, &Tree) -> String) -> Sentence {
    let whole = Some(show);
    Sentence { whole, ..of(path) }
}

const fn each(path: &'static str, noun: &'static str) -> Sentence {
    let each = Some(noun);
    Sentence { each, ..of(path) }
}

const fn follows(path: &'static str, field: &'static str, times: u64) -> Sentence {
    let follows = Some((field, times));
    Sentence { follows, ..of(path) }
}

const fn restart(sentence: Sentence) -> Sentence {
    Sentence {
        restart: true,
        ..sentence
    }
}

static SENTENCES: [Sentence; 36] = [
    restart(of("listen")),
    restart(of("admin.listen")),
    absent("admin.token", "admin.token in data_dir"),
    restart(of("data_dir")),
    restart(absent("cores", "all that there are")),
    Sentence {
        removed: Some(|now| format!("its accounts get the terms of `{}`", text(now.get("anonymous")))),
        ..entry("tiers.*", "tier `{}`", terms)
    },
    follows(
        "tiers.*.displacements_per_minute",
        "concurrency",
        DISPLACEMENTS_EACH as u64,
    ),
    Sentence {
        renamed: true,
        ..of("tiers.*.quotas")
    },
    item("tiers.*.quotas.*", "{} quota", quota),
    absent("tiers.*.max_wait", "the queue's"),
    item("tiers.*.limits.*", "limits.{}", own_limit),
    each("trusted_proxies", ""),
    each("proxy_protocol", ""),
    each("blocked_networks", ""),
    entry("limits.*", "limit `{}`", limit),
    absent("limits.*.match.host", "any"),
    absent("limits.*.match.path", "any"),
    absent("limits.*.match.methods", "any"),
    whole("limits.*.block_after", |block, _| {
        let [refusals, within, lasts] = ["refusals", "within", "for"].map(|field| text(block.get(field)));
        format!("{refusals} refusals within {within}, for {lasts}")
    }),
    Sentence {
        removed: Some(|_| "told as usual".to_owned()),
        ..entry("answers.*", "answer `{}`", answer)
    },
    absent("answers.*.status", "usual"),
    absent("answers.*.body", "usual"),
    item("answers.*.headers.*", "header {}", |header, _| {
        text(header.get("value"))
    }),
    Sentence {
        added: Some(|cors| text(cors.get("origins"))),
        ..of("cors")
    },
    each("cors.origins", "origin"),
    entry("upstreams.*", "upstream `{}`", |upstream| {
        let servers = upstream.get("servers").items();
        format!("{}, {}", count(servers.len() as u64, "server"), slots(servers))
    }),
    entry("upstreams.*.servers.*", "server {}", |server| {
        slots(std::slice::from_ref(server))
    }),
    follows("upstreams.*.first_byte_timeout", "timeout", 1),
    whole("upstreams.*.health", |health, _| {
        format!("{} every {}", text(health.get("path")), text(health.get("every")))
    }),
    // A route has no name. Failing one of the same methods, host and path, it was that of the same host and path, or else that of
    // the same methods and path.
    Sentence {
        known_by: &[route, |route| known(route, "host"), |route| known(route, "methods")],
        ..of("routes")
    },
    entry("routes.*", "route `{}`", |route| {
        let not = if text(route.get("metered")) == "true" {
            ""
        } else {
            "not "
        };
        format!("upstream {}, {not}metered", text(route.get("upstream")))
    }),
    absent("routes.*.host", "any"),
    absent("routes.*.methods", "any"),
    absent("routes.*.max_wait", "the tier's"),
    entry("accounts.*", "account `{}`", |account| {
        let keys = count(account.get("key_sha256").items().len() as u64, "key");
        format!("tier {}, {keys}", text(account.get("tier")))
    }),
    each("accounts.*.key_sha256", "key"),
];

static USUAL: Sentence = of("");

/// What is said of that path.
pub(super) fn sentence(path: &[String]) -> &'static Sentence {
    let is_it = |sentence: &&Sentence| {
        let mut names = sentence.path.split('.');
        let alike = path
            .iter()
            .all(|name| names.next().is_some_and(|known| known == "*" || known == name));
        alike && names.next().is_none()
    };
    SENTENCES.iter().find(is_it).unwrap_or(&USUAL)
}

fn text(tree: &Tree) -> String {
    tree.text().unwrap_or_default()
}

/// `1 key`, `2 keys`.
pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn slots(servers: &[Tree]) -> String {
    let slots = servers
        .iter()
        .filter_map(|server| server.get("slots").text()?.parse::<u64>().ok());
    count(slots.sum(), "slot")
}

/// What a route is called: its methods, host and path.
fn route(route: &Tree) -> String {
    let methods = route
        .get("methods")
        .text()
        .map(|methods| methods + " ")
        .unwrap_or_default();
    format!("{methods}{}{}", text(route.get("host")), text(route.get("path")))
}

fn known(route: &Tree, by: &str) -> String {
    format!("{} {}", text(route.get(by)), text(route.get("path")))
}

/// The most of what a tier grants, in a line.
fn terms(tier: &Tree) -> String {
    let quotas = tier.get("quotas").fields().iter();
    let quotas: Vec<String> = quotas
        .map(|(name, of)| format!("{name} quota {}", quota(of, &Tree::Nothing)))
        .collect();
    let quotas = if quotas.is_empty() {
        "no quota".to_owned()
    } else {
        quotas.join(", ")
    };
    format!(
        "priority {}, concurrency {}, {quotas}",
        text(tier.get("priority")),
        text(tier.get("concurrency"))
    )
}

/// How much a quota is, and in which window, unless the other one's is the same.
fn quota(quota: &Tree, other: &Tree) -> String {
    let limit = text(quota.get("limit"));
    let same = |field: &(String, Tree)| field.0 == "limit" || *other.get(&field.0) == field.1;
    if *other != Tree::Nothing && quota.fields().iter().all(same) {
        return limit;
    }
    let window = match quota.get("rolling").text() {
        Some(length) => format!("rolling {length}"),
        None => format!("calendar {} {}", text(quota.get("calendar")), text(quota.get("zone"))),
    };
    format!("{limit} ({window}{})", enforced(quota))
}

fn enforced(limit: &Tree) -> &'static str {
    if text(limit.get("enforce")) == "true" {
        ""
    } else {
        ", not enforced"
    }
}

fn own_limit(own: &Tree, _: &Tree) -> String {
    let lifts = own
        .get("lifts")
        .text()
        .map(|lifted| format!(" that lifts the {lifted}'s"));
    text(own.get("limit")) + &lifts.unwrap_or_default()
}

fn limit(limit: &Tree) -> String {
    let [number, window, kind, per] = ["limit", "window", "kind", "per"].map(|field| text(limit.get(field)));
    format!("{number} in {window}, {kind}, per {per}{}", enforced(limit))
}

/// What of an answer isn't the usual.
fn answer(answer: &Tree) -> String {
    let status = answer.get("status").text().map(|status| format!("status {status}"));
    let headers = answer.get("headers").items().iter();
    let headers = headers.map(|header| format!("header {}", text(header.get("name"))));
    let body = answer.get("body").text().map(|_| "body".to_owned());
    status
        .into_iter()
        .chain(headers)
        .chain(body)
        .collect::<Vec<_>>()
        .join(", ")
}
