//! Warnings about routes, request limits, networks, answers and values that nothing fills in.

use crate::{checked, each, shown, snapshot, warned, wise};

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
fn request_limits_that_match_no_request() {
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
    // An invalid route could have matched.
    let unread = checked(&[&limits("path: /serach"), "routes: [ { path: /a, upstream: serch } ]"]);
    assert_eq!((unread.diagnostics.errors(), unread.diagnostics.warnings()), (1, 0));
}

#[test]
fn limits_by_which_one_caller_locks_out_all_others() {
    let limits = |per: &str| format!("limits: [ {{ name: http, per: {per}, limit: 9, window: 1s }} ]");
    snapshot("check_global_limits", each(&[&limits("global"), &limits("[global]")]));
    // Callers without an account are counted by network.
    wise(&[&limits("account")]);
    wise(&[&limits("[global, network]")]);
}

#[test]
fn networks_that_cover_a_large_part_of_all_addresses() {
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
fn an_admin_listener_that_others_may_reach() {
    let admin = |address: &str| format!("admin: {{ listen: \"{address}\" }}");
    let warned = [admin("0.0.0.0:9090"), admin("[::]:9090"), admin("192.168.0.2:9090")];
    let files: Vec<&str> = warned.iter().map(String::as_str).collect();
    snapshot("check_admin", each(&files));
    let wise_ones = [admin("127.0.0.1:9090"), admin("[::1]:9090"), admin("127.8.0.1:9090")];
    let files: Vec<&str> = wise_ones.iter().map(String::as_str).collect();
    wise(&files);
}

#[test]
fn mistakes_of_new_users() {
    let said = [
        "answers: { rate_limited: { body: 'Slow down' } }",
        "answers: { not_found: { headers: { X-RateLimit-Limit: \"5\", RateLimit: a, RateLimit-Policy: a, x-a: \"5\", X-A: \"6\" } } }",
        "routes: [ { path: \"/a?x=1\", upstream: search, metered: true } ]",
    ]
    .map(|line| shown(&checked(&[line])) + "\n\n");
    snapshot("check_newcomer", said.concat());
}

#[test]
fn variables_that_are_not_expanded() {
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
fn home_folders_that_are_not_expanded() {
    snapshot("check_home", each(&["data_dir: ~/data", "data_dir: \"~user/data\""]));
}

/// Regression: a file copied without `metered: true` queued nothing, and nothing told its operator.
#[test]
fn no_route_is_metered() {
    snapshot(
        "check_no_metered_route",
        warned(&[&["routes:\n  - { path: /search, upstream: search }\n  - { path: /image, upstream: search }"]]),
    );
    // One is enough; and an invalid route may have been meant to be metered.
    wise(&["routes: [ { path: /a, upstream: search }, { path: /b, upstream: search, metered: true } ]"]);
    let invalid = checked(&["routes: [ { path: /a, upstream: search }, { path: /b, upstream: search, metered: ye } ]"]);
    assert_eq!(
        (invalid.diagnostics.errors(), invalid.diagnostics.warnings()),
        (1, 0),
        "{}",
        shown(&invalid)
    );
}
