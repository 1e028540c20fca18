//! Data folders that can't be used: the program says why, in one line that names the file, and ends with code 1. Nobody who has the
//! folder is harmed, and what is in it stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disks::{SmallDisk, mount, unmount};
use super::load::{callers, key, used, yaml};
use crate::support::fast::FastWorker;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Client, get};

/// Bytes of a segment's header, of what of it is used, and of a record.
const HEADER_BYTES: usize = 4_096;
const HEADER_USED_BYTES: usize = 64;
const RECORD_BYTES: usize = 64;

/// A folder, and a worker for the programs in it.
struct Site {
    worker: FastWorker,
    folder: Arc<Folder>,
}

impl Site {
    fn new() -> Self {
        Self {
            worker: FastWorker::start(),
            folder: Arc::new(Folder::new()),
        }
    }

    fn yaml(&self) -> String {
        yaml(self.worker.address, "")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn journal(&self) -> PathBuf {
        self.data().join("journal")
    }

    async fn start(&self) -> Program {
        Program::start_in(&self.folder, &self.yaml()).await
    }

    /// What it says when it does not open: one line, and nothing that is for its makers.
    async fn refused(&self) -> String {
        let starting = Program::begin(Arc::clone(&self.folder), &self.yaml(), "error");
        let said = starting.opened().await.err().expect("it does not open");
        assert_eq!(said.code, Some(1), "{}", said.err);
        let line = said.err.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("error: "), "{}", said.err);
        assert!(!said.err.contains("panicked") && !line.contains("Os {"), "{}", said.err);
        line
    }

    async fn assert_refused(&self, parts: &[&str]) {
        let line = self.refused().await;
        println!("{line}");
        for part in parts {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
    }
}

async fn search(program: &Program) -> u16 {
    let mut client = Client::connect(program.address).await;
    let key = format!("x-api-key: {}\r\n", key("four"));
    client.ask("GET", "/search", &key).await.status()
}

async fn used_by_four(program: &Program) -> u64 {
    used(program.address, &callers("")[4..5]).await[0].rolling
}

/// All files below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            all.insert(path, bytes);
        }
    }
    all
}

fn names(contents: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&PathBuf> {
    contents.keys().collect()
}

/// The first segment of the journal.
fn first_segment(site: &Site) -> PathBuf {
    site.journal().join("0000000000000001.seg")
}

/// A second program used to look through the folder of statistics before it noticed that somebody has it: it removed the file that
/// the first one was writing, as what a crash had left.
#[tokio::test]
async fn a_second_program_touches_nothing_of_the_first_ones_folder() {
    let site = Site::new();
    let first = site.start().await;
    assert_eq!(search(&first).await, 200);
    std::fs::write(site.data().join("statistics/hours.unfinished"), "in the making").expect("a file");
    let before = contents(&site.data());
    let data = site.data();
    site.assert_refused(&["in use by another tiergate", &data.to_string_lossy()])
        .await;
    let after = contents(&site.data());
    assert_eq!(names(&after), names(&before));
    assert_eq!(after, before);
    assert_eq!(search(&first).await, 200);
    assert_eq!(used_by_four(&first).await, 2);
    let added = first
        .command(&["account", "add", "--name", "new", "--tier", "one"])
        .await;
    assert_eq!(added.code, Some(0), "{}", added.err);
    first.kill().await;
    // The lock went with its process.
    assert_eq!(used_by_four(&site.start().await).await, 2);
}

#[tokio::test]
async fn a_data_dir_that_is_no_folder_is_named() {
    let site = Site::new();
    std::fs::write(site.data(), "a file").expect("a file");
    let data = site.data();
    site.assert_refused(&["data_dir", "it is no folder", &data.to_string_lossy()])
        .await;
    assert_eq!(std::fs::read(site.data()).expect("it is there"), b"a file");
}

#[tokio::test]
async fn a_segment_of_a_newer_format_is_named_and_left_alone() {
    let site = Site::new();
    let program = site.start().await;
    assert_eq!(search(&program).await, 200);
    program.kill().await;
    let path = first_segment(&site);
    let mut bytes = std::fs::read(&path).expect("a segment");
    bytes[12..16].copy_from_slice(&7_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..HEADER_USED_BYTES]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).expect("a file");
    let before = contents(&site.journal());
    let name = path.to_string_lossy().into_owned();
    site.assert_refused(&[&name, "newer", "version 7"]).await;
    assert_eq!(contents(&site.journal()), before);
}

