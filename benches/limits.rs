//! The cost of request limits: `cargo bench -p tiergate-benches --bench limits`.
//!
//! From the address to the decision, including hashes, clock and lock, unless stated otherwise. Callers are picked in a
//! pseudo-random order, so that memory isn't read in the order in which it was written. What criterion can't measure comes
//! first: two threads side by side, and a flood of ten million addresses with its memory use.

#[path = "../tests/memory/flood.rs"]
mod flood;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use smallvec::SmallVec;
use tiergate::clock::Clock;
use tiergate::gate::{Decided, Limiter, Stale};
use tiergate::store::Pseudonyms;
use tiergate_policy::caller::Network;
use tiergate_policy::limits::{COUNTERS_INLINE, Counter, Moment, Shard, Subject, decide};
use tiergate_policy::rules::{CALLERS_MAX_DEFAULT, Kind, LimitId, Rules};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use rules::{LimitExt, limit};

const CALLERS: u32 = 100_000;
const FLOOD: u32 = 10_000_000;
/// Decisions per thread in one throughput measurement.
const DECISIONS: u32 = 3_000_000;
const ROUNDS: usize = 5;
const NOBODY_IS_REFUSED: u32 = u32::MAX;
const BURST: u32 = 1_000_000_000;
const ACCOUNT_TOO: &str = "fixed, account and network";

/// As `http` keeps them.
type Counters = SmallVec<[Counter; COUNTERS_INLINE]>;

/// The request limits, and the rules that requests come with.
struct Limits {
    limiter: Arc<Limiter>,
    rules: Arc<Rules>,
}

impl Limits {
    fn new(limits: &[(Kind, u32)]) -> Self {
        let rules = Arc::new(rules(limits));
        Self {
            limiter: Limiter::new(Arc::clone(&rules), Clock::start()),
            rules,
        }
    }

    /// The wall clock is read when the sender is looked up, which is not part of this.
    fn decide(&self, counters: &[Counter]) -> Result<Decided, Stale> {
        self.limiter.decide(&self.rules, counters, UnixTime::default())
    }
}

fn names() -> Pseudonyms {
    Pseudonyms::new([7; 16])
}

fn network(names: &Pseudonyms, address: u32) -> Subject {
    let network = Network::V4(Ipv4Addr::from_bits(address));
    let hashed_origin = names.hashed_origin(network);
    Subject {
        id: hashed_origin.network.0,
        wider: hashed_origin.prefix.0,
        region: hashed_origin.region,
        is_network: true,
    }
}

fn account(number: u32) -> Subject {
    let id = (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Subject {
        id,
        wider: id,
        region: 0,
        is_network: false,
    }
}

fn counter(limit: LimitId, number: u32, subject: Subject) -> Counter {
    Counter {
        limit,
        subject,
        number,
        enforced: number,
        matches: true,
    }
}

/// Addresses in an order that a processor can't predict: xorshift, spread over 10.0.0.0/8.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        address((self.0 % u64::from(CALLERS)) as u32)
    }
}

/// Maps different numbers below 2^24 to different addresses, far apart.
fn address(number: u32) -> u32 {
    0x0A00_0000 | number.wrapping_mul(0x009E_3779) & 0x00FF_FFFF
}

fn one_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limits, 100,000 callers");
    let cases: [(&str, &[(Kind, u32)]); 6] = [
        ("fixed", &[(Kind::Fixed, NOBODY_IS_REFUSED)]),
        ("fixed, refused", &[(Kind::Fixed, 1)]),
        ("sliding", &[(Kind::Sliding, NOBODY_IS_REFUSED)]),
        ("burst", &[(Kind::Burst, BURST)]),
        (
            "fixed and burst",
            &[(Kind::Fixed, NOBODY_IS_REFUSED), (Kind::Burst, BURST)],
        ),
        (ACCOUNT_TOO, &[(Kind::Fixed, NOBODY_IS_REFUSED)]),
    ];
    let names = names();
    for (name, limits) in cases {
        let bench = Limits::new(limits);
        let counters = |address| {
            let (network, ids) = (network(&names, address), (0..).map(LimitId));
            let of_network = ids.zip(limits).map(|(id, (_, number))| counter(id, *number, network));
            let mut counters: Counters = of_network.collect();
            if name == ACCOUNT_TOO {
                counters.push(counter(LimitId(0), NOBODY_IS_REFUSED, account(address)));
            }
            counters
        };
        for number in 0..CALLERS {
            _ = bench.decide(&counters(address(number)));
        }
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
        group.bench_function(name, |bencher| {
            bencher.iter(|| bench.decide(black_box(&counters(random.next()))));
        });
    }
    parts(&mut group);
    group.finish();
}

