//! A scripted day, broken at every write, every sync, and every other step, in every way.
//!
//! The promises (semantics §5.10): whatever was answered is debited after a restart; what was under way may be debited once, and
//! nothing else is; what fails without a crash is neither lost nor charged.
//!
//! Each case is named by the kind of operation, its count from 0, the fault, and what a crash did to what was not synced:
//! [`run`] with these replays it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tiergate::policy::End;
use tiergate::policy::time::Span;
use tiergate::store::journal::{Journal, Settings};
use tiergate::store::{Bookkeeper, Commit, Entry, Ledger, Record};

use crate::disk::{Fault, Op, TestDisk, Unsynced};
use crate::house::{DATA, HOUR, MONTH, WallClock, open, open_with, settings, success, used, wait, windows};

/// What a crash does to what was not synced.
const CRASHES: [Unsynced; 6] = [
    Unsynced::Lost,
    Unsynced::Kept,
    Unsynced::Torn(1),
    Unsynced::Torn(2),
    Unsynced::Torn(3),
    Unsynced::Torn(4),
];

/// What became of each job; its account is its number.
#[derive(Debug, Default)]
struct Day {
    answered: Vec<u32>,
    /// Not answered with success, and it may be on the disk.
    unanswered: Vec<u32>,
    next: u32,
}

/// Which segments are closed, for the script to wait for.
#[derive(Clone, Debug, Default)]
struct Closed(Arc<(Mutex<Option<u64>>, Condvar)>);

impl Closed {
    /// False if the disk is dead instead.
    fn wait_more(&self, disk: &TestDisk, than: Option<u64>) -> bool {
        let (closed, changed) = &*self.0;
        let mut closed = closed.lock();
        while *closed == than && !disk.is_dead() {
            // The disk can't wake this one, so it looks now and then.
            changed.wait_for(&mut closed, std::time::Duration::from_millis(1));
        }
        *closed != than
    }
}

impl Bookkeeper for Closed {
    fn covers(&self) -> Option<u64> {
        *self.0.0.lock()
    }

    fn close(&mut self, segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> io::Result<()> {
        // To the end, as somebody who keeps books would.
        let _read = entries.count();
        *self.0.0.lock() = Some(segment);
        self.0.1.notify_all();
        Ok(())
    }
}

impl Day {
    fn commit(&mut self, journal: &Journal, wall: &WallClock) -> (u32, Commit) {
        let number = self.next;
        self.next += 1;
        (number, journal.commit(success(number, wall.now())))
    }

    /// Waits as a door would: while the disk hangs its patience ends, and it withdraws.
    fn settle(&mut self, disk: &TestDisk, commits: Vec<(u32, Commit)>) {
        let mut hangs = false;
        for (number, commit) in commits {
            let settled = match wait(disk, commit) {
                Ok(settled) => settled,
                Err(commit) => {
                    hangs = true;
                    commit.withdraw()
                }
            };
            match settled {
                Ok(()) => self.answered.push(number),
                Err(_) => self.unanswered.push(number),
            }
        }
        if hangs {
            disk.thaw();
        }
    }

    /// One commit alone, and then so many in one group.
    fn group(&mut self, disk: &TestDisk, journal: &Journal, wall: &WallClock, size: u32) {
        disk.hold();
        let mut commits = vec![self.commit(journal, wall)];
        disk.wait_held();
        commits.extend((0..size).map(|_| self.commit(journal, wall)));
        disk.release();
        self.settle(disk, commits);
    }

    /// One is withdrawn while it is being written, one before, and one stays.
    fn withdraw(&mut self, disk: &TestDisk, journal: &Journal, wall: &WallClock) {
        disk.hold();
        let written = self.commit(journal, wall);
        disk.wait_held();
        let unwritten = self.commit(journal, wall);
        let stays = self.commit(journal, wall);
        for (number, commit) in [written, unwritten] {
            match commit.withdraw() {
                Ok(()) => self.answered.push(number),
                Err(_) => self.unanswered.push(number),
            }
        }
        disk.release();
        self.settle(disk, vec![stays]);
    }

    fn hour(&mut self, disk: &TestDisk, journal: &Journal, wall: &WallClock) {
        self.group(disk, journal, wall, 2);
        journal.note(Entry::Job(Record {
            end: End::Failed,
            ..success(u32::MAX, wall.now())
        }));
        // Over several sectors.
        self.group(disk, journal, wall, 20);
        self.withdraw(disk, journal, wall);
    }

    /// Three hours, with a restart after the second. Stops where the power goes.
    fn run(&mut self, disk: &TestDisk, wall: &WallClock) {
        let mut closed = Closed::default();
        let mut number = 0;
        while number < 3 && !disk.is_dead() {
            // An opening that fails is tried again.
            let Ok((journal, history)) = open_with(disk, wall, &windows(), vec![Box::new(closed.clone())]) else {
                // It may have hung while the journal before was being closed.
                disk.thaw();
                continue;
            };
            drop(history);
            loop {
                self.hour(disk, &journal, wall);
                wall.advance(HOUR);
                number += 1;
                if number != 1 {
                    break;
                }
                self.group(disk, &journal, wall, 0);
                closed.wait_more(disk, None);
            }
            drop(journal);
            closed = Closed::default();
        }
    }

