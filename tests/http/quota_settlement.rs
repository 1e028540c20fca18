//! How each outcome of a job settles its caller's quota (rules §5.3, §5.8, §6).

use super::accounting::{assert_settled, debits, releases, search, taken, with_key};
use super::quotas::{asking, before};
use crate::support::{Client, Plan, Proxy, UpstreamServer};

/// Answers one search with these bytes and closes the upstream connection; checks that the search holds its unit until
/// then.
async fn answered(proxy: &Proxy, server: &UpstreamServer, method: &str, bytes: &str) -> std::io::Result<u16> {
    let (used, _) = taken(proxy, "p5").await;
    let mut client = asking(proxy, method).await;
    let mut arrived = server.request().await;
    assert_eq!(taken(proxy, "p5").await, (used, 1), "{method} {bytes}");
    arrived.write(bytes.as_bytes()).await;
    drop(arrived);
    client.try_answer(method).await.map(|answer| answer.status())
}

#[tokio::test]
async fn a_success_is_charged_before_its_last_byte_arrives() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server).start();
    let answers = [
        ("GET", "200 OK\r\ncontent-length: 4\r\n\r\nbody"),
        ("GET", "200 OK\r\ncontent-length: 0\r\n\r\n"),
        (
            "GET",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("GET", "200 OK\r\n\r\nuntil it closes"),
        ("HEAD", "200 OK\r\ncontent-length: 4000\r\n\r\n"),
        ("POST", "200 OK\r\ncontent-length: 4\r\n\r\nbody"),
    ];
    for (charged, (method, rest)) in (1..).zip(answers) {
        let status = answered(&proxy, &server, method, &format!("HTTP/1.1 {rest}")).await;
        assert_eq!(status.expect("an answer"), 200, "{method} {rest}");
        assert_eq!(taken(&proxy, "p5").await, (charged, 0), "{method} {rest}");
    }
    assert_settled(&proxy, "p5", 7, &[]).await;
}

/// The head is sent while the body is still coming: the unit is held, and charged only at the end.
#[tokio::test]
async fn a_response_in_progress_holds_its_unit() {
    for chunked in [false, true] {
        let server = UpstreamServer::start().await;
        let proxy = before(&server).start();
        let mut client = asking(&proxy, "GET").await;
        let mut arrived = server.request().await;
        let (begin, end) = if chunked {
            ("transfer-encoding: chunked\r\n\r\n2\r\n12\r\n", "0\r\n\r\n")
        } else {
            ("content-length: 3\r\n\r\n12", "3")
        };
        arrived.write(format!("HTTP/1.1 200 OK\r\n{begin}").as_bytes()).await;
        assert_eq!(client.answer_head().await.status(), 200);
        client.until_ends_with(if chunked { "12\r\n" } else { "12" }).await;
        assert_eq!(taken(&proxy, "p5").await, (0, 1));
        arrived.write(end.as_bytes()).await;
        client.until_ends_with(end).await;
        assert_eq!(taken(&proxy, "p5").await, (1, 0));
    }
}

const EMPTY: &str = "content-length: 0\r\n\r\n";

#[tokio::test]
async fn only_200_is_charged_unless_the_route_says_otherwise() {
    for (route, success) in [
        ("max_body: 1MiB", vec![200]),
        ("success: [201, 202]", vec![201, 202]),
        ("success: [200, 204, 404]", vec![200, 204, 404]),
    ] {
        let server = UpstreamServer::start().await;
        let proxy = Plan {
            route,
            ..before(&server)
        }
        .start();
        let (mut charged, mut released) = (0, 0);
        for status in [200, 201, 202, 204, 206, 302, 304, 400, 402, 404, 429, 500, 503] {
            let length = if [204, 304].contains(&status) { "\r\n" } else { EMPTY };
            let bytes = format!("HTTP/1.1 {status} So\r\n{length}");
            assert_eq!(
                answered(&proxy, &server, "GET", &bytes).await.expect("an answer"),
                status
            );
            if success.contains(&status) {
                charged += 1;
            } else {
                released += 1;
            }
            assert_eq!(taken(&proxy, "p5").await, (charged.into(), 0), "{status} with {route}");
        }
        assert_settled(&proxy, "p5", charged, &[("failed", released)]).await;
    }
}

#[tokio::test]
async fn broken_responses_cost_nothing() {
    let broken = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "nothing of HTTP\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n123",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ];
    for bytes in broken {
        let server = UpstreamServer::start().await;
        let proxy = before(&server).start();
        // Whether the head was sent before the failure depends on timing: 502, or a truncated response.
        let status = answered(&proxy, &server, "GET", bytes).await;
        assert_eq!(status.unwrap_or(502), 502, "{bytes}");
        assert_settled(&proxy, "p5", 0, &[("failed", 1)]).await;
    }
}

#[tokio::test]
async fn timeouts_and_unreachable_servers_cost_nothing() {
    for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n123"] {
        let server = UpstreamServer::start().await;
        let proxy = Plan {
            upstream: "timeout: 300ms",
            ..before(&server)
        }
        .start();
        let mut client = asking(&proxy, "GET").await;
        let mut arrived = server.request().await;
        arrived.write(bytes.as_bytes()).await;
        match client.try_answer("GET").await {
            Ok(answer) => answer.assert_refused(504, "upstream_timeout"),
            Err(_) => assert!(!bytes.is_empty()),
        }
        assert_settled(&proxy, "p5", 0, &[("failed", 1)]).await;
    }
    let absent = UpstreamServer::start().await;
    let proxy = before(&absent).start();
    drop(absent);
    search(&proxy, "p5").await.assert_refused(502, "upstream_unreachable");
    assert_settled(&proxy, "p5", 0, &[("failed", 1)]).await;
}

