//! tiers.yaml: what is right is read, and all that is wrong is said at once, with the line and what to do.
//!
//! The messages are the snapshots in `tests/snapshots`, one file a subject.

#[path = "support/sections.rs"]
mod sections;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tiergate::config::{Config, ConfigErrors, HistorySection, OnHangupSetting, Origins, SHOWN_PROBLEMS_MAX};
use tiergate::policy::rules::{Rules, TierId, UpstreamId, Window, Within};
use tiergate::policy::time::Span;

use sections::HASHES;

/// The shortest file that is right, a section a line.
const LEAST: [(&str, &str); 7] = [
    ("listen", "listen: 127.0.0.1:8080"),
    ("admin", "admin: { listen: 127.0.0.1:9090 }"),
    ("queue", "queue: { length: 8 }"),
    (
        "tiers",
        "tiers: { free: { priority: 0, concurrency: 1 }, gold: { priority: 6, concurrency: 4 } }",
    ),
    ("anonymous", "anonymous: free"),
    (
        "upstreams",
        "upstreams: { search: { servers: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ] } }",
    ),
    (
        "routes",
        "routes: [ { path: /search, upstream: search, metered: true } ]",
    ),
];

/// The least file, in which the lines given take the place of the section of the same name, or are added.
fn file(lines: &[&str]) -> String {
    sections::with(&LEAST, lines)
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("tiers.yaml", text.as_bytes())
}

#[track_caller]
fn good(lines: &[&str]) -> Config {
    parse(&file(lines)).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said about each of the files, one after the other.
#[track_caller]
fn said(files: &[&[&str]]) -> String {
    let mut said = String::new();
    for lines in files {
        match parse(&file(lines)) {
            Ok(_) => panic!("this was taken: {lines:?}"),
            Err(errors) => writeln!(said, "{errors}\n").unwrap(),
        }
    }
    said
}

/// What is said about one section, in each of the ways to write it.
#[track_caller]
fn each(lines: &[&str]) -> String {
    said(&sections::alone(lines))
}

/// Compares with the file of that name in `tests/snapshots`.
#[track_caller]
fn snapshot(name: &str, said: impl AsRef<str>) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, said.as_ref()) });
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

// What is right.

