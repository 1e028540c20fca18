//! The program, its upstream servers, and what is known so far.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tiergate::clock::Clock;
use tiergate::policy::time::Span;
use tokio::task::JoinSet;

use super::clients::{Asker, CALLERS, Notes};
use super::let_pass;
use super::model::Sums;
use super::operator::{Acts, Numbers, Operator};
use super::servers::{Handled, Servers};
use super::sources::{LogFiles, Metrics, rows};
use super::witness::{Asked, Line, agree};
use crate::support::dice::Dice;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{soon, yaml};

pub struct Rig {
    pub program: Program,
    pub folder: Arc<Folder>,
    pub servers: Servers,
    pub dice: Dice,
    pub clock: Clock,
    /// The sums of all requests so far.
    pub sums: Sums,
    /// What the operator has done so far.
    pub acts: Acts,
    /// What clients have noted, as long as it is not in the sums.
    pub notes: Notes,
    log: LogFiles,
}

/// The file: two upstreams, of which one has two servers, and a tier for each way to be refused.
pub fn file(servers: &Servers, folder: &Folder, numbers: Numbers) -> String {
    let [first, second] = servers.addresses;
    let log = folder.path().join("access.log");
    let quota = |limit: u32| format!("quotas: {{ daily: {{ limit: {limit}, rolling: 24h }} }}");
    let Numbers {
        length,
        max_wait_ms,
        timeout_ms,
        mid_priority,
        low_concurrency,
    } = numbers;
    let file = yaml()
        .setting("cores: 2")
        .setting("drain_timeout: 10s")
        .setting("log_addresses: full")
        .setting("blocked_networks: [127.0.0.66]")
        .setting(format_args!(
            "access_log: {{ what: all, format: json, file: {}, max_per_second: 1000000 }}",
            log.display()
        ))
        .queue(format_args!("length: {length}, max_wait: {max_wait_ms}ms"))
        .keys("headers: [x-api-key]")
        .tier(
            "free",
            format_args!("priority: 0, concurrency: 3, {}", quota(1_000_000)),
        )
        .tier("few", format_args!("priority: 1, concurrency: 4, {}", quota(25)))
        .tier(
            "low",
            format_args!("priority: 2, concurrency: {low_concurrency}, {}", quota(1_000_000)),
        )
        .tier(
            "mid",
            format_args!("priority: {mid_priority}, concurrency: 5, {}", quota(1_000_000)),
        )
        .tier(
            "high",
            format_args!(
                "priority: 6, concurrency: 8, displacements_per_minute: 100000, {}",
                quota(1_000_000)
            ),
        )
        .limit("name: images, per: network, limit: 12, window: 2s, match: { path: \"/image/*\" }")
        .upstream(
            "search",
            &[(first, 3), (second, 2)],
            format_args!(", timeout: {timeout_ms}ms, idle_timeout: 100ms"),
        )
        .upstream("images", &[(first, 2)], ", timeout: 2s")
        .route("path: /search, methods: [GET, POST], upstream: search, metered: true, max_body: 64KiB")
        .route("path: /heavy, upstream: search, metered: true, cost: 3, on_hangup: cancel")
        .route("path: \"/image/{*rest}\", upstream: images");
    let accounts = CALLERS.iter().filter(|caller| !caller.account.is_empty());
    let file = accounts.fold(file, |file, caller| {
        file.account(caller.account, caller.tier, &[&format!("key-of-{}", caller.account)])
    });
    let data = folder.path().join("data");
    file.more(format_args!("data_dir: {}", data.display())).text()
}

/// The second server is in one upstream, the first one in two.
const SERVERS: f64 = 3.0;

impl Rig {
    pub async fn start(dice: Dice) -> Self {
        let (servers, folder) = (Servers::start().await, Arc::new(Folder::new()));
        let log = LogFiles::new(folder.path().join("access.log"));
        let mut rig = Self {
            program: Self::program(&servers, &folder).await,
            folder,
            servers,
            dice,
            clock: Clock::start(),
            sums: Sums::default(),
            acts: Acts::default(),
            notes: Notes::default(),
            log,
        };
        rig.begin_with_a_debit_each().await;
        rig
    }

    async fn program(servers: &Servers, folder: &Arc<Folder>) -> Program {
        std::fs::write(
            folder.path().join("tiers.yaml"),
            file(servers, folder, Numbers::AT_FIRST),
        )
        .expect("a file");
        let starting = Program::begin_with(Arc::clone(folder), &["--config", "tiers.yaml"], "info");
        starting
            .opened()
            .await
            .unwrap_or_else(|said| panic!("it does not open: {}", said.err))
    }

    /// Starts the program again, in the same folder.
    pub async fn start_again(&mut self) {
        self.program = Self::program(&self.servers, &self.folder).await;
    }

