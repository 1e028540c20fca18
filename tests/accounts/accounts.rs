//! Accounts and keys: what was acknowledged is there after a restart, and ids are never reused.

use tiergate::policy::rules::LimitOverride;
use tiergate::store::account::{OwnLimit, Until};
use tiergate::store::{
    AccountPatch, AccountSpec, AccountsError, Change, ChangeError, DeclaredAccount, DeclaredChanges, ImportOptions,
    ImportRow, Key, keys,
};

use crate::folder::Folder;
use crate::kit::{DAY, NOW, database_of, found, hash, listed, new, numbers, open, open_with};

/// An account with a key.
fn with_key(name: &str, key: &str) -> (usize, Result<ImportRow, String>) {
    let terms = AccountPatch {
        tier: Some("$20".to_owned()),
        ..AccountPatch::default()
    };
    let row = ImportRow {
        name: name.to_owned(),
        terms,
        keys: vec![Key::plain(hash(key), NOW)],
        beginnings: Vec::new(),
    };
    (1, Ok(row))
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let account = store.add(new("acme-bot"), NOW).expect("the name is free");
    let minted = store
        .mint("acme-bot", "bot".to_owned(), Some(NOW + DAY), NOW)
        .expect("room");
    let raise = |number, lifts_network| Some(OwnLimit::from(LimitOverride { number, lifts_network }));
    let change = AccountPatch {
        concurrency: Change::Set(6),
        quotas: Some([("daily".into(), Some(5_000))].into()),
        limits: Some(
            [
                ("http".into(), raise(300, false)),
                ("hourly".into(), raise(5_000, true)),
            ]
            .into(),
        ),
        note: Change::Set("asked twice".to_owned()),
        ..AccountPatch::default()
    };
    let changed = store.change("acme-bot", &change, NOW).expect("it is there");
    assert_eq!((changed.id, changed.overrides().concurrency), (account.id, Some(6)));
    drop(store);
    let store = open(&folder, &[]).expect("the same store");
    assert_eq!(store.directory().by_name("acme-bot"), Some(changed));
    assert_eq!(found(&store, minted.secret.reveal(), NOW), Some(account.id));
    assert_eq!(found(&store, minted.secret.reveal(), NOW + DAY), None, "it has expired");
    let account = store.directory().by_name("acme-bot").expect("it is there");
    assert_eq!(account.keys(), [minted.key]);
}

#[test]
fn an_accounts_own_limits_are_bounded() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("acme"), NOW).expect("the name is free");
    let change = |limits: Vec<(String, Option<u32>)>| {
        let raise = |number: u32| {
            OwnLimit::from(LimitOverride {
                number,
                lifts_network: false,
            })
        };
        let limits = limits.into_iter().map(|(name, number)| (name, number.map(raise)));
        let change = AccountPatch {
            limits: Some(limits.collect()),
            ..AccountPatch::default()
        };
        store
            .change("acme", &change, NOW)
            .map(|account| account.overrides().limits.len())
            .map_err(|error| error.to_string())
    };
    let is_told = |error: &str| Err(error.to_owned());
    let many = |count: u32| {
        (0..count)
            .map(|number| (format!("limit-{number}"), Some(number)))
            .collect()
    };
    assert_eq!(change(many(16)), Ok(16));
    assert_eq!(
        change(many(17)),
        is_told("a number for a request limit: there can be at most 16 of them")
    );
    let gone = vec![
        ("limit-3".to_owned(), None),
        ("limit-4".to_owned(), Some(1_000_000_000)),
    ];
    assert_eq!(change(gone), Ok(15));
    let large = vec![("limit-4".to_owned(), Some(1_000_000_001))];
    assert_eq!(
        change(large),
        is_told("a number for a request limit is 0 to 1000000000")
    );
    let strange = vec![("two words".to_owned(), Some(1))];
    assert_eq!(
        change(strange),
        is_told(
            "the name of a quota or request limit is 1 to 64 visible ASCII characters without spaces: it may travel in a header"
        )
    );
}

