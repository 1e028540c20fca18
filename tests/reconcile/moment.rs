//! Moments in which everything stands still: all pages must show the same jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::agree::{number, same, text};
use super::clients::CALLERS;
use super::let_pass;
use super::model::{Counts, bump};
use super::operator::{Numbers, Operator};
use super::rig::Rig;
use super::sources::{Metrics, rows};
use super::witness::Saw;
use crate::support::soon;

/// Waits long enough for a moment.
const PATIENT: Numbers = Numbers {
    max_wait_ms: 15_000,
    timeout_ms: 15_000,
    ..Numbers::AT_FIRST
};

/// Places among [`CALLERS`].
const FREE: usize = 0;
const OTHER_FREE: usize = 1;
const LOU: usize = 2;
const LEN: usize = 3;
const MIA: usize = 4;
const MAX: usize = 5;
const HAL: usize = 6;

/// Clients whose requests are under way, by the names of those.
#[derive(Default)]
struct Held(BTreeMap<String, JoinHandle<Saw>>);

impl Held {
    /// Sends a search that is held until the servers let go of all, and goes on when `GET /queue` has it.
    async fn send(&mut self, rig: &mut Rig, operator: &Operator, caller: usize) -> String {
        let name = format!("held-{}-{}", self.0.len(), CALLERS[caller].name());
        let (in_flight, _) = jobs(&operator.told(200, "GET /queue").await, |_| true);
        let asker = rig.asker(caller, name.clone());
        let asking = tokio::spawn(async move { asker.search("do=hold").await });
        self.0.insert(name.clone(), asking);
        soon("the job is there", async {
            while jobs(&operator.told(200, "GET /queue").await, |_| true).0 <= in_flight {}
        })
        .await;
        name
    }

