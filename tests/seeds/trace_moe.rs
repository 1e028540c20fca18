//! trace.moe, "Account and Limits": its sponsor tiers, its daily quota and its queue.
//!
//! > The server has multiple priority queues with a fixed total queue length. If the queue is full, upcoming new requests
//! > will be rejected with HTTP 503. If you have priority 5, the server will only reject your request when queue 6 and
//! > queue 5 are full, regardless of the queues below you. If you have priority 0, you'll only have your request processed
//! > when all the queues have empty slots left.

use tiergate::clock::ClockControl;
use tiergate::policy::refusal::Reason;
use tiergate::policy::time::{Span, UnixTime};

use super::preset_queue::check_concurrency;
use super::queue_table::{Row, System, row};
use super::quota_table::{Deployment, Line, check_counted, with_sponsors};
use super::visitor::{Told, Visitor, is_about, retry_after, told};
use crate::support::fast::FastServer;
use crate::support::{Client, Proxy, UpstreamServer, metric_sum};

const SYSTEM: System = System {
    preset: "trace-moe",
    upstream: "search",
    host: "proxy.example",
};

/// | Current queue | Acceptable request | Rejecting request |
const TABLE: [Row; 6] = [
    // | 🟦🟦🟦🟦🟦🟦🟦🟦 | 0️⃣2️⃣5️⃣6️⃣ | (none) |
    row("________", &[0, 2, 5, 6], &[]),
    // | 6️⃣5️⃣2️⃣0️⃣0️⃣0️⃣0️⃣🟦 | 0️⃣2️⃣5️⃣6️⃣ | (none) |
    row("6520000_", &[0, 2, 5, 6], &[]),
    // | 6️⃣6️⃣6️⃣5️⃣2️⃣2️⃣2️⃣0️⃣ | 2️⃣5️⃣6️⃣ | 0️⃣ |
    row("66652220", &[2, 5, 6], &[0]),
    // | 6️⃣6️⃣6️⃣5️⃣2️⃣2️⃣2️⃣2️⃣ | 5️⃣6️⃣ | 0️⃣2️⃣ |
    row("66652222", &[5, 6], &[0, 2]),
    // | 6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣5️⃣5️⃣ | 6️⃣ | 0️⃣2️⃣5️⃣ |
    row("66666655", &[6], &[0, 2, 5]),
    // | 6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣ | (none) | 0️⃣2️⃣5️⃣6️⃣ |
    row("66666666", &[], &[0, 2, 5, 6]),
];

/// "Assume the max queue length is 8", row by row.
#[test]
fn the_queue_table() {
    for row in &TABLE {
        row.check(&SYSTEM);
    }
}

/// The same over HTTP, with all of the preset's slots taken.
#[tokio::test]
async fn the_queue_table_over_http() {
    for row in &TABLE {
        row.check_over_http(&SYSTEM).await;
    }
}

/// "If your concurrency is 1 […] if you send a second request before the first request responds, it will fail with HTTP
/// 402. If your concurrency is 2, your 3rd request will fail when the server is already processing 2 of your previous
/// requests."
#[test]
fn concurrency() {
    for (tier, _, concurrency, _) in &SPONSORS {
        let first = SYSTEM.first_refusal(tier);
        assert_eq!(first, (*concurrency, Reason::ConcurrencyExceeded), "{tier}");
    }
}

/// | Sponsor tiers | daily quota | concurrency | priority |
const SPONSORS: [Line; 7] = [
    ("free", 100, 1, 0),
    ("$1", 100, 1, 2),
    ("$5", 500, 1, 2),
    ("$10", 1_000, 1, 5),
    ("$20", 2_000, 2, 5),
    ("$50", 5_000, 3, 5),
    ("$100", 10_000, 4, 6),
];

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const HOUR: u64 = 3_600;
const MINUTE: Span = Span::from_secs(60);

fn open(server: &FastServer) -> Deployment {
    Deployment::open("trace-moe", |text| text, ("search", server), "proxy.example", NOON)
}

/// The same behind a proxy on this machine, with a clock that the test advances.
fn open_behind_a_proxy(server: &FastServer) -> (Proxy, &'static ClockControl) {
    let edited = |text: &str| format!("{}\ntrusted_proxies: [127.0.0.1]\n", with_sponsors(text));
    Proxy::start_preset("trace-moe", edited, &[("search", server.address)], NOON)
}

