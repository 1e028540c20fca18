//! The faults of `tests/faultfs` are real: a small program that knows nothing of them meets each one, at the right operation.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "support"]
mod support {
    pub mod faultfs;
    pub mod folder;
    pub mod power;
}

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use support::faultfs::{Failure, Fault, FaultFs, FileKind, Keep, Mode, Operation, build};
use support::folder::Folder;

const EIO: &str = "error 5";
const ENOSPC: &str = "error 28";

/// The example program, with its file, which is called as the database is.
struct Site {
    faults: FaultFs,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: Folder,
}

/// How a line was answered.
struct Answer {
    what: String,
    took: Duration,
}

impl Site {
    fn new() -> Self {
        Self::with(FaultFs::new)
    }

    fn with(faults: impl FnOnce(&Folder) -> FaultFs) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| build(&["--example", "append"]).join("examples/append"));
        let folder = Folder::new();
        let faults = faults(&folder);
        let mut child = Command::new(program)
            .arg(folder.path().join("tiergate.db"))
            .current_dir(folder.path())
            .envs(faults.env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self {
            faults,
            child,
            input,
            output,
            folder,
        }
    }

    fn begin(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it runs");
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).expect("it answers by text");
        (length > 0).then(|| line.trim_end().to_owned())
    }

    fn answer(&mut self) -> Answer {
        let line = self.line().expect("it runs");
        let (what, ms) = line.rsplit_once(' ').expect("it says how long that took");
        Answer {
            what: what.to_owned(),
            took: Duration::from_millis(ms.parse().expect("a number")),
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.begin(line);
        self.answer().what
    }

    /// Bytes of the file.
    fn length(&self) -> u64 {
        self.length_of("tiergate.db")
    }

    fn length_of(&self, name: &str) -> u64 {
        let file = std::fs::metadata(self.folder.path().join(name));
        file.map_or(0, |file| file.len())
    }

    /// What its file holds, a letter for each run of the same bytes, once the power is gone.
    fn after_power(&mut self, keep: impl FnMut() -> bool) -> Vec<(char, usize)> {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
        self.faults.lose_power(keep);
        let bytes = std::fs::read(self.folder.path().join("tiergate.db")).expect("a file");
        let runs = bytes.chunk_by(|one, next| one == next);
        runs.map(|run| (char::from(run[0]), run.len())).collect()
    }

    /// How it ended by that line.
    fn die(&mut self, line: &str) -> ExitStatus {
        self.begin(line);
        assert_eq!(self.line(), None, "{line}");
        self.child.wait().expect("it is ours")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn now() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "the other program asks the system, too")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970")
}

#[allow(clippy::disallowed_methods, reason = "what hangs tells nobody")]
fn let_pass(ms: u64) -> Duration {
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(ms));
    begun.elapsed()
}

#[test]
fn only_the_kth_write_fails_and_writes_nothing() {
    let mut site = Site::new();
    for (failure, error) in [(Failure::Io, EIO), (Failure::NoSpace, ENOSPC)] {
        let before = site.length();
        site.faults.arm(Fault::new(Operation::Write, 3, Mode::Fail(failure)));
        let answers = [1, 2, 3, 4].map(|_| site.ask("write 10"));
        assert_eq!(answers, ["ok", "ok", error, "ok"]);
        assert_eq!(site.length() - before, 30);
        assert_eq!(site.faults.fired(), 1);
    }
    assert_eq!(site.faults.loaded(), 1);
}

#[test]
fn all_writes_from_the_kth_fail_until_cleared() {
    let mut site = Site::new();
    let full = Fault::new(Operation::Write, 2, Mode::Fail(Failure::NoSpace));
    site.faults.arm(full.and_all_after());
    let answers = [1, 2, 3].map(|_| site.ask("write 10"));
    assert_eq!(answers, ["ok", ENOSPC, ENOSPC]);
    assert_eq!(site.ask("fsync"), "ok");
    site.faults.clear();
    assert_eq!(site.ask("write 10"), "ok");
    assert_eq!(site.length(), 20);
}

