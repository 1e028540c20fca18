//! Request limits: number, subject and window; the requests that they match; and where they are shown.

use http::Method;
use serde::Deserializer;

use super::prelude::*;
use super::quotas::check_name;
use super::routes::{HostName, Methods, Path};
use super::value::wrong_type;
use super::yaml::NodeKind;
use crate::path::Pattern;
use crate::policy::rules::{self, BlockAfter, Kind, LIMITS_MAX, LimitId, LimitOverride, Per};

/// The most requests in a window.
type Number = Whole<u32, 0, 1_000_000_000>;
/// Windows, from the shortest to 31 days.
type WindowLength = LengthIn<10, MONTH_MS>;
/// How long a penalty or block lasts.
type Penalty = LengthIn<1_000, MONTH_MS>;
const MONTH_MS: u64 = 31 * 86_400_000;
/// The shortest sliding window: its 60 buckets are no shorter than the shortest window.
const SLIDING_MIN: Duration = Duration::from_millis(600);

/// A request rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Limit")]
pub(super) struct LimitSection {
    /// Name in headers, also distinct from quotas: 1 to 32 of a-z, A-Z, 0-9, -, _ and .
    #[serde(with = "As::<UncheckedName>")]
    #[schemars(extend("x-add" = "add `name`: what the limit is called in headers"))]
    name: String,
    /// What it counts by; if several, a request must be within the limit of each.
    #[serde(with = "As::<CountsBy>")]
    #[schemars(extend("x-add" = "add `per`: network, account, global, or a list of them"))]
    per: Per,
    /// Requests allowed in the window.
    #[serde(with = "As::<Number>")]
    #[schemars(extend("x-add" = "add `limit`: how many requests may come in the window"))]
    limit: u32,
    /// Window, from 10ms (sliding: 600ms) to 31d.
    #[serde(with = "As::<WindowLength>")]
    #[schemars(extend("x-add" = "add `window`: in which time, such as 60s"))]
    window: Duration,
    /// Algorithm.
    #[serde(default)]
    kind: Counting,
    /// Align all windows of a fixed limit to the clock instead of a caller's first request.
    #[serde(default)]
    align: Option<Align>,
    /// How long callers that exceed the limit are refused, instead of for the rest of the window: 1s to 31d.
    #[serde(default, with = "Maybe::<Penalty>")]
    penalty: Option<Duration>,
    /// Requests actually allowed for now, below the advertised number.
    #[serde(default, with = "Maybe::<Number>")]
    degraded: Option<u32>,
    /// Whether the limit is shown to callers at all.
    #[serde(default = "yes")]
    disclosed: bool,
    /// Whether it refuses requests; if false, it is counted, and only operators see what it would refuse.
    #[serde(default = "yes")]
    enforce: bool,
    /// When to send X-RateLimit-Limit, -Remaining and -Reset.
    #[serde(default)]
    headers: LimitHeaders,
    /// Requests that it applies to; by default all.
    #[serde(default)]
    r#match: Option<MatchSection>,
    /// Prefix length of an IPv6 network, in bits.
    #[serde(default = "number::<u8, 64>", with = "As::<Whole<u8, 32, 128>>")]
    v6_prefix: u8,
    /// Block callers that keep exceeding the limit.
    #[serde(default)]
    block_after: Option<BlockAfterSection>,
}

impl Item for LimitSection {
    const NOUN: &'static str = "limit";

    fn of_list(node: &Node) -> String {
        node.value("name")
            .and_then(Node::text)
            .map_or_else(|| "this limit".to_owned(), Self::called)
    }
}

/// Algorithms of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Counting {
    /// A window starts with a caller's first request.
    #[default]
    Fixed,
    /// Any interval of the window's length counts, to a sixtieth of it.
    Sliding,
    /// Bursts up to the limit, then one request per window ÷ limit.
    Burst,
}

/// How windows are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Align {
    /// To the clock, in UTC.
    Clock,
}

/// When an answer has a limit's X-RateLimit headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LimitHeaders {
    /// On every answer.
    #[default]
    Always,
    /// On refusals.
    OnRefusal,
    /// -Limit and -Remaining on every answer, -Reset on refusals.
    OnRefusalReset,
    /// Never.
    Off,
}

