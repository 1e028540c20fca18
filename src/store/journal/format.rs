//! How the journal lies on the disk: a header, then frames of 64 bytes.
//!
//! ```text
//! header    0  8  magic                       frame    0  4  CRC-32C of segment number, place and what follows
//!           8  4  CRC-32C of what follows              4  1  kind: 1 job, 2 tier name, 3 its rest, 4 refused, 5 void
//!          12  4  version                              5 55  by kind, below
//!          16  8  segment number                      60  4  frames of this segment that were durable when it was written
//!          24  8  first sequence number
//!          32  8  made at, Unix ms          job, refused    5  1  end (job)            24  4  account
//!          40  8  segment before, or 0                      6  1  priority (job)       28  8  network or user
//!          48  4  frames of it that                         7  1  caller: 0 to 3       36  2  tier's number (job)
//!                 are durable                               8  8  sequence number      38  2  status
//!          52 12  zero                                     16  8  Unix ms              40  4  cost, or how many
//! tier name 5  1  bytes of the name                                                    44  4  waited ms (job)
//!           6  2  tier's number                void         8  8  sequence number      48  4  searched ms (job)
//!          16 44  of the name                              16  8  of what it takes back
//! ```
//!
//! All integers are little-endian. The header has 4,096 bytes to itself, so that no frame is ever written into its page. A frame
//! never straddles a sector. Its checksum covers where it belongs, so a frame of another file or place is none. Zeros are room
//! that nobody has used. A tier's name is written before its first use in each segment, so each can be read by itself.
//!
//! Absent on purpose: files.

use std::sync::Arc;

use crate::policy::End;
use crate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use crate::policy::rules::Priority;
use crate::policy::time::{Span, UnixTime};
use crate::store::{Entry, Record, Refused};

/// Bytes of a frame.
pub const FRAME_BYTES: usize = 64;
/// Bytes before the first frame.
pub const HEADER_BYTES: u64 = 4_096;
/// The version of all this that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// Bytes of a tier's name; what is longer is cut off. The configuration allows 64.
pub const NAME_BYTES_MAX: usize = 2 * NAME_PART_BYTES;

const MAGIC: [u8; 8] = *b"tiergate";
/// Bytes of the header that say something.
const HEADER_USED_BYTES: usize = 64;
const NAME_PART_BYTES: usize = 44;
/// What a tier is called whose name can't be read.
const NAMELESS: &str = "unknown";

const JOB: u8 = 1;
const NAME: u8 = 2;
const NAME_REST: u8 = 3;
const REFUSED: u8 = 4;
const VOID: u8 = 5;

/// A frame, as it lies on the disk.
pub type Frame = [u8; FRAME_BYTES];

/// The first thing in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which segment, from 1.
    pub number: u64,
    /// The lowest sequence number that may be in it. In segments before, this one and those above count no longer.
    pub first_sequence: u64,
    /// When it was made.
    pub made: UnixTime,
    /// The segment before; 0 if there is none.
    pub previous: u64,
    /// Frames of the segment before that are known to be durable.
    pub previous_durable: u32,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// It is not whole.
    Damaged,
    /// It is whole, of that newer version.
    Newer(u32),
}

impl Header {
    /// As it lies on the disk, in all its [`HEADER_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        put(&mut bytes, 12, VERSION.to_le_bytes());
        put(&mut bytes, 16, self.number.to_le_bytes());
        put(&mut bytes, 24, self.first_sequence.to_le_bytes());
        put(&mut bytes, 32, self.made.as_millis().to_le_bytes());
        put(&mut bytes, 40, self.previous.to_le_bytes());
        put(&mut bytes, 48, self.previous_durable.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..HEADER_USED_BYTES]);
        put(&mut bytes, 8, crc.to_le_bytes());
        bytes
    }

    /// What lies at the beginning of a segment.
    ///
    /// # Errors
    /// It is no header of a version that is known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoHeader> {
        let whole = bytes.len() >= HEADER_USED_BYTES
            && bytes[..8] == MAGIC
            && u32_at(bytes, 8) == crc32c::crc32c(&bytes[12..HEADER_USED_BYTES]);
        if !whole {
            return Err(NoHeader::Damaged);
        }
        match u32_at(bytes, 12) {
            VERSION => Ok(Self {
                number: u64_at(bytes, 16),
                first_sequence: u64_at(bytes, 24),
                made: UnixTime::from_millis(u64_at(bytes, 32)),
                previous: u64_at(bytes, 40),
                previous_durable: u32_at(bytes, 48),
            }),
            other => Err(NoHeader::Newer(other)),
        }
    }
}