/// Regression: a change after the store was closed opened the file again, which another process could have had by then.
#[test]
fn a_closed_store_stays_closed() {
    let folder = Folder::new();
    let (store, database) = open_with(&folder, &[], &[], NOW).expect("it is made");
    store.add(new("acme"), NOW).expect("nothing is in the way");
    database.close();
    let refused = store.add(new("late"), NOW).expect_err("it is closed");
    assert!(matches!(refused, ChangeError::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().starts_with("nothing was changed"), "{refused}");
    let refused = store.remove("acme", NOW).expect_err("it is closed still");
    assert!(matches!(refused, ChangeError::Unavailable(_)), "{refused:?}");
    assert!(store.directory().by_name("acme").is_some(), "who asks is still told");
    assert!(store.directory().by_name("late").is_none());
    drop((store, database));
    let next = open(&folder, &[]).expect("nobody else has it open");
    assert!(next.directory().by_name("acme").is_some());
    assert!(next.directory().by_name("late").is_none());
}

/// The database is full: what can't be written is refused, and the present accounts stay as they are.
#[test]
fn a_change_that_cannot_be_written_changes_nothing() {
    let folder = Folder::new();
    let (store, database) = open_with(&folder, &[listed("a", &["ka"])], &[], NOW).expect("it is made");
    let acme = store.add(new("acme"), NOW).expect("nothing is in the way");
    let full = database.write(|transaction| {
        transaction
            .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
            .and_then(|pages| transaction.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())))
    });
    full.expect("it can be made full");
    let many = (0..5_000).map(|number| with_key(&format!("n{number}"), &format!("k{number}")));
    let refused = store
        .import(many, &ImportOptions::default(), NOW)
        .expect_err("it is full");
    assert!(
        refused
            .to_string()
            .starts_with("nothing was changed: the database can't be written"),
        "{refused}"
    );
    assert_eq!(store.directory().len(), 2);
    let more: Vec<DeclaredAccount> = (0..5_000).map(|number| listed(&format!("l{number}"), &[])).collect();
    let refused = store.declare(&more, NOW).expect_err("it is full");
    assert!(matches!(refused, AccountsError::Unavailable(_)), "{refused:?}");
    assert_eq!(
        found(&store, "ka", NOW),
        store.directory().by_name("a").map(|account| account.id)
    );
    store
        .declare(&[listed("a", &["ka"])], NOW)
        .expect("the same list needs no room");
    drop((store, database));
    let store = open(&folder, &[listed("a", &["ka"])]).expect("the limit was the connection's");
    assert_eq!(
        (store.directory().len(), store.directory().by_name("acme")),
        (2, Some(acme.clone()))
    );
    let next = store.add(new("next"), NOW).expect("there is room");
    assert_eq!(next.id.0, acme.id.0 + 1, "ids that nobody has seen come again");
}

/// Of a removed account, only what history needs is kept.
#[test]
fn only_the_name_of_a_removed_account_is_kept() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let new = AccountSpec {
        email: Some("a@example.org".to_owned()),
        note: Some("a friend".to_owned()),
        until: Some(Until(NOW + DAY)),
        max_users: Some(5),
        concurrency: Some(3),
        quotas: [("daily".into(), 5)].into(),
        ..new("a")
    };
    let id = store.add(new, NOW).expect("free").id;
    store.mint("a", "bot".to_owned(), None, NOW).expect("room");
    store.remove("a", NOW + DAY).expect("it is there");
    drop(store);
    let database = database_of(&folder);
    let kept = format!(
        "SELECT count(*) FROM account WHERE id = {} AND name = 'a' AND tier = '$20' AND removed_at = {} AND email IS NULL AND \
         note IS NULL AND until IS NULL AND max_users IS NULL AND concurrency IS NULL",
        id.0,
        (NOW + DAY).as_millis()
    );
    assert_eq!(numbers(&database, &kept), [1]);
    for table in ["api_key", "account_quota", "account_limit"] {
        assert_eq!(
            numbers(&database, &format!("SELECT count(*) FROM {table}")),
            [0],
            "{table}"
        );
    }
}

