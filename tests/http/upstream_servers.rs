//! Upstream servers: their slots, and everything that can go wrong with them. Slot, queue place and concurrency always
//! come back.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, reset, soon};

fn before(servers: &[(SocketAddr, u32)], upstream: &str) -> Proxy {
    Plan {
        cores: 1,
        servers,
        upstream,
        ..Plan::default()
    }
    .start()
}

async fn searching(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    client
}

/// Another search works, so nothing is left of the earlier ones.
async fn is_well(proxy: &Proxy, server: &UpstreamServer) {
    proxy.jobs_until(0, 0).await;
    let mut client = searching(proxy).await;
    let mut arrived = server.request().await;
    arrived.answer("well").await;
    assert_eq!(client.answer().await.text(), "well");
    proxy.jobs_until(0, 0).await;
}

/// A server that does not listen, at a reserved address. Without reserving it, another test's proxy once got the
/// address and answered an upload with 401.
pub struct Dead(TcpSocket);

impl Dead {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let free = "127.0.0.1:0".parse().expect("an address");
        socket.bind(free).expect("loopback has free ports");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Lets it listen.
    pub fn revived(self) -> UpstreamServer {
        UpstreamServer::on(self.0.listen(64).expect("the address is its own"))
    }
}

async fn slots(proxy: &Proxy) -> u64 {
    proxy.queue().await["pools"][0]["slots"].as_u64().expect("a number")
}

