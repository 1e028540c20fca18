//! tiergate in front of the search service. This is the only file of the demo that uses tiergate; read it to embed tiergate in a
//! program of your own.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use tiergate::clock::Clock;
pub use tiergate::config::Config;
use tiergate::config::{
    AccountSection, ForwardedHeaderSetting, MAX_BODY_DEFAULT, NAME_CHARS_MAX, RouteSection, ServerConfig,
};
use tiergate::path::Pattern;
use tiergate::policy::rules::{Tier, TierId, Window};
use tiergate::server::{self, ServeError, Sockets};
use tiergate::store::{AdminToken, OldData, TOKEN_FILE};

use crate::traffic::Room;

/// The header for API keys; one of those that the repository's tiers.yaml names.
pub const KEY_HEADER: &str = "x-api-key";

/// The routes of the demo's page, which aren't in a tiers.yaml.
const PAGE_ROUTES: [&str; 2] = ["/", "/demo/{*rest}"];

/// A sponsor for the duration of the demo.
#[derive(Clone, Debug)]
pub struct Sponsor {
    /// The name of the tier.
    pub tier: String,
    /// The tier's priority.
    pub priority: u8,
    /// The API key, made when the demo starts. tiergate knows only its hash.
    pub key: String,
}

/// What the demo needs to know of a tier.
#[derive(Clone, Debug)]
pub struct TierInfo {
    /// Its name.
    pub name: String,
    /// Its priority, 0 to 6.
    pub priority: u8,
    /// Whether it is the one of callers without a key.
    pub is_anonymous: bool,
    /// Searches per second that the quotas of one caller last for; `None` without a quota.
    pub searches_per_s: Option<f64>,
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

/// Reads a tiers.yaml, replaces its addresses with the demo's, and adds the routes of the demo's page. The upstreams keep the
/// slots of their first server.
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
    add_page_routes(&mut config);
    Ok(config)
}

/// The page comes from the search service, unmetered, unless the file has such a route.
fn add_page_routes(config: &mut Config) {
    let Some(search) = config.routes.iter().find(|route| route.metered) else {
        return;
    };
    let upstream = search.upstream;
    for path in PAGE_ROUTES {
        let pattern = Pattern::parse(path).expect("a test loads them");
        if config.routes.iter().any(|route| route.pattern.is_like(&pattern)) {
            continue;
        }
        config.routes.push(RouteSection {
            host: None,
            pattern,
            methods: None,
            upstream,
            metered: false,
            max_body: MAX_BODY_DEFAULT,
            max_wait: None,
            success: vec![200],
            cost: 1,
            on_hangup: Default::default(),
        });
    }
}

/// Lets clients that connect from `peer` name their addresses in `X-Forwarded-For`.
pub fn trust(config: &mut Config, peer: IpAddr) {
    config.trusted_proxies.push(IpNet::from(peer));
    config.forwarded_header = ForwardedHeaderSetting::XForwardedFor;
}

/// The tiers, in the order of the file.
pub fn tiers(config: &Config) -> Vec<TierInfo> {
    let cost = config
        .routes
        .iter()
        .find(|route| route.metered)
        .map_or(1, |route| route.cost.max(1));
    let info = |(number, tier): (u16, &Tier)| TierInfo {
        name: tier.name.to_string(),
        priority: tier.priority.get(),
        is_anonymous: TierId(number) == config.rules.anonymous,
        searches_per_s: searches_per_s(config, tier, cost),
    };
    (0..).zip(&config.rules.tiers).map(info).collect()
}

/// What the strictest of the tier's quotas allows on average.
fn searches_per_s(config: &Config, tier: &Tier, cost: u32) -> Option<f64> {
    let enforced = tier.quotas.iter().filter(|quota| quota.enforce);
    let rates = enforced.map(|quota| {
        let window_s = match &config.rules.windows[quota.window] {
            Window::Rolling(span) => span.as_secs_f64(),
            Window::Calendar(calendar) => {
                let periods = calendar
                    .starts
                    .windows(2)
                    .map(|pair| pair[1].as_secs() - pair[0].as_secs());
                periods.max().map_or(f64::INFINITY, |longest| longest as f64)
            }
        };
        quota.limit as f64 / f64::from(cost) / window_s
    });
    rates.min_by(f64::total_cmp)
}

/// Slots of the search service, and places of the queue.
pub fn room(config: &Config) -> Room {
    let search = config.routes.iter().find(|route| route.metered);
    let upstream = search.and_then(|route| config.upstreams.get(route.upstream.index()));
    Room {
        slots: upstream.map_or(1, |upstream| upstream.servers.iter().map(|server| server.slots).sum()),
        places: config.rules.queue.length,
    }
}

/// The path of tiergate's status page, if it is on.
pub fn status_path(config: &Config) -> Option<String> {
    config.paths.status.clone()
}

/// Adds so many accounts of a tier, each with its own key. Their names begin with `name`.
///
/// # Errors
/// The system has no randomness to give.
pub fn add_accounts(config: &mut Config, name: &str, tier: usize, count: usize) -> io::Result<Vec<Sponsor>> {
    let Some((id, rules)) = (0..).map(TierId).zip(&config.rules.tiers).nth(tier) else {
        return Ok(Vec::new());
    };
    let (tier, priority) = (rules.name.to_string(), rules.priority.get());
    let mut sponsors = Vec::new();
    for number in 1..=count {
        let key = random_key()?;
        let mut name = format!("{name}-{number:03}-{tier}");
        name.truncate(NAME_CHARS_MAX); // ASCII, as tiers' names are
        config.accounts.push(AccountSection {
            name,
            tier: id,
            key_sha256: vec![Sha256::digest(&key).into()],
        });
        sponsors.push(Sponsor {
            tier: tier.clone(),
            priority,
            key,
        });
    }
    Ok(sponsors)
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
