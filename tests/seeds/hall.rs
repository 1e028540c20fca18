//! A preset's hall over HTTP: filled as the documents draw it, and by one caller after the other up to its concurrency.
//!
//! Absent on purpose: the tables. Each system's module has its own.

use tiergate::policy::time::UnixTime;

use super::queue_table::{Row, System};
use super::quota_table::{Line, key_of, with_sponsors};
use crate::support::{Arrived, Client, Proxy, UpstreamServer, hash};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
/// So many of each priority may be drawn, and one more knock.
const CROWD: usize = 9;
/// Who runs while the others wait. Its tier has a concurrency as large as there are slots.
const RUNNER: &str = "runner";

fn get(system: &System, path: &str, key: &str) -> String {
    let key = match key {
        "" => String::new(),
        key => format!("x-trace-key: {key}\r\n"),
    };
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{key}\r\n", system.host)
}

/// The preset's text with as many accounts of priorities 2, 5 and 6 as a queue may be drawn with.
fn with_a_crowd(text: &str) -> String {
    let account =
        |tier: &str, key: String| format!("  - {{ name: {key}, tier: \"{tier}\", key_sha256: {} }}\n", hash(&key));
    let tiers = [("$1", 2), ("$10", 5), ("$100", 6)];
    let all = tiers
        .iter()
        .flat_map(|tier| (0..CROWD).map(move |number| (tier, number)));
    let crowd: String = all
        .map(|((tier, priority), number)| account(tier, format!("p{priority}-{number}")))
        .collect();
    format!("{text}\naccounts:\n{crowd}{}", account("$100", RUNNER.to_owned()))
}

/// A door whose slots are taken. What is dropped first ends first, so that the door has nobody to wait for.
struct Hall<'s> {
    system: &'s System,
    running: Vec<(Client, Arrived)>,
    /// By priority, in the order in which they came.
    seated: Vec<(u8, Client)>,
    knocks: usize,
    /// For which the door's connections are.
    _worker: UpstreamServer,
    door: Proxy,
}

impl<'s> Hall<'s> {
    async fn busy(system: &'s System) -> Self {
        let worker = UpstreamServer::start().await;
        let (door, _) = Proxy::start_preset(system.preset, with_a_crowd, &[(system.upstream, worker.address)], NOON);
        let mut running = Vec::new();
        for _ in 0..system.slots() {
            let mut client = Client::connect(door.address).await;
            client.send(get(system, "/search", RUNNER)).await;
            running.push((client, worker.request().await));
        }
        Self {
            system,
            running,
            seated: Vec::new(),
            knocks: 0,
            _worker: worker,
            door,
        }
    }

    /// Somebody of that priority who was never here before asks for a search.
    async fn knock(&mut self, priority: u8) -> Client {
        self.knocks += 1;
        let (host, key) = match priority {
            0 => (u8::try_from(1 + self.knocks).expect("a handful"), String::new()),
            paid => (1, format!("p{paid}-{}", self.knocks - 1)),
        };
        let mut client = Client::connect_from(host, self.door.address).await;
        client.send(get(self.system, "/search", &key)).await;
        client
    }

    async fn seat(&mut self, priority: u8) {
        let client = self.knock(priority).await;
        self.seated.push((priority, client));
        self.is_as_seated().await;
    }

    /// Waits until those wait who should, by their priorities, and no others.
    async fn is_as_seated(&self) {
        self.door.jobs_until(self.seated.len(), self.running.len()).await;
        let page = self.door.queue().await;
        let waiting = page["waiting"].as_array().expect("a list");
        let mut found: Vec<u64> = waiting.iter().filter_map(|job| job["priority"].as_u64()).collect();
        let mut expected: Vec<u64> = self.seated.iter().map(|(priority, _)| u64::from(*priority)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// The newest of the lowest priority is told that its seat was needed.
    async fn displaces(&mut self) {
        let lowest = self.seated.iter().map(|(priority, _)| *priority).min();
        let newest = self.seated.iter().rposition(|(priority, _)| Some(*priority) == lowest);
        let (_, mut displaced) = self.seated.remove(newest.expect("somebody waits"));
        displaced.answer().await.assert_refused(503, "displaced");
    }
}

impl Row {
    /// Lets every priority knock at the preset's queue as this row draws it, over HTTP, each at a fresh one.
    pub async fn check_over_http(&self, system: &System) {
        for priority in [0, 2, 5, 6] {
            let mut hall = Hall::busy(system).await;
            for seat in self.seated() {
                hall.seat(seat).await;
            }
            let mut late = hall.knock(priority).await;
            if self.rejecting.contains(&priority) {
                let refused = late.answer().await;
                refused.assert_refused(503, "queue_full");
                assert!(refused.get("retry-after").is_some());
            } else {
                if hall.seated.len() == self.queue.len() {
                    hall.displaces().await;
                }
                hall.seated.push((priority, late));
            }
            hall.is_as_seated().await;
        }
    }
}

/// Checks over HTTP that everybody of the table has as many searches at once as it says, that one more is 402, and that neither
/// what is no search nor what has ended counts.
pub async fn check_concurrency(system: &System, table: &[Line]) {
    let worker = UpstreamServer::start().await;
    let (door, _) = Proxy::start_preset(system.preset, with_sponsors, &[(system.upstream, worker.address)], NOON);
    for (tier, _, concurrency, _) in table {
        let key = key_of(tier).map_or(String::new(), |(_, key)| key);
        let search = async || {
            let mut client = Client::connect(door.address).await;
            client.send(get(system, "/search", &key)).await;
            client
        };
        let mut running = Vec::new();
        for _ in 0..*concurrency {
            running.push((search().await, worker.request().await));
        }
        for _ in 0..2 {
            let refused = search().await.answer().await;
            refused.assert_refused(402, "concurrency_exceeded");
            assert_eq!(refused.json()["limit"], *concurrency, "{tier}");
            let mut other = Client::connect(door.address).await;
            other.send(get(system, "/image/1", &key)).await;
            ends(&mut other, worker.request().await).await;
            let (mut first, arrived) = running.remove(0);
            ends(&mut first, arrived).await;
            running.push((search().await, worker.request().await));
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
