//! The data folder: who may use it, what is remembered, and who has an account.
//!
//! Absent on purpose: what the files look like (`store`).

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::ServeError;
use crate::clock::Clock;
use crate::config::{self, Config, TokenSource};
use crate::gate::CLOCK_STEP_MAX_DEFAULT;
use crate::policy::Policy;
use crate::policy::rules::Rules;
use crate::policy::time::UnixTime;
use crate::store::journal::disk::SystemDisk;
use crate::store::journal::{self, Durability, History, Journal, Pace, Taken};
use crate::store::statistics::{Books, Statistics};
use crate::store::{
    ADDRESS_FILE, Account, AccountStore, AdminToken, Bookkeeper, Directory, KEY_FILE, Listed, Lost, Pseudonyms,
    TOKEN_FILE, TOKEN_VARIABLE, TokenError, clear_address, leave_address,
};
use crate::telemetry::JournalMeters;

/// Mode of `data_dir`: nobody else looks into it.
const FOLDER_MODE: u32 = 0o700;

/// What tiers.yaml takes for a token the door can use.
const _: () = {
    let (read, used) = (config::TOKEN_CHARS, crate::store::TOKEN_CHARS);
    assert!(*read.start() == *used.start() && *read.end() == *used.end());
};

/// Mode of the operator's token.
const TOKEN_MODE: u32 = 0o600;

/// What of a mode lets others than the owner in.
const OTHERS: u32 = 0o077;

/// The file of the accounts, in `data_dir`.
const ACCOUNTS_FILE: &str = "accounts.redb";

/// The folder of the statistics, in `data_dir`.
const STATISTICS_FOLDER: &str = "statistics";

/// Accounts of a tier that there isn't which the log names.
const NAMED_MAX: usize = 20;

/// All that lies in the data folder, open.
pub(super) struct Opened {
    pub(super) journal: Arc<Journal>,
    pub(super) accounts: Arc<AccountStore>,
    /// The operator's.
    pub(super) token: AdminToken,
    pub(super) pseudonyms: Pseudonyms,
    pub(super) statistics: Arc<Statistics>,
    /// With everything that is remembered.
    pub(super) policy: Policy,
}

impl Opened {
    /// Opens the folder, or makes it, and reads what is remembered. Blocks on the disk.
    ///
    /// # Errors
    /// The folder is in use, of a newer format, damaged beyond use, or the system refuses something.
    pub(super) fn open(
        config: &Config,
        rules: &Arc<Rules>,
        clock: Clock,
        meters: Arc<JournalMeters>,
    ) -> Result<Self, ServeError> {
        let folder = &config.data_dir;
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
        made.map_err(|error| ServeError::Folder(folder.clone(), error))?;
        warn_of_others(folder, "others may look into the data folder", FOLDER_MODE);
        // Before anything in it is looked at: what seems to be left over by a crash may be what another process is writing.
        let taken = Taken::take(&SystemDisk, folder).map_err(ServeError::Journal)?;
        let (statistics, books) = open_statistics(folder.join(STATISTICS_FOLDER))?;
        let (journal, history) = open_journal(taken, config, rules, clock, meters, Box::new(books))?;
        let knows_networks = folder.join(KEY_FILE).exists();
        let pseudonyms = Pseudonyms::open(folder).map_err(ServeError::Key)?;
        let accounts = open_accounts(config, clock.wall())?;
        let token = open_token(config)?;
        let unread = |error| ServeError::History(folder.join(journal::FOLDER), error);
        let policy = remember(rules, clock, history, &statistics).map_err(unread)?;
        let [_, networks, _] = policy.debtors();
        if networks > 0 && !knows_networks {
            warn!(
                networks,
                "{KEY_FILE} was not there and is new: what callers without a key have used is nobody's any more"
            );
        }
        Ok(Self {
            journal,
            accounts,
            token,
            pseudonyms,
            statistics,
            policy,
        })
    }

    /// Writes what is still to be written, and lets go of the folder. Blocks on the disk.
    pub(super) fn close(folder: &Path, journal: &Journal, accounts: &AccountStore) {
        // While the folder is this door's: afterwards it may be the next one's address.
        if let Err(error) = clear_address(folder) {
            warn!(%error, "{ADDRESS_FILE} is left behind, and commands will look for the door there");
        }
        journal.close();
        if let Err(error) = accounts.close() {
            warn!(%error, "the accounts were not closed in good order, the next start will check them");
        }
    }
}

/// Lets commands find the door. Blocks on the disk.
pub(super) fn tell_whereabouts(folder: &Path, admin: SocketAddr) {
    if let Err(error) = leave_address(folder, admin) {
        warn!(%error, "{ADDRESS_FILE} can't be written: commands look for the door where tiers.yaml says");
    }
}

