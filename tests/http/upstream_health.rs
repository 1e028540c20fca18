//! A server that is down is seen: in the metrics, in `/queue`, in `/readyz`, and in what callers are told.

use crate::support::{Client, Plan, Proxy, UpstreamServer, get, soon};
use crate::upstream_servers::Dead;

const ANY: &str = "drain_timeout: 100ms\nreadyz: { upstreams: any }";

fn of_server(metric: &str, server: std::net::SocketAddr, label: &str) -> String {
    format!(r#"tiergate_upstream_server_{metric}{{upstream="search",server="{server}"{label}}}"#)
}

async fn searching(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search("p5").await;
    client
}

async fn ready(proxy: &Proxy) -> (u16, String) {
    let answer = get(proxy.admin, "/readyz").await;
    (answer.status(), answer.text())
}

#[tokio::test]
async fn a_dead_server_is_seen_until_it_is_back() {
    let dead = Dead::new();
    let address = dead.address();
    let plan = Plan {
        cores: 1,
        servers: &[(address, 3)],
        more: ANY,
        ..Plan::default()
    };
    let proxy = plan.start();
    let up = of_server("up", address, "");
    let slots = |state: &str| of_server("slots", address, &format!(r#",state="{state}""#));
    assert_eq!(proxy.metric(&up).await, 1.0, "nobody has found out yet");
    assert_eq!(ready(&proxy).await.0, 200);
    let answer = searching(&proxy).await.answer().await;
    answer.assert_refused(502, "upstream_unreachable");
    // The first probe is a second after the failure.
    assert_eq!(answer.get("retry-after"), Some("1"));
    assert_eq!(answer.json()["retry_after"], 1);
    proxy
        .queue_until("it is down", |page| page["pools"][0]["slots"] == 0)
        .await;
    assert_eq!(proxy.metric(&up).await, 0.0);
    for (state, count) in [("configured", 3.0), ("available", 0.0), ("busy", 0.0)] {
        assert_eq!(proxy.metric(&slots(state)).await, count, "{state}");
    }
    let failures = of_server("failures_total", address, r#",reason="connect""#);
    assert_eq!(proxy.metric(&failures).await, 1.0);
    let last = of_server("last_failure_timestamp_seconds", address, r#",reason="connect""#);
    assert!(proxy.metric(&last).await > 1.7e9);
    assert_eq!(ready(&proxy).await, (503, "no upstream server is up\n".to_owned()));
    let pool = &proxy.queue().await["pools"][0];
    assert_eq!((&pool["configured"], &pool["slots"]), (&3.into(), &0.into()));
    let server = &pool["servers"][0];
    let expected = serde_json::json!({ "server": address.to_string(), "up": false, "slots": 3, "available": 0,
        "running": 0 });
    for (member, value) in expected.as_object().expect("an object") {
        assert_eq!(&server[member], value, "{server}");
    }
    let failure = &server["last_failure"];
    assert!(failure["at"].is_string() && failure["error"].is_string(), "{failure}");
    let server = dead.revived();
    drop(server.connection().await); // the probe
    proxy
        .queue_until("it is back", |page| page["pools"][0]["slots"] == 3)
        .await;
    assert_eq!(
        (proxy.metric(&up).await, proxy.metric(&slots("available")).await),
        (1.0, 3.0)
    );
    assert_eq!(ready(&proxy).await.0, 200);
}

/// By default a load balancer keeps sending: requests wait for a server.
#[tokio::test]
async fn readyz_ignores_upstreams_by_default() {
    let (dead, server) = (Dead::new(), UpstreamServer::start().await);
    for (servers, more, status) in [
        (vec![(dead.address(), 1)], "drain_timeout: 100ms", 200),
        (vec![(dead.address(), 1)], "readyz: { upstreams: ignore }", 200),
        (vec![(dead.address(), 1), (server.address, 1)], ANY, 200),
        (vec![(dead.address(), 1)], ANY, 503),
    ] {
        let health = "timeout: 20s, health: { path: /health, every: 1ms }";
        let proxy = Plan {
            servers: &servers,
            upstream: health,
            more,
            ..Plan::default()
        }
        .start();
        let down = of_server("up", dead.address(), "");
        soon("it is down", async {
            while proxy.metric(&down).await != 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(ready(&proxy).await.0, status, "{more}, {} servers", servers.len());
    }
}

#[tokio::test]
async fn failures_are_counted_by_what_went_wrong() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        upstream: "timeout: 300ms",
        ..Plan::default()
    }
    .start();
    let failures = |reason: &str| of_server("failures_total", server.address, &format!(r#",reason="{reason}""#));
    // It breaks the connection before its answer, and in the middle of one.
    let client = searching(&proxy).await;
    drop(server.request().await);
    answered(client, 502).await;
    proxy.metric_until(&failures("broken"), 1.0).await;
    let mut client = searching(&proxy).await;
    let mut arrived = server.request().await;
    arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123").await;
    drop(arrived);
    client.until_closed().await;
    proxy.metric_until(&failures("broken"), 2.0).await;
    // A complete answer ends the row of failures.
    let client = searching(&proxy).await;
    server.request().await.answer("{}").await;
    answered(client, 200).await;
    // It doesn't answer in time, and doesn't end its answer in time.
    let client = searching(&proxy).await;
    let silent = server.request().await;
    answered(client, 504).await;
    drop(silent);
    proxy.metric_until(&failures("timeout"), 1.0).await;
    let mut client = searching(&proxy).await;
    let mut arrived = server.request().await;
    arrived.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123").await;
    client.until_closed().await;
    proxy.metric_until(&failures("timeout"), 2.0).await;
    for (reason, count) in [("broken", 2.0), ("timeout", 2.0), ("connect", 0.0), ("probe", 0.0)] {
        assert_eq!(proxy.metric(&failures(reason)).await, count, "{reason}");
    }
    assert_eq!(proxy.metric(&of_server("up", server.address, "")).await, 1.0);
}

async fn answered(mut client: Client, status: u16) {
    assert_eq!(client.answer().await.status(), status);
}
