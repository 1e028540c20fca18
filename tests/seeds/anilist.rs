//! AniList, "Rate Limiting", sentence by sentence, as far as a machine can check it.

use tiergate::clock::ClockControl;
use tiergate::policy::time::{Span, UnixTime};

use super::visitor::{Told, Visitor, is_about, retry_after, tells_nothing, told};
use crate::support::fast::FastServer;
use crate::support::{Answer, Proxy};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
/// Long enough for the burst limiter.
const PAUSE: Span = Span::from_millis(100);

fn degraded(server: &FastServer) -> (Proxy, &'static ClockControl) {
    Proxy::start_preset("anilist", str::to_owned, &[("graphql", server.address)], NOON)
}

/// "The AniList API has a rate limit of 90 requests per minute": without the warning that stands above it.
fn normal(server: &FastServer) -> (Proxy, &'static ClockControl) {
    let restored = |text: &str| text.replace(" degraded: 30,", "");
    Proxy::start_preset("anilist", restored, &[("graphql", server.address)], NOON)
}

/// So many queries, one after the other, none of which has more headers than the document's sample; returns the last
/// answer.
async fn query(visitor: &mut Visitor, clock_control: &ClockControl, times: u64) -> Answer {
    let mut last = ask(visitor).await;
    for number in 1..times {
        assert_eq!(last.status(), 200, "number {number}: {}", last.text());
        tells_of_no_wait(&last);
        clock_control.advance(PAUSE);
        last = ask(visitor).await;
    }
    last
}

/// One query. Whatever its result, only `X-RateLimit` headers mention limits.
async fn ask(visitor: &mut Visitor) -> Answer {
    let answer = visitor.post("/").await;
    for name in ["ratelimit", "ratelimit-policy"] {
        assert_eq!(answer.get(name), None);
    }
    answer
}

#[track_caller]
fn tells_of_no_wait(answer: &Answer) {
    for name in ["retry-after", "x-ratelimit-reset"] {
        assert_eq!(answer.get(name), None);
    }
}

fn left(remaining: u64) -> Told {
    Told::new(90, remaining, None)
}

