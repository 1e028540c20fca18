//! Corrections of the clock: jobs dated while the system's clock was ahead count as of when that was noticed.
//!
//! Rows keep their dates. A correction has a last job and a time; several apply in the order in which they were made. Calendar
//! sums of the jobs concerned move to the period in which these now count.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::database::{Shared, WriteError};
use super::rollup;
use super::rows::{DebitRow, INSTANCE, millis, unix_time};
use crate::policy::rules::Calendar;
use crate::policy::time::UnixTime;

/// One correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The last job that it covers.
    pub last_number: i64,
    /// Jobs dated later than this count as of it.
    pub as_of: UnixTime,
}

/// All corrections in force, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Corrections(Vec<Correction>);

impl Corrections {
    /// Reads those in the database.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut select = connection.prepare_cached(
            "SELECT last_number, as_of FROM clock_correction WHERE instance = ?1 AND undone IS NULL ORDER BY id",
        )?;
        let rows = select.query_map([INSTANCE], |row| {
            Ok(Correction {
                last_number: row.get(0)?,
                as_of: unix_time(row.get(1)?),
            })
        })?;
        rows.collect::<rusqlite::Result<_>>().map(Self)
    }

    /// These and one more.
    pub fn with(mut self, correction: Option<Correction>) -> Self {
        self.0.extend(correction);
        self
    }

    /// The corrected date of a job.
    pub fn date(&self, number: i64, admitted: UnixTime) -> UnixTime {
        let concerns = |correction: &&Correction| number <= correction.last_number;
        let corrections = self.0.iter().filter(concerns);
        corrections.fold(admitted, |date, correction| date.min(correction.as_of))
    }
}

/// Writes a correction and moves calendar sums.
///
/// # Errors
/// The database can't be written. Nothing was changed.
pub(super) fn make(shared: &Shared, correction: Correction, cause: &'static str) -> Result<(), WriteError> {
    let made = (shared.settings.wall)();
    let plan = shared.upkeep.plan();
    let jobs = shared.write(move |transaction| {
        let before = Corrections::read(transaction)?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO clock_correction (made, instance, last_number, as_of, cause) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let Correction { last_number, as_of } = correction;
        insert.execute(params![millis(made), INSTANCE, last_number, millis(as_of), cause])?;
        let after = before.clone().with(Some(correction));
        move_sums(transaction, plan.calendars(), (&before, &after), correction)
    })?;
    shared.settings.meters.corrected();
    tracing::warn!(
        jobs,
        as_of_ms = correction.as_of.as_millis(),
        last_number = correction.last_number,
        cause,
        "corrected the dates of jobs recorded while the clock was ahead",
    );
    Ok(())
}

/// Undoes the corrections made at a start when the clock has now stepped from `from` to `to`, past the dates of their jobs: it
/// was not ahead when they were recorded, it was behind when they were corrected. Whether there were any.
///
/// # Errors
/// The database can't be read or written. Nothing was changed.
pub(super) fn undo(shared: &Shared, from: UnixTime, to: UnixTime) -> Result<bool, WriteError> {
    let found = shared.readers.read(|connection| mistaken(connection, from, to));
    if found.map_err(|error| WriteError(error.to_string()))?.is_none() {
        return Ok(false);
    }
    let plan = shared.upkeep.plan();
    let undone = shared.write(move |transaction| {
        let mut undone = 0;
        while let Some((id, correction)) = mistaken(transaction, from, to)? {
            let before = Corrections::read(transaction)?;
            transaction.execute(
                "UPDATE clock_correction SET undone = ?1 WHERE id = ?2",
                params![millis(to), id],
            )?;
            let after = Corrections::read(transaction)?;
            move_sums(transaction, plan.calendars(), (&before, &after), correction)?;
            undone += 1;
        }
        Ok(undone)
    })?;
    if undone > 0 {
        tracing::warn!(
            undone,
            "undid clock corrections: the clock was behind when they were made"
        );
    }
    Ok(undone > 0)
}

