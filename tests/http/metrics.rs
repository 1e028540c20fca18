//! Metrics of the queue, of connections and of quotas follow what happens.

use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, soon, yaml};

/// Waits until a metric has exactly that value: gauges go down too.
async fn metric_is(proxy: &Proxy, series: &str, value: f64) {
    soon(&format!("{series} is {value}"), async {
        while proxy.metric(series).await != value {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn wait_of(tier: u8, result: &str, part: &str) -> String {
    format!(r#"tiergate_queue_wait_seconds_{part}{{tier="p{tier}",priority="{tier}",result="{result}"}}"#)
}

#[tokio::test]
async fn waits_displacements_and_estimates_are_measured() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        servers: &[(server.address, 1)],
        queue_length: 1,
        ..Plan::default()
    }
    .start();
    let mut first = Client::connect(proxy.address).await;
    first.search("p0").await;
    let mut arrived = server.request().await;
    let mut displaced = Client::connect(proxy.address).await;
    displaced.search("p0").await;
    proxy.jobs_until(1, 1).await;
    assert_eq!(proxy.metric(r#"tiergate_jobs_in_flight{tier="p0"}"#).await, 2.0);
    let oldest = r#"tiergate_queue_oldest_seconds{priority="0"}"#;
    let waited = proxy.metric(oldest).await;
    assert!(waited > 0.0);
    assert!(proxy.metric(oldest).await > waited, "it waits on");
    assert_eq!(
        proxy.metric(r#"tiergate_queue_oldest_seconds{priority="6"}"#).await,
        0.0
    );
    let mut second = Client::connect(proxy.address).await;
    second.search("p6").await;
    displaced.answer().await.assert_refused(503, "displaced");
    metric_is(&proxy, r#"tiergate_displacements_total{by="6",of="0"}"#, 1.0).await;
    metric_is(&proxy, &wait_of(0, "left", "count"), 1.0).await;
    assert!(proxy.metric(&wait_of(0, "left", "sum")).await > 0.0);
    assert_eq!(proxy.metric(oldest).await, 0.0);
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
    Arrived::on_either(arrived.stream, &server).await.answer("{}").await;
    assert_eq!(second.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
    for (tier, result, count) in [(0, "dispatched", 1.0), (6, "dispatched", 1.0), (6, "left", 0.0)] {
        metric_is(&proxy, &wait_of(tier, result, "count"), count).await;
    }
    assert_eq!(
        proxy.metric("tiergate_estimate_error_seconds_count").await,
        1.0,
        "one was queued"
    );
    let error = proxy.metric("tiergate_estimate_error_seconds_sum").await;
    let waited = proxy.metric(&wait_of(6, "dispatched", "sum")).await;
    // Before a slot time is known, one second is assumed for the one that runs.
    assert!((error - (1.0 - waited).abs()).abs() < 1e-6, "{error} after {waited} s");
    assert_eq!(proxy.metric(r#"tiergate_jobs_in_flight{tier="p6"}"#).await, 0.0);
}

#[tokio::test]
async fn connections_are_counted_by_state() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        servers: &[(server.address, 1)],
        ..Plan::default()
    }
    .start();
    let state = |state: &str| format!(r#"tiergate_connections{{listener="public",state="{state}"}}"#);
    let mut client = Client::connect(proxy.address).await;
    let silent = Client::connect(proxy.address).await;
    metric_is(&proxy, &state("idle"), 2.0).await;
    client.search("p5").await;
    let mut arrived = server.request().await;
    metric_is(&proxy, &state("active"), 1.0).await;
    metric_is(&proxy, &state("idle"), 1.0).await;
    arrived.answer("{}").await;
    assert_eq!(client.answer().await.status(), 200);
    metric_is(&proxy, &state("active"), 0.0).await;
    metric_is(&proxy, &state("idle"), 2.0).await;
    drop(silent);
    metric_is(&proxy, &state("idle"), 1.0).await;
    // A client that hangs up in the middle leaves nothing behind.
    client.search("p5").await;
    metric_is(&proxy, &state("active"), 1.0).await;
    drop(client);
    metric_is(&proxy, &state("active"), 0.0).await;
    metric_is(&proxy, &state("idle"), 0.0).await;
    // The scrape's own connection.
    let admin = |state: &str| format!(r#"tiergate_connections{{listener="admin",state="{state}"}}"#);
    let idle = Client::connect(proxy.admin).await;
    metric_is(&proxy, &admin("active"), 1.0).await;
    metric_is(&proxy, &admin("idle"), 1.0).await;
    drop(idle);
    metric_is(&proxy, &admin("idle"), 0.0).await;
}

#[tokio::test]
async fn connections_without_a_proxy_header_are_counted_as_refused() {
    let server = FastServer::start();
    let proxy = Plan {
        servers: &[(server.address, 1)],
        more: "proxy_protocol: [127.0.0.0/8]",
        ..Plan::default()
    }
    .start();
    let refused = r#"tiergate_connections_refused_total{listener="public",reason="proxy_protocol"}"#;
    for count in [1.0, 2.0] {
        let mut client = Client::connect(proxy.address).await;
        client.send("GET /search HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.until_closed().await;
        metric_is(&proxy, refused, count).await;
    }
}

/// The first count is at the start, of usage that was restored; there are more accounts than one batch has.
#[tokio::test]
async fn accounts_that_have_used_most_of_a_quota_are_counted() {
    let server = FastServer::start();
    let yaml = yaml()
        .setting("cores: 1")
        .queue("length: 8")
        .tier(
            "free",
            "priority: 0, concurrency: 8, quota: { limit: 5, rolling: 24h, enforce: false }",
        )
        .tier("gold", "priority: 1, concurrency: 8, quota: { limit: 5, rolling: 24h }")
        .tier("none", "priority: 1, concurrency: 8, quota: { limit: 0, rolling: 24h }")
        .account("beggar", "none", &["beggar"])
        .account("unlimited", "free", &["unlimited"]);
    let yaml = (0..600).fold(yaml, |yaml, number| {
        let name = format!("g{number:03}");
        yaml.account(&name, "gold", &[&name])
    });
    let yaml = yaml
        .keys("headers: [x-api-key]")
        .upstream("search", &[(server.address, 4)], "")
        .search_and_images("")
        .text();
    let proxy = Proxy::start_in(Folder::new(), &yaml);
    for (key, searches) in [("g000", 4), ("g300", 5), ("g599", 4), ("g007", 3), ("unlimited", 9)] {
        let mut client = Client::connect(proxy.address).await;
        for _ in 0..searches {
            client.search(key).await;
            assert_eq!(client.answer().await.status(), 200, "{key}");
        }
    }
    let proxy = Proxy::start_in(proxy.into_folder(), &yaml);
    let over =
        |tier: &str, share: &str| format!(r#"tiergate_accounts_over_quota_share{{tier="{tier}",share="{share}"}}"#);
    metric_is(&proxy, &over("gold", "0.8"), 3.0).await;
    assert_eq!(proxy.metric(&over("gold", "0.95")).await, 1.0);
    for tier in ["free", "none"] {
        assert_eq!(proxy.metric(&over(tier, "0.8")).await, 0.0, "{tier}");
    }
}
