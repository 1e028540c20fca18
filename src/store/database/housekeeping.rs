//! The thread beside the writer: moves the log into the database, looks whether the file is still there, and has jobs rolled
//! up and old rows removed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::BUSY_TIMEOUT;
use super::identity::Identity;
use super::{Shared, WriteError, wal};
use crate::policy::rules::Window;
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::store::corrections::{self, Correction};
use crate::store::retention::{self, Agreement, Boundary, History, Plan};
use crate::store::rollup;

/// How often it looks around.
const TICK: Duration = Duration::from_millis(250);
/// How often old rows are removed.
const RETAIN_EVERY: Span = Span::from_secs(600);
/// A log that has grown by so many bytes is moved into the database while commits go on.
const WAL_MOVED: u64 = 4 << 20;
/// The same after so many commits, each of a page at least.
const COMMITS_MOVED: u64 = 1_000;
/// A log of so many bytes is begun anew though commits go on.
const WAL_MAX: u64 = 64 << 20;
/// Bytes of a page in the log, with its header (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
const FRAME_BYTES: u64 = 4_096 + 24;
/// The log is emptied when nothing was committed for so long.
const IDLE: Span = Span::from_secs(5);
/// How long emptying the log waits for those who read: they would hold up commits meanwhile.
const EMPTYING_WAITS: Duration = Duration::from_millis(20);

/// What is kept, and whether the thread is to go on.
#[derive(Debug)]
pub struct Upkeep {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug)]
struct State {
    plan: Arc<Plan>,
    /// Rows of the future at the start, which count as of then until the clock is known to be right.
    pending: Option<Correction>,
    closing: bool,
}

impl Upkeep {
    pub(super) fn new(windows: &[Window], history: History) -> Self {
        let state = State {
            plan: Arc::new(Plan::new(windows, history)),
            pending: None,
            closing: false,
        };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
        }
    }

    /// Other windows, or another history, from now on.
    pub fn set(&self, windows: &[Window], history: History) {
        self.state.lock().plan = Arc::new(Plan::new(windows, history));
    }

    pub(in crate::store) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state.lock().plan)
    }

    pub(in crate::store) fn set_pending(&self, pending: Option<Correction>) {
        self.state.lock().pending = pending;
    }

    pub(in crate::store) fn pending(&self) -> Option<Correction> {
        self.state.lock().pending
    }

    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.woken.notify_all();
    }

    /// Waits a while. Whether to go on.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        self.woken.wait_while_for(&mut state, |state| !state.closing, TICK);
        !state.closing
    }
}

/// Jobs are rolled up whenever another minute begins.
const fn minute_of(wall: UnixTime) -> u64 {
    wall.as_secs() / 60
}

/// See the module.
pub(super) struct Housekeeping {
    shared: Arc<Shared>,
    connection: Connection,
    identity: Identity,
    agreement: Agreement,
    boundary: Boundary,
    /// Commits as of the last look, and since when there were no more.
    commits: (u64, Timestamp),
    /// The length of the log and the commits when it was moved last.
    moved: (u64, u64),
    /// The minute in which jobs were rolled up last.
    rolled_up: u64,
    retained: Timestamp,
}

