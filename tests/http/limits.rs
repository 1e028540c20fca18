//! Request limits (rules §7): whom they count, what they say, and what is charged nothing.

use std::net::SocketAddr;

use serde_json::json;
use tiergate::clock::Hands;
use tiergate::policy::time::{Span, UnixTime};

use super::books::field;
use crate::support::fast::FastWorker;
use crate::support::{Answer, Client, Door, Worker, metric_sum, yaml};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
/// From noon: not the beginning of a minute.
const NOON_17: UnixTime = UnixTime::from_secs(1_800_014_417);
const MINUTE: Span = Span::from_secs(60);

/// A door with these limits and one tier for everybody; `more` is added at the top level. Accounts `ann` (keys a1, a2), `bob` (b1) and
/// `raised` (r1), which is of a tier whose `http` and `hourly` are 8.
fn open(worker: SocketAddr, limits: &str, more: &str) -> (Door, &'static Hands) {
    open_at(NOON, worker, limits, more)
}

fn open_at(at: UnixTime, worker: SocketAddr, limits: &str, more: &str) -> (Door, &'static Hands) {
    Door::open_at(at, &file(worker, limits, more))
}

fn file(worker: SocketAddr, limits: &str, more: &str) -> String {
    let raised = match (limits.contains("name: http"), limits.contains("name: hourly")) {
        (false, false) => "",
        (true, false) => ", limits: { http: 8 }",
        (false, true) => ", limits: { hourly: 8 }",
        (true, true) => ", limits: { http: 8, hourly: 8 }",
    };
    yaml()
        .setting("cores: 1")
        .setting("trusted_proxies: [127.0.0.1]")
        .setting(format_args!("limits:\n{limits}"))
        .queue("length: 8")
        .tier(
            "free",
            "priority: 0, concurrency: 50, quota: { limit: 1000, rolling: 24h }",
        )
        .tier("raised", format_args!("priority: 1, concurrency: 50{raised}"))
        .account("ann", "free", &["a1", "a2"])
        .account("bob", "free", &["b1"])
        .account("raised", "raised", &["r1"])
        .upstream("search", &[(worker, 50)], "")
        .route("path: /search, upstream: search, metered: true, max_body: 1KiB")
        .route("path: \"/image/{*rest}\", upstream: search, methods: [GET]")
        .more(more)
        .text()
}

/// A request from that address, on a connection of its own.
async fn from(door: &Door, address: &str, method: &str, path: &str, headers: &str) -> Answer {
    let headers = format!("x-forwarded-for: {address}\r\n{headers}");
    Client::connect(door.address).await.ask(method, path, &headers).await
}

async fn get(door: &Door, address: &str, path: &str) -> Answer {
    from(door, address, "GET", path, "").await
}

async fn with_key(door: &Door, address: &str, key: &str) -> Answer {
    from(door, address, "GET", "/image/1", &format!("x-api-key: {key}\r\n")).await
}

/// How many of so many requests are let through.
async fn passing(door: &Door, address: &str, key: &str, times: usize) -> usize {
    let mut passed = 0;
    for _ in 0..times {
        let answer = match key {
            "" => get(door, address, "/image/1").await,
            key => with_key(door, address, key).await,
        };
        match answer.status() {
            200 => passed += 1,
            429 => {}
            other => panic!("{other}: {}", answer.text()),
        }
    }
    passed
}

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "192.0.2.3";

const HTTP_5: &str = "  - { name: http, per: network, limit: 5, window: 60s }";

#[tokio::test]
async fn what_is_answered_before_the_limits_is_charged_nothing() {
    let worker = FastWorker::start();
    let (door, _) = open(worker.address, HTTP_5, "cors: { origins: [\"*\"] }");
    for _ in 0..10 {
        assert_eq!(get(&door, A, "/nowhere").await.status(), 404);
        assert_eq!(from(&door, A, "POST", "/image/1", "").await.status(), 405);
        assert_eq!(from(&door, A, "OPTIONS", "/search", "").await.status(), 204);
        let preflight = "origin: https://a.example\r\naccess-control-request-method: GET\r\n";
        assert_eq!(from(&door, A, "OPTIONS", "/search", preflight).await.status(), 200);
        let long = from(
            &door,
            A,
            "POST",
            "/search",
            "content-length: 2000\r\nexpect: 100-continue\r\n",
        )
        .await;
        assert_eq!(long.status(), 413);
        let two = "x-api-key: a1\r\nx-api-key: b1\r\n";
        assert_eq!(from(&door, A, "GET", "/image/1", two).await.status(), 400);
    }
    let first = get(&door, A, "/image/1").await;
    assert_eq!(first.get("x-ratelimit-remaining"), Some("4"));
}

