//! A real door, real workers and real clients, on loopback sockets.
//!
//! A worker is driven by its test: it hands over each request as it comes, and the test decides what is answered and when.
//! So tests wait for what they wait for and never sleep.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod database;
pub mod fast;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub mod faultfs;
pub mod folder;
pub mod operator;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub mod power;
pub mod program;
#[path = "../../crates/policy/tests/support/request.rs"]
pub mod request;
#[path = "../../crates/policy/tests/support/rules.rs"]
pub mod rules;
pub mod yaml;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use tiergate::clock::{Clock, Hands};
use tiergate::config::presets::Preset;
use tiergate::config::{Config, LimitHeaders, LimitRoute, Overrides};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::server::{self, Source, config_watch};
use tiergate::store::{AdminToken, OldData, TOKEN_FILE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use folder::Folder;
use rules::LimitExt;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use yaml::{Plan, hash, seven_tiers, yaml};

/// The longest that a test waits for anything. Nothing takes so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// A door that is open until it is dropped.
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
    /// Opens a door with this tiers.yaml, in a folder of its own. Its addresses should have port 0.
    pub fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml)
    }

    /// Opens a door whose `data_dir` is that folder.
    pub fn start_in(folder: Folder, yaml: &str) -> Self {
        Self::start_by(Clock::start(), folder, yaml)
    }

    /// Opens a door at that time, by a clock with these hands to move it. Timers that run already don't notice them.
    pub fn start_at(wall: UnixTime, yaml: &str) -> (Self, &'static Hands) {
        Self::start_in_at(Folder::new(), wall, yaml)
    }

    /// The same, with that folder as its `data_dir`.
    pub fn start_in_at(folder: Folder, wall: UnixTime, yaml: &str) -> (Self, &'static Hands) {
        // As long as the program lives, as a clock's hands must.
        let hands: &'static Hands = Box::leak(Box::default());
        (Self::start_by(Clock::moved_by(hands, wall), folder, yaml), hands)
    }

    /// Opens the door that this preset describes, at that time, with workers at these addresses (of the upstreams of these names).
    /// `edited` may say something else than the preset's text.
    pub fn start_preset(
        name: &str,
        edited: impl FnOnce(&str) -> String,
        upstreams: &[(&str, SocketAddr)],
        wall: UnixTime,
    ) -> (Self, &'static Hands) {
        let preset = Preset::named(name).expect("a preset that there is");
        let yaml = edited(preset.text);
        let mut config = Config::parse(name, yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        for (upstream, address) in upstreams {
            let led = config.lead(Some(upstream), &format!("http://{address}"));
            led.expect("the preset has that upstream");
        }
        config.listen.set_port(0);
        config.admin.listen.set_port(0);
        let hands: &'static Hands = Box::leak(Box::default());
        (
            Self::start_config(Clock::moved_by(hands, wall), Folder::new(), config),
            hands,
        )
    }

    /// Opens a door with this tiers.yaml, of which something is then changed, at that time.
    pub fn start_changed(wall: UnixTime, yaml: &str, change: impl FnOnce(&mut Config)) -> (Self, &'static Hands) {
        let hands: &'static Hands = Box::leak(Box::default());
        let clock = Clock::moved_by(hands, wall);
        (Self::start_config(clock, Folder::new(), config(yaml, change)), hands)
    }

    fn start_by(clock: Clock, folder: Folder, yaml: &str) -> Self {
        Self::start_config(clock, folder, config(yaml, |_| ()))
    }

    fn start_config(clock: Clock, folder: Folder, config: Config) -> Self {
        Self::start_from(clock, folder, config, None)
    }

    /// Opens a door that follows the file `tiers.yaml` in a folder of its own, on free ports whatever the file says of them.
    pub fn start_live(yaml: &str) -> Self {
        Self::start_live_by(Clock::start(), yaml)
    }

    /// The same, at that time.
    pub fn start_live_at(wall: UnixTime, yaml: &str) -> Self {
        let hands: &'static Hands = Box::leak(Box::default());
        Self::start_live_by(Clock::moved_by(hands, wall), yaml)
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

    /// Saves the file of a door that follows it, by renaming another one over it.
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
                .expect("the door opens");
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

    /// Begins to close the door, as SIGTERM does.
    pub fn begin_closing(&mut self) {
        if let Some(close) = self.close.take() {
            let _ = close.send(());
        }
    }

    /// Waits until the door has closed.
    pub fn closed(mut self) {
        self.begin_closing();
        self.thread
            .take()
            .expect("joined once")
            .join()
            .expect("the door doesn't panic");
    }

    /// Whether the door has closed.
    pub fn is_closed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// `GET /queue` of the operator's listener.
    pub async fn queue(&self) -> serde_json::Value {
        let answer = self.operator("GET", "/queue", "").await;
        serde_json::from_slice(&answer.body).expect("the queue is JSON")
    }

    /// What the operator is answered, who shows the token and sends that body.
    pub async fn operator(&self, method: &str, path: &str, body: &str) -> Answer {
        self.operator_with(method, path, "application/json", body).await
    }

    /// The same, with a body of that type.
    pub async fn operator_with(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let mut client = Client::connect(self.admin).await;
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

    /// Closes the door and answers with its `data_dir`.
    pub fn into_folder(mut self) -> Folder {
        self.begin_closing();
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the door doesn't panic");
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

    /// Waits until so many wait (uploading ones included) and run (ending ones included).
    pub async fn jobs_until(&self, waiting: usize, running: usize) {
        let count = |page: &serde_json::Value, of: &str| page[of].as_array().map_or(0, Vec::len);
        let what = format!("{waiting} waiting and {running} running");
        self.queue_until(&what, |page| {
            count(page, "waiting") == waiting && count(page, "running") == running
        })
        .await;
    }

    /// Waits until a metric has at least that value: those who end a job count it a moment after it is out of the house.
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
            thread.join().expect("the door doesn't panic");
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

/// A worker that does what its test says.
pub struct UpstreamServer {
    pub address: SocketAddr,
    listener: TcpListener,
}

/// A request at a worker: the head is read, the body isn't.
#[derive(Debug)]
pub struct Arrived {
    /// Request line and headers.
    pub head: Head,
    /// What came after the head with the same read.
    pub ahead: Vec<u8>,
    pub stream: TcpStream,
}

impl UpstreamServer {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).await.expect("loopback has free ports"))
    }

    pub fn on(listener: TcpListener) -> Self {
        Self {
            address: listener.local_addr().expect("it listens"),
            listener,
        }
    }

    /// The next connection.
    pub async fn connection(&self) -> TcpStream {
        soon("a connection to the worker", self.listener.accept())
            .await
            .expect("accepting works")
            .0
    }

    /// The next request, on a new connection.
    pub async fn request(&self) -> Arrived {
        Arrived::on(self.connection().await).await
    }
}

impl Arrived {
    /// The next request on this connection.
    pub async fn on(mut stream: TcpStream) -> Self {
        let (head, ahead) = soon("a request's head", read_head(&mut stream)).await;
        Self {
            head: head.expect("the door sends a head"),
            ahead,
            stream,
        }
    }

    /// The next request, on this connection or on a new one: which of them is the door's affair, as its cores have
    /// connections of their own.
    pub async fn on_either(stream: TcpStream, worker: &UpstreamServer) -> Self {
        let mut first = [0];
        tokio::select! {
            read = stream.peek(&mut first) => {
                assert_eq!(read.ok(), Some(1), "the door closed its connection");
                Self::on(stream).await
            }
            new = worker.request() => new,
        }
    }

    /// Reads until the door has closed the connection.
    pub async fn until_closed(&mut self) {
        soon("the end", async {
            while matches!(self.stream.some().await, Ok(bytes) if !bytes.is_empty()) {}
        })
        .await;
    }

    /// Reads the body, which has a Content-Length or is chunked, to its end.
    pub async fn body(&mut self) -> Vec<u8> {
        let body = read_body(&mut self.stream, &self.head, std::mem::take(&mut self.ahead), false);
        soon("a request's body", body).await.expect("the door sends the body")
    }

    /// Answers with status 200 and this body, and keeps the connection.
    pub async fn answer(&mut self, body: &str) {
        self.answer_with("200 OK", "", body).await;
    }

    /// Answers with that status, these header lines (each with its CRLF) and that body, and keeps the connection.
    pub async fn answer_with(&mut self, status: &str, headers: &str, body: &str) {
        let text = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.write(text.as_bytes()).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        soon("the worker writes", self.stream.write_all(bytes))
            .await
            .expect("the door reads");
    }
}

/// A worker that answers every request at once: status 200 and, as the body, the request's head as it arrived.
pub struct Mirror {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Mirror {
    pub async fn start() -> Self {
        let worker = UpstreamServer::start().await;
        let address = worker.address;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = worker.listener.accept().await {
                tokio::spawn(mirror(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn mirror(mut stream: TcpStream) {
    let mut ahead = Vec::new();
    loop {
        let mut reader = Ahead {
            ahead,
            stream: &mut stream,
        };
        let (Some(head), rest) = read_head(&mut reader).await else {
            return;
        };
        let Ok((_, rest)) = read_framed(&mut stream, &head, rest).await else {
            return;
        };
        ahead = rest;
        let lines = head.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let body = format!("{}\r\n{}\r\n", head.line, lines.collect::<String>());
        let length = body.len();
        let body = if head.line.starts_with("HEAD ") { "" } else { &body };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A client's connection.
pub struct Client {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address))
            .await
            .expect("the door listens");
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// A client on a connection that there is already.
    pub fn on(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Connects from another loopback address, 127.0.0.`host`: another network to the door.
    pub async fn connect_from(host: u8, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from(([127, 0, 0, host], 0)))
            .expect("all of 127/8 is ours");
        let stream = soon("a connection", socket.connect(address))
            .await
            .expect("the door listens");
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    /// The same connection twice, to read and to write at once.
    pub fn into_halves(self) -> (Self, TcpStream) {
        let stream = self.stream.into_std().expect("it is registered");
        let writer = stream.try_clone().expect("descriptors are left");
        let [reader, writer] = [stream, writer].map(|stream| TcpStream::from_std(stream).expect("it doesn't block"));
        let reader = Self {
            stream: reader,
            ahead: self.ahead,
        };
        (reader, writer)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("a client sends", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("the door reads");
    }

    /// `METHOD PATH` with these header lines, each with its CRLF.
    pub async fn request(&mut self, method: &str, path: &str, headers: &str) {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: door.example\r\n{headers}\r\n"
        ))
        .await;
    }

    /// A search with that key, none if it is empty.
    pub async fn search(&mut self, key: &str) {
        let key = if key.is_empty() {
            String::new()
        } else {
            format!("x-api-key: {key}\r\n")
        };
        self.request("GET", "/search", &key).await;
    }

    /// An upload of that many bytes, of which none is sent yet.
    pub async fn upload(&mut self, key: &str, length: usize) {
        let headers = format!("x-api-key: {key}\r\ncontent-length: {length}\r\n");
        self.request("POST", "/search", &headers).await;
    }

    /// Breaks the connection off as a crashed program's system does: with a reset.
    pub fn reset(self) {
        reset(self.stream);
    }

    /// The next answer, whole.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Answer {
        self.request(method, path, headers).await;
        self.answer_to(method).await
    }

    /// The bytes that the door sends until it closes the connection, in good order.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        loop {
            let some = self.read_some().await.expect("the connection ends, and isn't reset");
            if some.is_empty() {
                return rest;
            }
            rest.extend(some);
        }
    }

    /// The next answer to a request of that method, whole.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        soon("an answer", self.try_answer(method))
            .await
            .expect("the door answers")
    }

    /// The next answer, or how its connection ended instead.
    pub async fn try_answer(&mut self, method: &str) -> std::io::Result<Answer> {
        let mut stream = Ahead {
            ahead: std::mem::take(&mut self.ahead),
            stream: &mut self.stream,
        };
        let (head, ahead) = read_head(&mut stream).await;
        let head = head.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let bodiless = method == "HEAD" || head.status() == 204 || head.status() == 304;
        let (body, ahead) = if bodiless {
            (Vec::new(), ahead)
        } else {
            read_answer_body(stream.stream, &head, ahead).await?
        };
        self.ahead = ahead;
        Ok(Answer { head, body })
    }

    /// The head of the next answer; its body is left to be read.
    pub async fn answer_head(&mut self) -> Head {
        let mut stream = Ahead {
            ahead: std::mem::take(&mut self.ahead),
            stream: &mut self.stream,
        };
        let (head, ahead) = soon("an answer's head", read_head(&mut stream)).await;
        self.ahead = ahead;
        head.expect("the door answers")
    }

    /// The next bytes, at least one unless the connection has ended.
    pub async fn read_some(&mut self) -> std::io::Result<Vec<u8>> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        let mut bytes = vec![0; 64 * 1024];
        let read = soon("bytes", self.stream.read(&mut bytes)).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads until what has come since the last head ends so.
    pub async fn until_ends_with(&mut self, end: &str) {
        let mut got = Vec::new();
        while !got.ends_with(end.as_bytes()) {
            let more = self.read_some().await.expect("the door sends more");
            assert!(!more.is_empty(), "the end, after {:?}", String::from_utf8_lossy(&got));
            got.extend(more);
        }
    }

    /// Waits until the door has closed the connection, whatever it still sends.
    pub async fn until_closed(&mut self) {
        while matches!(self.read_some().await, Ok(bytes) if !bytes.is_empty()) {}
    }
}

struct Ahead<'a> {
    ahead: Vec<u8>,
    stream: &'a mut TcpStream,
}

trait ReadSome {
    async fn some(&mut self) -> std::io::Result<Vec<u8>>;
}

impl ReadSome for TcpStream {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.read(&mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

impl ReadSome for Ahead<'_> {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.stream.some().await
        } else {
            Ok(std::mem::take(&mut self.ahead))
        }
    }
}

/// A request's or an answer's first line and headers, names in lower case.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn status(&self) -> u16 {
        self.line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("an answer has a status")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The head that a [`Mirror`] got.
    pub async fn mirrored(&self) -> Head {
        assert_eq!(self.status(), 200, "{}", self.text());
        read_head(&mut Read(self.body.clone()))
            .await
            .0
            .expect("a mirror answers with a head")
    }

    /// Checks that this is a refusal in the door's own words.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, reason: &str) {
        assert_eq!(
            (self.status(), self.reason()),
            (status, reason.to_owned()),
            "{}",
            self.text()
        );
        assert_eq!(self.get("content-type"), Some("application/json"));
        assert!(
            self.json()["error"].as_str().is_some_and(|error| !error.is_empty()),
            "{}",
            self.text()
        );
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Bytes that have been read already.
struct Read(Vec<u8>);

impl ReadSome for Read {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }
}

