//! What callers learn of request limits: the refusal, and the headers of every answer (rules §7).

use serde_json::json;
use tiergate::policy::time::Span;

use super::accounting::field;
use super::limits::{A, B, HTTP_5, NOON, file, from, get, open, passing, with_key};
use crate::support::fast::FastServer;
use crate::support::{Answer, Client, Proxy, UpstreamServer, metric_sum};

#[tokio::test]
async fn a_refusal_explains_itself() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(server.address, HTTP_5, "");
    assert_eq!(passing(&proxy, A, "", 5).await, 5);
    clock_control.advance(Span::from_secs(15));
    let refused = get(&proxy, A, "/search").await;
    refused.assert_refused(429, "rate_limited");
    let body = refused.explanation();
    let wait = body["retry_after"].as_u64().expect("seconds");
    assert!((30..=45).contains(&wait), "{wait}");
    let reset = body["reset"].as_u64().expect("seconds");
    assert!((NOON.as_secs() + 60..NOON.as_secs() + 80).contains(&reset), "{reset}");
    let expected = json!({
        "error": "Too many requests", "reason": "rate_limited", "name": "http", "limit": 5, "remaining": 0, "reset": reset,
        "retry_after": wait,
    });
    assert_eq!(body, expected);
    assert_eq!(refused.get("retry-after"), Some(wait.to_string().as_str()));
    assert_eq!(refused.get("x-ratelimit-limit"), Some("5"));
    assert_eq!(refused.get("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.get("x-ratelimit-reset"), Some(reset.to_string().as_str()));
    assert_eq!(
        field(&refused.head, "ratelimit-policy"),
        json!({ "http": { "q": 5, "w": 60 } })
    );
    assert_eq!(
        field(&refused.head, "ratelimit"),
        json!({ "http": { "r": 0, "t": wait } })
    );
    let problem = from(&proxy, A, "GET", "/search", "accept: application/problem+json\r\n")
        .await
        .json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"], json!(["http"]));
    assert_eq!(proxy.metric("tiergate_limit_refusals_total{limit=\"http\"}").await, 2.0);
    assert_eq!(
        metric_sum(proxy.admin, "tiergate_refusals_total", "rate_limited").await,
        2.0
    );
    assert_eq!(proxy.metric("tiergate_limit_callers{limit=\"http\"}").await, 1.0);
    assert_eq!(server.requests(), 5);
}

/// An undisclosed limit appears in no header, and its refusal gives only `reason` and when to retry: neither the limit
/// nor anything that tells one caller from another.
#[tokio::test]
async fn a_refusal_by_an_undisclosed_limit_explains_nothing() {
    let server = FastServer::start();
    let limits = "  - { name: secret, per: network, limit: 2, window: 60s, disclosed: false }
  - { name: http, per: network, limit: 100, window: 60s }";
    let (proxy, _) = open(server.address, limits, "");
    for remaining in ["99", "98"] {
        let answer = with_key(&proxy, A, "a1").await;
        assert_eq!(answer.get("x-ratelimit-remaining"), Some(remaining));
    }
    for path in ["/image/1", "/search", "/me"] {
        for key in ["", "x-api-key: a1\r\n", "x-api-key: guess\r\n"] {
            let refused = from(&proxy, A, "GET", path, key).await;
            refused.assert_refused(429, "rate_limited");
            let wait: u64 = refused
                .get("retry-after")
                .and_then(|wait| wait.parse().ok())
                .expect("seconds");
            let mut expected = json!({ "error": "Too many requests", "reason": "rate_limited", "retry_after": wait });
            assert_eq!(refused.explanation(), expected);
            let headers = refused.head.headers.iter().map(|(name, _)| name);
            let rate_headers: Vec<&String> = headers.filter(|name| name.contains("ratelimit")).collect();
            assert!(rate_headers.is_empty(), "{rate_headers:?}");
            let problem = from(
                &proxy,
                A,
                "GET",
                path,
                &format!("{key}accept: application/problem+json\r\n"),
            )
            .await;
            expected["type"] = "https://iana.org/assignments/http-problem-types#quota-exceeded".into();
            expected["title"] = "Too many requests".into();
            expected["status"] = 429.into();
            assert_eq!(problem.explanation(), expected);
        }
    }
}

/// Limits, quotas and concurrency are listed in one field, in this order; a limit with many bursts does not hide the
/// first.
#[tokio::test]
async fn one_header_lists_limits_quotas_and_concurrency() {
    let server = FastServer::start();
    let limits = "  - { name: secret, per: network, limit: 90, window: 1s, kind: burst, disclosed: false }
  - { name: http, per: network, limit: 100, window: 60s }
  - { name: burst, per: network, limit: 10, window: 1s, kind: burst }";
    let (proxy, _) = open(server.address, limits, "");
    let searched = get(&proxy, A, "/search").await;
    let policy = json!({
        "http": { "q": 100, "w": 60 }, "burst": { "q": 10, "w": 1 }, "daily": { "q": 1000, "w": 86_400 },
        "concurrency": { "q": 50, "qu": "concurrent-requests" },
    });
    assert_eq!(field(&searched.head, "ratelimit-policy"), policy);
    let state = field(&searched.head, "ratelimit");
    assert_eq!((&state["http"]["r"], &state["burst"]["r"]), (&99.into(), &9.into()));
    assert_eq!((&state["daily"]["r"], &state["burst"]["t"]), (&999.into(), &1.into()));
    assert_eq!(
        searched.get("x-ratelimit-limit"),
        Some("100"),
        "the first that is disclosed"
    );
    let image = get(&proxy, A, "/image/1").await;
    let state = field(&image.head, "ratelimit");
    assert_eq!(state.as_object().map(serde_json::Map::len), Some(2), "{state}");
    assert_eq!(field(&get(&proxy, A, "/me").await.head, "ratelimit")["http"]["r"], 97);
    for text in [searched, image].map(|answer| format!("{:?}", answer.head)) {
        assert!(!text.contains("secret"), "{text}");
    }
}

/// A 429 used to name the tier of a valid key, so keys could still be guessed after the limit was reached.
#[tokio::test]
async fn a_429_does_not_reveal_whether_a_key_is_valid() {
    let server = FastServer::start();
    let limits = format!("{HTTP_5}\n  - {{ name: mine, per: account, limit: 9, window: 60s }}");
    let (proxy, _) = open(server.address, &limits, "");
    assert_eq!(passing(&proxy, B, "a1", 3).await, 3, "what an account has left differs");
    assert_eq!(passing(&proxy, A, "", 5).await, 5);
    let told = |answer: Answer| {
        answer.assert_refused(429, "rate_limited");
        let headers = [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "ratelimit-policy",
            "ratelimit",
        ];
        let headers = headers.map(|name| answer.get(name).map(str::to_owned));
        let mut body = answer.explanation();
        // It is jittered.
        body["retry_after"].take();
        (headers, body)
    };
    let wrong = told(with_key(&proxy, A, "guess").await);
    assert_eq!(told(with_key(&proxy, A, "a1").await), wrong);
    assert_eq!(passing(&proxy, A, "r1", 5).await, 3, "a raised limit shows");
    assert_eq!(told(with_key(&proxy, A, "r1").await).1.get("tier"), None);
}

/// With the limit's own number a wrong key could be told from a request without one.
#[tokio::test]
async fn a_wrong_key_gets_the_anonymous_tiers_limit() {
    let server = FastServer::start();
    let own =
        file(server.address, HTTP_5, "").replace("free: { priority: 0,", "free: { priority: 0, limits: { http: 3 },");
    let (proxy, _) = Proxy::start_at(NOON, &own);
    let guess = with_key(&proxy, A, "guess").await;
    assert_eq!((guess.status(), guess.get("x-ratelimit-limit")), (403, Some("3")));
    assert_eq!(passing(&proxy, A, "", 5).await, 2);
    with_key(&proxy, A, "guess").await.assert_refused(429, "rate_limited");
}

#[tokio::test]
async fn limit_headers_are_sent_as_configured() {
    let server = FastServer::start();
    for (told, on_answers, on_refusals) in [
        ("always", [true, true], [true, true]),
        ("on_refusal_reset", [true, false], [true, true]),
        ("on_refusal", [false, false], [true, true]),
        ("off", [false, false], [false, false]),
    ] {
        let limits = format!("  - {{ name: http, per: network, limit: 1, window: 60s, headers: {told} }}");
        let (proxy, _) = open(server.address, &limits, "ratelimit_fields: false");
        let bears = |answer: &Answer| {
            assert_eq!(answer.get("ratelimit"), None);
            let bears = |name: &str| answer.get(name).is_some();
            assert_eq!(bears("x-ratelimit-limit"), bears("x-ratelimit-remaining"));
            [bears("x-ratelimit-limit"), bears("x-ratelimit-reset")]
        };
        let (passed, refused) = (get(&proxy, A, "/image/1").await, get(&proxy, A, "/image/1").await);
        assert_eq!((passed.status(), bears(&passed)), (200, on_answers), "{told}");
        assert_eq!((refused.status(), bears(&refused)), (429, on_refusals), "{told}");
        assert!(refused.get("retry-after").is_some());
    }
}

/// The upstream's own would contradict those of the proxy.
#[tokio::test]
async fn the_upstreams_own_ratelimit_headers_are_removed() {
    let server = UpstreamServer::start().await;
    let limits = "  - { name: http, per: network, limit: 5, window: 60s, headers: on_refusal_reset }";
    let more = "  - { path: /other, upstream: search }";
    let (proxy, _) = open(server.address, limits, more);
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/other", "").await;
    let own = "x-ratelimit-limit: 1\r\nx-ratelimit-remaining: 2\r\nx-ratelimit-reset: 3\r\nratelimit: \"x\";r=1\r\n";
    server.request().await.answer_with("200 OK", own, "").await;
    let answer = client.answer().await;
    assert_eq!(answer.head.all("x-ratelimit-limit"), ["5"]);
    assert_eq!(answer.head.all("x-ratelimit-remaining"), ["4"]);
    assert_eq!(answer.get("x-ratelimit-reset"), None);
    assert_eq!(field(&answer.head, "ratelimit")["http"]["r"], 4);
}

/// Cross-origin pages can read what they need to wait in time.
#[tokio::test]
async fn cors_exposes_the_limit_headers() {
    let server = FastServer::start();
    let (proxy, _) = open(server.address, HTTP_5, "cors: { origins: [\"*\"] }");
    let answer = from(&proxy, A, "GET", "/image/1", "origin: https://a.example\r\n").await;
    let exposed = answer
        .get("access-control-expose-headers")
        .expect("some")
        .to_ascii_lowercase();
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
        "retry-after",
    ] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
}
