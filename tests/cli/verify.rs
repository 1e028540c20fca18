//! `tiergate db verify`: on an intact database, and on damaged ones.

use std::fs;
use std::os::unix::fs::FileExt;

use rusqlite::Connection;

use crate::data::{Site, data, json, lines, roll_up, run, said};

#[tokio::test]
async fn an_intact_database_is_ok_running_stopped_or_backed_up() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    site.search("", "/thumbnail", 4).await;
    let checks = json(&folder, &["db", "verify"]).await;
    assert_eq!(checks["ok"], true, "{checks}");
    assert_eq!(checks["checks"].as_array().map(Vec::len), Some(8));
    said(&folder, &["backup", "saved.db"]).await;
    said(&folder, &["db", "verify", "saved.db"]).await;
    let _kept = site.kill().await;
    let table = lines(&said(&folder, &["db", "verify"]).await);
    assert!(table.iter().all(|line| line.starts_with("ok ")), "{table:?}");
}

#[tokio::test]
async fn a_damaged_page_is_told_and_the_exit_code_is_1() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    let _kept = site.stop().await;
    let file = data(&folder).join("tiergate.db");
    let length = fs::metadata(&file).expect("it is there").len();
    let open = fs::OpenOptions::new().write(true).open(&file).expect("it is ours");
    for page in 2..length / 4_096 {
        open.write_all_at(&[0xa5; 64], page * 4_096).expect("it is ours");
    }
    let output = run(&folder, &["db", "verify"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.starts_with("wrong  the file is intact (integrity_check)\n"),
        "{output:?}"
    );
    assert!(said.contains("failed verification: restore a backup"), "{said}");
}

/// Each sum is recounted: a change in one place is reported.
#[tokio::test]
async fn sums_that_differ_from_their_rows_are_reported() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 5).await;
    site.search("", "/thumbnail", 4).await;
    let _kept = site.stop().await;
    roll_up(&folder).await;
    said(&folder, &["db", "verify"]).await;
    said(&folder, &["backup", "saved.db"]).await;
    for (change, told) in [
        (
            "DELETE FROM job WHERE number = 3",
            "1 of 8 jobs are missing, 7 are there",
        ),
        (
            "UPDATE job SET units = 7 WHERE number = 2",
            "job 2 took 7 units instead of 2",
        ),
        ("UPDATE rolled_up SET job = 900", "is rolled up to job 900"),
        (
            "UPDATE traffic SET jobs = jobs + 1 WHERE period = 86400",
            "period of 86400 s from",
        ),
        (
            "UPDATE usage SET units = 0 WHERE period = 3600",
            "units more than its jobs",
        ),
        (
            "UPDATE calendar_sum SET units = units + 1",
            "units, and its jobs took 10",
        ),
        (
            "DELETE FROM calendar_sum WHERE account <> 0",
            "callers have debits and no sum",
        ),
        ("DELETE FROM job_hour", "job 1 is not among those of its hour"),
    ] {
        fs::copy(folder.join("saved.db"), folder.join("changed.db")).expect("a file");
        let open = Connection::open(folder.join("changed.db")).expect("it is ours");
        assert!(open.execute(change, []).expect("it is SQL") > 0, "{change}");
        drop(open);
        let output = run(&folder, &["db", "verify", "changed.db"]).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.code() == Some(1) && said.contains(told),
            "{change}: {said}"
        );
    }
}
