//! The one thread that writes: it takes all that has come, writes it at once, makes it durable at once, and tells those who
//! wait.
//!
//! What a segment was given and never confirmed is kept here until it is durable elsewhere. After any error the segment is
//! left as it is, for ever: a second sync could succeed though the first has thrown pages away. A new one gets the same
//! records under the same numbers, and its header says that from there on nothing older counts.
//!
//! Absent on purpose: reading, and any wait of an event loop.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{self, Disk};
use super::format::{FRAME_BYTES, Header};
use super::inbox::{Arrival, Debit, Inbox, Next};
use super::registry::Registry;
use super::segment::{self, Active};
use super::{SEGMENT_BYTES_MAX, Wall};
use crate::store::bell::Wakes;
use crate::store::{Entry, Post, Standing, Ticket, Witness};
use crate::telemetry::JournalMeters;

/// How long a segment is written, in seconds of the wall clock: to the full hour.
const SEGMENT_S: u64 = 3_600;
/// Frames that one entry may need: a job whose tier's name is new, and long.
const ENTRY_FRAMES_MAX: u64 = 3;

/// Something that is not durable yet.
#[derive(Debug)]
struct Item {
    sequence: u64,
    line: Line,
    ticket: Option<Ticket>,
}

#[derive(Debug)]
enum Line {
    Entry(Entry),
    Void(u64),
}

impl Item {
    fn is_withdrawn(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_withdrawn)
    }
}

/// See the module.
pub struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    wall: Wall,
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    meters: Arc<JournalMeters>,
    /// Whoever hears of every entry.
    witnesses: Vec<Witness>,
    /// None after a failure, until a new one could be made.
    active: Option<Active>,
    /// The segment before the next one, and how many of its frames are durable.
    previous: (u64, u32),
    /// A segment that could not be made, of which something may be left.
    remains: Option<u64>,
    /// A segment that failed before anything in it was durable.
    barren: Option<u64>,
    /// The disk has failed, and nothing could be written since.
    failing: bool,
    /// The number of the next segment.
    next_segment: u64,
    /// The number of the next entry.
    next_sequence: u64,
    /// Every entry below is durable, or was taken back before it was.
    confirmed: u64,
    unconfirmed: Vec<Item>,
    /// Fences that are not reached yet, each with the number of the first entry above it.
    fences: Vec<(u64, Post)>,
    /// Those whose debits are durable, to be woken together.
    wakes: Wakes,
}

/// Whatever ends the writer, nobody may wait for it or believe that it still writes.
struct Epitaph(Arc<Inbox>);

impl Drop for Epitaph {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Writer {
    /// Goes on in a segment that has been made.
    pub fn new(
        (disk, folder): (Arc<dyn Disk>, PathBuf),
        wall: Wall,
        inbox: Arc<Inbox>,
        registry: Arc<Registry>,
        (meters, witnesses): (Arc<JournalMeters>, Vec<Witness>),
        active: Active,
    ) -> Self {
        let header = active.header;
        let mut writer = Self {
            disk,
            folder,
            wall,
            inbox,
            registry,
            meters,
            witnesses,
            active: None,
            previous: (header.number, 0),
            remains: None,
            barren: None,
            failing: false,
            next_segment: header.number + 1,
            next_sequence: header.first_sequence,
            confirmed: header.first_sequence,
            unconfirmed: Vec::new(),
            fences: Vec::new(),
            wakes: Wakes::default(),
        };
        writer.begin(active);
        writer.registry.settled(header.number);
        writer
    }

    /// Writes until the inbox is closed and empty. What can't be written then has failed.
    pub fn run(mut self) {
        let _epitaph = Epitaph(Arc::clone(&self.inbox));
        let (mut arrivals, mut notes) = (Vec::new(), Vec::new());
        let mut next = Next::Write;
        while next == Next::Write {
            next = self.inbox.take(&mut arrivals, &mut notes);
            self.enqueue(&mut arrivals, &mut notes);
            if next == Next::Close && self.unconfirmed.is_empty() {
                // Nothing would go into a new segment, were it time for one.
                break;
            }
            while let Err(error) = self.commit_all() {
                self.fail(&error);
                if next == Next::Close {
                    return;
                }
                next = self.inbox.take_after_failure(&mut arrivals);
                self.enqueue(&mut arrivals, &mut notes);
            }
        }
        if let Some(active) = self.active.take() {
            // Unused room left behind is cut off at the next start.
            let _kept = active.seal();
        }
    }

