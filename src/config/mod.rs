//! Parses tiers.yaml to a validated [`Config`], or reports every error with its line and what to do, and everything legal but
//! unwise ([`check`]). A `Config` is always valid.
//!
//! Each section has a file and one struct: `scalar` reads its fields' types, its doc comments and bounds become the schema, its
//! defaults stand beside the fields. `de` reads the structs from the tree and collects problems with their locations; `entries`
//! are lists and names, `value` reads single values; `prelude` exports these to the sections. `document` is the whole file and
//! checks across sections, `lint` warns, `diff` compares two files, `presets` are complete files that ship with the program. Only
//! `yaml` uses the YAML crate; `environment` looks up the variables and files that the document names; `relative` resolves relative paths. `grammar`
//! derives the legal fields from the schema; `secret` and `snippet` use it to keep keys out of messages.

mod access_log;
mod accounts;
mod admin;
mod answers;
mod bodies;
mod de;
pub mod diff;
mod document;
mod entries;
mod environment;
mod error;
mod grammar;
mod history;
mod limits;
mod lint;
mod listener;
mod overrides;
mod prelude;
pub mod presets;
mod quotas;
mod readyz;
mod relative;
mod routes;
mod scalar;
pub mod schema;
mod secret;
mod shown;
mod snippet;
mod suggest;
mod tiers;
mod upstreams;
mod value;

pub mod words;
mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access_log::{AccessLogFormat, AccessLogSection, LogAddresses, Logged};
pub use accounts::{ACCOUNTS_MAX, AccountSection, KEYS_PER_ACCOUNT_MAX};
pub use admin::{AdminSection, TOKEN_CHARS, TokenSource};
pub use answers::Answer;
pub use bodies::BodiesSection;
pub use document::Config;
pub use environment::{Environment, Nothing, System};
pub use error::{Checked, ConfigErrors, Diagnostic, Diagnostics, Ink, Inks, SHOWN_PROBLEMS_MAX, Severity, SourceSpan};
pub use history::HistorySection;
pub use limits::{LimitHeaders, LimitRoute};
pub use listener::{ConnectionsSection, Cors, ForwardedHeaderSetting, KeysSection, Origins, Paths};
pub use overrides::{OverrideError, Overrides};
pub use quotas::{QUOTAS_PER_TIER_MAX, WINDOWS_MAX};
pub use readyz::{ReadyzSection, ReadyzUpstreams};
pub use routes::{MAX_BODY_DEFAULT, OnHangupSetting, ROUTES_MAX, RouteSection};
pub use shown::document;
pub use snippet::Excerpt;
pub use tiers::TIERS_MAX;
pub use upstreams::{HealthSection, SERVERS_MAX, ServerConfig, UPSTREAMS_MAX, UpstreamSection};
pub use value::{DURATION_MAX, length_of_time};

use environment::EnvContext;
use error::Report;
use relative::{folder_of, is_descriptor};
use secret::References;
use snippet::Lines;

/// The longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The longest path of a folder, in bytes.
const DATA_DIR_BYTES_MAX: usize = 4096;
/// The longest name of a tier, upstream or account, in ASCII characters.
pub const NAME_CHARS_MAX: usize = 64;

/// How operators reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    /// The admin listener, and the token's source.
    pub admin: AdminSection,
    /// The folder of the token otherwise.
    pub data_dir: PathBuf,
}

/// Whether an answer waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DurabilitySetting {
    /// An answer ends when its debit is on the disk.
    #[default]
    Strict,
    /// At once; a crash may lose the debits of the last commit_every.
    Relaxed,
}