/// Guessing keys is limited, and so are the door's own pages.
#[tokio::test]
async fn unknown_keys_and_own_pages_are_charged() {
    let worker = FastWorker::start();
    let (door, _) = open(worker.address, HTTP_5, "");
    for remaining in ["4", "3"] {
        let guess = with_key(&door, A, "guess").await;
        guess.assert_refused(403, "invalid_key");
        assert_eq!(guess.get("x-ratelimit-remaining"), Some(remaining));
    }
    assert_eq!(get(&door, A, "/me").await.get("x-ratelimit-remaining"), Some("2"));
    assert_eq!(get(&door, A, "/stats").await.get("x-ratelimit-remaining"), Some("1"));
    assert_eq!(with_key(&door, A, "a1").await.get("x-ratelimit-remaining"), Some("0"));
    with_key(&door, A, "guess").await.assert_refused(429, "rate_limited");
    get(&door, A, "/me").await.assert_refused(429, "rate_limited");
    assert_eq!(get(&door, B, "/me").await.status(), 200);
}

#[tokio::test]
async fn a_refusal_explains_itself() {
    let worker = FastWorker::start();
    let (door, hands) = open(worker.address, HTTP_5, "");
    assert_eq!(passing(&door, A, "", 5).await, 5);
    hands.advance(Span::from_secs(15));
    let refused = get(&door, A, "/search").await;
    refused.assert_refused(429, "rate_limited");
    let body = refused.json();
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
    let problem = from(&door, A, "GET", "/search", "accept: application/problem+json\r\n")
        .await
        .json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"], json!(["http"]));
    assert_eq!(door.metric("tiergate_limit_refusals_total{limit=\"http\"}").await, 2.0);
    assert_eq!(
        metric_sum(door.admin, "tiergate_refusals_total", "rate_limited").await,
        2.0
    );
    assert_eq!(door.metric("tiergate_limit_callers{limit=\"http\"}").await, 1.0);
    assert_eq!(worker.requests(), 5);
}

/// An undisclosed limit appears in no header, and its refusal says `reason` and when to come back: not which limit there is,
/// and nothing of the caller by which it could be told from another's.
#[tokio::test]
async fn a_refusal_by_an_undisclosed_limit_explains_nothing() {
    let worker = FastWorker::start();
    let limits = "  - { name: secret, per: network, limit: 2, window: 60s, disclosed: false }
  - { name: http, per: network, limit: 100, window: 60s }";
    let (door, _) = open(worker.address, limits, "");
    for remaining in ["99", "98"] {
        let answer = with_key(&door, A, "a1").await;
        assert_eq!(answer.get("x-ratelimit-remaining"), Some(remaining));
    }
    for path in ["/image/1", "/search", "/me"] {
        for key in ["", "x-api-key: a1\r\n", "x-api-key: guess\r\n"] {
            let refused = from(&door, A, "GET", path, key).await;
            refused.assert_refused(429, "rate_limited");
            let wait: u64 = refused
                .get("retry-after")
                .and_then(|wait| wait.parse().ok())
                .expect("seconds");
            let mut expected = json!({ "error": "Too many requests", "reason": "rate_limited", "retry_after": wait });
            assert_eq!(refused.json(), expected);
            let headers = refused.head.headers.iter().map(|(name, _)| name);
            let telling: Vec<&String> = headers.filter(|name| name.contains("ratelimit")).collect();
            assert!(telling.is_empty(), "{telling:?}");
            let problem = from(
                &door,
                A,
                "GET",
                path,
                &format!("{key}accept: application/problem+json\r\n"),
            )
            .await;
            expected["type"] = "https://iana.org/assignments/http-problem-types#quota-exceeded".into();
            expected["title"] = "Too many requests".into();
            expected["status"] = 429.into();
            assert_eq!(problem.json(), expected);
        }
    }
}