#[tokio::test]
async fn the_least_busy_server_is_chosen_within_its_slots() {
    let (one, two) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let proxy = before(&[(one.address, 1), (two.address, 3)], "timeout: 20s");
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(searching(&proxy).await);
        let (waiting, running) = (clients.len().saturating_sub(4), clients.len().min(4));
        proxy.jobs_until(waiting, running).await;
    }
    let mut at_one = one.request().await;
    let mut at_two = [two.request().await, two.request().await, two.request().await];
    // The freed slot is given on, at the same server and on the same connection.
    at_one.answer("one").await;
    let mut next_at_one = Arrived::on(at_one.stream).await;
    at_two[1].answer("two").await;
    let [mut first, second, mut third] = at_two;
    let mut next_at_two = Arrived::on(second.stream).await;
    for arrived in [&mut next_at_one, &mut first, &mut third, &mut next_at_two] {
        arrived.answer("").await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn a_refused_connection_is_retried_once_elsewhere() {
    let server = UpstreamServer::start().await;
    let dead = Dead::new();
    let proxy = before(&[(dead.address(), 4), (server.address, 1)], "timeout: 20s");
    let mut client = searching(&proxy).await;
    let mut arrived = server.request().await;
    assert_eq!(slots(&proxy).await, 1, "a dead server's slots don't count");
    arrived.answer("").await;
    assert_eq!(client.answer().await.status(), 200);
    let mut stream = arrived.stream;
    for _ in 0..3 {
        client.search("p5").await;
        let mut arrived = Arrived::on(stream).await;
        arrived.answer("").await;
        assert_eq!(client.answer().await.status(), 200);
        stream = arrived.stream;
    }
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn a_single_dead_server_gives_502_until_it_is_back() {
    let dead = Dead::new();
    let proxy = before(&[(dead.address(), 1)], "timeout: 20s");
    let answer = searching(&proxy).await.answer().await;
    assert_eq!(
        (answer.status(), answer.reason().as_str()),
        (502, "upstream_unreachable")
    );
    proxy.jobs_until(0, 0).await;
    assert_eq!(slots(&proxy).await, 0);
    // A request that arrives now waits for the server and is served when it is back.
    let mut waiting = searching(&proxy).await;
    proxy.jobs_until(1, 0).await;
    let server = dead.revived();
    drop(server.connection().await); // the probe
    let mut arrived = server.request().await;
    arrived.answer("back").await;
    assert_eq!(waiting.answer().await.text(), "back");
    proxy.jobs_until(0, 0).await;
}

/// Regression: a server marked down by failed probes was marked down again as soon as it was back, because the first
/// notice was still unread.
#[tokio::test]
async fn a_recovered_server_is_used_after_one_good_probe() {
    let server = UpstreamServer::start().await;
    let proxy = before(
        &[(server.address, 1)],
        "timeout: 20s, health: { path: /health, every: 20ms }",
    );
    for _ in 0..3 {
        let mut probe = server.request().await;
        assert_eq!(probe.head.line, "GET /health HTTP/1.1");
        probe.answer_with("500 Internal Server Error", "", "").await;
    }
    let is = |slots: u64| move |page: &serde_json::Value| page["pools"][0]["slots"] == slots;
    proxy.queue_until("the server is marked down", is(0)).await;
    server.request().await.answer("").await;
    // A second probe gets no answer, so the first must do.
    proxy.queue_until("the server is used again", is(1)).await;
}

/// Regression: a server that closed the connection right after its answer was sometimes taken for one that had not
/// answered.
#[tokio::test]
async fn a_probe_succeeds_though_the_server_closes_after_it() {
    let server = UpstreamServer::start().await;
    let proxy = before(
        &[(server.address, 1)],
        "timeout: 20s, health: { path: /health, every: 1ms }",
    );
    for _ in 0..100 {
        server
            .request()
            .await
            .answer_with("200 OK", "connection: close\r\n", "")
            .await;
    }
    assert_eq!(slots(&proxy).await, 1);
}

#[tokio::test]
async fn closed_idle_connections_do_not_affect_clients() {
    let server = UpstreamServer::start().await;
    let proxy = before(&[(server.address, 1)], "timeout: 20s");
    let mut client = Client::connect(proxy.address).await;
    for round in 0..300 {
        client.search("p5").await;
        let mut arrived = server.request().await;
        arrived.answer("").await;
        // The connection may be closed before the client has its answer or after.
        if round % 2 == 0 {
            drop(arrived);
            assert_eq!(client.answer().await.status(), 200, "in round {round}");
        } else {
            assert_eq!(client.answer().await.status(), 200, "in round {round}");
            drop(arrived);
        }
    }
}

#[tokio::test]
async fn an_incomplete_response_head_gives_502() {
    for head in ["", "HTTP/1.1 200 OK\r\nconte"] {
        for with_reset in [false, true] {
            let server = UpstreamServer::start().await;
            let proxy = before(&[(server.address, 1)], "timeout: 20s");
            let mut client = searching(&proxy).await;
            let mut arrived = server.request().await;
            arrived.write(head.as_bytes()).await;
            if with_reset {
                reset(arrived.stream);
            } else {
                drop(arrived);
            }
            let answer = client.answer().await;
            assert_eq!((answer.status(), answer.reason().as_str()), (502, "upstream_failed"));
            is_well(&proxy, &server).await;
            assert_eq!(
                proxy.metric(r#"tiergate_jobs_total{tier="p5",outcome="failed"}"#).await,
                1.0
            );
        }
    }
}

#[tokio::test]
async fn a_truncated_response_is_truncated_for_the_client_too() {
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let server = UpstreamServer::start().await;
        let proxy = before(&[(server.address, 1)], "timeout: 20s");
        let mut client = searching(&proxy).await;
        let mut arrived = server.request().await;
        arrived
            .write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes())
            .await;
        assert_eq!(client.answer_head().await.status(), 200);
        arrived.write(b"5\r\nhello\r\n").await;
        let mut got = client.read_some().await.expect("the answer's beginning");
        drop(arrived);
        while let Ok(more) = client.read_some().await {
            if more.is_empty() {
                break;
            }
            got.extend(more);
        }
        assert_eq!(got, b"5\r\nhello\r\n", "the end of {framing}");
        is_well(&proxy, &server).await;
    }
}

/// Regression: if a response had already broken off when its head was read, the proxy took the end for a clean one. A
/// chunked response reached the client truncated but looking complete, and counted as a success.
#[tokio::test]
async fn an_immediate_truncation_is_not_taken_for_the_end() {
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let server = UpstreamServer::start().await;
        let proxy = before(&[(server.address, 1)], "timeout: 20s");
        for _ in 0..50 {
            is_well(&proxy, &server).await;
            let mut client = searching(&proxy).await;
            let mut arrived = server.request().await;
            arrived
                .write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes())
                .await;
            drop(arrived);
            let answer = soon("an answer", client.try_answer("GET")).await;
            assert!(
                answer.is_err() || answer.is_ok_and(|answer| answer.status() == 502),
                "{framing}"
            );
            proxy.jobs_until(0, 0).await;
        }
        assert_eq!(
            proxy.metric(r#"tiergate_jobs_total{tier="p5",outcome="failed"}"#).await,
            50.0
        );
    }
}

