//! Where the access log's lines go: standard output, or a file that may be renamed or deleted at any time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp, UnixTime};

/// How often the file's name is looked up, and a file that could not be opened is tried again.
const LOOK_EVERY: Span = Span::from_secs(1);
/// How often a line tells how many lines were omitted.
const TELL_OMITTED_EVERY: Span = Span::from_secs(1);
/// The file's mode, less the umask: others shall not read who searches.
const MODE: u32 = 0o640;

/// The output of an access log.
#[derive(Debug)]
pub(super) struct Output {
    clock: Clock,
    /// `None`: standard output.
    file: Option<LogFile>,
    told_omitted: Option<Timestamp>,
    /// Whether the last line was written in part only.
    is_torn: bool,
}

/// A failed write.
#[derive(Debug)]
pub(super) struct WriteError {
    /// Lines that were wholly written before.
    pub(super) lines: u64,
    /// Why the rest was not.
    pub(super) cause: io::Error,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    /// `None` after it could not be opened.
    open: Option<File>,
    looked: Timestamp,
}

impl Output {
    /// Opens the file, or uses standard output.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(super) fn open(path: Option<PathBuf>, clock: Clock) -> io::Result<Self> {
        let file = path.map(|path| LogFile::open(path, clock.now())).transpose()?;
        Ok(Self {
            clock,
            file,
            told_omitted: None,
            is_torn: false,
        })
    }

    pub(super) fn name(&self) -> String {
        super::name(self.file.as_ref().map(|file| file.path.as_path()))
    }

    /// The wall clock.
    pub(super) fn now(&self) -> UnixTime {
        self.clock.wall()
    }

    /// Whether it is time again to tell how many lines were omitted.
    pub(super) fn may_tell_omitted(&mut self) -> bool {
        let now = self.clock.now();
        let may = self
            .told_omitted
            .is_none_or(|told| now.since(told) >= TELL_OMITTED_EVERY);
        if may {
            self.told_omitted = Some(now);
        }
        may
    }

    /// Writes the lines. Blocks while the output does. After a line of which only a part was written, it begins a new one.
    ///
    /// # Errors
    /// They could not be written, wholly or in part.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        if lines.is_empty() {
            return Ok(());
        }
        let (mut written, mut is_torn) = (0, self.is_torn);
        let result = match &mut self.file {
            Some(file) => match file.current(self.clock.now()) {
                Ok(file) => write_lines(file, lines, &mut written, &mut is_torn),
                Err(error) => Err(error),
            },
            None => write_lines(&mut io::stdout().lock(), lines, &mut written, &mut is_torn),
        };
        self.is_torn = is_torn;
        result.map_err(|cause| WriteError {
            lines: lines[..written].iter().filter(|byte| **byte == b'\n').count() as u64,
            cause,
        })
    }
}

/// Writes the lines, and tells how far it came and whether it ended within a line.
fn write_lines(output: &mut impl Write, lines: &[u8], written: &mut usize, is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        output.write_all(b"\n")?;
        *is_torn = false;
    }
    while *written < lines.len() {
        match output.write(&lines[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => *written += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        *is_torn = lines[*written - 1] != b'\n';
    }
    output.flush()
}

impl LogFile {
    fn open(path: PathBuf, now: Timestamp) -> io::Result<Self> {
        let open = Some(append_to(&path)?);
        Ok(Self {
            path,
            open,
            looked: now,
        })
    }

    /// The file that has the name now: after it was renamed or deleted, a new one.
    fn current(&mut self, now: Timestamp) -> io::Result<&mut File> {
        if now.since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            if !self.is_in_place() {
                self.open = None;
                self.open = Some(append_to(&self.path)?);
            }
        }
        self.open
            .as_mut()
            .ok_or_else(|| io::Error::other("it could not be opened; trying again within a second"))
    }

    fn is_in_place(&self) -> bool {
        let identity = |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
        let open = self.open.as_ref().and_then(|file| identity(file.metadata()));
        open.is_some() && open == identity(std::fs::metadata(&self.path))
    }
}

/// Opens the file without waiting: a named pipe that nobody reads is an error.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE);
    let without_waiting = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) is an int");
    let file = options.custom_flags(without_waiting).open(path)?;
    // Writing may wait: that is what the log's own thread is for.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            self.room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Regression: a full disk tore a line, the next batch was appended to it, and lines that were there counted as dropped.
    #[test]
    fn a_torn_line_spoils_no_other() {
        for room in 0..=12 {
            let (mut disk, mut is_torn, mut written) = (
                Disk {
                    bytes: Vec::new(),
                    room,
                },
                false,
                0,
            );
            let result = write_lines(&mut disk, b"one\ntwo\nsix\n", &mut written, &mut is_torn);
            assert_eq!((result.is_ok(), written, is_torn), (room == 12, room, room % 4 != 0));
            disk.room = 100;
            written = 0;
            write_lines(&mut disk, b"ten\n", &mut written, &mut is_torn).expect("there is room");
            let text = String::from_utf8(disk.bytes).expect("text");
            assert!(text.ends_with("\nten\n") || text == "ten\n", "{room}: {text:?}");
        }
    }
}