/// Limits, quotas and concurrency stand in one field, in this order; a limit of many bursts doesn't hide the first.
#[tokio::test]
async fn one_field_tells_of_limits_quotas_and_concurrency() {
    let worker = FastWorker::start();
    let limits = "  - { name: secret, per: network, limit: 90, window: 1s, kind: burst, disclosed: false }
  - { name: http, per: network, limit: 100, window: 60s }
  - { name: burst, per: network, limit: 10, window: 1s, kind: burst }";
    let (door, _) = open(worker.address, limits, "");
    let searched = get(&door, A, "/search").await;
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
    let image = get(&door, A, "/image/1").await;
    let state = field(&image.head, "ratelimit");
    assert_eq!(state.as_object().map(serde_json::Map::len), Some(2), "{state}");
    assert_eq!(field(&get(&door, A, "/me").await.head, "ratelimit")["http"]["r"], 97);
    for text in [searched, image].map(|answer| format!("{:?}", answer.head)) {
        assert!(!text.contains("secret"), "{text}");
    }
}

/// A 429 once told the tier of whose key was right: who guesses keys learned which were, long after it was to learn nothing more.
#[tokio::test]
async fn a_429_does_not_tell_a_right_key_from_a_wrong_one() {
    let worker = FastWorker::start();
    let limits = format!("{HTTP_5}\n  - {{ name: mine, per: account, limit: 9, window: 60s }}");
    let (door, _) = open(worker.address, &limits, "");
    assert_eq!(passing(&door, B, "a1", 3).await, 3, "what an account has left differs");
    assert_eq!(passing(&door, A, "", 5).await, 5);
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
        let mut body = answer.json();
        // It is spread a little.
        body["retry_after"].take();
        (headers, body)
    };
    let wrong = told(with_key(&door, A, "guess").await);
    assert_eq!(told(with_key(&door, A, "a1").await), wrong);
    assert_eq!(passing(&door, A, "r1", 5).await, 3, "a number that is raised shows");
    assert_eq!(told(with_key(&door, A, "r1").await).1.get("tier"), None);
}

/// Who guesses wrong is counted by its network in a limit per account, and who guesses right by its account: only a limit that counts
/// networks ends the guessing.
#[tokio::test]
async fn guesses_count_for_the_network_in_a_limit_per_account() {
    let worker = FastWorker::start();
    let (door, _) = open(
        worker.address,
        "  - { name: http, per: account, limit: 3, window: 60s }",
        "",
    );
    for _ in 0..3 {
        with_key(&door, A, "guess").await.assert_refused(403, "invalid_key");
    }
    with_key(&door, A, "guess").await.assert_refused(429, "rate_limited");
    get(&door, A, "/image/1").await.assert_refused(429, "rate_limited");
    assert_eq!(passing(&door, A, "a1", 9).await, 3, "a right key is not kept out");
    with_key(&door, B, "guess").await.assert_refused(403, "invalid_key");
}

/// With the limit's own number a guess was told from a request without a key.
#[tokio::test]
async fn a_guess_has_the_number_of_the_anonymous_tier() {
    let worker = FastWorker::start();
    let own =
        file(worker.address, HTTP_5, "").replace("free: { priority: 0,", "free: { priority: 0, limits: { http: 3 },");
    let (door, _) = Door::open_at(NOON, &own);
    let guess = with_key(&door, A, "guess").await;
    assert_eq!((guess.status(), guess.get("x-ratelimit-limit")), (403, Some("3")));
    assert_eq!(passing(&door, A, "", 5).await, 2);
    with_key(&door, A, "guess").await.assert_refused(429, "rate_limited");
}

/// All are checked, then all are charged, or none is.
#[tokio::test]
async fn who_is_refused_is_charged_nothing() {
    let worker = FastWorker::start();
    let limits = "  - { name: http, per: network, limit: 10, window: 60s }
  - { name: image, per: network, limit: 2, window: 60s, match: { path: \"/image/{*rest}\" } }";
    let (door, _) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 8).await, 2);
    let refused = get(&door, A, "/image/2").await;
    assert_eq!(refused.json()["name"], "image");
    assert_eq!(refused.get("x-ratelimit-limit"), Some("2"), "of the limit that refused");
    assert_eq!(get(&door, A, "/search").await.get("x-ratelimit-remaining"), Some("7"));
}

#[tokio::test]
async fn accounts_count_across_keys_strangers_by_network() {
    let worker = FastWorker::start();
    let (door, _) = open(
        worker.address,
        "  - { name: mine, per: account, limit: 4, window: 60s }",
        "",
    );
    assert_eq!(passing(&door, A, "a1", 2).await + passing(&door, B, "a2", 5).await, 4);
    assert_eq!(
        passing(&door, A, "b1", 5).await,
        4,
        "another account at the same address"
    );
    assert_eq!(
        passing(&door, A, "", 5).await,
        4,
        "without a key it is one more, and limited too"
    );
}

