//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11) on answers of metered routes, read as RFC 9651
//! has them.

use serde_json::{Value, json};
use tiergate::policy::time::{Span, UnixTime};

use super::accounting::{ask, field, search, with_key};
use crate::support::{Answer, Client, Plan, Proxy, UpstreamServer};

const TIER: &str =
    "concurrency: 2, quotas: { daily: { limit: 3, rolling: 24h }, month: { limit: 50, calendar: month } }";
const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

fn plan(server: &UpstreamServer) -> Plan<'static> {
    Plan {
        cores: 1,
        queue_length: 1,
        servers: Box::leak(Box::new([(server.address, 1)])),
        tier: TIER,
        ..Plan::default()
    }
}

/// Checks the two fields: what is left of each quota, and in how many seconds more comes (`None`: not stated). The
/// clock runs during the test, so seconds may be a few less.
#[track_caller]
fn assert_left(answer: &Answer, left: [(&str, u64, Option<u64>); 3]) {
    let policy = json!({
        "daily": { "q": 3, "w": 86_400 }, "month": { "q": 50 },
        "concurrency": { "q": 2, "qu": "concurrent-requests" },
    });
    assert_eq!(field(&answer.head, "ratelimit-policy"), policy);
    let state = field(&answer.head, "ratelimit");
    assert_eq!(state.as_object().map(serde_json::Map::len), Some(3), "{state}");
    for (name, remaining, seconds) in left {
        assert_eq!(state[name]["r"], remaining, "{name}: {state}");
        match (seconds, state[name]["t"].as_u64()) {
            (Some(at_most), Some(told)) => assert!((at_most - 10..=at_most).contains(&told), "{name}: {state}"),
            (expected, told) => assert_eq!(told, expected, "{name}: {state}"),
        }
    }
}

async fn answered(proxy: &Proxy, server: &UpstreamServer, status: &str) -> Answer {
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    let mut arrived = server.request().await;
    arrived.answer_with(status, "connection: close\r\n", "{}").await;
    client.answer().await
}

/// From noon to the end of January 2027, and to the end of the minute after a day.
const MONTH: u64 = 16 * 86_400 + 43_200;
const DAY: u64 = 86_460;

#[tokio::test]
async fn every_answer_says_what_is_left_and_when_more_comes() {
    let server = UpstreamServer::start().await;
    let (proxy, clock_control) = Proxy::start_at(NOON, &plan(&server).yaml());
    let free = [("daily", 3, None), ("month", 50, None), ("concurrency", 2, None)];
    let answer = answered(&proxy, &server, "404 Not Found").await;
    assert_left(&answer, free);
    assert_eq!(answer.get("retry-after"), None);
    let used = |daily, t| {
        [
            ("daily", daily, Some(DAY - t)),
            ("month", 47 + daily, Some(MONTH - t)),
            ("concurrency", 2, None),
        ]
    };
    assert_left(&answered(&proxy, &server, "200 OK").await, used(2, 0));
    clock_control.advance(Span::from_secs(3_600));
    assert_left(&answered(&proxy, &server, "500 Oh").await, used(2, 3_600));
    // More comes when the first unit comes back, however many follow.
    assert_left(&answered(&proxy, &server, "200 OK").await, used(1, 3_600));
    assert_left(&answered(&proxy, &server, "200 OK").await, used(0, 3_600));
    let refused = search(&proxy, "p5").await;
    refused.assert_refused(402, "quota_depleted");
    assert_left(&refused, used(0, 3_600));
    let told = field(&refused.head, "ratelimit")["daily"]["t"].to_string();
    assert_eq!(refused.get("retry-after"), Some(told.as_str()));
    clock_control.advance(Span::from_secs(DAY - 3_600));
    let answer = answered(&proxy, &server, "404 Not Found").await;
    let later = [
        ("daily", 1, Some(3_600)),
        ("month", 47, Some(MONTH - DAY)),
        ("concurrency", 2, None),
    ];
    assert_left(&answer, later);
    clock_control.advance(Span::from_secs(MONTH - DAY));
    assert_left(&answered(&proxy, &server, "404 Not Found").await, free);
}

