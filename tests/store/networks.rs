//! What is said of networks on a disk: it is there after a restart, in files of an earlier version too, and no more than there may be.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::folder::Folder;
use redb::{Database, ReadableDatabase, TableDefinition};
use tiergate::policy::caller::AccountId;
use tiergate::policy::rules::Raise;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{
    AccountStore, Block, Change, ChangeError, Known, NETWORKS_MAX, NetworkChange, OpenError, OwnNumbers,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Span = Span::from_secs(24 * 60 * 60);
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ACCOUNTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("accounts");
const NETWORKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("networks");
/// A network of which nothing but a note is said.
const NOTED: [u8; 8] = [1, 0, 0, 1, 1, 0, b'x', 0];
/// The time at which the blocks of a full store are over, a second before [`NOW`] plus a day.
const OVER: UnixTime = UnixTime::from_secs(1_800_086_399);

fn file(folder: &Folder) -> PathBuf {
    folder.path().join("accounts.redb")
}

fn open_at(folder: &Folder, blocked: &[&str], now: UnixTime) -> Result<AccountStore, OpenError> {
    let blocked = blocked.iter().map(|text| text.parse().expect("a network")).collect();
    AccountStore::open(&file(folder), &[], blocked, now)
}

fn open(folder: &Folder) -> AccountStore {
    open_at(folder, &[], NOW).expect("a store")
}

fn set(store: &AccountStore, network: &str, change: NetworkChange, now: UnixTime) -> Result<(), ChangeError> {
    let network = network.parse().expect("a network");
    store.set_network(network, &change, now).map(|_| ())
}

fn own(number: u32) -> NetworkChange {
    NetworkChange {
        limits: vec![("http".into(), Some(number))],
        ..NetworkChange::default()
    }
}

fn block(until: Option<UnixTime>) -> NetworkChange {
    let why = Some("scrapes".to_owned());
    NetworkChange {
        block: Some(Some(Block { since: NOW, until, why })),
        ..NetworkChange::default()
    }
}

fn find(store: &AccountStore, address: &str, now: UnixTime) -> (bool, Option<u32>) {
    let address: IpAddr = address.parse().expect("an address");
    let Known { blocked, limits } = store.networks().find(address, now);
    let http = |limits: OwnNumbers| limits.iter().find(|(name, _)| **name == *"http").map(|(_, n)| *n);
    (blocked, limits.and_then(http))
}

/// The networks of which something is said, each as it is shown for debugging.
fn told(store: &AccountStore) -> Vec<String> {
    let entries = store.networks().page(None, usize::MAX);
    entries.iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn what_is_said_of_networks_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = open(&folder);
    set(&store, "192.0.2.7/24", own(300), NOW).expect("nothing is in the way");
    set(&store, "192.0.2.128/25", block(None), NOW).expect("nothing is in the way");
    set(&store, "::ffff:192.0.2.0/120", block(Some(NOW + DAY)), NOW).expect("the first one");
    set(&store, "2001:db8::/48", own(7), NOW).expect("nothing is in the way");
    set(&store, "2001:db8::/48", own(8), NOW).expect("another number");
    set(&store, "203.0.113.0/24", own(1), NOW).expect("nothing is in the way");
    let gone = store.remove_network("203.0.113.9/24".parse().expect("a network"));
    assert_eq!(
        gone.map(|entry| entry.network.to_string()),
        Ok("203.0.113.0/24".to_owned())
    );
    let before = told(&store);
    assert_eq!((before.len(), store.networks().len()), (3, 3));
    store.close().expect("the disk is fine");
    let store = open(&folder);
    assert_eq!(told(&store), before);
    assert_eq!(find(&store, "192.0.2.7", NOW), (true, Some(300)));
    assert_eq!(find(&store, "::ffff:192.0.2.7", NOW + DAY), (false, Some(300)));
    assert_eq!(find(&store, "192.0.2.128", NOW + DAY), (true, Some(300)));
    assert_eq!(find(&store, "2001:db8:0:1::1", NOW), (false, Some(8)));
    assert_eq!(find(&store, "203.0.113.9", NOW), (false, None));
}

#[test]
fn a_block_that_is_over_goes_at_the_next_start_and_what_else_is_said_stays() {
    let folder = Folder::new();
    let store = open(&folder);
    for network in ["192.0.2.0/24", "198.51.100.0/24"] {
        set(&store, network, block(Some(NOW + DAY)), NOW).expect("nothing is in the way");
    }
    set(&store, "192.0.2.0/24", own(300), NOW).expect("it is there");
    drop(store);
    let store = open_at(&folder, &[], NOW + DAY).expect("a store");
    let entries = store.networks().page(None, 9);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((&entries[0].block, entries[0].limits.len()), (&None, 1));
    drop(store);
    // Not only in memory: by an earlier clock they are gone as well.
    assert_eq!(find(&open(&folder), "192.0.2.1", NOW), (false, Some(300)));
}

#[test]
fn what_tiers_yaml_blocks_stays_blocked_and_is_not_stored() {
    let folder = Folder::new();
    let listed = ["192.0.2.9/24", "::ffff:198.51.100.0/120"];
    let store = open_at(&folder, &listed, NOW).expect("a store");
    assert_eq!((told(&store).len(), store.networks().len()), (2, 0));
    let network = "192.0.2.0/24".parse().expect("a network");
    let unblock = NetworkChange {
        block: Some(None),
        ..NetworkChange::default()
    };
    assert_eq!(
        set(&store, "192.0.2.0/24", unblock, NOW),
        Err(ChangeError::ListedNetwork)
    );
    assert_eq!(store.remove_network(network), Err(ChangeError::ListedNetwork));
    set(&store, "192.0.2.0/24", own(300), NOW).expect("it may have a number as well");
    assert_eq!(find(&store, "192.0.2.1", NOW), (true, Some(300)));
    store.remove_network(network).expect("the number goes");
    assert_eq!(find(&store, "192.0.2.1", NOW), (true, None));
    set(&store, "198.51.100.0/24", own(300), NOW).expect("it may have a number as well");
    drop(store);
    let store = open(&folder);
    assert_eq!(
        find(&store, "192.0.2.1", NOW),
        (false, None),
        "it isn't listed any more"
    );
    assert_eq!(find(&store, "198.51.100.1", NOW), (false, Some(300)));
}

#[test]
fn nobody_knows_a_network_of_which_nothing_is_said() {
    let folder = Folder::new();
    let store = open(&folder);
    let network = "192.0.2.0/24".parse().expect("a network");
    assert_eq!(store.remove_network(network), Err(ChangeError::UnknownNetwork));
    let nothing = NetworkChange {
        block: Some(None),
        limits: vec![("http".into(), None)],
        note: Some(None),
    };
    assert_eq!(set(&store, "192.0.2.0/24", nothing.clone(), NOW), Ok(()));
    assert!(told(&store).is_empty());
    set(&store, "192.0.2.0/24", own(300), NOW).expect("nothing is in the way");
    set(&store, "192.0.2.0/24", nothing, NOW).expect("it is there");
    assert!(told(&store).is_empty() && told(&open_again(folder, store)).is_empty());
}

fn open_again(folder: Folder, store: AccountStore) -> AccountStore {
    drop(store);
    open(&folder)
}

/// A file that was made before networks and request limits were stored.
fn old_file(folder: &Folder) {
    let mut acme = vec![1, 4, 0];
    acme.extend(b"acme");
    acme.extend([0, 3, 0]);
    acme.extend(b"$20");
    // No concurrency, no quota, no end, not blocked, no users, no note.
    acme.extend([0, 0, 0, 0, 0, 0, 0]);
    acme.extend(NOW.as_millis().to_le_bytes());
    let database = Database::create(file(folder)).expect("a new file");
    let write = database.begin_write().expect("nobody else writes");
    {
        let mut meta = write.open_table(META).expect("a table");
        meta.insert("format", 1).expect("a disk");
        meta.insert("next_id", 8).expect("a disk");
        let mut accounts = write.open_table(ACCOUNTS).expect("a table");
        accounts.insert(7, acme.as_slice()).expect("a disk");
    }
    write.commit().expect("a disk");
}

fn format(folder: &Folder) -> Option<u64> {
    let database = Database::open(file(folder)).expect("a file");
    let read = database.begin_read().expect("a disk");
    let meta = read.open_table(META).expect("a table");
    meta.get("format").expect("a disk").map(|guard| guard.value())
}

#[test]
fn a_file_of_the_first_format_is_read_and_goes_over_with_the_first_change() {
    let folder = Folder::new();
    old_file(&folder);
    let store = open(&folder);
    let acme = store.directory().by_name("acme").expect("it was there");
    assert_eq!(
        (acme.id, acme.tier.as_str(), acme.own.is_empty()),
        (AccountId(7), "$20", true)
    );
    store.close().expect("the disk is fine");
    assert_eq!(format(&folder), Some(1), "an earlier program may go on with it");
    let store = open(&folder);
    let (number, lifts_network) = (5_000, true);
    let change = Change {
        limits: vec![("hourly".into(), Some(Raise { number, lifts_network }))],
        ..Change::default()
    };
    let changed = store.change("acme", &change).expect("it is there");
    set(&store, "192.0.2.0/24", own(300), NOW).expect("nothing is in the way");
    store.close().expect("the disk is fine");
    assert_eq!(format(&folder), Some(2));
    let store = open(&folder);
    assert_eq!(store.directory().by_name("acme"), Some(changed));
    assert_eq!(find(&store, "192.0.2.1", NOW), (false, Some(300)));
}

/// Writes that of these networks into the file, as it is.
fn put<'a>(folder: &Folder, networks: impl IntoIterator<Item = (Vec<u8>, &'a [u8])>) {
    let database = Database::create(file(folder)).expect("a file");
    let write = database.begin_write().expect("nobody else writes");
    {
        let mut table = write.open_table(NETWORKS).expect("a table");
        for (key, bytes) in networks {
            table.insert(key.as_slice(), bytes).expect("a disk");
        }
    }
    write.commit().expect("a disk");
}

