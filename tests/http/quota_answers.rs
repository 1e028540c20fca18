//! What callers learn of their quotas: `/me`, the refusal, and when a unit comes back (rules §5).

use serde_json::json;
use tiergate::policy::time::{Span, UnixTime};

use super::accounting::{ask, field, me, search, with_key};
use super::quotas::{CLOSE, asking, before};
use crate::support::fast::FastServer;
use crate::support::{Plan, Proxy, UpstreamServer};

#[tokio::test]
async fn me_shows_what_is_used_held_and_left() {
    let server = UpstreamServer::start().await;
    let tier = "concurrency: 4, quotas: { daily: { limit: 10, rolling: 24h }, month: { limit: 50, calendar: month } }";
    let noon = UnixTime::from_secs(1_800_014_400);
    let (proxy, clock_control) = Proxy::start_at(
        noon,
        &Plan {
            tier,
            ..before(&server)
        }
        .yaml(),
    );
    let fresh = json!({
        "id": "p5", "tier": "p5", "priority": 5, "concurrency": 4, "quota": 10, "quotaUsed": 0,
        "quotaReset": null,
        "quotas": [
            { "name": "daily", "limit": 10, "used": 0, "held": 0, "remaining": 10, "window": "rolling 24h",
              "next_reset": null, "next_free": null },
            { "name": "month", "limit": 50, "used": 0, "held": 0, "remaining": 50, "window": "month UTC",
              "next_reset": null, "next_free": null },
        ],
        "running": 0, "waiting": 0, "uploading": 0,
    });
    assert_eq!(me(&proxy, "p5").await, fresh);
    let anonymous = me(&proxy, "").await;
    assert_eq!(
        (&anonymous["id"], &anonymous["tier"]),
        (&"127.0.0.1".into(), &"p0".into())
    );

    // One search is charged, another a quarter of an hour later; then one runs and two are queued.
    let mut first = asking(&proxy, "GET").await;
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    clock_control.advance(Span::from_secs(900));
    let mut second = asking(&proxy, "GET").await;
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(second.answer().await.status(), 200);
    let _running = asking(&proxy, "GET").await;
    let _arrived = server.request().await;
    let _waiting = [asking(&proxy, "GET").await, asking(&proxy, "GET").await];
    proxy.jobs_until(2, 1).await;
    let busy = json!({
        "id": "p5", "tier": "p5", "priority": 5, "concurrency": 4, "quota": 10, "quotaUsed": 2,
        "quotaReset": "2027-01-16T12:16:00Z",
        "quotas": [
            { "name": "daily", "limit": 10, "used": 2, "held": 3, "remaining": 5, "window": "rolling 24h",
              "next_reset": "2027-01-16T12:16:00Z", "next_free": "2027-01-16T12:01:00Z" },
            { "name": "month", "limit": 50, "used": 2, "held": 3, "remaining": 45, "window": "month UTC",
              "next_reset": "2027-02-01T00:00:00Z", "next_free": "2027-02-01T00:00:00Z" },
        ],
        "running": 1, "waiting": 2, "uploading": 0,
    });
    assert_eq!(me(&proxy, "p5").await, busy);
    assert_eq!(me(&proxy, "p4").await["quotas"], fresh["quotas"], "others are not told");
}

/// Refused until shortly before `Retry-After` has passed, admitted once it has.
#[tokio::test]
async fn a_unit_comes_back_when_retry_after_says() {
    for (window, earliest, latest) in [
        // The first of the two was charged at twelve.
        ("rolling: 24h", 82_800, 82_860),
        ("rolling: 2h", 3_600, 3_605),
        ("calendar: day", 39_600, 39_600),
        ("calendar: day, zone: Asia/Tokyo", 7_200, 7_200),
        ("calendar: month", 16 * 86_400 + 39_600, 16 * 86_400 + 39_600),
    ] {
        let server = FastServer::start();
        let tier = format!("concurrency: 64, quota: {{ limit: 2, {window} }}");
        let noon = UnixTime::from_secs(1_800_014_400);
        let plan = Plan {
            servers: &[(server.address, 1)],
            tier: &tier,
            ..Plan::default()
        };
        let (proxy, clock_control) = Proxy::start_at(noon, &plan.yaml());
        for _ in 0..2 {
            assert_eq!(search(&proxy, "p5").await.status(), 200);
            clock_control.advance(Span::from_secs(1_800));
        }
        let answer = search(&proxy, "p5").await;
        answer.assert_refused(402, "quota_depleted");
        let after: u64 = answer.get("retry-after").expect("a time").parse().expect("seconds");
        assert_eq!(answer.json()["retry_after"], after);
        // The clock runs while the test does.
        assert!((earliest - 10..=latest).contains(&after), "{window}: {after}");
        clock_control.advance(Span::from_secs(after - 10));
        search(&proxy, "p5").await.assert_refused(402, "quota_depleted");
        clock_control.advance(Span::from_secs(10));
        assert_eq!(search(&proxy, "p5").await.status(), 200, "{window}");
        let again = search(&proxy, "p5").await.status();
        // A calendar window is reset at once; a rolling one gives back what has left it.
        let expected = if window.starts_with("calendar") { 200 } else { 402 };
        assert_eq!(again, expected, "{window}");
    }
}

