//! The audit log: each change has its row, written with it, with its author and without secrets.

use serde_json::{Value, json};
use tiergate::policy::time::UnixTime;
use tiergate::store::audit::{self, Actor, Stamp};
use tiergate::store::{
    AccountPatch, AuditEntry, Block, Change, DATABASE_FILE, ImportOptions, ImportRow, Key, NetworkChange,
    open_read_only,
};

use crate::folder::Folder;
use crate::kit::{DAY, NOW, hash, listed, new, open, open_with};

fn rows(folder: &Folder, since: UnixTime, limit: usize) -> Vec<AuditEntry> {
    let connection = open_read_only(&folder.path().join(DATABASE_FILE)).expect("a database");
    audit::read(&connection, since, limit).expect("its log")
}

/// Who, action, subject and detail of each change.
fn rows_of_every_change(ids: &[String; 2]) -> [(String, String, String, Value); 8] {
    let until = (NOW + DAY).as_millis();
    let row = |who: &str, action: &str, subject: &str, detail: Value| {
        (who.to_owned(), action.to_owned(), subject.to_owned(), detail)
    };
    let alice = "alice@127.0.0.1";
    [
        row(alice, "account_add", "acme", json!({ "id": 1, "tier": "$20" })),
        row(
            "127.0.0.1",
            "account_change",
            "acme",
            json!({ "fields": ["tier", "email"], "tier": "$50" }),
        ),
        row(
            alice,
            "key_add",
            &ids[0],
            json!({ "account": "acme", "expires_ms": null }),
        ),
        row(
            alice,
            "key_rotate",
            &ids[0],
            json!({ "account": "acme", "new": ids[1], "old_expires_ms": until }),
        ),
        row(alice, "key_revoke", &ids[0], json!({ "account": "acme" })),
        row(
            alice,
            "network_block",
            "192.0.2.0/24",
            json!({ "limits": [], "note": false, "until_ms": until, "why": "scrapes" }),
        ),
        row(
            alice,
            "network_unblock",
            "192.0.2.0/24",
            json!({ "limits": [], "note": false, "until_ms": null, "why": null }),
        ),
        row("command", "account_remove", "acme", json!({ "id": 1, "keys": 1 })),
    ]
}

#[test]
fn every_change_has_an_audit_row_with_its_author() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let by = |name: Option<&str>| Stamp::new(NOW, Actor::peer("::ffff:127.0.0.1".parse().expect("an address"), name));
    let alice = || by(Some("alice"));
    store.add(new("acme"), alice()).expect("free");
    let change = AccountPatch {
        tier: Some("$50".to_owned()),
        email: Change::Set("secret@example.org".to_owned()),
        ..AccountPatch::default()
    };
    store.change("acme", &change, by(None)).expect("it is there");
    store.change("acme", &change, by(None)).expect("nothing is new");
    let key = store.mint("acme", "bot".to_owned(), None, alice()).expect("room");
    let (other, _) = store.rotate(key.key.id(), DAY, alice()).expect("it is there");
    store.revoke(key.key.id(), alice()).expect("it is there");
    let network = "192.0.2.0/24".parse().expect("a network");
    let block = |block| NetworkChange {
        block,
        ..NetworkChange::default()
    };
    let (since, why) = (NOW, Some("scrapes".to_owned()));
    let until = Some(NOW + DAY);
    store
        .set_network(network, &block(Change::Set(Block { since, until, why })), alice())
        .expect("room");
    store
        .set_network(network, &block(Change::Clear), alice())
        .expect("it is there");
    store
        .remove("acme", Stamp::new(NOW + DAY, Actor::command(Some("two words"))))
        .expect("it is there");
    let ids = [key.key.id(), other.key.id()].map(|id| id.to_string());
    let log: Vec<_> = rows(&folder, NOW, 99)
        .into_iter()
        .map(|row| (row.who, row.action, row.subject, row.detail))
        .rev()
        .collect();
    assert_eq!(log, rows_of_every_change(&ids));
    let text = format!("{log:?}");
    assert!(
        !text.contains(other.secret.reveal()) && !text.contains("secret@example.org"),
        "{text}"
    );
    assert_eq!(rows(&folder, NOW + DAY, 99).len(), 1, "since then");
    assert_eq!(rows(&folder, NOW, 3)[0].action, "account_remove", "the newest first");
}

