//! Accounts, and what is said of networks, on a disk that fails, tears or freezes at every one of its writes and syncs: what was
//! acknowledged is there when the file is opened again, and nothing is half-done.
//!
//! The disk is one of the test's own under redb's seam. It keeps what a sync has made durable apart from what is only in its cache.
//! When the power goes, of the cache any part may have reached the medium: nothing, everything, every other write, or the last one
//! in half. After a sync that failed its writes are still read, and never become durable unless they are written again, as Linux
//! does it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, Builder, DatabaseError, StorageBackend, StorageError};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{
    AccountStore, Block, Change, ChangeError, ImportError, ImportRow, KeyId, KnownAccounts, Listed, NetworkChange,
    NewAccount, OpenError, Secret,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Span = Span::from_secs(24 * 60 * 60);

/// What becomes of the k-th write or sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It fails, and the next works again.
    Fails,
    /// A write is done in half, then the power goes.
    Tears,
    /// Nothing goes through from there on; then the power goes.
    Freezes,
}

/// What of the cache has reached the medium when the power goes.
#[derive(Clone, Copy, Debug)]
enum Survives {
    Nothing,
    Everything,
    EveryOther,
    AllButTheFirst,
}

const SURVIVES: [Survives; 4] = [
    Survives::Nothing,
    Survives::Everything,
    Survives::EveryOther,
    Survives::AllButTheFirst,
];

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLength(u64),
}

#[derive(Debug, Default)]
struct Medium {
    /// What is there after a loss of power.
    durable: Vec<u8>,
    /// What is read.
    cached: Vec<u8>,
    /// What is cached and not durable, in its order.
    pending: Vec<Op>,
    /// Writes and syncs so far.
    count: usize,
    fault: Option<(usize, Fault)>,
    /// Nothing goes through any more.
    frozen: bool,
    /// Whether the file has its name. Until then it is made, and nobody finds it after a loss of power.
    named: bool,
}

/// A disk, and every handle to it.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Medium>>);

fn apply(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => {
            let start = usize::try_from(*offset).expect("it fits memory");
            let end = start + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[start..end].copy_from_slice(data);
        }
        Op::SetLength(length) => image.resize(usize::try_from(*length).expect("it fits memory"), 0),
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken, on purpose")
}

impl Disk {
    fn with(fault: Option<(usize, Fault)>) -> Self {
        let medium = Medium {
            fault,
            ..Medium::default()
        };
        Self(Arc::new(Mutex::new(medium)))
    }

    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("nobody panics with it")
    }

    /// The disk after a loss of power, without faults from now on.
    fn after_power_loss(&self, survives: Survives) -> Self {
        let old = self.lock();
        if !old.named {
            return Self::default();
        }
        let mut image = old.durable.clone();
        for (number, op) in old.pending.iter().enumerate() {
            let reached = match survives {
                Survives::Nothing => false,
                Survives::Everything => true,
                Survives::EveryOther => number % 2 == 0,
                Survives::AllButTheFirst => number > 0,
            };
            if reached {
                apply(&mut image, op);
            }
        }
        let new = Medium {
            durable: image.clone(),
            cached: image,
            named: true,
            ..Medium::default()
        };
        Self(Arc::new(Mutex::new(new)))
    }
}

impl Medium {
    /// Counts a write or sync. Answers with the fault that it meets.
    fn meets(&mut self) -> io::Result<Option<Fault>> {
        if self.frozen {
            return Err(broken());
        }
        self.count += 1;
        let fault = self.fault.filter(|(at, _)| *at == self.count).map(|(_, fault)| fault);
        self.frozen = matches!(fault, Some(Fault::Tears | Fault::Freezes));
        Ok(fault)
    }

    /// An empty file takes the place of what was begun.
    fn forget(&mut self) {
        self.durable.clear();
        self.cached.clear();
        self.pending.clear();
    }

    fn name(&mut self) -> io::Result<()> {
        match self.meets()? {
            None => {
                self.named = true;
                Ok(())
            }
            Some(_) => Err(broken()),
        }
    }

