//! The cost of a decision on one thread: `cargo bench -p tiergate-benches --bench admission`.
//!
//! Every measured call leaves the policy as it found it, so the figures are of a steady state; where that takes a second call,
//! the pair is measured and named so. Callers are picked in a pseudo-random order, so that memory isn't read in the order in
//! which it was written.
//!
//! The lock and the clock are `gate`'s and not part of it.

#[path = "../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tiergate_policy::caller::{Caller, NetworkId};
use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::rules::{Rules, TierId, WindowId, Within};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{Admission, JobId, Outcome, Policy};

use request::{AdmissionRequest, request};
use rules::{RulesBuilder, calendar, rolling, tier_a_priority};

const CALLERS: [u64; 3] = [1, 1_000, 100_000];
const QUEUE_LENGTHS: [u32; 3] = [8, 64, 4_096];
const ORDERS: [(&str, Within); 2] = [("fifo", Within::Fifo), ("fair", Within::Fair)];

/// A policy with a tier for each priority, and one server.
fn new_policy(within_tier: Within, queue: u32, slots: u32) -> Policy {
    let rules = tier_a_priority(|tier| tier.concurrency(2).displacements(u32::MAX))
        .queue(queue)
        .within_tier(within_tier)
        .upstream("search", &[slots]);
    Policy::new(Arc::new(rules.build()))
}

fn ask(caller: u64, priority: u16) -> AdmissionRequest {
    request(Caller::Network(NetworkId(caller)), TierId(priority))
}

/// A policy with its slot and queue full, each place taken by a different caller with that priority.
fn full(within_tier: Within, queue: u32, priority: u16) -> Policy {
    let mut policy = new_policy(within_tier, queue, 1);
    for caller in 0..=u64::from(queue) {
        policy
            .enter(&ask(caller, priority), Timestamp::ZERO)
            .expect("a slot and queue places for all");
    }
    policy
}

/// Callers below `count` in an order that a processor can't predict (xorshift).
struct Xorshift {
    state: u64,
    count: u64,
}

impl Xorshift {
    fn of(count: u64) -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15,
            count,
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % self.count
    }
}

/// Advances 10 ms at each reading, so that the displacements of the last minute stay few enough to be allowed.
struct Time(u64);

impl Time {
    fn next(&mut self) -> Timestamp {
        self.0 += 10_000_000;
        Timestamp::from_nanos(self.0)
    }
}

/// To a free slot and out again, while `callers` have a job in flight, including the new one.
fn enter_and_leave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("enter+leave");
    for (name, within_tier) in ORDERS {
        for callers in CALLERS {
            let mut policy = new_policy(within_tier, 8, 200_000);
            for caller in 0..callers {
                policy
                    .enter(&ask(caller, 3), Timestamp::ZERO)
                    .expect("there are slots enough");
            }
            let (mut random, mut time) = (Xorshift::of(callers), Time(0));
            group.bench_function(BenchmarkId::new(name, callers), |bencher| {
                bencher.iter(|| {
                    let now = time.next();
                    let Ok(Admission::Running { grant, .. }) = policy.enter(black_box(&ask(random.next(), 3)), now)
                    else {
                        unreachable!("a slot is free")
                    };
                    policy.end(grant.job, Outcome::Succeeded, now)
                });
            });
        }
    }
    group.finish();
}

/// The same with quotas: each caller has ten debits in the last 24 hours, and one expires for each new one, because a tenth of
/// a day passes between two jobs of a caller. Setting the clock forward for that is part of the measurement. All debits count
/// in the calendar month too.
fn with_quotas(criterion: &mut Criterion) {
    const DAY_S: u64 = 86_400;
    let mut group = criterion.benchmark_group("enter+leave with quotas");
    for callers in CALLERS {
        let mut policy = metered();
        let opened = UnixTime::from_secs(1_782_864_000); // 1 July 2026: a month of 31 days
        policy.follow_clock(opened, Timestamp::ZERO, Span::MAX);
        for tenth in 0..10 {
            let at = opened + Span::from_secs(tenth * DAY_S / 10);
            policy.follow_clock(at, Timestamp::ZERO, Span::MAX);
            for caller in 0..callers {
                for window in [WindowId(0), WindowId(1)] {
                    let caller = ask(caller, 3).caller;
                    policy.remember(window, caller, at, 1, Timestamp::ZERO);
                }
            }
        }
        // The wall clock is set forward each time, since the monotonic one would overflow.
        let (mut random, mut passed_us) = (Xorshift::of(callers), 9 * DAY_S * 100_000);
        let (now, step_us) = (Timestamp::ZERO, DAY_S * 100_000 / callers);
        group.bench_function(BenchmarkId::from_parameter(callers), |bencher| {
            bencher.iter(|| {
                passed_us += step_us;
                policy.follow_clock(
                    UnixTime::from_millis(opened.as_millis() + passed_us / 1_000),
                    now,
                    Span::MAX,
                );
                let Ok(Admission::Running { grant, .. }) = policy.enter(black_box(&ask(random.next(), 3)), now) else {
                    unreachable!("a slot is free and no quota is depleted")
                };
                policy.end(grant.job, Outcome::Succeeded, now)
            });
        });
    }
    group.finish();
}