/// Checks that p5's search is refused by this quota with a problem document that agrees with the headers. Returns the
/// seconds of `Retry-After`.
async fn refused_by(proxy: &Proxy, name: &str, limit: u64) -> u64 {
    let answer = ask(
        proxy,
        "/search",
        &format!("{}accept: application/problem+json\r\n", with_key("p5")),
    )
    .await;
    assert_eq!(
        (answer.status(), answer.get("content-type")),
        (402, Some("application/problem+json"))
    );
    let json = answer.json();
    let kind = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    assert_eq!((&json["type"], &json["status"]), (&kind.into(), &402.into()));
    assert_eq!(
        (&json["title"], &json["error"]),
        (&"Search quota depleted".into(), &"Search quota depleted".into())
    );
    assert_eq!(
        (&json["reason"], &json["name"]),
        (&"quota_depleted".into(), &name.into())
    );
    assert_eq!((&json["limit"], &json["used"]), (&limit.into(), &limit.into()));
    assert_eq!((&json["tier"], &json["priority"]), (&"p5".into(), &5.into()));
    assert_eq!(json["violated-policies"], json!([name]));
    let state = field(&answer.head, "ratelimit");
    assert_eq!(state[name]["r"], 0);
    let after: u64 = answer.get("retry-after").expect("a time").parse().expect("seconds");
    assert_eq!(json["retry_after"], after);
    assert!(after >= state[name]["t"].as_u64().expect("a time"), "{after} {state}");
    after
}

#[tokio::test]
async fn all_quotas_must_have_room_the_tightest_is_shown() {
    let server = FastServer::start();
    let tier = "concurrency: 64, quotas: { hourly: { limit: 3, rolling: 1h }, daily: { limit: 5, rolling: 24h }, \
        monthly: { limit: 6, calendar: month } }";
    let plan = Plan {
        servers: &[(server.address, 1)],
        tier,
        ..Plan::default()
    };
    let (proxy, clock_control) = Proxy::start_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
    let shown = async || {
        let me = me(&proxy, "p5").await;
        (me["quota"].as_u64(), me["quotaUsed"].as_u64())
    };
    assert_eq!(shown().await, (Some(3), Some(0)));
    for _ in 0..3 {
        assert_eq!(search(&proxy, "p5").await.status(), 200);
    }
    assert_eq!(shown().await, (Some(3), Some(3)));
    let after = refused_by(&proxy, "hourly", 3).await;
    clock_control.advance(Span::from_secs(after));
    assert_eq!(shown().await, (Some(5), Some(3)), "2 are left of the daily quota");
    for _ in 0..2 {
        assert_eq!(search(&proxy, "p5").await.status(), 200);
    }
    let after = refused_by(&proxy, "daily", 5).await;
    assert!(after > 80_000, "{after}");
    clock_control.advance(Span::from_secs(after));
    assert_eq!(shown().await, (Some(6), Some(5)));
    assert_eq!(search(&proxy, "p5").await.status(), 200);
    refused_by(&proxy, "monthly", 6).await;
}

/// Regression: with two exhausted quotas, `quotaUsed` was that of the first and the refusal named the other; and
/// `next_reset` of an unused month said when the month ends, while that of unused days was null.
#[tokio::test]
async fn me_shows_the_refusing_quota_in_its_top_members() {
    let server = FastServer::start();
    let quotas = [
        "hourly: { limit: 1, rolling: 1h }",
        "daily: { limit: 2, rolling: 24h }",
        "monthly: { limit: 2, calendar: month }",
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let tier = format!(
            "concurrency: 64, quotas: {{ {} }}",
            order.map(|at| quotas[at]).join(", ")
        );
        let plan = Plan {
            servers: &[(server.address, 1)],
            tier: &tier,
            ..Plan::default()
        };
        let (proxy, clock_control) = Proxy::start_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
        let top = async |limit: u64, used: u64, name: &str| {
            let me = me(&proxy, "p5").await;
            let lines = me["quotas"].as_array().expect("quotas");
            let line = lines
                .iter()
                .find(|line| line["name"] == name)
                .expect("one of that name");
            assert_eq!((&line["limit"], &line["used"]), (&limit.into(), &used.into()), "{me}");
            assert_eq!((&me["quota"], &me["quotaUsed"]), (&limit.into(), &used.into()), "{me}");
            assert_eq!(me["quotaReset"], line["next_reset"], "{me}");
            assert_eq!(used == 0, line["next_reset"].is_null(), "{me}");
        };
        top(1, 0, "hourly").await;
        assert_eq!(search(&proxy, "p5").await.status(), 200);
        top(1, 1, "hourly").await;
        clock_control.advance(Span::from_secs(3_700));
        assert_eq!(search(&proxy, "p5").await.status(), 200);
        let refused = search(&proxy, "p5").await;
        assert_eq!(refused.json()["name"], "monthly", "{tier}");
        top(2, 2, "monthly").await;
    }
}

/// A caller that retries when told to is not refused by another quota.
#[tokio::test]
async fn the_refusal_names_the_quota_that_recovers_last() {
    let server = FastServer::start();
    for tier in [
        "concurrency: 64, quotas: { hourly: { limit: 1, rolling: 1h }, daily: { limit: 1, rolling: 24h } }",
        "concurrency: 64, quotas: { daily: { limit: 1, rolling: 24h }, hourly: { limit: 1, rolling: 1h } }",
    ] {
        let plan = Plan {
            servers: &[(server.address, 1)],
            tier,
            ..Plan::default()
        };
        let (proxy, clock_control) = Proxy::start_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
        assert_eq!(search(&proxy, "p5").await.status(), 200);
        let refused = search(&proxy, "p5").await;
        refused.assert_refused(402, "quota_depleted");
        assert_eq!(refused.json()["name"], "daily", "{tier}");
        let after: u64 = refused.get("retry-after").expect("a time").parse().expect("seconds");
        let state = field(&refused.head, "ratelimit");
        for name in ["hourly", "daily"] {
            assert!(after >= state[name]["t"].as_u64().expect("a time"), "{after} {state}");
        }
        clock_control.advance(Span::from_secs(after));
        assert_eq!(search(&proxy, "p5").await.status(), 200, "{tier}");
    }
}
