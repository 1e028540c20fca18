//! What was written is there after a restart, once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::rules::Priority;
use tiergate::policy::time::Span;
use tiergate::store::journal::disk::SystemDisk;
use tiergate::store::journal::{Durability, Journal, OpenError, Settings};
use tiergate::store::{Entry, Ledger, Record, Refused};

use crate::disk::{Op, TestDisk, Unsynced};
use crate::house::{DATA, HOUR, MONTH, WallClock, entries, open, open_with, settings, success, used, wait, windows};

fn segment(number: u64) -> PathBuf {
    PathBuf::from(format!("/data/journal/{number:016}.seg"))
}

fn variety() -> Vec<Entry> {
    let wall = MONTH + HOUR;
    let callers = [
        Caller::Account(AccountId(7)),
        Caller::Network(NetworkId(u64::MAX)),
        Caller::User {
            of: AccountId(9),
            user: UserId(1),
        },
    ];
    let mut all: Vec<Entry> = End::ALL
        .iter()
        .zip(callers.iter().cycle())
        .enumerate()
        .map(|(place, ((end, _), caller))| {
            Entry::Job(Record {
                caller: *caller,
                tier: Arc::from(["free", "x".repeat(64).as_str()][place % 2]),
                priority: Priority::new(place as u8).expect("there are as many"),
                end: *end,
                status: 200 + place as u16,
                cost: place as u32,
                waited: Span::from_millis(place as u64),
                ..success(0, wall)
            })
        })
        .collect();
    all.push(Entry::Refused(Refused {
        minute: wall,
        caller: Some(callers[0]),
        status: 402,
        count: 3,
    }));
    all
}

/// Notes are written with the next commit or when the journal closes.
#[test]
fn every_kind_of_entry_comes_back_as_it_was() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    for entry in variety() {
        journal.note(entry);
    }
    drop(journal);
    let (_journal, history) = open(&disk, &wall).expect("it was closed");
    assert_eq!(entries(history), variety());
}

#[test]
fn a_debit_is_durable_when_its_commit_resolves_and_stays_one_over_many_restarts() {
    let (mut disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    for restart in 0..5 {
        let (journal, history) = open(&disk, &wall).expect("the disk is well");
        let (rolling, month) = used(history);
        assert_eq!(rolling.get(&1).copied().unwrap_or(0), restart);
        assert_eq!(rolling, month);
        let commit = journal.commit(success(1, wall.now()));
        assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
        disk.crash();
        disk = disk.reborn(Unsynced::Lost);
    }
}

#[test]
fn what_is_withdrawn_does_not_count_whether_it_was_written_or_not() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    disk.hold();
    let written = journal.commit(success(1, wall.now()));
    assert!(disk.wait_held());
    let unwritten = journal.commit(success(2, wall.now()));
    let kept = journal.commit(success(3, wall.now()));
    assert!(written.withdraw().is_err());
    assert!(unwritten.withdraw().is_err());
    disk.release();
    assert_eq!(wait(&disk, kept).expect("the disk is well"), Ok(()));
    drop(journal);
    let (_journal, history) = open(&disk, &wall).expect("it was closed");
    assert_eq!(used(history).0.into_iter().collect::<Vec<_>>(), [(3, 1)]);
}

#[test]
fn what_waits_is_committed_together() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    disk.hold();
    let first = journal.commit(success(0, wall.now()));
    assert!(disk.wait_held());
    let rest: Vec<_> = (1..64).map(|n| journal.commit(success(n, wall.now()))).collect();
    let before = disk.count(Op::Sync);
    disk.release();
    for commit in std::iter::once(first).chain(rest) {
        assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
    }
    assert_eq!(
        disk.count(Op::Sync),
        before + 2,
        "the one that was held, and one for all the others"
    );
}

#[test]
fn a_relaxed_journal_answers_at_once_and_writes_all_the_same() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let relaxed = Settings {
        durability: Durability::Relaxed,
        commit_every: Span::from_millis(1),
        ..settings(&wall)
    };
    let open = || {
        let disk = Arc::new(disk.clone());
        Journal::open(Path::new(DATA), relaxed.clone(), &windows(), Vec::new(), disk)
    };
    let (journal, _) = open().expect("an empty disk");
    disk.hold();
    let commit = journal.commit(success(1, wall.now()));
    assert_eq!(
        wait(&disk, commit).expect("the disk is well"),
        Ok(()),
        "though nothing is synced"
    );
    disk.release();
    drop(journal);
    let (_journal, history) = open().expect("it was closed");
    assert_eq!(entries(history).len(), 1);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, _history) = open(&disk, &wall).expect("an empty disk");
    let error = open(&disk, &wall).map(|_| ()).expect_err("it is in use");
    assert_eq!(error.to_string(), "the data folder /data is in use by another tiergate");
    drop(journal);
    assert!(open(&disk, &wall).is_ok());
}

