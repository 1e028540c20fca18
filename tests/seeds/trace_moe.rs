//! trace.moe, "Account and Limits": its sponsor tiers, its daily quota and its queue.
//!
//! > The server has multiple priority queues with a fixed total queue length. If the queue is full, upcoming new requests
//! > will be rejected with HTTP 503. If you have priority 5, the server will only reject your request when queue 6 and
//! > queue 5 are full, regardless of the queues below you. If you have priority 0, you'll only have your request processed
//! > when all the queues have empty slots left.

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

/// "If your concurrency is 1 […] if you send a second request before the first request responds, it will fail with HTTP
/// 402. If your concurrency is 2, your 3rd request will fail when the server is already processing 2 of your previous
/// requests."
#[test]
fn concurrency() {
    for (level, (name, concurrency, _)) in LEVELS.iter().enumerate() {
        let (let_in, reason) = first_refusal(&LEVELS, level);
        assert_eq!((let_in, reason), (*concurrency, Reason::ConcurrencyExceeded), "{name}");
    }
}

/// | Sponsor tiers | daily quota | concurrency | priority |
const SPONSORS: [Line; 7] = [
    ("free", 100, 1, 0),
    ("$1", 100, 1, 2),
    ("$5", 500, 1, 2),
    ("$10", 1_000, 1, 5),
    ("$20", 2_000, 2, 5),
    ("$50", 5_000, 3, 5),
    ("$100", 10_000, 4, 6),
];

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const HOUR: Span = Span::from_secs(3_600);

fn preset(worker: &FastWorker) -> String {
    seven_tiers(8, &[(worker.address, 4)], "")
}

#[tokio::test]
async fn the_sponsor_table() {
    let worker = FastWorker::start();
    let yaml = preset(&worker);
    check_told(&Door::open(&yaml), &SPONSORS).await;
    check_counted(&yaml, &SPONSORS);
}

/// "If you are a sponsor, you can still use the API without an API Key. […] This means if your program uses the API Key in a
/// tricky way, you could get 100 (without API Key) + 100 (with API Key) = 200 daily quota." And "if you have reached your daily
/// quota, the search request will fail with HTTP 402".
#[tokio::test]
async fn with_and_without_a_key_200_and_not_one_more() {
    let worker = FastWorker::start();
    let door = Door::open(&preset(&worker));
    for round in 0..100 {
        for tier in ["free", "$1"] {
            assert_eq!(
                ask(&door, tier, "/search").await.status(),
                200,
                "{tier}, number {round}"
            );
        }
    }
    for tier in ["free", "$1"] {
        check_left(&door, tier, 0).await;
    }
    assert_eq!(worker.requests(), 200);
    assert_eq!(metric_sum(door.admin, "tiergate_quota_debits_total", "").await, 200.0);
}

/// "Failed search requests like HTTP 4xx and 5xx don't count."
#[tokio::test]
async fn failed_searches_do_not_count() {
    let worker = FastWorker::start();
    let door = Door::open(&preset(&worker));
    for status in [400, 402, 403, 404, 405, 413, 429, 500, 502, 503, 504] {
        for _ in 0..10 {
            let answer = ask(&door, "free", &format!("/search?status={status}")).await;
            assert_eq!(answer.status(), status);
        }
    }
    assert_eq!(ask(&door, "free", "/me").await.json()["quotaUsed"], 0);
    check_left(&door, "free", 100).await;
}

/// "Search quota counts in a rolling window of 24 hours."
#[tokio::test]
async fn a_rolling_window_of_24_hours() {
    let worker = FastWorker::start();
    let (door, hands) = Door::open_at(NOON, &preset(&worker));
    for _ in 0..60 {
        assert_eq!(ask(&door, "free", "/search").await.status(), 200);
    }
    hands.advance(HOUR.saturating_mul(14));
    // Midnight means nothing.
    check_left(&door, "free", 40).await;
    hands.advance(HOUR.saturating_mul(9));
    check_left(&door, "free", 0).await;
    // The first 60 leave with the minute in which they were, a day later. By then some seconds of ours have passed.
    hands.advance(HOUR + Span::from_secs(60));
    check_left(&door, "free", 60).await;
    hands.advance(HOUR.saturating_mul(14) + Span::from_secs(60));
    check_left(&door, "free", 40).await;
}
