//! A system clock that is wrong for a while: once it is corrected, windows are right and nothing is lost.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use tiergate::policy::Policy;
use tiergate::policy::rules::Window;
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::store::{DebitHistory, Debited, History, Ledger, RestoredUsage};

use crate::kit::{self, DAY, HOUR, MONTH, Site, calendar, count, debit, rules, success, until, used, windows};

const MINUTE: Span = Span::from_secs(60);
const YEAR: Span = Span::from_secs(365 * 86_400);

/// An hour, a day, a year, three hundred years.
const AHEAD: [Span; 4] = [HOUR, Span::from_secs(25 * 3_600), YEAR, YEAR.saturating_mul(300)];

/// The middle of a month, so that a day more or less is in it.
const NOON: UnixTime = UnixTime::from_secs(MONTH.as_secs() + 15 * 86_400);

fn started_at(wall: UnixTime) -> Site {
    let site = Site::at(wall, History::default());
    site.restore();
    site
}

impl Site {
    fn restart(&mut self) -> RestoredUsage {
        self.reopen();
        self.restore()
    }

    /// What is restored into a new policy.
    fn restore(&self) -> RestoredUsage {
        let mut policy = Policy::new(rules(&windows()));
        policy.follow_clock(self.wall.now(), Timestamp::ZERO, Span::from_secs(300));
        let restored = self.database().restore(&mut policy, Timestamp::ZERO);
        restored.expect("it can be read")
    }

    /// Commits so many successes of that account.
    fn work(&self, account: u32, number: usize) {
        for _ in 0..number {
            debit(self.database(), success(account, self.wall.now()));
        }
    }

    /// The clock was set back to its current time, and windows are filled again.
    fn correct(&self) {
        let past = self.database().corrected_history(self.wall.now());
        let fence = self.database().fence();
        let filled = past.recall(&windows().into(), fence, &mut |_| ControlFlow::Continue(()));
        filled.expect("it can be written");
    }

    fn used(&self) -> (BTreeMap<u32, u64>, BTreeMap<u32, u64>) {
        used(self.database(), self.wall.now())
    }

    /// In both windows.
    fn assert_used(&self, all: &[(u32, u64)], what: &str) {
        let all: BTreeMap<u32, u64> = all.iter().copied().collect();
        assert_eq!(self.used(), (all.clone(), all), "{what}");
    }

    fn corrections(&self, more: &str) -> i64 {
        count(
            self.database(),
            &format!("SELECT count(*) FROM clock_correction WHERE {more}"),
        )
    }
}

/// Regression: a debit dated ahead stayed in the windows until its date came, or forever.
#[test]
fn debits_dated_ahead_count_as_of_the_clocks_correction() {
    for ahead in AHEAD {
        for rolled_up in [false, true] {
            let mut site = started_at(NOON);
            site.work(1, 10);
            site.wall.set(NOON + ahead);
            site.work(2, 5);
            if rolled_up {
                site.database().roll_up().expect("it can be written");
            }
            site.wall.set(NOON + MINUTE);
            site.correct();
            let what = format!("{ahead:?} ahead, rolled up: {rolled_up}");
            site.assert_used(&[(1, 10), (2, 5)], &what);
            for _ in 0..2 {
                let restored = site.restart();
                assert_eq!((restored.debits, restored.future), (15, 0), "{what}");
                site.assert_used(&[(1, 10), (2, 5)], &what);
                site.database().roll_up().expect("it can be written");
            }
            // A day after the correction nothing of it is left; the month still has it.
            site.wall.set(NOON + MINUTE + DAY);
            assert_eq!(site.used().0, BTreeMap::new(), "{what}");
            assert_eq!(site.used().1, BTreeMap::from([(1, 10), (2, 5)]), "{what}");
            let dates = "SELECT count(DISTINCT admitted) FROM job";
            assert_eq!(count(site.database(), dates), 2, "rows keep their dates");
        }
    }
}

