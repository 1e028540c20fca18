//! API keys: where they are found, how they are compared, and that no upstream sees them.

use crate::support::{Client, Mirror, Proxy, UpstreamServer, seven_tiers};

#[tokio::test]
async fn keys_are_found_in_every_place_and_never_forwarded() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    for (path, header, forwarded) in [
        ("/search?a=1", "X-Api-Key: key-100\r\n", "/search?a=1"),
        ("/search?a=1", "x-trace-key:   key-100  \r\n", "/search?a=1"),
        ("/search", "authorization: bEARER key-100\r\n", "/search"),
        ("/search?key=key-100", "", "/search"),
        ("/search?a=1&key=key-100&b=%2f", "", "/search?a=1&b=%2f"),
        ("/search?%6B%65y=%6bey%2D100&b", "", "/search?b"),
        ("/search?key=key-100&key=key-100", "x-api-key: key-100\r\n", "/search"),
        ("/search?key=", "x-api-key: \r\nx-trace-key: key-100\r\n", "/search"),
        ("/search", "connection: x-api-key\r\nx-api-key: key-100\r\n", "/search"),
        ("/image/1?key=key-100", "", "/image/1"),
    ] {
        let answer = client.ask("GET", path, header).await;
        let seen = answer.mirrored().await;
        assert_eq!(seen.line, format!("GET {forwarded} HTTP/1.1"), "{path} {header}");
        assert_eq!(seen.get("x-tiergate-account"), Some("a100"), "{path} {header}");
        assert!(!answer.text().to_ascii_lowercase().contains("key"), "{}", answer.text());
    }
}

#[tokio::test]
async fn other_credentials_are_forwarded_unchanged() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    let header = "authorization: Basic QWxhZGRpbjpvcGVu\r\nx-api-key:\r\n";
    let seen = client
        .ask("GET", "/search?key=&Key=k&monkey=1", header)
        .await
        .mirrored()
        .await;
    assert_eq!(seen.line, "GET /search?Key=k&monkey=1 HTTP/1.1");
    assert_eq!(seen.get("authorization"), Some("Basic QWxhZGRpbjpvcGVu"));
    assert_eq!(seen.get("x-tiergate-account"), None);
    assert_eq!(seen.get("x-tiergate-tier"), Some("free"));
    assert_eq!(seen.get("x-api-key"), None);
}

#[tokio::test]
async fn an_unknown_key_is_never_anonymous() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    let asks = [
        ("/search", "x-api-key: secret-guess\r\n"),
        ("/search?key=secret-guess", ""),
        ("/search", "authorization: Bearer secret-guess\r\n"),
        ("/image/1?key=secret-guess", ""),
        ("/me?key=secret-guess", ""),
        ("/search", "x-api-key: KEY-100\r\n"),
        ("/search", "x-api-key: key-1000\r\n"),
    ];
    for (path, header) in asks {
        let answer = client.ask("GET", path, header).await;
        answer.assert_refused(403, "invalid_key");
        assert!(!answer.text().contains("guess"));
    }
    let refused = r#"tiergate_refusals_total{tier="none",reason="invalid_key"}"#;
    assert_eq!(proxy.metric(refused).await, asks.len() as f64);
}

#[tokio::test]
async fn two_different_keys_are_ambiguous() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    for (path, header) in [
        ("/search?key=key-1", "x-api-key: key-100\r\n"),
        ("/search", "x-api-key: key-1\r\nx-api-key: key-100\r\n"),
        ("/search", "x-trace-key: key-1\r\nauthorization: Bearer key-100\r\n"),
        ("/me?key=key-1&key=key-5", ""),
        ("/image/1?key=key-1&k%65y=key-5", ""),
    ] {
        let answer = client.ask("GET", path, header).await;
        answer.assert_refused(400, "ambiguous_key");
        assert!(!answer.text().contains("key-1"));
    }
    let refused = r#"tiergate_refusals_total{tier="none",reason="ambiguous_key"}"#;
    assert_eq!(proxy.metric(refused).await, 5.0);
}

#[tokio::test]
async fn operators_see_callers_but_no_keys() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = Client::connect(proxy.address).await;
    first.request("GET", "/search?key=key-100", "").await;
    let mut arrived = server.request().await;
    let mut second = Client::connect(proxy.address).await;
    second.search("key-10").await;
    proxy.jobs_until(1, 1).await;
    for page in ["/queue", "/metrics"] {
        let text = proxy.operator("GET", page, "").await.text();
        assert!(!text.contains("key-"), "{text}");
    }
    let page = proxy.queue().await;
    assert_eq!(page["running"][0]["caller"], "a100");
    assert_eq!(page["waiting"][0]["caller"], "a10");
    drop(second);
    proxy.jobs_until(0, 1).await;
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}