/// "The API server has a global request rate limit of 100 requests/min per IP address (or IPv6 /64 block) with or without an API Key."
#[tokio::test]
async fn a_hundred_requests_a_minute_with_and_without_a_key_together() {
    let server = FastServer::start();
    let (proxy, clock_control) = open_behind_a_proxy(&server);
    let mut without = Visitor::behind_a_proxy("192.0.2.1", &proxy).await;
    let mut with = Visitor::behind_a_proxy("192.0.2.1", &proxy)
        .await
        .with_key("x-trace-key", "key-100");
    without.passes(50, "/image/1").await;
    with.passes(50, "/image/1").await;
    for path in ["/search", "/image/1", "/me"] {
        with.get(path).await.assert_refused(429, "rate_limited");
        without.get(path).await.assert_refused(429, "rate_limited");
    }
    let mut other = Visitor::behind_a_proxy("192.0.2.2", &proxy)
        .await
        .with_key("x-trace-key", "key-100");
    other.passes(100, "/image/1").await;
    assert_eq!(other.get("/image/1").await.status(), 429, "a key is worth no more");
    assert_eq!(server.requests(), 200);
    clock_control.advance(MINUTE);
    without.passes(1, "/image/1").await;
}

/// "Per IP address (or IPv6 /64 block)".
#[tokio::test]
async fn an_ipv6_block_of_64_bits_is_one_address() {
    let server = FastServer::start();
    let (proxy, _) = open_behind_a_proxy(&server);
    for address in ["2001:db8:1:2::1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:443"] {
        Visitor::behind_a_proxy(address, &proxy)
            .await
            .passes(50, "/image/1")
            .await;
    }
    let mut same = Visitor::behind_a_proxy("2001:db8:1:2:3:4:5:6", &proxy).await;
    assert_eq!(same.get("/image/1").await.status(), 429);
    Visitor::behind_a_proxy("2001:db8:1:3::1", &proxy)
        .await
        .passes(100, "/image/1")
        .await;
}

/// "The rate limit info is included in the HTTP response header. If you hit this HTTP rate limit, the request will fail with HTTP 429 (Too
/// Many Requests)."
#[tokio::test]
async fn every_answer_states_the_limit() {
    let server = FastServer::start();
    let (proxy, clock_control) = open_behind_a_proxy(&server);
    let mut visitor = Visitor::behind_a_proxy("192.0.2.1", &proxy).await;
    let reset = told(&visitor.get("/image/1").await).reset.expect("a reset");
    assert!(is_about(reset, NOON, 60), "{reset}");
    for remaining in (0..99).rev() {
        let status = if remaining % 2 == 0 { 500 } else { 200 };
        let answer = visitor.get(&format!("/image/1?status={status}")).await;
        let expected = Told::new(100, remaining, reset);
        assert_eq!((answer.status(), told(&answer)), (status, expected));
    }
    let refused = visitor.get("/image/1").await;
    assert_eq!(refused.head.line, "HTTP/1.1 429 Too Many Requests");
    assert_eq!((told(&refused).remaining, told(&refused).reset), (Some(0), Some(reset)));
    assert!((40..=60).contains(&retry_after(&refused)), "{}", retry_after(&refused));
    clock_control.advance(MINUTE);
    assert_eq!(told(&visitor.get("/image/1").await).remaining, Some(99));
}

#[tokio::test]
async fn the_sponsor_table() {
    let server = FastServer::start();
    open(&server).check_told(&SPONSORS).await;
    check_counted("trace-moe", &SPONSORS);
}

/// Each quota of the table is used up over HTTP. `/bulk` is added by the test: a search that costs 10, as 18,700 single
/// ones would take a minute.
#[tokio::test]
async fn the_daily_quotas() {
    let server = FastServer::start();
    let with_bulk = |text: String| {
        let search = "  - { path: /search, ";
        assert!(text.contains(search));
        let bulk = "  - { path: /bulk, upstream: search, metered: true, cost: 10 }\n";
        text.replacen(search, &format!("{bulk}{search}"), 1)
    };
    let deployment = Deployment::open("trace-moe", with_bulk, ("search", &server), "proxy.example", NOON);
    deployment.check_spent(&SPONSORS, 10).await;
    let debits = metric_sum(deployment.proxy.admin, "tiergate_quota_debits_total", "").await;
    assert_eq!(debits, 18_700.0);
}

/// "You can still use the API without an API Key. You will be identified by your IP address. Any unique IP address will be considered as
/// one unique user."
#[tokio::test]
async fn an_address_is_a_user() {
    let server = FastServer::start();
    let deployment = open(&server);
    deployment.searches("free", 3).await;
    for (host, used) in [(1, 3), (2, 0)] {
        let me = Visitor::at(host, &deployment.proxy).await.get("/me").await.json();
        assert_eq!((&me["quotaUsed"], &me["tier"]), (&used.into(), &"free".into()));
        assert_eq!(me["id"], format!("127.0.0.{host}"));
    }
}

