//! The configuration's file is noticed when it is saved, however it is saved: on a real file system.
//!
//! A pause is a wait in which nothing may be told. What must not be told at all shows by what is told next.

#[path = "support/folder.rs"]
mod folder;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tiergate::clock::Clock;
use tiergate::config::FILE_BYTES_MAX;
use tiergate::server::config_watch::{Saved, Unreadable, Watch, read};
use tokio::time::timeout;

use folder::Folder;

/// The longest that a test waits for anything. Nothing takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shorter than what is taken for rest.
const MOMENT: Duration = Duration::from_millis(60);

/// Longer than a look needs, and what is taken for rest.
const WHILE: Duration = Duration::from_millis(700);

/// A folder with a tiers.yaml, which somebody watches who has seen what is in it.
struct Site {
    folder: Folder,
    file: PathBuf,
    clock: Clock,
    watch: Watch,
}

impl Site {
    /// What is told next.
    async fn told(&mut self) -> Saved {
        let asked = self.clock.now();
        let told = timeout(PATIENCE, self.watch.changed()).await;
        println!("told after {}", self.clock.now().since(asked));
        told.unwrap_or_else(|_| panic!("in vain"))
    }

    async fn tells(&mut self, text: &str) {
        assert_eq!(shown(&self.told().await), Ok(text.to_owned()));
    }

    async fn tells_why(&mut self, why: Unreadable) {
        assert_eq!(shown(&self.told().await), Err(why));
    }

    /// Nothing is told for so long.
    async fn is_quiet(&mut self, pause: Duration) {
        let told = timeout(pause, self.watch.changed()).await;
        assert!(told.is_err(), "{:?}", told.map(|told| shown(&told)));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("it can be written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("it can be renamed");
    }
}

fn shown(saved: &Saved) -> Result<String, Unreadable> {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("tests write text");
    saved.as_ref().map(text).map_err(Clone::clone)
}

/// Prepares a folder, and watches the file of that name in it; the watch has seen what is there.
fn watched(name: &str, prepare: impl Fn(&Path), scenario: impl AsyncFn(Site)) {
    let (folder, clock) = (Folder::new(), Clock::start());
    prepare(folder.path());
    let file = folder.path().join(name);
    let watch = Watch::start(&file, read(&file), clock);
    let mut site = Site {
        folder,
        file,
        clock,
        watch,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        site.is_quiet(MOMENT).await;
        scenario(site).await;
    });
}

/// A tiers.yaml that says "first".
fn plain(scenario: impl AsyncFn(Site)) {
    let prepare = |folder: &Path| fs::write(folder.join("tiers.yaml"), "first").expect("it can be written");
    watched("tiers.yaml", prepare, scenario);
}

#[test]
fn written_in_place() {
    plain(async |mut site| {
        for text in ["second", "third!", "the fourth"] {
            site.write("tiers.yaml", text);
            site.tells(text).await;
        }
    });
}

#[test]
fn edited_by_sed() {
    plain(async |mut site| {
        let edit = Command::new("sed")
            .args(["-i", "s/first/second/"])
            .arg(&site.file)
            .status();
        assert!(edit.expect("sed runs").success());
        site.tells("second").await;
    });
}

#[test]
fn written_aside_and_renamed_over() {
    plain(async |mut site| {
        // As vim and emacs do: the old one becomes a backup, so for a moment there is none.
        for text in ["second", "third"] {
            site.rename("tiers.yaml", "tiers.yaml~");
            site.write(".tiers.yaml.swp", text);
            site.rename(".tiers.yaml.swp", "tiers.yaml");
            site.tells(text).await;
        }
        assert_eq!(
            fs::read_to_string(site.path("tiers.yaml~")).expect("a backup"),
            "second"
        );
    });
}

