//! Which rollups are merged into which, and which go: so that their space is bounded.
//!
//! A segment's file has sums by hour for as long as somebody may ask for hours, 73 of them; then the files of one UTC day
//! become one file with sums by day, which lasts 61 days. A file belongs to the day of its latest hour.
//!
//! Age alone condemns nothing: the latest files by hour, of [`HOURS_SEEN_KEPT`] hours, and the latest [`DAY_FILES_KEPT`] by day
//! stay whatever the clock says, so a wall clock that jumps ahead for a while doesn't wipe out what is only old by its
//! reckoning. And [`FILES_MAX`] holds whatever the clock says and however short segments are.
//!
//! Absent on purpose: what becomes of the shelf meanwhile (`mod`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::counted::{Column, Key, Sums};
use super::layout::{Cell, Fault, Grain};
use super::rollup::{Cells, Rollup};
use super::runs::Runs;
use super::writer::Writer;

/// Hours for which there are sums by hour, the current one included.
const HOURS_KEPT: u32 = 73;
/// Days for which there are sums by day, the current one included.
const DAYS_KEPT: u32 = 61;
/// Files by hour of that many different hours stay whatever their age.
pub const HOURS_SEEN_KEPT: usize = 72;
/// Files by day that stay whatever their age.
pub const DAY_FILES_KEPT: usize = 61;
/// Files at most. Beyond that the earliest are merged, and hours lose their resolution: reached if segments last less than three
/// minutes, or the wall clock runs wild.
pub const FILES_MAX: usize = 2_048;
/// Files that become one in one go, each with a descriptor and 4 KiB of memory.
pub const MERGED_MAX: usize = 64;

const HOURS_PER_DAY: u32 = 24;

/// Files that are to become one.
#[derive(Debug)]
pub(super) struct Merge {
    /// By segment.
    pub sources: Vec<Arc<Rollup>>,
    /// Days before this one are left out.
    keep_from_day: u32,
}

/// What to merge next, if anything.
pub(super) fn next(shelf: &[Arc<Rollup>], now_hour: u32) -> Option<Merge> {
    let by_segment = by_segment(shelf);
    if shelf.len() > FILES_MAX {
        return Some(Merge {
            sources: by_segment.into_iter().take(MERGED_MAX).collect(),
            keep_from_day: (now_hour / HOURS_PER_DAY).saturating_sub(DAYS_KEPT),
        });
    }
    finished_day(&by_segment, now_hour).map(|sources| Merge {
        sources,
        keep_from_day: 0,
    })
}

/// What is too old, though not among the latest.
pub(super) fn too_old(shelf: &[Arc<Rollup>], now_hour: u32) -> Vec<Arc<Rollup>> {
    let today = now_hour / HOURS_PER_DAY;
    let mut days: Vec<_> = by_segment(shelf)
        .into_iter()
        .filter(|rollup| rollup.grain() == Grain::Day)
        .collect();
    days.truncate(days.len().saturating_sub(DAY_FILES_KEPT));
    days.retain(|rollup| rollup.latest_day().saturating_add(DAYS_KEPT) < today);
    days
}

/// Files by hour of the earliest day that is wholly past its time, and the file by day that they join, if there is one.
fn finished_day(by_segment: &[Arc<Rollup>], now_hour: u32) -> Option<Vec<Arc<Rollup>>> {
    let hours: Vec<_> = by_segment
        .iter()
        .filter(|rollup| rollup.grain() == Grain::Hour)
        .collect();
    let is_past = |day: u32| {
        let ends = day.saturating_add(1).saturating_mul(HOURS_PER_DAY);
        ends.saturating_add(HOURS_KEPT) <= now_hour
    };
    let (mut kept_hours, mut kept_days) = (BTreeSet::new(), BTreeSet::new());
    for rollup in hours.iter().rev() {
        kept_hours.insert(rollup.latest());
        if kept_hours.len() > HOURS_SEEN_KEPT {
            break;
        }
        kept_days.insert(rollup.latest_day());
    }
    let day = hours
        .iter()
        .map(|rollup| rollup.latest_day())
        .filter(|day| is_past(*day) && !kept_days.contains(day))
        .min()?;
    let of_day = |grain| {
        let of_day = move |rollup: &&Arc<Rollup>| rollup.grain() == grain && rollup.latest_day() == day;
        by_segment.iter().filter(of_day).take(MERGED_MAX / 2).cloned()
    };
    // Every merge takes at least one file by hour, so there is an end to it.
    let mut sources: Vec<_> = of_day(Grain::Hour).chain(of_day(Grain::Day)).collect();
    sources.sort_by_key(|rollup| rollup.segments().first());
    Some(sources)
}

