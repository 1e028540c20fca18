//! Accounts and keys on a disk: what was acknowledged is there after a restart, and ids are nobody's second time.

use crate::folder::Folder;
use tiergate::policy::caller::AccountId;
use tiergate::policy::rules::Raise;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{
    AccountStore, Change, ChangeError, Illegal, ImportError, ImportRow, Imported, KeyHash, KnownAccounts, Listed,
    NewAccount, OpenError, RelistError, Relisted, Secret, keys,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Span = Span::from_secs(24 * 60 * 60);

fn open(folder: &Folder, listed: &[Listed]) -> Result<AccountStore, OpenError> {
    AccountStore::open(&folder.path().join("accounts.redb"), listed, Vec::new(), NOW)
}

fn new(name: &str) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        tier: "$20".to_owned(),
        ..NewAccount::default()
    }
}

fn listed(name: &str, keys: &[&str]) -> Listed {
    Listed {
        name: name.to_owned(),
        tier: "free".to_owned(),
        keys: keys.iter().map(|key| hash(key)).collect(),
    }
}

fn hash(key: &str) -> KeyHash {
    keys::hash(key.as_bytes())
}

fn found(store: &AccountStore, key: &str, now: UnixTime) -> Option<AccountId> {
    let known = KnownAccounts::of(store.directory());
    known.find(key.as_bytes(), now).map(|account| account.id)
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let account = store.add(new("acme-bot"), NOW).expect("the name is free");
    let minted = store
        .mint("acme-bot", "bot".to_owned(), Some(NOW + DAY), NOW)
        .expect("room");
    let raise = |number, lifts_network| Some(Raise { number, lifts_network });
    let change = Change {
        concurrency: Some(Some(6)),
        quotas: vec![("daily".into(), Some(5_000))],
        limits: vec![
            ("http".into(), raise(300, false)),
            ("hourly".into(), raise(5_000, true)),
        ],
        note: Some(Some("asked twice".to_owned())),
        ..Change::default()
    };
    let changed = store.change("acme-bot", &change).expect("it is there");
    assert_eq!((changed.id, changed.own.concurrency), (account.id, Some(6)));
    store.close().expect("the disk is fine");
    let store = open(&folder, &[]).expect("the same store");
    assert_eq!(store.directory().by_name("acme-bot"), Some(changed));
    assert_eq!(found(&store, minted.secret.reveal(), NOW), Some(account.id));
    assert_eq!(found(&store, minted.secret.reveal(), NOW + DAY), None, "it has expired");
    assert_eq!(store.directory().keys_of(account.id), [minted.key]);
}

#[test]
fn an_account_has_so_many_numbers_of_its_own_and_none_is_too_large() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("acme"), NOW).expect("the name is free");
    let change = |limits: Vec<(String, Option<u32>)>| {
        let raise = |number: u32| Raise {
            number,
            lifts_network: false,
        };
        let change = Change {
            limits: limits
                .into_iter()
                .map(|(name, number)| (name.into(), number.map(raise)))
                .collect(),
            ..Change::default()
        };
        store.change("acme", &change).map(|account| account.own.limits.len())
    };
    let many = |count: u32| {
        (0..count)
            .map(|number| (format!("limit-{number}"), Some(number)))
            .collect()
    };
    assert_eq!(change(many(16)), Ok(16));
    assert_eq!(change(many(17)), Err(ChangeError::Illegal(Illegal::Limits)));
    let gone = vec![
        ("limit-3".to_owned(), None),
        ("limit-4".to_owned(), Some(1_000_000_000)),
    ];
    assert_eq!(change(gone), Ok(15));
    let large = vec![("limit-4".to_owned(), Some(1_000_000_001))];
    assert_eq!(change(large), Err(ChangeError::Illegal(Illegal::Limit)));
    let strange = vec![("two words".to_owned(), Some(1))];
    assert_eq!(change(strange), Err(ChangeError::Illegal(Illegal::Limit)));
}

/// A change that came after the store was closed opened the file again, which another process may have had by then.
#[test]
fn what_is_closed_stays_closed() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("it is made");
    store.add(new("acme"), NOW).expect("nothing is in the way");
    store.close().expect("the disk is fine");
    let refused = store.add(new("late"), NOW).expect_err("it is closed");
    assert!(matches!(refused, ChangeError::Unavailable(_)), "{refused:?}");
    let next = open(&folder, &[]).expect("nobody else has it open");
    assert!(next.directory().by_name("acme").is_some());
    assert!(next.directory().by_name("late").is_none());
    let refused = store.remove("acme").expect_err("it is closed still");
    assert!(matches!(refused, ChangeError::Unavailable(_)), "{refused:?}");
    assert!(store.directory().by_name("acme").is_some(), "who asks is still told");
}

