//! shotit, "Account and Limits": its sponsor tiers, its monthly quota and its queue, which began as trace.moe's.
//!
//! > The server has multiple priority queues with a fixed total queue length. If the queue is full, upcoming new requests
//! > would be rejected with HTTP 503. If you have priority 5, server would only reject your request only when queue 6 and
//! > queue 5 is full, regardless of the queues below you. If you have priority 0, you'll only have your request processed
//! > when all the queue has empty slots left.

use tiergate::clock::ClockControl;
use tiergate::policy::refusal::Reason;
use tiergate::policy::time::{Span, UnixTime};

use super::preset_queue::check_concurrency;
use super::queue_table::{Row, System, row};
use super::quota_table::{Deployment, Line, check_counted, with_sponsors};
use super::visitor::{Told, Visitor, is_about, retry_after, told};
use crate::support::fast::FastServer;
use crate::support::{Client, Proxy, metric_sum};

const SYSTEM: System = System {
    preset: "shotit",
    upstream: "api",
    host: API,
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

/// "If you send a second request before the first request respond, it would fail with HTTP 402. If your concurrency is 2,
/// your 3rd request would fail when server is already processing 2 of your previous requests."
#[test]
fn concurrency() {
    for (tier, _, concurrency, _) in &SPONSORS {
        let first = SYSTEM.first_refusal(tier);
        assert_eq!(first, (*concurrency, Reason::ConcurrencyExceeded), "{tier}");
    }
}

/// | Sponsor tiers | monthly quota | concurrency | priority |
const SPONSORS: [Line; 7] = [
    ("free", 1_000, 1, 0),
    ("$1", 1_000, 1, 2),
    ("$5", 5_000, 1, 2),
    ("$10", 10_000, 1, 5),
    ("$20", 20_000, 2, 5),
    ("$50", 50_000, 3, 5),
    ("$100", 100_000, 4, 6),
];

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const MINUTE: Span = Span::from_secs(60);
/// The API server.
const API: &str = "api.shotit";

/// `/bulk` is added by the tests, to get through a thousand: a search that costs 100.
fn open_at(server: &FastServer, at: UnixTime) -> Deployment {
    let with_bulk = |text: String| {
        let search = "  - { host: api.shotit, path: /search, ";
        assert!(text.contains(search));
        let bulk = "  - { host: api.shotit, path: /bulk, upstream: api, metered: true, cost: 100 }\n";
        text.replacen(search, &format!("{bulk}{search}"), 1)
    };
    Deployment::open("shotit", with_bulk, ("api", server), API, at)
}

fn open(server: &FastServer) -> Deployment {
    open_at(server, NOON)
}

/// The preset with sponsors: its three servers, and a clock that the test advances.
fn three_servers(web: &FastServer, api: &FastServer, media: &FastServer) -> (Proxy, &'static ClockControl) {
    let upstreams = [("web", web.address), ("api", api.address), ("media", media.address)];
    Proxy::start_preset("shotit", with_sponsors, &upstreams, NOON)
}

/// Uses up so many searches of this tier.
async fn use_up(deployment: &Deployment, tier: &str, searches: u64) {
    for _ in 0..searches / 100 {
        assert_eq!(deployment.ask(tier, "/bulk").await.status(), 200);
    }
    deployment.searches(tier, searches % 100).await;
}

/// | Server | Hostname | HTTP Rate Limit |: "this limit also applies to to other HTTP servers".
#[tokio::test]
async fn three_servers_by_host_with_a_limit_each() {
    let (web, api, media) = (FastServer::start(), FastServer::start(), FastServer::start());
    let (proxy, clock_control) = three_servers(&web, &api, &media);
    let mut visitor = Visitor::at(1, &proxy).await;
    // | Web server | shotit | 600/min |, | API server | api.shotit | 60/min |, | Media server | media.shotit | 60/min |
    let servers = [("shotit", 600, &web), (API, 60, &api), ("media.shotit", 60, &media)];
    for (host, limit, server) in servers {
        for remaining in (0..limit).rev() {
            let answer = visitor.ask("GET", host, "/some/page").await;
            assert_eq!(answer.status(), 200, "{host}: {}", answer.text());
            assert_eq!(
                (told(&answer).limit, told(&answer).remaining),
                (Some(limit), Some(remaining)),
                "{host}"
            );
        }
        let refused = visitor.ask("GET", host, "/some/page").await;
        refused.assert_refused(429, "rate_limited");
        assert_eq!(u64::try_from(server.requests()).unwrap(), limit, "{host}");
    }
    visitor
        .ask("GET", "another.shotit", "/")
        .await
        .assert_refused(421, "unknown_host");
    clock_control.advance(MINUTE);
    for (host, ..) in servers {
        assert_eq!(visitor.ask("GET", host, "/some/page").await.status(), 200, "{host}");
    }
}

/// The proxy's own pages used to answer at any host. None of the three limits matches other hosts, so nothing was
/// charged there, and keys could be guessed without end.
#[tokio::test]
async fn keys_cannot_be_guessed_at_an_unknown_host() {
    let server = FastServer::start();
    let (proxy, _) = three_servers(&server, &server, &server);
    let mut guessing = Visitor::at(1, &proxy).await.with_key("x-trace-key", "guess");
    for host in ["another.shotit", "shotit.evil.example", "127.0.0.1", ""] {
        for path in ["/me", "/stats", "/%6de", "/search", "/x"] {
            let answer = guessing.ask("GET", host, path).await;
            answer.assert_refused(421, "unknown_host");
        }
    }
    for path in ["/me", "/stats", "/search"].into_iter().cycle().take(60) {
        let answer = guessing.ask("GET", API, path).await;
        answer.assert_refused(403, "invalid_key");
    }
    guessing
        .ask("GET", API, "/me")
        .await
        .assert_refused(429, "rate_limited");
}

/// "Regardless of which url endpoint you're calling. This is always counted by IP address, even if you request with an API Key."
#[tokio::test]
async fn sixty_a_minute_by_address_for_any_path_and_key() {
    let server = FastServer::start();
    let (proxy, _) = three_servers(&server, &server, &server);
    let mut without = Visitor::at(1, &proxy).await;
    let mut with = Visitor::at(1, &proxy).await.with_key("x-trace-key", "key-100");
    for number in 0..20 {
        for path in ["/search", "/status"] {
            assert_eq!(with.ask("GET", API, path).await.status(), 200, "{number}");
        }
        assert_eq!(without.ask("GET", API, "/me").await.status(), 200, "{number}");
    }
    for path in ["/search", "/status", "/me"] {
        for visitor in [&mut with, &mut without] {
            visitor.ask("GET", API, path).await.assert_refused(429, "rate_limited");
        }
    }
    let mut elsewhere = Visitor::at(2, &proxy).await.with_key("x-trace-key", "key-100");
    assert_eq!(told(&elsewhere.ask("GET", API, "/search").await).remaining, Some(59));
}

/// "The rate limit info is included in the HTTP header", in lower case: `x-ratelimit-limit: 60`, `x-ratelimit-remaining: 59`,
/// `x-ratelimit-reset: 1620537960`. "Request would fail with HTTP 429 (Too Many Requests)."
#[tokio::test]
async fn the_headers_as_they_are_spelled() {
    let server = FastServer::start();
    let (proxy, clock_control) = three_servers(&server, &server, &server);
    let mut client = Client::connect(proxy.address).await;
    client
        .send(format!("GET /x HTTP/1.1\r\nhost: {API}\r\nconnection: close\r\n\r\n"))
        .await;
    let raw = String::from_utf8(client.rest().await).expect("text");
    for line in ["\r\nx-ratelimit-limit: 60\r\n", "\r\nx-ratelimit-remaining: 59\r\n"] {
        assert!(raw.contains(line), "{raw}");
    }
    let reset = raw.split_once("\r\nx-ratelimit-reset: ").expect("a reset").1;
    let reset = reset
        .split_once("\r\n")
        .expect("a line")
        .0
        .parse()
        .expect("seconds since 1970");
    assert!(is_about(reset, NOON, 60), "{reset}");
    let mut visitor = Visitor::at(1, &proxy).await;
    for remaining in (0..59).rev() {
        let expected = Told::new(60, remaining, reset);
        assert_eq!(told(&visitor.ask("GET", API, "/x").await), expected);
    }
    let refused = visitor.ask("GET", API, "/x").await;
    assert_eq!(refused.head.line, "HTTP/1.1 429 Too Many Requests");
    assert!((40..=60).contains(&retry_after(&refused)), "{}", retry_after(&refused));
    clock_control.advance(MINUTE);
    assert_eq!(told(&visitor.ask("GET", API, "/x").await).remaining, Some(59));
}

#[tokio::test]
async fn the_sponsor_table() {
    let server = FastServer::start();
    open(&server).check_told(&SPONSORS).await;
    check_counted("shotit", &SPONSORS);
}

/// Each quota of the table is used up over HTTP.
#[tokio::test]
async fn the_monthly_quotas() {
    let server = FastServer::start();
    let deployment = open(&server);
    deployment.check_spent(&SPONSORS, 100).await;
    let debits = metric_sum(deployment.proxy.admin, "tiergate_quota_debits_total", "").await;
    assert_eq!(debits, 187_000.0);
}

/// "Any unique IP address would be considered as one unique user."
#[tokio::test]
async fn an_address_is_a_user() {
    let server = FastServer::start();
    let deployment = open(&server);
    deployment.searches("free", 3).await;
    for (host, used) in [(1, 3), (2, 0)] {
        let mut visitor = Visitor::at(host, &deployment.proxy).await;
        let me = visitor.ask("GET", API, "/me").await.json();
        assert_eq!((&me["quotaUsed"], &me["tier"]), (&used.into(), &"free".into()));
    }
}

/// "Which means if your program use the API Key in a tricky way, you could get 1000 (without API Key) + 1000 (with API Key) =
/// 2000 monthly quota." And "search request would fail with HTTP 402".
#[tokio::test]
async fn with_and_without_a_key_2000_and_not_one_more() {
    let server = FastServer::start();
    let deployment = open(&server);
    for tier in ["free", "$1"] {
        use_up(&deployment, tier, 990).await;
    }
    for tier in ["$1", "free"] {
        deployment.check_left(tier, 10).await;
    }
    let debits = metric_sum(deployment.proxy.admin, "tiergate_quota_debits_total", "").await;
    assert_eq!(debits, 2_000.0);
}

/// "Search quota only deducts when server has successfully returned the results (HTTP 200). It doesn't count failed search
/// requests, including HTTP 4xx and 5xx." Nor "throttled requests".
#[tokio::test]
async fn only_http_200_is_deducted() {
    let server = FastServer::start();
    let deployment = open(&server);
    for status in [201, 204, 400, 402, 404, 429, 500, 502, 503] {
        let answer = deployment.ask("free", &format!("/search?status={status}")).await;
        assert_eq!(answer.status(), status);
    }
    let mut visitor = Visitor::at(1, &deployment.proxy).await;
    while visitor.ask("GET", API, "/status").await.status() == 200 {}
    visitor
        .ask("GET", API, "/search")
        .await
        .assert_refused(429, "rate_limited");
    deployment.advance(60);
    assert_eq!(deployment.ask("free", "/me").await.json()["quotaUsed"], 0);
    deployment.searches("free", 1).await;
    assert_eq!(deployment.ask("free", "/me").await.json()["quotaUsed"], 1);
}

/// "You don't have to worry about wasting quota on malformed requests": those that the proxy itself refuses.
#[tokio::test]
async fn malformed_requests_do_not_count() {
    let server = FastServer::start();
    open(&server).check_malformed_is_free(60).await;
    assert_eq!(server.requests(), 0);
}

/// "Search Quota reset every 1st of each month."
#[tokio::test]
async fn the_quota_is_reset_on_the_first_of_each_month() {
    let server = FastServer::start();
    // 2028-01-31T23:00:00Z. That year has a 29th of February.
    let deployment = open_at(&server, UnixTime::from_secs(1_832_972_400));
    use_up(&deployment, "free", 1_000).await;
    let mut begins = 1_832_976_000;
    for (first, days) in [("2028-02-01", 29), ("2028-03-01", 31), ("2028-04-01", 30)] {
        let me = deployment.ask("free", "/me").await.json();
        let quota = &me["quotas"][0];
        assert_eq!((&quota["window"], &quota["used"]), (&"month UTC".into(), &1_000.into()));
        assert_eq!(quota["next_reset"], format!("{first}T00:00:00Z"));
        // Some minutes before, as the test takes time itself; on the first; and an hour before the next.
        deployment.advance_to(UnixTime::from_secs(begins - 300));
        deployment.check_left("free", 0).await;
        deployment.advance_to(UnixTime::from_secs(begins));
        use_up(&deployment, "free", 990).await;
        deployment.check_left("free", 10).await;
        begins += days * 86_400;
        deployment.advance_to(UnixTime::from_secs(begins - 3_600));
        deployment.check_left("free", 0).await;
    }
}

/// "If you send a second request before the first request respond, it would fail with HTTP 402." And "Concurrency only applies to
/// the /search endpoint."
#[tokio::test]
async fn concurrency_counts_searches_only() {
    check_concurrency(&SYSTEM, &SPONSORS).await;
}
