//! Simulated clients: sponsors of every tier and anonymous clients, who search, think, and search again.
//!
//! All of them upload real, cropped copies of indexed images, so that the first match can be checked. Each has one connection and
//! one search at a time.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::index::{Index, cropped_copy, decode};
use crate::proxy::{KEY_HEADER, Sponsor};
use crate::scenes::Dice;

/// Different images that the clients upload.
const UPLOADS: usize = 48;
/// Clients of one sponsor, at most; fewer if the tier allows fewer searches at once.
const CLIENTS_PER_SPONSOR_MAX: u32 = 4;
/// Networks of the anonymous clients: 127.0.0.2 and those after it.
const NETWORKS: u8 = 6;
/// Pause between two searches, in seconds: from, to.
const THINK_S: (f32, f32) = (0.02, 0.2);
/// The longest pause after a Retry-After. Shorter than tiergate asks for, as people are impatient.
const STAY_AWAY_MAX: Duration = Duration::from_secs(2);
/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// tiergate's addresses.
#[derive(Clone)]
pub struct Endpoints {
    /// The public listener.
    pub public: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The operator's token.
    pub token: String,
}

/// Runs the clients until `stop` and prints a line a second, then lets each finish and prints a summary.
pub async fn run(
    endpoints: Endpoints,
    sponsors: &[Sponsor],
    anonymous: &str,
    uploads: Vec<SampleUpload>,
    stop: CancellationToken,
) {
    let (members, tallies) = members(endpoints.public, sponsors, anonymous).await;
    let crowd = Arc::new(Crowd {
        proxy: endpoints.public,
        uploads,
        tallies: Mutex::new(tallies),
        stop: stop.clone(),
    });
    let mut clients = JoinSet::new();
    for (number, client) in (0..).zip(members) {
        clients.spawn(visit(Arc::clone(&crowd), client, Dice::new(0, number)));
    }
    println!("{} clients are searching", clients.len());

    let mut admin = KeepAliveConnection::new(endpoints.admin, None);
    let second = Duration::from_secs(1);
    let mut second = interval_at(Instant::now() + second, second);
    while stop.run_until_cancelled(second.tick()).await.is_some() {
        match queue_state(&mut admin, &endpoints.token).await {
            Ok(queue_state) => println!("{}   answered {}", queue_state.line(), crowd.answered()),
            Err(error) => println!("tiergate's admin listener doesn't answer: {error}"),
        }
    }
    while clients.join_next().await.is_some() {}
    print!("{}", crowd.summary());
}

/// An image to search with, and what it is a copy of.
pub struct SampleUpload {
    original: String,
    bytes: Bytes,
}

/// Copies of indexed images, each cropped by up to 5 % and compressed again. Takes a second or so.
pub fn uploads(index: &Index) -> Vec<SampleUpload> {
    let mut dice = Dice::new(0, u64::MAX);
    let mut upload = || {
        let picture = &index.pictures()[dice.below(index.pictures().len())];
        let image = decode(&picture.bytes().ok()?).ok()?; // a file may have gone since it was indexed
        let bytes = cropped_copy(&image, dice.between(0.0, 0.05), 60).into();
        Some(SampleUpload {
            original: picture.name.clone(),
            bytes,
        })
    };
    (0..UPLOADS).filter_map(|_| upload()).collect()
}

struct TrafficClient {
    /// Index of its tier's tally.
    tally: usize,
    key: Option<String>,
    source: Option<IpAddr>,
}

struct Crowd {
    proxy: SocketAddr,
    uploads: Vec<SampleUpload>,
    /// One of each tier.
    tallies: Mutex<Vec<Tally>>,
    stop: CancellationToken,
}

/// The results of a tier's searches.
#[derive(Default)]
struct Tally {
    tier: String,
    statuses: BTreeMap<u16, u64>,
    unanswered: u64,
    right: u64,
    waited: Duration,
}

impl Tally {
    fn of(tier: &str) -> Self {
        Self {
            tier: tier.to_owned(),
            ..Self::default()
        }
    }

    fn count(&self, status: StatusCode) -> u64 {
        self.statuses.get(&status.as_u16()).copied().unwrap_or(0)
    }
}

impl Crowd {
    fn answered(&self) -> String {
        let mut total = BTreeMap::<u16, u64>::new();
        let mut unanswered = 0;
        for tally in &*self.tallies.lock() {
            tally
                .statuses
                .iter()
                .for_each(|(&status, count)| *total.entry(status).or_default() += count);
            unanswered += tally.unanswered;
        }
        let mut line: Vec<_> = total
            .iter()
            .map(|(status, count)| format!("{status}:{count}"))
            .collect();
        line.extend((unanswered > 0).then(|| format!("none:{unanswered}")));
        line.join(" ")
    }

    fn summary(&self) -> String {
        let mut table = String::from("\ntier        200  mean ms   first match right    402    503  other\n");
        for tally in &*self.tallies.lock() {
            let [found, over, full] = [
                StatusCode::OK,
                StatusCode::PAYMENT_REQUIRED,
                StatusCode::SERVICE_UNAVAILABLE,
            ]
            .map(|s| tally.count(s));
            let other = tally.statuses.values().sum::<u64>() - found - over - full + tally.unanswered;
            let mean_ms = tally.waited.as_secs_f64() * 1e3 / found.max(1) as f64;
            let (tier, right) = (&tally.tier, tally.right);
            writeln!(
                table,
                "{tier:<8} {found:>6} {mean_ms:>8.0} {right:>19} {over:>6} {full:>6} {other:>6}"
            )
            .expect("writing to a string doesn't fail");
        }
        table
    }
}

