//! The door before the search service. The one file of the demo that uses tiergate; to put the door into a program of your
//! own, this is what to read.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use tiergate::clock::Clock;
use tiergate::config::{Account, Config, Server};
use tiergate::policy::rules::TierId;
use tiergate::server::{self, ServeError, Sockets};
use tiergate::store::{AdminToken, OldData, TOKEN_FILE};

/// The header that a key travels in; it is one of those that the repository's tiers.yaml names.
pub const KEY_HEADER: &str = "x-api-key";

/// A sponsor who exists for as long as the demo runs.
pub struct Sponsor {
    /// The name of the tier.
    pub tier: String,
    /// Searches that the tier allows at once.
    pub concurrency: u32,
    /// The API key, made when the demo starts. The door knows only its hash.
    pub key: String,
}

/// What is to be changed in a tiers.yaml before the door opens.
pub struct Addresses {
    /// Where searches come in.
    pub listen: SocketAddr,
    /// Where the operator looks in.
    pub admin: SocketAddr,
    /// Where the search service is.
    pub upstream: SocketAddr,
}

/// Reads a tiers.yaml and puts our addresses in place of its own. The upstreams keep the slots of their first server.
///
/// # Errors
/// What is wrong with the file, in words for its author.
pub fn load(tiers: &Path, addresses: &Addresses) -> Result<Config, String> {
    let mut config = Config::load(tiers).map_err(|error| error.to_string())?;
    config.listen = addresses.listen;
    config.admin.listen = addresses.admin;
    // What a demo learns is forgotten with it, and the folder of a door in earnest is none of its business.
    config.data_dir = std::env::temp_dir().join(format!("tiergate-demo-data-{}", std::process::id()));
    for upstream in &mut config.upstreams {
        let slots = upstream.servers.first().map_or(1, |server| server.slots);
        let (host, port) = (addresses.upstream.ip().to_string(), addresses.upstream.port());
        upstream.servers = vec![Server { host, port, slots }];
    }
    Ok(config)
}

/// Adds one sponsor of every tier but that of the anonymous, each with a key of its own.
///
/// # Errors
/// The system has no randomness to give.
pub fn add_sponsors(config: &mut Config) -> io::Result<Vec<Sponsor>> {
    let mut sponsors = Vec::new();
    for (number, tier) in (0..).zip(&config.rules.tiers) {
        let id = TierId(number);
        if id == config.rules.anonymous {
            continue;
        }
        let key = random_key()?;
        config.accounts.push(Account {
            name: format!("demo-{number}"),
            tier: id,
            key_sha256: vec![Sha256::digest(&key).into()],
        });
        sponsors.push(Sponsor {
            tier: tier.name.to_string(),
            concurrency: tier.concurrency,
            key,
        });
    }
    Ok(sponsors)
}

/// The name of the tier that those without a key belong to.
pub fn anonymous_tier(config: &Config) -> String {
    config.rules.tier(config.rules.anonymous).name.to_string()
}

/// 128 random bits, in hexadecimal.
fn random_key() -> io::Result<String> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(io::Error::from)?;
    Ok(bits.iter().fold(String::new(), |mut key, byte| {
        write!(key, "{byte:02x}").expect("writing to a string doesn't fail");
        key
    }))
}

/// A door whose addresses are taken, and that answers when it is run.
pub struct Door {
    config: Config,
    sockets: Sockets,
}

/// What the demo's operator shows; made if there is none yet, so it is known before the door is open.
///
/// # Errors
/// The folder can't be written to.
pub fn operator_token(config: &Config) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir)?;
    let token = AdminToken::read_or_make(&config.data_dir.join(TOKEN_FILE)).map_err(io::Error::other)?;
    Ok(token.reveal().to_owned())
}

impl Door {
    /// Takes the addresses. A port 0 becomes a free one.
    ///
    /// # Errors
    /// An address is in use, or isn't ours.
    pub fn bind(config: Config) -> Result<Self, ServeError> {
        let sockets = server::bind(&config)?;
        Ok(Self { config, sockets })
    }

    /// Where searches come in.
    pub fn public_address(&self) -> SocketAddr {
        self.sockets.public_address()
    }

    /// Where the operator looks in.
    pub fn admin_address(&self) -> SocketAddr {
        self.sockets.admin_address()
    }

    /// Answers until `shutdown`, then lets the running searches finish.
    ///
    /// # Errors
    /// The door can't go on.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let folder = self.config.data_dir.clone();
        let served = server::run(
            self.config,
            None,
            server::hang_ups(),
            self.sockets,
            OldData::Use,
            Clock::start(),
            shutdown,
        )
        .await;
        // The system empties its temporary folder if this fails.
        let _removed = std::fs::remove_dir_all(folder);
        served
    }
}
