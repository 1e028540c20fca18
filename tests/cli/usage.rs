//! `tiergate usage` and `tiergate audit`, while a server runs, after it stopped and after it was killed.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::data::{Site, json, lines, roll_up, run, said, wrong};

fn figures(row: &Value) -> [u64; 4] {
    ["jobs", "succeeded", "units", "refused"].map(|name| row[name].as_u64().expect("a number"))
}

/// Regression: the journal had account ids alone, so usage could not be attributed.
#[tokio::test]
async fn usage_names_callers_and_includes_the_last_answer() {
    let site = Site::start().await;
    site.search("acme", "/search", 3).await;
    site.search("bolt", "/thumbnail", 4).await;
    assert_eq!(site.search("", "/thumbnail", 2).await, 200);
    let folder = site.folder.path().to_owned();

    let all = json(&folder, &["usage"]).await;
    assert_eq!(figures(&all["total"]), [9, 9, 12, 0]);
    assert_eq!(all["complete"], true);
    let by_caller = all["rows"].as_array().expect("rows");
    assert_eq!(by_caller[0]["caller"]["account"], "acme");
    assert_eq!(figures(&by_caller[0]), [3, 3, 6, 0]);
    assert_eq!(by_caller[1]["caller"]["account"], "bolt");
    assert!(by_caller[2]["caller"]["network"].is_string(), "{all}");

    let stranger = json(&folder, &["usage", "127.0.0.1", "--by", "outcome"]).await;
    assert_eq!(figures(&stranger["total"]), [2, 2, 2, 0]);
    assert_eq!(stranger["rows"][0]["outcome"], "succeeded");

    // The anonymous caller has 3 units a day: one more search is served, the next one is refused.
    assert_eq!(site.search("", "/thumbnail", 2).await, 402);
    let stopped = site.stop().await;
    let stranger = json(&folder, &["usage", "127.0.0.1"]).await;
    assert_eq!(figures(&stranger["total"])[..3], [3, 3, 3], "after a clean stop");

    let site = stopped.start().await;
    site.search("acme", "/thumbnail", 1).await;
    let _kept = site.kill().await;
    let table = lines(&said(&folder, &["usage", "--top", "1", "--since", "30m"]).await);
    assert_eq!(table[0], "CALLER JOBS SUCCEEDED UNITS REFUSED MEAN WAIT MEAN SERVICE");
    assert!(table[1].starts_with("acme 4 4 7 0 "), "after a kill: {table:?}");
    assert!(table[2].starts_with("total 11 11 14 "), "{table:?}");
    assert!(table.last().expect("a line").ends_with(" UTC"), "{table:?}");
    assert_eq!(table[3], "2 more rows: see --top", "{table:?}");
    let table = lines(&said(&folder, &["usage", "--top", "2"]).await);
    assert_eq!(table[4], "1 more row: see --top", "{table:?}");
    let none = run(&folder, &["usage", "--top", "0"]).await;
    assert_eq!(none.status.code(), Some(2), "a table without rows was written");
    assert!(String::from_utf8_lossy(&none.stderr).contains("0 is not in 1.."));
    let tiers = lines(&said(&folder, &["usage", "acme"]).await);
    assert!(tiers[1].starts_with("gold 4 4 7 0 "), "{tiers:?}");
}

#[tokio::test]
async fn delegated_users_have_usage_of_their_own() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    let admin = site.program.admin.to_string();
    let add = [
        "account",
        "add",
        "--name",
        "bot",
        "--tier",
        "gold",
        "--delegate",
        "--admin",
        &admin,
    ];
    said(&folder, &add).await;
    let key = json(&folder, &["key", "add", "bot", "--admin", &admin]).await;
    let key = key["key"].as_str().expect("a key").to_owned();
    let mut client = crate::support::Client::connect(site.program.address).await;
    for user in ["ann", "ann", "bob"] {
        let headers = format!("x-api-key: {key}\r\nx-tiergate-user: {user}\r\n");
        assert_eq!(client.ask("GET", "/thumbnail", &headers).await.status(), 200);
    }
    let jobs = |figures: [u64; 4]| figures[0];
    let whole = json(&folder, &["usage", "bot"]).await;
    assert_eq!(jobs(figures(&whole["total"])), 3, "an account's include its users'");
    let ann = json(&folder, &["usage", "bot", "--user", "ann"]).await;
    assert_eq!(jobs(figures(&ann["total"])), 2);
    let each = json(&folder, &["usage", "bot", "--by", "account"]).await;
    assert_eq!(each["rows_total"], 2);

    // A removed account keeps its name in history.
    said(&folder, &["account", "remove", "bot", "--yes", "--admin", &admin]).await;
    let table = lines(&said(&folder, &["usage", "bot", "--by", "account"]).await);
    assert!(table[1].starts_with("bot user "), "{table:?}");
}