/// The last id is given once, and none after it.
#[test]
fn exhausted_ids_are_reported() {
    let folder = Folder::new();
    drop(open(&folder, &[]).expect("a new store"));
    let used = "INSERT INTO account (id, name, origin, tier, blocked, created, removed_at) VALUES (4294967293, 'old', 'stored', 't', 0, 0, 0)";
    database_of(&folder).execute(used, []).expect("a row");
    let store = open(&folder, &[]).expect("a store");
    assert_eq!(store.add(new("last"), NOW).expect("one is left").id.0, u32::MAX - 1);
    assert_eq!(store.add(new("late"), NOW), Err(ChangeError::TooManyAccounts));
    assert_eq!(store.declare(&[listed("late", &[])], NOW), Err(AccountsError::NoIds));
    drop(store);
    let error = open(&folder, &[listed("late", &[])]).expect_err("none is left");
    assert!(matches!(error, AccountsError::NoIds), "{error}");
    assert!(open(&folder, &[]).is_ok());
}

#[test]
fn ids_are_never_reused() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["k"])]).expect("a new store");
    let first = store.add(new("a"), NOW).expect("free").id;
    let key = store.mint("a", String::new(), None, NOW).expect("room").secret;
    store.remove("a", NOW).expect("it is there");
    assert_eq!(found(&store, key.reveal(), NOW), None);
    assert_eq!(store.remove("a", NOW), Err(ChangeError::UnknownAccount));
    let second = store.add(new("a"), NOW).expect("free again").id;
    assert_ne!(first, second);
    store.remove("a", NOW).expect("it is there");
    drop(store);
    let store = open(&folder, &[listed("listed", &["k"])]).expect("the same store");
    let third = store.add(new("a"), NOW).expect("free again").id;
    assert!(third > second && second > first);
}

#[test]
fn a_listed_account_keeps_its_id() {
    let folder = Folder::new();
    let (a, b) = (listed("a", &["ka"]), listed("b", &["kb", "kb2"]));
    let store = open(&folder, &[a.clone(), b.clone()]).expect("a new store");
    let ids = ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW));
    assert!(ids[0] != ids[1] && ids[1] == ids[2] && ids[0].is_some());
    let refused = [
        store.change("a", &AccountPatch::default(), NOW).map(|_| ()),
        store.remove("a", NOW).map(|_| ()),
        store.mint("a", String::new(), None, NOW).map(|_| ()),
        store.revoke(keys::KeyId::of(&hash("ka")), NOW).map(|_| ()),
        store.rotate(keys::KeyId::of(&hash("ka")), DAY, NOW).map(|_| ()),
    ];
    assert!(
        refused.iter().all(|refused| *refused == Err(ChangeError::Declared)),
        "{refused:?}"
    );
    drop(store);
    let store = open(&folder, &[b.clone(), a.clone()]).expect("in another order");
    assert_eq!(["ka", "kb", "kb2"].map(|key| found(&store, key, NOW)), ids);
    drop(store);
    let store = open(&folder, std::slice::from_ref(&b)).expect("one less");
    assert_eq!(found(&store, "ka", NOW), None);
    drop(store);
    let store = open(&folder, &[a, b]).expect("it is back");
    assert_eq!(found(&store, "ka", NOW), ids[0], "it finds what it has used");
    assert_eq!(found(&store, "kb", NOW), ids[1]);
}

