//! A small but real image search with tiergate in front of it.
//!
//! `cargo demo` starts tiergate with tiers.yaml in front of the search, prints the addresses, and makes and indexes some pictures.
//! `--traffic` adds simulated clients, so that one can watch the queue fill; `--observe` starts Prometheus beside it.
//!
//! The library says which file is about what.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own, which lets real time pass; the ban is for tiergate"
)]

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

use tiergate_demo::index::{self, Index};
use tiergate_demo::observe::{self, Prometheus};
use tiergate_demo::page::{Callers, Page};
use tiergate_demo::progress::IndexProgress;
use tiergate_demo::proxy::{self, Addresses, Config, KEY_HEADER, Proxy, Sponsor};
use tiergate_demo::scenes;
use tiergate_demo::search_server::{self, SearchPace};
use tiergate_demo::traffic::{self, Crowd, Endpoints, SampleUpload, Senders, Sources, TrafficPlan};

/// The least time of a search under traffic: slow enough to watch.
const SEARCH_TIME_UNDER_TRAFFIC: Duration = Duration::from_millis(400);

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
    /// Let each search take at least so many milliseconds [default: 400 with --traffic, 0 without]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(..=10_000))]
    search_ms: Option<u16>,
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
    let demo = Demo::bind(&flags).await?;
    demo.print_addresses();
    let Some(index) = index_unless_stopped(&flags).await? else {
        // Nobody has been served; this cleans up.
        return Ok(demo.proxy.run(std::future::ready(())).await?);
    };
    let query = QueryFile::create(&index)?;
    print_commands(&demo.endpoints, &query, demo.callers.guests.last());
    demo.serve(&index, flags.seconds).await
}

/// The demo with its addresses, before it serves.
struct Demo {
    search: TcpListener,
    proxy: Proxy,
    endpoints: Endpoints,
    callers: Callers,
    load: Option<Load>,
    pace: SearchPace,
    prometheus: Option<Prometheus>,
}

impl Demo {
    /// Binds first, so that an address in use is reported before the pictures are made.
    async fn bind(flags: &Flags) -> Result<Self, Box<dyn Error>> {
        let search = bind_search(flags.upstream_port).await?;
        let addresses = Addresses {
            listen: flags.listen,
            admin: flags.admin,
            upstream: search.local_addr()?,
        };
        let mut config = proxy::load(&tiers_yaml(flags.config.as_deref())?, &addresses)?;
        let callers = callers(&mut config)?;
        let load = flags.traffic.then(|| Load::prepare(&mut config, flags)).transpose()?;
        let search_time = load.as_ref().map(|load| load.plan.search_time);
        let pace = SearchPace {
            workers: proxy::room(&config).slots,
            search_time: search_time.unwrap_or_else(|| flags.search_time()),
        };
        let token = proxy::operator_token(&config)?;
        let proxy = Proxy::bind(config).map_err(|error| {
            format!(
                "can't listen on {} and {}: {error} (see --listen and --admin)",
                flags.listen, flags.admin
            )
        })?;
        let endpoints = Endpoints {
            public: reachable(proxy.public_address()),
            admin: reachable(proxy.admin_address()),
            token,
        };
        let started = flags.observe.map(|listen| Prometheus::start(endpoints.admin, listen));
        let prometheus = started.transpose().unwrap_or_else(|why| {
            println!("prometheus       not started: {why}");
            None
        });
        Ok(Self {
            search,
            proxy,
            endpoints,
            callers,
            load,
            pace,
            prometheus,
        })
    }

    /// Prints where everything is. The pages answer as soon as the pictures are indexed.
    fn print_addresses(&self) {
        let Endpoints { public, admin, token } = &self.endpoints;
        println!("search page      http://{public}/");
        if let Some(status) = &self.callers.status {
            println!("status page      http://{public}{status}");
        }
        println!("operator's page  http://{admin}/   token {token}");
        println!("metrics          http://{admin}/metrics");
        if let Some(prometheus) = &self.prometheus {
            println!("prometheus       {}", observe::graph(prometheus.address));
        }
        println!("tiergate         http://{public}/search\n");
    }

    /// Serves until it is told to stop, or for so many seconds.
    async fn serve(self, index: &Arc<Index>, seconds: Option<u32>) -> Result<(), Box<dyn Error>> {
        let page = Page::new(Arc::clone(index), &self.callers);
        let load = self.load.map(|load| (load, traffic::uploads(index)));
        // Shut down from front to back: the clients, then the proxy, then the search service.
        let (stop, close_proxy, close_search) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let clients = async {
            match load {
                Some((load, uploads)) => load.run(self.endpoints, uploads, stop.clone()).await,
                None => stop.cancelled().await,
            }
            close_proxy.cancel();
        };
        let front = async {
            let ended = self.proxy.run(close_proxy.clone().cancelled_owned()).await;
            stop.cancel(); // if it failed, stop everything
            close_search.cancel();
            ended
        };
        let back = search_server::serve(self.search, page, self.pace, close_search.clone().cancelled_owned());
        let until = async {
            stop.run_until_cancelled(asked_to_stop(seconds)).await;
            stop.cancel();
        };
        let ((), front, back, ()) = tokio::join!(clients, front, back, until);
        front.map_err(|error| format!("tiergate: {error}"))?;
        back.map_err(|error| format!("the search service: {error}"))?;
        Ok(())
    }
}

