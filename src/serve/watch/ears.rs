//! What the system tells of changes in the folders on a file's way.
//!
//! Whoever looks at the file is only called by it: what is heard may be too much, and on a network's disk it is nothing.
//!
//! notify's watcher is made once and turned to other folders when the way changes, since it needs a thread, and panics where
//! there is none to be had.
//!
//! Absent on purpose: what has changed. That is seen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

use super::POLL_EVERY;
use super::way::Way;

/// What has been heard, for whoever looks.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Where anything that happens matters.
    turns: Mutex<Vec<PathBuf>>,
    stirred: Notify,
    /// Somebody has written to the file and not closed it since.
    is_written: AtomicBool,
    /// A folder is not listened to any more: it has gone, or gone elsewhere.
    is_lost: AtomicBool,
}

impl Heard {
    /// Ends when something has been heard since it last ended.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Whether somebody is known to be writing to the file.
    pub(super) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Relaxed)
    }

    /// On notify's thread, which must not panic.
    fn hear(&self, told: notify::Result<Event>) {
        let stirs = match told {
            // The file was looked at, perhaps by us.
            Ok(Event {
                kind: EventKind::Access(kind),
                ..
            }) if kind != AccessKind::Close(AccessMode::Write) => false,
            Ok(event) if event.need_rescan() => true,
            Ok(event) => self.concerns(&event),
            Err(_) => {
                self.is_lost.store(true, Ordering::Relaxed);
                true
            }
        };
        if stirs {
            self.stirred.notify_one();
        }
    }

    fn concerns(&self, event: &Event) -> bool {
        let (at_turn, to_folder) = {
            let turns = self.turns.lock();
            let any = |is: &dyn Fn(&Path, &Path) -> bool| {
                event.paths.iter().any(|path| turns.iter().any(|turn| is(path, turn)))
            };
            (
                any(&|path, turn| path == turn),
                any(&|path, turn| Some(path) == turn.parent()),
            )
        };
        if at_turn {
            match event.kind {
                EventKind::Modify(ModifyKind::Metadata(_)) => {}
                EventKind::Modify(ModifyKind::Data(_)) => self.is_written.store(true, Ordering::Relaxed),
                // Closed, or another file.
                _ => self.is_written.store(false, Ordering::Relaxed),
            }
        }
        let has_left = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        if to_folder && has_left {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        at_turn || to_folder
    }
}

/// Who listens along one file's way.
#[derive(Debug)]
pub(super) struct Ears {
    heard: Arc<Heard>,
    /// `None` before the first turn, and where there can be none.
    watcher: Option<RecommendedWatcher>,
    /// What is listened to.
    way: Way,
    /// Why not all of it is. It is said once.
    trouble: Option<String>,
}

impl Ears {
    pub(super) fn new(heard: Arc<Heard>) -> Self {
        Self {
            heard,
            watcher: None,
            way: Way::default(),
            trouble: None,
        }
    }

    /// Listens along the file's way as it leads now; with `tries` also if that was in vain before. Blocks on the disk.
    pub(super) fn turn(&mut self, file: &Path, tries: bool) {
        let way = Way::of(file);
        let is_lost = self.heard.is_lost.swap(false, Ordering::Relaxed);
        if way == self.way && !is_lost && !(tries && self.trouble.is_some()) {
            return;
        }
        let trouble = self.listen(way).err();
        if let Some(trouble) = trouble
            .as_ref()
            .filter(|trouble| self.trouble.as_ref() != Some(trouble))
        {
            warn!(file = %file.display(), "changes are not heard of ({trouble}), the file is looked at every {POLL_EVERY}");
        }
        self.trouble = trouble;
    }

    /// Listens along that way and no other; as far as it can, and says what it can't.
    fn listen(&mut self, way: Way) -> Result<(), String> {
        let before = std::mem::replace(&mut self.way, way);
        self.heard.turns.lock().clone_from(&self.way.turns);
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(watcher(&self.heard)?),
        };
        for (folder, _) in before.folders {
            // One that has gone is not watched any more.
            let _gone = watcher.unwatch(&folder);
        }
        // Of a file that was written to nothing is known from now on.
        self.heard.is_written.store(false, Ordering::Relaxed);
        let mut troubles = Vec::new();
        for (folder, _) in &self.way.folders {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // Since the way was walked. The next look walks it again.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {
                    self.heard.is_lost.store(true, Ordering::Relaxed);
                }
                Err(error) => troubles.push(error.to_string()),
            }
        }
        if troubles.is_empty() {
            Ok(())
        } else {
            Err(troubles.join("; "))
        }
    }
}

fn watcher(heard: &Arc<Heard>) -> Result<RecommendedWatcher, String> {
    let heard = Arc::clone(heard);
    let made = RecommendedWatcher::new(move |told| heard.hear(told), Config::default());
    let mut watcher = made.map_err(|error| error.to_string())?;
    // A thread that could not be started shows here alone. All else that its watcher does would panic, dropping it too.
    match watcher.configure(Config::default()) {
        Ok(_) => Ok(watcher),
        Err(error) => {
            std::mem::forget(watcher);
            Err(error.to_string())
        }
    }
}
