//! A reload overtakes a request: the request came in before it, and meets the limits and the gate after it (rules §2.14).
//! It keeps its route and key; its tier, limits and quotas are the newest, and so are the values in its answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::super::*;
use super::*;
use crate::http::listener::serve_overtaken;
use crate::http::way::Core;
use crate::store::AccountSpec;
use crate::upstream::Connections;

/// SHA-256 of `k`.
const KEY: &str = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
/// A SHA-256 without a known key.
const NOBODYS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The parts in which a test's files differ.
struct TestConfig<'f> {
    tiers: &'f str,
    /// The tier and key of the declared account; `None`: it isn't declared.
    account: Option<(&'f str, &'f str)>,
    limits: &'f str,
    more: &'f str,
    /// Which of the two upstreams exists, and its route's cost.
    upstream: usize,
    cost: u32,
}

const TIERS: &str = "free: { priority: 1, concurrency: 1 }, paid: { priority: 5, concurrency: 7 }";

const FILE: TestConfig<'static> = TestConfig {
    tiers: TIERS,
    account: Some(("free", KEY)),
    limits: "",
    more: "",
    upstream: 0,
    cost: 1,
};

/// A proxy that only the test talks to.
struct Fixture {
    reloader: Reloader,
    core: Core,
    folder: PathBuf,
    servers: [SocketAddr; 2],
}

/// An upstream server that answers with its number and the request head.
async fn upstream_server(number: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            let body = format!(
                "server {number}\n{}",
                String::from_utf8(head).expect("text").to_lowercase()
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("it is read");
        }
    });
    address
}

impl Fixture {
    async fn open(file: &TestConfig<'_>) -> Self {
        static FIXTURES: AtomicUsize = AtomicUsize::new(0);
        let number = FIXTURES.fetch_add(1, Relaxed);
        let folder = std::env::temp_dir().join(format!("tiergate-overtaken-{}-{number}", std::process::id()));
        let servers = [upstream_server(0).await, upstream_server(1).await];
        let (config, clock) = (config(file, &folder, &servers), Clock::start());
        let parts = open(config, None, OldData::Use, clock).await.expect("a new folder");
        let connections = Connections::new(clock, TaskTracker::new());
        let core = Core {
            site: Arc::clone(&parts.site),
            connections: Arc::new(connections),
        };
        Self {
            reloader: Reloader::new(parts),
            core,
            folder,
            servers,
        }
    }

    /// Loads this file.
    async fn reload(&mut self, file: &TestConfig<'_>) {
        let config = Arc::new(config(file, &self.folder, &self.servers));
        let at = self.services().gate.clock().wall();
        self.reloader
            .swap("tiers.yaml", &config, at)
            .await
            .expect("it is right");
    }

    fn services(&self) -> &Services {
        &self.reloader.parts.services
    }

    fn site(&self) -> Arc<Site> {
        self.core.site.load_full()
    }

