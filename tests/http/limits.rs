//! Request limits (rules §7): whom they count, what they match, and what is charged nothing.

use std::net::SocketAddr;

use tiergate::clock::ClockControl;
use tiergate::policy::time::{Span, UnixTime};

use crate::support::fast::FastServer;
use crate::support::{Answer, Client, Proxy, yaml};

pub(super) const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

/// Not at the beginning of a minute.
const NOON_17: UnixTime = UnixTime::from_secs(1_800_014_417);

pub(super) const MINUTE: Span = Span::from_secs(60);

/// A proxy with these limits and one tier for all; `more` is added at the top level. Accounts `ann` (keys a1, a2),
/// `bob` (b1) and `raised` (r1), whose tier sets `http` and `hourly` to 8.
pub(super) fn open(server: SocketAddr, limits: &str, more: &str) -> (Proxy, &'static ClockControl) {
    open_at(NOON, server, limits, more)
}

fn open_at(at: UnixTime, server: SocketAddr, limits: &str, more: &str) -> (Proxy, &'static ClockControl) {
    Proxy::start_at(at, &file(server, limits, more))
}

pub(super) fn file(server: SocketAddr, limits: &str, more: &str) -> String {
    let raised = match (limits.contains("name: http"), limits.contains("name: hourly")) {
        (false, false) => "",
        (true, false) => ", limits: { http: 8 }",
        (false, true) => ", limits: { hourly: 8 }",
        (true, true) => ", limits: { http: 8, hourly: 8 }",
    };
    yaml()
        .setting("cores: 1")
        .setting("trusted_proxies: [127.0.0.1]")
        .setting(format_args!("limits:\n{limits}"))
        .queue("length: 8")
        .tier(
            "free",
            "priority: 0, concurrency: 50, quota: { limit: 1000, rolling: 24h }",
        )
        .tier("raised", format_args!("priority: 1, concurrency: 50{raised}"))
        .account("ann", "free", &["a1", "a2"])
        .account("bob", "free", &["b1"])
        .account("raised", "raised", &["r1"])
        .upstream("search", &[(server, 50)], "")
        .route("path: /search, upstream: search, metered: true, max_body: 1KiB")
        .route("path: \"/image/{*rest}\", upstream: search, methods: [GET]")
        .more(more)
        .text()
}

/// A request from this address on a connection of its own.
pub(super) async fn from(proxy: &Proxy, address: &str, method: &str, path: &str, headers: &str) -> Answer {
    let headers = format!("x-forwarded-for: {address}\r\n{headers}");
    Client::connect(proxy.address).await.ask(method, path, &headers).await
}

pub(super) async fn get(proxy: &Proxy, address: &str, path: &str) -> Answer {
    from(proxy, address, "GET", path, "").await
}

pub(super) async fn with_key(proxy: &Proxy, address: &str, key: &str) -> Answer {
    from(proxy, address, "GET", "/image/1", &format!("x-api-key: {key}\r\n")).await
}

/// How many of `times` requests are admitted.
pub(super) async fn passing(proxy: &Proxy, address: &str, key: &str, times: usize) -> usize {
    let mut passed = 0;
    for _ in 0..times {
        let answer = match key {
            "" => get(proxy, address, "/image/1").await,
            key => with_key(proxy, address, key).await,
        };
        match answer.status() {
            200 => passed += 1,
            429 => {}
            other => panic!("{other}: {}", answer.text()),
        }
    }
    passed
}

pub(super) const A: &str = "192.0.2.1";

pub(super) const B: &str = "192.0.2.2";

pub(super) const C: &str = "192.0.2.3";

pub(super) const HTTP_5: &str = "  - { name: http, per: network, limit: 5, window: 60s }";

#[tokio::test]
async fn requests_answered_before_the_limits_are_not_charged() {
    let server = FastServer::start();
    let (proxy, _) = open(server.address, HTTP_5, "cors: { origins: [\"*\"] }");
    for _ in 0..10 {
        assert_eq!(get(&proxy, A, "/nowhere").await.status(), 404);
        assert_eq!(from(&proxy, A, "POST", "/image/1", "").await.status(), 405);
        assert_eq!(from(&proxy, A, "OPTIONS", "/search", "").await.status(), 204);
        let preflight = "origin: https://a.example\r\naccess-control-request-method: GET\r\n";
        assert_eq!(from(&proxy, A, "OPTIONS", "/search", preflight).await.status(), 200);
        let long = from(
            &proxy,
            A,
            "POST",
            "/search",
            "content-length: 2000\r\nexpect: 100-continue\r\n",
        )
        .await;
        assert_eq!(long.status(), 413);
        let two = "x-api-key: a1\r\nx-api-key: b1\r\n";
        assert_eq!(from(&proxy, A, "GET", "/image/1", two).await.status(), 400);
    }
    let first = get(&proxy, A, "/image/1").await;
    assert_eq!(first.get("x-ratelimit-remaining"), Some("4"));
}

