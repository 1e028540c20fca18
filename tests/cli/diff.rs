//! `tiergate diff`, run as operators run it: two files, and a door that is none of ours.

use std::fs;

use crate::support::folder::Folder;
use crate::support::program::{Said, run};
use serde_json::Value;

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
async fn who_had_a_tier_that_goes_is_counted_in_the_old_file() {
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
async fn the_exit_code_tells_changes_from_trouble_if_it_is_asked_to() {
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
async fn what_is_wrong_is_told_of_both_files_at_once() {
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
async fn a_door_that_is_not_there_is_trouble() {
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
        said.err.contains(&format!("no door is running at {address}")),
        "{}",
        said.err
    );
}
