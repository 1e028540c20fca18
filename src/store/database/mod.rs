//! The database of a running server: one file, one thread that writes to it, a few connections that read it, and one that
//! moves its log into it.
//!
//! | file | what |
//! |---|---|
//! | `connection` | how each kind of connection is opened, and the schema's versions |
//! | `identity` | whether the open files are still those at their paths |
//! | `readers` | a few connections that only read |
//! | `checkpoints` | the thread that moves the log into the database, and looks whether the file is still there |
//! | `upkeep` | the thread that has jobs rolled up and old rows removed |
//! | `error` | why the database can't be opened, read or written |

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
use super::data_dir::{DataDir, Found, new_id};
use super::ledger::commit::Commit;
use super::ledger::queue::{Queue, Work};
use super::ledger::writer::Writer;
use super::ledger::{Pace, Settings};
use super::recall::Fence;
use super::record::{Entry, Record};
use super::retention::{self, Boundary, History};
use super::{Ledger, rollup, rows};
use crate::policy::rules::Window;
use crate::policy::time::UnixTime;

/// A database that is open, in a data folder that no other process has.
pub struct Database {
    shared: Arc<Shared>,
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) dir: DataDir,
    pub(super) file: PathBuf,
    pub(super) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) readers: Readers,
    pub(super) upkeep: Upkeep,
    threads: Arc<Threads>,
}

/// How many threads still run.
#[derive(Debug, Default)]
struct Threads {
    running: Mutex<usize>,
    ended: Condvar,
}

impl Threads {
    /// Waits until none runs, at most so long. Whether none does.
    fn wait(&self, longest: std::time::Duration) -> bool {
        let mut running = self.running.lock();
        let late = self.ended.wait_while_for(&mut running, |running| *running > 0, longest);
        !late.timed_out()
    }

    /// The same for all but the one that asks.
    fn wait_for_others(&self, longest: std::time::Duration) -> bool {
        let mut running = self.running.lock();
        let late = self.ended.wait_while_for(&mut running, |running| *running > 1, longest);
        !late.timed_out()
    }
}

/// Counts a thread until it ends, however it does.
struct Alive(Arc<Threads>);

impl Drop for Alive {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Database {
    /// Opens the database in that folder, or makes one where the folder was never used, and starts its threads. `windows` are
    /// those in which quotas count, and `history` says what is kept beyond them. Blocks on the disk.
    ///
    /// # Errors
    /// The database is missing, damaged, another's or of a newer version, or the system refuses something. Nothing is lost.
    pub fn open<'w>(
        dir: DataDir,
        settings: Settings,
        windows: impl IntoIterator<Item = &'w Window>,
        history: History,
    ) -> Result<Self, OpenError> {
        let file = dir.database();
        let found = dir.look()?;
        if found == Found::New {
            dir.make_database()?;
        }
        let writing = connection::writing(&file)?;
        claim(&dir, &file, &writing, &found)?;
        let checkpointing = connection::checkpointing(&file).map_err(|error| OpenError::sqlite(&file, &error))?;
        let (wall, now) = ((settings.wall)(), settings.clock.now());
        let boundary = Boundary::take(&writing, wall, now).map_err(|error| OpenError::sqlite(&file, &error))?;
        let identity = || Identity::of(&file).map_err(OpenError::disk("look at", &file));
        let queue = Arc::new(Queue::new(&settings));
        let writer = Writer::new(writing, identity()?, Arc::clone(&queue), Arc::clone(&settings.meters))
            .map_err(|error| OpenError::sqlite(&file, &error))?;
        // Not before there is a log: from now on a folder without one is damaged.
        dir.mark_running()?;
        let shared = Arc::new(Shared {
            readers: Readers::new(file.clone()),
            upkeep: Upkeep::new(windows, history),
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

    /// In a transaction of its own, on the writing thread, after all that was committed before. Durable when this returns.
    /// Blocks, on the disk.
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
            tracing::warn!(%error, "a change could not be written to the database");
        }
        written
    }

    /// With one view of the database that stays as it is meanwhile, on one of a few connections that only read. Blocks, on
    /// the disk and on other readers.
    ///
    /// # Errors
    /// The database can't be read, or `work` has failed.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        self.shared.readers.read(work)
    }

    /// Another pace from now on. A debit that comes from now on is answered for as it says; one that waits to be durable goes
    /// on waiting.
    pub fn set_pace(&self, pace: Pace) {
        self.shared.queue.set_pace(pace);
    }

    /// What is kept, and for which windows.
    pub fn upkeep(&self) -> &Upkeep {
        &self.shared.upkeep
    }

    /// Adds up whatever is not added up yet, as its own thread does each minute. Blocks, on the disk.
    ///
    /// # Errors
    /// The database can't be written. What was not added up is at the next time.
    pub fn roll_up(&self) -> Result<(), WriteError> {
        rollup::roll_up_all(&self.shared)
    }

    /// Removes what is older than it is kept, as its own thread does every ten minutes while the system's clock can be trusted.
    /// What is old is judged by `now`, however far that is from the clock. Blocks, on the disk.
    ///
    /// # Errors
    /// The database can't be written. What was not removed is at the next time.
    pub fn remove_old(&self, now: UnixTime) -> Result<(), WriteError> {
        retention::remove_old(&self.shared, now)
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        self.shared.dir.path()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes what is queued, as long as that takes no longer than patience lasts, empties the log, and lets go of the file.
    /// Whatever is asked for later is refused. Blocks, on the disk.
    pub fn close(&self) {
        let shared = &self.shared;
        shared.queue.close();
        shared.upkeep.close();
        // A disk that hangs must not hold up the end of the process.
        if shared.threads.wait(shared.queue.patience().into()) {
            shared.dir.release();
        } else if shared.queue.has_ended() {
            tracing::warn!("the database's log could not be taken in in time; the next start reads it");
        } else {
            tracing::error!("the database could not be closed in time: what was not written by now is lost");
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
            // Who asked may not wait any more.
            let _unheard = done.try_send(written);
        });
        self.queue.work(work);
        result
            .recv()
            .unwrap_or_else(|_| Err(WriteError("the database is closed".to_owned())))
    }

    fn start(self: &Arc<Self>, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.threads.running.lock() += 1;
        // It has no share of the folder's lock: when the wait for it is over, the folder can be taken at once.
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

    fn note(&self, entry: Entry) {
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

/// Sees that the folder and the database in it belong together, and marks the folder as used.
fn claim(dir: &DataDir, file: &Path, connection: &Connection, found: &Found) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    if matches!(found, Found::Used { short: true, .. }) {
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
        Found::Used { id, .. } => id.clone(),
        Found::New => None,
    };
    match (held, marked) {
        (Some(held), Some(marked)) if held == marked => Ok(()),
        (Some(held), None) => dir.write_id(&held),
        (None, None) => {
            let id = new_id().map_err(OpenError::disk("make an id for", file))?;
            rows::set_meta(connection, "id", &id).map_err(failed)?;
            dir.write_id(&id)
        }
        // Only a log that somebody has cut can have taken the id away.
        (None, Some(_)) => Err(OpenError::Damaged {
            file: file.to_owned(),
            what: "it holds nothing, though its folder was used: its log was cut or removed".to_owned(),
        }),
        (Some(held), Some(marked)) => Err(OpenError::Foreign {
            file: file.to_owned(),
            what: format!("it is the database {held}, and its folder belongs to {marked}"),
        }),
    }
}

/// The write-ahead log of that database.
pub(in crate::store) fn wal(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
