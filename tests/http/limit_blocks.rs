//! Penalties and blocks: what starts one, how long it lasts, and how an operator ends it (rules §7).

use serde_json::json;
use tiergate::policy::time::Span;

use super::limits::{A, B, C, HTTP_5, MINUTE, get, open, passing, with_key};
use crate::support::fast::FastServer;

#[tokio::test]
async fn repeated_refusals_block_until_expiry_or_unblocking() {
    let server = FastServer::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 5).await, 2);
    for path in ["/image/1", "/search", "/me"] {
        get(&proxy, A, path).await.assert_refused(403, "blocked");
    }
    assert_eq!(get(&proxy, B, "/me").await.status(), 200);
    clock_control.advance(MINUTE.saturating_mul(30));
    with_key(&proxy, A, "a1").await.assert_refused(403, "blocked");
    // What `tiergate unblock` sends.
    let forgiven = proxy
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!((forgiven.status(), &forgiven.json()["blocked_by"]), (200, &json!([])));
    assert_eq!(get(&proxy, A, "/me").await.status(), 200, "unblocked by the operator");
    assert_eq!(passing(&proxy, C, "", 5).await, 2);
    get(&proxy, C, "/me").await.assert_refused(403, "blocked");
    // What `tiergate network remove` sends. It once answered that there was no such network, although it had lifted the
    // block.
    let forgiven = proxy.operator("DELETE", "/networks/192.0.2.3", "").await;
    assert_eq!(
        (forgiven.status(), &forgiven.json()["network"]),
        (200, &json!("192.0.2.3/32"))
    );
    let again = proxy.operator("DELETE", "/networks/192.0.2.3", "").await;
    assert_eq!(again.status(), 404, "it has no settings, and no rule blocks it");
    get(&proxy, C, "/me").await.assert_refused(429, "rate_limited");
    assert_eq!(passing(&proxy, B, "", 5).await, 2);
    clock_control.advance(MINUTE.saturating_mul(61));
    assert_eq!(passing(&proxy, B, "", 1).await, 1, "an hour later");
}

/// An address stands for its /64. Where a limit counts narrower networks, unblocking the address used to lift nothing
/// and report success.
#[tokio::test]
async fn unblocking_works_for_every_prefix_length() {
    let server = FastServer::start();
    for (v6_prefix, address) in [(128, "2001:db8::5"), (64, "2001:db8::5"), (56, "2001:db8::5"), (64, A)] {
        let limits = format!(
            "  - {{ name: http, per: network, limit: 2, window: 60s, v6_prefix: {v6_prefix}, block_after: {{ refusals: 3, within: 1m, for: 1h }} }}"
        );
        for (method, body) in [("PATCH", r#"{ "block": null }"#), ("DELETE", "")] {
            let (proxy, clock_control) = open(server.address, &limits, "");
            assert_eq!(passing(&proxy, address, "", 5).await, 2);
            clock_control.advance(MINUTE.saturating_mul(2));
            get(&proxy, address, "/me").await.assert_refused(403, "blocked");
            let said = proxy.operator(method, &format!("/networks/{address}"), body).await;
            assert_eq!(said.status(), 200, "{}", said.text());
            assert_eq!(
                get(&proxy, address, "/me").await.status(),
                200,
                "{method} {address}, {v6_prefix}"
            );
        }
    }
}

#[tokio::test]
async fn an_account_blocked_by_a_rule_can_be_unblocked() {
    let server = FastServer::start();
    let limits =
        "  - { name: http, per: account, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (proxy, _) = open(server.address, limits, "");
    let added = proxy
        .operator("POST", "/accounts", r#"{"name":"cara","tier":"free"}"#)
        .await;
    assert_eq!(added.status(), 201, "{}", added.text());
    let made = proxy.operator("POST", "/accounts/cara/keys", "{}").await.json();
    let key = made["key"].as_str().expect("a key");
    assert_eq!(passing(&proxy, A, key, 5).await, 2);
    with_key(&proxy, B, key).await.assert_refused(403, "blocked");
    let shown = proxy.operator("GET", "/accounts/cara", "").await.json();
    assert_eq!(shown["blocked_by_rule"][0]["limit"], "http", "{shown}");
    let said = proxy.operator("PATCH", "/accounts/cara", r#"{"blocked":false}"#).await;
    assert_eq!((said.status(), &said.json()["blocked_by_rule"]), (200, &json!([])));
    // The window that it has used up still runs.
    with_key(&proxy, B, key).await.assert_refused(429, "rate_limited");
}

/// Regression: an unblocked caller was still within its penalty, so the next refusals blocked it again at once.
#[tokio::test]
async fn unblocking_also_ends_the_penalty() {
    let server = FastServer::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 10s, penalty: 30m, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (proxy, _) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 5).await, 2);
    get(&proxy, A, "/me").await.assert_refused(403, "blocked");
    let said = proxy
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!((said.status(), &said.json()["was_blocked"]), (200, &json!(true)));
    assert_eq!(passing(&proxy, A, "", 2).await, 2);
    let said = proxy
        .operator("PATCH", "/networks/192.0.2.99", r#"{ "block": null }"#)
        .await;
    assert_eq!(said.json()["was_blocked"], false, "it never was");
}

/// Such a block used to be visible in one log line and nowhere else.
#[tokio::test]
async fn operators_see_blocks_by_rule_and_their_end() {
    let server = FastServer::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(proxy.operator("GET", "/networks/192.0.2.1", "").await.status(), 404);
    assert_eq!(passing(&proxy, A, "", 5).await, 2);
    let shown = proxy.operator("GET", "/networks/192.0.2.1", "").await.json();
    let by_rule = &shown["blocked_by_rule"];
    assert_eq!(by_rule[0]["limit"], "http", "{shown}");
    assert!(by_rule[0]["until"].is_string(), "{shown}");
    assert_eq!(proxy.metric("tiergate_limit_blocks_total{limit=\"http\"}").await, 1.0);
    clock_control.advance(MINUTE.saturating_mul(61));
    assert_eq!(
        proxy.operator("GET", "/networks/192.0.2.1", "").await.status(),
        404,
        "it has expired"
    );
}

#[tokio::test]
async fn an_expired_block_cannot_be_lifted() {
    let server = FastServer::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 5).await, 2);
    assert_eq!(passing(&proxy, C, "", 5).await, 2);
    clock_control.advance(MINUTE.saturating_mul(61));
    let said = proxy
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!(said.json()["was_blocked"], false, "it has expired");
    assert_eq!(
        proxy.operator("DELETE", "/networks/192.0.2.3", "").await.status(),
        404,
        "it has expired"
    );
}

