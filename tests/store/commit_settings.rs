//! How a database commits, changed while it is open.

use tiergate::policy::time::Span;
use tiergate::store::{CommitSettings, Durability, History, Ledger, LedgerSettings, Unavailable};

use crate::folder::Folder;
use crate::kit::{HOUR, Held, MONTH, WallClock, as_killed, open, open_with, settings, success, used, wait, windows};

#[test]
fn answers_wait_for_debits_as_the_last_settings_say() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let strict = settings(&wall).commit_settings();
    let relaxed = CommitSettings {
        durability: Durability::Relaxed,
        ..strict
    };
    let database = open(folder.path(), &wall).expect("an empty folder");
    let held = Held::up(&database);
    let before = database.commit(success(1, wall.now()));
    database.set_commit_settings(relaxed);
    let at_once = database.commit(success(2, wall.now()));
    assert_eq!(wait(at_once), Ok(()), "though nothing is synced");
    database.set_commit_settings(strict);
    let waits = database.commit(success(3, wall.now()));
    let withdrawn = database.commit(success(4, wall.now()));
    assert_eq!(withdrawn.withdraw(), Err(Unavailable), "it waited");
    drop(held);
    for commit in [before, waits] {
        assert_eq!(wait(commit), Ok(()));
    }
    drop(database);
    let database = open(folder.path(), &wall).expect("it was closed");
    let counts: Vec<u32> = used(&database, wall.now()).0.into_keys().collect();
    assert_eq!(counts, [1, 2, 3]);
}

/// A writer that gathers a group for an hour, as it was told, would let a strict commit wait as long.
#[test]
fn a_gathering_group_continues_with_the_new_settings() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let slow = LedgerSettings {
        durability: Durability::Relaxed,
        commit_every: HOUR,
        ..settings(&wall)
    };
    let strict = CommitSettings {
        durability: Durability::Strict,
        ..slow.commit_settings()
    };
    let database = open_with(folder.path(), slow, &windows(), History::default()).expect("an empty folder");
    let gathered = database.commit(success(1, wall.now()));
    assert_eq!(wait(gathered), Ok(()), "it didn't wait");
    database.set_commit_settings(strict);
    let commit = database.commit(success(2, wall.now()));
    assert_eq!(wait(commit), Ok(()));
    let killed = as_killed(folder.path());
    let killed = open(killed.path(), &wall).expect("it can be opened");
    assert_eq!(
        used(&killed, wall.now()).0.len(),
        2,
        "the earlier one is durable with it"
    );
}

#[test]
fn commit_patience_follows_the_last_settings() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let patient = CommitSettings {
        commit_patience: HOUR,
        ..settings(&wall).commit_settings()
    };
    let database = open(folder.path(), &wall).expect("an empty folder");
    database.set_commit_settings(patient);
    let held = Held::up(&database);
    let commit = database.commit(success(1, wall.now()));
    assert!(database.is_available());
    database.set_commit_settings(CommitSettings {
        commit_patience: Span::ZERO,
        ..patient
    });
    assert!(!database.is_available(), "it is under way for too long now");
    database.set_commit_settings(patient);
    assert!(database.is_available());
    drop(held);
    assert_eq!(wait(commit), Ok(()));
}
