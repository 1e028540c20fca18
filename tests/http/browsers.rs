//! Cross-origin pages (CORS), and the methods that only browsers and probes use.

use crate::support::{Answer, Client, Mirror, Proxy, UpstreamServer, seven_tiers};

const PREFLIGHT: &str = "origin: https://page.example\r\naccess-control-request-method: POST\r\n\
    access-control-request-headers: x-api-key, content-type\r\n";
const FROM_PAGE: &str = "origin: https://page.example\r\n";
const ANY: &str = "cors: { origins: [\"*\"] }\n";

fn cors_headers(answer: &Answer) -> Vec<&str> {
    let names = answer.head.headers.iter().map(|(name, _)| name.as_str());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn preflights_are_answered_by_the_proxy_itself() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ANY));
    let mut first = Client::connect(proxy.address).await;
    first.search("").await;
    let mut arrived = server.request().await;
    let mut page = Client::connect(proxy.address).await;
    for path in ["/search", "/image/1", "/me", "/nowhere"] {
        let answer = page.ask("OPTIONS", path, PREFLIGHT).await;
        assert_eq!((answer.status(), answer.text()), (200, String::new()), "{path}");
        assert_eq!(answer.get("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.get("access-control-allow-methods"), Some("POST"));
        assert_eq!(
            answer.get("access-control-allow-headers"),
            Some("x-api-key, content-type")
        );
        assert_eq!(answer.get("access-control-max-age"), Some("3600"));
        assert_eq!(answer.get("access-control-allow-credentials"), None);
    }
    proxy.jobs_until(0, 1).await;
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test]
async fn pages_can_read_responses_and_refusals() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(1, &[(server.address, 1)], ANY));
    let mut first = Client::connect(proxy.address).await;
    first.request("GET", "/search", FROM_PAGE).await;
    let mut arrived = server.request().await;
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("key-1").await;
    proxy.jobs_until(1, 1).await;
    let mut page = Client::connect(proxy.address).await;
    let mut answers = Vec::new();
    for (path, status) in [
        ("/search", 402),
        ("/search?key=key-5", 503),
        ("/search?key=guess", 403),
        ("/nowhere", 404),
        ("/me", 200),
    ] {
        let answer = page.ask("GET", path, FROM_PAGE).await;
        assert_eq!(answer.status(), status, "{path}");
        answers.push(answer);
    }
    drop(waiting);
    proxy.jobs_until(0, 1).await;
    // The upstream's own header is replaced: browsers reject two of them.
    let headers = "access-control-allow-origin: https://upstream.example\r\n";
    arrived.answer_with("200 OK", headers, "{}").await;
    answers.push(first.answer().await);
    for answer in answers {
        assert_eq!(
            answer.head.all("access-control-allow-origin"),
            ["*"],
            "{}",
            answer.head.line
        );
        let exposed = answer
            .get("access-control-expose-headers")
            .expect("the proxy's headers are exposed");
        for name in [
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "server-timing",
            "preference-applied",
        ] {
            assert!(exposed.split(',').any(|other| other == name), "{exposed}");
        }
    }
}

#[tokio::test]
async fn only_listed_origins_are_allowed() {
    let mirror = Mirror::start().await;
    let more = "cors: { origins: [\"https://page.example\"], max_age: 5m }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], more));
    let mut client = Client::connect(proxy.address).await;
    let answer = client.ask("OPTIONS", "/search", PREFLIGHT).await;
    assert_eq!(answer.get("access-control-allow-origin"), Some("https://page.example"));
    assert_eq!(answer.get("access-control-max-age"), Some("300"));
    for (method, headers) in [("OPTIONS", PREFLIGHT), ("GET", FROM_PAGE)] {
        let strange = headers.replace("page.example", "evil.example");
        let answer = client.ask(method, "/search", &strange).await;
        assert_eq!(answer.get("access-control-allow-origin"), None);
        let vary = answer.head.all("vary").join(",");
        assert!(vary.contains("origin"), "caches must tell origins apart: {vary}");
    }
    let answer = client.ask("GET", "/nowhere", FROM_PAGE).await;
    assert_eq!(answer.get("access-control-allow-origin"), Some("https://page.example"));
}

#[tokio::test]
async fn without_cors_options_lists_the_methods() {
    let mirror = Mirror::start().await;
    let any = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for more in ["", ANY] {
        let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], more));
        let mut client = Client::connect(proxy.address).await;
        // With CORS, an OPTIONS request is a preflight only if it names the method it asks for.
        let headers = if more.is_empty() { PREFLIGHT } else { FROM_PAGE };
        for (path, allow) in [
            ("/search", any),
            ("/image/1", any),
            ("/me", "GET, HEAD, OPTIONS"),
            ("*", "GET, HEAD, OPTIONS"),
        ] {
            let answer = client.ask("OPTIONS", path, headers).await;
            assert_eq!((answer.status(), answer.get("allow")), (204, Some(allow)), "{path}");
            assert_eq!(cors_headers(&answer), [""; 0]);
        }
        client
            .ask("OPTIONS", "/nowhere", headers)
            .await
            .assert_refused(404, "not_found");
        if more.is_empty() {
            let answer = client.ask("GET", "/search", FROM_PAGE).await;
            assert_eq!((answer.status(), cors_headers(&answer).len()), (200, 0));
        }
    }
}

/// Requests that hyper cannot parse never reach the CORS layer: pages got a browser error instead of the 400, 408 or
/// 431. The origin cannot be parsed either, so with a list of origins no header is sent.
#[tokio::test]
async fn malformed_requests_get_cors_headers_for_any_origin() {
    let mirror = Mirror::start().await;
    let listed = "cors: { origins: [\"https://page.example\"] }\n";
    for (cors, allowed) in [(ANY, Some("*")), (listed, None), ("", None)] {
        let bounds = "connections: { head_timeout: 500ms, head_max: 8KiB }\n";
        let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], &format!("{cors}{bounds}")));
        let begun = format!("GET /search HTTP/1.1\r\nhost: proxy.example\r\n{FROM_PAGE}");
        for (status, reason, rest) in [
            (400, "bad_request", "no colon\r\n\r\n".to_owned()),
            (
                431,
                "headers_too_large",
                format!("x-long: {}\r\n\r\n", "a".repeat(20_000)),
            ),
            (408, "request_timeout", String::new()),
        ] {
            let mut page = Client::connect(proxy.address).await;
            page.send(format!("{begun}{rest}")).await;
            let answer = page.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("access-control-allow-origin"), allowed, "{status}, {cors:?}");
        }
    }
}
