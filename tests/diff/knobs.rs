//! A tiers.yaml that says everything, and what may stand at each of its places instead.

use super::document::Document;

/// A place in the document.
#[derive(Debug)]
pub struct Knob {
    pub at: &'static str,
    /// JSON that may stand there, nothing if empty, and what a difference says of it. The first is what the base has.
    pub choices: &'static [(&'static str, &'static str)],
    /// What the difference is about.
    pub subject: &'static str,
    /// How many differences it makes.
    pub lines: usize,
    /// Whether they need a restart.
    pub restart: bool,
}

/// The sections are in no order, and the tiers, limits and so on in that of the alphabet.
pub fn base() -> Document {
    Document::of(include_str!("base.json"))
}

/// Lists and mappings whose order is a part of what the file says, and what is said if it is another one.
pub const ORDERS: &[(&str, &str)] = &[
    ("/tiers", "tiers: their order changed"),
    ("/tiers/$5/quotas", "tier `$5`: the order of its quotas changed"),
    ("/tiers/$5/limits", "tier `$5`: the order of its limits changed"),
    ("/trusted_proxies", "trusted_proxies: their order changed"),
    ("/proxy_protocol", "proxy_protocol: their order changed"),
    ("/blocked_networks", "blocked_networks: their order changed"),
    (
        "/keys/headers",
        "keys: headers x-api-key, x-trace-key → x-trace-key, x-api-key",
    ),
    ("/limits", "limits: their order changed"),
    (
        "/limits/0/match/methods",
        "limit `http`: match.methods GET, POST → POST, GET",
    ),
    ("/answers", "answers: their order changed"),
    (
        "/answers/blocked/headers",
        "answer `blocked`: the order of its headers changed",
    ),
    ("/cors/origins", "cors: the order of its origins changed"),
    ("/upstreams", "upstreams: their order changed"),
    (
        "/upstreams/search/servers",
        "upstream `search`: the order of its servers changed",
    ),
    ("/routes", "routes: their order changed"),
    (
        "/routes/0/methods",
        "route `POST, GET example.org/search`: methods GET, POST → POST, GET",
    ),
    (
        "/routes/0/success",
        "route `GET, POST example.org/search`: success 200, 206 → 206, 200",
    ),
    ("/accounts", "accounts: their order changed"),
    (
        "/accounts/1/key_sha256",
        "account `beta`: the order of its keys changed",
    ),
];

const fn knob(at: &'static str, subject: &'static str, choices: &'static [(&'static str, &'static str)]) -> Knob {
    Knob {
        at,
        choices,
        subject,
        lines: 1,
        restart: false,
    }
}

/// Of which a change is so many differences.
const fn lines(lines: usize, knob: Knob) -> Knob {
    Knob { lines, ..knob }
}

const fn restart(knob: Knob) -> Knob {
    Knob { restart: true, ..knob }
}