/// The same for a step while no server ran: the last known time is the end of the last job.
pub(super) fn undo_at_start(shared: &Shared, wall: UnixTime) -> Result<bool, WriteError> {
    let last = shared.readers.read(|connection| {
        let mut select = connection.prepare(
            "SELECT max(coalesce((SELECT ended FROM job WHERE instance = ?1 AND number > clock_correction.last_number \
                                  ORDER BY number DESC LIMIT 1), 0), made) \
             FROM clock_correction WHERE undone IS NULL AND cause = 'start' ORDER BY id DESC LIMIT 1",
        )?;
        let last: Option<i64> = select.query_row([INSTANCE], |row| row.get(0)).optional()?;
        Ok(last.map(unix_time))
    });
    match last.map_err(|error| WriteError(error.to_string()))? {
        Some(last) => undo(shared, last, wall),
        None => Ok(false),
    }
}

/// A correction made at a start whose newest job is dated after `from` and not after `to`.
fn mistaken(connection: &Connection, from: UnixTime, to: UnixTime) -> rusqlite::Result<Option<(i64, Correction)>> {
    let mut select = connection.prepare_cached(
        "SELECT id, last_number, as_of FROM clock_correction \
         WHERE instance = ?1 AND undone IS NULL AND cause = 'start' AND as_of < ?2 ORDER BY id",
    )?;
    let all = select.query_map(params![INSTANCE, millis(to)], |row| {
        let correction = Correction {
            last_number: row.get(1)?,
            as_of: unix_time(row.get(2)?),
        };
        Ok((row.get(0)?, correction))
    })?;
    for found in all {
        let (id, correction) = found?;
        if newest(connection, correction)?.is_some_and(|newest| from < newest && newest <= to) {
            return Ok(Some((id, correction)));
        }
    }
    Ok(None)
}

/// The date of the newest job that the correction covers.
pub(super) fn newest(connection: &Connection, correction: Correction) -> rusqlite::Result<Option<UnixTime>> {
    let first = rollup::first_number_since(connection, correction.as_of)?;
    let mut select = connection.prepare_cached(
        "SELECT max(admitted) FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND admitted > ?4",
    )?;
    let found: Option<i64> = select
        .query_row(
            params![INSTANCE, first, correction.last_number, millis(correction.as_of)],
            |row| row.get(0),
        )
        .optional()?
        .flatten();
    Ok(found.map(unix_time))
}

/// Moves the debits of jobs whose period differs between the two sets of corrections, in each calendar's sums. Returns the
/// number of jobs moved.
fn move_sums(
    transaction: &Transaction<'_>,
    calendars: &[Calendar],
    (before, after): (&Corrections, &Corrections),
    correction: Correction,
) -> rusqlite::Result<usize> {
    let first = rollup::first_number_since(transaction, correction.as_of)?;
    let sql = format!(
        "SELECT {} FROM job WHERE instance = ?1 AND number BETWEEN ?2 AND ?3 AND admitted > ?4",
        DebitRow::COLUMNS
    );
    let mut select = transaction.prepare_cached(&sql)?;
    let covers: Vec<i64> = calendars
        .iter()
        .map(|calendar| Ok(rollup::covers(transaction, &calendar.name)?.job))
        .collect::<rusqlite::Result<_>>()?;
    let mut sums: Vec<HashMap<_, i64>> = vec![HashMap::new(); calendars.len()];
    let mut jobs = 0;
    let parameters = params![INSTANCE, first, correction.last_number, millis(correction.as_of)];
    let mut rows = select.query(parameters)?;
    while let Some(row) = rows.next()? {
        let row = DebitRow::of(row)?;
        jobs += 1;
        let (old, new) = (
            before.date(row.number, row.admitted),
            after.date(row.number, row.admitted),
        );
        let units = i64::try_from(row.units).unwrap_or(i64::MAX);
        for ((calendar, covers), sums) in calendars.iter().zip(&covers).zip(&mut sums) {
            let (from, to) = (calendar.period(old), calendar.period(new));
            if row.number > *covers || units == 0 || from == to {
                continue;
            }
            for caller in row.caller.counted() {
                *sums.entry((from, caller)).or_default() -= units;
                *sums.entry((to, caller)).or_default() += units;
            }
        }
    }
    drop(rows);
    for (calendar, sums) in calendars.iter().zip(sums) {
        rollup::add_to_calendar(transaction, &calendar.name, sums)?;
    }
    Ok(jobs)
}
