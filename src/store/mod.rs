//! Persistent state, in one SQLite database: finished jobs and quota usage, accounts, and network entries.
//!
//! | module | what |
//! |---|---|
//! | `schema.sql`, `drained.sql`, `key_uses.sql` | all tables, by version of the schema |
//! | [`data_dir`] | the folder: which process holds it, and whether its database is the right one |
//! | [`database`] | the file: its connections, its writing thread, its upkeep |
//! | [`ledger`] | from the event loops to the writer: group commits |
//! | `rows`, `finished` | jobs and refusals as rows, and as rows of one kind that add up |
//! | `rollup`, `retention` | adding up rows, and removing old ones |
//! | `replay`, `corrections` | windows rebuilt from rows, and jobs dated by a clock that was ahead |
//! | `view`, [`usage`], [`jobs`], [`verify`], [`backup`] | what commands read from the file themselves, and copies of it |
//! | [`statistics`] | `/me?period=` and `/stats` |
//! | `accounts`, `directory`, `networks` | accounts, keys and networks, in the database and in memory |
//! | [`account`] | the fields of an account, each described once |
//! | `key_sightings`, `key_uses` | when keys were last used, in memory and in the database |
//! | `drained` | upstream servers that operators have drained |
//! | [`audit`] | what operators changed |
//! | [`calendar`] | times as operators write them |
//!
//! Accounts live in an [`AccountStore`] on disk and in its [`Directory`] in memory. A request sees them as an [`AccountView`],
//! which looks its key up there. Networks live in the same database and in [`Networks`], where every request looks its
//! address up.
//!
//! The server sees a [`Ledger`]: it records every finished job, and a success is answered only when its record is durable.
//! There are two: [`memory`] for tests and simulations, and [`Database`].

pub mod account;
mod account_view;
mod accounts;
pub mod audit;
pub mod backup;
pub mod calendar;
mod corrections;
pub mod data_dir;
pub mod database;
mod directory;
mod drained;
mod finished;
mod interner;
pub mod jobs;
mod key_sightings;
mod key_uses;
pub mod keys;
pub mod ledger;
pub mod memory;
pub mod network;
mod networks;
mod pseudonym;
mod recall;
mod record;
mod replay;
mod retention;
mod rollup;
mod rows;
mod runtime_file;
mod session_secret;
pub mod statistics;
mod token;
pub mod usage;
pub mod verify;
mod view;

use std::fmt;

pub use account::{Account, AccountPatch, AccountSpec, Change, Illegal, Origin};
pub use account_view::AccountView;
pub use accounts::{
    ACCOUNTS_MAX, AccountStore, AccountUse, AccountsError, ChangeError, Changed, DeclaredAccount, DeclaredChanges,
    ImportError, ImportOptions, ImportRow, Imported, LINES_MAX, Minted, PreparedAccounts,
};
pub use audit::{Actor, AuditEntry, Stamp};
pub use data_dir::{DATABASE_FILE, DataDir, OldData};
pub use database::{Database, OpenError, ReadError, WriteError, open_read_only};
pub use directory::{AccountsWithoutTier, Directory};
pub use drained::{DRAINED_MAX, DrainError, DrainedServers, ServerName};
pub use key_sightings::KeySightings;
pub use key_uses::KeyUse;
pub use keys::{Beginning, Key, KeyHash, KeyId, PlaintextKey};
pub use ledger::commit::{Commit, Settlement, Ticket, Unavailable};
pub use ledger::{CommitSettings, Durability, LedgerSettings, Wall};
pub use network::{Block, NETWORKS_MAX, NetworkChange, NetworkEntry, OwnNumbers};
pub use networks::{NetworkTerms, Networks};
pub use pseudonym::{KEY_FILE, KeyError, Pseudonyms};
pub use recall::{DebitHistory, Debited, Fence, FenceSignal};
pub use record::{LedgerEntry, Record, RefusalRecord};
pub use replay::{JobHistory, RestoredUsage};
pub use retention::History;
pub use runtime_file::{ADDRESS_FILE, clear_address, leave_address, left_address};
pub use session_secret::SessionSecret;
pub use token::{AdminToken, TOKEN_CHARS, TOKEN_FILE, TOKEN_VARIABLE, TokenError};
pub use view::{CallerName, View, network_caller, user_caller};

/// Records finished jobs. Nothing in it blocks: a caller that needs durability gets a future.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Whether it can write at present. If not, no metered request is admitted (rules §2.4, `journal_unavailable`).
    fn is_available(&self) -> bool;

    /// Records what need not be durable at once: a job that debits nothing, or refusals. It joins the next commit, or is written
    /// after a second. It is lost if the server crashes before, or if the disk falls far behind.
    fn note(&self, entry: LedgerEntry);

    /// Records a job that debits. Resolves when the record is durable, or when it is known that it never will be.
    fn commit(&self, record: Record) -> Commit;

    /// A point in the order of debits: earlier commits have lower numbers, later ones greater numbers. As cheap as
    /// [`Self::is_available`].
    fn fence(&self) -> Fence;
}