/// Guessing keys is limited, and so are the proxy's own pages.
#[tokio::test]
async fn unknown_keys_and_own_pages_are_charged() {
    let server = FastServer::start();
    let (proxy, _) = open(server.address, HTTP_5, "");
    for remaining in ["4", "3"] {
        let guess = with_key(&proxy, A, "guess").await;
        guess.assert_refused(403, "invalid_key");
        assert_eq!(guess.get("x-ratelimit-remaining"), Some(remaining));
    }
    assert_eq!(get(&proxy, A, "/me").await.get("x-ratelimit-remaining"), Some("2"));
    assert_eq!(get(&proxy, A, "/stats").await.get("x-ratelimit-remaining"), Some("1"));
    assert_eq!(with_key(&proxy, A, "a1").await.get("x-ratelimit-remaining"), Some("0"));
    with_key(&proxy, A, "guess").await.assert_refused(429, "rate_limited");
    get(&proxy, A, "/me").await.assert_refused(429, "rate_limited");
    assert_eq!(get(&proxy, B, "/me").await.status(), 200);
}

/// A wrong key counts for the network in a limit per account, a right one for its account: only a limit per network
/// ends the guessing.
#[tokio::test]
async fn wrong_keys_count_for_the_network_in_a_limit_per_account() {
    let server = FastServer::start();
    let (proxy, _) = open(
        server.address,
        "  - { name: http, per: account, limit: 3, window: 60s }",
        "",
    );
    for _ in 0..3 {
        with_key(&proxy, A, "guess").await.assert_refused(403, "invalid_key");
    }
    with_key(&proxy, A, "guess").await.assert_refused(429, "rate_limited");
    get(&proxy, A, "/image/1").await.assert_refused(429, "rate_limited");
    assert_eq!(passing(&proxy, A, "a1", 9).await, 3, "a valid key is not blocked");
    with_key(&proxy, B, "guess").await.assert_refused(403, "invalid_key");
}

/// All limits are checked first; then all are charged, or none is.
#[tokio::test]
async fn a_refused_request_charges_no_limit() {
    let server = FastServer::start();
    let limits = "  - { name: http, per: network, limit: 10, window: 60s }
  - { name: image, per: network, limit: 2, window: 60s, match: { path: \"/image/{*rest}\" } }";
    let (proxy, _) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 8).await, 2);
    let refused = get(&proxy, A, "/image/2").await;
    assert_eq!(refused.json()["name"], "image");
    assert_eq!(refused.get("x-ratelimit-limit"), Some("2"), "of the limit that refused");
    assert_eq!(get(&proxy, A, "/search").await.get("x-ratelimit-remaining"), Some("7"));
}

#[tokio::test]
async fn accounts_count_across_keys_anonymous_by_network() {
    let server = FastServer::start();
    let (proxy, _) = open(
        server.address,
        "  - { name: mine, per: account, limit: 4, window: 60s }",
        "",
    );
    assert_eq!(passing(&proxy, A, "a1", 2).await + passing(&proxy, B, "a2", 5).await, 4);
    assert_eq!(
        passing(&proxy, A, "b1", 5).await,
        4,
        "another account at the same address"
    );
    assert_eq!(
        passing(&proxy, A, "", 5).await,
        4,
        "without a key it is one more caller, and limited too"
    );
}

/// Raising an account's number does not raise its network's unless the raise says so.
#[tokio::test]
async fn a_raise_lifts_the_network_only_if_it_says_so() {
    let server = FastServer::start();
    let limits = "  - { name: hourly, per: [account, network], limit: 4, window: 60s }";
    let (proxy, _) = open(server.address, limits, "");
    assert_eq!(
        passing(&proxy, "192.0.2.8", "r1", 10).await,
        4,
        "the tier raises the account to 8, not the network"
    );
    assert_eq!(
        passing(&proxy, "192.0.2.9", "r1", 10).await,
        4,
        "from another network it has the rest"
    );
    assert_eq!(passing(&proxy, "192.0.2.10", "r1", 1).await, 0);
    let set = r#"{ "name": "lifted", "tier": "free", "limits": { "hourly": { "limit": 6, "lifts": "network" } } }"#;
    assert_eq!(proxy.operator("POST", "/accounts", set).await.status(), 201);
    let key = proxy.operator("POST", "/accounts/lifted/keys", "{}").await.json();
    let key = key["key"].as_str().expect("a key").to_owned();
    assert_eq!(passing(&proxy, "192.0.2.11", &key, 10).await, 6);
    assert_eq!(
        passing(&proxy, "192.0.2.11", "a1", 1).await,
        0,
        "its network has used more than others may"
    );
    let (proxy, _) = open(server.address, HTTP_5, "");
    assert_eq!(
        passing(&proxy, A, "r1", 10).await,
        8,
        "in a limit without accounts, a raise can only mean the network"
    );
    let set = r#"{ "limits": { "http": 2 } }"#;
    assert_eq!(proxy.operator("PATCH", "/networks/192.0.2.77", set).await.status(), 200);
    assert_eq!(passing(&proxy, "192.0.2.77", "", 9).await, 2, "a network may have less");
}

