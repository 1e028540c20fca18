//! Errors in the values of each section.

use tiergate::policy::rules::TierId;

use crate::sections::HASHES;
use crate::{each, good, snapshot};

#[test]
fn durations_and_sizes() {
    snapshot(
        "durations_and_sizes",
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
fn keys_origins_and_paths() {
    snapshot(
        "keys_origins_and_paths",
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
    // Regression: other JSON types were treated as plain text, so nothing was escaped or checked.
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
    good(&[
        "routes: [ { path: /me, upstream: search } ]",
        "paths: { me: /account/me }",
    ]);
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
