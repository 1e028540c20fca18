//! Limits and quotas with `enforce: false`: they count and report what they would refuse, and no client notices.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tiergate::clock::ClockControl;
use tiergate::policy::time::{Span, UnixTime};

use super::accounting::field;
use crate::support::fast::FastServer;
use crate::support::{Answer, Client, Proxy, yaml};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

/// A proxy with these limits and one tier with these quotas. The account `ann` has the key `a1`.
fn open(server: SocketAddr, limits: &str, quotas: &str) -> (Proxy, &'static ClockControl) {
    let quotas = match quotas {
        "" => String::new(),
        quotas => format!(", quotas: {{ {quotas} }}"),
    };
    let yaml = yaml()
        .setting("cores: 1")
        .setting("trusted_proxies: [127.0.0.1]")
        .queue("length: 8")
        .tier("free", format_args!("priority: 0, concurrency: 9{quotas}"))
        .account("ann", "free", &["a1"])
        .upstream("search", &[(server, 9)], "")
        .search_and_images("")
        .more(format_args!("limits: [ {limits} ]"))
        .text();
    Proxy::start_at(NOON, &yaml)
}

async fn get(proxy: &Proxy, address: &str, path: &str) -> Answer {
    let headers = format!("x-forwarded-for: {address}\r\n");
    Client::connect(proxy.address).await.ask("GET", path, &headers).await
}

async fn unenforced(proxy: &Proxy, name: &str) -> f64 {
    let series = format!("tiergate_unenforced_refusals_total{{limit=\"{name}\"}}");
    proxy.metric(&series).await
}

fn tells_of(answer: &Answer) -> Vec<String> {
    let field = |name| match answer.get(name) {
        Some(_) => field(&answer.head, name),
        None => Value::Null,
    };
    let names = |value: Value| value.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
    let (policy, state) = (names(field("ratelimit-policy")), names(field("ratelimit")));
    assert_eq!(policy, state);
    policy.unwrap_or_default()
}

#[tokio::test]
async fn an_unenforced_limit_only_reports() {
    let server = FastServer::start();
    let limits = "{ name: trial, per: network, limit: 2, window: 60s, enforce: false }";
    let (proxy, clock_control) = open(server.address, limits, "");
    assert_eq!(unenforced(&proxy, "trial").await, 0.0, "it is there from the start");
    for _ in 0..5 {
        let answer = get(&proxy, A, "/image/1").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(tells_of(&answer), Vec::<String>::new());
        assert_eq!(answer.get("x-ratelimit-limit"), None);
        assert_eq!(answer.get("x-ratelimit-remaining"), None);
    }
    assert_eq!(unenforced(&proxy, "trial").await, 3.0);
    assert_eq!(
        proxy.metric("tiergate_limit_refusals_total{limit=\"trial\"}").await,
        0.0
    );
    assert_eq!(proxy.metric("tiergate_limit_callers{limit=\"trial\"}").await, 1.0);
    assert_eq!(get(&proxy, B, "/image/1").await.status(), 200, "another network");
    assert_eq!(unenforced(&proxy, "trial").await, 3.0);
    clock_control.advance(Span::from_secs(60));
    assert_eq!(get(&proxy, A, "/image/1").await.status(), 200);
    assert_eq!(unenforced(&proxy, "trial").await, 3.0, "another window");
}

/// Its refusals lead to a block that is only counted.
#[tokio::test]
async fn an_unenforced_block_is_only_counted() {
    let server = FastServer::start();
    let limits = "{ name: trial, per: network, limit: 1, window: 1s, enforce: false, \
                  match: { path: /image/1 }, block_after: { refusals: 2, within: 1m, for: 1h } }";
    let (proxy, clock_control) = open(server.address, limits, "");
    for _ in 0..3 {
        assert_eq!(get(&proxy, A, "/image/1").await.status(), 200);
    }
    assert_eq!(unenforced(&proxy, "trial").await, 2.0);
    clock_control.advance(Span::from_secs(30 * 60));
    // If enforced, the block would apply to every path.
    assert_eq!(get(&proxy, A, "/image/2").await.status(), 200);
    assert_eq!(unenforced(&proxy, "trial").await, 3.0);
    clock_control.advance(Span::from_secs(31 * 60));
    assert_eq!(get(&proxy, A, "/image/1").await.status(), 200);
    assert_eq!(unenforced(&proxy, "trial").await, 3.0);
}

/// What is refused for another reason is not counted: the limit was not the cause.
#[tokio::test]
async fn only_requests_admitted_otherwise_are_counted() {
    let server = FastServer::start();
    let limits = "{ name: trial, per: network, limit: 1, window: 60s, enforce: false }, \
                  { name: http, per: network, limit: 3, window: 60s }";
    let (proxy, _) = open(server.address, limits, "");
    for remaining in ["2", "1", "0"] {
        let answer = get(&proxy, A, "/image/1").await;
        assert_eq!(tells_of(&answer), ["http"]);
        assert_eq!(
            answer.get("x-ratelimit-limit"),
            Some("3"),
            "of the first that is enforced"
        );
        assert_eq!(answer.get("x-ratelimit-remaining"), Some(remaining));
    }
    for _ in 0..4 {
        let refused = get(&proxy, A, "/image/1").await;
        refused.assert_refused(429, "rate_limited");
        assert_eq!(refused.json()["name"], "http");
        assert_eq!(tells_of(&refused), ["http"]);
    }
    assert_eq!(unenforced(&proxy, "trial").await, 2.0);
}

#[tokio::test]
async fn an_unenforced_quota_is_debited_and_only_reports() {
    let server = FastServer::start();
    let quotas = "hourly: { limit: 2, rolling: 1h, enforce: false }, daily: { limit: 4, rolling: 24h }";
    let (proxy, _) = open(server.address, "", quotas);
    for _ in 0..4 {
        let answer = get(&proxy, A, "/search").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(tells_of(&answer), ["concurrency", "daily"]);
    }
    assert_eq!(unenforced(&proxy, "hourly").await, 2.0);
    get(&proxy, A, "/search").await.assert_refused(402, "quota_depleted");
    assert_eq!(unenforced(&proxy, "hourly").await, 2.0, "refused by another");
    let me = get(&proxy, A, "/me").await.json();
    assert_eq!((&me["quota"], &me["quotaUsed"]), (&json!(4), &json!(4)));
    let [hourly, daily] = [0, 1].map(|at| &me["quotas"][at]);
    assert_eq!(
        (&hourly["name"], &hourly["enforced"]),
        (&json!("hourly"), &json!(false))
    );
    assert_eq!((&hourly["used"], &hourly["remaining"]), (&json!(4), &json!(0)));
    assert_eq!((&daily["name"], daily.get("enforced")), (&json!("daily"), None));
}

#[tokio::test]
async fn a_caller_without_enforced_quotas_has_no_limit() {
    let server = FastServer::start();
    let (proxy, _) = open(server.address, "", "daily: { limit: 0, rolling: 24h, enforce: false }");
    let mut client = Client::connect(proxy.address).await;
    let answer = client.ask("GET", "/search", "x-api-key: a1\r\n").await;
    assert_eq!(
        (answer.status(), tells_of(&answer)),
        (200, vec!["concurrency".to_owned()])
    );
    assert_eq!(unenforced(&proxy, "daily").await, 1.0);
    let me = client.ask("GET", "/me", "x-api-key: a1\r\n").await.json();
    assert_eq!((&me["quota"], &me["quotaUsed"]), (&Value::Null, &json!(0)));
}
