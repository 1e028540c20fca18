//! Warnings about tiers: their order, the queue, waits and quotas.

use crate::{each, snapshot, warned, wise};

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
fn anonymous_callers_who_get_more_than_sponsors() {
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
fn waits_that_are_impossible_or_pointless() {
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
    wise(&[
        &fast,
        "routes: [ { path: /search, upstream: search }, { path: /slow, upstream: slow, metered: true } ]",
    ]);
    wise(&[&fast, "tiers: { free: { priority: 0, concurrency: 1, max_wait: 10s } }"]);
}

#[test]
fn quotas_that_cannot_be_used_up() {
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