    fn put(&mut self, op: Op) -> io::Result<()> {
        match (self.meets()?, op) {
            (None, op) => {
                apply(&mut self.cached, &op);
                self.pending.push(op);
                Ok(())
            }
            (Some(Fault::Tears), Op::Write(offset, data)) => {
                self.pending.push(Op::Write(offset, data[..data.len() / 2].to_vec()));
                Err(broken())
            }
            (Some(_), _) => Err(broken()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let medium = self.lock();
        let start = usize::try_from(offset).expect("it fits memory");
        let bytes = medium.cached.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.lock().put(Op::SetLength(length))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().put(Op::Write(offset, data.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut medium = self.lock();
        let fault = medium.meets()?;
        let pending = match fault {
            // The system has forgotten that they were ever to be written.
            Some(Fault::Fails) => {
                medium.pending.clear();
                return Err(broken());
            }
            Some(_) => return Err(broken()),
            None => std::mem::take(&mut medium.pending),
        };
        for op in &pending {
            apply(&mut medium.durable, op);
        }
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }
}

/// Opens the store as it opens a file: made whole without a name first. redb can't open a file whose making was cut off, which this
/// test found.
fn open(disk: &Disk) -> Result<AccountStore, OpenError> {
    let disk = disk.clone();
    let opener = move |builder: &Builder| {
        if !disk.lock().named {
            disk.lock().forget();
            builder.create_with_backend(disk.clone())?.close()?;
            disk.lock()
                .name()
                .map_err(|error| DatabaseError::Storage(StorageError::Io(error)))?;
        }
        builder.create_with_backend(disk.clone())
    };
    AccountStore::open_with(Box::new(opener), &[], Vec::new(), NOW)
}

/// What an operator has in hand during the day.
#[derive(Clone, Debug, Default)]
struct Day {
    /// Keys that were shown, by label, and whose they are.
    keys: BTreeMap<&'static str, (Secret, &'static str)>,
}

fn new(name: &str) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        tier: "$20".to_owned(),
        note: Some("x".repeat(1_000)),
        ..NewAccount::default()
    }
}

impl Day {
    fn mint(&mut self, store: &AccountStore, of: &'static str, label: &'static str) -> Result<(), ChangeError> {
        let minted = store.mint(of, label.to_owned(), None, NOW)?;
        self.keys.insert(label, (minted.secret, of));
        Ok(())
    }

