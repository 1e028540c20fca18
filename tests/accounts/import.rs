//! Imports of many accounts: all or nothing, and on request the store is made to match the file.

use tiergate::policy::time::UnixTime;
use tiergate::store::{
    AccountPatch, AccountStore, Change, ChangeError, ImportError, ImportOptions, ImportRow, Imported, Key, KeyId,
    Minted,
};

use crate::folder::Folder;
use crate::kit::{DAY, NOW, found, hash, listed, new, open};

type Line = (usize, Result<ImportRow, String>);

/// A line that names a tier.
fn row(line: usize, name: &str, keys: &[&str]) -> Line {
    of(
        line,
        name,
        AccountPatch {
            tier: Some("$20".to_owned()),
            ..AccountPatch::default()
        },
        keys,
    )
}

fn of(line: usize, name: &str, terms: AccountPatch, keys: &[&str]) -> Line {
    let keys = keys.iter().map(|key| Key::plain(hash(key), NOW)).collect();
    (
        line,
        Ok(ImportRow {
            name: name.to_owned(),
            terms,
            keys,
            beginnings: Vec::new(),
        }),
    )
}

fn import(store: &AccountStore, lines: Vec<Line>, options: &ImportOptions) -> Result<Imported, ImportError> {
    store.import(lines.into_iter(), options, NOW)
}

/// The counts of an import: added, updated, unchanged, removed, new keys.
fn counts(imported: Result<Imported, ImportError>) -> [usize; 5] {
    let done = imported.expect("nothing is in the way");
    [done.added, done.updated, done.unchanged, done.removed, done.keys_added]
}

fn plain() -> ImportOptions {
    ImportOptions::default()
}

fn update() -> ImportOptions {
    ImportOptions {
        update: true,
        ..ImportOptions::default()
    }
}

/// A nightly sync of sponsors.
fn sync() -> ImportOptions {
    ImportOptions {
        source: Some("sponsors".to_owned()),
        remove_missing: true,
        ..update()
    }
}

fn names(store: &AccountStore) -> String {
    let all = store.directory().page("", 1_000);
    all.iter().map(|account| &*account.name).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_import_is_all_or_nothing_and_reports_all_errors() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["known"])]).expect("a new store");
    let mut lines = vec![row(1, "a", &["ka"]), row(2, "b", &[]), row(3, "a", &["ka2"])];
    let good = lines.clone();
    lines.extend([
        row(4, "listed", &[]),
        row(5, "c", &["known"]),
        row(6, "d", &["ka"]),
        row(7, "e e", &[]),
        of(
            8,
            "b",
            AccountPatch {
                tier: Some("$1".to_owned()),
                ..AccountPatch::default()
            },
            &[],
        ),
        of(9, "f", AccountPatch::default(), &[]),
        (10, Err("it is not text".to_owned())),
    ]);
    let error = import(&store, lines.clone(), &plain()).expect_err("seven lines are wrong");
    let dry = ImportOptions {
        dry_run: true,
        ..plain()
    };
    assert_eq!(import(&store, lines, &dry).as_ref(), Err(&error));
    let ImportError::Lines { first, count: 7 } = error else {
        panic!("{error}")
    };
    let wrong: Vec<usize> = first.iter().map(|(line, _)| *line).collect();
    assert_eq!(wrong, [4, 5, 6, 7, 8, 9, 10], "{first:?}");
    assert_eq!(store.directory().len(), 1, "nothing was taken over");
    assert_eq!(counts(import(&store, good.clone(), &dry)), [2, 0, 0, 0, 2]);
    assert_eq!(store.directory().len(), 1, "nor by looking");
    assert_eq!(counts(import(&store, good, &plain())), [2, 0, 0, 0, 2]);
    let a = store.directory().by_name("a").map(|account| account.id);
    assert_eq!(["ka", "ka2"].map(|key| found(&store, key, NOW)), [a, a]);
}

/// Regression: an import of 16 MiB of invalid lines held eight million errors, 3.4 GB, only to report the first
/// thousand.
#[test]
fn only_the_first_errors_of_an_import_are_kept() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let lines = (1..=1_000_000).map(|line| (line, Err("it is wrong".to_owned())));
    let error = store.import(lines, &plain(), NOW).expect_err("all are wrong");
    let ImportError::Lines { first, count } = error else {
        panic!("{error}")
    };
    assert_eq!(
        (first.len(), count, first.last().map(|(line, _)| *line)),
        (1_000, 1_000_000, Some(1_000))
    );
}

