//! amvstrm, "API Usage", sentence by sentence, as far as a machine can check it.

use tiergate::policy::time::{Span, UnixTime};

use super::visitor::{Told, Visitor, is_about, retry_after, told};
use crate::support::Proxy;
use crate::support::fast::FastServer;

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

fn open(server: &FastServer) -> (Proxy, &'static tiergate::clock::ClockControl) {
    Proxy::start_preset("amvstrm", str::to_owned, &[("api", server.address)], NOON)
}

/// "Sending more than 60 requests per minute" is misuse. "All of our endpoints are `60 requests per minute`": they count together.
#[tokio::test]
async fn sixty_requests_a_minute_to_all_endpoints_together() {
    let server = FastServer::start();
    let (proxy, _) = open(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    visitor.passes(30, "/api/v2/info/1").await;
    visitor.passes(29, "/api/v2/stream/2").await;
    visitor.passes(1, "/").await;
    for path in ["/", "/api/v2/info/1", "/api/v2/other"] {
        assert_eq!(visitor.get(path).await.status(), 429, "{path}");
    }
    assert_eq!(server.requests(), 60);
    assert_eq!(
        Visitor::at(2, &proxy).await.get("/").await.status(),
        200,
        "another caller"
    );
}

/// "The API will send the following headers in response to each request: `X-RateLimit-Limit`: The maximum number of requests allowed
/// per minute. `X-RateLimit-Remaining`: The number of requests remaining for the current minute. `X-RateLimit-Reset`: The time at which
/// the rate limit will reset, in Unix timestamp format." The sample's limit of 300 contradicts the rule.
#[tokio::test]
async fn every_answer_states_the_limit_of_a_minute() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    let first = told(&visitor.get("/").await);
    let reset = first.reset.expect("a reset");
    assert!(is_about(reset, NOON, 60), "{reset}");
    for remaining in (0..59).rev() {
        let status = if remaining % 2 == 0 { "/x?status=500" } else { "/x" };
        let left = told(&visitor.get(status).await);
        let expected = Told::new(60, remaining, reset);
        assert_eq!(left, expected);
    }
    let refused = told(&visitor.get("/").await);
    assert_eq!(
        (refused.limit, refused.remaining, refused.reset),
        (Some(60), Some(0), Some(reset))
    );
    clock_control.advance(Span::from_secs(60));
    assert_eq!(told(&visitor.get("/").await).remaining, Some(59), "another minute");
}

/// "If a user exceeds the rate limit or misuses the API, the API will return an error message with the appropriate status code and
/// message. The message will indicate that the user has exceeded the rate limit […] and must stop doing so." And "use a backoff
/// strategy when receiving an error response".
#[tokio::test]
async fn the_refusal_says_to_stop_and_when_to_come_back() {
    let server = FastServer::start();
    let (proxy, clock_control) = open(&server);
    let mut visitor = Visitor::at(1, &proxy).await;
    visitor.passes(60, "/").await;
    clock_control.advance(Span::from_secs(20));
    let refused = visitor.get("/").await;
    assert_eq!((refused.status(), &refused.json()["code"]), (429, &429.into()));
    assert_eq!(refused.head.get("content-type"), Some("application/json"));
    let message = refused.json()["message"]
        .as_str()
        .map(str::to_owned)
        .expect("a message");
    assert!(
        message.contains("exceeded the rate limit") && message.contains("Stop"),
        "{message}"
    );
    let wait = retry_after(&refused);
    assert!((20..=40).contains(&wait), "{wait}");
    assert!(message.contains(&format!("{wait} seconds")), "{message}");
    clock_control.advance(Span::from_secs(wait));
    assert_eq!(visitor.get("/").await.status(), 200);
}

/// "If we detect any spamming or misuse of the API, we reserve the right to block access to the API without notice."
#[tokio::test]
async fn misuse_is_blocked_without_notice() {
    let server = FastServer::start();
    let listed = |text: &str| text.replace("blocked_networks: []", "blocked_networks: [127.0.0.7]");
    let (proxy, clock_control) = Proxy::start_preset("amvstrm", listed, &[("api", server.address)], NOON);
    let mut other = Visitor::at(8, &proxy).await;
    other.passes(1, "/").await;
    let block = r#"{ "block": { "for": "7d", "why": "scraping" } }"#;
    assert_eq!(
        proxy.operator("PATCH", "/networks/127.0.0.8", block).await.status(),
        200
    );
    for mut visitor in [Visitor::at(7, &proxy).await, other] {
        let blocked = visitor.get("/").await;
        assert_eq!((blocked.status(), &blocked.json()["code"]), (403, &403.into()));
        let message = blocked.json()["message"]
            .as_str()
            .map(str::to_owned)
            .expect("a message");
        assert!(message.contains("misused") && message.contains("Stop"), "{message}");
    }
    assert_eq!(Visitor::at(9, &proxy).await.get("/").await.status(), 200);
    clock_control.advance(Span::from_secs(7 * 86_400));
    assert_eq!(
        Visitor::at(8, &proxy).await.get("/").await.status(),
        200,
        "a week later"
    );
    assert_eq!(
        Visitor::at(7, &proxy).await.get("/").await.status(),
        403,
        "in the file for good"
    );
}
