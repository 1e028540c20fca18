//! shotit, "Account and Limits": its sponsor tiers, its monthly quota and its queue, which began as trace.moe's.
//!
//! > The server has multiple priority queues with a fixed total queue length. If the queue is full, upcoming new requests
//! > would be rejected with HTTP 503. If you have priority 5, server would only reject your request only when queue 6 and
//! > queue 5 is full, regardless of the queues below you. If you have priority 0, you'll only have your request processed
//! > when all the queue has empty slots left.

use tiergate::policy::refusal::Reason;
use tiergate::policy::time::{Span, UnixTime};

use super::queue_table::{Level, Row, first_refusal};
use super::quota_table::{Line, ask, check_counted, check_left, check_told};
use crate::support::fast::FastWorker;
use crate::support::{Door, metric_sum, seven_tiers};

/// Name, concurrency, priority.
const LEVELS: [Level; 7] = [
    ("free", 1, 0),
    ("$1", 1, 2),
    ("$5", 1, 2),
    ("$10", 1, 5),
    ("$20", 2, 5),
    ("$50", 3, 5),
    ("$100", 4, 6),
];

/// | Current queue | Acceptable request | Rejecting request |
const TABLE: [Row; 6] = [
    // | 🟦🟦🟦🟦🟦🟦🟦🟦 | 0️⃣2️⃣5️⃣6️⃣ | (none) |
    Row {
        queue: "________",
        acceptable: &[0, 2, 5, 6],
        rejecting: &[],
    },
    // | 6️⃣5️⃣2️⃣0️⃣0️⃣0️⃣0️⃣🟦 | 0️⃣2️⃣5️⃣6️⃣ | (none) |
    Row {
        queue: "6520000_",
        acceptable: &[0, 2, 5, 6],
        rejecting: &[],
    },
    // | 6️⃣6️⃣6️⃣5️⃣2️⃣2️⃣2️⃣0️⃣ | 2️⃣5️⃣6️⃣ | 0️⃣ |
    Row {
        queue: "66652220",
        acceptable: &[2, 5, 6],
        rejecting: &[0],
    },
    // | 6️⃣6️⃣6️⃣5️⃣2️⃣2️⃣2️⃣2️⃣ | 5️⃣6️⃣ | 0️⃣2️⃣ |
    Row {
        queue: "66652222",
        acceptable: &[5, 6],
        rejecting: &[0, 2],
    },
    // | 6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣5️⃣5️⃣ | 6️⃣ | 0️⃣2️⃣5️⃣ |
    Row {
        queue: "66666655",
        acceptable: &[6],
        rejecting: &[0, 2, 5],
    },
    // | 6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣6️⃣ | (none) | 0️⃣2️⃣5️⃣6️⃣ |
    Row {
        queue: "66666666",
        acceptable: &[],
        rejecting: &[0, 2, 5, 6],
    },
];

/// "Assume the max queue length is 8", row by row.
#[test]
fn the_queue_table() {
    for row in &TABLE {
        row.check(&LEVELS);
    }
}

/// "If you send a second request before the first request respond, it would fail with HTTP 402. If your concurrency is 2,
/// your 3rd request would fail when server is already processing 2 of your previous requests."
#[test]
fn concurrency() {
    for (level, (name, concurrency, _)) in LEVELS.iter().enumerate() {
        let (let_in, reason) = first_refusal(&LEVELS, level);
        assert_eq!((let_in, reason), (*concurrency, Reason::ConcurrencyExceeded), "{name}");
    }
}

/// | Sponsor tiers | monthly quota | concurrency | priority |
const SPONSORS: [Line; 7] = [
    ("free", 1_000, 1, 0),
    ("$1", 1_000, 1, 2),
    ("$5", 5_000, 1, 2),
    ("$10", 10_000, 1, 5),
    ("$20", 20_000, 2, 5),
    ("$50", 50_000, 3, 5),
    ("$100", 100_000, 4, 6),
];

/// trace.moe's numbers tenfold, each month. `/bulk` is ours, so that the tests get through a thousand: a search that costs 100.
fn preset(worker: &FastWorker) -> String {
    seven_tiers(
        8,
        &[(worker.address, 4)],
        "  - { path: /bulk, upstream: search, metered: true, cost: 100 }",
    )
    .replace(", rolling: 24h }", "0, calendar: month, zone: UTC }")
}

/// Uses up so many searches of that tier's.
async fn use_up(door: &Door, tier: &str, searches: u64) {
    for _ in 0..searches / 100 {
        assert_eq!(ask(door, tier, "/bulk").await.status(), 200);
    }
    for _ in 0..searches % 100 {
        assert_eq!(ask(door, tier, "/search").await.status(), 200);
    }
}

#[tokio::test]
async fn the_sponsor_table() {
    let worker = FastWorker::start();
    let yaml = preset(&worker);
    check_told(&Door::open(&yaml), &SPONSORS).await;
    check_counted(&yaml, &SPONSORS);
}

/// "Which means if your program use the API Key in a tricky way, you could get 1000 (without API Key) + 1000 (with API Key) =
/// 2000 monthly quota." And "search request would fail with HTTP 402".
#[tokio::test]
async fn with_and_without_a_key_2000_and_not_one_more() {
    let worker = FastWorker::start();
    let door = Door::open(&preset(&worker));
    for tier in ["free", "$1"] {
        use_up(&door, tier, 990).await;
    }
    for tier in ["$1", "free"] {
        check_left(&door, tier, 10).await;
    }
    assert_eq!(metric_sum(door.admin, "tiergate_quota_debits_total", "").await, 2_000.0);
}

/// "Search quota only deducts when server has successfully returned the results (HTTP 200). It doesn't count failed search
/// requests, including HTTP 4xx and 5xx."
#[tokio::test]
async fn only_http_200_is_deducted() {
    let worker = FastWorker::start();
    let door = Door::open(&preset(&worker));
    for status in [201, 204, 400, 402, 404, 429, 500, 502, 503] {
        let answer = ask(&door, "free", &format!("/search?status={status}")).await;
        assert_eq!(answer.status(), status);
    }
    assert_eq!(ask(&door, "free", "/me").await.json()["quotaUsed"], 0);
    assert_eq!(ask(&door, "free", "/search").await.status(), 200);
    assert_eq!(ask(&door, "free", "/me").await.json()["quotaUsed"], 1);
}

/// "Search Quota reset every 1st of each month."
#[tokio::test]
async fn the_quota_is_reset_on_the_first_of_each_month() {
    let worker = FastWorker::start();
    // 2028-01-31T23:00:00Z. That year has a 29th of February.
    let (door, hands) = Door::open_at(UnixTime::from_secs(1_832_972_400), &preset(&worker));
    use_up(&door, "free", 1_000).await;
    for (first, days) in [("2028-02-01", 29), ("2028-03-01", 31), ("2028-04-01", 30)] {
        let me = ask(&door, "free", "/me").await.json();
        let quota = &me["quotas"][0];
        assert_eq!((&quota["window"], &quota["used"]), (&"month UTC".into(), &1_000.into()));
        assert_eq!(quota["next_reset"], format!("{first}T00:00:00Z"));
        // Two minutes before, as the test takes some time of its own; on the first; and an hour before the next.
        hands.advance(Span::from_secs(3_480));
        check_left(&door, "free", 0).await;
        hands.advance(Span::from_secs(120));
        use_up(&door, "free", 990).await;
        check_left(&door, "free", 10).await;
        hands.advance(Span::from_secs(days * 86_400 - 3_600));
        check_left(&door, "free", 0).await;
    }
}
