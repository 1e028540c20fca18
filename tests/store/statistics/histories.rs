//! Random histories over months, against a model that recounts every entry.

use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::Period;

use super::model::{self, Book, Dice};

const START: UnixTime = UnixTime::from_secs(1_800_000_000);
const HISTORIES: u64 = 2;
const DAYS: u64 = 100;

#[test]
fn every_entry_counts_once_wherever_it_is_stored() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let mut book = Book::new();
        let mut now = START;
        while now.since(START) < Span::from_secs(DAYS * 86_400) {
            live_a_while(&mut book, &mut dice, &mut now, true);
            if dice.roll(12) == 0 {
                compare(&book, &mut dice, now, seed);
            }
        }
        compare(&book, &mut dice, now, seed);
    }
}

#[test]
fn a_jumping_clock_loses_no_requested_period() {
    for seed in seeds() {
        let mut dice = Dice::new(seed);
        let mut book = Book::new();
        let mut now = START;
        for jump in 0..6 {
            for _ in 0..400 {
                live_a_while(&mut book, &mut dice, &mut now, true);
            }
            let mut wrong = match jump % 3 {
                0 => now + Span::from_secs(3_600 * 24 * 200),
                1 => UnixTime::from_secs(3_600 * 24 * 90),
                _ => UnixTime::from_millis(now.as_millis() - 5 * 3_600_000),
            };
            for _ in 0..3 {
                live_a_while(&mut book, &mut dice, &mut wrong, false);
            }
            for _ in 0..2 {
                live_a_while(&mut book, &mut dice, &mut now, true);
                compare(&book, &mut dice, now, seed);
            }
        }
    }
}

/// Up to two hours, in which entries are written, and maybe rolled up, old rows removed, the server started again.
fn live_a_while(book: &mut Book, dice: &mut Dice, now: &mut UnixTime, is_right: bool) {
    for _ in 0..dice.roll(12) {
        *now = *now + Span::from_millis(dice.roll(600_000));
        book.write(model::entry(dice, *now));
    }
    if dice.roll(200) == 0 {
        *now = *now + Span::from_secs(dice.roll(10 * 86_400));
    }
    if dice.roll(3) > 0 {
        book.roll_up();
    }
    // A clock that is wrong for a short time removes nothing.
    if dice.roll(3) == 0 && is_right {
        book.remove_old(*now);
    }
    if dice.roll(40) == 0 {
        book.restart();
    }
}

fn compare(book: &Book, dice: &mut Dice, now: UnixTime, seed: u64) {
    let (account, user) = (AccountId(1 + dice.roll(5) as u32), UserId(1 + dice.roll(3)));
    let anybody = [
        None,
        Some(Caller::Account(account)),
        Some(Caller::Network(NetworkId(1 + dice.roll(5)))),
        Some(Caller::User { of: account, user }),
    ];
    book.flush();
    for period in [Period::Minute, Period::Hour, Period::Day] {
        for whose in anybody {
            let told = book.database().traffic(whose, period, now).expect("it can be read");
            let expected = model::traffic(book.all(), whose, period, now);
            assert_eq!(told.len(), expected.len(), "TIERGATE_SEED={seed}");
            for (told, expected) in told.iter().zip(&expected) {
                assert_eq!(
                    told, expected,
                    "TIERGATE_SEED={seed}, {whose:?}, {period:?}, now {now:?}"
                );
            }
        }
        let told = book.database().speed(period, now).expect("it can be read");
        let exact = model::speed(book.all(), period, now);
        assert_eq!(told.len(), exact.len(), "TIERGATE_SEED={seed}");
        for (told, exact) in told.iter().zip(&exact) {
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
