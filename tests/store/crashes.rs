//! What SIGKILL leaves at any moment, and what a power loss can leave of the log's tail: whatever was answered by then is
//! debited, and nothing counts twice (rules §5.10).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rusqlite::Connection;
use tiergate::store::{DATABASE_FILE, Database, Ledger, OpenError};

use crate::folder::Folder;
use crate::kit::{
    FRAME_HEADER, HOUR, Held, MONTH, PAGE, WAL_HEADER, WallClock, as_killed, commits, debit, open, success, used, wait,
    wal,
};

const WORKERS: usize = 4;
const KILLS: usize = 25;

/// Each job has an account of its own, which has used one unit in every window.
fn each_once(database: &Database, wall: &WallClock) -> BTreeSet<u32> {
    let (rolling, month) = used(database, wall.now());
    assert_eq!(rolling, month);
    assert!(rolling.values().all(|units| *units == 1), "{rolling:?}");
    rolling.into_keys().collect()
}

#[test]
fn sigkill_at_any_moment_loses_no_answered_debit() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    let (next, over) = (AtomicU32::new(1), AtomicBool::new(false));
    let answered = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    debit(&database, success(number, wall.now()));
                    answered.lock().expect("nobody panics").insert(number);
                }
            });
        }
        // Checkpoints and rolls up all the time, as the server's housekeeping does.
        scope.spawn(|| {
            let checkpoints = Connection::open(folder.path().join(DATABASE_FILE)).expect("it is there");
            while !over.load(Ordering::SeqCst) {
                let moved = checkpoints.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                moved.expect("it can be written");
                database.roll_up().expect("it can be written");
            }
        });
        let ended = EndsWorkers(&over);
        for kill in 0..KILLS {
            let before = answered.lock().expect("nobody panics").clone();
            let killed = as_killed(folder.path());
            let begun = next.load(Ordering::SeqCst);
            let reopened = open(killed.path(), &wall).expect("it can be opened");
            let there = each_once(&reopened, &wall);
            assert!(before.is_subset(&there), "kill {kill}: {:?}", before.difference(&there));
            assert!(there.iter().all(|number| *number < begun), "kill {kill}");
        }
        drop(ended);
    });
    let all: BTreeSet<u32> = (1..next.load(Ordering::SeqCst)).collect();
    assert_eq!(each_once(&database, &wall), all);
}

/// Stops the threads, also when the test fails: without it, a failed test hung.
struct EndsWorkers<'a>(&'a AtomicBool);

impl Drop for EndsWorkers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A folder with that database and this part of its log, as after a crash.
fn with_log(killed: &Folder, log: &[u8]) -> Folder {
    let folder = Folder::in_memory();
    for name in [DATABASE_FILE, "id", "running"] {
        fs::copy(killed.path().join(name), folder.path().join(name)).expect("it is there");
    }
    fs::write(wal(folder.path()), log).expect("a folder to write to");
    folder
}

fn length(log: &Path) -> usize {
    let length = fs::metadata(log).expect("a log").len();
    usize::try_from(length).expect("it is small")
}

/// Any part of what was not synced may be lost: the log ends before its first incomplete frame.
#[test]
fn a_truncated_log_keeps_what_was_durable_by_then() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH + HOUR));
    drop(open(folder.path(), &wall).expect("an empty folder"));
    let database = open(folder.path(), &wall).expect("it was closed");
    let mut answered = Vec::new();
    let mut next = 1;
    for size in [1, 3, 1, 7, 2, 90, 1, 7, 150, 1] {
        let held = Held::up(&database);
        let group: Vec<_> = (next..next + size)
            .map(|number| (number, database.commit(success(number, wall.now()))))
            .collect();
        next += size;
        drop(held);
        for (number, commit) in group {
            assert_eq!(wait(commit), Ok(()));
            answered.push((number, length(&wal(folder.path()))));
        }
        if size == 7 {
            database.roll_up().expect("it can be written");
        }
    }
    let killed = as_killed(folder.path());
    let log = fs::read(wal(killed.path())).expect("a log");
    let frame = FRAME_HEADER + PAGE;
    let frames = (log.len() - WAL_HEADER) / frame;
    assert!(frames > 15, "only {frames}");
    let ends = (0..=frames).map(|number| WAL_HEADER + number * frame);
    let cuts = ends.flat_map(|end| [end - 8, end, end + 12, end + FRAME_HEADER + PAGE / 2]);
    for cut in cuts.filter(|cut| *cut <= log.len()) {
        let folder = with_log(&killed, &log[..cut]);
        let database = open(folder.path(), &wall).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let there = each_once(&database, &wall);
        for (number, by) in &answered {
            assert!(
                *by > cut || there.contains(number),
                "cut at {cut}: {number} was answered"
            );
        }
        // Whole groups, in their order.
        let last = there.last().copied().unwrap_or(0);
        assert!(there.into_iter().eq(1..=last), "cut at {cut}");
        debit(&database, success(1_000, wall.now()));
    }
}

/// A first start whose commits are lost leaves a database that looks empty, but its folder is marked as used.
#[test]
fn a_used_folder_does_not_start_empty_when_its_log_is_cut() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    debit(&database, success(1, wall.now()));
    let killed = as_killed(folder.path());
    let log = fs::read(wal(killed.path())).expect("a log");
    let ends = commits(&log);
    let mut refused = 0;
    for cut in std::iter::once(0).chain(ends.iter().copied()) {
        let folder = with_log(&killed, &log[..cut]);
        match open(folder.path(), &wall) {
            Ok(database) => {
                let there = each_once(&database, &wall);
                assert!(
                    refused > 0 && there.len() == usize::from(cut == log.len()),
                    "cut at {cut}"
                );
            }
            Err(error) => {
                let known = matches!(error, OpenError::Foreign { .. } | OpenError::Damaged { .. });
                assert!(known, "cut at {cut}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 1, "{refused} of {}", ends.len());
}

/// Neither the log nor the sums disturb the numbers of later rows.
#[test]
fn job_numbers_go_on_after_crashes_and_when_no_job_is_left() {
    let (mut folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
    let mut all = BTreeMap::new();
    for round in 0..5_u32 {
        let database: Arc<Database> = open(folder.path(), &wall).expect("it can be opened");
        for number in 1..=3 {
            debit(&database, success(round * 10 + number, wall.now()));
            all.insert(round * 10 + number, 1);
        }
        assert_eq!(used(&database, wall.now()).1, all);
        // All jobs are younger than that.
        database
            .remove_old(wall.now() + HOUR.saturating_mul(24 * 29))
            .expect("it can be written");
        folder = as_killed(folder.path());
    }
    let database = open(folder.path(), &wall).expect("it can be opened");
    let jobs = database.read(|connection| {
        connection.query_row("SELECT coalesce(max(number), 0), count(*) FROM job", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
    });
    assert_eq!(jobs, Ok((15, 15)));
    let emptied = database.remove_old(wall.now() + HOUR.saturating_mul(24 * 40));
    emptied.expect("it can be written");
    assert_eq!(crate::kit::count(&database, "SELECT count(*) FROM job"), 0);
    drop(database);
    let database = open(folder.path(), &wall).expect("it was closed");
    debit(&database, success(99, wall.now()));
    assert_eq!(crate::kit::count(&database, "SELECT number FROM job"), 16);
}
