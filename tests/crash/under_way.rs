//! Kills while something is under way that is more than a debit: a checkpoint, the stop, a roll-up, an import, a backup, a
//! restore, the first start. Each is killed before or after one of its writes, syncs and the like; in some the power goes as
//! well and takes what was not synced. The restart has every debit, `db verify` finds nothing wrong, and nothing is half done.
//!
//! `TIERGATE_KILLS=all` kills at every one of them in every way, `TIERGATE_KILLS=restore` at all of that; without, each is
//! killed at a few, drawn by the seed.

use std::path::Path;
use std::sync::Arc;

use rusqlite::OpenFlags;
use tokio::task::JoinSet;

use super::every_k::search;
use super::let_pass;
use super::load::{Load, callers, used, yaml};
use crate::support::dice::Dice;
use crate::support::fast::FastServer;
use crate::support::faultfs::{Fault, FaultFs, FileKind, Mode, Operation};
use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run, run_in_environment};
use crate::support::soon;

/// Searches before what is killed.
const SEARCHES: u64 = 20;
/// Searches between the backup and the restore.
const SEARCHES_SINCE: u64 = 7;
/// Accounts that are imported: more than a page of them.
const IMPORTED: usize = 300;
/// Kills of each, without `TIERGATE_KILLS`.
const SAMPLE: usize = 3;
/// Kills at once.
const AT_ONCE: usize = 4;
/// Operations on the database in which one under load is killed: a checkpoint has as many, or the next one has.
const UNDER_LOAD: u64 = 24;
/// The clock goes on by a minute, so jobs are rolled up.
const MINUTE_MS: i64 = 60_000;
/// What is imported begins so.
const PREFIX: &str = "imported-";
const BACKUP: [&str; 2] = ["backup", "saved.db"];
const RESTORE: [&str; 3] = ["restore", "saved.db", "--force"];

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    FirstStart,
    RollUp,
    Import,
    Stop,
    Backup,
    Restore,
}

const ACTS: [Act; 6] = [
    Act::FirstStart,
    Act::RollUp,
    Act::Import,
    Act::Stop,
    Act::Backup,
    Act::Restore,
];

/// How it is killed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// At which operation, from 1.
    number: u64,
    after: bool,
    /// What of that which was not synced is left when the power goes, too.
    power: Option<Left>,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    Some,
}

const POWERS: [Option<Left>; 3] = [None, Some(Left::Nothing), Some(Left::Some)];

impl Kill {
    fn fault(self) -> Fault {
        let mode = if self.after { Mode::KillAfter } else { Mode::KillBefore };
        Fault::new(Operation::Any, self.number, mode)
    }
}

/// A folder, the faults in it, and an upstream server.
struct Site {
    upstream: FastServer,
    folder: Arc<Folder>,
    faults: FaultFs,
    kill: Option<Kill>,
    dice: Dice,
}