#[tokio::test]
async fn units_held_by_other_jobs_are_not_left() {
    let server = UpstreamServer::start().await;
    let (proxy, _) = Proxy::start_at(NOON, &plan(&server).yaml());
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    let mut arrived = server.request().await;
    let begun = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n1";
    arrived.write(begun.as_bytes()).await;
    let head = client.answer_head().await;
    let begun = Answer { head, body: Vec::new() };
    // Once this answer has ended: its own search is not counted.
    assert_left(
        &begun,
        [("daily", 2, None), ("month", 49, None), ("concurrency", 2, None)],
    );

    // Other refusals of a metered route have the fields too: concurrency, queue place, upstream.
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("p5").await;
    proxy.jobs_until(1, 1).await;
    let full = [("daily", 1, None), ("month", 48, None), ("concurrency", 0, None)];
    let refused = search(&proxy, "p5").await;
    refused.assert_refused(402, "concurrency_exceeded");
    assert_left(&refused, full);
    let refused = search(&proxy, "p4").await;
    refused.assert_refused(503, "queue_full");
    assert_left(
        &refused,
        [("daily", 3, None), ("month", 50, None), ("concurrency", 2, None)],
    );
    arrived.write(b"2").await;
    // The slot is freed before the debit is stored.
    client.until_ends_with("2").await;
    drop(server.request().await);
    let refused = waiting.answer().await;
    refused.assert_refused(502, "upstream_failed");
    assert_left(
        &refused,
        [
            ("daily", 2, Some(DAY)),
            ("month", 49, Some(MONTH)),
            ("concurrency", 2, None),
        ],
    );
}

#[tokio::test]
async fn only_known_callers_of_metered_routes_get_the_fields() {
    let server = UpstreamServer::start().await;
    let proxy = plan(&server).start();
    let mut silent = vec![
        ask(&proxy, "/me", &with_key("p5")).await,
        ask(&proxy, "/nowhere", &with_key("p5")).await,
        search(&proxy, "unknown").await,
        ask(&proxy, "/search", "x-api-key: a\r\nx-api-key: b\r\n").await,
        Client::connect(proxy.address).await.ask("OPTIONS", "/search", "").await,
    ];
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/image/1", &with_key("p5")).await;
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
    silent.push(client.answer().await);
    for answer in silent {
        for name in ["ratelimit", "ratelimit-policy"] {
            assert_eq!(field(&answer.head, name), Value::Null, "{}", answer.head.line);
        }
    }
}

/// Regression: the upstream's fields were kept beside the proxy's. Those of an older draft are dictionaries, not lists,
/// and made the whole field unreadable; those of the same name contradicted it.
#[tokio::test]
async fn the_upstreams_own_fields_are_replaced() {
    let server = UpstreamServer::start().await;
    let (proxy, _) = Proxy::start_at(NOON, &plan(&server).yaml());
    let theirs = "ratelimit: limit=10, remaining=3\r\nratelimit-policy: 10;w=60\r\nRateLimit: \"daily\";r=7\r\n";
    let headers = format!("connection: close\r\n{theirs}");
    for path in ["/search", "/image/1"] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", path, &with_key("p5")).await;
        server.request().await.answer_with("200 OK", &headers, "{}").await;
        let answer = client.answer().await;
        if path == "/search" {
            let left = [
                ("daily", 2, Some(DAY)),
                ("month", 49, Some(MONTH)),
                ("concurrency", 2, None),
            ];
            assert_left(&answer, left);
        } else {
            // For what the proxy does not count, the upstream may send what it likes.
            let lines = ["limit=10, remaining=3", "\"daily\";r=7"];
            assert_eq!(answer.head.all("ratelimit"), lines);
        }
    }
}
