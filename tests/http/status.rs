//! The status page: what everybody may know of the queue, who may follow it, and how it ends.

use serde_json::{Value, json};
use tiergate::policy::time::{Span, UnixTime};

use super::accounting::{ask, search, with_key};
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Answer, Client, Plan, Proxy, UpstreamServer, get, seven_tiers, soon};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

fn plan<'a>(servers: &'a [(std::net::SocketAddr, u32)], more: &'a str) -> Plan<'a> {
    Plan {
        cores: 1,
        servers,
        more,
        ..Plan::default()
    }
}

async fn queued(proxy: &Proxy, key: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search(key).await;
    client
}

/// One who follows the events.
struct Follower {
    client: Client,
    text: String,
}

impl Follower {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let mut client = Client::connect(address).await;
        client.request("GET", "/status/events", "").await;
        let head = client.answer_head().await;
        assert_eq!(
            (head.status(), head.get("content-type")),
            (200, Some("text/event-stream"))
        );
        assert_eq!(head.get("cache-control"), Some("no-store"));
        let text = String::new();
        Self { client, text }
    }

    /// The next event of that name, without its frame of HTTP.
    async fn next(&mut self, name: &str) -> Option<Value> {
        let mark = format!("event: {name}\ndata: ");
        loop {
            if let Some((_, rest)) = self.text.split_once(&mark)
                && let Some((data, rest)) = rest.split_once("\n\n")
            {
                let data = serde_json::from_str(data).expect("an event is one line of JSON");
                self.text = rest.to_owned();
                return Some(data);
            }
            let bytes = self
                .client
                .read_some()
                .await
                .expect("the connection ends in good order");
            if bytes.is_empty() {
                return None;
            }
            self.text.push_str(&unchunked(&bytes));
        }
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        soon(what, async {
            loop {
                let now = self.next("now").await.expect("it goes on");
                if is_so(&now) {
                    return now;
                }
            }
        })
        .await
    }
}

/// Lines that give the size of a chunk have nothing else than hexadecimal digits.
fn unchunked(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("events are text, and ASCII here");
    let is_size = |line: &str| line.len() <= 8 && !line.is_empty() && line.chars().all(|c| c.is_ascii_hexdigit());
    let lines = text.split("\r\n").filter(|line| !is_size(line));
    lines.collect::<Vec<_>>().concat()
}

fn places(now: &Value) -> Vec<u64> {
    let places = now["queue"]["places"].as_array().expect("a short queue");
    places
        .iter()
        .map(|place| place["priority"].as_u64().expect("a priority"))
        .collect()
}

fn admitted(now: &Value) -> Vec<(u64, String, bool)> {
    let lines = now["upstreams"][0]["admission"].as_array().expect("a list");
    let line = |line: &Value| {
        let how = line["how"].as_str().expect("a word").to_owned();
        (
            line["priority"].as_u64().expect("a priority"),
            how,
            line["admitted"] == true,
        )
    };
    lines.iter().map(line).collect()
}

#[tokio::test]
async fn the_state_is_told_and_followed() {
    let server = UpstreamServer::start().await;
    let proxy = plan(&[(server.address, 1)], "drain_timeout: 100ms").start();
    let mut follower = Follower::connect(proxy.address).await;
    let first = follower.next("now").await.expect("the state comes first");
    assert_eq!(first["headline"]["title"], "Open: no queue");
    assert!(admitted(&first).iter().all(|(_, how, yes)| how == "slot" && *yes));
    let past = follower.next("traffic").await.expect("then the past");
    assert_eq!(
        (past["period"].as_str(), past["served"].as_array().map(Vec::len)),
        (Some("1h"), Some(60))
    );

    let mut clients = vec![queued(&proxy, "p3").await];
    proxy.jobs_until(0, 1).await;
    for (at, key) in ["p6", "p2", "p5", "p2", "p2", "p2", "p2", "p2"].into_iter().enumerate() {
        clients.push(queued(&proxy, key).await);
        proxy.jobs_until(at + 1, 1).await;
    }
    let full = follower
        .until("eight places are taken", |now| places(now).len() == 8)
        .await;
    assert_eq!(places(&full), [6, 5, 2, 2, 2, 2, 2, 2]);
    assert_eq!(full["headline"]["title"], "Busy: priority 3 and above get in");
    for (priority, how, yes) in admitted(&full) {
        let told = if priority > 2 {
            ("displaces", true)
        } else {
            ("full", false)
        };
        assert_eq!((how.as_str(), yes), told, "{priority}");
    }
    assert_eq!(full["upstreams"][0]["running"][0]["priority"], 3);
    let told = get(proxy.address, "/status.json").await.json();
    assert_eq!(told["now"]["queue"], full["queue"]);

    drop(clients);
    follower.until("all have gone", |now| places(now).is_empty()).await;
}

