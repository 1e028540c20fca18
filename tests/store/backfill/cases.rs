//! Single cases of backfilled windows.

use std::sync::Arc;

use tiergate::policy::rules::Window;
use tiergate::policy::time::Span;
use tiergate::store::History;

use super::{CALLERS, Either, ModelledGate, Store, all_windows};
use crate::folder::Folder;
use crate::kit::{self, HOUR, Held};

/// A gate over a database, with a rolling window of that length.
fn modelled_in(folder: &Folder, length: Span) -> ModelledGate {
    ModelledGate::new(Store::Folder(folder.path().to_owned()), &[Window::Rolling(length)])
}

impl ModelledGate {
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

/// A job that was being committed while the window was made counts once, whether its record came first or its
/// end.
#[test]
fn a_committing_job_counts_once_an_abandoned_one_never() {
    let folder = Folder::in_memory();
    let mut modelled = modelled_in(&folder, HOUR);
    for _ in 0..5 {
        modelled.enter(CALLERS[0], 1);
    }
    modelled.commit(0);
    modelled.finish(0);
    let held = Held::up(modelled.opened.database());
    modelled.commit(0);
    modelled.commit(0);
    modelled.commit(0);
    modelled.give_up(0);
    modelled.reload(&[Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))]);
    modelled.give_up(0);
    drop(held);
    modelled.commit(0);
    modelled.fill_all();
    assert_eq!(
        (modelled.used(0), modelled.used(1)),
        (1, 2),
        "the job in progress is read back already"
    );
    modelled.end_all();
    assert_eq!(
        (modelled.used(0), modelled.used(1)),
        (3, 3),
        "and another came after the window"
    );
    modelled.restart();
    assert_eq!((modelled.used(0), modelled.used(1)), (3, 3));
}

/// Regression: calendar sums have no fence, so a job that ended after it counted twice if it was rolled up before they
/// were read.
#[test]
fn sums_made_after_the_fence_are_not_read_back() {
    let folder = Folder::in_memory();
    let mut modelled = modelled_in(&folder, HOUR);
    let month = all_windows().remove(3);
    let both = [Window::Rolling(HOUR), month];
    modelled.enter(CALLERS[0], 1);
    modelled.commit(0);
    modelled.finish(0);
    let past = modelled.opened.reload_windows(&both);
    let filling = modelled.change_to(&both).expect("one is new");
    modelled.enter(CALLERS[0], 2);
    modelled.commit(0);
    modelled.finish(0);
    modelled.opened.database().roll_up().expect("it can be written");
    let filled = modelled.gate.fill(filling, past).expect("it can be read");
    assert!(filled.whole);
    assert_eq!((modelled.used(0), modelled.used(1)), (3, 3));
}

#[test]
fn a_longer_window_is_backfilled_as_far_as_jobs_are_kept() {
    let folder = Folder::in_memory();
    let (short, long) = (Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24 * 7)));
    let history = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut modelled = modelled_in(&folder, HOUR);
    modelled
        .opened
        .database()
        .upkeep()
        .set(std::slice::from_ref(&short), history);
    modelled.work(72);
    modelled.tidy();
    let past = modelled.opened.database().debit_history();
    let both = [short, long];
    modelled.opened.database().upkeep().set(&both, history);
    let filling = modelled.change_to(&both).expect("one is new");
    modelled.fill(filling, Either::Database(past));
    modelled.windows = both.to_vec();
    modelled.fill_all();
    let filled = modelled.used(1);
    assert!(
        (1..72).contains(&filled),
        "what was older than the short one needed is gone: {filled}"
    );
    modelled.work(48);
    modelled.tidy();
    assert_eq!(modelled.used(1), filled + 48);
    modelled.restart();
    assert_eq!(
        modelled.used(1),
        filled + 48,
        "nothing that the long one needs has gone"
    );
}

/// Sums of a month outlive their jobs, also if the window was added while the server ran.
#[test]
fn a_new_calendar_is_summed_up_from_the_oldest_job_on() {
    let folder = Folder::in_memory();
    let (hour, month) = (Window::Rolling(HOUR), all_windows().remove(3));
    let keeps_nothing = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut modelled = modelled_in(&folder, HOUR.saturating_mul(8));
    modelled.work(5);
    modelled.reload(&[hour.clone(), month.clone()]);
    modelled.fill_all();
    assert_eq!(modelled.used(1), 5);
    modelled.work(80);
    assert_eq!(modelled.used(1), 85);
    modelled
        .opened
        .database()
        .upkeep()
        .set(&[hour.clone(), month.clone()], keeps_nothing);
    modelled.tidy();
    assert!(kit::count(modelled.opened.database(), "SELECT count(*) FROM job") < 85);
    modelled.restart();
    assert_eq!(modelled.used(1), 85, "though some jobs are gone");
    // The window is removed and added again before old rows go: its sums are still there.
    modelled.reload(std::slice::from_ref(&hour));
    modelled.reload(&[hour, month]);
    modelled.fill_all();
    assert_eq!(modelled.used(1), 85);
    modelled.work(2);
    modelled.restart();
    assert_eq!(modelled.used(1), 87);
}

/// A backfill of a window that was removed adds nothing to a later one of the same length.
#[test]
fn a_window_that_returns_while_backfilled_counts_once() {
    let (day, week) = (all_windows().remove(0), all_windows().remove(1));
    let mut modelled = ModelledGate::new(Store::Memory(Arc::default()), std::slice::from_ref(&day));
    modelled.work(3);
    let both = [day.clone(), week];
    let late = modelled.change_to(&both).expect("one is new");
    assert!(modelled.change_to(&[day]).is_none(), "one has gone");
    modelled.reload(&both);
    modelled.fill_all();
    let past = modelled.opened.reload_windows(&both);
    let filled = modelled.gate.fill(late, past).expect("memory can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    assert_eq!(modelled.used(1), 3);
}

#[test]
fn a_backfill_ends_with_the_server() {
    let folder = Folder::in_memory();
    let mut modelled = modelled_in(&folder, HOUR);
    modelled.work(1);
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))];
    let past = modelled.opened.reload_windows(&windows);
    let filling = modelled.change_to(&windows).expect("one is new");
    modelled.gate.shut_down();
    let filled = modelled.gate.fill(filling, past).expect("the database can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    // Once closed it reaches no fence: a backfill that waits for one fails.
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(48))];
    let past = modelled.opened.reload_windows(&windows);
    modelled.opened.database().close();
    let filling = modelled.change_to(&windows).expect("one is new");
    assert!(modelled.gate.fill(filling, past).is_err());
}
