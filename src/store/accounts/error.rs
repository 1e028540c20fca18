//! Errors when accounts are opened, changed or imported.

use std::fmt;

use super::ACCOUNTS_MAX;
use crate::store::account::Illegal;
use crate::store::keys::KEYS_PER_ACCOUNT_MAX;
use crate::store::network::NETWORKS_MAX;

/// The accounts can't be opened, or the list in tiers.yaml can't be replaced. The accounts stay as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountsError {
    /// The stored data is damaged, and how.
    Damaged(String),
    /// A disk error.
    Disk(String),
    /// These names are both in tiers.yaml and in the store; at most 20 of them.
    DeclaredAndStored(Vec<String>),
    /// Two accounts have the same key.
    SharedKey {
        /// The one in tiers.yaml.
        declared: String,
        /// The other one, in tiers.yaml or in the store.
        other: String,
    },
    /// All account ids are used up.
    NoIds,
    /// The list can't be written: a disk error, or the database is closed.
    Unavailable(String),
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "the stored accounts are damaged ({what}); restore a backup"),
            Self::Disk(error) => f.write_str(error),
            Self::DeclaredAndStored(names) => write!(
                f,
                "listed in tiers.yaml under `accounts`, and stored as well: {}; take each out of tiers.yaml, or remove it from \
                 the store (`tiergate account remove NAME --yes`; if no server runs, start one without the list first)",
                names.join(", ")
            ),
            Self::SharedKey { declared, other } => write!(
                f,
                "the account {declared} of tiers.yaml has a key that {other} has too; give each account keys of its own"
            ),
            Self::NoIds => f.write_str("all account ids are used up"),
            Self::Unavailable(why) => write!(
                f,
                "nothing was changed: the database can't be written at present ({why}); check the disk, then reload tiers.yaml"
            ),
        }
    }
}

impl std::error::Error for AccountsError {}

/// A change was not made. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// No account has that name.
    UnknownAccount,
    /// The account is declared in tiers.yaml, and is changed there.
    Declared,
    /// Another account has that name.
    NameTaken,
    /// An import without `update` names an existing account.
    NotUpdating,
    /// There are [`ACCOUNTS_MAX`] in the store, or all ids are used up.
    TooManyAccounts,
    /// No key has that id.
    UnknownKey,
    /// An account, possibly the same one, has that key already.
    KeyTaken,
    /// The account has [`KEYS_PER_ACCOUNT_MAX`] unexpired keys.
    TooManyKeys,
    /// The key has expired and can't be rotated.
    KeyExpired,
    /// That network has no entry.
    UnknownNetwork,
    /// tiers.yaml blocks that network, and unblocks it.
    DeclaredNetwork,
    /// There are [`NETWORKS_MAX`] network entries.
    TooManyNetworks,
    /// Two lines of an import give the same name different terms.
    Differs,
    /// A line of an import names no tier for a new account.
    NoTier,
    /// An import would remove enough of a source's accounts to need confirmation.
    TooManyRemoved {
        /// Accounts that it would remove.
        removed: usize,
        /// Accounts of that source.
        of: usize,
        /// The source.
        source: String,
    },
    /// A value is out of bounds.
    Illegal(Illegal),
    /// The database can't be written, or the system has no random numbers.
    Unavailable(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAccount => f.write_str("there is no such account"),
            Self::Declared => f.write_str("the account is listed in tiers.yaml: change it there"),
            Self::NameTaken => f.write_str("an account with that name already exists"),
            Self::NotUpdating => f.write_str(
                "an account with that name already exists; import with --update (`update=1`) to update existing accounts",
            ),
            Self::TooManyAccounts => write!(
                f,
                "there are {ACCOUNTS_MAX} accounts in the store, and there can't be more: remove some"
            ),
            Self::UnknownKey => f.write_str("there is no such key"),
            Self::KeyTaken => f.write_str("an account already has that key"),
            Self::TooManyKeys => write!(
                f,
                "the account has {KEYS_PER_ACCOUNT_MAX} keys, and can't have more: revoke one first"
            ),
            Self::KeyExpired => f.write_str("the key has expired: add a new one instead"),
            Self::UnknownNetwork => f.write_str("there is no entry for that network"),
            Self::DeclaredNetwork => {
                f.write_str("the network is blocked in tiers.yaml: take it out of `blocked_networks` there")
            }
            Self::TooManyNetworks => write!(
                f,
                "there are {NETWORKS_MAX} network entries, and there can't be more: remove one first"
            ),
            Self::Differs => f.write_str("an earlier line gives the account of that name other terms"),
            Self::Illegal(why) => why.fmt(f),
            Self::NoTier => f.write_str("there is no such account yet, and a new one needs a tier"),
            Self::TooManyRemoved { removed, of, source } => write!(
                f,
                "this would remove {removed} of the {of} accounts of the source {source}, more than a tenth, so nothing was \
                 changed: see which with a dry run (--dry-run, `dry_run=1`), then say yes (--yes, `yes=1`)"
            ),
            Self::Unavailable(why) => write!(
                f,
                "nothing was changed: the database can't be written at present ({why}); try again when it can"
            ),
        }
    }
}

impl std::error::Error for ChangeError {}

impl From<Illegal> for ChangeError {
    fn from(why: Illegal) -> Self {
        Self::Illegal(why)
    }
}

/// An import was not made. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// Lines are wrong.
    Lines {
        /// The first wrong lines, at most [`LINES_MAX`](super::LINES_MAX), each with its number and its error.
        first: Vec<(usize, String)>,
        /// How many lines are wrong.
        count: usize,
    },
    /// An error of the import as a whole.
    Whole(ChangeError),
}

impl From<ChangeError> for ImportError {
    fn from(error: ChangeError) -> Self {
        Self::Whole(error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines { first, .. } => {
                let shown = |(line, error): &(usize, String)| writeln!(f, "line {line}: {error}");
                first.iter().try_for_each(shown)
            }
            Self::Whole(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}
