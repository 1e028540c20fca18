//! Statistics: how callers and the whole door were answered, by minute, hour and day, and how long searches took.
//!
//! Everything is derived from the journal's entries. An entry counts at the time of its end: a job when it was answered, refusals
//! in their minute. It is counted in two places that know nothing of each other:
//!
//! - by *minute* in memory (`minutes`), for `Period::Minute`; after a restart from the entries that the journal replays.
//! - by *hour*, in memory (`unrolled`) until its segment of the journal is closed, then in that segment's rollup, a file (`rollup`).
//!   Later a day's rollups are merged into one by day (`merging`). An hour's or a day's row is the sum over all of these.
//!
//! So that an entry counts exactly once whether its segment is rolled up or not, a segment's rollup comes onto the shelf and its
//! entries leave the unrolled part in the same moment, under one lock. A live entry doesn't know its segment; it need not, since
//! the journal hands over the very entries of a segment when it is closed. That asks three things of the journal:
//!
//! 1. [`Statistics::record`] comes before the entry's segment is closed.
//! 2. A segment's entries are the same when they are recorded, replayed and closed, to the millisecond.
//! 3. A segment is replayed either wholly before it is closed or wholly after, and before the first live entry.
//!
//! Entries that were recorded but lost before they reached the disk stay in the unrolled part until a restart, or until they
//! are too old.
//!
//! Absent on purpose: clocks, and threads. [`Statistics::traffic`], [`Statistics::speed`], [`Statistics::tidy`] and [`Books`] read
//! and write files: whoever calls them does so where blocking is allowed, and bounds how many do at once.

mod books;
mod callers;
mod counted;
mod histogram;
mod layout;
mod merging;
mod minutes;
mod refusals;
mod rollup;
mod rows;
mod runs;
mod shelf;
mod unrolled;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::policy::caller::Caller;
use crate::policy::time::UnixTime;

use super::Entry;
use counted::{Counted, Key, Sums};
use layout::{Cell, Fault, Grain};
use merging::MergeFault;
use minutes::Minutes;
use rollup::Rollup;
use rows::Rows;
use runs::Runs;
use unrolled::Unrolled;

pub use books::{Books, SEGMENT_CELLS_MAX};
pub use counted::STATUSES;
pub use histogram::PERCENTILES;
pub use merging::{DAY_FILES_KEPT, FILES_MAX, HOURS_SEEN_KEPT, MERGED_MAX};
pub use minutes::MINUTE_CELLS_MAX;
pub use refusals::{CALLERS_PER_MINUTE_MAX, Refusals};
pub use rows::{Period, Speed, Traffic};
pub use shelf::DAMAGED_KEPT;
pub use unrolled::{HOUR_CELLS_MAX, UNROLLED_HOURS_MAX};

/// Merges in one [`Statistics::tidy`]. What is left over comes next time.
const MERGES_MAX: usize = 256;

/// Unrolled hours that are never forgotten, whatever their age.
const UNROLLED_HOURS_KEPT: usize = 48;

/// How everybody was answered. Shared; what is counted takes a lock for well under a microsecond.
#[derive(Debug)]
pub struct Statistics {
    folder: PathBuf,
    state: Mutex<State>,
    /// Held by whoever merges: one at a time.
    tidying: Mutex<()>,
}

/// Everything that must agree at every moment: so one lock guards all of it.
#[derive(Debug)]
struct State {
    minutes: Minutes,
    unrolled: Unrolled,
    /// Files that cover no segment twice, in no order.
    shelf: Arc<Vec<Arc<Rollup>>>,
    /// The segments that were on the shelf at some time since the start.
    covered: Runs,
    uncounted: u64,
}

