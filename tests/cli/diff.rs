//! `tiergate diff`, run as operators run it: on two files, and on a proxy whose answers the test chooses.

use std::fs;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::folder::Folder;
use crate::support::program::{Said, run};
use crate::support::soon;

const OLD: &str = include_str!("../../tiers.yaml");

/// Both files in a folder of their own.
fn files(edits: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    let new = edits.iter().fold(OLD.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in tiers.yaml");
        text.replace(old, new)
    });
    fs::write(folder.path().join("old.yaml"), OLD).expect("a file");
    fs::write(folder.path().join("new.yaml"), new).expect("a file");
    folder
}

async fn diff(folder: &Folder, args: &[&str]) -> Said {
    let args: Vec<&str> = ["diff"].iter().chain(args).copied().collect();
    run(folder.path(), &args, "").await
}

const EDIT: [(&str, &str); 2] = [
    (
        "priority: 6, concurrency: 4, quota: { limit: 10000",
        "priority: 6, concurrency: 4, quota: { limit: 15000",
    ),
    ("listen: 127.0.0.1:8080", "listen: 127.0.0.1:8000"),
];

#[tokio::test]
async fn two_files_are_compared_in_words_and_in_json() {
    let folder = files(&EDIT);
    let said = diff(&folder, &["old.yaml", "new.yaml"]).await;
    let words = "tier `$100` (1 account): daily quota 10000 → 15000\n\
                 needs a restart: listen 127.0.0.1:8080 → 127.0.0.1:8000\n";
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), words, ""));
    let said = diff(&folder, &["old.yaml", "new.yaml", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).expect("JSON");
    let expected = serde_json::json!({ "changes": [
        { "subject": "tier `$100`", "change": "daily quota 10000 → 15000", "tier": "$100", "accounts": 1, "restart": false },
        { "subject": "listen", "change": "127.0.0.1:8080 → 127.0.0.1:8000", "tier": null, "accounts": null, "restart": true },
    ] });
    assert_eq!((said.code, answer), (Some(0), expected));
}

#[tokio::test]
async fn accounts_of_a_removed_tier_are_counted() {
    let folder = files(&[
        ("\"$100\": { priority", "\"$200\": { priority"),
        ("tier: \"$100\"", "tier: \"$200\""),
    ]);
    let said = diff(&folder, &["old.yaml", "new.yaml"]).await.out;
    assert!(said.contains("tier `$200` (1 account): added"), "{said}");
    assert!(
        said.contains("tier `$100` (1 account): removed: its accounts get the terms of `free`"),
        "{said}"
    );
}

#[tokio::test]
async fn exit_code_tells_changes_from_errors_on_request() {
    let folder = files(&EDIT);
    let code = async |args: &[&str]| diff(&folder, args).await.code;
    assert_eq!(code(&["old.yaml", "new.yaml", "--exit-code"]).await, Some(1));
    assert_eq!(code(&["old.yaml", "old.yaml", "--exit-code"]).await, Some(0));
    assert_eq!(
        diff(&folder, &["old.yaml", "old.yaml"]).await.out,
        "nothing would change\n"
    );
    let nothing: Value =
        serde_json::from_str(&diff(&folder, &["old.yaml", "old.yaml", "--json"]).await.out).expect("JSON");
    assert_eq!(nothing, serde_json::json!({ "changes": [] }));
    for trouble in [
        &["old.yaml"][..],
        &[],
        &["old.yaml", "missing.yaml", "--exit-code"],
        &["old.yaml", "missing.yaml"],
        &["--running"],
        &["--running", "new.yaml", "old.yaml"],
        &["--running", "missing.yaml"],
        &["old.yaml", "new.yaml", "--admin", "127.0.0.1:1"],
    ] {
        let said = diff(&folder, trouble).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{trouble:?}");
    }
}

