//! Files that use new names for tiers, upstreams and limits each time: what remains in the metrics.

use crate::support::yaml::Yaml;
use crate::support::{Client, Mirror, Proxy, get, soon, yaml};

/// A file with ten tiers, ten upstreams and ten limits whose names no other file has.
fn file(number: usize, mirror: &Mirror) -> String {
    let servers = [(mirror.address, 2)];
    let all = yaml()
        .queue("length: 8")
        .tier("free", "priority: 0, concurrency: 4")
        .upstream("search", &servers, "")
        .route("path: /search, upstream: search, metered: true");
    let with_one = |yaml: Yaml, at: usize| {
        let of = |kind: &str| format!("{kind}-{number:04}-{at}");
        yaml.tier(&of("tier"), "priority: 1, concurrency: 1")
            .limit(format_args!(
                "name: {}, per: network, limit: 100000, window: 1h, enforce: false",
                of("limit")
            ))
            .upstream(&of("upstream"), &servers, "")
    };
    (0..10).fold(all, with_one).text()
}

/// Regression: every name that was ever in the file stayed in the metrics and in memory. Five hundred files with ten
/// new tiers each made a page of 12 MB, to be rendered and read at every scrape.
#[tokio::test]
async fn metrics_of_removed_names_go_and_the_others_stay() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start_live(&file(0, &mirror));
    let mut client = Client::connect(proxy.address).await;
    let mut sizes = Vec::new();
    for number in 1..=40 {
        client.request("GET", "/search", "").await;
        assert_eq!(client.answer_to("GET").await.status(), 200);
        proxy.save(&file(number, &mirror));
        let answer = proxy.operator("POST", "/reload", "").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        if number % 20 == 0 {
            sizes.push(get(proxy.admin, "/metrics").await.text().len());
        }
    }
    assert!(
        sizes[1] < sizes[0] + sizes[0] / 20,
        "the page grows without end: {sizes:?} bytes"
    );
    let all = r#"tiergate_jobs_total{tier="free",outcome="succeeded"}"#;
    proxy.metric_until(all, 40.0).await;
    assert_eq!(proxy.metric(all).await, 40.0);
    // Removed upstreams have no slots. An upstream remains until no request is on its way to it.
    soon("gauges of the last file alone", async {
        loop {
            let page = get(proxy.admin, "/metrics").await.text();
            let is_gauge = |line: &&str| {
                ["tiergate_slots{", "tiergate_accounts{"]
                    .iter()
                    .any(|of| line.starts_with(of))
            };
            let mut gauges = page.lines().filter(is_gauge);
            if gauges
                .all(|line| line.contains("-0040-") || ["search", "free", "none"].iter().any(|of| line.contains(of)))
            {
                return;
            }
        }
    })
    .await;
}

/// Regression: a limit that was removed and restored counted aggregated callers from zero again, and the metric stood
/// still until it exceeded its former value.
#[tokio::test]
async fn a_restored_limit_continues_its_aggregation_counter() {
    let mirror = Mirror::start().await;
    let file = |limits: &str| {
        yaml()
            .setting("trusted_proxies: [127.0.0.1]")
            .setting("max_callers: 1000")
            .queue("length: 8")
            .tier("free", "priority: 0, concurrency: 1")
            .upstream("search", &[(mirror.address, 2)], "")
            .route("path: /search, upstream: search, metered: true")
            .more(format_args!("limits: {limits}"))
            .text()
    };
    let with = file("[ { name: http, per: network, limit: 1000, window: 1h } ]");
    let crowded = r#"tiergate_limit_crowded_total{limit="http"}"#;
    let proxy = Proxy::start_live(&with);
    let mut client = Client::connect(proxy.address).await;
    let mut crowd = async |callers: usize| {
        for at in 0..callers {
            let from = format!("x-forwarded-for: 10.{}.{}.1\r\n", at / 256, at % 256);
            client.ask("GET", "/me", &from).await;
        }
        proxy.metric(crowded).await
    };
    let before = crowd(1_300).await;
    assert!(before > 0.0, "some callers are counted by prefix");
    for file in [&file("[]"), &with] {
        proxy.save(file);
        let answer = proxy.operator("POST", "/reload", "").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let after = crowd(1_200).await;
    assert!(after > before, "{after} after {before}");
}
