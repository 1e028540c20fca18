//! Uploads where there is no queue place to be had (rules §2.4).

use crate::support::{Client, Proxy, UpstreamServer, seven_tiers};

/// Regression: with `queue.length: 0`, every search whose body arrived in more than one piece was refused with
/// `queue_full` while a server was idle.
#[tokio::test]
async fn without_a_queue_an_upload_gets_the_idle_slot_when_complete() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(0, &[(server.address, 1)], ""));
    let upload = async |key: &str| {
        let mut client = Client::connect(proxy.address).await;
        client.upload(key, 10).await;
        client
    };
    let (mut first, mut second) = (upload("key-5").await, upload("key-100").await);
    proxy.uploading_until(2).await;
    first.send("0123456789").await;
    let mut arrived = server.request().await;
    assert_eq!(arrived.body().await, b"0123456789");
    // No slot is idle any more, for one that is complete and for one that begins.
    second.send("0123456789").await;
    second.answer().await.assert_refused(503, "queue_full");
    upload("key-50").await.answer().await.assert_refused(503, "queue_full");
    proxy.uploading_until(0).await;
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
}