/// "If you are a sponsor, you can still use the API without an API Key. […] This means if your program uses the API Key in a
/// tricky way, you could get 100 (without API Key) + 100 (with API Key) = 200 daily quota." And "if you have reached your daily
/// quota, the search request will fail with HTTP 402".
#[tokio::test]
async fn with_and_without_a_key_200_and_not_one_more() {
    let server = FastServer::start();
    let deployment = open(&server);
    for _ in 0..100 {
        for tier in ["free", "$1"] {
            deployment.searches(tier, 1).await;
        }
    }
    for tier in ["free", "$1"] {
        deployment.check_left(tier, 0).await;
    }
    assert_eq!(server.requests(), 200);
    let debits = metric_sum(deployment.proxy.admin, "tiergate_quota_debits_total", "").await;
    assert_eq!(debits, 200.0);
}

/// "Failed search requests like HTTP 4xx and 5xx don't count. You don't have to worry about wasting quota on malformed requests, broken
/// images, throttled requests, or database errors."
#[tokio::test]
async fn failed_searches_do_not_count() {
    let server = FastServer::start();
    let deployment = open(&server);
    for status in [400, 402, 403, 404, 405, 413, 429, 500, 502, 503, 504] {
        for _ in 0..10 {
            let answer = deployment.ask("free", &format!("/search?status={status}")).await;
            assert_eq!(answer.status(), status);
        }
    }
    // Throttled by the proxy itself.
    let mut visitor = Visitor::at(1, &deployment.proxy).await;
    while visitor.get("/image/1").await.status() == 200 {}
    visitor.get("/search").await.assert_refused(429, "rate_limited");
    deployment.advance(60);
    assert_eq!(deployment.ask("free", "/me").await.json()["quotaUsed"], 0);
    deployment.check_left("free", 100).await;
}

/// "You don't have to worry about wasting quota on malformed requests": those that the proxy itself refuses.
#[tokio::test]
async fn malformed_requests_do_not_count() {
    let server = FastServer::start();
    open(&server).check_malformed_is_free(100).await;
    assert_eq!(server.requests(), 0);
}

/// "Search quota counts in a rolling window of 24 hours."
#[tokio::test]
async fn a_rolling_window_of_24_hours() {
    let server = FastServer::start();
    let deployment = open(&server);
    deployment.searches("free", 60).await;
    deployment.advance(14 * HOUR);
    // Midnight means nothing.
    deployment.check_left("free", 40).await;
    deployment.advance(9 * HOUR);
    deployment.check_left("free", 0).await;
    // The first 60 leave a day later, with the minutes in which they were charged.
    deployment.advance(HOUR + 60);
    deployment.check_left("free", 60).await;
    deployment.advance(14 * HOUR + 60);
    deployment.check_left("free", 40).await;
}

/// "If you send a second request before the first request responds, it will fail with HTTP 402." And "Concurrency only applies to
/// the /search endpoint."
#[tokio::test]
async fn concurrency_counts_searches_only() {
    check_concurrency(&SYSTEM, &SPONSORS).await;
}

/// "If the queue is full, upcoming new requests will be rejected with HTTP 503."
#[tokio::test]
async fn a_full_queue_rejects_the_free_and_serves_the_paying() {
    let server = UpstreamServer::start().await;
    let (proxy, _) = Proxy::start_preset("trace-moe", with_sponsors, &[("search", server.address)], NOON);
    let mut running = Vec::new();
    for host in 2..6 {
        let mut client = Client::connect_from(host, proxy.address).await;
        client.search("").await;
        running.push((client, server.request().await));
    }
    let mut waiting = Vec::new();
    for host in 6..14 {
        let mut client = Client::connect_from(host, proxy.address).await;
        client.search("").await;
        waiting.push(client);
        proxy.jobs_until(waiting.len(), 4).await;
    }
    let mut late = Client::connect_from(14, proxy.address).await;
    late.search("").await;
    late.answer().await.assert_refused(503, "queue_full");
    let mut sponsor = Client::connect(proxy.address).await;
    sponsor.search("key-1").await;
    let displaced = waiting.pop().expect("eight wait").answer().await;
    displaced.assert_refused(503, "displaced");
    let (mut first, mut arrived) = running.remove(0);
    arrived.answer_with("200 OK", "connection: close\r\n", "found").await;
    assert_eq!(first.answer().await.status(), 200);
    let mut next = server.request().await;
    assert_eq!(
        next.head.get("x-tiergate-tier"),
        Some("$1"),
        "it is served before jobs that were queued longer"
    );
    next.answer("found").await;
    assert_eq!(sponsor.answer().await.status(), 200);
}
