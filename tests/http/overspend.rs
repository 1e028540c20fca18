//! Callers that try to exceed their quota with many requests at once (rules §5.2), while others fail, hang up and
//! are displaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::accounting::{assert_settled, debits, me, releases, search, taken, with_key};
use crate::support::fast::FastServer;
use crate::support::{Answer, Client, Plan, Proxy, UpstreamServer, metric_sum};

const TEN: &str = "concurrency: 64, quota: { limit: 10, rolling: 24h }";

/// Clients that search at the same time with one key.
struct Crowd {
    clients: JoinSet<Option<Answer>>,
    /// A client that receives this hangs up.
    hang_up: Arc<Semaphore>,
}

impl Crowd {
    async fn of_64(proxy: &Proxy, key: &'static str) -> Self {
        let hang_up = Arc::new(Semaphore::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..64 {
            let mut client = Client::connect(proxy.address).await;
            let hang_up = Arc::clone(&hang_up);
            clients.spawn(async move {
                client.search(key).await;
                tokio::select! {
                    answer = client.answer() => Some(answer),
                    permit = hang_up.acquire() => {
                        permit.expect("it stays open").forget();
                        None
                    }
                }
            });
        }
        Self { clients, hang_up }
    }

    /// The next client that has its answer (or `None` if it hung up).
    async fn next(&mut self) -> Option<Answer> {
        let next = self.clients.join_next().await.expect("one is left");
        next.expect("no client panics")
    }

    /// Checks that all but `let_in` are refused for want of quota.
    async fn all_but(&mut self, admitted: usize) {
        while self.clients.len() > admitted {
            let answer = self.next().await.expect("no client hangs up yet");
            answer.assert_refused(402, "quota_depleted");
        }
    }

    /// The statuses of the remaining clients.
    async fn statuses(&mut self) -> Vec<u16> {
        let mut statuses = Vec::new();
        while !self.clients.is_empty() {
            statuses.extend(self.next().await.map(|answer| answer.status()));
        }
        statuses.sort_unstable();
        statuses
    }
}

/// Answers with this status and closes, so that the next request uses another connection.
async fn answer(server: &UpstreamServer, status: &str) {
    let mut arrived = server.request().await;
    arrived.answer_with(status, "connection: close\r\n", "{}").await;
}

#[tokio::test]
async fn of_64_at_once_only_as_many_as_fit_are_admitted() {
    for (slots, waiting, running) in [(64, 0, 10), (4, 6, 4)] {
        let server = UpstreamServer::start().await;
        let proxy = Plan {
            queue_length: 64,
            servers: &[(server.address, slots)],
            tier: TEN,
            ..Plan::default()
        }
        .start();
        let mut crowd = Crowd::of_64(&proxy, "p5").await;
        crowd.all_but(10).await;
        proxy.jobs_until(waiting, running).await;
        let me = me(&proxy, "p5").await;
        assert_eq!((&me["waiting"], &me["running"]), (&waiting.into(), &running.into()));
        assert_eq!(taken(&proxy, "p5").await, (0, 10));
        for _ in 0..10 {
            answer(&server, "200 OK").await;
        }
        assert_eq!(crowd.statuses().await, [200; 10]);
        assert_settled(&proxy, "p5", 10, &[]).await;
        let refused = r#"tiergate_refusals_total{tier="p5",reason="quota_depleted"}"#;
        assert_eq!(proxy.metric(refused).await, 54.0);
        search(&proxy, "p5").await.assert_refused(402, "quota_depleted");
    }
}

#[tokio::test]
async fn failures_and_hangups_give_back_exactly_their_units() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        servers: &[(server.address, 64)],
        tier: TEN,
        route: "on_hangup: cancel",
        ..Plan::default()
    }
    .start();
    // Four of ten succeed.
    let mut crowd = Crowd::of_64(&proxy, "p5").await;
    crowd.all_but(10).await;
    for status in ["200 OK", "404 Not Found", "200 OK", "500 Oh", "201 Created"] {
        answer(&server, status).await;
        answer(&server, status).await;
    }
    assert_eq!(
        crowd.statuses().await,
        [200, 200, 200, 200, 201, 201, 404, 404, 500, 500]
    );
    assert_settled(&proxy, "p5", 4, &[("failed", 6)]).await;
    // Of six, three hang up and three fail.
    let mut crowd = Crowd::of_64(&proxy, "p5").await;
    crowd.all_but(6).await;
    let mut arrived = Vec::new();
    for _ in 0..6 {
        arrived.push(server.request().await);
    }
    crowd.hang_up.add_permits(3);
    for _ in 0..3 {
        assert!(crowd.next().await.is_none(), "it has hung up");
    }
    proxy.jobs_until(0, 3).await;
    assert_eq!(taken(&proxy, "p5").await, (4, 3));
    // Which request belongs to which client is not known here: answers to the clients that hung up go nowhere.
    for mut arrived in arrived {
        let _in_vain = arrived
            .stream
            .write_all(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            .await;
    }
    assert_eq!(crowd.statuses().await, [404; 3]);
    assert_settled(&proxy, "p5", 4, &[("failed", 9), ("cancelled", 3)]).await;
    // The remaining six.
    let mut crowd = Crowd::of_64(&proxy, "p5").await;
    crowd.all_but(6).await;
    for _ in 0..6 {
        answer(&server, "200 OK").await;
    }
    assert_eq!(crowd.statuses().await, [200; 6]);
    assert_settled(&proxy, "p5", 10, &[("failed", 9), ("cancelled", 3)]).await;
    Crowd::of_64(&proxy, "p5").await.all_but(0).await;
}

