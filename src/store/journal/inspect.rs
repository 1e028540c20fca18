//! Reading the journal for people: whether it is whole, what is in it, how much of what. Also while a door writes it.
//!
//! Absent on purpose: the lock on the folder, and changing anything. What a door appends or removes meanwhile may be seen or not.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::FOLDER;
use super::disk::Disk;
use super::format::{Line, Names};
use super::segment::Reader;
use super::survey::{self, Survey, Surveyed};
use super::totals::{Snapshot, Unusable};
use crate::policy::End;
use crate::policy::caller::Caller;
use crate::policy::time::UnixTime;
use crate::store::{Entry, Record};

/// What one segment is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Which one.
    pub number: u64,
    /// When it was made; the epoch if that can't be read.
    pub made: UnixTime,
    /// The length of its file in bytes.
    pub bytes: u64,
    /// Entries that can be read.
    pub entries: u64,
    /// The lowest and the highest of their sequence numbers.
    pub sequences: Option<(u64, u64)>,
    /// Frames, or its header, that were whole once and can't be read.
    pub damaged: u64,
    /// Frames that a crash left half written; nobody was promised anything for them. In the last segment of a running door they
    /// may be on their way.
    pub torn: u64,
}

/// What the journal is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// A segment that a newer tiergate wrote, and the version of its format: it was not read.
    pub newer: Option<(u64, u32)>,
    /// The sums of calendar periods are damaged, or of a newer format.
    pub sums_unreadable: bool,
}

impl Report {
    /// Whether something was lost, or can't be read.
    pub fn is_damaged(&self) -> bool {
        self.newer.is_some() || self.sums_unreadable || self.segments.iter().any(|segment| segment.damaged > 0)
    }
}

/// Which entries to show. Those of a time from `since` to before `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The earliest time.
    pub since: Option<UnixTime>,
    /// The time before which.
    pub until: Option<UnixTime>,
    /// Whose.
    pub caller: Option<Caller>,
    /// Only jobs that ended so.
    pub outcome: Option<End>,
}

impl Filter {
    /// Whether it shows the entry.
    pub fn shows(&self, entry: &Entry) -> bool {
        let (time, caller, end) = match entry {
            Entry::Job(record) => (record.admitted, Some(record.caller), Some(record.end)),
            Entry::Refused(refused) => (refused.minute, refused.caller, None),
        };
        self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.caller.is_none_or(|wanted| caller == Some(wanted))
            && self.outcome.is_none_or(|wanted| end == Some(wanted))
    }
}

/// What was passed over because it can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Records that were whole once.
    pub records: u64,
    /// Headers of segments.
    pub headers: u64,
}

impl Unread {
    fn of(survey: &Survey) -> Self {
        let damaged: u64 = survey.segments.iter().map(Surveyed::damaged).sum();
        let no_header = |segment: &&Surveyed| segment.findings.header.is_none() && !segment.is_blank();
        let headers = survey.segments.iter().filter(no_header).count() as u64;
        Self {
            // A header counts as one of what is damaged.
            records: damaged - headers,
            headers,
        }
    }
}

/// How much of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Jobs by tier and outcome.
    pub jobs: BTreeMap<(String, &'static str), u64>,
    /// Units of quota debited.
    pub debited: u64,
    /// Refusals told on metered routes, by status. Of the lines without a caller, which contain the others.
    pub refusals: BTreeMap<u16, u64>,
    /// The earliest and the latest time.
    pub times: Option<(UnixTime, UnixTime)>,
    /// What is not in these numbers, of the whole journal.
    pub unread: Unread,
}

/// Looks through the journal in that data folder.
///
/// # Errors
/// The disk's.
pub fn verify(disk: &dyn Disk, data_folder: &Path) -> io::Result<Report> {
    let folder = data_folder.join(FOLDER);
    let survey = survey::survey(disk, &folder)?;
    let report = |segment: &Surveyed| SegmentReport {
        number: segment.number,
        made: segment.made(),
        bytes: segment.bytes,
        entries: segment.findings.entries,
        sequences: segment.findings.sequences,
        damaged: segment.damaged(),
        torn: segment.findings.torn(),
    };
    Ok(Report {
        segments: survey.segments.iter().map(report).collect(),
        newer: survey.newer,
        sums_unreadable: match Snapshot::find(disk, &folder) {
            Ok(_) => false,
            Err(Unusable::Disk(error)) => return Err(error),
            Err(Unusable::Damaged | Unusable::Newer(_)) => true,
        },
    })
}

/// Hands over every entry that counts and that the filter shows, with its sequence number, in the order in which they were
/// written, until `each` says that it is enough (`false`). What of the whole journal can't be read.
///
/// # Errors
/// The disk's.
pub fn entries(
    disk: &dyn Disk,
    data_folder: &Path,
    filter: &Filter,
    mut each: impl FnMut(u64, &Entry) -> bool,
) -> io::Result<Unread> {
    let folder = data_folder.join(FOLDER);
    let survey = survey::survey(disk, &folder)?;
    let unread = Unread::of(&survey);
    let mut names = Names::default();
    for segment in &survey.segments {
        let mut reader = match Reader::open(disk, &folder, segment.number, &mut names) {
            // Its time was over just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?.0,
        };
        while let Some((sequence, line)) = reader.next_line() {
            let Line::Entry(entry) = line else { continue };
            let counts = sequence < segment.limit && !survey.voids.contains(&sequence);
            if counts && filter.shows(&entry) && !each(sequence, &entry) {
                return Ok(unread);
            }
        }
    }
    Ok(unread)
}

/// Counts what the filter shows.
///
/// # Errors
/// The disk's.
pub fn stats(disk: &dyn Disk, data_folder: &Path, filter: &Filter) -> io::Result<Stats> {
    let mut stats = Stats::default();
    let unread = entries(disk, data_folder, filter, |_, entry| {
        stats.count(entry);
        true
    })?;
    stats.unread = unread;
    Ok(stats)
}

impl Stats {
    fn count(&mut self, entry: &Entry) {
        let time = match entry {
            Entry::Job(record) => {
                self.count_job(record);
                record.admitted
            }
            Entry::Refused(refused) => {
                if refused.caller.is_none() {
                    *self.refusals.entry(refused.status).or_default() += u64::from(refused.count);
                }
                refused.minute
            }
        };
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }

    fn count_job(&mut self, record: &Record) {
        let key = (record.tier.to_string(), record.end.name());
        *self.jobs.entry(key).or_default() += 1;
        self.debited = self.debited.saturating_add(record.debit().into());
    }
}