/// Requests that a limit applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Match")]
#[schemars(extend("minProperties" = 1))]
pub(super) struct MatchSection {
    /// Requested host, without a port.
    #[serde(default, with = "Maybe::<HostName>")]
    host: Option<String>,
    /// Path, in every spelling: /search, /image/{id}, /image/{*rest} or /image/*.
    #[serde(default, with = "Maybe::<Path<true>>")]
    path: Option<Pattern>,
    /// Methods; GET includes HEAD.
    #[serde(default, with = "Maybe::<Methods>")]
    methods: Option<Vec<Method>>,
}

/// Blocks callers that are refused repeatedly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "BlockAfter")]
pub(super) struct BlockAfterSection {
    /// Number of refusals,
    #[serde(with = "As::<Whole<u32, 1, 1_000_000>>")]
    #[schemars(extend("x-add" = "add `refusals`: how many lead to a block"))]
    refusals: u32,
    /// within this time (10ms to 31d),
    #[serde(with = "As::<WindowLength>")]
    #[schemars(extend("x-add" = "add `within`: in which time, such as 1m"))]
    within: Duration,
    /// block for this time (1s to 31d).
    #[serde(with = "As::<Penalty>")]
    #[schemars(extend("x-add" = "add `for`: how long the block lasts, such as 1h"))]
    r#for: Duration,
}

/// How requests match a limit, and where it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRoute {
    /// The requested host, as in `host` of a route; `None`: any.
    pub host: Option<String>,
    /// The path, in every reading and ignoring case; `None`: any.
    pub pattern: Option<Pattern>,
    /// The methods, where `GET` includes `HEAD`; `None`: all.
    pub methods: Option<Vec<Method>>,
    /// When an answer has `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub headers: LimitHeaders,
}

/// The names of limits, in the file's order.
pub(super) fn names(root: &Node) -> Names {
    let limits = root.value("limits").map_or(&[][..], Node::items);
    let names = limits.iter().filter_map(|limit| limit.value("name")?.text());
    Names::of("limit", names, LIMITS_MAX)
}

/// Checks the limits. Returns the valid ones with their matches.
pub(super) fn checked(
    limits: &[LimitSection],
    node: Option<&Node>,
    report: &mut Report,
) -> (Vec<rules::Limit>, Vec<LimitRoute>) {
    check_names(limits, node, report);
    let mut read = Vec::new();
    for entry in listed(limits, node) {
        let kind = entry.value.kind(entry.part(report));
        entry.value.check(entry.part(report));
        let is_right = entry.part(report).right(&["name", "per", "limit", "window"]);
        read.extend(kind.filter(|_| is_right).map(|kind| entry.value.rules(kind)));
    }
    read.into_iter().unzip()
}

fn check_names(limits: &[LimitSection], node: Option<&Node>, report: &mut Report) {
    let mut seen: Vec<(&str, u32)> = Vec::new();
    for Entry { node, value, .. } in listed(limits, node) {
        let Some(node) = node.value("name").filter(|node| node.text().is_some()) else {
            continue;
        };
        let (name, what) = (&*value.name, LimitSection::called(&value.name));
        if let Some((_, line)) = seen.iter().find(|(other, _)| *other == name) {
            let message = format!("{what} is defined twice; the first is on line {line}");
            report.add(node.place, message, "give each a name of its own");
            continue;
        }
        check_name(&what, name, "a tier's", "http", node.place, report);
        seen.push((name, node.place.line));
    }
}

impl LimitSection {
    /// The policy's limit, and its match.
    fn rules(&self, kind: Kind) -> (rules::Limit, LimitRoute) {
        let MatchSection { host, path, methods } = self.r#match.clone().unwrap_or_default();
        let route = LimitRoute {
            host,
            pattern: path,
            methods,
            headers: self.headers,
        };
        let block_after = self.block_after.as_ref().map(|block| BlockAfter {
            refusals: block.refusals,
            within: block.within.into(),
            lasts: block.r#for.into(),
        });
        let limit = rules::Limit {
            name: self.name.as_str().into(),
            per: self.per,
            number: self.limit,
            window: self.window.into(),
            kind,
            penalty: self.penalty.map(Into::into),
            degraded: self.degraded,
            v6_prefix: self.v6_prefix,
            block_after,
            disclosed: self.disclosed,
            enforce: self.enforce,
        };
        (limit, route)
    }

