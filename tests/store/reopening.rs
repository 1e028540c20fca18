//! What was written is there exactly once after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::refusal::Reason;
use tiergate::policy::rules::Priority;
use tiergate::policy::time::Span;
use tiergate::store::{
    Database, Durability, History, Ledger, LedgerEntry, LedgerSettings, OpenError, Record, RefusalRecord,
};

use crate::folder::Folder;
use crate::kit::{
    HOUR, Held, Locked, MONTH, WallClock, as_killed, commits, count, debit, open, open_with, settings, success, used,
    wait, wal, windows,
};

fn variety() -> Vec<LedgerEntry> {
    let wall = MONTH + HOUR;
    let callers = [
        Caller::Account(AccountId(7)),
        Caller::Network(NetworkId(u64::MAX)),
        Caller::User {
            of: AccountId(9),
            user: UserId(1 << 63),
        },
    ];
    let mut all: Vec<LedgerEntry> = End::ALL
        .iter()
        .zip(callers.iter().cycle())
        .enumerate()
        .map(|(place, ((end, _), caller))| {
            LedgerEntry::Job(Record {
                caller: *caller,
                tier: Arc::from(["free", "x".repeat(64).as_str()][place % 2]),
                upstream: Arc::from(["search", "other"][place % 2]),
                priority: Priority::new((place % Priority::COUNT) as u8).expect("below their number"),
                end: *end,
                status: 200 + place as u16,
                cost: place as u32,
                waited: Span::from_millis(place as u64),
                ..success(0, wall)
            })
        })
        .collect();
    all.push(LedgerEntry::Refused(RefusalRecord {
        minute: wall,
        caller: Some(callers[0]),
        tier: Arc::from("free"),
        reason: Reason::QuotaDepleted,
        status: 402,
        count: 3,
    }));
    all
}

/// Every job and refusal there is, in words.
fn rows(database: &Database) -> Vec<String> {
    let read = database.read(|connection| {
        let mut all = Vec::new();
        let mut select = connection.prepare(
            "SELECT printf('%d: %d to %d by %d %d %d, %s %s %d, %s %d, %d of %d, %d + %d', number, admitted, ended, account, \
                    network, end_user, tier, upstream, priority, outcome, status, units, cost, wait_ms, service_ms) \
             FROM job UNION ALL \
             SELECT printf('refused %d: %d by %d %d %d, %s %s %d, %d', number, minute, account, network, end_user, tier, \
                    reason, status, count) FROM refusal",
        )?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            all.push(row.get(0)?);
        }
        Ok(all)
    });
    read.expect("the database can be read")
}

/// The same of entries, in the order in which they come.
fn in_words(entries: &[LedgerEntry]) -> Vec<String> {
    let columns = |caller: Caller| match caller {
        Caller::Account(account) => format!("{} 0 0", account.0),
        Caller::Network(network) => format!("0 {} 0", network.0.cast_signed()),
        Caller::User { of, user } => format!("{} 0 {}", of.0, user.0.cast_signed()),
    };
    let word = |(number, entry): (usize, &LedgerEntry)| match entry {
        LedgerEntry::Job(job) => format!(
            "{}: {} to {} by {}, {} {} {}, {} {}, {} of {}, {} + {}",
            number + 1,
            job.admitted.as_millis(),
            job.ended().as_millis(),
            columns(job.caller),
            job.tier,
            job.upstream,
            job.priority.get(),
            job.end.name(),
            job.status,
            job.debit(),
            job.cost,
            job.waited.as_millis(),
            job.slot_time.as_millis()
        ),
        LedgerEntry::Refused(refused) => format!(
            "refused 1: {} by {}, {} {} {}, {}",
            refused.minute.as_millis(),
            columns(refused.caller.expect("it has one")),
            refused.tier,
            refused.reason.code(),
            refused.status,
            refused.count
        ),
    };
    entries.iter().enumerate().map(word).collect()
}

/// Notes are written with the next commit or when the database closes.
#[test]
fn every_kind_of_entry_is_read_back_unchanged() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    for entry in variety() {
        database.note(entry);
    }
    drop(database);
    let database = open(folder.path(), &wall).expect("it was closed");
    assert_eq!(rows(&database), in_words(&variety()));
}

#[test]
fn a_debit_is_durable_when_its_commit_resolves() {
    let (mut folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    for restart in 0..5 {
        let database = open(folder.path(), &wall).expect("it can be opened");
        let (rolling, month) = used(&database, wall.now());
        assert_eq!(rolling.get(&1).copied().unwrap_or(0), restart);
        assert_eq!(rolling, month);
        debit(&database, success(1, wall.now()));
        let killed = as_killed(folder.path());
        drop(database);
        folder = killed;
    }
}

#[test]
fn an_entry_withdrawn_before_its_write_does_not_count() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    let held = Held::up(&database);
    let unwritten = database.commit(success(1, wall.now()));
    let kept = database.commit(success(2, wall.now()));
    assert!(unwritten.withdraw().is_err());
    drop(held);
    assert_eq!(wait(kept), Ok(()));
    drop(database);
    let database = open(folder.path(), &wall).expect("it was closed");
    assert_eq!(used(&database, wall.now()).0, BTreeMap::from([(2, 1)]));
    assert_eq!(rows(&database).len(), 1);
}

