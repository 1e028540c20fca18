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

async fn state_is(proxy: &Proxy, state: &str) {
    proxy
        .queue_until(state, |page| page["waiting"][0]["state"] == state)
        .await;
}

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
            assert_eq!(arrived.head.get("transfer-encoding").is_some(), in_chunks);
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

/// Sixteen uploads, eight queue places, two slots: at most ten windows of 256 KiB.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn many_large_uploads_take_little_memory() {
    const UPLOADS: usize = 16;
    let server = FastServer::start();
    let plan = Plan {
        servers: &[(server.address, 2)],
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
        served >= 10 && refused > 0,
        "{served} served, {refused} refused: the queue was full"
    );
    assert!(server.most_at_once() <= 2);
    let grown = program.peak_kib() - before;
    println!("{UPLOADS} uploads of 25 MiB: {grown} KiB on top of {before} KiB");
    assert!(grown <= (8 + 2) * 256, "{grown} KiB on top of {before} KiB");
}

#[tokio::test]
async fn a_trickling_upload_holds_a_queue_place_and_no_slot() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut dribbles = Client::connect(proxy.address).await;
    dribbles.upload("p5", 3).await;
    dribbles.send("a").await;
    state_is(&proxy, "uploading").await;
    // A job of a lower priority has the slot.
    let mut other = Client::connect(proxy.address).await;
    other.search("p0").await;
    let mut arrived = server.request().await;
    dribbles.send("b").await;
    state_is(&proxy, "uploading").await;
    dribbles.send("c").await;
    state_is(&proxy, "waiting").await;
    arrived.answer("").await;
    assert_eq!(other.answer().await.status(), 200);
    let mut arrived = Arrived::on(arrived.stream).await;
    assert_eq!(arrived.body().await, b"abc");
    arrived.answer("").await;
    assert_eq!(dribbles.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn an_upload_that_stops_in_its_slot_gets_408() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut client = Client::connect(proxy.address).await;
    client.upload("p5", 1 << 20).await;
    client.send(vec![0; 200 << 10]).await;
    let _arrived = server.request().await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.reason().as_str()), (408, "request_timeout"));
    assert_eq!(answer.get("connection"), Some("close"));
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn expect_continue_is_answered_once_there_is_a_slot() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, PATIENT);
    let mut first = Client::connect(proxy.address).await;
    first.search("p5").await;
    let mut arrived = server.request().await;
    let mut client = Client::connect(proxy.address).await;
    let head = "x-api-key: p5\r\ncontent-length: 3\r\nexpect: 100-continue\r\n";
    client.request("POST", "/search", head).await;
    state_is(&proxy, "waiting").await;
    let nothing = client.stream.try_read(&mut [0]);
    assert_eq!(nothing.expect_err("no byte yet").kind(), std::io::ErrorKind::WouldBlock);
    arrived.answer("").await;
    assert_eq!(client.answer_head().await.line, "HTTP/1.1 100 Continue");
    client.send("abc").await;
    let mut arrived = Arrived::on(arrived.stream).await;
    assert_eq!(arrived.head.get("expect"), None);
    assert_eq!(arrived.body().await, b"abc");
    arrived.answer("").await;
    assert_eq!(client.answer().await.status(), 200);
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
        let mut dribbles = Client::connect(proxy.address).await;
        let head = format!("x-api-key: p5\r\ncontent-length: 9\r\n{prefer}");
        dribbles.request("POST", "/search", &head).await;
        let answer = dribbles.answer().await;
        assert_eq!((answer.status(), answer.reason().as_str()), (408, "request_timeout"));
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
