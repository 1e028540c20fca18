//! Closed segments go to the bookkeepers, each once and in order; and away when nobody needs them any more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tiergate::policy::caller::{AccountId, Caller, UserId};
use tiergate::policy::rules::{Calendar, Window};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::journal::disk::Disk;
use tiergate::store::journal::{Journal, Remembered};
use tiergate::store::{Bookkeeper, Entry, Ledger, Record};

use crate::disk::{Fault, Op, TestDisk, Unsynced};
use crate::house::{HOUR, MONTH, WallClock, open, open_with, success, used, wait, windows};

#[derive(Debug, Default)]
struct Seen {
    /// How many entries each segment had.
    closed: Vec<(u64, usize)>,
    /// How many more segments are refused.
    refusing: usize,
    refused: usize,
}

/// Writes down what it is given. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<(Mutex<Seen>, Condvar)>);

impl Book {
    fn wait_until(&self, wanted: impl Fn(&Seen) -> bool) {
        self.0.1.wait_while(&mut self.0.0.lock(), |seen| !wanted(seen));
    }
}

impl Bookkeeper for Book {
    fn covers(&self) -> Option<u64> {
        self.0.0.lock().closed.last().map(|(segment, _)| *segment)
    }

    fn close(&mut self, segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> io::Result<()> {
        let mut seen = self.0.0.lock();
        self.0.1.notify_all();
        if seen.refusing > 0 {
            seen.refusing -= 1;
            seen.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let entries = entries.count();
        seen.closed.push((segment, entries));
        Ok(())
    }
}

fn debit(disk: &TestDisk, journal: &Journal, record: Record) {
    assert_eq!(wait(disk, journal.commit(record)).expect("the disk is well"), Ok(()));
}

/// One success of account 1 in each of so many hours.
fn work(disk: &TestDisk, journal: &Journal, wall: &WallClock, hours: usize) {
    for _ in 0..hours {
        debit(disk, journal, success(1, wall.now()));
        wall.advance(HOUR);
    }
}

fn segment(number: u64) -> PathBuf {
    PathBuf::from(format!("/data/journal/{number:016}.seg"))
}

fn totals() -> PathBuf {
    PathBuf::from("/data/journal/totals")
}

/// A rolling hour, and months.
fn short() -> Vec<Window> {
    vec![Window::Rolling(HOUR), windows().remove(1)]
}

#[test]
fn every_hour_is_closed_once_in_order_and_its_sums_are_not_counted_twice() {
    let (disk, wall, book) = (TestDisk::new(), WallClock::at(MONTH), Book::default());
    let (journal, history) = open_with(&disk, &wall, &windows(), vec![Box::new(book.clone())]).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 5);
    // The first success of an hour ends the segment of the one before.
    book.wait_until(|seen| seen.closed.len() == 4);
    assert_eq!(book.0.0.lock().closed, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    disk.crash();
    let disk = disk.reborn(Unsynced::Lost);
    let (_journal, history) = open(&disk, &wall).expect("the disk is well");
    let all = BTreeMap::from([(1, 5)]);
    assert_eq!(used(history), (all.clone(), all));
}

#[test]
fn segments_go_when_no_window_reaches_them_and_the_month_keeps_what_was_in_them() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 10);
    // The wall clock stands at the hour 10, an hour and two more are kept: what ended before 7 goes, when segment 10 begins
    // at the hour 9, what ended before 6.
    disk.wait_until(|paths| !paths.contains(&segment(5)));
    assert!(disk.paths().contains(&segment(7)));
    drop(journal);
    let (_journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("it was closed");
    let (rolling, month) = used(history);
    assert_eq!(month, BTreeMap::from([(1, 10)]));
    assert!(rolling[&1] >= 3, "{rolling:?}");
}

#[test]
fn a_segment_that_could_not_be_entered_comes_again_and_is_kept_until_then() {
    let (disk, wall, book) = (TestDisk::new(), WallClock::at(MONTH), Book::default());
    book.0.0.lock().refusing = 2;
    let (journal, history) = open_with(&disk, &wall, &short(), vec![Box::new(book.clone())]).expect("an empty disk");
    drop(history);
    for refused in 1..=2 {
        wall.advance(HOUR.saturating_mul(24));
        work(&disk, &journal, &wall, 2);
        book.wait_until(|seen| seen.refused >= refused);
        assert!(disk.paths().contains(&segment(1)));
    }
    work(&disk, &journal, &wall, 1);
    book.wait_until(|seen| seen.closed.len() >= 3);
    let closed = book.0.0.lock().closed.clone();
    assert_eq!(closed[..3], [(1, 1), (2, 1), (3, 1)]);
    disk.wait_until(|paths| !paths.contains(&segment(1)));
}

#[test]
fn a_calendar_that_is_new_is_filled_from_the_segments_there_are() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let day = |number: u64| MONTH + HOUR.saturating_mul(24 * number);
    let with_days = || {
        let starts = (0..3).map(day).collect();
        let name = "day UTC".into();
        let mut all = windows();
        all.push(Window::Calendar(Calendar { name, starts }));
        all
    };
    let (journal, history) = open(&disk, &wall).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 4);
    disk.wait_until(|paths| paths.contains(&totals()));
    drop(journal);
    for opened in 0..2 {
        let (journal, history) = open_with(&disk, &wall, &with_days(), Vec::new()).expect("it was closed");
        let mut days = 0;
        history
            .replay(|remembered| match remembered {
                Remembered::Total { window, units, .. } if window.0 == 2 => days += units,
                Remembered::Entry { covered, .. } if !covered[2] => days += 1,
                _ => {}
            })
            .expect("the disk can be read");
        assert_eq!(days, 4 + opened);
        work(&disk, &journal, &wall, 1);
    }
}