#[test]
fn a_new_list_replaces_the_old_at_once_and_keeps_ids() {
    let folder = Folder::new();
    let (a, b) = (listed("a", &["ka"]), listed("b", &["kb", "kb2"]));
    let store = open(&folder, &[a.clone(), b.clone()]).expect("a new store");
    store.add(new("stored"), NOW).expect("free");
    let ids = ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW));
    let same = store
        .declare(&[b.clone(), a.clone()], NOW + DAY)
        .expect("nothing is in the way");
    assert_eq!(same, DeclaredChanges::default(), "in another order");
    // `a` goes, its key passes to `b`, which loses another and gets a tier; `c` comes.
    let paid = DeclaredAccount {
        tier: "paid".to_owned(),
        ..listed("b", &["ka", "kb2"])
    };
    let c = listed("c", &["kc"]);
    let preparing = store
        .prepare_declared(&[c.clone(), paid.clone()], NOW + DAY)
        .expect("nothing is in the way");
    assert_eq!(
        ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW)),
        ids,
        "the old one stands"
    );
    assert_eq!(found(&store, "kc", NOW), None);
    let other = DeclaredChanges {
        added: 1,
        changed: 1,
        removed: 1,
    };
    assert_eq!(preparing.publish(), other);
    let now = ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW));
    assert_eq!(now, [ids[1], None, ids[1]]);
    let came = found(&store, "kc", NOW).expect("it has come");
    assert!(store.directory().by_name("a").is_none());
    assert_eq!(
        store.directory().tiers(),
        [("$20".into(), 1), ("free".into(), 1), ("paid".into(), 1)].into()
    );
    let next = store.add(new("another"), NOW).expect("free");
    assert!(next.id > came && Some(came) > ids[1]);
    drop(store);
    let store = open(&folder, &[paid, c]).expect("the same store");
    assert_eq!(found(&store, "kc", NOW), Some(came));
    assert_eq!(found(&store, "ka", NOW), ids[1]);
    store.declare(&[a, b], NOW + DAY).expect("nothing is in the way");
    assert_eq!(
        ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW)),
        ids,
        "it is back"
    );
    assert_eq!(store.directory().len(), 4);
}

/// A reload of a file with the same list writes nothing, and so needs no disk.
#[test]
fn an_unchanged_list_is_not_written() {
    let folder = Folder::new();
    let list = [listed("a", &["ka"]), listed("b", &["kb"])];
    let (store, database) = open_with(&folder, &list, &[], NOW).expect("a new store");
    database.close();
    let other_order = [list[1].clone(), list[0].clone()];
    assert_eq!(store.declare(&other_order, NOW + DAY), Ok(DeclaredChanges::default()));
    let other = [list[0].clone(), listed("b", &["another"])];
    assert!(matches!(store.declare(&other, NOW), Err(AccountsError::Unavailable(_))));
    drop((store, database));
    // A start with the same list writes nothing either.
    for write in ["INSERT", "UPDATE", "DELETE"] {
        let trigger =
            format!("CREATE TRIGGER no_{write} BEFORE {write} ON account BEGIN SELECT RAISE(ABORT, 'written'); END");
        database_of(&folder).execute(&trigger, []).expect("a trigger");
    }
    drop(open(&folder, &list).expect("nothing is written"));
    let error = open(&folder, &list[1..]).expect_err("one is gone");
    assert!(error.to_string().contains("written"), "{error}");
}

#[test]
fn names_no_longer_listed_keep_their_ids_up_to_a_bound() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("a", &["ka"])]).expect("a new store");
    let id = found(&store, "ka", NOW);
    let many: Vec<DeclaredAccount> = (0..100_000).map(|number| listed(&format!("n{number}"), &[])).collect();
    store.declare(&many, NOW).expect("nothing is in the way");
    store
        .declare(&[listed("b", &["kb"])], NOW)
        .expect("nothing is in the way");
    let b = found(&store, "kb", NOW);
    store
        .declare(&[listed("a", &["ka"]), listed("b", &["kb"])], NOW)
        .expect("nothing is in the way");
    assert_ne!(found(&store, "ka", NOW), id, "there were too many");
    assert_eq!(found(&store, "kb", NOW), b);
    drop(store);
    let names = "SELECT count(*) FROM account WHERE name = 'a'";
    assert_eq!(
        numbers(&database_of(&folder), names),
        [2],
        "what the first has used keeps its name"
    );
}

#[test]
fn a_list_that_conflicts_with_the_store_changes_nothing() {
    let folder = Folder::new();
    let old = [listed("a", &["ka"])];
    let store = open(&folder, &old).expect("a new store");
    store.add(new("acme"), NOW).expect("free");
    let import = [with_key("other", "old")].into_iter();
    store
        .import(import, &ImportOptions::default(), NOW)
        .expect("both are new");
    let before = store.directory().page("", 9);
    let refused = |list: &[DeclaredAccount]| store.declare(list, NOW).expect_err("it collides").to_string();
    let told = refused(&[listed("b", &["kb"]), listed("acme", &["kc"])]);
    assert!(
        told.contains("stored as well: acme") && told.contains("tiergate account remove"),
        "{told}"
    );
    let told = refused(&[listed("b", &["old"])]);
    assert!(
        told.contains("account b of tiers.yaml has a key that other has too"),
        "{told}"
    );
    let told = refused(&[listed("b", &["k"]), listed("c", &["k"])]);
    assert!(
        told.contains("account c of tiers.yaml has a key that b has too"),
        "{told}"
    );
    assert_eq!(store.directory().page("", 9), before);
    assert_eq!(found(&store, "ka", NOW), before.first().map(|account| account.id));
    store.remove("acme", NOW).expect("it is stored");
    store
        .declare(&[listed("acme", &["ka"])], NOW)
        .expect("now it may be listed");
}

