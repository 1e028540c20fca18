//! Notices that the configuration's file was saved, however it is saved: in place, by another file that is renamed over it, by
//! links that are swapped (a ConfigMap of Kubernetes), or on another machine's disk.
//!
//! The system tells of changes in the folders that the file's name leads through (`ears`, `way`). That only hurries: what
//! counts is what stands in the file (`look`), which is looked at every [`POLL_EVERY`] in any case, and told once it has come
//! to rest (`settling`).
//!
//! Absent on purpose: what the bytes mean (`config`), and what is done with them.

mod ears;
mod eye;
mod look;
mod settling;
mod way;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::ears::{Ears, Heard};
use self::eye::Eye;
pub use self::look::{Saved, Unreadable, read};
use self::settling::Settling;
use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// How often the file is looked at when nothing is heard.
pub const POLL_EVERY: Span = Span::from_millis(500);

/// How long after a look the next one comes at the earliest, and comes while the file is not at rest.
pub const LOOK_EVERY: Span = Span::from_millis(125);

/// Of so many looks without a sign of change, one reads the file all the same: within a tick of the disk's clock a file of the
/// same length can be written twice.
const LOOKS_PER_READING: u32 = 20;

/// How long [`Watch::now`] waits for a disk.
const PATIENCE: Span = Span::from_secs(5);

/// Notices that a file was saved.
///
/// It looks only while somebody awaits [`Watch::changed`]. It has at most one thread of notify's and one of the runtime's
/// blocking ones, which a disk that doesn't answer may hold; it keeps two contents of the file at most. Dropped, it lets go of
/// all.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    heard: Arc<Heard>,
    settling: Settling,
    /// Locked by the look that is under way, on a thread that may wait for a disk.
    eye: Arc<Mutex<Eye>>,
    /// The look that is under way.
    looking: Option<JoinHandle<Option<Saved>>>,
    /// No look before that.
    earliest: Timestamp,
    /// When the next look is due.
    due: Timestamp,
    /// Whether the next look reads the file even if there is no sign of change.
    reads: bool,
    /// Looks at rest since it was last read.
    unread: u32,
}

impl Watch {
    /// Watches that file, of which `seen` is what was last [`read`]. A relative path begins in the current folder, at the time
    /// of this call.
    pub fn start(file: &Path, seen: Saved, clock: Clock) -> Self {
        let heard = Arc::new(Heard::default());
        let ears = Ears::new(Arc::clone(&heard));
        Self::with(file, seen, clock, heard, Some(ears))
    }

    /// The same by looking alone, as where the system tells of no changes: on NFS, or where it has no watches left.
    pub fn polling(file: &Path, seen: Saved, clock: Clock) -> Self {
        Self::with(file, seen, clock, Arc::default(), None)
    }

    fn with(file: &Path, seen: Saved, clock: Clock, heard: Arc<Heard>, ears: Option<Ears>) -> Self {
        // Without a current folder it means the same as for whoever has read it.
        let file = std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file));
        Self {
            clock,
            heard,
            settling: Settling::new(seen),
            eye: Arc::new(Mutex::new(Eye::new(file, ears))),
            looking: None,
            earliest: clock.now(),
            due: clock.now(),
            reads: true,
            unread: 0,
        }
    }

    /// What the file holds, as soon as that differs from what was last told, and is at rest:
    ///
    /// - bytes, when three looks in a row have found the same and nobody is known to be writing;
    /// - no bytes, or why there are none, when they have not been there for 2 s;
    /// - what has not come to rest in 2 s, as it is.
    ///
    /// One that has been saved is told after 250 to 375 ms, and within 750 ms if only looking tells.
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) -> Saved {
        loop {
            self.until_due().await;
            let found = self.look().await;
            let told = found.is_some_and(|found| self.settling.judge(found, self.heard.is_written()));
            self.rest();
            if told {
                return self.settling.told().clone();
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
            self.settling.tell(found);
        }
        self.rest();
        self.settling.told().clone()
    }

    async fn fresh(&mut self) -> Option<Saved> {
        if self.looking.is_some() {
            // It began before this was asked.
            let _earlier = self.look().await;
        }
        self.reads = true;
        self.look().await
    }

    /// Ends when a look is due, or under way.
    async fn until_due(&mut self) {
        while self.looking.is_none() && self.clock.now() < self.due {
            let stirred = tokio::select! {
                () = self.heard.stirred() => true,
                () = self.clock.sleep_until(self.due) => false,
            };
            if stirred {
                self.reads = true;
                self.due = self.due.min(self.earliest);
            }
        }
    }

    /// Looks, or waits for the look that is under way. `None`: there is no sign that anything is otherwise than at the last
    /// reading.
    async fn look(&mut self) -> Option<Saved> {
        let looking = self.looking.get_or_insert_with(|| {
            let (eye, reads) = (Arc::clone(&self.eye), self.reads);
            self.reads = false;
            tokio::task::spawn_blocking(move || eye.lock().look(reads))
        });
        let found = looking.await.expect("a look does not panic");
        self.looking = None;
        self.unread = if found.is_some() { 0 } else { self.unread + 1 };
        found
    }

    /// Says when the next look is.
    fn rest(&mut self) {
        let now = self.clock.now();
        self.earliest = now + LOOK_EVERY;
        let rests = self.settling.is_at_rest();
        self.due = if rests { now + POLL_EVERY } else { self.earliest };
        self.reads |= !rests || self.unread >= LOOKS_PER_READING;
    }
}
