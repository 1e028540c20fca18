//! Why the server can't start, or had to stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::store::{AccountsError, KeyError, OpenError, ReadError, TokenError};
use crate::telemetry::access_log;

/// Why the server can't start, or had to stop.
#[derive(Debug)]
pub enum ServeError {
    /// Can't listen on an address.
    Listen(SocketAddr, io::Error),
    /// A listener thread can't be started.
    Thread(io::Error),
    /// The data folder or its database can't be opened.
    Database(OpenError),
    /// The key that hashes networks can't be read or created.
    Key(KeyError),
    /// Quota usage can't be restored.
    Restore(ReadError),
    /// The access log can't be opened; without a file, standard output.
    AccessLog(Option<PathBuf>, io::Error),
    /// The drained servers can't be read.
    Drained(ReadError),
    /// The accounts can't be opened.
    Accounts(AccountsError),
    /// The operator's token is missing or invalid.
    Token(TokenError),
    /// A background task failed, and the server has shut down gracefully. Contains the cause.
    Broken(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Thread(error) => write!(f, "can't start a thread: {error}"),
            Self::Database(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Restore(error) => write!(f, "can't restore quota usage: {error}"),
            Self::Token(error) => error.fmt(f),
            Self::Broken(how) => write!(f, "background task failed ({how}); restart tiergate"),
            Self::AccessLog(file, error) => {
                write!(
                    f,
                    "can't open the access log {}: {error}",
                    access_log::name(file.as_deref())
                )
            }
            Self::Drained(error) => write!(f, "can't read which servers are drained: {error}"),
            Self::Accounts(error) => write!(f, "can't open the accounts: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}
