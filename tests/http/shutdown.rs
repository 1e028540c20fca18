//! Shutdown by SIGTERM and Ctrl-C: what queued, running and idle connections get.

use tokio::net::TcpStream;

use crate::support::program::Program;
use crate::support::{Client, Plan, UpstreamServer, soon};

async fn program(server: &UpstreamServer, more: &str) -> Program {
    let plan = Plan {
        servers: &[(server.address, 1)],
        more,
        ..Plan::default()
    };
    Program::start(&plan.yaml()).await
}

async fn searching(program: &Program) -> Client {
    let mut client = Client::connect(program.address).await;
    client.search("p5").await;
    client
}

/// Waits until the port is closed.
async fn until_closed(program: &Program) {
    soon("the port is closed", async {
        while TcpStream::connect(program.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn shutdown_rejects_queued_and_drains_running_requests() {
    for signal in ["TERM", "INT"] {
        let server = UpstreamServer::start().await;
        let mut program = program(&server, "drain_timeout: 15s").await;
        let mut running = searching(&program).await;
        let mut arrived = server.request().await;
        let mut waiting = searching(&program).await;
        let mut uploading = Client::connect(program.address).await;
        uploading.upload("p5", 1000).await;
        uploading.send("a").await;
        let idle = Client::connect(program.address).await;
        soon("one waits and one uploads", async {
            while metric(&program, "tiergate_queue_depth").await < 1.0
                || metric(&program, "tiergate_jobs_uploading").await < 1.0
            {}
        })
        .await;
        program.signal(signal).await;
        for client in [&mut waiting, &mut uploading] {
            let answer = client.answer().await;
            assert_eq!((answer.status(), answer.reason().as_str()), (503, "shutting_down"));
            assert_eq!(answer.get("connection"), Some("close"));
        }
        until_closed(&program).await;
        arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await;
        assert_eq!(running.answer_head().await.status(), 200);
        arrived.write(b"34").await;
        running.until_ends_with("1234").await;
        drop((waiting, uploading, idle));
        assert_eq!(program.exit_code().await, Some(0), "after {signal}");
    }
}

async fn metric(program: &Program, name: &str) -> f64 {
    crate::support::metric_sum(program.admin, name, "").await
}

#[tokio::test]
async fn shutdown_waits_for_jobs_whose_client_hung_up() {
    let server = UpstreamServer::start().await;
    let mut program = program(&server, "drain_timeout: 15s").await;
    let client = searching(&program).await;
    let mut arrived = server.request().await;
    drop(client);
    program.signal("TERM").await;
    until_closed(&program).await;
    assert_eq!(metric(&program, "tiergate_jobs_running").await, 1.0);
    arrived.answer("done").await;
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn drain_timeout_aborts_running_jobs() {
    let server = UpstreamServer::start().await;
    let mut program = program(&server, "drain_timeout: 200ms").await;
    let mut client = searching(&program).await;
    let _arrived = server.request().await;
    program.signal("TERM").await;
    let end = soon("the connection ends", client.try_answer("GET")).await;
    assert!(end.is_err());
    assert_eq!(program.exit_code().await, Some(0));
}