/// Rolled-up sums, single jobs and parts of an hour or a day add up to the same.
#[tokio::test]
async fn usage_is_the_same_before_and_after_a_roll_up() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    site.search("", "/thumbnail", 4).await;
    let kept = site.stop().await;
    let spans = ["10m", "2h", "24h", "14d", "30d", "366d"];
    let mut before = Vec::new();
    for span in spans {
        before.push(json(&folder, &["usage", "--since", span]).await["rows"].clone());
    }
    assert!(before.iter().all(|rows| rows == &before[0]), "{before:?}");
    roll_up(&folder).await;
    for (span, before) in spans.iter().zip(&before) {
        let after = json(&folder, &["usage", "--since", span]).await;
        assert_eq!((&after["rows"], &after["complete"]), (before, &true.into()), "{span}");
    }
    let site = kept.start().await;
    site.search("acme", "/search", 2).await;
    let modes = ["tiergate.db", "tiergate.db-wal", "tiergate.db-shm"];
    let mode = |name| {
        let found = std::fs::metadata(folder.join("data").join(name)).expect("it is there");
        found.permissions().mode() & 0o777
    };
    assert_eq!(modes.map(mode), [0o600; 3], "nobody else may read it");
    for span in spans {
        let after = json(&folder, &["usage", "acme", "--since", span]).await;
        assert_eq!(figures(&after["total"]), [5, 5, 10, 0], "{span}");
    }
}

/// Without single jobs, the first hour can't be split.
#[tokio::test]
async fn usage_reports_where_its_exact_figures_start() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    let _kept = site.stop().await;
    roll_up(&folder).await;
    let open = rusqlite::Connection::open(folder.join("data/tiergate.db")).expect("it is ours");
    open.execute("DELETE FROM job", []).expect("it is SQL");
    drop(open);
    let usage = json(&folder, &["usage", "--since", "26h"]).await;
    assert_eq!(
        (&usage["complete"], figures(&usage["total"])),
        (&false.into(), [3, 3, 6, 0])
    );
    let from = usage["from"].as_str().expect("a time");
    assert!(from.ends_with(":00:00.000Z"), "a whole hour: {from}");
    let table = said(&folder, &["usage", "--since", "26h"]).await;
    assert!(
        table.contains("Older jobs are kept only as sums of whole hours"),
        "{table}"
    );
}

#[tokio::test]
async fn an_unknown_account_or_database_is_explained() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    let said = wrong(&folder, &["usage", "nobody"]).await;
    assert_eq!(
        said,
        "error: no account is or was named nobody, and it is not an address; `tiergate account list` shows all accounts\n"
    );
    let said = wrong(&folder, &["usage", "127.0.0.1", "--user", "ann"]).await;
    assert!(said.contains("only an account has users"), "{said}");
    let said = wrong(&folder, &["usage", "--data-dir", "elsewhere"]).await;
    assert!(said.contains("there is no database in elsewhere"), "{said}");
    assert!(!folder.join("elsewhere").exists(), "a command that reads makes nothing");
    let said = wrong(&folder, &["usage", "--config", "other.yaml", "--json"]).await;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["reason"], "bad_config");
}

/// Regression: a missing log is a sign of lost commits, but a command that read the database created an empty one.
#[tokio::test]
async fn commands_do_not_recreate_a_missing_log() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 1).await;
    let _kept = site.kill().await;
    let log = folder.join("data/tiergate.db-wal");
    std::fs::remove_file(&log).expect("it is ours");
    for command in ["usage", "jobs", "audit"] {
        let said = wrong(&folder, &[command]).await;
        assert!(said.contains("damaged") && said.contains("is gone"), "{said}");
    }
    assert!(!log.exists());
}

#[tokio::test]
async fn audit_works_with_and_without_a_running_server() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    let table = said(&folder, &["audit"]).await;
    assert!(table.starts_with("TIME"), "{table}");
    let _kept = site.stop().await;
    let changes = json(&folder, &["audit", "--since", "1h", "--limit", "5"]).await;
    assert!(changes["changes"].is_array(), "{changes}");
}
