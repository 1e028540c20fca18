//! `docs/metrics.md` and a real `/metrics` say the same, and no client can add a series.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::fast::FastServer;
use crate::support::{Client, Proxy, get, yaml};

/// What a page says of one metric.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    /// The bounds of a histogram, without `+Inf`.
    bounds: Vec<String>,
}

type Metrics = BTreeMap<String, Metric>;

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

/// The words in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = String> + '_ {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The metrics of docs/metrics.md.
fn documented() -> Metrics {
    let mut metrics = Metrics::new();
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        match cells(line)[..] {
            [name, kind, labels, _unit, meaning] => {
                let name = quoted(name).next().expect("a name");
                let metric = Metric {
                    kind: kind.to_owned(),
                    labels: quoted(labels).collect(),
                    bounds: Vec::new(),
                };
                assert!(!meaning.is_empty(), "{name} has no meaning");
                assert!(metrics.insert(name, metric).is_none(), "twice: {line}");
            }
            [names, bounds] => {
                for name in quoted(names) {
                    let histogram = metrics.get_mut(&name).expect("bounds of a documented metric");
                    histogram.bounds = bounds.split(", ").map(str::to_owned).collect();
                }
            }
            _ => panic!("a row of neither table: {line}"),
        }
    }
    metrics
}

/// The name, and the labels with their values. No value here has a comma or a quote in it.
fn series(line: &str) -> (&str, BTreeMap<&str, &str>) {
    let (series, _value) = line.rsplit_once(' ').expect("a series has a value");
    let Some((name, labels)) = series.split_once('{') else {
        return (series, BTreeMap::new());
    };
    let labels = labels.trim_end_matches('}').split(',').map(|label| {
        let (key, value) = label.split_once('=').expect("a label has a value");
        (key, value.trim_matches('"'))
    });
    (name, labels.collect())
}

/// The metrics of a page of Prometheus. Every series of a metric has the same labels, and every metric a help text.
fn scraped(page: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(text.ends_with('.'), "{line}");
            helped.insert(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{name} has no help text");
            let kind = kind.to_owned();
            current = name.to_owned();
            let metric = Metric {
                kind,
                ..Metric::default()
            };
            assert!(metrics.insert(current.clone(), metric).is_none(), "twice: {line}");
        } else {
            let (name, mut labels) = series(line);
            let metric = metrics.get_mut(&current).expect("a type comes first");
            assert!(name.starts_with(&current), "{name} is under {current}");
            let bound = labels.remove("le").filter(|bound| *bound != "+Inf").map(str::to_owned);
            if let Some(bound) = bound
                && !metric.bounds.contains(&bound)
            {
                metric.bounds.push(bound);
            }
            let labels: BTreeSet<String> = labels.into_keys().map(str::to_owned).collect();
            if metric.labels.is_empty() {
                metric.labels.clone_from(&labels);
            }
            assert_eq!(metric.labels, labels, "{line}");
        }
    }
    metrics
}

/// A proxy that has every metric: limits, one of which blocks, and a quota that isn't enforced.
fn proxy_with_everything(server: &FastServer) -> Proxy {
    let yaml = yaml()
        .setting("cores: 2")
        .queue("length: 8, max_wait: 30s")
        .tier(
            "free",
            "priority: 0, concurrency: 8, quota: { limit: 5, rolling: 24h, enforce: false }",
        )
        .tier(
            "gold",
            "priority: 6, concurrency: 8, quota: { limit: 1000, calendar: month, zone: UTC }",
        )
        .account("acme", "gold", &["key-acme"])
        .keys("headers: [x-api-key], bearer: true, query: key")
        .limit(
            "name: http, per: network, limit: 100000, window: 60s, block_after: { refusals: 10, within: 1m, for: 1h }",
        )
        .upstream("search", &[(server.address, 4)], "")
        .search_and_images("")
        .text();
    Proxy::start(&yaml)
}