#[test]
fn a_torn_write_leaves_its_beginning() {
    let mut site = Site::new();
    let other = site.folder.path().join("other").display().to_string();
    let tear = |keep| Fault::new(Operation::Write, 1, Mode::Tear(keep));
    let mut length = 0;
    for (keep, line, kept) in [
        (Keep::Half, "write 100", 50),
        (Keep::Bytes(10), "write 100", 10),
        (Keep::Bytes(0), "write 100", 0),
        (Keep::Bytes(500), "write 100", 99),
        (Keep::Half, "writev 40 40", 40),
        (Keep::Bytes(60), "writev 40 40", 60),
    ] {
        site.faults.arm(tear(keep));
        assert_eq!(site.ask(line), EIO);
        length += kept;
        assert_eq!(site.length(), length, "{line}, {keep:?}");
    }
    site.faults.arm(tear(Keep::Half));
    assert_eq!(site.ask(&format!("pwrite {other} 100 1000")), EIO);
    assert_eq!(site.length_of("other"), 1_050);
}

#[test]
fn a_sync_fails_once_and_the_next_one_succeeds() {
    let mut site = Site::new();
    site.faults.arm(Fault::new(Operation::Sync, 2, Mode::Fail(Failure::Io)));
    let answers = ["fsync", "write 1", "fdatasync", "fdatasync", "fsync"].map(|line| site.ask(line));
    assert_eq!(answers, ["ok", "ok", EIO, "ok", "ok"]);
    let folder = site.folder.path().display().to_string();
    site.faults.arm(Fault::new(Operation::Sync, 1, Mode::Tear(Keep::Half)));
    assert_eq!(site.ask(&format!("sync-dir {folder}")), EIO);
}

#[test]
fn truncate_rename_and_unlink_fail_too() {
    let mut site = Site::new();
    let new = site.folder.path().join("new").display().to_string();
    for (operation, line) in [
        (Operation::Truncate, "truncate 7".to_owned()),
        (Operation::Rename, format!("rename {new}")),
        (Operation::Unlink, format!("remove {new}")),
        // By a relative path.
        (Operation::Unlink, "remove other".to_owned()),
    ] {
        assert_eq!(site.ask("pwrite other 1 0"), "ok");
        site.faults.arm(Fault::new(operation, 1, Mode::Fail(Failure::Io)));
        assert_eq!(site.ask(&line), EIO, "{line}");
        site.faults.clear();
        assert_eq!(site.ask(&line), "ok", "{line}");
    }
}

#[test]
fn a_delayed_write_is_done_late() {
    let mut site = Site::new();
    let late = Duration::from_millis(100);
    site.faults.arm(Fault::new(Operation::Write, 2, Mode::Delay(late)));
    for delayed in [false, true] {
        site.begin("write 10");
        let answer = site.answer();
        assert_eq!(answer.what, "ok");
        assert!(!delayed || answer.took >= late, "{:?}", answer.took);
    }
    assert_eq!(site.length(), 20);
}

#[test]
fn a_hanging_write_goes_on_when_released() {
    let mut site = Site::new();
    for (line, operation) in [("write 10", Operation::Write), ("fsync", Operation::Sync)] {
        for by_clearing in [false, true] {
            site.faults.arm(Fault::new(operation, 1, Mode::Hang));
            let before = site.length();
            site.begin(line);
            while site.faults.fired() == 0 {
                let_pass(1);
            }
            let waited = let_pass(20);
            assert_eq!(site.length(), before);
            match by_clearing {
                true => site.faults.clear(),
                false => site.faults.release(),
            }
            let answer = site.answer();
            assert_eq!(answer.what, "ok");
            // It is told in whole milliseconds.
            assert!(answer.took + Duration::from_millis(1) > waited, "{:?}", answer.took);
        }
    }
    assert_eq!(site.length(), 20);
}

#[test]
fn the_process_is_killed_before_during_or_after_a_write() {
    for (mode, length) in [
        (Mode::KillBefore, 10),
        (Mode::TearAndKill(Keep::Half), 15),
        (Mode::KillAfter, 20),
    ] {
        let mut site = Site::new();
        site.faults.arm(Fault::new(Operation::Write, 2, mode));
        assert_eq!(site.ask("write 10"), "ok");
        let status = site.die("write 10");
        assert_eq!(status.signal(), Some(9), "{mode:?}");
        assert_eq!(site.length(), length, "{mode:?}");
    }
}

#[test]
fn operations_of_four_threads_are_counted_and_one_fails() {
    let mut site = Site::new();
    let (threads, each) = (4, 500);
    site.faults
        .arm(Fault::new(Operation::Write, 1_234, Mode::Fail(Failure::Io)));
    assert_eq!(site.ask(&format!("threads {threads} {each}")), "ok");
    let all = threads * each;
    assert_eq!(site.faults.seen(Operation::Write), all);
    assert_eq!(site.faults.seen(Operation::Sync), all);
    assert_eq!(site.faults.fired(), 1);
    assert_eq!(site.length(), all - 1, "each writes a byte");
    site.faults.reset();
    assert_eq!(site.faults.seen(Operation::Any), 0);
}

