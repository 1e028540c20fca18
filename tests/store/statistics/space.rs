//! Disk space used by history.

use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::Period;

use super::model::{self, Book, Dice, job};
use crate::kit::count;

/// The beginning of a day.
const START: UnixTime = UnixTime::from_secs(20_800 * 86_400);
const HOUR: Span = Span::from_secs(3_600);

#[test]
fn the_database_stays_bounded_over_a_hundred_days() {
    let mut dice = Dice::new(7);
    let mut book = Book::new();
    let mut now = START;
    let (mut most_before, mut most_after) = (0, 0);
    for hour in 0..100 * 24 {
        for _ in 0..20 {
            let network = NetworkId(1 + dice.roll(30));
            book.write(job(Caller::Network(network), now, 200, dice.roll(2_000)));
        }
        now = now + HOUR;
        if hour % 12 > 0 {
            continue;
        }
        book.remove_old(now);
        // The file never shrinks: pages that are free are used again.
        let pages = count(book.database(), "SELECT page_count FROM pragma_page_count");
        let most = if hour < 60 * 24 {
            &mut most_before
        } else {
            &mut most_after
        };
        *most = pages.max(*most);
    }
    book.flush();
    println!("{most_before} pages in the first 60 days, {most_after} afterwards");
    // What is added up by day is kept for 400 days.
    assert!(
        most_after <= most_before * 12 / 10,
        "{most_before}, then {most_after} pages"
    );
    for period in [Period::Hour, Period::Day] {
        let told = book.database().traffic(None, period, now).expect("it can be read");
        assert_eq!(told, model::traffic(book.all(), None, period, now));
    }
}

#[test]
fn everybody_in_a_crowd_counts() {
    let mut book = Book::new();
    let crowd = 5_000;
    for network in 1..=crowd {
        book.write(job(Caller::Network(NetworkId(network)), START, 200, 5));
    }
    book.flush();
    let today = |book: &Book, whose| {
        let told = book.database().traffic(whose, Period::Day, START);
        told.expect("it can be read").last().map(|row| row.total)
    };
    for _ in 0..2 {
        assert_eq!(today(&book, None), Some(crowd));
        assert_eq!(today(&book, Some(Caller::Network(NetworkId(1)))), Some(1));
        assert_eq!(today(&book, Some(Caller::Network(NetworkId(crowd)))), Some(1));
        book.roll_up();
    }
}
