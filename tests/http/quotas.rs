//! What every end of a job does to its caller's quota (rules §5.3, §5.8, §6), what is refused for want of it (§2.4, §5.2),
//! and what `/me` says meanwhile.

use serde_json::json;
use tiergate::policy::time::{Span, UnixTime};

use super::books::{ask, assert_books, debits, field, me, releases, search, taken, with_key};
use crate::support::fast::FastWorker;
use crate::support::{Client, Door, Plan, Worker};

const TEN: &str = "concurrency: 64, quota: { limit: 10, rolling: 24h }";

/// A door before one worker with one slot, where every caller has ten units.
fn before(worker: &Worker) -> Plan<'static> {
    Plan {
        cores: 1,
        servers: Box::leak(Box::new([(worker.address, 1)])),
        tier: TEN,
        ..Plan::default()
    }
}

/// A request of p5's, on a connection of its own.
async fn asking(door: &Door, method: &str) -> Client {
    let mut client = Client::connect(door.address).await;
    client.request(method, "/search", &with_key("p5")).await;
    client
}

/// Lets the worker answer one search with these bytes and close its connection, and checks that the search holds its unit
/// until then.
async fn answered(door: &Door, worker: &Worker, method: &str, bytes: &str) -> std::io::Result<u16> {
    let (used, _) = taken(door, "p5").await;
    let mut client = asking(door, method).await;
    let mut arrived = worker.request().await;
    assert_eq!(taken(door, "p5").await, (used, 1), "{method} {bytes}");
    arrived.write(bytes.as_bytes()).await;
    drop(arrived);
    client.try_answer(method).await.map(|answer| answer.status())
}

#[tokio::test]
async fn a_success_is_charged_by_the_time_that_its_last_byte_is_there() {
    let worker = Worker::start().await;
    let door = before(&worker).open();
    let answers = [
        ("GET", "200 OK\r\ncontent-length: 4\r\n\r\nbody"),
        ("GET", "200 OK\r\ncontent-length: 0\r\n\r\n"),
        (
            "GET",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ),
        ("GET", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("GET", "200 OK\r\n\r\nuntil it closes"),
        ("HEAD", "200 OK\r\ncontent-length: 4000\r\n\r\n"),
        ("POST", "200 OK\r\ncontent-length: 4\r\n\r\nbody"),
    ];
    for (charged, (method, rest)) in (1..).zip(answers) {
        let status = answered(&door, &worker, method, &format!("HTTP/1.1 {rest}")).await;
        assert_eq!(status.expect("an answer"), 200, "{method} {rest}");
        assert_eq!(taken(&door, "p5").await, (charged, 0), "{method} {rest}");
    }
    assert_books(&door, "p5", 7, &[]).await;
}

/// The head is out while the answer is still on its way: the unit is held, and only then charged.
#[tokio::test]
async fn an_answer_on_its_way_holds_its_unit() {
    for chunked in [false, true] {
        let worker = Worker::start().await;
        let door = before(&worker).open();
        let mut client = asking(&door, "GET").await;
        let mut arrived = worker.request().await;
        let (begin, end) = if chunked {
            ("transfer-encoding: chunked\r\n\r\n2\r\n12\r\n", "0\r\n\r\n")
        } else {
            ("content-length: 3\r\n\r\n12", "3")
        };
        arrived.write(format!("HTTP/1.1 200 OK\r\n{begin}").as_bytes()).await;
        assert_eq!(client.answer_head().await.status(), 200);
        client.until_ends_with(if chunked { "12\r\n" } else { "12" }).await;
        assert_eq!(taken(&door, "p5").await, (0, 1));
        arrived.write(end.as_bytes()).await;
        client.until_ends_with(end).await;
        assert_eq!(taken(&door, "p5").await, (1, 0));
    }
}

/// So that the next request comes on another connection.
const CLOSE: &str = "connection: close\r\n";
const EMPTY: &str = "content-length: 0\r\n\r\n";

#[tokio::test]
async fn only_200_is_charged_unless_the_route_says_otherwise() {
    for (route, success) in [
        ("max_body: 1MiB", vec![200]),
        ("success: [201, 202]", vec![201, 202]),
        ("success: [200, 204, 404]", vec![200, 204, 404]),
    ] {
        let worker = Worker::start().await;
        let door = Plan {
            route,
            ..before(&worker)
        }
        .open();
        let (mut charged, mut released) = (0, 0);
        for status in [200, 201, 202, 204, 206, 302, 304, 400, 402, 404, 429, 500, 503] {
            let length = if [204, 304].contains(&status) { "\r\n" } else { EMPTY };
            let bytes = format!("HTTP/1.1 {status} So\r\n{length}");
            assert_eq!(
                answered(&door, &worker, "GET", &bytes).await.expect("an answer"),
                status
            );
            if success.contains(&status) {
                charged += 1;
            } else {
                released += 1;
            }
            assert_eq!(taken(&door, "p5").await, (charged.into(), 0), "{status} with {route}");
        }
        assert_books(&door, "p5", charged, &[("failed", released)]).await;
    }
}

#[tokio::test]
async fn what_breaks_off_costs_nothing() {
    let broken = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "nothing of HTTP\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n123",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ];
    for bytes in broken {
        let worker = Worker::start().await;
        let door = before(&worker).open();
        // Whether the head was out before it broke off is chance: 502, or broken off as well.
        let status = answered(&door, &worker, "GET", bytes).await;
        assert_eq!(status.unwrap_or(502), 502, "{bytes}");
        assert_books(&door, "p5", 0, &[("failed", 1)]).await;
    }
}

