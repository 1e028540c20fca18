//! Random histories over every store, against a list of all debits: windows come and go at random moments, while jobs run, are
//! on their way to the disk, or are given up. The seed is printed: `TIERGATE_SEED=7` runs that one alone.

use std::sync::Arc;

use tiergate::policy::Outcome;
use tiergate::policy::rules::Window;
use tiergate::policy::time::Span;

use super::{CALLERS, ModelledGate, Opened, Store, all_windows};
use crate::folder::Folder;
use crate::kit::{self, Die, Held, seeds};

const STEPS: u64 = 250;
/// Of a history, so that nothing is removed that a window could want.
const HOURS_MAX: u64 = 20;

/// A random history, decided by its seed alone, except for the speed of backfills.
fn live(modelled: &mut ModelledGate, die: &mut Die) {
    let any = |die: &mut Die, count: usize| (count > 0).then(|| die.below(count as u64) as usize);
    let (all, mut hours) = (all_windows(), 0);
    let mut held: Option<Held> = None;
    for _ in 0..STEPS {
        match die.below(17) {
            0..=5 => {
                let caller = CALLERS[die.below(CALLERS.len() as u64) as usize];
                modelled.enter(caller, 1 + die.below(3) as u32);
            }
            6..=8 => any(die, modelled.running.len())
                .into_iter()
                .for_each(|which| modelled.commit(which)),
            9 | 10 => {
                held = None;
                any(die, modelled.committing.len())
                    .into_iter()
                    .for_each(|which| modelled.finish(which));
            }
            11 => any(die, modelled.committing.len())
                .into_iter()
                .for_each(|which| modelled.give_up(which)),
            12 => {
                if let Some(which) = any(die, modelled.running.len()) {
                    modelled.running.swap_remove(which).0.settle(Outcome::Failed, 500);
                }
            }
            13 if hours < 2 * HOURS_MAX => {
                hours += 1;
                modelled.advance(Span::from_secs(1_800));
            }
            14 => {
                // The writer is busy with one thing at a time.
                drop(held.take());
                held = modelled.opened.hold();
            }
            15 if held.is_none() => {
                if let Opened::Database(database) = &modelled.opened {
                    database.roll_up().expect("the database can be written");
                }
            }
            _ => {
                let windows: Vec<Window> = all.iter().skip(1).filter(|_| die.below(2) == 0).cloned().collect();
                let windows = [&all[..1], &windows].concat();
                modelled.reload(&windows);
            }
        }
    }
}

fn whole_life(modelled: &mut ModelledGate, seed: u64) {
    let mut die = Die::new(seed);
    live(modelled, &mut die);
    modelled.end_all();
    // The present windows are filled; the others come now.
    modelled.fill_all();
    modelled.check(&format!("seed {seed}, after the history"));
    modelled.reload(&all_windows());
    modelled.fill_all();
    modelled.check(&format!("seed {seed}, with all windows"));
    modelled.restart();
    modelled.check(&format!("seed {seed}, after a restart"));
}

#[test]
fn a_new_window_over_memory_counts_every_debit_once() {
    for seed in seeds(60) {
        let mut modelled = ModelledGate::new(Store::Memory(Arc::default()), &all_windows()[..1]);
        whole_life(&mut modelled, seed);
    }
}

#[test]
fn a_new_window_over_the_database_counts_every_debit_once() {
    for seed in seeds(30) {
        let folder = Folder::in_memory();
        let mut modelled = ModelledGate::new(Store::Folder(folder.path().to_owned()), &all_windows()[..1]);
        whole_life(&mut modelled, seed);
        let killed = kit::as_killed(folder.path());
        modelled.store = Store::Folder(killed.path().to_owned());
        modelled.restart();
        modelled.check(&format!("seed {seed}, after SIGKILL"));
        drop(modelled);
    }
}
