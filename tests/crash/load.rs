//! Callers that search over many connections each and note the outcome of every search.
//!
//! A search whose answer came whole and was a success must have been debited. One that was cut off may have been, if its answer
//! would have been a success. Nothing else may have been.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::dice::Dice;
use crate::support::{Answer, Client, hash, soon};

/// A caller with counters of its own.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: &'static str,
    /// Header lines that identify it.
    pub headers: String,
    /// The last number of its address 127.0.0.x.
    pub host: u8,
    pub connections: usize,
    /// Whether it has more connections than its concurrency.
    pub greedy: bool,
    /// The delegating account that pays as well, by its place in the list.
    pub account: Option<usize>,
}

/// Outcomes of a caller's searches.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answers received whole that are debited.
    pub whole: AtomicU64,
    /// Searches that were cut off, and would have been debited.
    pub cut_off: AtomicU64,
    /// All other answers.
    pub others: AtomicU64,
}

/// What `/me` said of one caller: used of the rolling window, used of the month, and when that month's debits go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub rolling: u64,
    pub month: u64,
    pub month_ends: Option<String>,
}

/// A tiers.yaml for [`callers`], except for the key of the delegating account, which comes from the running proxy.
pub fn yaml(server: SocketAddr, more: &str) -> String {
    let quotas = "quotas: { daily: { limit: 1000000, rolling: 24h }, month: { limit: 5000000, calendar: month } }";
    let account = |name: &str| {
        format!(
            "  - {{ name: {name}, tier: {name}, key_sha256: {} }}\n",
            hash(&key(name))
        )
    };
    let accounts: String = ["one", "two", "four"].map(account).concat();
    format!(
        r#"
listen: 127.0.0.1:0
admin: {{ listen: 127.0.0.1:0 }}
cores: 2
queue: {{ length: 64, max_wait: 30s }}
tiers:
  free: {{ priority: 0, concurrency: 2, {quotas} }}
  one:  {{ priority: 1, concurrency: 1, {quotas} }}
  two:  {{ priority: 3, concurrency: 2, {quotas} }}
  four: {{ priority: 5, concurrency: 4, {quotas} }}
  bots: {{ priority: 6, concurrency: 6, {quotas} }}
anonymous: free
accounts:
{accounts}
upstreams:
  search: {{ servers: [ {{ url: "http://{server}", slots: 10 }} ], timeout: 20s }}
routes:
  - {{ path: /search, upstream: search, metered: true, success: [200, 204] }}
  - {{ path: "/image/{{*rest}}", upstream: search }}
{more}
"#
    )
}

/// The key of a listed account.
pub fn key(account: &str) -> String {
    format!("key-of-{account}-0123456789")
}

/// Strangers, accounts that are listed, and a delegating one with that key and two users.
pub fn callers(bot_key: &str) -> Vec<Caller> {
    let shown = |key: &str| format!("x-api-key: {key}\r\n");
    let user = |name: &str| format!("{}x-tiergate-user: {name}\r\n", shown(bot_key));
    let caller = |name, headers, host, connections| Caller {
        name,
        headers,
        host,
        connections,
        greedy: false,
        account: None,
    };
    let user_of = |name, account| Caller {
        account: Some(account),
        ..caller(name, user(name), 1, 2)
    };
    vec![
        caller("a stranger", String::new(), 11, 2),
        caller("another stranger", String::new(), 12, 1),
        caller("one", shown(&key("one")), 1, 1),
        Caller {
            greedy: true,
            ..caller("two", shown(&key("two")), 1, 4)
        },
        caller("four", shown(&key("four")), 1, 4),
        caller("bot", shown(bot_key), 1, 1),
        user_of("ann", 5),
        user_of("bob", 5),
    ]
}

/// A search request, and whether its answer is debited.
struct Search {
    method: &'static str,
    query: &'static str,
    body: usize,
    debited: bool,
}

/// Every way for a response to end: by its length, by the last chunk, empty, and with its head.
const SEARCHES: [(&str, &str, usize, bool); 14] = [
    ("GET", "length=2", 0, true),
    ("GET", "length=1500", 0, true),
    ("GET", "length=100000", 0, true),
    ("GET", "length=1500&chunked", 0, true),
    ("GET", "length=100000&chunked", 0, true),
    ("GET", "length=0", 0, true),
    ("GET", "length=0&chunked", 0, true),
    ("GET", "status=204", 0, true),
    ("HEAD", "length=1500", 0, true),
    ("HEAD", "length=1500&chunked", 0, true),
    ("POST", "length=200", 4_000, true),
    ("GET", "status=500&length=20", 0, false),
    ("GET", "status=404&length=300&chunked", 0, false),
    ("HEAD", "status=500&length=20", 0, false),
];

impl Search {
    fn any(dice: &mut Dice) -> Self {
        let (method, query, body, debited) = SEARCHES[dice.below(SEARCHES.len() as u64) as usize];
        Self {
            method,
            query,
            body,
            debited,
        }
    }
}

/// Searches on all connections of all callers, until the proxy is gone.
pub struct Load {
    tallies: Vec<Arc<Tally>>,
    clients: JoinSet<()>,
    first: Arc<Notify>,
}

