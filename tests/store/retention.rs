//! Retention: the oldest rows go, never those that a window needs, and never by a clock that is ahead.

use std::collections::BTreeMap;
use std::sync::Arc;

use tiergate::clock::Clock;
use tiergate::policy::rules::Window;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{Database, History, Ledger};

use crate::folder::Folder;
use crate::kit::{
    self, DAY, HOUR, MONTH, NEXT_MONTH, Site, WallClock, count, debit, success, until, used, wait, windows,
};

const KEEPS_NOTHING: History = History {
    keep: Span::ZERO,
    max: 0,
};

fn days(number: u64) -> Span {
    DAY.saturating_mul(number)
}

fn open(folder: &Folder, wall: &WallClock, history: History) -> Arc<Database> {
    let opened = kit::open_with(folder.path(), kit::settings(wall), &windows(), history);
    opened.expect("the folder can be used")
}

/// Writes so many jobs each hour, for so many days.
fn work(database: &Database, wall: &WallClock, number: u64, each_hour: u32) {
    for _ in 0..number * 24 {
        let all: Vec<_> = (1..=each_hour)
            .map(|account| database.commit(success(account, wall.now())))
            .collect();
        for commit in all {
            assert_eq!(wait(commit), Ok(()));
        }
        wall.advance(HOUR);
    }
}

/// When the oldest job was admitted.
fn oldest(database: &Database) -> UnixTime {
    let oldest = count(database, "SELECT min(admitted) FROM job");
    UnixTime::from_millis(u64::try_from(oldest).expect("after 1970"))
}

fn bytes_in_use(database: &Database) -> u64 {
    let bytes = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    u64::try_from(count(database, bytes)).expect("at least 0")
}

#[test]
fn jobs_are_kept_as_long_as_history_says() {
    for keep in [days(5), days(9)] {
        let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
        let history = History {
            keep,
            ..History::default()
        };
        let database = open(&folder, &wall, history);
        work(&database, &wall, 12, 2);
        database.remove_old(wall.now()).expect("it can be written");
        let age = wall.now().since(oldest(&database));
        assert!(age <= keep && age + HOUR >= keep, "{age:?}");
        let kept = i64::try_from(keep.as_nanos() / HOUR.as_nanos() * 2).expect("few");
        assert_eq!(count(&database, "SELECT count(*) FROM job"), kept, "and all of these");
        // Windows have all that they had.
        assert_eq!(used(&database, wall.now()).1, BTreeMap::from([(1, 288), (2, 288)]));
    }
}

#[test]
fn jobs_that_windows_need_are_kept_beyond_history() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
    let database = open(&folder, &wall, KEEPS_NOTHING);
    work(&database, &wall, 12, 2);
    let before = used(&database, wall.now());
    for _ in 0..2 {
        database.remove_old(wall.now()).expect("it can be written");
        assert_eq!(used(&database, wall.now()), before);
    }
    let age = wall.now().since(oldest(&database));
    assert!(age >= days(3) && age <= days(3) + HOUR, "{age:?}");
    drop(database);
    let database = open(&folder, &wall, KEEPS_NOTHING);
    assert_eq!(used(&database, wall.now()), before);
}

#[test]
fn the_oldest_jobs_go_when_history_exceeds_its_size() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
    let database = open(&folder, &wall, History::default());
    work(&database, &wall, 20, 30);
    database.remove_old(wall.now()).expect("it can be written");
    let (all, most) = (count(&database, "SELECT count(*) FROM job"), bytes_in_use(&database));
    assert_eq!(all, 20 * 24 * 30);
    let max = most / 10 * 8;
    database.upkeep().set(
        &windows(),
        History {
            max,
            ..History::default()
        },
    );
    database.remove_old(wall.now()).expect("it can be written");
    let left = bytes_in_use(&database);
    assert!(left <= max && left >= max / 10 * 8, "{left} of {max}");
    let jobs = count(&database, "SELECT count(*) FROM job");
    let newest = count(&database, "SELECT max(number) - min(number) + 1 FROM job");
    assert_eq!(jobs, newest, "those that are left are the newest");
    assert_eq!(count(&database, "SELECT max(number) FROM job"), all);
    assert!(oldest(&database) < wall.now(), "something is left");
    // The file is as large as it was, and is used again.
    let pages = count(&database, "SELECT page_count FROM pragma_page_count");
    work(&database, &wall, 1, 30);
    database.remove_old(wall.now()).expect("it can be written");
    assert!(count(&database, "SELECT page_count FROM pragma_page_count") <= pages);
}

