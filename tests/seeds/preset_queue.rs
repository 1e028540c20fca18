//! A preset's queue over HTTP: filled as the documents show it, and by one caller after the other up to its
//! concurrency. The tables are in the module of each system.

use tiergate::policy::time::UnixTime;

use super::queue_table::{Row, System};
use super::quota_table::{Line, key_of, with_sponsors};
use crate::support::{Arrived, Client, Proxy, UpstreamServer, hash};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
/// At most so many arrivals of each priority: a full queue and one more.
const ARRIVALS_MAX: usize = 9;
/// The account that takes all slots. Its tier has a concurrency as large as there are slots.
const RUNNER: &str = "runner";

fn get(system: &System, path: &str, key: &str) -> String {
    let key = match key {
        "" => String::new(),
        key => format!("x-trace-key: {key}\r\n"),
    };
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{key}\r\n", system.host)
}

/// The preset's text with as many accounts of priorities 2, 5 and 6 as a queue can have places.
fn with_accounts(text: &str) -> String {
    let account =
        |tier: &str, key: String| format!("  - {{ name: {key}, tier: \"{tier}\", key_sha256: {} }}\n", hash(&key));
    let tiers = [("$1", 2), ("$10", 5), ("$100", 6)];
    let all = tiers
        .iter()
        .flat_map(|tier| (0..ARRIVALS_MAX).map(move |number| (tier, number)));
    let accounts: String = all
        .map(|((tier, priority), number)| account(tier, format!("p{priority}-{number}")))
        .collect();
    format!("{text}\naccounts:\n{accounts}{}", account("$100", RUNNER.to_owned()))
}

/// A proxy whose slots are taken. Fields are dropped in order, so the clients end before the proxy and it has none to
/// wait for.
struct BusyProxy<'s> {
    system: &'s System,
    running: Vec<(Client, Arrived)>,
    /// The queued clients with their priorities, in order of arrival.
    queued: Vec<(u8, Client)>,
    arrivals: usize,
    /// Kept open for the upstream connections.
    _server: UpstreamServer,
    proxy: Proxy,
}

impl<'s> BusyProxy<'s> {
    async fn start(system: &'s System) -> Self {
        let server = UpstreamServer::start().await;
        let (proxy, _) = Proxy::start_preset(system.preset, with_accounts, &[(system.upstream, server.address)], NOON);
        let mut running = Vec::new();
        for _ in 0..system.slots() {
            let mut client = Client::connect(proxy.address).await;
            client.send(get(system, "/search", RUNNER)).await;
            running.push((client, server.request().await));
        }
        Self {
            system,
            running,
            queued: Vec::new(),
            arrivals: 0,
            _server: server,
            proxy,
        }
    }

    /// A search of this priority by a new caller.
    async fn arrive(&mut self, priority: u8) -> Client {
        self.arrivals += 1;
        let (host, key) = match priority {
            0 => (u8::try_from(1 + self.arrivals).expect("a handful"), String::new()),
            paid => (1, format!("p{paid}-{}", self.arrivals - 1)),
        };
        let mut client = Client::connect_from(host, self.proxy.address).await;
        client.send(get(self.system, "/search", &key)).await;
        client
    }

    async fn enqueue(&mut self, priority: u8) {
        let client = self.arrive(priority).await;
        self.queued.push((priority, client));
        self.assert_queued().await;
    }

    /// Waits until exactly the expected jobs are queued, by their priorities.
    async fn assert_queued(&self) {
        self.proxy.jobs_until(self.queued.len(), self.running.len()).await;
        let page = self.proxy.queue().await;
        let waiting = page["waiting"].as_array().expect("a list");
        let mut found: Vec<u64> = waiting.iter().filter_map(|job| job["priority"].as_u64()).collect();
        let mut expected: Vec<u64> = self.queued.iter().map(|(priority, _)| u64::from(*priority)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Checks that the newest job of the lowest priority was displaced.
    async fn assert_displaced(&mut self) {
        let lowest = self.queued.iter().map(|(priority, _)| *priority).min();
        let newest = self.queued.iter().rposition(|(priority, _)| Some(*priority) == lowest);
        let (_, mut displaced) = self.queued.remove(newest.expect("a client is queued"));
        displaced.answer().await.assert_refused(503, "displaced");
    }
}

impl Row {
    /// Checks over HTTP that a queue filled as in this row admits the priorities it should, each with a fresh queue.
    pub async fn check_over_http(&self, system: &System) {
        for priority in [0, 2, 5, 6] {
            let mut busy = BusyProxy::start(system).await;
            for waiting in self.queued() {
                busy.enqueue(waiting).await;
            }
            let mut late = busy.arrive(priority).await;
            if self.rejecting.contains(&priority) {
                let refused = late.answer().await;
                refused.assert_refused(503, "queue_full");
                assert!(refused.get("retry-after").is_some());
            } else {
                if busy.queued.len() == self.queue.len() {
                    busy.assert_displaced().await;
                }
                busy.queued.push((priority, late));
            }
            busy.assert_queued().await;
        }
    }
}

/// Checks over HTTP that each line's tier has as many searches at once as stated, that one more gets a 402, and that
/// neither other requests nor ended searches count.
pub async fn check_concurrency(system: &System, table: &[Line]) {
    let server = UpstreamServer::start().await;
    let (proxy, _) = Proxy::start_preset(system.preset, with_sponsors, &[(system.upstream, server.address)], NOON);
    for (tier, _, concurrency, _) in table {
        let key = key_of(tier).map_or(String::new(), |(_, key)| key);
        let search = async || {
            let mut client = Client::connect(proxy.address).await;
            client.send(get(system, "/search", &key)).await;
            client
        };
        let mut running = Vec::new();
        for _ in 0..*concurrency {
            running.push((search().await, server.request().await));
        }
        for _ in 0..2 {
            let refused = search().await.answer().await;
            refused.assert_refused(402, "concurrency_exceeded");
            assert_eq!(refused.json()["limit"], *concurrency, "{tier}");
            let mut other = Client::connect(proxy.address).await;
            other.send(get(system, "/image/1", &key)).await;
            ends(&mut other, server.request().await).await;
            let (mut first, arrived) = running.remove(0);
            ends(&mut first, arrived).await;
            running.push((search().await, server.request().await));
        }
        for (mut client, arrived) in running {
            ends(&mut client, arrived).await;
        }
    }
}

async fn ends(client: &mut Client, mut arrived: Arrived) {
    arrived.answer_with("200 OK", "connection: close\r\n", "done").await;
    assert_eq!(client.answer().await.status(), 200);
}
