//! What a command line says instead of the file, for one run of the door. A file that is saved meanwhile is read with it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Config;
use super::presets::Astray;

/// What is said instead of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Where upstreams lead: `URL`, which is said of all, at most once, and `NAME=URL`, at most once of each.
    pub upstreams: Vec<String>,
    /// The public address.
    pub listen: Option<SocketAddr>,
    /// The operator's address.
    pub admin: Option<SocketAddr>,
    /// The folder of what must survive.
    pub data_dir: Option<PathBuf>,
}

/// What is said instead doesn't fit the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// An upstream can't lead there.
    Upstream(Astray),
    /// It is said twice where this upstream leads, or all of them if it has no name.
    Twice(Option<String>),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(error) => write!(f, "--upstream: {error}"),
            Self::Twice(None) => {
                f.write_str("--upstream URL is given twice: write NAME=URL to lead each upstream elsewhere")
            }
            Self::Twice(Some(name)) => write!(f, "--upstream {name}=URL is given twice"),
        }
    }
}

impl std::error::Error for Misfit {}

impl Overrides {
    /// The configuration with what is said instead.
    ///
    /// # Errors
    /// It doesn't fit the file.
    pub fn apply(&self, mut config: Config) -> Result<Config, Misfit> {
        // What is said of all comes before what is said of one.
        let given = self.upstreams.iter().map(|given| named(given));
        let (all, one): (Vec<_>, Vec<_>) = given.partition(|(name, _)| name.is_none());
        let mut said: Vec<Option<&str>> = Vec::new();
        for (name, url) in all.into_iter().chain(one) {
            if said.contains(&name) {
                return Err(Misfit::Twice(name.map(str::to_owned)));
            }
            said.push(name);
            config.lead(name, url).map_err(Misfit::Upstream)?;
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin.listen = self.admin.unwrap_or(config.admin.listen);
        config.data_dir = self.data_dir.clone().unwrap_or(config.data_dir);
        Ok(config)
    }
}

/// `NAME=URL` or `URL`.
fn named(given: &str) -> (Option<&str>, &str) {
    match given.split_once('=') {
        Some((name, url)) if !name.contains(':') => (Some(name), url),
        _ => (None, given),
    }
}
