//! One segment: its file's name, reading it, and appending to it.
//!
//! Whether what can't be read is a torn tail or damage: a frame below the mark to which the segment is known to have been
//! durable was whole once, so there it is damage. Above that mark a crash may have left out whole sectors, so zeros there are
//! torn, and so is what lies behind the last whole frame. Anything else is damage.
//!
//! Absent on purpose: which segments there are, and when one ends.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{self, Disk, DiskFile};
use super::format::{self, Decoded, Encoder, FRAME_BYTES, HEADER_BYTES, Header, Line, Names, NoHeader};

/// How much of a segment is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;
/// How much is read at once where the disk fails to read more, in bytes.
const READ_BYTES_MIN: usize = 4_096;
/// How much room is made at once, by writing zeros: so a full disk is met before a promise is given, and a commit has no
/// length of a file to write.
const ROOM_BYTES: u64 = 1 << 20;
/// Stretches of unreadable frames that are told apart in one segment; those beyond run together with the last.
const HOLES_MAX: usize = 1_024;

/// Room that nobody has used, as much as is passed over in one step.
static BLANK: [u8; 64 * FRAME_BYTES] = [0; 64 * FRAME_BYTES];

const SUFFIX: &str = ".seg";
const DIGITS: usize = 16;

/// The name of a segment's file.
pub fn name(number: u64) -> String {
    format!("{number:0width$}{SUFFIX}", width = DIGITS)
}

/// The number of the segment in a file of that name; `None` if there is none in such a file.
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Frames in a row that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The place of the first.
    pub from: u32,
    /// The place after the last.
    pub to: u32,
    /// Whether they are nothing but zeros.
    pub zeros: bool,
}

/// What was found in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Its header, if that can be read.
    pub header: Option<Header>,
    /// Places up to the last whole frame.
    pub frames: u32,
    /// Entries, superseded and void ones included.
    pub entries: u64,
    /// The lowest and the highest sequence number.
    pub sequences: Option<(u64, u64)>,
    /// Frames that are known, from itself or from the segment after, to have been durable.
    pub durable: u32,
    /// What can't be read, before the last whole frame.
    pub holes: Vec<Hole>,
    /// Places behind the last whole frame, to the last that is not zeros.
    pub tail: u32,
}

impl Findings {
    /// Frames that were whole once and can't be read, and whether the header is such a one.
    pub fn damaged(&self) -> u64 {
        let frames = |hole: &Hole| match hole.zeros {
            true => self.durable.min(hole.to).saturating_sub(hole.from),
            false => hole.to - hole.from,
        };
        let header = u64::from(self.header.is_none());
        let tail = self.durable.saturating_sub(self.frames);
        self.holes.iter().map(|hole| u64::from(frames(hole))).sum::<u64>() + u64::from(tail) + header
    }

    /// Frames that a crash left half written, and that nobody was promised anything for.
    pub fn torn(&self) -> u64 {
        let frames = |hole: &Hole| match hole.zeros {
            true => hole.to.saturating_sub(self.durable.max(hole.from)),
            false => 0,
        };
        let tail = (self.frames + self.tail).saturating_sub(self.durable.max(self.frames));
        self.holes.iter().map(|hole| u64::from(frames(hole))).sum::<u64>() + u64::from(tail)
    }

    /// The length of the file up to the last whole frame, in bytes.
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES + u64::from(self.frames) * FRAME_BYTES as u64
    }
}

/// Reads a segment once, frame by frame. What the disk won't read is as if it were damaged.
#[derive(Debug)]
pub struct Reader<'a> {
    file: Box<dyn DiskFile>,
    number: u64,
    names: &'a mut Names,
    findings: Findings,
    buffer: Vec<u8>,
    /// The frames of the buffer that are still to come, in bytes.
    left: std::ops::Range<usize>,
    /// The place of the next frame.
    place: u32,
    /// Frames that can't be read, since the last whole one.
    run: Vec<Hole>,
}