#[test]
fn an_import_is_one_audit_row_and_a_refused_one_none() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let line = |line: usize, name: &str| {
        let terms = AccountPatch {
            tier: Some("$20".to_owned()),
            ..AccountPatch::default()
        };
        let keys = vec![Key::plain(hash(name), NOW)];
        (
            line,
            Ok(ImportRow {
                name: name.to_owned(),
                terms,
                keys,
                beginnings: Vec::new(),
            }),
        )
    };
    let options = ImportOptions {
        source: Some("sponsors".to_owned()),
        ..ImportOptions::default()
    };
    let rows_of = |names: &[&str]| names.iter().map(|name| line(1, name)).collect::<Vec<_>>().into_iter();
    store.import(rows_of(&["a", "b"]), &options, NOW).expect("both are new");
    store
        .import(rows_of(&["a", "c"]), &options, NOW)
        .expect_err("one is there");
    let log = rows(&folder, NOW, 9);
    assert_eq!(log.len(), 1, "{log:?}");
    let detail = json!({
        "update": false, "remove_missing": false, "added": 2, "updated": 0, "removed": 0, "keys_added": 2,
    });
    assert_eq!(
        (log[0].action.as_str(), log[0].subject.as_str(), &log[0].detail),
        ("account_import", "sponsors", &detail)
    );
}

#[test]
fn a_changed_list_is_an_audit_row_and_an_unchanged_one_none() {
    let folder = Folder::new();
    let (a, b) = (listed("a", &["ka"]), listed("b", &["kb"]));
    let store = open(&folder, std::slice::from_ref(&a)).expect("a new store");
    store.declare(std::slice::from_ref(&a), NOW).expect("it is the same");
    store
        .declare(&[listed("a", &["other"]), b.clone()], NOW)
        .expect("nothing is in the way");
    drop(store);
    let (store, database) = open_with(&folder, &[listed("a", &["other"]), b.clone()], &[], NOW).expect("the same list");
    let stamp = Stamp::new(NOW, Actor::tiers_yaml());
    audit::record(
        &database,
        stamp,
        "reload",
        "tiers.yaml".to_owned(),
        json!({ "changes": ["x"] }),
    )
    .expect("a disk");
    drop((store, database));
    drop(open(&folder, &[b]).expect("a was taken out while nobody ran"));
    let log: Vec<_> = rows(&folder, NOW, 9).into_iter().rev().collect();
    let told: Vec<_> = log
        .iter()
        .map(|row| (row.who.as_str(), row.action.as_str(), &row.detail["names_removed"]))
        .collect();
    let by_file = |action, removed| ("tiers.yaml", action, removed);
    let (nobody, nothing, gone) = (json!([]), Value::Null, json!(["a"]));
    assert_eq!(
        told,
        [
            by_file("list_change", &nobody),
            by_file("list_change", &nobody),
            by_file("reload", &nothing),
            by_file("list_change", &gone),
        ]
    );
    assert_eq!(
        (&log[1].detail["names_added"], &log[1].detail["names_changed"]),
        (&json!(["b"]), &json!(["a"]))
    );
}

#[test]
fn an_operators_name_is_short_and_visible() {
    let address = "2001:db8::1".parse().expect("an address");
    let told = |name: &str| Actor::peer(address, Some(name)).to_string();
    assert_eq!(told("alice"), "alice@2001:db8::1");
    for wrong in ["", "two words", "\n", "é", &"a".repeat(65)] {
        assert_eq!(told(wrong), "2001:db8::1");
    }
}
