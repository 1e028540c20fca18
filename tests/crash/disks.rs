//! A disk that fails while the proxy runs: metered requests are refused and never served uncounted, all else goes on, and
//! service resumes by itself (rules §6, committing; §8, `journal_unavailable`).
//!
//! A disk fails in two ways here. The limit on file sizes (`RLIMIT_FSIZE`) can be lowered for a running process, by
//! anybody, and a write that passes it is cut short in the middle of a record. A small disk of its own can be full, if the test
//! may mount one.

use std::path::Path;
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::task::JoinSet;

use super::let_pass;
use super::load::{callers, key, used, yaml};
use crate::support::dice::Dice;
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Client, UpstreamServer, get, metric_sum, soon};

/// Bytes of a frame of the write-ahead log: a page and its header.
const FRAME_BYTES: u64 = 4_096 + 24;
/// A short `commit_patience`.
const IMPATIENT: &str = "commit_patience: 300ms";

/// Limits the length of files; `None` lifts the limit.
fn limit_files(program: &Program, bytes: Option<u64>) {
    let id = Pid::from_raw(program.id() as i32).expect("it runs");
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(id), Resource::Fsize, limit).expect("the process is ours");
}

/// A search by the account `four`: its status, and its reason if it was refused.
async fn search(program: &Program, query: &str) -> (u16, String) {
    let mut client = Client::connect(program.address).await;
    let key = format!("x-api-key: {}\r\nconnection: close\r\n", key("four"));
    let answer = client.ask("GET", &format!("/search?{query}"), &key).await;
    match answer.status() {
        200 => (200, String::new()),
        status => {
            assert!(answer.get("retry-after").is_some(), "{:?}", answer.head);
            (status, answer.reason())
        }
    }
}

fn unavailable() -> (u16, String) {
    (503, "journal_unavailable".to_owned())
}

/// Units that the account `four` has used, from `/me`. It holds none.
async fn used_by_four(program: &Program) -> u64 {
    let four = callers("")
        .into_iter()
        .filter(|caller| caller.name == "four")
        .collect::<Vec<_>>();
    let used = used(program.address, &four).await;
    assert_eq!(used[0].rolling, used[0].month);
    used[0].rolling
}

/// The metric's value.
async fn is_available(program: &Program) -> bool {
    let page = get(program.admin, "/metrics").await.text();
    page.lines().any(|line| line == "tiergate_database_available 1")
}

/// Bytes of the program's write-ahead log.
fn log_bytes(folder: &Folder) -> u64 {
    let log = folder.path().join("data/tiergate.db-wal");
    std::fs::metadata(log).map_or(0, |found| found.len())
}

/// Searches until one is answered.
async fn until_it_resumes(program: &Program) {
    soon("service resumes", async {
        while search(program, "length=2").await.0 != 200 {
            let_pass(20).await;
        }
    })
    .await;
    assert!(is_available(program).await);
}

/// While it can't write: metered requests are refused at once, without asking a server; all else works.
async fn assert_shut_for_searches(program: &Program, server: &FastServer, used: u64) {
    assert!(!is_available(program).await);
    let asked = server.requests();
    for query in ["length=2", "length=100000&chunked"] {
        assert_eq!(search(program, query).await, unavailable());
    }
    assert_eq!(server.requests(), asked, "no server works for nothing");
    assert_eq!(get(program.address, "/image/1?length=9").await.status(), 200);
    assert_eq!(used_by_four(program).await, used);
    let refused = metric_sum(program.admin, "tiergate_refusals_total", "\"journal_unavailable\"").await;
    assert!(refused >= 2.0, "{refused}");
}