#[test]
fn links_swapped_as_kubernetes_does() {
    let prepare = |folder: &Path| {
        fs::create_dir(folder.join("..2026_1")).expect("a folder");
        fs::write(folder.join("..2026_1/tiers.yaml"), "first").expect("a file");
        symlink("..2026_1", folder.join("..data")).expect("a link");
        symlink("..data/tiers.yaml", folder.join("tiers.yaml")).expect("a link");
    };
    watched("tiers.yaml", prepare, async |mut site| {
        for (number, text) in [(2, "second"), (3, "third"), (4, "fourth")] {
            let (before, now) = (format!("..2026_{}", number - 1), format!("..2026_{number}"));
            fs::create_dir(site.path(&now)).expect("a folder");
            site.write(&format!("{now}/tiers.yaml"), text);
            symlink(&now, site.path("..data_tmp")).expect("a link");
            site.rename("..data_tmp", "..data");
            fs::remove_dir_all(site.path(&before)).expect("it can be removed");
            site.tells(text).await;
        }
    });
}

#[test]
fn the_target_of_a_link_written_in_place_and_another_one_linked() {
    let prepare = |folder: &Path| {
        for elsewhere in ["here", "there"] {
            fs::create_dir(folder.join(elsewhere)).expect("a folder");
            fs::write(folder.join(elsewhere).join("real.yaml"), "first").expect("a file");
        }
        symlink(folder.join("here"), folder.join("linked")).expect("a link");
        symlink("linked/real.yaml", folder.join("tiers.yaml")).expect("a link");
    };
    watched("tiers.yaml", prepare, async |mut site| {
        site.write("here/real.yaml", "second");
        site.tells("second").await;
        // No link to it is renamed, but one on the way to it.
        symlink("there", site.path("linked-anew")).expect("a link");
        site.rename("linked-anew", "linked");
        site.tells("first").await;
        site.write("there/real.yaml", "third");
        site.tells("third").await;
    });
}

#[test]
fn deleted_and_created_again_after_a_pause() {
    plain(async |mut site| {
        fs::remove_file(&site.file).expect("it can be removed");
        site.is_quiet(WHILE).await;
        site.write("tiers.yaml", "second");
        site.tells("second").await;
    });
}

#[test]
fn truncated_for_a_moment_and_then_written_in_pieces() {
    plain(async |mut site| {
        site.write("tiers.yaml", "");
        site.is_quiet(WHILE).await;
        for piece in ["sec", "ond", " and", " whole"] {
            let mut file = OpenOptions::new().append(true).open(&site.file).expect("it is there");
            file.write_all(piece.as_bytes()).expect("it can be written");
            drop(file);
            site.is_quiet(MOMENT).await;
        }
        site.tells("second and whole").await;
    });
}

#[test]
fn half_a_file_is_told_only_if_nothing_follows() {
    plain(async |mut site| {
        let mut file = fs::File::create(&site.file).expect("it can be written");
        file.write_all(b"half").expect("it can be written");
        site.is_quiet(MOMENT).await;
        file.write_all(b" and whole").expect("it can be written");
        drop(file);
        site.tells("half and whole").await;
        // A writer that stops in the middle leaves half a file.
        file = fs::File::create(&site.file).expect("it can be written");
        file.write_all(b"half").expect("it can be written");
        site.tells("half").await;
        drop(file);
    });
}

#[test]
fn the_folder_put_in_anothers_place() {
    let prepare = |folder: &Path| {
        fs::create_dir(folder.join("etc")).expect("a folder");
        fs::write(folder.join("etc/tiers.yaml"), "first").expect("a file");
    };
    watched("etc/tiers.yaml", prepare, async |mut site| {
        fs::create_dir(site.path("new")).expect("a folder");
        site.write("new/tiers.yaml", "second");
        site.rename("etc", "old");
        site.rename("new", "etc");
        site.tells("second").await;
        // And the new one is watched, the old one no more.
        site.write("old/tiers.yaml", "old");
        site.write("etc/tiers.yaml", "third");
        site.tells("third").await;
    });
}

