//! The database of a running server: one file with one writing thread, a few read-only connections, and one connection for
//! checkpoints.
//!
//! | file | what |
//! |---|---|
//! | `connection` | how each kind of connection is opened, and schema migrations |
//! | `identity` | whether the open files are still those at their paths |
//! | `readers` | the pool of read-only connections |
//! | `checkpoints` | the thread that checkpoints the log, and checks that the file is still there |
//! | `upkeep` | the thread that rolls up jobs and removes old rows |
//! | `error` | errors when the database is opened, read or written |

mod checkpoints;
pub(in crate::store) mod connection;
mod error;
pub(super) mod identity;
mod readers;
mod upkeep;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::checkpoints::Checkpoints;
pub use self::connection::open_read_only;
pub(in crate::store) use self::connection::open_unchanging;
pub use self::error::{OpenError, ReadError, WriteError};
use self::identity::Identity;
use self::readers::Readers;
pub use self::upkeep::Upkeep;
use self::upkeep::UpkeepThread;
use super::data_dir::{DataDir, FolderState, new_id};
use super::key_sightings::KeySightings;
use super::key_uses;
use super::ledger::commit::Commit;
use super::ledger::queue::{Work, WriteQueue};
use super::ledger::writer::Writer;
use super::ledger::{CommitSettings, LedgerSettings};
use super::recall::Fence;
use super::record::{LedgerEntry, Record};
use super::retention::{self, Boundary, History};
use super::{Ledger, rollup, rows};
use crate::policy::rules::Window;
use crate::policy::time::UnixTime;

/// An open database, in a data folder that this process holds.
pub struct Database {
    shared: Arc<Shared>,
}

/// State shared by the threads.
pub(super) struct Shared {
    pub(super) dir: DataDir,
    pub(super) file: PathBuf,
    pub(super) settings: LedgerSettings,
    pub(super) queue: Arc<WriteQueue>,
    pub(super) readers: Readers,
    pub(super) upkeep: Upkeep,
    pub(super) key_sightings: Arc<KeySightings>,
    threads: Arc<RunningThreads>,
}

/// Counts running threads.
#[derive(Debug, Default)]
struct RunningThreads {
    running: Mutex<usize>,
    ended: Condvar,
}

impl RunningThreads {
    /// Waits until none runs, for at most that long. Whether none does.
    fn wait(&self, longest: std::time::Duration) -> bool {
        let mut running = self.running.lock();
        let late = self.ended.wait_while_for(&mut running, |running| *running > 0, longest);
        !late.timed_out()
    }

    /// The same, not counting the calling thread.
    fn wait_for_others(&self, longest: std::time::Duration) -> bool {
        let mut running = self.running.lock();
        let late = self.ended.wait_while_for(&mut running, |running| *running > 1, longest);
        !late.timed_out()
    }
}

/// Counts a thread until it ends, by panic or not.
struct Alive(Arc<RunningThreads>);

impl Drop for Alive {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Database {
    /// Opens the database in that folder, or creates one in an unused folder, and starts its threads. `windows` are those in
    /// which quotas count, and `history` says what else is kept. Blocks on the disk.
    ///
    /// # Errors
    /// The database is missing, damaged, another's or of a newer version, or an I/O error. No data is lost.
    pub fn open<'w>(
        dir: DataDir,
        settings: LedgerSettings,
        windows: impl IntoIterator<Item = &'w Window>,
        history: History,
    ) -> Result<Self, OpenError> {
        let file = dir.database();
        let found = dir.inspect()?;
        if found == FolderState::New {
            dir.make_database()?;
        }
        let writing = connection::writing(&file)?;
        claim(&dir, &file, &writing, &found)?;
        let checkpointing = connection::checkpointing(&file).map_err(|error| OpenError::sqlite(&file, &error))?;
        let (wall, now) = ((settings.wall)(), settings.clock.now());
        let boundary = Boundary::take(&writing, wall, now).map_err(|error| OpenError::sqlite(&file, &error))?;
        let identity = || Identity::of(&file).map_err(OpenError::disk("look at", &file));
        let queue = Arc::new(WriteQueue::new(&settings));
        let writer = Writer::new(writing, identity()?, Arc::clone(&queue), Arc::clone(&settings.meters))
            .map_err(|error| OpenError::sqlite(&file, &error))?;
        // The log exists from here on. A marked folder without one counts as damaged.
        dir.mark_running()?;
        let shared = Arc::new(Shared {
            readers: Readers::new(file.clone()),
            upkeep: Upkeep::new(windows, history),
            key_sightings: Arc::default(),
            threads: Arc::default(),
            file: file.clone(),
            settings,
            queue,
            dir,
        });
        let database = Self {
            shared: Arc::clone(&shared),
        };
        let checkpoints = Checkpoints::new(Arc::clone(&shared), checkpointing, identity()?);
        let upkeep = UpkeepThread::new(Arc::clone(&shared), boundary);
        let start = OpenError::disk("start a thread for", &file);
        let started = shared
            .start("database", move || writer.run())
            .and_then(|()| shared.start("checkpoints", move || checkpoints.run()))
            .and_then(|()| shared.start("upkeep", move || upkeep.run()));
        started.map_err(start)?;
        Ok(database)
    }