#[tokio::test]
async fn leaving_the_queue_gives_the_unit_back() {
    // By hanging up, whatever it had sent.
    let server = UpstreamServer::start().await;
    let mut proxy = before(&server).start();
    let mut running = Client::connect(proxy.address).await;
    running.search("p6").await;
    proxy.jobs_until(0, 1).await;
    for reset in [false, true] {
        for sent in [None, Some(10), Some(200_000)] {
            let mut client = Client::connect(proxy.address).await;
            match sent {
                None => client.search("p5").await,
                Some(bytes) => {
                    client.upload("p5", bytes).await;
                    client.send(vec![0; bytes]).await;
                }
            }
            proxy.jobs_until(1, 1).await;
            assert_eq!(taken(&proxy, "p5").await, (0, 1));
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            proxy.jobs_until(0, 1).await;
            assert_eq!(taken(&proxy, "p5").await, (0, 0), "{reset} {sent:?}");
        }
    }
    proxy
        .metric_until(r#"tiergate_quota_releases_total{tier="p5",outcome="hung_up"}"#, 6.0)
        .await;
    // On shutdown.
    let mut waiting = asking(&proxy, "GET").await;
    proxy.jobs_until(1, 1).await;
    proxy.begin_closing();
    waiting.answer().await.assert_refused(503, "shutting_down");
    assert_eq!(releases(&proxy, "p5", "shut_down").await, 1.0);
    assert_eq!(
        (releases(&proxy, "p5", "").await, debits(&proxy, "p5").await),
        (7.0, 0.0)
    );
    drop(running);
}

#[tokio::test]
async fn timing_out_in_the_queue_gives_the_unit_back() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        queue: "max_wait: 300ms",
        ..before(&server)
    }
    .start();
    let mut running = Client::connect(proxy.address).await;
    running.search("p6").await;
    let mut arrived = server.request().await;
    let mut waiting = asking(&proxy, "GET").await;
    let mut uploading = Client::connect(proxy.address).await;
    uploading.upload("p5", 100).await;
    uploading.send("begun").await;
    waiting.answer().await.assert_refused(503, "waited_too_long");
    uploading.send([0; 95]).await;
    uploading.answer().await.assert_refused(503, "waited_too_long");
    assert_eq!(taken(&proxy, "p5").await, (0, 0));
    arrived.answer("{}").await;
    assert_eq!(running.answer().await.status(), 200);
    assert_settled(&proxy, "p5", 0, &[("waited_out", 2)]).await;
}

/// `on_hangup`, what the server has sent when the client hangs up, what it sends then, and the outcome.
const HANG_UPS: [(&str, &str, &str, &str); 8] = [
    (
        "finish",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "succeeded",
    ),
    (
        "finish",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12",
        "34",
        "succeeded",
    ),
    (
        "finish",
        "",
        "HTTP/1.1 404 No\r\ncontent-length: 4\r\n\r\nbody",
        "failed",
    ),
    ("finish", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12", "", "failed"),
    ("finish", "", "", "failed"),
    ("cancel", "", "", "cancelled"),
    (
        "cancel",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12",
        "34",
        "succeeded",
    ),
    (
        "cancel",
        "HTTP/1.1 404 No\r\ncontent-length: 4\r\n\r\n12",
        "",
        "cancelled",
    ),
];

#[tokio::test]
async fn hanging_up_does_not_avoid_the_charge() {
    for (on_hangup, before_it, after_it, end) in HANG_UPS {
        let server = UpstreamServer::start().await;
        let proxy = Plan {
            route: &format!("on_hangup: {on_hangup}"),
            ..before(&server)
        }
        .start();
        let mut client = asking(&proxy, "GET").await;
        let mut arrived = server.request().await;
        if !before_it.is_empty() {
            arrived.write(before_it.as_bytes()).await;
            client.answer_head().await;
        }
        drop(client);
        if end == "cancelled" {
            arrived.until_closed().await;
        } else {
            assert_eq!(taken(&proxy, "p5").await, (0, 1), "it is held until the server is done");
            arrived.write(after_it.as_bytes()).await;
            drop(arrived);
        }
        match end {
            "succeeded" => assert_settled(&proxy, "p5", 1, &[]).await,
            other => assert_settled(&proxy, "p5", 0, &[(other, 1)]).await,
        }
    }
}

#[tokio::test]
async fn an_incomplete_upload_costs_nothing() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        route: "max_body: 300KiB",
        ..before(&server)
    }
    .start();
    let mut client = Client::connect(proxy.address).await;
    client.upload("p5", 200_000).await;
    client.send(vec![0; 100_000]).await;
    proxy.uploading_until(1).await;
    assert_eq!(taken(&proxy, "p5").await, (0, 1));
    drop(client);
    proxy.uploading_until(0).await;
    assert_settled(&proxy, "p5", 0, &[("upload_ended", 1)]).await;
    // Too long, which shows only while it arrives.
    let mut client = Client::connect(proxy.address).await;
    let headers = format!("{}transfer-encoding: chunked\r\n", with_key("p5"));
    client.request("POST", "/search", &headers).await;
    client.send(format!("{:x}\r\n", 400 << 10)).await;
    client.send(vec![0; 270 << 10]).await;
    proxy.uploading_until(1).await;
    assert_eq!(taken(&proxy, "p5").await, (0, 1));
    client.send(vec![0; 130 << 10]).await;
    client.answer().await.assert_refused(413, "body_too_large");
    assert_settled(&proxy, "p5", 0, &[("upload_ended", 2)]).await;
}