#[tokio::test]
async fn errors_of_both_files_are_reported_at_once() {
    let folder = files(&[]);
    let broken =
        |name: &str, old: &str, new: &str| fs::write(folder.path().join(name), OLD.replace(old, new)).expect("a file");
    broken("old.yaml", "queue: {", "queu: {");
    broken("new.yaml", "anonymous: free", "anonymous: fre");
    let said = diff(&folder, &["old.yaml", "new.yaml"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("unknown field `queu`; did you mean `queue`?"),
        "{}",
        said.err
    );
    assert!(said.err.contains("new.yaml: 1 error"), "{}", said.err);
    let said = diff(&folder, &["old.yaml", "new.yaml", "--json"]).await;
    let error: Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!(error["reason"], "bad_config");
}

#[tokio::test]
async fn a_proxy_that_does_not_run_is_an_error() {
    let folder = files(&EDIT);
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    fs::create_dir(folder.path().join("data")).expect("a folder");
    fs::write(folder.path().join("data/admin.token"), "a".repeat(40)).expect("a file");
    let said = diff(&folder, &["--running", "new.yaml", "--admin", &address]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains(&format!("no server is running at {address}")),
        "{}",
        said.err
    );
}

/// Answers one request as it is told to, and returns that request. It replaces a proxy, so that the test can choose what a
/// proxy says.
async fn said_once(status: u16, answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        let mut asked = Vec::new();
        // The whole request ends as the file does.
        while !asked.ends_with(b"c815da736ddea91a3077098941accb2219ebe1a2a04e3b28344a3d317d1956e6 }\n") {
            assert_ne!(stream.read_buf(&mut asked).await.expect("a request"), 0, "it broke off");
        }
        let head = format!(
            "HTTP/1.1 {status} So\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + answer).as_bytes()).await.expect("it is read");
        String::from_utf8(asked).expect("text")
    });
    (address, asked)
}

/// The command's output when the proxy answers so, and its request.
async fn of_running(status: u16, answer: &'static str, args: &[&str]) -> (Said, String) {
    let folder = files(&EDIT);
    fs::create_dir(folder.path().join("data")).expect("a folder");
    fs::write(folder.path().join("data/admin.token"), "a".repeat(40)).expect("a file");
    let (address, asked) = said_once(status, answer).await;
    let all: Vec<&str> = ["--running", "new.yaml", "--admin", &address]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let said = diff(&folder, &all).await;
    (said, soon("it was asked", asked).await.expect("it does not panic"))
}

#[tokio::test]
async fn the_running_proxy_reports_what_the_file_would_change() {
    const ANSWER: &str = r#"{ "changes": [
        { "subject": "tier `$100`", "change": "daily quota 1 → 2", "tier": "$100", "accounts": 42, "restart": false },
        { "subject": "listen", "change": "a → b", "tier": null, "accounts": null, "restart": true, "newer": 1 } ] }"#;
    let (said, asked) = of_running(200, ANSWER, &["--exit-code"]).await;
    let words = "tier `$100` (42 accounts): daily quota 1 → 2\nneeds a restart: listen a → b\n";
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(1), words, ""));
    let (head, body) = asked.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.starts_with("POST /config/diff?name=%6Eew%2Eyaml HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("authorization: Bearer {}", "a".repeat(40))),
        "{head}"
    );
    assert!(
        body.contains("limit: 15000") && body.contains("# All settings of tiergate"),
        "{body}"
    );
    let (said, _) = of_running(200, ANSWER, &["--json"]).await;
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &json["changes"][0]["accounts"]), (Some(0), &42.into()));
}

#[tokio::test]
async fn diff_running_reports_errors_and_unknown_commands() {
    const WRONG: &str = r#"{ "errors": [ { "line": 3, "column": 7, "message": "no", "advice": "yes" } ] }"#;
    let (said, _) = of_running(422, WRONG, &[]).await;
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(2), "error: no\n --> line 3, column 7\n  = yes\n")
    );
    let (said, _) = of_running(422, WRONG, &["--json"]).await;
    let json: Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!((said.code, &json["errors"][0]["line"]), (Some(2), &3.into()));
    let older = r#"{ "error": "there is no such path", "reason": "not_found" }"#;
    for (status, answer, why) in [
        (404, older, "it has no such path"),
        (200, "{}", "it has no `changes`"),
        (200, "so", "it has no `changes`"),
    ] {
        let (said, _) = of_running(status, answer, &[]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{answer}");
        assert!(said.err.contains(why), "{}", said.err);
    }
}