/// The clients and their tallies: for each sponsor as many as its concurrency allows; one anonymous client from each network, and
/// from the last one a second, which exceeds its concurrency.
async fn members(proxy: SocketAddr, sponsors: &[Sponsor], anonymous: &str) -> (Vec<TrafficClient>, Vec<Tally>) {
    let mut members = Vec::new();
    let mut tallies = vec![Tally::of(anonymous)];
    for sponsor in sponsors {
        for _ in 0..sponsor.concurrency.min(CLIENTS_PER_SPONSOR_MAX) {
            members.push(TrafficClient {
                tally: tallies.len(),
                key: Some(sponsor.key.clone()),
                source: None,
            });
        }
        tallies.push(Tally::of(&sponsor.tier));
    }
    let mut sources: Vec<_> = (2..2 + NETWORKS)
        .map(|last| Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))))
        .collect();
    if let Err(error) = connect(proxy, sources[0]).await {
        println!("this system can't send from 127.0.0.2 ({error}): anonymous clients share one address, and get 402");
        sources.fill(None);
    }
    sources.extend(sources.last().copied());
    members.extend(sources.into_iter().map(|source| TrafficClient {
        tally: 0,
        key: None,
        source,
    }));
    (members, tallies)
}

/// Runs one client until it is asked to stop. A search in flight is finished.
async fn visit(crowd: Arc<Crowd>, client: TrafficClient, mut dice: Dice) {
    let mut connection = KeepAliveConnection::new(crowd.proxy, client.source);
    let mut pause = Duration::ZERO;
    loop {
        let think = Duration::from_secs_f32(dice.between(THINK_S.0, THINK_S.1));
        if crowd.stop.run_until_cancelled(sleep(think + pause)).await.is_none() || crowd.uploads.is_empty() {
            return;
        }
        let upload = &crowd.uploads[dice.below(crowd.uploads.len())];
        let began = Instant::now();
        let answer = connection.send(search_with(upload, client.key.as_deref())).await;

        let mut tallies = crowd.tallies.lock();
        let tally = &mut tallies[client.tally];
        pause = Duration::ZERO;
        match answer {
            Ok(answer) => {
                *tally.statuses.entry(answer.status.as_u16()).or_default() += 1;
                if answer.status == StatusCode::OK {
                    tally.waited += began.elapsed();
                    tally.right += u64::from(answer.first_match().is_some_and(|name| name == upload.original));
                }
                pause = answer.retry_after.min(STAY_AWAY_MAX);
            }
            Err(_) => tally.unanswered += 1,
        }
    }
}

fn search_with(upload: &SampleUpload, key: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(upload.bytes.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/search");
    if let Some(key) = key.and_then(|key| key.parse().ok()) {
        request.headers_mut().insert(KEY_HEADER, key);
    }
    request
}

/// The state of tiergate's queue, from its admin listener.
#[derive(Deserialize)]
struct QueueState {
    seats: u32,
    waiting: Vec<WaitingJob>,
    pools: Vec<PoolState>,
}

#[derive(Deserialize)]
struct WaitingJob {
    priority: u8,
}

#[derive(Deserialize)]
struct PoolState {
    slots: u32,
    running: u32,
}

impl QueueState {
    fn line(&self) -> String {
        let running: u32 = self.pools.iter().map(|pool| pool.running).sum();
        let slots: u32 = self.pools.iter().map(|pool| pool.slots).sum();
        let mut priorities = BTreeMap::<u8, u32>::new();
        self.waiting
            .iter()
            .for_each(|job| *priorities.entry(job.priority).or_default() += 1);
        let waiting: Vec<_> = priorities
            .iter()
            .rev()
            .map(|(priority, jobs)| format!("p{priority}:{jobs}"))
            .collect();
        let waiting = waiting.join(" ");
        format!(
            "queue {}/{}  running {running}/{slots}  waiting {waiting:<20}",
            self.waiting.len(),
            self.seats
        )
    }
}

async fn queue_state(admin: &mut KeepAliveConnection, token: &str) -> Result<QueueState, BoxError> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = http::Uri::from_static("/queue");
    if let Ok(shown) = format!("Bearer {token}").parse() {
        request.headers_mut().insert(http::header::AUTHORIZATION, shown);
    }
    Ok(serde_json::from_slice(&admin.send(request).await?.body)?)
}

struct FullResponse {
    status: StatusCode,
    retry_after: Duration,
    body: Bytes,
}

impl FullResponse {
    fn first_match(&self) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(answer["result"][0]["filename"].as_str()?.to_owned())
    }
}

/// A keep-alive connection that is reopened when it was closed.
struct KeepAliveConnection {
    to: SocketAddr,
    from: Option<IpAddr>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl KeepAliveConnection {
    fn new(to: SocketAddr, from: Option<IpAddr>) -> Self {
        Self { to, from, open: None }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<FullResponse, BoxError> {
        timeout(ANSWER_MAX, self.exchange(request)).await?
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<FullResponse, BoxError> {
        request.headers_mut().insert(header::HOST, self.to.to_string().parse()?);
        let kept = match self.open.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(self.to, self.from).await?,
        };
        let response = sender.send_request(request).await?;
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        self.open = Some(sender); // only now: a connection with an incomplete answer can't be reused
        Ok(FullResponse {
            status,
            retry_after: Duration::from_secs(retry_after.unwrap_or(0)),
            body,
        })
    }
}

async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<SendRequest<Full<Bytes>>> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection); // ends when the sender is dropped
    Ok(sender)
}
