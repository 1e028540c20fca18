//! Detects changes of the configuration file, however it is saved: in place, by a rename over it, by swapped links (a ConfigMap
//! of Kubernetes), or on another machine's disk.
//!
//! The file is polled: its metadata (`stat`) each time, its content when that changed or the file is not at rest. A change is
//! reported once the file is at rest (`debounce`). File notifications would save only a quarter of a second, and miss network
//! disks.

mod debounce;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::debounce::Debounce;
use self::file::{FileStamp, read_unless};
pub use self::file::{Saved, Unreadable, read};
use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// Poll interval of a file at rest.
pub const POLL_EVERY: Span = Span::from_millis(250);

/// Poll interval of a file that is not at rest.
pub const LOOK_EVERY: Span = Span::from_millis(125);

/// Every so many polls the file is read without a sign of change: within one tick of the disk's clock a file can be written twice
/// with the same length.
const LOOKS_PER_READING: u32 = 20;

/// The longest that [`Watch::now`] waits for a disk.
const PATIENCE: Span = Span::from_secs(5);

/// Detects changes of a file.
///
/// It polls only while [`Watch::changed`] is awaited. It uses at most one of the runtime's blocking threads, which an
/// unresponsive disk may hold, and keeps at most two contents of the file.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    debounce: Debounce,
    /// Locked by the poll in progress, on a thread that may wait for a disk.
    watched: Arc<Mutex<Watched>>,
    /// The poll in progress.
    looking: Option<JoinHandle<Option<Saved>>>,
    /// When the next poll is due.
    due: Timestamp,
    /// Whether the next poll reads the file without a sign of change.
    reads: bool,
    /// Polls since the file was last read.
    unread: u32,
}

/// A file, and its stamp when it was last read; `None` if it could not be read.
#[derive(Debug)]
struct Watched(PathBuf, Option<FileStamp>);

impl Watched {
    /// The file's content; `None` if it was read before, shows no sign of change, and `reads` is not set. Blocks on the disk.
    fn look(&mut self, reads: bool) -> Option<Saved> {
        let Self(file, stamp) = self;
        match read_unless(file, stamp.filter(|_| !reads)) {
            Ok((now, bytes)) => {
                *stamp = Some(now);
                bytes.map(Ok)
            }
            Err(why) => {
                *stamp = None;
                Some(Err(why))
            }
        }
    }
}

impl Watch {
    /// Watches a file whose content was last [`read`] as `seen`. A relative path is resolved now.
    pub fn start(file: &Path, seen: Saved, clock: Clock) -> Self {
        // Without a current folder the path means the same as for the reader before.
        let file = std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file));
        Self {
            clock,
            debounce: Debounce::new(seen),
            watched: Arc::new(Mutex::new(Watched(file, None))),
            looking: None,
            due: clock.now(),
            reads: true,
            unread: 0,
        }
    }

    /// Waits until the file at rest differs from the content last reported, and returns it:
    ///
    /// - bytes, when three polls in a row found the same;
    /// - no bytes, or why there are none, after 2 s without;
    /// - the current content, if the file has not come to rest within 2 s.
    ///
    /// A saved file is reported within 500 ms plus the time to read it twice.
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn changed(&mut self) -> Saved {
        loop {
            if self.looking.is_none() {
                self.clock.sleep_until(self.due).await;
            }
            let found = self.look().await;
            let told = found.is_some_and(|found| self.debounce.judge(found));
            self.rest();
            if told {
                return self.debounce.reported().clone();
            }
        }
    }

    /// Reads the file now, at rest or not, changed or not. [`Watch::changed`] will not report the same content again.
    ///
    /// Waits at most 5 s for the disk.
    pub async fn now(&mut self) -> Saved {
        let clock = self.clock;
        let found = tokio::select! {
            found = self.fresh() => found,
            () = clock.sleep(PATIENCE) => {
                return Err(Unreadable::System(io::ErrorKind::TimedOut, format!("the disk does not answer within {PATIENCE}")));
            }
        };
        if let Some(found) = found {
            self.debounce.report(found);
        }
        self.rest();
        self.debounce.reported().clone()
    }

    async fn fresh(&mut self) -> Option<Saved> {
        if self.looking.is_some() {
            // That poll began before this call.
            let _earlier = self.look().await;
        }
        self.reads = true;
        self.look().await
    }

    /// Polls, or waits for the poll in progress. `None`: no sign of change since the last reading.
    async fn look(&mut self) -> Option<Saved> {
        let looking = self.looking.get_or_insert_with(|| {
            let (watched, reads) = (Arc::clone(&self.watched), self.reads);
            self.reads = false;
            tokio::task::spawn_blocking(move || watched.lock().look(reads))
        });
        let found = looking.await.expect("a poll does not panic");
        self.looking = None;
        self.unread = if found.is_some() { 0 } else { self.unread + 1 };
        found
    }

    /// Schedules the next poll.
    fn rest(&mut self) {
        let rests = self.debounce.is_at_rest();
        self.due = self.clock.now() + if rests { POLL_EVERY } else { LOOK_EVERY };
        self.reads |= !rests || self.unread >= LOOKS_PER_READING;
    }
}
