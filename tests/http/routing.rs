//! Which requests are metered (rules §2): no spelling of a metered path reaches its upstream unmetered, and what
//! was matched is what is forwarded.

use crate::support::{Client, Mirror, Proxy, UpstreamServer, seven_tiers};

/// Every other path leads to the same upstream unmetered, so whatever is not recognized as a search gets there free of
/// charge.
const CATCH_ALL: &str = "  - { path: \"/{*rest}\", upstream: search }\n";

/// Spellings of `/search` that some servers accept.
const SPELLINGS: [&str; 21] = [
    "/search",
    "/Search",
    "/SEARCH",
    "//search",
    "/search/",
    "/search//",
    "/./search",
    "/%73earch",
    "/%53earch",
    "/x/../search",
    "/x/%2e%2e/search",
    "/x/..%2fsearch",
    "/..//search",
    "/search;x",
    "/search;x=1/",
    "/x/..;/search",
    "/%2573earch",
    "/search%2f",
    "/search%3bx",
    "/search/.",
    "\\search",
];

#[tokio::test]
async fn no_spelling_of_a_metered_path_bypasses_concurrency() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], CATCH_ALL));
    let mut first = Client::connect(proxy.address).await;
    first.search("").await;
    let mut arrived = server.request().await;
    for spelling in SPELLINGS {
        for method in ["GET", "POST", "HEAD", "PURGE"] {
            let mut client = Client::connect(proxy.address).await;
            let answer = client.ask(method, spelling, "").await;
            assert!(
                matches!(answer.status(), 400 | 402),
                "{method} {spelling}: {}",
                answer.head.line
            );
        }
    }
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test]
async fn the_matched_path_is_the_forwarded_path() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], CATCH_ALL));
    let mut searches = 0.0;
    for spelling in SPELLINGS {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.ask("GET", &format!("{spelling}?url=a%2Fb"), "").await;
        if answer.status() == 400 {
            answer.assert_refused(400, "bad_request");
            continue;
        }
        searches += 1.0;
        assert_eq!(
            answer.mirrored().await.line,
            "GET /search?url=a%2Fb HTTP/1.1",
            "{spelling}"
        );
    }
    assert!(searches >= 15.0, "only {searches} of them are searches");
    let succeeded = r#"tiergate_jobs_total{tier="free",outcome="succeeded"}"#;
    assert_eq!(proxy.metric(succeeded).await, searches);

    let mut client = Client::connect(proxy.address).await;
    for (path, forwarded) in [
        ("/searching", "/searching"),
        ("/search/x", "/search/x"),
        ("/search/../x//y", "/x/y"),
        ("/a%62c?search", "/abc?search"),
        ("/y/?", "/y/?"),
    ] {
        let seen = client.ask("GET", path, "").await.mirrored().await;
        assert_eq!(seen.line, format!("GET {forwarded} HTTP/1.1"));
    }
    assert_eq!(proxy.metric(succeeded).await, searches, "those are no searches");
}

#[tokio::test]
async fn an_absolute_target_overrides_the_host_header() {
    let mirror = Mirror::start().await;
    let routes = "  - { path: /api, host: api.example, upstream: search }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], routes));
    let mut client = Client::connect(proxy.address).await;
    // RFC 9112 §3.2.2: the target's host counts, whatever `Host` says.
    client
        .send("GET http://api.example/api HTTP/1.1\r\nhost: other.example\r\n\r\n")
        .await;
    let seen = client.answer().await.mirrored().await;
    assert_eq!(seen.line, "GET /api HTTP/1.1");
    assert_eq!(seen.get("x-forwarded-host"), Some("api.example"));
    client
        .send("GET http://other.example/api HTTP/1.1\r\nhost: api.example\r\n\r\n")
        .await;
    client.answer().await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn unknown_hosts_get_421_where_routes_name_hosts() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "")
        .replace("path: /search,", "path: /search, host: tiergate.example,")
        .replace(
            "path: \"/image/{*rest}\",",
            "path: \"/image/{*rest}\", host: tiergate.example,",
        );
    let proxy = Proxy::start(&yaml);
    let mut client = Client::connect(proxy.address).await;
    for host in ["other.example", "tiergate.example.evil", "", "127.0.0.1"] {
        for target in ["GET /search", "GET /me", "POST /me", "OPTIONS /stats", "OPTIONS *"] {
            client.send(format!("{target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            client.answer().await.assert_refused(421, "unknown_host");
        }
    }
    for host in ["tiergate.example", "TIERGATE.example.:8080"] {
        client
            .send(format!("GET /search HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let seen = client.answer().await.mirrored().await;
        assert_eq!(seen.get("x-forwarded-host"), Some(host));
        client.send(format!("GET /me HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(
        proxy
            .metric(r#"tiergate_refusals_total{tier="none",reason="unknown_host"}"#)
            .await,
        20.0
    );
}

#[tokio::test]
async fn a_405_lists_the_allowed_methods() {
    let mirror = Mirror::start().await;
    let routes = "  - { path: /only, upstream: search, methods: [GET, PUT] }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], routes));
    let mut client = Client::connect(proxy.address).await;
    for method in ["POST", "DELETE", "TRACE", "get"] {
        let answer = client.ask(method, "/only", "").await;
        answer.assert_refused(405, "method_not_allowed");
        assert_eq!(answer.get("allow"), Some("GET, HEAD, PUT, OPTIONS"));
    }
    let answer = client.ask("TRACE", "/search", "").await;
    answer.assert_refused(405, "method_not_allowed");
    let any = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    assert_eq!(answer.get("allow"), Some(any));
    assert_eq!(client.ask("HEAD", "/only", "").await.status(), 200);
    let refused = r#"tiergate_refusals_total{tier="none",reason="method_not_allowed"}"#;
    assert_eq!(proxy.metric(refused).await, 5.0);
}

#[tokio::test]
async fn a_head_request_is_a_search_without_a_body() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let mut client = Client::connect(proxy.address).await;
    let answer = client.ask("HEAD", "/search", "").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.get("server-timing").is_some());
    let length: usize = answer
        .get("content-length")
        .expect("that of the upstream")
        .parse()
        .expect("a length");
    assert!(length > 0);
    // No body was sent: the next answer begins where this one ended.
    let seen = client.ask("GET", "/search", "").await.mirrored().await;
    assert_eq!(seen.line, "GET /search HTTP/1.1");
    proxy.jobs_until(0, 0).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="succeeded"}"#)
            .await,
        2.0
    );
}
