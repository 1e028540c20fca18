//! A server and the data folder that it leaves, for the commands that read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::Value;
use tiergate::clock::{Clock, ClockControl};
use tiergate::config::Config;
use tiergate::policy::rules::Window;
use tiergate::policy::time::Span;
use tiergate::store::{DataDir, Database, History, LedgerSettings};
use tiergate::telemetry::DatabaseMeters;

use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Client, Mirror, hash, soon};

/// A server with three tiers and three accounts, one of them delegating, and its upstream server.
pub struct Site {
    pub program: Program,
    pub folder: Arc<Folder>,
    mirror: Mirror,
}

/// Its tiers.yaml.
pub fn yaml(mirror: &Mirror) -> String {
    let account = |name: &str, tier: &str| {
        let hash = hash(&format!("key-{name}"));
        format!("  - {{ name: {name}, tier: {tier}, key_sha256: {hash} }}\n")
    };
    format!(
        r#"
listen: 127.0.0.1:0
admin: {{ listen: 127.0.0.1:0 }}
cores: 2
queue: {{ length: 8, max_wait: 30s }}
tiers:
  free: {{ priority: 0, concurrency: 8, quotas: {{ daily: {{ limit: 3, rolling: 24h }} }} }}
  gold: {{ priority: 5, concurrency: 8, quotas: {{ daily: {{ limit: 1000, rolling: 24h }}, month: {{ limit: 5000, calendar: month }} }} }}
anonymous: free
accounts:
{}{}
upstreams:
  search: {{ servers: [ {{ url: "http://{}", slots: 8 }} ] }}
routes:
  - {{ path: /search, upstream: search, metered: true, cost: 2 }}
  - {{ path: /thumbnail, upstream: search, metered: true }}
"#,
        account("acme", "gold"),
        account("bolt", "gold"),
        mirror.address,
    )
}

impl Site {
    pub async fn start() -> Self {
        let mirror = Mirror::start().await;
        let folder = Arc::new(Folder::new());
        let program = Program::start_in(&folder, &yaml(&mirror)).await;
        Self {
            program,
            folder,
            mirror,
        }
    }

    /// So many searches at that path by that key (none: as a stranger); the status of the last.
    pub async fn search(&self, key: &str, path: &str, count: usize) -> u16 {
        let mut client = Client::connect(self.program.address).await;
        let header = match key {
            "" => String::new(),
            key => format!("x-api-key: key-{key}\r\n"),
        };
        let mut status = 0;
        for _ in 0..count {
            status = client.ask("GET", path, &header).await.status();
        }
        status
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(mut self) -> Stopped {
        self.program.signal("TERM").await;
        assert_eq!(self.program.exit_code().await, Some(0));
        self.left()
    }

    /// Kills it as a crash does.
    pub async fn kill(self) -> Stopped {
        let Self {
            program,
            folder,
            mirror,
        } = self;
        program.kill().await;
        Stopped { folder, mirror }
    }

    fn left(self) -> Stopped {
        Stopped {
            folder: self.folder,
            mirror: self.mirror,
        }
    }
}

/// Its folder after it has ended.
#[must_use = "its folder goes with it"]
pub struct Stopped {
    pub folder: Arc<Folder>,
    mirror: Mirror,
}

impl Stopped {
    pub async fn start(self) -> Site {
        let program = Program::start_in(&self.folder, &yaml(&self.mirror)).await;
        Site {
            program,
            folder: self.folder,
            mirror: self.mirror,
        }
    }
}

/// Rolls up what is in that data folder, as a server does each minute.
pub async fn roll_up(folder: &Path) {
    let config = Config::load(&folder.join("tiers.yaml")).expect("it was right before");
    let hands: &'static ClockControl = Box::leak(Box::default());
    let clock = Clock::moved_by(hands, Clock::start().wall());
    let settings = LedgerSettings::new(clock, Arc::new(move || clock.wall()), DatabaseMeters::unobserved());
    let dir = DataDir::take(&data(folder)).expect("nobody has it");
    let database = Database::open(dir, settings, &config.rules.windows, History::default()).expect("it can be used");
    let is_calendar = |window: &&Window| matches!(window, Window::Calendar(_));
    let calendars = config.rules.windows.iter().filter(is_calendar).count();
    let books = i64::try_from(1 + calendars).expect("they are few");
    hands.advance(Span::from_secs(61));
    soon("it is rolled up", async {
        let look = Connection::open(data(folder).join("tiergate.db")).expect("it is there");
        let sql = "SELECT count(*) FROM rolled_up WHERE job = (SELECT max(number) FROM job)";
        while look.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or(0) < books {
            tokio::task::yield_now().await;
        }
    })
    .await;
    database.close();
}

/// The data folder in that folder.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Runs a command in that folder, without a time limit.
pub async fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tiergate"));
    command.args(args).current_dir(folder);
    let ran = tokio::task::spawn_blocking(move || command.output());
    soon("the command ends", ran)
        .await
        .expect("it doesn't panic")
        .expect("the program is built")
}

/// Its output; it must succeed.
pub async fn said(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it writes text")
}

/// The same as JSON.
pub async fn json(folder: &Path, args: &[&str]) -> Value {
    let text = said(folder, &[args, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// The error of a command that must fail with exit code 1.
pub async fn wrong(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("it writes text")
}

/// A table's lines, with single spaces.
pub fn lines(table: &str) -> Vec<String> {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    table.lines().map(line).collect()
}