    fn enqueue(&mut self, arrivals: &mut Vec<Arrival>, notes: &mut Vec<Entry>) {
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Debit(Debit { record, ticket }) => self.push(Line::Entry(Entry::Job(record)), ticket),
                Arrival::Fence(post) => self.fences.push((self.next_sequence, post)),
            }
        }
        for entry in notes.drain(..) {
            self.push(Line::Entry(entry), None);
        }
    }

    fn push(&mut self, line: Line, ticket: Option<Ticket>) {
        self.unconfirmed.push(Item {
            sequence: self.next_sequence,
            line,
            ticket,
        });
        self.next_sequence += 1;
    }

    /// Makes everything durable, in this segment or a new one. What was withdrawn meanwhile is made void, before the segment
    /// may end: so nobody who reads a closed one finds what does not count.
    fn commit_all(&mut self) -> io::Result<()> {
        self.unconfirmed.retain(|item| !item.is_withdrawn());
        self.turn_if_due()?;
        while !self.unconfirmed.is_empty() {
            self.commit()?;
        }
        self.confirmed = self.next_sequence;
        self.inbox.landed();
        if !self.fences.is_empty() && self.active.as_ref().is_some_and(|active| active.encoder.durable() > 0) {
            // All that lies below a fence is in segments that are closed, as whoever waits for it reads them.
            self.turn()?;
        }
        if let Some(active) = &self.active {
            // Not when the segment began: after a failure it got what is void in the one before.
            self.registry.settled(active.header.number);
        }
        for (first, post) in self.fences.drain(..) {
            post.reached(first);
        }
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        // `turn_if_due` has left one.
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        for item in &self.unconfirmed {
            match &item.line {
                Line::Entry(entry) => active.encoder.entry(item.sequence, entry),
                Line::Void(of) => active.encoder.void(item.sequence, *of),
            }
        }
        active.commit()?;
        self.registry.grown(active.header.number, active.bytes());
        self.confirmed = self.next_sequence;
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        let mut group = std::mem::take(&mut self.unconfirmed);
        self.meters.committed(group.len(), self.inbox.landed());
        // Rising, as the group is.
        let mut withdrawn = Vec::new();
        for item in &mut group {
            let ticket = item.ticket.take();
            if ticket.is_some_and(|ticket| ticket.settle_later(Ok(()), &mut self.wakes) == Standing::Withdrawn) {
                withdrawn.push(item.sequence);
            }
        }
        self.wakes.wake();
        // After those who wait have been told, and before the segment may close.
        for Item { sequence, line, .. } in group.drain(..) {
            match line {
                Line::Void(of) => self.registry.voided(of),
                Line::Entry(_) if withdrawn.binary_search(&sequence).is_ok() => self.push(Line::Void(sequence), None),
                Line::Entry(entry) => self.witnesses.iter().for_each(|witness| witness(&entry)),
            }
        }
        if self.unconfirmed.is_empty() {
            // Its room is used again.
            self.unconfirmed = group;
        }
    }

    /// Begins a new segment, if there is none or this one's time or room is over.
    fn turn_if_due(&mut self) -> io::Result<()> {
        let now = (self.wall)();
        let wanted = self.unconfirmed.len() as u64 * ENTRY_FRAMES_MAX * FRAME_BYTES as u64;
        let due = self.active.as_ref().is_none_or(|active| {
            let over = now.as_secs() / SEGMENT_S > active.header.made.as_secs() / SEGMENT_S;
            let full = active.encoder.offset() + wanted > SEGMENT_BYTES_MAX;
            active.encoder.durable() > 0 && (over || full)
        });
        if due { self.turn() } else { Ok(()) }
    }

    /// Begins a new segment, and closes this one if there is one.
    fn turn(&mut self) -> io::Result<()> {
        if let Some(number) = self.remains {
            // One at a time: a disk that lets files be made but not be synced must not fill with them.
            disk::remove(&*self.disk, &segment::path(&self.folder, number))?;
            self.remains = None;
        }
        let header = Header {
            number: self.next_segment,
            first_sequence: self.confirmed,
            made: (self.wall)(),
            previous: self.previous.0,
            previous_durable: self
                .active
                .as_ref()
                .map_or(self.previous.1, |active| active.encoder.durable()),
        };
        self.next_segment += 1;
        self.remains = Some(header.number);
        let next = Active::create(&*self.disk, &self.folder, header)?;
        self.remains = None;
        if let Some(full) = self.active.take() {
            // The room that is not given back now is given back with the segment.
            let bytes = full.encoder.offset();
            if full.seal().is_ok() {
                self.registry.grown(header.previous, bytes);
            }
        }
        if let Some(number) = self.barren.take() {
            // Not before: until the new one's header was durable, this one's said what no longer counts. If it stays, it
            // goes with its time.
            if disk::remove(&*self.disk, &segment::path(&self.folder, number)).is_ok() {
                self.registry.gone(number);
            }
        }
        self.begin(next);
        Ok(())
    }

    fn begin(&mut self, active: Active) {
        let header = active.header;
        self.previous = (header.number, 0);
        self.registry.begun(&header, active.bytes());
        self.active = Some(active);
        if std::mem::take(&mut self.failing) {
            tracing::info!(segment = header.number, "the journal is written again");
        }
        self.inbox.set_failed(false);
    }

    /// Leaves the segment as it is. What is in it and confirmed stays; the rest goes into a new one.
    fn fail(&mut self, error: &io::Error) {
        if let Some(active) = self.active.take() {
            let (header, durable) = (active.header, active.encoder.durable());
            if durable == 0 {
                self.barren = Some(header.number);
                self.previous = (header.previous, header.previous_durable);
            } else {
                self.previous = (header.number, durable);
            }
            tracing::error!(
                segment = header.number,
                %error,
                "the journal can't be written: metered requests are refused until it can",
            );
        }
        self.failing = true;
        self.inbox.set_failed(true);
    }
}
