//! What must survive: what callers have used, who the accounts are, and what operators have said of networks.
//!
//! Accounts live in an [`AccountStore`] on disk and in its [`Directory`] in memory, and are [`KnownAccounts`] to a request,
//! which looks its key up there; networks in the same file and in its [`Networks`], where every request looks its address up.
//!
//! The door sees a [`Ledger`]: it writes down every finished job, and a success is answered only when that is durable. Two
//! keep one: [`memory`] for tests and simulations, [`journal`] for operators.
//!
//! Absent on purpose: decisions, and API keys and callers' addresses in plain text. Of a key SHA-256 is held, of an address a
//! keyed hash, so neither a file nor a core dump can betray one. Networks that an operator has named stand there by their
//! names.

pub mod account;
mod accounts;
mod bell;
mod commit;
mod directory;
mod encoding;
pub mod journal;
pub mod keys;
mod known;
pub mod memory;
pub mod network;
mod networks;
mod past;
mod pseudonym;
mod record;
pub mod statistics;
mod token;
mod whereabouts;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use account::{Account, Change, Illegal, NewAccount, Origin};
pub use accounts::{
    ACCOUNTS_MAX, AccountStore, ChangeError, ImportError, ImportRow, Imported, Listed, Minted, OpenError, Opener,
    RelistError, Relisted, Relisting,
};
pub use commit::{Commit, Standing, Ticket, Unavailable};
pub use directory::{Directory, Lost};
pub use keys::{Key, KeyHash, KeyId, Secret};
pub use known::KnownAccounts;
pub use network::{Block, NETWORKS_MAX, NetworkChange, NetworkEntry, OwnNumbers};
pub use networks::{Known, Networks};
pub use past::{Debited, Fence, Past, Post};
pub use pseudonym::{KEY_FILE, KeyError, Pseudonyms};
pub use record::{Entry, Record, Refused};
pub use token::{AdminToken, TOKEN_CHARS, TOKEN_FILE, TOKEN_VARIABLE, TokenError};
pub use whereabouts::{ADDRESS_FILE, clear_address, leave_address, left_address};

/// Somebody who reads every closed part of the journal once, in order, and keeps a summary of it: so the part itself may go.
pub trait Bookkeeper: fmt::Debug + Send {
    /// The number of the last segment that is in its books, durably; `None` if none is.
    fn covers(&self) -> Option<u64>;

    /// Takes that segment into the books, durably. Segments come in the order of their numbers; one may be missing, and one
    /// that could not be entered comes again.
    ///
    /// # Errors
    /// The disk's. The books are then as they were before.
    fn close(&mut self, segment: u64, entries: &mut dyn Iterator<Item = Entry>) -> io::Result<()>;

    /// Who hears of every entry that counts as soon as it is durable, in the order in which they lie on the disk and before the
    /// segment is closed; `None`: closed segments are enough. The writer waits for it.
    fn witness(&self) -> Option<Witness> {
        None
    }
}

/// See [`Bookkeeper::witness`].
pub type Witness = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Where finished jobs are written down. Nothing in it blocks: whoever asks for durability gets a future.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Whether it can write at present. If not, no metered request is let in (semantics §6, `journal_unavailable`).
    fn is_available(&self) -> bool;

    /// Writes down what need not be durable at once: a job that debits nothing, refusals. It rides along with the next
    /// commit, or goes after a second. It is lost if the door crashes before, or if the disk falls far behind.
    fn note(&self, entry: Entry);

    /// Writes down a job that debits. Resolves when the record is durable, or when it is known that it won't be.
    fn commit(&self, record: Record) -> Commit;

    /// A point in the order of debits: those committed before have lower numbers, those committed from now on greater ones.
    /// It takes no longer than a look at whether it can write.
    fn fence(&self) -> Fence;
}
