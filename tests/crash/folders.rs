//! Unusable data folders: the program says why in one line that names the file, and ends with code 1. Another program that has
//! the folder is not disturbed, and its files stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tiergate::clock::Clock;
use tiergate::policy::time::{Span, Timestamp};

use super::disks::{SmallDisk, mount, unmount};
use super::load::{callers, key, used, yaml};
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Client, get};

/// A way to damage a database.
type Harm<'a> = &'a dyn Fn(&Path);

/// A folder, and an upstream server for the programs in it.
struct Site {
    server: FastServer,
    folder: Arc<Folder>,
}

impl Site {
    fn new() -> Self {
        Self {
            server: FastServer::start(),
            folder: Arc::new(Folder::new()),
        }
    }

    fn yaml(&self) -> String {
        yaml(self.server.address, "")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.data().join("tiergate.db")
    }

    async fn start(&self) -> Program {
        Program::start_in(&self.folder, &self.yaml()).await
    }

    /// Its error when it does not start: one line, without internals.
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

/// Without the database itself, which is still written.
fn small_files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = contents(folder);
    all.retain(|path, _| !path.to_string_lossy().contains("tiergate.db"));
    all
}

#[tokio::test]
async fn a_second_server_leaves_the_firsts_folder_alone() {
    let site = Site::new();
    let first = site.start().await;
    assert_eq!(search(&first).await, 200);
    let before = (names(&contents(&site.data())).len(), small_files(&site.data()));
    let data = site.data();
    site.assert_refused(&["in use by another tiergate", &data.to_string_lossy()])
        .await;
    let after = (names(&contents(&site.data())).len(), small_files(&site.data()));
    assert_eq!(after, before);
    assert_eq!(search(&first).await, 200);
    assert_eq!(used_by_four(&first).await, 2);
    let added = first
        .command(&["account", "add", "--name", "new", "--tier", "one"])
        .await;
    assert_eq!(added.code, Some(0), "{}", added.err);
    first.kill().await;
    // The lock ended with its process.
    assert_eq!(used_by_four(&site.start().await).await, 2);
}

#[tokio::test]
async fn a_data_dir_that_is_not_a_folder_is_named() {
    let site = Site::new();
    std::fs::write(site.data(), "a file").expect("a file");
    let data = site.data();
    site.assert_refused(&["data_dir", "`data_dir` must be a folder", &data.to_string_lossy()])
        .await;
    assert_eq!(std::fs::read(site.data()).expect("it is there"), b"a file");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_named_and_left_alone() {
    let site = Site::new();
    let program = site.start().await;
    assert_eq!(search(&program).await, 200);
    program.kill().await;
    let connection = rusqlite::Connection::open(site.database()).expect("a database");
    let raised = connection.pragma_update(None, "user_version", 7);
    raised.expect("it can be written");
    // As a server that runs leaves it when it is killed.
    let keeps_log = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keeps_log, true).expect("a setting");
    drop(connection);
    let before = std::fs::read(site.database()).expect("it is there");
    let name = site.database().to_string_lossy().into_owned();
    site.assert_refused(&[&name, "newer", "version 7"]).await;
    assert_eq!(std::fs::read(site.database()).expect("it is there"), before);
}