fn open_statistics(folder: PathBuf) -> Result<(Arc<Statistics>, Books), ServeError> {
    Statistics::open(&folder).map_err(|error| ServeError::Statistics(folder, error))
}

fn open_journal(
    taken: Taken,
    config: &Config,
    rules: &Rules,
    clock: Clock,
    meters: Arc<JournalMeters>,
    books: Box<dyn Bookkeeper>,
) -> Result<(Arc<Journal>, History), ServeError> {
    let Pace {
        durability,
        commit_every,
        commit_patience,
    } = pace(config);
    let settings = journal::Settings {
        durability,
        commit_every,
        commit_patience,
        ..journal::Settings::new(clock, Arc::new(move || clock.wall()), meters)
    };
    let opened = Journal::open_in(taken, settings, &rules.windows, vec![books], Arc::new(SystemDisk));
    let (journal, history) = opened.map_err(ServeError::Journal)?;
    Ok((Arc::new(journal), history))
}

/// How the journal commits.
pub(super) fn pace(config: &Config) -> Pace {
    Pace {
        durability: match config.durability {
            config::Durability::Strict => Durability::Strict,
            config::Durability::Relaxed => Durability::Relaxed,
        },
        commit_every: config.commit_every.into(),
        commit_patience: config.commit_patience.into(),
    }
}

/// A policy that knows what callers have used.
fn remember(rules: &Arc<Rules>, clock: Clock, history: History, statistics: &Statistics) -> io::Result<Policy> {
    let began = clock.now();
    let mut policy = Policy::new(Arc::clone(rules));
    policy.follow_clock(clock.wall(), began, CLOCK_STEP_MAX_DEFAULT);
    let debits = history.restore(&mut policy, began, |entry, segment| statistics.replayed(entry, segment))?;
    let took = clock.now().since(began);
    info!(debits, %took, "what callers have used is read back");
    Ok(policy)
}

fn open_accounts(config: &Config, now: UnixTime) -> Result<Arc<AccountStore>, ServeError> {
    let file = config.data_dir.join(ACCOUNTS_FILE);
    let opened = AccountStore::open(&file, &listed(config), config.blocked_networks.clone(), now);
    let store = Arc::new(opened.map_err(|error| ServeError::Accounts(file, error))?);
    tell_of_lost_tiers(&config.rules, store.directory());
    Ok(store)
}

/// The accounts that the file lists.
pub(super) fn listed(config: &Config) -> Vec<Listed> {
    let listed = |account: &config::Account| Listed {
        name: account.name.clone(),
        tier: config.rules.tier(account.tier).name.to_string(),
        keys: account.key_sha256.clone(),
    };
    config.accounts.iter().map(listed).collect()
}

/// The operator's token: that of [`TOKEN_VARIABLE`], or that which the configuration names, or that of the file in the data
/// folder, which is made if it isn't there.
pub(super) fn open_token(config: &Config) -> Result<AdminToken, ServeError> {
    let in_file = |file: &Path, read: Result<AdminToken, TokenError>| {
        warn_of_others(file, "others may read the operator's token", TOKEN_MODE);
        read
    };
    let given = match (std::env::var_os(TOKEN_VARIABLE), &config.admin.token) {
        (Some(_), _) => AdminToken::in_variable(TOKEN_VARIABLE),
        (None, Some(TokenSource::Variable(name))) => AdminToken::in_variable(name),
        (None, Some(TokenSource::File(file))) => in_file(file, AdminToken::read(file)),
        (None, None) => {
            let file = config.data_dir.join(TOKEN_FILE);
            let read = AdminToken::read_or_make(&file);
            in_file(&file, read)
        }
    };
    given.map_err(ServeError::Token)
}

/// What was there before the door may have any mode. It may be meant so, and is left as it is.
fn warn_of_others(path: &Path, what: &str, right: u32) {
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & OTHERS != 0 {
        warn!(path = %path.display(), "{what} (mode {mode:o}): chmod {right:o}");
    }
}

/// Accounts whose tier was taken out of the file have the anonymous tier's terms, which their owners will notice.
pub(super) fn tell_of_lost_tiers(rules: &Rules, directory: &Directory) {
    let is_tier = |name: &str| rules.tiers.iter().any(|tier| *tier.name == *name);
    let Lost { accounts, count } = directory.lost(is_tier, NAMED_MAX);
    if count == 0 {
        return;
    }
    let name = |account: &Arc<Account>| format!("{} ({})", account.name, account.tier);
    let named: Vec<String> = accounts.iter().map(name).collect();
    warn!(
        count,
        accounts = named.join(", "),
        "accounts of tiers that tiers.yaml has not: they have the anonymous tier's terms; \
         `tiergate account list` shows each account's tier"
    );
}
