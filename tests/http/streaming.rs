//! Bodies in both directions: complete, streamed, in little memory, and without holding up others when they are slow.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::fast::FastServer;
use crate::support::program::Program;
use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, soon};

const LARGE: usize = 25 << 20;

/// Bytes without repeated stretches.
fn bytes(length: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::from_fn(|| Some(next())).flatten().take(length).collect()
}

/// The same bytes as a chunked body.
fn chunked(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + 4096);
    for chunk in bytes.chunks(100_003) {
        text.extend(format!("{:x}\r\n", chunk.len()).bytes());
        text.extend_from_slice(chunk);
        text.extend(b"\r\n");
    }
    text.extend(b"0\r\n\r\n");
    text
}

fn before(server: &UpstreamServer, queue: &str) -> Proxy {
    Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        queue,
        ..Plan::default()
    }
    .start()
}

const PATIENT: &str = "max_wait: 30s";

#[tokio::test]
async fn bodies_of_25_mib_arrive_byte_for_byte() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let body = bytes(LARGE);
    for in_chunks in [false, true] {
        let (framing, framed) = if in_chunks {
            ("transfer-encoding: chunked".to_owned(), chunked(&body))
        } else {
            (format!("content-length: {LARGE}"), body.clone())
        };
        let mut client = Client::connect(proxy.address).await;
        let head = format!("{framing}\r\nx-api-key: p5\r\n");
        client.request("POST", "/search", &head).await;
        let upload = async {
            client.send(&framed).await;
            client.answer().await
        };
        let work = async {
            let mut arrived = server.request().await;
            // The length is known when it is sent on.
            assert_eq!(arrived.head.get("transfer-encoding"), None);
            assert!(arrived.body().await == body, "the upload, in chunks: {in_chunks}");
            arrived
                .write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes())
                .await;
            arrived.write(&framed).await;
            arrived
        };
        let (answer, _arrived) = tokio::join!(upload, work);
        assert!(answer.body == body, "the answer, in chunks: {in_chunks}");
        proxy.jobs_until(0, 0).await;
    }
}

#[tokio::test]
async fn a_response_streams_before_it_is_complete() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    let mut arrived = server.request().await;
    arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await;
    assert_eq!(client.answer_head().await.status(), 200);
    client.until_ends_with("12").await;
    arrived.write(b"34").await;
    client.until_ends_with("34").await;
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn a_slow_reader_holds_no_slot() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let body = String::from_utf8(vec![b'x'; 200 << 10]).expect("text");
    let mut slow = Client::connect(proxy.address).await;
    slow.search("p5").await;
    let mut arrived = server.request().await;
    arrived.answer(&body).await;
    // It reads nothing, yet the next request gets its slot.
    let mut next = Client::connect(proxy.address).await;
    next.search("p5").await;
    let mut arrived = Arrived::on(arrived.stream).await;
    arrived.answer("").await;
    assert_eq!(next.answer().await.status(), 200);
    assert_eq!(slow.answer().await.text(), body);
}

/// Sixteen uploads of 25 MiB with 4 MiB of memory for all: each has a read buffer, a block to be written and one that is read
/// back.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn many_large_uploads_take_little_memory() {
    const UPLOADS: usize = 16;
    let server = FastServer::start();
    let plan = Plan {
        servers: &[(server.address, 2)],
        more: "drain_timeout: 100ms\nbodies: { memory: 4MiB, memory_each: 1MiB, spool: 8GiB }",
        ..Plan::default()
    };
    let program = Program::start(&plan.yaml()).await;
    let mut clients = Vec::new();
    for _ in 0..UPLOADS {
        // Two small requests on each connection first, so that all code and their buffers have been in use.
        let mut client = Client::connect(program.address).await;
        for _ in 0..2 {
            client.upload("p5", 10_000).await;
            client.send([1; 10_000]).await;
            assert_eq!(client.answer().await.status(), 200);
        }
        clients.push(client);
    }
    let before = program.peak_kib();
    let mut uploads = tokio::task::JoinSet::new();
    for mut client in clients {
        uploads.spawn(async move {
            client.upload("p5", LARGE).await;
            let (mut from, mut to) = client.stream.into_split();
            let sending = tokio::spawn(async move {
                let some = vec![7; 1 << 16];
                for _ in 0..LARGE / some.len() {
                    to.write_all(&some).await?;
                }
                std::io::Result::Ok(to)
            });
            let mut answer = vec![0; 4096];
            let read = soon("an answer", from.read(&mut answer)).await.expect("an answer");
            sending.abort();
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            answer.split(' ').nth(1).map(str::to_owned)
        });
    }
    let (mut served, mut refused) = (0, 0);
    while let Some(status) = uploads.join_next().await {
        match status.expect("a client").as_deref() {
            Some("200") => served += 1,
            Some("503") => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        served >= 10 && served + refused == UPLOADS,
        "{served} served, {refused} refused: the queue was full"
    );
    assert!(server.most_at_once() <= 2);
    let grown = program.peak_kib() - before;
    println!("{UPLOADS} uploads of 25 MiB: {grown} KiB on top of {before} KiB");
    assert!(
        grown <= 4096 + UPLOADS as u64 * 1024,
        "{grown} KiB on top of {before} KiB"
    );
}

