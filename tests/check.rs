//! What `tiergate check` finds: everything that is unwise, beside what is wrong, each with its line and what to do.
//!
//! The messages are the snapshots in `tests/snapshots`, one file a subject.

#[path = "support/sections.rs"]
mod sections;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use tiergate::config::presets::PRESETS;
use tiergate::config::{
    Checked, Config, Environment, Ink, Inks, Nothing, SHOWN_PROBLEMS_MAX, Severity, TokenSource, check,
};
use tiergate::policy::refusal::Reason;

use sections::HASHES;

/// A file without anything unwise, a section a line.
const WISE: [(&str, &str); 8] = [
    ("listen", "listen: 127.0.0.1:8080"),
    ("admin", "admin: { listen: 127.0.0.1:9090 }"),
    ("queue", "queue: { length: 8 }"),
    (
        "tiers",
        "tiers: { free: { priority: 0, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 2 } }",
    ),
    ("anonymous", "anonymous: free"),
    (
        "limits",
        "limits: [ { name: http, per: network, limit: 100, window: 60s } ]",
    ),
    (
        "upstreams",
        "upstreams: { search: { servers: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ] } }",
    ),
    (
        "routes",
        "routes: [ { path: /search, upstream: search, metered: true } ]",
    ),
];
/// What must be seen nowhere.
const SECRET: &str = "hunter2_0123456789abcdef";

/// The wise file, in which the lines given take the place of the section of the same name, or are added.
fn file(lines: &[&str]) -> String {
    sections::with(&WISE, lines)
}

fn checked(lines: &[&str]) -> Checked {
    check("tiers.yaml", file(lines).as_bytes(), &Nothing)
}

fn shown(checked: &Checked) -> String {
    checked.diagnostics.shown(Inks::default()).to_string()
}

/// Nothing is said of the file.
#[track_caller]
fn wise(lines: &[&str]) {
    let checked = checked(lines);
    assert_eq!(checked.diagnostics.problems(), [], "{}", shown(&checked));
    assert!(checked.config.is_some());
}

/// What is said of each of the files, in which nothing is wrong.
#[track_caller]
fn warned(files: &[&[&str]]) -> String {
    let mut said = String::new();
    for lines in files {
        let checked = checked(lines);
        let diagnostics = &checked.diagnostics;
        assert!(
            diagnostics.errors() == 0 && diagnostics.warnings() > 0,
            "{lines:?}: {}",
            shown(&checked)
        );
        assert!(checked.config.is_some());
        writeln!(said, "{}\n", shown(&checked)).unwrap();
    }
    said
}

/// The same of files that differ from the wise one by one section.
#[track_caller]
fn each(lines: &[&str]) -> String {
    warned(&sections::alone(lines))
}

/// Compares with the file of that name in `tests/snapshots`.
#[track_caller]
fn snapshot(name: &str, said: impl AsRef<str>) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, said.as_ref()) });
}

/// An environment of the test's own.
#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, String>,
    files: BTreeMap<PathBuf, String>,
}

impl Given {
    fn variable(name: &'static str, held: impl Into<String>) -> Self {
        let variables = BTreeMap::from([(name, held.into())]);
        Self {
            variables,
            ..Self::default()
        }
    }

    fn file(path: &str, held: impl Into<String>) -> Self {
        let files = BTreeMap::from([(PathBuf::from(path), held.into())]);
        Self {
            files,
            ..Self::default()
        }
    }
}

impl Environment for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

// What is wise.

#[test]
fn nothing_is_said_of_the_files_that_come_with_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml");
    let own = std::fs::read(path).unwrap();
    let presets = PRESETS.iter().map(|preset| preset.text.as_bytes());
    for bytes in presets.chain([own.as_slice()]) {
        let checked = check("tiers.yaml", bytes, &Nothing);
        assert_eq!(checked.diagnostics.problems(), [], "{}", shown(&checked));
        assert_eq!(checked.diagnostics.summary(), "fine");
    }
}

