//! A pool of read-only connections.

use std::path::PathBuf;

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, TransactionBehavior};

use super::connection;
use super::error::ReadError;

/// Connections at once. Further readers wait.
const READERS_MAX: usize = 4;

#[derive(Debug)]
pub(in crate::store) struct Readers {
    file: PathBuf,
    state: Mutex<ReadersState>,
    /// Used with `state`.
    returned: Condvar,
}

#[derive(Debug, Default)]
struct ReadersState {
    idle: Vec<Connection>,
    /// Connections in use.
    out: usize,
    closed: bool,
}

impl Readers {
    /// A pool for the database at that path, without an open connection yet.
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Reads on one connection of the pool.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let idle = self.take()?;
        // Returns the connection on drop, after a panic too.
        let mut pooled = PooledConnection {
            readers: self,
            connection: idle,
        };
        let connection = match &mut pooled.connection {
            Some(connection) => connection,
            none => none.insert(connection::reading(&self.file)?),
        };
        let read = connection
            .transaction_with_behavior(TransactionBehavior::Deferred)
            .and_then(|view| work(&view));
        if read.is_err() {
            pooled.connection = None;
        }
        Ok(read?)
    }

    fn take(&self) -> Result<Option<Connection>, ReadError> {
        let mut state = self.state.lock();
        self.returned
            .wait_while(&mut state, |state| state.out >= READERS_MAX && !state.closed);
        if state.closed {
            return Err(ReadError("the database is closed".to_owned()));
        }
        state.out += 1;
        Ok(state.idle.pop())
    }

    /// Closes the idle connections; those in use are closed on return.
    pub fn close(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        self.returned.notify_all();
        drop(idle);
    }
}

/// A connection in use; `None`: not open yet, or not to be reused.
struct PooledConnection<'r> {
    readers: &'r Readers,
    connection: Option<Connection>,
}

impl Drop for PooledConnection<'_> {
    fn drop(&mut self) {
        let mut state = self.readers.state.lock();
        state.out -= 1;
        let unwanted = match (self.connection.take(), state.closed) {
            (Some(connection), false) => {
                state.idle.push(connection);
                None
            }
            (connection, _) => connection,
        };
        drop(state);
        drop(unwanted);
        self.readers.returned.notify_one();
    }
}