#[test]
fn files_are_distinguished_and_others_left_alone() {
    let mut site = Site::new();
    let elsewhere = Folder::new();
    let outside = elsewhere.path().join("tiergate.db").display().to_string();
    let fail = Fault::new(Operation::Any, 1, Mode::Fail(Failure::Io)).and_all_after();
    site.faults.arm(fail.of(FileKind::Wal));
    assert_eq!(site.ask("pwrite tiergate.db-wal 1 0"), EIO);
    assert_eq!(site.ask("pwrite other 1 0"), "ok");
    assert_eq!(site.ask("write 1"), "ok");
    site.faults.arm(fail.of(FileKind::Database));
    assert_eq!(site.ask("write 1"), EIO);
    assert_eq!(site.ask("write-dup 1"), EIO);
    assert_eq!(site.ask("pwrite tiergate.db-wal 1 0"), "ok");
    site.faults.arm(fail);
    assert_eq!(site.ask("pwrite tiergate.db-shm 1 0"), "ok");
    assert_eq!(site.ask(&format!("pwrite {outside} 1 0")), "ok");
    assert_eq!(site.ask("read"), "ok");
    let seen =
        [FileKind::Database, FileKind::Wal, FileKind::Other].map(|file| site.faults.seen_of(Operation::Write, file));
    assert_eq!(seen, [3, 2, 1]);
}

#[test]
fn unlinked_files_keep_their_kind_and_copies_are_seen() {
    let mut site = Site::new();
    let database = site.folder.path().join("tiergate.db").display().to_string();
    let fail = Fault::new(Operation::Write, 1, Mode::Fail(Failure::Io)).and_all_after();
    assert_eq!(site.ask("write 100"), "ok");
    site.faults.arm(fail.of(FileKind::Other));
    assert_eq!(site.ask("copy copied"), EIO);
    site.faults.arm(fail.of(FileKind::Database));
    assert_eq!(site.ask(&format!("remove {database}")), "ok");
    assert_eq!(site.ask("write 1"), EIO);
}

#[test]
fn the_wall_clock_steps_and_the_monotonic_one_does_not() {
    let mut site = Site::new();
    let centuries = 300 * 365 * 86_400_000_i64;
    let mut offset = 0;
    for step in [0, 3_600_000, -7_200_001, centuries, -centuries] {
        site.faults.step_clock(step);
        offset += step;
        let before = now();
        site.begin("clock");
        let told = site.line().expect("it tells the time");
        let answer = site.answer();
        let told: i64 = told.strip_prefix("now ").expect("the time").parse().expect("a number");
        let after = now();
        let [before, after] = [before, after].map(|now| now.as_millis() as i64 + offset);
        assert!(
            (before..=after).contains(&told),
            "{told} is not from {before} to {after}"
        );
        assert!(answer.took < Duration::from_secs(60), "{:?}", answer.took);
    }
}

/// Does these lines, all of which succeed, with a history.
fn with_history(lines: &[&str]) -> Site {
    let mut site = Site::with(FaultFs::with_history);
    for line in lines {
        assert_eq!(site.ask(line), "ok", "{line}");
    }
    site
}

#[test]
fn a_power_loss_drops_unsynced_writes() {
    for sync in ["fsync", "fdatasync"] {
        let lines = ["write 700", sync, "write 400"];
        assert_eq!(with_history(&lines).after_power(|| false), [('x', 700)]);
        assert_eq!(with_history(&lines).after_power(|| true), [('x', 1_100)]);
    }
    assert_eq!(with_history(&["write 700"]).after_power(|| false), []);
}

#[test]
fn a_power_loss_restores_overwritten_and_truncated_bytes() {
    let overwritten = ["write 2000", "fsync", "pwrite tiergate.db 600 900"];
    assert_eq!(with_history(&overwritten).after_power(|| false), [('x', 2_000)]);
    let cut = ["write 2000", "fsync", "truncate 100"];
    assert_eq!(with_history(&cut).after_power(|| false), [('x', 2_000)]);
    let cut_and_synced = ["write 2000", "truncate 100", "fsync", "write-dup 9"];
    assert_eq!(with_history(&cut_and_synced).after_power(|| false), [('x', 100)]);
}