/// Regression (U1): slow uploads held queue places, and were given up after seconds even at an idle server.
#[tokio::test]
async fn a_trickling_upload_holds_neither_place_nor_slot() {
    let server = UpstreamServer::start().await;
    let plan = Plan {
        cores: 1,
        queue_length: 1,
        servers: &[(server.address, 1)],
        ..Plan::default()
    };
    let proxy = plan.start();
    let mut slow: Vec<Client> = Vec::new();
    for uploading in 1..=10 {
        let mut client = Client::connect(proxy.address).await;
        client.upload("p5", 3).await;
        client.send("a").await;
        proxy.uploading_until(uploading).await;
        slow.push(client);
    }
    // A job of a lower priority has the slot, and another one the queue place.
    let mut running = Client::connect(proxy.address).await;
    running.search("p0").await;
    let mut arrived = server.request().await;
    let mut queued = Client::connect(proxy.address).await;
    queued.search("p0").await;
    proxy.jobs_until(1, 1).await;
    let mut first = slow.remove(0);
    first.send("b").await;
    proxy.jobs_until(1, 1).await;
    // Once complete, it displaces the lower priority.
    first.send("c").await;
    assert_eq!(queued.answer().await.reason(), "displaced");
    proxy.uploading_until(9).await;
    arrived.answer("").await;
    assert_eq!(running.answer().await.status(), 200);
    let mut arrived = Arrived::on(arrived.stream).await;
    assert_eq!(arrived.body().await, b"abc");
    arrived.answer("").await;
    assert_eq!(first.answer().await.status(), 200);
    drop(slow);
    proxy.uploading_until(0).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="p5",outcome="upload_ended"}"#)
            .await,
        9.0
    );
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn an_upload_that_stops_gets_408_and_never_reaches_a_server() {
    let server = UpstreamServer::start().await;
    let plan = Plan {
        servers: &[(server.address, 1)],
        more: "drain_timeout: 100ms\nbodies: { timeout: 300ms }",
        ..Plan::default()
    };
    let proxy = plan.start();
    let mut client = Client::connect(proxy.address).await;
    client.upload("p5", 1 << 20).await;
    client.send(vec![0; 200 << 10]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.reason().as_str()), (408, "request_timeout"));
    assert_eq!(answer.get("connection"), Some("close"));
    proxy.uploading_until(0).await;
    let mut next = Client::connect(proxy.address).await;
    next.search("p5").await;
    let mut arrived = server.request().await;
    assert!(arrived.head.line.starts_with("GET "), "{}", arrived.head.line);
    arrived.answer("").await;
    assert_eq!(next.answer().await.status(), 200);
}

/// Without room for bodies, the upload of the lowest priority ends, and one network takes at most its share.
#[tokio::test]
async fn without_room_the_upload_of_the_lowest_priority_ends() {
    let server = UpstreamServer::start().await;
    let plan = Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        // A network's eighth: 128 KiB in memory, 1 MiB in files.
        more: "drain_timeout: 100ms\nbodies: { memory: 1MiB, memory_each: 128KiB, spool: 8MiB }",
        ..Plan::default()
    };
    let proxy = plan.start();
    let mut low = Client::connect(proxy.address).await;
    low.upload("p0", 900_000).await;
    low.send(vec![1; 600_000]).await;
    let in_files = r#"tiergate_bodies_bytes{place="file"}"#;
    proxy.metric_until(in_files, 600_000.0).await;
    let mut high = Client::connect(proxy.address).await;
    high.upload("p5", 900_000).await;
    high.send(vec![2; 900_000]).await;
    let refused = low.answer().await;
    refused.assert_refused(503, "too_many_uploads");
    assert_eq!(
        (refused.get("retry-after"), refused.get("connection")),
        (Some("1"), Some("close"))
    );
    let mut arrived = server.request().await;
    assert!(arrived.body().await == vec![2; 900_000]);
    arrived.answer("").await;
    assert_eq!(high.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
    proxy.queue_until("no file is kept", |_| true).await;
    assert_eq!(proxy.metric(in_files).await, 0.0);
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_upload_is_admitted() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut first = Client::connect(proxy.address).await;
    first.search("p5").await;
    let mut arrived = server.request().await;
    let mut client = Client::connect(proxy.address).await;
    let head = "x-api-key: p5\r\ncontent-length: 3\r\nexpect: 100-continue\r\n";
    client.request("POST", "/search", head).await;
    assert_eq!(client.answer_head().await.line, "HTTP/1.1 100 Continue");
    proxy.uploading_until(1).await;
    client.send("abc").await;
    proxy.jobs_until(1, 1).await;
    arrived.answer("").await;
    let mut arrived = Arrived::on(arrived.stream).await;
    assert_eq!(arrived.head.get("expect"), None);
    assert_eq!(arrived.body().await, b"abc");
    arrived.answer("").await;
    assert_eq!(client.answer().await.status(), 200);
    let me = client.ask("GET", "/me", "x-api-key: p5\r\n").await;
    assert_eq!(me.status(), 200, "the connection is kept");
}

