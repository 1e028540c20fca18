//! tiergate in front of the search service. This is the only file of the demo that uses tiergate; read it to embed tiergate in a
//! program of your own.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use tiergate::clock::Clock;
use tiergate::config::{AccountSection, Config, ServerConfig};
use tiergate::policy::rules::TierId;
use tiergate::server::{self, ServeError, Sockets};
use tiergate::store::{AdminToken, OldData, TOKEN_FILE};

/// The header for API keys; one of those that the repository's tiers.yaml names.
pub const KEY_HEADER: &str = "x-api-key";

/// A sponsor for the duration of the demo.
pub struct Sponsor {
    /// The name of the tier.
    pub tier: String,
    /// The tier's concurrency.
    pub concurrency: u32,
    /// The API key, made when the demo starts. tiergate knows only its hash.
    pub key: String,
}

/// The addresses to put into a tiers.yaml.
pub struct Addresses {
    /// Address of the public listener.
    pub listen: SocketAddr,
    /// Address of the admin listener.
    pub admin: SocketAddr,
    /// Address of the search service.
    pub upstream: SocketAddr,
}

/// Reads a tiers.yaml and replaces its addresses with the demo's. The upstreams keep the slots of their first server.
///
/// # Errors
/// What is wrong with the file, for its author.
pub fn load(tiers: &Path, addresses: &Addresses) -> Result<Config, String> {
    let mut config = Config::load(tiers).map_err(|error| error.to_string())?;
    config.listen = addresses.listen;
    config.admin.listen = addresses.admin;
    // The demo keeps nothing, and must not touch a real data folder.
    config.data_dir = std::env::temp_dir().join(format!("tiergate-demo-data-{}", std::process::id()));
    for upstream in &mut config.upstreams {
        let slots = upstream.servers.first().map_or(1, |server| server.slots);
        let (host, port) = (addresses.upstream.ip().to_string(), addresses.upstream.port());
        upstream.servers = vec![ServerConfig { host, port, slots }];
    }
    Ok(config)
}

/// Adds one sponsor, with its own key, to every tier but the anonymous one.
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
        config.accounts.push(AccountSection {
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

/// The name of the tier for callers without a key.
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

/// A proxy that is bound to its addresses, and serves when it is run.
pub struct Proxy {
    config: Config,
    sockets: Sockets,
}

/// The operator's token; created if missing, so that it is known before the proxy serves.
///
/// # Errors
/// The folder can't be written to.
pub fn operator_token(config: &Config) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir)?;
    let token = AdminToken::read_or_make(&config.data_dir.join(TOKEN_FILE)).map_err(io::Error::other)?;
    Ok(token.reveal().to_owned())
}

impl Proxy {
    /// Binds the addresses. Port 0 becomes a free port.
    ///
    /// # Errors
    /// An address is in use, or isn't ours.
    pub fn bind(config: Config) -> Result<Self, ServeError> {
        let sockets = server::bind(&config)?;
        Ok(Self { config, sockets })
    }

    /// Address of the public listener.
    pub fn public_address(&self) -> SocketAddr {
        self.sockets.public_address()
    }

    /// Address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.sockets.admin_address()
    }

    /// Serves until `shutdown`, then lets running searches finish.
    ///
    /// # Errors
    /// The proxy failed.
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
