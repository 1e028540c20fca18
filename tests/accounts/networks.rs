//! What is said of networks: it is there after a restart, and no more than there may be.

use std::net::IpAddr;

use rusqlite::params;
use tiergate::policy::time::UnixTime;
use tiergate::store::{
    AccountStore, Block, Change, ChangeError, NETWORKS_MAX, NetworkChange, NetworkTerms, OwnNumbers,
};

use crate::folder::Folder;
use crate::kit::{self, DAY, NOW, database_of};

/// The time at which the blocks of a full store are over, a second before [`NOW`] plus a day.
const OVER: UnixTime = UnixTime::from_secs(1_800_086_399);

fn open_at(folder: &Folder, blocked: &[&str], now: UnixTime) -> AccountStore {
    let (store, _) = kit::open_with(folder, &[], blocked, now).expect("a store");
    store
}

fn open(folder: &Folder) -> AccountStore {
    open_at(folder, &[], NOW)
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
        block: Change::Set(Block { since: NOW, until, why }),
        ..NetworkChange::default()
    }
}

fn find(store: &AccountStore, address: &str, now: UnixTime) -> (bool, Option<u32>) {
    let address: IpAddr = address.parse().expect("an address");
    let NetworkTerms { blocked, limits } = store.networks().find(address, now);
    let http = |limits: OwnNumbers| limits.iter().find(|(name, _)| **name == *"http").map(|(_, n)| *n);
    (blocked, limits.and_then(http))
}

/// The networks of which something is said, each as it is shown for debugging.
fn told(store: &AccountStore) -> Vec<String> {
    let entries = store.networks().page(None, usize::MAX);
    entries.iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn network_settings_survive_a_restart() {
    let folder = Folder::new();
    let store = open(&folder);
    set(&store, "192.0.2.7/24", own(300), NOW).expect("nothing is in the way");
    set(&store, "192.0.2.128/25", block(None), NOW).expect("nothing is in the way");
    set(&store, "::ffff:192.0.2.0/120", block(Some(NOW + DAY)), NOW).expect("the first one");
    set(&store, "2001:db8::/48", own(7), NOW).expect("nothing is in the way");
    set(&store, "2001:db8::/48", own(8), NOW).expect("another number");
    set(&store, "203.0.113.0/24", own(1), NOW).expect("nothing is in the way");
    let gone = store.remove_network("203.0.113.9/24".parse().expect("a network"), NOW);
    assert_eq!(
        gone.map(|entry| entry.network.to_string()),
        Ok("203.0.113.0/24".to_owned())
    );
    let before = told(&store);
    assert_eq!((before.len(), store.networks().len()), (3, 3));
    drop(store);
    let store = open(&folder);
    assert_eq!(told(&store), before);
    assert_eq!(find(&store, "192.0.2.7", NOW), (true, Some(300)));
    assert_eq!(find(&store, "::ffff:192.0.2.7", NOW + DAY), (false, Some(300)));
    assert_eq!(find(&store, "192.0.2.128", NOW + DAY), (true, Some(300)));
    assert_eq!(find(&store, "2001:db8:0:1::1", NOW), (false, Some(8)));
    assert_eq!(find(&store, "203.0.113.9", NOW), (false, None));
}

#[test]
fn expired_blocks_are_removed_at_the_next_start() {
    let folder = Folder::new();
    let store = open(&folder);
    for network in ["192.0.2.0/24", "198.51.100.0/24"] {
        set(&store, network, block(Some(NOW + DAY)), NOW).expect("nothing is in the way");
    }
    set(&store, "192.0.2.0/24", own(300), NOW).expect("it is there");
    drop(store);
    let store = open_at(&folder, &[], NOW + DAY);
    let entries = store.networks().page(None, 9);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((&entries[0].block, entries[0].limits.len()), (&None, 1));
    drop(store);
    // Not only in memory: by an earlier clock they are gone as well.
    assert_eq!(find(&open(&folder), "192.0.2.1", NOW), (false, Some(300)));
}

#[test]
fn blocks_in_tiers_yaml_stay_and_are_not_stored() {
    let folder = Folder::new();
    let listed = ["192.0.2.9/24", "::ffff:198.51.100.0/120"];
    let store = open_at(&folder, &listed, NOW);
    assert_eq!((told(&store).len(), store.networks().len()), (2, 0));
    let network = "192.0.2.0/24".parse().expect("a network");
    let unblock = NetworkChange {
        block: Change::Clear,
        ..NetworkChange::default()
    };
    assert_eq!(
        set(&store, "192.0.2.0/24", unblock, NOW),
        Err(ChangeError::DeclaredNetwork)
    );
    assert_eq!(store.remove_network(network, NOW), Err(ChangeError::DeclaredNetwork));
    set(&store, "192.0.2.0/24", own(300), NOW).expect("it may have a number as well");
    assert_eq!(find(&store, "192.0.2.1", NOW), (true, Some(300)));
    store.remove_network(network, NOW).expect("the number goes");
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
fn a_network_without_settings_is_unknown() {
    let folder = Folder::new();
    let store = open(&folder);
    let network = "192.0.2.0/24".parse().expect("a network");
    assert_eq!(store.remove_network(network, NOW), Err(ChangeError::UnknownNetwork));
    let nothing = NetworkChange {
        block: Change::Clear,
        limits: vec![("http".into(), None)],
        note: Change::Clear,
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

#[test]
fn a_damaged_network_is_told() {
    let folder = Folder::new();
    drop(open(&folder));
    let network = "INSERT INTO network (network, note) VALUES ('192.0.2', 'x')";
    database_of(&folder).execute(network, []).expect("a row");
    let error = kit::open_with(&folder, &[], &[], NOW).expect_err("it is none");
    assert!(error.to_string().contains("`192.0.2` is not a network"), "{error}");
}

#[test]
fn networks_are_bounded_and_expired_blocks_make_room() {
    let folder = Folder::new();
    drop(open(&folder));
    let mut database = database_of(&folder);
    let transaction = database.transaction().expect("nobody else has it");
    for number in 0..u32::try_from(NETWORKS_MAX).expect("it fits") {
        let network = format!("{}/24", std::net::Ipv4Addr::from(number << 8));
        // One in two is blocked since the epoch until [`OVER`]; of the others there is a note.
        let (since, until, note) = match number % 2 {
            0 => (Some(0), Some(OVER.as_millis()), None),
            _ => (None, None, Some("x")),
        };
        let insert = "INSERT INTO network (network, note, blocked_since, blocked_until) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = transaction.prepare_cached(insert).expect("a statement");
        let until = until.map(|until| i64::try_from(until).expect("it fits"));
        insert.execute(params![network, note, since, until]).expect("a row");
    }
    transaction.commit().expect("a disk");
    drop(database);
    let store = open(&folder);
    assert_eq!(store.networks().len(), NETWORKS_MAX);
    let full = set(&store, "192.0.2.0/24", own(300), NOW);
    assert_eq!(full, Err(ChangeError::TooManyNetworks));
    set(&store, "0.0.1.0/24", own(300), NOW).expect("it is one of them");
    set(&store, "192.0.2.0/24", own(300), OVER).expect("there is room by then");
    assert_eq!(store.networks().len(), NETWORKS_MAX / 2 + 1);
    drop(store);
    let store = open(&folder);
    assert_eq!(store.networks().len(), NETWORKS_MAX / 2 + 1);
}
