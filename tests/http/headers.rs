//! Which request headers reach the upstream, and which response headers reach the client.

use crate::support::{Arrived, Client, Mirror, Proxy, UpstreamServer, seven_tiers};

#[tokio::test]
async fn hop_by_hop_request_headers_are_not_forwarded() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    let headers = "connection: keep-alive, X-Mine, x-tiergate-tier, X-Forwarded-For, host, content-length\r\n\
        connection: x-too\r\nx-mine: 1\r\nx-too: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
        te: trailers\r\ntrailer: x-sum\r\nproxy-authorization: Basic eA==\r\nx-yours: 2\r\ncontent-length: 0\r\n";
    for path in ["/search", "/image/1"] {
        let seen = client.ask("POST", path, headers).await.mirrored().await;
        for gone in [
            "connection",
            "x-mine",
            "x-too",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "proxy-authorization",
        ] {
            assert_eq!(seen.get(gone), None, "{gone}");
        }
        assert_eq!(seen.get("x-yours"), Some("2"));
        assert_eq!(seen.all("x-tiergate-tier"), ["free"]);
        assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen.all("host"), [mirror.address.to_string()]);
    }
}

/// A server behind PHP, WSGI or CGI reads `X.Tiergate.Tier` as `HTTP_X_TIERGATE_TIER`, and the underscored spelling as
/// well: to one of them, all characters other than letters and digits are the same.
#[tokio::test]
async fn clients_cannot_forge_the_proxys_headers() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    let forged = "X-Tiergate-Account: forged\r\nx-tiergate-tier: forged\r\nx-tiergate-tier: forged\r\n\
        X-TIERGATE-PRIORITY: forged\r\nX_Tiergate_Account: forged\r\nx-tiergate_account: forged\r\n\
        x.tiergate.account: forged\r\nx~tiergate!account: forged\r\nx-tiergate-admin: forged\r\n\
        x-forwarded-for: forged\r\nX_Forwarded_For: forged\r\nx.forwarded.host: forged\r\n\
        x-forwarded-proto: forged\r\nx-forwarded-host: forged\r\nx-forwarded-port: forged\r\nforwarded: for=forged\r\n";
    for path in ["/search", "/image/1"] {
        let answer = client.ask("GET", path, forged).await;
        let seen = answer.mirrored().await;
        assert!(!answer.text().contains("forged"), "{}", answer.text());
        assert_eq!(seen.get("x-tiergate-account"), None);
        assert_eq!(seen.all("x-tiergate-tier"), ["free"]);
        assert_eq!(seen.all("x-tiergate-priority"), ["0"]);
        assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
        assert_eq!(seen.all("x-forwarded-host"), ["tiergate.example"]);
    }
}

