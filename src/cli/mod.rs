//! The commands for operators.
//!
//! `account`, `key`, `network`, `reload` and `status` ask the running server by its admin API, to which `client` is the way;
//! `transfer` are imports and exports. `usage`, `jobs`, `audit`, `backup` and `db` read the database themselves, whether a server
//! runs or not (`data` says how they find it); `restore` alone writes, and only while no server runs. `check`, `tiers` and
//! `schema` tell of a tiers.yaml, and `diff` asks a server only to compare with what it does. `limits` and `table` are how people
//! write and see what is in answers. There are no prompts: commands are run by scripts.

pub mod account;
mod account_fields;
mod account_list;
pub mod audit;
pub mod backup;
pub mod check;
mod client;
mod data;
pub mod db;
pub mod diff;
pub mod jobs;
pub mod key;
mod limits;
pub mod network;
mod progress;
pub mod reload;
pub mod schema;
pub mod status;
mod table;
pub mod tiers;
mod transfer;
pub mod usage;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::config::ConfigErrors;
use crate::store::backup::BackupError;
use crate::store::{KeyError, OpenError, ReadError, TokenError};

/// Which door, and how its answers are shown.
#[derive(Debug, Args)]
pub struct Target {
    /// The door's tiers.yaml: it says where the data folder is, the admin listener and the token
    #[arg(long, global = true, value_name = "FILE", default_value = "tiers.yaml")]
    config: PathBuf,
    /// The data folder that the running door has, if not the one that tiers.yaml says: the door has written there where it listens
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the door's admin listener is, if neither its data folder nor tiers.yaml says so
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = host_and_port)]
    admin: Option<String>,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

/// What an edit of these two does to commands.
const MOVED: &str = "An edited `data_dir` or `admin.listen` holds only after a restart: until then --data-dir DIR names the folder that the \
                     running door still has";

/// An address of this machine, at which to listen: an IP address and a port.
///
/// # Errors
/// It is none, with what to write.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("write an IP address and a port, such as {}", example(text)))
}

/// Where to ask: a name or an IP address, and a port.
fn host_and_port(text: &str) -> Result<String, String> {
    let legal = text.parse::<SocketAddr>().is_ok()
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()
        });
    match legal {
        true => Ok(text.to_owned()),
        false => Err(format!("write host:port, such as {}", example(text))),
    }
}

/// An address as it is written, with the port that was given if one was.
fn example(given: &str) -> String {
    let port = given.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    format!("127.0.0.1:{}", port.unwrap_or(9090))
}

/// Why a command has not done what it should.
#[derive(Debug)]
pub enum CliError {
    /// tiers.yaml is wrong or not there; and what to do.
    Config(ConfigErrors, String),
    /// The files that are to be compared are wrong or not there.
    Files(Vec<ConfigErrors>),
    /// There is no token to show.
    Token(TokenError),
    /// Nobody answers at that address.
    NoDoor(String, io::Error),
    /// No door has written into that data folder where it is.
    NoAddress(PathBuf),
    /// The answer did not come, or is none of a door's: what happened.
    NoAnswer(String, String),
    /// The door said no.
    Refused {
        /// For people: what it said, and what to do.
        said: String,
        /// Its answer's body, as it came.
        body: Value,
    },
    /// The file, or standard input, can't be read.
    Input(String, io::Error),
    /// The database can't be opened.
    Open(OpenError),
    /// The database can't be read.
    Read(ReadError),
    /// The key under which addresses and users are hashed can't be read.
    Key(KeyError),
    /// There is no backup, or none was put back.
    Backup(BackupError),
    /// What was given can't be used.
    Unfit(String),
    /// A network was unblocked, and is blocked as a part of others: which one, and which they are.
    StillBlocked(String, String),
    /// Standard output can't be written.
    Output(io::Error),
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors, advice) => write!(f, "{errors}\n{advice}"),
            Self::Files(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("\n\n"))
            }
            Self::Token(error @ TokenError::Unfit(_)) => write!(f, "error: {error}"),
            Self::Token(error @ TokenError::NotSet(_)) => {
                write!(
                    f,
                    "error: {error}; set it, or put the token into {}",
                    crate::store::TOKEN_VARIABLE
                )
            }
            Self::Token(error) => write!(
                f,
                "error: {error}\nThe door makes the file when it is first started; start it with `tiergate serve`, or put the token \
                 into {}\n{MOVED}",
                crate::store::TOKEN_VARIABLE
            ),
            Self::NoDoor(address, error) => write!(
                f,
                "error: no door is running at {address} ({error}); start it with `tiergate serve`, or say where it is with --admin \
                 HOST:PORT\n{MOVED}"
            ),
            Self::NoAddress(folder) => write!(
                f,
                "error: no door is running on the data folder {}; start it with `tiergate serve`, or say where it is with --admin \
                 HOST:PORT",
                folder.display()
            ),
            Self::NoAnswer(address, what) => write!(
                f,
                "error: {address} does not answer as a door does ({what}); is it the admin listener?"
            ),
            Self::Refused { said, .. } => write!(f, "error: {said}"),
            Self::Input(from, error) => write!(f, "error: can't read {from}: {error}"),
            Self::Open(error) => write!(f, "error: {error}"),
            Self::Backup(error) => write!(f, "error: {error}"),
            Self::Read(error) => write!(
                f,
                "error: can't read the database ({error}); `tiergate db verify` checks whether it is whole"
            ),
            Self::Key(error) => write!(
                f,
                "error: {error}; addresses and users are found by that key alone: is it the right data folder?"
            ),
            Self::Unfit(what) => write!(f, "error: {what}"),
            Self::StillBlocked(network, by) => write!(
                f,
                "error: {network} is blocked still, as a part of {by}: unblock that, or take it out of tiers.yaml if it is listed there"
            ),
            Self::Output(error) => write!(f, "error: can't write the answer: {error}"),
        }
    }
}