async fn page(proxy: &Proxy) -> String {
    get(proxy.admin, "/metrics").await.text()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_document_lists_what_the_page_has() {
    let server = FastServer::start();
    let proxy = proxy_with_everything(&server);
    let (documented, scraped) = (documented(), scraped(&page(&proxy).await));
    let names = |metrics: &Metrics| -> BTreeSet<String> { metrics.keys().cloned().collect() };
    let (in_document, on_page) = (names(&documented), names(&scraped));
    let undocumented: Vec<_> = on_page.difference(&in_document).collect();
    assert!(undocumented.is_empty(), "not in docs/metrics.md: {undocumented:?}");
    let absent: Vec<_> = in_document.difference(&on_page).collect();
    assert!(absent.is_empty(), "in docs/metrics.md, but not on the page: {absent:?}");
    for (name, metric) in &documented {
        assert_eq!(metric, &scraped[name], "{name}: the document, then the page");
    }
}

/// The metric that a series of that name belongs to.
fn metric_of<'m>(name: &str, metrics: &'m Metrics) -> Option<&'m String> {
    let parts = ["_bucket", "_sum", "_count"];
    let stems = parts.iter().filter_map(|part| name.strip_suffix(part));
    let histogram = stems
        .filter_map(|stem| metrics.get_key_value(stem))
        .find(|(_, metric)| metric.kind == "histogram");
    let scalar = metrics
        .get_key_value(name)
        .filter(|(_, metric)| metric.kind != "histogram");
    histogram.or(scalar).map(|(name, _)| name)
}

#[test]
fn each_metric_has_an_example_query() {
    let metrics = documented();
    let blocks = DOCUMENT.split("```promql\n").skip(1);
    let queries = blocks.flat_map(|block| block.split("```").next().expect("a block").lines());
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let named = queries.flat_map(|query| query.split(word));
    let named = named.filter(|name| name.starts_with("tiergate_") || name.starts_with("process_"));
    let mut queried = BTreeSet::new();
    for name in named {
        let metric = metric_of(name, &metrics);
        queried.insert(metric.unwrap_or_else(|| panic!("a query of {name}, which isn't documented")));
    }
    let unqueried: Vec<_> = metrics.keys().filter(|name| !queried.contains(name)).collect();
    assert!(unqueried.is_empty(), "without a query: {unqueried:?}");
}

/// The series of a page, without their values.
fn all_series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = lines.map(|line| line.rsplit_once(' ').expect("a series has a value").0);
    series.map(str::to_owned).collect()
}

/// Requests of which no two are alike, in all that a client can choose.
fn strange_requests(number: u32) -> [String; 5] {
    [
        format!("GET /path-{number}/x{number}?q={number} HTTP/1.1\r\nhost: tiergate.example\r\n\r\n"),
        format!("METHOD{number} /search HTTP/1.1\r\nhost: host-{number}.example\r\n\r\n"),
        format!(
            "GET /image/{number} HTTP/1.1\r\nhost: host-{number}.example:8{number:03}\r\nuser-agent: a{number}\r\n\r\n"
        ),
        format!("GET /search?uid=u{number} HTTP/1.1\r\nhost: x\r\nx-api-key: guess-{number}\r\n\r\n"),
        format!(
            "GET /search?key=key-acme&x={number} HTTP/1.1\r\nhost: h{number}\r\nx-request-id: r{number}\r\n\
             x-forwarded-for: 192.0.2.{number}\r\nprefer: wait={number}\r\n\r\n"
        ),
    ]
}

/// A flood of strange paths, methods, hosts and keys changes values, and adds no series.
#[tokio::test]
async fn a_flood_of_strange_requests_adds_no_series() {
    const ROUNDS: u32 = 120;
    let server = FastServer::start();
    let proxy = proxy_with_everything(&server);
    let before = all_series(&page(&proxy).await);
    let mut client = Client::connect(proxy.address).await;
    for number in 0..ROUNDS {
        for request in strange_requests(number) {
            client.send(&request).await;
            let status = client.answer().await.status();
            assert!([200, 403, 404, 405].contains(&status), "{status}: {request}");
        }
    }
    let refused = r#"tiergate_refusals_total{tier="none",reason="invalid_key"}"#;
    proxy.metric_until(refused, ROUNDS.into()).await;
    let succeeded = r#"tiergate_jobs_total{tier="gold",outcome="succeeded"}"#;
    proxy.metric_until(succeeded, ROUNDS.into()).await;
    let after = all_series(&page(&proxy).await);
    assert!(before.len() > 300, "{} series", before.len());
    assert_eq!(
        before.symmetric_difference(&after).collect::<Vec<_>>(),
        [""; 0].iter().collect::<Vec<_>>()
    );
}