    /// What is gone unacknowledged is not looked for any more.
    fn forget_what_is_gone(&mut self, store: &AccountStore) {
        let known = KnownAccounts::of(store.directory());
        self.keys
            .retain(|_, (secret, _)| known.find(secret.reveal().as_bytes(), NOW).is_some());
    }
}

/// The account's only key, which nobody may have seen.
fn only_key(store: &AccountStore, of: &str) -> KeyId {
    let account = store.directory().by_name(of).expect("it is there");
    store.directory().keys_of(account.id)[0].id()
}

/// A step of the day. One that is acknowledged has taken place, one that isn't has or hasn't.
type Step = fn(&mut Day, &AccountStore) -> Result<(), ChangeError>;

const SCRIPT: [Step; 12] = [
    |_, store| store.add(new("a"), NOW).map(|_| ()),
    |day, store| day.mint(store, "a", "first"),
    |_, store| store.add(new("b"), NOW).map(|_| ()),
    |day, store| day.mint(store, "b", "second"),
    |_, store| {
        let change = Change {
            blocked: Some(true),
            concurrency: Some(Some(6)),
            ..Change::default()
        };
        store.change("b", &change).map(|_| ())
    },
    |day, store| {
        let (fresh, _) = store.rotate(only_key(store, "a"), DAY, NOW)?;
        day.keys.insert("rotated", (fresh.secret, "a"));
        Ok(())
    },
    |day, store| {
        store.revoke(only_key(store, "b"))?;
        day.keys.remove("second");
        Ok(())
    },
    |_, store| {
        let row = |line: usize| ImportRow {
            line,
            account: new(&format!("imported-{line}")),
            key: Some(Secret::imported(format!("key-{line}")).expect("a key")),
        };
        match store.import((1..=40).map(row).collect(), NOW) {
            Ok(_) => Ok(()),
            Err(ImportError::Whole(error)) => Err(error),
            Err(lines) => panic!("{lines}"),
        }
    },
    |_, store| {
        let (since, until, why) = (NOW, None, None);
        let change = NetworkChange {
            limits: vec![("http".into(), Some(300))],
            note: Some(Some("x".repeat(1_000))),
            block: Some(Some(Block { since, until, why })),
        };
        store.set_network(network(), &change, NOW).map(|_| ())
    },
    |day, store| {
        store.remove("a")?;
        day.keys.retain(|_, (_, of)| *of != "a");
        Ok(())
    },
    |_, store| store.add(new("a"), NOW).map(|_| ()),
    |_, store| store.remove_network(network()).map(|_| ()),
];

fn network() -> ipnet::IpNet {
    "192.0.2.0/24".parse().expect("a network")
}

/// All that the store says, but for what randomness has put into it.
fn told(store: &AccountStore) -> Vec<String> {
    let directory = store.directory();
    let accounts = directory.page("", usize::MAX);
    let line = |account: &Arc<tiergate::store::Account>| {
        let mut keys: Vec<_> = directory
            .keys_of(account.id)
            .iter()
            .map(|key| (key.label.clone(), key.expires))
            .collect();
        keys.sort();
        format!("{account:?} {keys:?}")
    };
    let networks = store.networks().page(None, usize::MAX);
    let networks = networks.iter().map(|entry| format!("{entry:?}"));
    accounts.iter().map(line).chain(networks).collect()
}

/// What the store says before the first step, and after each, where nothing goes wrong; and how many writes and syncs that takes.
fn as_it_should_be() -> (Vec<Vec<String>>, usize) {
    let disk = Disk::default();
    let store = open(&disk).expect("nothing is wrong");
    let mut day = Day::default();
    let mut states = vec![told(&store)];
    for step in SCRIPT {
        step(&mut day, &store).expect("nothing is wrong");
        states.push(told(&store));
    }
    store.close().expect("nothing is wrong");
    let count = disk.lock().count;
    (states, count)
}

/// Every key that was shown and not taken away opens its account, every other none.
fn check_keys(day: &Day, store: &AccountStore, what: &str) {
    for (label, (secret, of)) in &day.keys {
        let found = KnownAccounts::of(store.directory()).find(secret.reveal().as_bytes(), NOW);
        assert_eq!(
            found.map(|account| account.name.clone()).as_deref(),
            Some(*of),
            "{what}: key {label}"
        );
    }
}

/// Goes on with the day from the step that `done` have led to. Answers with how many are done when the disk gives up.
fn go_on(day: &mut Day, store: &AccountStore, states: &[Vec<String>], mut done: usize, what: &str) -> usize {
    let mut refused = 0;
    while done < SCRIPT.len() {
        match SCRIPT[done](day, store) {
            Ok(()) => done += 1,
            Err(ChangeError::Unavailable(_)) if refused < 3 => {
                refused += 1;
                if told(store) == states[done + 1] {
                    // It took place unacknowledged: what it would have shown, nobody has seen.
                    done += 1;
                    day.forget_what_is_gone(store);
                }
            }
            Err(ChangeError::Unavailable(_)) => return done,
            Err(error) => panic!("{what}, step {done}: {error}"),
        }
        assert_eq!(told(store), states[done], "{what}, after step {done}");
        check_keys(day, store, what);
    }
    done
}

/// The disk is opened again after a loss of power: it is as it was after the last step that was acknowledged, or the one that was
/// under way has wholly taken place; and the day goes on.
fn reopen(disk: &Disk, survives: Survives, day: &Day, states: &[Vec<String>], done: usize, what: &str) {
    let what = &format!("{what}, then the power goes, {survives:?}");
    let store =
        open(&disk.after_power_loss(survives)).unwrap_or_else(|error| panic!("{what}: can't be opened again: {error}"));
    let now = told(&store);
    let next = states.get(done + 1);
    assert!(
        now == states[done] || Some(&now) == next,
        "{what}: half-done after step {done}: {now:?}"
    );
    if now == states[done] {
        check_keys(day, &store, what);
    }
    // One of them is enough to go on with the whole day.
    if now == states[done] && matches!(survives, Survives::EveryOther) {
        let end = go_on(&mut day.clone(), &store, states, done, what);
        assert_eq!(end, SCRIPT.len(), "{what}: the disk is well again");
    } else {
        store
            .add(new("one-more"), NOW)
            .unwrap_or_else(|error| panic!("{what}: it takes no change any more: {error}"));
    }
}

#[test]
fn what_was_acknowledged_is_there_whichever_write_fails() {
    let (states, count) = as_it_should_be();
    assert!(count > 100, "the day has {count} writes and syncs");
    for k in 1..=count {
        let what = format!("write or sync {k} of {count} fails");
        let disk = Disk::with(Some((k, Fault::Fails)));
        let store = match open(&disk) {
            Ok(store) => store,
            Err(_) => open(&disk).unwrap_or_else(|error| panic!("{what}: {error}")),
        };
        let mut day = Day::default();
        let done = go_on(&mut day, &store, &states, 0, &what);
        assert_eq!(done, SCRIPT.len(), "{what}: the disk failed once");
        for survives in [Survives::Nothing, Survives::EveryOther] {
            reopen(&disk, survives, &day, &states, done, &what);
        }
    }
}

/// The power goes at every write and sync of the day, in that manner.
fn the_power_goes(fault: Fault) {
    let (states, count) = as_it_should_be();
    for k in 1..=count {
        let what = format!("write or sync {k} of {count}: {fault:?}");
        let disk = Disk::with(Some((k, fault)));
        let mut day = Day::default();
        let done = match open(&disk) {
            Ok(store) => go_on(&mut day, &store, &states, 0, &what),
            Err(_) => 0,
        };
        for survives in SURVIVES {
            reopen(&disk, survives, &day, &states, done, &what);
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_whichever_write_is_torn() {
    the_power_goes(Fault::Tears);
}

#[test]
fn what_was_acknowledged_is_there_wherever_the_disk_freezes() {
    the_power_goes(Fault::Freezes);
}

/// Another list has ids to write, for its new names. Whichever of its writes and syncs fails, the old list stands until it is
/// told that the new one does; and an id that somebody has seen is that name's after the power went.
#[test]
fn a_list_that_can_not_be_written_changes_nothing() {
    let list = |names: &[&str]| -> Vec<Listed> {
        let listed = |name: &&str| Listed {
            name: (*name).to_owned(),
            tier: "free".to_owned(),
            keys: vec![tiergate::store::keys::hash(name.as_bytes())],
        };
        names.iter().map(listed).collect()
    };
    let id = |store: &AccountStore, name: &str| {
        let found = KnownAccounts::of(store.directory()).find(name.as_bytes(), NOW);
        found.map(|account| account.id)
    };
    let (old, new_one) = (list(&["a", "b"]), list(&["b", "c", "d"]));
    let begin = |disk: &Disk| {
        let store = open(disk).expect("nothing is wrong yet");
        store.relist(&old, NOW).expect("nothing is wrong yet");
        store.add(new("stored"), NOW).expect("nothing is wrong yet");
        store
    };
    let count_all = || {
        let disk = Disk::default();
        let store = begin(&disk);
        let before = disk.lock().count;
        store.relist(&new_one, NOW).expect("nothing is wrong");
        let after = disk.lock().count;
        (before, after)
    };
    let (before, after) = count_all();
    assert!(after > before + 2, "{before} to {after}");
    for fault in [Fault::Fails, Fault::Tears, Fault::Freezes] {
        for k in before + 1..=after {
            let what = format!("write or sync {k} of {after}: {fault:?}");
            let disk = Disk::default();
            let store = begin(&disk);
            disk.lock().fault = Some((k, fault));
            let ids = ["a", "b", "stored"].map(|name| id(&store, name));
            if store.relist(&new_one, NOW).is_err() {
                assert_eq!(["a", "b", "stored"].map(|name| id(&store, name)), ids, "{what}");
                assert_eq!(id(&store, "c"), None, "{what}");
                if fault == Fault::Fails {
                    store
                        .relist(&new_one, NOW)
                        .unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
            let seen = ["b", "c", "d"].map(|name| id(&store, name));
            assert_eq!(seen[0], ids[1], "{what}");
            for survives in SURVIVES {
                let store = open(&disk.after_power_loss(survives)).unwrap_or_else(|error| panic!("{what}: {error}"));
                store
                    .relist(&new_one, NOW)
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                for (name, seen) in ["b", "c", "d"].iter().zip(seen) {
                    let now = id(&store, name);
                    assert!(seen.is_none() || now == seen, "{what}, {survives:?}: {name}");
                }
                let all = ["b", "c", "d"].map(|name| id(&store, name));
                assert!(
                    all[0] != all[1] && all[1] != all[2] && all[2].is_some(),
                    "{what}, {survives:?}: {all:?}"
                );
            }
        }
    }
}