/// Changes a tier, adds keys and an account.
fn updated_lines() -> Vec<Line> {
    let to = |tier: &str| AccountPatch {
        tier: Some(tier.to_owned()),
        ..AccountPatch::default()
    };
    vec![
        of(1, "a", to("$50"), &["ka", "ka2"]),
        of(
            2,
            "b",
            AccountPatch {
                tier: None,
                ..AccountPatch::default()
            },
            &["kb"],
        ),
        row(3, "c", &["kc"]),
        row(4, "new", &[]),
    ]
}

/// Fields that differ, and new keys, of each account that was changed.
fn changed_fields(done: &Imported) -> Vec<(Vec<&'static str>, usize)> {
    let fields = done.changes.iter().filter_map(|change| {
        Some((
            change
                .before
                .as_ref()?
                .spec()
                .differences(&change.after.as_ref()?.spec()),
            change.keys_added,
        ))
    });
    fields.collect()
}

/// Regression: an import could only add accounts.
#[test]
fn an_update_changes_only_what_the_file_says() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["known"])]).expect("a new store");
    let noted = AccountPatch {
        email: Change::Set("a@example.org".to_owned()),
        note: Change::Set("a friend".to_owned()),
        quotas: Some([("daily".into(), Some(5))].into()),
        tier: Some("$20".to_owned()),
        ..AccountPatch::default()
    };
    let lines = vec![of(1, "a", noted, &["ka"]), row(2, "b", &["kb"]), row(3, "c", &[])];
    import(&store, lines, &plain()).expect("they are new");
    let before = store.directory().by_name("a").expect("it is there");
    let refused = import(&store, updated_lines(), &plain()).expect_err("three are there");
    assert!(matches!(refused, ImportError::Lines { count: 3, .. }), "{refused}");
    let dry = ImportOptions {
        dry_run: true,
        ..update()
    };
    let would = import(&store, updated_lines(), &dry).expect("nothing is in the way");
    assert_eq!(
        store.directory().by_name("a").as_ref(),
        Some(&before),
        "nothing was changed"
    );
    let done = import(&store, updated_lines(), &update()).expect("nothing is in the way");
    assert_eq!(done, would, "a dry run says what a real one does");
    assert_eq!(counts(Ok(done.clone())), [1, 2, 1, 0, 2]);
    assert_eq!(changed_fields(&done), [(vec!["tier"], 1), (Vec::new(), 1)]);
    drop(store);
    let store = open(&folder, &[listed("listed", &["known"])]).expect("the same store");
    let after = store.directory().by_name("a").expect("it is there");
    assert_eq!(
        (&*after.tier, after.id, after.email(), after.note()),
        ("$50", before.id, before.email(), before.note())
    );
    assert_eq!((after.overrides(), after.keys().len()), (before.overrides(), 2));
    assert_eq!(
        found(&store, "kc", NOW),
        store.directory().by_name("c").map(|account| account.id)
    );
    let refused = import(&store, vec![row(1, "listed", &[])], &update()).expect_err("it is changed in tiers.yaml");
    assert_eq!(
        refused.to_string(),
        "line 1: the account is listed in tiers.yaml: change it there\n"
    );
    let taken = import(&store, vec![row(1, "b", &["kc"])], &update()).expect_err("it is another's");
    assert_eq!(taken.to_string(), "line 1: an account already has that key\n");
}

#[test]
fn only_accounts_of_the_source_are_removed() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["known"])]).expect("a new store");
    store.add(new("by-hand"), NOW).expect("free");
    let other = ImportOptions {
        source: Some("others".to_owned()),
        ..update()
    };
    import(&store, vec![row(1, "other", &[]), row(2, "kept", &[])], &other).expect("they are new");
    let many: Vec<Line> = (0..20)
        .map(|number| row(number, &format!("s{number:02}"), &[&format!("k{number}")]))
        .collect();
    let mut first = many.clone();
    first.extend([row(20, "by-hand", &[]), row(21, "kept", &["k-kept"])]);
    assert_eq!(counts(import(&store, first, &sync())), [20, 1, 1, 0, 21]);
    // Two of twenty are no more than a tenth, whatever was named before.
    assert_eq!(counts(import(&store, many[2..].to_vec(), &sync())), [0, 0, 18, 2, 0]);
    assert_eq!(found(&store, "k0", NOW), None);
    let left = names(&store);
    assert!(
        left.starts_with("by-hand kept listed other s02 ") && left.ends_with(" s19"),
        "{left}"
    );
    let source = |name: &str| {
        store
            .directory()
            .by_name(name)
            .and_then(|account| account.source.as_deref().map(str::to_owned))
    };
    assert_eq!(
        [source("by-hand"), source("kept"), source("s02")],
        [None, Some("others".to_owned()), Some("sponsors".to_owned())]
    );
}