/// Regression: it started with an empty table of accounts, and gave their ids, and thereby their usage, to new ones.
#[tokio::test]
async fn a_lost_or_damaged_database_is_not_silently_replaced() {
    let lost = |file: &Path| std::fs::remove_file(file).expect("it is there");
    let empty = |file: &Path| std::fs::write(file, "").expect("a file");
    let short = |file: &Path| {
        let bytes = std::fs::read(file).expect("it is there");
        std::fs::write(file, &bytes[..bytes.len() / 2]).expect("a file");
    };
    let torn = |file: &Path| {
        let mut bytes = std::fs::read(file).expect("it is there");
        bytes[4_096..].fill(0);
        std::fs::write(file, bytes).expect("a file");
    };
    let foreign = |file: &Path| {
        std::fs::remove_file(file).expect("it is there");
        let theirs = rusqlite::Connection::open(file).expect("a database");
        theirs.execute_batch("CREATE TABLE theirs (a)").expect("plain SQL");
    };
    let cases: [(&str, Harm<'_>); 5] = [
        ("missing", &lost),
        ("damaged", &empty),
        ("damaged", &short),
        ("damaged", &torn),
        ("another program's database", &foreign),
    ];
    for (word, harm) in cases {
        let site = Site::new();
        let mut program = site.start().await;
        assert_eq!(search(&program).await, 200);
        program.signal("TERM").await;
        assert_eq!(program.exit_code().await, Some(0));
        harm(&site.database());
        let before = std::fs::read(site.database()).unwrap_or_default();
        site.assert_refused(&[word, "--new-data"]).await;
        assert_eq!(std::fs::read(site.database()).unwrap_or_default(), before, "{word}");
        let config = site.folder.path().join("tiers.yaml");
        let arguments = ["--config", config.to_str().expect("text"), "--new-data"];
        let anew = Program::begin_with(Arc::clone(&site.folder), &arguments, "info")
            .opened()
            .await;
        let anew = anew.unwrap_or_else(|said| panic!("{word}: {}", said.err));
        assert_eq!(used_by_four(&anew).await, 0);
        let kept = contents(&site.data());
        let mut aside = kept
            .iter()
            .filter(|(path, _)| path.to_string_lossy().contains("/before-"));
        assert!(aside.any(|(_, bytes)| *bytes == before || word == "missing"), "{word}");
    }
}

/// Regression: it went on and answered twenty searches, which were lost.
#[tokio::test]
async fn a_folder_removed_at_runtime_is_noticed() {
    for only_database in [true, false] {
        let site = Site::new();
        let program = site.start().await;
        assert_eq!(search(&program).await, 200);
        match only_database {
            true => std::fs::remove_file(site.database()).expect("it is there"),
            false => std::fs::remove_dir_all(site.data()).expect("it is there"),
        }
        // It checks four times a second, and logs it.
        let clock = Clock::start();
        let available = async || {
            let page = String::from_utf8(get(program.admin, "/metrics").await.body).expect("metrics are text");
            page.lines().any(|line| line == "tiergate_database_available 1")
        };
        while available().await {
            assert!(clock.now() < Timestamp::ZERO + Span::from_secs(2));
        }
        assert_eq!(search(&program).await, 503);
        let log = program.kill().await;
        assert!(log.contains("is gone") && log.contains(r#""level":"ERROR""#), "{log}");
    }
}

#[tokio::test]
async fn damaged_keys_and_tokens_are_named() {
    let site = Site::new();
    site.start().await.kill().await;
    for (name, damage) in [("network.key", &b"no key"[..]), ("admin.token", b"short")] {
        let path = site.data().join(name);
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, damage).expect("a file");
        site.assert_refused(&[&path.to_string_lossy()]).await;
        assert_eq!(
            std::fs::read(&path).expect("it is there"),
            damage,
            "{name} is left alone"
        );
        std::fs::write(&path, whole).expect("a file");
    }
    site.start().await;
}

/// Removed when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[tokio::test]
async fn a_read_only_folder_is_named() {
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

/// A new folder can't be created on a full disk, which is reported. A used one opens as long as it needs no space: metered
/// requests are refused until there is some, and nothing is lost.
#[tokio::test]
async fn a_disk_full_at_start_loses_nothing() {
    let site = Site::new();
    let data = site.data();
    let Some(disk) = SmallDisk::mount(&data, "a disk that is full at start") else {
        return;
    };
    disk.fill();
    site.assert_refused(&["the disk is full", &data.to_string_lossy()])
        .await;
    disk.clear();
    let program = site.start().await;
    for _ in 0..3 {
        assert_eq!(search(&program).await, 200);
    }
    program.kill().await;
    disk.fill();
    let mut served = 3;
    for _ in 0..2 {
        let full = site.start().await;
        // There may be space in the present log.
        while search(&full).await == 200 {
            served += 1;
            assert!(served < 100, "the disk is full");
        }
        assert_eq!(get(full.address, "/image/1").await.status(), 200);
        let log = full.kill().await;
        assert!(log.contains("the database can't be written"), "{log}");
    }
    disk.clear();
    let program = site.start().await;
    assert_eq!(used_by_four(&program).await, served);
    assert_eq!(search(&program).await, 200);
    let log = program.kill().await;
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}
