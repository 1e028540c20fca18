//! bags, "Rate Limits", sentence by sentence, as far as a machine can check it.

use tiergate::clock::ClockControl;
use tiergate::policy::time::{Span, UnixTime};

use super::visitor::{Told, Visitor, is_about, retry_after, tells_nothing, told};
use crate::support::fast::FastServer;
use crate::support::{Proxy, hash};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const MINUTE: Span = Span::from_secs(60);
const LAUNCH: &str = "/api/v1/token-launch/create";

/// With two accounts; ann has two keys.
fn open(server: &FastServer) -> (Proxy, &'static ClockControl) {
    let with_accounts = |text: &str| {
        format!(
            "{text}\naccounts:\n  - {{ name: ann, tier: user, key_sha256: [{}, {}] }}\n  - {{ name: bob, tier: user, key_sha256: {} }}\n",
            hash("ann-1"),
            hash("ann-2"),
            hash("bob-1"),
        )
    };
    Proxy::start_preset("bags", with_accounts, &[("api", server.address)], NOON)
}

async fn user(key: &str, host: u8, proxy: &Proxy) -> Visitor {
    Visitor::at(host, proxy).await.with_key("x-api-key", key)
}

/// "Rate limit: 1,000 requests per hour per user and per ip." "Scope: Rate limits apply across all your API keys." "Creating multiple API
/// keys does not increase your rate limit."
#[tokio::test]
async fn a_thousand_an_hour_for_a_user_across_its_keys_and_addresses() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    let mut one = user("ann-1", 1, &proxy).await;
    let mut other = user("ann-2", 2, &proxy).await;
    one.passes(600, "/ping").await;
    let last = other.passes(400, "/ping").await;
    assert_eq!(
        told(&last).remaining,
        Some(0),
        "the user's, though the address has 600 left"
    );
    for visitor in [&mut one, &mut other] {
        assert_eq!(visitor.get("/ping").await.status(), 429);
    }
    assert_eq!(
        user("bob-1", 3, &proxy).await.get("/ping").await.status(),
        200,
        "another user"
    );
    assert_eq!(
        user("bob-1", 1, &proxy).await.get("/ping").await.status(),
        200,
        "the address has room for others"
    );
}

/// "Per user and per ip": an address that many users share has a thousand as well.
#[tokio::test]
async fn a_thousand_an_hour_for_an_address() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    user("ann-1", 1, &proxy).await.passes(500, "/ping").await;
    let last = user("bob-1", 1, &proxy).await.passes(500, "/ping").await;
    assert_eq!(told(&last).remaining, Some(0));
    for key in ["ann-1", "bob-1"] {
        assert_eq!(user(key, 1, &proxy).await.get("/ping").await.status(), 429);
        assert_eq!(user(key, 2, &proxy).await.get("/ping").await.status(), 200, "elsewhere");
    }
    assert_eq!(
        Visitor::at(1, &proxy).await.get("/ping").await.status(),
        429,
        "without a key too"
    );
}

/// "Response headers included with every request: `X-RateLimit-Limit`: Total requests allowed per hour (1,000), `X-RateLimit-Remaining`:
/// Requests remaining in current window, `X-RateLimit-Reset`: Unix timestamp when the limit resets." `curl -I` asks by `HEAD`.
#[tokio::test]
async fn every_answer_has_the_headers() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    let mut ann = user("ann-1", 1, &proxy).await;
    for remaining in (990..1_000).rev() {
        let answer = match remaining % 3 {
            0 => ann.ask("HEAD", "public-api-v2.bags.fm", "/ping").await,
            1 => ann.get("/ping?status=404").await,
            _ => ann.post("/ping").await,
        };
        let Told {
            limit,
            remaining: left,
            reset,
        } = told(&answer);
        assert_eq!((limit, left), (Some(1_000), Some(remaining)));
        assert!(is_about(reset.expect("a reset"), NOON, 3_600) || is_about(reset.expect("a reset"), NOON, 3_650));
    }
    let mut guessing = user("guess", 1, &proxy).await;
    let unknown = guessing.get("/ping").await;
    let expected = serde_json::json!({ "success": false, "error": "Invalid API key" });
    assert_eq!((unknown.status(), unknown.json()), (403, expected));
    assert_eq!(
        (told(&unknown).limit, told(&unknown).remaining),
        (Some(1_000), Some(989)),
        "of the address"
    );
    assert!(told(&unknown).reset.is_some());
}

