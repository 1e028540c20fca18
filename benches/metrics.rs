//! What a scrape costs, and for how long it holds the gate's lock: `cargo bench -p tiergate-benches --bench metrics`.
//!
//! 100,000 accounts, each with ten debits in a rolling window and in a calendar's month; 1,000 queued jobs and 64 running ones,
//! seven tiers, an upstream of eight servers.
//!
//! "Under the lock" are calls that do nothing beside it: `view`, by which a scrape read the jobs before; `levels`, by which it
//! does now; and one batch of the count of accounts that have used most of a quota.

#[path = "../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tiergate::clock::Clock;
use tiergate::gate::{Entered, Gate, GateLevels, Generation};
use tiergate::store::memory::MemoryLedger;
use tiergate::telemetry::Meters;
use tiergate::telemetry::connections::ConnectionMeters;
use tiergate::telemetry::exposition::Exposition;
use tiergate::telemetry::gauges::{Levels, ServerLevels, UpstreamLevels};
use tiergate_policy::Policy;
use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::rules::{Rules, TierId, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use request::request;
use rules::{calendar, rolling, tier_a_priority};

const ACCOUNTS: u32 = 100_000;
const DEBITS: u64 = 10;
const QUEUED: u32 = 1_000;
const SERVERS: [u32; 8] = [8; 8];
const DAY_S: u64 = 86_400;
/// As many accounts as `quota_shares` takes in a batch.
const BATCH: u32 = 256;

fn account(number: u32) -> Caller {
    Caller::Account(AccountId(number))
}

fn busy_rules() -> Rules {
    let month = calendar("month UTC", [UnixTime::default()]);
    let tiers = tier_a_priority(|tier| {
        let tier = tier.concurrency(2).quota("daily", 500, rolling(DAY_S));
        tier.quota("monthly", 5_000, month.clone())
    });
    tiers.queue(QUEUED).upstream("search", &SERVERS).build()
}

/// A policy in which every account has debits, spread over the last day.
fn used_policy(rules: &Arc<Rules>, now: UnixTime) -> Policy {
    let mut policy = Policy::new(Arc::clone(rules));
    policy.follow_clock(now, Timestamp::ZERO, Span::from_secs(300));
    for number in 0..ACCOUNTS {
        for debit in 0..DEBITS {
            let at = UnixTime::from_secs(now.as_secs() - debit * DAY_S / 20);
            for window in rules.windows.ids() {
                policy.remember(window, account(number), at, 1, Timestamp::ZERO);
            }
        }
    }
    policy
}

/// The jobs that hold slots and queue places, as long as this lives.
fn fill(gate: &Arc<Gate>, generation: &Arc<Generation>) -> Vec<Entered> {
    let slots: u32 = SERVERS.iter().sum();
    let enter = |number: u32| {
        let ask = request(account(number), TierId((number % 7) as u16));
        let entered = gate.enter(generation, &ask).expect("the present rules");
        entered.expect("a slot or a queue place")
    };
    (0..slots + QUEUED).map(enter).collect()
}

/// What the admin listener makes of the gate's numbers, with a database's worth of accounts counted elsewhere.
fn levels_of(gate: &GateLevels) -> Levels {
    let upstream = |slots: &tiergate::gate::UpstreamSlots| UpstreamLevels {
        available: slots.available,
        busy: slots.busy,
        servers: (slots.servers.iter())
            .map(|server| ServerLevels {
                is_up: server.up,
                configured: server.slots,
                available: server.available(),
                busy: server.running,
                failures: Some(Default::default()),
            })
            .collect(),
    };
    Levels {
        queue_capacity: gate.rules.queue.length,
        waiting: gate.waiting,
        oldest: gate.oldest,
        in_flight: gate.in_flight.iter().copied().collect(),
        uploading: gate.uploading.iter().copied().collect(),
        upstreams: gate.upstreams.iter().map(upstream).collect(),
        accounts: vec![0; gate.rules.tiers.len() + 1],
        over_quota_share: vec![[0; 2]; gate.rules.tiers.len()],
        debtors: gate.debtors,
        limits: Vec::new(),
        is_paused: gate.is_paused,
        is_admission_stopped: gate.is_admission_stopped,
        viewers: 0,
    }
}

fn scrape(criterion: &mut Criterion) {
    let rules = Arc::new(busy_rules());
    let clock = Clock::start();
    let policy = used_policy(&rules, clock.wall());
    let exposition = Exposition::new();
    let connections = ConnectionMeters::register(exposition.recorder());
    let mut generation = Generation::unobserved(Arc::clone(&rules));
    let shared = Arc::get_mut(&mut generation).expect("nobody has it yet");
    shared.meters = Meters::register(&rules, exposition.recorder());
    let ledger = Arc::new(MemoryLedger::default());
    let gate = Gate::new(policy, Arc::clone(&generation), clock, ledger);
    let jobs = fill(&gate, &generation);

    let mut group = criterion.benchmark_group("under the lock");
    group.bench_function("view: as before", |bencher| bencher.iter(|| gate.view()));
    group.bench_function("levels: as now", |bencher| bencher.iter(|| gate.levels()));
    let mut first = 0;
    group.bench_function("a batch of 256 accounts with two quotas", |bencher| {
        bencher.iter(|| {
            first = (first + BATCH) % (ACCOUNTS - BATCH);
            let callers = (first..first + BATCH).map(account);
            let both = |caller| [(caller, WindowId(0)), (caller, WindowId(1))];
            gate.taken(black_box(&callers.flat_map(both).collect::<Vec<_>>()))
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("a scrape");
    group.bench_function("whole", |bencher| {
        bencher.iter(|| {
            connections.update();
            let levels = gate.levels();
            exposition.render(&levels.rules, &levels_of(&levels))
        });
    });
    group.finish();
    println!("the page has {} bytes", {
        let levels = gate.levels();
        exposition.render(&levels.rules, &levels_of(&levels)).len()
    });
    drop(jobs);
}

criterion_group!(benches, scrape);
criterion_main!(benches);
