//! The real program under a wall clock that is ahead for a while, or behind at a start: quotas recover within moments, no
//! caller is refused for longer than `Retry-After` says, and every debit is there afterwards.
//!
//! Regression: it refused all callers for as long as its clock had been ahead, and lost debits when it had been ahead by more
//! than the longest window (T2).

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::let_pass;
use super::load::key;
use crate::support::fast::FastServer;
use crate::support::faultfs::FaultFs;
use crate::support::folder::Folder;
use crate::support::program::{Program, run};
use crate::support::{Answer, Client, get, hash};

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
/// The rolling window of the short quota, in seconds, and what it allows.
const SHORT_S: i64 = 10;
const SHORT_LIMIT: u64 = 3;
/// The clock is looked at each second.
const HEALS_WITHIN: Duration = Duration::from_millis(2_500);

/// A folder whose programs go by a clock of the test's.
struct Site {
    upstream: FastServer,
    folder: Arc<Folder>,
    clock: FaultFs,
    /// Searches that were answered.
    served: u64,
}

/// What an account has used, as it is told.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    long: u64,
    month: u64,
    month_ends: String,
}

impl Site {
    fn new() -> Self {
        let folder = Arc::new(Folder::new());
        Self {
            upstream: FastServer::start(),
            clock: FaultFs::new(&folder),
            folder,
            served: 0,
        }
    }

