//! The cost of durability: `cargo bench -p tiergate-benches --bench database`. It uses the disk that holds `TMPDIR`, in a
//! directory that is removed at the end. With `ROUNDS=n` each figure is the median of n.
//!
//! The goals: debits in groups of 64 take at most 2.2 µs of CPU time each and reach at least 150,000 a second; a single commit
//! takes at most 1.3 times a single append and sync; a checkpoint delays no commit by more than 50 ms; a start with 1,000,000
//! callers and 5,000,000 debits restores the policy within 4 s.
//!
//! CPU time is that of the whole process, including the runtime and the waiting tasks.

#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use tiergate::clock::Clock;
use tiergate::store::{DataDir, Database, History, Ledger, LedgerSettings, Record};
use tiergate::telemetry::DatabaseMeters;
use tiergate_policy::caller::{Caller, NetworkId};
use tiergate_policy::rules::{Priority, Window};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{End, Policy};

/// Concurrent debits, which share a commit.
const GROUPS: [usize; 3] = [4, 16, 64];
/// Debits for each concurrent task.
const DEBITS_EACH: usize = 6_000;
/// Debits one by one.
const ALONE: usize = 3_000;
/// Bytes that a single debit's row takes in the log: a page and its frame header.
const ALONE_BYTES: usize = 4_096 + 24;
const CALLERS: u64 = 1_000_000;
const REMEMBERED: u64 = 5_000_000;

const NOW: UnixTime = UnixTime::from_secs(1_793_500_000);

/// What a stretch of work took.
#[derive(Clone, Copy)]
struct Cost {
    wall_s: f64,
    processor_s: f64,
}

fn main() {
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let folder = std::env::temp_dir().join(format!("tiergate-bench-{}", std::process::id()));
    fs::create_dir(&folder).expect("TMPDIR is writable");
    let mut figures: Vec<(String, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        let base = folder.join(round.to_string());
        fs::create_dir(&base).expect("the directory is new");
        for (place, (name, value)) in all(&base).into_iter().enumerate() {
            match figures.get_mut(place) {
                Some((_, values)) => values.push(value),
                None => figures.push((name, vec![value])),
            }
        }
        fs::remove_dir_all(&base).expect("the benchmark owns the directory");
    }
    fs::remove_dir_all(&folder).expect("the benchmark owns the directory");
    println!("medians of {rounds}");
    for (name, mut values) in figures {
        values.sort_by(f64::total_cmp);
        println!("{name:<62} {:>12.2}", values[values.len() / 2]);
    }
}

fn all(base: &Path) -> Vec<(String, f64)> {
    let rate = |cost: Cost, debits: usize| debits as f64 / cost.wall_s;
    let each_us = |cost: Cost, debits: usize| cost.processor_s * 1e6 / debits as f64;
    let mut figures = Vec::new();
    let mut figure = |name: String, value: f64| figures.push((name, value));
    let (alone, append, times) = sync_then_commit(&base.join("light"));
    figure("one append of a page and fdatasync, µs".to_owned(), append);
    figure("a lone commit, µs".to_owned(), alone);
    figure("a lone commit / an append and fdatasync beside it".to_owned(), times);
    for group in GROUPS {
        let debits = group * DEBITS_EACH;
        let (together, longest_ms) = commits(&base.join(format!("group-{group}")), group, debits);
        let floor = appends(&base.join(format!("append-{group}")), group, debits);
        figure(format!("{group} in flight: debits/s"), rate(together, debits));
        figure(
            format!("{group} in flight: µs of processor each"),
            each_us(together, debits),
        );
        figure(format!("{group} in flight: the longest commit, ms"), longest_ms);
        figure(
            format!("appends of {group} rows and fdatasync: rows/s"),
            rate(floor, debits),
        );
        figure(
            format!("appends of {group} rows and fdatasync: µs of processor each"),
            each_us(floor, debits),
        );
    }
    let (opened, restored) = start_up(&base.join("start"));
    figure("start, 1,000,000 callers, 5,000,000 debits: open, s".to_owned(), opened);
    figure(
        "start, 1,000,000 callers, 5,000,000 debits: restore, s".to_owned(),
        restored,
    );
    figures
}

fn processor_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn measure(clock: &Clock, work: impl FnOnce()) -> Cost {
    let (began, processor) = (clock.now(), processor_s());
    work();
    Cost {
        wall_s: clock.now().since(began).as_secs_f64(),
        processor_s: processor_s() - processor,
    }
}

fn record(caller: u64, tier: &Arc<str>) -> Record {
    Record {
        admitted: NOW,
        caller: Caller::Network(NetworkId(caller)),
        tier: Arc::clone(tier),
        upstream: Arc::clone(tier),
        priority: Priority::LOWEST,
        end: End::Succeeded,
        status: 200,
        cost: 1,
        waited: Span::from_millis(2),
        slot_time: Span::from_millis(800),
    }
}

fn open(folder: &Path) -> Arc<Database> {
    let settings = LedgerSettings::new(Clock::start(), Arc::new(|| NOW), DatabaseMeters::unobserved());
    let dir = DataDir::take(folder).expect("the directory is not in use");
    Arc::new(Database::open(dir, settings, &windows(), History::default()).expect("a disk that works"))
}

