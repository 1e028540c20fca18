//! What a server has in its data folder, opened in order: the database, who has an account, the operator's token.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::ServeError;
use crate::clock::Clock;
use crate::config::{self, Config, TokenSource};
use crate::gate::CLOCK_STEP_MAX_DEFAULT;
use crate::policy::Policy;
use crate::policy::rules::Rules;
use crate::policy::time::UnixTime;
use crate::store::{
    ADDRESS_FILE, Account, AccountStore, AdminToken, DataDir, Database, Directory, Durability, History, KEY_FILE,
    Listed, Lost, OldData, OpenError, Pace, Pseudonyms, Restored, Settings, TOKEN_FILE, TOKEN_VARIABLE, TokenError,
    clear_address, leave_address,
};
use crate::telemetry::DatabaseMeters;

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

/// Accounts of a tier that there isn't which the log names.
const NAMED_MAX: usize = 20;

/// All that lies in the data folder, open.
pub(super) struct Opened {
    pub(super) database: Arc<Database>,
    pub(super) accounts: Arc<AccountStore>,
    /// The operator's.
    pub(super) token: AdminToken,
    pub(super) pseudonyms: Pseudonyms,
    /// With everything that callers have used.
    pub(super) policy: Policy,
}

impl Opened {
    /// Opens the folder, or makes it, and reads back what callers have used. Blocks on the disk.
    ///
    /// # Errors
    /// The folder is in use, its database is missing, damaged, another's or of a newer version, or the system refuses something.
    pub(super) fn open(
        config: &Config,
        rules: &Arc<Rules>,
        clock: Clock,
        meters: Arc<DatabaseMeters>,
        old_data: OldData,
    ) -> Result<Self, ServeError> {
        let folder = &config.data_dir;
        let dir = DataDir::take(folder).map_err(ServeError::Database)?;
        warn_of_others(folder, "others may look into the data folder", FOLDER_MODE);
        if old_data == OldData::SetAside {
            set_aside(&dir, clock.wall()).map_err(ServeError::Database)?;
        }
        // Before anything is made beside it: it may not be this folder's.
        let database = open_database(dir, config, rules, clock, meters).map_err(ServeError::Database)?;
        let knows_networks = folder.join(KEY_FILE).exists();
        let pseudonyms = Pseudonyms::open(folder).map_err(ServeError::Key)?;
        let accounts = open_accounts(config, &database, clock.wall())?;
        let token = open_token(config)?;
        let policy = restore(rules, clock, &database)?;
        let [_, networks, _] = policy.debtors();
        if networks > 0 && !knows_networks {
            warn!(
                networks,
                "{KEY_FILE} was not there and is new: what callers without a key have used is nobody's any more"
            );
        }
        Ok(Self {
            database,
            accounts,
            token,
            pseudonyms,
            policy,
        })
    }

    /// Writes what is still to be written, and lets go of the folder. Blocks on the disk.
    pub(super) fn close(folder: &Path, database: &Database) {
        // While the folder is this server's: afterwards it may be the next one's address.
        if let Err(error) = clear_address(folder) {
            warn!(%error, "{ADDRESS_FILE} is left behind, and commands will look for the server there");
        }
        database.close();
    }
}

fn set_aside(dir: &DataDir, now: UnixTime) -> Result<(), OpenError> {
    if let Some(aside) = dir.set_aside(now)? {
        warn!(aside = %aside.display(), "starting with an empty database; the old one was moved aside");
    }
    Ok(())
}

/// Lets commands find the door. Blocks on the disk.
pub(super) fn tell_whereabouts(folder: &Path, admin: SocketAddr) {
    if let Err(error) = leave_address(folder, admin) {
        warn!(%error, "{ADDRESS_FILE} can't be written: commands look for the door where tiers.yaml says");
    }
}

fn open_database(
    dir: DataDir,
    config: &Config,
    rules: &Rules,
    clock: Clock,
    meters: Arc<DatabaseMeters>,
) -> Result<Arc<Database>, OpenError> {
    let Pace {
        durability,
        commit_every,
        commit_patience,
    } = pace(config);
    let settings = Settings {
        durability,
        commit_every,
        commit_patience,
        ..Settings::new(clock, Arc::new(move || clock.wall()), meters)
    };
    Database::open(dir, settings, rules.windows.iter(), history(config)).map(Arc::new)
}

/// How long finished jobs are kept.
pub(super) fn history(config: &Config) -> History {
    History {
        keep: config.history.keep.into(),
        max: config.history.max,
    }
}

/// How the ledger commits.
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
fn restore(rules: &Arc<Rules>, clock: Clock, database: &Database) -> Result<Policy, ServeError> {
    let began = clock.now();
    let mut policy = Policy::new(Arc::clone(rules));
    policy.follow_clock(clock.wall(), began, CLOCK_STEP_MAX_DEFAULT);
    let restored = database.restore(&mut policy, began);
    let Restored { debits, future } = restored.map_err(ServeError::Restore)?;
    let took = clock.now().since(began);
    info!(debits, %took, "quota usage restored");
    if future > 0 {
        warn!(
            jobs = future,
            "jobs are recorded with dates in the future: they count as of now; is the clock right?"
        );
    }
    Ok(policy)
}

fn open_accounts(config: &Config, database: &Arc<Database>, now: UnixTime) -> Result<Arc<AccountStore>, ServeError> {
    let (listed, blocked) = (listed(config), config.blocked_networks.clone());
    let opened = AccountStore::open(Arc::clone(database), &listed, blocked, now);
    let store = Arc::new(opened.map_err(ServeError::Accounts)?);
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