/// A penalty that ends before the window has room would admit more than the limit.
#[tokio::test]
async fn a_short_penalty_lasts_until_the_window_has_room() {
    let server = FastServer::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 60s, penalty: 5s }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 3).await, 2);
    clock_control.advance(Span::from_secs(30));
    let refused = get(&proxy, A, "/image/1").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused
        .get("retry-after")
        .expect("it says when")
        .parse()
        .expect("seconds");
    assert!((10..=30).contains(&wait), "{wait}");
    clock_control.advance(Span::from_secs(31));
    assert_eq!(passing(&proxy, A, "", 3).await, 2);
}

/// Blocked networks are refused before anything else is looked at.
#[tokio::test]
async fn blocked_networks_are_refused_before_anything_else() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(
        server.address,
        HTTP_5,
        "blocked_networks: [198.51.100.0/24, \"2001:db8:bad::/48\"]",
    );
    for address in ["198.51.100.7", "2001:db8:bad:1::1", "::ffff:198.51.100.7"] {
        for path in ["/search", "/me", "/nowhere"] {
            get(&proxy, address, path).await.assert_refused(403, "blocked");
        }
        with_key(&proxy, address, "a1").await.assert_refused(403, "blocked");
    }
    assert_eq!(get(&proxy, "198.51.101.7", "/me").await.status(), 200);
    let block = r#"{ "block": { "for": "1d", "why": "scrapes" } }"#;
    assert_eq!(
        proxy
            .operator("PATCH", "/networks/192.0.2.0%2F24", block)
            .await
            .status(),
        200
    );
    get(&proxy, A, "/me").await.assert_refused(403, "blocked");
    assert_eq!(
        proxy
            .operator("PATCH", "/networks/192.0.2.0%2F24", r#"{ "block": null }"#)
            .await
            .status(),
        200
    );
    assert_eq!(get(&proxy, A, "/me").await.status(), 200);
    assert_eq!(
        proxy
            .operator("PATCH", "/networks/192.0.2.0%2F24", block)
            .await
            .status(),
        200
    );
    clock_control.advance(Span::from_secs(86_400));
    assert_eq!(get(&proxy, A, "/me").await.status(), 200, "a day later");
}