fn windows() -> [Window; 1] {
    [Window::Rolling(Span::from_secs(24 * 3_600))]
}

/// A preallocated file.
fn roomy(path: &Path, bytes: usize) -> File {
    let file = File::create_new(path).expect("the file is new");
    file.write_all_at(&vec![0; bytes], 0).expect("the disk has space");
    file.sync_all().expect("the disk works");
    file
}

/// The lower bound: groups of rows with no waiting task, and only a write of as many bytes and a sync each.
fn appends(path: &Path, group: usize, debits: usize) -> Cost {
    // A row takes about 90 bytes, and pages are written whole.
    let bytes = (group * 90).div_ceil(4_096) * 4_096;
    let file = roomy(path, debits / group * bytes);
    let rows = vec![1; bytes];
    measure(&Clock::start(), || {
        for place in 0..debits / group {
            file.write_all_at(&rows, (place * bytes) as u64)
                .expect("the disk has space");
            file.sync_data().expect("the disk works");
        }
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// `debits` debits by `in_flight` tasks of one event loop, each waiting for its last one before the next; and the longest wait
/// of any of them in milliseconds, checkpoints included.
fn commits(folder: &Path, in_flight: usize, debits: usize) -> (Cost, f64) {
    let database = open(folder);
    let clock = Clock::start();
    let tier: Arc<str> = Arc::from("free");
    let work = async |of: usize| {
        let tasks: Vec<_> = (0..in_flight)
            .map(|task| {
                let (database, tier) = (Arc::clone(&database), Arc::clone(&tier));
                tokio::spawn(async move {
                    let mut longest = Span::ZERO;
                    for debit in 0..of / in_flight {
                        let caller = (task * of + debit) as u64;
                        let began = clock.now();
                        database.commit(record(caller, &tier)).await.expect("the disk works");
                        longest = longest.max(clock.now().since(began));
                    }
                    longest
                })
            })
            .collect();
        let mut longest = Span::ZERO;
        for task in tasks {
            longest = longest.max(task.await.expect("it does not panic"));
        }
        longest
    };
    let runtime = runtime();
    runtime.block_on(work(in_flight * 16));
    let mut longest = Span::ZERO;
    let cost = measure(&clock, || longest = runtime.block_on(work(debits)));
    (cost, longest.as_secs_f64() * 1e3)
}

/// The time of a single commit and of an append of a page with its sync, in µs, alternating, because the disk's speed varies
/// within a second: medians and their ratio.
fn sync_then_commit(folder: &Path) -> (f64, f64, f64) {
    let database = open(folder);
    let file = roomy(&folder.join("bare"), ALONE * ALONE_BYTES);
    let page = [1; ALONE_BYTES];
    let (clock, tier, runtime) = (Clock::start(), Arc::from("free"), runtime());
    let (mut bare, mut waited) = (Vec::new(), Vec::new());
    for place in 0..ALONE as u64 {
        let append = || {
            file.write_all_at(&page, place * ALONE_BYTES as u64)
                .expect("the disk has space");
            file.sync_data().expect("the disk works");
        };
        bare.push(measure(&clock, append).wall_s);
        let commit = || {
            runtime
                .block_on(database.commit(record(place, &tier)))
                .expect("the disk works")
        };
        waited.push(measure(&clock, commit).wall_s);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] * 1e6
    };
    let (waited, bare) = (median(waited), median(bare));
    (waited, bare, waited / bare)
}

/// Opening a database with that many debits and callers, and restoring the last 24 hours' usage in a policy.
fn start_up(folder: &Path) -> (f64, f64) {
    fill(folder).expect("the disk has space");
    let clock = Clock::start_at(NOW);
    let began = clock.now();
    let database = open(folder);
    let opened = clock.now();
    let mut policy = Policy::new(Arc::new(rules::rules().windows(windows()).build()));
    policy.follow_clock(NOW, opened, Span::from_secs(300));
    let restored = database.restore(&mut policy, opened).expect("the disk works");
    let replayed = clock.now();
    assert_eq!(restored.debits, REMEMBERED);
    assert_eq!(policy.debtors()[1] as u64, CALLERS);
    (opened.since(began).as_secs_f64(), replayed.since(opened).as_secs_f64())
}

fn fill(folder: &Path) -> io::Result<()> {
    let database = open(folder);
    let tier = Arc::from("free");
    let mut last = None;
    for debit in 0..REMEMBERED {
        let caller = debit.wrapping_mul(0x9E37_79B9_7F4A_7C15) % CALLERS;
        // Each caller at least once.
        let caller = if debit < CALLERS { debit } else { caller };
        // In chronological order over a day that ends now.
        let ago = Span::from_millis((REMEMBERED - debit) * 86_000_000 / REMEMBERED);
        let admitted = UnixTime::from_millis(NOW.as_millis() - ago.as_millis());
        let record = Record {
            admitted,
            ..record(caller, &tier)
        };
        last = Some(database.commit(record));
        if debit % 100_000 == 0 {
            // The queue stays short, as it is behind a gate.
            runtime()
                .block_on(last.take().expect("just put there"))
                .map_err(io::Error::other)?;
        }
    }
    match last {
        Some(commit) => runtime().block_on(commit).map_err(io::Error::other),
        None => Ok(()),
    }
}