#[tokio::test]
async fn a_server_that_takes_too_long_gives_504() {
    for upstream in ["timeout: 200ms", "timeout: 20s, first_byte_timeout: 200ms"] {
        let server = UpstreamServer::start().await;
        let proxy = before(&[(server.address, 1)], upstream);
        let mut client = searching(&proxy).await;
        let mut arrived = server.request().await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.reason().as_str()), (504, "upstream_timeout"));
        let read = soon("the connection's end", arrived.stream.read(&mut [0])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the upstream connection is closed");
        is_well(&proxy, &server).await;
    }
}

#[tokio::test]
async fn a_response_that_takes_too_long_is_aborted() {
    let server = UpstreamServer::start().await;
    let proxy = before(&[(server.address, 1)], "timeout: 200ms");
    let mut client = searching(&proxy).await;
    let mut arrived = server.request().await;
    arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1").await;
    assert_eq!(client.answer_head().await.status(), 200);
    client.until_closed().await;
    is_well(&proxy, &server).await;
}

#[tokio::test]
async fn a_server_that_accepts_no_connection_is_unreachable() {
    // Its accept backlog is full, so the kernel lets further connections wait.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("loopback has free ports");
    listener.listen(0).expect("it listens");
    let address = listener
        .local_addr()
        .expect("it has one")
        .as_socket()
        .expect("it is of IP");
    let _fill = Client::connect(address).await;
    let proxy = before(&[(address, 1)], "connect_timeout: 200ms, timeout: 20s");
    let answer = searching(&proxy).await.answer().await;
    assert_eq!(
        (answer.status(), answer.reason().as_str()),
        (502, "upstream_unreachable")
    );
    proxy.jobs_until(0, 0).await;
}

/// Regression: a response that its client did not read in time was held against the server. Three such clients, and its
/// slots were gone for everyone.
#[tokio::test]
async fn slow_clients_do_not_mark_the_server_down() {
    let server = UpstreamServer::start().await;
    let proxy = before(&[(server.address, 1)], "timeout: 300ms");
    for _ in 0..3 {
        let client = searching(&proxy).await;
        let arrived = server.request().await;
        proxy.jobs_until(0, 1).await;
        let (_, mut to_proxy) = arrived.stream.into_split();
        let endless = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
            to_proxy.write_all(head).await.expect("the proxy reads");
            while to_proxy.write_all(&[b'x'; 65536]).await.is_ok() {}
        });
        proxy.jobs_until(0, 0).await;
        endless.await.expect("the proxy closes the connection");
        drop(client);
    }
    is_well(&proxy, &server).await;
    assert_eq!(slots(&proxy).await, 1);
}

/// Regression: a server that did not read a body before the timeout was taken for a client that sent nothing, which got
/// a 408.
#[tokio::test]
async fn a_server_that_does_not_read_the_body_gives_504_not_408() {
    let server = UpstreamServer::start().await;
    let proxy = before(&[(server.address, 1)], "timeout: 500ms");
    let mut client = Client::connect(proxy.address).await;
    client.upload("p5", 20 << 20).await;
    client.send(vec![0; 20 << 20]).await;
    let _arrived = server.request().await;
    client.answer().await.assert_refused(504, "upstream_timeout");
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn an_upload_to_a_dead_server_can_read_its_502() {
    let dead = Dead::new();
    let proxy = before(&[(dead.address(), 1)], "timeout: 20s");
    let mut client = Client::connect(proxy.address).await;
    client.upload("p5", 1 << 20).await;
    client.send(vec![0; 1 << 20]).await;
    let answer = client.answer().await;
    answer.assert_refused(502, "upstream_unreachable");
    assert_eq!(answer.get("connection"), None, "its body has been read");
}
