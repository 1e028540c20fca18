//! What callers may: tiers, accounts and request limits.

use super::{Knob, knob, lines};

pub const CALLER_KNOBS: &[Knob] = &[
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
