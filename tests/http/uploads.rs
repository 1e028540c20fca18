//! Refused uploads: the client can read the reason (rules §8), whatever it was still sending.

use tokio::io::AsyncWriteExt;

use crate::support::{Answer, Arrived, Client, Proxy, UpstreamServer, seven_tiers, soon};

const UPLOAD_BYTES: usize = 25 << 20;

/// A proxy whose slot and queue place are taken: `key-10` is at its concurrency, and lower tiers find the queue full.
struct BusyProxy {
    proxy: Proxy,
    server: UpstreamServer,
    running: (Client, Arrived),
    waiting: Client,
}

impl BusyProxy {
    async fn new(more: &str) -> Self {
        let server = UpstreamServer::start().await;
        let proxy = Proxy::start(&seven_tiers(1, &[(server.address, 1)], more));
        let mut running = Client::connect(proxy.address).await;
        running.search("key-100").await;
        let arrived = server.request().await;
        let mut waiting = Client::connect(proxy.address).await;
        waiting.search("key-10").await;
        proxy.jobs_until(1, 1).await;
        Self {
            proxy,
            server,
            running: (running, arrived),
            waiting,
        }
    }

    async fn empty(mut self) -> (Proxy, UpstreamServer) {
        self.running.1.answer("{}").await;
        assert_eq!(self.running.0.answer().await.status(), 200);
        Arrived::on_either(self.running.1.stream, &self.server)
            .await
            .answer("{}")
            .await;
        assert_eq!(self.waiting.answer().await.status(), 200);
        self.proxy.jobs_until(0, 0).await;
        (self.proxy, self.server)
    }
}

/// Requests that a [`BusyProxy`] refuses, with status and reason.
const REFUSED: [(&str, &str, u16, &str); 5] = [
    ("/search", "x-api-key: key-10\r\n", 402, "concurrency_exceeded"),
    ("/search", "x-api-key: key-1\r\n", 503, "queue_full"),
    ("/search", "x-api-key: guess\r\n", 403, "invalid_key"),
    ("/nowhere", "", 404, "not_found"),
    ("/image/1", "", 413, "body_too_large"),
];

async fn post(client: &mut Client, path: &str, headers: &str) {
    client
        .request("POST", path, &format!("{headers}content-length: {UPLOAD_BYTES}\r\n"))
        .await;
}

/// Regression: the proxy closed as soon as it had discarded 256 KiB. That resets the connection of a client that is
/// still sending, and the reset may overtake the answer.
#[tokio::test]
async fn a_client_that_sends_and_reads_at_once_gets_no_reset() {
    let busy = BusyProxy::new("").await;
    let body = vec![0; UPLOAD_BYTES];
    for (path, headers, status, reason) in REFUSED {
        let mut client = Client::connect(busy.proxy.address).await;
        post(&mut client, path, headers).await;
        let (mut reader, mut writer) = client.into_halves();
        let answered = async {
            let answer = reader.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("connection"), Some("close"));
            assert_eq!(reader.rest().await, b"");
        };
        tokio::select! {
            () = answered => {}
            sent = writer.write_all(&body) => panic!("{reason}: 25 MiB were accepted: {sent:?}"),
        }
    }
    busy.empty().await;
}

#[tokio::test]
async fn a_refusal_can_be_read_after_sending_the_body() {
    let busy = BusyProxy::new("").await;
    let mut clients = tokio::task::JoinSet::new();
    for (path, headers, status, reason) in REFUSED {
        let mut client = Client::connect(busy.proxy.address).await;
        clients.spawn(async move {
            post(&mut client, path, headers).await;
            let sent = soon("the proxy to give up", client.stream.write_all(&vec![0; UPLOAD_BYTES])).await;
            assert!(sent.is_err(), "25 MiB were accepted");
            let answer = client.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("connection"), Some("close"));
        });
    }
    clients.join_all().await;
    busy.empty().await;
}

#[tokio::test]
async fn a_refused_client_gets_no_100_continue() {
    let busy = BusyProxy::new("").await;
    for expect in [
        "expect: 100-continue\r\n",
        "Expect: something\r\nExpect: 100-Continue\r\n",
    ] {
        for (path, headers, status, reason) in REFUSED {
            let mut client = Client::connect(busy.proxy.address).await;
            post(&mut client, path, &format!("{expect}{headers}")).await;
            let answer = client.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("connection"), Some("close"));
            assert_eq!(client.rest().await, b"");
        }
    }
    busy.empty().await;
}

#[tokio::test]
async fn a_small_body_sent_with_its_head_keeps_the_connection() {
    let busy = BusyProxy::new("").await;
    let mut client = Client::connect(busy.proxy.address).await;
    for (path, headers, status, reason) in REFUSED {
        for body in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            if status == 413 {
                continue;
            }
            client
                .send(format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}{body}"))
                .await;
            let answer = client.answer().await;
            answer.assert_refused(status, reason);
            assert_eq!(answer.get("connection"), None);
        }
    }
    busy.empty().await;
}