    /// The algorithm, with its alignment.
    fn kind(&self, mut part: Part<'_>) -> Option<Kind> {
        if !part.sound(&["kind", "align"]) {
            return None;
        }
        match (self.kind, self.align) {
            (Counting::Fixed, None) => Some(Kind::Fixed),
            (Counting::Fixed, Some(Align::Clock)) => Some(Kind::Aligned),
            (_, Some(_)) => {
                let advice = "leave `align` out, or write `kind: fixed`";
                part.add("align", "only fixed windows are aligned to the clock", advice);
                None
            }
            (Counting::Sliding, None) => Some(Kind::Sliding),
            (Counting::Burst, None) => Some(Kind::Burst),
        }
    }

    fn check(&self, mut part: Part<'_>) {
        let whole_seconds = self.window.subsec_nanos() == 0;
        if part.right(&["window"]) && part.sound(&["kind", "align"]) {
            match (self.kind, self.align) {
                (Counting::Sliding, None) if self.window < SLIDING_MIN => {
                    let message = format!("{} is too short for a sliding window", part.shown("window"));
                    part.add("window", message, "write at least 600ms");
                }
                (Counting::Fixed, Some(_)) if !whole_seconds => {
                    let message = format!("{} is not a window of whole seconds", part.shown("window"));
                    let advice = "windows that are aligned to the clock last whole seconds";
                    part.add("window", message, advice);
                }
                _ => {}
            }
        }
        if part.right(&["degraded", "limit"]) && self.degraded.is_some_and(|degraded| degraded > self.limit) {
            let message = format!("`degraded` lets in more than the limit of {}", self.limit);
            let advice = "write what is let in instead of the advertised number, or leave it out";
            part.add("degraded", message, advice);
        }
        if part.right(&["disclosed"]) && !self.disclosed && part.value("headers").is_some() {
            let advice = "leave `headers` out, or take `disclosed: false` out";
            part.add("headers", "a limit that is not disclosed appears in no header", advice);
        }
        if part.right(&["per"]) && !self.per.network && !self.per.account && part.value("v6_prefix").is_some() {
            let message = "a limit per global counts no networks";
            part.add("v6_prefix", message, "leave `v6_prefix` out");
        }
        if part.right(&["per"]) && self.per.global && part.value("block_after").is_some() {
            let advice = "leave `block_after` out, or `global`";
            part.add("block_after", "a limit per global would block everybody", advice);
        }
        part.within("match", |mut part| {
            if part.is_empty() {
                let advice =
                    "add `host`, `path` or `methods`, or leave `match` out: the limit is for every request then";
                part.add("", "`match` says nothing", advice);
            }
        });
    }
}

/// A name that is checked elsewhere, with messages of its own.
pub(super) struct UncheckedName;

impl Scalar for UncheckedName {
    type Value = String;

    fn read(node: &Node, report: &mut Report) -> Option<String> {
        if node.text().is_none() {
            wrong_type(node, "a name", "", report);
        }
        node.text().map(str::to_owned)
    }

    fn stand_in() -> String {
        String::new()
    }

    fn written(name: &String) -> Value {
        name.as_str().into()
    }

    fn schema() -> Value {
        Names::schema()
    }
}

/// A kind of caller.
struct CallerKind;

const CALLER_KINDS: [&str; 3] = ["network", "account", "global"];

impl Scalar for CallerKind {
    type Value = &'static str;

    fn read(node: &Node, report: &mut Report) -> Option<&'static str> {
        one_of(node, &CALLER_KINDS, report)
    }

    fn stand_in() -> &'static str {
        CALLER_KINDS[0]
    }

    fn written(caller: &&'static str) -> Value {
        (*caller).into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "enum": CALLER_KINDS })
    }
}

impl OfSeveral for CallerKind {
    const NOUN: &'static str = "kind of caller";
    const ONCE: bool = true;
}