/// Encodes frames for one segment, in their order.
#[derive(Debug)]
pub struct Encoder {
    segment: u64,
    /// Tiers whose names are in this segment already; a tier's number is its place.
    names: Vec<Arc<str>>,
    /// Frames encoded, and so the place of the next.
    frames: u32,
    /// Frames that are durable.
    durable: u32,
    /// Frames since [`Self::start`].
    out: Vec<u8>,
}

impl Encoder {
    /// For a new segment.
    pub fn new(segment: u64) -> Self {
        Self {
            segment,
            names: Vec::new(),
            frames: 0,
            durable: 0,
            out: Vec::new(),
        }
    }

    /// Everything encoded so far is durable; the next group begins.
    pub fn start(&mut self) {
        self.durable = self.frames;
        self.out.clear();
    }

    /// The frames of this group.
    pub fn group(&self) -> &[u8] {
        &self.out
    }

    /// Where in the segment this group begins, in bytes.
    pub fn offset(&self) -> u64 {
        HEADER_BYTES + u64::from(self.durable) * FRAME_BYTES as u64
    }

    /// Frames that are durable.
    pub fn durable(&self) -> u32 {
        self.durable
    }

    /// An entry.
    pub fn entry(&mut self, sequence: u64, entry: &Entry) {
        match entry {
            Entry::Job(record) => self.job(sequence, record),
            Entry::Refused(refused) => self.push(REFUSED, sequence, |frame| {
                caller_out(frame, refused.caller.as_ref());
                put(frame, 16, refused.minute.as_millis().to_le_bytes());
                put(frame, 38, refused.status.to_le_bytes());
                put(frame, 40, refused.count.to_le_bytes());
            }),
        }
    }

    /// Takes back the entry of that number.
    pub fn void(&mut self, sequence: u64, of: u64) {
        self.push(VOID, sequence, |frame| put(frame, 16, of.to_le_bytes()));
    }

    fn job(&mut self, sequence: u64, record: &Record) {
        let tier = self.tier(sequence, &record.tier);
        self.push(JOB, sequence, |frame| {
            frame[5] = record.end as u8;
            frame[6] = record.priority.get();
            caller_out(frame, Some(&record.caller));
            put(frame, 16, record.admitted.as_millis().to_le_bytes());
            put(frame, 36, tier.to_le_bytes());
            put(frame, 38, record.status.to_le_bytes());
            put(frame, 40, record.cost.to_le_bytes());
            put(frame, 44, millis(record.waited).to_le_bytes());
            put(frame, 48, millis(record.searched).to_le_bytes());
        });
    }

    /// The number of a tier in this segment; its name goes before if it is new here.
    fn tier(&mut self, sequence: u64, name: &Arc<str>) -> u16 {
        let known = |there: &Arc<str>| Arc::ptr_eq(there, name) || there == name;
        if let Some(place) = self.names.iter().position(known) {
            return place as u16;
        }
        if self.names.len() > usize::from(u16::MAX) {
            // No configuration has as many; the last one's name is as good as any.
            return u16::MAX;
        }
        let (number, cut) = (self.names.len() as u16, name.floor_char_boundary(NAME_BYTES_MAX));
        self.names.push(Arc::clone(name));
        let bytes = &name.as_bytes()[..cut];
        for (kind, part) in [NAME, NAME_REST].into_iter().zip(bytes.chunks(NAME_PART_BYTES)) {
            self.push(kind, sequence, |frame| {
                frame[5] = cut as u8;
                put(frame, 6, number.to_le_bytes());
                frame[16..16 + part.len()].copy_from_slice(part);
            });
        }
        number
    }

    fn push(&mut self, kind: u8, sequence: u64, fill: impl FnOnce(&mut Frame)) {
        let mut frame = [0; FRAME_BYTES];
        frame[4] = kind;
        put(&mut frame, 8, sequence.to_le_bytes());
        fill(&mut frame);
        put(&mut frame, 60, self.durable.to_le_bytes());
        let crc = checksum(&frame, self.segment, self.frames);
        put(&mut frame, 0, crc.to_le_bytes());
        self.out.extend_from_slice(&frame);
        self.frames += 1;
    }
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// That this happened.
    Entry(Entry),
    /// That the entry of that number does not count.
    Void(u64),
    /// The name of a tier, for frames that follow.
    Name,
}

