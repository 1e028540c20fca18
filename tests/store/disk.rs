//! A disk of the test's own. It knows what is durable and what only seems to be, and breaks as told.
//!
//! After a crash whatever was not synced is lost, kept, or torn: each sector of 512 bytes by the throw of a seeded die. A sync
//! that fails throws the pages away and forgets it, as Linux does: the next sync succeeds, and the data is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Thread;

use parking_lot::{Condvar, Mutex};
use tiergate::store::journal::disk::{Disk, DiskFile, Lock};

const SECTOR_BYTES: usize = 512;

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and says so.
    Fail,
    /// A part of it reaches the disk, and it says that it failed.
    Tear,
    /// It does not return until the disk is thawed.
    Freeze,
    /// The power goes, with a part of it done.
    Crash,
}

/// Which operations are counted. Each kind is of one thread, so a count means the same operation in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The writer's writes to segments.
    Write,
    /// The writer's syncs of segments.
    Sync,
    /// Everything that the writer does: also making, cutting and removing files, and syncing the folder.
    Writer,
    /// Everything that the bookkeeping does.
    Books,
    /// Everything that opening does.
    Open,
}

impl Op {
    /// What this thread does.
    fn of_thread() -> Self {
        match std::thread::current().name() {
            Some("journal") => Self::Writer,
            Some("books") => Self::Books,
            _ => Self::Open,
        }
    }
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    Torn(u64),
}

#[derive(Clone, Debug, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors in which they differ.
    dirty: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    now: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    next_node: u64,
    counts: [u64; 5],
    plan: Option<(Op, u64, Fault)>,
    /// Every operation fails so.
    failing: Option<io::ErrorKind>,
    /// An operation hangs.
    frozen: bool,
    /// The next sync of a segment waits.
    held: bool,
    /// A sync waits to be let go.
    waiting: bool,
    dead: bool,
    locked: BTreeSet<PathBuf>,
}

/// See the module. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct TestDisk {
    state: Arc<(Mutex<State>, Condvar)>,
    /// Woken when something breaks.
    driver: Thread,
}

/// A die: xorshift, seeded.
#[derive(Debug)]
pub struct Die(u64);

