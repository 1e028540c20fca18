//! A short history on a file system whose k-th operation fails, for every k and every way to fail: what the client, the log and
//! the restart show. A start, three searches, an account added, a stop; then a start without faults.
//!
//! In some of them the power goes, too, and takes what was not synced. Whatever fails, the restart opens; an answer that was
//! received whole is debited, once; an account that was added is there; and what is refused is refused in words.
//! `TIERGATE_FAULTS=all` runs every k and prints the table that docs/decisions has, `TIERGATE_FAULTS="write 5"` that one in
//! every way; without, each way to fail meets one k, drawn by the seed.

mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::let_pass;
use super::load::{callers, key, used, yaml};
use crate::support::dice::Dice;
use crate::support::fast::FastServer;
use crate::support::faultfs::{Failure, Fault, FaultFs, FileKind, Keep, Mode, Operation};
use crate::support::folder::Folder;
use crate::support::program::{Program, Said};
use crate::support::{Client, get, soon};

/// Searches of the history.
const SEARCHES: u64 = 3;
/// Histories that run at once.
const AT_ONCE: usize = 4;
/// How long a request waits for the disk; what hangs, hangs for longer, and what is late comes in time.
const PATIENCE: &str = "commit_patience: 300ms";
const HANGS_MS: u64 = 700;
const PATIENCE_WHEN_LATE: &str = "commit_patience: 15s";
/// No whole answer came, and none will.
const CUT_OFF: &str = "cut off";
const UNAVAILABLE: &str = "503 journal_unavailable";

const OPERATIONS: [Operation; 5] = [
    Operation::Write,
    Operation::Sync,
    Operation::Truncate,
    Operation::Rename,
    Operation::Unlink,
];

/// A way to fail.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Its name in the table.
    name: &'static str,
    mode: Mode,
    /// All that follow fail as well.
    goes_on: bool,
    /// The power goes with the process, or at the end: what of that which was not synced is left.
    power: Option<Left>,
}

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Every sector is left or not, by chance.
    Some,
}

const fn way(name: &'static str, mode: Mode) -> Way {
    Way {
        name,
        mode,
        goes_on: false,
        power: None,
    }
}

const fn dark(name: &'static str, mode: Mode, left: Left) -> Way {
    Way {
        power: Some(left),
        ..way(name, mode)
    }
}

const WAYS: [Way; 14] = [
    way("EIO", Mode::Fail(Failure::Io)),
    Way {
        goes_on: true,
        ..way("EIO from here on", Mode::Fail(Failure::Io))
    },
    way("ENOSPC", Mode::Fail(Failure::NoSpace)),
    way("half written, EIO", Mode::Tear(Keep::Half)),
    way("half written, killed", Mode::TearAndKill(Keep::Half)),
    way("killed before", Mode::KillBefore),
    way("killed after", Mode::KillAfter),
    way("100 ms late", Mode::Delay(Duration::from_millis(100))),
    way("hangs", Mode::Hang),
    dark("power gone before", Mode::KillBefore, Left::Nothing),
    dark("power gone before, some sectors left", Mode::KillBefore, Left::Some),
    dark("power gone after", Mode::KillAfter, Left::Nothing),
    dark("power gone after, some sectors left", Mode::KillAfter, Left::Some),
    dark("EIO, power gone at the end", Mode::Fail(Failure::Io), Left::Nothing),
];

impl Way {
    /// Whether it kills at any time.
    fn kills(&self) -> bool {
        matches!(self.mode, Mode::TearAndKill(_) | Mode::KillBefore | Mode::KillAfter)
    }

    /// Whether that can happen to that operation: only writes are torn.
    fn can_meet(&self, operation: Operation) -> bool {
        operation == Operation::Write || !matches!(self.mode, Mode::Tear(_) | Mode::TearAndKill(_))
    }
}

/// What a history showed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    /// The kind of file that was met.
    file: String,
    start: String,
    /// Statuses, or how it went otherwise, one of each search.
    searches: Vec<String>,
    /// Once the fault is over, if a search had failed: searches that were answered.
    resumed: u64,
    added: String,
    stop: String,
    /// Warnings and errors, each once.
    log: Vec<String>,
    /// Why the restart does not open: it must.
    refuses_again: Option<String>,
    /// Units used after the restart, and whether the account is there.
    used: u64,
    has_account: bool,
}

