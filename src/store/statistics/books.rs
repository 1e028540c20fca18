//! Rolls up what the journal closes.
//!
//! Absent on purpose: a second way to count. What an entry counts for is said in `counted`, once.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use tracing::warn;

use crate::store::{Bookkeeper, Entry, Witness};

use super::Statistics;
use super::counted::{Column, Counted, Key, Sums};
use super::layout::{Cell, Grain};
use super::runs::Runs;
use super::writer::Writer;

/// Numbers of callers, each of one caller, hour and column, that are taken from one segment at most: about 80 MB of
/// memory while it is closed, a file of 22 MB. Beyond that only the door is counted, and the log says so.
pub const SEGMENT_CELLS_MAX: usize = 1_000_000;

/// The only one who writes segments' rollups. Closing blocks on the disk.
#[derive(Debug)]
pub struct Books {
    statistics: Arc<Statistics>,
    /// The latest segment on the shelf.
    covers: Option<u64>,
    /// The latest hour of the rollup before: where a segment without entries is filed.
    last_hour: u32,
}

impl Books {
    pub(super) const fn new(statistics: Arc<Statistics>, covers: Option<u64>, last_hour: u32) -> Self {
        Self {
            statistics,
            covers,
            last_hour,
        }
    }
}

impl Bookkeeper for Books {
    fn covers(&self) -> Option<u64> {
        self.covers
    }

    /// A segment that is in the books already is not entered again.
    fn close(&mut self, segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> io::Result<()> {
        if self.covers >= Some(segment) {
            return Ok(());
        }
        let Segment { door, callers } = Segment::sum(segment, entries);
        let mut writer = Writer::begin(self.statistics.folder(), Grain::Hour)?;
        for cell in &callers {
            writer.push(*cell)?;
        }
        let rollup = writer.finish(Runs::one(segment), door, self.last_hour)?;
        self.covers = Some(segment);
        self.last_hour = rollup.latest();
        self.statistics.rolled(rollup, callers);
        Ok(())
    }

    fn witness(&self) -> Option<Witness> {
        let statistics = Arc::clone(&self.statistics);
        Some(Arc::new(move |entry: &Entry| statistics.record(entry)))
    }
}

/// A segment's sums.
#[derive(Debug, Default)]
struct Segment {
    door: BTreeMap<u32, Sums>,
    callers: Vec<Cell>,
}

impl Segment {
    fn sum(segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> Self {
        let mut door: BTreeMap<u32, Sums> = BTreeMap::new();
        let mut callers: HashMap<(Key, u32, Column), u32> = HashMap::new();
        let mut uncounted = 0_u64;
        for counted in entries.filter_map(|entry| Counted::of(&entry)) {
            let hour = counted.hour();
            if counted.door {
                door.entry(hour).or_default().add(&counted);
            }
            for key in counted.callers.into_iter().flatten() {
                let of = (key, hour, counted.column);
                if callers.len() >= SEGMENT_CELLS_MAX && !callers.contains_key(&of) {
                    uncounted += 1;
                    continue;
                }
                let count = callers.entry(of).or_default();
                *count = count.saturating_add(counted.count);
            }
        }
        if uncounted > 0 {
            warn!(
                segment,
                uncounted, "statistics: more callers in a segment than are counted"
            );
        }
        let mut callers: Vec<_> = callers
            .into_iter()
            .map(|((key, bucket, column), count)| Cell {
                key,
                bucket,
                column,
                count,
            })
            .collect();
        callers.sort_unstable();
        Self { door, callers }
    }
}
