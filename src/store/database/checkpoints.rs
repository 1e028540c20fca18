//! The thread that checkpoints the write-ahead log, and checks that the open files are still at their paths.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connection::BUSY_TIMEOUT;
use super::identity::Identity;
use super::{Shared, wal};
use crate::policy::time::{Span, Timestamp};

/// Growth of the log in bytes after which it is checkpointed beside commits.
const WAL_MOVED: u64 = 4 << 20;
/// The same in commits, of at least a page each.
const COMMITS_MOVED: u64 = 1_000;
/// Size of the log in bytes above which it is restarted despite commits.
const WAL_MAX: u64 = 64 << 20;
/// How long it may stay larger before a warning.
const TOO_LONG: Span = Span::from_secs(10);
/// Bytes of a page in the log, with its frame header (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
const FRAME_BYTES: u64 = 4_096 + 24;
/// Time without commits after which the log is truncated.
const IDLE: Span = Span::from_secs(5);
/// How long a checkpoint waits for readers: it would hold up commits meanwhile.
const EMPTYING_WAITS: Duration = Duration::from_millis(20);

pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    connection: Connection,
    identity: Identity,
    /// Commits as of the last check, and since when their number has not changed.
    commits: (u64, Timestamp),
    /// The length of the log and the commits at the last checkpoint.
    moved: (u64, u64),
    /// Since when the log is too large, and whether that was logged.
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

    /// Runs until the database is closed, then leaves it cleanly stopped.
    pub fn run(mut self) {
        while self.shared.upkeep.wait() {
            // If the file is gone, the log may hold all that is left: leave it alone.
            if self.look_at_files() {
                self.checkpoint(self.shared.settings.clock.now());
            }
        }
        self.finish();
    }

    /// Whether the open files are still at their paths.
    fn look_at_files(&self) -> bool {
        let found = self.identity.check();
        let there = found.is_ok();
        let news = self.shared.queue.set_lost(!there);
        match found {
            Err(why) if news => tracing::error!(
                error = why,
                "database file gone: rejecting metered requests until it is back or tiergate is restarted"
            ),
            Ok(()) if news => tracing::info!("database file is back"),
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
            // The file keeps its length: overwriting needs no more space.
            let is_begun = !is_too_large || self.move_log("RESTART").is_some();
            self.moved = (log, commits);
            self.watch(log, is_begun, now);
        }
    }

    /// Warns if a long-running reader or a failing disk keeps the log from being restarted.
    fn watch(&mut self, log: u64, is_begun: bool, now: Timestamp) {
        if is_begun {
            self.too_large = None;
            return;
        }
        let (since, told) = *self.too_large.get_or_insert((now, false));
        if !told && now.since(since) >= TOO_LONG {
            tracing::warn!(
                bytes = log,
                "can't restart the write-ahead log: a reader has held it for long, or the disk is failing"
            );
            self.too_large = Some((since, true));
        }
    }

    /// Runs a checkpoint. After a failure everything is still in the log, and a later checkpoint tries again. Returns the frames
    /// in the log; `None`: the checkpoint failed or is incomplete.
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
                tracing::debug!(%error, how, "checkpoint failed");
                None
            }
        }
    }

    /// Waits for the other threads, and leaves everything in one file.
    fn finish(self) {
        let shared = &self.shared;
        if !shared.threads.wait_for_others(shared.queue.patience().into()) {
            return;
        }
        shared.readers.close();
        if let Err(why) = self.identity.check() {
            tracing::error!(
                error = why,
                "database file gone or replaced; leaving its write-ahead log as it is"
            );
            return;
        }
        let longest = Duration::from(shared.queue.patience()).min(BUSY_TIMEOUT);
        let emptied = self.connection.busy_timeout(longest).and_then(|()| {
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
        });
        if !matches!(emptied, Ok(0)) {
            tracing::warn!("write-ahead log not truncated; the next start reads it");
            return;
        }
        if let Err(error) = shared.dir.mark_stopped() {
            tracing::warn!(%error, "can't remove the mark of a running server");
            return;
        }
        // The last connection to close removes the empty log.
        let _kept = self
            .connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }
}