/// The fault: presets shaped two reasons each, and their clients could not read the other errors.
#[test]
fn each_preset_shapes_every_refusal() {
    for preset in PRESETS {
        let config = preset.config().expect("it is right");
        // The usual answer has the form of their documents: { "error": … }.
        if ["trace-moe", "shotit"].contains(&preset.name) {
            assert_eq!(config.answers, [], "{}", preset.name);
            continue;
        }
        for reason in Reason::ALL {
            let answer = config.answers.iter().find(|(other, _)| *other == reason);
            let has_body = answer.is_some_and(|(_, answer)| answer.body.is_some());
            assert!(has_body, "{}: {} has no shape", preset.name, reason.code());
        }
    }
}

/// The fault: left out, `keys` meant `x-api-key` alone; and nothing told of keys in places that are not read.
#[test]
fn keys_in_places_that_are_not_read() {
    for (keys, places) in [
        ("keys: { headers: [x-trace-key, x-api-key] }", &["`?key=`"][..]),
        ("keys: { bearer: false }", &["`x-trace-key`", "`?key=`"]),
        ("keys: { query: key }", &["`x-trace-key`"]),
    ] {
        let checked = checked(&[keys]);
        let told: Vec<&str> = checked
            .diagnostics
            .problems()
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(told.len(), places.len(), "{keys}: {told:?}");
        for (told, place) in told.iter().zip(places) {
            assert!(
                told.contains(place) && told.contains("is not read here"),
                "{keys}: {told}"
            );
        }
    }
    wise(&[]);
    wise(&["keys: { headers: [x-api-key], bearer: false }"]);
    wise(&["keys: { headers: [x-trace-key], query: key }"]);
}

#[test]
fn what_many_sensible_files_have_is_no_warning() {
    wise(&[]);
    // Gaps between priorities, tiers that nobody listed has, prices that are none.
    wise(&[
        "tiers: { free: { priority: 1, concurrency: 1 }, \"$5\": { priority: 5, concurrency: 1 }, \"$VIP\": { priority: 0, concurrency: 1 } }",
    ]);
    // A queue without seats; one as long as the highest concurrency.
    wise(&["queue: { length: 0 }"]);
    wise(&["queue: { length: 2 }"]);
    // The same for the same price, and the same for more.
    wise(&[
        "tiers: { free: { priority: 0, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 1 }, \"$5.00\": { priority: 3, concurrency: 1 }, \"$9\": { priority: 3, concurrency: 1 } }",
    ]);
    // Quotas in different windows are not compared.
    wise(&[
        "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 9, rolling: 1h } }, \"$5\": { priority: 2, concurrency: 1, quota: { limit: 90, rolling: 24h } } }",
    ]);
    // Waits that say the same twice, and one that is as long as a search may take.
    wise(&[
        "queue: { length: 8, max_wait: 60s }",
        "tiers: { free: { priority: 0, concurrency: 1, max_wait: 60s } }",
        "routes: [ { path: /search, upstream: search, metered: true, max_wait: 60s } ]",
    ]);
    // Tiers without prices may share a priority.
    wise(&["tiers: { free: { priority: 0, concurrency: 1 }, user: { priority: 0, concurrency: 2 } }"]);
    // A route by methods of which each is limited, and HEAD with GET.
    wise(&[
        "limits: [ { name: a, per: network, limit: 1, window: 1s, match: { methods: [GET] } }, { name: b, per: network, limit: 1, window: 1s, match: { path: /search, host: b } }, { name: c, per: network, limit: 1, window: 1s, match: { path: \"/Search\", methods: [POST] } } ]",
        "routes: [ { path: /search, upstream: search, metered: true, methods: [HEAD, GET, POST] } ]",
    ]);
    // Dollars in a body are money, and the name of a place is filled in.
    wise(&["answers: { rate_limited: { content_type: text/plain, body: \"that costs ${limit}\" } }"]);
    wise(&["data_dir: \"a$b/${}/{c}\""]);
    wise(&["data_dir: ./a~"]);
}

// What is unwise.