/// Regression: 50 of 59 debits were lost.
#[test]
fn jumps_of_days_decades_and_centuries_in_one_run_lose_nothing() {
    let mut site = started_at(NOON);
    site.work(1, 50);
    for ahead in [
        Span::from_secs(25 * 3_600),
        YEAR.saturating_mul(80),
        YEAR.saturating_mul(300),
    ] {
        site.wall.set(NOON + ahead);
        site.work(2, 3);
        // Long enough for its housekeeping to roll up and to remove old rows.
        for _ in 0..3 {
            site.advance(MINUTE.saturating_mul(11));
            let rolled_up = count(site.database(), "SELECT coalesce(max(number), 0) FROM job");
            until("it adds up", || {
                count(site.database(), "SELECT coalesce(min(job), 0) FROM rolled_up") >= rolled_up
            });
        }
    }
    site.wall.set(NOON + MINUTE.saturating_mul(100));
    let restored = site.restart();
    assert_eq!((restored.debits, restored.future), (59, 9));
    site.assert_used(&[(1, 50), (2, 9)], "after a restart at the right time");
}

#[test]
fn corrections_at_a_start_last_after_ten_minutes() {
    for ahead in AHEAD {
        let mut site = started_at(NOON);
        site.work(1, 10);
        site.wall.set(NOON + ahead);
        site.work(2, 5);
        site.wall.set(NOON + MINUTE);
        // Not before: the clock may be the one that is wrong.
        for start in 1..=2 {
            let restored = site.restart();
            assert_eq!((restored.debits, restored.future), (15, 5), "start {start}");
            site.assert_used(&[(1, 10), (2, 5)], "after a start");
            site.advance(MINUTE.saturating_mul(9));
            assert_eq!(site.corrections("TRUE"), 0);
        }
        site.advance(MINUTE);
        until("it is lasting", || site.corrections("cause = 'start'") == 1);
        // As of the second start, by which nine minutes had gone.
        let as_of = NOON + MINUTE.saturating_mul(10);
        assert_eq!(
            site.corrections(&format!("as_of = {} AND last_number = 15", as_of.as_millis())),
            1
        );
        site.work(3, 1);
        for _ in 0..2 {
            let restored = site.restart();
            assert_eq!((restored.debits, restored.future), (16, 0));
            site.assert_used(&[(1, 10), (2, 5), (3, 1)], "it is lasting");
            site.database().roll_up().expect("it can be written");
        }
        site.wall.set(as_of + DAY);
        assert_eq!(site.used().0, BTreeMap::from([(3, 1)]), "{ahead:?}");
    }
}

/// A machine without a hardware clock boots in the past: its history is dated ahead until its clock is set.
#[test]
fn a_start_in_the_past_loses_no_history_when_the_clock_is_set() {
    for (behind, waits) in [
        (HOUR, false),
        (YEAR, false),
        (YEAR, true),
        (YEAR.saturating_mul(50), true),
    ] {
        let mut site = started_at(NOON);
        site.work(1, 10);
        site.database().roll_up().expect("it can be written");
        let past = UnixTime::from_millis(NOON.as_millis() - behind.as_millis());
        site.wall.set(past);
        let restored = site.restart();
        assert_eq!((restored.debits, restored.future), (10, 10));
        site.work(2, 3);
        if waits {
            // The past lasts so long that it seems right.
            site.advance(MINUTE.saturating_mul(10));
            until("it is lasting", || site.corrections("undone IS NULL") == 1);
            site.restart();
        }
        // A step forward that does not reach their dates proves nothing.
        let short = UnixTime::from_millis(NOON.as_millis() - MINUTE.as_millis());
        let from = site.wall.now();
        assert_eq!(site.database().clock_set_forward(from, short), Ok(false));
        let now = NOON + MINUTE;
        site.wall.set(now);
        assert_eq!(site.database().clock_set_forward(from, now), Ok(true), "{behind:?}");
        assert_eq!(site.database().clock_set_forward(from, now), Ok(false), "{behind:?}");
        assert_eq!(site.corrections("undone IS NULL"), 0);
        assert_eq!(site.corrections("TRUE"), i64::from(waits));
        for _ in 0..2 {
            let (rolling, month) = site.used();
            assert_eq!(rolling.get(&1), Some(&10), "{behind:?}");
            assert_eq!(month.get(&1), Some(&10), "{behind:?}");
            let of_hours_ago = behind == HOUR;
            assert_eq!(rolling.contains_key(&2), of_hours_ago, "by its own date");
            assert_eq!(month.contains_key(&2), of_hours_ago, "by its own date");
            site.database().roll_up().expect("it can be written");
            assert_eq!(site.restart().future, 0);
        }
        site.wall.set(NOON + DAY);
        assert_eq!(site.used().0, BTreeMap::new());
    }
}

