//! Jobs are committed, rolled up and asked for, all at once: every answer lies between what was durable when it was asked
//! and what had been begun when it was given.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tiergate::policy::caller::{AccountId, Caller, NetworkId};
use tiergate::policy::time::UnixTime;
use tiergate::store::statistics::Period;
use tiergate::store::{Ledger, LedgerEntry};

use super::model::{Book, job};
use crate::kit::wait;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const GROUPS: u64 = 100;
const GROUP: u64 = 60;
const CALLERS: u64 = 300;

#[test]
fn a_job_counts_once_while_it_is_rolled_up() {
    let book = Book::new();
    let database = book.database();
    let (begun, done, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let watched = Caller::Account(AccountId(1));
    let total = |whose| {
        let told = database.traffic(whose, Period::Day, NOW).expect("it can be read");
        told.last().expect("there are 60 rows").total
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for group in 0..GROUPS {
                begun.fetch_add(GROUP, Ordering::SeqCst);
                let commit = |caller| match job(caller, NOW, 200, 3) {
                    LedgerEntry::Job(record) => database.commit(record),
                    LedgerEntry::Refused(_) => unreachable!("it is a job"),
                };
                let all = (0..GROUP).flat_map(|number| {
                    let other = Caller::Network(NetworkId(1 + (group * GROUP + number) % CALLERS));
                    [commit(watched), commit(other)]
                });
                for commit in all.collect::<Vec<_>>() {
                    assert_eq!(wait(commit), Ok(()));
                }
                done.fetch_add(GROUP, Ordering::SeqCst);
            }
            over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                database.roll_up().expect("it can be written");
            }
        });
        while !over.load(Ordering::SeqCst) {
            let least = done.load(Ordering::SeqCst);
            let told = total(Some(watched));
            let most = begun.load(Ordering::SeqCst);
            assert!((least..=most).contains(&told), "{told}, not {least} to {most}");
        }
    });
    for _ in 0..2 {
        assert_eq!(total(Some(watched)), GROUPS * GROUP);
        assert_eq!(total(Some(Caller::Network(NetworkId(1)))), GROUPS * GROUP / CALLERS);
        assert_eq!(total(None), 2 * GROUPS * GROUP);
        book.roll_up();
    }
}