#[test]
fn the_repositorys_file_is_the_reference_table() {
    let config = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml")).unwrap();
    // tier, daily quota, concurrency, priority: the table that trace.moe shows its sponsors.
    let table = [
        ("free", 100, 1, 0),
        ("$1", 100, 1, 2),
        ("$5", 500, 1, 2),
        ("$10", 1000, 1, 5),
        ("$20", 2000, 2, 5),
        ("$50", 5000, 3, 5),
        ("$100", 10000, 4, 6),
    ];
    assert_eq!(config.rules.tiers.len(), table.len());
    for (tier, (name, limit, concurrency, priority)) in config.rules.tiers.iter().zip(table) {
        assert_eq!(
            (&*tier.name, tier.concurrency, tier.priority.get()),
            (name, concurrency, priority)
        );
        let [quota] = tier.quotas.as_slice() else {
            panic!("{name} has one quota")
        };
        assert_eq!((&*quota.name, quota.limit), ("daily", limit), "{name}");
        let day = Window::Rolling(Span::from_secs(24 * 60 * 60));
        assert_eq!(config.rules.windows[quota.window], day, "{name}");
        assert_eq!(
            (tier.max_wait, tier.displacements_per_minute),
            (None, 10 * concurrency),
            "{name}"
        );
    }
    assert_eq!(*config.rules.tier(config.rules.anonymous).name, *"free");
    assert_eq!(config.rules.queue.length, 8);
    assert_eq!(config.rules.queue.lifeline, None);
    assert_eq!(config.keys.headers, ["x-api-key", "x-trace-key"]);
    assert_eq!((config.keys.bearer, config.keys.query.as_deref()), (true, Some("key")));
    let [search, image] = config.routes.as_slice() else {
        panic!("two routes")
    };
    assert_eq!(
        (search.pattern.as_str(), search.metered, search.max_body),
        ("/search", true, 25 << 20)
    );
    assert_eq!((image.pattern.as_str(), image.metered), ("/image/{*rest}", false));
    let [bot] = config.accounts.as_slice() else {
        panic!("one account")
    };
    assert_eq!(
        (bot.name.as_str(), bot.tier, bot.key_sha256.len()),
        ("listed-bot", TierId(6), 1)
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = good(&[]);
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!((config.drain_timeout, config.cores), (secs(30), None));
    assert_eq!(
        (config.history, config.clock_step_max),
        (HistorySection::default(), secs(300))
    );
    assert_eq!(
        (config.history.keep, config.history.max),
        (secs(30 * 86_400), 4_294_967_296)
    );
    assert_eq!(config.connections.max, 10_000);
    assert_eq!(
        (config.connections.head_timeout, config.connections.head_max),
        (secs(10), 64 << 10)
    );
    assert_eq!(
        (config.connections.headers_max, config.connections.unmetered_max),
        (100, 256)
    );
    assert_eq!(
        (config.rules.queue.within_tier, config.rules.queue.max_wait),
        (Within::Fifo, Span::from_secs(30))
    );
    assert_eq!(
        (config.keys.headers, config.keys.bearer, config.keys.query),
        (
            vec!["x-api-key".parse().unwrap(), "x-trace-key".parse().unwrap()],
            true,
            Some("key".to_owned())
        ),
        "as the shipped file shows it"
    );
    let keys = good(&["keys: {}"]).keys;
    assert_eq!(
        (keys.headers, keys.bearer, keys.query),
        (vec!["x-api-key".parse().unwrap()], true, None),
        "what `keys` leaves out"
    );
    assert_eq!(
        (config.trusted_proxies, config.cors, config.accounts),
        (vec![], None, vec![])
    );
    assert_eq!(config.paths.me.as_deref(), Some("/me"));
    let search = &config.upstreams[0];
    assert_eq!((search.connect_timeout, search.timeout), (secs(2), secs(60)));
    assert_eq!(
        (search.first_byte_timeout, search.idle_timeout, &search.health),
        (secs(60), secs(15), &None)
    );
    assert_eq!(slots(&config.rules), [2]);
    let route = &config.routes[0];
    assert_eq!(
        (&route.host, &route.methods, route.upstream),
        (&None, &None, UpstreamId(0))
    );
    assert_eq!(
        (route.max_body, route.max_wait, route.on_hangup),
        (1 << 20, None, OnHangupSetting::Finish)
    );
    assert_eq!(route.success, [200]);
}

#[test]
fn what_is_written_is_read() {
    let config = good(&[
        "listen: \"[::]:80\"",
        "queue: { length: 0, within_tier: fair, max_wait: 1m30s, lifeline: 4 }",
        "tiers: { no: { priority: 0, concurrency: 3, max_wait: 5s, displacements_per_minute: 0 }, 1: { priority: 6, concurrency: 1 } }",
        "anonymous: no",
        "cores: 2",
        "data_dir: /var/lib/tiergate",
        "history: { keep: 3650d, max: 1TiB }",
        "clock_step_max: 1s",
        "connections: { max: 7, head_timeout: 500ms, head_max: 8KiB, headers_max: 16, unmetered_max: 1 }",
        "keys: { headers: [], bearer: false }",
        "trusted_proxies: [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\", \"::1\"]",
        "cors: { origins: [\"https://Example.org\", \"http://localhost:3000\"], max_age: 10m }",
        "paths: { me: off }",
        "upstreams: { b: { servers: [ { url: \"http://Worker\", slots: 1 }, { url: \"http://[::1]:8080\", slots: 9 } ], timeout: 5s, health: { path: \"/h?x=1\" } }, a: { servers: [ { url: \"http://10.0.0.1\", slots: 3 } ], first_byte_timeout: 1s } }",
        "routes: [ { host: API.example.org, path: /x, upstream: a, methods: [GET, POST], metered: true, success: [200, 206], max_wait: 2s, on_hangup: cancel, max_body: 0B }, { path: /x, upstream: b } ]",
        &format!(
            "accounts: [ {{ name: bot, tier: 1, key_sha256: [{}, {}] }} ]",
            HASHES[0],
            HASHES[1].to_uppercase()
        ),
    ]);
    assert_eq!(config.listen, "[::]:80".parse::<SocketAddr>().unwrap());
    assert_eq!((config.rules.queue.length, config.rules.queue.lifeline), (0, Some(4)));
    assert_eq!(
        (config.rules.queue.within_tier, config.rules.queue.max_wait),
        (Within::Fair, Span::from_secs(90))
    );
    assert_eq!(*config.rules.tiers[TierId(0)].name, *"no", "a name stays a name");
    assert_eq!(
        (
            config.rules.tiers[TierId(0)].max_wait,
            config.rules.tiers[TierId(0)].displacements_per_minute
        ),
        (Some(Span::from_secs(5)), 0)
    );
    assert_eq!(config.cores, Some(2));
    assert_eq!(
        (config.history.keep, config.history.max),
        (secs(3_650 * 86_400), 1 << 40)
    );
    assert_eq!(config.clock_step_max, secs(1));
    assert_eq!(config.connections.head_timeout, Duration::from_millis(500));
    assert_eq!((config.keys.headers.len(), config.keys.bearer), (0, false));
    let networks: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"]);
    let cors = config.cors.unwrap();
    let origins = ["https://example.org", "http://localhost:3000"].map(|origin| origin.parse().unwrap());
    assert_eq!(
        (cors.origins, cors.max_age),
        (Origins::List(origins.to_vec()), secs(600))
    );
    assert_eq!(config.paths.me, None);
    assert_eq!(slots(&config.rules), [1, 9]);
    let authorities: Vec<String> = config.upstreams[0]
        .servers
        .iter()
        .map(|server| server.authority())
        .collect();
    assert_eq!(authorities, ["worker:80", "[::1]:8080"]);
    assert_eq!(config.upstreams[0].first_byte_timeout, secs(5), "as timeout");
    assert_eq!(config.upstreams[0].health.as_ref().unwrap().every, secs(5));
    assert_eq!(config.upstreams[1].first_byte_timeout, secs(1));
    let route = &config.routes[0];
    assert_eq!(
        (route.host.as_deref(), route.upstream),
        (Some("api.example.org"), UpstreamId(1))
    );
    assert_eq!(route.methods, Some(vec![http::Method::GET, http::Method::POST]));
    assert_eq!(
        (route.max_body, route.max_wait, route.on_hangup),
        (0, Some(secs(2)), OnHangupSetting::Cancel)
    );
    assert_eq!(route.success, [200, 206]);
    assert_eq!(
        (config.accounts[0].tier, config.accounts[0].key_sha256[0][..2].to_vec()),
        (TierId(1), vec![0x2c, 0x26])
    );
}

#[test]
fn the_shortest_history_is_read() {
    let shortest = HistorySection {
        keep: secs(3_600),
        max: 64 << 20,
    };
    assert_eq!(good(&["history: { keep: 1h, max: 64MiB }"]).history, shortest);
    let longest = good(&["clock_step_max: 24h", "history: { keep: 3650d }"]);
    assert_eq!((longest.clock_step_max, longest.history.max), (secs(86_400), 4 << 30));
}

#[test]
fn any_origin() {
    assert_eq!(
        good(&["cors: { origins: [\"*\"] }"]).cors.unwrap().origins,
        Origins::Any
    );
}

#[test]
fn a_byte_order_mark_and_other_ends_of_lines_change_nothing() {
    let text = file(&[]);
    let same = parse(&text).unwrap();
    assert_eq!(parse(&format!("\u{feff}{text}")).unwrap(), same);
    assert_eq!(parse(&text.replace('\n', "\r\n")).unwrap(), same);
    assert_eq!(parse(&format!("---\n{text}...\n")).unwrap(), same);
}

// What is wrong.

#[test]
fn everything_at_once() {
    let text = "\
listen: localhost:8080
admin: { listen: 127.0.0.1:9090 }
drain_timeout: 0s
queue: { length: 8, within_teir: fair }
tiers:
  free:  { priority: 0, concurency: 1 }
  \"$1\":  { priority: 7, concurrency: 1, quota: { limit: 100, rolling: 24 } }
  free:  { priority: 2, concurrency: 1 }
anonymous: fre
upstreams:
  search: { servers: [ { url: \"https://127.0.0.1:8081\", slots: 2 } ] }
routes:
  - { path: /search, upstream: serch, metered: yes }
accounts:
  - { name: bot, tier: \"$2\", key_sha256: my-own-key }
  - { name: bot, tier: free }
colour: blue
";
    let errors = parse(text).unwrap_err();
    assert_eq!(errors.count(), 16);
    snapshot("everything_at_once", errors.to_string());
}

#[test]
fn files_that_are_no_mapping() {
    let files = [
        "",
        "\n# nothing\n",
        "null",
        "- a\n- b\n",
        "tiers",
        "\"\"",
        "{}",
        "? [a]\n: b\n",
    ];
    let said: Vec<String> = files
        .iter()
        .map(|text| format!("{}\n", parse(text).unwrap_err()))
        .collect();
    snapshot("files_that_are_no_mapping", said.join("\n"));
}

#[test]
fn a_file_that_is_not_there() {
    let errors = Config::load(Path::new("no/such/tiers.yaml")).unwrap_err();
    assert_eq!(errors.count(), 1);
    assert_eq!(errors.problems()[0].span, None);
    assert!(
        errors.to_string().starts_with("error: the file can't be read: "),
        "{errors}"
    );
}

#[test]
fn what_is_not_yaml() {
    snapshot(
        "what_is_not_yaml",
        each(&[
            "queue: { length: 8",
            "queue: \"8",
            "cors: { origins: [*] }",
            "\tqueue: 8",
            "queue: 8: 9",
            "data_dir: @home",
            "%YAML 1.2",
            "queue: { length: 8 }\n---\nqueue: 8",
        ]),
    );
}

#[test]
fn what_of_yaml_is_not_taken() {
    snapshot(
        "what_of_yaml_is_not_taken",
        each(&[
            "tiers: { free: &free { priority: 0, concurrency: 1 }, gold: *free }",
            "tiers: { free: { <<: { priority: 0, concurrency: 1 } } }",
            "data_dir: !env HOME",
            "data_dir: *nowhere",
        ]),
    );
}

#[test]
fn bytes_that_are_no_text() {
    let mut said = String::new();
    for bytes in [
        &b"listen: a\nadmin: \xff\xfe"[..],
        b"\xff\xfel\0",
        b"listen: a\r\n\0admin: b",
        b"listen: \x1b[31mred",
    ] {
        writeln!(said, "{}\n", Config::parse("tiers.yaml", bytes).unwrap_err()).unwrap();
    }
    snapshot("bytes_that_are_no_text", said);
}

#[test]
fn sections_that_are_missing() {
    snapshot(
        "sections_that_are_missing",
        parse("cores: 2\n").unwrap_err().to_string(),
    );
}

#[test]
fn fields_unknown_repeated_missing_and_of_another_type() {
    snapshot(
        "fields_unknown_repeated_missing_and_of_another_type",
        each(&[
            "queue: { lenght: 8 }",
            "queue: { length: 8, length: 9 }",
            "queue: { within_tier: fifo }",
            "queue: 8",
            "queue: [8]",
            "queue:",
            "quotas: {}",
            "queue: { length: \"8\" }",
            "queue: { length: 08 }",
            "queue: { length: -1 }",
            "queue: { length: 65537 }",
            "queue: { length: many }",
            "queue: { length: [8] }",
            "queue: { length: }",
            "queue: { length: 8, within_tier: fare }",
            "queue: { length: 8, lifeline: 1 }",
            "data_dir: \"\"",
            "cores: 0",
        ]),
    );
}

/// Beside the field that isn't known it was said that what it was meant for is missing, or says nothing.
#[test]
fn one_mistake_is_told_once() {
    for (lines, told) in [
        (
            &["answers: { rate_limited: { code: 429 } }"][..],
            "unknown field `code`",
        ),
        (
            &["answers: { rate_limited: { content_type: text/plain, bdy: x } }"],
            "unknown field `bdy`; did you mean `body`?",
        ),
        (
            &["limits: [ { name: a, per: network, limit: 1, window: 1s, match: { hosts: [a] } } ]"],
            "unknown field `hosts`; did you mean `host`?",
        ),
        (
            &["limits: [ { name: a, per: network, limit: 1, window: 1s, match: { url: a } } ]"],
            "unknown field `url`",
        ),
        (
            &["tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, roling: 24h } } }"],
            "unknown field `roling`; did you mean `rolling`?",
        ),
        (
            &["routes: [ { path: /a, upstream: search, metred: true, max_wait: 9s } ]"],
            "unknown field `metred`; did you mean `metered`?",
        ),
        (
            &["tiers: { \"u:p@h\": { priority: 0, concurrency: 1 } }"],
            "this can't be the name of a tier",
        ),
        (&["queue: { length:8 }"], "this is the name of no field"),
    ] {
        let errors = parse(&file(lines)).unwrap_err();
        let messages: Vec<&str> = errors
            .problems()
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(messages, [told], "{lines:?}");
    }
}

#[test]
fn lengths_of_time_and_sizes() {
    snapshot(
        "lengths_of_time_and_sizes",
        each(&[
            "drain_timeout: 0s",
            "drain_timeout: 30",
            "drain_timeout: 1.5s",
            "drain_timeout: -1s",
            "drain_timeout: 30sec",
            "drain_timeout: 30m1h",
            "drain_timeout: 367d",
            "drain_timeout: 99999999999999999999d",
            "drain_timeout: soon",
            "clock_step_max: 999ms",
            "clock_step_max: 24h1ms",
            "clock_step_max: 300",
            "history: { keep: 59m }",
            "history: { keep: 3651d }",
            "history: { keep: forever }",
            "history: { max: 63MiB }",
            "history: { max: 1025GiB }",
            "history: { max: 4096 }",
            "history: { limit: 4GiB }",
            "history: 30d",
            "connections: { head_max: 64 }",
            "connections: { head_max: 64kib }",
            "connections: { head_max: 1KiB }",
            "connections: { head_max: 99999999999999999999GiB }",
            "connections: { head_max: 1MiB1KiB }",
        ]),
    );
}

#[test]
fn addresses() {
    snapshot(
        "addresses",
        each(&[
            "listen: :8080",
            "listen: localhost:8080",
            "listen: 127.0.0.1",
            "listen: 127.0.0.1:80800",
            "listen: 127.0.0.1:9090",
            "listen: 0.0.0.0:9090",
            "trusted_proxies: [10.0.0.1/8]",
            "trusted_proxies: [10.0.0.0/33, proxy.example.org]",
            "trusted_proxies: 10.0.0.0/8",
        ]),
    );
    let both = "127.0.0.1:0";
    good(&[&format!("listen: {both}"), &format!("admin: {{ listen: {both} }}")]);
}

#[test]
fn keys_origins_and_own_paths() {
    snapshot(
        "keys_origins_and_own_paths",
        each(&[
            "keys: { headers: [\"x api key\"] }",
            "keys: { headers: [authorization] }",
            "keys: { headers: [host] }",
            "keys: { headers: [x-key, X-Key] }",
            "keys: { query: \"a&b\" }",
            "keys: { bearer: yes }",
            "cors: {}",
            "cors: { origins: [] }",
            "cors: { origins: [\"*\", \"https://example.org\"] }",
            "cors: { origins: [example.org] }",
            "cors: { origins: [\"https://example.org/\"] }",
            "cors: { origins: [\"https://example.org:443\"] }",
            "paths: { me: me }",
            "paths: { me: \"/me/{id}\" }",
            "paths: { me: /search }",
        ]),
    );
}

#[test]
fn tiers() {
    snapshot(
        "tiers",
        each(&[
            "tiers: {}",
            "tiers: [free]",
            "tiers: { free: }",
            "tiers: { free: { priority: 7, concurrency: 0 } }",
            "tiers:\n  free: { priority: 0, concurrency: 1 }\n  gold: { priority: 1, concurrency: 1 }\n  free: { priority: 2, concurrency: 1 }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1000000000001 } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, rolling: 500ms } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, rolling: 1h, calendar: day } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, rolling: 1h, zone: UTC } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, calendar: week } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, rolling: 1h, enforce: 0 } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, calendar: day, zone: America/New_Yrok } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, rolling: 1h }, quotas: { daily: { limit: 1, rolling: 24h } } } }",
            "tiers: { free: { priority: 0, concurrency: 1, quotas: { \"a b\": { limit: 1, rolling: 1h }, concurrency: { limit: 1, rolling: 1h } } } }",
            "tiers: { free: { priority: 0, concurrency: 1 }, \"two words\": { priority: 0, concurrency: 1 } }",
            "tiers: { free: { priority: 0, concurrency: 1 }, \"\": { priority: 0, concurrency: 1 } }",
            "anonymous: fre",
            "anonymous: platinum",
            "anonymous: [free]",
        ]),
    );
}

#[test]
fn limits() {
    let limit = |fields: &str| format!("limits: [ {{ name: http, per: network, limit: 10, window: 60s{fields} }} ]");
    let of = |fields: &str| limit(&format!(", {fields}"));
    let tier = |raise: &str| {
        let tier = format!("tiers: {{ free: {{ priority: 0, concurrency: 1, limits: {{ {raise} }} }} }}");
        format!("{tier}\n{}", limit(""))
    };
    let daily = "tiers: { free: { priority: 0, concurrency: 1, quotas: { http: { limit: 1, rolling: 24h } } } }";
    let cases = [
        "limits: {}".to_owned(),
        "limits: [http]".to_owned(),
        "limits: [ { per: network, limit: 1, window: 1s } ]".to_owned(),
        "limits: [ { name: \"a b\", per: network, limit: 1, window: 1s } ]".to_owned(),
        "limits: [ { name: concurrency, per: network, limit: 1, window: 1s } ]".to_owned(),
        "limits:\n- { name: a, per: network, limit: 1, window: 1s }\n- { name: a, per: account, limit: 1, window: 1s }".to_owned(),
        "limits: [ { name: a } ]".to_owned(),
        "limits: [ { name: a, per: [network, network], limit: 1, window: 1s } ]".to_owned(),
        "limits: [ { name: a, per: [], limit: 1, window: 1s } ]".to_owned(),
        "limits: [ { name: a, per: adress, limit: -1, window: 5ms } ]".to_owned(),
        "limits: [ { name: a, per: network, limit: 1, window: 32d, penalty: 10ms, degraded: 2 } ]".to_owned(),
        "limits: [ { name: a, per: network, limit: 1, window: 500ms, kind: sliding } ]".to_owned(),
        "limits: [ { name: a, per: network, limit: 1, window: 1500ms, align: clock } ]".to_owned(),
        of("kind: burst, align: clock"),
        of("kind: rolling"),
        of("headers: never"),
        of("headers: always, disclosed: false"),
        of("match: {}"),
        of("match: { path: upload, host: \"a b\", methods: [get] }"),
        of("match: { path: \"/a/*/b\" }"),
        of("v6_prefix: 24"),
        "limits: [ { name: a, per: global, limit: 1, window: 1s, v6_prefix: 64, block_after: { refusals: 0, within: 1m } } ]".to_owned(),
        of("block_after: { refusals: 1, within: 1m, for: 10ms }"),
        of("enforce: maybe"),
        of("penaltie: 60s"),
        tier("htp: 5"),
        tier("http: { limit: 5, lifts: account }"),
        tier("http: lots"),
        format!("{daily}\n{}", limit("")),
        "max_callers: 999".to_owned(),
        "ratelimit_fields: on".to_owned(),
        "forwarded_header: x-real-ip".to_owned(),
        "proxy_protocol: true".to_owned(),
        "blocked_networks: [192.0.2.1/24]".to_owned(),
    ];
    snapshot("limits", each(&cases.each_ref().map(String::as_str)));
    good(&[&of(
        "match: { path: \"/upload/*\", host: Media.Example, methods: [POST] }, kind: burst, disclosed: false",
    )]);
    for (written, enforce) in [("", true), (", enforce: true", true), (", enforce: false", false)] {
        let quota = format!(
            "tiers: {{ free: {{ priority: 0, concurrency: 1, quota: {{ limit: 1, rolling: 24h{written} }} }} }}"
        );
        let rules = good(&[&quota, &limit(written)]).rules;
        let told = (rules.limits[0].enforce, rules.tiers[TierId(0)].quotas[0].enforce);
        assert_eq!(told, (enforce, enforce), "{written}");
    }
}

#[test]
fn answers() {
    snapshot(
        "answers",
        each(&[
            "answers: { rate_limitd: { status: 429 } }",
            "answers: { rate_limited: {} }",
            "answers: { rate_limited: { status: 200 } }",
            "answers: { rate_limited: { content_type: text/plain } }",
            "answers: { rate_limited: { content_type: plain, body: x } }",
            "answers: { rate_limited: { body: '{ \"limit\": {limt} }' } }",
            "answers: { rate_limited: { body: '{ \"limit\": {limit}, }' } }",
            "answers: { rate_limited: { body: '{ {error}: 1 }' } }",
            "answers: { rate_limited: { headers: { content-type: a, retry-after: b, \"x y\": c, x-ok: \"{nope}\" } } }",
            "answers: { rate_limited: { headers: { x-a: \"\\u00e9\" } } }",
            "answers: { blocked: { headers: { cache-control: a, Keep-Alive: b, proxy-connection: c, content-encoding: gzip } } }",
            "answers: { blocked: { headers: { Access-Control-Allow-Origin: \"*\", access-control-expose-headers: x-a } } }",
        ]),
    );
    // A type that calls itself JSON otherwise was plain text: nothing was escaped in it, and nothing tried.
    for kind in [
        "text/json",
        "Text/JSON; charset=utf-8",
        "application/graphql-response+json",
        "application/x-json",
        "application/x-ndjson",
        "application/json-seq",
        "application/json5",
    ] {
        let faults = each(&[&format!(
            "answers: {{ rate_limited: {{ content_type: {kind:?}, body: '{{ \"limit\": {{limit}}, }}' }} }}"
        )]);
        assert!(
            faults.contains("the body is not JSON with text filled in"),
            "{kind}: {faults}"
        );
    }
    good(&[
        "answers: { not_found: { status: 410, content_type: text/html, headers: { x-why: \"{reason}\" }, body: '<p>{error}</p>' } }",
    ]);
}

#[test]
fn upstreams() {
    let url = |url: &str| format!("upstreams: {{ search: {{ servers: [ {{ url: \"{url}\", slots: 2 }} ] }} }}");
    let urls = [
        "127.0.0.1:8081",
        "https://a",
        "ftp://a",
        "http://",
        "http://a/",
        "http://a?b",
        "http://u:p@a",
        "http://a:0",
        "http://a b",
        "http://300.1.1.1",
    ]
    .map(url);
    let mut lines: Vec<&str> = urls.iter().map(String::as_str).collect();
    lines.extend([
        "upstreams: {}",
        "upstreams: { search: {} }",
        "upstreams: { search: { servers: [] } }",
        "upstreams: { search: { servers: [ { url: \"http://a\", slots: 0 } ] } }",
        "upstreams: { search: { servers: [ { url: \"http://a\" }, { slots: 1 } ] } }",
        "upstreams: { search: { servers: [ { url: \"http://a\", slots: 1 }, { url: \"http://A:80\", slots: 2 } ] } }",
        "upstreams: { search: { servers: [ { url: \"http://a\", slots: 1 } ], health: { every: 5s } } }",
        "upstreams: { search: { servers: [ { url: \"http://a\", slots: 1 } ], health: { path: health } } }",
        "upstreams: { \"a b\": { servers: [ { url: \"http://a\", slots: 1 } ] } }",
    ]);
    snapshot("upstreams", each(&lines));
}

#[test]
fn routes() {
    snapshot(
        "routes",
        each(&[
            "routes: []",
            "routes: [ { path: /search } ]",
            "routes: [ { path: search, upstream: search } ]",
            "routes: [ { path: /search, upstream: serach } ]",
            "routes: [ { path: /a, upstream: search, success: [200], on_hangup: cancel } ]",
            "routes: [ { path: /a, upstream: search, metered: true, success: 200 } ]",
            "routes: [ { path: /a, upstream: search, metered: true, success: [99, 200, 200] } ]",
            "routes: [ { path: /a, upstream: search, metered: true, on_hangup: stop } ]",
            "routes: [ { path: /a, upstream: search, methods: [get, GET, GET, \"G T\"] } ]",
            "routes: [ { path: /a, upstream: search, host: \"a:80\" } ]",
            "routes: [ { path: /a, upstream: search, host: \"a/b\" } ]",
            "routes: [ { path: /a, upstream: search, max_body: 2TiB } ]",
            "routes:\n  - { path: \"/a/{x}\", upstream: search, methods: [GET, POST] }\n  - { path: \"/a/{y}\", upstream: search, methods: [POST] }",
            "routes:\n  - { path: /search, upstream: search, metered: true }\n  - { path: /Search, upstream: search }",
            "routes:\n  - { path: /Search, upstream: search }\n  - { path: /search, upstream: search, metered: true }",
            "routes:\n  - { path: /Search, upstream: search, metered: true }\n  - { path: /search, upstream: search, metered: true }",
            "routes: [ { path: /me, upstream: search } ]",
        ]),
    );
    good(&[
        "routes: [ { path: /a, upstream: search, methods: [GET] }, { path: /a, upstream: search, methods: [POST] } ]",
    ]);
    good(&["routes: [ { path: /a, upstream: search, host: a }, { path: /a, upstream: search } ]"]);
    good(&["routes: [ { path: /a, upstream: search }, { path: /A, upstream: search } ]"]);
    good(&["routes: [ { path: /me, upstream: search } ]", "paths: { me: /door/me }"]);
}

#[test]
fn accounts() {
    let [a, b] = HASHES;
    let account = |fields: &str| format!("accounts: [ {{ {fields} }} ]");
    let lines = [
        account("name: bot"),
        account(&format!("name: bot, tier: golf, key_sha256: {a}")),
        account(&format!("name: two words, tier: gold, key_sha256: {a}")),
        account(&format!("name: {}, tier: gold, key_sha256: {a}", "x".repeat(65))),
        account("name: bot, tier: gold, key_sha256: []"),
        format!(
            "accounts:\n  - {{ name: bot, tier: gold, key_sha256: {a} }}\n  - {{ name: bot, tier: gold, key_sha256: {b} }}"
        ),
        format!(
            "accounts:\n  - {{ name: one, tier: gold, key_sha256: {a} }}\n  - {{ name: two, tier: gold, key_sha256: [{b}, {a}] }}"
        ),
        account(&format!("name: bot, tier: gold, key_sha256: [{a}, {a}]")),
        "accounts:".to_owned(),
    ];
    snapshot("accounts", each(&lines.each_ref().map(String::as_str)));
}

#[test]
fn more_than_fit() {
    let named = |count: usize, value: &str| -> String { (0..count).map(|n| format!("n{n}: {value}, ")).collect() };
    let server = |n| format!("{{ url: \"http://a{n}\", slots: 1 }}, ");
    let servers = |count| (0..count).map(server).collect::<String>();
    let upstream = format!("{{ servers: [ {} ] }}", server(0));
    let route = |n| format!("{{ path: /{n}, upstream: search }}, ");
    let files = |more: usize| {
        [
            format!(
                "tiers: {{ free: {{ priority: 0, concurrency: 1 }}, {} }}",
                named(255 + more, "{ priority: 0, concurrency: 1 }")
            ),
            format!("upstreams: {{ search: {upstream}, {} }}", named(63 + more, &upstream)),
            format!("upstreams: {{ search: {{ servers: [ {} ] }} }}", servers(256 + more)),
            format!("routes: [ {} ]", (0..256 + more).map(route).collect::<String>()),
            format!("trusted_proxies: [ {} ]", "10.0.0.1, ".repeat(64 + more)),
            format!(
                "keys: {{ headers: [ {} ] }}",
                (0..8 + more).map(|n| format!("x-{n}, ")).collect::<String>()
            ),
            format!("paths: {{ me: /{} }}", "m".repeat(255 + more)),
            format!(
                "tiers: {{ free: {{ priority: 0, concurrency: 1 }}, {}: {{ priority: 0, concurrency: 1 }} }}",
                "t".repeat(64 + more)
            ),
        ]
    };
    for fits in files(0) {
        good(&[&fits]);
    }
    snapshot("more_than_fit", each(&files(1).each_ref().map(String::as_str)));
}

#[test]
fn a_key_that_was_put_where_its_hash_belongs_is_never_shown() {
    const KEY: &str = "hunter2_0123456789abcdef";
    let files = [
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: {KEY} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: [{KEY}, \"{KEY}\"] }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key: {KEY} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: {{ {KEY}: {KEY} }} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, passphrase: {KEY} }} ]"),
        format!("acounts: [ {{ name: bot, tier: gold, key_sha256: {KEY} }} ]"),
        format!("accounts: [ {KEY} ]"),
        format!("accounts:\n  - name: bot\n    tier: gold\n    key_sha256: |\n      {KEY}\n      {KEY}"),
        format!("accounts: [ {{ name: bot, tier: gold, key_sha256: {KEY}: }} }}"),
        format!("accounts:\n  - {{ name: bot, tier: gold, key_sha256: *{KEY} }}"),
    ];
    for text in &files {
        let errors = parse(&file(&[text])).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
    snapshot(
        "a_key_that_was_put_where_its_hash_belongs_is_never_shown",
        each(&files.each_ref().map(String::as_str)),
    );
}

#[test]
fn a_hundred_are_shown_and_the_rest_is_counted() {
    let letters = |number: usize| [number / 26, number % 26].map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz"[at]));
    let name = |number| format!("unknown_{}", String::from_iter(letters(number)));
    let unknown: String = (0..250).map(|number| format!("{}: 1\n", name(number))).collect();
    let errors = parse(&format!("{}{unknown}", file(&[]))).unwrap_err();
    assert_eq!((errors.count(), errors.problems().len()), (250, SHOWN_PROBLEMS_MAX));
    let shown = errors.to_string();
    assert!(shown.contains(&name(99)) && !shown.contains(&name(100)), "{shown}");
    assert!(
        shown.contains("and 150 more\n") && shown.ends_with("tiers.yaml: 250 errors"),
        "{shown}"
    );
}

#[test]
fn what_is_shown_is_short_and_printable() {
    let long = "x".repeat(100_000);
    let shown = said(&[
        &[&format!("queue: {{ {long}: 1 }}")],
        &["anonymous: \"a\\e[31m\\u202eb\""],
        &[&format!("anonymous: {long}")],
    ]);
    assert!(shown.len() < 3_000, "{}", shown.len());
    snapshot("what_is_shown_is_short_and_printable", shown);
}

/// Of the first upstream's servers.
fn slots(rules: &Rules) -> Vec<u32> {
    let servers = rules.upstreams[UpstreamId(0)].servers.iter();
    servers.map(|server| server.slots).collect()
}
