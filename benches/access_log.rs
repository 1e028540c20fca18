//! What the access log adds to the processor time of a proxied request: `cargo bench -p tiergate-benches --bench access_log`, with
//! `REQUESTS=2000` in seconds instead of a minute.
//!
//! Three servers run in this process, whose processor time is measured: without an access log, with one of errors, and with one of
//! all requests, each to a file. Clients and the upstream server are another process. Rounds take turns, so that whatever else
//! happens to the machine happens to all three; a ratio is within one round.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tiergate::clock::Clock;
use tiergate::config::Config;
use tiergate::server;
use tiergate::store::OldData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections that send one request after the other.
const CONNECTIONS: u64 = 8;
const ROUNDS: usize = 9;
const LOGS: [&str; 3] = ["off", "errors", "all"];
/// Without and with a queue, quota and a row in the database.
const PATHS: [&str; 2] = ["/image/a", "/search"];

fn main() {
    if env::args().any(|argument| argument == "--clients") {
        return clients();
    }
    let requests: u64 = env::var("REQUESTS").map_or(20_000, |text| text.parse().expect("a number"));
    let mut others = Others::start();
    let folder = env::temp_dir().join(format!("tiergate-access-log-{}", std::process::id()));
    let servers = LOGS.map(|log| serve(&others.upstream, log, &folder.join(log)));
    println!(
        "{ROUNDS} rounds of {requests} requests each over {CONNECTIONS} connections; microseconds of a processor for each"
    );
    for path in PATHS {
        // The first requests open connections and files.
        for server in &servers {
            others.say(&format!("{server} {path} {}", requests / 10));
        }
        let rounds: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|_| {
                servers.map(|server| {
                    let before = processor_time();
                    others.say(&format!("{server} {path} {requests}"));
                    (processor_time() - before).as_secs_f64() * 1e6 / requests as f64
                })
            })
            .collect();
        show(path, &rounds);
    }
    // Left behind if the bench is stopped: a folder among temporary ones.
    let _ = std::fs::remove_dir_all(&folder);
    drop(others);
    std::process::exit(0);
}

fn show(path: &str, rounds: &[[f64; 3]]) {
    let [off, ..] = spread(rounds.iter().map(|round| round[0]));
    println!("{path}: {off} without an access log");
    for (at, log) in LOGS.iter().enumerate().skip(1) {
        let [cost, ..] = spread(rounds.iter().map(|round| round[at]));
        let [median, least, most] = spread(rounds.iter().map(|round| (round[at] / round[0] - 1.0) * 100.0));
        println!("{path}: {cost} with one of {log}: {median} % more ({least} to {most})");
    }
}

/// Median, minimum and maximum.
fn spread(values: impl Iterator<Item = f64>) -> [String; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [values.len() / 2, 0, values.len() - 1].map(|at| format!("{:.1}", values[at]))
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}

/// Starts a server with that access log, which runs until the process ends.
fn serve(upstream: &str, log: &str, folder: &Path) -> SocketAddr {
    let log = match log {
        "off" => "off".to_owned(),
        what => format!(
            "{{ what: {what}, file: {}, max_per_second: 1000000 }}",
            folder.join("access.log").display()
        ),
    };
    let yaml = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {}\ndurability: relaxed\ncores: 1\n\
         access_log: {log}\nqueue: {{ length: 8 }}\ntiers: {{ free: {{ priority: 0, concurrency: 64 }} }}\nanonymous: free\n\
         upstreams:\n  search: {{ servers: [ {{ url: \"http://{upstream}\", slots: {CONNECTIONS} }} ] }}\n\
         routes:\n  - {{ path: /search, upstream: search, metered: true }}\n  - {{ path: \"/image/{{*rest}}\", upstream: search }}\n",
        folder.display(),
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

/// The process of the clients and the upstream server.
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

    /// Waits until the clients have done that.
    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").expect("the clients listen");
        assert_eq!(self.line(), "done");
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        let _ended = self.child.kill();
    }
}

/// Sends what the lines of standard input say: to which server, for which path, how many requests.
fn clients() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let upstream = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    println!("{}", upstream.local_addr().expect("it listens"));
    runtime.spawn(answer_all(upstream));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let [server, path, requests] = &words[..] else {
            panic!("three words: {line}")
        };
        let server: SocketAddr = server.parse().expect("an address");
        let each = requests.parse::<u64>().expect("a number").div_ceil(CONNECTIONS);
        runtime.block_on(async {
            let mut askers: JoinSet<()> = (0..CONNECTIONS).map(|_| ask(server, path.clone(), each)).collect();
            while let Some(asked) = askers.join_next().await {
                asked.expect("the server answers");
            }
        });
        println!("done");
    }
}

async fn ask(server: SocketAddr, path: String, requests: u64) {
    let mut stream = TcpStream::connect(server).await.expect("the server listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench\r\n\r\n");
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let answer = read_until(&mut stream, b"{}").await.expect("the server answers");
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

async fn answer_all(upstream: TcpListener) {
    while let Ok((mut stream, _)) = upstream.accept().await {
        tokio::spawn(async move {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            while read_until(&mut stream, b"\r\n\r\n").await.is_some() && stream.write_all(answer).await.is_ok() {}
        });
    }
}

/// Reads a message that ends so.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(bytes)
}