/// A policy whose tiers have a quota for the last 24 hours and one for the calendar month.
fn metered() -> Policy {
    let policy = new_policy(Within::Fifo, 8, 200_000);
    let month = calendar("month UTC", [1_782_864_000, 1_785_542_400].map(UnixTime::from_secs));
    let rules = RulesBuilder::from(Rules::clone(policy.rules())).edit_tiers(|tier| {
        tier.quota("daily", u64::MAX / 2, rolling(86_400))
            .quota("monthly", u64::MAX / 2, month.clone())
    });
    Policy::new(Arc::new(rules.build()))
}

/// Through a full queue: one job takes the last free place, the running one ends, and the next in line gets its slot.
fn through_the_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("enter+leave through a full queue");
    for (name, within_tier) in ORDERS {
        for queue in QUEUE_LENGTHS {
            let mut policy = new_policy(within_tier, queue, 1);
            let Ok(Admission::Running { grant: first, .. }) = policy.enter(&ask(0, 3), Timestamp::ZERO) else {
                unreachable!("the slot is free")
            };
            for caller in 1..u64::from(queue) {
                policy
                    .enter(&ask(caller, 3), Timestamp::ZERO)
                    .expect("the queue has enough places");
            }
            let (mut running, mut caller, mut time) = (first.job, u64::from(queue), Time(0));
            group.bench_function(BenchmarkId::new(name, queue), |bencher| {
                bencher.iter(|| {
                    let now = time.next();
                    policy
                        .enter(black_box(&ask(caller % 1_000_000, 3)), now)
                        .expect("the queue has a free place");
                    caller += 1;
                    running = policy
                        .end(running, Outcome::Succeeded, now)
                        .expect("a job is queued")
                        .job;
                });
            });
        }
    }
    group.finish();
}

/// A pair: a job of priority 6 displaces one of priority 0 from a full queue, then hangs up, and one of priority 0 takes the
/// free place. So three decisions: enter with displacement, hang up, enter.
fn displacement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("displace+hang up+enter");
    for (name, within_tier) in ORDERS {
        for queue in QUEUE_LENGTHS {
            let mut policy = full(within_tier, queue, 0);
            let (mut low, mut time) = (u64::from(queue) + 1, Time(0));
            group.bench_function(BenchmarkId::new(name, queue), |bencher| {
                bencher.iter(|| {
                    let now = time.next();
                    let high = displace(&mut policy, now);
                    policy.hang_up(high);
                    low += 1;
                    policy
                        .enter(black_box(&ask(low, 0)), now)
                        .expect("the queue has a free place")
                });
            });
        }
    }
    group.finish();
}

/// The part of the above that isn't the displacement: the same hang-up and the same entry.
fn restoring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hang up+enter");
    for (name, within_tier) in ORDERS {
        for queue in QUEUE_LENGTHS {
            let mut policy = full(within_tier, queue, 0);
            let mut time = Time(0);
            let (mut job, mut low) = (displace(&mut policy, time.next()), u64::from(queue) + 1);
            group.bench_function(BenchmarkId::new(name, queue), |bencher| {
                bencher.iter(|| {
                    policy.hang_up(job);
                    low += 1;
                    let Ok(Admission::Queued { job: next, .. }) = policy.enter(black_box(&ask(low, 0)), time.next())
                    else {
                        unreachable!("the queue has a free place")
                    };
                    job = next;
                });
            });
        }
    }
    group.finish();
}

fn displace(policy: &mut Policy, now: Timestamp) -> JobId {
    let Ok(Admission::Queued {
        job,
        displaced: Some(_),
        ..
    }) = policy.enter(black_box(&ask(u64::MAX, 6)), now)
    else {
        unreachable!("the queue is full of priority 0")
    };
    job
}

/// The queue is full and holds no lower priority: new callers.
fn queue_full(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refused: queue_full");
    for (name, within_tier) in ORDERS {
        for queue in QUEUE_LENGTHS {
            let mut policy = full(within_tier, queue, 3);
            let (mut random, mut time) = (Xorshift::of(1 << 40), Time(0));
            group.bench_function(BenchmarkId::new(name, queue), |bencher| {
                bencher.iter(|| {
                    let caller = u64::from(u32::MAX) + random.next();
                    refused(&mut policy, &ask(caller, 3), time.next(), Reason::QueueFull)
                });
            });
        }
    }
    group.finish();
}

/// As many jobs in flight as the tier allows: queued callers, in turn.
fn concurrency_exceeded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refused: concurrency_exceeded");
    for (name, within_tier) in ORDERS {
        for queue in QUEUE_LENGTHS {
            let mut policy = new_policy(within_tier, queue, 2);
            for caller in 0..u64::from(queue / 2) + 1 {
                for _ in 0..2 {
                    policy
                        .enter(&ask(caller, 3), Timestamp::ZERO)
                        .expect("slots and queue places for all");
                }
            }
            let (mut random, mut time) = (Xorshift::of(u64::from(queue / 2) + 1), Time(0));
            group.bench_function(BenchmarkId::new(name, queue), |bencher| {
                bencher.iter(|| {
                    let ask = ask(random.next(), 3);
                    refused(&mut policy, &ask, time.next(), Reason::ConcurrencyExceeded)
                });
            });
        }
    }
    group.finish();
}

fn refused(policy: &mut Policy, ask: &AdmissionRequest, now: Timestamp, reason: Reason) -> Refusal {
    match policy.enter(black_box(ask), now) {
        Err(refusal) if refusal.reason() == reason => refusal,
        other => unreachable!("{other:?}"),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_millis(1_500))
        .without_plots();
    targets = enter_and_leave, with_quotas, through_the_queue, displacement, restoring, queue_full, concurrency_exceeded
}
criterion_main!(benches);
