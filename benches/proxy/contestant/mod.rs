//! The proxies that are measured, each started for a measurement in a process of its own.

mod haproxy;
mod nginx;
mod relay;
mod template;
mod tiergate;
mod validate;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Result;
use crate::callers::Account;
use crate::lab::Lab;
use crate::load::Target;
use crate::process::Process;
use crate::setup::Setup;

pub use tiergate::Prepared;

/// How long a contestant may take until it listens, with 100,000 accounts on a busy machine.
const STARTING_MAX: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(5);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    /// No proxy at all: what the latencies of the others are compared with.
    Direct,
    /// HAProxy with everything that it can do likewise. All ratios are to it.
    HaProxy,
    /// The same, with tiergate's headers in both directions.
    HaProxyHeaders,
    /// nginx with limits and a map of keys.
    Nginx,
    /// A bare relay on hyper.
    HyperRelay,
    /// tiergate, on a route that is not metered.
    Unmetered,
    /// tiergate with `durability: relaxed`.
    Relaxed,
    /// tiergate with `durability: strict`, its default.
    Strict,
}

impl Contestant {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 8] = [
        Self::Direct,
        Self::HaProxy,
        Self::HaProxyHeaders,
        Self::Nginx,
        Self::HyperRelay,
        Self::Unmetered,
        Self::Relaxed,
        Self::Strict,
    ];

    /// Its name in JSON and in the table's head.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaProxy => "HAProxy",
            Self::HaProxyHeaders => "HAProxy with our headers",
            Self::Nginx => "nginx",
            Self::HyperRelay => "hyper relay",
            Self::Unmetered => "unmetered",
            Self::Relaxed => "relaxed",
            Self::Strict => "strict",
        }
    }

    /// Whether it adds the rate limit headers, and tells the upstream server who the caller is.
    fn adds_headers(self) -> bool {
        matches!(self, Self::HaProxyHeaders | Self::Relaxed | Self::Strict)
    }

    /// Whether it knows keys.
    fn knows_keys(self) -> bool {
        !matches!(self, Self::Direct | Self::HyperRelay)
    }
}

/// A contestant that serves.
#[derive(Debug)]
pub struct Running {
    /// Where requests go.
    pub target: Target,
    process: Option<Process>,
    folder: PathBuf,
}

impl Running {
    /// Starts it on the proxy's core, and waits until it listens.
    pub async fn start(contestant: Contestant, setup: &Setup, lab: &Lab) -> Result<Self> {
        let folder = lab.new_folder()?;
        let place = Place {
            folder: folder.clone(),
            listen: free_address()?,
            admin: free_address()?,
            upstream: lab.backend.address(),
        };
        let process = match contestant {
            Contestant::Direct => None,
            Contestant::HaProxy => Some(haproxy::start(&place, setup, lab, false)?),
            Contestant::HaProxyHeaders => Some(haproxy::start(&place, setup, lab, true)?),
            Contestant::Nginx => Some(nginx::start(&place, setup, lab)?),
            Contestant::HyperRelay => Some(relay::start(&place, lab)?),
            Contestant::Unmetered => Some(tiergate::start(&place, setup, lab, tiergate::UNMETERED).await?),
            Contestant::Relaxed => Some(tiergate::start(&place, setup, lab, tiergate::RELAXED).await?),
            Contestant::Strict => Some(tiergate::start(&place, setup, lab, tiergate::STRICT).await?),
        };
        let target = match process {
            Some(_) => place.listen,
            None => place.upstream,
        };
        let mut running = Self {
            target,
            process,
            folder,
        };
        running.await_listening().await?;
        Ok(running)
    }

    /// Its process, unless it is none.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Fails if it doesn't do what its configuration says: status, body, headers both ways, keys.
    pub async fn validate(&self, contestant: Contestant, setup: &Setup, lab: &Lab) -> Result<()> {
        validate::validate(contestant, self.target, setup, &lab.backend).await
    }

    /// Fails unless it refuses with that status whoever has used up the limit or quota.
    pub async fn validate_refusal(&self, contestant: Contestant, status: u16) -> Result<()> {
        validate::validate_refusal(contestant, self.target, status).await
    }

    /// Fails if its process has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::ensure_running)
    }

    async fn await_listening(&mut self) -> Result<()> {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(self.target).await.is_err() {
            self.ensure_running()?;
            if begun.elapsed() > STARTING_MAX {
                return Err(format!("it doesn't listen after {STARTING_MAX:?}").into());
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    /// Ends the process, and removes its files.
    fn drop(&mut self) {
        self.process = None;
        // What is left is removed with the folder around it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where a contestant has its files and sockets.
struct Place {
    folder: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
}

/// A loopback address whose port nobody has.
fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Writes a file with a line for each account. Returns its path.
fn write_accounts(
    folder: &std::path::Path,
    name: &str,
    count: u32,
    line: impl Fn(Account) -> String,
) -> Result<PathBuf> {
    let lines: String = (0..count).map(|number| line(Account(number)) + "\n").collect();
    let file = folder.join(name);
    fs::write(&file, lines)?;
    Ok(file)
}