/// The advertised number stays `limit`; a caller with an override sees its own number.
#[tokio::test]
async fn a_raise_is_never_degraded() {
    let server = FastServer::start();
    let limits = "  - { name: http, per: network, limit: 9, window: 60s, degraded: 3 }";
    let (proxy, _) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "", 20).await, 3);
    assert_eq!(
        passing(&proxy, A, "a1", 20).await,
        0,
        "its network has used what it may"
    );
    assert_eq!(passing(&proxy, B, "r1", 20).await, 8, "its tier's");
    let set = r#"{ "name": "own", "tier": "free", "limits": { "http": 5 } }"#;
    assert_eq!(proxy.operator("POST", "/accounts", set).await.status(), 201);
    let key = proxy.operator("POST", "/accounts/own/keys", "{}").await.json();
    let key = key["key"].as_str().expect("a key").to_owned();
    let first = with_key(&proxy, "192.0.2.3", &key).await;
    assert_eq!(
        (first.get("x-ratelimit-limit"), first.get("x-ratelimit-remaining")),
        (Some("5"), Some("4"))
    );
    assert_eq!(passing(&proxy, "192.0.2.3", &key, 20).await, 4, "its own");
}

/// A delegated user counts for the account that asks for it, by that account's number, whatever its name and address.
#[tokio::test]
async fn a_delegated_user_is_counted_as_its_account() {
    let server = FastServer::start();
    let (proxy, _) = open(
        server.address,
        "  - { name: http, per: account, limit: 4, window: 60s }",
        "",
    );
    let bot = r#"{ "name": "bot", "tier": "raised", "max_users": 10 }"#;
    assert_eq!(proxy.operator("POST", "/accounts", bot).await.status(), 201);
    let key = proxy.operator("POST", "/accounts/bot/keys", "{}").await.json();
    let key = format!("x-api-key: {}\r\n", key["key"].as_str().expect("a key"));
    let mut admitted = 0;
    for number in 0..12 {
        let (address, path) = (format!("192.0.2.{number}"), format!("/search?uid=user-{number}"));
        admitted += usize::from(from(&proxy, &address, "GET", &path, &key).await.status() == 200);
    }
    assert_eq!(admitted, 8, "its account's tier has 8");
    from(&proxy, B, "GET", "/image/1", &key)
        .await
        .assert_refused(429, "rate_limited");
}

/// A lifted account shares its network's counter. Its own number does not exempt it from a penalty that another caller
/// at its address brought about.
#[tokio::test]
async fn a_networks_penalty_applies_to_its_lifted_accounts_too() {
    let server = FastServer::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 60s, penalty: 60s }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, A, "r1", 3).await, 3);
    assert_eq!(
        passing(&proxy, A, "", 1).await,
        0,
        "more is used than an anonymous caller may"
    );
    assert_eq!(passing(&proxy, A, "r1", 1).await, 0);
    clock_control.advance(MINUTE);
    assert_eq!(passing(&proxy, A, "r1", 3).await, 3);
}

#[tokio::test]
async fn a_global_limit_counts_all_callers_together() {
    let server = FastServer::start();
    let (proxy, _) = open(
        server.address,
        "  - { name: all, per: global, limit: 5, window: 60s }",
        "",
    );
    assert_eq!(passing(&proxy, A, "", 3).await + passing(&proxy, B, "a1", 9).await, 5);
}

#[tokio::test]
async fn an_ipv6_network_is_a_64_unless_the_limit_says_otherwise() {
    let server = FastServer::start();
    let limits = "  - { name: usual, per: network, limit: 4, window: 60s }
  - { name: wide, per: network, limit: 6, window: 60s, v6_prefix: 56 }
  - { name: single, per: network, limit: 3, window: 60s, v6_prefix: 128 }";
    let (proxy, _) = open(server.address, limits, "");
    assert_eq!(passing(&proxy, "2001:db8::1", "", 9).await, 3, "one address");
    assert_eq!(
        passing(&proxy, "2001:0db8:0:0:ffff::2", "", 9).await,
        1,
        "the /64 had one left"
    );
    assert_eq!(passing(&proxy, "2001:db8:0:1::1", "", 9).await, 2, "and the /56 two");
    assert_eq!(passing(&proxy, "2001:db8:0:100::1", "", 9).await, 3, "the next /56");
    assert_eq!(
        passing(&proxy, "::ffff:192.0.2.1", "", 2).await + passing(&proxy, A, "", 9).await,
        3,
        "IPv4 is IPv4"
    );
}