impl Flags {
    fn search_time(&self) -> Duration {
        let default = if self.traffic {
            SEARCH_TIME_UNDER_TRAFFIC
        } else {
            Duration::ZERO
        };
        self.search_ms.map_or(default, |ms| Duration::from_millis(ms.into()))
    }
}

/// Those who search on the demo's page: strangers, and a guest of each tier with a key.
fn callers(config: &mut Config) -> io::Result<Callers> {
    let mut callers = Callers {
        anonymous: String::new(),
        guests: Vec::new(),
        status: proxy::status_path(config),
    };
    for (number, tier) in proxy::tiers(config).into_iter().enumerate() {
        if tier.is_anonymous {
            callers.anonymous = tier.name;
        } else {
            callers.guests.extend(proxy::add_accounts(config, "guest", number, 1)?);
        }
    }
    Ok(callers)
}

/// The simulated clients.
struct Load {
    plan: TrafficPlan,
    senders: Vec<Senders>,
}

impl Load {
    /// Gives them accounts and addresses.
    fn prepare(config: &mut Config, flags: &Flags) -> io::Result<Self> {
        let plan = TrafficPlan::new(&proxy::tiers(config), proxy::room(config), flags.search_time());
        let mut sponsors = Vec::new();
        for (number, tier) in plan.tiers.iter().enumerate() {
            sponsors.extend(proxy::add_accounts(config, "sponsor", number, tier.accounts)?);
        }
        let listener = reachable(flags.listen).ip();
        let sources = Sources::of_clients(listener);
        if sources == Sources::Forwarded {
            println!(
                "Clients can't have addresses of their own here; they name them in X-Forwarded-For, and {listener} is trusted.\n"
            );
            proxy::trust(config, listener);
        }
        let senders = Senders::of(&plan, &sponsors, sources);
        Ok(Self { plan, senders })
    }

    /// Lets them search until `stop`, and prints what becomes of it.
    async fn run(self, endpoints: Endpoints, uploads: Vec<SampleUpload>, stop: CancellationToken) {
        let crowd = Crowd::new(endpoints, self.plan, self.senders, uploads, stop);
        tokio::join!(traffic::run(&crowd), traffic::report(&crowd));
        print!("{}", crowd.summary());
    }
}

/// Where the search service listens.
async fn bind_search(port: u16) -> Result<TcpListener, String> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|error| format!("can't listen on 127.0.0.1:{port}: {error} (see --upstream-port)"))
}

/// Prints a command for each kind of caller.
fn print_commands(endpoints: &Endpoints, query: &QueryFile, sponsor: Option<&Sponsor>) {
    let Endpoints { public, admin, token } = endpoints;
    println!(
        "as a stranger    curl --data-binary @{} http://{public}/search",
        query.path.display()
    );
    if let Some(sponsor) = sponsor {
        println!(
            "as a sponsor     curl -H '{KEY_HEADER}: {}' http://{public}/me",
            sponsor.key
        );
    }
    println!("the queue        curl -H 'Authorization: Bearer {token}' http://{admin}/queue\n");
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

/// Indexes the pictures; `None` if the demo is told to stop meanwhile.
async fn index_unless_stopped(flags: &Flags) -> Result<Option<Arc<Index>>, String> {
    let began = Instant::now();
    match &flags.images {
        None => println!("making and indexing {} pictures …", flags.count),
        Some(folder) => println!("indexing {} …", folder.display()),
    }
    let (images, seed, count) = (flags.images.clone(), flags.seed, flags.count);
    let work = tokio::task::spawn_blocking(move || indexed(images.as_deref(), seed, count));
    let index = tokio::select! {
        index = work => index.map_err(|error| format!("indexing failed: {error}"))??,
        () = asked_to_stop(None) => return Ok(None),
    };
    let (count, took) = (index.pictures().len(), began.elapsed().as_secs_f32());
    println!("{count} pictures indexed in {took:.1} s\n");
    Ok(Some(Arc::new(index)))
}

fn indexed(images: Option<&Path>, seed: u64, count: u16) -> Result<Index, String> {
    let progress = IndexProgress::on_terminal();
    let Some(folder) = images else {
        return Ok(Index::made(seed, count.into(), scenes::SIZE, &progress));
    };
    let in_folder = |error| format!("{}: {error}", folder.display());
    let (index, skipped) = Index::of_folder(folder, &progress).map_err(in_folder)?;
    drop(progress);
    for file in skipped {
        eprintln!("skipped {}: {}", file.path.display(), file.reason);
    }
    if index.pictures().is_empty() {
        return Err(format!("{}: no JPEG or PNG in it", folder.display()));
    }
    Ok(index)
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
