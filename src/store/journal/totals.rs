//! What each caller has used in each calendar period, summed up to a segment: so that segments need not be kept for a month.
//!
//! ```text
//! 0  8  magic                            then, for each calendar, in the order of their names
//! 8  4  CRC-32C of the next 20           0  8  the last segment whose debits are in its sums
//! 12 4  version                          8  2  bytes of its name; the name follows
//! 16 8  rows                             then the rows, rising
//! 24 4  calendars                        0  1  calendar, by its place      4  4  account
//! 28 4  zero                             1  1  caller: 1 to 3              8  8  network or user
//!                                        2  2  zero                        16 8  period, Unix ms
//! at the end, 4: CRC-32C of everything                                     24 8  units
//! ```
//!
//! The next snapshot is the last one and one segment, merged row by row, so it takes no memory for callers who did nothing.
//!
//! Absent on purpose: rolling windows. They are rebuilt from the segments, which are kept for as long as they reach.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Wall;
use super::disk::{self, Disk, DiskFile};
use super::format::{caller_of, caller_parts, put, u32_at, u64_at};
use crate::policy::caller::Caller;
use crate::policy::rules::Calendar;
use crate::policy::time::{Span, UnixTime};
use crate::store::{Bookkeeper, Entry};

/// The name of the snapshot, in the journal's folder.
pub const NAME: &str = "totals";
/// How long a period is kept after its end: for jobs that were let in before, and clocks that step back.
const PERIOD_KEPT: Span = Span::from_secs(2 * 3_600);
/// Calendars in one snapshot: rows name them by a byte.
const CALENDARS_MAX: u32 = 256;

const MAGIC: [u8; 8] = *b"tgtotals";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
const ROW_BYTES: usize = 32;
/// How much is read and written at once, in bytes; a whole number of rows.
const CHUNK_BYTES: usize = 1 << 16;

/// Why a snapshot can't be used.
#[derive(Debug)]
pub enum Unusable {
    /// It is not whole.
    Damaged,
    /// It is of that newer version.
    Newer(u32),
    /// The disk's error.
    Disk(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Unusable> for io::Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Disk(error) => error,
            Unusable::Damaged | Unusable::Newer(_) => io::ErrorKind::InvalidData.into(),
        }
    }
}

/// What a caller has used in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Which calendar, by its place in the snapshot.
    pub calendar: u8,
    /// The beginning of the period.
    pub period: UnixTime,
    /// Whose.
    pub caller: Caller,
    /// How much.
    pub units: u64,
}

/// A snapshot that is there and whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The names of its calendars, rising, each with the last segment that is in its sums.
    pub calendars: Vec<(Arc<str>, u64)>,
    rows: u64,
    /// Where the rows begin, in bytes.
    rows_at: u64,
}

