//! What is promised of a crash (rules §5.10): every answer whose last byte the client got is debited after restart, at most
//! what was under way is debited beyond that, and nothing is held.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::let_pass;
use super::load::{Caller, Load, Used, callers, used, yaml};
use crate::support::dice::{Dice, number};
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::program::Program;

/// Maximum load before a kill, in milliseconds after the first answer.
const LOAD_MS_MAX: u64 = 150;
/// Maximum time before a start is killed, in percent of the duration of the start before.
const START_PERCENT_MAX: u64 = 110;
/// One in so many kills hits a start.
const STARTS_ONE_IN: u64 = 5;

/// A deployment, which outlives its processes.
struct Deployment {
    server: FastServer,
    folder: Arc<Folder>,
    more: &'static str,
    callers: Vec<Caller>,
    /// What each caller had used when last asked.
    used: Vec<Used>,
    program: Program,
    /// How long its start took.
    start_took: Duration,
    sum: Sum,
}

/// Totals for the report.
#[derive(Debug, Default)]
struct Sum {
    kills: u64,
    during_start: u64,
    whole: u64,
    cut_off: u64,
    /// Debited among these.
    cut_off_debited: u64,
    others: u64,
    lost: u64,
}

impl Deployment {
    async fn open(more: &'static str) -> Self {
        let server = FastServer::start();
        let folder = Arc::new(Folder::new());
        let program = Program::start_in(&folder, &yaml(server.address, more)).await;
        let add = ["account", "add", "--name", "bot", "--tier", "bots", "--delegate"];
        let added = program.command(&add).await;
        assert_eq!(added.code, Some(0), "{}", added.err);
        let made = program.command(&["key", "add", "bot"]).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        let callers = callers(made.out.trim());
        let used = used(program.address, &callers).await;
        Self {
            server,
            folder,
            more,
            callers,
            used,
            program,
            start_took: Duration::from_millis(100),
            sum: Sum::default(),
        }
    }

    /// Load for that long, then a kill. Returns what the callers noted.
    async fn kill_under_load(self, load_ms: u64, dice: &mut Dice) -> (Killed, Vec<[u64; 3]>) {
        let load = Load::begin(self.program.address, &self.callers, dice).await;
        load.first_answer().await;
        let_pass(load_ms).await;
        let (killed, noted) = (self.kill().await, load);
        let noted = noted.end(&killed.callers).await;
        (killed, noted)
    }

    async fn kill(self) -> Killed {
        let Self {
            server,
            folder,
            more,
            callers,
            used,
            program,
            start_took,
            mut sum,
        } = self;
        let log = program.kill().await;
        // A kill leaves no damage, and it met no error.
        assert!(
            !log.contains(r#""level":"ERROR""#) && !log.contains("panicked"),
            "{log}"
        );
        sum.kills += 1;
        Killed {
            server,
            folder,
            more,
            callers,
            used,
            start_took,
            sum,
        }
    }

    /// Compares the debits with what was noted since the last time. None of what was noted may be missing, unless
    /// answers don't wait for their debits.
    async fn compare(&mut self, noted: &[[u64; 3]], strict: bool, what: &str) {
        let now = used(self.program.address, &self.callers).await;
        for (((caller, before), now), [whole, cut_off, others]) in
            self.callers.iter().zip(&self.used).zip(&now).zip(noted)
        {
            let told = format!(
                "{what}: {} noted {whole} whole, {cut_off} cut off; {before:?}, then {now:?}",
                caller.name
            );
            let mut grown = vec![now.rolling.checked_sub(before.rolling)];
            if before.month_ends.is_none() || before.month_ends == now.month_ends {
                grown.push(now.month.checked_sub(before.month));
            }
            for grown in grown {
                let grown = grown.unwrap_or_else(|| panic!("a debit is lost of long ago, {told}"));
                assert!(
                    grown >= *whole || !strict,
                    "{} answered debits lost, {told}",
                    whole - grown
                );
                assert!(grown <= whole + cut_off, "debited for nothing, {told}");
            }
            if caller.account.is_none() {
                let grown = now.rolling - before.rolling;
                self.sum.whole += whole;
                self.sum.cut_off += cut_off;
                self.sum.cut_off_debited += grown.saturating_sub(*whole);
                self.sum.others += others;
                self.sum.lost += whole.saturating_sub(grown);
            }
        }
        self.used = now;
    }

    fn tell(&self) {
        let bytes = bytes(&self.folder.path().join("data/tiergate.db"));
        println!(
            "{:?}, a database of {bytes} bytes, the last start took {:?}",
            self.sum, self.start_took
        );
    }
}

/// The same, while no program runs.
struct Killed {
    server: FastServer,
    folder: Arc<Folder>,
    more: &'static str,
    callers: Vec<Caller>,
    used: Vec<Used>,
    start_took: Duration,
    sum: Sum,
}

impl Killed {
    fn yaml(&self) -> String {
        yaml(self.server.address, self.more)
    }

