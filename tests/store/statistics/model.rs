//! A journal that keeps every entry for ever, and what statistics must say of it: counted anew for each question.

use std::collections::HashMap;
use std::sync::Arc;

use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::rules::Priority;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::statistics::{Books, PERCENTILES, Period, STATUSES, Statistics, Traffic};
use tiergate::store::{Bookkeeper, Entry, Record, Refused};

use super::folder::Folder;

/// Numbers that look random and can be had again.
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

/// Somebody of a few.
pub fn caller(dice: &mut Dice) -> Caller {
    let number = dice.roll(4);
    let account = AccountId(u32::try_from(number).expect("small"));
    match dice.roll(3) {
        0 => Caller::Account(account),
        1 => Caller::Network(NetworkId(number)),
        _ => Caller::User {
            of: account,
            user: UserId(dice.roll(2)),
        },
    }
}

/// A job of that caller that ends at about `now`.
pub fn job(caller: Caller, now: UnixTime, status: u16, searched_ms: u64) -> Entry {
    let waited_ms = 250;
    Entry::Job(Record {
        admitted: UnixTime::from_millis(now.as_millis().saturating_sub(waited_ms + searched_ms)),
        caller,
        tier: Arc::from("free"),
        priority: Priority::new(2).expect("0 to 6"),
        end: if status == 200 { End::Succeeded } else { End::Failed },
        status,
        cost: 1,
        // What is below a millisecond isn't kept: it must not move the end.
        waited: Span::from_millis(waited_ms) + Span::from_nanos(999_999),
        searched: Span::from_millis(searched_ms) + Span::from_nanos(999_999),
    })
}

/// Any entry at about `now`.
pub fn entry(dice: &mut Dice, now: UnixTime) -> Entry {
    let status = [200, 200, 200, 200, 400, 402, 405, 500, 503, 404, 502, 0][dice.roll(12) as usize];
    if status != 0 && dice.roll(4) == 0 {
        return Entry::Refused(Refused {
            minute: UnixTime::from_secs(now.as_secs() / 60 * 60),
            caller: (dice.roll(2) == 0).then(|| caller(dice)),
            status,
            count: 1 + u32::try_from(dice.roll(1_000)).expect("small"),
        });
    }
    let searched_ms = [dice.roll(20), dice.roll(2_000), dice.roll(400_000)][dice.roll(3) as usize];
    job(caller(dice), now, status, searched_ms)
}

/// When an entry counts, in milliseconds.
pub fn time_of(entry: &Entry) -> u64 {
    match entry {
        Entry::Job(record) => {
            let ms = |span: Span| span.as_nanos() / 1_000_000;
            record.admitted.as_millis() + ms(record.waited) + ms(record.searched)
        }
        Entry::Refused(refused) => refused.minute.as_millis(),
    }
}

/// Status and number, if it counts for that caller, or for the door.
fn counts(entry: &Entry, whose: Option<Caller>) -> Option<(u16, u32)> {
    match entry {
        Entry::Job(record) => {
            let for_whom = match (whose, record.caller) {
                (None, _) => true,
                (Some(Caller::Account(account)), Caller::User { of, .. }) => account == of,
                (Some(whose), caller) => whose == caller,
            };
            (for_whom && record.status != 0).then_some((record.status, 1))
        }
        Entry::Refused(refused) => (refused.caller == whose).then_some((refused.status, refused.count)),
    }
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

/// What [`Statistics::traffic`] must say.
pub fn traffic<'a>(
    entries: impl Iterator<Item = &'a Entry>,
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

/// The exact percentiles that [`Statistics::speed`] must come close to.
pub fn speed<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    period: Period,
    now: UnixTime,
) -> Vec<Option<[u64; PERCENTILES.len()]>> {
    let (first, number) = rows(period, now);
    let mut times = vec![Vec::new(); number as usize];
    for entry in entries {
        let Entry::Job(record) = entry else { continue };
        let row = (time_of(entry) / length_ms(period)).checked_sub(first);
        if let Some(row) = row.and_then(|row| times.get_mut(row as usize))
            && record.end == End::Succeeded
        {
            row.push(record.searched.as_nanos() / 1_000_000);
        }
    }
    let percentiles = |times: &mut Vec<u64>| {
        times.sort_unstable();
        let ranked = |percent: u8| times[(times.len() * usize::from(percent)).div_ceil(100).max(1) - 1];
        (!times.is_empty()).then(|| PERCENTILES.map(ranked))
    };
    times.iter_mut().map(percentiles).collect()
}

/// The journal, and the statistics that are kept of it in a folder.
#[derive(Debug)]
pub struct Journal {
    pub folder: Folder,
    pub statistics: Arc<Statistics>,
    pub books: Books,
    /// Entries with their segments, in the order in which they were written.
    pub entries: Vec<(u64, Entry)>,
    /// The segment that is being written.
    pub segment: u64,
}

impl Journal {
    pub fn new() -> Self {
        let folder = Folder::new();
        let (statistics, books) = Statistics::open(folder.path()).expect("an empty folder opens");
        Self {
            folder,
            statistics,
            books,
            entries: Vec::new(),
            segment: 1,
        }
    }

    pub fn write(&mut self, entry: Entry) {
        self.statistics.record(&entry);
        self.entries.push((self.segment, entry));
    }

    /// Begins the next segment. What is written now may come before the ones before are closed.
    pub fn next_segment(&mut self) {
        self.segment += 1;
    }

    /// Closes all segments but the current one.
    pub fn close(&mut self) {
        for segment in self.books.covers().map_or(1, |covers| covers + 1)..self.segment {
            let mut entries = of_segment(&self.entries, segment);
            self.books.close(segment, &mut entries).expect("the disk works");
        }
    }

    /// Ends and starts again: from files, and from the entries that the journal has kept, from that segment on.
    pub fn restart_with(&mut self, kept_from: u64) {
        let (statistics, books) = Statistics::open(self.folder.path()).expect("the folder opens");
        (self.statistics, self.books) = (statistics, books);
        for (segment, entry) in self.entries.iter().filter(|(segment, _)| *segment >= kept_from) {
            self.statistics.replayed(entry, *segment);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Those that the last hour can show: of all minutes that share a place in its ring, the one that was written last.
    pub fn of_last_minutes(&self) -> Vec<&Entry> {
        let mut ring: HashMap<u64, (u64, Vec<&Entry>)> = HashMap::new();
        for entry in self
            .all()
            .filter(|entry| !matches!(entry, Entry::Job(record) if record.status == 0))
        {
            let minute = time_of(entry) / 60_000;
            let slot = ring.entry(minute % 64).or_default();
            if slot.0 != minute {
                *slot = (minute, Vec::new());
            }
            slot.1.push(entry);
        }
        ring.into_values().flat_map(|(_, entries)| entries).collect()
    }
}

fn of_segment(entries: &[(u64, Entry)], segment: u64) -> impl Iterator<Item = Entry> {
    let first = entries.partition_point(|(earlier, _)| *earlier < segment);
    entries[first..]
        .iter()
        .take_while(move |(number, _)| *number == segment)
        .map(|(_, entry)| entry.clone())
}
