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

    /// Writes the lines. Blocks while the output does.
    ///
    /// # Errors
    /// They could not be written, wholly or in part.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match &mut self.file {
            Some(file) => file.current(self.clock.now())?.write_all(lines),
            None => {
                let mut output = io::stdout().lock();
                output.write_all(lines)?;
                output.flush()
            }
        }
    }
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