    async fn kill_a_start(&mut self, percent: u64) {
        let starting = Program::begin(Arc::clone(&self.folder), &self.yaml(), "info");
        let_pass(self.start_took.as_millis() as u64 * percent / 100).await;
        starting.kill().await;
        self.sum.kills += 1;
        self.sum.during_start += 1;
    }

    #[allow(clippy::disallowed_methods, reason = "it measures")]
    async fn start_again(self) -> Deployment {
        let began = Instant::now();
        let program = Program::start_in(&self.folder, &self.yaml()).await;
        let start_took = began.elapsed();
        let Self {
            server,
            folder,
            more,
            callers,
            used,
            sum,
            ..
        } = self;
        Deployment {
            server,
            folder,
            more,
            callers,
            used,
            program,
            start_took,
            sum,
        }
    }
}

fn bytes(database: &Path) -> u64 {
    std::fs::metadata(database).map_or(0, |found| found.len())
}

#[tokio::test]
async fn a_kill_loses_no_debit_of_a_complete_answer() {
    let crashes = number("TIERGATE_CRASHES").unwrap_or(50);
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed} TIERGATE_CRASHES={crashes}");
    let mut deployment = Deployment::open("").await;
    let mut told = 0;
    while deployment.sum.kills < crashes {
        let load_ms = 1 + dice.below(LOAD_MS_MAX);
        let what = format!("TIERGATE_SEED={seed}, kill {}, {load_ms} ms", deployment.sum.kills + 1);
        let (mut killed, noted) = deployment.kill_under_load(load_ms, &mut dice).await;
        // Whatever a killed start left unfinished, the next one meets.
        while dice.below(STARTS_ONE_IN) == 0 {
            killed.kill_a_start(dice.below(START_PERCENT_MAX)).await;
        }
        deployment = killed.start_again().await;
        deployment.compare(&noted, true, &what).await;
        if deployment.sum.kills >= told + 100 {
            told = deployment.sum.kills;
            deployment.tell();
        }
    }
    deployment.tell();
    assert!(
        deployment.sum.whole > crashes && deployment.sum.cut_off > 0,
        "there was load"
    );
    assert_eq!(deployment.sum.lost, 0);
}

/// Answers don't wait here: some may be lost, none may be counted twice.
#[tokio::test]
async fn a_kill_in_relaxed_mode_invents_no_debit() {
    let crashes = number("TIERGATE_CRASHES").unwrap_or(50).div_ceil(10);
    let (mut dice, seed) = Dice::of_environment();
    let mut deployment = Deployment::open("durability: relaxed\ncommit_every: 20ms").await;
    while deployment.sum.kills < crashes {
        let load_ms = 50 + dice.below(LOAD_MS_MAX);
        let what = format!("TIERGATE_SEED={seed}, relaxed kill {}", deployment.sum.kills + 1);
        let (killed, noted) = deployment.kill_under_load(load_ms, &mut dice).await;
        deployment = killed.start_again().await;
        deployment.compare(&noted, false, &what).await;
    }
    println!("relaxed, 20 ms: {:?}", deployment.sum);
    assert!(deployment.sum.lost < deployment.sum.whole, "most of it is there");
}

/// A first start is killed again and again while it creates its folder; the next one continues from whatever is there.
#[tokio::test]
async fn a_first_start_killed_at_any_moment_completes_next_time() {
    let server = FastServer::start();
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    for _ in 0..4 {
        let folder = Arc::new(Folder::new());
        let yaml = yaml(server.address, "");
        for _ in 0..5 {
            let starting = Program::begin(Arc::clone(&folder), &yaml, "info");
            let_pass(10 + dice.below(60)).await;
            starting.kill().await;
        }
        let program = Program::start_in(&folder, &yaml).await;
        let callers = callers("a-key-of-nobody");
        let used = used(program.address, &callers[..5]).await;
        assert!(used.iter().all(|used| used.rolling == 0), "{used:?}");
    }
}
