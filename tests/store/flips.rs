//! A small journal, each of its bytes flipped in turn: what is lost is at most the record that the byte is in, and it is told.

use std::collections::BTreeMap;
use std::path::Path;

use tiergate::store::Ledger;
use tiergate::store::journal::inspect::{self, Report};

use crate::disk::TestDisk;
use crate::house::{DATA, HOUR, MONTH, WallClock, open, success, used, wait};

const JOBS: u32 = 4;
const HEADER_BYTES: usize = 4_096;
const FRAME_BYTES: usize = 64;
/// Of the header only these say something.
const HEADER_USED_BYTES: usize = 64;

/// A segment with the tier's name and four jobs.
fn small() -> Vec<u8> {
    let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
    let (journal, _) = open(&disk, &wall).expect("an empty disk");
    for account in 0..JOBS {
        let commit = journal.commit(success(account, wall.now()));
        assert_eq!(wait(&disk, commit).expect("the disk is well"), Ok(()));
    }
    drop(journal);
    disk.content(path()).expect("it is there")
}

fn path() -> &'static Path {
    Path::new("/data/journal/0000000000000001.seg")
}

fn verify(disk: &TestDisk) -> Report {
    inspect::verify(disk, Path::new(DATA)).expect("it can be read")
}

#[test]
fn a_flipped_byte_costs_at_most_its_own_record_and_is_told() {
    let bytes = small();
    assert_eq!(bytes.len(), HEADER_BYTES + (1 + JOBS as usize) * FRAME_BYTES);
    let told = (0..HEADER_USED_BYTES).chain(HEADER_BYTES..bytes.len());
    for byte in told {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
        let mut flipped = bytes.clone();
        flipped[byte] ^= 0x10;
        disk.put(path(), flipped);
        let report = verify(&disk);
        let told: u64 = report
            .segments
            .iter()
            .map(|segment| segment.damaged + segment.torn)
            .sum();
        assert_eq!(told, 1, "byte {byte}: {report:?}");
        // Of the last record nobody can tell whether it was ever whole.
        let last = byte >= bytes.len() - FRAME_BYTES;
        assert_eq!(report.is_damaged(), !last, "byte {byte}: {report:?}");

        let (_journal, history) = open(&disk, &wall).expect("the rest is well");
        let lost = byte
            .checked_sub(HEADER_BYTES + FRAME_BYTES)
            .map(|at| (at / FRAME_BYTES) as u32);
        let left: BTreeMap<u32, u64> = (0..JOBS).filter(|job| Some(*job) != lost).map(|job| (job, 1)).collect();
        assert_eq!(used(history).0, left, "byte {byte}");
    }
}

#[test]
fn a_journal_cut_off_anywhere_has_what_lies_before() {
    let bytes = small();
    // Of the header every part is as good as none.
    for length in (0..HEADER_BYTES).step_by(64).chain(HEADER_BYTES..bytes.len()) {
        let (disk, wall) = (TestDisk::new(), WallClock::at(MONTH + HOUR));
        disk.put(path(), bytes[..length].to_vec());
        let (_journal, history) = open(&disk, &wall).expect("the rest is well");
        let jobs = (length.saturating_sub(HEADER_BYTES) / FRAME_BYTES).saturating_sub(1);
        assert_eq!(used(history).0.len(), jobs, "{length} bytes");
    }
}
