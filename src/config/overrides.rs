//! Overrides from the command line, for one run of the server. They also apply to reloaded files.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Config;
use super::secret::without_credentials;
use super::upstreams::server_at;

/// Overrides of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The servers of upstreams: `URL` for all, at most once, and `NAME=URL`, at most once each.
    pub upstreams: Vec<String>,
    /// The public address.
    pub listen: Option<SocketAddr>,
    /// The admin address.
    pub admin: Option<SocketAddr>,
    /// The data folder.
    pub data_dir: Option<PathBuf>,
}

/// An override that doesn't fit the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideError {
    /// Not the URL of a server.
    NoUrl(String),
    /// Unknown upstream: the known ones.
    NoUpstream(String, Vec<String>),
    /// Two overrides for this upstream, or for all of them if it has no name.
    Twice(Option<String>),
}

impl fmt::Display for OverrideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("--upstream")?;
        match self {
            Self::NoUrl(given) => {
                let given = without_credentials(given);
                write!(
                    f,
                    ": {given} is not a server URL: write http://host or http://host:port"
                )
            }
            Self::NoUpstream(name, known) => {
                write!(f, ": there is no upstream {name}, only {}", known.join(", "))
            }
            Self::Twice(None) => f.write_str(" URL is given twice: write NAME=URL to set each upstream's"),
            Self::Twice(Some(name)) => write!(f, " {name}=URL is given twice"),
        }
    }
}

impl std::error::Error for OverrideError {}

impl Overrides {
    /// Applies the overrides to the configuration.
    ///
    /// # Errors
    /// An override doesn't fit the file.
    pub fn apply(&self, mut config: Config) -> Result<Config, OverrideError> {
        // An override for all comes before those for one.
        let given = self.upstreams.iter().map(|given| named(given));
        let (all, one): (Vec<_>, Vec<_>) = given.partition(|(name, _)| name.is_none());
        let mut said: Vec<Option<&str>> = Vec::new();
        for (name, url) in all.into_iter().chain(one) {
            if said.contains(&name) {
                return Err(OverrideError::Twice(name.map(str::to_owned)));
            }
            said.push(name);
            config.lead(name, url)?;
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin.listen = self.admin.unwrap_or(config.admin.listen);
        config.data_dir = self.data_dir.clone().unwrap_or(config.data_dir);
        Ok(config)
    }
}

impl Config {
    /// Replaces the servers of that upstream, or of every upstream, by the server at that URL. It gets as many slots as all
    /// servers before.
    ///
    /// # Errors
    /// There is no such upstream, or the URL is invalid.
    pub fn lead(&mut self, upstream: Option<&str>, url: &str) -> Result<(), OverrideError> {
        let is_meant = |name: &str| upstream.is_none_or(|meant| meant == name);
        if let Some(meant) = upstream
            && !self.upstreams.iter().any(|upstream| is_meant(&upstream.name))
        {
            let known = self.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
            return Err(OverrideError::NoUpstream(meant.to_owned(), known));
        }
        for (upstream, pool) in self.upstreams.iter_mut().zip(self.rules.upstreams.iter_mut()) {
            if is_meant(&upstream.name) {
                let server = server_at(url, pool.slots()).ok_or_else(|| OverrideError::NoUrl(url.to_owned()))?;
                upstream.servers = vec![server];
                *pool = upstream.rules();
            }
        }
        Ok(())
    }
}

/// `NAME=URL` or `URL`.
fn named(given: &str) -> (Option<&str>, &str) {
    match given.split_once('=') {
        Some((name, url)) if !name.contains(':') => (Some(name), url),
        _ => (None, given),
    }
}
