//! trace.moe, "Account and Limits": its sponsor tiers and its queue.
//!
//! > The server has multiple priority queues with a fixed total queue length. If the queue is full, upcoming new requests
//! > will be rejected with HTTP 503. If you have priority 5, the server will only reject your request when queue 6 and
//! > queue 5 are full, regardless of the queues below you. If you have priority 0, you'll only have your request processed
//! > when all the queues have empty slots left.

use tiergate::policy::refusal::Reason;

use super::queue_table::{Level, Row, first_refusal};

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