impl Die {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

impl TestDisk {
    /// An empty one. Whoever makes it is woken when something breaks.
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            driver: std::thread::current(),
        }
    }

    /// From now on the `k`th operation of that kind, from 0, goes wrong so.
    pub fn plan(&self, op: Op, k: u64, fault: Fault) {
        let mut state = self.state.0.lock();
        state.counts = [0; 5];
        state.plan = Some((op, k, fault));
    }

    /// How many operations of that kind there were since [`Self::plan`].
    pub fn count(&self, op: Op) -> u64 {
        self.state.0.lock().counts[op as usize]
    }

    /// Whether what was planned has happened.
    pub fn is_sprung(&self) -> bool {
        self.state.0.lock().plan.is_none()
    }

    /// Everything fails like that from now on, or nothing does.
    pub fn set_failing(&self, kind: Option<io::ErrorKind>) {
        self.state.0.lock().failing = kind;
    }

    /// Whether nothing goes on: the power is off, or an operation hangs.
    pub fn is_stuck(&self) -> bool {
        let state = self.state.0.lock();
        state.dead || state.frozen
    }

    pub fn is_dead(&self) -> bool {
        self.state.0.lock().dead
    }

    /// What hangs goes on.
    pub fn thaw(&self) {
        self.change(|state| state.frozen = false);
    }

    /// The next sync waits until [`Self::release`].
    pub fn hold(&self) {
        self.change(|state| state.held = true);
    }

    /// Waits until a sync is held; false if the disk is stuck instead.
    pub fn wait_held(&self) -> bool {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        changed.wait_while(&mut state, |state| !state.waiting && !state.dead && !state.frozen);
        state.waiting
    }

    pub fn release(&self) {
        self.change(|state| state.held = false);
    }

    /// The power goes. Nothing works any more on this disk.
    pub fn crash(&self) {
        self.change(|state| state.dead = true);
        self.driver.unpark();
    }

    /// The disk as it is found after the power came back.
    pub fn reborn(&self, unsynced: Unsynced) -> Self {
        let state = self.state.0.lock();
        let mut die = Die::new(match unsynced {
            Unsynced::Torn(seed) => seed,
            _ => 0,
        });
        let names = match unsynced {
            Unsynced::Lost => &state.durable,
            Unsynced::Kept => &state.now,
            Unsynced::Torn(_) if die.below(2) == 0 => &state.durable,
            Unsynced::Torn(_) => &state.now,
        };
        let nodes = names.values().filter_map(|id| Some((*id, state.nodes.get(id)?)));
        let nodes = nodes
            .map(|(id, node)| (id, Node::found(after(node, unsynced, &mut die))))
            .collect();
        let found = State {
            nodes,
            now: names.clone(),
            durable: names.clone(),
            next_node: state.next_node,
            ..State::default()
        };
        Self {
            state: Arc::new((Mutex::new(found), Condvar::new())),
            driver: std::thread::current(),
        }
    }

    /// The content of a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.0.lock();
        Some(state.nodes[state.now.get(path)?].now.clone())
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.0.lock();
        let id = state.next_node;
        state.next_node += 1;
        state.nodes.insert(id, Node::found(bytes));
        state.now.insert(path.to_owned(), id);
        state.durable.insert(path.to_owned(), id);
    }

    /// Flips a bit of a file that may be open.
    pub fn spoil(&self, path: &Path, at: usize) {
        let mut state = self.state.0.lock();
        let id = state.id(path).expect("it is there");
        let node = state.node(id);
        node.now[at] ^= 1;
        node.durable[at] ^= 1;
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.0.lock().now.keys().cloned().collect()
    }

    /// Waits until the files are as wanted.
    pub fn wait_until(&self, wanted: impl Fn(&[PathBuf]) -> bool) {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        let paths = |state: &State| state.now.keys().cloned().collect::<Vec<_>>();
        changed.wait_while(&mut state, |state| !state.dead && !wanted(&paths(state)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock());
        self.state.1.notify_all();
    }

    /// Does an operation, or what is planned for it.
    fn operate<T>(
        &self,
        op: Option<Op>,
        part: impl FnOnce(&mut State, &mut Die),
        whole: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let (state, changed) = &*self.state;
        let mut state = state.lock();
        if op == Some(Op::Sync) && state.held {
            state.waiting = true;
            changed.notify_all();
            changed.wait_while(&mut state, |state| state.held && !state.dead);
            state.waiting = false;
        }
        let planned = state.count(op);
        if let Some(kind) = state.failing {
            return Err(kind.into());
        }
        let mut die = Die::new(state.counts[Op::of_thread() as usize]);
        match planned {
            None => {}
            Some(Fault::Fail) => return Err(io::Error::other("planned")),
            Some(Fault::Tear) => {
                part(&mut state, &mut die);
                return Err(io::Error::other("torn as planned"));
            }
            Some(Fault::Freeze) => {
                state.frozen = true;
                self.driver.unpark();
                changed.notify_all();
                changed.wait_while(&mut state, |state| state.frozen && !state.dead);
            }
            Some(Fault::Crash) => {
                part(&mut state, &mut die);
                state.dead = true;
                self.driver.unpark();
            }
        }
        if state.dead {
            changed.notify_all();
            return Err(io::Error::other("the power is off"));
        }
        let done = whole(&mut state);
        changed.notify_all();
        done
    }

    fn file(&self, id: u64, segment: bool) -> Box<dyn DiskFile> {
        Box::new(TestFile {
            disk: self.clone(),
            id,
            segment,
        })
    }
}

impl State {
    /// What is planned for this operation.
    fn count(&mut self, op: Option<Op>) -> Option<Fault> {
        let mut planned = None;
        let thread = Op::of_thread();
        for op in op.into_iter().filter(|_| thread == Op::Writer).chain([thread]) {
            let count = self.counts[op as usize];
            self.counts[op as usize] += 1;
            if let Some((wanted, k, fault)) = self.plan
                && wanted == op
                && k == count
            {
                self.plan = None;
                planned = Some(fault);
            }
        }
        planned
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.now
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes are never removed")
    }
}