#[tokio::test]
async fn a_trusted_proxys_forwarding_headers_are_extended() {
    let mirror = Mirror::start().await;
    let more = "trusted_proxies: [127.0.0.0/30]\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], more));
    let headers = "x-forwarded-for: 6.6.6.6, 192.0.2.7\r\nx-forwarded-for: 127.0.0.2\r\nx-forwarded-proto: https\r\n\
        x-forwarded-host: front.example\r\nx-forwarded-port: 443\r\nforwarded: for=192.0.2.7\r\n";
    let mut trusted = Client::connect(proxy.address).await;
    let seen = trusted.ask("GET", "/search", headers).await.mirrored().await;
    assert_eq!(
        seen.all("x-forwarded-for"),
        ["6.6.6.6, 192.0.2.7, 127.0.0.2, 127.0.0.1"]
    );
    assert_eq!(seen.get("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.get("x-forwarded-host"), Some("front.example"));
    assert_eq!(seen.get("x-forwarded-port"), Some("443"));
    assert_eq!(seen.get("forwarded"), Some("for=192.0.2.7, for=127.0.0.1"));
    let me = trusted.ask("GET", "/me", headers).await;
    assert_eq!(me.json()["id"], "192.0.2.7");

    let mut untrusted = Client::connect_from(9, proxy.address).await;
    let seen = untrusted.ask("GET", "/search", headers).await.mirrored().await;
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.9"]);
    assert_eq!(seen.get("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.get("x-forwarded-host"), Some("tiergate.example"));
    assert_eq!(seen.get("x-forwarded-port"), None);
    assert_eq!(seen.get("forwarded"), None);
    assert_eq!(untrusted.ask("GET", "/me", headers).await.json()["id"], "127.0.0.9");
}

#[tokio::test]
async fn clients_behind_one_proxy_are_counted_apart() {
    let server = UpstreamServer::start().await;
    let more = "trusted_proxies: [127.0.0.1]\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], more));
    let mut one = Client::connect(proxy.address).await;
    one.request("GET", "/search", "x-forwarded-for: 192.0.2.1\r\n").await;
    let mut arrived = server.request().await;
    let mut again = Client::connect(proxy.address).await;
    let answer = again.ask("GET", "/search", "x-forwarded-for: 192.0.2.1\r\n").await;
    answer.assert_refused(402, "concurrency_exceeded");
    let mut other = Client::connect(proxy.address).await;
    other.request("GET", "/search", "x-forwarded-for: 192.0.2.2\r\n").await;
    proxy.jobs_until(1, 1).await;
    arrived.answer("{}").await;
    assert_eq!(one.answer().await.status(), 200);
    let mut arrived = Arrived::on_either(arrived.stream, &server).await;
    assert_eq!(arrived.head.get("x-forwarded-for"), Some("192.0.2.2, 127.0.0.1"));
    arrived.answer("{}").await;
    assert_eq!(other.answer().await.status(), 200);
}

/// The proxy speaks only HTTP/1.1, so a request for another protocol is not forwarded and the answer is an ordinary
/// one.
#[tokio::test]
async fn upgrade_requests_are_not_forwarded() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    for path in ["/search", "/image/1"] {
        let headers = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
        let seen = client.ask("GET", path, headers).await.mirrored().await;
        assert_eq!((seen.get("connection"), seen.get("upgrade")), (None, None));
    }
}

/// An upstream that switches protocols unasked would be given the client's connection, and its further bytes would be
/// read as answers of the proxy.
#[tokio::test]
async fn an_unrequested_protocol_switch_is_a_failure() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for path in ["/search", "/image/1"] {
        let mut client = Client::connect(proxy.address).await;
        client
            .request("GET", path, "connection: upgrade\r\nupgrade: websocket\r\n")
            .await;
        let mut arrived = server.request().await;
        arrived
            .write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        client.answer().await.assert_refused(502, "upstream_failed");
        assert_eq!(client.ask("GET", "/me", "").await.status(), 200);
    }
    proxy.jobs_until(0, 0).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="failed"}"#)
            .await,
        1.0
    );
}

#[tokio::test]
async fn only_hop_by_hop_headers_of_a_response_are_removed() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for path in ["/search", "/image/1"] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", path, "").await;
        let mut arrived = server.request().await;
        let headers = "connection: close, x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: close\r\n\
            te: x\r\ntrailer: x-sum\r\nupgrade: h2c\r\nserver-timing: db;dur=53\r\nx-frames: 7\r\nset-cookie: a=1\r\n\
            set-cookie: b=2\r\n";
        arrived.answer_with("200 OK", headers, "{}").await;
        let answer = client.answer().await;
        for gone in [
            "connection",
            "x-inner",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
        ] {
            assert_eq!(answer.get(gone), None, "{gone}");
        }
        assert_eq!(answer.get("x-frames"), Some("7"));
        assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
        let timings = answer.head.all("server-timing");
        assert_eq!(timings[0], "db;dur=53");
        assert_eq!(timings.len(), if path == "/search" { 2 } else { 1 });
        // The upstream connection is closed, the client's stays open.
        assert_eq!(client.ask("GET", "/me", "").await.status(), 200);
        drop(arrived);
    }
}

#[tokio::test]
async fn bodyless_responses_may_state_a_content_length() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for path in ["/search", "/image/1"] {
        let mut client = Client::connect(proxy.address).await;
        client.request("GET", path, "if-none-match: \"x\"\r\n").await;
        let mut arrived = server.request().await;
        arrived
            .write(b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 1234\r\nconnection: close\r\n\r\n")
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.get("etag")), (304, Some("\"x\"")));
        assert_eq!(client.ask("GET", "/me", "").await.status(), 200);
    }
}
