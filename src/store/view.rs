//! Read-only access to a database for commands, with or without a running server.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use super::audit::{self, AuditEntry};
use super::data_dir::{DATABASE_FILE, ID_FILE, RUNNING_FILE, log_gone};
use super::database::{OpenError, ReadError, open_read_only, open_unchanging, wal};
use super::pseudonym::{KeyError, Pseudonyms};
use crate::policy::caller::{AccountId, Caller, Network, NetworkId, UserId};
use crate::policy::time::UnixTime;

/// A database opened for reading. Its file and log stay unchanged.
#[derive(Debug)]
pub struct View {
    connection: Connection,
    file: PathBuf,
}

/// A caller, by the current or former name of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerName {
    /// An account; `removed`: it no longer exists.
    Account {
        /// Its name.
        name: String,
        /// Whether it was removed.
        removed: bool,
    },
    /// A user of a delegating account.
    User {
        /// The account's name.
        account: String,
        /// The hash of the user's name.
        user: UserId,
    },
    /// The network of a caller without an account.
    Network(NetworkId),
    /// Refused callers that have used no quota, counted together.
    Others,
}

/// Refuses a database whose log is missing: SQLite would create an empty one, and a server would then start without noticing
/// lost commits. A clean stop removes the mark before the log, and a start creates the log before the mark, so the log is
/// checked twice.
fn check_log(file: &Path) -> Result<(), OpenError> {
    let log_is_gone = || !wal(file).exists();
    let is_a_server_s = file.file_name().is_some_and(|name| name == DATABASE_FILE) && file.exists();
    match is_a_server_s && log_is_gone() && file.with_file_name(RUNNING_FILE).exists() && log_is_gone() {
        true => Err(log_gone(file.to_owned())),
        false => Ok(()),
    }
}

impl View {
    /// Opens the database in that data folder.
    ///
    /// # Errors
    /// There is none, it is damaged, another's or of a newer version, or an I/O error.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let file = folder.join(DATABASE_FILE);
        if !file.exists() && !folder.join(ID_FILE).exists() {
            return Err(OpenError::Unused {
                folder: folder.to_owned(),
            });
        }
        check_log(&file)?;
        Ok(Self {
            connection: open_read_only(&file)?,
            file,
        })
    }

    /// Opens the database in that file, such as a backup.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_file(file: &Path) -> Result<Self, OpenError> {
        check_log(file)?;
        let connection = match wal(file).exists() {
            true => open_read_only(file)?,
            false => open_unchanging(file)?,
        };
        Ok(Self {
            connection,
            file: file.to_owned(),
        })
    }

    /// Its path.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads from one snapshot of the database.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Deferred)?;
        Ok(work(&transaction)?)
    }

    /// The account of that name, or else the last one that had it.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn account(&mut self, name: &str) -> Result<Option<AccountId>, ReadError> {
        self.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT id FROM account WHERE name = ?1 ORDER BY removed_at IS NULL DESC, id DESC")?;
            let id = select.query_row([name], |row| row.get(0).map(AccountId));
            id.optional()
        })
    }

    /// The audit log since then: the last `limit` rows, newest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn audit(&self, since: UnixTime, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
        audit::read(&self.connection, since, limit)
    }
}

/// The caller id of that address's network, under the key in the data folder.
///
/// # Errors
/// There is no key, or it can't be read.
pub fn network_caller(folder: &Path, address: std::net::IpAddr) -> Result<Caller, KeyError> {
    let pseudonyms = Pseudonyms::read(folder)?;
    Ok(Caller::Network(pseudonyms.network(Network::of(address))))
}

/// The caller id of that account's user, under the key in the data folder.
///
/// # Errors
/// There is no key, or it can't be read.
pub fn user_caller(folder: &Path, of: AccountId, name: &str) -> Result<Caller, KeyError> {
    let user = Pseudonyms::read(folder)?.user(of, name.as_bytes());
    Ok(Caller::User { of, user })
}

impl CallerName {
    /// Reads the columns account, network, end_user, and the account's name and `removed_at`, in this order.
    pub(super) fn of(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let (account, network, user): (i64, i64, i64) = (row.get(first)?, row.get(first + 1)?, row.get(first + 2)?);
        let name: Option<String> = row.get(first + 3)?;
        let removed = row.get::<_, Option<i64>>(first + 4)?.is_some();
        let named = || name.clone().unwrap_or_else(|| format!("account {account}"));
        Ok(match (account, network, user) {
            (0, 0, _) => Self::Others,
            (0, network, _) => Self::Network(NetworkId(network.cast_unsigned())),
            (_, _, 0) => Self::Account { name: named(), removed },
            (_, _, user) => Self::User {
                account: named(),
                user: UserId(user.cast_unsigned()),
            },
        })
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account { name, removed: false } => f.write_str(name),
            Self::Account { name, removed: true } => write!(f, "{name} (removed)"),
            Self::User { account, user } => write!(f, "{account} user {:016x}", user.0),
            Self::Network(network) => write!(f, "network {:016x}", network.0),
            Self::Others => f.write_str("others"),
        }
    }
}
