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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind, RenameMode};
    use tokio::time::timeout;

    use super::*;

    /// Nothing takes so long unless it is broken.
    const PATIENCE: Duration = Duration::from_secs(20);

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);
    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// Whether something has been heard since the last time.
    fn has_stirred(heard: &Heard) -> bool {
        wait(async { timeout(Duration::ZERO, heard.stirred()).await.is_ok() })
    }

    #[test]
    fn what_stirs_what_is_written_and_what_is_lost() {
        let heard = Heard::default();
        *heard.turns.lock() = vec![PathBuf::from("/etc/tiers.yaml"), PathBuf::from("/srv/real.yaml")];
        let tell = |kind, path: &str| {
            heard.hear(Ok(Event::new(kind).add_path(PathBuf::from(path))));
            let is_lost = heard.is_lost.swap(false, Ordering::Relaxed);
            (has_stirred(&heard), heard.is_written(), is_lost)
        };
        let (nothing, stirs, writes, lost) = (
            (false, false, false),
            (true, false, false),
            (true, true, false),
            (true, false, true),
        );
        for turn in ["/etc/tiers.yaml", "/srv/real.yaml"] {
            assert_eq!(tell(OPENED, turn), nothing, "its own looks must not call it");
            assert_eq!(tell(TOUCHED, turn), stirs);
            for end in [CLOSED, RENAMED, REMOVED, CREATED] {
                assert_eq!(tell(WRITTEN, turn), writes);
                assert_eq!(tell(TOUCHED, turn), writes);
                assert_eq!(tell(end, turn), stirs, "{end:?}");
            }
        }
        for neighbour in [
            "/etc/tiers",
            "/etc/tiers.yaml~",
            "/srv/tiers.yaml",
            "/etc/tiers.yaml/a",
            "/",
        ] {
            for kind in [WRITTEN, TOUCHED, RENAMED, REMOVED, CREATED, OPENED, CLOSED] {
                assert_eq!(tell(kind, neighbour), nothing, "{kind:?} of {neighbour}");
            }
        }
        for folder in ["/etc", "/srv"] {
            assert_eq!(tell(OPENED, folder), nothing);
            assert_eq!(tell(TOUCHED, folder), stirs);
            assert_eq!(tell(RENAMED, folder), lost);
            assert_eq!(tell(REMOVED, folder), lost);
        }
    }

    #[test]
    fn what_was_missed_stirs() {
        let heard = Heard::default();
        heard.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(has_stirred(&heard) && !heard.is_lost.load(Ordering::Relaxed));
        heard.hear(Err(notify::Error::generic("it can't be read")));
        assert!(has_stirred(&heard) && heard.is_lost.load(Ordering::Relaxed));
    }

    /// Files on a disk, and somebody who listens along the way to one of them.
    struct Site {
        folder: PathBuf,
        heard: Arc<Heard>,
        ears: Ears,
        file: PathBuf,
    }

    impl Site {
        /// A file in a folder, by a link and directly.
        fn new(test: &str, name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tiergate-ears-{test}-{}", std::process::id()));
            fs::create_dir_all(folder.join("real")).expect("a folder");
            fs::write(folder.join("real/tiers.yaml"), "first").expect("a file");
            fs::create_dir(folder.join("links")).expect("a folder");
            symlink("../real", folder.join("links/data")).expect("a link");
            symlink("data/tiers.yaml", folder.join("links/tiers.yaml")).expect("a link");
            let heard = Arc::new(Heard::default());
            let mut site = Self {
                file: folder.join(name),
                ears: Ears::new(Arc::clone(&heard)),
                heard,
                folder,
            };
            site.turn();
            assert!(!has_stirred(&site.heard), "nothing has happened yet");
            site
        }

        fn turn(&mut self) {
            self.ears.turn(&self.file, false);
            assert_eq!(self.ears.trouble, None);
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }

        fn rename(&self, from: &str, to: &str) {
            fs::rename(self.path(from), self.path(to)).expect("it can be renamed");
        }

        fn hears(&self) {
            let stirred = wait(async { timeout(PATIENCE, self.heard.stirred()).await });
            assert!(stirred.is_ok(), "nothing is heard");
        }

        /// Waits until it knows that it does not listen to a folder any more.
        fn loses_one(&self) {
            let lost = async {
                while !self.heard.is_lost.load(Ordering::Relaxed) {
                    self.heard.stirred().await;
                }
            };
            assert!(wait(async { timeout(PATIENCE, lost).await }).is_ok(), "nothing is lost");
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            // The system empties its temporary folder if this fails.
            let _removed = fs::remove_dir_all(&self.folder);
        }
    }

    const DIRECTLY: &str = "real/tiers.yaml";
    const BY_LINKS: &str = "links/tiers.yaml";

    #[test]
    fn a_file_written_in_place_is_heard_of_through_links_too() {
        for name in [DIRECTLY, BY_LINKS] {
            let site = Site::new("write", name);
            fs::write(site.path("real/tiers.yaml"), "second").expect("it can be written");
            site.hears();
        }
    }

    #[test]
    fn a_file_renamed_over_it_is_heard_of_through_links_too() {
        for name in [DIRECTLY, BY_LINKS] {
            let site = Site::new("rename", name);
            fs::write(site.path("aside"), "second").expect("it can be written");
            site.rename("aside", "real/tiers.yaml");
            site.hears();
        }
    }

    #[test]
    fn a_link_renamed_over_any_on_the_way_is_heard_of() {
        for link in ["links/tiers.yaml", "links/data"] {
            let site = Site::new("links", BY_LINKS);
            symlink("elsewhere", site.path("aside")).expect("a link");
            site.rename("aside", link);
            site.hears();
        }
    }

    #[test]
    fn after_a_link_was_swapped_the_new_way_is_listened_to() {
        let mut site = Site::new("turned", BY_LINKS);
        fs::create_dir(site.path("new")).expect("a folder");
        fs::write(site.path("new/tiers.yaml"), "second").expect("a file");
        symlink("../new", site.path("aside")).expect("a link");
        site.rename("aside", "links/data");
        site.hears();
        site.turn();
        // One rename is one event at the link's new name, and all of it has been heard.
        fs::write(site.path("new/tiers.yaml"), "third").expect("it can be written");
        site.hears();
    }

    #[test]
    fn a_folder_that_goes_is_lost_and_the_next_of_its_name_found() {
        let mut site = Site::new("folder", DIRECTLY);
        site.rename("real", "old");
        site.loses_one();
        site.turn();
        fs::create_dir(site.path("real")).expect("a folder");
        site.hears();
        site.turn();
        fs::write(site.path("real/tiers.yaml"), "second").expect("it can be written");
        site.hears();
        fs::remove_dir_all(site.path("real")).expect("it can be removed");
        site.loses_one();
        site.turn();
        fs::create_dir(site.path("real")).expect("a folder");
        site.hears();
    }

    #[test]
    fn a_way_that_has_not_changed_is_not_turned_to_again() {
        let mut site = Site::new("still", BY_LINKS);
        fs::write(site.path("real/tiers.yaml"), "half").expect("it can be written");
        site.heard.is_written.store(true, Ordering::Relaxed);
        site.turn();
        assert!(site.heard.is_written(), "only a turn forgets it");
    }
}
