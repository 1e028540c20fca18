//! Rebuilds quota usage from rows: at a start, for windows that a reload has created, and after a correction of the clock.
//!
//! Calendar periods are rebuilt from their sums and the jobs after those, rolling windows from the jobs that may lie in them,
//! all in one scan in the order of job numbers.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::corrections::{self, Correction, Corrections};
use super::database::{Database, ReadError, Shared, WriteError};
use super::recall::{DebitHistory, Debited, Fence};
use super::rollup;
use super::rows::{DebitRow, INSTANCE, caller_of, millis, unix_time};
use crate::policy::caller::Caller;
use crate::policy::rules::{Calendar, Window, WindowId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{Policy, Table};

/// What was restored at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredUsage {
    /// The number of debits.
    pub debits: u64,
    /// How many are dated after the start. They count as of the start until it is known which of the two is wrong.
    pub future: u64,
}

/// One debit, with its corrected date, its windows and its amount.
struct DatedDebit<'a> {
    debit: Debited,
    number: i64,
    windows: &'a [WindowId],
}

impl Database {
    /// Restores quota usage in the windows of the policy. Call it once, before the first commit. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be read. The policy has only part of the usage then.
    pub fn restore(&self, policy: &mut Policy, now: Timestamp) -> Result<RestoredUsage, ReadError> {
        let windows = policy.rules().windows.clone();
        let wall = policy.wall_clock(now);
        corrections::undo_at_start(self.shared(), wall).map_err(|error| ReadError(error.to_string()))?;
        let mut restored = RestoredUsage { debits: 0, future: 0 };
        let mut last_number = 0;
        let pending = self.read(|connection| {
            let corrections = Corrections::read(connection)?;
            let from = horizon(wall, self.upkeep().plan().longest());
            scan(connection, &windows, from, i64::MAX, &corrections, &mut |dated| {
                let Debited { caller, at, units, .. } = dated.debit;
                for window in dated.windows {
                    policy.remember(*window, caller, at, units, now);
                }
                if dated.number > last_number {
                    last_number = dated.number;
                    restored.debits += 1;
                }
                ControlFlow::Continue(())
            })?;
            count_future(connection, &corrections, wall, &mut restored.future)
        })?;
        self.upkeep().set_pending(pending);
        Ok(restored)
    }

    /// The debits for windows that a reload has created, or that start over.
    pub fn debit_history(&self) -> JobHistory {
        JobHistory {
            shared: Arc::clone(self.shared()),
            correction: None,
        }
    }

    /// The debits for windows that start over since the clock was set back: those dated later than `as_of` count as of then, from
    /// now on and after every restart.
    pub fn corrected_history(&self, as_of: UnixTime) -> JobHistory {
        JobHistory {
            correction: Some(as_of),
            ..self.debit_history()
        }
    }

    /// The clock was set forward from `from` to `to`: jobs whose dates seemed ahead may have been right, and the clock behind
    /// when they were corrected. Returns whether windows have to start over. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be written. Nothing was changed.
    pub fn clock_set_forward(&self, from: UnixTime, to: UnixTime) -> Result<bool, WriteError> {
        let shared = self.shared();
        let mut starts_over = false;
        if let Some(pending) = shared.upkeep.pending() {
            let newest = shared
                .readers
                .read(|connection| corrections::newest(connection, pending));
            if newest
                .map_err(|error| WriteError(error.to_string()))?
                .is_none_or(|newest| from < newest && newest <= to)
            {
                shared.upkeep.set_pending(None);
                starts_over = true;
            }
        }
        Ok(corrections::undo(shared, from, to)? || starts_over)
    }
}

/// A database's recorded debits, for new windows.
pub struct JobHistory {
    shared: Arc<Shared>,
    correction: Option<UnixTime>,
}

impl DebitHistory for JobHistory {
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let until = fence.wait()?;
        if let Some(as_of) = self.correction {
            let last_number = until - 1;
            corrections::make(&self.shared, Correction { last_number, as_of }, "step_back")
                .map_err(io::Error::other)?;
            // This correction covers the jobs that were pending since the start.
            self.shared.upkeep.set_pending(None);
        }
        let wall = (self.shared.settings.wall)();
        let longest = windows.iter().map(|window| match window {
            Window::Rolling(length) => *length,
            Window::Calendar(_) => Span::ZERO,
        });
        let margin = self.shared.upkeep.plan().longest();
        let from = horizon(wall, longest.max().unwrap_or_default().max(margin));
        let read = self.shared.readers.read(|connection| {
            let corrections = Corrections::read(connection)?.with(self.shared.upkeep.pending());
            scan(connection, windows, from, until, &corrections, &mut |dated| {
                for window in dated.windows {
                    each(Debited {
                        window: *window,
                        ..dated.debit
                    })?;
                }
                ControlFlow::Continue(())
            })
        });
        read.map_err(io::Error::other)
    }
}

impl std::fmt::Debug for JobHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobHistory")
            .field("correction", &self.correction)
            .finish_non_exhaustive()
    }
}