#[tokio::test]
async fn displacements_give_back_exactly_their_units() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        cores: 1,
        queue_length: 10,
        servers: &[(server.address, 1)],
        tier: TEN,
        ..Plan::default()
    }
    .start();
    let mut running = Client::connect(proxy.address).await;
    running.search("p6").await;
    proxy.jobs_until(0, 1).await;
    let mut crowd = Crowd::of_64(&proxy, "p0").await;
    crowd.all_but(10).await;
    assert_eq!(taken(&proxy, "p0").await, (0, 10));
    let mut higher = Vec::new();
    for left in (6..10).rev() {
        let mut client = Client::connect(proxy.address).await;
        client.search("p5").await;
        crowd.next().await.expect("an answer").assert_refused(503, "displaced");
        assert_eq!(taken(&proxy, "p0").await, (0, left));
        higher.push(client);
    }
    // They have quota again but no queue place, so nothing is taken.
    for _ in 0..64 {
        search(&proxy, "p0").await.assert_refused(503, "queue_full");
    }
    assert_eq!(taken(&proxy, "p0").await, (0, 6));
    for _ in 0..11 {
        answer(&server, "200 OK").await;
    }
    assert_eq!(crowd.statuses().await, [200; 6]);
    assert_settled(&proxy, "p0", 6, &[("displaced", 4)]).await;
    let mut crowd = Crowd::of_64(&proxy, "p0").await;
    crowd.all_but(4).await;
    for _ in 0..4 {
        answer(&server, "200 OK").await;
    }
    assert_eq!(crowd.statuses().await, [200; 4]);
    assert_settled(&proxy, "p0", 10, &[("displaced", 4)]).await;
}

/// Quota of each caller under random load.
const QUOTA: u64 = 12;
/// Clients of each caller under random load.
const CLIENTS: u64 = 30;
const KEYS: [&str; 7] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6"];

/// What a client does under random load, chosen by its number. Returns its status unless it hung up.
async fn client_under_load(mut client: Client, key: &'static str, number: u64) -> Option<u16> {
    let headers = with_key(key);
    match number % 10 {
        // These stay.
        0 | 1 => client.request("GET", "/search?length=10", &headers).await,
        2 => client.request("GET", "/search?length=2000&chunked", &headers).await,
        3 => client.request("GET", "/search?status=404", &headers).await,
        4 => client.request("GET", "/search?status=503", &headers).await,
        5 => {
            client.request("HEAD", "/search", &headers).await;
            return Some(client.answer_to("HEAD").await.status());
        }
        // These hang up.
        6 => {
            client.request("GET", "/search?length=10", &headers).await;
            return None;
        }
        7 => {
            client.request("GET", "/search?length=10", &headers).await;
            client.reset();
            return None;
        }
        8 => {
            client.upload(key, 400_000).await;
            client.send(vec![0; 1_000 * (number as usize * 37 % 300)]).await;
            return None;
        }
        _ => {
            client.request("GET", "/search?length=1000000", &headers).await;
            // Only the head matters.
            let _some = client.read_some().await;
            return None;
        }
    }
    Some(client.answer().await.status())
}

#[tokio::test]
async fn no_caller_overspends_under_random_load() {
    for on_hangup in ["finish", "cancel"] {
        let server = FastServer::start();
        let tier =
            format!("concurrency: 64, displacements_per_minute: 1000, quota: {{ limit: {QUOTA}, rolling: 24h }}");
        let proxy = Plan {
            servers: &[(server.address, 2)],
            tier: &tier,
            route: &format!("on_hangup: {on_hangup}"),
            ..Plan::default()
        }
        .start();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            for (at, key) in (0..).zip(KEYS) {
                let client = Client::connect(proxy.address).await;
                clients.spawn(async move { (at, client_under_load(client, key, number + at).await) });
            }
        }
        let mut got = [0; KEYS.len()];
        let over = AtomicBool::new(false);
        let gathered = async {
            while let Some(client) = clients.join_next().await {
                let (at, status) = client.expect("no client panics");
                got[at as usize] += u64::from(status == Some(200));
            }
            over.store(true, Ordering::Relaxed);
        };
        // At no moment does `/me` show more than the quota.
        let watching = async {
            for key in KEYS.iter().cycle() {
                taken(&proxy, key).await;
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        };
        tokio::join!(gathered, watching);
        proxy.jobs_until(0, 0).await;
        for (key, got) in KEYS.into_iter().zip(got) {
            assert_within_quota(&proxy, key, got).await;
        }
    }
}

/// Checks that what this caller was charged covers its successes and agrees with the metrics, and that just the rest of its
/// quota can be used.
async fn assert_within_quota(proxy: &Proxy, key: &str, got: u64) {
    let (used, held) = taken(proxy, key).await;
    assert_eq!(held, 0, "{key}");
    assert!(used >= got, "{key} got {got} and was charged {used}");
    proxy
        .metric_until(&format!(r#"tiergate_quota_debits_total{{tier="{key}"}}"#), used as f64)
        .await;
    assert_eq!(debits(proxy, key).await, used as f64);
    let jobs = metric_sum(proxy.admin, "tiergate_jobs_total", &format!(r#"tier="{key}""#)).await;
    assert_eq!(debits(proxy, key).await + releases(proxy, key, "").await, jobs, "{key}");
    // What is left can be used.
    for _ in used..QUOTA {
        assert_eq!(search(proxy, key).await.status(), 200, "{key}");
    }
    search(proxy, key).await.assert_refused(402, "quota_depleted");
}