#[test]
fn a_journal_of_a_newer_format_is_left_alone() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let mut header = vec![0; 4_096];
    header[..8].copy_from_slice(b"tiergate");
    header[12] = 9;
    let crc = crc32c::crc32c(&header[12..64]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    disk.put(Path::new("/data/journal/0000000000000001.seg"), header);
    let error = open(&disk, &wall).map(|_| ()).expect_err("it is newer");
    assert!(matches!(error, OpenError::Newer { version: 9, .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("0000000000000001.seg was written by a newer tiergate")
    );
}

#[test]
fn a_full_or_read_only_disk_is_told_by_name() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    for (kind, told) in [
        (io::ErrorKind::StorageFull, "the disk is full"),
        (io::ErrorKind::ReadOnlyFilesystem, "it is read-only"),
    ] {
        disk.set_failing(Some(kind));
        let error = open(&disk, &wall).map(|_| ()).expect_err("nothing can be written");
        assert!(error.to_string().contains(told), "{error}");
    }
    disk.set_failing(None);
    assert!(open(&disk, &wall).is_ok());
}

/// On the disk there is, in a folder of its own.
#[test]
fn the_disk_there_is_does_what_the_test_disk_does() {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("tiergate-journal-{}", std::process::id()));
    let wall = WallClock::at(MONTH + HOUR);
    let open = || Journal::open(&folder, settings(&wall), &windows(), Vec::new(), Arc::new(SystemDisk));
    let (journal, _) = open().expect("a new folder");
    assert!(matches!(open(), Err(OpenError::InUse { .. })));
    let commit = journal.commit(success(1, wall.now()));
    let disk = TestDisk::new();
    assert_eq!(wait(&disk, commit).expect("it is never stuck"), Ok(()));
    drop(journal);
    let (journal, history) = open().expect("it was closed");
    assert_eq!(used(history).0.into_iter().collect::<Vec<_>>(), [(1, 1)]);
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("journal/0000000000000001.seg")), 0o600);
    drop(journal);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

/// The end of a segment was taken from the header of the one after it. When a byte of that flipped, the end was the epoch: a
/// sound segment was left out of the windows, and removed.
#[test]
fn a_damaged_header_costs_nothing_of_the_segment_before() {
    let day = &windows()[..1];
    for damaged in 2..=3 {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR.saturating_mul(100)));
        for account in 1..=3 {
            let (journal, _) = open_with(&disk, &wall, day, Vec::new()).expect("the disk is well");
            let commit = journal.commit(success(account, wall.now()));
            assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
            drop(journal);
            wall.advance(HOUR);
        }
        let path = segment(damaged);
        let mut bytes = disk.content(&path).expect("it is there");
        // When it was made.
        bytes[33] ^= 1;
        disk.put(&path, bytes);
        for restart in 0..2 {
            let (_journal, history) = open_with(&disk, &wall, day, Vec::new()).expect("the rest is well");
            assert_eq!(entries(history).len(), 3, "header {damaged}, restart {restart}");
        }
    }
}

/// A machine that came up with its clock two days behind made a segment that was older than the one before it, whose end lay
/// two days back then: it was left out of the windows, and removed.
#[test]
fn a_clock_that_was_behind_for_a_while_costs_nothing_of_the_segment_before() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR.saturating_mul(100)));
    let behind = WallClock::at(MONTH + HOUR.saturating_mul(52));
    let day = &windows()[..1];
    for (account, wall) in [(1, &wall), (2, &behind)] {
        let (journal, _) = open_with(&disk, wall, day, Vec::new()).expect("the disk is well");
        let commit = journal.commit(success(account, wall.now()));
        assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
        drop(journal);
    }
    wall.advance(HOUR);
    for restart in 0..2 {
        let (_journal, history) = open_with(&disk, &wall, day, Vec::new()).expect("the disk is well");
        assert_eq!(entries(history).len(), 2, "restart {restart}");
    }
}

/// What came after `close`, while the writer was busy with the last, was answered as done by a relaxed journal and never written.
#[test]
fn what_comes_after_the_closing_is_refused() {
    for durability in [Durability::Relaxed, Durability::Strict] {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
        let settings = Settings {
            durability,
            commit_every: Span::from_millis(1),
            // Closing gives up while the disk is held.
            commit_patience: Span::from_millis(1),
            ..settings(&wall)
        };
        let seam = Arc::new(disk.clone());
        let (journal, _) =
            Journal::open(Path::new(DATA), settings, &windows(), Vec::new(), seam).expect("an empty disk");
        disk.hold();
        let first = journal.commit(success(1, wall.now()));
        assert!(disk.wait_held());
        journal.close();
        let late = wait(&disk, journal.commit(success(2, wall.now()))).expect("it is settled at once");
        assert!(late.is_err(), "{durability:?}");
        disk.release();
        assert_eq!(wait(&disk, first).expect("the disk is well"), Ok(()));
    }
}