impl<'a> Reader<'a> {
    /// Opens a segment.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(
        disk: &dyn Disk,
        folder: &Path,
        number: u64,
        names: &'a mut Names,
    ) -> io::Result<(Self, Option<NoHeader>)> {
        let file = disk.open(&folder.join(name(number)))?;
        let mut head = [0; FRAME_BYTES];
        let header = match disk::read_full(&*file, &mut head, 0) {
            Ok(_) => Header::decode(&head),
            Err(_) => Err(NoHeader::Damaged),
        };
        // The header of another segment is none.
        let header = header.and_then(|header| match header.number == number {
            true => Ok(header),
            false => Err(NoHeader::Damaged),
        });
        names.turn();
        let reader = Self {
            file,
            number,
            names,
            findings: Findings {
                header: header.ok(),
                ..Findings::default()
            },
            buffer: vec![0; READ_BYTES],
            left: 0..0,
            place: 0,
            run: Vec::new(),
        };
        Ok((reader, header.err()))
    }

    /// The next entry or taking back, with its sequence number. `None` at the end; a file that grows meanwhile may have more
    /// after that.
    pub fn next_line(&mut self) -> Option<(u64, Line)> {
        loop {
            if self.left.is_empty() && !self.fill() {
                return None;
            }
            // `fill` leaves whole frames, so there are as many bytes as a frame has.
            let bytes = &self.buffer[self.left.start..self.left.start + FRAME_BYTES];
            let frame: &format::Frame = bytes.try_into().expect("sliced to that length");
            let place = self.place;
            self.left.start += FRAME_BYTES;
            self.place += 1;
            match format::decode(frame, self.number, place, self.names) {
                Some(Decoded {
                    sequence,
                    durable,
                    line,
                }) => {
                    self.whole(place, durable);
                    if line == Line::Name {
                        continue;
                    }
                    self.counted(sequence);
                    return Some((sequence, line));
                }
                None => {
                    let zeros = *frame == [0; FRAME_BYTES];
                    let blank = if zeros { self.skip_zeros() } else { 0 };
                    self.unreadable(place, place + 1 + blank, zeros);
                }
            }
        }
    }

    /// What was found, when all is read.
    pub fn into_findings(mut self) -> Findings {
        self.findings.tail = match self.run.iter().rfind(|hole| !hole.zeros) {
            Some(hole) => hole.to - self.findings.frames,
            None => 0,
        };
        self.findings
    }

    fn whole(&mut self, place: u32, durable: u32) {
        self.findings.frames = place + 1;
        self.findings.durable = self.findings.durable.max(durable);
        if self.run.is_empty() {
            return;
        }
        for hole in self.run.drain(..) {
            join(&mut self.findings.holes, hole);
        }
    }

    fn counted(&mut self, sequence: u64) {
        self.findings.entries += 1;
        let (low, high) = self.findings.sequences.unwrap_or((sequence, sequence));
        self.findings.sequences = Some((low.min(sequence), high.max(sequence)));
    }

    fn unreadable(&mut self, from: u32, to: u32, zeros: bool) {
        join(&mut self.run, Hole { from, to, zeros });
    }

    /// Passes over zeros in larger steps, since there may be a megabyte of them. How many frames.
    fn skip_zeros(&mut self) -> u32 {
        let steps = self.buffer[self.left.clone()].chunks_exact(BLANK.len());
        let blank = steps.take_while(|step| **step == BLANK).count() * BLANK.len();
        self.left.start += blank;
        let frames = (blank / FRAME_BYTES) as u32;
        self.place += frames;
        frames
    }

    /// Reads on. Whether there is a whole frame more.
    fn fill(&mut self) -> bool {
        let offset = HEADER_BYTES + u64::from(self.place) * FRAME_BYTES as u64;
        let filled = match disk::read_full(&*self.file, &mut self.buffer, offset) {
            Ok(filled) => filled,
            Err(_) => self.fill_little(offset),
        };
        self.left = 0..filled - filled % FRAME_BYTES;
        !self.left.is_empty()
    }

    /// Reads a little, where more can't be read; what can't be read at all is made what no frame is.
    fn fill_little(&mut self, offset: u64) -> usize {
        let length = self.file.bytes().unwrap_or(0);
        let there = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = there.min(READ_BYTES_MIN);
        match disk::read_full(&*self.file, &mut self.buffer[..wanted], offset) {
            Ok(filled) => filled,
            Err(_) => {
                self.buffer[..wanted].fill(u8::MAX);
                wanted
            }
        }
    }
}

/// Adds a hole behind the others; to the last, if it follows at once and is alike, or if there are too many.
fn join(holes: &mut Vec<Hole>, next: Hole) {
    let full = holes.len() >= HOLES_MAX;
    match holes.last_mut() {
        Some(last) if full || (last.to == next.from && last.zeros == next.zeros) => {
            last.zeros &= next.zeros;
            last.to = next.to;
        }
        _ => holes.push(next),
    }
}

/// The segment that is being written.
#[derive(Debug)]
pub struct Active {
    /// What its header says.
    pub header: Header,
    file: Box<dyn DiskFile>,
    /// Its frames.
    pub encoder: Encoder,
    /// The length of the file: up to there lie zeros that are durable.
    room: u64,
}

impl Active {
    /// Makes a segment, durable and with room for a first group.
    ///
    /// # Errors
    /// The disk's. What is left of it must be removed.
    pub fn create(disk: &dyn Disk, folder: &Path, header: Header) -> io::Result<Self> {
        let file = disk.create(&path(folder, header.number))?;
        let mut active = Self {
            header,
            file,
            encoder: Encoder::new(header.number),
            room: HEADER_BYTES,
        };
        active.file.write_at(&header.encode(), 0)?;
        active.make_room(HEADER_BYTES + 1)?;
        disk.sync_folder(folder)?;
        Ok(active)
    }

    /// Writes the encoder's group and makes it durable. All of it counts from then on.
    ///
    /// # Errors
    /// The disk's. Then nobody knows what of the group is durable, and the segment may not be written any more.
    pub fn commit(&mut self) -> io::Result<()> {
        let (offset, group) = (self.encoder.offset(), self.encoder.group().len() as u64);
        self.make_room(offset + group)?;
        self.file.write_at(self.encoder.group(), offset)?;
        self.file.sync()?;
        self.encoder.start();
        Ok(())
    }

    /// Gives back the room that was not used. It is done with.
    ///
    /// # Errors
    /// The disk's; it is as good with the room.
    pub fn seal(self) -> io::Result<()> {
        self.file.cut(self.encoder.offset())
    }

    /// The length of its file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.room
    }

    fn make_room(&mut self, wanted: u64) -> io::Result<()> {
        while self.room < wanted {
            let next = (self.room / ROOM_BYTES + 1) * ROOM_BYTES;
            self.file.write_at(&vec![0; (next - self.room) as usize], self.room)?;
            self.file.sync()?;
            self.room = next;
        }
        Ok(())
    }
}

/// The path of a segment.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(name(number))
}