#[test]
fn accounts_of_unknown_tiers_are_named_and_counted() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["k"])]).expect("a new store");
    for name in ["d", "c", "b"] {
        store.add(new(name), NOW).expect("free");
    }
    let lost = |tiers: &[&str]| {
        let lost = store.directory().without_tier(|tier| tiers.contains(&tier), 2);
        let names: Vec<String> = lost.accounts.iter().map(|account| account.name.to_string()).collect();
        (names.join(" "), lost.count)
    };
    assert_eq!(lost(&["free", "$20"]), (String::new(), 0));
    assert_eq!(lost(&["free"]), ("b c".to_owned(), 3));
    assert_eq!(lost(&[]), ("b c".to_owned(), 4));
}

#[test]
fn names_and_keys_in_both_places_are_reported_at_start() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("acme"), NOW).expect("free");
    let import = [with_key("other", "old")].into_iter();
    store
        .import(import, &ImportOptions::default(), NOW)
        .expect("both are new");
    drop(store);
    let error = open(&folder, &[listed("b", &["kb"]), listed("acme", &["ka"])]).expect_err("it is in both");
    assert!(
        matches!(&error, AccountsError::DeclaredAndStored(names) if names == &["acme"]),
        "{error}"
    );
    let error = open(&folder, &[listed("b", &["old"])]).expect_err("the key is of two");
    assert!(
        error
            .to_string()
            .contains("account b of tiers.yaml has a key that other has too"),
        "{error}"
    );
    assert!(open(&folder, &[listed("b", &["kb"])]).is_ok());
}

#[test]
fn a_key_rotates_with_an_overlap() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let id = store.add(new("a"), NOW).expect("free").id;
    let old = store
        .mint("a", "bot".to_owned(), Some(NOW + DAY.saturating_mul(90)), NOW)
        .expect("room");
    let later = NOW + DAY.saturating_mul(80);
    let (fresh, kept) = store
        .rotate(old.key.id(), DAY.saturating_mul(7), later)
        .expect("it is alive");
    assert_eq!(
        (&*fresh.key.label, fresh.key.expires),
        ("bot", Some(later + DAY.saturating_mul(90)))
    );
    assert_eq!(kept.expires, Some(later + DAY.saturating_mul(7)));
    let alive = |at| [&old, &fresh].map(|key| found(&store, key.secret.reveal(), at) == Some(id));
    assert_eq!(alive(later), [true, true]);
    assert_eq!(alive(later + DAY.saturating_mul(7)), [false, true]);
    let error = store
        .rotate(old.key.id(), DAY, later + DAY.saturating_mul(7))
        .expect_err("it has expired");
    assert_eq!(error, ChangeError::KeyExpired);
    store.revoke(fresh.key.id(), NOW).expect("it is there");
    assert_eq!(alive(later), [true, false]);
    assert_eq!(store.revoke(fresh.key.id(), NOW), Err(ChangeError::UnknownKey));
}

#[test]
fn keys_per_account_are_bounded_and_expired_ones_make_room() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("a"), NOW).expect("free");
    for number in 0..keys::KEYS_PER_ACCOUNT_MAX {
        let expires = (number == 3).then_some(NOW + DAY);
        store.mint("a", number.to_string(), expires, NOW).expect("room");
    }
    let one_more = |at| store.mint("a", String::new(), None, at).map(|_| ());
    assert_eq!(one_more(NOW), Err(ChangeError::TooManyKeys));
    assert_eq!(one_more(NOW + DAY), Ok(()));
    assert_eq!(one_more(NOW + DAY), Err(ChangeError::TooManyKeys));
}
