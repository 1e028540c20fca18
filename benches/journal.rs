//! What durability costs: `cargo bench --bench journal`. On the disk that holds `TMPDIR`, in a folder that is removed at the end.
//!
//! The goals: debits per second at 64 in flight ≥ 40 × one-by-one commits on the same disk, for ≤ 1 µs of processor each; the
//! wait that a commit adds under light load ≤ 1.5 × one `fdatasync`; start-up with 1,000,000 callers and 5,000,000 debits ≤ 5 s.
//! SQLite (WAL, `synchronous=FULL`) and redb do the same work on the same disk. With `ROUNDS=n` each figure is the median of n.
//!
//! Processor time is the whole process's: for the journal with the runtime and the 64 tasks that wait, so it contains what an
//! event loop spends on waiting.
//!
//! Absent on purpose: any comparison with a machine other than this one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use tiergate::clock::Clock;
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::rules::{CALLERS_MAX_DEFAULT, Priority, QueueRules, Rules, TierId, Window, Within};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{End, Policy};
use tiergate::store::journal::disk::SystemDisk;
use tiergate::store::journal::{Journal, Settings};
use tiergate::store::{Ledger, Record};
use tiergate::telemetry::JournalMeters;

const IN_FLIGHT: usize = 64;
const DEBITS: usize = 400_000;
const ALONE: usize = 3_000;
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
    fs::create_dir(&folder).expect("a folder of its own");
    let mut figures: Vec<(&'static str, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        let base = folder.join(round.to_string());
        fs::create_dir(&base).expect("it is ours");
        for (place, (name, value)) in all(&base).into_iter().enumerate() {
            match figures.get_mut(place) {
                Some((_, values)) => values.push(value),
                None => figures.push((name, vec![value])),
            }
        }
        fs::remove_dir_all(&base).expect("it is ours");
    }
    fs::remove_dir_all(&folder).expect("it is ours");
    println!("medians of {rounds}");
    for (name, mut values) in figures {
        values.sort_by(f64::total_cmp);
        println!("{name:<58} {:>14.2}", values[values.len() / 2]);
    }
}

fn all(base: &Path) -> Vec<(&'static str, f64)> {
    let sync = bare_sync(&base.join("bare"));
    let alone = journal(&base.join("alone"), 1, ALONE);
    let light = sync_then_commit(&base.join("light"));
    let together = journal(&base.join("together"), IN_FLIGHT, DEBITS);
    let floor = append(&base.join("append"), DEBITS);
    let (sqlite_alone, sqlite) = (
        sqlite(&base.join("sqlite1"), 1, ALONE),
        sqlite(&base.join("sqlite"), IN_FLIGHT, DEBITS / 4),
    );
    let (redb_alone, redb) = (
        redb(&base.join("redb1"), 1, ALONE),
        redb(&base.join("redb"), IN_FLIGHT, DEBITS / 4),
    );
    let start = start_up(&base.join("start"));
    let rate = |cost: Cost, debits: usize| debits as f64 / cost.wall_s;
    let each_us = |cost: Cost, debits: usize| cost.processor_s * 1e6 / debits as f64;
    vec![
        ("one fdatasync of 64 bytes, µs", sync),
        ("journal, one by one: debits/s", rate(alone, ALONE)),
        ("journal, one by one: µs each", alone.wall_s * 1e6 / ALONE as f64),
        ("journal, one by one: µs of processor each", each_us(alone, ALONE)),
        ("bare append, groups of 64: debits/s", rate(floor, DEBITS)),
        (
            "bare append, groups of 64: µs of processor each",
            each_us(floor, DEBITS),
        ),
        ("journal, light load: wait / fdatasync beside it", light),
        ("journal, 64 in flight: debits/s", rate(together, DEBITS)),
        ("journal, 64 in flight: µs of processor each", each_us(together, DEBITS)),
        (
            "journal, 64 in flight / one by one",
            rate(together, DEBITS) / rate(alone, ALONE),
        ),
        ("SQLite, one by one: debits/s", rate(sqlite_alone, ALONE)),
        ("SQLite, groups of 64: debits/s", rate(sqlite, DEBITS / 4)),
        (
            "SQLite, groups of 64: µs of processor each",
            each_us(sqlite, DEBITS / 4),
        ),
        ("redb, one by one: debits/s", rate(redb_alone, ALONE)),
        ("redb, groups of 64: debits/s", rate(redb, DEBITS / 4)),
        ("redb, groups of 64: µs of processor each", each_us(redb, DEBITS / 4)),
        ("start-up, 1,000,000 callers, 5,000,000 debits: open s", start.0),
        ("start-up, 1,000,000 callers, 5,000,000 debits: replay s", start.1),
    ]
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
        priority: Priority::LOWEST,
        end: End::Succeeded,
        status: 200,
        cost: 1,
        waited: Span::from_millis(2),
        searched: Span::from_millis(800),
    }
}

