//! Looking through all segments: at start, and for `tiergate journal`.
//!
//! Absent on purpose: changing anything.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::disk::Disk;
use super::format::{Line, Names, NoHeader};
use super::segment::{self, Findings, Reader};
use crate::policy::time::UnixTime;

/// A segment that was looked through.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Which one.
    pub number: u64,
    /// What was found.
    pub findings: Findings,
    /// The length of its file in bytes.
    pub bytes: u64,
    /// Entries of this sequence number and above don't count: they are in a later segment, or nobody was promised them.
    pub limit: u64,
}

impl Surveyed {
    /// The lowest sequence number that may be in it.
    pub fn first_sequence(&self) -> Option<u64> {
        match self.findings.header {
            Some(header) => Some(header.first_sequence),
            None => self.findings.sequences.map(|(lowest, _)| lowest),
        }
    }

    /// Whether there is no frame in it, and never was one that somebody was promised.
    pub fn is_unused(&self) -> bool {
        self.findings.frames == 0 && self.findings.durable == 0
    }

    /// Whether it was begun and nothing was ever written to it, not even in part.
    pub fn is_blank(&self) -> bool {
        self.is_unused() && self.findings.tail == 0
    }

    /// Frames, or its header, that were whole once and can't be read; where nothing was ever written there is none.
    pub fn damaged(&self) -> u64 {
        if self.is_blank() { 0 } else { self.findings.damaged() }
    }

    /// When it was made; the epoch if that can't be read.
    pub fn made(&self) -> UnixTime {
        self.findings.header.map_or(UnixTime::default(), |header| header.made)
    }
}

/// All segments, the oldest first, and the sequence numbers of what was taken back.
#[derive(Debug, Default)]
pub struct Survey {
    /// The segments.
    pub segments: Vec<Surveyed>,
    /// What does not count though it is in one.
    pub voids: BTreeSet<u64>,
    /// A segment that is newer than this program, and its version.
    pub newer: Option<(u64, u32)>,
}

/// Looks through all segments in the folder. One that vanishes meanwhile, because its time is over, is left out.
///
/// # Errors
/// The folder can't be listed, or a file not be opened.
pub fn survey(disk: &dyn Disk, folder: &Path) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut names = Names::default();
    let mut numbers: Vec<u64> = disk
        .list(folder)?
        .iter()
        .filter_map(|name| segment::number(name))
        .collect();
    numbers.sort_unstable();
    for number in numbers {
        match look_through(disk, folder, number, &mut names, &mut survey) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    survey.attest();
    survey.limit();
    Ok(survey)
}

fn look_through(disk: &dyn Disk, folder: &Path, number: u64, names: &mut Names, survey: &mut Survey) -> io::Result<()> {
    let bytes = disk.open(&segment::path(folder, number))?.bytes()?;
    let (mut reader, no_header) = Reader::open(disk, folder, number, names)?;
    if let Some(NoHeader::Newer(version)) = no_header {
        survey.newer.get_or_insert((number, version));
        return Ok(());
    }
    while let Some((_, line)) = reader.next_line() {
        if let Line::Void(of) = line {
            survey.voids.insert(of);
        }
    }
    survey.segments.push(Surveyed {
        number,
        findings: reader.into_findings(),
        bytes,
        limit: u64::MAX,
    });
    Ok(())
}

impl Survey {
    /// The sequence number of the next entry.
    pub fn next_sequence(&self) -> u64 {
        let next = |segment: &Surveyed| {
            let above = segment
                .findings
                .sequences
                .map_or(0, |(_, highest)| (highest + 1).min(segment.limit));
            above.max(segment.first_sequence().unwrap_or(0))
        };
        self.segments.iter().map(next).max().unwrap_or(0)
    }

    /// A later segment's header says how much of an earlier one is durable.
    fn attest(&mut self) {
        let said: Vec<(u64, u32)> = self
            .segments
            .iter()
            .filter_map(|segment| segment.findings.header)
            .map(|header| (header.previous, header.previous_durable))
            .collect();
        for segment in &mut self.segments {
            for (_, durable) in said.iter().filter(|(previous, _)| *previous == segment.number) {
                segment.findings.durable = segment.findings.durable.max(*durable);
            }
        }
    }

    /// What a later segment begins with does not count in an earlier one.
    fn limit(&mut self) {
        let mut limit = u64::MAX;
        for segment in self.segments.iter_mut().rev() {
            segment.limit = limit;
            limit = limit.min(segment.first_sequence().unwrap_or(u64::MAX));
        }
    }
}