impl Site {
    fn new(kill: Option<Kill>, dice: Dice) -> Self {
        let folder = Arc::new(Folder::new());
        let faults = match kill.and_then(|kill| kill.power) {
            Some(_) => FaultFs::with_history(&folder),
            None => FaultFs::new(&folder),
        };
        Self {
            upstream: FastServer::start(),
            folder,
            faults,
            kill,
            dice,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn yaml(&self) -> String {
        yaml(self.upstream.address, "")
    }

    /// A start in which faults can be.
    async fn start(&self) -> Result<Program, Said> {
        let starting =
            Program::begin_in_environment(Arc::clone(&self.folder), &self.yaml(), "info", &self.faults.env());
        starting.opened().await
    }

    /// A server that has debited so much.
    async fn server(&self) -> Program {
        let program = self.start().await.unwrap_or_else(|said| panic!("{}", said.err));
        search_times(&program, SEARCHES).await;
        program
    }

    /// From here on what is done is counted, and killed.
    fn arm(&self, file: FileKind) {
        self.faults.reset();
        if let Some(kill) = self.kill {
            self.faults.arm(kill.fault().of(file));
        }
    }

    /// The kill has come, or what was to be killed is over.
    fn end(&mut self) {
        self.faults.clear();
        match self.kill.and_then(|kill| kill.power) {
            Some(Left::Nothing) => self.faults.lose_power(|| false),
            Some(Left::Some) => {
                let dice = &mut self.dice;
                self.faults.lose_power(|| dice.below(2) == 0);
            }
            None => {}
        }
    }

    /// A start without faults, whose database is whole.
    async fn restart(&self) -> Program {
        let program = Program::start_in(&self.folder, &self.yaml()).await;
        verify(self.path(), &[]).await;
        program
    }

    /// A start after which everything that was answered is debited.
    async fn assert_debited(&self, searches: u64) -> Program {
        let program = self.restart().await;
        assert_eq!(used_by_four(&program).await, searches);
        program
    }

    async fn command(&self, args: &[&str]) -> Said {
        let said = run(self.path(), args, "").await;
        assert_eq!(said.code, Some(0), "{args:?}: {}{}", said.out, said.err);
        said
    }

    /// The same, with faults.
    async fn killed_command(&self, args: &[&str]) -> Option<i32> {
        let said = run_in_environment(self.path(), args, "", &self.faults.env()).await;
        assert!(said.code.is_none_or(|code| code == 0), "{args:?}: {}", said.err);
        said.code
    }

    /// Runs it, kills it, and checks what must hold afterwards. Returns the number of operations.
    async fn run(&mut self, act: Act) -> u64 {
        match act {
            Act::FirstStart => self.first_start().await,
            Act::RollUp => self.roll_up().await,
            Act::Import => self.import().await,
            Act::Stop => self.stop().await,
            Act::Backup => self.backup().await,
            Act::Restore => self.restore().await,
        }
    }

    fn seen(&self, file: FileKind) -> u64 {
        self.faults.seen_of(Operation::Any, file)
    }

    async fn first_start(&mut self) -> u64 {
        self.arm(FileKind::Any);
        let opened = self.start().await;
        let seen = self.seen(FileKind::Any);
        if let Ok(program) = opened {
            program.kill().await;
        }
        self.end();
        let program = self.assert_debited(0).await;
        search_times(&program, 1).await;
        program.kill().await;
        self.assert_debited(1).await;
        seen
    }

    async fn roll_up(&mut self) -> u64 {
        let program = self.server().await;
        self.arm(FileKind::Any);
        self.faults.step_clock(MINUTE_MS);
        soon("jobs are rolled up, or it is killed", async {
            while self.faults.fired() == 0 && !is_rolled_up(self.path()) {
                let_pass(10).await;
            }
        })
        .await;
        let seen = self.seen(FileKind::Any);
        self.end_of(program).await;
        self.assert_debited(SEARCHES).await;
        seen
    }

    async fn import(&mut self) -> u64 {
        let program = self.server().await;
        let lines: String = (0..IMPORTED)
            .map(|number| format!("{PREFIX}{number},one,key-{number}\n"))
            .collect();
        self.arm(FileKind::Any);
        let import = ["account", "import", "-"];
        let said = program.command_with(&import, &format!("name,tier,key\n{lines}")).await;
        let seen = self.seen(FileKind::Any);
        self.end_of(program).await;
        let program = self.assert_debited(SEARCHES).await;
        let list = program.command(&["account", "export"]).await;
        let there = list.out.matches(PREFIX).count();
        assert!([0, IMPORTED].contains(&there), "{there} accounts are there");
        assert!(said.code != Some(0) || there == IMPORTED, "it was said to be done");
        // It is done the next time, or is done.
        let again = program.command_with(&import, &format!("name,tier,key\n{lines}")).await;
        assert_eq!(again.code == Some(0), there == 0, "{}", again.err);
        seen
    }

    /// The last checkpoint is in it.
    async fn stop(&mut self) -> u64 {
        let mut program = self.server().await;
        self.arm(FileKind::Any);
        program.signal("TERM").await;
        let code = program.exit_code().await;
        assert!(code.is_none_or(|code| code == 0), "{}", program.log());
        let seen = self.seen(FileKind::Any);
        self.end();
        self.assert_debited(SEARCHES).await;
        seen
    }

    /// The command is killed, while a server runs that goes on.
    async fn backup(&mut self) -> u64 {
        let program = self.restart().await;
        search_times(&program, SEARCHES).await;
        self.arm(FileKind::Other);
        let code = self.killed_command(&BACKUP).await;
        let seen = self.seen(FileKind::Other);
        self.end();
        let is_there = self.path().join("saved.db").exists();
        assert!(is_there || code.is_none(), "it was said to be there");
        if is_there {
            assert_backup(self.path()).await;
        }
        let force = if is_there { &["--force"][..] } else { &[] };
        self.command(&[&BACKUP, force].concat()).await;
        assert_backup(self.path()).await;
        assert_no_rest(self.path());
        assert_eq!(used_by_four(&program).await, SEARCHES);
        verify(self.path(), &[]).await;
        seen
    }

    /// The old database is what counts, or the backup; or none is there, which is said, and the restore is done again.
    async fn restore(&mut self) -> u64 {
        let mut program = self.server().await;
        self.command(&BACKUP).await;
        search_times(&program, SEARCHES_SINCE).await;
        // With a log that holds some of it, or without.
        let signal = if self.dice.below(2) == 0 { "TERM" } else { "KILL" };
        program.signal(signal).await;
        program.exit_code().await;
        let key = self.path().join("network.key");
        std::fs::copy(self.path().join("data/network.key"), &key).expect("it is there");
        let restore = [&RESTORE[..], &["--key", "network.key"]].concat();
        self.arm(FileKind::Any);
        let code = self.killed_command(&restore).await;
        let seen = self.seen(FileKind::Any);
        self.end();
        let opened = Program::begin(Arc::clone(&self.folder), &self.yaml(), "info")
            .opened()
            .await;
        let program = match opened {
            Ok(program) => program,
            Err(said) => {
                assert!(code.is_none(), "it was said to be done: {}", said.err);
                assert!(
                    said.err.contains("is missing") && said.err.contains("tiergate restore"),
                    "{}",
                    said.err
                );
                self.command(&restore).await;
                self.restart().await
            }
        };
        verify(self.path(), &[]).await;
        let used = used_by_four(&program).await;
        assert!(
            used == SEARCHES || (used == SEARCHES + SEARCHES_SINCE && code.is_none()),
            "{used} used"
        );
        let log = program.kill().await;
        assert!(!log.contains("is new"), "callers without a key are known: {log}");
        if used == SEARCHES {
            assert_aside(self.path(), SEARCHES + SEARCHES_SINCE);
        }
        self.command(&restore).await;
        assert_no_rest(&self.path().join("data"));
        self.assert_debited(SEARCHES).await;
        seen
    }

    /// It was killed, or is now.
    async fn end_of(&mut self, mut program: Program) {
        if self.faults.fired() > 0 {
            assert_eq!(program.exit_code().await, None);
        }
        program.kill().await;
        self.end();
    }
}

async fn search_times(program: &Program, times: u64) {
    for _ in 0..times {
        assert_eq!(search(program).await, "200");
    }
}

async fn used_by_four(program: &Program) -> u64 {
    used(program.address, &callers("")[4..5]).await[0].rolling
}

async fn verify(folder: &Path, file: &[&str]) {
    let said = run(folder, &[&["db", "verify"], file].concat(), "").await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

async fn assert_backup(folder: &Path) {
    verify(folder, &["saved.db"]).await;
    assert_eq!(jobs(&folder.join("saved.db")), SEARCHES);
}

/// Finished jobs in a database.
fn jobs(database: &Path) -> u64 {
    let opened = rusqlite::Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
    let count = opened.query_row("SELECT count(*) FROM job", [], |row| row.get::<_, i64>(0));
    count.expect("it is whole").unsigned_abs()
}

/// Whether all jobs are in both tables.
fn is_rolled_up(folder: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let opened = rusqlite::Connection::open_with_flags(folder.join("data/tiergate.db"), flags).expect("a database");
    let books = "SELECT count(*) FROM rolled_up WHERE job = ?1";
    let count = opened.query_row(books, [SEARCHES.cast_signed()], |row| row.get::<_, i64>(0));
    count.is_ok_and(|count| count == 2)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

/// What a killed command leaves is gone with the next one.
fn assert_no_rest(folder: &Path) {
    let names = names(folder);
    assert!(!names.iter().any(|name| name.ends_with(".partial")), "{names:?}");
}

/// The previous data is in one folder, complete.
fn assert_aside(folder: &Path, searches: u64) {
    let data = folder.join("data");
    let aside = names(&data).into_iter().filter(|name| name.starts_with("before-"));
    let databases = aside.map(|name| data.join(name).join("tiergate.db"));
    let held: Vec<u64> = databases.filter(|file| file.exists()).map(|file| jobs(&file)).collect();
    assert!(held.contains(&searches), "{held:?}, {:?}", names(&data));
}

/// Which operations are killed, and how.
fn plan(act: Act, operations: u64, all: bool, dice: &mut Dice) -> Vec<Kill> {
    let kills = (1..=operations).flat_map(|number| {
        let with = move |after| POWERS.map(|power| Kill { number, after, power });
        [false, true].into_iter().flat_map(with)
    });
    let mut kills: Vec<Kill> = kills.collect();
    assert!(!kills.is_empty(), "{act:?} writes");
    if !all {
        kills = (0..SAMPLE)
            .map(|_| kills[dice.below(kills.len() as u64) as usize])
            .collect();
    }
    kills
}

#[tokio::test]
async fn a_kill_during_any_operation_leaves_nothing_half_done() {
    let which = std::env::var("TIERGATE_KILLS").unwrap_or_default();
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    let mut waiting = Vec::new();
    for act in ACTS {
        let name = format!("{act:?}").to_lowercase();
        if !["", "all", &name].contains(&which.as_str()) {
            continue;
        }
        let operations = Site::new(None, dice.fork()).run(act).await;
        println!("{name}: {operations} operations");
        let kills = plan(act, operations, !which.is_empty(), &mut dice);
        waiting.extend(kills.into_iter().map(|kill| (act, kill)));
    }
    let (count, mut failed, mut missed) = (waiting.len(), 0, 0);
    let mut waiting = waiting.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((act, kill)) = waiting.next()
        {
            let mut site = Site::new(Some(kill), dice.fork());
            running.spawn(async move {
                println!("{act:?}, {kill:?}");
                site.run(act).await;
                u64::from(site.faults.fired() == 0)
            });
        }
        match running.join_next().await {
            Some(Ok(not_met)) => missed += not_met,
            // Its failure is printed already; the others go on.
            Some(Err(_)) => failed += 1,
            None => break,
        }
    }
    println!("{count} kills, of which {missed} came too late");
    assert_eq!(failed, 0, "of {count}");
    assert!(missed * 4 <= count as u64, "{missed} of {count} were not killed");
}

/// A kill in a checkpoint while commits go on.
#[tokio::test]
async fn a_kill_in_a_checkpoint_under_load_keeps_every_debit() {
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    for power in [None, Some(Left::Some)] {
        let kill = Kill {
            number: 1 + dice.below(UNDER_LOAD),
            after: dice.below(2) == 0,
            power,
        };
        println!("{kill:?}");
        let mut site = Site::new(Some(kill), dice.fork());
        let program = site.start().await.unwrap_or_else(|said| panic!("{}", said.err));
        let callers = &callers("a-key-of-nobody")[..5];
        site.arm(FileKind::Database);
        let load = Load::begin(program.address, callers, &mut dice).await;
        let noted = load.end(callers).await;
        assert_eq!(site.faults.fired(), 1);
        program.kill().await;
        site.end();
        let program = site.restart().await;
        let used = used(program.address, callers).await;
        for ((caller, used), [whole, cut_off, _]) in callers.iter().zip(used).zip(noted) {
            println!("{}: {whole} whole, {cut_off} cut off, {used:?}", caller.name);
            assert!(
                (whole..=whole + cut_off).contains(&used.rolling),
                "{}: {whole} whole, {used:?}",
                caller.name
            );
        }
    }
}
