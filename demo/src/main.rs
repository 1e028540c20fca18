//! A small but real image search with tiergate in front of it.
//!
//! `cargo demo` makes and indexes some pictures, starts tiergate with tiers.yaml in front of the search, and prints the
//! addresses. `--traffic` adds simulated clients, so that one can watch the queue fill.
//!
//! `--observe` starts Prometheus beside it.
//!
//! `proxy.rs` is everything that concerns tiergate; `search_server.rs` is the upstream server behind it; `index.rs`,
//! `descriptor.rs` and `scenes.rs` are the search itself; `traffic.rs` simulates clients.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own, which lets real time pass; the ban is for tiergate"
)]

mod descriptor;
mod index;
mod observe;
mod proxy;
mod scenes;
mod search_server;
mod traffic;

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, process};

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::index::Index;
use crate::observe::Prometheus;
use crate::proxy::{Addresses, KEY_HEADER, Proxy};
use crate::traffic::Endpoints;

/// Run an image search with tiergate in front of it
#[derive(Parser)]
#[command(name = "demo")]
struct Flags {
    /// Address of tiergate's public listener
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address of tiergate's admin listener, with metrics and the queue
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// Port of the search service, on 127.0.0.1
    #[arg(long, default_value_t = 8081, value_name = "PORT")]
    upstream_port: u16,
    /// Index the JPEG and PNG files of this folder instead of generated pictures
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Seed of the generated pictures
    #[arg(long, default_value_t = 1, conflicts_with = "images")]
    seed: u64,
    /// Number of generated pictures
    #[arg(long, default_value_t = 300, conflicts_with = "images", value_parser = clap::value_parser!(u16).range(1..=2000))]
    count: u16,
    /// Simulate sponsors and anonymous clients, and print the queue once a second
    #[arg(long)]
    traffic: bool,
    /// Start the installed Prometheus beside the demo, with tiergate's rules
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = observe::DEFAULT_ADDRESS)]
    observe: Option<SocketAddr>,
    /// Stop after N seconds instead of at Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Path to tiers.yaml [default: ./tiers.yaml, or else tiergate's own]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    // Bind first, so that an address in use is reported before the pictures are made.
    let search = TcpListener::bind((Ipv4Addr::LOCALHOST, flags.upstream_port))
        .await
        .map_err(|error| {
            format!(
                "can't listen on 127.0.0.1:{}: {error} (see --upstream-port)",
                flags.upstream_port
            )
        })?;
    let addresses = Addresses {
        listen: flags.listen,
        admin: flags.admin,
        upstream: search.local_addr()?,
    };
    let mut config = proxy::load(&tiers_yaml(flags.config.as_deref())?, &addresses)?;
    let anonymous = proxy::anonymous_tier(&config);
    let sponsors = proxy::add_sponsors(&mut config)?;
    let token = proxy::operator_token(&config)?;
    let proxy = Proxy::bind(config).map_err(|error| {
        format!(
            "can't listen on {} and {}: {error} (see --listen and --admin)",
            flags.listen, flags.admin
        )
    })?;

    let index = Arc::new(indexed(&flags)?);
    let query = QueryFile::create(&index)?;
    let endpoints = Endpoints {
        public: reachable(proxy.public_address()),
        admin: reachable(proxy.admin_address()),
        token,
    };
    println!("tiergate        http://{}/search", endpoints.public);
    println!("its metrics     http://{}/metrics", endpoints.admin);
    println!(
        "its queue       curl -H 'Authorization: Bearer {}' http://{}/queue",
        endpoints.token, endpoints.admin
    );
    let prometheus = (flags.observe)
        .map(|listen| Prometheus::start(endpoints.admin, listen))
        .transpose()?;
    if let Some(prometheus) = &prometheus {
        println!("prometheus      {}", observe::graph(prometheus.address));
    }
    println!("search service  http://{}/search, behind tiergate", addresses.upstream);
    println!(
        "\nAs a stranger: curl --data-binary @{} http://{}/search",
        query.path.display(),
        endpoints.public
    );
    if let Some(sponsor) = sponsors.last() {
        println!(
            "As a sponsor:  curl -H '{KEY_HEADER}: {}' http://{}/me\n",
            sponsor.key, endpoints.public
        );
    }

    // Shut down from front to back: the clients, then the proxy, then the search service.
    let (stop, close_proxy, close_search) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let crowd = async {
        if flags.traffic {
            traffic::run(endpoints, &sponsors, &anonymous, traffic::uploads(&index), stop.clone()).await;
        } else {
            stop.cancelled().await;
        }
        close_proxy.cancel();
    };
    let front = async {
        let ended = proxy.run(close_proxy.clone().cancelled_owned()).await;
        stop.cancel(); // if it failed, stop everything
        close_search.cancel();
        ended
    };
    let back = search_server::serve(search, Arc::clone(&index), close_search.clone().cancelled_owned());
    let until = async {
        stop.run_until_cancelled(asked_to_stop(flags.seconds)).await;
        stop.cancel();
    };
    let ((), front, back, ()) = tokio::join!(crowd, front, back, until);
    front.map_err(|error| format!("tiergate: {error}"))?;
    back.map_err(|error| format!("the search service: {error}"))?;
    Ok(())
}