fn open(folder: &Path) -> (Journal, tiergate::store::journal::History) {
    let settings = Settings::new(Clock::start(), Arc::new(|| NOW), JournalMeters::unobserved());
    Journal::open(folder, settings, &windows(), Vec::new(), Arc::new(SystemDisk)).expect("a disk that works")
}

fn windows() -> [Window; 1] {
    [Window::Rolling(Span::from_secs(24 * 3_600))]
}

/// A file with room, as the journal's.
fn roomy(path: &Path) -> File {
    let file = File::create_new(path).expect("it is ours");
    file.write_all_at(&vec![0; 4 << 20], 0).expect("there is room");
    file.sync_all().expect("the disk works");
    file
}

/// One write of a frame and its sync, the median of many, in µs.
fn bare_sync(path: &Path) -> f64 {
    let file = roomy(path);
    let clock = Clock::start();
    let mut times: Vec<f64> = (0..ALONE as u64)
        .map(|place| measure(&clock, || write_and_sync(&file, place)).wall_s * 1e6)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn write_and_sync(file: &File, place: u64) {
    file.write_all_at(&[1; 64], place * 64).expect("there is room");
    file.sync_data().expect("the disk works");
}

/// What groups of 64 frames cost with nobody who waits and nothing but a write and a sync each: the floor.
fn append(path: &Path, debits: usize) -> Cost {
    let file = File::create_new(path).expect("it is ours");
    file.write_all_at(&vec![0; debits * 64], 0).expect("there is room");
    file.sync_all().expect("the disk works");
    let group = [1; 64 * IN_FLIGHT];
    measure(&Clock::start(), || {
        for place in 0..debits / IN_FLIGHT {
            file.write_all_at(&group, (place * group.len()) as u64)
                .expect("there is room");
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

/// So many debits, by so many tasks of one event loop that each wait for the last before the next.
fn journal(folder: &Path, in_flight: usize, debits: usize) -> Cost {
    let (journal, history) = open(folder);
    drop(history);
    let journal = Arc::new(journal);
    let clock = Clock::start();
    let tier: Arc<str> = Arc::from("free");
    let work = async |of: usize| {
        let tasks: Vec<_> = (0..in_flight)
            .map(|task| {
                let (journal, tier) = (Arc::clone(&journal), Arc::clone(&tier));
                tokio::spawn(async move {
                    for debit in 0..of / in_flight {
                        let caller = (task * of + debit) as u64;
                        journal.commit(record(caller, &tier)).await.expect("the disk works");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic");
        }
    };
    let runtime = runtime();
    runtime.block_on(work(in_flight * 16));
    measure(&clock, || runtime.block_on(work(debits)))
}

/// How much longer a commit is awaited than a bare sync takes, the two in turn: the disk's mood changes within a second.
fn sync_then_commit(folder: &Path) -> f64 {
    let (journal, history) = open(folder);
    drop(history);
    let file = roomy(&folder.join("bare"));
    let (clock, tier, runtime) = (Clock::start(), Arc::from("free"), runtime());
    let (mut bare, mut waited) = (Vec::new(), Vec::new());
    for place in 0..ALONE as u64 {
        bare.push(measure(&clock, || write_and_sync(&file, place)).wall_s);
        let commit = || {
            runtime
                .block_on(journal.commit(record(place, &tier)))
                .expect("the disk works")
        };
        waited.push(measure(&clock, commit).wall_s);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    median(waited) / median(bare)
}

fn sqlite(path: &Path, group: usize, debits: usize) -> Cost {
    let mut db = rusqlite::Connection::open(path).expect("it opens");
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
         CREATE TABLE debit (admitted INTEGER, caller INTEGER, tier INTEGER, priority INTEGER, outcome INTEGER,
                             status INTEGER, cost INTEGER, waited INTEGER, searched INTEGER);",
    )
    .expect("it takes them");
    measure(&Clock::start(), || {
        for first in (0..debits).step_by(group) {
            let transaction = db.transaction().expect("it begins");
            {
                let insert = "INSERT INTO debit VALUES (?, ?, 0, 0, 0, 200, 1, 2, 800)";
                let mut insert = transaction.prepare(insert).expect("it is right");
                for debit in first..first + group {
                    insert
                        .execute((NOW.as_millis() as i64, debit as i64))
                        .expect("the disk works");
                }
            }
            transaction.commit().expect("the disk works");
        }
    })
}

fn redb(path: &Path, group: usize, debits: usize) -> Cost {
    const DEBITS_TABLE: redb::TableDefinition<u64, [u8; 44]> = redb::TableDefinition::new("debit");
    let db = redb::Database::create(path).expect("it opens");
    measure(&Clock::start(), || {
        for first in (0..debits).step_by(group) {
            let transaction = db.begin_write().expect("it begins");
            {
                let mut table = transaction.open_table(DEBITS_TABLE).expect("it opens");
                for debit in first..first + group {
                    table.insert(debit as u64, [1; 44]).expect("the disk works");
                }
            }
            transaction.commit().expect("the disk works");
        }
    })
}

/// Opening a journal of so many debits by so many callers, and telling a policy what they have used in the last 24 hours.
fn start_up(folder: &Path) -> (f64, f64) {
    fill(folder).expect("there is room");
    let clock = Clock::start_at(NOW);
    let began = clock.now();
    let (_journal, history) = open(folder);
    let opened = clock.now();
    let mut policy = Policy::new(Arc::new(Rules {
        queue: QueueRules {
            length: 8,
            within_tier: Within::Fifo,
            max_wait: Span::from_secs(30),
            lifeline: None,
        },
        windows: windows().to_vec(),
        tiers: Vec::new(),
        anonymous: TierId(0),
        pools: Vec::new(),
        limits: Vec::new(),
        callers_max: CALLERS_MAX_DEFAULT,
    }));
    policy.follow_clock(NOW, opened, Span::MAX);
    let debits = history.restore(&mut policy, opened, |_, _| {});
    let replayed = clock.now();
    assert_eq!(debits.expect("the disk works"), REMEMBERED);
    assert_eq!(policy.debtors()[1] as u64, CALLERS);
    (opened.since(began).as_secs_f64(), replayed.since(opened).as_secs_f64())
}

fn fill(folder: &Path) -> io::Result<()> {
    let (journal, history) = open(folder);
    drop(history);
    let tier = Arc::from("free");
    let mut last = None;
    for debit in 0..REMEMBERED {
        let caller = debit.wrapping_mul(0x9E37_79B9_7F4A_7C15) % CALLERS;
        // Each caller at least once.
        let caller = if debit < CALLERS { debit } else { caller };
        // In the order of a day that ends now.
        let ago = Span::from_millis((REMEMBERED - debit) * 86_000_000 / REMEMBERED);
        let admitted = UnixTime::from_millis(NOW.as_millis() - ago.as_millis());
        let record = Record {
            admitted,
            ..record(caller, &tier)
        };
        last = Some(journal.commit(record));
        if debit % 100_000 == 0 {
            // The queue stays short, as it is behind a hall with seats.
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
