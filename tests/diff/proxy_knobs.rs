//! The settings of the proxy itself: listeners, data, connections, the queue, keys and networks.

use super::{Knob, knob, restart};

pub const PROXY_KNOBS: &[Knob] = &[
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
    knob(
        "/admin/hosts",
        "admin",
        &[
            (r#"["tiergate.internal", "[::1]"]"#, "[::1]"),
            (r#"["tiergate.internal"]"#, ""),
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
    knob("/readyz/upstreams", "readyz", &[(r#""any""#, "any"), ("", "ignore")]),
    restart(knob(
        "/data_dir",
        "data_dir",
        &[
            (r#""/var/lib/tiergate""#, "/var/lib/tiergate"),
            ("", "./data"),
            (r#""/srv/tiergate""#, "/srv/tiergate"),
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
    knob("/bodies/memory", "bodies", &[(r#""128MiB""#, "128MiB"), ("", "64MiB")]),
    knob("/bodies/memory_each", "bodies", &[(r#""1MiB""#, "1MiB"), ("", "4MiB")]),
    knob("/bodies/spool", "bodies", &[(r#""8GiB""#, "8GiB"), ("", "1GiB")]),
    knob("/bodies/timeout", "bodies", &[(r#""20s""#, "20s"), ("", "30s")]),
    knob(
        "/bodies/rate_min",
        "bodies",
        &[(r#""2KiB/s""#, "2KiB/s"), ("", "1KiB/s")],
    ),
    knob("/bodies/upload_max", "bodies", &[(r#""2h""#, "2h"), ("", "1h")]),
    knob(
        "/log_addresses",
        "log_addresses",
        &[(r#""none""#, "none"), ("", "masked"), (r#""full""#, "full")],
    ),
    knob(
        "/access_log",
        "access_log",
        &[(r#""errors""#, "errors"), ("", "off"), (r#""metered""#, "metered")],
    ),
    knob(
        "/access_log",
        "access_log",
        &[
            (
                r#"{"file":"/dev/null","format":"logfmt","max_per_second":10}"#,
                "/dev/null",
            ),
            (
                r#"{"file":"/dev/zero","format":"logfmt","max_per_second":10}"#,
                "/dev/zero",
            ),
        ],
    ),
    knob(
        "/access_log",
        "access_log",
        &[
            (r#"{"format":"logfmt"}"#, "logfmt"),
            (r#"{"format":"combined"}"#, "combined"),
        ],
    ),
    knob(
        "/access_log",
        "access_log",
        &[(r#"{"max_per_second":20}"#, "20"), ("{}", "1000")],
    ),
    knob("/queue/length", "queue", &[("8", "8"), ("16", "16"), ("0", "0")]),
    knob("/queue/within_tier", "queue", &[(r#""fair""#, "fair"), ("", "fifo")]),
    knob("/queue/max_wait", "queue", &[(r#""29s""#, "29s"), ("", "30s")]),
    knob("/queue/lifeline", "queue", &[("4", "4"), ("", "off"), ("5", "5")]),
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
    knob("/max_callers", "max_callers", &[("2000", "2000"), ("", "1000000")]),
    knob(
        "/ratelimit_fields",
        "ratelimit_fields",
        &[("false", "false"), ("", "true")],
    ),
];