#[tokio::test]
async fn queueing_ends_in_time() {
    let short = "max_wait: 200ms";
    for (queue, route, tier, prefer) in [
        (short, "", "", ""),
        (PATIENT, "max_wait: 200ms, ", "", ""),
        (PATIENT, "", ", max_wait: 200ms", ""),
        (PATIENT, "", "", "prefer: wait=1\r\n"),
    ] {
        let server = UpstreamServer::start().await;
        let route = format!("{route}max_body: 1MiB");
        let plan = Plan {
            servers: &[(server.address, 1)],
            queue,
            route: &route,
            ..Plan::default()
        };
        let tiers = format!("p5: {{ priority: 5, concurrency: 64{tier}");
        let proxy = Proxy::start(&plan.yaml().replace("p5: { priority: 5, concurrency: 64", &tiers));
        let mut running = Client::connect(proxy.address).await;
        running.search("p6").await;
        let _arrived = server.request().await;
        let mut waits = Client::connect(proxy.address).await;
        waits
            .request("GET", "/search", &format!("x-api-key: p5\r\n{prefer}"))
            .await;
        let answer = waits.answer().await;
        assert_eq!((answer.status(), answer.reason().as_str()), (503, "waited_too_long"));
        let waited = answer.json()["waited"].as_f64().expect("seconds");
        assert!((0.2..=1.9).contains(&waited), "{waited}");
        // The wait counts from the end of the upload.
        let mut uploads = Client::connect(proxy.address).await;
        let head = format!("x-api-key: p5\r\ncontent-length: 9\r\n{prefer}");
        uploads.request("POST", "/search", &head).await;
        proxy.uploading_until(1).await;
        uploads.send("123456789").await;
        let answer = uploads.answer().await;
        assert_eq!((answer.status(), answer.reason().as_str()), (503, "waited_too_long"));
        let waited = answer.json()["waited"].as_f64().expect("seconds");
        assert!((0.2..=1.9).contains(&waited), "{waited}");
        proxy.jobs_until(0, 1).await;
    }
}

#[tokio::test]
async fn a_wait_that_cannot_succeed_is_refused_at_once() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    let mut arrived = server.request().await;
    let mut other = Client::connect(proxy.address).await;
    // The first slot time is 3 s, as long as the other client was ready to wait; after 20 short ones the mean is 0.15
    // s.
    other
        .request("GET", "/search", "x-api-key: p5\r\nprefer: wait=3\r\n")
        .await;
    assert_eq!(other.answer().await.reason(), "waited_too_long");
    for _ in 0..20 {
        arrived.answer("").await;
        client.answer().await;
        client.search("p5").await;
        arrived = Arrived::on(arrived.stream).await;
    }
    let mut ahead = Vec::new();
    for _ in 0..7 {
        let mut client = Client::connect(proxy.address).await;
        client.search("p5").await;
        ahead.push(client);
        proxy.jobs_until(ahead.len(), 1).await;
    }
    // Behind seven others the wait is more than 1 s and less than 20 s.
    other
        .request("GET", "/search", "x-api-key: p5\r\nprefer: wait=1\r\n")
        .await;
    let answer = other.answer().await;
    assert_eq!((answer.status(), answer.reason().as_str()), (503, "wait_too_long"));
    other
        .request("GET", "/search", "x-api-key: p5\r\nprefer: wait=20\r\n")
        .await;
    proxy.jobs_until(8, 1).await;
    drop(ahead);
    proxy.jobs_until(1, 1).await;
    arrived.answer("").await;
    let mut arrived = Arrived::on(arrived.stream).await;
    arrived.answer("").await;
    assert_eq!(other.answer().await.get("preference-applied"), Some("wait=20"));
}
