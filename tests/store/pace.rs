//! How a journal commits, changed while it is open.

use std::path::Path;
use std::sync::Arc;

use tiergate::policy::time::Span;
use tiergate::store::journal::{Durability, Journal, Pace, Settings};
use tiergate::store::{Ledger, Unavailable};

use crate::disk::TestDisk;
use crate::house::{DATA, HOUR, MONTH, WallClock, open, settings, success, used, wait, windows};

#[test]
fn answers_wait_for_their_debits_as_the_last_pace_says() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let strict = settings(&wall).pace();
    let relaxed = Pace {
        durability: Durability::Relaxed,
        ..strict
    };
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    disk.hold();
    let before = journal.commit(success(1, wall.now()));
    assert!(disk.wait_held());
    journal.set_pace(relaxed);
    let at_once = journal.commit(success(2, wall.now()));
    assert_eq!(
        wait(&disk, at_once).expect("the disk is well"),
        Ok(()),
        "though nothing is synced"
    );
    journal.set_pace(strict);
    let waits = journal.commit(success(3, wall.now()));
    let withdrawn = journal.commit(success(4, wall.now()));
    assert_eq!(withdrawn.withdraw(), Err(Unavailable), "it waited");
    disk.release();
    for commit in [before, waits] {
        assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
    }
    drop(journal);
    let (_journal, history) = open(&disk, &wall).expect("it was closed");
    let counts: Vec<u32> = used(history).0.into_keys().collect();
    assert_eq!(counts, [1, 2, 3]);
}

/// A writer that gathers a group for an hour, as it was told, would let a strict commit wait as long.
#[test]
fn who_gathers_a_group_goes_on_with_the_new_pace() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let slow = Settings {
        durability: Durability::Relaxed,
        commit_every: HOUR,
        ..settings(&wall)
    };
    let strict = Pace {
        durability: Durability::Strict,
        ..slow.pace()
    };
    let opened = Journal::open(Path::new(DATA), slow, &windows(), Vec::new(), Arc::new(disk.clone()));
    let (journal, _) = opened.expect("an empty disk");
    let gathered = journal.commit(success(1, wall.now()));
    assert_eq!(
        wait(&disk, gathered).expect("the disk is well"),
        Ok(()),
        "it didn't wait"
    );
    journal.set_pace(strict);
    let commit = journal.commit(success(2, wall.now()));
    assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
    disk.crash();
    let disk = disk.reborn(crate::disk::Unsynced::Lost);
    let (_journal, history) = open(&disk, &wall).expect("the disk is well");
    assert_eq!(used(history).0.len(), 2, "the earlier one is durable with it");
}

#[test]
fn patience_is_as_long_as_the_last_pace_says() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let patient = Pace {
        commit_patience: HOUR,
        ..settings(&wall).pace()
    };
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    journal.set_pace(patient);
    disk.hold();
    let commit = journal.commit(success(1, wall.now()));
    assert!(disk.wait_held());
    assert!(journal.is_available());
    journal.set_pace(Pace {
        commit_patience: Span::ZERO,
        ..patient
    });
    assert!(!journal.is_available(), "it is under way for too long now");
    journal.set_pace(patient);
    assert!(journal.is_available());
    disk.release();
    assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
}