/// A frame that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Its sequence number; of a name, that of the frame which needs it.
    pub sequence: u64,
    /// Frames of its segment that were durable when it was written.
    pub durable: u32,
    /// What it says.
    pub line: Line,
}

/// Names of tiers, each held once, and which number stands for which in the segment that is being read.
#[derive(Debug, Default)]
pub struct Names {
    held: Vec<Arc<str>>,
    numbers: Vec<Option<Arc<str>>>,
    /// The first part of a name that has a rest.
    begun: Vec<u8>,
}

impl Names {
    /// Another segment begins, with numbers of its own.
    pub fn turn(&mut self) {
        self.numbers.clear();
        self.begun.clear();
    }

    fn get(&mut self, number: u16) -> Arc<str> {
        match self.numbers.get(usize::from(number)) {
            Some(Some(name)) => Arc::clone(name),
            _ => self.hold(NAMELESS),
        }
    }

    fn hold(&mut self, name: &str) -> Arc<str> {
        match self.held.iter().find(|held| ***held == *name) {
            Some(held) => Arc::clone(held),
            None => {
                self.held.push(Arc::from(name));
                Arc::clone(&self.held[self.held.len() - 1])
            }
        }
    }

    fn part(&mut self, frame: &Frame) {
        let (bytes, number) = (usize::from(frame[5]), usize::from(u16_at(frame, 6)));
        if frame[4] == NAME {
            self.begun.clear();
        }
        let missing = bytes.saturating_sub(self.begun.len()).min(NAME_PART_BYTES);
        self.begun.extend_from_slice(&frame[16..16 + missing]);
        if self.begun.len() == bytes {
            let name = self.hold(&String::from_utf8_lossy(&self.begun.clone()));
            if self.numbers.len() <= number {
                self.numbers.resize(number + 1, None);
            }
            self.numbers[number] = Some(name);
        }
    }
}

/// Reads the frame at that place of that segment; `None` if there is no whole one.
pub fn decode(frame: &Frame, segment: u64, place: u32, names: &mut Names) -> Option<Decoded> {
    // Most of what is no frame is room that nobody has used: not worth a checksum.
    if frame[4] == 0 || u32_at(frame, 0) != checksum(frame, segment, place) {
        return None;
    }
    let line = match frame[4] {
        JOB => Line::Entry(Entry::Job(Record {
            admitted: UnixTime::from_millis(u64_at(frame, 16)),
            caller: caller_in(frame)?,
            tier: names.get(u16_at(frame, 36)),
            priority: Priority::new(frame[6])?,
            end: End::ALL.get(usize::from(frame[5]))?.0,
            status: u16_at(frame, 38),
            cost: u32_at(frame, 40),
            waited: Span::from_millis(u32_at(frame, 44).into()),
            searched: Span::from_millis(u32_at(frame, 48).into()),
        })),
        REFUSED => Line::Entry(Entry::Refused(Refused {
            minute: UnixTime::from_millis(u64_at(frame, 16)),
            caller: caller_in(frame),
            status: u16_at(frame, 38),
            count: u32_at(frame, 40),
        })),
        VOID => Line::Void(u64_at(frame, 16)),
        NAME | NAME_REST => {
            names.part(frame);
            Line::Name
        }
        _ => return None,
    };
    Some(Decoded {
        sequence: u64_at(frame, 8),
        durable: u32_at(frame, 60),
        line,
    })
}

/// The kind of a caller, and its numbers: of accounts 32 bits, of networks and users 64.
pub fn caller_parts(caller: Option<&Caller>) -> (u8, u32, u64) {
    match caller {
        None => (0, 0, 0),
        Some(Caller::Account(account)) => (1, account.0, 0),
        Some(Caller::Network(network)) => (2, 0, network.0),
        Some(Caller::User { of, user }) => (3, of.0, user.0),
    }
}

/// The caller of that kind with those numbers; `None` if there is no such kind.
pub fn caller_of(kind: u8, account: u32, id: u64) -> Option<Caller> {
    match kind {
        1 => Some(Caller::Account(AccountId(account))),
        2 => Some(Caller::Network(NetworkId(id))),
        3 => Some(Caller::User {
            of: AccountId(account),
            user: UserId(id),
        }),
        _ => None,
    }
}