/// Raising an account's number doesn't raise its network's, unless the raise says so.
#[tokio::test]
async fn a_raise_lifts_the_account_and_only_if_it_says_so_the_network() {
    let worker = FastWorker::start();
    let limits = "  - { name: hourly, per: [account, network], limit: 4, window: 60s }";
    let (door, _) = open(worker.address, limits, "");
    assert_eq!(
        passing(&door, "192.0.2.8", "r1", 10).await,
        4,
        "the tier raises the account to 8, not the network"
    );
    assert_eq!(
        passing(&door, "192.0.2.9", "r1", 10).await,
        4,
        "elsewhere it has the rest"
    );
    assert_eq!(passing(&door, "192.0.2.10", "r1", 1).await, 0);
    let set = r#"{ "name": "lifted", "tier": "free", "limits": { "hourly": { "limit": 6, "lifts": "network" } } }"#;
    assert_eq!(door.operator("POST", "/accounts", set).await.status(), 201);
    let key = door.operator("POST", "/accounts/lifted/keys", "{}").await.json();
    let key = key["key"].as_str().expect("a key").to_owned();
    assert_eq!(passing(&door, "192.0.2.11", &key, 10).await, 6);
    assert_eq!(
        passing(&door, "192.0.2.11", "a1", 1).await,
        0,
        "of its network more is used than others may"
    );
    let (door, _) = open(worker.address, HTTP_5, "");
    assert_eq!(
        passing(&door, A, "r1", 10).await,
        8,
        "a limit that counts no accounts has no other sense"
    );
    let set = r#"{ "limits": { "http": 2 } }"#;
    assert_eq!(door.operator("PATCH", "/networks/192.0.2.77", set).await.status(), 200);
    assert_eq!(passing(&door, "192.0.2.77", "", 9).await, 2, "a network may have less");
}

/// What is advertised stays `limit`; who has a number of its own is told the truth, whoever gave it.
#[tokio::test]
async fn a_raise_is_never_degraded() {
    let worker = FastWorker::start();
    let limits = "  - { name: http, per: network, limit: 9, window: 60s, degraded: 3 }";
    let (door, _) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 20).await, 3);
    assert_eq!(passing(&door, A, "a1", 20).await, 0, "its network has used what it may");
    assert_eq!(passing(&door, B, "r1", 20).await, 8, "its tier's");
    let set = r#"{ "name": "own", "tier": "free", "limits": { "http": 5 } }"#;
    assert_eq!(door.operator("POST", "/accounts", set).await.status(), 201);
    let key = door.operator("POST", "/accounts/own/keys", "{}").await.json();
    let key = key["key"].as_str().expect("a key").to_owned();
    let first = with_key(&door, "192.0.2.3", &key).await;
    assert_eq!(
        (first.get("x-ratelimit-limit"), first.get("x-ratelimit-remaining")),
        (Some("5"), Some("4"))
    );
    assert_eq!(passing(&door, "192.0.2.3", &key, 20).await, 4, "its own");
}

/// A delegated user is counted as the account that asks for it, by that account's number, whatever its name and its address.
#[tokio::test]
async fn a_delegated_user_is_counted_as_its_account() {
    let worker = FastWorker::start();
    let (door, _) = open(
        worker.address,
        "  - { name: http, per: account, limit: 4, window: 60s }",
        "",
    );
    let bot = r#"{ "name": "bot", "tier": "raised", "max_users": 10 }"#;
    assert_eq!(door.operator("POST", "/accounts", bot).await.status(), 201);
    let key = door.operator("POST", "/accounts/bot/keys", "{}").await.json();
    let key = format!("x-api-key: {}\r\n", key["key"].as_str().expect("a key"));
    let mut let_in = 0;
    for number in 0..12 {
        let (address, path) = (format!("192.0.2.{number}"), format!("/search?uid=user-{number}"));
        let_in += usize::from(from(&door, &address, "GET", &path, &key).await.status() == 200);
    }
    assert_eq!(let_in, 8, "its account's tier has 8");
    from(&door, B, "GET", "/image/1", &key)
        .await
        .assert_refused(429, "rate_limited");
}