impl Snapshot {
    /// Finds the snapshot, and reads it once to see that it is whole. `None` if there is none.
    ///
    /// # Errors
    /// It can't be used.
    pub fn find(disk: &dyn Disk, folder: &Path) -> Result<Option<Self>, Unusable> {
        let file = match disk.open(&folder.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let snapshot = Self::head(&*file)?;
        let body = snapshot.rows.checked_mul(ROW_BYTES as u64).ok_or(Unusable::Damaged)?;
        let end = snapshot.rows_at.checked_add(body).ok_or(Unusable::Damaged)?;
        if file.bytes()? != end + 4 || checksum(&*file, end)? != u32_from(&*file, end)? {
            return Err(Unusable::Damaged);
        }
        Ok(Some(snapshot))
    }

    fn head(file: &dyn DiskFile) -> Result<Self, Unusable> {
        let mut head = [0; HEADER_BYTES];
        let read = disk::read_full(file, &mut head, 0)?;
        if read < HEADER_BYTES || head[..8] != MAGIC || u32_at(&head, 8) != crc32c::crc32c(&head[12..]) {
            return Err(Unusable::Damaged);
        }
        match u32_at(&head, 12) {
            VERSION => {}
            newer => return Err(Unusable::Newer(newer)),
        }
        let mut at = HEADER_BYTES as u64;
        let mut calendars = Vec::new();
        for _ in 0..u32_at(&head, 24).min(CALENDARS_MAX) {
            let mut fixed = [0; 10];
            disk::read_full(file, &mut fixed, at)?;
            let mut name = vec![0; usize::from(u16::from_le_bytes([fixed[8], fixed[9]]))];
            disk::read_full(file, &mut name, at + 10)?;
            at += 10 + name.len() as u64;
            calendars.push((Arc::from(String::from_utf8_lossy(&name)), u64_at(&fixed, 0)));
        }
        Ok(Self {
            calendars,
            rows: u64_at(&head, 16),
            rows_at: at,
        })
    }

    /// The last segment that is in the sums of the calendar of that name.
    pub fn covers(&self, calendar: &str) -> Option<u64> {
        let found = self.calendars.iter().find(|(name, _)| **name == *calendar);
        found.map(|(_, covers)| *covers)
    }

    /// Its rows, rising.
    ///
    /// # Errors
    /// The disk's.
    pub fn rows(&self, disk: &dyn Disk, folder: &Path) -> io::Result<Rows> {
        Ok(Rows {
            file: disk.open(&folder.join(NAME))?,
            offset: self.rows_at,
            left: self.rows,
            buffer: Vec::new(),
            at: 0,
        })
    }
}

/// The rows of a snapshot, one after the other.
#[derive(Debug)]
pub struct Rows {
    file: Box<dyn DiskFile>,
    offset: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Iterator for Rows {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        if self.left == 0 {
            return None;
        }
        if self.at == self.buffer.len() {
            let rows = self.left.min((CHUNK_BYTES / ROW_BYTES) as u64) as usize;
            self.buffer.resize(rows * ROW_BYTES, 0);
            match disk::read_full(&*self.file, &mut self.buffer, self.offset) {
                Ok(read) if read == self.buffer.len() => {}
                Ok(_) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return Some(Err(error)),
            }
            self.offset += self.buffer.len() as u64;
            self.at = 0;
        }
        let row = &self.buffer[self.at..self.at + ROW_BYTES];
        self.at += ROW_BYTES;
        self.left -= 1;
        let Some(caller) = caller_of(row[1], u32_at(row, 4), u64_at(row, 8)) else {
            return Some(Err(io::ErrorKind::InvalidData.into()));
        };
        Some(Ok(Row {
            calendar: row[0],
            period: UnixTime::from_millis(u64_at(row, 16)),
            caller,
            units: u64_at(row, 24),
        }))
    }
}

impl Row {
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let (kind, account, id) = caller_parts(Some(&self.caller));
        bytes[0] = self.calendar;
        bytes[1] = kind;
        put(&mut bytes, 4, account.to_le_bytes());
        put(&mut bytes, 8, id.to_le_bytes());
        put(&mut bytes, 16, self.period.as_millis().to_le_bytes());
        put(&mut bytes, 24, self.units.to_le_bytes());
        bytes
    }

    fn key(&self) -> (u8, UnixTime, Caller) {
        (self.calendar, self.period, self.caller)
    }
}

/// Keeps the snapshot.
pub struct Totals {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    wall: Wall,
    /// Rising by name, each with the last segment that is durably in its sums; a row's calendar is its place.
    calendars: Vec<(Calendar, Option<u64>)>,
    /// What was on the disk when a segment was closed last, or at start.
    snapshot: Option<Snapshot>,
}

impl Totals {
    /// Goes on with a snapshot, or without one. A calendar that it doesn't know is summed up from the oldest segment on, and one
    /// that nobody uses any more is left out of the next.
    ///
    /// # Errors
    /// With no calendar at all the snapshot is removed, since it would be out of date if one came back; the disk's error.
    pub fn new(
        (disk, folder): (Arc<dyn Disk>, PathBuf),
        wall: Wall,
        calendars: impl IntoIterator<Item = Calendar>,
        snapshot: Option<Snapshot>,
    ) -> io::Result<Self> {
        let covers = |calendar: &Calendar| snapshot.as_ref().and_then(|snapshot| snapshot.covers(&calendar.name));
        let calendars = in_order(calendars, covers);
        Ok(Self {
            disk,
            folder,
            wall,
            calendars,
            snapshot,
        })
    }

