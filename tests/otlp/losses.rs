//! A collector that is gone or stuck costs spans, and nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};

use super::collector::{Collector, start};
use crate::support::fast::FastServer;
use crate::support::program::Program;
use crate::support::{Client, get, metric_sum, seven_tiers, soon};

/// The longest end of the program: the bound of the last export, and as much for a busy machine.
const END: Duration = Duration::from_secs(6);

/// Where nobody listens.
fn nowhere() -> SocketAddr {
    "127.0.0.1:1".parse().expect("an address")
}

async fn spans(admin: SocketAddr, result: &str) -> f64 {
    metric_sum(admin, "tiergate_trace_spans_total", &format!("result=\"{result}\"")).await
}

async fn spans_until(admin: SocketAddr, result: &str, count: f64) {
    soon(&format!("{count} {result}"), async {
        while spans(admin, result).await < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn ends(mut program: Program) -> String {
    #[allow(clippy::disallowed_methods, reason = "the end is to be timed")]
    let began = Instant::now();
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
    assert!(began.elapsed() < END, "{:?}", began.elapsed());
    soon("the last line", async {
        while !program.log().contains("\"stopped\"") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    program.log()
}

/// Each of many requests is answered, and each span of them counted.
#[tokio::test]
async fn a_collector_that_is_gone_blocks_nobody() {
    let server = FastServer::start();
    let program = start(&seven_tiers(8, &[(server.address, 4)], ""), nowhere(), &[]).await;
    let mut client = Client::connect(program.address).await;
    for round in 1..=3 {
        for _ in 0..10 {
            assert_eq!(client.ask("GET", "/search", "").await.status(), 200);
        }
        spans_until(program.admin, "failed", f64::from(round * 20)).await;
    }
    let log = ends(program).await;
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("trace spans were lost"))
        .collect();
    assert_eq!(lines.len(), 1, "once a minute: {log}");
    assert!(lines[0].contains("Connection refused"), "{log}");
}

/// It takes what is sent, and never answers.
#[tokio::test]
async fn a_stuck_collector_drops_spans_and_blocks_nobody() {
    let server = FastServer::start();
    let stuck = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = stuck.local_addr().expect("it listens");
    let env = [("OTEL_BSP_MAX_QUEUE_SIZE", "16")];
    let program = start(&seven_tiers(8, &[(server.address, 4)], ""), address, &env).await;
    let mut client = Client::connect(program.address).await;
    for _ in 0..100 {
        assert_eq!(client.ask("GET", "/search", "").await.status(), 200);
    }
    spans_until(program.admin, "dropped", 200.0 - 16.0).await;
    assert!((spans(program.admin, "dropped").await - 184.0).abs() < f64::EPSILON);
    let log = ends(program).await;
    assert!(
        log.contains("the collector did not take them in time") && log.contains("\"spans\":16"),
        "{log}"
    );
}

/// Spans are exported again when the collector is back, and those of the last requests before the end.
#[tokio::test]
async fn the_last_spans_are_exported_at_the_end() {
    let port = TcpSocket::new_v4().expect("a socket");
    port.bind("127.0.0.1:0".parse().expect("an address"))
        .expect("loopback has free ports");
    let address = port.local_addr().expect("it is bound");
    let yaml = seven_tiers(8, &[(nowhere(), 4)], "");
    let program = start(&yaml, address, &[]).await;
    get(program.address, "/nothing").await;
    spans_until(program.admin, "failed", 1.0).await;
    let collector = Collector::on(port.listen(16).expect("a bound socket"));
    let mut client = Client::connect(program.address).await;
    client.ask("GET", "/nothing", "x-request-id: back\r\n").await;
    collector.spans_of(&["back"]).await;
    ends(program).await;

    // So rarely that only the end exports.
    let program = start(&yaml, address, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    let mut client = Client::connect(program.address).await;
    client.ask("GET", "/nothing", "x-request-id: last\r\n").await;
    assert!(
        !collector
            .exports()
            .iter()
            .any(|export| String::from_utf8_lossy(&export.body).contains("last"))
    );
    ends(program).await;
    collector.spans_of(&["last"]).await;
}