/// A lifted account shares its network's counter. Its own number doesn't help it against a penalty that somebody else at its address
/// has brought about.
#[tokio::test]
async fn a_neighbours_penalty_holds_a_lifted_account_too() {
    let worker = FastWorker::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 60s, penalty: 60s }";
    let (door, hands) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "r1", 3).await, 3);
    assert_eq!(passing(&door, A, "", 1).await, 0, "more is used than a stranger may");
    assert_eq!(passing(&door, A, "r1", 1).await, 0);
    hands.advance(MINUTE);
    assert_eq!(passing(&door, A, "r1", 3).await, 3);
}

#[tokio::test]
async fn everybody_together() {
    let worker = FastWorker::start();
    let (door, _) = open(
        worker.address,
        "  - { name: all, per: global, limit: 5, window: 60s }",
        "",
    );
    assert_eq!(passing(&door, A, "", 3).await + passing(&door, B, "a1", 9).await, 5);
}

#[tokio::test]
async fn an_ipv6_network_is_a_64_unless_the_limit_says_otherwise() {
    let worker = FastWorker::start();
    let limits = "  - { name: usual, per: network, limit: 4, window: 60s }
  - { name: wide, per: network, limit: 6, window: 60s, v6_prefix: 56 }
  - { name: single, per: network, limit: 3, window: 60s, v6_prefix: 128 }";
    let (door, _) = open(worker.address, limits, "");
    assert_eq!(passing(&door, "2001:db8::1", "", 9).await, 3, "one address");
    assert_eq!(
        passing(&door, "2001:0db8:0:0:ffff::2", "", 9).await,
        1,
        "the /64 had one left"
    );
    assert_eq!(passing(&door, "2001:db8:0:1::1", "", 9).await, 2, "and the /56 two");
    assert_eq!(passing(&door, "2001:db8:0:100::1", "", 9).await, 3, "the next /56");
    assert_eq!(
        passing(&door, "::ffff:192.0.2.1", "", 2).await + passing(&door, A, "", 9).await,
        3,
        "IPv4 is IPv4"
    );
}

#[tokio::test]
async fn limits_match_host_path_and_methods_in_any_spelling() {
    let worker = FastWorker::start();
    let limits = "  - { name: host, per: network, limit: 1, window: 60s, match: { host: media.example } }
  - { name: path, per: network, limit: 1, window: 60s, match: { path: /image/big, methods: [GET] } }";
    let (door, _) = open(worker.address, limits, "");
    let at_host = async |address: &str, host: &str, method: &str, path: &str| {
        let mut client = Client::connect(door.address).await;
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: {address}\r\n\r\n");
        client.send(text).await;
        client.answer_to(method).await.status()
    };
    assert_eq!(at_host(A, "media.example", "GET", "/image/1").await, 200);
    for host in ["media.example", "MEDIA.example:8080", "Media.Example."] {
        assert_eq!(at_host(A, host, "GET", "/image/1").await, 429, "{host}");
    }
    assert_eq!(at_host(A, "other.example", "GET", "/image/1").await, 200);
    assert_eq!(at_host(B, "x", "GET", "/image/big").await, 200);
    for path in [
        "/image/BIG",
        "/image/b%69g",
        "/image//big",
        "/image/./big",
        "/image/a/../big",
        "/image/big;x=1",
    ] {
        let status = at_host(B, "x", "GET", path).await;
        assert!(matches!(status, 400 | 404 | 429), "{path}: {status}");
    }
    assert_eq!(at_host(B, "x", "HEAD", "/image/big").await, 429);
    assert_eq!(at_host(B, "x", "GET", "/image/bigger").await, 200);
}

/// A route that names no methods takes `post` too, and so does many a worker.
#[tokio::test]
async fn no_spelling_of_a_method_escapes_its_limit() {
    let worker = FastWorker::start();
    for (methods, spellings) in [("[POST]", ["POST", "post", "Post"]), ("[GET]", ["GET", "get", "HEAD"])] {
        let limits = format!(
            "  - {{ name: up, per: network, limit: 1, window: 60s, match: {{ path: /other, methods: {methods} }} }}"
        );
        let (door, _) = open(worker.address, &limits, "  - { path: /other, upstream: search }");
        for (at, method) in spellings.iter().enumerate() {
            let answer = from(&door, A, method, "/other", "content-length: 0\r\n").await;
            assert_eq!(answer.status(), if at == 0 { 200 } else { 429 }, "{method}");
        }
        assert_eq!(
            from(&door, A, "PUT", "/other", "content-length: 0\r\n").await.status(),
            200
        );
    }
}

