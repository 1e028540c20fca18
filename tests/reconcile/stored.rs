//! What is stored, compared with the sums of single requests: by the commands that read the data folder while no program runs, and
//! by the pages of one that has just started.

use serde_json::Value;

use super::agree::{me_tells_what_is_used, number, same, text, within};
use super::clients::CALLERS;
use super::model::{Counts, bump};
use super::rig::Rig;
use super::sources::{command, rows};
use super::witness::Saw;
use crate::support::program::run;

/// Jobs that are listed one by one; those of an hour would be a gigabyte.
const LISTED_MAX: u64 = 200_000;

/// After the program's end: the commands that read the data folder, and what is only stored then.
pub async fn while_it_is_stopped(rig: &mut Rig) {
    let folder = rig.folder.path().to_owned();
    // Refusals are stored at the end of their minute and of the program.
    let stored = "SELECT tier || ' ' || reason || ' ' || status, sum(count) FROM refusal GROUP BY 1";
    same(
        "refusals: log, database",
        &rig.sums.refusals_metered,
        &rows(&folder, stored),
    );
    let outcomes = rows(&folder, "SELECT tier || ' ' || outcome, count(*) FROM job GROUP BY 1");
    within("jobs: witnesses, database", &rig.sums.outcomes, &outcomes);
    let statuses = rows(&folder, "SELECT tier || ' ' || status, count(*) FROM job GROUP BY 1");
    within("jobs by status: witnesses, database", &rig.sums.statuses, &statuses);
    usage(rig, &outcomes).await;
    if outcomes.values().sum::<u64>() <= LISTED_MAX {
        let jobs = run(&folder, &["jobs", "--json", "--limit", &LISTED_MAX.to_string()], "").await;
        let mut by_outcome = Counts::new();
        for line in jobs.out.lines() {
            let job: Value = serde_json::from_str(line).expect("JSON");
            bump(
                &mut by_outcome,
                format!("{} {}", text(&job["tier"]), text(&job["outcome"])),
            );
        }
        same("jobs: `tiergate jobs`, database", &by_outcome, &outcomes);
    }
    let audit = command(&folder, &["audit", "--limit", "1000000"]).await;
    let mut actions = Counts::new();
    for change in audit["changes"].as_array().expect("a list") {
        bump(&mut actions, text(&change["action"]));
    }
    // What an applied file changes has rows of its own.
    actions.retain(|action, _| rig.acts.audited.contains_key(action));
    same("actions: operator, audit log", &rig.acts.audited, &actions);
    let verified = run(&folder, &["db", "verify"], "").await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// After a restart: the pages that read the database, which now has all refusals, whatever their minute.
pub async fn after_a_restart(rig: &mut Rig) {
    let folder = rig.folder.path().to_owned();
    let answers = "SELECT CAST(status AS TEXT), sum(n) FROM (SELECT status, 1 AS n FROM job \
                   UNION ALL SELECT status, count FROM refusal) WHERE status <> 0 GROUP BY 1";
    let answers = rows(&folder, answers);
    stats(rig, &answers).await;
    status_page(rig).await;
    me_tells_what_is_used(rig).await;
    callers(rig).await;
}

async fn usage(rig: &Rig, outcomes: &Counts) {
    let folder = rig.folder.path();
    let ended = |outcome: &str| {
        let of = outcomes.iter().filter(|(key, _)| key.ends_with(outcome));
        of.map(|(_, count)| count).sum::<u64>()
    };
    let all = command(folder, &["usage", "--since", "7d"]).await;
    assert_eq!(all["complete"], true, "{all}");
    let units = rows(folder, "SELECT 'units', sum(units) FROM job")["units"];
    let refused: u64 = rig.sums.refusals_metered.values().sum();
    let known = [ended(""), ended(" succeeded"), units, refused];
    assert_eq!(figures(&all["total"]), known, "all: witnesses, `tiergate usage`");
    let by_outcome = command(folder, &["usage", "--by", "outcome", "--since", "7d"]).await;
    for row in by_outcome["rows"].as_array().expect("rows") {
        let outcome = text(&row["outcome"]);
        if outcome != "refused" {
            assert_eq!(
                figures(row)[0],
                ended(&format!(" {outcome}")),
                "{outcome}: database, `tiergate usage`"
            );
        }
    }
    for caller in CALLERS.iter().filter(|caller| caller.connections > 0) {
        let name = caller.name();
        let [jobs, succeeded, units, refused] =
            figures(&command(folder, &["usage", &name, "--since", "7d"]).await["total"]);
        let known = rig.sums.callers[&name];
        // Each had a debit before it was refused, so its refusals are stored by caller.
        assert_eq!(refused, known.refused, "{name}: witnesses, `tiergate usage`");
        assert!(known.jobs.contain(jobs), "{name}: {jobs} jobs of {known:?}");
        assert!(known.succeeded.contain(succeeded), "{name}: {succeeded} of {known:?}");
        assert!(known.units.contain(units), "{name}: {units} units of {known:?}");
    }
}

/// `/stats` for all, and `/me?period` for each caller.
async fn stats(rig: &mut Rig, answers: &Counts) {
    let total: u64 = answers.values().sum();
    let mut of_callers = 0;
    for period in ["hour", "day"] {
        let query = format!("period={period}");
        let page = rig.asker(0, format!("stats-{period}")).page("/stats", &query).await;
        assert_eq!(column(&page, "total"), total, "answers: database, /stats?{query}");
        for status in ["200", "400", "402", "405", "500", "503"] {
            let known = answers.get(status).copied().unwrap_or(0);
            assert_eq!(column(&page, status), known, "{status}: database, /stats?{query}");
        }
    }
    for (at, _) in CALLERS.iter().enumerate() {
        let page = rig.asker(at, format!("mine-{at}")).answer("/me", "period=day").await;
        if let Saw::Whole { status: 200, .. } = page.0 {
            of_callers += column(&page.1, "total");
        }
    }
    let nobodys = rows(
        rig.folder.path(),
        "SELECT 'refused', coalesce(sum(count), 0) FROM refusal WHERE account + abs(network) = 0",
    );
    assert_eq!(
        of_callers + nobodys["refused"],
        total,
        "answers: all callers' /me, /stats"
    );
}

/// The status page has successes, other answers of upstreams, and refusals by reason.
async fn status_page(rig: &mut Rig) {
    let folder = rig.folder.path().to_owned();
    let page = rig.asker(0, "status".to_owned()).page("/status.json", "").await;
    let succeeded = rows(&folder, "SELECT 'all', count(*) FROM job WHERE outcome = 'succeeded'")["all"];
    let mut reasons = rows(
        &folder,
        "SELECT reason || ' ' || status, sum(count) FROM refusal GROUP BY 1",
    );
    let failed = "SELECT 'failed ' || status, count(*) FROM job WHERE outcome = 'failed' AND status > 0 GROUP BY 1";
    reasons.extend(rows(&folder, failed));
    for period in ["3d", "60d"] {
        let traffic = &page["traffic"][period];
        let sum = |name: &str| {
            traffic[name]
                .as_array()
                .expect("a list")
                .iter()
                .map(number)
                .sum::<u64>()
        };
        assert_eq!(sum("served"), succeeded, "successes: database, /status.json {period}");
        let lines = traffic["reasons"].as_array().expect("a list").iter();
        let told = lines.map(|line| {
            (
                format!("{} {}", text(&line["reason"]), line["status"]),
                number(&line["count"]),
            )
        });
        same(
            &format!("turned away: database, /status.json {period}"),
            &reasons,
            &told.collect(),
        );
        for name in ["room", "limits", "rate", "request", "fault"] {
            let of_group = reasons.iter().filter(|(reason, _)| group(reason) == name);
            assert_eq!(
                sum(name),
                of_group.map(|(_, count)| count).sum::<u64>(),
                "{period}: {name}"
            );
        }
    }
}

/// What the status page takes together (docs/semantics.md).
fn group(reason: &str) -> &'static str {
    match reason.split_once(' ').map_or(reason, |(reason, _)| reason) {
        "queue_full" | "displaced" | "wait_too_long" | "waited_too_long" => "room",
        "shutting_down" | "admission_stopped" | "cancelled_by_operator" => "room",
        "quota_depleted" | "concurrency_exceeded" => "limits",
        "rate_limited" | "blocked" => "rate",
        "failed" | "upstream_failed" | "upstream_timeout" | "upstream_unreachable" => "fault",
        _ => "request",
    }
}