impl Load {
    /// Connects, then starts all searches.
    pub async fn begin(proxy: SocketAddr, callers: &[Caller], dice: &mut Dice) -> Self {
        let tallies: Vec<Arc<Tally>> = callers.iter().map(|_| Arc::default()).collect();
        let mut connected = Vec::new();
        for (caller, tally) in callers.iter().zip(&tallies) {
            for _ in 0..caller.connections {
                let client = Client::connect_from(caller.host, proxy).await;
                connected.push((client, caller.clone(), Arc::clone(tally), dice.fork()));
            }
        }
        let first = Arc::new(Notify::new());
        let mut clients = JoinSet::new();
        for (client, caller, tally, dice) in connected {
            clients.spawn(search_on(client, caller, tally, dice, Arc::clone(&first)));
        }
        Self {
            tallies,
            clients,
            first,
        }
    }

    /// Waits for the first answer.
    pub async fn first_answer(&self) {
        soon("a first answer", self.first.notified()).await;
    }

    /// What the callers noted until the proxy was gone: whole, cut off, others. Users' searches count for their account, too.
    pub async fn end(mut self, callers: &[Caller]) -> Vec<[u64; 3]> {
        while let Some(ended) = soon("a client notices", self.clients.join_next()).await {
            ended.expect("a client is content");
        }
        let own = |tally: &Arc<Tally>| [&tally.whole, &tally.cut_off, &tally.others].map(|count| count.load(Relaxed));
        let own: Vec<[u64; 3]> = self.tallies.iter().map(own).collect();
        let mut all = own.clone();
        for (caller, counts) in callers.iter().zip(&own) {
            if let Some(account) = caller.account {
                (0..3).for_each(|place| all[account][place] += counts[place]);
            }
        }
        all
    }
}

async fn search_on(mut client: Client, caller: Caller, tally: Arc<Tally>, mut dice: Dice, first: Arc<Notify>) {
    loop {
        let search = Search::any(&mut dice);
        match ask(&mut client, &caller, &search).await {
            Ok(answer) => {
                note(&caller, &search, &answer, &tally);
                first.notify_one();
            }
            Err(_) => {
                // The proxy is gone. If it had closed the connection for another reason, a later check would miss the load.
                if search.debited {
                    tally.cut_off.fetch_add(1, Relaxed);
                }
                return;
            }
        }
    }
}

async fn ask(client: &mut Client, caller: &Caller, search: &Search) -> std::io::Result<Answer> {
    let Search {
        method, query, body, ..
    } = search;
    let length = match body {
        0 => String::new(),
        _ => format!("content-length: {body}\r\n"),
    };
    let head = format!(
        "{method} /search?{query} HTTP/1.1\r\nhost: tiergate.example\r\n{}{length}\r\n",
        caller.headers
    );
    client.stream.write_all(head.as_bytes()).await?;
    client.stream.write_all(&vec![b'x'; *body]).await?;
    let answer = soon("an answer, or the end", client.try_answer(method)).await?;
    let has_an_end = answer.get("content-length").is_some() || answer.get("transfer-encoding").is_some();
    assert!(
        has_an_end || *method == "HEAD" || answer.status() == 204,
        "one can't tell whether this is whole: {:?}",
        answer.head
    );
    Ok(answer)
}

fn note(caller: &Caller, search: &Search, answer: &Answer, tally: &Tally) {
    let status = answer.status();
    let wanted = search.query.strip_prefix("status=").map_or("200", |rest| &rest[..3]);
    if status == 402 && caller.greedy {
        tally.others.fetch_add(1, Relaxed);
        return;
    }
    assert_eq!(
        status.to_string(),
        wanted,
        "{} {}: {}",
        caller.name,
        search.query,
        answer.text()
    );
    match search.debited {
        true => tally.whole.fetch_add(1, Relaxed),
        false => tally.others.fetch_add(1, Relaxed),
    };
}

/// What `/me` tells each caller. No search is in progress, and nothing is held.
pub async fn used(proxy: SocketAddr, callers: &[Caller]) -> Vec<Used> {
    let mut all = Vec::new();
    for caller in callers {
        let mut client = Client::connect_from(caller.host, proxy).await;
        let answer = client.ask("GET", "/me", &caller.headers).await;
        assert_eq!(answer.status(), 200, "{}: {}", caller.name, answer.text());
        let me = answer.json();
        let is_zero = |of: &Value, name: &str| assert_eq!(of[name], 0, "{name} of {}: {me}", caller.name);
        is_zero(&me, "running");
        is_zero(&me, "waiting");
        let lines = me["quotas"].as_array().expect("quotas");
        lines.iter().for_each(|line| is_zero(line, "held"));
        let line = |name: &str| {
            lines
                .iter()
                .find(|line| line["name"] == name)
                .expect("a quota of that name")
        };
        let units = |name: &str| line(name)["used"].as_u64().expect("a number");
        all.push(Used {
            rolling: units("daily"),
            month: units("month"),
            month_ends: line("month")["next_reset"].as_str().map(str::to_owned),
        });
    }
    all
}
