//! Entries are recorded, segments closed, files merged and questions asked, all at once: every answer lies between what had
//! been recorded when it was asked and what had been begun when it was given.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tiergate::policy::caller::{AccountId, Caller, NetworkId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::Bookkeeper;
use tiergate::store::statistics::{Period, Statistics};

use super::folder::Folder;
use super::model::job;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const ENTRIES: u64 = 60_000;
const CALLERS: u64 = 3_000;

#[test]
fn an_entry_counts_once_while_its_segment_is_closed() {
    let folder = Folder::new();
    let (statistics, mut books) = Statistics::open(folder.path()).expect("an empty folder opens");
    let (open_segment, begun, done) = (Mutex::new(Vec::new()), AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    // In the order of keys the watched one is the first, so its cells are taken out last: long after the rollup has come.
    let watched = Caller::Account(AccountId(0));
    let last = Caller::Network(NetworkId(u64::MAX));

    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..ENTRIES {
                let other = Caller::Network(NetworkId(number % CALLERS));
                for caller in [watched, last, other] {
                    let entry = job(caller, NOW, 200, 3);
                    if caller == watched {
                        begun.fetch_add(1, Ordering::SeqCst);
                    }
                    statistics.record(&entry);
                    if caller == watched {
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    open_segment.lock().expect("nobody panics").push(entry);
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            for segment in 1.. {
                let is_last = over.load(Ordering::SeqCst);
                let entries = std::mem::take(&mut *open_segment.lock().expect("nobody panics"));
                books.close(segment, &mut entries.into_iter()).expect("the disk works");
                if segment % 8 == 0 {
                    let later = NOW + Span::from_secs(5 * 86_400);
                    statistics.tidy(later).expect("the disk works");
                }
                if is_last {
                    break;
                }
            }
        });
        while !over.load(Ordering::SeqCst) {
            let least = done.load(Ordering::SeqCst);
            let told = statistics
                .traffic(Some(watched), Period::Day, NOW)
                .expect("the disk works");
            let most = begun.load(Ordering::SeqCst);
            let told = told.last().expect("there are 60 rows").total;
            assert!((least..=most).contains(&told), "{told}, not {least} to {most}");
        }
    });

    let total = |whose| {
        let told = statistics.traffic(whose, Period::Day, NOW);
        told.expect("the disk works").last().map(|row| row.total)
    };
    assert_eq!(total(Some(watched)), Some(ENTRIES));
    assert_eq!(total(Some(last)), Some(ENTRIES));
    assert_eq!(total(Some(Caller::Network(NetworkId(1)))), Some(ENTRIES / CALLERS));
    assert_eq!(total(None), Some(3 * ENTRIES));
}
