//! Where requests go and how they are answered: upstreams, routes, refusals and pages.

use super::{Knob, knob, lines};

pub const ROUTE_KNOBS: &[Knob] = &[
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
    knob(
        "/paths/status",
        "paths",
        &[(r#""/queue""#, "/queue"), ("", "/status"), (r#""off""#, "off")],
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
];