/// Killed and restarted, it has the same debits.
async fn assert_kept(program: Program, folder: &Arc<Folder>, yaml: &str, used: u64) {
    let log = program.kill().await;
    assert!(!log.contains("panicked"), "{log}");
    let again = Program::start_in(folder, yaml).await;
    assert_eq!(used_by_four(&again).await, used, "after a restart");
    let log = again.kill().await;
    assert!(
        !log.contains(r#""level":"ERROR""#),
        "a failed write is no damage: {log}"
    );
}

#[tokio::test]
async fn no_free_answers_while_the_disk_fails() {
    let server = FastServer::start();
    let folder = Arc::new(Folder::new());
    let yaml = yaml(server.address, IMPATIENT);
    let program = Program::start_in(&folder, &yaml).await;
    let mut served = 0;
    // Nothing can be written, a part of a frame's header, and all of a frame but its last byte.
    for room in [None, Some(20), Some(FRAME_BYTES - 1)] {
        for _ in 0..3 {
            assert_eq!(search(&program, "length=2").await.0, 200);
            served += 1;
        }
        limit_files(&program, Some(room.map_or(0, |room| log_bytes(&folder) + room)));
        // The server has answered, but the answer may not be sent.
        assert_eq!(search(&program, "length=2").await, unavailable());
        assert_shut_for_searches(&program, &server, served).await;
        limit_files(&program, None);
        until_it_resumes(&program).await;
        served += 1;
        assert_eq!(used_by_four(&program).await, served);
    }
    let log = program.log();
    assert!(
        log.contains("the database can't be written: rejecting metered requests until it can"),
        "{log}"
    );
    assert_kept(program, &folder, &yaml, served).await;
}

/// The head has been sent, so cutting the response off is the only way to fail it.
///
/// Regression: the metric stayed at 0 after such a failure until the next search: what had failed was given up when the disk
/// well again, and it was shown as late though nobody waited for it any more.
#[tokio::test]
async fn a_response_in_progress_when_the_disk_fails_is_cut_off() {
    let server = UpstreamServer::start().await;
    let folder = Arc::new(Folder::new());
    let yaml = yaml(server.address, IMPATIENT);
    let program = Program::start_in(&folder, &yaml).await;
    for head in ["content-length: 6", "transfer-encoding: chunked"] {
        let mut client = Client::connect(program.address).await;
        let key = format!("x-api-key: {}\r\n", key("four"));
        client.request("GET", "/search", &key).await;
        let mut arrived = server.request().await;
        arrived
            .write(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n\r\n").as_bytes())
            .await;
        let (first, last) = match head.starts_with("content") {
            true => ("abc", "def"),
            false => ("3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"),
        };
        arrived.write(first.as_bytes()).await;
        client
            .until_ends_with(if head.starts_with("content") { "abc" } else { "abc\r\n" })
            .await;
        limit_files(&program, Some(0));
        arrived.write(last.as_bytes()).await;
        let mut rest = Vec::new();
        while let Ok(some) = client.read_some().await
            && !some.is_empty()
        {
            rest.extend(some);
        }
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(!rest.ends_with("0\r\n\r\n") && rest != "def", "{head}: {rest:?}");
        assert_eq!(used_by_four(&program).await, 0, "{head}");
        limit_files(&program, None);
        soon("it can write again", async {
            while !is_available(&program).await {
                let_pass(20).await;
            }
        })
        .await;
    }
    assert_kept(program, &folder, &yaml, 0).await;
}

/// If the disk recovers within `commit_patience`, the request is answered and debited once.
#[tokio::test]
async fn a_short_failure_is_waited_out() {
    let server = FastServer::start();
    let folder = Arc::new(Folder::new());
    let yaml = yaml(server.address, "commit_patience: 15s");
    let program = Arc::new(Program::start_in(&folder, &yaml).await);
    limit_files(&program, Some(log_bytes(&folder) + 30));
    let mut searches = JoinSet::new();
    for _ in 0..3 {
        let program = Arc::clone(&program);
        searches.spawn(async move { search(&program, "length=2").await });
    }
    soon("the disk fails", async {
        while is_available(&program).await {
            let_pass(5).await;
        }
    })
    .await;
    assert_eq!(get(program.address, "/image/1").await.status(), 200);
    limit_files(&program, None);
    let mut served = 0;
    while let Some(answer) = searches.join_next().await {
        match answer.expect("a client is content") {
            (200, _) => served += 1,
            // It came after the failure was known.
            refused => assert_eq!(refused, unavailable()),
        }
    }
    assert!(served >= 1, "the one that met the failure waited");
    assert_eq!(used_by_four(&program).await, served);
    let program = Arc::into_inner(program).expect("the searches have ended");
    assert_kept(program, &folder, &yaml, served).await;
}

/// Under load the disk fails and recovers at any moment; then the program is killed. What was answered is debited, once.
#[tokio::test]
async fn repeated_disk_failures_lose_and_invent_nothing() {
    let server = FastServer::start();
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    let folder = Arc::new(Folder::new());
    let yaml = yaml(server.address, IMPATIENT);
    let program = Arc::new(Program::start_in(&folder, &yaml).await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (program, stopped) = (Arc::clone(&program), stopped.clone());
        clients.spawn(async move {
            let (mut served, mut refused) = (0, 0);
            while !*stopped.borrow() {
                match search(&program, "length=300").await {
                    (200, _) => served += 1,
                    answer => {
                        assert_eq!(answer, unavailable());
                        refused += 1;
                    }
                }
            }
            (served, refused)
        });
    }
    for _ in 0..4 {
        let_pass(50 + dice.below(100)).await;
        limit_files(&program, Some(dice.below(log_bytes(&folder) + 3 * FRAME_BYTES)));
        let_pass(100 + dice.below(400)).await;
        limit_files(&program, None);
        soon("it can write again", async {
            while !is_available(&program).await {
                let_pass(10).await;
            }
        })
        .await;
    }
    stop.send(true).expect("the clients listen");
    let (mut served, mut refused) = (0, 0);
    while let Some(counts) = clients.join_next().await {
        let (of_one, refused_one) = counts.expect("a client is content");
        served += of_one;
        refused += refused_one;
    }
    println!("TIERGATE_SEED={seed}: {served} served, {refused} refused");
    assert_eq!(used_by_four(&program).await, served, "TIERGATE_SEED={seed}");
    // Withdrawals are lost with it.
    assert_eq!(search(&program, "length=2").await.0, 200);
    let program = Arc::into_inner(program).expect("the clients have ended");
    assert_kept(program, &folder, &yaml, served + 1).await;
}

/// A disk of a few megabytes, unmounted when dropped.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts one there, if the system lets a test do so.
    pub fn mount(at: &'a Path, what: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder");
        let options = ["-t", "tmpfs", "-o", "size=8m", "tmpfs"];
        if mount(&options, at) {
            return Some(Self(at));
        }
        println!("SKIPPED, since it may not mount a disk: {what}");
        None
    }

    /// Fills it.
    pub fn fill(&self) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.0.join("filler")).expect("a file");
        while filler.write(&[b'x'; 4_096]).is_ok() {}
    }

    /// Frees the space.
    pub fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        unmount(self.0);
    }
}