impl Statistics {
    /// Reads the rollups of that folder, which is nobody else's, and is made if it isn't there. Reads every byte: damaged files
    /// are found now, while the journal may still replay what they covered.
    ///
    /// # Errors
    /// The disk's. A damaged file is none: it is logged as an error and set aside.
    pub fn open(folder: &Path) -> io::Result<(Arc<Self>, Books)> {
        let (shelf, covered) = shelf::open(folder)?;
        let covers = covered.last();
        let last = shelf.iter().max_by_key(|rollup| rollup.segments().last());
        let last_hour = last.map_or(0, |rollup| match rollup.grain() {
            Grain::Hour => rollup.latest(),
            Grain::Day => rollup.latest().saturating_mul(24),
        });
        let statistics = Arc::new(Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                minutes: Minutes::new(MINUTE_CELLS_MAX),
                unrolled: Unrolled::new(HOUR_CELLS_MAX),
                shelf: Arc::new(shelf),
                covered,
                uncounted: 0,
            }),
            tidying: Mutex::new(()),
        });
        let books = Books::new(Arc::clone(&statistics), covers, last_hour);
        Ok((statistics, books))
    }

    /// Counts an entry that has just been written down, before its segment is closed.
    pub fn record(&self, entry: &Entry) {
        self.count(entry, |_| true);
    }

    /// Counts an entry that the journal has kept, at start: by minute in any case, by hour unless its segment is rolled up.
    pub fn replayed(&self, entry: &Entry, segment: u64) {
        self.count(entry, |covered| !covered.contains(segment));
    }

    fn count(&self, entry: &Entry, is_unrolled: impl FnOnce(&Runs) -> bool) {
        let Some(counted) = Counted::of(entry) else {
            return;
        };
        let mut state = self.state.lock();
        let by_minute = state.minutes.add(&counted);
        let by_hour = !is_unrolled(&state.covered) || state.unrolled.add(&counted);
        state.uncounted += u64::from(!(by_minute && by_hour));
    }

    /// Entries since the start that were counted for the whole door but not, or not everywhere, for their callers, since
    /// [`MINUTE_CELLS_MAX`] or [`HOUR_CELLS_MAX`] was reached. In rollups they count.
    pub fn uncounted(&self) -> u64 {
        self.state.lock().uncounted
    }

    /// The answers of a caller, or of the whole door, for each of the latest minutes, hours or days, in UTC: exactly
    /// [`Period::rows`], the earliest first; the last one isn't over. A caller's hours and days are read from files, from a few
    /// blocks of each: about 160 files in all. Blocks.
    ///
    /// # Errors
    /// The disk's. A damaged file is none: it is logged as an error, set aside and left out.
    pub fn traffic(&self, whose: Option<Caller>, period: Period, now: UnixTime) -> io::Result<Vec<Traffic>> {
        let mut rows = Rows::until(now, period);
        let key = whose.map(Key::from);
        let shelf = {
            let state = self.state.lock();
            match (period, key) {
                (Period::Minute, None) => rows.fill(|minute| state.minutes.door(minute).map(|sums| sums.counts)),
                (Period::Minute, Some(key)) => rows.fill(|minute| state.minutes.caller(minute, key)),
                (_, None) => {
                    let hours = state.unrolled.door(rows.hours());
                    hours.for_each(|(hour, sums)| rows.add(Grain::Hour, hour, &sums.counts));
                }
                (_, Some(key)) => {
                    let hours = state.unrolled.caller(key, rows.hours());
                    hours.for_each(|(hour, counts)| rows.add(Grain::Hour, hour, &counts));
                }
            }
            Arc::clone(&state.shelf)
        };
        for rollup in rows.wanted(&shelf) {
            match key {
                None => {
                    let buckets = rollup.door().iter();
                    buckets.for_each(|(bucket, sums)| rows.add(rollup.grain(), *bucket, &sums.counts));
                }
                Some(key) => {
                    let cells = self.cells_of(rollup, key)?;
                    cells.iter().for_each(|cell| rows.add_cell(rollup.grain(), cell));
                }
            }
        }
        Ok(rows.into_traffic())
    }

    /// The [`PERCENTILES`] of the search times of the whole door's successes, for each of the latest minutes, hours or days, as
    /// [`Self::traffic`] has them.
    ///
    /// # Errors
    /// None at present: the door's sums are in memory.
    pub fn speed(&self, period: Period, now: UnixTime) -> io::Result<Vec<Speed>> {
        let mut rows: Rows<Sums> = Rows::until(now, period);
        let shelf = {
            let state = self.state.lock();
            if period == Period::Minute {
                rows.fill(|minute| state.minutes.door(minute).cloned());
            } else {
                let hours = state.unrolled.door(rows.hours());
                hours.for_each(|(hour, sums)| rows.add(Grain::Hour, hour, sums));
            }
            Arc::clone(&state.shelf)
        };
        for rollup in rows.wanted(&shelf) {
            let buckets = rollup.door().iter();
            buckets.for_each(|(bucket, sums)| rows.add(rollup.grain(), *bucket, sums));
        }
        Ok(rows.into_speed())
    }

    /// Merges rollups by hour that are old enough into rollups by day, and removes those by day that nobody may ask for any more. To
    /// be called about once an hour, where blocking is allowed.
    ///
    /// # Errors
    /// The disk's. Nothing is lost then, and it can be called again.
    pub fn tidy(&self, now: UnixTime) -> io::Result<()> {
        let _one_at_a_time = self.tidying.lock();
        let now_hour = counted::hour(now);
        for _ in 0..MERGES_MAX {
            let shelf = self.shelf();
            let Some(merge) = merging::next(&shelf, now_hour) else {
                break;
            };
            match merge.write(&self.folder) {
                Ok(merged) => self.replace(&merge.sources, Some(merged)),
                Err(MergeFault::Source(rollup, what)) => self.set_aside(&rollup, what),
                Err(MergeFault::Disk(error)) => return Err(error),
            }
        }
        self.replace(&merging::too_old(&self.shelf(), now_hour), None);

        let earliest_day = (now_hour / 24).saturating_sub(DAY_FILES_KEPT as u32);
        self.state
            .lock()
            .unrolled
            .forget_before(earliest_day * 24, UNROLLED_HOURS_KEPT);
        Ok(())
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn shelf(&self) -> Arc<Vec<Arc<Rollup>>> {
        Arc::clone(&self.state.lock().shelf)
    }

    /// Puts a segment's rollup onto the shelf, and takes its entries out of the unrolled part.
    fn rolled(&self, rollup: Rollup, callers: Vec<Cell>) {
        let rollup = Arc::new(rollup);
        {
            let mut state = self.state.lock();
            state.unrolled.rolled(rollup.door(), callers);
            state.covered.add(rollup.segments());
            Arc::make_mut(&mut state.shelf).push(rollup);
        }
        // Each step takes the lock anew, so that answers get in between.
        while self.state.lock().unrolled.settle() {}
    }

    /// Puts one file onto the shelf in place of others, which go when their last reader is gone. If one of them was set aside
    /// meanwhile, all stays as it is.
    fn replace(&self, old: &[Arc<Rollup>], new: Option<Rollup>) {
        let new = new.map(Arc::new);
        let mut state = self.state.lock();
        let is_old = |rollup: &Arc<Rollup>| old.iter().any(|old| Arc::ptr_eq(old, rollup));
        let found = state.shelf.iter().filter(|rollup| is_old(rollup)).count();
        let goes = if found == old.len() {
            let shelf = Arc::make_mut(&mut state.shelf);
            shelf.retain(|rollup| !is_old(rollup));
            shelf.extend(new);
            old.iter().for_each(|rollup| rollup.obsolete());
            None
        } else {
            new
        };
        drop(state);
        // Outside the lock, since it removes a file.
        if let Some(unwanted) = goes {
            unwanted.obsolete();
        }
    }

    fn cells_of(&self, rollup: &Arc<Rollup>, key: Key) -> io::Result<Vec<Cell>> {
        match rollup.cells_of(key) {
            Ok(cells) => Ok(cells),
            Err(Fault::Damaged(what)) => {
                self.set_aside(rollup, what);
                Ok(Vec::new())
            }
            Err(Fault::Disk(error)) => Err(error),
        }
    }

    /// Takes a damaged file off the shelf, unless somebody else has done so.
    fn set_aside(&self, damaged: &Arc<Rollup>, what: &str) {
        let mut state = self.state.lock();
        let place = state.shelf.iter().position(|rollup| Arc::ptr_eq(rollup, damaged));
        if let Some(place) = place {
            Arc::make_mut(&mut state.shelf).swap_remove(place);
        }
        drop(state);
        if place.is_some() {
            shelf::set_aside(damaged.path(), what);
        }
    }
}
