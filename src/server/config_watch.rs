//! Notices that the configuration's file was saved, however it is saved: in place, by another file that is renamed over it, by
//! links that are swapped (a ConfigMap of Kubernetes), or on another machine's disk.
//!
//! The file is polled: what it is (`stat`) at every look, its content when that changed or the file is not at rest. It is told
//! once it has come to rest (`debounce`). Notifications of the system would hurry that by a quarter of a second, and miss
//! network disks.

mod debounce;
mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::debounce::Debounce;
pub use self::file::{Saved, Unreadable, read};
use self::file::{Stamp, read_unless};
use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// How often the file is looked at.
pub const POLL_EVERY: Span = Span::from_millis(250);

/// How long after a look the next one comes while the file is not at rest.
pub const LOOK_EVERY: Span = Span::from_millis(125);

/// Of so many looks without a sign of change, one reads the file all the same: within a tick of the disk's clock a file of the
/// same length can be written twice.
const LOOKS_PER_READING: u32 = 20;

/// How long [`Watch::now`] waits for a disk.
const PATIENCE: Span = Span::from_secs(5);

/// Notices that a file was saved.
///
/// It looks only while somebody awaits [`Watch::changed`]. It has at most one of the runtime's blocking threads, which a disk
/// that doesn't answer may hold; it keeps two contents of the file at most.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    debounce: Debounce,
    /// Locked by the look that is under way, on a thread that may wait for a disk.
    watched: Arc<Mutex<Watched>>,
    /// The look that is under way.
    looking: Option<JoinHandle<Option<Saved>>>,
    /// When the next look is due.
    due: Timestamp,
    /// Whether the next look reads the file even if there is no sign of change.
    reads: bool,
    /// Looks at rest since it was last read.
    unread: u32,
}

/// A file, and what it was when it was last read; `None` if it could not be.
#[derive(Debug)]
struct Watched(PathBuf, Option<Stamp>);

impl Watched {
    /// What the file holds; `None` if it was read before, need not be again (`reads`), and bears no sign of change. Blocks on
    /// the disk.
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
    /// Watches that file, of which `seen` is what was last [`read`]. A relative path begins in the current folder, at the time
    /// of this call.
    pub fn start(file: &Path, seen: Saved, clock: Clock) -> Self {
        // Without a current folder it means the same as for whoever has read it.
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

    /// What the file holds, as soon as that differs from what was last told, and is at rest:
    ///
    /// - bytes, when three looks in a row have found the same;
    /// - no bytes, or why there are none, when they have not been there for 2 s;
    /// - what has not come to rest in 2 s, as it is.
    ///
    /// One that has been saved is told within 500 ms, and a time to read it twice.
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> Saved {
        loop {
            if self.looking.is_none() {
                self.clock.sleep_until(self.due).await;
            }
            let found = self.look().await;
            let told = found.is_some_and(|found| self.debounce.judge(found));
            self.rest();
            if told {
                return self.debounce.told().clone();
            }
        }
    }

    /// What the file holds now, at rest or not, changed or not: for somebody who says that it is saved. [`Watch::changed`] will
    /// not tell the same again.
    ///
    /// Waits 5 s for the disk at most.
    pub async fn now(&mut self) -> Saved {
        let clock = self.clock;
        let found = tokio::select! {
            found = self.fresh() => found,
            () = clock.sleep(PATIENCE) => {
                return Err(Unreadable::System(io::ErrorKind::TimedOut, format!("the disk does not answer within {PATIENCE}")));
            }
        };
        if let Some(found) = found {
            self.debounce.tell(found);
        }
        self.rest();
        self.debounce.told().clone()
    }

    async fn fresh(&mut self) -> Option<Saved> {
        if self.looking.is_some() {
            // It began before this was asked.
            let _earlier = self.look().await;
        }
        self.reads = true;
        self.look().await
    }

    /// Looks, or waits for the look that is under way. `None`: there is no sign that anything is otherwise than at the last
    /// reading.
    async fn look(&mut self) -> Option<Saved> {
        let looking = self.looking.get_or_insert_with(|| {
            let (watched, reads) = (Arc::clone(&self.watched), self.reads);
            self.reads = false;
            tokio::task::spawn_blocking(move || watched.lock().look(reads))
        });
        let found = looking.await.expect("a look does not panic");
        self.looking = None;
        self.unread = if found.is_some() { 0 } else { self.unread + 1 };
        found
    }

    /// Says when the next look is.
    fn rest(&mut self) {
        let rests = self.debounce.is_at_rest();
        self.due = self.clock.now() + if rests { POLL_EVERY } else { LOOK_EVERY };
        self.reads |= !rests || self.unread >= LOOKS_PER_READING;
    }
}
