//! How keys begin and when they were last used: known after a restart, and written once a minute, not with each use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tiergate::clock::Clock;
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::store::{AccountPatch, AccountStore, Database, ImportOptions, ImportRow, Key, PlaintextKey};

use crate::database;
use crate::folder::Folder;
use crate::kit::{NOW, found, hash, listed, new, open, open_with};

const SECOND: Span = Span::from_secs(1);
const STORED: &str = "SELECT begins, last_used FROM api_key";
const LISTED: &str = "SELECT begins, last_used FROM listed_key";

/// The first characters and the last use that operators are shown of a key.
fn shown(store: &AccountStore, key: Key) -> (Option<String>, Option<UnixTime>) {
    let uses = store.key_uses(&[key]).expect("the database can be read");
    let begins = uses[0].begins.map(|begins| begins.as_str().to_owned());
    (begins, uses[0].last_used)
}

/// The first characters and last uses that the database has.
fn written(database: &Database, query: &str) -> Vec<(Option<String>, Option<i64>)> {
    let read = database.read(|connection| {
        let mut select = connection.prepare(query)?;
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    });
    read.expect("the database can be read")
}

fn ms(at: UnixTime) -> Option<i64> {
    i64::try_from(at.as_millis()).ok()
}

#[test]
fn a_use_is_noted_at_once_and_written_later() {
    let folder = Folder::new();
    let (store, database) = open_with(&folder, &[], &[], NOW).expect("a new store");
    store.add(new("acme"), NOW).expect("the name is free");
    let minted = store.mint("acme", String::new(), None, NOW).expect("room");
    let begins = minted.secret.reveal()[..7].to_owned();
    assert_eq!(shown(&store, minted.key.clone()), (Some(begins.clone()), None));
    assert_eq!(
        written(&database, STORED),
        [(Some(begins.clone()), None)],
        "with the key"
    );
    for (used, later) in [(0, 0), (5, 5)] {
        found(&store, minted.secret.reveal(), NOW + Span::from_secs(used)).expect("it is valid");
        let last = Some(NOW + Span::from_secs(later));
        assert_eq!(shown(&store, minted.key.clone()), (Some(begins.clone()), last));
    }
    assert_eq!(
        written(&database, STORED),
        [(Some(begins.clone()), None)],
        "no write for a use"
    );
    database.write_key_uses().expect("the disk works");
    let (first, second) = (NOW + Span::from_secs(5), NOW + Span::from_secs(10));
    assert_eq!(written(&database, STORED), [(Some(begins.clone()), ms(first))]);
    found(&store, minted.secret.reveal(), second).expect("it is valid");
    assert_eq!(written(&database, STORED), [(Some(begins.clone()), ms(first))]);
    // A stop writes what is left.
    drop((store, database));
    let (store, database) = open_with(&folder, &[], &[], NOW).expect("the same store");
    assert_eq!(written(&database, STORED), [(Some(begins.clone()), ms(second))]);
    assert_eq!(shown(&store, minted.key), (Some(begins), Some(second)));
}

#[test]
fn uses_are_written_each_minute() {
    let folder = Folder::new();
    let wall = Arc::new(AtomicU64::new(NOW.as_millis()));
    let reads = Arc::clone(&wall);
    let database = database::open(folder.path(), &[], move || {
        UnixTime::from_millis(reads.load(Ordering::Relaxed))
    });
    let database = database.expect("the folder can be used");
    let store = AccountStore::open(Arc::clone(&database), &[], Vec::new(), NOW).expect("a new store");
    store.add(new("acme"), NOW).expect("the name is free");
    let minted = store.mint("acme", String::new(), None, NOW).expect("room");
    found(&store, minted.secret.reveal(), NOW).expect("it is valid");
    wall.fetch_add(60_000, Ordering::Relaxed);
    let clock = Clock::start();
    while written(&database, STORED)[0].1.is_none() {
        assert!(
            clock.now() < Timestamp::ZERO + Span::from_secs(20),
            "the upkeep thread writes it"
        );
        std::thread::yield_now();
    }
    assert_eq!(written(&database, STORED)[0].1, ms(NOW));
}

#[test]
fn a_revoked_key_does_not_come_back() {
    let folder = Folder::new();
    let (store, database) = open_with(&folder, &[], &[], NOW).expect("a new store");
    store.add(new("acme"), NOW).expect("the name is free");
    let minted = store.mint("acme", String::new(), None, NOW).expect("room");
    found(&store, minted.secret.reveal(), NOW).expect("it is valid");
    store.revoke(minted.key.id(), NOW).expect("it is there");
    database.write_key_uses().expect("the disk works");
    assert_eq!(written(&database, STORED), []);
    assert_eq!(written(&database, LISTED), []);
}

#[test]
fn a_listed_key_is_known_until_it_is_not_listed() {
    let folder = Folder::new();
    let list = [listed("acme", &["key-of-acme"]), listed("idle", &["key-of-idle"])];
    let key = || Key::plain(hash("key-of-acme"), NOW);
    let store = open(&folder, &list).expect("a new store");
    found(&store, "key-of-acme", NOW).expect("it is valid");
    drop(store);
    let store = open(&folder, &list).expect("the same store");
    assert_eq!(shown(&store, key()), (Some("ke".to_owned()), Some(NOW)));
    assert_eq!(shown(&store, Key::plain(hash("key-of-idle"), NOW)), (None, None));
    // Another key in its place.
    let other = [listed("acme", &["another-key"])];
    store.declare(&other, NOW + SECOND).expect("no conflict");
    assert_eq!(shown(&store, key()), (None, None));
    found(&store, "another-key", NOW).expect("it is valid");
    drop(store);
    let (_store, database) = open_with(&folder, &[], &[], NOW).expect("the same store");
    assert_eq!(written(&database, LISTED), []);
}

#[test]
fn an_imported_key_is_known_by_its_first_characters() {
    let folder = Folder::new();
    let (store, database) = open_with(&folder, &[], &[], NOW).expect("a new store");
    let key = PlaintextKey::imported("an-imported-key-of-acme".to_owned()).expect("a key");
    let row = |name: &str, hash, beginnings| {
        let terms = AccountPatch {
            tier: Some("$20".to_owned()),
            ..AccountPatch::default()
        };
        let keys = vec![Key::plain(hash, NOW)];
        let row = ImportRow {
            name: name.to_owned(),
            terms,
            keys,
            beginnings,
        };
        (1, Ok(row))
    };
    let lines = [
        row("acme", key.hash(), vec![(key.hash(), key.beginning())]),
        row("hashed", hash("key-by-its-hash"), Vec::new()),
    ];
    let imported = store.import(lines.into_iter(), &ImportOptions::default(), NOW);
    assert_eq!(imported.expect("the lines are right").keys_added, 2);
    let begins = |hash| shown(&store, Key::plain(hash, NOW)).0;
    assert_eq!(begins(key.hash()).as_deref(), Some("an-im"));
    assert_eq!(begins(hash("key-by-its-hash")), None);
    // It becomes known when the key is used.
    found(&store, "key-by-its-hash", NOW).expect("it is valid");
    database.write_key_uses().expect("the disk works");
    assert_eq!(begins(hash("key-by-its-hash")).as_deref(), Some("key"));
}