#[tokio::test]
async fn limits_match_host_path_and_methods_in_any_spelling() {
    let server = FastServer::start();
    let limits = "  - { name: host, per: network, limit: 1, window: 60s, match: { host: media.example } }
  - { name: path, per: network, limit: 1, window: 60s, match: { path: /image/big, methods: [GET] } }";
    let (proxy, _) = open(server.address, limits, "");
    let at_host = async |address: &str, host: &str, method: &str, path: &str| {
        let mut client = Client::connect(proxy.address).await;
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: {address}\r\n\r\n");
        client.send(text).await;
        client.answer_to(method).await.status()
    };
    assert_eq!(at_host(A, "media.example", "GET", "/image/1").await, 200);
    for host in ["media.example", "MEDIA.example:8080", "Media.Example."] {
        assert_eq!(at_host(A, host, "GET", "/image/1").await, 429, "{host}");
    }
    assert_eq!(at_host(A, "other.example", "GET", "/image/1").await, 200);
    assert_eq!(at_host(B, "x", "GET", "/image/big").await, 200);
    for path in [
        "/image/BIG",
        "/image/b%69g",
        "/image//big",
        "/image/./big",
        "/image/a/../big",
        "/image/big;x=1",
    ] {
        let status = at_host(B, "x", "GET", path).await;
        assert!(matches!(status, 400 | 404 | 429), "{path}: {status}");
    }
    assert_eq!(at_host(B, "x", "HEAD", "/image/big").await, 429);
    assert_eq!(at_host(B, "x", "GET", "/image/bigger").await, 200);
}

/// A route without methods accepts `post` too, and so do many servers.
#[tokio::test]
async fn no_spelling_of_a_method_escapes_its_limit() {
    let server = FastServer::start();
    for (methods, spellings) in [("[POST]", ["POST", "post", "Post"]), ("[GET]", ["GET", "get", "HEAD"])] {
        let limits = format!(
            "  - {{ name: up, per: network, limit: 1, window: 60s, match: {{ path: /other, methods: {methods} }} }}"
        );
        let (proxy, _) = open(server.address, &limits, "  - { path: /other, upstream: search }");
        for (at, method) in spellings.iter().enumerate() {
            let answer = from(&proxy, A, method, "/other", "content-length: 0\r\n").await;
            assert_eq!(answer.status(), if at == 0 { 200 } else { 429 }, "{method}");
        }
        assert_eq!(
            from(&proxy, A, "PUT", "/other", "content-length: 0\r\n").await.status(),
            200
        );
    }
}

#[tokio::test]
async fn windows_can_be_aligned_to_the_clock() {
    let server = FastServer::start();
    let limits = "  - { name: minute, per: network, limit: 2, window: 60s, align: clock }";
    let (proxy, clock_control) = open_at(NOON_17, server.address, limits, "");
    let first = get(&proxy, A, "/image/1").await;
    let end = (NOON.as_secs() + 60).to_string();
    assert_eq!(
        first.get("x-ratelimit-reset"),
        Some(end.as_str()),
        "from noon, not from the first request"
    );
    assert_eq!(passing(&proxy, A, "", 3).await, 1);
    clock_control.advance(Span::from_secs(43));
    assert_eq!(passing(&proxy, A, "", 3).await, 2, "a minute past noon");
}

/// With more anonymous callers than are counted one by one, the proxy keeps working and reports it in a metric.
#[tokio::test]
async fn callers_beyond_max_callers_share_their_prefixs_limit() {
    let server = FastServer::start();
    let (proxy, _) = open(server.address, HTTP_5, "max_callers: 1000");
    let mut client = Client::connect(proxy.address).await;
    let mut through = 0;
    for number in 0..3_000_u32 {
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        let answer = client
            .ask("GET", "/me", &format!("x-forwarded-for: {address}\r\n"))
            .await;
        through += usize::from(answer.status() == 200);
    }
    assert!((1_000..1_300).contains(&through), "{through}");
    assert!(proxy.metric("tiergate_limit_crowded_total{limit=\"http\"}").await > 0.0);
    assert!(proxy.metric("tiergate_limit_callers{limit=\"http\"}").await <= 1_000.0);
    assert_eq!(
        passing(&proxy, "198.51.100.1", "", 6).await,
        5,
        "outside the shared prefixes"
    );
}
