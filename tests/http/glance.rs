//! What operators see at a glance: the status, the servers, the last refusals; and for which hosts the admin listener answers.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::yaml::with_admin;
use crate::support::{Arrived, Client, Mirror, Proxy, UpstreamServer, get, seven_tiers};

/// Answers and closes the connection, so that the next request comes on another one.
async fn answer(mut at_server: Arrived, body: &str) {
    at_server.answer_with("200 OK", "connection: close\r\n", body).await;
}

#[tokio::test]
async fn the_status_shows_the_server_at_a_glance() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut running = Client::connect(proxy.address).await;
    running.search("key-100").await;
    let arrived = server.request().await;
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("key-5").await;
    proxy.jobs_until(1, 1).await;
    let mut refused = Client::connect(proxy.address).await;
    refused.search("key-5").await;
    refused.answer().await.assert_refused(402, "concurrency_exceeded");

    let status = proxy.told(200, "GET /status", "").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_s"].as_f64().is_some_and(|uptime| uptime > 0.0));
    assert_eq!(status["problems"], json!([]));
    assert_eq!(status["database"], json!({ "available": true }));
    assert_eq!(status["queue"]["by_priority"], json!([0, 0, 1, 0, 0, 0, 0]));
    assert_eq!(
        (&status["queue"]["seats"], &status["queue"]["waiting"]),
        (&8.into(), &1.into())
    );
    assert!(status["queue"]["oldest_s"].is_number());
    let tier = |name: &str| {
        let mut tiers = status["tiers"].as_array().expect("a list").iter();
        let tier = tiers.find(|tier| tier["tier"] == name).expect("the tier");
        ["priority", "waiting", "running", "refused_last_minute"].map(|name| tier[name].as_u64().expect("a number"))
    };
    assert_eq!(
        (tier("$100"), tier("$5"), tier("free")),
        ([6, 0, 1, 0], [2, 1, 0, 1], [0, 0, 0, 0])
    );
    let upstream = &status["upstreams"][0];
    let numbers = ["slots", "available", "running", "waiting"].map(|name| upstream[name].as_u64());
    assert_eq!((&upstream["upstream"], numbers), (&"search".into(), [Some(1); 4]));
    let expected = json!({
        "upstream": "search", "server": server.address.to_string(), "listed": true, "slots": 1, "available": 1,
        "running": 1, "up": true, "why_down": null, "drained": false, "drained_since": null,
    });
    assert_eq!(upstream["servers"], json!([expected]));
    assert_eq!(status["config"]["last"]["result"], "started");

    answer(arrived, "").await;
    assert_eq!(running.answer().await.status(), 200);
    // A slot time is known now, so a running job's end is expected.
    let arrived = server.request().await;
    let queue = proxy.queue().await;
    assert!(queue["running"][0]["ends_in_s"].is_number(), "{queue}");
    answer(arrived, "").await;
    assert_eq!(waiting.answer().await.status(), 200);
}

/// An address at which nothing listens, reserved while the socket lives.
fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let bound = socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    bound.expect("loopback has free ports");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

#[tokio::test]
async fn a_server_that_is_down_is_told_with_its_reason() {
    let (_reserved, dead) = nobody();
    let proxy = Proxy::start(&seven_tiers(8, &[(dead, 3)], ""));
    get(proxy.address, "/search")
        .await
        .assert_refused(502, "upstream_unreachable");
    proxy
        .queue_until("it is down", |page| page["pools"][0]["slots"] == 0)
        .await;
    let servers = proxy.told(200, "GET /servers", "").await;
    let server = &servers["servers"][0];
    assert_eq!(
        (&server["up"], &server["slots"], &server["available"]),
        (&false.into(), &3.into(), &0.into())
    );
    let why = server["why_down"].as_str().expect("a reason");
    assert!(why.to_lowercase().contains("refused"), "{why}");
    let status = proxy.told(200, "GET /status", "").await;
    let reasons: Vec<&Value> = status["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| &problem["reason"])
        .collect();
    assert_eq!(reasons, ["server_down", "no_server"]);
    assert_eq!(proxy.queue().await["pools"][0]["configured"], 3);
}

#[tokio::test]
async fn the_last_refusals_are_kept_with_their_callers() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut running = Client::connect(proxy.address).await;
    running.search("key-5").await;
    let arrived = server.request().await;
    for _ in 0..40 {
        get(proxy.address, "/search?key=key-5")
            .await
            .assert_refused(402, "concurrency_exceeded");
    }
    let mut stranger = Client::connect_from(9, proxy.address).await;
    stranger.search("wrong").await;
    stranger.answer().await.assert_refused(403, "invalid_key");
    // No metered route.
    get(proxy.address, "/nowhere").await.assert_refused(404, "not_found");

    let told = proxy.told(200, "GET /refusals", "").await;
    let refusals = told["refusals"].as_array().expect("a list");
    let told_of = |refusal: &Value| {
        assert!(refusal["at"].is_string());
        ["reason", "status", "tier", "caller", "route"].map(|name| refusal[name].clone())
    };
    assert_eq!(
        told_of(&refusals[0]),
        [
            json!("invalid_key"),
            json!(403),
            Value::Null,
            json!("127.0.0.9"),
            json!("/search")
        ]
    );
    assert_eq!(
        told_of(&refusals[1]),
        [
            json!("concurrency_exceeded"),
            json!(402),
            json!("$5"),
            json!("a5"),
            json!("/search")
        ]
    );
    // A few of each second are kept; all are counted.
    let (kept, most) = (refusals.len() - 1, told["per_reason_and_second_max"].as_u64());
    assert!(kept < 40, "{kept}, {most:?}");
    let counted = r#"tiergate_refusals_total{tier="$5",reason="concurrency_exceeded"}"#;
    assert_eq!(proxy.metric(counted).await, 40.0);
    answer(arrived, "").await;
    assert_eq!(running.answer().await.status(), 200);
}

#[tokio::test]
async fn the_admin_api_answers_under_its_own_names_only() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 1)], "");
    let yaml = with_admin(&yaml, "listen: 127.0.0.1:0, hosts: [Tiergate.internal]");
    let proxy = Proxy::start(&yaml);
    let ask = async |path: &str, hosts: &[&str], token: bool| {
        let mut client = Client::connect(proxy.admin).await;
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        let token = if token {
            format!("authorization: Bearer {}\r\n", proxy.token)
        } else {
            String::new()
        };
        client.send(format!("GET {path} HTTP/1.1\r\n{hosts}{token}\r\n")).await;
        client.answer().await
    };
    let port = proxy.admin.port();
    for host in [
        "localhost",
        &format!("127.0.0.1:{port}"),
        "[::1]:9090",
        "tiergate.internal:9090",
    ] {
        assert_eq!(ask("/queue", &[host], true).await.status(), 200, "{host}");
    }
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1.evil.example",
        "192.0.2.1",
    ] {
        ask("/queue", &[host], true).await.assert_refused(421, "unknown_host");
        // Before the token is looked at, and for paths that there aren't.
        ask("/queue", &[host], false).await.assert_refused(421, "unknown_host");
        ask("/nowhere", &[host], true).await.assert_refused(421, "unknown_host");
        for open in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(ask(open, &[host], false).await.status(), 200, "{open}");
        }
    }
    // A target may name the host too, and takes precedence (RFC 9112 §3.2.2).
    ask("http://evil.example/queue", &["localhost"], true)
        .await
        .assert_refused(421, "unknown_host");
    ask("/queue", &[], true).await.assert_refused(400, "bad_request");
    ask("/queue", &["localhost", "evil.example"], true)
        .await
        .assert_refused(400, "bad_request");
}
