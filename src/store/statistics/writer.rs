//! Writes a rollup: under a name that nobody reads, synced, then renamed, then the folder synced. So a file with a rollup's
//! name is whole, whenever the power fails.
//!
//! Absent on purpose: sums. Cells come in their order.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crc32c::crc32c;

use super::counted::Sums;
use super::layout::{BLOCK_CELLS, Cell, Grain, HEADER_BYTES, Header, TAIL_BYTES_MAX, block_to_bytes, tail_to_bytes};
use super::rollup::Rollup;
use super::runs::Runs;

/// What the names of unfinished files end with.
pub(super) const UNFINISHED: &str = "unfinished";

/// Mode of a rollup: nobody else reads who asked how often.
const FILE_MODE: u32 = 0o600;

/// A rollup in the making. Dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    grain: Grain,
    block: Vec<Cell>,
    cells: u64,
    /// Of all cells so far.
    buckets: Option<(u32, u32)>,
}

impl Writer {
    /// Begins one in that folder. There may be one of each grain at a time.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(folder: &Path, grain: Grain) -> io::Result<Self> {
        let path = folder.join(grain.extension()).with_extension(UNFINISHED);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let mut file = BufWriter::new(options.open(&path)?);
        file.write_all(&[0; HEADER_BYTES])?;
        Ok(Self {
            folder: folder.to_owned(),
            path,
            file,
            grain,
            block: Vec::with_capacity(BLOCK_CELLS),
            cells: 0,
            buckets: None,
        })
    }

    /// Adds a cell, which comes after the one before.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, cell: Cell) -> io::Result<()> {
        debug_assert!(self.block.last().is_none_or(|last| *last < cell), "cells come in order");
        self.block.push(cell);
        self.cells += 1;
        self.widen(cell.bucket);
        if self.block.len() == BLOCK_CELLS {
            self.write_block()?;
        }
        Ok(())
    }

    /// Completes it with the segments that it covers and the door's sums. If it is empty, `idle` is its bucket. It is durable
    /// afterwards.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self, segments: Runs, door: BTreeMap<u32, Sums>, idle: u32) -> io::Result<Rollup> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        door.keys().for_each(|bucket| self.widen(*bucket));
        let tail = tail_to_bytes(&segments, &door);
        let tail_bytes = tail.len() as u64;
        if tail_bytes > TAIL_BYTES_MAX {
            return Err(io::Error::other("the sums of too many times in one file"));
        }
        let (earliest, latest) = self.buckets.unwrap_or((idle, idle));
        let header = Header {
            grain: self.grain,
            cells: self.cells,
            tail_bytes,
            tail_crc: crc32c(&tail),
            earliest,
            latest,
        };
        self.file.write_all(&tail)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header.to_bytes())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;

        let path = self.folder.join(name(&segments, self.grain));
        fs::rename(&self.path, &path)?;
        if let Err(error) = sync_folder(&self.folder) {
            // Whoever asked takes it for not written, so it must not be found at the next start beside what comes instead.
            fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Rollup::written(path, header, segments, door))
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.file.write_all(&block_to_bytes(&self.block))?;
        self.block.clear();
        Ok(())
    }

    fn widen(&mut self, bucket: u32) {
        let (earliest, latest) = self.buckets.unwrap_or((bucket, bucket));
        self.buckets = Some((earliest.min(bucket), latest.max(bucket)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It is there no more if it was finished; left behind, it is removed at the next start.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Makes names in a folder durable.
///
/// # Errors
/// The disk's.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// First, last and number of segments: no two files have the same, unless one replaces the other.
fn name(segments: &Runs, grain: Grain) -> String {
    let (first, last) = (segments.first().unwrap_or(0), segments.last().unwrap_or(0));
    format!("{first:020}-{last:020}-{}.{}", segments.count(), grain.extension())
}