fn by_segment(shelf: &[Arc<Rollup>]) -> Vec<Arc<Rollup>> {
    let mut shelf = shelf.to_vec();
    shelf.sort_by_key(|rollup| rollup.segments().last());
    shelf
}

/// What went wrong with which file.
#[derive(Debug)]
pub(super) enum MergeFault {
    /// A source is damaged.
    Source(Arc<Rollup>, &'static str),
    /// The disk's.
    Disk(io::Error),
}

impl From<io::Error> for MergeFault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Merge {
    /// Writes one file by day with all that is in the sources, which stay as they are. Takes memory for a block of each and for
    /// the days of one caller.
    ///
    /// # Errors
    /// A source's, or the disk's. There is no new file then.
    pub fn write(&self, folder: &Path) -> Result<Rollup, MergeFault> {
        let fault = |source: &Arc<Rollup>, fault: Fault| match fault {
            Fault::Damaged(what) => MergeFault::Source(Arc::clone(source), what),
            Fault::Disk(error) => MergeFault::Disk(error),
        };
        let mut writer = Writer::begin(folder, Grain::Day)?;
        let mut streams: Vec<(&Arc<Rollup>, Cells)> = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            streams.push((source, source.cells().map_err(|error| fault(source, error))?));
        }
        let mut heads = BinaryHeap::with_capacity(streams.len());
        for (place, (source, cells)) in streams.iter_mut().enumerate() {
            let first = cells.next().map_err(|error| fault(source, error))?;
            heads.extend(first.map(|cell| Reverse((cell, place))));
        }
        let mut caller = OneCaller::default();
        while let Some(Reverse((cell, place))) = heads.pop() {
            if caller.key != Some(cell.key) {
                caller.write(&mut writer)?;
                caller.key = Some(cell.key);
            }
            let (source, cells) = &mut streams[place];
            let day = day_of(source.grain(), cell.bucket);
            if day >= self.keep_from_day {
                caller.add(day, cell);
            }
            let next = cells.next().map_err(|error| fault(source, error))?;
            heads.extend(next.map(|cell| Reverse((cell, place))));
        }
        caller.write(&mut writer)?;

        let idle = self.sources.iter().map(|source| source.latest_day()).max();
        Ok(writer.finish(self.segments(), self.door(), idle.unwrap_or(0))?)
    }

    fn segments(&self) -> Runs {
        let mut segments = Runs::default();
        for source in &self.sources {
            segments.add(source.segments());
        }
        segments
    }

    fn door(&self) -> BTreeMap<u32, Sums> {
        let mut door: BTreeMap<u32, Sums> = BTreeMap::new();
        for source in &self.sources {
            for (bucket, sums) in source.door() {
                let day = day_of(source.grain(), *bucket);
                if day >= self.keep_from_day {
                    door.entry(day).or_default().merge(sums);
                }
            }
        }
        door
    }
}

/// A caller's sums by day, in the making.
#[derive(Debug, Default)]
struct OneCaller {
    key: Option<Key>,
    days: BTreeMap<(u32, Column), u32>,
}

impl OneCaller {
    fn add(&mut self, day: u32, cell: Cell) {
        let count = self.days.entry((day, cell.column)).or_default();
        *count = count.saturating_add(cell.count);
    }

    /// Writes them and begins anew.
    fn write(&mut self, writer: &mut Writer) -> io::Result<()> {
        let Some(key) = self.key.take() else {
            return Ok(());
        };
        for ((bucket, column), count) in std::mem::take(&mut self.days) {
            writer.push(Cell {
                key,
                bucket,
                column,
                count,
            })?;
        }
        Ok(())
    }
}

const fn day_of(grain: Grain, bucket: u32) -> u32 {
    match grain {
        Grain::Hour => bucket / HOURS_PER_DAY,
        Grain::Day => bucket,
    }
}
