//! Request limits: how many, of whom, in which time; which requests they are for; and where callers are told of them.
//!
//! Absent on purpose: counting (`policy::limits`) and the headers themselves (`http`).

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Method;

use super::error::Report;
use super::excerpt::quoted;
use super::quotas::{QUOTA_NAME_CHARS_MAX, RESERVED};
use super::read::{Entry, Fields, Names, entries, list, shown};
use super::routes;
use super::value::{boolean, duration, integer, name_is_legal, one_of, small_integer};
use super::yaml::{Kind as NodeKind, Node, Place};
use crate::path::Pattern;
use crate::policy::rules::{BlockAfter, Kind, LIMITS_MAX, Limit, LimitId, Per, Raise, Tier};
use crate::policy::time::Span;

/// Requests in a window.
pub(super) const NUMBER: RangeInclusive<u64> = 0..=1_000_000_000;
/// The shortest window.
const WINDOW_MIN: Duration = Duration::from_millis(10);
/// The shortest sliding window: its 60 buckets are no shorter than the shortest window.
const SLIDING_MIN: Duration = Duration::from_millis(600);
/// The longest window, penalty and block.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// The shortest penalty and block.
const PENALTY_MIN: Duration = Duration::from_secs(1);
/// Bits of an IPv6 address that make a network.
pub(super) const V6_PREFIX: RangeInclusive<u32> = 32..=128;
/// Networks that each limit counts one by one.
pub(super) const CALLERS: RangeInclusive<u32> = 1_000..=100_000_000;
/// Refusals that lead to a block.
pub(super) const REFUSALS: RangeInclusive<u32> = 1..=1_000_000;

pub(super) const KNOWN: [&str; 14] = [
    "name",
    "per",
    "limit",
    "window",
    "kind",
    "align",
    "penalty",
    "degraded",
    "disclosed",
    "enforce",
    "headers",
    "match",
    "v6_prefix",
    "block_after",
];
pub(super) const MATCH_FIELDS: [&str; 3] = ["host", "path", "methods"];
pub(super) const BLOCK_FIELDS: [&str; 3] = ["refusals", "within", "for"];
pub(super) const OWN_FIELDS: [&str; 2] = ["limit", "lifts"];

/// What of a request makes a limit match, and where callers are told of the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRoute {
    /// The host that is asked, as in [`super::Route::host`]; `None`: any.
    pub host: Option<String>,
    /// The path, in every reading and without regard to case; `None`: any.
    pub pattern: Option<Pattern>,
    /// The methods, of which `GET` includes `HEAD`; `None`: all of them.
    pub methods: Option<Vec<Method>>,
    /// When an answer bears `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub headers: LimitHeaders,
}

/// When an answer bears a limit's `X-RateLimit` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHeaders {
    /// On every answer.
    #[default]
    Always,
    /// `X-RateLimit-Limit` and `-Remaining` on every answer, `-Reset` on refusals only (AniList).
    OnRefusalReset,
    /// On refusals only.
    OnRefusal,
    /// Never.
    Off,
}

/// The items of `limits: [ … ]` that have a name of their own.
pub(super) fn named<'n>(node: &'n Node, report: &mut Report) -> Option<Vec<Entry<'n>>> {
    let mut named: Vec<Entry<'n>> = Vec::new();
    list(node, "limit", (0, LIMITS_MAX), report, |item, report| {
        let NodeKind::Mapping(fields) = &item.kind else {
            // A mapping was expected, which is said by whoever reads its fields.
            named.push(entry("", item.place, item));
            return Some(());
        };
        let name = fields.iter().find(|(key, _)| key.text() == Some("name"));
        let Some((node, name)) = name.and_then(|(_, value)| Some((value, value.text()?))) else {
            let advice = "add `name`: what the limit is called in headers";
            report.add(item.place, "this limit lacks `name`", advice);
            named.push(entry("", item.place, item));
            return Some(());
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name_is_legal(name, legal) || name.len() > QUOTA_NAME_CHARS_MAX {
            let advice = "use 1 to 32 of a-z, A-Z, 0-9, -, _ and .: the name travels in a header";
            report.add(node.place, format!("limit {} has no legal name", quoted(name)), advice);
        } else if name == RESERVED {
            let message = format!("limit {} would be taken for a tier's concurrency", quoted(name));
            report.add(node.place, message, "give it another name, such as http");
        } else if let Some(first) = named.iter().find(|entry| entry.name == name) {
            let message = format!(
                "limit {} is defined twice; the first is on line {}",
                quoted(name),
                first.at.line
            );
            report.add(node.place, message, "give each a name of its own");
        }
        named.push(entry(name, node.place, item));
        Some(())
    })?;
    Some(named)
}

fn entry<'n>(name: &'n str, at: Place, value: &'n Node) -> Entry<'n> {
    Entry { name, at, value }
}