#[test]
fn sums_that_are_damaged_are_kept_aside_and_made_anew() {
    for byte in [0, 13, 40, 60, 80] {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
        let (journal, history) = open(&disk, &wall).expect("an empty disk");
        drop(history);
        work(&disk, &journal, &wall, 3);
        disk.wait_until(|paths| paths.contains(&totals()));
        drop(journal);
        let mut bytes = disk.content(&totals()).expect("it was made");
        bytes[byte] ^= 1;
        disk.put(&totals(), bytes);
        let (_journal, history) = open(&disk, &wall).expect("the rest is well");
        assert_eq!(used(history).1, BTreeMap::from([(1, 3)]), "byte {byte}");
        assert!(disk.paths().contains(&PathBuf::from("/data/journal/damaged/totals")));
    }
}

#[test]
fn a_user_counts_for_itself_and_for_its_account() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, history) = open(&disk, &wall).expect("an empty disk");
    drop(history);
    let user = Caller::User {
        of: AccountId(1),
        user: UserId(5),
    };
    let of_user = |wall: &WallClock| Record {
        caller: user,
        cost: 3,
        ..success(1, wall.now())
    };
    debit(&disk, &journal, of_user(&wall));
    work(&disk, &journal, &wall, 1);
    work(&disk, &journal, &wall, 1);
    disk.wait_until(|paths| paths.contains(&totals()));
    drop(journal);
    let (_journal, history) = open(&disk, &wall).expect("it was closed");
    let mut totals = Vec::new();
    history
        .replay(|remembered| {
            if let Remembered::Total {
                caller, period, units, ..
            } = remembered
            {
                totals.push((caller, period, units));
            }
        })
        .expect("the disk can be read");
    assert_eq!(totals, [(Caller::Account(AccountId(1)), MONTH, 4), (user, MONTH, 3)]);
}

/// Jobs are counted when they were let in: what is let in in May and ends in June is May's.
#[test]
fn a_month_that_is_over_is_left_out_of_the_next_sums() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 2);
    disk.wait_until(|paths| paths.contains(&totals()));
    let december = UnixTime::from_secs(1_796_083_200);
    wall.advance(december.since(wall.now()) + HOUR.saturating_mul(5));
    work(&disk, &journal, &wall, 8);
    disk.wait_until(|paths| !paths.contains(&segment(4)));
    drop(journal);
    let (_journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("it was closed");
    assert_eq!(used(history).1, BTreeMap::from([(1, 8)]));
}

#[test]
fn a_damaged_segment_is_used_as_far_as_it_goes_and_kept_aside_in_the_end() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("an empty disk");
    drop(history);
    for account in 1..=3 {
        debit(&disk, &journal, success(account, wall.now()));
    }
    drop(journal);
    let mut bytes = disk.content(&segment(1)).expect("it is there");
    // The second job: before it lie the header, the tier's name and the first.
    bytes[4_096 + 2 * 64 + 20] ^= 1;
    disk.put(&segment(1), bytes);
    let (journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("the rest is well");
    assert_eq!(used(history).0, BTreeMap::from([(1, 1), (3, 1)]));
    wall.advance(Span::from_secs(3_600 * 24));
    work(&disk, &journal, &wall, 1);
    disk.wait_until(|paths| paths.contains(&Path::new("/data/journal/damaged").join("0000000000000001.seg")));
    assert!(!disk.paths().contains(&segment(1)));
}