    /// Other calendars from now on. One that is new is summed up from the oldest segment on, save what the snapshot has of it
    /// from an earlier time; one that nobody uses any more is left out of the next.
    pub fn reload(&mut self, calendars: impl IntoIterator<Item = Calendar>) {
        let held = std::mem::take(&mut self.calendars);
        let covers = |calendar: &Calendar| {
            let found = held.iter().find(|(known, _)| known.name == calendar.name);
            found.and_then(|(_, covers)| *covers)
        };
        self.calendars = in_order(calendars, covers);
    }

    /// What is on the disk, and what it covers by calendar. That may be newer than what was written down for certain: the rename
    /// was done, and the folder could not be synced after it.
    fn find_anew(&self) -> io::Result<(Option<Snapshot>, Vec<Option<u64>>)> {
        let found = Snapshot::find(&*self.disk, &self.folder)?;
        let covers = |calendar: &Calendar| found.as_ref()?.covers(&calendar.name);
        let covers: Vec<Option<u64>> = self.calendars.iter().map(|(calendar, _)| covers(calendar)).collect();
        if self
            .calendars
            .iter()
            .zip(&covers)
            .any(|((_, held), found)| found < held)
        {
            // Somebody took it away. Sums that go on from here would be short of all that was in it.
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((found, covers))
    }

    /// What the segment adds to the calendars that don't have it yet, rising. `covers` is what each has.
    fn sum_up(&self, segment: u64, entries: &mut dyn Iterator<Item = Entry>, covers: &[Option<u64>]) -> Vec<Row> {
        let missing = |covers: &Option<u64>| covers.is_none_or(|covers| covers < segment);
        let calendars = || self.calendars.iter().zip(covers).enumerate();
        let mut sums: HashMap<(u8, UnixTime, Caller), u64> = HashMap::new();
        for entry in entries {
            let Entry::Job(record) = entry else { continue };
            let units = u64::from(record.debit());
            if units == 0 {
                continue;
            }
            for (place, ((calendar, _), _)) in calendars().filter(|(_, (_, covers))| missing(covers)) {
                let period = calendar.period(record.admitted);
                for caller in [Some(record.caller), account_of(record.caller)].into_iter().flatten() {
                    let sum = sums.entry((place as u8, period, caller)).or_default();
                    *sum = sum.saturating_add(units);
                }
            }
        }
        let row = |((calendar, period, caller), units)| Row {
            calendar,
            period,
            caller,
            units,
        };
        let mut rows: Vec<Row> = sums.into_iter().map(row).collect();
        rows.sort_unstable();
        rows
    }

    /// The rows of the snapshot that there is, with the calendars' places as they are now.
    fn old_rows(&self) -> io::Result<impl Iterator<Item = io::Result<Row>>> {
        let (rows, places) = match &self.snapshot {
            None => (None, Vec::new()),
            Some(snapshot) => {
                let place = |(name, _): &(Arc<str>, u64)| self.calendars.iter().position(|(now, _)| now.name == *name);
                let places: Vec<Option<usize>> = snapshot.calendars.iter().map(place).collect();
                (Some(snapshot.rows(&*self.disk, &self.folder)?), places)
            }
        };
        Ok(rows.into_iter().flatten().filter_map(move |row| match row {
            Ok(row) => {
                let place = (*places.get(usize::from(row.calendar))?)?;
                let calendar = place as u8;
                Some(Ok(Row { calendar, ..row }))
            }
            Err(error) => Some(Err(error)),
        }))
    }

    fn write(&self, new: Vec<Row>, covers: &[Option<u64>]) -> io::Result<()> {
        let horizon = UnixTime::from_millis(
            (self.wall)()
                .as_millis()
                .saturating_sub(PERIOD_KEPT.as_nanos() / 1_000_000),
        );
        let oldest: Vec<UnixTime> = self.calendars.iter().map(|(c, _)| c.period(horizon)).collect();
        let kept = |row: &Row| row.period >= oldest[usize::from(row.calendar)];
        let old = self.old_rows()?;
        disk::replace(&*self.disk, &self.folder, NAME, |file| {
            let mut out = Out::new(file);
            // How many rows there are is known at the end, and the header is written then.
            out.push(&[0; HEADER_BYTES])?;
            for ((calendar, _), covers) in self.calendars.iter().zip(covers) {
                // A calendar without any segment yet can't be: `close` has just given it one.
                out.push(&covers.unwrap_or(0).to_le_bytes())?;
                out.push(&(calendar.name.len() as u16).to_le_bytes())?;
                out.push(calendar.name.as_bytes())?;
            }
            let mut rows = 0;
            merge(old, new, |row| {
                if kept(&row) {
                    rows += 1;
                    out.push(&row.encode())?;
                }
                Ok(())
            })?;
            let end = out.flush()?;
            let head = header(rows, self.calendars.len() as u32);
            file.write_at(&head, 0)?;
            file.write_at(&checksum(file, end)?.to_le_bytes(), end)
        })
    }
}

/// Each calendar once, rising by name, with what of it is covered.
fn in_order(
    calendars: impl IntoIterator<Item = Calendar>,
    covers: impl Fn(&Calendar) -> Option<u64>,
) -> Vec<(Calendar, Option<u64>)> {
    let with_covers = |calendar: Calendar| {
        let covers = covers(&calendar);
        (calendar, covers)
    };
    let mut calendars: Vec<_> = calendars.into_iter().map(with_covers).collect();
    calendars.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    calendars.dedup_by(|(one, _), (other, _)| one.name == other.name);
    calendars.truncate(CALENDARS_MAX as usize);
    calendars
}

impl Bookkeeper for Totals {
    fn covers(&self) -> Option<u64> {
        if self.calendars.is_empty() {
            // There is nothing that a segment would have to be kept for.
            return Some(u64::MAX);
        }
        self.calendars.iter().map(|(_, covers)| *covers).min().flatten()
    }

