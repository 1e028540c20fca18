//! How a rollup lies on the disk. Every byte is under a checksum (CRC-32C), numbers are little-endian.
//!
//! ```text
//! header   64 bytes  magic 8 | version u16 | grain u8 | 0 u8 | cells u64 | tail bytes u64 | tail's checksum u32
//!                    | earliest bucket u32 | latest bucket u32 | 0 … | checksum of the 60 bytes before u32
//! blocks   4,096 each, 186 cells of 22 bytes and the block's checksum u32; the last is filled up with zeros
//!          cell      key 13 | bucket u32 | column u8 | count u32      ordered by key, bucket and column
//! tail     segments  number u32, then first u64 | last u64 each
//!          door      number of buckets u32, then for each, in order:
//!                    bucket u32 | 7 columns u64 | shortest ms u32 | longest ms u32 | number u16, then bucket u16 | count u32 each
//! ```
//!
//! A bucket is an hour or a day since the epoch, in UTC: the grain says which.
//!
//! Absent on purpose: files (`rollup`, `writer`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crc32c::crc32c;

use super::counted::{COLUMNS, Column, KEY_BYTES, Key, Sums};
use super::histogram::Histogram;
use super::runs::Runs;

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 64;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4_096;
/// Cells of a block.
pub(super) const BLOCK_CELLS: usize = (BLOCK_BYTES - CRC_BYTES) / CELL_BYTES;
/// Bytes of a tail at most: that of a file with as many segments and buckets as there can be is smaller.
pub(super) const TAIL_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

const CRC_BYTES: usize = 4;
const CELL_BYTES: usize = KEY_BYTES + 4 + 1 + 4;
const MAGIC: [u8; 8] = *b"tgrollup";
const VERSION: u16 = 1;

/// Why a file can't be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// What it says is not what was written.
    Damaged(&'static str),
    /// The disk's.
    Disk(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early"),
            _ => Self::Disk(error),
        }
    }
}

/// What a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// An hour since the epoch.
    Hour,
    /// A day since the epoch.
    Day,
}

impl Grain {
    /// What the file's name ends with.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Hour => "hours",
            Self::Day => "days",
        }
    }
}

/// How often a caller was answered so. Ordered as in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    /// Who.
    pub key: Key,
    /// When.
    pub bucket: u32,
    /// What with.
    pub column: Column,
    /// How often. At least 1.
    pub count: u32,
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What its buckets are.
    pub grain: Grain,
    /// Number of its cells.
    pub cells: u64,
    /// Length of its tail.
    pub tail_bytes: u64,
    /// The tail's checksum.
    pub tail_crc: u32,
    /// Its earliest bucket.
    pub earliest: u32,
    /// Its latest bucket. At least `earliest`.
    pub latest: u32,
}

impl Header {
    /// Number of its blocks.
    pub const fn blocks(&self) -> u64 {
        self.cells.div_ceil(BLOCK_CELLS as u64)
    }

    /// Where its tail begins. Saturates.
    pub const fn tail_at(&self) -> u64 {
        self.blocks()
            .saturating_mul(BLOCK_BYTES as u64)
            .saturating_add(HEADER_BYTES as u64)
    }

    /// As it lies on the disk.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut put = Vec::with_capacity(HEADER_BYTES);
        put.extend_from_slice(&MAGIC);
        put.extend_from_slice(&VERSION.to_le_bytes());
        put.extend_from_slice(&[u8::from(self.grain == Grain::Day), 0]);
        put.extend_from_slice(&self.cells.to_le_bytes());
        put.extend_from_slice(&self.tail_bytes.to_le_bytes());
        for number in [self.tail_crc, self.earliest, self.latest] {
            put.extend_from_slice(&number.to_le_bytes());
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes[..put.len()].copy_from_slice(&put);
        seal(&mut bytes);
        bytes
    }

    /// From what lies on the disk.
    ///
    /// # Errors
    /// It is damaged, or of a version that isn't known.
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        let mut take = Take(sealed(bytes).ok_or(Fault::Damaged("the header's checksum is wrong"))?);
        if take.bytes() != Some(MAGIC) {
            return Err(Fault::Damaged("it is no rollup"));
        }
        if take.u16() != Some(VERSION) {
            return Err(Fault::Damaged("its version is unknown"));
        }
        let header = |take: &mut Take<'_>| {
            let [grain, _] = take.bytes()?;
            Some(Self {
                grain: if grain == 0 { Grain::Hour } else { Grain::Day },
                cells: take.u64()?,
                tail_bytes: take.u64()?,
                tail_crc: take.u32()?,
                earliest: take.u32()?,
                latest: take.u32()?,
            })
        };
        header(&mut take)
            .filter(|header| header.earliest <= header.latest && header.tail_bytes <= TAIL_BYTES_MAX)
            .ok_or(Fault::Damaged("the header makes no sense"))
    }
}

