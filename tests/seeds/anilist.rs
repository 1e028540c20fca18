//! AniList, "Rate Limiting", sentence by sentence, as far as a machine can check it.

use tiergate::clock::Hands;
use tiergate::policy::time::{Span, UnixTime};

use super::visitor::{Told, Visitor, is_about, retry_after, tells_nothing, told};
use crate::support::fast::FastWorker;
use crate::support::{Answer, Door};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
/// Long enough for the limiter of bursts.
const PAUSE: Span = Span::from_millis(100);

fn degraded(worker: &FastWorker) -> (Door, &'static Hands) {
    Door::open_preset("anilist", str::to_owned, &[("graphql", worker.address)], NOON)
}

/// "The AniList API has a rate limit of 90 requests per minute": without the warning that stands above it.
fn normal(worker: &FastWorker) -> (Door, &'static Hands) {
    let restored = |text: &str| text.replace(" degraded: 30,", "");
    Door::open_preset("anilist", restored, &[("graphql", worker.address)], NOON)
}

/// So many queries, one after the other; the last answer.
async fn query(visitor: &mut Visitor, hands: &Hands, times: u64) -> Answer {
    for number in 1..times {
        let answer = visitor.post("/").await;
        assert_eq!(answer.status(), 200, "number {number}: {}", answer.text());
        hands.advance(PAUSE);
    }
    visitor.post("/").await
}

fn left(remaining: u64) -> Told {
    Told {
        limit: Some(90),
        remaining: Some(remaining),
        reset: None,
    }
}

/// "When you make a request to the AniList API, you will recieve X-RateLimit-Limit and X-RateLimit-Remaining headers in the response",
/// and in the sample nothing else.
#[tokio::test]
async fn ninety_requests_a_minute() {
    let worker = FastWorker::start();
    let (door, hands) = normal(&worker);
    let mut visitor = Visitor::at(1, &door).await;
    let first = visitor.post("/").await;
    assert_eq!((first.status(), told(&first)), (200, left(89)));
    assert_eq!(first.head.get("retry-after"), None);
    assert_eq!(first.head.get("ratelimit"), None, "only X-RateLimit headers");
    hands.advance(PAUSE);
    let last = query(&mut visitor, hands, 89).await;
    assert_eq!((last.status(), told(&last)), (200, left(0)));
    hands.advance(PAUSE);
    assert_eq!(visitor.post("/").await.status(), 429);
    assert_eq!(worker.requests(), 90);
    assert_eq!(
        Visitor::at(2, &door).await.post("/").await.status(),
        200,
        "somebody else"
    );
}

/// "The API is currently in a degraded state and is limited to 30 requests per minute. […] This is not currently reflected in the
/// headers. You will notice rate limiting at an X-RateLimit-Remaining value of 60 once you have exceeded the available 30 requests per
/// minute."
#[tokio::test]
async fn thirty_are_let_through_while_it_is_degraded() {
    let worker = FastWorker::start();
    let (door, hands) = degraded(&worker);
    let mut visitor = Visitor::at(1, &door).await;
    let last = query(&mut visitor, hands, 30).await;
    assert_eq!((last.status(), told(&last)), (200, left(60)));
    hands.advance(PAUSE);
    let refused = visitor.post("/").await;
    assert_eq!(refused.status(), 429);
    assert_eq!((told(&refused).limit, told(&refused).remaining), (Some(90), Some(0)));
    assert_eq!(worker.requests(), 30);
}

/// "If you exceed the rate limit, you will recieve a 1 minute timeout. Any further requests in this timeout period will also include
/// the Retry-After and X-RateLimit-Reset headers in the response. Retry-After is the number of seconds you should wait before making
/// another request. X-RateLimit-Reset contains the Unix timestamp of when you can make another request."
#[tokio::test]
async fn a_timeout_of_a_minute() {
    let worker = FastWorker::start();
    let (door, hands) = normal(&worker);
    let mut visitor = Visitor::at(1, &door).await;
    query(&mut visitor, hands, 90).await;
    // The minute of the 90 is over soon, but who exceeds them waits a whole one.
    hands.advance(Span::from_secs(45));
    let first = visitor.post("/").await;
    assert_eq!((first.status(), retry_after(&first)), (429, 60));
    let reset = told(&first).reset.expect("a reset");
    assert!(is_about(reset, NOON, 45 + 9 + 60), "{reset}");
    hands.advance(Span::from_secs(30));
    let second = visitor.post("/").await;
    assert_eq!(second.status(), 429);
    assert!((20..=30).contains(&retry_after(&second)), "{}", retry_after(&second));
    let expected = Told {
        limit: Some(90),
        remaining: Some(0),
        reset: Some(reset),
    };
    assert_eq!(told(&second), expected, "further requests don't make it longer");
    hands.advance(Span::from_secs(retry_after(&second)));
    let after = visitor.post("/").await;
    assert_eq!((after.status(), told(&after)), (200, left(89)));
    assert_eq!(after.head.get("retry-after"), None);
}

/// "Along with the 429 error code, you will recieve a GraphQL error message".
#[tokio::test]
async fn an_error_as_graphql_has_it() {
    let worker = FastWorker::start();
    let (door, hands) = degraded(&worker);
    let mut visitor = Visitor::at(1, &door).await;
    query(&mut visitor, hands, 30).await;
    hands.advance(PAUSE);
    let refused = visitor.post("/").await;
    let expected = serde_json::json!({
        "data": null,
        "errors": [{ "message": "Too Many Requests.", "status": 429 }],
    });
    assert_eq!(refused.json(), expected);
    assert_eq!(refused.head.get("content-type"), Some("application/json"));
}

/// "On top of the above rate limiting, we also have a burst limiter. This limiter is designed to stop you from hammering the API with
/// too many requests in a very short period of time." Nothing is told of it.
#[tokio::test]
async fn bursts_are_limited_and_nothing_is_told_of_that() {
    let worker = FastWorker::start();
    let (door, hands) = normal(&worker);
    let mut visitor = Visitor::at(1, &door).await;
    let mut let_through = 0;
    let refused = loop {
        let answer = visitor.post("/").await;
        if answer.status() != 200 {
            break answer;
        }
        let_through += 1;
    };
    // While they were sent, one more became free every 50 ms.
    assert!((20..90).contains(&let_through), "{let_through}");
    assert_eq!((refused.status(), retry_after(&refused)), (429, 1));
    assert!(tells_nothing(&refused), "{:?}", refused.head);
    assert_eq!(refused.json()["errors"][0]["status"], 429);
    hands.advance(Span::from_secs(1));
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
    let worker = FastWorker::start();
    let (door, hands) = degraded(&worker);
    let raise = r#"{ "limits": { "anilist": 300 }, "note": "asked by mail" }"#;
    assert_eq!(door.operator("PATCH", "/networks/127.0.0.5", raise).await.status(), 200);
    let mut visitor = Visitor::at(5, &door).await;
    let last = query(&mut visitor, hands, 300).await;
    assert_eq!(
        (last.status(), told(&last).limit, told(&last).remaining),
        (200, Some(300), Some(0))
    );
    hands.advance(PAUSE);
    assert_eq!(visitor.post("/").await.status(), 429);
}