    fn close(&mut self, segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> io::Result<()> {
        let (found, covers) = self.find_anew()?;
        let new = self.sum_up(segment, entries, &covers);
        self.snapshot = found;
        // Written also if nothing is new: what lies there may not be durable.
        let covers: Vec<Option<u64>> = covers.into_iter().map(|covers| covers.max(Some(segment))).collect();
        self.write(new, &covers)?;
        for ((_, held), covers) in self.calendars.iter_mut().zip(covers) {
            *held = covers;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Totals")
    }
}

/// The delegating account for which a user's debit counts too.
fn account_of(caller: Caller) -> Option<Caller> {
    match caller {
        Caller::User { of, .. } => Some(Caller::Account(of)),
        Caller::Account(_) | Caller::Network(_) => None,
    }
}

/// Both, rising, with the units of rows of one key added up.
fn merge(
    old: impl Iterator<Item = io::Result<Row>>,
    new: Vec<Row>,
    mut each: impl FnMut(Row) -> io::Result<()>,
) -> io::Result<()> {
    let mut new = new.into_iter().peekable();
    for row in old {
        let mut row = row?;
        while let Some(before) = new.next_if(|next| next.key() < row.key()) {
            each(before)?;
        }
        if let Some(same) = new.next_if(|next| next.key() == row.key()) {
            row.units = row.units.saturating_add(same.units);
        }
        each(row)?;
    }
    new.try_for_each(each)
}

fn header(rows: u64, calendars: u32) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    put(&mut head, 12, VERSION.to_le_bytes());
    put(&mut head, 16, rows.to_le_bytes());
    put(&mut head, 24, calendars.to_le_bytes());
    let crc = crc32c::crc32c(&head[12..]);
    put(&mut head, 8, crc.to_le_bytes());
    head
}

/// Of the first `bytes` of the file; of what is there, if it is shorter.
fn checksum(file: &dyn DiskFile, bytes: u64) -> io::Result<u32> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut crc, mut at) = (0, 0);
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let read = disk::read_full(file, &mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        at += read as u64;
    }
    Ok(crc)
}

fn u32_from(file: &dyn DiskFile, at: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    disk::read_full(file, &mut bytes, at)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Writes a file from its beginning, in large pieces.
struct Out<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    written: u64,
}

impl<'a> Out<'a> {
    fn new(file: &'a dyn DiskFile) -> Self {
        let buffer = Vec::with_capacity(CHUNK_BYTES);
        Self {
            file,
            buffer,
            written: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is left. How much was written in all.
    fn flush(&mut self) -> io::Result<u64> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(self.written)
    }
}