#[test]
fn tiers_that_cost_more_and_get_less() {
    let tiers = |given: &str| format!("tiers:\n  free: {{ priority: 0, concurrency: 1 }}\n{given}");
    let quota = |price: &str, quota: &str| format!("  \"{price}\": {{ priority: 2, concurrency: 1, {quota} }}\n");
    let limits = "limits: [ { name: http, per: account, limit: 100, window: 60s } ]";
    let lower = tiers(
        "  \"$5\": { priority: 3, concurrency: 4 }\n  \"$10\": { priority: 2, concurrency: 2 }\n  \"$20\": { priority: 1, concurrency: 4 }",
    );
    let cents = tiers(
        "  \"$2.50\": { priority: 2, concurrency: 2 }\n  \"$2.5\": { priority: 2, concurrency: 1 }\n  \"$3\": { priority: 2, concurrency: 1 }",
    );
    let bounded =
        quota("$5", "quota: { limit: 500, rolling: 24h }") + &quota("$10", "quota: { limit: 100, rolling: 24h }");
    let unbounded = quota("$5", "max_wait: 30s") + &quota("$10", "quota: { limit: 1000, calendar: month }");
    let several = quota(
        "$5",
        "quotas: { d: { limit: 500, calendar: day }, m: { limit: 9000, calendar: month } }",
    ) + &quota(
        "$10",
        "quotas: { m: { limit: 8000, calendar: month }, d: { limit: 600, calendar: day } }",
    );
    let free = |quota: &str| format!("tiers:\n  free: {{ priority: 0, concurrency: 1, {quota} }}\n");
    let own = tiers(
        "  \"$5\": { priority: 2, concurrency: 1, limits: { http: 300 } }\n  \"$10\": { priority: 2, concurrency: 1 }\n  \"$20\": { priority: 2, concurrency: 1, limits: { http: { limit: 200 } } }",
    );
    snapshot(
        "check_tiers_that_cost_more",
        warned(&[
            &[&lower],
            &[&cents],
            &[&(free("quota: { limit: 10, rolling: 24h }") + &bounded)],
            &[&(free("quota: { limit: 10, calendar: month }") + &unbounded)],
            &[&(free("quota: { limit: 10, calendar: day }") + &several)],
            &[&own, limits],
        ]),
    );
}

#[test]
fn strangers_who_get_more_than_sponsors() {
    let sponsor = "  \"$1\": { priority: 2, concurrency: 1, quota: { limit: 100, rolling: 24h } }\n  \"$9\": { priority: 2, concurrency: 2, quota: { limit: 200, rolling: 24h } }";
    let tiers = |free: &str| format!("tiers:\n  free: {{ {free} }}\n{sponsor}");
    let day = "quota: { limit: 10, rolling: 24h }";
    let [priority, concurrency, quota, unbounded] = [
        format!("priority: 3, concurrency: 1, {day}"),
        format!("priority: 0, concurrency: 3, {day}"),
        "priority: 0, concurrency: 1, quota: { limit: 150, rolling: 24h }".to_owned(),
        "priority: 0, concurrency: 1".to_owned(),
    ]
    .map(|free| tiers(&free));
    snapshot(
        "check_strangers",
        warned(&[
            &[&priority],
            &[&concurrency],
            &[&quota],
            &[&unbounded],
            &[
                "anonymous: \"$1\"",
                "tiers: { \"$1\": { priority: 2, concurrency: 2 }, \"$5\": { priority: 2, concurrency: 1 } }",
            ],
        ]),
    );
}

#[test]
fn warnings_of_equal_priorities_and_a_greedy_caller() {
    snapshot(
        "check_queue",
        each(&[
            "tiers: { free: { priority: 2, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 1 } }",
            "queue: { length: 1 }",
            "tiers: { free: { priority: 0, concurrency: 9 } }",
        ]),
    );
}

