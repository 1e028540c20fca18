//! What an account with a key costs in memory, after the start of a server that has many.

use std::path::Path;

use tiergate::policy::time::UnixTime;
use tiergate::store::{AccountPatch, AccountStore, Change, ImportOptions, ImportRow, Key, keys};

use super::database;
use super::folder::Folder;
use super::{in_a_process_of_its_own, resident_bytes, say};

/// Bytes of an account with a key and nothing else, and of one with an email as well, with their share of the open database.
/// Both have a name of 15 characters.
const BARE_BYTES_MAX: f64 = 400.0;
const WITH_EMAIL_BYTES_MAX: f64 = 520.0;
const ACCOUNTS: u32 = 100_000;
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// What the measuring process is told, before the folder.
const WHAT: &str = "accounts in ";

#[test]
fn an_account_costs_what_it_may() {
    for (what, has_email, bytes_max) in [
        ("a key", false, BARE_BYTES_MAX),
        ("a key and an email", true, WITH_EMAIL_BYTES_MAX),
    ] {
        let folder = Folder::new();
        fill(folder.path(), has_email);
        let bytes = in_a_process_of_its_own(&format!("{WHAT}{}", folder.path().display()));
        say(&format!("an account with {what}, of {ACCOUNTS}: {bytes:.0} bytes"));
        assert!(bytes > 100.0 && bytes <= bytes_max, "with {what}: {bytes:.0} bytes");
    }
}

fn open(folder: &Path) -> AccountStore {
    let database = database::open_at(folder, NOW);
    AccountStore::open(database, &[], Vec::new(), NOW).expect("a store")
}

fn fill(folder: &Path, has_email: bool) {
    let line = |number: u32| {
        let terms = AccountPatch {
            tier: Some("$20".to_owned()),
            email: match has_email {
                true => Change::Set(format!("user{number:07}@mail.example")),
                false => Change::Keep,
            },
            ..AccountPatch::default()
        };
        let row = ImportRow {
            name: format!("account-{number:07}"),
            terms,
            keys: vec![Key::plain(keys::hash(&number.to_le_bytes()), NOW)],
            beginnings: Vec::new(),
        };
        (number as usize, Ok(row))
    };
    let options = ImportOptions {
        source: Some("sponsors".to_owned()),
        ..ImportOptions::default()
    };
    let done = open(folder).import((0..ACCOUNTS).map(line), &options, NOW);
    assert_eq!(done.expect("all are new").added, ACCOUNTS as usize);
}

/// Bytes of each, if that is what is to be measured.
pub fn measured(what: &str) -> Option<f64> {
    let folder = what.strip_prefix(WHAT)?;
    let before = resident_bytes();
    let store = open(Path::new(folder));
    let used = resident_bytes().saturating_sub(before);
    assert_eq!(store.directory().len(), ACCOUNTS as usize);
    Some(used as f64 / f64::from(ACCOUNTS))
}
