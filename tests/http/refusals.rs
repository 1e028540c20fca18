//! Refusals (rules §8): status, reason, the numbers that explain them, and when to retry.

use std::time::Duration;

use crate::support::{Answer, Arrived, Client, Proxy, UpstreamServer, seven_tiers};

const PROBLEM: &str = "accept: application/problem+json\r\n";

/// The seconds of `Retry-After`, which the body repeats.
fn retry_after(answer: &Answer) -> u64 {
    let seconds: u64 = answer
        .get("retry-after")
        .expect("it says when")
        .parse()
        .expect("seconds");
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(answer.json()["retry_after"], seconds);
    seconds
}

async fn search(proxy: &Proxy, headers: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/search", headers).await;
    client
}

#[tokio::test]
async fn concurrency_refusals_state_the_limit() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = search(&proxy, "").await;
    let mut arrived = server.request().await;
    let mut client = search(&proxy, "").await;
    let plain = client.answer().await;
    plain.assert_refused(402, "concurrency_exceeded");
    let expected = serde_json::json!({
        "error": "Concurrency limit exceeded", "reason": "concurrency_exceeded", "name": "concurrency",
        "limit": 1, "used": 1, "tier": "free", "priority": 0,
    });
    assert_eq!(plain.explanation(), expected);
    let problem = client.ask("GET", "/search", PROBLEM).await;
    assert_eq!(problem.status(), 402);
    assert_eq!(problem.get("content-type"), Some("application/problem+json"));
    let json = problem.json();
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&json[name], value, "{name}");
    }
    let kind = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    assert_eq!((&json["type"], &json["status"]), (&kind.into(), &402.into()));
    assert_eq!(json["violated-policies"], serde_json::json!(["concurrency"]));
    // Other refusals are problem documents too.
    let problem = client.ask("GET", "/nowhere", PROBLEM).await;
    assert_eq!(problem.get("content-type"), Some("application/problem+json"));
    assert_eq!(problem.json()["type"], "about:blank");
    let refused = r#"tiergate_refusals_total{tier="free",reason="concurrency_exceeded"}"#;
    assert_eq!(proxy.metric(refused).await, 2.0);
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test]
async fn full_queue_refusals_name_the_priorities() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(1, &[(server.address, 1)], ""));
    let mut running = search(&proxy, "x-api-key: key-100\r\n").await;
    let mut arrived = server.request().await;
    let mut waiting = search(&proxy, "x-api-key: key-1\r\n").await;
    proxy.jobs_until(1, 1).await;

    let full = search(&proxy, "").await.answer().await;
    full.assert_refused(503, "queue_full");
    let json = full.json();
    assert_eq!((&json["name"], &json["limit"]), (&"queue".into(), &1.into()));
    assert_eq!(json["lowest_admitted_priority"], 3);
    assert_eq!((&json["tier"], &json["priority"]), (&"free".into(), &0.into()));
    retry_after(&full);
    let problem = search(&proxy, PROBLEM).await.answer().await;
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(problem.json()["type"], kind);
    retry_after(&problem);

    let mut higher = search(&proxy, "x-api-key: key-10\r\n").await;
    let displaced = waiting.answer().await;
    displaced.assert_refused(503, "displaced");
    let json = displaced.json();
    assert_eq!(json["error"], "Search queue is full (made room for a higher tier)");
    assert_eq!(json["displaced_by_priority"], 5);
    assert_eq!((&json["tier"], &json["priority"]), (&"$1".into(), &2.into()));
    retry_after(&displaced);
    // The refused client keeps its connection.
    assert_eq!(waiting.ask("GET", "/me", "").await.status(), 200);
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="$1",outcome="displaced"}"#)
            .await,
        1.0
    );
    assert_eq!(
        proxy
            .metric(r#"tiergate_refusals_total{tier="$1",reason="displaced"}"#)
            .await,
        1.0
    );
    assert_eq!(
        proxy
            .metric(r#"tiergate_refusals_total{tier="free",reason="queue_full"}"#)
            .await,
        2.0
    );

    arrived.answer("{}").await;
    assert_eq!(running.answer().await.status(), 200);
    Arrived::on_either(arrived.stream, &server).await.answer("{}").await;
    assert_eq!(higher.answer().await.status(), 200);
}

#[tokio::test]
async fn queueing_ends_after_max_wait() {
    let server = UpstreamServer::start().await;
    let yaml = seven_tiers(8, &[(server.address, 1)], "").replace("max_wait: 30s", "max_wait: 200ms");
    let proxy = Proxy::start(&yaml);
    let mut first = search(&proxy, "x-api-key: key-100\r\n").await;
    let mut arrived = server.request().await;
    let mut second = search(&proxy, "").await;
    let answer = second.answer().await;
    answer.assert_refused(503, "waited_too_long");
    let waited = answer.json()["waited"].as_f64().expect("seconds");
    assert!((0.2..10.0).contains(&waited), "{waited}");
    retry_after(&answer);
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="waited_out"}"#)
            .await,
        1.0
    );
    // Its concurrency was given back.
    let again = second.ask("GET", "/search", "").await;
    again.assert_refused(503, "waited_too_long");
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test]
async fn a_client_can_ask_for_a_shorter_wait() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = search(&proxy, "x-api-key: key-100\r\nprefer: wait=7\r\n").await;
    let mut arrived = server.request().await;
    let answer = search(&proxy, "prefer: respond-async, wait=1\r\n").await.answer().await;
    answer.assert_refused(503, "waited_too_long");
    let waited = answer.json()["waited"].as_f64().expect("seconds");
    assert!((1.0..10.0).contains(&waited), "{waited}");
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.get("preference-applied"), Some("wait=7"));
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is how long slots are held, so they must be held"
)]
async fn a_wait_estimated_too_long_is_refused_at_once() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(16, &[(server.address, 1)], "").replace("cores: 2", "cores: 1"));
    let mut client = search(&proxy, "x-api-key: key-100\r\n").await;
    let mut arrived = server.request().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        arrived.answer("{}").await;
        assert_eq!(client.answer().await.status(), 200);
        client.search("key-100").await;
        arrived = Arrived::on(arrived.stream).await;
    }
    let mut waiting = Vec::new();
    for price in [1, 5, 10, 20, 20, 50, 50, 50] {
        waiting.push(search(&proxy, &format!("x-api-key: key-{price}\r\n")).await);
    }
    proxy.jobs_until(8, 1).await;
    // At least 9 × 40 ms, and eight times as long for a priority that got no slot lately.
    let answer = search(&proxy, "prefer: wait=1\r\n").await.answer().await;
    answer.assert_refused(503, "wait_too_long");
    let json = answer.json();
    assert_eq!(json["wait"], 1);
    assert!(
        json["estimate"].as_u64().is_some_and(|estimate| estimate >= 2),
        "{json}"
    );
    retry_after(&answer);
    let _patient = search(&proxy, "prefer: wait=300\r\n").await;
    proxy.jobs_until(9, 1).await;
    drop((waiting, _patient));
    proxy.jobs_until(0, 1).await;
    arrived.answer("{}").await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn queued_requests_are_rejected_on_shutdown() {
    let server = UpstreamServer::start().await;
    let mut proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = search(&proxy, "x-api-key: key-100\r\n").await;
    let mut arrived = server.request().await;
    let mut second = search(&proxy, "").await;
    proxy.jobs_until(1, 1).await;
    proxy.begin_closing();
    let answer = second.answer().await;
    answer.assert_refused(503, "shutting_down");
    assert_eq!(answer.get("connection"), Some("close"));
    retry_after(&answer);
    assert_eq!(
        proxy
            .metric(r#"tiergate_refusals_total{tier="free",reason="shutting_down"}"#)
            .await,
        1.0
    );
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
    proxy.closed();
}

#[tokio::test]
async fn unmetered_requests_are_capped() {
    let server = UpstreamServer::start().await;
    let more = "connections: { unmetered_max: 1 }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], more));
    let mut first = Client::connect(proxy.address).await;
    first.request("GET", "/image/1", "").await;
    let mut arrived = server.request().await;
    let mut second = Client::connect(proxy.address).await;
    let answer = second.ask("GET", "/image/2", "").await;
    answer.assert_refused(503, "too_many_in_flight");
    assert_eq!(answer.json()["limit"], 1);
    retry_after(&answer);
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}