#[test]
fn removing_more_than_a_tenth_needs_confirmation() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let many: Vec<Line> = (0..29)
        .map(|number| row(number, &format!("s{number:02}"), &[]))
        .collect();
    import(&store, many.clone(), &sync()).expect("they are new");
    let before = names(&store);
    let refused = import(&store, many[3..].to_vec(), &sync()).expect_err("three of 29 are too many");
    let (removed, of, source) = (3, 29, "sponsors".to_owned());
    assert_eq!(
        refused,
        ImportError::Whole(ChangeError::TooManyRemoved { removed, of, source })
    );
    assert_eq!(
        refused.to_string(),
        "this would remove 3 of the 29 accounts of the source sponsors, more than a tenth, so nothing was changed: see which with a \
         dry run (--dry-run, `dry_run=1`), then say yes (--yes, `yes=1`)"
    );
    let empty = import(&store, Vec::new(), &sync()).expect_err("an empty file removes nobody");
    assert!(empty.to_string().contains("29 of the 29"), "{empty}");
    let dry = ImportOptions {
        dry_run: true,
        ..sync()
    };
    let would = import(&store, many[3..].to_vec(), &dry).expect("nothing is changed");
    assert_eq!((would.removed, would.needs_yes), (3, true));
    assert_eq!(names(&store), before);
    let yes = ImportOptions { yes: true, ..sync() };
    assert_eq!(counts(import(&store, many[3..].to_vec(), &yes)), [0, 0, 26, 3, 0]);
}

/// A renamed sponsor has the same key.
#[test]
fn a_removed_accounts_key_can_pass_to_another_account() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    let yes = ImportOptions { yes: true, ..sync() };
    import(
        &store,
        vec![row(1, "old-name", &["k"]), row(2, "stays", &["ks"])],
        &sync(),
    )
    .expect("they are new");
    let taken =
        import(&store, vec![row(1, "other", &["ks"]), row(2, "stays", &[])], &yes).expect_err("it is not removed");
    assert_eq!(taken.to_string(), "line 1: an account already has that key\n");
    let lines = vec![row(1, "new-name", &["k"]), row(2, "stays", &[])];
    assert_eq!(counts(import(&store, lines, &yes)), [1, 0, 1, 1, 1]);
    let id = store.directory().by_name("new-name").map(|account| account.id);
    assert_eq!(found(&store, "k", NOW), id);
    drop(store);
    let store = open(&folder, &[]).expect("the same store");
    assert_eq!(found(&store, "k", NOW), id);
}

#[test]
fn imported_keys_keep_their_label_and_expiry() {
    let folder = Folder::new();
    let store = open(&folder, &[]).expect("a new store");
    store.add(new("a"), NOW).expect("free");
    let Minted { secret, key } = store.mint("a", "bot".to_owned(), Some(NOW + DAY), NOW).expect("room");
    let line = |key: Key| {
        let terms = AccountPatch {
            tier: Some("$20".to_owned()),
            ..AccountPatch::default()
        };
        vec![(
            1,
            Ok(ImportRow {
                name: "a".to_owned(),
                terms,
                keys: vec![key],
                beginnings: Vec::new(),
            }),
        )]
    };
    let again = store.import(line(key.clone()).into_iter(), &update(), NOW);
    assert_eq!(counts(again), [0, 0, 1, 0, 0], "it has that key");
    let other_folder = Folder::new();
    let other = open(&other_folder, &[]).expect("a new store");
    let done = other.import(line(key.clone()).into_iter(), &plain(), NOW);
    assert_eq!(counts(done), [1, 0, 0, 0, 1]);
    assert_eq!(
        other
            .directory()
            .by_name("a")
            .expect("it is there")
            .key(KeyId::of(&key.hash)),
        Some(&key)
    );
    let works = |now: UnixTime| found(&other, secret.reveal(), now).is_some();
    assert!(works(NOW) && !works(NOW + DAY));
}

/// One import of 100,000 beside one listed account was refused, and no document told of that bound.
#[test]
fn a_hundred_thousand_accounts_are_imported_beside_a_listed_one() {
    let folder = Folder::new();
    let store = open(&folder, &[listed("listed", &["known"])]).expect("a new store");
    let lines = (0..100_000).map(|number| row(number, &format!("n{number}"), &[&format!("k{number}")]));
    let done = store.import(lines, &plain(), NOW);
    assert_eq!(counts(done), [100_000, 0, 0, 0, 100_000]);
    drop(store);
    let store = open(&folder, &[listed("listed", &["known"])]).expect("the same store");
    assert_eq!(store.directory().len(), 100_001);
    assert_eq!(
        found(&store, "k99999", NOW),
        store.directory().by_name("n99999").map(|account| account.id)
    );
}