#[tokio::test]
async fn windows_that_are_aligned_to_the_clock() {
    let worker = FastWorker::start();
    let limits = "  - { name: minute, per: network, limit: 2, window: 60s, align: clock }";
    let (door, hands) = open_at(NOON_17, worker.address, limits, "");
    let first = get(&door, A, "/image/1").await;
    let end = (NOON.as_secs() + 60).to_string();
    assert_eq!(
        first.get("x-ratelimit-reset"),
        Some(end.as_str()),
        "from noon, not from the first request"
    );
    assert_eq!(passing(&door, A, "", 3).await, 1);
    hands.advance(Span::from_secs(43));
    assert_eq!(passing(&door, A, "", 3).await, 2, "a minute past noon");
}

#[tokio::test]
async fn when_the_headers_are_told() {
    let worker = FastWorker::start();
    for (told, on_answers, on_refusals) in [
        ("always", [true, true], [true, true]),
        ("on_refusal_reset", [true, false], [true, true]),
        ("on_refusal", [false, false], [true, true]),
        ("off", [false, false], [false, false]),
    ] {
        let limits = format!("  - {{ name: http, per: network, limit: 1, window: 60s, headers: {told} }}");
        let (door, _) = open(worker.address, &limits, "ratelimit_fields: false");
        let bears = |answer: &Answer| {
            assert_eq!(answer.get("ratelimit"), None);
            let bears = |name: &str| answer.get(name).is_some();
            assert_eq!(bears("x-ratelimit-limit"), bears("x-ratelimit-remaining"));
            [bears("x-ratelimit-limit"), bears("x-ratelimit-reset")]
        };
        let (passed, refused) = (get(&door, A, "/image/1").await, get(&door, A, "/image/1").await);
        assert_eq!((passed.status(), bears(&passed)), (200, on_answers), "{told}");
        assert_eq!((refused.status(), bears(&refused)), (429, on_refusals), "{told}");
        assert!(refused.get("retry-after").is_some());
    }
}

/// Their worker's own would contradict the door's.
#[tokio::test]
async fn a_workers_own_headers_of_that_name_are_taken_out() {
    let worker = Worker::start().await;
    let limits = "  - { name: http, per: network, limit: 5, window: 60s, headers: on_refusal_reset }";
    let more = "  - { path: /other, upstream: search }";
    let (door, _) = open(worker.address, limits, more);
    let mut client = Client::connect(door.address).await;
    client.request("GET", "/other", "").await;
    let own = "x-ratelimit-limit: 1\r\nx-ratelimit-remaining: 2\r\nx-ratelimit-reset: 3\r\nratelimit: \"x\";r=1\r\n";
    worker.request().await.answer_with("200 OK", own, "").await;
    let answer = client.answer().await;
    assert_eq!(answer.head.all("x-ratelimit-limit"), ["5"]);
    assert_eq!(answer.head.all("x-ratelimit-remaining"), ["4"]);
    assert_eq!(answer.get("x-ratelimit-reset"), None);
    assert_eq!(field(&answer.head, "ratelimit")["http"]["r"], 4);
}

#[tokio::test]
async fn repeated_refusals_block_until_expiry_or_forgiveness() {
    let worker = FastWorker::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (door, hands) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 5).await, 2);
    for path in ["/image/1", "/search", "/me"] {
        get(&door, A, path).await.assert_refused(403, "blocked");
    }
    assert_eq!(get(&door, B, "/me").await.status(), 200);
    hands.advance(MINUTE.saturating_mul(30));
    with_key(&door, A, "a1").await.assert_refused(403, "blocked");
    // As `tiergate unblock` asks.
    let forgiven = door
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!((forgiven.status(), &forgiven.json()["blocked_by"]), (200, &json!([])));
    assert_eq!(get(&door, A, "/me").await.status(), 200, "forgiven by hand");
    assert_eq!(passing(&door, C, "", 5).await, 2);
    get(&door, C, "/me").await.assert_refused(403, "blocked");
    // As `tiergate network remove` asks. It once said that there was no such network, and had lifted the block all the same.
    let forgiven = door.operator("DELETE", "/networks/192.0.2.3", "").await;
    assert_eq!(
        (forgiven.status(), &forgiven.json()["network"]),
        (200, &json!("192.0.2.3/32"))
    );
    let again = door.operator("DELETE", "/networks/192.0.2.3", "").await;
    assert_eq!(again.status(), 404, "nothing is said of it, and no rule has blocked it");
    get(&door, C, "/me").await.assert_refused(429, "rate_limited");
    assert_eq!(passing(&door, B, "", 5).await, 2);
    hands.advance(MINUTE.saturating_mul(61));
    assert_eq!(passing(&door, B, "", 1).await, 1, "an hour later");
}