/// Whether that could be mounted.
pub fn mount(options: &[&str], at: &Path) -> bool {
    let mut command = std::process::Command::new("mount");
    let status = command
        .args(options)
        .arg(at)
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

pub fn unmount(at: &Path) {
    // At once, even with files open there.
    let _gone = std::process::Command::new("umount").arg("-l").arg(at).status();
}

#[tokio::test]
async fn a_full_disk_refuses_searches_until_space_is_free() {
    let folder = Arc::new(Folder::new());
    let data = folder.path().join("data");
    let Some(disk) = SmallDisk::mount(&data, "a disk that becomes full") else {
        return;
    };
    let server = FastServer::start();
    let yaml = yaml(server.address, IMPATIENT);
    let program = Program::start_in(&folder, &yaml).await;
    disk.fill();
    let mut served = 0;
    let refused = loop {
        match search(&program, "length=2").await {
            (200, _) => served += 1,
            refused => break refused,
        }
        assert!(served < 1_000, "the disk is full");
    };
    assert_eq!(refused, unavailable());
    assert_shut_for_searches(&program, &server, served).await;
    disk.clear();
    until_it_resumes(&program).await;
    served += 1;
    assert_eq!(used_by_four(&program).await, served);
    assert_kept(program, &folder, &yaml, served).await;
}