/// When the folder could not be synced after the sums were renamed, what lay there was newer than what the bookkeeping knew of:
/// the next try added the segment a second time, or read rows where the names lay.
#[test]
fn any_one_of_what_the_bookkeeping_does_may_fail_and_the_month_is_right() {
    let mut k = 0;
    loop {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
        let (journal, history) = open(&disk, &wall).expect("an empty disk");
        disk.plan(Op::Books, k, Fault::Fail);
        drop(history);
        for account in [9, 2, 3, 2, 1] {
            let before = disk.count(Op::Books);
            debit(&disk, &journal, success(account, wall.now()));
            wall.advance(HOUR);
            // The first segment closes with the second success; each closing makes several steps.
            let closes = account != 9;
            while closes && disk.count(Op::Books) < before + 2 && !disk.is_sprung() {
                std::thread::yield_now();
            }
        }
        disk.wait_until(|paths| paths.contains(&totals()));
        drop(journal);
        let sprung = disk.is_sprung();
        for restart in 0..2 {
            let (_journal, history) = open(&disk, &wall).expect("the disk is well");
            let (rolling, month) = used(history);
            assert_eq!(rolling, month, "operation {k}, restart {restart}");
            assert_eq!(rolling.values().sum::<u64>(), 5, "operation {k}, restart {restart}");
        }
        if !sprung {
            break;
        }
        k += 1;
    }
    assert!(k > 8, "only {k} operations");
}

/// Numbers began at 1 again when only an unused segment was left and the one to take its place could not be made, or when
/// somebody had removed the segments: the sums claimed to have those numbers already, and debits never reached the month.
#[test]
fn numbers_go_on_though_no_segment_is_left() {
    let (disk, wall, book) = (TestDisk::new(), WallClock::at(MONTH), Book::default());
    let (journal, history) = open_with(&disk, &wall, &windows(), vec![Box::new(book.clone())]).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 4);
    book.wait_until(|seen| seen.closed.len() == 3);
    drop(journal);
    for number in 1..=4 {
        Disk::remove(&disk, &segment(number)).expect("it is there");
    }
    // With its sums alone, and with somebody's books alone.
    let sums = disk.content(&totals()).expect("it was made");
    for keeps_sums in [true, false] {
        let disk = TestDisk::new();
        let mut keepers: Vec<Box<dyn Bookkeeper>> = Vec::new();
        match keeps_sums {
            true => disk.put(&totals(), sums.clone()),
            false => keepers.push(Box::new(book.clone())),
        }
        let (journal, _) = open_with(&disk, &wall, &windows(), keepers).expect("the rest is well");
        debit(&disk, &journal, success(1, wall.now()));
        drop(journal);
        assert!(disk.paths().contains(&segment(4)), "{:?}", disk.paths());
        if keeps_sums {
            let (_journal, history) = open(&disk, &wall).expect("it was closed");
            assert_eq!(used(history).1, BTreeMap::from([(1, 4)]));
        }
    }
}

/// What broke while the door ran was passed over without a word when the segment went into the books, and the segment was
/// removed with its time instead of being kept aside. The last record counts too: the next segment says that it was durable.
#[test]
fn a_segment_that_is_damaged_while_the_door_runs_is_kept_aside_too() {
    for frame in [2, 3] {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
        let (journal, history) = open_with(&disk, &wall, &short(), Vec::new()).expect("an empty disk");
        drop(history);
        for account in 1..=3 {
            debit(&disk, &journal, success(account, wall.now()));
        }
        disk.spoil(&segment(1), 4_096 + frame * 64 + 20);
        wall.advance(HOUR);
        work(&disk, &journal, &wall, 1);
        disk.wait_until(|paths| paths.contains(&totals()));
        wall.advance(HOUR.saturating_mul(24));
        work(&disk, &journal, &wall, 1);
        let gone = |paths: &[PathBuf]| !paths.contains(&segment(1));
        disk.wait_until(gone);
        let aside = Path::new("/data/journal/damaged").join("0000000000000001.seg");
        assert!(disk.paths().contains(&aside), "frame {frame}");
    }
}

/// A newcomer took the only calendar out of tiers.yaml: the sums were removed before the history, which was about to read them, was
/// replayed, and the door did not start. Put back, the calendar goes on where it was.
#[test]
fn the_last_calendar_may_go_and_come_back() {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH));
    let (journal, history) = open_with(&disk, &wall, &windows(), Vec::new()).expect("an empty disk");
    drop(history);
    work(&disk, &journal, &wall, 3);
    disk.wait_until(|paths| paths.iter().any(|path| path.ends_with("totals")));
    drop(journal);
    for windows in [&windows()[..1], &windows()[..1], &windows()] {
        let (_journal, history) = open_with(&disk, &wall, windows, Vec::new()).expect("it was closed");
        let mut told = 0;
        history.replay(|_| told += 1).expect("the disk can be read");
        assert!(told >= 3, "{told}");
    }
    let (_journal, history) = open_with(&disk, &wall, &windows(), Vec::new()).expect("it was closed");
    assert_eq!(used(history).1, BTreeMap::from([(1, 3)]));
}