/// The name of the network that stands for an address is its /64. Where a limit counts narrower ones, unblocking the address lifted
/// nothing, and said that it had.
#[tokio::test]
async fn unblocking_works_for_every_prefix_length() {
    let worker = FastWorker::start();
    for (v6_prefix, address) in [(128, "2001:db8::5"), (64, "2001:db8::5"), (56, "2001:db8::5"), (64, A)] {
        let limits = format!(
            "  - {{ name: http, per: network, limit: 2, window: 60s, v6_prefix: {v6_prefix}, block_after: {{ refusals: 3, within: 1m, for: 1h }} }}"
        );
        for (method, body) in [("PATCH", r#"{ "block": null }"#), ("DELETE", "")] {
            let (door, hands) = open(worker.address, &limits, "");
            assert_eq!(passing(&door, address, "", 5).await, 2);
            hands.advance(MINUTE.saturating_mul(2));
            get(&door, address, "/me").await.assert_refused(403, "blocked");
            let said = door.operator(method, &format!("/networks/{address}"), body).await;
            assert_eq!(said.status(), 200, "{}", said.text());
            assert_eq!(
                get(&door, address, "/me").await.status(),
                200,
                "{method} {address}, {v6_prefix}"
            );
        }
    }
}

#[tokio::test]
async fn an_account_that_a_rule_has_blocked_is_forgiven_with_unblock() {
    let worker = FastWorker::start();
    let limits =
        "  - { name: http, per: account, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (door, _) = open(worker.address, limits, "");
    let added = door
        .operator("POST", "/accounts", r#"{"name":"cara","tier":"free"}"#)
        .await;
    assert_eq!(added.status(), 201, "{}", added.text());
    let made = door.operator("POST", "/accounts/cara/keys", "{}").await.json();
    let key = made["key"].as_str().expect("a key");
    assert_eq!(passing(&door, A, key, 5).await, 2);
    with_key(&door, B, key).await.assert_refused(403, "blocked");
    let shown = door.operator("GET", "/accounts/cara", "").await.json();
    assert_eq!(shown["blocked_by_rule"][0]["limit"], "http", "{shown}");
    let said = door.operator("PATCH", "/accounts/cara", r#"{"blocked":false}"#).await;
    assert_eq!((said.status(), &said.json()["blocked_by_rule"]), (200, &json!([])));
    // The window that it has used up is still under way.
    with_key(&door, B, key).await.assert_refused(429, "rate_limited");
}

/// Who was unblocked was still within its penalty: the next refusals blocked it again at once.
#[tokio::test]
async fn who_is_unblocked_is_let_in_though_its_penalty_runs() {
    let worker = FastWorker::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 10s, penalty: 30m, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (door, _) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 5).await, 2);
    get(&door, A, "/me").await.assert_refused(403, "blocked");
    let said = door
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!((said.status(), &said.json()["was_blocked"]), (200, &json!(true)));
    assert_eq!(passing(&door, A, "", 2).await, 2);
    let said = door
        .operator("PATCH", "/networks/192.0.2.99", r#"{ "block": null }"#)
        .await;
    assert_eq!(said.json()["was_blocked"], false, "it never was");
}

/// Such a block could be seen in one line of the log, and nowhere else.
#[tokio::test]
async fn operators_see_blocks_by_rule_and_their_end() {
    let worker = FastWorker::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (door, hands) = open(worker.address, limits, "");
    assert_eq!(door.operator("GET", "/networks/192.0.2.1", "").await.status(), 404);
    assert_eq!(passing(&door, A, "", 5).await, 2);
    let shown = door.operator("GET", "/networks/192.0.2.1", "").await.json();
    let by_rule = &shown["blocked_by_rule"];
    assert_eq!(by_rule[0]["limit"], "http", "{shown}");
    assert!(by_rule[0]["until"].is_string(), "{shown}");
    assert_eq!(door.metric("tiergate_limit_blocks_total{limit=\"http\"}").await, 1.0);
    hands.advance(MINUTE.saturating_mul(61));
    assert_eq!(
        door.operator("GET", "/networks/192.0.2.1", "").await.status(),
        404,
        "it is over"
    );
}

#[tokio::test]
async fn an_expired_block_cannot_be_lifted() {
    let worker = FastWorker::start();
    let limits =
        "  - { name: http, per: network, limit: 2, window: 60s, block_after: { refusals: 3, within: 1m, for: 1h } }";
    let (door, hands) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 5).await, 2);
    assert_eq!(passing(&door, C, "", 5).await, 2);
    hands.advance(MINUTE.saturating_mul(61));
    let said = door
        .operator("PATCH", "/networks/192.0.2.1", r#"{ "block": null }"#)
        .await;
    assert_eq!(said.json()["was_blocked"], false, "it is over");
    assert_eq!(
        door.operator("DELETE", "/networks/192.0.2.3", "").await.status(),
        404,
        "it is over"
    );
}

/// A penalty that ended before there is room would let a caller have more than its limit.
#[tokio::test]
async fn a_penalty_shorter_than_the_window_lasts_until_there_is_room() {
    let worker = FastWorker::start();
    let limits = "  - { name: http, per: network, limit: 2, window: 60s, penalty: 5s }";
    let (door, hands) = open(worker.address, limits, "");
    assert_eq!(passing(&door, A, "", 3).await, 2);
    hands.advance(Span::from_secs(30));
    let refused = get(&door, A, "/image/1").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused
        .get("retry-after")
        .expect("it says when")
        .parse()
        .expect("seconds");
    assert!((10..=30).contains(&wait), "{wait}");
    hands.advance(Span::from_secs(31));
    assert_eq!(passing(&door, A, "", 3).await, 2);
}

/// Networks that operators block are turned away before anything else, whatever they ask.
#[tokio::test]
async fn blocked_networks() {
    let worker = FastWorker::start();
    let (door, hands) = open(
        worker.address,
        HTTP_5,
        "blocked_networks: [198.51.100.0/24, \"2001:db8:bad::/48\"]",
    );
    for address in ["198.51.100.7", "2001:db8:bad:1::1", "::ffff:198.51.100.7"] {
        for path in ["/search", "/me", "/nowhere"] {
            get(&door, address, path).await.assert_refused(403, "blocked");
        }
        with_key(&door, address, "a1").await.assert_refused(403, "blocked");
    }
    assert_eq!(get(&door, "198.51.101.7", "/me").await.status(), 200);
    let block = r#"{ "block": { "for": "1d", "why": "scrapes" } }"#;
    assert_eq!(
        door.operator("PATCH", "/networks/192.0.2.0%2F24", block).await.status(),
        200
    );
    get(&door, A, "/me").await.assert_refused(403, "blocked");
    assert_eq!(
        door.operator("PATCH", "/networks/192.0.2.0%2F24", r#"{ "block": null }"#)
            .await
            .status(),
        200
    );
    assert_eq!(get(&door, A, "/me").await.status(), 200);
    assert_eq!(
        door.operator("PATCH", "/networks/192.0.2.0%2F24", block).await.status(),
        200
    );
    hands.advance(Span::from_secs(86_400));
    assert_eq!(get(&door, A, "/me").await.status(), 200, "a day later");
}

/// A page of another site may read what it needs to wait in time.
#[tokio::test]
async fn pages_may_read_the_headers() {
    let worker = FastWorker::start();
    let (door, _) = open(worker.address, HTTP_5, "cors: { origins: [\"*\"] }");
    let answer = from(&door, A, "GET", "/image/1", "origin: https://a.example\r\n").await;
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

/// With more strangers than are counted one by one, the door goes on, and tells operators of it.
#[tokio::test]
async fn a_crowd_shares_what_its_neighbourhood_may() {
    let worker = FastWorker::start();
    let (door, _) = open(worker.address, HTTP_5, "max_callers: 1000");
    let mut client = Client::connect(door.address).await;
    let mut through = 0;
    for number in 0..3_000_u32 {
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        let answer = client
            .ask("GET", "/me", &format!("x-forwarded-for: {address}\r\n"))
            .await;
        through += usize::from(answer.status() == 200);
    }
    assert!((1_000..1_300).contains(&through), "{through}");
    assert!(door.metric("tiergate_limit_crowded_total{limit=\"http\"}").await > 0.0);
    assert!(door.metric("tiergate_limit_callers{limit=\"http\"}").await <= 1_000.0);
    assert_eq!(
        passing(&door, "198.51.100.1", "", 6).await,
        5,
        "a neighbour of nobody's"
    );
}
