//! The subcommands for operators.
//!
//! `account`, `key`, `network`, `reload`, `status`, `top`, `pause`, `resume`, `admission`, `server` and `job` talk to the running
//! server over its admin API (`client`); `switch` is what the switches among them share, `transfer` holds imports and exports.
//! `usage`, `jobs`, `audit`, `backup` and `db` read the database directly, whether a server runs or not
//! (`data`); `restore` writes it, and only while no server runs. `check`, `tiers` and `schema` need only a tiers.yaml, and `diff`
//! contacts a server only to compare with its running configuration. There are no prompts: commands run in scripts.

pub mod account;
mod account_fields;
mod account_list;
pub mod admission;
pub mod audit;
pub mod backup;
pub mod check;
mod client;
mod data;
pub mod db;
pub mod diff;
pub mod job;
pub mod jobs;
pub mod key;
mod limits;
pub mod network;
pub mod pause;
mod progress;
pub mod reload;
pub mod resume;
pub mod schema;
pub mod server;
pub mod status;
mod switch;
mod table;
pub mod tiers;
pub mod top;
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

/// The heading of the options that say which server, apart from a command's own.
const SERVER_OPTIONS: &str = "Server options";

/// Which server, and the output format.
#[derive(Debug, Args)]
pub struct ServerTarget {
    /// Path to the server's tiers.yaml, which names the data folder, the admin listener and the token
    #[arg(long, global = true, help_heading = SERVER_OPTIONS, value_name = "FILE", default_value = "tiers.yaml")]
    config: PathBuf,
    /// Data folder of the running server, where it records its admin address, if not the one that tiers.yaml names
    #[arg(long, global = true, help_heading = SERVER_OPTIONS, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the server's admin listener, if neither the data folder nor tiers.yaml has it
    #[arg(long, global = true, help_heading = SERVER_OPTIONS, value_name = "HOST:PORT", value_parser = host_and_port)]
    admin: Option<String>,
    /// Print JSON
    #[arg(long, global = true, display_order = 900)]
    json: bool,
}

/// Advice for commands that can't find the server after an edit of these two settings.
const MOVED: &str = "A changed `data_dir` or `admin.listen` takes effect only after a restart: until then pass the folder of the \
                     running server with --data-dir DIR";

/// Parses the IP address and port of a listener.
///
/// # Errors
/// What to write instead.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("write an IP address and a port, such as {}", example(text)))
}

/// Parses the address of a server: a name or an IP address, and a port.
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

/// An example of an address, with the given port if there is one.
fn example(given: &str) -> String {
    let port = given.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    format!("127.0.0.1:{}", port.unwrap_or(9090))
}

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// tiers.yaml is invalid or missing; and what to do.
    Config(ConfigErrors, String),
    /// The files to compare are invalid or missing.
    Files(Vec<ConfigErrors>),
    /// There is no operator token.
    Token(TokenError),
    /// No server listens at that address.
    NotRunning(String, io::Error),
    /// No server has recorded its address in that data folder.
    NoAddress(PathBuf),
    /// The answer did not arrive, or did not come from a tiergate server: what happened.
    NoAnswer(String, String),
    /// The server refused the request.
    Refused {
        /// The message for people: what went wrong, and what to do.
        message: String,
        /// The body of the answer, unchanged.
        body: Value,
    },
    /// The file, or standard input, can't be read.
    Input(String, io::Error),
    /// The database can't be opened.
    Open(OpenError),
    /// The database can't be read.
    Read(ReadError),
    /// The key that hashes addresses and users can't be read.
    Key(KeyError),
    /// The backup or restore failed.
    Backup(BackupError),
    /// The arguments can't be used.
    Unfit(String),
    /// A network was unblocked, but other blocks still cover it: the network, and those blocks.
    StillBlocked(String, String),
    /// Standard output can't be written.
    Output(io::Error),
    /// There is no terminal to draw on: why.
    Terminal(String),
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
                "error: {error}\nThe server creates the file at its first start; start it with `tiergate serve`, or put the \
                 token into {}\n{MOVED}",
                crate::store::TOKEN_VARIABLE
            ),
            Self::NotRunning(address, error) => write!(
                f,
                "error: no server is running at {address} ({error}); start it with `tiergate serve`, or pass its address with \
                 --admin HOST:PORT\n{MOVED}"
            ),
            Self::NoAddress(folder) => write!(
                f,
                "error: no server is running on the data folder {}; start it with `tiergate serve`, or pass its address with \
                 --admin HOST:PORT",
                folder.display()
            ),
            Self::NoAnswer(address, what) => write!(
                f,
                "error: {address} does not answer like a tiergate server ({what}); is it the admin listener?"
            ),
            Self::Refused { message, .. } => write!(f, "error: {message}"),
            Self::Input(from, error) => write!(f, "error: can't read {from}: {error}"),
            Self::Open(error) => write!(f, "error: {error}"),
            Self::Backup(error) => write!(f, "error: {error}"),
            Self::Read(error) => write!(
                f,
                "error: can't read the database ({error}); `tiergate db verify` checks its integrity"
            ),
            Self::Key(error) => write!(
                f,
                "error: {error}; addresses and users can't be looked up without that key: is it the right data folder?"
            ),
            Self::Unfit(what) => write!(f, "error: {what}"),
            Self::StillBlocked(network, by) => write!(
                f,
                "error: {network} is still blocked, as part of {by}: unblock that, or remove it from tiers.yaml if listed there"
            ),
            Self::Output(error) => write!(f, "error: can't write the answer: {error}"),
            Self::Terminal(why) => write!(
                f,
                "error: `tiergate top` needs a terminal: {why}; for a snapshot use `tiergate status` or `tiergate top --json`"
            ),
        }
    }
}

impl std::error::Error for CliError {}

impl CliError {
    /// The error for programs: the server's own answer, or `{ "error", "reason" }` in the same form.
    pub fn to_json(&self) -> Value {
        let reason = match self {
            Self::Refused { body, .. } => return body.clone(),
            Self::Config(..) | Self::Files(_) => "bad_config",
            Self::Token(_) => "no_token",
            Self::NotRunning(..) | Self::NoAddress(_) => "no_door",
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
            Self::Terminal(_) => "no_terminal",
        };
        let text = self.to_string();
        let error = text.strip_prefix("error: ").unwrap_or(&text);
        json!({ "error": error, "reason": reason })
    }
}

/// Ignores EPIPE. Not for a new key, which is shown only once.
fn ignore_broken_pipe(done: Result<(), CliError>) -> Result<(), CliError> {
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
            "proxy_1.example-a.org:1",
        ] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
        let advice = "write an IP address and a port, such as 127.0.0.1:18180";
        assert_eq!(address("18180"), Err(advice.to_owned()));
        assert!(address("localhost:1").is_err() && address("[::]:80").is_ok());
    }
}
