//! Upstream servers that operators have drained, in the database and in memory. They are known by name, so a drain lasts over
//! reloads and restarts, and for a server that is missing in tiers.yaml meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use serde_json::json;

use super::audit::{self, Stamp};
use super::database::{Database, ReadError};
use super::rows::{millis, unix_time};
use crate::policy::time::UnixTime;

/// Drained servers, at most.
pub const DRAINED_MAX: usize = 1_024;

/// An upstream server, as tiers.yaml names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    /// Its upstream's name.
    pub upstream: Arc<str>,
    /// Its address, such as `10.0.0.1:8081`.
    pub server: Arc<str>,
}

impl ServerName {
    /// The server of that address of the upstream of that name.
    pub fn new(upstream: &str, server: &str) -> Self {
        Self {
            upstream: upstream.into(),
            server: server.into(),
        }
    }
}

/// `search/10.0.0.1:8081`.
impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.server)
    }
}

/// Why a server can't be drained or taken back. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainError {
    /// [`DRAINED_MAX`] servers are drained already.
    TooMany,
    /// The database can't be written.
    Unavailable(String),
}

impl fmt::Display for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(
                f,
                "{DRAINED_MAX} servers are drained already: take back those that you no longer use"
            ),
            Self::Unavailable(error) => write!(f, "the change can't be written: {error}"),
        }
    }
}

impl std::error::Error for DrainError {}

/// The drained servers.
pub struct DrainedServers {
    database: Arc<Database>,
    /// Since when each is drained. The lock is held for a whole change.
    since: Mutex<BTreeMap<ServerName, UnixTime>>,
}

impl fmt::Debug for DrainedServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainedServers").finish_non_exhaustive()
    }
}

impl DrainedServers {
    /// Reads those of that database. Blocks on the disk.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn open(database: Arc<Database>) -> Result<Self, ReadError> {
        let since = database.read(read)?;
        Ok(Self {
            database,
            since: Mutex::new(since),
        })
    }

    /// Since when each of them is drained.
    pub fn all(&self) -> BTreeMap<ServerName, UnixTime> {
        self.since.lock().clone()
    }

    /// Calls `look` with them; no change comes meanwhile.
    pub fn with(&self, look: impl FnOnce(&BTreeMap<ServerName, UnixTime>)) {
        look(&self.since.lock());
    }

    /// Drains the server durably, with a row in the audit log, then calls `apply`. Changes come one after the other, `apply`
    /// included. Returns whether it was not drained before; if it was, nothing is written. Blocks on the disk.
    ///
    /// # Errors
    /// Too many servers are drained, or the database can't be written; `apply` is not called.
    pub fn drain(&self, server: &ServerName, stamp: Stamp, apply: impl FnOnce()) -> Result<bool, DrainError> {
        let mut since = self.since.lock();
        if since.contains_key(server) {
            return Ok(false);
        }
        if since.len() >= DRAINED_MAX {
            return Err(DrainError::TooMany);
        }
        let at = stamp.at;
        self.write(server, stamp, "server_drain")?;
        since.insert(server.clone(), at);
        apply();
        Ok(true)
    }

    /// Takes a drained server back, in the same way. Returns whether it was drained.
    ///
    /// # Errors
    /// The database can't be written; `apply` is not called.
    pub fn undrain(&self, server: &ServerName, stamp: Stamp, apply: impl FnOnce()) -> Result<bool, DrainError> {
        let mut since = self.since.lock();
        if !since.contains_key(server) {
            return Ok(false);
        }
        self.write(server, stamp, "server_undrain")?;
        since.remove(server);
        apply();
        Ok(true)
    }

    fn write(&self, server: &ServerName, stamp: Stamp, action: &'static str) -> Result<(), DrainError> {
        let server = server.clone();
        let written = self.database.write(move |transaction| {
            let (upstream, address) = (&*server.upstream, &*server.server);
            match action {
                "server_drain" => transaction
                    .prepare_cached("INSERT INTO drained_server (upstream, server, since) VALUES (?1, ?2, ?3)")?
                    .execute(params![upstream, address, millis(stamp.at)])?,
                _ => transaction
                    .prepare_cached("DELETE FROM drained_server WHERE upstream = ?1 AND server = ?2")?
                    .execute(params![upstream, address])?,
            };
            audit::insert(transaction, &stamp, action, &server.to_string(), &json!({}))
        });
        written.map_err(|error| DrainError::Unavailable(error.to_string()))
    }
}

fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<ServerName, UnixTime>> {
    let mut select = connection.prepare("SELECT upstream, server, since FROM drained_server")?;
    let rows = select.query_map([], |row| {
        let (upstream, server): (String, String) = (row.get(0)?, row.get(1)?);
        Ok((ServerName::new(&upstream, &server), unix_time(row.get(2)?)))
    })?;
    rows.collect()
}
