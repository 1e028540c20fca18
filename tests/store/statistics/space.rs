//! The space that statistics take, on the disk and in memory.

use tiergate::policy::caller::{AccountId, Caller, NetworkId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::{
    DAY_FILES_KEPT, FILES_MAX, HOUR_CELLS_MAX, HOURS_SEEN_KEPT, MINUTE_CELLS_MAX, Period,
};

use super::model::{self, Dice, Journal, job};

/// The beginning of a day.
const START: UnixTime = UnixTime::from_secs(20_800 * 86_400);
const HOUR: Span = Span::from_secs(3_600);

#[test]
fn the_folder_stays_bounded_over_a_hundred_days() {
    let mut dice = Dice::new(7);
    let mut journal = Journal::new();
    let mut now = START;
    let (mut most_before, mut most_after, mut files_most) = (0, 0, 0);
    for hour in 0..100 * 24 {
        for _ in 0..40 {
            let network = NetworkId(dice.roll(500));
            journal.write(job(Caller::Network(network), now, 200, dice.roll(2_000)));
        }
        journal.next_segment();
        journal.close();
        now = now + HOUR;
        journal.statistics.tidy(now).expect("the disk works");
        let files = journal.folder.files();
        let bytes: u64 = files.iter().map(|(_, length)| length).sum();
        files_most = files_most.max(files.len());
        let most = if hour < 70 * 24 {
            &mut most_before
        } else {
            &mut most_after
        };
        *most = bytes.max(*most);
    }
    println!("{files_most} files, {most_before} bytes in the first 70 days, {most_after} afterwards");
    assert!(
        files_most <= HOURS_SEEN_KEPT + 2 * 24 + DAY_FILES_KEPT + 3,
        "{files_most} files"
    );
    assert!(
        most_after <= most_before * 11 / 10,
        "{most_before}, then {most_after} bytes"
    );
    for period in [Period::Hour, Period::Day] {
        let told = journal.statistics.traffic(None, period, now).expect("the disk works");
        assert_eq!(told, model::traffic(journal.all(), None, period, now));
    }
}

#[test]
fn files_are_few_even_if_segments_are_short_and_the_clock_runs_wild() {
    let mut dice = Dice::new(8);
    let mut journal = Journal::new();
    let excess = 200;
    for _ in 0..FILES_MAX + excess {
        let when = UnixTime::from_secs(dice.roll(4_000_000_000));
        journal.write(job(Caller::Account(AccountId(1)), when, 200, 5));
        journal.next_segment();
    }
    journal.close();
    journal.statistics.tidy(START).expect("the disk works");
    assert!(journal.folder.files().len() <= FILES_MAX);
}

#[test]
fn a_crowd_beyond_the_table_counts_for_the_door_and_for_itself_once_it_is_rolled_up() {
    let mut journal = Journal::new();
    let crowd = MINUTE_CELLS_MAX.max(HOUR_CELLS_MAX) as u64 + 1_000;
    for network in 0..crowd {
        journal.write(job(Caller::Network(NetworkId(network)), START, 200, 5));
    }
    assert_eq!(journal.statistics.uncounted(), 1_000);
    let today = |journal: &Journal, whose| {
        let told = journal.statistics.traffic(whose, Period::Day, START);
        told.expect("the disk works").last().map(|row| row.total)
    };
    let last = Some(Caller::Network(NetworkId(crowd - 1)));
    assert_eq!(today(&journal, None), Some(crowd));
    assert_eq!(today(&journal, last), Some(0));
    journal.next_segment();
    journal.close();
    assert_eq!(today(&journal, None), Some(crowd));
    assert_eq!(today(&journal, last), Some(1));
    assert_eq!(today(&journal, Some(Caller::Network(NetworkId(0)))), Some(1));
}
