//! A worker that can't be reached: its jobs go to another one, at once or as soon as that has a slot (rules §2.7).

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::support::{Arrived, Client, Door, Worker, get, seven_tiers};

/// The state of each job that has or had a slot, sorted.
fn states(page: &serde_json::Value) -> Vec<String> {
    let lines = page["running"].as_array().expect("a list");
    let mut states: Vec<String> = lines
        .iter()
        .map(|line| line["state"].as_str().expect("a state").to_owned())
        .collect();
    states.sort();
    states
}

async fn states_until(door: &Door, expected: &[&str]) {
    let what = format!("{expected:?} run");
    door.queue_until(&what, |page| states(page) == expected).await;
}

async fn search(door: &Door, key: &str) -> Client {
    let mut client = Client::connect(door.address).await;
    client.search(key).await;
    client
}

/// An address at which nobody listens, and nobody else will while it is kept.
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

/// Answers, and closes the connection, so that the next request comes on one of its own.
async fn answer(mut at_worker: Arrived, body: &str) {
    at_worker.answer_with("200 OK", "connection: close\r\n", body).await;
}

/// A job on the worker that lives and one that moves away from the one that is dead.
struct Half {
    door: Door,
    worker: Worker,
    _dead: Dead,
    running: Client,
    at_worker: Arrived,
    moving: Client,
}

async fn half_dead(more: impl Fn(String) -> String) -> Half {
    let (worker, dead) = (Worker::start().await, Dead::bind());
    let yaml = seven_tiers(8, &[(worker.address, 1), (dead.address(), 1)], "");
    let door = Door::open(&more(yaml));
    let running = search(&door, "key-1").await;
    let at_worker = worker.request().await;
    let moving = search(&door, "key-5").await;
    states_until(&door, &["moving", "running"]).await;
    Half {
        door,
        worker,
        _dead: dead,
        running,
        at_worker,
        moving,
    }
}

/// The story: with people waiting, no slot is ever free, so each job that was sent to the dead worker was told 502 though
/// the other one was well.
#[tokio::test]
async fn with_one_of_two_workers_dead_from_the_start_nobody_sees_it() {
    let Half {
        door,
        mut running,
        at_worker,
        mut moving,
        worker,
        _dead,
    } = half_dead(|yaml| yaml).await;
    let mut waiting = search(&door, "key-100").await;
    door.house_until(1, 2).await;

    answer(at_worker, "first").await;
    let told = running.answer().await;
    assert_eq!((told.status(), told.text()), (200, "first".to_owned()));

    // The job that moves, though the one that waits has the highest priority.
    let at_worker = worker.request().await;
    assert_eq!(at_worker.head.get("x-tiergate-account"), Some("a5"));
    answer(at_worker, "moved").await;
    let told = moving.answer().await;
    assert_eq!((told.status(), told.text()), (200, "moved".to_owned()));

    let at_worker = worker.request().await;
    assert_eq!(at_worker.head.get("x-tiergate-account"), Some("a100"));
    answer(at_worker, "waited").await;
    assert_eq!(waiting.answer().await.status(), 200);
    door.house_until(0, 0).await;
}

/// A worker dies while it works and others wait: what it has begun is answered, and who is sent there next moves.
#[tokio::test]
async fn a_dying_server_leaves_its_queue_to_the_other() {
    let (dying, other) = (Worker::start().await, Worker::start().await);
    let door = Door::open(&seven_tiers(8, &[(dying.address, 1), (other.address, 1)], ""));
    let mut first = search(&door, "key-1").await;
    let at_dying = dying.request().await;
    let mut second = search(&door, "key-5").await;
    let at_other = other.request().await;
    let mut next = search(&door, "key-10").await;
    door.house_until(1, 2).await;
    let mut last = search(&door, "").await;
    door.house_until(2, 2).await;

    drop(dying);
    answer(at_dying, "{}").await;
    assert_eq!(first.answer().await.status(), 200);
    states_until(&door, &["moving", "running"]).await;

    answer(at_other, "{}").await;
    assert_eq!(second.answer().await.status(), 200);
    for (client, account) in [(&mut next, Some("a10")), (&mut last, None)] {
        let at_other = other.request().await;
        assert_eq!(at_other.head.get("x-tiergate-account"), account);
        answer(at_other, "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    door.house_until(0, 0).await;
}

#[tokio::test]
async fn who_hangs_up_while_moving_gives_everything_back() {
    let Half {
        door,
        mut running,
        at_worker,
        moving,
        worker,
        _dead,
    } = half_dead(|yaml| yaml).await;
    drop(moving);
    states_until(&door, &["running"]).await;
    let cancelled = r#"tiergate_jobs_total{tier="$5",outcome="cancelled"}"#;
    assert_eq!(door.metric(cancelled).await, 1.0);
    answer(at_worker, "{}").await;
    assert_eq!(running.answer().await.status(), 200);

    // The same caller, whose concurrency is one.
    let mut again = search(&door, "key-5").await;
    answer(worker.request().await, "{}").await;
    assert_eq!(again.answer().await.status(), 200);
    door.house_until(0, 0).await;
}

/// The other worker can't be reached either by the time: who moves waits until its deadline and no longer.
#[tokio::test]
async fn who_moves_in_vain_is_told_so_at_its_deadline() {
    let short = |yaml: String| yaml.replace("timeout: 20s", "timeout: 1s");
    let Half {
        door,
        running,
        at_worker,
        mut moving,
        worker,
        _dead,
    } = half_dead(short).await;
    drop(worker);
    // An unmetered request finds it out.
    let image = get(door.address, "/image/1").await;
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
    assert_eq!(door.metric(failed).await, 1.0);
    drop((running, at_worker));
    door.house_until(0, 0).await;
}

#[tokio::test]
async fn with_no_worker_left_the_answer_is_502_and_the_job_has_failed() {
    let dead = Dead::bind();
    let door = Door::open(&seven_tiers(8, &[(dead.address(), 1)], ""));
    let answer = search(&door, "key-5").await.answer().await;
    assert_eq!(
        (answer.status(), answer.reason()),
        (502, "upstream_unreachable".to_owned())
    );
    let failed = r#"tiergate_jobs_total{tier="$5",outcome="failed"}"#;
    assert_eq!(door.metric(failed).await, 1.0);
    door.house_until(0, 0).await;
}
