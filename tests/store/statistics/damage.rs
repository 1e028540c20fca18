//! Damaged files: reported and set aside, and all others are used. Never a panic.

use std::fs;
use std::path::PathBuf;

use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::time::UnixTime;
use tiergate::store::Bookkeeper;
use tiergate::store::statistics::{DAMAGED_KEPT, Period, Statistics};

use super::folder::Folder;
use super::model::{Journal, job};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const WHO: Caller = Caller::Account(AccountId(1));

/// Where the last block's zeros begin and end: 64 of header, three cells of 22; then 4,096 of block without its checksum.
const ZEROS: std::ops::Range<usize> = 64 + 66..64 + 4_092;

/// Of the zeros, which are all alike, only every so many are flipped.
const ZEROS_STEP: usize = 61;

/// A journal of two closed segments: the first has one job of [`WHO`], the second two, and others' besides.
fn journal() -> Journal {
    let mut journal = Journal::new();
    for jobs in 1..=2 {
        for _ in 0..jobs {
            journal.write(job(WHO, NOW, 200, 1_500));
        }
        journal.write(job(WHO, NOW, 503, 0));
        journal.write(job(Caller::Account(AccountId(0)), NOW, 200, 700));
        journal.next_segment();
    }
    journal.close();
    journal
}

fn file(folder: &Folder, segment: usize) -> PathBuf {
    let files = folder.files();
    let name = format!("{segment:020}-");
    let found = files
        .iter()
        .find(|(file, _)| file.starts_with(&name))
        .expect("it is there");
    folder.path().join(&found.0)
}

fn today(statistics: &Statistics, whose: Option<Caller>) -> u64 {
    let told = statistics.traffic(whose, Period::Day, NOW).expect("the disk works");
    told.last().expect("there are 60 rows").total
}

#[test]
fn any_byte_flipped_costs_its_file_and_no_other() {
    let journal = journal();
    for segment in [1, 2] {
        let path = file(&journal.folder, segment);
        let good = fs::read(&path).expect("it can be read");
        let bytes = (0..good.len()).filter(|at| !ZEROS.contains(at) || at % ZEROS_STEP == 0);
        for at in bytes {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).expect("it can be written");
            expect_set_aside(&journal, segment, &good, &format!("byte {at}"));
        }
        for length in [0, 1, 63, 64, 65, 4_159, 4_160, good.len() - 1] {
            fs::write(&path, &good[..length]).expect("it can be written");
            expect_set_aside(&journal, segment, &good, &format!("cut to {length}"));
        }
        let longer = [&good[..], &[0]].concat();
        fs::write(&path, longer).expect("it can be written");
        expect_set_aside(&journal, segment, &good, "too long");
    }
}

/// Only the other file counts, and what the journal still has of this one. Then all is made good again.
fn expect_set_aside(journal: &Journal, segment: usize, good: &[u8], what: &str) {
    let other = 3 - segment;
    let (statistics, books) = Statistics::open(journal.folder.path()).expect("a damaged file is no error");
    assert_eq!(today(&statistics, Some(WHO)), other as u64 + 1, "{what}");
    assert_eq!(today(&statistics, None), other as u64 + 2, "{what}");
    assert_eq!(books.covers(), Some(if segment == 2 { 1 } else { 2 }), "{what}");
    for (segment, entry) in &journal.entries {
        statistics.replayed(entry, *segment);
    }
    assert_eq!(today(&statistics, Some(WHO)), 5, "{what}");
    assert_eq!(today(&statistics, None), 7, "{what}");

    let damaged: Vec<_> = journal.folder.files();
    let damaged: Vec<_> = damaged.iter().filter(|(name, _)| name.ends_with(".damaged")).collect();
    assert_eq!(damaged.len(), 1, "{what}");
    let aside = journal.folder.path().join(&damaged[0].0);
    fs::write(aside.with_extension(""), good).expect("it can be written");
    fs::remove_file(aside).expect("it is there");
}

#[test]
fn damage_that_comes_later_is_found_when_the_file_is_read() {
    let journal = journal();
    let path = file(&journal.folder, 1);
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[70] ^= 4;
    fs::write(&path, bytes).expect("it can be written");
    assert_eq!(today(&journal.statistics, Some(WHO)), 3);
    assert_eq!(today(&journal.statistics, Some(WHO)), 3, "the other file still counts");
    assert!(!path.exists());
    assert!(path.with_extension("hours.damaged").exists());
}

#[test]
fn a_merge_that_was_cut_short_counts_nothing_twice() {
    let mut journal = Journal::new();
    for _ in 0..200 {
        journal.write(job(WHO, NOW, 200, 1_500));
        journal.next_segment();
    }
    journal.close();
    let before: Vec<_> = journal.folder.files();
    let copies: Vec<_> = before
        .iter()
        .map(|(name, _)| {
            (
                name,
                fs::read(journal.folder.path().join(name)).expect("it can be read"),
            )
        })
        .collect();
    // A month later there are enough younger hours for the day to be merged.
    for number in 0..80 {
        let hour = UnixTime::from_secs(1_800_000_000 + 86_400 * 30 + 3_600 * number);
        journal.write(job(WHO, hour, 200, 1));
        journal.next_segment();
    }
    journal.close();
    let later = UnixTime::from_secs(1_800_000_000 + 86_400 * 34);
    journal.statistics.tidy(later).expect("the disk works");
    let merged = journal.folder.files();
    assert!(merged.iter().any(|(name, _)| name.ends_with(".days")), "{merged:?}");
    assert_eq!(today(&journal.statistics, Some(WHO)), 200);

    for (name, bytes) in copies {
        fs::write(journal.folder.path().join(name), bytes).expect("it can be written");
    }
    fs::write(journal.folder.path().join("days.unfinished"), b"half").expect("it can be written");
    journal.restart_with(u64::MAX);
    assert_eq!(today(&journal.statistics, Some(WHO)), 200);
    assert_eq!(journal.folder.files(), merged, "what was left over is gone");
}

#[test]
fn damaged_files_do_not_pile_up() {
    let mut journal = Journal::new();
    for _ in 0..DAMAGED_KEPT + 5 {
        journal.write(job(WHO, NOW, 200, 1_500));
        journal.next_segment();
        journal.close();
        let newest = journal.folder.files();
        let newest = newest.iter().rev().find(|(name, _)| name.ends_with(".hours"));
        let path = journal.folder.path().join(&newest.expect("it was just written").0);
        fs::write(path, b"no rollup").expect("it can be written");
    }
    journal.restart_with(u64::MAX);
    let files = journal.folder.files();
    assert_eq!(files.len(), DAMAGED_KEPT);
    assert!(files.iter().all(|(name, _)| name.ends_with(".damaged")), "{files:?}");
    assert_eq!(journal.books.covers(), None);
}
