//! Paths whose differences are worded otherwise than `name old → new`. All other settings are compared all the same.

use super::tree::Tree;
use crate::config::tiers::DISPLACEMENTS_EACH;

/// The wording for a path, and for all that `*` matches in it.
pub(super) struct Sentence {
    path: &'static str,
    /// The subject's name, where `{}` is the entry's name.
    pub(super) called: Option<&'static str>,
    /// The text for a missing value.
    pub(super) absent: &'static str,
    /// Whether a change needs a restart: see [`Config::applied_to`](crate::config::Config::applied_to).
    pub(super) restart: bool,
    /// The value is shown as a whole, beside the other side's.
    pub(super) whole: Option<fn(&Tree, &Tree) -> String>,
    /// The text for an added entry.
    pub(super) added: Option<fn(&Tree) -> String>,
    /// The text for a removed entry, if it differs; it has all settings of now.
    pub(super) removed: Option<fn(&Tree) -> String>,
    /// The name of one item of a list that may be long: each is reported by itself.
    pub(super) each: Option<&'static str>,
    /// By default it is this multiple of that field: then both are one change.
    pub(super) follows: Option<(&'static str, u64)>,
    /// The keys of an item, if not its first field; what the first leaves over is matched by the second.
    pub(super) known_by: &'static [fn(&Tree) -> String],
    /// One removed and one added entry are one change: a quota without its own name is named after its window.
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

static SENTENCES: [Sentence; 37] = [
    restart(of("listen")),
    restart(of("admin.listen")),
    absent("admin.token", "admin.token in data_dir"),
    each("admin.hosts", "host"),
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
        removed: Some(|_| "reset to the default".to_owned()),
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
    // Routes have no names. They match by methods, host and path; else by host and path; else by methods and path.
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

/// The wording for a path.
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

/// A route's name: its methods, host and path.
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

/// A tier's main terms, in a line.
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

/// A quota's limit, and its window unless the other one's is the same.
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

/// The custom parts of an answer.
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