/// The given file, or the first default that exists.
fn tiers_yaml(asked: Option<&Path>) -> Result<PathBuf, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tiers.yaml");
    let mut usual = [PathBuf::from("tiers.yaml"), own].into_iter();
    match asked {
        Some(path) => Ok(path.to_owned()),
        None => usual
            .find(|path| path.is_file())
            .ok_or_else(|| "no tiers.yaml here (see --config)".to_owned()),
    }
}

fn indexed(flags: &Flags) -> Result<Index, String> {
    let began = Instant::now();
    match &flags.images {
        None => println!("making and indexing {} pictures …", flags.count),
        Some(folder) => println!("indexing {} …", folder.display()),
    }
    let index = match &flags.images {
        None => Index::made(flags.seed, flags.count.into(), scenes::SIZE),
        Some(folder) => {
            let (index, skipped) =
                Index::of_folder(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            for file in skipped {
                eprintln!("skipped {}: {}", file.path.display(), file.reason);
            }
            index
        }
    };
    match (index.pictures().len(), &flags.images) {
        (0, Some(folder)) => Err(format!("{}: no JPEG or PNG in it", folder.display())),
        (count, _) => {
            println!("{count} images indexed in {:.1} s\n", began.elapsed().as_secs_f32());
            Ok(index)
        }
    }
}

/// Waits for Ctrl-C, SIGTERM, or that many seconds.
async fn asked_to_stop(seconds: Option<u32>) {
    let time_is_up = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
            None => std::future::pending().await,
        }
    };
    let terminated = async {
        match tokio::signal::unix::signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time_is_up => {}
        _ = terminated => {}
        pressed = tokio::signal::ctrl_c() => if let Err(error) = pressed {
            eprintln!("demo: can't handle Ctrl-C: {error}");
        },
    }
}

/// The address to connect to from this machine: loopback for a listener on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// An image to try the search with, in a temporary folder that is removed at the end.
struct QueryFile {
    folder: PathBuf,
    path: PathBuf,
}

impl QueryFile {
    /// A slightly cropped copy of the image in the middle of the index.
    fn create(index: &Index) -> Result<Self, Box<dyn Error>> {
        let picture = &index.pictures()[index.pictures().len() / 2];
        let copy = index::cropped_copy(&index::decode(&picture.bytes()?)?, 0.04, 60);
        let folder = env::temp_dir().join(format!("tiergate-demo-{}", process::id()));
        let path = folder.join("query.jpg");
        fs::create_dir(&folder).map_err(|error: io::Error| format!("{}: {error}", folder.display()))?;
        let file = Self { folder, path };
        fs::write(&file.path, copy)?;
        Ok(file)
    }
}

impl Drop for QueryFile {
    fn drop(&mut self) {
        // The system empties its temporary folder if this fails.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