    /// Runs `work` in a transaction of its own on the writing thread, after all earlier commits. Durable when it returns. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// The database can't be written, or `work` has failed. Nothing was changed.
    pub fn write<T, W>(&self, work: W) -> Result<T, WriteError>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let written = self.shared.write(work);
        if let Err(error) = &written {
            tracing::warn!(%error, "can't write a change to the database");
        }
        written
    }

    /// Runs `work` on one snapshot of the database, on a pooled read-only connection. Blocks on the disk and on other readers.
    ///
    /// # Errors
    /// The database can't be read, or `work` has failed.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        self.shared.readers.read(work)
    }

    /// Changes the commit settings of later debits. A debit that waits already goes on waiting.
    pub fn set_commit_settings(&self, settings: CommitSettings) {
        self.shared.queue.set_commit_settings(settings);
    }

    /// What is kept, and for which windows.
    pub fn upkeep(&self) -> &Upkeep {
        &self.shared.upkeep
    }

    /// Rolls up all new rows, as the upkeep thread does each minute. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be written. The next run makes up for it.
    pub fn roll_up(&self) -> Result<(), WriteError> {
        rollup::roll_up_all(&self.shared)
    }

    /// Removes rows that are too old as of `now`, as the upkeep thread does every ten minutes while the system's clock can be
    /// trusted. `now` may be any distance from the clock. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be written. The next run makes up for it.
    pub fn remove_old(&self, now: UnixTime) -> Result<(), WriteError> {
        retention::remove_old(&self.shared, now)
    }

    /// Uses of keys that are not written yet.
    pub(super) fn key_sightings(&self) -> &Arc<KeySightings> {
        &self.shared.key_sightings
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.shared.dir.path()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes what is queued, within the commit patience, truncates the log, and closes the file. Later calls are refused. Blocks
    /// on the disk.
    pub fn close(&self) {
        let shared = &self.shared;
        shared.queue_key_uses();
        shared.queue.close();
        shared.upkeep.close();
        // A hanging disk must not keep the process from ending.
        if shared.threads.wait(shared.queue.patience().into()) {
            shared.dir.release();
        } else if shared.queue.has_ended() {
            tracing::warn!("write-ahead log not checkpointed in time; the next start reads it");
        } else {
            tracing::error!("database not closed in time: records not yet written are lost");
        }
    }
}

impl Shared {
    pub(super) fn write<T, W>(&self, work: W) -> Result<T, WriteError>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (done, result) = mpsc::sync_channel(1);
        let work: Work = Box::new(move |connection| {
            let written = connection.and_then(|connection| in_transaction(connection, work));
            // The caller may have stopped waiting.
            let _unheard = done.try_send(written);
        });
        self.queue.work(work);
        result
            .recv()
            .unwrap_or_else(|_| Err(WriteError("the database is closed".to_owned())))
    }

    /// Queues the last uses of keys, to be written with what else is left.
    fn queue_key_uses(&self) {
        let uses = self.key_sightings.unwritten();
        if !uses.is_empty() {
            self.queue.work(Box::new(move |connection| {
                let written = connection.and_then(|connection| {
                    in_transaction(connection, |transaction| key_uses::write(transaction, &uses))
                });
                if let Err(error) = written {
                    tracing::warn!(%error, "can't write the last uses of keys");
                }
            }));
        }
    }

    fn start(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.threads.running.lock() += 1;
        // The thread holds no share of the folder's lock: once it has ended, the folder is free.
        let alive = Alive(Arc::clone(&self.threads));
        let run = move || {
            let _alive = alive;
            work();
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
    }
}

impl Ledger for Database {
    fn is_available(&self) -> bool {
        self.shared.queue.is_available()
    }

    fn note(&self, entry: LedgerEntry) {
        self.shared.queue.note(entry);
    }

    fn commit(&self, record: Record) -> Commit {
        self.shared.queue.commit(record)
    }

    fn fence(&self) -> Fence {
        self.shared.queue.fence()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("file", &self.shared.file)
            .finish_non_exhaustive()
    }
}

fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, WriteError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let written = transaction.and_then(|transaction| {
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    });
    written.map_err(|error| WriteError::of(&error, connection.path()))
}

/// Checks that the folder and its database belong together, and marks the folder as used.
fn claim(dir: &DataDir, file: &Path, connection: &Connection, found: &FolderState) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    if matches!(found, FolderState::Used { short: true, .. }) {
        let wrong: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed)?;
        if wrong != "ok" {
            return Err(OpenError::Damaged {
                file: file.to_owned(),
                what: wrong,
            });
        }
    }
    let held = rows::meta(connection, "id").map_err(failed)?;
    let marked = match found {
        FolderState::Used { id, .. } => id.clone(),
        FolderState::New => None,
    };
    match (held, marked) {
        (Some(held), Some(marked)) if held == marked => Ok(()),
        (Some(held), None) => dir.write_id(&held),
        (None, None) => {
            let id = new_id().map_err(OpenError::disk("make an id for", file))?;
            rows::set_meta(connection, "id", &id).map_err(failed)?;
            dir.write_id(&id)
        }
        // Only a truncated or removed log can have lost the id.
        (None, Some(_)) => Err(OpenError::Damaged {
            file: file.to_owned(),
            what: "it is empty, though its folder was used: its log was truncated or removed".to_owned(),
        }),
        (Some(held), Some(marked)) => Err(OpenError::Foreign {
            file: file.to_owned(),
            what: format!("it is the database {held}, and its folder belongs to the database {marked}"),
        }),
    }
}

/// The write-ahead log of that database.
pub(in crate::store) fn wal(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