/// `/stats` reads the same tables; refusals are told before their minute is over.
#[tokio::test]
async fn the_past_is_counted_as_it_is_elsewhere() {
    let server = FastServer::start();
    let yaml = seven_tiers(
        8,
        &[(server.address, 4)],
        "limits: [{ name: http, per: account, limit: 7, window: 60s }]",
    );
    let (proxy, _) = Proxy::start_in_at(Folder::new(), NOON, &yaml);
    for status in [200, 200, 200, 200, 418, 500, 200] {
        let answer = ask(&proxy, &format!("/search?status={status}"), &with_key("key-20")).await;
        assert_eq!(answer.status(), status);
    }
    assert_eq!(search(&proxy, "key-20").await.status(), 429);
    assert_eq!(ask(&proxy, "/search", "x-api-key: nobodys\r\n").await.status(), 403);
    soon("all are written", async {
        while get(proxy.address, "/stats?period=minute").await.json()[59]["total"] != 7 {}
    })
    .await;
    let told = get(proxy.address, "/status.json").await.json()["traffic"].clone();
    for (period, rows) in [("1h", 60), ("3d", 72), ("60d", 60)] {
        let told = &told[period];
        assert_eq!(
            (told["served"].as_array().map(Vec::len), sum(&told["served"])),
            (Some(rows), 5.0),
            "{told}"
        );
        for (group, count) in [
            ("room", 0.0),
            ("limits", 0.0),
            ("rate", 1.0),
            ("request", 1.0),
            ("fault", 2.0),
        ] {
            assert_eq!(sum(&told[group]), count, "{group}");
        }
        let reasons = told["reasons"].as_array().expect("a list").iter();
        let mut reasons: Vec<_> = reasons
            .map(|line| (line["reason"].as_str(), line["status"].as_u64()))
            .collect();
        reasons.sort_unstable();
        let expected = [
            ("failed", 418),
            ("failed", 500),
            ("invalid_key", 403),
            ("rate_limited", 429),
        ];
        assert_eq!(reasons, expected.map(|(reason, status)| (Some(reason), Some(status))));
        assert!(told["percentiles_ms"]["p50"].is_u64() && told["p50"][rows - 1] == told["percentiles_ms"]["p50"]);
        assert!(told["p50"][0].is_null());
    }
}

/// The sum of the waits divided by the time is how many waited on average.
#[tokio::test]
async fn places_taken_on_average_are_told_by_priority() {
    let server = UpstreamServer::start().await;
    let yaml = plan(&[(server.address, 1)], "drain_timeout: 100ms").yaml();
    let (proxy, hands) = Proxy::start_at(NOON, &yaml);
    let mut running = queued(&proxy, "p5").await;
    let arrived = server.request().await;
    let mut waiting = queued(&proxy, "p2").await;
    proxy.jobs_until(1, 1).await;
    hands.advance(Span::from_secs(30));
    let mut arrived = arrived;
    arrived.answer("").await;
    assert_eq!(running.answer().await.status(), 200);
    let mut arrived = crate::support::Arrived::on(arrived.stream).await;
    arrived.answer("").await;
    assert_eq!(waiting.answer().await.status(), 200);
    let told = soon("both are written", async {
        loop {
            let told = get(proxy.address, "/status.json").await.json()["traffic"]["1h"].clone();
            if sum(&told["served"]) == 2.0 {
                return told;
            }
            hands.advance(Span::from_secs(15)); // it is kept for that long
        }
    })
    .await;
    // Of the minute so far, or of all of it, if it is over.
    let mean = sum(&told["places"]["2"]);
    assert!((0.5..=1.0).contains(&mean), "{told}");
    assert_eq!(sum(&told["places"]["5"]), 0.0);
}

fn sum(numbers: &Value) -> f64 {
    let numbers = numbers.as_array().expect("a list").iter();
    numbers.map(|number| number.as_f64().expect("a number")).sum()
}

#[tokio::test]
async fn nobody_is_identified_and_no_server_named() {
    let server = UpstreamServer::start().await;
    let proxy = plan(&[(server.address, 1)], "drain_timeout: 100ms").start();
    let _running = queued(&proxy, "p5").await;
    let _waiting = queued(&proxy, "p5").await;
    proxy.jobs_until(1, 1).await;
    let port = server.address.port().to_string();
    for path in ["/status", "/status.json"] {
        let text = get(proxy.address, path).await.text();
        for secret in ["127.0.0.1", &port, "account", "caller", "network\"", "upstream\""] {
            assert!(!text.contains(secret), "{path} tells {secret}");
        }
    }
}

