//! A list of all entries beside the database, and the statistics that follow from it, recounted for each query.

use std::sync::Arc;

use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::refusal::Reason;
use tiergate::policy::rules::Priority;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::{PERCENTILES, Period, STATUSES, Traffic};
use tiergate::store::{Database, Ledger, LedgerEntry, Record, RefusalRecord};

use crate::folder::Folder;
use crate::kit::{self, WallClock};

/// Reproducible pseudo-random numbers.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Less than `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// One of a few callers.
pub fn caller(dice: &mut Dice) -> Caller {
    let number = 1 + dice.roll(4);
    let account = AccountId(u32::try_from(number).expect("small"));
    match dice.roll(3) {
        0 => Caller::Account(account),
        1 => Caller::Network(NetworkId(number)),
        _ => Caller::User {
            of: account,
            user: UserId(1 + dice.roll(2)),
        },
    }
}

/// A job of that caller that ends at about `now`.
pub fn job(caller: Caller, now: UnixTime, status: u16, searched_ms: u64) -> LedgerEntry {
    let waited_ms = 250;
    LedgerEntry::Job(Record {
        admitted: UnixTime::from_millis(now.as_millis().saturating_sub(waited_ms + searched_ms)),
        caller,
        tier: Arc::from("free"),
        upstream: Arc::from("search"),
        priority: Priority::new(2).expect("0 to 6"),
        end: if status == 200 { End::Succeeded } else { End::Failed },
        status,
        cost: 1,
        // What is below a millisecond isn't kept: it must not move the end.
        waited: Span::from_millis(waited_ms) + Span::from_nanos(999_999),
        slot_time: Span::from_millis(searched_ms) + Span::from_nanos(999_999),
    })
}

/// Any entry at about `now`.
pub fn entry(dice: &mut Dice, now: UnixTime) -> LedgerEntry {
    let status = [200, 200, 200, 200, 400, 402, 405, 500, 503, 404, 502, 0][dice.roll(12) as usize];
    if status != 0 && dice.roll(4) == 0 {
        return LedgerEntry::Refused(RefusalRecord {
            minute: UnixTime::from_secs(now.as_secs() / 60 * 60),
            caller: (dice.roll(2) == 0).then(|| caller(dice)),
            tier: Arc::from("free"),
            reason: [Reason::QuotaDepleted, Reason::QueueFull][dice.roll(2) as usize],
            status,
            count: 1 + u32::try_from(dice.roll(1_000)).expect("small"),
        });
    }
    let searched_ms = [dice.roll(20), dice.roll(2_000), dice.roll(400_000)][dice.roll(3) as usize];
    job(caller(dice), now, status, searched_ms)
}

/// When an entry counts, in milliseconds.
pub fn time_of(entry: &LedgerEntry) -> u64 {
    match entry {
        LedgerEntry::Job(record) => {
            let ms = |span: Span| span.as_nanos() / 1_000_000;
            record.admitted.as_millis() + ms(record.waited) + ms(record.slot_time)
        }
        LedgerEntry::Refused(refused) => refused.minute.as_millis(),
    }
}

/// Status and number, if it counts for that caller, or for the server.
fn counts(entry: &LedgerEntry, whose: Option<Caller>) -> Option<(u16, u32)> {
    let (caller, status, count) = match entry {
        LedgerEntry::Job(record) => (Some(record.caller), record.status, 1),
        LedgerEntry::Refused(refused) => (refused.caller, refused.status, refused.count),
    };
    let for_whom = match (whose, caller) {
        (None, _) => true,
        (Some(Caller::Account(account)), Some(Caller::User { of, .. })) => account == of,
        (Some(whose), caller) => Some(whose) == caller,
    };
    (for_whom && status != 0).then_some((status, count))
}

pub fn length_ms(period: Period) -> u64 {
    match period {
        Period::Minute => 60_000,
        Period::Hour => 3_600_000,
        Period::Day => 86_400_000,
    }
}

/// The rows of a period that ends now: the first one's number, and how many there are.
fn rows(period: Period, now: UnixTime) -> (u64, u64) {
    let number = match period {
        Period::Minute | Period::Day => 60,
        Period::Hour => 72,
    };
    (now.as_millis() / length_ms(period) + 1 - number, number)
}

/// What [`Database::traffic`] must say.
pub fn traffic<'a>(
    entries: impl Iterator<Item = &'a LedgerEntry>,
    whose: Option<Caller>,
    period: Period,
    now: UnixTime,
) -> Vec<Traffic> {
    let (first, number) = rows(period, now);
    let mut traffic: Vec<_> = (first..first + number)
        .map(|row| Traffic {
            time: UnixTime::from_millis(row * length_ms(period)),
            counts: [0; STATUSES.len()],
            total: 0,
        })
        .collect();
    for entry in entries {
        let row = (time_of(entry) / length_ms(period)).checked_sub(first);
        let row = row.and_then(|row| traffic.get_mut(row as usize));
        if let (Some(row), Some((status, count))) = (row, counts(entry, whose)) {
            row.total += u64::from(count);
            if let Some(column) = STATUSES.iter().position(|known| *known == status) {
                row.counts[column] += count;
            }
        }
    }
    traffic
}

/// The exact percentiles that [`Database::speed`] must come close to.
pub fn speed<'a>(
    entries: impl Iterator<Item = &'a LedgerEntry>,
    period: Period,
    now: UnixTime,
) -> Vec<Option<[u64; PERCENTILES.len()]>> {
    let (first, number) = rows(period, now);
    let mut times = vec![Vec::new(); number as usize];
    for entry in entries {
        let LedgerEntry::Job(record) = entry else { continue };
        let row = (time_of(entry) / length_ms(period)).checked_sub(first);
        if let Some(row) = row.and_then(|row| times.get_mut(row as usize))
            && record.end == End::Succeeded
        {
            row.push(record.slot_time.as_nanos() / 1_000_000);
        }
    }
    let percentiles = |times: &mut Vec<u64>| {
        times.sort_unstable();
        let ranked = |percent: u8| times[(times.len() * usize::from(percent)).div_ceil(100).max(1) - 1];
        (!times.is_empty()).then(|| PERCENTILES.map(ranked))
    };
    times.iter_mut().map(percentiles).collect()
}

/// Everything that was written down, in a database and in a list.
#[derive(Debug)]
pub struct Book {
    pub folder: Folder,
    wall: WallClock,
    database: Option<Arc<Database>>,
    entries: Vec<LedgerEntry>,
}

impl Book {
    pub fn new() -> Self {
        let mut book = Self {
            folder: Folder::in_memory(),
            wall: WallClock::at(kit::MONTH),
            database: None,
            entries: Vec::new(),
        };
        book.restart();
        book
    }

    pub fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("it is open")
    }

    pub fn write(&mut self, entry: LedgerEntry) {
        self.database().note(entry.clone());
        self.entries.push(entry);
    }

    /// Waits until all is committed.
    pub fn flush(&self) {
        self.database().write(|_| Ok(())).expect("it can be written");
    }

    pub fn roll_up(&self) {
        self.flush();
        self.database().roll_up().expect("it can be written");
    }

    pub fn remove_old(&self, now: UnixTime) {
        self.flush();
        self.database().remove_old(now).expect("it can be written");
    }

    /// Ends and starts again.
    pub fn restart(&mut self) {
        self.database = None;
        let opened = kit::open(self.folder.path(), &self.wall);
        self.database = Some(opened.expect("the folder can be used"));
    }

    pub fn all(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter()
    }
}