    /// Reads the journal as it is on that disk, and holds it to the promises.
    fn check(&self, case: &str, disk: &TestDisk, wall: &WallClock, crashed: bool) {
        for restart in 0..2 {
            let opened = open(disk, wall);
            let (_journal, history) = opened.unwrap_or_else(|error| panic!("{case}, restart {restart}: {error}"));
            let (rolling, month) = used(history);
            assert_eq!(rolling, month, "{case}, restart {restart}");
            for number in &self.answered {
                assert_eq!(
                    rolling.get(number),
                    Some(&1),
                    "{case}, restart {restart}: {number} was answered"
                );
            }
            for number in &self.unanswered {
                let charged = rolling.get(number).copied().unwrap_or(0);
                assert!(
                    charged <= u64::from(crashed),
                    "{case}, restart {restart}: {number}, {charged} times"
                );
            }
            let known = |number: &u32| self.answered.contains(number) || self.unanswered.contains(number);
            assert!(rolling.keys().all(known), "{case}, restart {restart}");
        }
    }
}

/// A day in which that goes wrong. Whether it came to that.
fn run(op: Op, k: u64, fault: Fault) -> bool {
    let (disk, wall, mut day) = (TestDisk::new(), WallClock::at(MONTH), Day::default());
    disk.plan(op, k, fault);
    day.run(&disk, &wall);
    let case = |unsynced: Unsynced| format!("{op:?} {k} {fault:?} {unsynced:?}");
    let crashed = disk.is_dead();
    if !crashed {
        day.check(&case(Unsynced::Kept), &disk.reborn(Unsynced::Kept), &wall, false);
    }
    // Where the power did not go within the day, it does at its end.
    for unsynced in CRASHES.into_iter().take(if crashed { CRASHES.len() } else { 1 }) {
        day.check(&case(unsynced), &disk.reborn(unsynced), &wall, true);
    }
    disk.is_sprung()
}

fn every_k(op: Op, fault: Fault) {
    let mut k = 0;
    while run(op, k, fault) {
        k += 1;
    }
    println!("{op:?} {fault:?}: {k} cases");
    assert!(k > 3, "{op:?} {fault:?}: only {k} cases");
}

#[test]
fn any_write_may_fail() {
    every_k(Op::Write, Fault::Fail);
}

#[test]
fn any_write_may_be_torn() {
    every_k(Op::Write, Fault::Tear);
}

#[test]
fn any_write_may_hang() {
    every_k(Op::Write, Fault::Freeze);
}

#[test]
fn any_sync_may_fail() {
    every_k(Op::Sync, Fault::Fail);
}

#[test]
fn any_sync_may_be_torn() {
    every_k(Op::Sync, Fault::Tear);
}

#[test]
fn any_sync_may_hang() {
    every_k(Op::Sync, Fault::Freeze);
}

#[test]
fn anything_the_writer_does_may_fail() {
    every_k(Op::Writer, Fault::Fail);
}

#[test]
fn the_power_may_go_at_anything_the_writer_does() {
    every_k(Op::Writer, Fault::Crash);
}

#[test]
fn the_power_may_go_at_anything_the_bookkeeping_does() {
    every_k(Op::Books, Fault::Crash);
}

#[test]
fn the_power_may_go_at_anything_that_opening_does() {
    every_k(Op::Open, Fault::Crash);
}

#[test]
fn anything_that_opening_does_may_fail() {
    every_k(Op::Open, Fault::Fail);
}

/// The disk fills up and is given room again, becomes read-only and writable again.
#[test]
fn while_the_disk_fails_nobody_is_let_in_and_service_resumes_by_itself() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
        let (journal, _) = open(&disk, &wall).expect("an empty disk");
        disk.set_failing(Some(kind));
        let waiting = journal.commit(success(1, wall.now()));
        while journal.is_available() {
            std::thread::yield_now();
        }
        disk.set_failing(None);
        assert_eq!(wait(&disk, waiting).expect("the disk is well"), Ok(()), "{kind:?}");
        while !journal.is_available() {
            std::thread::yield_now();
        }
        drop(journal);
        let (_journal, history) = open(&disk, &wall).expect("it was closed");
        assert_eq!(used(history).0, BTreeMap::from([(1, 1)]));
    }
}

#[test]
fn while_the_disk_hangs_longer_than_patience_lasts_nobody_is_let_in() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let impatient = Settings {
        commit_patience: Span::from_millis(1),
        ..settings(&wall)
    };
    let seam = Arc::new(disk.clone());
    let (journal, _) = Journal::open(Path::new(DATA), impatient, &windows(), Vec::new(), seam).expect("an empty disk");
    disk.hold();
    let hangs = journal.commit(success(1, wall.now()));
    while journal.is_available() {
        std::thread::yield_now();
    }
    disk.release();
    assert_eq!(wait(&disk, hangs).expect("it goes on"), Ok(()));
    assert!(journal.is_available());
}

/// What waits when the power goes must hear that it failed, or its jobs would never end.
#[test]
fn a_journal_that_can_not_write_any_more_tells_those_who_wait() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    disk.set_failing(Some(io::ErrorKind::Other));
    let waiting = journal.commit(success(1, wall.now()));
    drop(journal);
    assert!(wait(&disk, waiting).expect("it is never stuck").is_err());
}
