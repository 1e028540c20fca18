//! What a loss of power leaves: of what a program wrote, that which it synced, and of the rest what chance says, in sectors.
//!
//! The library of `tests/faultfs` keeps the history. A failed sync makes nothing durable, and no later one makes durable what was
//! written before it: Linux drops such pages as if they had been written.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::faultfs::layout::{
    RECORD_AT, RECORD_BORN, RECORD_INODE, RECORD_KIND, RECORD_LENGTH, RECORD_NEW, RECORD_OLD, RECORD_SYNC,
    RECORD_SYNC_FAILED, RECORD_TRUNCATE, RECORD_WORDS, RECORD_WRITE,
};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A file's number, and when it was made, in nanoseconds since 1970.
type FileId = (u64, u64);

/// One change to a file.
struct Change {
    kind: Kind,
    /// Where it was written, or the new length.
    at: usize,
    /// The file's length before.
    length: usize,
    old: Vec<u8>,
    durable: bool,
}

enum Kind {
    Write(Vec<u8>),
    SetLength,
}

/// Takes back in all files below `root` what was not durable, except for what `keep` says of each sector and each change of a
/// length. The history begins anew. The program must be gone.
pub fn lose(root: &Path, history: &Path, mut keep: impl FnMut() -> bool) {
    let changes = changes(&fs::read(history).expect("the program had a history"));
    let mut files = BTreeMap::new();
    find_files(root, &mut files);
    for (id, changes) in changes {
        // One that is gone has lost all.
        if let Some(path) = files.get(&id) {
            let mut bytes = fs::read(path).expect("a file");
            take_back(&mut bytes, &changes);
            do_again(&mut bytes, &changes, &mut keep);
            fs::write(path, bytes).expect("the file is ours");
        }
    }
    fs::write(history, "").expect("the file is ours");
}

fn changes(history: &[u8]) -> BTreeMap<FileId, Vec<Change>> {
    let mut all: BTreeMap<FileId, Vec<Change>> = BTreeMap::new();
    // Those that a sync would make durable, of each file: from there on.
    let mut pending: BTreeMap<FileId, usize> = BTreeMap::new();
    let mut rest = history;
    while let Some((words, old, new)) = record(&mut rest) {
        let id = (words[RECORD_INODE] as u64, words[RECORD_BORN] as u64);
        let (of_file, pending) = (all.entry(id).or_default(), pending.entry(id).or_default());
        let kind = match words[RECORD_KIND] as u64 {
            RECORD_WRITE => Kind::Write(new.to_vec()),
            RECORD_TRUNCATE => Kind::SetLength,
            RECORD_SYNC => {
                of_file[*pending..].iter_mut().for_each(|change| change.durable = true);
                *pending = of_file.len();
                continue;
            }
            RECORD_SYNC_FAILED => {
                *pending = of_file.len();
                continue;
            }
            other => panic!("a record of kind {other}"),
        };
        of_file.push(Change {
            kind,
            at: words[RECORD_AT],
            length: words[RECORD_LENGTH],
            old: old.to_vec(),
            durable: false,
        });
    }
    all
}

/// The next record, unless its end is missing: then what it announced was not done.
fn record<'a>(rest: &mut &'a [u8]) -> Option<([usize; RECORD_WORDS], &'a [u8], &'a [u8])> {
    let mut words = [0; RECORD_WORDS];
    for word in &mut words {
        let (bytes, after) = rest.split_first_chunk::<8>()?;
        *word = u64::from_ne_bytes(*bytes) as usize;
        *rest = after;
    }
    let (old, after) = rest.split_at_checked(words[RECORD_OLD])?;
    let (new, after) = after.split_at_checked(words[RECORD_NEW])?;
    *rest = after;
    Some((words, old, new))
}

fn find_files(folder: &Path, files: &mut BTreeMap<FileId, PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let about = entry.metadata().expect("it is there");
        if about.is_dir() {
            find_files(&entry.path(), files);
        } else if about.is_file() {
            let born = about
                .created()
                .ok()
                .and_then(|born| born.duration_since(UNIX_EPOCH).ok());
            let born = born.map_or(0, |born| born.as_nanos() as u64);
            files.insert((about.ino(), born), entry.path());
        }
    }
}

/// Makes the file what it was before its history.
fn take_back(bytes: &mut Vec<u8>, changes: &[Change]) {
    for change in changes.iter().rev() {
        put(bytes, change.at, &change.old);
        bytes.resize(change.length, 0);
    }
}

/// Does again what was durable, and of the rest what `keep` says.
fn do_again(bytes: &mut Vec<u8>, changes: &[Change], keep: &mut impl FnMut() -> bool) {
    // How long the file was for the program.
    let mut length = bytes.len();
    for change in changes {
        // It was opened so that it became empty, which no record tells.
        if change.length < length {
            bytes.truncate(change.length);
        }
        length = change.length;
        match &change.kind {
            Kind::Write(new) => {
                length = length.max(change.at + new.len());
                for part in sectors(change.at, new.len()) {
                    if change.durable || keep() {
                        put(bytes, change.at + part.start, &new[part]);
                    }
                }
            }
            Kind::SetLength => {
                length = change.at;
                if change.durable || keep() {
                    bytes.resize(change.at, 0);
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if !new.is_empty() {
        bytes.resize(bytes.len().max(at + new.len()), 0);
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}

/// The parts of a write that lie in one sector each.
fn sectors(at: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let end = length.min((at + begin) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
        let part = begin..end;
        begin = end;
        (!part.is_empty()).then_some(part)
    })
}