/// Each limit that is right.
pub(super) fn read(named: &[Entry<'_>], report: &mut Report) -> (Vec<Limit>, Vec<LimitRoute>) {
    named.iter().filter_map(|entry| limit(entry, report)).unzip()
}

fn limit(entry: &Entry<'_>, report: &mut Report) -> Option<(Limit, LimitRoute)> {
    let what = match entry.name {
        "" => "this limit".to_owned(),
        name => format!("limit {}", quoted(name)),
    };
    let fields = Fields::of(entry.value, what.as_str(), entry.value.place, &KNOWN, report)?;
    let advice = "add `per`: network, account, global, or a list of them";
    let per = fields.required("per", advice, report, per);
    let advice = "add `limit`: how many requests may come in the window";
    let number = fields.required("limit", advice, report, number);
    let advice = "add `window`: in which time, such as 60s";
    let window = fields.required("window", advice, report, |node, report| {
        within(node, WINDOW_MIN..=LONGEST, report)
    });
    let kind = kind(&fields, report);
    if let (Some(Kind::Sliding), Some(window), Some(node)) = (kind, window, fields.get("window"))
        && window < SLIDING_MIN.into()
    {
        report.add(
            node.place,
            format!("{} is too short for a sliding window", shown(node)),
            "write at least 600ms",
        );
    }
    if let (Some(Kind::Aligned), Some(window), Some(node)) = (kind, window, fields.get("window"))
        && !window.as_nanos().is_multiple_of(1_000_000_000)
    {
        let message = format!("{} is no window of whole seconds", shown(node));
        report.add(
            node.place,
            message,
            "windows that are aligned to the clock last whole seconds",
        );
    }
    let penalty = fields.maybe("penalty", report, |node, report| {
        within(node, PENALTY_MIN..=LONGEST, report)
    });
    let degraded = fields.maybe("degraded", report, self::number);
    if let (Some(degraded), Some(number), Some(node)) = (degraded, number, fields.get("degraded"))
        && degraded > number
    {
        let message = format!("`degraded` lets in more than the limit of {number}");
        report.add(
            node.place,
            message,
            "write what is let in instead of the advertised number, or leave it out",
        );
    }
    let disclosed = fields.or("disclosed", true, report, boolean);
    let enforce = fields.or("enforce", true, report, boolean);
    let headers = fields.or("headers", LimitHeaders::Always, report, headers);
    if let (false, Some(node)) = (disclosed, fields.get("headers")) {
        let advice = "leave `headers` out, or take `disclosed: false` out";
        report.add(node.place, "a limit that is not disclosed appears in no header", advice);
    }
    let matching = fields.or("match", LimitRoute::default(), report, matching);
    let v6_prefix = fields.maybe("v6_prefix", report, |node, report| {
        small_integer(node, V6_PREFIX, report)
    });
    if let (Some(per), Some(node)) = (per, fields.get("v6_prefix"))
        && !per.network
        && !per.account
    {
        report.add(
            node.place,
            "a limit per global counts no networks",
            "leave `v6_prefix` out",
        );
    }
    let block_after = fields.maybe("block_after", report, block_after);
    if let (Some(per), Some(node)) = (per, fields.get("block_after"))
        && per.global
    {
        report.add(
            node.place,
            "a limit per global would block everybody",
            "leave `block_after` out, or `global`",
        );
    }
    let v6_prefix = v6_prefix.and_then(|bits| u8::try_from(bits).ok());
    let limit = Limit {
        name: entry.name.into(),
        per: per?,
        number: number?,
        window: window?,
        kind: kind?,
        penalty,
        degraded,
        v6_prefix: v6_prefix.unwrap_or(Limit::V6_PREFIX_DEFAULT),
        block_after,
        disclosed,
        enforce,
    };
    Some((limit, LimitRoute { headers, ..matching }))
}

fn per(node: &Node, report: &mut Report) -> Option<Per> {
    const WORDS: [(&str, Per); 3] = [
        (
            "network",
            Per {
                network: true,
                account: false,
                global: false,
            },
        ),
        (
            "account",
            Per {
                network: false,
                account: true,
                global: false,
            },
        ),
        (
            "global",
            Per {
                network: false,
                account: false,
                global: true,
            },
        ),
    ];
    if !matches!(node.kind, NodeKind::Sequence(_)) {
        return one_of(node, &WORDS, report);
    }
    let mut all = Per::default();
    list(node, "kind of caller", (1, WORDS.len()), report, |item, report| {
        let one = one_of(item, &WORDS, report)?;
        let with = Per {
            network: all.network | one.network,
            account: all.account | one.account,
            global: all.global | one.global,
        };
        if with == all {
            report.add(
                item.place,
                format!("{} is named twice", shown(item)),
                "keep one of them",
            );
        }
        all = with;
        Some(())
    })?;
    Some(all)
}

fn number(node: &Node, report: &mut Report) -> Option<u32> {
    u32::try_from(integer(node, NUMBER, report)?).ok()
}

fn within(node: &Node, range: RangeInclusive<Duration>, report: &mut Report) -> Option<Span> {
    let length = duration(node, report)?;
    if range.contains(&length) {
        return Some(length.into());
    }
    let message = format!("{} is out of range", shown(node));
    let written = |length: &Duration| match length.as_secs() {
        0 => format!("{}ms", length.as_millis()),
        secs if secs >= 86_400 => format!("{}d", secs / 86_400),
        secs => format!("{secs}s"),
    };
    let advice = format!("write {} to {}", written(range.start()), written(range.end()));
    report.add(node.place, message, advice);
    None
}

fn kind(fields: &Fields<'_>, report: &mut Report) -> Option<Kind> {
    let words = [
        ("fixed", Kind::Fixed),
        ("sliding", Kind::Sliding),
        ("burst", Kind::Burst),
    ];
    let kind = match fields.get("kind") {
        Some(node) => one_of(node, &words, report),
        None => Some(Kind::Fixed),
    };
    let Some(node) = fields.get("align") else {
        return kind;
    };
    one_of(node, &[("clock", ())], report)?;
    if kind.is_some_and(|kind| kind != Kind::Fixed) {
        let advice = "leave `align` out, or write `kind: fixed`";
        report.add(node.place, "only fixed windows are aligned to the clock", advice);
        return None;
    }
    kind.map(|_| Kind::Aligned)
}

fn headers(node: &Node, report: &mut Report) -> Option<LimitHeaders> {
    let words = [
        ("always", LimitHeaders::Always),
        ("on_refusal", LimitHeaders::OnRefusal),
        ("on_refusal_reset", LimitHeaders::OnRefusalReset),
        ("off", LimitHeaders::Off),
    ];
    one_of(node, &words, report)
}

/// `match: { host, path, methods }`.
fn matching(node: &Node, report: &mut Report) -> Option<LimitRoute> {
    let fields = Fields::of(node, "`match`", node.place, &MATCH_FIELDS, report)?;
    let host = fields.maybe("host", report, routes::host);
    let path = fields.maybe("path", report, routes::pattern_with_star);
    let methods = fields.maybe("methods", report, routes::methods);
    if fields.is_empty() {
        let advice = "add `host`, `path` or `methods`, or leave `match` out: the limit is for every request then";
        report.add(node.place, "`match` says nothing", advice);
    }
    Some(LimitRoute {
        host,
        pattern: path,
        methods,
        headers: LimitHeaders::default(),
    })
}

/// `block_after: { refusals, within, for }`.
fn block_after(node: &Node, report: &mut Report) -> Option<BlockAfter> {
    let fields = Fields::of(node, "`block_after`", node.place, &BLOCK_FIELDS, report)?;
    let refusals = fields.required(
        "refusals",
        "add `refusals`: how many lead to a block",
        report,
        |node, report| small_integer(node, REFUSALS, report),
    );
    let spans = WINDOW_MIN..=LONGEST;
    let within_span = fields.required(
        "within",
        "add `within`: in which time, such as 1m",
        report,
        |node, report| within(node, spans, report),
    );
    let lasts = fields.required(
        "for",
        "add `for`: how long the block lasts, such as 1h",
        report,
        |node, report| within(node, PENALTY_MIN..=LONGEST, report),
    );
    Some(BlockAfter {
        refusals: refusals?,
        within: within_span?,
        lasts: lasts?,
    })
}

/// A tier's `limits: { http: 300, hourly: { limit: 5000, lifts: network } }`.
pub(super) fn raises(node: &Node, names: &Names<'_>, report: &mut Report) -> Option<Vec<(LimitId, Raise)>> {
    let mut raises = Vec::new();
    for Entry { name, at, value } in entries(node, "limit", LIMITS_MAX, report)? {
        let id = names.number(name, at, report);
        let raise = match &value.kind {
            NodeKind::Mapping(_) => lifting(value, report),
            _ => number(value, report).map(|number| Raise {
                number,
                lifts_network: false,
            }),
        };
        if let (Some(id), Some(raise)) = (id.and_then(|id| u8::try_from(id).ok()), raise) {
            raises.push((LimitId(id), raise));
        }
    }
    Some(raises)
}

fn lifting(node: &Node, report: &mut Report) -> Option<Raise> {
    let fields = Fields::of(node, "a limit of a tier's own", node.place, &OWN_FIELDS, report)?;
    let advice = "add `limit`: how many requests may come in the window";
    let number = fields.required("limit", advice, report, number);
    let lifts = fields.maybe("lifts", report, |node, report| one_of(node, &[("network", ())], report));
    Some(Raise {
        number: number?,
        lifts_network: lifts.is_some(),
    })
}

/// Reports limits that are called as a quota is: both travel in one header field.
pub(super) fn check_names(named: &[Entry<'_>], tiers: &[Tier], report: &mut Report) {
    for entry in named {
        let is_called_so = |tier: &&Tier| tier.quotas.iter().any(|quota| *quota.name == *entry.name);
        if let Some(tier) = tiers.iter().find(is_called_so) {
            let message = format!(
                "limit {} is called as a quota of tier {} is",
                quoted(entry.name),
                quoted(&tier.name)
            );
            report.add(
                entry.at,
                message,
                "rename one of them: both are told of in one header field",
            );
        }
    }
}

/// `max_callers`.
pub(super) fn callers_max(node: &Node, report: &mut Report) -> Option<u32> {
    small_integer(node, CALLERS, report)
}
