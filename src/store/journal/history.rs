//! What is remembered, so that every window can be rebuilt: at start, and when a reload has made new ones.
//!
//! Absent on purpose: the windows. They get what counts, once.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::books::Counting;
use super::disk::Disk;
use super::format::Names;
use super::registry::{Closed, Hold, Registry};
use super::segment::Reader;
use super::totals::{Row, Snapshot};
use crate::policy::Policy;
use crate::policy::caller::Caller;
use crate::policy::rules::{Window, WindowId};
use crate::policy::time::{Timestamp, UnixTime};
use crate::store::past::tell;
use crate::store::{Debited, Entry};

/// One thing that is remembered.
#[derive(Debug)]
pub enum Remembered<'a> {
    /// What a caller has used in a calendar period, as far as the snapshot goes. A delegating account's contains its users'.
    Total {
        /// Which calendar window.
        window: WindowId,
        /// Whose.
        caller: Caller,
        /// The beginning of the period.
        period: UnixTime,
        /// How much.
        units: u64,
    },
    /// An entry that counts. Entries come in the order in which they were written; that of their admission is another.
    Entry {
        /// The entry.
        entry: Entry,
        /// In which segment it lies.
        segment: u64,
        /// By window: whether what it debits is in a [`Remembered::Total`] already. Never for rolling ones.
        covered: &'a [bool],
    },
}

/// A segment that is to be read.
#[derive(Debug)]
struct Part {
    closed: Closed,
    covered: Vec<bool>,
}

/// What was found. While it is there, nothing that it needs is removed.
pub struct History {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    _hold: Hold,
    /// Entries of this number and above are left out.
    until: u64,
    voids: BTreeSet<u64>,
    parts: Vec<Part>,
    snapshot: Option<Snapshot>,
    /// The windows that a row of the snapshot is for, by its calendar's place.
    windows: Vec<Vec<WindowId>>,
}

impl History {
    /// Of these closed segments and that snapshot, for these windows; segments that nobody `wants` and that are in every
    /// calendar's sums are left out, and so are entries of the number `until` and above. The snapshot must not be replaced
    /// from before it was read on.
    pub(super) fn new(
        (disk, folder): (Arc<dyn Disk>, PathBuf),
        (registry, hold): (&Registry, Hold),
        windows: &[Window],
        snapshot: Option<Snapshot>,
        until: u64,
        wants: impl Fn(&Closed) -> bool,
    ) -> Self {
        let covers = |window: &Window| match window {
            Window::Rolling(_) => None,
            Window::Calendar(calendar) => snapshot.as_ref()?.covers(&calendar.name),
        };
        let is_calendar = |window: &Window| matches!(window, Window::Calendar(_));
        let covers: Vec<(bool, Option<u64>)> = windows.iter().map(|w| (is_calendar(w), covers(w))).collect();
        let part = |closed: Closed| {
            let has = |covers: &Option<u64>| covers.is_some_and(|covers| closed.known.number <= covers);
            let below = closed.known.first_sequence < until;
            let needed = below && (wants(&closed) || covers.iter().any(|(calendar, covers)| *calendar && !has(covers)));
            let covered = covers.iter().map(|(_, covers)| has(covers)).collect();
            needed.then_some(Part { closed, covered })
        };
        let of_calendar = |name: &str| {
            let is_it = |window: &Window| matches!(window, Window::Calendar(calendar) if *calendar.name == *name);
            let ids = (0u8..).map(WindowId).zip(windows);
            ids.filter(|(_, window)| is_it(window)).map(|(id, _)| id).collect()
        };
        let calendars = snapshot.iter().flat_map(|snapshot| &snapshot.calendars);
        Self {
            windows: calendars.map(|(name, _)| of_calendar(name)).collect(),
            parts: registry.closed().into_iter().filter_map(part).collect(),
            voids: registry.voids(),
            disk,
            folder,
            _hold: hold,
            until,
            snapshot,
        }
    }

    /// Tells everything once: totals first, then the entries of the longest rolling window, of at least two hours, and of all
    /// that isn't in the totals of some calendar. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's. Then what was told is not all.
    pub fn replay(self, mut each: impl FnMut(Remembered<'_>)) -> io::Result<()> {
        self.walk(|remembered| {
            each(remembered);
            ControlFlow::Continue(())
        })
    }

    /// The same, until `each` breaks off.
    fn walk(self, mut each: impl FnMut(Remembered<'_>) -> ControlFlow<()>) -> io::Result<()> {
        if let Some(snapshot) = &self.snapshot {
            for row in snapshot.rows(&*self.disk, &self.folder)? {
                let Row {
                    calendar,
                    period,
                    caller,
                    units,
                } = row?;
                for window in self.windows.get(usize::from(calendar)).into_iter().flatten() {
                    let total = Remembered::Total {
                        window: *window,
                        caller,
                        period,
                        units,
                    };
                    if each(total).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        let mut names = Names::default();
        for Part { closed, covered } in &self.parts {
            let segment = closed.known.number;
            let (reader, _) = Reader::open(&*self.disk, &self.folder, segment, &mut names)?;
            let counting = Counting {
                reader,
                limit: closed.limit.min(self.until),
                voids: &self.voids,
            };
            for entry in counting {
                let entry = Remembered::Entry {
                    entry,
                    segment,
                    covered,
                };
                if each(entry).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl History {
    /// Tells the policy, whose rules have the windows that the journal was opened with, what callers have used; and `each` every
    /// entry that counts, with its segment. How many debits there were. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's. Then what was told is not all.
    pub fn restore(self, policy: &mut Policy, now: Timestamp, mut each: impl FnMut(&Entry, u64)) -> io::Result<u64> {
        let mut debits = 0;
        self.replay(|remembered| match remembered {
            Remembered::Total {
                window,
                caller,
                period,
                units,
            } => policy.remember(window, caller, period, units, now),
            Remembered::Entry {
                entry,
                segment,
                covered,
            } => {
                each(&entry, segment);
                if let Entry::Job(record) = &entry
                    && record.debit() > 0
                {
                    debits += 1;
                    record.restore(policy, now, |window| !covered[window.index()]);
                }
            }
        })?;
        Ok(debits)
    }
}

impl History {
    /// Tells every debit that counts, once for each window, until `each` breaks off. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's. Then what was told is not all.
    pub(super) fn recall(self, each: &mut dyn FnMut(Debited) -> ControlFlow<()>) -> io::Result<()> {
        self.walk(|remembered| match remembered {
            Remembered::Total {
                window,
                caller,
                period,
                units,
            } => each(Debited {
                window,
                caller,
                at: period,
                units,
            }),
            Remembered::Entry { entry, covered, .. } => {
                let windows = (0..).map(WindowId).zip(covered).filter(|(_, covered)| !**covered);
                tell(&entry, windows.map(|(window, _)| window), each)
            }
        })
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("segments", &self.parts.len())
            .finish_non_exhaustive()
    }
}
