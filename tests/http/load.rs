//! Many requests against a server that answers at once: one after another (rules §4), and a thousand at once
//! (§9.1).

use tokio::task::JoinSet;

use super::accounting::with_key;
use crate::support::fast::FastServer;
use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, get, metric_sum, seven_tiers};

/// The method of the request, and what the server is asked to answer.
const ANSWERS: [(&str, &str); 10] = [
    ("GET", "length=1"),
    ("GET", "length=0"),
    ("GET", "length=1&chunked"),
    ("GET", "status=204"),
    ("HEAD", "length=100"),
    ("POST", "length=2"),
    ("GET", "status=404&length=10"),
    ("GET", "length=102400"),
    ("GET", "length=102400&chunked"),
    ("GET", "length=1048576"),
];

async fn ask(client: &mut Client, method: &str, query: &str) {
    let headers = "x-api-key: key-10\r\n";
    if method == "POST" {
        let headers = format!("{headers}content-length: 3\r\n");
        client.request(method, &format!("/search?{query}"), &headers).await;
        client.send("abc").await;
    } else {
        client.request(method, &format!("/search?{query}"), headers).await;
    }
    let answer = client.answer_to(method).await;
    let expected = if query.contains("204") {
        204
    } else if query.contains("404") {
        404
    } else {
        200
    };
    assert_eq!(answer.status(), expected, "{method} {query}: {}", answer.text());
}

