//! Connections to the database file: how each kind is opened, and schema migrations.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;
use crate::store::rows;

/// `tgdb`: identifies our databases to `file` and SQLite.
pub(in crate::store) const APPLICATION_ID: i64 = 0x7467_6462;
/// The schema version that this program writes.
pub(in crate::store) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;
/// One migration per schema version, starting from an empty database.
const MIGRATIONS: [&str; 3] = [
    include_str!("../schema.sql"),
    include_str!("../drained.sql"),
    include_str!("../key_uses.sql"),
];
/// Flags of connections that may write.
const WRITING: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// How long a connection waits for a lock: at most for a checkpoint that truncates the log.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: i64 = 4_096;
/// Page cache of other connections, in KiB.
const READER_CACHE_KIB: i64 = 1_024;
/// Prepared statements cached per connection.
const STATEMENTS_MAX: usize = 64;

/// Creates the schema in an empty file. The caller syncs the file.
pub(in crate::store) fn create(file: &Path) -> Result<(), OpenError> {
    let created = || {
        let mut connection = Connection::open_with_flags(file, WRITING)?;
        // No journal: no one uses the file yet, and an incomplete one is discarded.
        connection.pragma_update_and_check(None, "journal_mode", "off", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "off")?;
        migrate(&mut connection, 0)
    };
    created().map_err(|error| OpenError::sqlite(file, &error))
}

/// Opens the connection that writes, and migrates the schema.
pub(super) fn writing(file: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    let mut connection = Connection::open_with_flags(file, WRITING).map_err(failed)?;
    configure(&connection, WRITER_CACHE_KIB).map_err(failed)?;
    let version = version(&connection).map_err(failed)?;
    if !is_ours(&connection).map_err(failed)? {
        return Err(another_program_s(file));
    }
    if version > SCHEMA_VERSION {
        return Err(OpenError::Newer {
            file: file.to_owned(),
            version,
        });
    }
    durable(&connection).map_err(failed)?;
    migrate(&mut connection, version).map_err(failed)?;
    Ok(connection)
}

/// Opens the connection for checkpoints.
pub(super) fn checkpointing(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, WRITING)?;
    configure(&connection, READER_CACHE_KIB)?;
    durable(&connection)?;
    Ok(connection)
}

/// Opens a read-only connection.
pub(super) fn reading(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

/// Opens a read-only connection for a command, with or without a running server. It leaves the file and its log unchanged.
///
/// # Errors
/// The file doesn't exist, is another program's, is of a newer version, or can't be read.
pub fn open_read_only(file: &Path) -> Result<Connection, OpenError> {
    if !file
        .try_exists()
        .map_err(OpenError::disk("look for the database", file))?
    {
        return Err(OpenError::Missing { file: file.to_owned() });
    }
    checked(file, reading(file))
}

/// The same for a file without a log or writers, such as a backup: creates no files beside it.
///
/// # Errors
/// As [`open_read_only`].
pub(in crate::store) fn open_unchanging(file: &Path) -> Result<Connection, OpenError> {
    if !file.exists() {
        return Err(OpenError::Missing { file: file.to_owned() });
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let mut uri = "file:".to_owned();
    for byte in file.as_os_str().as_bytes() {
        match plain(byte) {
            true => uri.push(char::from(*byte)),
            false => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(uri, flags);
    let configured = opened.and_then(|connection| configure(&connection, READER_CACHE_KIB).map(|()| connection));
    checked(file, configured)
}

/// Checks that this program can read the connection's database.
fn checked(file: &Path, opened: rusqlite::Result<Connection>) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(file, &error);
    let connection = opened.map_err(failed)?;
    if !is_ours(&connection).map_err(failed)? {
        return Err(another_program_s(file));
    }
    match version(&connection).map_err(failed)? {
        version if version > SCHEMA_VERSION => Err(OpenError::Newer {
            file: file.to_owned(),
            version,
        }),
        _ => Ok(connection),
    }
}

fn configure(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Only our own checkpoints truncate the log, and read-only connections keep it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    // A malicious file's schema must not run code.
    connection.pragma_update(None, "trusted_schema", false)
}

/// Makes commits durable when they return, and leaves checkpoints to their own connection.
fn durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    let mut set = connection.prepare("PRAGMA journal_mode = wal")?;
    let mut rows = set.query([])?;
    let mut mode = String::new();
    // Read all rows: SQLite commits after the first one, and that may fail.
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode != "wal" {
        // SQLite doesn't say why the mode is unchanged. A write does.
        rows::probe(connection)?;
        return Err(rusqlite::Error::InvalidQuery);
    }
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |row| row.get::<_, i64>(0))?;
    Ok(())
}

/// Whether the database is this program's.
fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(application == APPLICATION_ID)
}

fn another_program_s(file: &Path) -> OpenError {
    OpenError::Foreign {
        file: file.to_owned(),
        what: "it is another program's database".to_owned(),
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates the schema, each step in its own transaction.
fn migrate(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for (made, migration) in (1..).zip(MIGRATIONS).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", made)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of each older version keeps its rows and gets what later ones add.
    #[test]
    fn a_database_of_an_older_version_is_migrated() {
        for old in 1..SCHEMA_VERSION {
            let mut connection = Connection::open_in_memory().expect("memory");
            for migration in &MIGRATIONS[..usize::try_from(old).expect("it is small")] {
                connection.execute_batch(migration).expect("SQL");
            }
            connection.pragma_update(None, "user_version", old).expect("memory");
            rows::set_meta(&connection, "id", "kept").expect("version 1 has that table");
            let key = "INSERT INTO api_key (hash, account, label, created) VALUES (x'01', 7, 'kept', 5)";
            connection.execute_batch(key).expect("version 1 has that table");
            migrate(&mut connection, old).expect("SQL");
            assert_eq!(version(&connection).expect("memory"), SCHEMA_VERSION, "from {old}");
            assert_eq!(rows::meta(&connection, "id").expect("memory").as_deref(), Some("kept"));
            let count = |table: &str| {
                let select = format!("SELECT count(*) FROM {table}");
                connection.query_row(&select, [], |row| row.get::<_, i64>(0))
            };
            assert_eq!(count("drained_server"), Ok(0), "version 2 adds it");
            assert_eq!(count("listed_key"), Ok(0), "version 3 adds it");
            assert_eq!(
                count("api_key WHERE label = 'kept' AND begins IS NULL AND last_used IS NULL"),
                Ok(1)
            );
        }
    }
}
