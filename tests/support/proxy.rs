//! The proxy of a test, in a thread of its own, on loopback sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use tiergate::clock::{Clock, ClockControl};
use tiergate::config::presets::Preset;
use tiergate::config::{Config, LimitHeaders, LimitRoute, Overrides};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::server::{self, Source, config_watch};
use tiergate::store::{AdminToken, OldData, TOKEN_FILE};
use tokio::sync::oneshot;

use super::folder::Folder;
use super::rules::{self, LimitExt};
use super::{Answer, Client, Plan, get, soon};

/// A proxy that runs until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// What its operator shows.
    pub token: String,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Its `data_dir`, which outlives the thread.
    folder: Folder,
}

impl Proxy {
    /// Starts a proxy with this tiers.yaml, in a folder of its own. Its addresses should have port 0.
    pub fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml)
    }

    /// Starts a proxy whose `data_dir` is that folder.
    pub fn start_in(folder: Folder, yaml: &str) -> Self {
        Self::start_by(Clock::start(), folder, yaml)
    }

    /// Starts a proxy at that time, by a clock with these hands to move it. Timers that run already don't notice them.
    pub fn start_at(wall: UnixTime, yaml: &str) -> (Self, &'static ClockControl) {
        Self::start_in_at(Folder::new(), wall, yaml)
    }

    /// The same, with that folder as its `data_dir`.
    pub fn start_in_at(folder: Folder, wall: UnixTime, yaml: &str) -> (Self, &'static ClockControl) {
        // As long as the program lives, as a clock's hands must.
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        (
            Self::start_by(Clock::moved_by(clock_control, wall), folder, yaml),
            clock_control,
        )
    }

    /// Starts the proxy that this preset describes, at that time, with upstream servers at these addresses (of the upstreams of
    /// these names). `edited` may say something else than the preset's text.
    pub fn start_preset(
        name: &str,
        edited: impl FnOnce(&str) -> String,
        upstreams: &[(&str, SocketAddr)],
        wall: UnixTime,
    ) -> (Self, &'static ClockControl) {
        let preset = Preset::named(name).expect("a preset that there is");
        let yaml = edited(preset.text);
        let mut config = Config::parse(name, yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        for (upstream, address) in upstreams {
            let led = config.lead(Some(upstream), &format!("http://{address}"));
            led.expect("the preset has that upstream");
        }
        config.listen.set_port(0);
        config.admin.listen.set_port(0);
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        (
            Self::start_config(Clock::moved_by(clock_control, wall), Folder::new(), config),
            clock_control,
        )
    }

    /// Starts a proxy with this tiers.yaml, of which something is then changed, at that time.
    pub fn start_changed(
        wall: UnixTime,
        yaml: &str,
        change: impl FnOnce(&mut Config),
    ) -> (Self, &'static ClockControl) {
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        let clock = Clock::moved_by(clock_control, wall);
        (
            Self::start_config(clock, Folder::new(), config(yaml, change)),
            clock_control,
        )
    }

    fn start_by(clock: Clock, folder: Folder, yaml: &str) -> Self {
        Self::start_config(clock, folder, config(yaml, |_| ()))
    }

    fn start_config(clock: Clock, folder: Folder, config: Config) -> Self {
        Self::start_from(clock, folder, config, None)
    }

    /// Starts a proxy that watches the file `tiers.yaml` in a folder of its own, on free ports whatever the file says of them.
    pub fn start_live(yaml: &str) -> Self {
        Self::start_live_by(Clock::start(), yaml)
    }

    /// The same, at that time.
    pub fn start_live_at(wall: UnixTime, yaml: &str) -> Self {
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        Self::start_live_by(Clock::moved_by(clock_control, wall), yaml)
    }

    fn start_live_by(clock: Clock, yaml: &str) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("tiers.yaml");
        std::fs::write(&file, yaml).expect("a folder to write to");
        let free = "127.0.0.1:0".parse().ok();
        let overrides = Overrides {
            listen: free,
            admin: free,
            data_dir: Some(folder.path().to_owned()),
            ..Overrides::default()
        };
        let config = Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let config = overrides.apply(config).expect("they fit every file");
        let seen = config_watch::read(&file);
        let source = Source { file, seen, overrides };
        Self::start_from(clock, folder, config, Some(source))
    }

    /// Saves the file of a proxy that watches it, by renaming another one over it.
    pub fn save(&self, yaml: &str) {
        let new = self.folder.path().join("tiers.yaml.new");
        std::fs::write(&new, yaml).expect("a folder to write to");
        std::fs::rename(&new, self.folder.path().join("tiers.yaml")).expect("a folder to write to");
    }

    fn start_from(clock: Clock, folder: Folder, mut config: Config, source: Option<Source>) -> Self {
        folder.path().clone_into(&mut config.data_dir);
        let token = AdminToken::read_or_make(&folder.path().join(TOKEN_FILE)).expect("a folder to write to");
        let sockets = server::bind(&config).expect("loopback has free ports");
        let (address, admin) = (sockets.public_address(), sockets.admin_address());
        let (close, closed) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let shutdown = async {
                    let _ = closed.await;
                };
                server::run(
                    config,
                    source,
                    server::hang_ups(),
                    sockets,
                    OldData::Use,
                    clock,
                    shutdown,
                )
                .await
                .expect("the proxy starts");
            });
        });
        Self {
            address,
            admin,
            token: token.reveal().to_owned(),
            close: Some(close),
            thread: Some(thread),
            folder,
        }
    }

    /// Begins to shut the proxy down, as SIGTERM does.
    pub fn begin_closing(&mut self) {
        if let Some(close) = self.close.take() {
            let _ = close.send(());
        }
    }

    /// Shuts the proxy down and waits until it has ended.
    pub fn closed(mut self) {
        self.begin_closing();
        self.thread
            .take()
            .expect("joined once")
            .join()
            .expect("the proxy doesn't panic");
    }

    /// Whether the proxy has ended.
    pub fn is_closed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// `GET /queue` of the operator's listener.
    pub async fn queue(&self) -> serde_json::Value {
        let answer = self.operator("GET", "/queue", "").await;
        serde_json::from_slice(&answer.body).expect("the queue is JSON")
    }

    /// The answer to an operator's request with the token and that body.
    pub async fn operator(&self, method: &str, path: &str, body: &str) -> Answer {
        self.operator_with(method, path, "application/json", body).await
    }

    /// The same, with a body of that type.
    pub async fn operator_with(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let mut client = Client::operator(self.admin).await;
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.token,
            body.len()
        );
        client.request(method, path, &headers).await;
        client.send(body).await;
        client.answer_to(method).await
    }

    /// Its `data_dir`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Shuts the proxy down and returns its `data_dir`.
    pub fn into_folder(mut self) -> Folder {
        self.begin_closing();
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the proxy doesn't panic");
        std::mem::take(&mut self.folder)
    }

    /// Waits until the queue page satisfies the test.
    pub async fn queue_until(&self, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        soon(what, async {
            loop {
                let page = self.queue().await;
                if is_so(&page) {
                    return page;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Waits until so many jobs upload.
    pub async fn uploading_until(&self, uploading: usize) {
        let count = |page: &serde_json::Value| page["uploading"].as_array().map_or(0, Vec::len);
        self.queue_until(&format!("{uploading} uploading"), |page| count(page) == uploading)
            .await;
    }

    /// Waits until so many jobs are queued and run (ending ones included).
    pub async fn jobs_until(&self, waiting: usize, running: usize) {
        let count = |page: &serde_json::Value, of: &str| page[of].as_array().map_or(0, Vec::len);
        let what = format!("{waiting} waiting and {running} running");
        self.queue_until(&what, |page| {
            count(page, "waiting") == waiting && count(page, "running") == running
        })
        .await;
    }

    /// Waits until a metric has at least that value: a job is counted a moment after it has left the gate.
    pub async fn metric_until(&self, series: &str, value: f64) {
        soon(&format!("{series} {value}"), async {
            while self.metric(series).await < value {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The value of a metric, by its line up to the value, 0 if it isn't there.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = String::from_utf8(get(self.admin, "/metrics").await.body).expect("metrics are text");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series).filter(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |value| value.trim().parse().expect("a metric is a number"))
    }
}

/// The value of all series of a metric whose labels contain that text, together.
pub async fn metric_sum(admin: SocketAddr, name: &str, labels: &str) -> f64 {
    let page = String::from_utf8(get(admin, "/metrics").await.body).expect("metrics are text");
    let series = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(labels);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    page.lines().filter(series).filter_map(value).sum()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.begin_closing();
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("the proxy doesn't panic");
        }
    }
}

fn config(yaml: &str, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    change(&mut config);
    config
}

/// Gives a configuration three request limits that nobody meets: `http` by network, `hourly` by account and network, and `total` for
/// everybody together; and a network that is turned away.
pub fn limited(config: &mut Config) {
    let limit = |name: &str, per| rules::limit(name, 1_000_000, Span::from_secs(60)).per(per);
    config.rules.limits = vec![
        limit("http", (true, false, false)),
        limit("hourly", (true, true, false)),
        limit("total", (false, false, true)),
    ];
    let everything = LimitRoute {
        host: None,
        pattern: None,
        methods: None,
        headers: LimitHeaders::Off,
    };
    config.limits = vec![everything; config.rules.limits.len()];
    config.blocked_networks = vec!["203.0.113.0/24".parse().expect("a network")];
}

impl Plan<'_> {
    pub fn start(&self) -> Proxy {
        Proxy::start(&self.yaml())
    }
}
