//! How close percentiles are.

use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::time::UnixTime;
use tiergate::store::statistics::{PERCENTILES, Period, Speed};

use super::model::{self, Book, Dice, job};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The ends exact, the rest at most 5 % off.
pub fn close_enough(told: &Speed, exact: Option<&[u64; PERCENTILES.len()]>) {
    let told_ms = told.percentiles_ms.map(|ms| ms.map(u64::from));
    assert_eq!(told_ms.is_some(), exact.is_some(), "at {:?}", told.time);
    let (Some(told_ms), Some(exact)) = (told_ms, exact) else {
        return;
    };
    assert_eq!((told_ms[0], told_ms[6]), (exact[0], exact[6]), "the ends are exact");
    for (told_ms, exact) in told_ms.iter().zip(exact) {
        assert!(told_ms.abs_diff(*exact) * 20 <= *exact, "{told_ms} ms for {exact} ms");
    }
}

#[test]
fn percentiles_are_accurate_from_a_millisecond_to_an_hour() {
    let mut book = Book::new();
    let mut dice = Dice::new(5);
    for _ in 0..20_000 {
        let searched_ms = 1 + dice.roll(3_600_000) / (1 << dice.roll(22));
        book.write(job(Caller::Account(AccountId(1)), NOW, 200, searched_ms));
    }
    book.flush();
    let exact = model::speed(book.all(), Period::Day, NOW);
    for _ in 0..2 {
        let told = book.database().speed(Period::Day, NOW).expect("it can be read");
        assert_eq!(told.len(), exact.len());
        let rows = told.iter().zip(&exact);
        rows.for_each(|(told, exact)| close_enough(told, exact.as_ref()));
        book.roll_up();
    }
}

#[test]
fn only_successes_have_a_speed() {
    let mut book = Book::new();
    for (status, searched_ms) in [(200, 70), (500, 9_000), (0, 4), (402, 0)] {
        book.write(job(Caller::Account(AccountId(1)), NOW, status, searched_ms));
    }
    book.flush();
    for period in [Period::Minute, Period::Hour, Period::Day] {
        let told = book.database().speed(period, NOW).expect("it can be read");
        assert_eq!(
            told.last().and_then(|row| row.percentiles_ms),
            Some([70; 7]),
            "{period:?}"
        );
        assert_eq!(told.iter().filter(|row| row.percentiles_ms.is_some()).count(), 1);
    }
}