impl Node {
    fn found(bytes: Vec<u8>) -> Self {
        Self {
            now: bytes.clone(),
            durable: bytes,
            dirty: BTreeSet::new(),
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        // `resize` fills byte by byte where nothing is optimised.
        let missing = end.saturating_sub(self.now.len());
        self.now.extend_from_slice(&vec![0; missing]);
        self.now[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
    }

    fn sync(&mut self) {
        self.durable.truncate(self.now.len());
        let missing = self.now.len() - self.durable.len();
        self.durable.extend_from_slice(&vec![0; missing]);
        for sector in std::mem::take(&mut self.dirty) {
            keep(&self.now, &mut self.durable, sector);
        }
    }

    /// Some sectors reach the disk; of the others nobody knows any more that they did not.
    fn sync_badly(&mut self, die: &mut Die) {
        for sector in std::mem::take(&mut self.dirty) {
            if die.below(2) == 0 {
                let end = self.now.len().min((sector + 1) * SECTOR_BYTES);
                if self.durable.len() < end {
                    self.durable.resize(end, 0);
                }
                keep(&self.now, &mut self.durable, sector);
            }
        }
    }
}

fn keep(now: &[u8], durable: &mut [u8], sector: usize) {
    let from = sector * SECTOR_BYTES;
    let to = (from + SECTOR_BYTES).min(now.len()).min(durable.len());
    if from < to {
        durable[from..to].copy_from_slice(&now[from..to]);
    }
}

fn after(node: &Node, unsynced: Unsynced, die: &mut Die) -> Vec<u8> {
    match unsynced {
        Unsynced::Lost => node.durable.clone(),
        Unsynced::Kept => node.now.clone(),
        Unsynced::Torn(_) => {
            let mut torn = node.durable.clone();
            if die.below(2) == 0 {
                torn.resize(node.now.len(), 0);
            }
            for sector in &node.dirty {
                if die.below(2) == 0 {
                    keep(&node.now, &mut torn, *sector);
                }
            }
            torn
        }
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    id: u64,
    /// Whether it is a segment, whose operations are counted for themselves.
    segment: bool,
}

impl TestFile {
    fn op(&self, op: Op) -> Option<Op> {
        self.segment.then_some(op)
    }
}

impl DiskFile for TestFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state.0.lock().node(self.id).now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state.0.lock();
        let now = &state.node(self.id).now;
        let from = now.len().min(offset as usize);
        let read = (now.len() - from).min(buffer.len());
        buffer[..read].copy_from_slice(&now[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (id, offset) = (self.id, offset as usize);
        let part = |state: &mut State, die: &mut Die| {
            let sectors = (bytes.len() / SECTOR_BYTES + 1) as u64;
            let some = (die.below(sectors) as usize * SECTOR_BYTES).min(bytes.len());
            state.node(id).write(&bytes[..some], offset);
        };
        self.disk.operate(self.op(Op::Write), part, |state| {
            state.node(id).write(bytes, offset);
            Ok(())
        })
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        let id = self.id;
        self.disk.operate(
            None,
            |_, _| {},
            |state| {
                state.node(id).now.resize(bytes as usize, 0);
                Ok(())
            },
        )
    }

    fn sync(&self) -> io::Result<()> {
        let id = self.id;
        let part = |state: &mut State, die: &mut Die| state.node(id).sync_badly(die);
        self.disk.operate(self.op(Op::Sync), part, |state| {
            state.node(id).sync();
            Ok(())
        })
    }
}

struct Held(TestDisk, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.locked.remove(&self.1);
        });
    }
}

impl Disk for TestDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        match self.state.0.lock().failing {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        if !self.state.0.lock().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.clone(), path.to_owned())))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state.0.lock();
        let inside = state.now.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.operate(
            None,
            |_, _| {},
            |state| {
                if state.now.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let id = state.next_node;
                state.next_node += 1;
                state.nodes.insert(id, Node::default());
                state.now.insert(path.to_owned(), id);
                Ok(id)
            },
        )?;
        Ok(self.file(id, is_segment(path)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.state.0.lock().id(path)?;
        Ok(self.file(id, is_segment(path)))
    }

    fn cut(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.operate(
            None,
            |_, _| {},
            |state| {
                let id = state.id(path)?;
                state.node(id).now.resize(bytes as usize, 0);
                Ok(())
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(
            None,
            |_, _| {},
            |state| {
                let id = state.id(from)?;
                state.now.remove(from);
                state.now.insert(to.to_owned(), id);
                Ok(())
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(
            None,
            |_, _| {},
            |state| {
                state.id(path)?;
                state.now.remove(path);
                Ok(())
            },
        )
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.operate(
            None,
            |_, _| {},
            |state| {
                let inside = |name: &PathBuf| name.parent() == Some(path);
                state.durable.retain(|name, _| !inside(name));
                let now: Vec<_> = state.now.iter().filter(|(name, _)| inside(name)).collect();
                let now: Vec<(PathBuf, u64)> = now.into_iter().map(|(name, id)| (name.clone(), *id)).collect();
                state.durable.extend(now);
                Ok(())
            },
        )
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}