async fn read_head(stream: &mut impl ReadSome) -> (Option<Head>, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let ahead = bytes.split_off(end + 4);
            let text = String::from_utf8(bytes).expect("heads are text");
            let mut lines = text.trim_end().split("\r\n");
            let line = lines.next().expect("a head has a first line").to_owned();
            let header = |line: &str| {
                let (name, value) = line.split_once(':').expect("a header has a colon");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            };
            return (
                Some(Head {
                    line,
                    headers: lines.map(header).collect(),
                }),
                ahead,
            );
        }
        match stream.some().await {
            Ok(more) if !more.is_empty() => bytes.extend(more),
            _ => return (None, bytes),
        }
    }
}

async fn read_answer_body(stream: &mut TcpStream, head: &Head, ahead: Vec<u8>) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    if head.get("content-length").is_none() && head.get("transfer-encoding").is_none() {
        let body = read_body(stream, head, ahead, true).await?;
        return Ok((body, Vec::new()));
    }
    read_framed(stream, head, ahead).await
}

async fn read_body(
    stream: &mut TcpStream,
    head: &Head,
    mut ahead: Vec<u8>,
    to_the_end: bool,
) -> std::io::Result<Vec<u8>> {
    if to_the_end {
        stream.read_to_end(&mut ahead).await?;
        return Ok(ahead);
    }
    read_framed(stream, head, ahead).await.map(|(body, _)| body)
}

/// The body and what comes after it.
async fn read_framed(stream: &mut TcpStream, head: &Head, mut bytes: Vec<u8>) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    if let Some(length) = head.get("content-length") {
        let length: usize = length.parse().expect("a length is a number");
        while bytes.len() < length {
            more(stream, &mut bytes).await?;
        }
        let ahead = bytes.split_off(length);
        return Ok((bytes, ahead));
    }
    if head.get("transfer-encoding").is_none() {
        return Ok((Vec::new(), bytes));
    }
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            more(stream, &mut bytes).await?;
        };
        let size = std::str::from_utf8(&bytes[..line]).expect("sizes are text");
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).expect("a size is a number");
        while bytes.len() < line + 2 + size + 2 {
            more(stream, &mut bytes).await?;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes.drain(..line + 2 + size + 2);
        if size == 0 {
            return Ok((body, bytes));
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let more = stream.some().await?;
    if more.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend(more);
    Ok(())
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket lingers as it is told");
}

/// One `GET` on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client.request("GET", path, "connection: close\r\n").await;
    client.answer().await
}

/// Header lines by name, for comparing.
pub fn by_name(head: &Head) -> HashMap<&str, &str> {
    head.headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
