//! The thread that moves the log into the database, and looks whether the file is still there.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::BUSY_TIMEOUT;
use super::identity::Identity;
use super::{Shared, wal};
use crate::policy::time::{Span, Timestamp};

/// A log that has grown by so many bytes is moved into the database while commits go on.
const WAL_MOVED: u64 = 4 << 20;
/// The same after so many commits, each of a page at least.
const COMMITS_MOVED: u64 = 1_000;
/// A log of so many bytes is begun anew though commits go on.
const WAL_MAX: u64 = 64 << 20;
/// For how long it may be larger before the log says so.
const TOO_LONG: Span = Span::from_secs(10);
/// Bytes of a page in the log, with its header (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
const FRAME_BYTES: u64 = 4_096 + 24;
/// The log is emptied when nothing was committed for so long.
const IDLE: Span = Span::from_secs(5);
/// How long emptying the log waits for those who read: they would hold up commits meanwhile.
const EMPTYING_WAITS: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    connection: Connection,
    identity: Identity,
    /// Commits as of the last look, and since when there were no more.
    commits: (u64, Timestamp),
    /// The length of the log and the commits when it was moved last.
    moved: (u64, u64),
    /// Since when the log has more than it may; whether that was told.
    too_large: Option<(Timestamp, bool)>,
}

impl Checkpoints {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection, identity: Identity) -> Self {
        let now = shared.settings.clock.now();
        Self {
            shared,
            connection,
            identity,
            commits: (0, now),
            moved: (0, 0),
            too_large: None,
        }
    }

    /// Goes on until the database is closed, then leaves it as a clean stop does.
    pub fn run(mut self) {
        while self.shared.upkeep.wait() {
            // What is in the log may be all that is left.
            if self.look_at_files() {
                self.checkpoint(self.shared.settings.clock.now());
            }
        }
        self.finish();
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
            self.too_large = None;
        } else if log > self.moved.0 + WAL_MOVED || commits > self.moved.1 + COMMITS_MOVED || self.too_large.is_some() {
            let frames = self.move_log("PASSIVE");
            let is_too_large = frames.is_none_or(|frames| frames * FRAME_BYTES > WAL_MAX);
            // The file keeps its length: what is written over needs no new room.
            let is_begun = !is_too_large || self.move_log("RESTART").is_some();
            self.moved = (log, commits);
            self.watch(log, is_begun, now);
        }
    }

    /// Somebody who reads for long, or a disk that fails, keeps the log from being begun anew.
    fn watch(&mut self, log: u64, is_begun: bool, now: Timestamp) {
        if is_begun {
            self.too_large = None;
            return;
        }
        let (since, told) = *self.too_large.get_or_insert((now, false));
        if !told && now.since(since) >= TOO_LONG {
            tracing::warn!(
                bytes = log,
                "the database's log can't be emptied: somebody reads the database for long, or the disk fails"
            );
            self.too_large = Some((since, true));
        }
    }

    /// Moves the log into the database. If that fails all is in the log still, and it is tried again. How many frames the
    /// log has; `None`: it was not moved, or not as far as it should.
    fn move_log(&self, how: &str) -> Option<u64> {
        let moved = self.connection.busy_timeout(EMPTYING_WAITS).and_then(|()| {
            self.connection
                .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
                    Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?))
                })
        });
        match moved {
            Ok((false, frames)) => u64::try_from(frames).ok(),
            Ok((true, _)) => None,
            Err(error) => {
                tracing::debug!(%error, how, "no checkpoint");
                None
            }
        }
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