#[test]
fn a_power_loss_may_leave_single_sectors() {
    let mut every_other = [true, false].into_iter().cycle();
    let mut site = with_history(&["write 2000", "fsync", "pwrite tiergate.db 1200 300"]);
    let left = site.after_power(|| every_other.next().expect("no end"));
    // From 300 to 512, not to 1024, and to 1500.
    assert_eq!(left, [('x', 300), ('p', 212), ('x', 512), ('p', 476), ('x', 500)]);
}

#[test]
fn a_failed_sync_makes_nothing_durable_nor_does_the_next() {
    let mut site = with_history(&["write 500"]);
    site.faults.arm(Fault::new(Operation::Sync, 1, Mode::Fail(Failure::Io)));
    let answers = ["fsync", "fsync", "write-dup 70", "fsync"].map(|line| site.ask(line));
    assert_eq!(answers, [EIO, "ok", "ok", "ok"]);
    assert_eq!(site.after_power(|| false), [('\0', 500), ('d', 70)]);
}

#[test]
fn a_power_loss_within_a_write_or_after_a_sync_is_recorded() {
    let mut site = with_history(&["write 500", "fsync"]);
    site.faults
        .arm(Fault::new(Operation::Write, 1, Mode::TearAndKill(Keep::Half)));
    site.die("write 500");
    assert_eq!(site.after_power(|| true), [('x', 750)]);
    for (mode, left) in [(Mode::KillBefore, vec![]), (Mode::KillAfter, vec![('x', 500)])] {
        let mut site = with_history(&["write 500"]);
        site.faults.arm(Fault::new(Operation::Sync, 1, mode));
        site.die("fsync");
        assert_eq!(site.after_power(|| false), left);
    }
}

/// Runs these statements under faults, if there is an `sqlite3`.
fn sqlite(folder: &Folder, faults: &FaultFs, sql: &str) -> Option<Output> {
    let mut command = Command::new("sqlite3");
    command.arg("tiergate.db").arg(sql).current_dir(folder.path());
    let output = command.envs(faults.env()).output().ok();
    if output.is_none() {
        println!("SKIPPED, since there is no sqlite3: SQLite's writes and syncs");
    }
    output
}

const MAKE: &str = "PRAGMA journal_mode=WAL; CREATE TABLE t (x)";

/// SQLite writes and syncs through intercepted functions, bundled or not.
#[test]
fn faults_reach_sqlites_database_and_wal() {
    let folder = Folder::new();
    let faults = FaultFs::new(&folder);
    if sqlite(&folder, &faults, MAKE).is_none() {
        return;
    }
    for (operation, file) in [
        (Operation::Write, FileKind::Wal),
        (Operation::Sync, FileKind::Wal),
        (Operation::Write, FileKind::Database),
        (Operation::Sync, FileKind::Database),
    ] {
        faults.arm(Fault::new(operation, 1, Mode::Fail(Failure::Io)).of(file));
        let insert = "PRAGMA synchronous=FULL; INSERT INTO t VALUES (1)";
        let failed = sqlite(&folder, &faults, insert).expect("it has run before");
        assert_eq!(faults.fired(), 1, "{operation:?} of {file:?}");
        // A checkpoint at the end may fail: the row is in the WAL.
        let may_succeed = file == FileKind::Database;
        assert!(
            may_succeed || !failed.status.success(),
            "{operation:?} of {file:?}: {failed:?}"
        );
        faults.clear();
        let checked = sqlite(&folder, &faults, "PRAGMA integrity_check").expect("it has run before");
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "ok\n");
    }
}

#[test]
fn sqlite_keeps_a_synced_commit_and_loses_an_unsynced_one() {
    for (synchronous, rows) in [("FULL", "1\n"), ("OFF", "0\n")] {
        let folder = Folder::new();
        let faults = FaultFs::with_history(&folder);
        if sqlite(&folder, &faults, MAKE).is_none() {
            return;
        }
        // The WAL goes when all is in the database.
        faults.arm(Fault::new(Operation::Unlink, 1, Mode::KillBefore).of(FileKind::Wal));
        let insert = format!("PRAGMA synchronous={synchronous}; INSERT INTO t VALUES (1)");
        let killed = sqlite(&folder, &faults, &insert).expect("it has run before");
        assert_eq!(killed.status.signal(), Some(9));
        faults.clear();
        faults.lose_power(|| false);
        let counted = sqlite(&folder, &faults, "SELECT count(*) FROM t").expect("it has run before");
        assert_eq!(String::from_utf8_lossy(&counted.stdout), rows, "{synchronous}");
    }
}