impl Seen {
    fn nothing() -> Self {
        Self {
            file: "not met".to_owned(),
            start: String::new(),
            searches: Vec::new(),
            resumed: 0,
            added: String::new(),
            stop: String::new(),
            log: Vec::new(),
            refuses_again: None,
            used: 0,
            has_account: false,
        }
    }

    /// Answers that were received whole.
    fn served(&self) -> u64 {
        self.searches.iter().filter(|search| *search == "200").count() as u64 + self.resumed
    }

    /// Whether a search met no running server.
    fn is_gone(&self) -> bool {
        self.searches.last().is_some_and(|search| search == CUT_OFF)
    }

    /// What holds whatever has failed.
    fn assert_kept(&self, way: &Way, what: &str) {
        let may_be = |search: &String| match search.as_str() {
            "200" => true,
            UNAVAILABLE => !matches!(way.mode, Mode::Delay(_)),
            CUT_OFF => way.kills(),
            _ => false,
        };
        assert!(self.searches.iter().all(may_be), "{what}: {self:?}");
        assert_eq!(self.refuses_again, None, "{what}: {self:?}");
        let (served, used) = (self.served(), self.used);
        assert!(
            served <= used && used <= SEARCHES + self.resumed,
            "{what}: {served} served, {used} debited: {self:?}"
        );
        assert!(
            self.added != "added" || self.has_account,
            "{what}: the account is gone: {self:?}"
        );
        let said = format!("{self:?}");
        assert!(!said.contains("panicked"), "{what}: {said}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &str| {
            if text.is_empty() {
                "–".to_owned()
            } else {
                text.to_owned()
            }
        };
        let resumed = if self.resumed > 0 { "; resumes" } else { "" };
        let account = if self.has_account {
            "account there"
        } else {
            "no account"
        };
        write!(
            f,
            "{} | {}{resumed} | {} | {} | {} | {} used, {account}",
            or_none(&self.start),
            or_none(&self.searches.join(" ")),
            or_none(&self.added),
            or_none(&self.stop),
            or_none(&self.log.join("<br>")),
            self.used
        )
    }
}

/// A folder for one history, the faults in it, and its upstream server.
struct Site {
    upstream: FastServer,
    folder: Arc<Folder>,
    faults: Arc<FaultFs>,
}

impl Site {
    fn new(faults: impl FnOnce(&Folder) -> FaultFs) -> Self {
        let folder = Arc::new(Folder::new());
        Self {
            upstream: FastServer::start(),
            faults: Arc::new(faults(&folder)),
            folder,
        }
    }

    fn yaml(&self, way: Option<Way>) -> String {
        let is_late = way.is_some_and(|way| matches!(way.mode, Mode::Delay(_)));
        let patience = if is_late { PATIENCE_WHEN_LATE } else { PATIENCE };
        yaml(self.upstream.address, patience)
    }

    /// The history under whatever fault is armed, and a start without it.
    async fn run(&self, way: Option<Way>, dice: &mut Dice) -> Seen {
        let mut seen = Seen::nothing();
        let faults = Arc::clone(&self.faults);
        let releasing = tokio::spawn(async move { release(&faults).await });
        let starting =
            Program::begin_in_environment(Arc::clone(&self.folder), &self.yaml(way), "info", &self.faults.env());
        match starting.opened().await {
            Ok(program) => {
                "opens".clone_into(&mut seen.start);
                self.live(program, &mut seen, way).await;
            }
            Err(said) => seen.start = refusal(&said),
        }
        releasing.abort();
        assert!(self.faults.loaded() > 0, "it runs without faults");
        if let Some(file) = self.faults.fired_on() {
            seen.file = format!("{file:?}").to_lowercase();
        }
        self.faults.clear();
        match way.and_then(|way| way.power) {
            Some(Left::Nothing) => self.faults.lose_power(|| false),
            Some(Left::Some) => self.faults.lose_power(|| dice.below(2) == 0),
            None => {}
        }
        let again = Program::begin(Arc::clone(&self.folder), &self.yaml(way), "info");
        let program = match again.opened().await {
            Ok(program) => program,
            Err(said) => {
                seen.refuses_again = Some(refusal(&said));
                return seen;
            }
        };
        seen.used = used(program.address, &callers("")[4..5]).await[0].rolling;
        let accounts = program.command(&["account", "list"]).await;
        assert_eq!(accounts.code, Some(0), "{}", accounts.err);
        seen.has_account = accounts.out.contains("added-in-between");
        program.kill().await;
        seen
    }