/// Sends chunks until the proxy has answered.
async fn chunks_until_answered(client: Client) -> Answer {
    let (mut reader, mut writer) = client.into_halves();
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b'x');
    chunk.extend(b"\r\n");
    let send = async { while writer.write_all(&chunk).await.is_ok() {} };
    let read = async {
        let answer = reader.answer().await;
        assert_eq!(reader.rest().await, b"");
        answer
    };
    tokio::select! {
        biased;
        answer = read => answer,
        () = send => panic!("reset before the answer was read to its end"),
    }
}

/// Regression: a partly read body was forgotten when its request was refused, so the connection was closed while the
/// client was still sending.
#[tokio::test]
async fn a_body_that_grows_too_long_is_refused_at_every_stage() {
    let server = UpstreamServer::start().await;
    let more = "  - { path: /small, upstream: search, metered: true, max_body: 16KiB }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], more));
    for path in ["/small", "/image/1"] {
        let mut client = Client::connect(proxy.address).await;
        client.request("POST", path, "transfer-encoding: chunked\r\n").await;
        let work = async {
            // The unmetered request streams from its first byte.
            if path == "/image/1" {
                server.request().await.until_closed().await;
            }
        };
        let (answer, ()) = tokio::join!(chunks_until_answered(client), work);
        answer.assert_refused(413, "body_too_large");
        assert_eq!(answer.get("connection"), Some("close"));
    }
    proxy.jobs_until(0, 0).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="failed"}"#)
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_body_that_grows_too_long_ends_its_job() {
    let server = UpstreamServer::start().await;
    let more = "  - { path: /small, upstream: search, metered: true, max_body: 128KiB }\n";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], more));
    let mut client = Client::connect(proxy.address).await;
    client.request("POST", "/small", "transfer-encoding: chunked\r\n").await;
    proxy.uploading_until(1).await;
    let answer = chunks_until_answered(client).await;
    answer.assert_refused(413, "body_too_large");
    assert_eq!(answer.get("connection"), Some("close"));
    proxy.uploading_until(0).await;
    let ended = r#"tiergate_jobs_total{tier="free",outcome="upload_ended"}"#;
    assert_eq!(proxy.metric(ended).await, 1.0);
}

/// A connection to a proxy, with an upload of 4 MiB that a server is about to get.
async fn uploaded(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.upload("key-10", 4 << 20).await;
    client.send(vec![7; 4 << 20]).await;
    client
}

#[tokio::test]
async fn an_upstream_that_aborts_an_upload_gives_502() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut client = uploaded(&proxy).await;
    drop(server.request().await);
    let answer = client.answer().await;
    answer.assert_refused(502, "upstream_failed");
    // The whole body has been read: the connection can be used again.
    assert_eq!(answer.get("connection"), None);
    assert_eq!(client.ask("GET", "/me", "").await.status(), 200);
}

#[tokio::test]
async fn an_upstream_may_answer_before_it_has_read_the_upload() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut client = uploaded(&proxy).await;
    let mut arrived = server.request().await;
    arrived.answer_with("400 Bad Request", "", "no image").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (400, "no image".to_owned()));
    assert_eq!(answer.get("connection"), None);
}

/// The proxy's own answers do not read a body either.
#[tokio::test]
async fn uploads_to_own_pages_are_answered_too() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], "cors: { origins: [\"*\"] }\n"));
    let body = vec![0; UPLOAD_BYTES];
    let preflight = "origin: https://a.example\r\naccess-control-request-method: POST\r\n";
    for (method, path, headers, status) in [
        ("GET", "/me", "", 200),
        ("POST", "/me", "", 405),
        ("OPTIONS", "/me", "", 204),
        ("OPTIONS", "/search", "", 204),
        ("OPTIONS", "/search", preflight, 200),
        ("OPTIONS", "*", "", 204),
    ] {
        let mut client = Client::connect(proxy.address).await;
        let headers = format!("{headers}content-length: {UPLOAD_BYTES}\r\n");
        client.request(method, path, &headers).await;
        let (mut reader, mut writer) = client.into_halves();
        let answered = async {
            let answer = reader.answer_to(method).await;
            assert_eq!(answer.status(), status, "{method} {path}");
            assert_eq!(answer.get("connection"), Some("close"), "{method} {path}");
            assert_eq!(reader.rest().await, b"");
        };
        tokio::select! {
            biased;
            () = answered => {}
            sent = writer.write_all(&body) => panic!("{method} {path}: 25 MiB were accepted: {sent:?}"),
        }
    }
}