/// `tiergate top`'s callers are those of the last hour.
async fn callers(rig: &mut Rig) {
    let operator = rig.operator();
    let list = operator.told(200, "GET /callers").await;
    rig.acts = operator.acts;
    for caller in CALLERS.iter().filter(|caller| !caller.account.is_empty()) {
        let lines = list["callers"].as_array().expect("a list");
        let line = lines.iter().find(|line| line["caller"] == caller.account);
        let line = line.unwrap_or_else(|| panic!("{} is not in {list}", caller.account));
        // An hour ago is not the same moment for both.
        let [mut least, mut most] = [[0; 4]; 2];
        for (since, bound) in [("3590s", &mut least), ("3610s", &mut most)] {
            *bound = figures(&command(rig.folder.path(), &["usage", caller.account, "--since", since]).await["total"]);
        }
        for (at, name) in ["jobs", "succeeded", "units", "refused"]
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != 1)
        {
            let told = number(&line[name]);
            assert!(
                (least[at]..=most[at]).contains(&told),
                "{name} of {}: {told} in GET /callers",
                caller.account
            );
        }
    }
}

fn figures(row: &Value) -> [u64; 4] {
    ["jobs", "succeeded", "units", "refused"].map(|name| number(&row[name]))
}

fn column(rows: &Value, name: &str) -> u64 {
    rows.as_array()
        .expect("rows")
        .iter()
        .map(|row| number(&row[name]))
        .sum()
}