/// "When you make a request to the AniList API, you will recieve X-RateLimit-Limit and X-RateLimit-Remaining headers in the response",
/// and in the sample nothing else.
#[tokio::test]
async fn ninety_requests_a_minute() {
    let server = FastServer::start();
    let (proxy, clock_control) = normal(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    let first = ask(&mut visitor).await;
    assert_eq!((first.status(), told(&first)), (200, left(89)));
    tells_of_no_wait(&first);
    clock_control.advance(PAUSE);
    let last = query(&mut visitor, clock_control, 89).await;
    assert_eq!((last.status(), told(&last)), (200, left(0)));
    tells_of_no_wait(&last);
    clock_control.advance(PAUSE);
    assert_eq!(ask(&mut visitor).await.status(), 429);
    assert_eq!(server.requests(), 90);
    assert_eq!(
        Visitor::at(2, &proxy).await.post("/").await.status(),
        200,
        "another caller"
    );
}

/// "The API is currently in a degraded state and is limited to 30 requests per minute. […] This is not currently reflected in the
/// headers. You will notice rate limiting at an X-RateLimit-Remaining value of 60 once you have exceeded the available 30 requests per
/// minute."
#[tokio::test]
async fn thirty_are_admitted_while_degraded() {
    let server = FastServer::start();
    let (proxy, clock_control) = degraded(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    let last = query(&mut visitor, clock_control, 30).await;
    assert_eq!((last.status(), told(&last)), (200, left(60)));
    clock_control.advance(PAUSE);
    let refused = ask(&mut visitor).await;
    assert_eq!((refused.status(), retry_after(&refused)), (429, 60));
    let reset = told(&refused).reset.expect("a reset");
    assert!(is_about(reset, NOON, 3 + 60), "{reset}");
    let expected = Told::new(90, 0, reset);
    assert_eq!(told(&refused), expected);
    clock_control.advance(Span::from_secs(20));
    let further = ask(&mut visitor).await;
    assert_eq!((further.status(), told(&further)), (429, expected));
    assert!((30..=40).contains(&retry_after(&further)), "{}", retry_after(&further));
    assert_eq!(server.requests(), 30);
    clock_control.advance(Span::from_secs(retry_after(&further)));
    let after = ask(&mut visitor).await;
    assert_eq!((after.status(), told(&after)), (200, left(89)));
    tells_of_no_wait(&after);
}

/// "If you exceed the rate limit, you will recieve a 1 minute timeout. Any further requests in this timeout period will also include
/// the Retry-After and X-RateLimit-Reset headers in the response. Retry-After is the number of seconds you should wait before making
/// another request. X-RateLimit-Reset contains the Unix timestamp of when you can make another request."
#[tokio::test]
async fn a_timeout_of_a_minute() {
    let server = FastServer::start();
    let (proxy, clock_control) = normal(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    query(&mut visitor, clock_control, 90).await;
    // The minute of the 90 is over soon, but a caller that exceeds them waits a whole one.
    clock_control.advance(Span::from_secs(45));
    let first = visitor.post("/").await;
    assert_eq!((first.status(), retry_after(&first)), (429, 60));
    let reset = told(&first).reset.expect("a reset");
    assert!(is_about(reset, NOON, 45 + 9 + 60), "{reset}");
    let expected = Told::new(90, 0, reset);
    let mut wait = 60;
    // The last one a few seconds before that moment, as the test takes some time itself.
    for seconds in [1, 29, 25] {
        clock_control.advance(Span::from_secs(seconds));
        let further = ask(&mut visitor).await;
        assert_eq!(
            (further.status(), told(&further)),
            (429, expected),
            "it doesn't get longer"
        );
        assert!(
            (1..=wait - seconds).contains(&retry_after(&further)),
            "{}",
            retry_after(&further)
        );
        wait = retry_after(&further);
    }
    clock_control.advance(Span::from_secs(wait));
    let after = ask(&mut visitor).await;
    assert_eq!((after.status(), told(&after)), (200, left(89)));
    tells_of_no_wait(&after);
    assert_eq!(server.requests(), 91);
}

/// "Along with the 429 error code, you will recieve a GraphQL error message".
#[tokio::test]
async fn the_refusal_is_a_graphql_error() {
    let server = FastServer::start();
    let (proxy, clock_control) = degraded(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    query(&mut visitor, clock_control, 30).await;
    clock_control.advance(PAUSE);
    let refused = visitor.post("/").await;
    let expected = serde_json::json!({
        "data": null,
        "errors": [{ "message": "Too Many Requests.", "status": 429 }],
    });
    assert_eq!(refused.json(), expected);
    assert_eq!(refused.head.get("content-type"), Some("application/json"));
}

/// "On top of the above rate limiting, we also have a burst limiter. This limiter is designed to stop you from
/// hammering the API with too many requests in a very short period of time." No header mentions it.
#[tokio::test]
async fn bursts_are_limited_without_any_headers() {
    let server = FastServer::start();
    let (proxy, clock_control) = normal(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    let mut let_through = 0;
    let refused = loop {
        let answer = visitor.post("/").await;
        if answer.status() != 200 {
            break answer;
        }
        let_through += 1;
    };
    // Meanwhile one more became free every 50 ms.
    assert!((20..90).contains(&let_through), "{let_through}");
    assert_eq!((refused.status(), retry_after(&refused)), (429, 1));
    assert!(tells_nothing(&refused), "{:?}", refused.head);
    assert_eq!(refused.json()["errors"][0]["status"], 429);
    clock_control.advance(Span::from_secs(1));
    let after = visitor.post("/").await;
    assert_eq!(
        (after.status(), told(&after)),
        (200, left(90 - let_through - 1)),
        "no timeout, and not charged"
    );
}

/// "For applications running on a server, the current rate limit may be too restrictive […]. If this is the case, you may request a
/// manual rate limit raise."
#[tokio::test]
async fn a_raise_on_request() {
    let server = FastServer::start();
    let (proxy, clock_control) = degraded(&server);
    let raise = r#"{ "limits": { "anilist": 300 }, "note": "asked by mail" }"#;
    assert_eq!(
        proxy.operator("PATCH", "/networks/127.0.0.5", raise).await.status(),
        200
    );
    let mut visitor = Visitor::at(5, &proxy).await;
    has_three_hundred(&mut visitor, clock_control).await;
    let mut other = Visitor::at(6, &proxy).await;
    assert_eq!(told(&ask(&mut other).await), left(89), "that of others is unchanged");
}

async fn has_three_hundred(visitor: &mut Visitor, clock_control: &ClockControl) {
    let last = query(visitor, clock_control, 300).await;
    let (limit, remaining) = (told(&last).limit, told(&last).remaining);
    assert_eq!((last.status(), limit, remaining), (200, Some(300), Some(0)));
    clock_control.advance(PAUSE);
    let refused = ask(visitor).await;
    assert_eq!((refused.status(), retry_after(&refused)), (429, 60));
}

/// "Your AniList username": of an account, by the key that it sends from its server.
#[tokio::test]
async fn a_raise_of_an_account_on_request() {
    let server = FastServer::start();
    let (proxy, clock_control) = degraded(&server);
    let account = r#"{ "name": "bot", "tier": "everybody", "limits": { "anilist": 300 } }"#;
    assert_eq!(proxy.operator("POST", "/accounts", account).await.status(), 201);
    let made = proxy.operator("POST", "/accounts/bot/keys", "{}").await.json();
    let key = made["key"].as_str().expect("a key");
    let mut bot = Visitor::at(1, &proxy).await.with_key("x-api-key", key);
    has_three_hundred(&mut bot, clock_control).await;
    let mut without = Visitor::at(2, &proxy).await;
    assert_eq!(
        query(&mut without, clock_control, 31).await.status(),
        429,
        "without its key it is anonymous"
    );
}