#[test]
fn waits_that_cannot_be_or_make_no_sense() {
    let upstream = |timeout: &str| {
        format!(
            "upstreams:\n  search: {{ servers: [ {{ url: \"http://a\", slots: 2 }} ], timeout: {timeout} }}\n  slow: {{ servers: [ {{ url: \"http://b\", slots: 2 }} ] }}"
        )
    };
    let fast = upstream("10s");
    snapshot(
        "check_waits",
        warned(&[
            &["tiers: { free: { priority: 0, concurrency: 1, max_wait: 31s } }"],
            &["routes: [ { path: /search, upstream: search, metered: true, max_wait: 2m30s } ]"],
            &["queue: { length: 8, max_wait: 90s }"],
            &[&fast],
            &[
                &fast,
                "routes:\n  - { path: /search, upstream: search, metered: true }\n  - { path: /slow, upstream: slow, metered: true }",
            ],
            &[
                &fast,
                "routes: [ { path: /search, upstream: search, metered: true, max_wait: 20s } ]",
            ],
        ]),
    );
    // Only metered routes wait; and nobody waits longer than the tiers let them.
    wise(&[&fast, "routes: [ { path: /search, upstream: search } ]"]);
    wise(&[&fast, "tiers: { free: { priority: 0, concurrency: 1, max_wait: 10s } }"]);
}

#[test]
fn quotas_that_nobody_can_use_up() {
    let tier = |fields: &str| format!("tiers:\n  free: {{ priority: 0, concurrency: 2, {fields} }}");
    let fields = [
        "quota: { limit: 1729201, rolling: 24h }",
        "quota: { limit: 72051, rolling: 1h }",
        "quota: { limit: 1000000000000, calendar: month }",
        "quotas: { h: { limit: 10, rolling: 1h }, d: { limit: 251, rolling: 24h } }",
        "quotas: { d: { limit: 10, calendar: day }, m: { limit: 321, calendar: month, zone: Europe/Berlin } }",
        "quotas: { a: { limit: 10, rolling: 24h }, b: { limit: 9, rolling: 24h } }",
    ]
    .map(tier);
    snapshot("check_quotas", each(&fields.each_ref().map(String::as_str)));
    for fields in [
        "quota: { limit: 1729200, rolling: 24h }",
        "quotas: { h: { limit: 10, rolling: 1h }, d: { limit: 250, rolling: 24h } }",
        "quota: { limit: 0, rolling: 24h }",
    ] {
        wise(&[&tier(fields)]);
    }
    // What a success costs is what it takes.
    let costly = "routes: [ { path: /search, upstream: search, metered: true, cost: 2 } ]";
    wise(&[&tier("quota: { limit: 1729201, rolling: 24h }"), costly]);
}

#[test]
fn routes_that_no_request_limit_covers() {
    let limit = |matching: &str| {
        format!("limits: [ {{ name: a, per: network, limit: 1, window: 1s, match: {{ {matching} }} }} ]")
    };
    let routes = "routes:\n  - { path: /search, upstream: search, metered: true }\n  - { path: \"/image/{*rest}\", upstream: search, methods: [GET, PUT] }\n  - { host: a, path: /b, upstream: search }";
    let [path, method, host, narrow] = [
        "path: /SEARCH",
        "methods: [GET]",
        "host: A",
        "path: \"/image/thumbs/*\"",
    ]
    .map(limit);
    snapshot(
        "check_routes",
        warned(&[
            &["limits: []", routes],
            &[&path, routes],
            &[&method, routes],
            &[&host, routes],
            &[&narrow, routes],
        ]),
    );
}

#[test]
fn request_limits_that_no_request_meets() {
    let limits = |matching: &str| {
        format!(
            "limits: [ {{ name: http, per: network, limit: 9, window: 1s }}, {{ name: a, per: network, limit: 1, window: 1s, match: {{ {matching} }} }} ]"
        )
    };
    let hosts = "routes:\n  - { host: a.example, path: /search, upstream: search, metered: true, methods: [POST] }\n  - { host: b.example, path: \"/image/{*rest}\", upstream: search }";
    let said = [
        "host: c.example",
        "host: a.example, path: /image/x",
        "path: /serach",
        "path: /image",
        "methods: [DELETE, TRACE], path: /search",
        "host: a.example, path: /search, methods: [GET, OPTIONS]",
        "methods: [OPTIONS]",
        "methods: [GET, OPTIONS]",
    ]
    .map(limits);
    let files: Vec<Vec<&str>> = said.iter().map(|limits| vec![limits.as_str(), hosts]).collect();
    let files: Vec<&[&str]> = files.iter().map(Vec::as_slice).collect();
    snapshot("check_limits", warned(&files));
    for met in [
        "host: A.example",
        "path: /SEARCH",
        "path: \"/{any}\"",
        "path: \"/image/*\", methods: [PUT]",
        "path: /image/a, host: b.example",
        "methods: [POST, DELETE]",
        "path: /me",
        "host: b.example, path: /stats, methods: [HEAD]",
    ] {
        wise(&[&limits(met), hosts]);
    }
    // Where a route is for any host, a limit may be for one.
    wise(&[&limits("host: c.example")]);
    wise(&[&limits("methods: [PATCH]")]);
    // What a route that is wrong would have had, nobody knows.
    let unread = checked(&[&limits("path: /serach"), "routes: [ { path: /a, upstream: serch } ]"]);
    assert_eq!((unread.diagnostics.errors(), unread.diagnostics.warnings()), (1, 0));
}

