//! An unreachable server: its jobs move to another one, at once or as soon as that has a slot (rules §2.7).

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::support::{Arrived, Client, Proxy, UpstreamServer, get, seven_tiers};

/// The states of all jobs that have or had a slot, sorted.
fn states(page: &serde_json::Value) -> Vec<String> {
    let lines = page["running"].as_array().expect("a list");
    let mut states: Vec<String> = lines
        .iter()
        .map(|line| line["state"].as_str().expect("a state").to_owned())
        .collect();
    states.sort();
    states
}

async fn states_until(proxy: &Proxy, expected: &[&str]) {
    let what = format!("{expected:?} run");
    proxy.queue_until(&what, |page| states(page) == expected).await;
}

async fn search(proxy: &Proxy, key: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search(key).await;
    client
}

/// An address at which nothing listens, reserved while this is kept.
struct Dead(TcpSocket);

impl Dead {
    fn bind() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("loopback has free ports");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }
}

/// Answers and closes the connection, so that the next request uses another one.
async fn answer(mut at_server: Arrived, body: &str) {
    at_server.answer_with("200 OK", "connection: close\r\n", body).await;
}

/// One job on the live server and one that relocates from the dead one.
struct Half {
    proxy: Proxy,
    server: UpstreamServer,
    _dead: Dead,
    running: Client,
    at_server: Arrived,
    moving: Client,
}

async fn half_dead(more: impl Fn(String) -> String) -> Half {
    let (server, dead) = (UpstreamServer::start().await, Dead::bind());
    let yaml = seven_tiers(8, &[(server.address, 1), (dead.address(), 1)], "");
    let proxy = Proxy::start(&more(yaml));
    let running = search(&proxy, "key-1").await;
    let at_server = server.request().await;
    let moving = search(&proxy, "key-5").await;
    states_until(&proxy, &["moving", "running"]).await;
    Half {
        proxy,
        server,
        _dead: dead,
        running,
        at_server,
        moving,
    }
}

/// Regression: with jobs queued no slot is ever free, so each job sent to the dead server got a 502 although the other
/// server was well.
#[tokio::test]
async fn with_one_of_two_servers_dead_no_client_notices() {
    let Half {
        proxy,
        mut running,
        at_server,
        mut moving,
        server,
        _dead,
    } = half_dead(|yaml| yaml).await;
    let mut waiting = search(&proxy, "key-100").await;
    proxy.jobs_until(1, 2).await;

    answer(at_server, "first").await;
    let told = running.answer().await;
    assert_eq!((told.status(), told.text()), (200, "first".to_owned()));

    // The relocating job goes first, though the queued one has the highest priority.
    let at_server = server.request().await;
    assert_eq!(at_server.head.get("x-tiergate-account"), Some("a5"));
    answer(at_server, "moved").await;
    let told = moving.answer().await;
    assert_eq!((told.status(), told.text()), (200, "moved".to_owned()));

    let at_server = server.request().await;
    assert_eq!(at_server.head.get("x-tiergate-account"), Some("a100"));
    answer(at_server, "waited").await;
    assert_eq!(waiting.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
}

/// A server dies while it works and others are queued: the jobs it began are answered, and those sent there afterwards
/// relocate.
#[tokio::test]
async fn a_dying_server_leaves_its_queue_to_the_other() {
    let (dying, other) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let proxy = Proxy::start(&seven_tiers(8, &[(dying.address, 1), (other.address, 1)], ""));
    let mut first = search(&proxy, "key-1").await;
    let at_dying = dying.request().await;
    let mut second = search(&proxy, "key-5").await;
    let at_other = other.request().await;
    let mut next = search(&proxy, "key-10").await;
    proxy.jobs_until(1, 2).await;
    let mut last = search(&proxy, "").await;
    proxy.jobs_until(2, 2).await;

    drop(dying);
    answer(at_dying, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    states_until(&proxy, &["moving", "running"]).await;

    answer(at_other, "{}").await;
    assert_eq!(second.answer().await.status(), 200);
    for (client, account) in [(&mut next, Some("a10")), (&mut last, None)] {
        let at_other = other.request().await;
        assert_eq!(at_other.head.get("x-tiergate-account"), account);
        answer(at_other, "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn hanging_up_while_relocating_gives_everything_back() {
    let Half {
        proxy,
        mut running,
        at_server,
        moving,
        server,
        _dead,
    } = half_dead(|yaml| yaml).await;
    drop(moving);
    states_until(&proxy, &["running"]).await;
    let cancelled = r#"tiergate_jobs_total{tier="$5",outcome="cancelled"}"#;
    assert_eq!(proxy.metric(cancelled).await, 1.0);
    answer(at_server, "{}").await;
    assert_eq!(running.answer().await.status(), 200);

    // The same caller, whose concurrency is one.
    let mut again = search(&proxy, "key-5").await;
    answer(server.request().await, "{}").await;
    assert_eq!(again.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
}

/// The other server is unreachable by then too: a relocating job waits until its deadline and no longer.
#[tokio::test]
async fn a_failed_relocation_is_refused_by_its_deadline() {
    let short = |yaml: String| yaml.replace("timeout: 20s", "timeout: 1s");
    let Half {
        proxy,
        running,
        at_server,
        mut moving,
        server,
        _dead,
    } = half_dead(short).await;
    drop(server);
    // An unmetered request discovers it.
    let image = get(proxy.address, "/image/1").await;
    assert_eq!(
        (image.status(), image.reason()),
        (502, "upstream_unreachable".to_owned())
    );

    let answer = moving.answer().await;
    assert_eq!(
        (answer.status(), answer.reason()),
        (502, "upstream_unreachable".to_owned())
    );
    let failed = r#"tiergate_jobs_total{tier="$5",outcome="failed"}"#;
    assert_eq!(proxy.metric(failed).await, 1.0);
    drop((running, at_server));
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn without_a_live_server_the_job_fails_with_502() {
    let dead = Dead::bind();
    let proxy = Proxy::start(&seven_tiers(8, &[(dead.address(), 1)], ""));
    let answer = search(&proxy, "key-5").await.answer().await;
    assert_eq!(
        (answer.status(), answer.reason()),
        (502, "upstream_unreachable".to_owned())
    );
    let failed = r#"tiergate_jobs_total{tier="$5",outcome="failed"}"#;
    assert_eq!(proxy.metric(failed).await, 1.0);
    proxy.jobs_until(0, 0).await;
}