#[tokio::test]
async fn a_damaged_record_is_reported_and_the_others_count() {
    let site = Site::new();
    let program = site.start().await;
    for _ in 0..9 {
        assert_eq!(search(&program).await, 200);
    }
    program.kill().await;
    let path = first_segment(&site);
    let mut bytes = std::fs::read(&path).expect("a segment");
    // The first record is the tier's name, then come nine.
    bytes[HEADER_BYTES + 5 * RECORD_BYTES + 30] ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let program = site.start().await;
    assert_eq!(used_by_four(&program).await, 8);
    assert_eq!(search(&program).await, 200);
    let log = program.kill().await;
    let told = "records in the journal can't be read any more";
    assert!(
        log.lines()
            .any(|line| line.contains(r#""level":"ERROR""#) && line.contains(told)),
        "{log}"
    );
    // It is as much the next time.
    assert_eq!(used_by_four(&site.start().await).await, 9);
}

#[tokio::test]
async fn damaged_accounts_and_a_damaged_key_are_named() {
    let site = Site::new();
    site.start().await.kill().await;
    for (name, damage) in [
        ("accounts.redb", &[b'?'; 4_096][..]),
        ("network.key", b"no key"),
        ("admin.token", b"short"),
    ] {
        let path = site.data().join(name);
        let whole = std::fs::read(&path).expect("a file");
        let mut damaged = whole.clone();
        match damage.len() < whole.len() {
            true => damaged[..damage.len()].copy_from_slice(damage),
            false => damaged = damage.to_vec(),
        }
        if name != "accounts.redb" {
            damaged.truncate(damage.len());
        }
        std::fs::write(&path, &damaged).expect("a file");
        site.assert_refused(&[&path.to_string_lossy()]).await;
        assert_eq!(
            std::fs::read(&path).expect("it is there"),
            damaged,
            "{name} is left alone"
        );
        std::fs::write(&path, whole).expect("a file");
    }
    site.start().await;
}

/// Gone when it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[tokio::test]
async fn a_folder_that_is_read_only_is_named() {
    let site = Site::new();
    let program = site.start().await;
    assert_eq!(search(&program).await, 200);
    program.kill().await;
    let data = site.data();
    let name = data.to_string_lossy().into_owned();
    if !mount(&["--bind", &name], &data) {
        println!("SKIPPED, since it may not mount: a read-only folder");
        return;
    }
    let mounted = Mounted(data.clone());
    assert!(
        mount(&["-o", "remount,bind,ro"], &data),
        "what is mounted can be read-only"
    );
    let before = contents(&data);
    site.assert_refused(&[&name, "read-only"]).await;
    assert_eq!(contents(&data), before);
    drop(mounted);
    assert_eq!(used_by_four(&site.start().await).await, 1);
}

/// New or used, on a full disk it does not open, and loses nothing by the trying.
#[tokio::test]
async fn a_disk_that_is_full_at_start_is_named() {
    let site = Site::new();
    let data = site.data();
    let Some(disk) = SmallDisk::mount(&data, "a disk that is full at start") else {
        return;
    };
    let full = ["the disk is full", &data.to_string_lossy()];
    disk.fill();
    site.assert_refused(&full).await;
    disk.clear();
    let program = site.start().await;
    for _ in 0..3 {
        assert_eq!(search(&program).await, 200);
    }
    program.kill().await;
    disk.fill();
    for _ in 0..3 {
        site.assert_refused(&full).await;
    }
    disk.clear();
    let program = site.start().await;
    assert_eq!(used_by_four(&program).await, 3);
    assert_eq!(search(&program).await, 200);
    assert_eq!(get(program.address, "/image/1").await.status(), 200);
    let log = program.kill().await;
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}