#[test]
fn limits_by_which_one_caller_locks_out_all_others() {
    let limits = |per: &str| format!("limits: [ {{ name: http, per: {per}, limit: 9, window: 1s }} ]");
    snapshot("check_global_limits", each(&[&limits("global"), &limits("[global]")]));
    // Who has no account is counted by network.
    wise(&[&limits("account")]);
    wise(&[&limits("[global, network]")]);
}

#[test]
fn networks_that_hold_a_large_part_of_all_addresses() {
    snapshot(
        "check_networks",
        each(&[
            "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0, \"::/0\"]",
            "blocked_networks: [0.0.0.0/0]",
            "trusted_proxies: [0.0.0.0/1, 128.0.0.0/1]",
            "blocked_networks: [64.0.0.0/7, \"2000::/3\"]",
        ]),
    );
    wise(&[
        "trusted_proxies: [10.0.0.0/8, \"fc00::/7\"]",
        "blocked_networks: [11.0.0.0/8, \"2001::/16\"]",
    ]);
}

#[test]
fn what_a_newcomer_wrote_and_was_misled_about() {
    let said = [
        "answers: { rate_limited: { body: 'Slow down' } }",
        "answers: { not_found: { headers: { X-RateLimit-Limit: \"5\", RateLimit: a, RateLimit-Policy: a, x-a: \"5\", X-A: \"6\" } } }",
        "routes: [ { path: \"/a?x=1\", upstream: search, metered: true } ]",
    ]
    .map(|line| shown(&checked(&[line])) + "\n\n");
    snapshot("check_newcomer", said.concat());
}

#[test]
fn variables_that_nobody_fills_in() {
    snapshot(
        "check_variables",
        each(&[
            "data_dir: ${DATA_DIR}",
            "data_dir: /var/lib/${name:-tiergate}",
            "keys: { headers: [], query: key }\ncores: 2\ndata_dir: \"${A}${B}\"",
            "tiers: { free: { priority: 0, concurrency: 1 }, \"${TIER}\": { priority: 0, concurrency: 1 } }",
        ]),
    );
}

#[test]
fn a_home_folder_that_nobody_fills_in() {
    snapshot("check_home", each(&["data_dir: ~/data", "data_dir: \"~door/data\""]));
}

#[test]
fn warnings_are_given_beside_errors_in_the_order_of_the_lines() {
    let checked = checked(&[
        "queue: { length: 2, max_wait: 30s }",
        "tiers:\n  free: { priority: 0, concurrency: 1 }\n  \"$5\": { priority: 2, concurency: 4 }\n  \"$10\": { priority: 1, concurrency: 4, max_wait: 40s }\n  \"$20\": { priority: 0, concurrency: 4 }",
        "limits: [ { name: http, per: network, limit: 1, window: 60s, match: { path: /x } } ]",
        "routes:\n  - { path: /other, upstream: serch }\n  - { path: /search, upstream: search, metered: true, max_wait: 45s }",
    ]);
    assert_eq!(checked.config, None);
    let lines: Vec<u32> = checked
        .diagnostics
        .problems()
        .iter()
        .filter_map(|problem| problem.span.as_ref().map(|span| span.line))
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");
    snapshot("check_beside_errors", shown(&checked));
}

