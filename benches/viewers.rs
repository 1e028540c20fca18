//! What a thousand viewers of the status page cost, and whether they slow admission: `cargo bench -p tiergate-benches --bench viewers`,
//! with `SECONDS=3` in seconds instead of minutes, `VIEWERS=n` for another number.
//!
//! The server is this process, whose processor time is measured. Clients and the upstream server are another: it keeps the queue
//! full and changing, follows the events from as many addresses of 127/8, and measures how long a request takes that is refused at
//! once. Rounds with and without viewers take turns; what viewers cost is the difference.

#![allow(clippy::disallowed_methods, reason = "a bench measures time, and its load is timed")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tiergate::clock::Clock;
use tiergate::config::Config;
use tiergate::server;
use tiergate::store::OldData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long the upstream server works on a request.
const SERVICE: Duration = Duration::from_millis(20);
/// Clients that search one after the other, more than two slots and eight places hold. Who is refused comes again after as long.
const SEARCHERS: u32 = 14;
/// Requests that are refused at once and timed, each second.
const PROBES_PER_S: u32 = 100;
/// How long connections are given to settle before a round.
const SETTLE: Duration = Duration::from_secs(2);

fn main() {
    if env::args().any(|argument| argument == "--clients") {
        return clients();
    }
    let number = |name: &str, default: u64| {
        env::var(name)
            .ok()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (seconds, viewers) = (number("SECONDS", 20), number("VIEWERS", 1_000));
    let rounds = if seconds < 10 { 1 } else { 3 };
    let mut others = Others::start();
    let folder = env::temp_dir().join(format!("tiergate-viewers-{}", std::process::id()));
    let address = serve(&others.upstream, &folder);
    others.say(&format!("load {address}"));
    println!("{rounds} rounds of {seconds} s with and without {viewers} viewers, 2 slots of {SERVICE:?}, queue full");
    let mut cost = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (with, count) in [(0, 0), (1, viewers)] {
            others.say(&format!("viewers {count}"));
            std::thread::sleep(SETTLE);
            let (before, begun) = (processor_time(), Instant::now());
            let told = others.say(&format!("measure {seconds}"));
            let share = (processor_time() - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
            println!("{count:>5} viewers: {share:5.2} % of a core; {told}");
            cost[with].push(share);
        }
    }
    others.say("end");
    drop(others);
    let median = |of: &mut Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let [without, with] = &mut cost;
    println!(
        "{viewers} viewers cost {:.2} % of a core",
        median(with) - median(without)
    );
    // Left behind if the bench is stopped: a folder among temporary ones.
    let _ = std::fs::remove_dir_all(&folder);
    std::process::exit(0);
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}

/// Starts the server, which runs until the process ends.
fn serve(upstream: &str, folder: &std::path::Path) -> SocketAddr {
    let tiers = (1..=6).map(|n| format!("  t{n}: {{ priority: {n}, concurrency: 1 }}\n"));
    let yaml = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {}\ndurability: relaxed\ncores: 1\n\
         queue: {{ length: 8 }}\ntiers:\n  free: {{ priority: 0, concurrency: 1 }}\n{}anonymous: free\n\
         upstreams:\n  search: {{ servers: [ {{ url: \"http://{upstream}\", slots: 2 }} ] }}\n\
         routes: [ {{ path: /search, upstream: search, metered: true }} ]\n",
        folder.display(),
        tiers.collect::<String>(),
    );
    std::fs::create_dir_all(folder).expect("a temporary folder");
    let config = Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let sockets = server::bind(&config).expect("loopback has free ports");
    let address = sockets.public_address();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let run = server::run(
            config,
            None,
            None,
            sockets,
            OldData::Use,
            Clock::start(),
            std::future::pending(),
        );
        runtime.expect("a runtime").block_on(run).expect("it serves");
    });
    address
}

/// The process of the clients.
struct Others {
    child: Child,
    out: BufReader<ChildStdout>,
    upstream: String,
}

impl Others {
    fn start() -> Self {
        let program = env::current_exe().expect("this program has a file");
        let mut child = Command::new(program)
            .arg("--clients")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let upstream = String::new();
        let mut others = Self { child, out, upstream };
        others.upstream = others.line();
        others
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("the clients answer");
        line.trim().to_owned()
    }

    fn say(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").expect("the clients listen");
        self.line()
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        let _ended = self.child.kill();
    }
}

/// What the clients count.
#[derive(Default)]
struct Counts {
    events: AtomicU64,
    bytes: AtomicU64,
    searches: AtomicU64,
    probes: Mutex<Vec<Duration>>,
}

fn clients() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", upstream.local_addr().expect("it listens"));
        tokio::spawn(answer_all(upstream));
        let (commands, mut come) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let _gone = commands.send(line);
            }
        });
        let counts: Arc<Counts> = Arc::default();
        let (mut viewers, mut server) = (JoinSet::new(), None);
        while let Some(line) = come.recv().await {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let told = match word {
                "load" => {
                    server = rest.parse().ok();
                    load(server.expect("an address"), &counts);
                    "loading".to_owned()
                }
                "viewers" => {
                    viewers = JoinSet::new();
                    let count: u32 = rest.parse().expect("a number");
                    for number in 0..count {
                        viewers.spawn(follow(server.expect("loaded first"), number, Arc::clone(&counts)));
                    }
                    format!("{count} follow")
                }
                "measure" => measure(rest.parse().expect("seconds"), &counts).await,
                _ => "ending".to_owned(),
            };
            println!("{told}");
        }
        drop(viewers);
    });
}