/// "Sliding hourly windows (not fixed periods)." "This means your rate limit resets continuously rather than at fixed times."
#[tokio::test]
async fn the_hour_slides() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(&server);
    let mut ann = user("ann-1", 1, &proxy).await;
    ann.passes(600, "/ping").await;
    clock_control.advance(MINUTE.saturating_mul(30));
    ann.passes(400, "/ping").await;
    // At 1:00 nothing happens.
    clock_control.advance(MINUTE.saturating_mul(28));
    let refused = ann.get("/ping").await;
    assert_eq!(refused.status(), 429);
    let wait = retry_after(&refused);
    assert!(
        (61..=181).contains(&wait),
        "{wait}: the 600 leave after an hour, by the minute"
    );
    clock_control.advance(Span::from_secs(wait));
    ann.passes(600, "/ping").await;
    assert_eq!(ann.get("/ping").await.status(), 429, "the 400 are half an hour old");
    clock_control.advance(MINUTE.saturating_mul(32));
    ann.passes(400, "/ping").await;
    assert_eq!(ann.get("/ping").await.status(), 429);
}

/// "When you exceed your rate limit, the API returns a `429` status with additional information".
#[tokio::test]
async fn a_refusal_with_additional_information() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    let mut ann = user("ann-1", 1, &proxy).await;
    ann.passes(1_000, "/ping").await;
    let refused = ann.get("/ping").await;
    let reset = told(&refused).reset.expect("a reset");
    let expected = serde_json::json!({
        "success": false,
        "error": "Rate limit exceeded",
        "limit": 1_000,
        "remaining": 0,
        "resetTime": reset,
    });
    assert_eq!((refused.status(), refused.json()), (429, expected));
    assert_eq!((told(&refused).limit, told(&refused).remaining), (Some(1_000), Some(0)));
}

/// "Certain endpoints may enforce additional, endpoint-specific rate limits. These limits are intentionally not publicly disclosed and
/// apply only to the affected endpoints."
#[tokio::test]
async fn an_endpoint_has_an_undisclosed_limit() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(&server);
    let mut ann = user("ann-1", 1, &proxy).await;
    for number in 1..=10 {
        let answer = ann.post(LAUNCH).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(told(&answer).remaining, Some(1_000 - number), "of the disclosed limit");
    }
    let refused = ann.post(LAUNCH).await;
    assert_eq!(refused.status(), 429);
    assert!(tells_nothing(&refused), "{:?}", refused.head);
    assert!((1..=61).contains(&retry_after(&refused)));
    let expected = serde_json::json!({
        "success": false, "error": "Rate limit exceeded", "limit": null, "remaining": null, "resetTime": null,
    });
    assert_eq!(refused.json(), expected);
    for spelling in [
        "/api/v1/token-launch//create",
        "/API/v1/Token-Launch/create",
        "/api/v1/token%2Dlaunch/create",
    ] {
        assert_eq!(ann.post(spelling).await.status(), 429, "{spelling}");
    }
    // Only the affected endpoint and its method are limited, and the refused request was not charged.
    assert_eq!(told(&ann.get(LAUNCH).await).remaining, Some(989));
    assert_eq!(told(&ann.post("/ping").await).remaining, Some(988));
    clock_control.advance(MINUTE.saturating_mul(2));
    assert_eq!(ann.post(LAUNCH).await.status(), 200);
}

/// "If you need to increase your rate limit, please contact us."
#[tokio::test]
async fn a_raise_on_request() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    let account = r#"{ "name": "cat", "tier": "user", "limits": { "hourly": 1500 } }"#;
    assert_eq!(proxy.operator("POST", "/accounts", account).await.status(), 201);
    let key = proxy.operator("POST", "/accounts/cat/keys", "{}").await.json();
    let key = key["key"].as_str().expect("a key");
    let mut cat = user(key, 1, &proxy).await;
    let last = cat.passes(1_000, "/ping").await;
    assert_eq!(
        (told(&last).limit, told(&last).remaining),
        (Some(1_000), Some(0)),
        "the address's"
    );
    assert_eq!(
        cat.get("/ping").await.status(),
        429,
        "the address's limit was not raised"
    );
    let mut elsewhere = user(key, 2, &proxy).await;
    elsewhere.passes(1, "/ping").await;
    let lifts = r#"{ "limits": { "hourly": { "limit": 1500, "lifts": "network" } } }"#;
    assert_eq!(proxy.operator("PATCH", "/accounts/cat", lifts).await.status(), 200);
    let last = cat.passes(499, "/ping").await;
    assert_eq!((told(&last).limit, told(&last).remaining), (Some(1_500), Some(0)));
    assert_eq!(cat.get("/ping").await.status(), 429);
}