#[test]
fn a_hundred_warnings_are_shown_beside_a_hundred_errors() {
    let many: String = (0..250).map(|n| format!("unknown_{n}: \"${{A}}\"\n")).collect();
    let checked = check("tiers.yaml", format!("{}{many}", file(&[])).as_bytes(), &Nothing);
    let diagnostics = &checked.diagnostics;
    assert_eq!((diagnostics.errors(), diagnostics.warnings()), (250, 250));
    let of = |severity| {
        diagnostics
            .problems()
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    assert_eq!(
        (of(Severity::Error), of(Severity::Warning)),
        (SHOWN_PROBLEMS_MAX, SHOWN_PROBLEMS_MAX)
    );
    assert!(shown(&checked).ends_with("and 300 more\n\ntiers.yaml: 250 errors, 250 warnings"));
}

#[test]
fn inks_are_around_words_and_arrows_and_change_nothing_else() {
    let checked = checked(&["queue: { length: 1, max_wait: 0s }"]);
    let inks = Inks {
        error: Ink("<e>", "</e>"),
        warning: Ink("<w>", "</w>"),
        message: Ink("<b>", "</b>"),
        margin: Ink("<m>", "</m>"),
    };
    let inked = checked.diagnostics.shown(inks).to_string();
    snapshot("check_inks", &inked);
    let mut plain = inked;
    for mark in ["<e>", "</e>", "<w>", "</w>", "<b>", "</b>", "<m>", "</m>"] {
        plain = plain.replace(mark, "");
    }
    assert_eq!(plain, shown(&checked));
}

// What is only named.

#[test]
fn the_operators_token_is_named_and_not_kept() {
    let token = "admin: { listen: 127.0.0.1:9090, token: \"${DOOR_TOKEN}\" }";
    let text = file(&[token]);
    let given = Given::variable("DOOR_TOKEN", format!(" {SECRET}\n"));
    let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
    assert_eq!(config.admin.token, Some(TokenSource::Variable("DOOR_TOKEN".to_owned())));
    assert!(!format!("{config:?}").contains(SECRET));

    let text = file(&["admin: { listen: 127.0.0.1:9090, token_file: /run/secrets/tiergate }"]);
    let given = Given::file("/run/secrets/tiergate", format!("{SECRET}\n"));
    let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
    assert_eq!(
        config.admin.token,
        Some(TokenSource::File("/run/secrets/tiergate".into()))
    );
    assert!(!format!("{config:?}").contains(SECRET));
    assert_eq!(
        Config::parse("tiers.yaml", file(&[]).as_bytes()).unwrap().admin.token,
        None
    );
}

/// The bug: both began wherever the program was started.
#[test]
fn relative_paths_begin_in_the_files_folder() {
    let text = file(&[
        "admin: { listen: 127.0.0.1:9090, token_file: ./secret }",
        "data_dir: ./data",
    ]);
    for (path, folder) in [
        ("etc/tiers.yaml", "etc/"),
        ("/etc/tiers.yaml", "/etc/"),
        ("tiers.yaml", "./"),
    ] {
        let secret = format!("{folder}secret");
        let given = Given::file(&secret, SECRET);
        let config = Config::parse_for(Path::new(path), "what was sent", text.as_bytes(), &given).unwrap();
        assert_eq!(config.data_dir, PathBuf::from(format!("{folder}data")));
        assert_eq!(config.admin.token, Some(TokenSource::File(secret.into())));
        let errors = Config::parse_for(Path::new(path), "what was sent", text.as_bytes(), &Given::default());
        assert!(
            errors
                .unwrap_err()
                .to_string()
                .starts_with("error: the file that is named")
        );
    }
    let left_out = Config::parse_for(
        Path::new("etc/tiers.yaml"),
        "tiers.yaml",
        file(&[]).as_bytes(),
        &Nothing,
    );
    assert_eq!(left_out.unwrap().data_dir, PathBuf::from("etc/data"));
}

#[test]
fn a_variable_holds_one_hash_or_several() {
    let [a, b] = HASHES;
    let account = |keys: &str| format!("accounts: [ {{ name: bot, tier: free, key_sha256: {keys} }} ]");
    for (keys, held, count) in [
        ("\"${BOT_KEYS}\"", a.to_owned(), 1),
        ("'${BOT_KEYS}'", format!("{a} {b}\n"), 2),
        ("[\"${BOT_KEYS}\"]", format!(",{a},\n\t{b}, "), 2),
        (&format!("[\"${{BOT_KEYS}}\", {b}]"), a.to_uppercase(), 2),
    ] {
        let given = Given::variable("BOT_KEYS", held);
        let text = file(&[&account(keys)]);
        let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
        assert_eq!(config.accounts[0].key_sha256.len(), count, "{keys}");
    }
}

/// What is said where the door would be started, and by `check`, which may be run elsewhere.
fn named(lines: &[&str], given: &Given) -> String {
    let text = file(lines);
    let errors = Config::parse_in("tiers.yaml", text.as_bytes(), given).unwrap_err();
    let checked = check("tiers.yaml", text.as_bytes(), given);
    for said in [
        errors.to_string(),
        format!("{errors:?}"),
        shown(&checked),
        format!("{checked:?}"),
    ] {
        assert!(!said.contains("hunter2"), "{said}");
    }
    let as_well = match shown(&checked) {
        same if same == errors.to_string() => "the same".to_owned(),
        other => other,
    };
    format!("{errors}\n\ncheck: {as_well}\n\n")
}

#[test]
fn what_is_named_and_missing_or_wrong_is_told_and_never_shown() {
    let admin = |fields: &str| format!("admin: {{ listen: 127.0.0.1:9090, {fields} }}");
    let accounts = |keys: &str| format!("accounts: [ {{ name: bot, tier: free, key_sha256: {keys} }} ]");
    let none = Given::default();
    let short = || Given::variable("A", "hunter2");
    let said = [
        named(&[&admin("token: \"${A}\"")], &none),
        named(&[&admin("token: \"${A}\"")], &short()),
        named(&[&admin("token: \"${A}\"")], &Given::variable("A", SECRET.repeat(200))),
        named(&[&admin("token_file: /run/secrets/tiergate")], &none),
        named(
            &[&admin("token_file: /a")],
            &Given::file("/a", "hunter2 with spaces in it"),
        ),
        named(&[&admin(&format!("token: {SECRET}"))], &none),
        named(&[&admin(&format!("token: \"${{{SECRET}}}\""))], &none),
        named(&[&admin(&format!("token: [ {SECRET} ]"))], &none),
        named(&[&admin(&format!("token_file: {SECRET}"))], &none),
        named(
            &[&admin("token: \"${A}\", token_file: /a")],
            &Given::variable("A", SECRET),
        ),
        named(&[&admin("token_file: \"\"")], &none),
        named(&[&accounts("\"${A}\"")], &none),
        named(&[&accounts("\"${A}\"")], &short()),
        named(&[&accounts("\"${A}\"")], &Given::variable("A", " ")),
        named(
            &[&accounts("\"${A}\"")],
            &Given::variable("A", format!("{} {}", HASHES[0], HASHES[0])),
        ),
        named(
            &[&accounts("\"${A}\"")],
            &Given::variable(
                "A",
                (10..27)
                    .map(|n| format!("{n}{}", &HASHES[0][2..]))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        ),
        named(&[&accounts(&format!("\"x${{A}}{SECRET}\""))], &short()),
    ];
    snapshot("check_what_is_named", said.concat());
}

#[test]
fn a_file_is_read_without_its_secrets_by_who_needs_none() {
    let folder = std::env::temp_dir().join(format!("tiergate-peek-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("tiers.yaml");
    let token = "admin: { listen: 127.0.0.1:9090, token_file: /no/such/file }";
    let account = "accounts: [ { name: bot, tier: free, key_sha256: \"${TIERGATE_TEST_OF_NO_SUCH_VARIABLE}\" } ]";
    std::fs::write(&path, file(&[token, account])).unwrap();
    let config = Config::peek(&path).unwrap();
    assert_eq!(config.admin.token, Some(TokenSource::File("/no/such/file".into())));
    assert_eq!(config.accounts[0].key_sha256.len(), 0);
    assert_eq!(Config::load(&path).unwrap_err().count(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