    /// The history from the started server on.
    async fn live(&self, mut program: Program, seen: &mut Seen, way: Option<Way>) {
        let mortal = way.is_some_and(|way| way.kills());
        while seen.searches.len() < SEARCHES as usize && !seen.is_gone() {
            seen.searches.push(search(&program).await);
        }
        if !mortal {
            let image = get(program.address, "/image/1").await.status();
            assert_eq!(image, 200, "unmetered requests need no disk");
        }
        let add = ["account", "add", "--name", "added-in-between", "--tier", "one"];
        let added = program.command(&add).await;
        seen.added = match added.code {
            Some(0) => "added".to_owned(),
            // How it notices that the server is gone is chance.
            _ if mortal => CUT_OFF.to_owned(),
            _ => plain(added.err.lines().next().unwrap_or("no word"), &program),
        };
        if !mortal && seen.served() < SEARCHES {
            self.faults.clear();
            soon("service resumes", until_answered(&program)).await;
            seen.resumed = 1;
        }
        let is_cut_short = !mortal && way.is_some_and(|way| way.power.is_some());
        let signal = if is_cut_short { "KILL" } else { "TERM" };
        program.signal(signal).await;
        seen.stop = match program.exit_code().await {
            Some(code) => code.to_string(),
            None => "killed".to_owned(),
        };
        seen.log = told(&program.log());
    }
}

/// Releases what hangs, some time after it started to.
async fn release(faults: &FaultFs) {
    while faults.fired() == 0 {
        let_pass(10).await;
    }
    let_pass(HANGS_MS).await;
    faults.release();
}

/// A search by the account `four`: its status and reason, or [`CUT_OFF`].
pub(super) async fn search(program: &Program) -> String {
    let Ok(stream) = tokio::net::TcpStream::connect(program.address).await else {
        return CUT_OFF.to_owned();
    };
    let mut client = Client::on(stream);
    let head = format!(
        "GET /search HTTP/1.1\r\nhost: server.example\r\nx-api-key: {}\r\nconnection: close\r\n\r\n",
        key("four")
    );
    if tokio::io::AsyncWriteExt::write_all(&mut client.stream, head.as_bytes())
        .await
        .is_err()
    {
        return CUT_OFF.to_owned();
    }
    match soon("an answer, or the end", client.try_answer("GET")).await {
        Ok(answer) if answer.status() == 200 => "200".to_owned(),
        Ok(answer) => format!("{} {}", answer.status(), answer.reason()),
        Err(_) => CUT_OFF.to_owned(),
    }
}

/// Searches until it is answered.
async fn until_answered(program: &Program) {
    loop {
        match search(program).await.as_str() {
            "200" => return,
            CUT_OFF => panic!("it is gone: {}", program.log()),
            _ => let_pass(20).await,
        }
    }
}

/// Its error when it did not start.
fn refusal(said: &Said) -> String {
    match said.code {
        Some(_) => {
            let last = said.err.lines().last().unwrap_or("no word");
            assert!(last.starts_with("error: "), "it says why: {}", said.err);
            without_folder(last)
        }
        None => "killed".to_owned(),
    }
}

/// Warnings and errors in its log, without what differs from run to run.
fn told(log: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let level = line["level"].as_str().unwrap_or_default();
        let message = line["message"].as_str().or_else(|| line["fields"]["message"].as_str());
        if let (true, Some(message)) = (level == "WARN" || level == "ERROR", message) {
            let told = without_folder(&format!("{level}: {message}"));
            if !all.contains(&told) {
                all.push(told);
            }
        }
    }
    all
}

/// A line without the names of this run's folder and ports.
fn plain(line: &str, program: &Program) -> String {
    without_folder(&line.replace(&program.admin.to_string(), "ADMIN"))
}

