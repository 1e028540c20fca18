//! Why accounts can't be opened, changed or imported.

use std::fmt;

use super::ACCOUNTS_MAX;
use crate::store::account::Illegal;
use crate::store::keys::KEYS_PER_ACCOUNT_MAX;
use crate::store::network::NETWORKS_MAX;

/// Why the accounts can't be opened, or those of tiers.yaml can't be others. Then they are those that they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountsError {
    /// What lies there is not what was written: what is wrong.
    Damaged(String),
    /// The disk's.
    Disk(String),
    /// These names are both in tiers.yaml and in the store: at most 20 of them.
    ListedAndStored(Vec<String>),
    /// The account `listed` of tiers.yaml has a key that the account `other` has too.
    KeyOfTwo {
        /// In tiers.yaml.
        listed: String,
        /// There or in the store.
        other: String,
    },
    /// No id is left for another account.
    NoIds,
    /// The list can't be written down: the disk's error, or they are closed.
    Unavailable(String),
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(what) => write!(f, "they are damaged ({what}); restore them from a backup"),
            Self::Disk(error) => f.write_str(error),
            Self::ListedAndStored(names) => write!(
                f,
                "listed in tiers.yaml under `accounts`, and stored as well: {}; take each out of tiers.yaml, or remove it from the \
                 store (`tiergate account remove NAME --yes`; if no server runs, start one without the list first)",
                names.join(", ")
            ),
            Self::KeyOfTwo { listed, other } => write!(
                f,
                "the account {listed} of tiers.yaml has a key that {other} has too; give each account keys of its own"
            ),
            Self::NoIds => f.write_str("there have been as many accounts as there can ever be"),
            Self::Unavailable(why) => write!(
                f,
                "nothing was changed: the database can't be written at present ({why}); see to the disk, then reload tiers.yaml"
            ),
        }
    }
}

impl std::error::Error for AccountsError {}

/// Why a change was not made. Everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// No account has that name.
    UnknownAccount,
    /// It stands in tiers.yaml, and is changed there.
    Listed,
    /// Another account has that name.
    NameTaken,
    /// There are [`ACCOUNTS_MAX`] in the store, or no id is left.
    TooManyAccounts,
    /// No key has that id.
    UnknownKey,
    /// Another account has that key, or the same account has it already.
    KeyTaken,
    /// The account has [`KEYS_PER_ACCOUNT_MAX`] that have not expired.
    TooManyKeys,
    /// The key has expired: there is nothing to rotate.
    KeyExpired,
    /// Nothing is said of that network.
    UnknownNetwork,
    /// tiers.yaml blocks that network, and it is unblocked there.
    ListedNetwork,
    /// Something is said of [`NETWORKS_MAX`] of them.
    TooManyNetworks,
    /// Two lines of an import give the same name different terms.
    Differs,
    /// A line of an import names no tier, and its account is new.
    NoTier,
    /// An import would remove so many of a source's accounts that it takes a yes.
    TooManyRemoved {
        /// Accounts that would go.
        removed: usize,
        /// Accounts of that source.
        of: usize,
        /// Its name.
        source: String,
    },
    /// What was asked for is out of bounds.
    Illegal(Illegal),
    /// The database's, or the system has no random numbers.
    Unavailable(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAccount => f.write_str("there is no such account"),
            Self::Listed => f.write_str("the account stands in tiers.yaml: change it there"),
            Self::NameTaken => f.write_str("an account of that name exists already"),
            Self::TooManyAccounts => write!(
                f,
                "there are {ACCOUNTS_MAX} accounts in the store, and there can't be more: remove some"
            ),
            Self::UnknownKey => f.write_str("there is no such key"),
            Self::KeyTaken => f.write_str("an account has that key already"),
            Self::TooManyKeys => write!(
                f,
                "the account has {KEYS_PER_ACCOUNT_MAX} keys, and can't have more: revoke one first"
            ),
            Self::KeyExpired => f.write_str("the key has expired: add a new one instead"),
            Self::UnknownNetwork => f.write_str("nothing is said of that network"),
            Self::ListedNetwork => {
                f.write_str("the network is blocked in tiers.yaml: take it out of `blocked_networks` there")
            }
            Self::TooManyNetworks => write!(
                f,
                "something is said of {NETWORKS_MAX} networks, and there can't be more: remove one first"
            ),
            Self::Differs => f.write_str("an earlier line gives the account of that name other terms"),
            Self::Illegal(why) => why.fmt(f),
            Self::NoTier => f.write_str("it names no tier, and there is no such account yet"),
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

/// Why an import was not made. Everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// Lines are wrong.
    Lines {
        /// The first of them in their order, at most [`LINES_MAX`](super::LINES_MAX): their numbers, and what is wrong.
        first: Vec<(usize, String)>,
        /// How many there are.
        count: usize,
    },
    /// All of it.
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