#[tokio::test]
async fn names_are_text_on_the_page() {
    let server = UpstreamServer::start().await;
    let yaml = plan(&[(server.address, 1)], "drain_timeout: 100ms").yaml();
    let hostile = "</script><i>&";
    let yaml = yaml
        .replace("  p6: {", &format!("  \"{hostile}\": {{"))
        .replace("tier: p6", &format!("tier: \"{hostile}\""));
    let proxy = Proxy::start(&yaml);
    let page = get(proxy.address, "/status").await.text();
    assert!(page.contains("&lt;/script&gt;&lt;i&gt;&amp;") && !page.contains(hostile) && !page.contains("<i>&"));
    let told = get(proxy.address, "/status.json").await.json();
    assert_eq!(told["now"]["upstreams"][0]["admission"][0]["tiers"], json!([hostile]));
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_nothing_is_inline() {
    let server = UpstreamServer::start().await;
    let proxy = plan(&[(server.address, 1)], "drain_timeout: 100ms").start();
    let page = get(proxy.address, "/status").await;
    let policy = page.get("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert_eq!(page.get("cache-control"), Some("no-store"));
    let text = page.text();
    let mut assets = text.split('"').filter(|part| part.starts_with("/status/assets/"));
    let assets: Vec<&str> = assets.by_ref().collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
    for asset in assets {
        let answer = get(proxy.address, asset).await;
        assert_eq!(
            (answer.status(), answer.get("cache-control")),
            (200, Some("public, max-age=31536000, immutable"))
        );
        assert_eq!(answer.get("x-content-type-options"), Some("nosniff"));
    }
    let unknown = get(proxy.address, "/status/assets/status.0000000000000000.js").await;
    assert_eq!(unknown.status(), 404);
}

/// Charged once, however long it is followed.
#[tokio::test]
async fn request_limits_hold_for_the_page_too() {
    let server = UpstreamServer::start().await;
    let more = "drain_timeout: 100ms\nlimits: [{ name: http, per: network, limit: 3, window: 60s }]";
    let proxy = plan(&[(server.address, 1)], more).start();
    let mut follower = Follower::connect(proxy.address).await;
    assert!(follower.next("now").await.is_some());
    let mut client = Client::connect(proxy.address).await;
    let left = |answer: &Answer| (answer.status(), answer.get("x-ratelimit-remaining").map(str::to_owned));
    assert_eq!(
        left(&client.ask("GET", "/status", "").await),
        (200, Some("1".to_owned()))
    );
    let _running = queued(&proxy, "p5").await;
    follower
        .until("a job runs", |now| now["upstreams"][0]["busy"] == 1)
        .await;
    assert_eq!(client.ask("GET", "/status.json", "").await.status(), 429);
}

#[tokio::test]
async fn a_network_has_so_many_streams_and_gets_them_back() {
    let server = UpstreamServer::start().await;
    let proxy = plan(&[(server.address, 1)], "drain_timeout: 100ms").start();
    let limit = tiergate::http::status::VIEWERS_PER_NETWORK_MAX;
    let mut followers = Vec::new();
    for _ in 0..limit {
        followers.push(Follower::connect(proxy.address).await);
    }
    let refused = get(proxy.address, "/status/events").await;
    assert_eq!(
        (refused.status(), refused.reason().as_str()),
        (503, "too_many_in_flight")
    );
    assert_eq!(refused.json()["limit"], limit);
    let mut other = Client::connect_from(7, proxy.address).await;
    other.request("GET", "/status/events", "").await;
    assert_eq!(other.answer_head().await.status(), 200);
    assert_eq!(proxy.metric("tiergate_status_viewers").await, f64::from(limit + 1));
    // One who hangs up is noticed, and so is one who has sent the next request already.
    followers.pop();
    let mut pipelined = followers.pop().expect("more than one").client;
    pipelined.request("GET", "/status", "").await;
    drop(pipelined);
    soon("both are missed", async {
        while proxy.metric("tiergate_status_viewers").await > f64::from(limit - 1) {}
    })
    .await;
    let mut head = Client::connect(proxy.address).await;
    assert_eq!(head.ask("HEAD", "/status/events", "").await.status(), 200);
    drop(Follower::connect(proxy.address).await);
}

#[tokio::test]
async fn streams_end_first_when_the_server_drains() {
    let server = UpstreamServer::start().await;
    let yaml = plan(&[(server.address, 1)], "drain_timeout: 15s").yaml();
    let mut program = Program::start(&yaml).await;
    let mut running = Client::connect(program.address).await;
    running.search("p5").await;
    let mut arrived = server.request().await;
    let mut follower = Follower::connect(program.address).await;
    program.signal("TERM").await;
    soon("the stream ends", async {
        while follower.next("now").await.is_some() {}
    })
    .await;
    arrived.answer("").await;
    assert_eq!(running.answer().await.status(), 200);
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn it_may_be_elsewhere_or_off() {
    let server = UpstreamServer::start().await;
    let more = "drain_timeout: 100ms\npaths: { status: /own/queue }";
    let proxy = plan(&[(server.address, 1)], more).start();
    assert_eq!(get(proxy.address, "/own/queue.json").await.status(), 200);
    assert!(
        get(proxy.address, "/own/queue")
            .await
            .text()
            .contains("\"/own/queue/assets/")
    );
    assert_eq!(get(proxy.address, "/status").await.status(), 404);
    let off = plan(&[(server.address, 1)], "drain_timeout: 100ms\npaths: { status: off }").start();
    for path in ["/status", "/status.json", "/status/events"] {
        assert_eq!(get(off.address, path).await.status(), 404, "{path}");
    }
}