/// Regression: the same, with the clock set while no server runs. The history was lost, because only a step that a running
/// server saw took the correction back.
#[test]
fn a_clock_set_between_two_starts_brings_history_back() {
    for behind in [HOUR, YEAR] {
        let mut site = started_at(NOON);
        site.work(1, 10);
        site.database().roll_up().expect("it can be written");
        site.wall
            .set(UnixTime::from_millis(NOON.as_millis() - behind.as_millis()));
        assert_eq!(site.restart().future, 10);
        site.work(2, 3);
        site.advance(MINUTE.saturating_mul(10));
        until("it is lasting", || site.corrections("undone IS NULL") == 1);
        site.wall.set(NOON + MINUTE);
        assert_eq!(site.restart().future, 0);
        assert_eq!(site.corrections("undone IS NULL"), 0, "{behind:?}");
        let (rolling, month) = site.used();
        assert_eq!((rolling.get(&1), month.get(&1)), (Some(&10), Some(&10)), "{behind:?}");
    }
}

/// Jobs dated ahead are not counted a second time when their dates come.
#[test]
fn corrections_stay_once_their_dates_have_come() {
    let mut site = started_at(NOON);
    site.wall.set(NOON + DAY);
    site.work(1, 5);
    site.wall.set(NOON);
    assert_eq!(site.restart().future, 5);
    site.advance(MINUTE.saturating_mul(10));
    until("it is lasting", || site.corrections("undone IS NULL") == 1);
    site.wall.set(NOON + DAY + HOUR);
    site.work(2, 1);
    // As after any small step of a clock that is kept right.
    let (from, to) = (site.wall.now(), site.wall.now() + MINUTE);
    site.wall.set(to);
    assert_eq!(site.database().clock_set_forward(from, to), Ok(false));
    site.restart();
    assert_eq!(site.corrections("undone IS NULL"), 1);
    assert_eq!(site.used().0, BTreeMap::from([(2, 1)]));
}

/// While either clock may be wrong, a window that a reload adds counts as the others do.
#[test]
fn a_new_window_includes_debits_corrected_at_start() {
    let mut site = started_at(NOON);
    site.wall.set(NOON + YEAR);
    site.work(2, 5);
    site.database().roll_up().expect("it can be written");
    site.wall.set(NOON);
    assert_eq!(site.restart().future, 5);
    site.work(1, 1);
    site.advance(HOUR);
    let days = calendar("day UTC", [NOON, NOON + DAY]);
    let both = [Window::Rolling(HOUR.saturating_mul(3)), days];
    site.database().upkeep().set(&both, History::default());
    let told = kit::told(site.database(), &both);
    let of = |window: u16| -> u64 {
        let counts = |debited: &&Debited| debited.window.0 == window;
        told.iter().filter(counts).map(|debited| debited.units).sum()
    };
    assert_eq!((of(0), of(1)), (6, 6));
    assert!(
        told.iter().all(|debited| debited.at <= NOON),
        "they count as of the start"
    );
}

#[test]
fn a_correction_that_cannot_be_written_changes_nothing() {
    let site = started_at(NOON);
    site.wall.set(NOON + YEAR);
    site.work(2, 5);
    site.wall.set(NOON);
    let gone: &Path = &site.folder.path().join("tiergate.db");
    let away = site.folder.path().join("away");
    let past = site.database().corrected_history(NOON);
    let fence = site.database().fence();
    // The fence has been reached, and then the file is moved away.
    site.work(1, 1);
    std::fs::rename(gone, &away).expect("it is there");
    let filled = past.recall(&windows().into(), fence, &mut |_| ControlFlow::Continue(()));
    assert!(filled.is_err());
    std::fs::rename(&away, gone).expect("it is there");
    assert_eq!(site.corrections("TRUE"), 0);
    site.correct();
    site.assert_used(&[(1, 1), (2, 5)], "the next time");
}
