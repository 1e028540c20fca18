//! Opens the data folder in order: the database, the accounts, the operator's token.

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
    ADDRESS_FILE, Account, AccountStore, AccountsWithoutTier, AdminToken, CommitSettings, DataDir, Database,
    DeclaredAccount, Directory, DrainedServers, Durability, History, KEY_FILE, LedgerSettings, OldData, OpenError,
    Pseudonyms, RestoredUsage, TOKEN_FILE, TOKEN_VARIABLE, TokenError, clear_address, leave_address,
};
use crate::telemetry::DatabaseMeters;

/// Mode of `data_dir`: private to its owner.
const FOLDER_MODE: u32 = 0o700;

/// A token that tiers.yaml accepts is one that the server can use.
const _: () = {
    let (read, used) = (config::TOKEN_CHARS, crate::store::TOKEN_CHARS);
    assert!(*read.start() == *used.start() && *read.end() == *used.end());
};

/// Mode of the operator's token.
const TOKEN_MODE: u32 = 0o600;

/// The mode bits of group and others.
const OTHERS: u32 = 0o077;

/// How many accounts without a tier the log names.
const NAMED_MAX: usize = 20;

/// The opened content of the data folder.
pub(super) struct Opened {
    pub(super) database: Arc<Database>,
    pub(super) accounts: Arc<AccountStore>,
    pub(super) drained: Arc<DrainedServers>,
    /// The operator's.
    pub(super) token: AdminToken,
    pub(super) pseudonyms: Pseudonyms,
    /// With quota usage restored.
    pub(super) policy: Policy,
}

impl Opened {
    /// Opens or creates the folder, and restores quota usage. Blocks on the disk.
    ///
    /// # Errors
    /// The folder is in use, its database is missing, damaged, foreign or of a newer version, or an I/O error occurs.
    pub(super) fn open(
        config: &Config,
        rules: &Arc<Rules>,
        clock: Clock,
        meters: Arc<DatabaseMeters>,
        old_data: OldData,
    ) -> Result<Self, ServeError> {
        let folder = &config.data_dir;
        let dir = DataDir::take(folder).map_err(ServeError::Database)?;
        warn_of_others(folder, "the data folder is accessible to other users", FOLDER_MODE);
        if old_data == OldData::SetAside {
            set_aside(&dir, clock.wall()).map_err(ServeError::Database)?;
        }
        // First, before files are created beside it: the database may not belong to this folder.
        let database = open_database(dir, config, rules, clock, meters).map_err(ServeError::Database)?;
        let knows_networks = folder.join(KEY_FILE).exists();
        let pseudonyms = Pseudonyms::open(folder).map_err(ServeError::Key)?;
        let accounts = open_accounts(config, &database, clock.wall())?;
        let drained = DrainedServers::open(Arc::clone(&database)).map_err(ServeError::Drained)?;
        let token = open_token(config)?;
        let policy = restore(rules, clock, &database)?;
        let [_, networks, _] = policy.debtors();
        if networks > 0 && !knows_networks {
            warn!(
                networks,
                "{KEY_FILE} was missing and has been created: the usage of callers without a key can no longer be attributed"
            );
        }
        Ok(Self {
            database,
            accounts,
            drained: Arc::new(drained),
            token,
            pseudonyms,
            policy,
        })
    }