fn without_folder(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.find("/tiergate-test-") {
        Some(at) => {
            let after = word[at + 1..].split_once('/').map_or("", |(_, after)| after);
            format!("…/{after}")
        }
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ").replace('|', "/")
}

/// One history with that fault.
async fn one(operation: Operation, number: u64, way: Way, mut dice: Dice) -> Seen {
    let site = match way.power {
        Some(_) => Site::new(FaultFs::with_history),
        None => Site::new(FaultFs::new),
    };
    let fault = Fault::new(operation, number, way.mode);
    site.faults.arm(if way.goes_on { fault.and_all_after() } else { fault });
    let seen = site.run(Some(way), &mut dice).await;
    seen.assert_kept(&way, &format!("{operation:?} {number}, {}", way.name));
    if matches!(way.mode, Mode::Delay(_)) {
        let all_is_well = seen.served() == SEARCHES && seen.added == "added" && seen.stop == "0";
        assert!(all_is_well, "a slow disk refuses nobody: {seen:?}");
    }
    seen
}

/// Which k of which operation fail in which way: all, or one of each.
fn plan(counts: &[(Operation, u64)], all: bool, dice: &mut Dice) -> Vec<(Operation, u64, Way)> {
    let mut plan = Vec::new();
    for (operation, count) in counts.iter().filter(|(_, count)| *count > 0) {
        for way in WAYS.into_iter().filter(|way| way.can_meet(*operation)) {
            match all {
                true => plan.extend((1..=*count).map(|number| (*operation, number, way))),
                false => plan.push((*operation, 1 + dice.below(*count), way)),
            }
        }
    }
    plan
}

#[tokio::test]
async fn every_kth_failure_of_a_short_history_loses_nothing() {
    let which = std::env::var("TIERGATE_FAULTS").unwrap_or_default();
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    // Without a fault: how much there is to fail.
    let site = Site::new(FaultFs::new);
    let well = site.run(None, &mut dice).await;
    assert_eq!((well.served(), well.used), (SEARCHES, SEARCHES), "{well:?}");
    assert_eq!((well.added.as_str(), well.stop.as_str()), ("added", "0"), "{well:?}");
    let counts = OPERATIONS.map(|operation| (operation, site.faults.seen(operation)));
    println!("without a fault: {counts:?}, {well}");
    let mut plan = plan(&counts, !which.is_empty(), &mut dice);
    plan.retain(|(operation, number, _)| {
        let name = format!("{operation:?} {number}").to_lowercase();
        ["", "all", &name].contains(&which.as_str())
    });
    let mut waiting = plan.into_iter();
    let mut running = JoinSet::new();
    let (mut results, mut failed) = (BTreeMap::new(), 0);
    loop {
        while running.len() < AT_ONCE
            && let Some((operation, number, way)) = waiting.next()
        {
            let dice = dice.fork();
            running.spawn(async move { (operation, number, way, one(operation, number, way, dice).await) });
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        // Its failure is printed already; the others go on.
        let Ok((operation, number, way, seen)) = ended else {
            failed += 1;
            continue;
        };
        let place = WAYS
            .iter()
            .position(|other| other.name == way.name)
            .expect("one of these");
        results.insert((format!("{operation:?}").to_lowercase(), place, number), seen);
    }
    table::print(&results);
    assert_eq!(failed, 0, "histories whose promises were broken");
    let met = results.values().filter(|seen| seen.file != "not met").count();
    // Two runs don't write the same number of times to the last one.
    assert!(met * 4 >= results.len() * 3, "{met} of {} were met", results.len());
}

/// Regression: SQLite commits the switch to WAL after it has reported it, so a failure went unnoticed, and the stop could not
/// empty the log.
#[tokio::test]
async fn a_failed_switch_to_wal_is_reported_at_start() {
    let site = Site::new(FaultFs::new);
    let fault = Fault::new(Operation::Sync, 1, Mode::Fail(Failure::Io)).of(FileKind::Database);
    site.faults.arm(fault);
    let (yaml, env) = (site.yaml(None), site.faults.env());
    let starting = Program::begin_in_environment(Arc::clone(&site.folder), &yaml, "info", &env);
    let said = starting.opened().await.err().expect("it does not open");
    assert!(
        refusal(&said).ends_with("data/tiergate.db (disk I/O error)"),
        "{}",
        said.err
    );
    Program::start_in(&site.folder, &yaml).await;
}