impl std::error::Error for CliError {}

impl CliError {
    /// For programs: the door's own words, or `{ "error", "reason" }` as it would say it.
    pub fn to_json(&self) -> Value {
        let reason = match self {
            Self::Refused { body, .. } => return body.clone(),
            Self::Config(..) | Self::Files(_) => "bad_config",
            Self::Token(_) => "no_token",
            Self::NoDoor(..) | Self::NoAddress(_) => "no_door",
            Self::NoAnswer(..) => "no_answer",
            Self::Input(..) => "unreadable",
            Self::Open(OpenError::InUse { .. }) | Self::Backup(BackupError::InUse(_)) => "in_use",
            Self::Backup(BackupError::Exists(_)) => "exists",
            Self::Backup(BackupError::Used(_)) => "used",
            Self::Backup(BackupError::Unfit(..)) => "unfit_backup",
            Self::Backup(_) => "no_backup",
            Self::Open(OpenError::Unused { .. } | OpenError::Missing { .. }) => "no_database",
            Self::Open(OpenError::Damaged { .. }) => "damaged",
            Self::Open(OpenError::Foreign { .. }) => "foreign",
            Self::Open(OpenError::Newer { .. }) => "newer",
            Self::Open(OpenError::Outdated { .. }) => "outdated",
            Self::Open(OpenError::Disk { .. }) | Self::Read(_) | Self::Key(_) => "unreadable",
            Self::Unfit(_) => "unfit",
            Self::StillBlocked(..) => "still_blocked",
            Self::Output(_) => "unwritable",
        };
        let text = self.to_string();
        let error = text.strip_prefix("error: ").unwrap_or(&text);
        json!({ "error": error, "reason": reason })
    }
}

/// Whoever reads an answer and goes has seen enough of it. Not so of a key, which is shown once.
fn unless_enough(done: Result<(), CliError>) -> Result<(), CliError> {
    match done {
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

impl From<TokenError> for CliError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Open(error) => Self::Open(error),
            error => Self::Backup(error),
        }
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (given, advice) in [
            ("19999", "write host:port, such as 127.0.0.1:19999"),
            (":19999", "write host:port, such as 127.0.0.1:19999"),
            ("localhost", "write host:port, such as 127.0.0.1:9090"),
            ("http://localhost:1", "write host:port, such as 127.0.0.1:1"),
            ("::1", "write host:port, such as 127.0.0.1:1"),
            ("a:99999", "write host:port, such as 127.0.0.1:9090"),
        ] {
            assert_eq!(
                host_and_port(given).as_deref().map_err(String::as_str),
                Err(advice),
                "{given}"
            );
        }
        for right in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "localhost:9090",
            "door_1.example-a.org:1",
        ] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
        let advice = "write an IP address and a port, such as 127.0.0.1:18180";
        assert_eq!(address("18180"), Err(advice.to_owned()));
        assert!(address("localhost:1").is_err() && address("[::]:80").is_ok());
    }
}