    /// The answer to a request that came in at that site, with these header lines.
    async fn ask(&self, by: &Site, path: &str, lines: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = async {
            let mut stream = TcpStream::connect(address).await.expect("the listener is bound");
            let head = format!("GET {path} HTTP/1.1\r\nhost: proxy.example\r\n{lines}connection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("it is read");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("text");
            answer
        };
        let server = async {
            let (stream, _) = listener.accept().await.expect("the client connects");
            serve_overtaken(&self.core, by, stream).await;
        };
        tokio::join!(client, server).0
    }

    async fn search(&self, by: &Site) -> String {
        self.ask(by, "/search", "x-api-key: k\r\n").await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.services().database.close();
        // The system empties its folder if this fails.
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

fn config(file: &TestConfig<'_>, folder: &std::path::Path, servers: &[SocketAddr; 2]) -> Config {
    let TestConfig {
        tiers,
        account,
        limits,
        more,
        upstream,
        cost,
    } = file;
    let account = account.map_or_else(String::new, |(tier, key)| {
        format!("{{ name: acme, tier: {tier}, key_sha256: {key} }}")
    });
    let yaml = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {}\nqueue: {{ length: 8 }}\ntiers: {{ strangers: {{ \
         priority: 0, concurrency: 3 }}, {tiers} }}\nanonymous: strangers\naccounts: [ {account} ]\nlimits: [ {limits} \
         ]\nupstreams: {{ u{upstream}: {{ servers: [ {{ url: \"http://{}\", slots: 4 }} ] }} }}\nroutes: [ {{ path: /search, \
         upstream: u{upstream}, metered: true, cost: {cost} }} ]\n{more}\n",
        folder.display(),
        servers[*upstream],
    );
    Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
}

/// Asserts that the answer has all of these, separated by ` & `.
#[track_caller]
fn assert_answer(answer: &str, status: u16, parts: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    for part in parts.split(" & ") {
        assert!(answer.contains(part), "{part} is missing in: {answer}");
    }
}

/// A search that came in under the first file, while the second is in force.
async fn overtaken(before: &TestConfig<'_>, after: &TestConfig<'_>) -> String {
    let mut fixture = Fixture::open(before).await;
    let came_to = fixture.site();
    fixture.reload(after).await;
    fixture.search(&came_to).await
}

/// The same also with a limit in both files, where the limiter notices the reload; without one, the gate does.
async fn overtaken_both_ways(before: &TestConfig<'_>, after: &TestConfig<'_>) -> [String; 2] {
    let limits = "{ name: http, per: account, limit: 100, window: 1h }";
    let limited = (TestConfig { limits, ..*before }, TestConfig { limits, ..*after });
    [overtaken(before, after).await, overtaken(&limited.0, &limited.1).await]
}

#[tokio::test]
async fn an_account_that_was_promoted_has_its_new_tier() {
    let promoted = TestConfig {
        account: Some(("paid", KEY)),
        ..FILE
    };
    for answer in overtaken_both_ways(&FILE, &promoted).await {
        assert_answer(&answer, 200, r#""concurrency";q=7 & server 0"#);
        assert_answer(
            &answer,
            200,
            "x-tiergate-account: acme & x-tiergate-tier: paid & x-tiergate-priority: 5",
        );
    }
}

#[tokio::test]
async fn an_account_that_was_demoted_is_refused_as_its_new_tier() {
    let quota = "free: { priority: 1, concurrency: 1, quota: { limit: 0, rolling: 1h } }, paid: { priority: 5, concurrency: 7 }";
    let before = TestConfig {
        account: Some(("paid", KEY)),
        ..FILE
    };
    let demoted = TestConfig { tiers: quota, ..FILE };
    for answer in overtaken_both_ways(&before, &demoted).await {
        assert_answer(
            &answer,
            402,
            r#"quota_depleted & "tier":"free" & "priority":1 & "concurrency";q=1"#,
        );
    }
}

#[tokio::test]
async fn an_account_whose_tier_is_gone_has_the_strangers_terms() {
    let without = TestConfig {
        tiers: "paid: { priority: 5, concurrency: 7 }",
        account: None,
        ..FILE
    };
    for answer in overtaken_both_ways(&FILE, &without).await {
        assert_answer(
            &answer,
            200,
            r#""concurrency";q=3 & x-tiergate-account: acme & x-tiergate-tier: strangers"#,
        );
    }
}

/// While it isn't declared, its key is invalid and it keeps its terms; declared again, it has those of the newest file.
#[tokio::test]
async fn an_account_that_is_listed_again_is_as_the_newest_file_has_it() {
    let mut fixture = Fixture::open(&FILE).await;
    let came_to = fixture.site();
    fixture.reload(&TestConfig { account: None, ..FILE }).await;
    assert_answer(&fixture.search(&fixture.site()).await, 403, "invalid_key");
    assert_answer(&fixture.search(&came_to).await, 200, "x-tiergate-tier: free");
    let declared = TestConfig {
        account: Some(("paid", NOBODYS)),
        ..FILE
    };
    fixture.reload(&declared).await;
    assert_answer(&fixture.search(&came_to).await, 200, "x-tiergate-tier: paid");
}

#[tokio::test]
async fn fields_that_are_switched_off_are_told_no_more() {
    let without = TestConfig {
        more: "ratelimit_fields: false",
        ..FILE
    };
    for answer in overtaken_both_ways(&FILE, &without).await {
        assert_answer(&answer, 200, "server 0");
        assert!(!answer.contains("ratelimit-policy"), "{answer}");
    }
}

#[tokio::test]
async fn the_routes_and_keys_are_those_that_it_came_by() {
    let mut fixture = Fixture::open(&FILE).await;
    let came_to = fixture.site();
    let after = TestConfig {
        account: Some(("free", NOBODYS)),
        upstream: 1,
        cost: 5,
        tiers: "free: { priority: 1, concurrency: 1, quota: { limit: 10, rolling: 1h } }",
        ..FILE
    };
    fixture.reload(&after).await;
    assert_answer(
        &fixture.search(&came_to).await,
        200,
        r#"server 0 & x-tiergate-account: acme & "hourly";r=9"#,
    );
    assert_answer(&fixture.search(&fixture.site()).await, 403, "invalid_key");
}

#[tokio::test]
async fn a_delegated_user_and_its_account_have_the_newest_terms() {
    let mut fixture = Fixture::open(&FILE).await;
    let (store, at) = (
        Arc::clone(&fixture.services().store),
        fixture.services().gate.clock().wall(),
    );
    let new = AccountSpec {
        name: "forum".to_owned(),
        tier: "free".to_owned(),
        max_users: Some(10),
        ..AccountSpec::default()
    };
    store.add(new, at).expect("a new name");
    let minted = store.mint("forum", String::new(), None, at).expect("its first key");
    let lines = format!("x-api-key: {}\r\nx-tiergate-user: somebody\r\n", minted.secret.reveal());
    let came_to = fixture.site();
    fixture
        .reload(&TestConfig {
            tiers: "free: { priority: 1, concurrency: 2, quota: { limit: 10, rolling: 24h } }",
            ..FILE
        })
        .await;
    let answer = fixture.ask(&came_to, "/search", &lines).await;
    assert_answer(&answer, 200, "x-tiergate-account: forum & x-tiergate-tier: strangers");
    assert_answer(&answer, 200, r#""daily";q=10 & "daily";r=9 & "concurrency";q=2"#);
}

#[tokio::test]
async fn a_limit_that_changed_its_number_counts_by_the_new_one() {
    let limits = |limits| TestConfig { limits, ..FILE };
    let five = "{ name: http, per: account, limit: 5, window: 1h }";
    let mut fixture = Fixture::open(&limits(five)).await;
    let came_to = fixture.site();
    assert_answer(
        &fixture.search(&came_to).await,
        200,
        "x-ratelimit-limit: 5 & x-ratelimit-remaining: 4",
    );
    // At another index.
    let nine = "{ name: new, per: account, limit: 50, window: 1h, headers: off }, { name: http, per: account, limit: 9, window: 1h }";
    fixture.reload(&limits(nine)).await;
    assert_answer(
        &fixture.search(&came_to).await,
        200,
        r#"x-ratelimit-limit: 9 & x-ratelimit-remaining: 7 & "new";r=49"#,
    );
    assert_answer(
        &fixture.search(&fixture.site()).await,
        200,
        r#"x-ratelimit-remaining: 6 & "new";r=48"#,
    );
    fixture
        .reload(&limits("{ name: http, per: account, limit: 2, window: 1h }"))
        .await;
    let refused = fixture.search(&came_to).await;
    assert_answer(&refused, 429, r#"rate_limited & "limit":2 & x-ratelimit-limit: 2"#);
    assert!(!refused.contains("\"new\""), "{refused}");
}

#[tokio::test]
async fn a_limit_that_is_gone_or_not_enforced_refuses_nobody_any_more() {
    let limits = |limits| TestConfig { limits, ..FILE };
    let before =
        "{ name: gone, per: account, limit: 1, window: 1h }, { name: http, per: account, limit: 1, window: 1h }";
    let mut fixture = Fixture::open(&limits(before)).await;
    let came_to = fixture.site();
    assert_answer(&fixture.search(&came_to).await, 200, r#""gone";r=0"#);
    assert_answer(&fixture.search(&came_to).await, 429, "rate_limited");
    // Regression: an edit raised a limit's number and began to enforce it, or the reverse; a request under the old file was
    // refused by the number of one file and the `enforce` of the other.
    fixture
        .reload(&limits(
            "{ name: http, per: account, limit: 1, window: 1h, enforce: false }",
        ))
        .await;
    let answer = fixture.search(&came_to).await;
    assert_answer(&answer, 200, "server 0");
    assert!(!answer.contains("\"gone\"") && !answer.contains("\"http\""), "{answer}");
    fixture
        .reload(&limits("{ name: http, per: account, limit: 3, window: 1h }"))
        .await;
    assert_answer(&fixture.search(&came_to).await, 200, "x-ratelimit-limit: 3");
}

#[tokio::test]
async fn a_limit_matches_the_request_anew() {
    let limits = |limits| TestConfig { limits, ..FILE };
    let mut fixture = Fixture::open(&limits(
        "{ name: http, per: network, match: { path: /search }, limit: 5, window: 1h }",
    ))
    .await;
    let came_to = fixture.site();
    fixture
        .reload(&limits(
            "{ name: http, per: network, match: { path: /other }, limit: 5, window: 1h }",
        ))
        .await;
    let answer = fixture.search(&came_to).await;
    assert_answer(&answer, 200, "server 0");
    assert!(!answer.contains("x-ratelimit"), "{answer}");
}

#[tokio::test]
async fn windows_that_changed_are_those_of_the_newest_file() {
    let file = |tiers, limits| TestConfig { tiers, limits, ..FILE };
    let mut fixture = Fixture::open(&file(
        "free: { priority: 1, concurrency: 1, quota: { limit: 10, rolling: 1h } }",
        "{ name: http, per: account, limit: 5, window: 1m }",
    ))
    .await;
    let came_to = fixture.site();
    fixture
        .reload(&file(
            "free: { priority: 1, concurrency: 1, quota: { limit: 10, rolling: 24h } }",
            "{ name: http, per: account, limit: 5, window: 2m }",
        ))
        .await;
    assert_answer(
        &fixture.search(&came_to).await,
        200,
        r#""daily";q=10;w=86400 & "http";q=5;w=120"#,
    );
}

#[tokio::test]
async fn a_strangers_page_and_a_wrong_key_meet_the_newest_limits() {
    let limits = |limits| TestConfig { limits, ..FILE };
    let mut fixture = Fixture::open(&limits("{ name: http, per: network, limit: 5, window: 1h }")).await;
    let came_to = fixture.site();
    let more = TestConfig {
        tiers: "free: { priority: 1, concurrency: 1 }",
        ..limits("{ name: http, per: network, limit: 3, window: 1h }")
    };
    fixture.reload(&more).await;
    assert_answer(
        &fixture.ask(&came_to, "/me", "").await,
        200,
        r#""tier":"strangers" & x-ratelimit-remaining: 2"#,
    );
    assert_answer(
        &fixture.ask(&came_to, "/search", "x-api-key: wrong\r\n").await,
        403,
        "x-ratelimit-remaining: 1",
    );
    assert_answer(&fixture.search(&came_to).await, 200, "x-ratelimit-remaining: 0");
    assert_answer(&fixture.search(&came_to).await, 429, r#""limit":3"#);
}

/// A reload between the limits and the gate: the limits have decided, and are not charged again.
#[tokio::test]
async fn a_reload_after_the_limits_charges_them_once() {
    let limits = "{ name: other, per: account, limit: 70, window: 1h, headers: off }, { name: http, per: account, limit: 5, window: 1h }";
    let mut fixture = Fixture::open(&TestConfig { limits, ..FILE }).await;
    let came_to = fixture.site();
    let after = TestConfig {
        account: Some(("paid", KEY)),
        limits: "{ name: http, per: account, limit: 9, window: 1h }",
        ..FILE
    };
    // Reload the gate only, as if the limits had decided before.

    let config = config(&after, &fixture.folder, &fixture.servers);
    let upstreams = &mut fixture.reloader.parts.upstreams;
    let rules = Arc::new(upstreams.apply(&config).expect("few names"));
    let (parts, services) = (&fixture.reloader.parts, fixture.services());
    let at = services.gate.clock().wall();
    services
        .store
        .prepare_declared(&data_dir::declared(&config), at)
        .expect("it is right")
        .publish();
    let accounts = Arc::new(AccountView::of(services.store.directory()));
    let generation = generation(&config, rules, accounts, &services.exposition);
    let newest = Arc::new(site(&config, services, &parts.upstreams, &generation));
    services.gate.reload(generation, || fixture.core.site.store(newest));
    let answer = fixture.search(&came_to).await;
    assert_answer(
        &answer,
        200,
        r#"x-ratelimit-limit: 5 & x-ratelimit-remaining: 4 & "other";r=69 & x-tiergate-tier: paid"#,
    );
    assert_answer(&answer, 200, r#""concurrency";q=7"#);
    let counted = services.limiter.counted(&came_to.generation().rules);
    assert_eq!(counted, [(1, 0), (1, 0)]);
    assert_answer(&fixture.search(&came_to).await, 200, "x-ratelimit-remaining: 3");
}

/// The bug: after a reload that failed between the site and the gate, a request retried with the same site forever, without an
/// await, and its thread never ended.
#[tokio::test]
async fn a_reload_that_broke_off_halfway_refuses_requests() {
    let mut fixture = Fixture::open(&FILE).await;
    let config = config(&TestConfig { cost: 2, ..FILE }, &fixture.folder, &fixture.servers);
    let upstreams = &mut fixture.reloader.parts.upstreams;
    let rules = Arc::new(upstreams.apply(&config).expect("few names"));
    let (parts, services) = (&fixture.reloader.parts, fixture.services());
    let accounts = Arc::new(AccountView::of(services.store.directory()));
    let generation = generation(&config, rules, accounts, &services.exposition);
    let newest = Arc::new(site(&config, services, &parts.upstreams, &generation));
    fixture.core.site.store(newest);
    assert_answer(&fixture.search(&fixture.site()).await, 503, "shutting_down");
}
