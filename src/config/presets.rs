//! Whole configurations that come with the program: each is one of the systems whose rules the door must be able to follow, as
//! a complete tiers.yaml. They lie in `examples/presets/`, to be read and copied.

use std::fmt;

use super::secret::without_credentials;
use super::upstreams::server_at;
use super::{Config, ConfigErrors};

/// A tiers.yaml that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// What the file says.
    pub text: &'static str,
}

/// All of them.
pub const PRESETS: [Preset; 5] = [
    Preset {
        name: "trace-moe",
        text: include_str!("../../examples/presets/trace-moe.yaml"),
    },
    Preset {
        name: "shotit",
        text: include_str!("../../examples/presets/shotit.yaml"),
    },
    Preset {
        name: "anilist",
        text: include_str!("../../examples/presets/anilist.yaml"),
    },
    Preset {
        name: "amvstrm",
        text: include_str!("../../examples/presets/amvstrm.yaml"),
    },
    Preset {
        name: "bags",
        text: include_str!("../../examples/presets/bags.yaml"),
    },
];

impl Preset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }

    /// What it says.
    ///
    /// # Errors
    /// None, or the program was built with a file that is wrong.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        Config::parse(&format!("{}.yaml", self.name), self.text.as_bytes())
    }
}

/// Why an upstream can't lead where it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Astray {
    /// What was given is no URL of a server.
    NoUrl(String),
    /// There is no upstream of that name: these there are.
    NoUpstream(String, Vec<String>),
}

impl fmt::Display for Astray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl(given) => write!(
                f,
                "{} is no URL of a server: write http://host or http://host:port",
                without_credentials(given)
            ),
            Self::NoUpstream(name, known) => write!(f, "there is no upstream {name}: there is {}", known.join(", ")),
        }
    }
}

impl std::error::Error for Astray {}

impl Config {
    /// Lets the upstream of that name lead to the server at that URL alone, or every upstream if none is named. The server has
    /// as many slots as all that were there before.
    ///
    /// # Errors
    /// There is no such upstream, or that is no URL.
    pub fn lead(&mut self, upstream: Option<&str>, url: &str) -> Result<(), Astray> {
        let is_meant = |name: &str| upstream.is_none_or(|meant| meant == name);
        if let Some(meant) = upstream
            && !self.upstreams.iter().any(|upstream| is_meant(&upstream.name))
        {
            let known = self.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
            return Err(Astray::NoUpstream(meant.to_owned(), known));
        }
        for (upstream, pool) in self.upstreams.iter_mut().zip(self.rules.pools.iter_mut()) {
            if is_meant(&upstream.name) {
                let server = server_at(url, pool.slots()).ok_or_else(|| Astray::NoUrl(url.to_owned()))?;
                upstream.servers = vec![server];
                *pool = upstream.rules();
            }
        }
        Ok(())
    }
}
