//! Random histories over every store, against a list of all debits: windows come and go at random moments, while jobs run, are on
//! their way to the disk, or are given up. The seed is printed: `TIERGATE_SEED=7` runs that one alone.

use std::sync::Arc;

use tiergate::policy::Outcome;
use tiergate::policy::rules::Window;
use tiergate::policy::time::Span;

use super::{CALLERS, House, Opened, Store, all_windows};
use crate::folder::Folder;
use crate::kit::{self, Die, Held, seeds};

const STEPS: u64 = 250;
/// Of a history, so that nothing is removed that a window could want.
const HOURS_MAX: u64 = 20;

/// A random history: nobody but its seed decides what happens in it, save how fast the fillings go.
fn live(house: &mut House, die: &mut Die) {
    let any = |die: &mut Die, count: usize| (count > 0).then(|| die.below(count as u64) as usize);
    let (all, mut hours) = (all_windows(), 0);
    let mut held: Option<Held> = None;
    for _ in 0..STEPS {
        match die.below(17) {
            0..=5 => {
                let caller = CALLERS[die.below(CALLERS.len() as u64) as usize];
                house.enter(caller, 1 + die.below(3) as u32);
            }
            6..=8 => any(die, house.running.len())
                .into_iter()
                .for_each(|which| house.commit(which)),
            9 | 10 => {
                held = None;
                any(die, house.committing.len())
                    .into_iter()
                    .for_each(|which| house.finish(which));
            }
            11 => any(die, house.committing.len())
                .into_iter()
                .for_each(|which| house.give_up(which)),
            12 => {
                if let Some(which) = any(die, house.running.len()) {
                    house.running.swap_remove(which).0.settle(Outcome::Failed, 500);
                }
            }
            13 if hours < 2 * HOURS_MAX => {
                hours += 1;
                house.advance(Span::from_secs(1_800));
            }
            14 => {
                // The writer is busy with one thing at a time.
                drop(held.take());
                held = house.opened.hold();
            }
            15 if held.is_none() => {
                if let Opened::Database(database) = &house.opened {
                    database.roll_up().expect("the database can be written");
                }
            }
            _ => {
                let windows: Vec<Window> = all.iter().skip(1).filter(|_| die.below(2) == 0).cloned().collect();
                let windows = [&all[..1], &windows].concat();
                house.reload(&windows);
            }
        }
    }
}

fn whole_life(house: &mut House, seed: u64) {
    let mut die = Die::new(seed);
    live(house, &mut die);
    house.end_all();
    // What is there is filled; what isn't comes now.
    house.fill_all();
    house.check(&format!("seed {seed}, after the history"));
    house.reload(&all_windows());
    house.fill_all();
    house.check(&format!("seed {seed}, with all windows"));
    house.restart();
    house.check(&format!("seed {seed}, after a restart"));
}

#[test]
fn over_memory_a_new_window_holds_every_debit_once() {
    for seed in seeds(60) {
        let mut house = House::new(Store::Memory(Arc::default()), &all_windows()[..1]);
        whole_life(&mut house, seed);
    }
}

#[test]
fn over_the_database_a_new_window_holds_every_debit_once() {
    for seed in seeds(30) {
        let folder = Folder::in_memory();
        let mut house = House::new(Store::Folder(folder.path().to_owned()), &all_windows()[..1]);
        whole_life(&mut house, seed);
        let killed = kit::as_killed(folder.path());
        house.store = Store::Folder(killed.path().to_owned());
        house.restart();
        house.check(&format!("seed {seed}, after SIGKILL"));
        drop(house);
    }
}
