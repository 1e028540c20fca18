//! How a database commits, changed while it is open.

use tiergate::policy::time::Span;
use tiergate::store::{Durability, History, Ledger, Pace, Settings, Unavailable};

use crate::folder::Folder;
use crate::kit::{HOUR, Held, MONTH, WallClock, as_killed, open, open_with, settings, success, used, wait, windows};

#[test]
fn responses_wait_for_debits_by_the_current_pace() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let strict = settings(&wall).pace();
    let relaxed = Pace {
        durability: Durability::Relaxed,
        ..strict
    };
    let database = open(folder.path(), &wall).expect("an empty folder");
    let held = Held::up(&database);
    let before = database.commit(success(1, wall.now()));
    database.set_pace(relaxed);
    let at_once = database.commit(success(2, wall.now()));
    assert_eq!(wait(at_once), Ok(()), "though nothing is synced");
    database.set_pace(strict);
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
fn a_group_being_gathered_takes_the_new_pace() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let slow = Settings {
        durability: Durability::Relaxed,
        commit_every: HOUR,
        ..settings(&wall)
    };
    let strict = Pace {
        durability: Durability::Strict,
        ..slow.pace()
    };
    let database = open_with(folder.path(), slow, &windows(), History::default()).expect("an empty folder");
    let gathered = database.commit(success(1, wall.now()));
    assert_eq!(wait(gathered), Ok(()), "it didn't wait");
    database.set_pace(strict);
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
fn commit_patience_follows_the_current_pace() {
    let (folder, wall) = (Folder::new(), WallClock::at(MONTH + HOUR));
    let patient = Pace {
        commit_patience: HOUR,
        ..settings(&wall).pace()
    };
    let database = open(folder.path(), &wall).expect("an empty folder");
    database.set_pace(patient);
    let held = Held::up(&database);
    let commit = database.commit(success(1, wall.now()));
    assert!(database.is_available());
    database.set_pace(Pace {
        commit_patience: Span::ZERO,
        ..patient
    });
    assert!(!database.is_available(), "it is under way for too long now");
    database.set_pace(patient);
    assert!(database.is_available());
    drop(held);
    assert_eq!(wait(commit), Ok(()));
}
