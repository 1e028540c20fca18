//! The thread that hands closed segments to the bookkeepers, and removes those that nobody needs.
//!
//! Absent on purpose: what a bookkeeper writes down.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Wall;
use super::disk::{self, Disk};
use super::format::{Line, Names};
use super::registry::{Closed, Registry};
use super::segment::{self, Reader};
use super::totals::Totals;
use crate::policy::rules::Calendar;
use crate::policy::time::{Span, UnixTime};
use crate::store::{Bookkeeper, Entry};

/// How often what could not be done is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Damaged segments that are kept aside when their time is over, for somebody to look at. The oldest goes first.
pub const ASIDE_MAX: usize = 16;
/// Where they are kept, below the journal's folder.
pub const ASIDE: &str = "damaged";

/// See the module.
pub struct Books {
    /// Where the segments are.
    pub disk: Arc<dyn Disk>,
    /// Their folder.
    pub folder: PathBuf,
    /// What time it is.
    pub wall: Wall,
    /// Which segments there are.
    pub registry: Arc<Registry>,
    /// The sums of calendar periods.
    pub totals: Totals,
    /// Everybody else who must have read a segment before it goes.
    pub keepers: Vec<Box<dyn Bookkeeper>>,
    /// How long a segment is kept after its end, at least.
    pub keep: Span,
}

/// Works until the registry is closed. The books are locked while something is done, and left as they are while somebody
/// holds the registry.
pub fn run(books: &Mutex<Books>, registry: &Registry) {
    while registry.wait_free() {
        // Before the work: what is closed meanwhile is work for the next turn.
        let turns = registry.turns();
        {
            let mut books = books.lock();
            books.keep();
            books.remove_old();
        }
        if !registry.wait(turns, AGAIN_AFTER) {
            return;
        }
    }
}

impl Books {
    /// Other windows from now on: other calendars to sum up, and segments to be kept for as long as the longest reaches.
    pub fn reload(&mut self, calendars: impl Iterator<Item = Calendar>, keep: Span) {
        self.totals.reload(calendars);
        self.keep = keep;
    }

    fn keep(&mut self) {
        let closed = self.registry.closed();
        let (disk, folder, registry) = (&*self.disk, &*self.folder, &*self.registry);
        let others = self.keepers.iter_mut().map(|keeper| &mut **keeper);
        for keeper in std::iter::once(&mut self.totals as &mut dyn Bookkeeper).chain(others) {
            for segment in &closed {
                if registry.is_held() {
                    return;
                }
                let number = segment.known.number;
                if keeper.covers().is_some_and(|covered| covered >= number) {
                    continue;
                }
                match enter(disk, folder, segment, &registry.voids(), keeper) {
                    Ok(0) => {}
                    Ok(damaged) => {
                        if registry.damaged(number) {
                            tracing::error!(
                                segment = number,
                                damaged,
                                "records in the journal can't be read any more: the rest is in the books, and the segment \
                                 will be kept aside",
                            );
                        }
                    }
                    Err(error) => {
                        tracing::warn!(segment = number, %error, ?keeper, "a segment can't be entered into the books yet");
                        break;
                    }
                }
            }
        }
    }

    fn remove_old(&self) {
        let now = (self.wall)();
        for Closed { known, ended, .. } in self.registry.closed() {
            if self.registry.is_held() {
                return;
            }
            let entered = covers(&self.totals, known.number) && covered(&self.keepers, known.number);
            if !is_over(ended, self.keep, now) || !entered {
                continue;
            }
            let path = segment::path(&self.folder, known.number);
            let done = match known.damaged {
                true => put_aside(&*self.disk, &self.folder, &segment::name(known.number)),
                false => disk::remove(&*self.disk, &path),
            };
            match done {
                Ok(()) => self.registry.gone(known.number),
                Err(error) => tracing::warn!(segment = known.number, %error, "an old segment can't be removed"),
            }
        }
    }
}

/// Whether the segment of that number is in everybody's books.
pub fn covered(keepers: &[Box<dyn Bookkeeper>], number: u64) -> bool {
    keepers.iter().all(|keeper| covers(&**keeper, number))
}

fn covers(keeper: &dyn Bookkeeper, number: u64) -> bool {
    keeper.covers().is_some_and(|covered| covered >= number)
}

/// Whether what ended then has been kept for long enough.
pub fn is_over(ended: UnixTime, keep: Span, now: UnixTime) -> bool {
    ended + keep < now
}

/// Moves a file of the journal to those kept aside.
///
/// # Errors
/// The disk's.
pub fn put_aside(disk: &dyn Disk, folder: &Path, name: &str) -> io::Result<()> {
    let aside = folder.join(ASIDE);
    disk.create_folder(&aside)?;
    let mut there = disk.list(&aside)?;
    there.sort();
    let too_many = (there.len() + 1).saturating_sub(ASIDE_MAX);
    for oldest in &there[..too_many] {
        disk::remove(disk, &aside.join(oldest))?;
    }
    disk.rename(&folder.join(name), &aside.join(name))
}

/// How much of it could not be read though it was whole once.
fn enter(
    disk: &dyn Disk,
    folder: &Path,
    segment: &Closed,
    voids: &BTreeSet<u64>,
    keeper: &mut dyn Bookkeeper,
) -> io::Result<u64> {
    let mut names = Names::default();
    let (reader, _) = Reader::open(disk, folder, segment.known.number, &mut names)?;
    let mut counting = Counting {
        reader,
        limit: segment.limit,
        voids,
    };
    keeper.close(segment.known.number, &mut counting)?;
    // A keeper may have seen enough before the end, and only there it is known what is missing.
    counting.by_ref().for_each(drop);
    let mut findings = counting.reader.into_findings();
    findings.durable = findings.durable.max(segment.known.durable);
    Ok(findings.damaged())
}

/// The entries of a segment that count.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The segment.
    pub reader: Reader<'a>,
    /// Entries of this number and above don't count.
    pub limit: u64,
    /// These don't either.
    pub voids: &'a BTreeSet<u64>,
}

impl Iterator for Counting<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            match self.reader.next_line()? {
                (sequence, Line::Entry(entry)) if sequence < self.limit && !self.voids.contains(&sequence) => {
                    return Some(entry);
                }
                _ => {}
            }
        }
    }
}
