//! What is refused for want of quota, in which order, and what a search costs (rules §2.4, §5.2).

use serde_json::json;
use tiergate::policy::time::{Span, UnixTime};

use super::accounting::{ask, debits, releases, search, taken, with_key};
use crate::support::fast::FastServer;
use crate::support::{Client, Plan, Proxy, UpstreamServer};

const TEN: &str = "concurrency: 64, quota: { limit: 10, rolling: 24h }";

/// A proxy before one server with one slot, where every caller has ten units.
pub(super) fn before(server: &UpstreamServer) -> Plan<'static> {
    Plan {
        cores: 1,
        servers: Box::leak(Box::new([(server.address, 1)])),
        tier: TEN,
        ..Plan::default()
    }
}

/// A request of p5 on a connection of its own.
pub(super) async fn asking(proxy: &Proxy, method: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.request(method, "/search", &with_key("p5")).await;
    client
}

/// So that the next request comes on another connection.
pub(super) const CLOSE: &str = "connection: close\r\n";

#[tokio::test]
async fn quota_is_checked_before_concurrency_and_the_queue_last() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        queue_length: 1,
        servers: &[(server.address, 1)],
        tier: "concurrency: 2, quota: { limit: 3, rolling: 24h }",
        ..before(&server)
    }
    .start();
    // One job of p5 runs and one is queued: its concurrency is used up, and the queue is full.
    let _running = asking(&proxy, "GET").await;
    proxy.jobs_until(0, 1).await;
    let _waiting = asking(&proxy, "GET").await;
    proxy.jobs_until(1, 1).await;
    search(&proxy, "p5").await.assert_refused(402, "concurrency_exceeded");
    search(&proxy, "p4").await.assert_refused(503, "queue_full");
    assert_eq!(taken(&proxy, "p5").await, (0, 2));
    assert_eq!(taken(&proxy, "p4").await, (0, 0));

    // Without quota left, that is the reason given.
    let server = FastServer::start();
    let proxy = Plan {
        queue_length: 0,
        servers: &[(server.address, 1)],
        tier: "concurrency: 1, quota: { limit: 1, rolling: 24h }",
        ..Plan::default()
    }
    .start();
    let mut uploading = Client::connect(proxy.address).await;
    uploading.request("POST", "/search", "content-length: 300000\r\n").await;
    uploading.send(vec![0; 270_000]).await;
    proxy.uploading_until(1).await;
    search(&proxy, "").await.assert_refused(402, "quota_depleted");
    drop(uploading);
    proxy.uploading_until(0).await;
    assert_eq!(search(&proxy, "").await.status(), 200);
}

#[tokio::test]
async fn a_route_costs_what_it_says() {
    let server = FastServer::start();
    let more = "  - { path: /dear, upstream: search, metered: true, cost: 4 }\n  \
        - { path: /peek, upstream: search, metered: true, cost: 0 }\n  \
        - { path: /ruin, upstream: search, metered: true, cost: 11 }";
    let proxy = Plan {
        servers: &[(server.address, 1)],
        tier: TEN,
        more,
        ..Plan::default()
    }
    .start();
    let key = with_key("p5");
    let never = ask(&proxy, "/ruin", &key).await;
    never.assert_refused(402, "quota_depleted");
    assert_eq!(never.get("retry-after"), None, "it would never be admitted");
    for charged in [4, 8] {
        assert_eq!(ask(&proxy, "/dear", &key).await.status(), 200);
        assert_eq!(taken(&proxy, "p5").await, (charged, 0));
    }
    let refused = ask(&proxy, "/dear", &key).await;
    refused.assert_refused(402, "quota_depleted");
    assert_eq!(
        (&refused.json()["limit"], &refused.json()["used"]),
        (&10.into(), &8.into())
    );
    assert_eq!(ask(&proxy, "/dear?status=500", &with_key("p4")).await.status(), 500);
    assert_eq!(releases(&proxy, "p4", "failed").await, 4.0);
    for _ in 0..2 {
        assert_eq!(search(&proxy, "p5").await.status(), 200);
    }
    search(&proxy, "p5").await.assert_refused(402, "quota_depleted");
    // A peek costs nothing, so it needs no quota.
    for _ in 0..3 {
        assert_eq!(ask(&proxy, "/peek", &key).await.status(), 200);
    }
    assert_eq!((taken(&proxy, "p5").await, debits(&proxy, "p5").await), ((10, 0), 10.0));
}