    /// Flushes pending writes, and releases the folder. Blocks on the disk.
    pub(super) fn close(folder: &Path, database: &Database) {
        // While this server still owns the folder: later the address may be the next server's.
        if let Err(error) = clear_address(folder) {
            warn!(%error, "can't remove {ADDRESS_FILE}: commands will look for the server there");
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

/// Records the admin address for commands. Blocks on the disk.
pub(super) fn record_admin_address(folder: &Path, admin: SocketAddr) {
    if let Err(error) = leave_address(folder, admin) {
        warn!(%error, "can't write {ADDRESS_FILE}: commands use the admin address in tiers.yaml");
    }
}

fn open_database(
    dir: DataDir,
    config: &Config,
    rules: &Rules,
    clock: Clock,
    meters: Arc<DatabaseMeters>,
) -> Result<Arc<Database>, OpenError> {
    let CommitSettings {
        durability,
        commit_every,
        commit_patience,
    } = commit_settings(config);
    let settings = LedgerSettings {
        durability,
        commit_every,
        commit_patience,
        ..LedgerSettings::new(clock, Arc::new(move || clock.wall()), meters)
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
pub(super) fn commit_settings(config: &Config) -> CommitSettings {
    CommitSettings {
        durability: match config.durability {
            config::DurabilitySetting::Strict => Durability::Strict,
            config::DurabilitySetting::Relaxed => Durability::Relaxed,
        },
        commit_every: config.commit_every.into(),
        commit_patience: config.commit_patience.into(),
    }
}

/// A policy with quota usage restored.
fn restore(rules: &Arc<Rules>, clock: Clock, database: &Database) -> Result<Policy, ServeError> {
    let began = clock.now();
    let mut policy = Policy::new(Arc::clone(rules));
    policy.follow_clock(clock.wall(), began, CLOCK_STEP_MAX_DEFAULT);
    let restored = database.restore(&mut policy, began);
    let RestoredUsage { debits, future } = restored.map_err(ServeError::Restore)?;
    let took = clock.now().since(began);
    info!(debits, %took, "quota usage restored");
    if future > 0 {
        warn!(
            jobs = future,
            "jobs recorded with dates in the future count as of now; check the system clock"
        );
    }
    Ok(policy)
}

fn open_accounts(config: &Config, database: &Arc<Database>, now: UnixTime) -> Result<Arc<AccountStore>, ServeError> {
    let (declared, blocked) = (declared(config), config.blocked_networks.clone());
    let opened = AccountStore::open(Arc::clone(database), &declared, blocked, now);
    let store = Arc::new(opened.map_err(ServeError::Accounts)?);
    warn_of_missing_tiers(&config.rules, store.directory());
    Ok(store)
}

/// The accounts that the file lists.
pub(super) fn declared(config: &Config) -> Vec<DeclaredAccount> {
    let declared = |account: &config::AccountSection| DeclaredAccount {
        name: account.name.clone(),
        tier: config.rules.tier(account.tier).name.to_string(),
        keys: account.key_sha256.clone(),
    };
    config.accounts.iter().map(declared).collect()
}

/// The operator's token: from [`TOKEN_VARIABLE`], or from the source in the configuration, or from the file in the data folder,
/// which is created if missing.
pub(super) fn open_token(config: &Config) -> Result<AdminToken, ServeError> {
    let in_file = |file: &Path, read: Result<AdminToken, TokenError>| {
        warn_of_others(file, "the operator's token is readable by other users", TOKEN_MODE);
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

/// Existing files may have any mode; it may be intended, so they are left as they are.
fn warn_of_others(path: &Path, what: &str, right: u32) {
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & OTHERS != 0 {
        warn!(path = %path.display(), "{what} (mode {mode:o}): chmod {right:o}");
    }
}

/// Warns of accounts whose tier is no longer in the file: they get the anonymous tier's terms.
pub(super) fn warn_of_missing_tiers(rules: &Rules, directory: &Directory) {
    let is_tier = |name: &str| rules.tiers.iter().any(|tier| *tier.name == *name);
    let AccountsWithoutTier { accounts, count } = directory.without_tier(is_tier, NAMED_MAX);
    if count == 0 {
        return;
    }
    let name = |account: &Arc<Account>| format!("{} ({})", account.name, account.tier);
    let named: Vec<String> = accounts.iter().map(name).collect();
    warn!(
        count,
        accounts = named.join(", "),
        "accounts with tiers that are not in tiers.yaml have the anonymous tier's terms; \
         `tiergate account list` shows each account's tier"
    );
}
