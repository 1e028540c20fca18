//! Clients that hang up, in every state of a job's life (rules §5.8, §6) and in every way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, seven_tiers, soon};

/// How a client goes away.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Close,
    HalfClose,
    Reset,
}

use Manner::{Close, HalfClose, Reset};

/// What the client had sent before it hung up.
const EVERY: [Manner; 3] = [Close, HalfClose, Reset];

impl Manner {
    /// A half-closed connection is returned, to stay open on the client's side.
    async fn hang_up(self, mut client: Client) -> Option<Client> {
        match self {
            Close => None,
            HalfClose => {
                client.stream.shutdown().await.expect("it is open");
                Some(client)
            }
            Reset => {
                client.reset();
                None
            }
        }
    }
}

fn before(server: &UpstreamServer, route: &str) -> Proxy {
    Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        route,
        ..Plan::default()
    }
    .start()
}

const FINISH: &str = "on_hangup: finish, max_body: 25MiB";
const CANCEL: &str = "on_hangup: cancel, max_body: 25MiB";

async fn searching(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    client
}

async fn outcome(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metric(&format!(r#"tiergate_jobs_total{{tier="p5",outcome="{outcome}"}}"#))
        .await
}

async fn closed(mut arrived: Arrived) {
    let end = soon("the upstream connection ends", async {
        let mut scrap = vec![0; 65536];
        loop {
            match arrived.stream.read(&mut scrap).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    });
    end.await;
}

#[tokio::test]
async fn hanging_up_while_queued_frees_the_place_at_once() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, FINISH);
    let _running = searching(&proxy).await;
    proxy.jobs_until(0, 1).await;
    let mut hung_up = 0.0;
    for manner in EVERY {
        for sent in ["nothing more", "a pipelined request", "an upload"] {
            let mut client = Client::connect(proxy.address).await;
            match sent {
                "a pipelined request" => {
                    let one = "GET /search HTTP/1.1\r\nhost: proxy.example\r\nx-api-key: p5\r\n\r\n";
                    client.send(one.repeat(2)).await;
                }
                "an upload" => {
                    client.upload("p5", 1 << 20).await;
                    client.send(vec![0; 1 << 20]).await;
                }
                _ => client.search("p5").await,
            }
            proxy
                .queue_until("it has asked for a slot", |page| {
                    page["waiting"][0]["state"] == "waiting"
                })
                .await;
            let _half = manner.hang_up(client).await;
            proxy.jobs_until(0, 1).await;
            hung_up += 1.0;
            assert_eq!(outcome(&proxy, "hung_up").await, hung_up, "{manner:?} with {sent}");
        }
    }
}

#[tokio::test]
async fn hanging_up_during_an_upload_ends_its_job() {
    let server = UpstreamServer::start().await;
    let proxy = before(&server, FINISH);
    for sent in [10, 1 << 20] {
        for manner in EVERY {
            let mut client = Client::connect(proxy.address).await;
            client.upload("p5", 2 << 20).await;
            client.send(vec![0; sent]).await;
            proxy.uploading_until(1).await;
            let _half = manner.hang_up(client).await;
            proxy.uploading_until(0).await;
        }
    }
    assert_eq!(outcome(&proxy, "upload_ended").await, 6.0);
    assert_eq!(outcome(&proxy, "hung_up").await, 0.0);
}

#[tokio::test]
async fn a_search_is_finished_and_charged_after_a_hangup() {
    for manner in EVERY {
        for answers in ["", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12"] {
            let server = UpstreamServer::start().await;
            let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], ""));
            let mut client = Client::connect(proxy.address).await;
            client.search("key-10").await;
            let mut arrived = server.request().await;
            if !answers.is_empty() {
                arrived.write(answers.as_bytes()).await;
                client.answer_head().await;
            }
            let _half = manner.hang_up(client).await;
            // Its concurrency of 1 is taken until the server has finished.
            let mut next = Client::connect(proxy.address).await;
            next.search("key-10").await;
            assert_eq!(next.answer().await.reason(), "concurrency_exceeded", "{manner:?}");
            proxy.jobs_until(0, 1).await;
            if answers.is_empty() {
                arrived.answer("done").await;
            } else {
                arrived.write(b"34").await;
            }
            proxy.jobs_until(0, 0).await;
            let succeeded = r#"tiergate_jobs_total{tier="$10",outcome="succeeded"}"#;
            assert_eq!(proxy.metric(succeeded).await, 1.0);
        }
    }
}

#[tokio::test]
async fn on_hangup_cancel_cancels_the_search() {
    for manner in EVERY {
        for pipelined in [false, true] {
            let server = UpstreamServer::start().await;
            let proxy = before(&server, CANCEL);
            let mut client = searching(&proxy).await;
            if pipelined {
                client.search("p5").await;
            }
            let arrived = server.request().await;
            let _half = manner.hang_up(client).await;
            closed(arrived).await;
            proxy.jobs_until(0, 0).await;
            assert_eq!(outcome(&proxy, "cancelled").await, 1.0, "{manner:?}");
        }
    }
}

/// Regression: with another request buffered, a hangup during a response was not noticed.
#[tokio::test]
async fn an_unsuccessful_response_is_cancelled_on_hangup() {
    for manner in EVERY {
        for pipelined in [false, true] {
            let server = UpstreamServer::start().await;
            let proxy = before(&server, CANCEL);
            let mut client = searching(&proxy).await;
            if pipelined {
                client.search("p5").await;
            }
            let mut arrived = server.request().await;
            arrived
                .write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n12")
                .await;
            assert_eq!(client.answer_head().await.status(), 404);
            let _half = manner.hang_up(client).await;
            closed(arrived).await;
            proxy.jobs_until(0, 0).await;
            assert_eq!(outcome(&proxy, "cancelled").await, 1.0, "{manner:?}");
        }
    }
}

#[tokio::test]
async fn a_success_whose_head_was_sent_is_finished() {
    for manner in EVERY {
        let server = UpstreamServer::start().await;
        let proxy = before(&server, CANCEL);
        let mut client = searching(&proxy).await;
        let mut arrived = server.request().await;
        arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await;
        assert_eq!(client.answer_head().await.status(), 200);
        let _half = manner.hang_up(client).await;
        arrived.write(b"34").await;
        proxy.jobs_until(0, 0).await;
        assert_eq!(outcome(&proxy, "succeeded").await, 1.0, "{manner:?}");
    }
}
