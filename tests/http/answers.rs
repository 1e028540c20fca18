//! Refusals as the operator configures them: status, headers and body by reason.

use serde_json::json;

use crate::support::fast::FastServer;
use crate::support::{Client, Proxy, UpstreamServer, seven_tiers};

const ANSWERS: &str = r#"
cors: { origins: ["*"] }
answers:
  not_found: { body: '{"data":null,"errors":[{"message":"{error}","status":{status}}]}' }
  invalid_key: { status: 401, headers: { WWW-Authenticate: 'Bearer error="{reason}"' }, body: '{"success":false,"error":"{error}","tier":{tier}}' }
  concurrency_exceeded: { status: 429 }
  method_not_allowed: { content_type: "text/html; charset=utf-8", body: "<p title='{reason}'>{error} &amp; {limit}</p>" }
  body_too_large: { content_type: text/plain, body: "at most {limit} bytes, {tier}" }
  bad_request: { status: 422, headers: { x-why: "{error}" }, body: '{"code":{status},"message":"{error}"}' }
  queue_full: { body: '{"full":{limit},"from":{lowest_admitted_priority},"in":{retry_after},"you":{priority},"who":"{tier}"}' }
"#;

/// hyper by itself writes `HTTP/1.1 420 <none>`.
#[tokio::test]
async fn nonstandard_statuses_get_a_reason_phrase() {
    let server = FastServer::start();
    let answers = "answers: { not_found: { status: 420 } }";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], answers));
    let mut client = Client::connect(proxy.address).await;
    let refused = client.ask("GET", "/nowhere", "").await;
    assert_eq!(refused.status(), 420);
    assert!(refused.head.line.ends_with("420 Refused"), "{:?}", refused.head);
}

#[tokio::test]
async fn each_reason_uses_its_configured_answer() {
    let server = FastServer::start();
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], ANSWERS));
    let mut client = Client::connect(proxy.address).await;

    let graphql = client.ask("GET", "/nowhere", "origin: https://a.example\r\n").await;
    let expected = json!({ "data": null, "errors": [{ "message": "Not found", "status": 404 }] });
    assert_eq!((graphql.status(), graphql.json()), (404, expected));
    assert_eq!(graphql.get("content-type"), Some("application/json"));
    assert_eq!(graphql.get("access-control-allow-origin"), Some("*"));
    // The configured body is sent whatever the client accepts.
    let problem = client
        .ask("GET", "/nowhere", "accept: application/problem+json\r\n")
        .await;
    assert_eq!(problem.get("content-type"), Some("application/json"));

    let unknown = client.ask("GET", "/search", "x-api-key: guess\r\n").await;
    let expected = json!({ "success": false, "error": "Invalid API key", "tier": null });
    assert_eq!((unknown.status(), unknown.json()), (401, expected));
    assert_eq!(unknown.get("www-authenticate"), Some("Bearer error=\"invalid_key\""));

    let html = client.ask("TRACE", "/image/1", "").await;
    assert_eq!(html.get("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        html.text(),
        "<p title='method_not_allowed'>Method not allowed &amp; </p>"
    );

    let mut large = Client::connect(proxy.address).await;
    let plain = large
        .ask(
            "POST",
            "/search",
            "content-length: 99999999\r\nexpect: 100-continue\r\n",
        )
        .await;
    assert_eq!(
        (plain.status(), plain.text().as_str()),
        (413, "at most 26214400 bytes, ")
    );
    assert_eq!(plain.get("content-type"), Some("text/plain"));

    let mut head = Client::connect(proxy.address).await;
    let only = head.ask("HEAD", "/nowhere", "").await;
    assert_eq!(
        only.get("content-length"),
        Some(graphql.text().len().to_string().as_str())
    );
}

/// Requests that hyper could not parse are answered from the same table.
#[tokio::test]
async fn malformed_requests_get_the_configured_answer() {
    let server = FastServer::start();
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], ANSWERS));
    let mut client = Client::connect(proxy.address).await;
    client.send("garbage\r\n\r\n").await;
    let answer = client.answer().await;
    let message = "the request is not HTTP/1.1";
    assert_eq!(
        (answer.status(), answer.json()),
        (422, json!({ "code": 422, "message": message }))
    );
    assert_eq!(answer.get("x-why"), Some(message));
    assert_eq!(answer.get("connection"), Some("close"));
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn queue_full_fills_in_its_template() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(1, &[(server.address, 1)], ANSWERS));
    let mut running = Client::connect(proxy.address).await;
    running.search("key-100").await;
    let _held = server.request().await;
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("key-20").await;
    proxy.jobs_until(1, 1).await;
    let mut second = Client::connect(proxy.address).await;
    let full = second.ask("GET", "/search", "x-api-key: key-1\r\n").await;
    let body = full.json();
    assert_eq!(
        (full.status(), &body["full"], &body["from"]),
        (503, &1.into(), &6.into())
    );
    assert_eq!((&body["you"], &body["who"]), (&2.into(), &"$1".into()));
    let told = full.get("retry-after").expect("a Retry-After");
    assert_eq!(body["in"].to_string(), told);
}

/// If only the status is configured, the usual body is sent and states that status.
#[tokio::test]
async fn the_status_alone_can_be_changed() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ANSWERS));
    let mut running = Client::connect(proxy.address).await;
    running.search("key-5").await;
    let _held = server.request().await;
    let mut again = Client::connect(proxy.address).await;
    let headers = "x-api-key: key-5\r\naccept: application/problem+json\r\n";
    let problem = again.ask("GET", "/search", headers).await;
    assert_eq!(problem.get("content-type"), Some("application/problem+json"));
    let body = problem.json();
    assert_eq!((problem.status(), &body["status"]), (429, &429.into()));
    assert_eq!(body["reason"], "concurrency_exceeded");
}