#[test]
fn an_id_is_nobodys_second_time() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["k"])]).expect("a new store");
    let first = store.add(new("a"), NOW).expect("free").id;
    let key = store.mint("a", String::new(), None, NOW).expect("room").secret;
    store.remove("a").expect("it is there");
    assert_eq!(found(&store, key.reveal(), NOW), None);
    assert_eq!(store.remove("a"), Err(ChangeError::UnknownAccount));
    let second = store.add(new("a"), NOW).expect("free again").id;
    assert_ne!(first, second);
    store.remove("a").expect("it is there");
    drop(store);
    let store = open(&folder, &[listed("listed", &["k"])]).expect("the same store");
    let third = store.add(new("a"), NOW).expect("free again").id;
    assert!(third > second && second > first);
}

#[test]
fn who_is_listed_has_one_id_whenever_it_is_listed() {
    let folder = Folder::new();
    let (a, b) = (listed("a", &["ka"]), listed("b", &["kb", "kb2"]));
    let store = open(&folder, &[a.clone(), b.clone()]).expect("a new store");
    let ids = ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW));
    assert!(ids[0] != ids[1] && ids[1] == ids[2] && ids[0].is_some());
    let refused = [
        store.change("a", &Change::default()).map(|_| ()),
        store.remove("a").map(|_| ()),
        store.mint("a", String::new(), None, NOW).map(|_| ()),
        store.revoke(keys::KeyId::of(&hash("ka"))).map(|_| ()),
        store.rotate(keys::KeyId::of(&hash("ka")), DAY, NOW).map(|_| ()),
    ];
    assert!(
        refused.iter().all(|refused| *refused == Err(ChangeError::Listed)),
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
fn another_list_comes_in_one_step_and_names_keep_their_ids_over_lists_and_restarts() {
    let folder = Folder::new();
    let (a, b) = (listed("a", &["ka"]), listed("b", &["kb", "kb2"]));
    let store = open(&folder, &[a.clone(), b.clone()]).expect("a new store");
    store.add(new("stored"), NOW).expect("free");
    let ids = ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW));
    let same = store
        .relist(&[b.clone(), a.clone()], NOW + DAY)
        .expect("nothing is in the way");
    assert_eq!(same, Relisted::default(), "in another order");
    // `a` goes, its key passes to `b`, which loses another and gets a tier; `c` comes.
    let paid = Listed {
        tier: "paid".to_owned(),
        ..listed("b", &["ka", "kb2"])
    };
    let c = listed("c", &["kc"]);
    let preparing = store
        .prepare_list(&[c.clone(), paid.clone()], NOW + DAY)
        .expect("nothing is in the way");
    assert_eq!(
        ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW)),
        ids,
        "the old one stands"
    );
    assert_eq!(found(&store, "kc", NOW), None);
    let other = Relisted {
        come: 1,
        changed: 1,
        gone: 1,
    };
    assert_eq!(preparing.take(), other);
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
    store.relist(&[a, b], NOW + DAY).expect("nothing is in the way");
    assert_eq!(
        ["ka", "kb", "kb2"].map(|key| found(&store, key, NOW)),
        ids,
        "it is back"
    );
    assert_eq!(store.directory().len(), 4);
}

#[test]
fn so_many_names_that_are_not_listed_any_more_keep_their_ids() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("a", &["ka"])]).expect("a new store");
    let id = found(&store, "ka", NOW);
    let many: Vec<Listed> = (0..100_000).map(|number| listed(&format!("n{number}"), &[])).collect();
    store.relist(&many, NOW).expect("nothing is in the way");
    store
        .relist(&[listed("b", &["kb"])], NOW)
        .expect("nothing is in the way");
    let b = found(&store, "kb", NOW);
    store
        .relist(&[listed("a", &["ka"]), listed("b", &["kb"])], NOW)
        .expect("nothing is in the way");
    assert_ne!(found(&store, "ka", NOW), id, "there were too many");
    assert_eq!(found(&store, "kb", NOW), b);
}

#[test]
fn a_list_that_collides_with_what_is_stored_changes_nothing_and_says_what_to_do() {
    let folder = Folder::new();
    let old = [listed("a", &["ka"])];
    let store = open(&folder, &old).expect("a new store");
    store.add(new("acme"), NOW).expect("free");
    let secret = Secret::imported("old".to_owned()).expect("a key");
    let row = ImportRow {
        line: 1,
        account: new("other"),
        key: Some(secret),
    };
    store.import(vec![row], NOW).expect("both are new");
    let before = store.directory().page("", 9);
    let refused = |list: &[Listed]| store.relist(list, NOW).expect_err("it collides").to_string();
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
    store.remove("acme").expect("it is stored");
    store
        .relist(&[listed("acme", &["ka"])], NOW)
        .expect("now it may be listed");
    store.close().expect("the disk is fine");
    assert!(matches!(store.relist(&old, NOW), Err(RelistError::Unavailable(_))));
}

