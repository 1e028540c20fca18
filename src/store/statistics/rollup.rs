//! One rollup: a file of sums of some segments, by hour or by day. The door's sums are held in memory, those of callers are
//! read when they are asked for.
//!
//! Absent on purpose: open files (a query opens what it reads, so the door's descriptors stay its clients'), and writing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crc32c::crc32c;
use tracing::warn;

use super::counted::{Key, Sums};
use super::layout::{
    BLOCK_BYTES, BLOCK_CELLS, Cell, Fault, Grain, HEADER_BYTES, Header, block_from_bytes, tail_from_bytes,
};
use super::runs::Runs;

/// A file that was found whole. Once it is [`Self::obsolete`], dropping it removes the file: so it stays for whoever still
/// reads it.
#[derive(Debug)]
pub(super) struct Rollup {
    path: PathBuf,
    header: Header,
    segments: Runs,
    door: BTreeMap<u32, Sums>,
    obsolete: AtomicBool,
}

impl Rollup {
    /// What the writer has just written there.
    pub const fn written(path: PathBuf, header: Header, segments: Runs, door: BTreeMap<u32, Sums>) -> Self {
        Self {
            path,
            header,
            segments,
            door,
            obsolete: AtomicBool::new(false),
        }
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// Any byte of it is not what was written, or the disk's.
    pub fn open(path: PathBuf) -> Result<Self, Fault> {
        let mut file = File::open(&path)?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes)?;
        let header = Header::from_bytes(&bytes)?;
        if Some(file.metadata()?.len()) != header.tail_at().checked_add(header.tail_bytes) {
            return Err(Fault::Damaged("its length is wrong"));
        }
        let mut cells = Cells::of(header, file);
        let mut last = None;
        while let Some(cell) = cells.next()? {
            if last >= Some((cell.key, cell.bucket, cell.column)) {
                return Err(Fault::Damaged("its cells are out of order"));
            }
            last = Some((cell.key, cell.bucket, cell.column));
        }
        let mut tail = Vec::new();
        cells.file.read_to_end(&mut tail)?;
        if crc32c(&tail) != header.tail_crc {
            return Err(Fault::Damaged("the tail's checksum is wrong"));
        }
        let (segments, door) = tail_from_bytes(&tail)?;
        if segments.first().is_none() {
            return Err(Fault::Damaged("it covers nothing"));
        }
        Ok(Self::written(path, header, segments, door))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its buckets are.
    pub const fn grain(&self) -> Grain {
        self.header.grain
    }

    /// The segments whose entries are in it.
    pub const fn segments(&self) -> &Runs {
        &self.segments
    }

    /// The door's sums by bucket.
    pub const fn door(&self) -> &BTreeMap<u32, Sums> {
        &self.door
    }

    /// Its latest bucket as a day since the epoch.
    pub const fn latest_day(&self) -> u32 {
        match self.header.grain {
            Grain::Hour => self.header.latest / 24,
            Grain::Day => self.header.latest,
        }
    }

    /// Its latest bucket, an hour's or a day's.
    pub const fn latest(&self) -> u32 {
        self.header.latest
    }

    /// Whether anything in it can lie from `first` to `last`, in its own buckets.
    pub const fn reaches(&self, first: u32, last: u32) -> bool {
        self.header.earliest <= last && first <= self.header.latest
    }

    /// The caller's cells, found by binary search. Reads one block of 4 KiB for each doubling of their number.
    ///
    /// # Errors
    /// A block is damaged, or the disk's.
    pub fn cells_of(&self, key: Key) -> Result<Vec<Cell>, Fault> {
        let mut found = Vec::new();
        if self.header.cells == 0 {
            return Ok(found);
        }
        let mut cells = Cells::of(self.header, File::open(&self.path)?);
        let (mut low, mut high) = (0, self.header.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            cells.go_to(middle)?;
            let ends_before = cells.block.last().is_none_or(|cell| cell.key < key);
            (low, high) = if ends_before { (middle + 1, high) } else { (low, middle) };
        }
        if low == self.header.blocks() {
            return Ok(found);
        }
        cells.go_to(low)?;
        while let Some(cell) = cells.next()? {
            if cell.key > key {
                break;
            }
            if cell.key == key {
                found.push(cell);
            }
        }
        Ok(found)
    }

    /// All cells of callers, in order.
    ///
    /// # Errors
    /// The disk's.
    pub fn cells(&self) -> Result<Cells, Fault> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        Ok(Cells::of(self.header, file))
    }

    /// Its contents lie elsewhere, or are of no use any more: when its last reader is gone, so is the file.
    pub fn obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }
}

impl Drop for Rollup {
    fn drop(&mut self) {
        if !*self.obsolete.get_mut() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            // It is found again, and removed, at the next start.
            warn!(path = %self.path.display(), %error, "an old file of statistics can't be removed");
        }
    }
}

/// Cells from a file, block by block: 4 KiB of it are in memory.
#[derive(Debug)]
pub(super) struct Cells {
    header: Header,
    file: File,
    /// The number of the block after this one.
    next_block: u64,
    block: Vec<Cell>,
    /// In `block`.
    place: usize,
}

impl Cells {
    /// From the first one on, which is where the file stands.
    const fn of(header: Header, file: File) -> Self {
        Self {
            header,
            file,
            next_block: 0,
            block: Vec::new(),
            place: 0,
        }
    }

    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// The block is damaged, or the disk's.
    pub fn next(&mut self) -> Result<Option<Cell>, Fault> {
        if self.place == self.block.len() {
            if self.next_block == self.header.blocks() {
                return Ok(None);
            }
            self.read_block()?;
        }
        let cell = self.block.get(self.place).copied();
        self.place += 1;
        Ok(cell)
    }

    fn go_to(&mut self, block: u64) -> Result<(), Fault> {
        let at = HEADER_BYTES as u64 + block * BLOCK_BYTES as u64;
        self.file.seek(SeekFrom::Start(at))?;
        self.next_block = block;
        self.read_block()
    }

    fn read_block(&mut self) -> Result<(), Fault> {
        let mut bytes = [0; BLOCK_BYTES];
        self.file.read_exact(&mut bytes)?;
        let before = self.next_block * BLOCK_CELLS as u64;
        // At most a block's, so it fits.
        let cells = (self.header.cells - before).min(BLOCK_CELLS as u64) as usize;
        self.block = block_from_bytes(&bytes, cells)?;
        self.next_block += 1;
        self.place = 0;
        Ok(())
    }
}