#[tokio::test]
async fn a_sequential_client_never_competes_with_itself() {
    let server = FastServer::start();
    let ample = seven_tiers(8, &[(server.address, 4)], "").replace("limit: 1000,", "limit: 1000000,");
    let proxy = Proxy::start(&ample);
    let mut kept = Client::connect(proxy.address).await;
    let mut asked = 0;
    for (method, query) in ANSWERS {
        let rounds = if query.contains("1048576") { 40 } else { 250 };
        for _ in 0..rounds {
            ask(&mut kept, method, query).await;
            let mut new = Client::connect(proxy.address).await;
            ask(&mut new, method, query).await;
            asked += 2;
        }
    }
    assert_eq!((server.requests(), server.most_at_once()), (asked, 1));
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn a_thousand_clients_at_once_get_one_answer_each() {
    const CLIENTS: u32 = 1_000;
    let server = FastServer::start();
    let yaml = seven_tiers(8, &[(server.address, 2)], "");
    let proxy = Proxy::start(&yaml);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let address = proxy.address;
        clients.spawn(async move {
            let network = u8::try_from(number % 250).expect("below 250") + 2;
            let mut client = Client::connect_from(network, address).await;
            let keys = ["", "", "key-1", "key-5", "key-10", "key-20", "key-50", "key-100"];
            client.search(keys[(number % 8) as usize]).await;
            let answer = client.answer().await;
            // Nothing follows the answer.
            client.request("GET", "/nowhere", "connection: close\r\n").await;
            assert_eq!(client.answer().await.status(), 404);
            answer
        });
    }
    let (mut found, mut refused) = (0, 0);
    while let Some(answer) = clients.join_next().await {
        let answer = answer.expect("no client is left without an answer");
        match answer.status() {
            200 => found += 1,
            402 | 503 => refused += 1,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert_eq!(found + refused, CLIENTS);
    assert!(found >= 10, "only {found} of {CLIENTS}");
    assert!(server.most_at_once() <= 2, "{} at once", server.most_at_once());
    proxy.jobs_until(0, 0).await;
    let jobs = async |outcome: &str| metric_sum(proxy.admin, "tiergate_jobs_total", outcome).await;
    let refusals = async |reason: &str| metric_sum(proxy.admin, "tiergate_refusals_total", reason).await;
    assert_eq!(jobs("succeeded").await, f64::from(found));
    let rejected = refusals("concurrency_exceeded").await + refusals("queue_full").await;
    assert_eq!(rejected + jobs("displaced").await, f64::from(refused));
    assert_eq!(refusals("displaced").await, jobs("displaced").await);
    assert_eq!(jobs("").await + rejected, f64::from(CLIENTS));
    assert_eq!(server.requests(), found as usize);
}

#[tokio::test]
async fn an_account_is_one_caller_and_so_is_a_network() {
    let server = UpstreamServer::start().await;
    let hash = crate::support::hash;
    let two_keys = format!("key_sha256: [ {}, {} ]", hash("one"), hash("two"));
    let yaml =
        seven_tiers(8, &[(server.address, 1)], "").replace(&format!("key_sha256: {}", hash("key-10")), &two_keys);
    let proxy = Proxy::start(&yaml);
    let mut running = Client::connect(proxy.address).await;
    running.search("one").await;
    let mut arrived = server.request().await;
    let mut same = Client::connect(proxy.address).await;
    same.search("two").await;
    let answer = same.answer().await;
    assert_eq!(
        (answer.status(), answer.reason().as_str()),
        (402, "concurrency_exceeded")
    );
    // Queued jobs count like running ones. The same person without a key is another caller.
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("").await;
    proxy.jobs_until(1, 1).await;
    same.search("").await;
    assert_eq!(same.answer().await.status(), 402);
    let mut other_network = Client::connect_from(9, proxy.address).await;
    other_network.search("").await;
    proxy.jobs_until(2, 1).await;
    drop((waiting, other_network));
    proxy.jobs_until(0, 1).await;
    arrived.answer("").await;
    assert_eq!(running.answer().await.status(), 200);
    assert_eq!(get(proxy.address, "/nowhere").await.status(), 404);
}

/// The names of requests in the order in which they are served. The first runs while the others queue, in the order
/// given.
async fn served(queue: &str, anonymous: &str, requests: &[(&str, &str)]) -> Vec<String> {
    let server = UpstreamServer::start().await;
    let plan = Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        queue,
        ..Plan::default()
    };
    let yaml = plan.yaml().replace("anonymous: p0", &format!("anonymous: {anonymous}"));
    let proxy = Proxy::start(&yaml);
    let mut clients = Vec::new();
    for (key, name) in requests {
        let mut client = Client::connect(proxy.address).await;
        let headers = format!("{}x-name: {name}\r\n", with_key(key));
        client.request("GET", "/search", &headers).await;
        clients.push(client);
        proxy.jobs_until(clients.len() - 1, 1).await;
    }
    let mut served = Vec::new();
    let mut arrived = server.request().await;
    loop {
        served.push(arrived.head.get("x-name").expect("each has one").to_owned());
        arrived.answer("").await;
        if served.len() == requests.len() {
            return served;
        }
        arrived = Arrived::on(arrived.stream).await;
    }
}

#[tokio::test]
async fn fair_order_takes_turns_and_the_lifeline_picks_the_oldest() {
    let same_tier = [
        ("p6", "first"),
        ("p5", "p5 1"),
        ("p5", "p5 2"),
        ("p5", "p5 3"),
        ("", "other"),
    ];
    for (queue, order) in [
        (
            "within_tier: fair, max_wait: 30s",
            ["first", "p5 1", "other", "p5 2", "p5 3"],
        ),
        (
            "within_tier: fifo, max_wait: 30s",
            ["first", "p5 1", "p5 2", "p5 3", "other"],
        ),
    ] {
        assert_eq!(served(queue, "p5", &same_tier).await, order, "{queue}");
    }
    // For the lifeline the anonymous client is in the lowest tier.
    let queue = "lifeline: 2, max_wait: 30s";
    let lower_tier = [
        ("p6", "first"),
        ("p6", "second"),
        ("", "other"),
        ("p5", "p5 1"),
        ("p5", "p5 2"),
    ];
    let order = ["first", "second", "other", "p5 1", "p5 2"];
    assert_eq!(served(queue, "p0", &lower_tier).await, order);
}