async fn measure(seconds: u64, counts: &Counts) -> String {
    let taken = || {
        let [events, bytes, searches] =
            [&counts.events, &counts.bytes, &counts.searches].map(|of| of.swap(0, Ordering::Relaxed));
        (
            events,
            bytes,
            searches,
            std::mem::take(&mut *counts.probes.lock().expect("nobody panics")),
        )
    };
    taken();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (events, bytes, searches, mut probes) = taken();
    probes.sort_unstable();
    let at = |share: usize| probes.get(probes.len() * share / 100).copied().unwrap_or_default();
    format!(
        "{} events and {} kB a second, {} searches a second, refused at once within {:?} (half), {:?} (99 %)",
        events / seconds,
        bytes / seconds / 1_000,
        searches / seconds,
        at(50),
        at(99),
    )
}

async fn answer_all(upstream: TcpListener) {
    while let Ok((stream, _)) = upstream.accept().await {
        tokio::spawn(async move {
            let mut stream = stream;
            while read_head(&mut stream).await.is_some() {
                tokio::time::sleep(SERVICE).await;
                if stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
    }
}

/// Reads until the end of a head without a body.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A connection from an address of its own.
async fn connect(server: SocketAddr, net: u8, number: u32) -> TcpStream {
    let [.., high, low] = number.to_be_bytes();
    let socket = TcpSocket::new_v4().expect("a socket");
    let address = Ipv4Addr::new(127, net, high, low.max(1));
    socket
        .bind(SocketAddr::from((address, 0)))
        .expect("all of 127/8 is ours");
    socket.connect(server).await.expect("the server listens")
}

fn load(server: SocketAddr, counts: &Arc<Counts>) {
    for number in 0..SEARCHERS {
        let counts = Arc::clone(counts);
        tokio::spawn(async move {
            let mut stream = connect(server, 2, number + 1).await;
            loop {
                let is_served = search(&mut stream, "").await;
                counts.searches.fetch_add(1, Ordering::Relaxed);
                if !is_served {
                    tokio::time::sleep(SERVICE).await;
                }
            }
        });
    }
    let counts = Arc::clone(counts);
    tokio::spawn(async move {
        let mut stream = connect(server, 3, 1).await;
        loop {
            tokio::time::sleep(Duration::from_secs(1) / PROBES_PER_S).await;
            let begun = Instant::now();
            search(&mut stream, "prefer: wait=0\r\n").await;
            counts.probes.lock().expect("nobody panics").push(begun.elapsed());
        }
    });
}

/// Whether it was served.
async fn search(stream: &mut TcpStream, headers: &str) -> bool {
    let request = format!("GET /search HTTP/1.1\r\nhost: bench.example\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.expect("the server answers");
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return head.starts_with("HTTP/1.1 200");
            }
        }
    }
}

async fn follow(server: SocketAddr, number: u32, counts: Arc<Counts>) {
    let mut stream = connect(server, 16 + u8::try_from(number / 50_000).unwrap_or(0), number).await;
    let request = b"GET /status/events HTTP/1.1\r\nhost: bench.example\r\n\r\n";
    stream.write_all(request).await.expect("the server reads");
    let mut bytes = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        counts.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        counts.events.fetch_add(
            bytes.windows(11).filter(|of| of == b"event: now\n").count() as u64,
            Ordering::Relaxed,
        );
        bytes.clear();
    }
}
