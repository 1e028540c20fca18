//! `tiergate journal`, run as operators run it, while a door has the journal open and after something in it broke.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tiergate::clock::Clock;
use tiergate::policy::End;
use tiergate::policy::caller::{AccountId, Caller, NetworkId};
use tiergate::policy::rules::Priority;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::journal::disk::SystemDisk;
use tiergate::store::journal::{Journal, Settings};
use tiergate::store::{Entry, Ledger, Record};
use tiergate::telemetry::JournalMeters;

use crate::support::folder::Folder;

/// 2026-11-22T06:00:00Z.
const SIX: UnixTime = UnixTime::from_secs(1_795_327_200);

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tiergate"))
        .arg("journal")
        .args(arguments)
        .arg("--data-dir")
        .arg(folder)
        .output()
        .expect("the program is built")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it writes text")
}

fn record(caller: Caller, end: End, after: Span) -> Record {
    Record {
        admitted: SIX + after,
        caller,
        tier: Arc::from("free"),
        priority: Priority::LOWEST,
        end,
        status: 200,
        cost: 2,
        waited: Span::from_millis(5),
        searched: Span::from_millis(800),
    }
}

/// A success of account 7 at six, a failure of a network an hour later.
async fn journal(folder: &Path) -> Journal {
    let settings = Settings::new(Clock::start(), Arc::new(|| SIX), JournalMeters::unobserved());
    let (journal, _) =
        Journal::open(folder, settings, &[], Vec::new(), Arc::new(SystemDisk)).expect("a folder of its own");
    let hour = Span::from_secs(3_600);
    let network = Caller::Network(NetworkId(0xc0ffee));
    journal.note(Entry::Job(record(network, End::Failed, hour)));
    let success = record(Caller::Account(AccountId(7)), End::Succeeded, Span::ZERO);
    journal.commit(success).await.expect("the disk works");
    journal
}

#[tokio::test]
async fn the_journal_is_read_while_the_door_has_it_open() {
    let folder = Folder::new();
    let journal = journal(folder.path()).await;
    let verified = run(folder.path(), &["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    assert!(text(&verified).contains("0-1"), "{verified:?}");

    let lines = |arguments: &[&str]| -> Vec<Value> {
        let output = run(folder.path(), arguments);
        let lines = text(&output).lines().map(serde_json::from_str).collect();
        let lines: Result<Vec<Value>, _> = lines;
        lines.expect("one object a line")
    };
    let all = lines(&["cat", "--json"]);
    assert_eq!(all.len(), 2);
    for (arguments, outcome) in [
        (["--caller", "account:7"], "succeeded"),
        (["--caller", "network:c0ffee"], "failed"),
        (["--outcome", "failed"], "failed"),
        (["--since", "2026-11-22T07:00:00Z"], "failed"),
        (["--until", "2026-11-22T07:00:00Z"], "succeeded"),
    ] {
        let found = lines(&[&["cat", "--json"], &arguments[..]].concat());
        assert_eq!(found.len(), 1, "{arguments:?}");
        assert_eq!(found[0]["outcome"], outcome, "{arguments:?}");
    }
    assert_eq!(lines(&["cat", "--json", "--limit", "1"]).len(), 1);
    assert_eq!(lines(&["cat", "--json", "--limit", "0"]).len(), 0);

    let stats: Value = serde_json::from_slice(&run(folder.path(), &["stats", "--json"]).stdout).expect("JSON");
    assert_eq!(stats["debited"], 2);
    assert_eq!(stats["first"], "2026-11-22T06:00:00.000Z");
    drop(journal);
}

#[tokio::test]
async fn a_journal_that_lost_something_is_told_by_the_exit_code() {
    let folder = Folder::new();
    drop(journal(folder.path()).await);
    let file = folder.path().join("journal/0000000000000001.seg");
    let mut bytes = fs::read(&file).expect("it is there");
    // The first frame: the tier's name.
    bytes[4_096 + 20] ^= 1;
    fs::write(&file, bytes).expect("it is ours");
    let verified = run(folder.path(), &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(report["segments"][0]["damaged"], 1);
    assert_eq!(text(&run(folder.path(), &["cat"])).lines().count(), 2);
    for command in ["cat", "stats"] {
        let said = String::from_utf8(run(folder.path(), &[command]).stderr).expect("text");
        assert_eq!(
            said, "left out what can't be read: 1 records, 0 headers of segments\n",
            "{command}"
        );
    }
}

#[test]
fn a_folder_without_a_journal_is_told_by_name() {
    let folder = Folder::new();
    let output = run(folder.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("there is no journal in"), "{said}");
}

/// A segment that was begun when the power went, without even a header, was called damaged though nothing was lost; sums that
/// were damaged were not looked at.
#[tokio::test]
async fn what_was_never_written_is_no_damage_and_damaged_sums_are() {
    let folder = Folder::new();
    drop(journal(folder.path()).await);
    let inside = folder.path().join("journal");
    fs::write(inside.join("0000000000000002.seg"), [0; 8_192]).expect("it is ours");
    let verified = run(folder.path(), &["verify"]);
    assert!(verified.status.success(), "{verified:?}");
    fs::write(inside.join("totals"), [7; 100]).expect("it is ours");
    let verified = run(folder.path(), &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(report["sums_unreadable"], true);
}
