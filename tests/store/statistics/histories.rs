//! Random histories over months, against a model that counts every entry anew.

use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::Period;

use super::model::{self, Dice, Journal};

const START: UnixTime = UnixTime::from_secs(1_800_000_000);
const HISTORIES: u64 = 2;
const DAYS: u64 = 100;

/// Closed segments that the journal keeps at least: so that the last hour is among them.
const SEGMENTS_KEPT: u64 = 40;

/// Rows of hours that are right even after the clock has jumped ahead: then some may be merged too early.
const HOURS_AFTER_JUMP: usize = 60;

#[test]
fn every_entry_counts_once_wherever_it_lies() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let mut journal = Journal::new();
        let mut now = START;
        while now.since(START) < Span::from_secs(DAYS * 86_400) {
            live_a_while(&mut journal, &mut dice, &mut now);
            if dice.roll(12) == 0 {
                compare(&journal, &mut dice, now, 72, seed);
            }
        }
        compare(&journal, &mut dice, now, 72, seed);
    }
}

#[test]
fn a_wall_clock_that_jumps_loses_nothing_that_is_asked_for() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let mut journal = Journal::new();
        let mut now = START;
        for jump in 0..6 {
            for _ in 0..400 {
                live_a_while(&mut journal, &mut dice, &mut now);
            }
            let mut wrong = match jump % 3 {
                0 => now + Span::from_secs(3_600 * 24 * 200),
                1 => UnixTime::from_secs(3_600 * 24 * 90),
                _ => UnixTime::from_millis(now.as_millis() - 5 * 3_600_000),
            };
            for _ in 0..3 {
                live_a_while(&mut journal, &mut dice, &mut wrong);
            }
            for _ in 0..2 {
                live_a_while(&mut journal, &mut dice, &mut now);
                compare(&journal, &mut dice, now, HOURS_AFTER_JUMP, seed);
            }
        }
    }
}

#[test]
fn a_segment_that_could_not_be_closed_comes_again() {
    let mut dice = Dice::new(1);
    let mut journal = Journal::new();
    let mut now = START;
    live_a_while(&mut journal, &mut dice, &mut now);
    std::fs::remove_dir_all(journal.folder.path()).expect("the folder is there");
    journal.write(model::entry(&mut dice, now));
    let entries: Vec<_> = journal.all().cloned().collect();
    let result = tiergate::store::Bookkeeper::close(&mut journal.books, 9, &mut entries.into_iter());
    assert!(result.is_err(), "there is nowhere to write to");
    compare(&journal, &mut dice, now, 72, 1);

    std::fs::create_dir_all(journal.folder.path()).expect("a folder can be made");
    journal.next_segment();
    journal.close();
    compare(&journal, &mut dice, now, 72, 1);
    journal.restart_with(u64::MAX);
    let rows = journal
        .statistics
        .traffic(None, Period::Day, now)
        .expect("the disk works");
    assert_eq!(rows, model::traffic(journal.all(), None, Period::Day, now));
}

/// Up to two hours, in which entries are written, and maybe segments closed, old files merged, the door started again.
fn live_a_while(journal: &mut Journal, dice: &mut Dice, now: &mut UnixTime) {
    for _ in 0..dice.roll(12) {
        *now = *now + Span::from_millis(dice.roll(600_000));
        journal.write(model::entry(dice, *now));
    }
    if dice.roll(200) == 0 {
        *now = *now + Span::from_secs(dice.roll(10 * 86_400));
    }
    if dice.roll(5) > 0 {
        journal.next_segment();
    }
    if dice.roll(3) > 0 {
        journal.close();
    }
    if dice.roll(3) == 0 {
        journal.statistics.tidy(*now).expect("the disk works");
    }
    if dice.roll(40) == 0 {
        let covers = tiergate::store::Bookkeeper::covers(&journal.books).unwrap_or(0);
        let dropped = dice.roll(2) * covers.saturating_sub(SEGMENTS_KEPT);
        journal.restart_with(dropped);
    }
}

fn compare(journal: &Journal, dice: &mut Dice, now: UnixTime, hours: usize, seed: u64) {
    let (account, user) = (AccountId(dice.roll(5) as u32), UserId(dice.roll(3)));
    let anybody = [
        None,
        Some(Caller::Account(account)),
        Some(Caller::Network(NetworkId(dice.roll(5)))),
        Some(Caller::User { of: account, user }),
    ];
    let of_minutes = journal.of_last_minutes();
    for whose in anybody {
        for (period, newest) in [(Period::Minute, 60), (Period::Hour, hours), (Period::Day, 60)] {
            let told = journal.statistics.traffic(whose, period, now).expect("the disk works");
            let expected = match period {
                Period::Minute => model::traffic(of_minutes.iter().copied(), whose, period, now),
                _ => model::traffic(journal.all(), whose, period, now),
            };
            assert_eq!(told.len(), expected.len(), "TIERGATE_SEED={seed}");
            for (told, expected) in told.iter().zip(&expected).rev().take(newest) {
                assert_eq!(
                    told, expected,
                    "TIERGATE_SEED={seed}, {whose:?}, {period:?}, now {now:?}"
                );
            }
        }
    }
    for period in [Period::Minute, Period::Hour, Period::Day] {
        let told = journal.statistics.speed(period, now).expect("the disk works");
        let exact = match period {
            Period::Minute => model::speed(of_minutes.iter().copied(), period, now),
            _ => model::speed(journal.all(), period, now),
        };
        assert_eq!(told.len(), exact.len(), "TIERGATE_SEED={seed}");
        for (told, exact) in told.iter().zip(&exact).rev().take(hours.min(60)) {
            super::speed::close_enough(told, exact.as_ref());
        }
    }
}

fn seeds() -> Vec<u64> {
    let asked = std::env::var("TIERGATE_SEED").ok();
    asked.map_or_else(
        || (1..=HISTORIES).collect(),
        |seed| vec![seed.parse().expect("TIERGATE_SEED is a number")],
    )
}