impl Housekeeping {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, identity: Identity, boundary: Boundary) -> Self {
        let now = shared.settings.clock.now();
        Self {
            agreement: Agreement::new((shared.settings.wall)(), now),
            connection,
            identity,
            boundary,
            commits: (0, now),
            moved: (0, 0),
            rolled_up: minute_of((shared.settings.wall)()),
            retained: now,
            shared,
        }
    }

    /// Goes on until the database is closed, then leaves it as a clean stop does.
    pub fn run(mut self) {
        while self.shared.upkeep.wait() {
            let now = self.now();
            let wall = (self.shared.settings.wall)();
            self.agreement.look(wall, now);
            // What is in the log may be all that is left.
            if self.look_at_files() {
                self.checkpoint(now);
            }
            if minute_of(wall) != self.rolled_up {
                self.rolled_up = minute_of(wall);
                self.told("jobs can't be rolled up", rollup::roll_up_all);
            }
            if self.agreement.is_long(now) {
                self.make_lasting();
                if now.since(self.retained) >= RETAIN_EVERY {
                    self.retained = now;
                    self.retain(wall, now);
                }
            }
        }
        self.finish();
    }

    fn now(&self) -> Timestamp {
        self.shared.settings.clock.now()
    }

    /// Does that, and tells the log if it fails. It is done again in its time.
    fn told(&self, failed: &'static str, work: impl FnOnce(&Shared) -> Result<(), WriteError>) {
        if let Err(error) = work(&self.shared) {
            tracing::warn!(%error, "{failed}; trying again later");
        }
    }

    /// Whether they are there as they should be.
    fn look_at_files(&self) -> bool {
        let found = self.identity.check();
        let there = found.is_ok();
        let news = self.shared.queue.set_lost(!there);
        match found {
            Err(why) if news => tracing::error!(
                error = why,
                "the database is gone: rejecting metered requests until its file is back or the server is restarted"
            ),
            Ok(()) if news => tracing::info!("the database's file is back"),
            _ => {}
        }
        let bytes = |path| fs::metadata(path).map_or(0, |found| found.len());
        let (database, log) = (bytes(self.shared.file.clone()), bytes(wal(&self.shared.file)));
        self.shared.settings.meters.bytes(database, log);
        there
    }

    fn checkpoint(&mut self, now: Timestamp) {
        let log = fs::metadata(wal(&self.shared.file)).map_or(0, |found| found.len());
        let commits = self.shared.queue.commits();
        if commits != self.commits.0 {
            self.commits = (commits, now);
        }
        if now.since(self.commits.1) >= IDLE {
            if log > 0 {
                self.move_log("PASSIVE");
                self.move_log("TRUNCATE");
            }
            self.moved = (0, commits);
        } else if log > self.moved.0 + WAL_MOVED || commits > self.moved.1 + COMMITS_MOVED {
            let frames = self.move_log("PASSIVE");
            if frames.is_some_and(|frames| frames * FRAME_BYTES > WAL_MAX) {
                // The file keeps its length: what is written over needs no new room.
                self.move_log("RESTART");
            }
            self.moved = (log, commits);
        }
    }

    /// Moves the log into the database. If that fails all is in the log still, and it is tried again. How many frames the
    /// log has.
    fn move_log(&self, how: &str) -> Option<u64> {
        let moved = self.connection.busy_timeout(EMPTYING_WAITS).and_then(|()| {
            self.connection
                .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| row.get::<_, i64>(1))
        });
        match moved {
            Ok(frames) => u64::try_from(frames).ok(),
            Err(error) => {
                tracing::debug!(%error, how, "no checkpoint");
                None
            }
        }
    }

    /// The clock has been right for long: what was counted as of the start stays so.
    fn make_lasting(&self) {
        let Some(pending) = self.shared.upkeep.pending() else {
            return;
        };
        self.told("a correction of the clock can't be written", |shared| {
            corrections::make(shared, pending, "start")?;
            shared.upkeep.set_pending(None);
            Ok(())
        });
    }

    fn retain(&mut self, wall: UnixTime, now: Timestamp) {
        let until = match self
            .shared
            .readers
            .read(|connection| self.boundary.at(connection, wall, now))
        {
            Ok(until) => until,
            Err(error) => {
                tracing::warn!(%error, "the database can't be read; trying again later");
                return;
            }
        };
        self.told("old rows can't be removed", |shared| {
            retention::remove_old(shared, until)
        });
    }

    /// Waits for the writer, and leaves everything in one file.
    fn finish(self) {
        let shared = &self.shared;
        if !shared.threads.wait_for_others(shared.queue.patience().into()) {
            return;
        }
        shared.readers.close();
        if let Err(why) = self.identity.check() {
            tracing::error!(error = why, "the database's log was left as it is");
            return;
        }
        let longest = Duration::from(shared.queue.patience()).min(BUSY_TIMEOUT);
        let emptied = self.connection.busy_timeout(longest).and_then(|()| {
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        if !matches!(emptied, Ok(0)) {
            tracing::warn!("the database's log was not emptied; the next start reads it");
            return;
        }
        if let Err(error) = shared.dir.mark_stopped() {
            tracing::warn!(%error, "the mark of a running server can't be removed");
            return;
        }
        // The last one to close it takes the empty log away.
        let _kept = self
            .connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }
}