#[tokio::test]
async fn a_quota_of_zero_always_refuses() {
    let server = FastServer::start();
    for window in ["rolling: 24h", "calendar: month"] {
        let tier = format!("concurrency: 64, quota: {{ limit: 0, {window} }}");
        let proxy = Plan {
            servers: &[(server.address, 1)],
            tier: &tier,
            ..Plan::default()
        }
        .start();
        let answer = search(&proxy, "p5").await;
        answer.assert_refused(402, "quota_depleted");
        assert_eq!(answer.get("retry-after"), None);
        assert_eq!(answer.json()["retry_after"], json!(null));
        assert_eq!(taken(&proxy, "p5").await, (0, 0));
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_search_is_charged_to_the_month_it_began_in() {
    let server = UpstreamServer::start().await;
    let plan = Plan {
        tier: "concurrency: 64, quota: { limit: 2, calendar: month }",
        ..before(&server)
    };
    // 2026-05-31T23:59:50Z.
    let (proxy, clock_control) = Proxy::start_at(UnixTime::from_secs(1_780_271_990), &plan.yaml());
    let mut first = asking(&proxy, "GET").await;
    let mut arrived = server.request().await;
    let mut waiting = asking(&proxy, "GET").await;
    proxy.jobs_until(1, 1).await;
    search(&proxy, "p5").await.assert_refused(402, "quota_depleted");
    clock_control.advance(Span::from_secs(11));
    assert_eq!(taken(&proxy, "p5").await, (0, 0), "June begins at zero");
    let next = [asking(&proxy, "GET").await, asking(&proxy, "GET").await];
    proxy.jobs_until(3, 1).await;
    assert_eq!(taken(&proxy, "p5").await, (0, 2));
    search(&proxy, "p5").await.assert_refused(402, "quota_depleted");
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(waiting.answer().await.status(), 200);
    assert_eq!(taken(&proxy, "p5").await, (0, 2), "May is counted separately");
    for mut client in next {
        arrived = server.request().await;
        arrived.answer_with("200 OK", CLOSE, "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(taken(&proxy, "p5").await, (2, 0));
    assert_eq!(debits(&proxy, "p5").await, 4.0);
}

/// An upload without quota is refused before its body has arrived, and the client can read the refusal.
#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let server = FastServer::start();
    let proxy = Plan {
        servers: &[(server.address, 1)],
        tier: "concurrency: 64, quota: { limit: 0, rolling: 24h }",
        ..Plan::default()
    }
    .start();
    for (sent, expect) in [(0, ""), (0, "expect: 100-continue\r\n"), (100_000, "")] {
        let mut client = Client::connect(proxy.address).await;
        let headers = format!("{}{expect}content-length: 1000000\r\n", with_key("p5"));
        client.request("POST", "/search", &headers).await;
        client.send(vec![0; sent]).await;
        let answer = client.answer().await;
        answer.assert_refused(402, "quota_depleted");
        assert_eq!(answer.get("connection"), Some("close"));
    }
    assert_eq!((taken(&proxy, "p5").await, server.requests()), ((0, 0), 0));
}

#[tokio::test]
async fn every_spelling_of_a_metered_path_costs_and_nothing_else_does() {
    let server = FastServer::start();
    let proxy = Plan {
        servers: &[(server.address, 1)],
        tier: TEN,
        ..Plan::default()
    }
    .start();
    let mut client = Client::connect(proxy.address).await;
    let spellings = [
        "/search",
        "/SEARCH",
        "/%73earch",
        "//search",
        "/image/../search",
        "/./Search?x=1",
    ];
    for (charged, path) in (1..).zip(spellings) {
        let answer = client.ask("GET", path, &with_key("p5")).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(taken(&proxy, "p5").await, (charged, 0), "{path}");
    }
    for _ in 0..20 {
        assert_eq!(client.ask("GET", "/image/1", &with_key("p5")).await.status(), 200);
        assert_eq!(client.ask("OPTIONS", "/search", &with_key("p5")).await.status(), 204);
        assert_eq!(client.ask("GET", "/searches", &with_key("p5")).await.status(), 404);
    }
    assert_eq!(taken(&proxy, "p5").await, (6, 0));
}