#[test]
fn the_folder_deleted_and_created_again() {
    let prepare = |folder: &Path| {
        fs::create_dir(folder.join("etc")).expect("a folder");
        fs::write(folder.join("etc/tiers.yaml"), "first").expect("a file");
    };
    watched("etc/tiers.yaml", prepare, async |mut site| {
        for (text, next) in [("second", "third"), ("fourth", "fifth")] {
            fs::remove_dir_all(site.path("etc")).expect("it can be removed");
            site.is_quiet(WHILE).await;
            fs::create_dir(site.path("etc")).expect("a folder");
            site.write("etc/tiers.yaml", text);
            site.tells(text).await;
            site.write("etc/tiers.yaml", next);
            site.tells(next).await;
        }
    });
}

#[test]
fn what_changes_nothing_is_not_told() {
    plain(async |mut site| {
        let touch = Command::new("touch").arg(&site.file).status();
        assert!(touch.expect("touch runs").success());
        site.is_quiet(WHILE).await;
        site.write("tiers.yaml", "first");
        site.is_quiet(WHILE).await;
        site.write("another", "first");
        site.rename("another", "tiers.yaml");
        site.is_quiet(WHILE).await;
        site.write("another", "neighbours are not looked at");
        site.write("tiers.yaml", "a change");
        site.write("tiers.yaml", "first");
        site.is_quiet(WHILE).await;
        site.write("tiers.yaml", "second");
        site.tells("second").await;
    });
}

#[test]
fn the_last_of_a_hundred_saves_is_told() {
    plain(async |mut site| {
        for number in 0..100 {
            let text = format!("save {number}");
            if number % 2 == 0 {
                site.write("tiers.yaml", &text);
            } else {
                site.write("aside", &text);
                site.rename("aside", "tiers.yaml");
            }
            tokio::task::yield_now().await;
        }
        site.tells("save 99").await;
    });
}

#[test]
fn constant_saving_does_not_delay_a_reload() {
    plain(async |mut site| {
        let mut number = 0_u32;
        let saved = timeout(PATIENCE, async {
            loop {
                number += 1;
                site.write("aside", &format!("save {number}"));
                site.rename("aside", "tiers.yaml");
                if let Ok(told) = timeout(MOMENT, site.watch.changed()).await {
                    break told;
                }
            }
        });
        let told = shown(&saved.await.expect("it is told")).expect("it can be read");
        assert!(told.starts_with("save "), "{told}");
        if told != format!("save {number}") {
            site.tells(&format!("save {number}")).await;
        }
    });
}

#[test]
fn what_is_gone_or_empty_for_good_is_told_once() {
    plain(async |mut site| {
        site.write("tiers.yaml", "");
        site.tells("").await;
        fs::remove_file(&site.file).expect("it can be removed");
        site.tells_why(Unreadable::Gone).await;
        site.is_quiet(WHILE).await;
        site.write("tiers.yaml", "first");
        site.tells("first").await;
    });
}

#[test]
fn what_is_no_file_holds_nobody_up_and_is_told_once() {
    plain(async |mut site| {
        fs::remove_file(&site.file).expect("it can be removed");
        let pipe = Command::new("mkfifo").arg(&site.file).status();
        assert!(pipe.expect("mkfifo runs").success());
        site.tells_why(Unreadable::NoFile).await;
        fs::remove_file(&site.file).expect("it can be removed");
        fs::create_dir(&site.file).expect("a folder");
        site.is_quiet(WHILE).await;
        fs::remove_dir(&site.file).expect("it can be removed");
        symlink("/dev/zero", &site.file).expect("a link");
        site.is_quiet(WHILE).await;
        fs::remove_file(&site.file).expect("it can be removed");
        site.write("tiers.yaml", "second");
        site.tells("second").await;
    });
}

#[test]
fn what_the_system_refuses_is_told_once() {
    plain(async |mut site| {
        fs::remove_file(&site.file).expect("it can be removed");
        symlink("tiers.yaml", &site.file).expect("a link");
        let told = site.told().await.expect_err("it leads nowhere");
        assert!(matches!(told, Unreadable::System(..)), "{told:?}");
        site.is_quiet(WHILE).await;
        fs::remove_file(&site.file).expect("it can be removed");
        site.write("tiers.yaml", "first");
        site.tells("first").await;
    });
}

