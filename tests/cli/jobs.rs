//! `tiergate jobs`, while a server runs and after it stopped.

use std::process::Stdio;

use serde_json::Value;
use tiergate::store::View;
use tiergate::store::jobs::JobQuery;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::data::{Site, json, lines, run, said, wrong};
use crate::support::soon;

async fn all(folder: &std::path::Path, args: &[&str]) -> Vec<Value> {
    let text = said(folder, &[&["jobs", "--json"], args].concat()).await;
    let parsed: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    parsed.expect("one object a line")
}

#[tokio::test]
async fn jobs_are_shown_newest_last_and_filtered() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 2).await;
    site.search("bolt", "/thumbnail", 1).await;
    site.search("", "/thumbnail", 1).await;
    let jobs = all(&folder, &[]).await;
    let numbers: Vec<u64> = jobs
        .iter()
        .map(|job| job["number"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(jobs[0]["caller"]["account"], "acme");
    assert_eq!((&jobs[0]["units"], &jobs[0]["status"]), (&2.into(), &200.into()));
    for (args, count) in [
        (&["--account", "acme"][..], 2),
        (&["--account", "127.0.0.1"], 1),
        (&["--tier", "gold"], 3),
        (&["--tier", "free", "--account", "acme"], 0),
        (&["--outcome", "succeeded"], 4),
        (&["--outcome", "failed"], 0),
        (&["--since", "1h"], 4),
        (&["--since", "2199-01-01T00:00:00Z", "--limit", "9"], 0),
        (&["--limit", "1"], 1),
        (&["--limit", "0"], 0),
    ] {
        let found = all(&folder, args).await;
        assert_eq!(found.len(), count, "{args:?}");
    }
    assert_eq!(all(&folder, &["--limit", "1"]).await[0]["number"], 4, "the last one");
    let running = said(&folder, &["jobs"]).await;
    let _kept = site.stop().await;
    assert_eq!(said(&folder, &["jobs"]).await, running);
    let table = lines(&running);
    assert_eq!(
        table[0],
        "NUMBER ENDED CALLER TIER UPSTREAM PRIORITY OUTCOME STATUS UNITS WAIT SERVICE"
    );
    assert!(
        table[1].starts_with("1 20") && table[1].contains(" acme gold search 5 succeeded 200 2 "),
        "{table:?}"
    );
    let said = wrong(&folder, &["jobs", "--account", "nobody"]).await;
    assert!(said.contains("no account is or was named nobody"), "{said}");
    let output = run(&folder, &["jobs", "--since", "yesterday"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write how long ago, such as 2h or 7d"));
}

#[tokio::test]
async fn jobs_are_followed_as_they_finish() {
    let site = Site::start().await;
    site.search("acme", "/search", 2).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
        .args(["jobs", "--follow", "--json", "--limit", "1"])
        .current_dir(site.folder.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = async || -> u64 {
        let line = soon("a job is told", told.next_line())
            .await
            .expect("text")
            .expect("a line");
        let job: Value = serde_json::from_str(&line).expect("JSON");
        job["number"].as_u64().expect("a number")
    };
    assert_eq!(next().await, 2);
    site.search("bolt", "/search", 2).await;
    assert_eq!((next().await, next().await), (3, 4));
    // The reader is gone: that is no error.
    drop(told);
    let status = soon("it ends", child.wait()).await.expect("a child");
    assert!(status.success(), "{status}");
}

/// Regression: with a filter, each look started after the last matching job, and read more and more as others finished.
#[tokio::test]
async fn following_moves_past_jobs_that_do_not_match() {
    let site = Site::start().await;
    site.search("acme", "/search", 3).await;
    let mut view = View::open(&site.folder.path().join("data")).expect("a database");
    let mut query = JobQuery {
        tier: Some("free".to_owned()),
        ..JobQuery::default()
    };
    let (found, seen) = view.next_jobs(&query, 1_000).expect("it can be read");
    assert_eq!((found.len(), seen), (0, 3));
    query.after = seen;
    site.search("", "/thumbnail", 2).await;
    let (found, seen) = view.next_jobs(&query, 1).expect("it can be read");
    assert_eq!(
        (found.len(), found[0].number, seen),
        (1, 4, 4),
        "a full page ends with its last job"
    );
    query.after = seen;
    let (found, seen) = view.next_jobs(&query, 1_000).expect("it can be read");
    assert_eq!((found.len(), seen), (1, 5));
}

/// Following a replaced database would wait forever.
#[tokio::test]
async fn following_ends_when_the_database_is_replaced() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 1).await;
    said(&folder, &["backup", "saved.db"]).await;
    let _kept = site.stop().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tiergate"))
        .args(["jobs", "--follow", "--json"])
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = soon("a job is told", told.next_line()).await;
    assert!(matches!(first, Ok(Some(_))), "{first:?}");
    said(&folder, &["restore", "saved.db", "--force"]).await;
    let ended = soon("it ends", child.wait_with_output()).await.expect("a child");
    let why = String::from_utf8(ended.stderr).expect("text");
    assert!(
        why.contains("was replaced by another database; run the command again"),
        "{why}"
    );
    assert_eq!(ended.status.code(), Some(1));
}

#[tokio::test]
async fn usage_and_jobs_agree_after_a_restart() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 2).await;
    let site = site.kill().await.start().await;
    site.search("acme", "/search", 3).await;
    let units: u64 = all(&folder, &[])
        .await
        .iter()
        .filter_map(|job| job["units"].as_u64())
        .sum();
    assert_eq!(units, 10);
    assert_eq!(json(&folder, &["usage"]).await["total"]["units"], 10);
}