    /// A search of every caller that has one. From then on refusals are stored by caller.
    async fn begin_with_a_debit_each(&mut self) {
        for (at, _) in CALLERS.iter().enumerate().filter(|(_, caller)| caller.connections > 0) {
            self.asker(at, format!("first-{at}")).search("do=ok").await;
        }
        self.settle().await;
    }

    pub fn asker(&mut self, caller: usize, name: String) -> Asker {
        Asker {
            proxy: self.program.address,
            caller,
            name,
            dice: self.dice.fork(),
            notes: Arc::clone(&self.notes),
        }
    }

    /// The operator, with the dice of its own.
    pub fn operator(&mut self) -> Operator {
        Operator {
            admin: self.program.admin,
            folder: Arc::clone(&self.folder),
            servers: self.servers.clone(),
            dice: self.dice.fork(),
            acts: std::mem::take(&mut self.acts),
        }
    }

    /// Mixed load for that long; then adds up what the witnesses say.
    pub async fn round(&mut self, round: u32, time: Duration) {
        if round > 1 {
            self.log.rename();
        }
        self.servers.hold(false);
        let end = self.clock.now() + Span::from_millis(u64::try_from(time.as_millis()).expect("it is not for ever"));
        let mut clients = JoinSet::new();
        for (at, caller) in CALLERS.iter().enumerate() {
            for connection in 0..caller.connections {
                let asker = self.asker(at, format!("{round}-{}-{connection}", caller.name()));
                clients.spawn(asker.ask_until(self.clock, end));
            }
        }
        let acting = tokio::spawn(self.operator().act_until(self.clock, end));
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client is content");
        }
        self.acts = acting.await.expect("the operator is content");
        self.settle().await;
    }

    /// Waits until nothing is going on any more, and every request has its line and its row; then adds up what the witnesses say.
    pub async fn settle(&mut self) {
        let mut lines = Vec::new();
        soon("all is quiet, written and logged", async {
            loop {
                lines.extend(self.log.read());
                let metrics = Metrics::read(self.program.admin).await;
                let requests = metrics.sum("tiergate_http_requests_total", &[]) as u64;
                let jobs = metrics.sum("tiergate_jobs_total", &[]) as u64;
                let idle = metrics.sum("tiergate_jobs_in_flight", &[])
                    + metrics.sum("tiergate_connections", &[("listener", "public")]);
                // They are numbered without gaps.
                let stored = rows(self.folder.path(), "SELECT 'jobs', coalesce(max(number), 0) FROM job")["jobs"];
                let up = metrics.sum("tiergate_upstream_server_up", &[]);
                if idle == 0.0 && up == SERVERS && self.sums.lines + lines.len() as u64 == requests && stored == jobs {
                    return;
                }
                let_pass(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.add_up(lines);
    }

    /// Adds up the log's last lines, after the program has ended.
    pub fn settle_after_its_end(&mut self) {
        let lines = self.log.read();
        self.add_up(lines);
    }

    fn add_up(&mut self, lines: Vec<Line>) {
        let mut asked: HashMap<String, Asked> = HashMap::new();
        for note in std::mem::take(&mut *self.notes.lock().expect("nobody panics with it")) {
            let twice = asked.insert(note.id.clone(), note);
            assert!(twice.is_none(), "ids are unique");
        }
        let mut handled: HashMap<String, Handled> = self.servers.take_handled();
        for line in lines {
            let asked = asked.remove(&line.id);
            let asked = asked.unwrap_or_else(|| panic!("nobody asked for this, or it has two lines: {line:?}"));
            let handled = handled.remove(&line.id);
            agree(&line, &asked, handled.as_ref());
            self.sums.add(&line, &asked, handled.as_ref());
        }
        asked.retain(|_, asked| !asked.may_be_lost);
        assert!(asked.is_empty(), "without a line: {asked:?}");
        assert!(
            handled.is_empty(),
            "an upstream server got what nobody sent: {handled:?}"
        );
    }

    /// The load had what no load of some seconds lacks: otherwise equal numbers would mean little.
    pub fn assert_everything_happened(&self) {
        let refusals = |reason: &str| {
            let all = self.sums.refusals.iter();
            all.filter(|(key, _)| key.ends_with(reason))
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        for reason in [
            "queue_full",
            "displaced",
            "quota_depleted",
            "concurrency_exceeded",
            "rate_limited",
            "blocked",
            "invalid_key",
            "ambiguous_key",
            "body_too_large",
            "not_found",
            "method_not_allowed",
            "bad_request",
            "upstream_failed",
            "cancelled_by_operator",
        ] {
            assert!(refusals(reason) > 0, "no {reason} in {:?}", self.sums.refusals);
        }
        let left = self.sums.requests.get("/search none");
        assert!(
            left.is_some_and(|count| *count > 0),
            "nobody left: {:?}",
            self.sums.requests
        );
        println!("{} requests, {:?}", self.sums.lines, self.sums.refusals);
    }
}
