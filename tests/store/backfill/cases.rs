//! Single cases of new windows: what counts, and when.

use std::sync::Arc;

use tiergate::policy::rules::Window;
use tiergate::policy::time::Span;
use tiergate::store::History;

use super::{CALLERS, Either, House, Store, all_windows};
use crate::folder::Folder;
use crate::kit::{self, HOUR, Held};

/// A house over a database, with a rolling window of that length.
fn house_in(folder: &Folder, length: Span) -> House {
    House::new(Store::Folder(folder.path().to_owned()), &[Window::Rolling(length)])
}

impl House {
    /// So many successes of one unit, each an hour after the one before.
    fn work(&mut self, hours: usize) {
        for _ in 0..hours {
            self.enter(CALLERS[0], 1);
            self.commit(0);
            self.finish(0);
            self.advance(HOUR);
        }
    }

    fn used(&self, window: usize) -> u64 {
        let id = self.present().ids().nth(window).expect("it is there");
        let balance = self.gate.account_of(&CALLERS[0], std::iter::once(id));
        balance.usages[0].used
    }

    /// Rolls up, and removes what is old.
    fn tidy(&self) {
        let tidied = self.opened.database().remove_old(self.clock.wall());
        tidied.expect("the database can be written");
    }
}

/// A job that was on its way to the disk while the window was made: it is counted once, whether its record came first or its
/// end.
#[test]
fn a_committing_job_counts_once_an_abandoned_one_never() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    for _ in 0..5 {
        house.enter(CALLERS[0], 1);
    }
    house.commit(0);
    house.finish(0);
    let held = Held::up(house.opened.database());
    house.commit(0);
    house.commit(0);
    house.commit(0);
    house.give_up(0);
    house.reload(&[Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))]);
    house.give_up(0);
    drop(held);
    house.commit(0);
    house.fill_all();
    assert_eq!(
        (house.used(0), house.used(1)),
        (1, 2),
        "the one in the house is read back already"
    );
    house.end_all();
    assert_eq!(
        (house.used(0), house.used(1)),
        (3, 3),
        "and another came after the window"
    );
    house.restart();
    assert_eq!((house.used(0), house.used(1)), (3, 3));
}

/// Sums of a calendar know no fence: what ended after it counted by itself and with the sums, if it was added up before they
/// were read.
#[test]
fn what_is_added_up_after_the_fence_is_not_read_back() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    let month = all_windows().remove(3);
    let both = [Window::Rolling(HOUR), month];
    house.enter(CALLERS[0], 1);
    house.commit(0);
    house.finish(0);
    let past = house.opened.reload_windows(&both);
    let filling = house.change_to(&both).expect("one is new");
    house.enter(CALLERS[0], 2);
    house.commit(0);
    house.finish(0);
    house.opened.database().roll_up().expect("it can be written");
    let filled = house.gate.fill(filling, past).expect("it can be read");
    assert!(filled.whole);
    assert_eq!((house.used(0), house.used(1)), (3, 3));
}

#[test]
fn a_longer_window_is_filled_as_far_back_as_jobs_are_kept() {
    let folder = Folder::in_memory();
    let (short, long) = (Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24 * 7)));
    let history = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut house = house_in(&folder, HOUR);
    house
        .opened
        .database()
        .upkeep()
        .set(std::slice::from_ref(&short), history);
    house.work(72);
    house.tidy();
    let past = house.opened.database().past();
    let both = [short, long];
    house.opened.database().upkeep().set(&both, history);
    let filling = house.change_to(&both).expect("one is new");
    house.fill(filling, Either::Database(past));
    house.windows = both.to_vec();
    house.fill_all();
    let filled = house.used(1);
    assert!(
        (1..72).contains(&filled),
        "what was older than the short one needed is gone: {filled}"
    );
    house.work(48);
    house.tidy();
    assert_eq!(house.used(1), filled + 48);
    house.restart();
    assert_eq!(house.used(1), filled + 48, "nothing that the long one needs has gone");
}

/// Sums of a month outlive the jobs that they were made of, also where the month came while the server ran.
#[test]
fn a_new_calendar_is_summed_up_from_the_oldest_job_on() {
    let folder = Folder::in_memory();
    let (hour, month) = (Window::Rolling(HOUR), all_windows().remove(3));
    let keeps_nothing = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut house = house_in(&folder, HOUR.saturating_mul(8));
    house.work(5);
    house.reload(&[hour.clone(), month.clone()]);
    house.fill_all();
    assert_eq!(house.used(1), 5);
    house.work(80);
    assert_eq!(house.used(1), 85);
    house
        .opened
        .database()
        .upkeep()
        .set(&[hour.clone(), month.clone()], keeps_nothing);
    house.tidy();
    assert!(kit::count(house.opened.database(), "SELECT count(*) FROM job") < 85);
    house.restart();
    assert_eq!(house.used(1), 85, "though some jobs are gone");
    // It leaves and comes back before old rows are removed without it: its sums are there still.
    house.reload(std::slice::from_ref(&hour));
    house.reload(&[hour, month]);
    house.fill_all();
    assert_eq!(house.used(1), 85);
    house.work(2);
    house.restart();
    assert_eq!(house.used(1), 87);
}

/// What reads back for a window that has gone tells nothing to the one of the same length that has come since.
#[test]
fn a_window_that_returns_while_backfilled_counts_once() {
    let (day, week) = (all_windows().remove(0), all_windows().remove(1));
    let mut house = House::new(Store::Memory(Arc::default()), std::slice::from_ref(&day));
    house.work(3);
    let both = [day.clone(), week];
    let late = house.change_to(&both).expect("one is new");
    assert!(house.change_to(&[day]).is_none(), "one has gone");
    house.reload(&both);
    house.fill_all();
    let past = house.opened.reload_windows(&both);
    let filled = house.gate.fill(late, past).expect("memory can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    assert_eq!(house.used(1), 3);
}

#[test]
fn a_filling_ends_with_the_server() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    house.work(1);
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))];
    let past = house.opened.reload_windows(&windows);
    let filling = house.change_to(&windows).expect("one is new");
    house.gate.shut_down();
    let filled = house.gate.fill(filling, past).expect("the database can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    // Closed, it reaches no fence any more; whoever waits is told.
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(48))];
    let past = house.opened.reload_windows(&windows);
    house.opened.database().close();
    let filling = house.change_to(&windows).expect("one is new");
    assert!(house.gate.fill(filling, past).is_err());
}