#[test]
fn what_was_saved_before_anybody_watched_is_told() {
    plain(async |mut site| {
        let seen = read(&site.file);
        site.write("tiers.yaml", "second");
        site.watch = Watch::start(&site.file, seen, site.clock);
        site.tells("second").await;
    });
}

#[test]
fn a_file_that_is_too_long_is_told_as_such_and_no_further() {
    plain(async |mut site| {
        site.write("tiers.yaml", &"#".repeat(3 * FILE_BYTES_MAX));
        assert_eq!(site.told().await.expect("it can be read").len(), FILE_BYTES_MAX + 1);
        site.write("tiers.yaml", &"#".repeat(FILE_BYTES_MAX));
        assert_eq!(site.told().await.expect("it can be read").len(), FILE_BYTES_MAX);
    });
}

#[test]
fn of_the_same_length_and_with_the_same_time() {
    // As `rsync --times` and `cp -p` leave it.
    plain(async |mut site| {
        let then = fs::metadata(&site.file).and_then(|found| found.modified());
        let then = then.expect("a time");
        for text in ["again", "twice", "third"] {
            site.write("aside", text);
            let file = OpenOptions::new().write(true).open(site.path("aside"));
            file.and_then(|file| file.set_modified(then))
                .expect("its time can be set");
            site.rename("aside", "tiers.yaml");
            site.tells(text).await;
        }
    });
}

#[test]
fn asked_for_it_tells_what_is_there_and_not_again() {
    plain(async |mut site| {
        assert_eq!(shown(&site.watch.now().await), Ok("first".to_owned()));
        site.write("tiers.yaml", "second");
        assert_eq!(shown(&site.watch.now().await), Ok("second".to_owned()));
        site.is_quiet(WHILE).await;
        // Also while a look that began before is under way, as it may be at some of these moments.
        for millis in (0..132).step_by(4) {
            site.write("tiers.yaml", "third");
            site.is_quiet(Duration::from_millis(millis)).await;
            let text = format!("after {millis} ms");
            site.write("tiers.yaml", &text);
            assert_eq!(shown(&site.watch.now().await), Ok(text));
        }
        fs::remove_file(&site.file).expect("it can be removed");
        assert_eq!(shown(&site.watch.now().await), Err(Unreadable::Gone));
        site.write("tiers.yaml", "fifth");
        site.tells("fifth").await;
    });
}

#[test]
fn given_up_at_any_time_it_loses_nothing() {
    plain(async |mut site| {
        site.write("tiers.yaml", "second");
        let told = timeout(PATIENCE, async {
            for micros in (0..400_000).step_by(97).cycle() {
                if let Ok(told) = timeout(Duration::from_micros(micros % 3_001), site.watch.changed()).await {
                    return shown(&told);
                }
            }
            unreachable!("it goes round for ever")
        });
        assert_eq!(told.await.expect("it is told"), Ok("second".to_owned()));
    });
}

#[test]
fn a_relative_path_without_a_folder() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        // The tests of a package run in its folder.
        let file = Path::new("Cargo.toml");
        let mut watch = Watch::start(file, Ok(b"otherwise".to_vec()), Clock::start());
        let told = timeout(PATIENCE, watch.changed()).await.expect("it is told");
        assert_eq!(told, read(file));
        assert!(told.expect("it can be read").starts_with(b"[package]"));
    });
}

#[test]
fn dropped_it_leaves_no_descriptor() {
    plain(async |mut site| {
        for _ in 0..40 {
            let mut watch = Watch::start(&site.file, Ok(Vec::new()), site.clock);
            assert_eq!(shown(&watch.now().await), Ok("first".to_owned()));
        }
        assert_eq!(held(&site.file), 0);
        let kept = fs::File::open(&site.file).expect("it is there");
        assert_eq!(held(&site.file), 1);
        drop(kept);
        site.write("tiers.yaml", "second");
        site.tells("second").await;
    });
}

/// Descriptors of that file in this process.
fn held(file: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("proc is there").flatten();
    open.filter(|open| fs::read_link(open.path()).is_ok_and(|target| target == file))
        .count()
}
