//! Connections: kept alive, pipelined, HTTP/1.0, silent, and those that do not speak HTTP.

use crate::support::{Client, Mirror, Proxy, UpstreamServer, seven_tiers, soon};

async fn refused_for(proxy: &Proxy, reason: &str) -> f64 {
    proxy
        .metric(&format!(r#"tiergate_refusals_total{{tier="none",reason="{reason}"}}"#))
        .await
}

#[tokio::test]
async fn a_connection_stays_open_after_refusals() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    client.ask("GET", "/nowhere", "").await.assert_refused(404, "not_found");
    client.send("GET /search HTTP/1.1\r\n\r\n").await;
    client.answer().await.assert_refused(400, "bad_request");
    client
        .send("GET /search HTTP/1.1\r\nhost: a.example\r\nhost: b.example\r\n\r\n")
        .await;
    client.answer().await.assert_refused(400, "bad_request");
    for path in ["/%zz", "/search%", "/search%00", "/a%0d%0aset-cookie:x"] {
        client.ask("GET", path, "").await.assert_refused(400, "bad_request");
    }
    for host in ["a b", "a/b", "a,b", "x@y", "a\"b", "[::1", "a:b"] {
        client
            .send(format!("GET /search HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        client.answer().await.assert_refused(400, "bad_request");
    }
    assert_eq!(client.ask("GET", "/search", "").await.status(), 200);
    assert_eq!(refused_for(&proxy, "bad_request").await, 13.0);
    assert_eq!(refused_for(&proxy, "not_found").await, 1.0);
}

#[tokio::test]
async fn non_http_input_is_refused() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let garbage: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"hello there, proxy\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /search HTTP/3.0\r\nhost: x\r\n\r\n",
        b"GET /search HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"GET /search HTTP/1.1\r\nhost: x\r\nspace : x\r\n\r\n",
        b"GET /search HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /search HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\n",
        b"GET /search HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
    ];
    for bytes in garbage {
        let mut client = Client::connect(proxy.address).await;
        client.send(bytes).await;
        let answer = client.answer().await;
        answer.assert_refused(400, "bad_request");
        assert_eq!(answer.get("connection"), Some("close"));
        assert_eq!(client.rest().await, b"", "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(refused_for(&proxy, "bad_request").await, garbage.len() as f64);
}

#[tokio::test]
async fn garbage_after_a_request_is_refused_after_its_response() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    client
        .send("GET /search HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n\x01\x02\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 200);
    client.answer().await.assert_refused(404, "not_found");
    client.answer().await.assert_refused(400, "bad_request");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn request_heads_are_bounded() {
    let mirror = Mirror::start().await;
    let more = "connections: { head_max: 8KiB, headers_max: 20 }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], more));
    let many: String = (0..30).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "a".repeat(20_000));
    for headers in [many, long] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", "/search", &headers).await;
        let answer = client.answer().await;
        answer.assert_refused(431, "headers_too_large");
        assert_eq!(answer.get("connection"), Some("close"));
        assert_eq!(client.rest().await, b"");
    }
    // hyper bounds what it reads at once; by itself it would accept this one.
    let mut client = Client::connect(proxy.address).await;
    let over = format!("x-over: {}\r\n", "a".repeat(8 * 1024));
    client.request("GET", "/search", &over).await;
    client.answer().await.assert_refused(431, "headers_too_large");
    let mut client = Client::connect(proxy.address).await;
    let path = format!("/search?{}", "a".repeat(70_000));
    client.request("GET", &path, "").await;
    client.answer().await.assert_refused(431, "headers_too_large");
    assert_eq!(refused_for(&proxy, "headers_too_large").await, 4.0);
    let mut client = Client::connect(proxy.address).await;
    let fits: String = (0..18).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(client.ask("GET", "/search", &fits).await.status(), 200);
}

#[tokio::test]
async fn an_incomplete_head_gets_408_and_silence_is_just_closed() {
    let mirror = Mirror::start().await;
    let more = "connections: { head_timeout: 500ms }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], more));
    let mut silent = Client::connect(proxy.address).await;
    let mut slow = Client::connect(proxy.address).await;
    slow.send("GET /search HTTP/1.1\r\nhost: x\r\n").await;
    let mut idle = Client::connect(proxy.address).await;
    assert_eq!(idle.ask("GET", "/me", "").await.status(), 200);
    let mut second = Client::connect(proxy.address).await;
    assert_eq!(second.ask("GET", "/me", "").await.status(), 200);
    second.send("GET /sear").await;
    for client in [&mut slow, &mut second] {
        let answer = client.answer().await;
        answer.assert_refused(408, "request_timeout");
        assert_eq!(answer.get("connection"), Some("close"));
        assert_eq!(client.rest().await, b"");
    }
    assert_eq!(silent.rest().await, b"");
    assert_eq!(idle.rest().await, b"");
    assert_eq!(refused_for(&proxy, "request_timeout").await, 2.0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    client
        .send("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\nPOST /me HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc")
        .await;
    client.answer().await.assert_refused(404, "not_found");
    client.answer().await.assert_refused(405, "method_not_allowed");
    // A caller of concurrency 1: the second search begins when the first has ended.
    client
        .send("GET /search?1 HTTP/1.1\r\nhost: x\r\n\r\nGET /search?2 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    for number in [1, 2] {
        let seen = client.answer().await.mirrored().await;
        assert_eq!(seen.line, format!("GET /search?{number} HTTP/1.1"));
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut client = Client::connect(proxy.address).await;
    client.send("GET /search HTTP/1.0\r\n\r\n").await;
    let mut arrived = server.request().await;
    assert_eq!(arrived.head.line, "GET /search HTTP/1.1");
    assert_eq!(arrived.head.get("x-forwarded-host"), None);
    arrived
        .write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let head = client.answer_head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.get("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    arrived.write(b"3\r\ndef\r\n0\r\n\r\n").await;
    assert_eq!(client.rest().await, b"abcdef");

    let mut client = Client::connect(proxy.address).await;
    client.send("GET /nowhere HTTP/1.0\r\n\r\n").await;
    client.answer().await.assert_refused(404, "not_found");
    assert_eq!(client.rest().await, b"");

    let mut client = Client::connect(proxy.address).await;
    for _ in 0..2 {
        client.send("GET /me HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 200);
    }
}

/// A body with two lengths is how requests are smuggled past a proxy: chunked framing counts, and the length that it had is
/// forwarded.
#[tokio::test]
async fn content_length_beside_chunked_is_dropped() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for lines in [
        "content-length: 100\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let mut client = Client::connect(proxy.address).await;
        client.request("POST", "/search", lines).await;
        client
            .send("6\r\nabcdef\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nhost: x\r\n\r\n")
            .await;
        let mut arrived = server.request().await;
        assert_eq!(arrived.head.all("content-length"), ["6"]);
        assert_eq!(arrived.head.get("transfer-encoding"), None);
        assert_eq!(arrived.body().await, b"abcdef");
        arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
        assert_eq!(client.answer().await.status(), 200);
        // RFC 9112 §6.1: such a connection is not reused.
        soon("the end", client.until_closed()).await;
    }
}

/// The connection used to be closed without an answer, so the author of a broken client could not find out why.
#[tokio::test]
async fn badly_framed_bodies_are_refused() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for method_and_path in ["POST /search", "POST /image/x"] {
        let (method, path) = method_and_path.split_once(' ').expect("two words");
        // Wrong from the first chunk on, and wrong once a server has the request.
        for good in ["", "4\r\nabcd\r\n"] {
            let mut client = Client::connect(proxy.address).await;
            client.request(method, path, "transfer-encoding: chunked\r\n").await;
            client.send(good).await;
            client.send("zz\r\n").await;
            let answer = client.answer().await;
            answer.assert_refused(400, "bad_request");
            assert_eq!(answer.get("connection"), Some("close"));
            soon("the end", client.until_closed()).await;
            proxy.jobs_until(0, 0).await;
        }
    }
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="failed"}"#)
            .await,
        0.0
    );
}