/// The correction by which jobs dated after `wall` count as of then, if there are any. Adds their number.
fn count_future(
    connection: &Connection,
    corrections: &Corrections,
    wall: UnixTime,
    found: &mut u64,
) -> rusqlite::Result<Option<Correction>> {
    let first = rollup::first_number_since(connection, wall)?;
    let mut select = connection.prepare(
        "SELECT number, admitted FROM job WHERE instance = ?1 AND number >= ?2 AND admitted > ?3 AND units > 0",
    )?;
    let mut rows = select.query(params![INSTANCE, first, millis(wall)])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (number, admitted) = (row.get(0)?, unix_time(row.get(1)?));
        if corrections.date(number, admitted) > wall {
            *found += 1;
            last = last.max(Some(number));
        }
    }
    Ok(last.map(|last_number| Correction {
        last_number,
        as_of: wall,
    }))
}

/// Jobs admitted earlier lie in no rolling window.
fn horizon(wall: UnixTime, longest: Span) -> UnixTime {
    UnixTime::from_millis(wall.as_millis().saturating_sub(longest.as_millis()))
}

/// The first job that each window needs.
type Firsts = Vec<(WindowId, i64)>;

/// Reports, for each window, every debit of the jobs below `until` that may lie in it, until `each` breaks: first calendar
/// sums, then jobs in the order of their numbers.
fn scan(
    connection: &Connection,
    windows: &Table<WindowId, Window>,
    from: UnixTime,
    until: i64,
    corrections: &Corrections,
    each: &mut dyn FnMut(DatedDebit<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut firsts = Firsts::new();
    for (id, window) in windows.entries() {
        let first = match window {
            Window::Rolling(_) => rollup::first_number_since(connection, from)?,
            Window::Calendar(calendar) => {
                let covers = rollup::covers(connection, &calendar.name)?.job;
                let later = rolled_up_since(connection, calendar, until, covers)?;
                if report_sums(connection, &calendar.name, &later, id, each)?.is_break() {
                    return Ok(());
                }
                covers + 1
            }
        };
        firsts.push((id, first));
    }
    scan_jobs(connection, &firsts, until, corrections, each)
}

/// Reports the debits of the jobs below `until`, each for the windows that need it, until `each` breaks.
fn scan_jobs(
    connection: &Connection,
    firsts: &Firsts,
    until: i64,
    corrections: &Corrections,
    each: &mut dyn FnMut(DatedDebit<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let Some(first) = firsts.iter().map(|(_, first)| *first).min() else {
        return Ok(());
    };
    let sql = format!(
        "SELECT {} FROM job WHERE instance = ?1 AND number >= ?2 AND number < ?3 AND units > 0 ORDER BY number",
        DebitRow::COLUMNS
    );
    let mut select = connection.prepare(&sql)?;
    let mut rows = select.query(params![INSTANCE, first, until])?;
    let mut needing = Vec::with_capacity(firsts.len());
    while let Some(row) = rows.next()? {
        let row = DebitRow::of(row)?;
        needing.clear();
        needing.extend(
            firsts
                .iter()
                .filter(|(_, first)| *first <= row.number)
                .map(|(id, _)| *id),
        );
        let at = corrections.date(row.number, row.admitted);
        for caller in row.caller.counted() {
            let dated = DatedDebit {
                debit: Debited {
                    window: WindowId(0),
                    caller,
                    at,
                    units: row.units,
                },
                number: row.number,
                windows: &needing,
            };
            if each(dated).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The part of a calendar's sums that comes from jobs from `until` on, by period and caller: those rolled up after the fence.
fn rolled_up_since(
    connection: &Connection,
    calendar: &Calendar,
    until: i64,
    covers: i64,
) -> rusqlite::Result<HashMap<(UnixTime, Caller), u64>> {
    let mut later: HashMap<_, u64> = HashMap::new();
    if covers < until {
        return Ok(later);
    }
    let corrections = Corrections::read(connection)?;
    let sql = format!(
        "SELECT {} FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND units > 0",
        DebitRow::COLUMNS
    );
    let mut select = connection.prepare(&sql)?;
    for row in select.query_map(params![INSTANCE, until, covers], DebitRow::of)? {
        let row = row?;
        let period = calendar.period(corrections.date(row.number, row.admitted));
        for caller in row.caller.counted() {
            *later.entry((period, caller)).or_default() += row.units;
        }
    }
    Ok(later)
}

/// Reports a calendar's sums, without later jobs.
fn report_sums(
    connection: &Connection,
    calendar: &str,
    later: &HashMap<(UnixTime, Caller), u64>,
    window: WindowId,
    each: &mut dyn FnMut(DatedDebit<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    let mut select = connection.prepare_cached(
        "SELECT period, account, network, end_user, units FROM calendar_sum WHERE calendar = ?1 AND units > 0",
    )?;
    let mut rows = select.query([calendar])?;
    while let Some(row) = rows.next()? {
        let at = unix_time(row.get(0)?);
        let caller = caller_of((row.get(1)?, row.get(2)?, row.get(3)?));
        let all = u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0);
        let units = all.saturating_sub(later.get(&(at, caller)).copied().unwrap_or(0));
        if units == 0 {
            continue;
        }
        let debit = Debited {
            window,
            caller,
            at,
            units,
        };
        let dated = DatedDebit {
            debit,
            number: 0,
            windows: &[window],
        };
        if each(dated).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
