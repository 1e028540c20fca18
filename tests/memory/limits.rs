//! What request limits cost in memory: a network that has sent a request and is idle, and a flood.

use std::sync::Arc;

use tiergate::clock::Clock;
use tiergate::gate::Limiter;
use tiergate::policy::caller::Network;
use tiergate::policy::limits::{Counter, Subject};
use tiergate::policy::rules::{Kind, LimitId, Rules};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::Pseudonyms;

use super::flood::{BESIDE_BYTES_MAX, NETWORK_BYTES_MAX, NUMBER, flood};
use super::rules::{LimitExt, limit};
use super::{in_a_process_of_its_own, resident_bytes, rules, say};

/// All shards' tables have room for 12,288 networks; with one more all of them double.
const JUST_DOUBLED: u32 = 64 * 12_289;
/// As many as are shown in a few seconds.
const FLOOD: u32 = if cfg!(debug_assertions) { 2_000_000 } else { 10_000_000 };

const IDLE_100_000: &str = "idle, one fixed limit, 100,000 networks";
const IDLE_MILLION: &str = "idle, one fixed limit, 1,000,000 networks";
const IDLE_DOUBLED: &str = "idle, one fixed limit, tables just doubled";
const SLIDING: &str = "idle, one sliding limit, 1,000,000 networks";
const FLOODED: &str = "of max_callers, after a flood";

#[test]
fn an_idle_network_costs_what_it_may() {
    for (what, bytes_max) in [
        (IDLE_100_000, NETWORK_BYTES_MAX as f64),
        (IDLE_MILLION, NETWORK_BYTES_MAX as f64),
        (IDLE_DOUBLED, NETWORK_BYTES_MAX as f64),
        (SLIDING, 192.0),
    ] {
        let bytes = in_a_process_of_its_own(what);
        say(&format!("{what}: {bytes:.0} bytes each"));
        assert!(bytes > 1.0 && bytes <= bytes_max, "{what}: {bytes:.0} bytes each");
    }
}

/// The neighbours are served all the while, or there is nothing measured.
#[test]
fn a_flood_takes_no_more_memory_than_was_said() {
    let bytes = in_a_process_of_its_own(FLOODED) as u64;
    say(&format!("a flood of {FLOOD} addresses: {} MB", bytes / 1_000_000));
    let networks = u64::from(rules(&[]).build().callers_max);
    assert!(
        bytes <= networks * NETWORK_BYTES_MAX + BESIDE_BYTES_MAX,
        "{bytes} bytes"
    );
}

/// What is measured here, if it is: bytes for each network, or in all.
pub fn measured(what: &str) -> Option<f64> {
    let names = Pseudonyms::new([7; 16]);
    let hashed = |number: u32| {
        let spread = u64::from(number.wrapping_mul(0x9E37_79B9));
        let hashed_origin = names.hashed_origin(Network::V6(0x2001_0DB8_0000_0000 | spread));
        (hashed_origin.network.0, hashed_origin.prefix.0)
    };
    // In each shard one after the other.
    let even = |number: u32| (u64::from(number / 64) + 1, u64::from(number % 64) << 58);
    Some(match what {
        IDLE_100_000 => idle(Kind::Fixed, 100_000, hashed),
        IDLE_MILLION => idle(Kind::Fixed, 1_000_000, hashed),
        IDLE_DOUBLED => idle(Kind::Fixed, JUST_DOUBLED, even),
        SLIDING => idle(Kind::Sliding, 1_000_000, hashed),
        FLOODED => flooded(&names),
        _ => return None,
    })
}

fn idle(kind: Kind, networks: u32, known_by: impl Fn(u32) -> (u64, u64)) -> f64 {
    let ((limiter, rules), before) = (limiter(kind), resident_bytes());
    for number in 0..networks {
        let (id, wider) = known_by(number);
        let counter = Counter {
            limit: LimitId(0),
            subject: Subject {
                id,
                wider,
                region: 0,
                is_network: true,
            },
            number: NUMBER,
            enforced: NUMBER,
            matches: true,
        };
        let decided = limiter.decide(&rules, &[counter], UnixTime::default());
        let (_, decided) = decided.expect("nobody reloads");
        decided.expect("it is the first request");
    }
    assert_eq!(limiter.counted(&rules), [(networks as usize, 0)]);
    (resident_bytes() - before) as f64 / f64::from(networks)
}

fn flooded(names: &Pseudonyms) -> f64 {
    let ((limiter, rules), before) = (limiter(Kind::Fixed), resident_bytes());
    let seen = flood(&limiter, &rules, names, FLOOD);
    assert!(seen.is_as_promised(), "{seen:?}");
    assert!(
        limiter.counted(&rules)[0].1 > 0,
        "it was more than are counted one by one"
    );
    (resident_bytes() - before) as f64
}

fn limiter(kind: Kind) -> (Arc<Limiter>, Arc<Rules>) {
    let limit = limit("http", NUMBER, Span::from_secs(3_600)).kind(kind);
    let rules = Arc::new(rules(&[]).limits([limit]).build());
    (Limiter::new(Arc::clone(&rules), Clock::start()), rules)
}