#[test]
fn a_damaged_network_is_told_as_a_damaged_account_is() {
    let key = || vec![192, 0, 2, 0, 24];
    let wrong: [(Vec<u8>, &[u8]); 5] = [
        (key(), &NOTED[..7]),
        (key(), &[2, 0, 0, 1, 1, 0, b'x', 0]),
        (key(), &[1, 0, 0, 0, 0]),
        (vec![192, 0, 2, 7, 24], &NOTED),
        (vec![192, 0, 2, 0], &NOTED),
    ];
    for (key, bytes) in wrong {
        let folder = Folder::new();
        drop(open(&folder));
        put(&folder, [(key, bytes)]);
        let error = open_at(&folder, &[], NOW).expect_err("it is none of ours");
        assert!(matches!(error, OpenError::Damaged(_)), "{bytes:?}: {error}");
    }
    let folder = Folder::new();
    drop(open(&folder));
    put(&folder, [(key(), &NOTED[..])]);
    assert_eq!(open(&folder).networks().len(), 1, "and this one is");
}

#[test]
fn there_are_so_many_networks_and_blocks_that_are_over_make_room() {
    let folder = Folder::new();
    drop(open(&folder));
    // Blocked since the epoch, until [`OVER`], for no reason.
    let mut over = vec![1, 0, 0, 0, 1];
    over.extend([0; 8]);
    over.push(1);
    over.extend(OVER.as_millis().to_le_bytes());
    over.push(0);
    let key = |number: usize| {
        let address = u32::try_from(number).expect("it fits") << 8;
        [&address.to_be_bytes()[..], &[24]].concat()
    };
    let many = (0..NETWORKS_MAX).map(|number| (key(number), if number % 2 == 0 { &over } else { &NOTED[..] }));
    put(&folder, many);
    let store = open(&folder);
    assert_eq!(store.networks().len(), NETWORKS_MAX);
    let full = set(&store, "192.0.2.0/24", own(300), NOW);
    assert_eq!(full, Err(ChangeError::TooManyNetworks));
    set(&store, "0.0.1.0/24", own(300), NOW).expect("it is one of them");
    set(&store, "192.0.2.0/24", own(300), OVER).expect("there is room by then");
    assert_eq!(store.networks().len(), NETWORKS_MAX / 2 + 1);
    store.close().expect("the disk is fine");
    let store = open(&folder);
    assert_eq!(store.networks().len(), NETWORKS_MAX / 2 + 1);
}