    fn yaml(&self) -> String {
        let tier = |name: &str, quotas: &str| {
            let month = "month: { limit: 1000000, calendar: month }";
            format!("  {name}: {{ priority: 1, concurrency: 4, quotas: {{ {quotas}, {month} }} }}\n")
        };
        let account = |name: &str| {
            format!(
                "  - {{ name: {name}, tier: {name}, key_sha256: {} }}\n",
                hash(&key(name))
            )
        };
        let short = format!(
            "short: {{ limit: {SHORT_LIMIT}, rolling: {SHORT_S}s }}, long: {{ limit: 1000000, rolling: 720h }}"
        );
        format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nqueue: {{ length: 8, max_wait: 30s }}\ntiers:\n{}{}anonymous: \
             short\naccounts:\n{}{}upstreams:\n  search: {{ servers: [ {{ url: \"http://{}\", slots: 4 }} ] }}\nroutes:\n  \
             - {{ path: /search, upstream: search, metered: true }}\n",
            tier("short", &short),
            tier("long", "long: { limit: 1000000, rolling: 720h }"),
            account("short"),
            account("long"),
            self.upstream.address,
        )
    }

    async fn start(&self) -> Program {
        let env = self.clock.env();
        let starting = Program::begin_in_environment(Arc::clone(&self.folder), &self.yaml(), "info", &env);
        let opened = starting.opened().await;
        opened.unwrap_or_else(|said| panic!("it does not open: {}", said.err))
    }

    fn step(&self, ms: i64) {
        self.clock.step_clock(ms);
    }

    /// So many searches of that account, all answered.
    async fn search(&mut self, program: &Program, account: &str, times: u64) {
        for _ in 0..times {
            let answer = ask(program, "/search", account).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            self.served += 1;
        }
    }

    /// Searches until it is refused, and is told for no longer than the window: that is in seconds.
    async fn search_until_refused(&mut self, program: &Program) -> i64 {
        for _ in 0..=SHORT_LIMIT {
            let answer = ask(program, "/search", "short").await;
            if answer.status() != 200 {
                answer.assert_refused(402, "quota_depleted");
                let told = answer.get("retry-after").expect("it says when").parse();
                let told = told.expect("a number of seconds");
                assert!((1..=SHORT_S + 1).contains(&told), "{told} s: {}", answer.text());
                return told;
            }
            self.served += 1;
        }
        panic!("{SHORT_LIMIT} in {SHORT_S} s");
    }

    /// Searches until it is answered, at most for moments.
    async fn search_until_served(&mut self, program: &Program) {
        let mut last = None;
        let served = tokio::time::timeout(HEALS_WITHIN, async {
            loop {
                let answer = ask(program, "/search", "short").await;
                if answer.status() == 200 {
                    return;
                }
                last = Some(format!("{:?}: {}", answer.get("retry-after"), answer.text()));
                let_pass(50).await;
            }
        });
        assert!(served.await.is_ok(), "it is still refused: {last:?}");
        self.served += 1;
    }

    /// A refused caller that returns at the time it was told is served.
    async fn assert_told_the_truth(&mut self, program: &Program) {
        let told = self.search_until_refused(program).await;
        self.step(told * SECOND_MS);
        self.search_until_served(program).await;
    }

    /// What was served is debited, once the clock has been followed.
    async fn assert_all_debited(&self, program: &Program, account: &str) {
        let mut now = used(program, account).await;
        let debited = tokio::time::timeout(HEALS_WITHIN, async {
            while now.long != self.served {
                let_pass(50).await;
                now = used(program, account).await;
            }
        });
        assert!(debited.await.is_ok(), "{} served, {now:?}", self.served);
    }
}

async fn ask(program: &Program, path: &str, account: &str) -> Answer {
    let mut client = Client::connect(program.address).await;
    let headers = format!("x-api-key: {}\r\nconnection: close\r\n", key(account));
    client.ask("GET", path, &headers).await
}

async fn used(program: &Program, account: &str) -> Used {
    let me = ask(program, "/me", account).await.json();
    let line = |name: &str| -> Value {
        let lines = me["quotas"].as_array().expect("quotas");
        let line = lines.iter().find(|line| line["name"] == name);
        line.expect("a quota of that name").clone()
    };
    let units = |name| line(name)["used"].as_u64().expect("a number");
    Used {
        long: units("long"),
        month: units("month"),
        month_ends: line("month")["next_reset"].to_string(),
    }
}

/// Until the clock is followed and all is counted by it.
async fn until_followed(program: &Program, times: f64) {
    let followed = tokio::time::timeout(HEALS_WITHIN, async {
        loop {
            let page = get(program.admin, "/metrics").await.text();
            let is_so = |line: &str| line == format!("tiergate_clock_corrections_total {times}");
            if page.lines().any(is_so) {
                return;
            }
            let_pass(50).await;
        }
    });
    assert!(followed.await.is_ok(), "{}", program.log());
}

async fn end(program: Program) {
    let log = program.kill().await;
    assert!(
        !log.contains("panicked") && !log.contains(r#""level":"ERROR""#),
        "{log}"
    );
}

async fn assert_verified(site: &Site) {
    let said = run(site.folder.path(), &["db", "verify"], "").await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

/// T1, in one run: an hour, a year and 300 years ahead for a moment.
#[tokio::test]
async fn a_clock_that_was_ahead_causes_no_lasting_refusals() {
    let mut site = Site::new();
    let program = site.start().await;
    for (round, ahead) in (1..).zip([HOUR_MS, YEAR_MS, 300 * YEAR_MS]) {
        site.search_until_refused(&program).await;
        site.step(ahead);
        site.search_until_served(&program).await;
        site.search_until_refused(&program).await;
        site.step(-ahead);
        until_followed(&program, f64::from(round)).await;
        site.assert_all_debited(&program, "short").await;
        site.assert_told_the_truth(&program).await;
    }
    site.assert_all_debited(&program, "short").await;
    assert_verified(&site).await;
    end(program).await;
    let again = site.start().await;
    site.assert_all_debited(&again, "short").await;
    site.assert_told_the_truth(&again).await;
    end(again).await;
}

/// The same, noticed by a start only.
#[tokio::test]
async fn a_clock_that_was_ahead_until_a_restart_recovers_too() {
    for ahead in [HOUR_MS, YEAR_MS, 300 * YEAR_MS] {
        let mut site = Site::new();
        let program = site.start().await;
        site.search_until_refused(&program).await;
        site.step(ahead);
        site.search_until_served(&program).await;
        end(program).await;
        let program = site.start().await;
        site.search_until_refused(&program).await;
        end(program).await;
        site.step(-ahead);
        let program = site.start().await;
        site.assert_all_debited(&program, "short").await;
        site.assert_told_the_truth(&program).await;
        end(program).await;
        let program = site.start().await;
        site.assert_all_debited(&program, "short").await;
        assert_verified(&site).await;
        end(program).await;
    }
}

/// A machine that boots in the past: until its clock is corrected what was used before counts as of the boot, afterwards by its
/// dates.
#[tokio::test]
async fn a_corrected_start_in_the_past_loses_nothing() {
    for behind in [HOUR_MS, 20 * YEAR_MS] {
        let mut site = Site::new();
        let program = site.start().await;
        site.search(&program, "short", SHORT_LIMIT).await;
        end(program).await;
        site.step(-behind);
        let program = site.start().await;
        site.assert_all_debited(&program, "short").await;
        site.assert_told_the_truth(&program).await;
        site.assert_all_debited(&program, "short").await;
        site.step(behind);
        // What was searched for in the past is dated so.
        let in_past = site.served - SHORT_LIMIT;
        if behind > 720 * HOUR_MS {
            site.served = SHORT_LIMIT;
        }
        site.assert_all_debited(&program, "short").await;
        assert!(in_past > 0);
        site.assert_told_the_truth(&program).await;
        site.assert_all_debited(&program, "short").await;
        end(program).await;
        let program = site.start().await;
        site.assert_all_debited(&program, "short").await;
        assert_verified(&site).await;
        end(program).await;
    }
}

/// T2: the old program had 9 of 59 left.
#[tokio::test]
async fn a_clock_jump_of_centuries_loses_nothing() {
    let jumps = [25 * HOUR_MS, 80 * YEAR_MS, 300 * YEAR_MS];
    for restarted in [false, true] {
        let mut site = Site::new();
        let mut program = site.start().await;
        let before = used(&program, "long").await;
        site.search(&program, "long", 20).await;
        for jump in jumps {
            site.step(jump);
            // It is noticed within a second, and then there is a minute's work.
            let_pass(1_500).await;
            site.search(&program, "long", 13).await;
        }
        assert_eq!(used(&program, "long").await.long, 13, "the others are of long ago");
        let back = -jumps.iter().sum::<i64>();
        if restarted {
            end(program).await;
            site.step(back);
            program = site.start().await;
        } else {
            site.step(back);
        }
        site.assert_all_debited(&program, "long").await;
        let now = used(&program, "long").await;
        if now.month_ends == before.month_ends {
            assert_eq!(now.month, site.served, "{now:?}");
        }
        assert_verified(&site).await;
        end(program).await;
        let again = site.start().await;
        site.assert_all_debited(&again, "long").await;
        end(again).await;
    }
}