/// Breaks the first figure down.
fn parts(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let (names, rules) = (names(), rules(&[(Kind::Fixed, NOBODY_IS_REFUSED)]));
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    group.bench_function("of that the hashes", |bencher| {
        bencher.iter(|| network(&names, black_box(random.next())));
    });
    let clock = Clock::start();
    group.bench_function("of that the clock", |bencher| {
        bencher.iter(|| clock.now());
    });
    group.bench_function("of a limit that is aligned to the wall clock, that too", |bencher| {
        bencher.iter(|| clock.wall());
    });
    let mut shards = Shard::all(&rules);
    let at = Moment {
        now: Timestamp::ZERO,
        wall: UnixTime::default(),
    };
    group.bench_function("hashes and the decision, without lock and clocks", |bencher| {
        bencher.iter(|| {
            let counter = counter(LimitId(0), NOBODY_IS_REFUSED, network(&names, random.next()));
            decide(&[counter], &mut shards, &rules.limits, at).is_ok()
        });
    });
}

/// Decisions per second of `threads` threads, each with the same callers in its own order: the best round.
fn throughput(threads: u64) -> f64 {
    let (bench, names) = (Limits::new(&[(Kind::Fixed, NOBODY_IS_REFUSED)]), names());
    for number in 0..CALLERS {
        _ = bench.decide(&[counter(LimitId(0), NOBODY_IS_REFUSED, network(&names, address(number)))]);
    }
    let round = || {
        let barrier = Barrier::new(threads as usize);
        let slowest = std::thread::scope(|scope| {
            let running: Vec<_> = (1..=threads)
                .map(|seed| {
                    let (barrier, bench, names) = (&barrier, &bench, &names);
                    scope.spawn(move || {
                        let mut random = Xorshift(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                        barrier.wait();
                        let began = now();
                        for _ in 0..DECISIONS {
                            let counter = counter(LimitId(0), NOBODY_IS_REFUSED, network(names, random.next()));
                            _ = black_box(bench.decide(&[counter]));
                        }
                        began.elapsed()
                    })
                })
                .collect();
            let took = running
                .into_iter()
                .map(|thread| thread.join().expect("the thread does not panic"));
            took.max().unwrap_or(Duration::MAX)
        });
        threads as f64 * f64::from(DECISIONS) / slowest.as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

/// Ten million addresses, once each: known callers are served throughout, and memory stays within its bound.
fn measure_flood() {
    let (bench, names, before) = (Limits::new(&[(Kind::Fixed, flood::NUMBER)]), names(), resident_bytes());
    let began = now();
    let seen = flood::flood(&bench.limiter, &bench.rules, &names, FLOOD);
    let took = began.elapsed();
    let bytes = resident_bytes() - before;
    println!(
        "limits/flood of {FLOOD} addresses: {:.0} ns each, {:.0} MB, {seen:?}, counted {:?}",
        took.as_nanos() as f64 / f64::from(FLOOD),
        bytes as f64 / 1e6,
        bench.limiter.counted(&bench.rules),
    );
    assert!(seen.is_as_promised(), "{seen:?}");
    let bytes_max = u64::from(CALLERS_MAX_DEFAULT) * flood::NETWORK_BYTES_MAX + flood::BESIDE_BYTES_MAX;
    assert!(bytes <= bytes_max, "{bytes} bytes of {bytes_max}");
}

#[allow(clippy::disallowed_methods, reason = "a measurement of real time")]
fn now() -> Instant {
    Instant::now()
}

fn by_hand(_: &mut Criterion) {
    let (one, two) = (throughput(1), throughput(2));
    println!(
        "limits/throughput: one thread {one:.0}, two {two:.0} decisions a second: {:.2} times",
        two / one
    );
    measure_flood();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux provides it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1_024
}

fn rules(limits: &[(Kind, u32)]) -> Rules {
    let limit = |(kind, number): &(Kind, u32)| limit("requests", *number, Span::from_secs(60)).kind(*kind);
    rules::rules().limits(limits.iter().map(limit)).build()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots();
    targets = by_hand, one_check
}
criterion_main!(benches);