    /// The status and the reason that came back.
    async fn end(&mut self, name: &str) -> (u16, String) {
        let asking = self.0.remove(name).expect("it was sent");
        match soon(name, asking).await.expect("a client is content") {
            Saw::Whole { status, reason, .. } => (status, reason.unwrap_or_default()),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// All others are served, whenever their turn is.
    async fn all_are_served(&mut self) {
        for name in self.0.keys().cloned().collect::<Vec<_>>() {
            assert_eq!(self.end(&name).await, (200, String::new()), "{name}");
        }
    }
}

/// The jobs of `GET /queue` of which that is so: in flight, and by what is told of them.
fn jobs(queue: &Value, is_so: impl Fn(&Value) -> bool) -> (usize, Counts) {
    let mut told = Counts::new();
    for state in ["waiting", "running"] {
        for job in queue[state].as_array().expect("a list").iter().filter(|job| is_so(job)) {
            let [caller, tier] = [&job["caller"], &job["tier"]].map(text);
            bump(&mut told, format!("{state} {caller} {tier} {}", job["priority"]));
        }
    }
    (told.values().sum::<u64>() as usize, told)
}

/// Pauses dispatch, lets jobs queue up, and compares all pages; then displaces, refuses, cancels and hangs up, and does so again.
pub async fn all_pages_show_the_same_moment(rig: &mut Rig) {
    rig.servers.hold(true);
    let mut operator = rig.operator();
    operator.edit(PATIENT).await;
    let mut held = Held::default();
    for caller in [MIA, HAL] {
        held.send(rig, &operator, caller).await;
    }
    operator.switch("POST /dispatch/pause").await;
    let queued = [FREE, OTHER_FREE, LOU, LEN, MIA, MAX, MAX, HAL];
    let mut names = Vec::new();
    for caller in queued {
        names.push(held.send(rig, &operator, caller).await);
    }
    let running = expected("running", &[MIA, HAL]);
    let waiting = expected("waiting", &queued);
    pages_show(rig, &operator, &[running.clone(), waiting].concat()).await;

    of_another_second(&operator).await;
    // Of the lowest priority the newest is displaced; then no lower one is queued.
    let displacing = rig.asker(HAL, "displacing".to_owned());
    let displacing = tokio::spawn(async move { displacing.search("do=hold").await });
    assert_eq!(held.end(&names[1]).await, (503, "displaced".to_owned()));
    held.0.insert("displacing".to_owned(), displacing);
    let refused = rig.asker(OTHER_FREE, "refused".to_owned()).search("do=hold").await;
    assert!(matches!(refused, Saw::Whole { status: 503, .. }), "{refused:?}");
    let queue = operator.told(200, "GET /queue").await;
    let of_lou = queue["waiting"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|job| job["caller"] == "lou");
    operator.cancel(text(&of_lou.expect("it waits")["id"])).await;
    assert_eq!(held.end(&names[2]).await, (503, "cancelled_by_operator".to_owned()));
    let leaving = rig.asker(LEN, "leaving".to_owned());
    leaving.search_in_vain("do=hold", Duration::from_millis(100)).await;
    let queued = [FREE, LEN, MIA, MAX, MAX, HAL, HAL];
    let waiting = expected("waiting", &queued);
    pages_show(rig, &operator, &[running, waiting].concat()).await;
    let refusals = operator.told(200, "GET /refusals").await;
    let last: Vec<&str> = (0..3).map(|at| text(&refusals["refusals"][at]["reason"])).collect();
    assert_eq!(last, ["cancelled_by_operator", "queue_full", "displaced"], "{refusals}");

    operator.switch("POST /dispatch/resume").await;
    rig.servers.hold(false);
    held.all_are_served().await;
    rig.acts = operator.acts;
    rig.settle().await;
}

/// Waits until what is refused next is of another second than the last refusals: of one second not all are listed.
async fn of_another_second(operator: &Operator) {
    soon("another second", async {
        loop {
            let refusals = operator.told(200, "GET /refusals").await;
            let last: jiff::Timestamp = text(&refusals["refusals"][0]["at"]).parse().expect("RFC 3339");
            if jiff::Timestamp::now().as_second() > last.as_second() {
                return;
            }
            let_pass(Duration::from_millis(50)).await;
        }
    })
    .await;
}

fn expected(state: &str, callers: &[usize]) -> Vec<String> {
    let job = |caller: &usize| format!("{state} {}", CALLERS[*caller].name());
    callers.iter().map(job).collect()
}

/// All pages show these jobs: a state and a caller each.
async fn pages_show(rig: &mut Rig, operator: &Operator, known: &[String]) {
    let mut by_caller = Counts::new();
    known.iter().for_each(|job| bump(&mut by_caller, job));
    // A client that has left is noticed a moment later.
    soon("GET /queue has no other jobs", async {
        while jobs(&operator.told(200, "GET /queue").await, |_| true).0 != known.len() {}
    })
    .await;
    let (_, told) = jobs(&operator.told(200, "GET /queue").await, |_| true);
    let mut callers = Counts::new();
    let mut tiers = Counts::new();
    let mut priorities = Counts::new();
    for (job, count) in &told {
        let [state, caller, tier, priority]: [&str; 4] =
            job.split(' ').collect::<Vec<_>>().try_into().expect("four words");
        *callers.entry(format!("{state} {caller}")).or_default() += count;
        *tiers.entry(format!("{state} {tier}")).or_default() += count;
        if state == "waiting" {
            *priorities.entry(priority.to_owned()).or_default() += count;
        }
    }
    same("jobs by caller: clients, GET /queue", &by_caller, &callers);
    metrics_show(rig, &tiers, &priorities).await;
    status_shows(operator, &tiers, &priorities).await;
    everybody_sees(rig, &priorities, known).await;
    callers_show(rig, operator, &callers).await;
}

async fn metrics_show(rig: &Rig, tiers: &Counts, priorities: &Counts) {
    let metrics = Metrics::read(rig.program.admin).await;
    let depth = metrics.counts("tiergate_queue_depth", &["priority"], &[]);
    same("queued by priority: GET /queue, metrics", priorities, &depth);
    let mut in_flight = Counts::new();
    for (key, count) in tiers {
        let (_, tier) = key.split_once(' ').expect("a state and a tier");
        *in_flight.entry(tier.to_owned()).or_default() += count;
    }
    let told = metrics.counts("tiergate_jobs_in_flight", &["tier"], &[]);
    same("in flight by tier: GET /queue, metrics", &in_flight, &told);
    assert_eq!(metrics.sum("tiergate_jobs_running", &[("upstream", "search")]), 2.0);
    assert_eq!(metrics.sum("tiergate_upstream_server_slots", &[("state", "busy")]), 2.0);
    assert_eq!(metrics.sum("tiergate_dispatch_paused", &[]), 1.0);
}

/// `GET /status`, which is what `tiergate status --json` prints.
async fn status_shows(operator: &Operator, tiers: &Counts, priorities: &Counts) {
    let status = operator.told(200, "GET /status").await;
    let mut told = Counts::new();
    for line in status["tiers"].as_array().expect("a list") {
        for state in ["waiting", "running"] {
            told.insert(format!("{state} {}", text(&line["tier"])), number(&line[state]));
        }
    }
    told.retain(|_, count| *count > 0);
    same("by tier: GET /queue, GET /status", tiers, &told);
    let by_priority = status["queue"]["by_priority"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate();
    let told = by_priority.map(|(priority, count)| (priority.to_string(), number(count)));
    same(
        "queued by priority: GET /queue, GET /status",
        priorities,
        &told.filter(|(_, count)| *count > 0).collect(),
    );
    let upstream = &status["upstreams"][0];
    let waiting: u64 = priorities.values().sum();
    assert_eq!(
        (number(&upstream["running"]), number(&upstream["waiting"])),
        (2, waiting),
        "{upstream}"
    );
    assert_eq!(number(&status["queue"]["waiting"]), waiting);
    let reasons: Vec<&str> = status["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| text(&of["reason"]))
        .collect();
    assert_eq!(reasons, ["paused"], "{status}");
}

/// `/status.json`, and `/me` of each caller.
async fn everybody_sees(rig: &mut Rig, priorities: &Counts, known: &[String]) {
    let name = format!("status-{}", rig.dice.below(u64::MAX));
    // The state is looked at at most four times a second.
    let told = soon("/status.json shows it", async {
        for number in 0.. {
            let page = rig
                .asker(FREE, format!("{name}-{number}"))
                .page("/status.json", "")
                .await;
            let queue = &page["now"]["queue"];
            let by_priority = queue["by_priority"].as_object().expect("an object").iter();
            let told: Counts = by_priority
                .map(|(priority, count)| (priority.clone(), super::agree::number(count)))
                .collect();
            if page["now"]["upstreams"][0]["busy"] == 2
                && told.values().sum::<u64>() == priorities.values().sum::<u64>()
            {
                assert_eq!(queue["taken"], priorities.values().sum::<u64>(), "{queue}");
                assert_eq!(
                    queue["places"].as_array().map(Vec::len),
                    Some(priorities.values().sum::<u64>() as usize)
                );
                return told;
            }
            let_pass(Duration::from_millis(50)).await;
        }
        unreachable!("it asks for ever")
    })
    .await;
    let told = told.into_iter().filter(|(_, count)| *count > 0);
    same(
        "queued by priority: GET /queue, /status.json",
        priorities,
        &told.collect(),
    );
    for caller in [FREE, OTHER_FREE, LOU, LEN, MIA, MAX, HAL] {
        let name = format!("{name}-me-{caller}");
        let me = rig.asker(caller, name).page("/me", "").await;
        let count = |state: &str| {
            known
                .iter()
                .filter(|job| **job == format!("{state} {}", CALLERS[caller].name()))
                .count()
        };
        let (waiting, running) = (count("waiting"), count("running"));
        assert_eq!(
            (&me["waiting"], &me["running"]),
            (&waiting.into(), &running.into()),
            "{me}"
        );
        assert_eq!(me["quotas"][0]["held"], waiting + running, "{me}");
    }
}

/// `tiergate top`'s callers, and each account's own page.
async fn callers_show(rig: &Rig, operator: &Operator, callers: &Counts) {
    let list = operator.told(200, "GET /callers").await;
    let mut told = Counts::new();
    for line in list["callers"].as_array().expect("a list") {
        for state in ["waiting", "running"] {
            told.insert(format!("{state} {}", text(&line["caller"])), number(&line[state]));
        }
    }
    told.retain(|_, count| *count > 0);
    same("by caller: GET /queue, GET /callers", callers, &told);
    for caller in CALLERS.iter().filter(|caller| !caller.account.is_empty()) {
        let account = operator.told(200, &format!("GET /accounts/{}", caller.account)).await;
        let in_flight = account["jobs"].as_array().expect("a list").len() as u64;
        let known = callers
            .iter()
            .filter(|(key, _)| key.ends_with(&format!(" {}", caller.account)));
        assert_eq!(in_flight, known.map(|(_, count)| count).sum::<u64>(), "{account}");
        let units = "SELECT account.name, sum(units) FROM job JOIN account ON account.id = job.account GROUP BY 1";
        let used = rows(rig.folder.path(), units).get(caller.account).copied().unwrap_or(0);
        assert_eq!(number(&account["usage"][0]["used"]), used, "{account}");
    }
}

/// Jobs run and wait when the program is told to end: who waits is refused, and who runs is served.
pub async fn shut_down_under_load(rig: &mut Rig) {
    rig.servers.hold(true);
    let operator = rig.operator();
    let mut held = Held::default();
    for caller in [MIA, MIA, HAL, HAL, HAL] {
        held.send(rig, &operator, caller).await;
    }
    let mut waiting = Vec::new();
    for caller in [FREE, LOU] {
        waiting.push(held.send(rig, &operator, caller).await);
    }
    rig.program.signal("TERM").await;
    for name in waiting {
        assert_eq!(held.end(&name).await, (503, "shutting_down".to_owned()));
    }
    rig.servers.hold(false);
    held.all_are_served().await;
    assert_eq!(rig.program.exit_code().await, Some(0));
    rig.acts = operator.acts;
    rig.settle_after_its_end();
}