#[test]
fn accounts_whose_tier_there_is_not_are_named_and_counted() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["k"])]).expect("a new store");
    for name in ["d", "c", "b"] {
        store.add(new(name), NOW).expect("free");
    }
    let lost = |tiers: &[&str]| {
        let lost = store.directory().lost(|tier| tiers.contains(&tier), 2);
        let names: Vec<String> = lost.accounts.iter().map(|account| account.name.clone()).collect();
        (names.join(" "), lost.count)
    };
    assert_eq!(lost(&["free", "$20"]), (String::new(), 0));
    assert_eq!(lost(&["free"]), ("b c".to_owned(), 3));
    assert_eq!(lost(&[]), ("b c".to_owned(), 4));
}

#[test]
fn a_name_or_a_key_in_both_places_is_told_at_the_start() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("acme"), NOW).expect("free");
    let row = ImportRow {
        line: 1,
        account: new("other"),
        key: Some(Secret::imported("old".to_owned()).expect("a key")),
    };
    store.import(vec![row], NOW).expect("both are new");
    drop(store);
    let error = open(&folder, &[listed("b", &["kb"]), listed("acme", &["ka"])]).expect_err("it is in both");
    assert!(
        matches!(&error, OpenError::ListedAndStored(names) if names == &["acme"]),
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
        (fresh.key.label.as_str(), fresh.key.expires),
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
    store.revoke(fresh.key.id()).expect("it is there");
    assert_eq!(alive(later), [true, false]);
    assert_eq!(store.revoke(fresh.key.id()), Err(ChangeError::UnknownKey));
}

#[test]
fn an_account_has_so_many_keys_and_expired_ones_make_room() {
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

#[test]
fn an_import_is_whole_or_nothing_and_says_all_that_is_wrong() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["known"])]).expect("a new store");
    let row = |line, name: &str, key: Option<&str>| ImportRow {
        line,
        account: new(name),
        key: key.map(|key| Secret::imported(key.to_owned()).expect("a key")),
    };
    let mut rows = vec![row(1, "a", Some("ka")), row(2, "b", None), row(3, "a", Some("ka2"))];
    let good = rows.clone();
    rows.extend([
        row(4, "listed", None),
        row(5, "c", Some("known")),
        row(6, "d", Some("ka")),
        row(7, "e e", None),
    ]);
    rows.push(ImportRow {
        account: NewAccount {
            tier: "$1".to_owned(),
            ..new("b")
        },
        ..row(8, "b", None)
    });
    let error = store.import(rows.clone(), NOW).expect_err("five lines are wrong");
    assert_eq!(store.check_import(rows, NOW).as_ref(), Err(&error));
    let ImportError::Lines(wrong) = error else {
        panic!("{error}")
    };
    let lines: Vec<usize> = wrong.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8], "{wrong:?}");
    assert_eq!(store.directory().len(), 1, "nothing was taken over");
    assert_eq!(store.check_import(good.clone(), NOW), Ok(()));
    assert_eq!(store.directory().len(), 1, "nor by looking");
    assert_eq!(store.import(good, NOW), Ok(Imported { accounts: 2, keys: 2 }));
    let a = store.directory().by_name("a").map(|account| account.id);
    assert_eq!(["ka", "ka2"].map(|key| found(&store, key, NOW)), [a, a]);
}

#[test]
fn what_is_no_store_of_ours_is_told_from_one_that_is_in_use() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    assert!(matches!(open(&folder, &[]), Err(OpenError::InUse)));
    let file = folder.path().join("accounts.redb");
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(store);
    std::fs::write(
        &file,
        "these are no accounts, but there are enough bytes of them".repeat(200),
    )
    .expect("a file");
    let error = open(&folder, &[]).expect_err("it is no store");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let folder = Folder::new();
    let file = folder.path().join("accounts.redb");
    let database = redb::Database::create(&file).expect("a new file");
    let write = database.begin_write().expect("nobody else writes");
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    write
        .open_table(meta)
        .expect("a table")
        .insert("format", 3)
        .expect("a disk");
    write.commit().expect("a disk");
    drop(database);
    assert!(matches!(open(&folder, &[]), Err(OpenError::Newer)));
}