#[tokio::test]
async fn a_worker_that_is_late_or_not_there_costs_nothing() {
    for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n123"] {
        let worker = Worker::start().await;
        let door = Plan {
            upstream: "timeout: 300ms",
            ..before(&worker)
        }
        .open();
        let mut client = asking(&door, "GET").await;
        let mut arrived = worker.request().await;
        arrived.write(bytes.as_bytes()).await;
        match client.try_answer("GET").await {
            Ok(answer) => answer.assert_refused(504, "upstream_timeout"),
            Err(_) => assert!(!bytes.is_empty()),
        }
        assert_books(&door, "p5", 0, &[("failed", 1)]).await;
    }
    let nobody = Worker::start().await;
    let door = before(&nobody).open();
    drop(nobody);
    search(&door, "p5").await.assert_refused(502, "upstream_unreachable");
    assert_books(&door, "p5", 0, &[("failed", 1)]).await;
}

#[tokio::test]
async fn whoever_leaves_its_seat_has_its_unit_back() {
    // By hanging up, whatever it had sent.
    let worker = Worker::start().await;
    let mut door = before(&worker).open();
    let mut running = Client::connect(door.address).await;
    running.search("p6").await;
    door.house_until(0, 1).await;
    for reset in [false, true] {
        for sent in [None, Some(10), Some(200_000)] {
            let mut client = Client::connect(door.address).await;
            match sent {
                None => client.search("p5").await,
                Some(bytes) => {
                    client.upload("p5", 2_000_000).await;
                    client.send(vec![0; bytes]).await;
                }
            }
            door.house_until(1, 1).await;
            assert_eq!(taken(&door, "p5").await, (0, 1));
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            door.house_until(0, 1).await;
            assert_eq!(taken(&door, "p5").await, (0, 0), "{reset} {sent:?}");
        }
    }
    door.metric_until(r#"tiergate_quota_releases_total{tier="p5",outcome="hung_up"}"#, 6.0)
        .await;
    // When the door closes.
    let mut waiting = asking(&door, "GET").await;
    door.house_until(1, 1).await;
    door.begin_closing();
    waiting.answer().await.assert_refused(503, "shutting_down");
    assert_eq!(releases(&door, "p5", "shut_down").await, 1.0);
    assert_eq!((releases(&door, "p5", "").await, debits(&door, "p5").await), (7.0, 0.0));
    drop(running);
}

#[tokio::test]
async fn whoever_waited_its_longest_has_its_unit_back() {
    let worker = Worker::start().await;
    let door = Plan {
        queue: "max_wait: 300ms",
        ..before(&worker)
    }
    .open();
    let mut running = Client::connect(door.address).await;
    running.search("p6").await;
    let mut arrived = worker.request().await;
    let mut waiting = asking(&door, "GET").await;
    let mut uploading = Client::connect(door.address).await;
    uploading.upload("p5", 100).await;
    uploading.send("begun").await;
    waiting.answer().await.assert_refused(503, "waited_too_long");
    uploading.answer().await.assert_refused(408, "request_timeout");
    assert_eq!(taken(&door, "p5").await, (0, 0));
    arrived.answer("{}").await;
    assert_eq!(running.answer().await.status(), 200);
    assert_books(&door, "p5", 0, &[("waited_out", 2)]).await;
}

/// What the route says, what the worker has sent when the client hangs up, what it sends then, and how that is counted.
const HANG_UPS: [(&str, &str, &str, &str); 8] = [
    (
        "finish",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "succeeded",
    ),
    (
        "finish",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12",
        "34",
        "succeeded",
    ),
    (
        "finish",
        "",
        "HTTP/1.1 404 No\r\ncontent-length: 4\r\n\r\nbody",
        "failed",
    ),
    ("finish", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12", "", "failed"),
    ("finish", "", "", "failed"),
    ("cancel", "", "", "cancelled"),
    (
        "cancel",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12",
        "34",
        "succeeded",
    ),
    (
        "cancel",
        "HTTP/1.1 404 No\r\ncontent-length: 4\r\n\r\n12",
        "",
        "cancelled",
    ),
];

#[tokio::test]
async fn a_hang_up_is_no_way_to_get_free_work_done() {
    for (on_hangup, before_it, after_it, end) in HANG_UPS {
        let worker = Worker::start().await;
        let door = Plan {
            route: &format!("on_hangup: {on_hangup}"),
            ..before(&worker)
        }
        .open();
        let mut client = asking(&door, "GET").await;
        let mut arrived = worker.request().await;
        if !before_it.is_empty() {
            arrived.write(before_it.as_bytes()).await;
            client.answer_head().await;
        }
        drop(client);
        if end == "cancelled" {
            arrived.until_closed().await;
        } else {
            assert_eq!(taken(&door, "p5").await, (0, 1), "it is held until the worker is done");
            arrived.write(after_it.as_bytes()).await;
            drop(arrived);
        }
        match end {
            "succeeded" => assert_books(&door, "p5", 1, &[]).await,
            other => assert_books(&door, "p5", 0, &[(other, 1)]).await,
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_complete_costs_nothing() {
    for success_is_out in [false, true] {
        let worker = Worker::start().await;
        let door = before(&worker).open();
        let mut client = Client::connect(door.address).await;
        client.upload("p5", 1 << 20).await;
        client.send(vec![0; 300 << 10]).await;
        let mut arrived = worker.request().await;
        assert_eq!(taken(&door, "p5").await, (0, 1));
        if success_is_out {
            arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await;
            assert_eq!(client.answer_head().await.status(), 200);
        }
        drop(client);
        arrived.until_closed().await;
        assert_books(&door, "p5", 0, &[("cancelled", 1)]).await;
    }
    // Too long: found out when it has a slot.
    let worker = Worker::start().await;
    let door = Plan {
        route: "max_body: 300KiB",
        ..before(&worker)
    }
    .open();
    let mut client = Client::connect(door.address).await;
    let headers = format!("{}transfer-encoding: chunked\r\n", with_key("p5"));
    client.request("POST", "/search", &headers).await;
    client.send(format!("{:x}\r\n", 400 << 10)).await;
    client.send(vec![0; 270 << 10]).await;
    let mut arrived = worker.request().await;
    assert_eq!(taken(&door, "p5").await, (0, 1));
    let (mut answers, mut writer) = client.into_halves();
    let more = vec![0; 130 << 10];
    let sent = tokio::io::AsyncWriteExt::write_all(&mut writer, &more);
    let (_sent, (), answer) = tokio::join!(sent, arrived.until_closed(), answers.answer());
    answer.assert_refused(413, "body_too_large");
    assert_books(&door, "p5", 0, &[("cancelled", 1)]).await;
}

#[tokio::test]
async fn quota_comes_before_concurrency_and_both_before_a_seat() {
    let worker = Worker::start().await;
    let door = Plan {
        seats: 1,
        servers: &[(worker.address, 1)],
        tier: "concurrency: 2, quota: { limit: 3, rolling: 24h }",
        ..before(&worker)
    }
    .open();
    // One of p5's runs and one waits: its concurrency is full, and so is the queue.
    let _running = asking(&door, "GET").await;
    door.house_until(0, 1).await;
    let _waiting = asking(&door, "GET").await;
    door.house_until(1, 1).await;
    search(&door, "p5").await.assert_refused(402, "concurrency_exceeded");
    search(&door, "p4").await.assert_refused(503, "queue_full");
    assert_eq!(taken(&door, "p5").await, (0, 2));
    assert_eq!(taken(&door, "p4").await, (0, 0));

    // With no quota left, that is what is said.
    let worker = FastWorker::start();
    let door = Plan {
        seats: 0,
        servers: &[(worker.address, 1)],
        tier: "concurrency: 1, quota: { limit: 1, rolling: 24h }",
        ..Plan::default()
    }
    .open();
    let mut uploading = Client::connect(door.address).await;
    uploading.request("POST", "/search", "content-length: 300000\r\n").await;
    uploading.send(vec![0; 270_000]).await;
    door.house_until(0, 1).await;
    search(&door, "").await.assert_refused(402, "quota_depleted");
    search(&door, "p5").await.assert_refused(503, "queue_full");
    drop(uploading);
    door.house_until(0, 0).await;
    assert_eq!(search(&door, "").await.status(), 200);
}

#[tokio::test]
async fn a_route_costs_what_it_says() {
    let worker = FastWorker::start();
    let more = "  - { path: /dear, upstream: search, metered: true, cost: 4 }\n  \
        - { path: /peek, upstream: search, metered: true, cost: 0 }\n  \
        - { path: /ruin, upstream: search, metered: true, cost: 11 }";
    let door = Plan {
        servers: &[(worker.address, 1)],
        tier: TEN,
        more,
        ..Plan::default()
    }
    .open();
    let key = with_key("p5");
    let never = ask(&door, "/ruin", &key).await;
    never.assert_refused(402, "quota_depleted");
    assert_eq!(never.get("retry-after"), None, "it would never pass");
    for charged in [4, 8] {
        assert_eq!(ask(&door, "/dear", &key).await.status(), 200);
        assert_eq!(taken(&door, "p5").await, (charged, 0));
    }
    let refused = ask(&door, "/dear", &key).await;
    refused.assert_refused(402, "quota_depleted");
    assert_eq!(
        (&refused.json()["limit"], &refused.json()["used"]),
        (&10.into(), &8.into())
    );
    assert_eq!(ask(&door, "/dear?status=500", &with_key("p4")).await.status(), 500);
    assert_eq!(releases(&door, "p4", "failed").await, 4.0);
    for _ in 0..2 {
        assert_eq!(search(&door, "p5").await.status(), 200);
    }
    search(&door, "p5").await.assert_refused(402, "quota_depleted");
    // A peek costs nothing, and is there for those who have nothing.
    for _ in 0..3 {
        assert_eq!(ask(&door, "/peek", &key).await.status(), 200);
    }
    assert_eq!((taken(&door, "p5").await, debits(&door, "p5").await), ((10, 0), 10.0));
}

#[tokio::test]
async fn a_limit_of_nothing_refuses_at_once_and_for_ever() {
    let worker = FastWorker::start();
    for window in ["rolling: 24h", "calendar: month"] {
        let tier = format!("concurrency: 64, quota: {{ limit: 0, {window} }}");
        let door = Plan {
            servers: &[(worker.address, 1)],
            tier: &tier,
            ..Plan::default()
        }
        .open();
        let answer = search(&door, "p5").await;
        answer.assert_refused(402, "quota_depleted");
        assert_eq!(answer.get("retry-after"), None);
        assert_eq!(answer.json()["retry_after"], json!(null));
        assert_eq!(taken(&door, "p5").await, (0, 0));
    }
    assert_eq!(worker.requests(), 0);
}

#[tokio::test]
async fn a_caller_learns_what_it_has() {
    let worker = Worker::start().await;
    let tier = "concurrency: 4, quotas: { daily: { limit: 10, rolling: 24h }, month: { limit: 50, calendar: month } }";
    let noon = UnixTime::from_secs(1_800_014_400);
    let (door, hands) = Door::open_at(
        noon,
        &Plan {
            tier,
            ..before(&worker)
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
        "running": 0, "waiting": 0,
    });
    assert_eq!(me(&door, "p5").await, fresh);
    let stranger = me(&door, "").await;
    assert_eq!(
        (&stranger["id"], &stranger["tier"]),
        (&"127.0.0.1".into(), &"p0".into())
    );

    // One is charged; a quarter of an hour later another; then one runs and two wait.
    let mut first = asking(&door, "GET").await;
    let mut arrived = worker.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    hands.advance(Span::from_secs(900));
    let mut second = asking(&door, "GET").await;
    let mut arrived = worker.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(second.answer().await.status(), 200);
    let _running = asking(&door, "GET").await;
    let _arrived = worker.request().await;
    let _waiting = [asking(&door, "GET").await, asking(&door, "GET").await];
    door.house_until(2, 1).await;
    let busy = json!({
        "id": "p5", "tier": "p5", "priority": 5, "concurrency": 4, "quota": 10, "quotaUsed": 2,
        "quotaReset": "2027-01-16T12:16:00Z",
        "quotas": [
            { "name": "daily", "limit": 10, "used": 2, "held": 3, "remaining": 5, "window": "rolling 24h",
              "next_reset": "2027-01-16T12:16:00Z", "next_free": "2027-01-16T12:01:00Z" },
            { "name": "month", "limit": 50, "used": 2, "held": 3, "remaining": 45, "window": "month UTC",
              "next_reset": "2027-02-01T00:00:00Z", "next_free": "2027-02-01T00:00:00Z" },
        ],
        "running": 1, "waiting": 2,
    });
    assert_eq!(me(&door, "p5").await, busy);
    assert_eq!(me(&door, "p4").await["quotas"], fresh["quotas"], "others are not told");
}

/// Refused until one second before it may, let in when it may: what `Retry-After` says is true.
#[tokio::test]
async fn a_unit_comes_back_when_it_was_said_to() {
    for (window, earliest, latest) in [
        // The first of the two was charged at twelve.
        ("rolling: 24h", 82_800, 82_860),
        ("rolling: 2h", 3_600, 3_605),
        ("calendar: day", 39_600, 39_600),
        ("calendar: day, zone: Asia/Tokyo", 7_200, 7_200),
        ("calendar: month", 16 * 86_400 + 39_600, 16 * 86_400 + 39_600),
    ] {
        let worker = FastWorker::start();
        let tier = format!("concurrency: 64, quota: {{ limit: 2, {window} }}");
        let noon = UnixTime::from_secs(1_800_014_400);
        let plan = Plan {
            servers: &[(worker.address, 1)],
            tier: &tier,
            ..Plan::default()
        };
        let (door, hands) = Door::open_at(noon, &plan.yaml());
        for _ in 0..2 {
            assert_eq!(search(&door, "p5").await.status(), 200);
            hands.advance(Span::from_secs(1_800));
        }
        let answer = search(&door, "p5").await;
        answer.assert_refused(402, "quota_depleted");
        let after: u64 = answer.get("retry-after").expect("a time").parse().expect("seconds");
        assert_eq!(answer.json()["retry_after"], after);
        // The clock runs while the test does.
        assert!((earliest - 10..=latest).contains(&after), "{window}: {after}");
        hands.advance(Span::from_secs(after - 10));
        search(&door, "p5").await.assert_refused(402, "quota_depleted");
        hands.advance(Span::from_secs(10));
        assert_eq!(search(&door, "p5").await.status(), 200, "{window}");
        let again = search(&door, "p5").await.status();
        // A calendar's page is turned whole, a rolling window gives back what left it.
        let expected = if window.starts_with("calendar") { 200 } else { 402 };
        assert_eq!(again, expected, "{window}");
    }
}

#[tokio::test]
async fn a_search_begun_in_one_month_is_that_months() {
    let worker = Worker::start().await;
    let plan = Plan {
        tier: "concurrency: 64, quota: { limit: 2, calendar: month }",
        ..before(&worker)
    };
    // 2026-05-31T23:59:50Z.
    let (door, hands) = Door::open_at(UnixTime::from_secs(1_780_271_990), &plan.yaml());
    let mut first = asking(&door, "GET").await;
    let mut arrived = worker.request().await;
    let mut waiting = asking(&door, "GET").await;
    door.house_until(1, 1).await;
    search(&door, "p5").await.assert_refused(402, "quota_depleted");
    hands.advance(Span::from_secs(11));
    assert_eq!(taken(&door, "p5").await, (0, 0), "June's page is empty");
    let next = [asking(&door, "GET").await, asking(&door, "GET").await];
    door.house_until(3, 1).await;
    assert_eq!(taken(&door, "p5").await, (0, 2));
    search(&door, "p5").await.assert_refused(402, "quota_depleted");
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    let mut arrived = worker.request().await;
    arrived.answer_with("200 OK", CLOSE, "{}").await;
    assert_eq!(waiting.answer().await.status(), 200);
    assert_eq!(taken(&door, "p5").await, (0, 2), "May's are on another page");
    for mut client in next {
        arrived = worker.request().await;
        arrived.answer_with("200 OK", CLOSE, "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(taken(&door, "p5").await, (2, 0));
    assert_eq!(debits(&door, "p5").await, 4.0);
}

#[tokio::test]
async fn all_quotas_must_have_room_the_tightest_is_shown() {
    let worker = FastWorker::start();
    let tier = "concurrency: 64, quotas: { hourly: { limit: 3, rolling: 1h }, daily: { limit: 5, rolling: 24h }, \
        monthly: { limit: 6, calendar: month } }";
    let plan = Plan {
        servers: &[(worker.address, 1)],
        tier,
        ..Plan::default()
    };
    let (door, hands) = Door::open_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
    let shown = async || {
        let me = me(&door, "p5").await;
        (me["quota"].as_u64(), me["quotaUsed"].as_u64())
    };
    let refused = async |name: &str, limit: u64| {
        let answer = ask(
            &door,
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
    };
    assert_eq!(shown().await, (Some(3), Some(0)));
    for _ in 0..3 {
        assert_eq!(search(&door, "p5").await.status(), 200);
    }
    assert_eq!(shown().await, (Some(3), Some(3)));
    let after = refused("hourly", 3).await;
    hands.advance(Span::from_secs(after));
    assert_eq!(shown().await, (Some(5), Some(3)), "of the daily one 2 are left");
    for _ in 0..2 {
        assert_eq!(search(&door, "p5").await.status(), 200);
    }
    let after = refused("daily", 5).await;
    assert!(after > 80_000, "{after}");
    hands.advance(Span::from_secs(after));
    assert_eq!(shown().await, (Some(6), Some(5)));
    assert_eq!(search(&door, "p5").await.status(), 200);
    refused("monthly", 6).await;
}

/// The bug: of two quotas with nothing left `quotaUsed` was the first one's and the refusal spoke of the other, and `next_reset` of an
/// unused month told when the month ends, where that of unused days told of nothing.
#[tokio::test]
async fn the_members_at_the_top_of_me_are_of_the_quota_that_refuses() {
    let worker = FastWorker::start();
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
            servers: &[(worker.address, 1)],
            tier: &tier,
            ..Plan::default()
        };
        let (door, hands) = Door::open_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
        let top = async |limit: u64, used: u64, name: &str| {
            let me = me(&door, "p5").await;
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
        assert_eq!(search(&door, "p5").await.status(), 200);
        top(1, 1, "hourly").await;
        hands.advance(Span::from_secs(3_700));
        assert_eq!(search(&door, "p5").await.status(), 200);
        let refused = search(&door, "p5").await;
        assert_eq!(refused.json()["name"], "monthly", "{tier}");
        top(2, 2, "monthly").await;
    }
}

/// Whoever comes back when it was told to is not refused by another quota.
#[tokio::test]
async fn the_refusal_names_the_quota_that_lasts_longest() {
    let worker = FastWorker::start();
    for tier in [
        "concurrency: 64, quotas: { hourly: { limit: 1, rolling: 1h }, daily: { limit: 1, rolling: 24h } }",
        "concurrency: 64, quotas: { daily: { limit: 1, rolling: 24h }, hourly: { limit: 1, rolling: 1h } }",
    ] {
        let plan = Plan {
            servers: &[(worker.address, 1)],
            tier,
            ..Plan::default()
        };
        let (door, hands) = Door::open_at(UnixTime::from_secs(1_800_014_400), &plan.yaml());
        assert_eq!(search(&door, "p5").await.status(), 200);
        let refused = search(&door, "p5").await;
        refused.assert_refused(402, "quota_depleted");
        assert_eq!(refused.json()["name"], "daily", "{tier}");
        let after: u64 = refused.get("retry-after").expect("a time").parse().expect("seconds");
        let state = field(&refused.head, "ratelimit");
        for name in ["hourly", "daily"] {
            assert!(after >= state[name]["t"].as_u64().expect("a time"), "{after} {state}");
        }
        hands.advance(Span::from_secs(after));
        assert_eq!(search(&door, "p5").await.status(), 200, "{tier}");
    }
}

/// An upload for which there is no quota is refused before its body has come, and its client reads that.
#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let worker = FastWorker::start();
    let door = Plan {
        servers: &[(worker.address, 1)],
        tier: "concurrency: 64, quota: { limit: 0, rolling: 24h }",
        ..Plan::default()
    }
    .open();
    for (sent, expect) in [(0, ""), (0, "expect: 100-continue\r\n"), (100_000, "")] {
        let mut client = Client::connect(door.address).await;
        let headers = format!("{}{expect}content-length: 1000000\r\n", with_key("p5"));
        client.request("POST", "/search", &headers).await;
        client.send(vec![0; sent]).await;
        let answer = client.answer().await;
        answer.assert_refused(402, "quota_depleted");
        assert_eq!(answer.get("connection"), Some("close"));
    }
    assert_eq!((taken(&door, "p5").await, worker.requests()), ((0, 0), 0));
}

#[tokio::test]
async fn every_spelling_of_a_metered_path_costs_and_nothing_else_does() {
    let worker = FastWorker::start();
    let door = Plan {
        servers: &[(worker.address, 1)],
        tier: TEN,
        ..Plan::default()
    }
    .open();
    let mut client = Client::connect(door.address).await;
    let spellings = [
        "/search",
        "/SEARCH",
        "/%73earch",
        "//search",
        "/image/../search",
        "/./Search?x=1",
    ];
    for (charged, path) in (1..).zip(spellings) {
        let answer = client.ask("GET", path, &with_key("p5")).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(taken(&door, "p5").await, (charged, 0), "{path}");
    }
    for _ in 0..20 {
        assert_eq!(client.ask("GET", "/image/1", &with_key("p5")).await.status(), 200);
        assert_eq!(client.ask("OPTIONS", "/search", &with_key("p5")).await.status(), 204);
        assert_eq!(client.ask("GET", "/searches", &with_key("p5")).await.status(), 404);
    }
    assert_eq!(taken(&door, "p5").await, (6, 0));
}