#[test]
fn rows_are_rolled_up_before_they_are_removed() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
    let database = open(&folder, &wall, KEEPS_NOTHING);
    debit(&database, success(1, wall.now()));
    wall.advance(days(20));
    database.remove_old(wall.now()).expect("it can be written");
    assert_eq!(count(&database, "SELECT count(*) FROM job"), 0);
    assert_eq!(used(&database, wall.now()).1, BTreeMap::from([(1, 1)]));
}

#[test]
fn sums_are_removed_with_their_calendar_or_after_their_period() {
    let (folder, wall) = (Folder::in_memory(), WallClock::at(MONTH));
    let database = open(&folder, &wall, KEEPS_NOTHING);
    debit(&database, success(1, wall.now()));
    database.roll_up().expect("it can be written");
    let sums = || count(&database, "SELECT count(*) FROM calendar_sum");
    database.remove_old(NEXT_MONTH).expect("it can be written");
    assert_eq!(sums(), 1, "the clock may be ahead by a day");
    database.remove_old(NEXT_MONTH + days(3)).expect("it can be written");
    assert_eq!(sums(), 0);
    debit(&database, success(1, NEXT_MONTH));
    database.roll_up().expect("it can be written");
    assert_eq!(sums(), 1);
    database.upkeep().set(&[Window::Rolling(DAY)], KEEPS_NOTHING);
    database.remove_old(NEXT_MONTH).expect("it can be written");
    assert_eq!(sums(), 0);
}

/// Its own thread removes what is old.
impl Site {
    /// Up to when old rows may have been removed.
    fn boundary(&self) -> UnixTime {
        let boundary = count(
            self.database(),
            "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'retention_clock'",
        );
        UnixTime::from_millis(u64::try_from(boundary).expect("after 1970"))
    }

    /// Until it has removed what is old. How far the clocks have gone meanwhile.
    fn tidied(&self) -> Span {
        let before = self.boundary();
        // In steps, since it must see that the two clocks agree; each is longer than that has to last.
        let step = Span::from_secs(660);
        let clock = Clock::start();
        let (mut gone, mut last) = (Span::ZERO, clock.now());
        until("old rows are removed", || {
            if clock.now().since(last) > Span::from_millis(400) {
                self.advance(step);
                (gone, last) = (gone + step, clock.now());
            }
            self.boundary() != before
        });
        gone
    }
}

/// Regression: rows that a day's window needed were removed by a clock that was ahead.
#[test]
fn a_clock_decades_ahead_removes_nothing_needed() {
    let last_evening = UnixTime::from_millis(NEXT_MONTH.as_millis() - HOUR.as_millis());
    let mut site = Site::at(last_evening, KEEPS_NOTHING);
    for hours in [20, 10, 0] {
        let at = UnixTime::from_millis(last_evening.as_millis() - HOUR.saturating_mul(hours).as_millis());
        debit(site.database(), success(1, at));
    }
    let all = (BTreeMap::from([(1, 3)]), BTreeMap::from([(1, 3)]));
    let mut bound = last_evening;
    for start in 0..2 {
        site.wall.set(last_evening + days(365 * 80));
        if start > 0 {
            site.reopen();
        }
        // The clock goes a little without these hands, too.
        bound = bound + site.tidied() + DAY + Span::from_secs(60);
        let boundary = site.boundary();
        assert!(boundary <= bound, "start {start}: {boundary:?}, not {bound:?}");
    }
    site.wall.set(last_evening);
    site.reopen();
    assert_eq!(used(site.database(), last_evening), all);
}

/// A machine without a hardware clock was in 1970 when the database was created.
#[test]
fn a_database_created_in_the_past_is_not_bound_to_it() {
    let site = Site::at(UnixTime::from_secs(60), KEEPS_NOTHING);
    site.wall.set(MONTH);
    for _ in 0..20 {
        debit(site.database(), success(1, site.wall.now()));
        site.advance(days(1));
    }
    site.database().roll_up().expect("it can be written");
    site.tidied();
    site.advance(days(15));
    site.tidied();
    until("old ones go", || {
        count(site.database(), "SELECT count(*) FROM job") < 10
    });
}