fn caller_out(frame: &mut Frame, caller: Option<&Caller>) {
    let (kind, account, id) = caller_parts(caller);
    frame[7] = kind;
    put(frame, 24, account.to_le_bytes());
    put(frame, 28, id.to_le_bytes());
}

fn caller_in(frame: &Frame) -> Option<Caller> {
    caller_of(frame[7], u32_at(frame, 24), u64_at(frame, 28))
}

fn checksum(frame: &Frame, segment: u64, place: u32) -> u32 {
    let mut salt = [0; 12];
    put(&mut salt, 0, segment.to_le_bytes());
    put(&mut salt, 8, place.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&salt), &frame[4..])
}

/// Whole milliseconds, at most the 49 days that fit.
fn millis(span: Span) -> u32 {
    u32::try_from(span.as_nanos() / 1_000_000).unwrap_or(u32::MAX)
}

/// Puts bytes at a place.
pub fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// The integer at a place.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The integer at a place.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|place| bytes[at + place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(tier: &str, caller: Caller) -> Entry {
        Entry::Job(Record {
            admitted: UnixTime::from_millis(1_790_000_000_123),
            caller,
            tier: Arc::from(tier),
            priority: Priority::HIGHEST,
            end: End::WaitedOut,
            status: 503,
            cost: 7,
            waited: Span::from_millis(1_234),
            searched: Span::from_millis(5),
        })
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let account = Caller::Account(AccountId(7));
        let user = Caller::User {
            of: AccountId(u32::MAX),
            user: UserId(u64::MAX),
        };
        let long = "x".repeat(64);
        let refused = |caller| {
            Entry::Refused(Refused {
                minute: UnixTime::from_secs(60),
                caller,
                status: 429,
                count: u32::MAX,
            })
        };
        let entries = [
            job("free", account),
            job(&long, user),
            job("free", Caller::Network(NetworkId(1))),
            refused(None),
            refused(Some(account)),
        ];
        let mut encoder = Encoder::new(9);
        for (sequence, entry) in entries.iter().enumerate() {
            encoder.entry(sequence as u64, entry);
        }
        encoder.void(5, 2);
        let mut names = Names::default();
        let lines: Vec<Line> = frames(&encoder)
            .zip(0..)
            .map(|(frame, place)| decode(&frame, 9, place, &mut names).expect("it is whole").line)
            .filter(|line| *line != Line::Name)
            .collect();
        let mut expected: Vec<Line> = entries.into_iter().map(Line::Entry).collect();
        expected.push(Line::Void(2));
        assert_eq!(lines, expected);
        assert_eq!(
            encoder.group().len(),
            (6 + 1 + 2) * FRAME_BYTES,
            "two frames for a long name"
        );
    }

    #[test]
    fn a_frame_of_another_place_or_segment_is_none_and_neither_is_a_flipped_one() {
        let mut encoder = Encoder::new(9);
        encoder.entry(1, &job("free", Caller::Account(AccountId(7))));
        let frame = frames(&encoder).nth(1).expect("the job");
        let mut names = Names::default();
        assert!(decode(&frame, 9, 1, &mut names).is_some());
        assert!(decode(&frame, 9, 2, &mut names).is_none());
        assert!(decode(&frame, 8, 1, &mut names).is_none());
        assert!(decode(&[0; FRAME_BYTES], 9, 1, &mut names).is_none());
        for bit in 0..FRAME_BYTES * 8 {
            let mut flipped = frame;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, 9, 1, &mut names).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_is_whole_or_newer_or_none() {
        let header = Header {
            number: 3,
            first_sequence: 99,
            made: UnixTime::from_millis(5),
            previous: 2,
            previous_durable: 17,
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for byte in 0..HEADER_USED_BYTES {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1;
            assert_eq!(Header::decode(&flipped), Err(NoHeader::Damaged), "byte {byte}");
        }
        let mut newer = bytes;
        put(&mut newer, 12, 2u32.to_le_bytes());
        let crc = crc32c::crc32c(&newer[12..HEADER_USED_BYTES]);
        put(&mut newer, 8, crc.to_le_bytes());
        assert_eq!(Header::decode(&newer), Err(NoHeader::Newer(2)));
    }

    fn frames(encoder: &Encoder) -> impl Iterator<Item = Frame> + '_ {
        encoder.group().as_chunks::<FRAME_BYTES>().0.iter().copied()
    }
}