/// What a limit counts by: one kind of caller, or several.
struct CountsBy;

type CallerKinds = Several<CallerKind, 1, 3>;

impl Scalar for CountsBy {
    type Value = Per;

    fn read(node: &Node, report: &mut Report) -> Option<Per> {
        let callers = match node.kind {
            NodeKind::Sequence(_) => CallerKinds::read(node, report)?,
            _ => vec![CallerKind::read(node, report)?],
        };
        let [network, account, global] = CALLER_KINDS.map(|caller| callers.contains(&caller));
        Some(Per {
            network,
            account,
            global,
        })
    }

    fn stand_in() -> Per {
        Per::default()
    }

    fn written(per: &Per) -> Value {
        let counted = CALLER_KINDS.into_iter().zip([per.network, per.account, per.global]);
        counted
            .filter_map(|(caller, counts)| counts.then_some(caller))
            .collect()
    }

    fn schema() -> Value {
        json!({ "anyOf": [CallerKind::schema(), CallerKinds::schema()] })
    }
}

/// A tier's own number for a request limit: `300`, or `{ limit: 5000, lifts: network }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct TierLimit(TierLimitSection);

impl Item for TierLimit {
    const NOUN: &'static str = "limit";
}

/// A tier's own number for a request limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "LiftingLimit")]
pub(super) struct TierLimitSection {
    /// Requests allowed in the limit's window.
    #[serde(with = "As::<Number>")]
    #[schemars(extend("x-add" = "add `limit`: how many requests may come in the window"))]
    limit: u32,
    /// Raise the limit of the account's network to the same number.
    #[serde(default)]
    lifts: Option<LiftsSetting>,
}

/// What a tier's own number raises besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum LiftsSetting {
    /// The network that the account's requests come from.
    Network,
}

impl<'de> Deserialize<'de> for TierLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let here = de::here(deserializer)?;
        if matches!(here.node.kind, NodeKind::Mapping(_)) {
            let lifting = TierLimitSection::deserialize(here).map_err(serde::de::Error::custom)?;
            return Ok(Self(lifting));
        }
        let limit = de::with_report(|report| Number::read(&here.node, report));
        let limit = limit.unwrap_or_default();
        Ok(Self(TierLimitSection { limit, lifts: None }))
    }
}

inline_schema!([] TierLimit, |generator| {
    let (number, lifting) = (Number::schema(), generator.subschema_for::<TierLimitSection>());
    schemars::json_schema!({
        "description": "A number for a request limit, or a number and whom it is for.",
        "anyOf": [number, lifting],
    })
});

/// A tier's own numbers.
pub(super) fn own(
    limits: &[(String, TierLimit)],
    node: Option<&Node>,
    report: &mut Report,
) -> Vec<(LimitId, LimitOverride)> {
    let names = de::names();
    let mut own = Vec::new();
    for Entry { name, at, node, value } in entries(limits, node) {
        let id = names.limits.number(name, at, report);
        let raise = LimitOverride {
            number: value.0.limit,
            lifts_network: value.0.lifts.is_some(),
        };
        let id = id
            .filter(|_| report.is_sound(node.place))
            .and_then(|id| u8::try_from(id).ok());
        own.extend(id.map(|id| (LimitId(id), raise)));
    }
    own
}

/// Reports limits with the name of a quota: both are sent in one header field.
pub(super) fn check_names_of_quotas<'t>(
    root: &Node,
    tiers: impl Iterator<Item = &'t rules::Tier> + Clone,
    report: &mut Report,
) {
    for limit in root.value("limits").map_or(&[][..], Node::items) {
        let Some((node, name)) = limit.value("name").and_then(|node| Some((node, node.text()?))) else {
            continue;
        };
        let is_called_so = |tier: &&rules::Tier| tier.quotas.iter().any(|quota| *quota.name == *name);
        if let Some(tier) = tiers.clone().find(is_called_so) {
            let (limit, tier) = (quoted(name), quoted(&tier.name));
            let message = format!("limit {limit} is called as a quota of tier {tier} is");
            let advice = "rename one of them: both are reported in one header field";
            report.add(node.place, message, advice);
        }
    }
}
