//! The life of a job (rules §6), row by row.

use crate::support::{Client, Proxy, UpstreamServer, seven_tiers, soon};

#[tokio::test]
async fn a_search_is_forwarded_and_answered() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/search?url=x&key=key-100", "").await;
    let mut arrived = server.request().await;
    assert_eq!(arrived.head.line, "GET /search?url=x HTTP/1.1");
    assert_eq!(arrived.head.get("x-tiergate-account"), Some("a100"));
    assert_eq!(arrived.head.get("x-tiergate-tier"), Some("$100"));
    assert_eq!(arrived.head.get("x-tiergate-priority"), Some("6"));
    assert_eq!(arrived.head.get("host"), Some(server.address.to_string().as_str()));
    arrived.answer("{}").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, "{}".to_owned()));
    assert!(
        answer
            .get("server-timing")
            .expect("a timing")
            .starts_with("queue;dur=0.0, upstream;dur=")
    );
    proxy.jobs_until(0, 0).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="$100",outcome="succeeded"}"#)
            .await,
        1.0
    );
}

#[tokio::test]
async fn hanging_up_while_queued_frees_the_place() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = Client::connect(proxy.address).await;
    first.search("key-100").await;
    let mut arrived = server.request().await;
    let mut second = Client::connect(proxy.address).await;
    second.search("key-10").await;
    proxy.jobs_until(1, 1).await;
    drop(second);
    proxy.jobs_until(0, 1).await;
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}

/// A client that reads nothing used to hold its connection, its window and its unmetered place without end.
#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let server = UpstreamServer::start().await;
    let bound = "connections: { send_timeout: 300ms, unmetered_max: 1 }";
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], bound));
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/image/large.jpg", "").await;
    let mut arrived = server.request().await;
    arrived
        .write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        .await;
    let flood = vec![0; 1 << 20];
    soon("the proxy closes the upstream connection", async {
        while tokio::io::AsyncWriteExt::write_all(&mut arrived.stream, &flood)
            .await
            .is_ok()
        {}
    })
    .await;
    // Its place is free for another request.
    let mut other = Client::connect(proxy.address).await;
    other.request("GET", "/image/small.jpg", "").await;
    server.request().await.answer("x").await;
    assert_eq!(other.answer().await.status(), 200);
}