pub const KNOBS: &[Knob] = &[
    restart(knob(
        "/listen",
        "listen",
        &[(r#""127.0.0.1:8080""#, "127.0.0.1:8080"), (r#""[::]:80""#, "[::]:80")],
    )),
    knob(
        "/admin/token",
        "admin",
        &[
            ("", "admin.token in data_dir"),
            (r#""${DOOR_TOKEN}""#, "the variable DOOR_TOKEN"),
            (r#""${OTHER_TOKEN}""#, "the variable OTHER_TOKEN"),
        ],
    ),
    restart(knob(
        "/admin/listen",
        "admin",
        &[
            (r#""127.0.0.1:9090""#, "127.0.0.1:9090"),
            (r#""127.0.0.1:9091""#, "127.0.0.1:9091"),
        ],
    )),
    restart(knob(
        "/data_dir",
        "data_dir",
        &[
            (r#""/var/lib/door""#, "/var/lib/door"),
            ("", "./data"),
            (r#""/srv/door""#, "/srv/door"),
        ],
    )),
    knob(
        "/durability",
        "durability",
        &[(r#""strict""#, "strict"), (r#""relaxed""#, "relaxed")],
    ),
    knob(
        "/commit_every",
        "commit_every",
        &[(r#""20ms""#, "20ms"), ("", "10ms"), (r#""1500ms""#, "1500ms")],
    ),
    knob("/commit_patience", "commit_patience", &[(r#""6s""#, "6s"), ("", "5s")]),
    knob(
        "/history/keep",
        "history",
        &[(r#""7d""#, "7d"), ("", "30d"), (r#""12h""#, "12h")],
    ),
    knob(
        "/history/max",
        "history",
        &[(r#""1GiB""#, "1GiB"), ("", "4GiB"), (r#""64MiB""#, "64MiB")],
    ),
    knob(
        "/clock_step_max",
        "clock_step_max",
        &[(r#""10m""#, "10m"), ("", "5m"), (r#""1s""#, "1s")],
    ),
    knob(
        "/drain_timeout",
        "drain_timeout",
        &[(r#""31s""#, "31s"), ("", "30s"), (r#""5m""#, "5m")],
    ),
    restart(knob(
        "/cores",
        "cores",
        &[("4", "4"), ("", "all that there are"), ("8", "8")],
    )),
    knob("/connections/max", "connections", &[("100", "100"), ("", "10000")]),
    knob(
        "/connections/head_timeout",
        "connections",
        &[(r#""11s""#, "11s"), ("", "10s")],
    ),
    knob(
        "/connections/send_timeout",
        "connections",
        &[(r#""61s""#, "61s"), ("", "60s")],
    ),
    knob(
        "/connections/head_max",
        "connections",
        &[(r#""128KiB""#, "128KiB"), ("", "64KiB"), (r#""65537B""#, "65537B")],
    ),
    knob("/connections/headers_max", "connections", &[("50", "50"), ("", "100")]),
    knob(
        "/connections/unmetered_max",
        "connections",
        &[("10", "10"), ("", "256")],
    ),
    knob("/queue/length", "queue", &[("8", "8"), ("16", "16"), ("0", "0")]),
    knob("/queue/within_tier", "queue", &[(r#""fair""#, "fair"), ("", "fifo")]),
    knob("/queue/max_wait", "queue", &[(r#""29s""#, "29s"), ("", "30s")]),
    knob("/queue/lifeline", "queue", &[("4", "4"), ("", "off"), ("5", "5")]),
    knob("/tiers/$5/priority", "tier `$5`", &[("2", "2"), ("3", "3"), ("6", "6")]),
    knob("/tiers/$5/concurrency", "tier `$5`", &[("2", "2"), ("3", "3")]),
    knob(
        "/tiers/$5/displacements_per_minute",
        "tier `$5`",
        &[("7", "7"), ("0", "0"), ("", "20")],
    ),
    knob("/tiers/gold/concurrency", "tier `gold`", &[("4", "4"), ("5", "5")]),
    knob(
        "/tiers/$5/max_wait",
        "tier `$5`",
        &[(r#""10s""#, "10s"), ("", "the queue's")],
    ),
    knob(
        "/tiers/$5/quotas/daily/limit",
        "tier `$5`",
        &[("500", "500"), ("800", "800")],
    ),
    knob(
        "/tiers/$5/quotas/daily/enforce",
        "tier `$5`",
        &[("", "(rolling 24h)"), ("false", "not enforced")],
    ),
    knob(
        "/tiers/$5/quotas/daily/rolling",
        "tier `$5`",
        &[
            (r#""24h""#, "rolling 24h"),
            (r#""12h""#, "rolling 12h"),
            (r#""7d""#, "rolling 7d"),
        ],
    ),
    knob(
        "/tiers/$5/quotas/monthly",
        "tier `$5`",
        &[
            (
                r#"{"limit": 9000, "calendar": "month", "zone": "UTC"}"#,
                "9000 (calendar month UTC)",
            ),
            ("", "none"),
        ],
    ),
    knob(
        "/tiers/$5/quotas/monthly/calendar",
        "tier `$5`",
        &[(r#""month""#, "calendar month UTC"), (r#""day""#, "calendar day UTC")],
    ),
    knob(
        "/tiers/$5/quotas/monthly/zone",
        "tier `$5`",
        &[(r#""UTC""#, "month UTC"), (r#""Europe/Paris""#, "month Europe/Paris")],
    ),
    knob(
        "/tiers/$5/quotas/third",
        "tier `$5`",
        &[("", "none"), (r#"{"limit": 1, "rolling": "1h"}"#, "1 (rolling 1h)")],
    ),
    knob(
        "/tiers/gold/quota",
        "tier `gold`",
        &[
            (r#"{"limit": 10, "rolling": "24h"}"#, "daily quota 10 (rolling 24h)"),
            (
                r#"{"limit": 10, "calendar": "month"}"#,
                "monthly quota 10 (calendar month UTC)",
            ),
        ],
    ),
    knob(
        "/tiers/$5/limits/http",
        "tier `$5`",
        &[
            ("300", "300"),
            (r#"{"limit": 300, "lifts": "network"}"#, "300 that lifts the network's"),
            ("", "none"),
        ],
    ),
    knob(
        "/tiers/extra",
        "tier `extra`",
        &[
            ("", "tier `extra`"),
            (r#"{"priority": 1, "concurrency": 2}"#, "tier `extra`"),
        ],
    ),
    knob(
        "/tiers/free/concurrency",
        "anonymous tier `free`",
        &[("1", "1"), ("3", "3")],
    ),
    knob(
        "/anonymous",
        "anonymous",
        &[(r#""free""#, "free"), (r#""gold""#, "gold")],
    ),
    knob(
        "/keys/headers",
        "keys",
        &[(r#"["x-api-key", "x-trace-key"]"#, "x-api-key"), ("[]", "none")],
    ),
    knob("/keys/bearer", "keys", &[("false", "false"), ("", "true")]),
    knob(
        "/keys/query",
        "keys",
        &[(r#""key""#, "key"), ("", "none"), (r#""k""#, "k")],
    ),
    knob(
        "/trusted_proxies",
        "trusted_proxies",
        &[
            (r#"["10.0.0.0/8", "10.1.0.0/16"]"#, "10.1.0.0/16"),
            (r#"["10.0.0.0/8"]"#, ""),
        ],
    ),
    knob(
        "/forwarded_header",
        "forwarded_header",
        &[
            (r#""forwarded""#, "forwarded"),
            ("", "either"),
            (r#""x-forwarded-for""#, "x-forwarded-for"),
        ],
    ),
    knob(
        "/proxy_protocol",
        "proxy_protocol",
        &[(r#"["10.2.0.0/16", "::1"]"#, "::1/128"), (r#"["10.2.0.0/16"]"#, "")],
    ),
    knob(
        "/blocked_networks",
        "blocked_networks",
        &[
            (r#"["192.0.2.0/24", "198.51.100.7"]"#, "198.51.100.7/32"),
            (r#"["192.0.2.0/24"]"#, ""),
        ],
    ),
    knob(
        "/limits/0/per",
        "limit `http`",
        &[
            (r#""network""#, "network"),
            (r#"["network", "account"]"#, "network, account"),
            (r#""account""#, "account"),
        ],
    ),
    knob(
        "/limits/2/per",
        "limit `all`",
        &[(r#""global""#, "global"), (r#""account""#, "account")],
    ),
    knob("/limits/0/limit", "limit `http`", &[("100", "100"), ("200", "200")]),
    knob(
        "/limits/0/window",
        "limit `http`",
        &[(r#""60s""#, "60s"), (r#""2m""#, "2m")],
    ),
    knob(
        "/limits/0/kind",
        "limit `http`",
        &[
            (r#""fixed""#, "fixed"),
            (r#""burst""#, "burst"),
            (r#""sliding""#, "sliding"),
        ],
    ),
    knob(
        "/limits/1/align",
        "limit `web`",
        &[(r#""clock""#, "clock"), ("", "none")],
    ),
    knob(
        "/limits/0/penalty",
        "limit `http`",
        &[(r#""90s""#, "90s"), ("", "none")],
    ),
    knob(
        "/limits/0/degraded",
        "limit `http`",
        &[("30", "30"), ("", "none"), ("31", "31")],
    ),
    knob(
        "/limits/1/disclosed",
        "limit `web`",
        &[("", "true"), ("false", "false")],
    ),
    knob("/limits/0/enforce", "limit `http`", &[("", "true"), ("false", "false")]),
    knob(
        "/limits/0/headers",
        "limit `http`",
        &[
            (r#""on_refusal""#, "on_refusal"),
            ("", "always"),
            (r#""on_refusal_reset""#, "on_refusal_reset"),
            (r#""off""#, "off"),
        ],
    ),
    knob(
        "/limits/0/match/host",
        "limit `http`",
        &[(r#""example.org""#, "example.org"), ("", "any")],
    ),
    knob(
        "/limits/2/match",
        "limit `all`",
        &[("", "any"), (r#"{"path": "/search"}"#, "/search")],
    ),
    knob(
        "/limits/0/match/path",
        "limit `http`",
        &[
            (r#""/search""#, "/search"),
            (r#""/upload/*""#, "/upload/{*rest}"),
            ("", "any"),
        ],
    ),
    knob(
        "/limits/0/match/methods",
        "limit `http`",
        &[(r#"["GET", "POST"]"#, "GET, POST"), (r#"["GET"]"#, "GET"), ("", "any")],
    ),
    knob("/limits/0/v6_prefix", "limit `http`", &[("56", "56"), ("", "64")]),
    knob(
        "/limits/0/block_after",
        "limit `http`",
        &[
            (
                r#"{"refusals": 100, "within": "60s", "for": "1h"}"#,
                "100 refusals within 60s, for 1h",
            ),
            (r#"{"refusals": 101, "within": "60s", "for": "1h"}"#, "101"),
            (r#"{"refusals": 100, "within": "61s", "for": "1h"}"#, "61s"),
            (r#"{"refusals": 100, "within": "60s", "for": "2h"}"#, "2h"),
            ("", "none"),
        ],
    ),
    lines(
        2,
        knob(
            "/limits/2/name",
            "limit `all`",
            &[(r#""all""#, "limit `all`"), (r#""every""#, "limit `every`")],
        ),
    ),
    knob("/max_callers", "max_callers", &[("2000", "2000"), ("", "1000000")]),
    knob(
        "/ratelimit_fields",
        "ratelimit_fields",
        &[("false", "false"), ("", "true")],
    ),
    knob(
        "/answers/rate_limited/status",
        "answer `rate_limited`",
        &[("420", "420"), ("", "usual"), ("430", "430")],
    ),
    knob(
        "/answers/blocked/headers/x-why",
        "answer `blocked`",
        &[(r#""{reason}""#, "{reason}"), (r#""{limit}""#, "{limit}"), ("", "none")],
    ),
    knob(
        "/answers/rate_limited/body",
        "answer `rate_limited`",
        &[
            (r#""{\"a\":{limit}}""#, r#"{"a":{limit}}"#),
            (r#""{\"a\":{used}}""#, r#"{"a":{used}}"#),
            (r#""{\"a\":\"{limit}\"}""#, r#"{"a":"{limit}"}"#),
        ],
    ),
    knob(
        "/answers/rate_limited/content_type",
        "answer `rate_limited`",
        &[
            (r#""application/json""#, "application/json"),
            (r#""text/plain""#, "text/plain"),
        ],
    ),
    knob(
        "/answers/queue_full",
        "answer `queue_full`",
        &[
            ("", "answer `queue_full`"),
            (r#"{"body": "[]", "headers": {"x-a": "b"}}"#, "answer `queue_full`"),
        ],
    ),
    knob(
        "/cors",
        "cors",
        &[
            (
                r#"{"origins": ["https://a.example", "https://b.example"], "max_age": "2h"}"#,
                "https://a.example",
            ),
            ("", ""),
            (r#"{"origins": ["*"], "max_age": "2h"}"#, "all sites"),
        ],
    ),
    knob(
        "/cors/origins",
        "cors",
        &[
            (r#"["https://a.example", "https://b.example"]"#, "origin"),
            (r#"["https://a.example"]"#, "origin https://b.example"),
        ],
    ),
    knob("/cors/max_age", "cors", &[(r#""2h""#, "2h"), ("", "1h")]),
    knob(
        "/paths/me",
        "paths",
        &[(r#""/you""#, "/you"), ("", "/me"), (r#""off""#, "off")],
    ),
    knob(
        "/paths/stats",
        "paths",
        &[(r#""/s""#, "/s"), ("", "/stats"), (r#""off""#, "off")],
    ),
    lines(
        2,
        knob(
            "/upstreams/search/servers/0/url",
            "upstream `search`",
            &[
                (r#""http://127.0.0.1:8081""#, "127.0.0.1:8081"),
                (r#""http://worker""#, "worker:80"),
                (r#""http://127.0.0.1:8083""#, "127.0.0.1:8083"),
            ],
        ),
    ),
    knob(
        "/upstreams/search/servers/0/slots",
        "upstream `search`",
        &[("2", "2"), ("3", "3")],
    ),
    knob(
        "/upstreams/search/connect_timeout",
        "upstream `search`",
        &[(r#""3s""#, "3s"), ("", "2s")],
    ),
    knob(
        "/upstreams/search/first_byte_timeout",
        "upstream `search`",
        &[(r#""20s""#, "20s"), ("", "50s")],
    ),
    knob(
        "/upstreams/search/timeout",
        "upstream `search`",
        &[(r#""50s""#, "50s"), (r#""60s""#, "60s")],
    ),
    knob(
        "/upstreams/web/timeout",
        "upstream `web`",
        &[(r#""50s""#, "50s"), ("", "60s")],
    ),
    knob(
        "/upstreams/search/idle_timeout",
        "upstream `search`",
        &[(r#""10s""#, "10s"), ("", "15s")],
    ),
    knob(
        "/upstreams/search/health",
        "upstream `search`",
        &[
            (r#"{"path": "/up", "every": "6s"}"#, "/up every 6s"),
            (r#"{"path": "/up"}"#, "/up every 5s"),
            (r#"{"path": "/ok", "every": "6s"}"#, "/ok every 6s"),
            ("", "none"),
        ],
    ),
    knob(
        "/upstreams/extra",
        "upstream `extra`",
        &[
            ("", "upstream `extra`"),
            (r#"{"servers": [{"url": "http://a", "slots": 1}]}"#, "1 server, 1 slot"),
        ],
    ),
    knob(
        "/routes/0/host",
        "example.org",
        &[(r#""example.org""#, "example.org"), ("", "any")],
    ),
    lines(
        2,
        knob(
            "/routes/1/path",
            "route `",
            &[
                (r#""/image/{id}""#, "/image/{id}"),
                (r#""/image/{name}""#, "/image/{name}"),
                (r#""/a/{*rest}""#, "/a/{*rest}"),
            ],
        ),
    ),
    knob(
        "/routes/0/methods",
        "/search`",
        &[
            (r#"["GET", "POST"]"#, "GET, POST"),
            (r#"["POST"]"#, "POST"),
            ("", "any"),
        ],
    ),
    knob(
        "/routes/0/upstream",
        "/search`",
        &[(r#""search""#, "search"), (r#""web""#, "web")],
    ),
    knob("/routes/1/metered", "/image/{id}`", &[("", "false"), ("true", "true")]),
    knob(
        "/routes/0/max_body",
        "/search`",
        &[(r#""25MiB""#, "25MiB"), ("", "1MiB"), (r#""0B""#, "0B")],
    ),
    knob(
        "/routes/0/max_wait",
        "/search`",
        &[(r#""9s""#, "9s"), ("", "the tier's")],
    ),
    knob(
        "/routes/0/success",
        "/search`",
        &[("[200, 206]", "200, 206"), ("", "200")],
    ),
    knob("/routes/0/cost", "/search`", &[("2", "2"), ("", "1"), ("0", "0")]),
    knob(
        "/routes/0/on_hangup",
        "/search`",
        &[(r#""cancel""#, "cancel"), ("", "finish")],
    ),
    lines(
        2,
        knob(
            "/accounts/0/name",
            "account `acme`",
            &[(r#""acme""#, "account `acme`"), (r#""acne""#, "account `acne`")],
        ),
    ),
    knob(
        "/accounts/0/tier",
        "account `acme`",
        &[(r#""$5""#, "$5"), (r#""gold""#, "gold")],
    ),
    lines(
        2,
        knob(
            "/accounts/0/key_sha256",
            "account `acme`",
            &[
                (
                    r#""000000000000000000000000000000000000000000000000000000000000abc0""#,
                    "1 key",
                ),
                (
                    r#""000000000000000000000000000000000000000000000000000000000000abc3""#,
                    "1 key",
                ),
            ],
        ),
    ),
    knob(
        "/accounts/1/key_sha256",
        "account `beta`",
        &[
            (
                r#"["000000000000000000000000000000000000000000000000000000000000abc1", "000000000000000000000000000000000000000000000000000000000000abc2"]"#,
                "1 key",
            ),
            (
                r#"["000000000000000000000000000000000000000000000000000000000000abc1"]"#,
                "1 key",
            ),
        ],
    ),
];