/// Its row is marked by the next transaction. The writer's start on a group can't be observed, so this retries until it had
/// started.
#[test]
fn an_entry_withdrawn_during_its_write_does_not_count() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    let mut tries = 0;
    while count(&database, "SELECT count(*) FROM job WHERE outcome = 'withdrawn'") == 0 {
        tries += 1;
        assert!(tries < 1_000, "no group was ever being written");
        let locked = Locked::new(folder.path());
        let written = database.commit(success(1, wall.now()));
        for _ in 0..tries {
            std::thread::yield_now();
        }
        assert!(written.withdraw().is_err());
        drop(locked);
        debit(&database, success(2, wall.now()));
    }
    let all = BTreeMap::from([(2, tries)]);
    assert_eq!(used(&database, wall.now()), (all.clone(), all.clone()));
    let killed = as_killed(folder.path());
    database.roll_up().expect("it can be written");
    drop(database);
    for folder in [&folder, &killed] {
        let database = open(folder.path(), &wall).expect("it can be opened");
        assert_eq!(used(&database, wall.now()), (all.clone(), all.clone()));
    }
}

#[test]
fn what_waits_is_committed_together() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let database = open(folder.path(), &wall).expect("an empty folder");
    debit(&database, success(0, wall.now()));
    let held = Held::up(&database);
    let all: Vec<_> = (1..64).map(|n| database.commit(success(n, wall.now()))).collect();
    let log = || fs::read(wal(as_killed(folder.path()).path())).expect("a log");
    let before = commits(&log()).len();
    drop(held);
    for commit in all {
        assert_eq!(wait(commit), Ok(()));
    }
    assert_eq!(commits(&log()).len(), before + 1);
}

#[test]
fn relaxed_durability_answers_at_once_and_still_writes() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let relaxed = LedgerSettings {
        durability: Durability::Relaxed,
        commit_every: Span::from_millis(1),
        ..settings(&wall)
    };
    let open = || open_with(folder.path(), relaxed.clone(), &windows(), History::default());
    let database = open().expect("an empty folder");
    let held = Held::up(&database);
    let commit = database.commit(success(1, wall.now()));
    assert_eq!(wait(commit), Ok(()), "though nothing is synced");
    drop(held);
    drop(database);
    assert_eq!(rows(&open().expect("it was closed")).len(), 1);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH));
    let database = open(folder.path(), &wall).expect("an empty folder");
    let error = open(folder.path(), &wall).map(|_| ()).expect_err("it is in use");
    let told = format!(
        "the data folder {} is in use by another tiergate",
        folder.path().display()
    );
    assert_eq!(error.to_string(), told);
    debit(&database, success(1, wall.now()));
    drop(database);
    assert!(open(folder.path(), &wall).is_ok());
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH));
    let database = open(folder.path(), &wall).expect("an empty folder");
    let raised = database.write(|transaction| transaction.pragma_update(None, "user_version", 9));
    raised.expect("it can be written");
    drop(database);
    let file = folder.path().join("tiergate.db");
    let before = fs::read(&file).expect("it is there");
    let error = open(folder.path(), &wall).map(|_| ()).expect_err("it is newer");
    assert!(matches!(error, OpenError::Newer { version: 9, .. }), "{error}");
    assert!(
        error.to_string().contains(
            "tiergate.db was written by a newer tiergate (its schema is version 9, this program knows up to 3)"
        )
    );
    assert_eq!(fs::read(&file).expect("it is there"), before);
}

#[test]
fn only_the_owner_can_read_the_files() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH));
    let data = folder.path().join("a/b");
    let _database = open(&data, &wall).expect("a new folder");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in [
        "id",
        "lock",
        "running",
        "tiergate.db",
        "tiergate.db-wal",
        "tiergate.db-shm",
    ] {
        assert_eq!(mode(&data.join(file)) & 0o077, 0, "{file}");
    }
}

/// Regression: entries after `close`, while the writer was busy, were acknowledged by a relaxed journal and never written.
#[test]
fn entries_after_closing_are_refused() {
    for durability in [Durability::Relaxed, Durability::Strict] {
        let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
        let settings = LedgerSettings {
            durability,
            commit_every: Span::from_millis(1),
            // Closing gives up while the writer is held.
            commit_patience: Span::from_millis(1),
            ..settings(&wall)
        };
        let opened = open_with(folder.path(), settings, &windows(), History::default());
        let database = opened.expect("an empty folder");
        let held = Held::up(&database);
        let first = database.commit(success(1, wall.now()));
        database.close();
        let late = wait(database.commit(success(2, wall.now())));
        assert!(late.is_err(), "{durability:?}");
        let refused = database.write(|_| Ok(()));
        assert!(refused.is_err());
        drop(held);
        assert_eq!(wait(first), Ok(()));
    }
}