/// A block as it lies on the disk, of at most [`BLOCK_CELLS`] cells.
pub(super) fn block_to_bytes(cells: &[Cell]) -> [u8; BLOCK_BYTES] {
    let mut bytes = [0; BLOCK_BYTES];
    for (place, cell) in bytes.chunks_exact_mut(CELL_BYTES).zip(cells) {
        let (key, rest) = place.split_at_mut(KEY_BYTES);
        key.copy_from_slice(&cell.key.0);
        rest[..4].copy_from_slice(&cell.bucket.to_le_bytes());
        rest[4] = cell.column.number();
        rest[5..].copy_from_slice(&cell.count.to_le_bytes());
    }
    seal(&mut bytes);
    bytes
}

/// The first `cells` cells of a block.
///
/// # Errors
/// It is damaged.
pub(super) fn block_from_bytes(bytes: &[u8; BLOCK_BYTES], cells: usize) -> Result<Vec<Cell>, Fault> {
    let bytes = sealed(bytes).ok_or(Fault::Damaged("a block's checksum is wrong"))?;
    bytes
        .chunks_exact(CELL_BYTES)
        .take(cells)
        .map(|cell| {
            let mut take = Take(cell);
            let cell = |take: &mut Take<'_>| {
                Some(Cell {
                    key: Key(take.bytes()?),
                    bucket: take.u32()?,
                    column: Column::from_number(take.bytes::<1>()?[0])?,
                    count: take.u32()?,
                })
            };
            cell(&mut take).ok_or(Fault::Damaged("a cell makes no sense"))
        })
        .collect()
}

/// A tail as it lies on the disk.
pub(super) fn tail_to_bytes(segments: &Runs, door: &BTreeMap<u32, Sums>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length(segments.parts().len()));
    for (first, last) in segments.parts() {
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&last.to_le_bytes());
    }
    bytes.extend_from_slice(&length(door.len()));
    for (bucket, sums) in door {
        bytes.extend_from_slice(&bucket.to_le_bytes());
        for count in sums.counts {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        let (min_ms, max_ms) = sums.searches.ends_ms();
        bytes.extend_from_slice(&min_ms.to_le_bytes());
        bytes.extend_from_slice(&max_ms.to_le_bytes());
        // A histogram has at most 464 buckets.
        bytes.extend_from_slice(&(sums.searches.buckets().len() as u16).to_le_bytes());
        for (bucket, count) in sums.searches.buckets() {
            bytes.extend_from_slice(&bucket.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
    }
    bytes
}

/// Segments and the door's sums from a tail whose checksum is right.
///
/// # Errors
/// It makes no sense.
pub(super) fn tail_from_bytes(bytes: &[u8]) -> Result<(Runs, BTreeMap<u32, Sums>), Fault> {
    let tail = |take: &mut Take<'_>| {
        let runs = take.u32()?;
        let runs: Option<Vec<_>> = (0..runs).map(|_| Some((take.u64()?, take.u64()?))).collect();
        let buckets = take.u32()?;
        let door: Option<BTreeMap<_, _>> = (0..buckets).map(|_| Some((take.u32()?, sums(take)?))).collect();
        Some((Runs::from_parts(runs?)?, door?)).filter(|_| take.0.is_empty())
    };
    tail(&mut Take(bytes)).ok_or(Fault::Damaged("the tail makes no sense"))
}

fn sums(take: &mut Take<'_>) -> Option<Sums> {
    let mut counts = [0; COLUMNS];
    for count in &mut counts {
        *count = take.u64()?;
    }
    let (min_ms, max_ms) = (take.u32()?, take.u32()?);
    let buckets = take.u16()?;
    let buckets: Option<Vec<_>> = (0..buckets).map(|_| Some((take.u16()?, take.u32()?))).collect();
    Some(Sums {
        counts,
        searches: Histogram::from_parts(buckets?, min_ms, max_ms)?,
    })
}

/// A number of things that memory has held; beyond `u32::MAX` the file would not be readable.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Puts the checksum of all before it at the end.
fn seal(bytes: &mut [u8]) {
    let (before, crc) = bytes.split_at_mut(bytes.len() - CRC_BYTES);
    crc.copy_from_slice(&crc32c(before).to_le_bytes());
}

/// What comes before the checksum, if that is right.
fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (before, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    (u32::from_le_bytes(*crc) == crc32c(before)).then_some(before)
}

/// Takes numbers off the front; `None` where there are too few bytes.
struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }
}