impl Config {
    /// Loads that file. Variables and files that it names are read from this process's environment. Relative paths start in the
    /// folder of `path`, without following links; in the working directory if `path` is a descriptor, such as `/dev/fd/63`.
    ///
    /// # Errors
    /// The file can't be read, is longer than [`FILE_BYTES_MAX`], or is invalid: then all its errors. A named variable or file
    /// that is missing is an error too.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        read_file(path, &EnvContext::complete(&System, folder_of(path))).into_result()
    }

    /// Loads a file without looking up the variables and files that it names: accounts lack the keys that variables hold.
    ///
    /// # Errors
    /// As [`Self::load`], except for missing variables and files.
    pub fn peek(path: &Path) -> Result<Self, ConfigErrors> {
        read_file(path, &EnvContext::elsewhere(&Nothing, folder_of(path))).into_result()
    }

    /// How operators reach the server of that file, even if other parts of the file are invalid: an operator who asks the server
    /// what is wrong must find it. Variables and files that it names are not looked up.
    ///
    /// # Errors
    /// The file's errors, if these settings are among the invalid ones.
    pub fn operators(path: &Path) -> Result<Operators, ConfigErrors> {
        let checked = read_file(path, &EnvContext::elsewhere(&Nothing, folder_of(path)));
        match checked.operators.clone() {
            Some(operators) => Ok(operators),
            None => checked.into_result().map(|config| Operators {
                admin: config.admin,
                data_dir: config.data_dir,
            }),
        }
    }

    /// Parses those bytes; `name` is what messages call the file. Time and memory are bounded by [`FILE_BYTES_MAX`], whatever
    /// the bytes. There is no environment: naming a variable or a file is an error. Relative paths start in the working directory.
    ///
    /// # Errors
    /// All errors, in the order of their lines.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ConfigErrors> {
        Self::parse_in(name, bytes, &Nothing)
    }

    /// As [`Self::parse`], in that environment.
    ///
    /// # Errors
    /// As [`Self::parse`], or a named variable or file is missing.
    pub fn parse_in(name: &str, bytes: &[u8], environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        read(name, bytes, &EnvContext::complete(environment, Path::new(""))).into_result()
    }

    /// As [`Self::parse_in`], for the present or future content of `file`: relative paths start as for [`Self::load`].
    ///
    /// # Errors
    /// As [`Self::parse_in`].
    pub fn parse_for(
        file: &Path,
        name: &str,
        bytes: &[u8],
        environment: &dyn Environment,
    ) -> Result<Self, ConfigErrors> {
        read(name, bytes, &EnvContext::complete(environment, folder_of(file))).into_result()
    }

    /// Loads two files, the new one as if it had replaced the old one: relative paths in both start in the folder of the old one.
    /// If that is a descriptor, such as `<(git show HEAD:tiers.yaml)`, they start in the folder of the new one.
    ///
    /// # Errors
    /// As [`Self::load`], for each.
    pub fn load_both(old: &Path, new: &Path) -> [Result<Self, ConfigErrors>; 2] {
        let base = if is_descriptor(old) { new } else { old };
        let env = EnvContext::complete(&System, folder_of(base));
        [old, new].map(|path| read_file(path, &env).into_result())
    }
}

/// Reports all errors and warnings. Variables and files that the document names are looked up in that environment; a missing one
/// is a warning, since it may exist where the server runs.
pub fn check(name: &str, bytes: &[u8], environment: &dyn Environment) -> Checked {
    read(name, bytes, &EnvContext::elsewhere(environment, Path::new("")))
}

/// As [`check`], for a file; one that can't be read is an error. Relative paths start as for [`Config::load`].
pub fn check_file(path: &Path, environment: &dyn Environment) -> Checked {
    read_file(path, &EnvContext::elsewhere(environment, folder_of(path)))
}

fn read_file(path: &Path, env: &EnvContext<'_>) -> Checked {
    let name = path.display().to_string();
    match File::open(path).and_then(bytes_of) {
        Ok(bytes) => read(&name, &bytes, env),
        Err(error) => unreadable(&name, &error),
    }
}

/// The warnings about the content of `file`, as [`check`] finds them, for programs.
pub fn warnings(file: &Path, name: &str, bytes: &[u8]) -> serde_json::Value {
    read(name, bytes, &EnvContext::complete(&System, folder_of(file)))
        .diagnostics
        .to_json()
}

/// A file that can't be read.
pub fn unreadable(name: &str, error: &io::Error) -> Checked {
    let message = format!("the file can't be read: {error}");
    Checked::wrong(Diagnostics::of_file(
        name,
        message,
        "see that it exists and may be read",
    ))
}

/// Reads at most one byte more than a file may have, which is enough to recognize one that is too long.
///
/// # Errors
/// It can't be read.
pub fn bytes_of(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(name: &str, bytes: &[u8], env: &EnvContext<'_>) -> Checked {
    let whole = |message: String, advice: &str| Checked::wrong(Diagnostics::of_file(name, message, advice));
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file is longer than {} KiB", FILE_BYTES_MAX >> 10);
        return whole(message, "is it the right file?");
    }
    let mut report = Report::default();
    let broken = |mut report: Report, text: &str, yaml::Broken(place, message, advice): yaml::Broken| {
        report.add(place, message, advice);
        Checked::wrong(report.into_findings(name, Lines::of_text(text)))
    };
    let text = match yaml::text_of(bytes) {
        Ok(text) => text,
        Err((text, why)) => return broken(report, &text, why),
    };
    let root = match yaml::parse(text, &mut report) {
        Ok(Some(root)) if !root.is_null() => root,
        Ok(_) if report.is_empty() => {
            let advice = "begin with the tiers.yaml that comes with tiergate";
            return whole("the file is empty".to_owned(), advice);
        }
        Ok(_) => return Checked::wrong(report.into_findings(name, Lines::of_text(text))),
        Err(why) => return broken(report, text, why),
    };
    secret::mark(&root, References::Shown);
    let config = document::read(&root, env, &mut report);
    Checked {
        operators: document::operators(&root, env),
        config,
        diagnostics: report.into_findings(name, Lines::of_document(text, &root)),
    }
}
