//! Uploads that find no queue place while a server is idle (rules §6).

use crate::support::{Client, Proxy, UpstreamServer, seven_tiers};

/// Regression: with `queue.length: 0`, every search whose body arrived in more than one piece was refused with
/// `queue_full` while a server was idle.
#[tokio::test]
async fn without_a_queue_an_upload_streams_to_an_idle_server() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(0, &[(server.address, 1)], ""));
    let mut client = Client::connect(proxy.address).await;
    client
        .request("POST", "/search", "x-api-key: key-5\r\ncontent-length: 10\r\n")
        .await;
    let mut arrived = server.request().await;
    proxy.jobs_until(0, 1).await;

    let mut other = Client::connect(proxy.address).await;
    other
        .request("POST", "/search", "x-api-key: key-100\r\ncontent-length: 10\r\n")
        .await;
    assert_eq!(
        other.answer().await.reason(),
        "queue_full",
        "no server is idle any more"
    );

    client.send("0123456789").await;
    assert_eq!(arrived.body().await, b"0123456789");
    arrived.answer("{}").await;
    assert_eq!(client.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
}

/// It holds a slot, so it must keep the pace that slots require.
#[tokio::test]
async fn an_upload_that_stalls_in_a_slot_is_aborted() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(0, &[(server.address, 1)], ""));
    let mut client = Client::connect(proxy.address).await;
    client
        .request("POST", "/search", "x-api-key: key-5\r\ncontent-length: 10\r\n")
        .await;
    let _arrived = server.request().await;
    client.send("01234").await;
    assert_eq!(client.answer().await.reason(), "request_timeout");
    proxy.jobs_until(0, 0).await;
}
