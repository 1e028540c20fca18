//! The access log and the request's id, as an operator and an API user meet them.

use std::path::PathBuf;

use serde_json::Value;

use super::accounting::ask;
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::{Client, Mirror, Proxy, get, metric_sum, seven_tiers, soon};

/// A proxy that logs to a file in a folder of its own.
struct Logged {
    proxy: Proxy,
    folder: Folder,
}

impl Logged {
    fn start(yaml: &str, settings: &str) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let log = format!(
            "{yaml}\naccess_log: {{ file: {}, {settings} }}\nlog_addresses: full\n",
            file.display()
        );
        let proxy = Proxy::start(&log);
        Self { proxy, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }

    /// The lines, once there are so many.
    async fn lines(&self, count: usize) -> Vec<Value> {
        soon(&format!("{count} lines"), async {
            while self.text().lines().count() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let lines: Vec<Value> = (self.text().lines())
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect();
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// All requests, as the metrics count them.
    async fn counted(&self) -> f64 {
        metric_sum(self.proxy.admin, "tiergate_http_requests_total", "").await
    }
}

#[tokio::test]
async fn each_request_has_one_line() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "format: json");
    let proxy = &logged.proxy;
    assert_eq!(ask(proxy, "/search?key=key-20&x=secret", "").await.status(), 200);
    assert_eq!(ask(proxy, "/image/a%20b", "").await.status(), 200);
    assert_eq!(ask(proxy, "/search", "x-api-key: nobody's\r\n").await.status(), 403);
    assert_eq!(get(proxy.address, "/nothing").await.status(), 404);
    assert_eq!(get(proxy.address, "/me").await.status(), 200);
    assert_eq!(get(proxy.address, "/status.json").await.status(), 200);
    let mut unreadable = Client::connect(proxy.address).await;
    unreadable.send("no request\r\n\r\n").await;
    assert_eq!(unreadable.answer().await.status(), 400);

    let lines = logged.lines(7).await;
    let shown = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {} {}",
            text("route"),
            text("path"),
            line["status"],
            text("tier"),
            text("reason")
        )
    };
    let shown: Vec<String> = lines.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "/search /search 200 $20 -",
            "/image/{*rest} /image/a%20b 200 free -",
            "/search /search 403 - invalid_key",
            "none /nothing 404 - not_found",
            "own:/me /me 200 free -",
            "own:/status.json /status.json 200 free -",
            "none - 400 - bad_request",
        ]
    );
    let served = &lines[0];
    assert_eq!(served["account"], "a20", "{served}");
    assert_eq!(served["server"], server.address.to_string());
    assert_eq!(served["client"], "127.0.0.1");
    assert!(
        served["wait_ms"].is_number() && served["service_ms"].is_number() && served["bytes_out"].as_u64() > Some(0)
    );
    assert!(
        lines[1]["wait_ms"].is_null() && lines[1]["upstream"] == served["upstream"],
        "{}",
        lines[1]
    );
    let text = logged.text();
    assert!(
        !text.contains("key-20") && !text.contains("secret") && !text.contains("nobody's"),
        "{text}"
    );
    assert!((logged.counted().await - 7.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_log_of_metered_requests_has_no_others() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "what: metered");
    for path in ["/me", "/image/x", "/nothing", "/search"] {
        get(logged.proxy.address, path).await;
    }
    assert_eq!(logged.lines(1).await[0]["path"], "/search");
}

#[tokio::test]
async fn a_log_of_errors_has_only_those() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "what: errors");
    for path in ["/search", "/search?status=500", "/me"] {
        get(logged.proxy.address, path).await;
    }
    assert_eq!(logged.lines(1).await[0]["status"], 500);
}

/// As logrotate does it.
#[tokio::test]
async fn a_renamed_file_is_begun_anew() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "max_per_second: 1000000");
    get(logged.proxy.address, "/me").await;
    logged.lines(1).await;
    let old = logged.folder.path().join("access.log.1");
    std::fs::rename(logged.file(), &old).expect("it is there");
    soon("a new file", async {
        while !logged.file().exists() {
            get(logged.proxy.address, "/me").await;
        }
    })
    .await;
    // No line is lost between the two.
    let count = || {
        let lines = |file| std::fs::read_to_string(file).unwrap_or_default().lines().count();
        (lines(old.clone()) + lines(logged.file())) as f64
    };
    let requests = logged.counted().await;
    soon("all lines", async {
        while count() < requests {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!((count() - requests).abs() < f64::EPSILON);
}

/// A flood of refusals fills no disk, hides nothing that was served, and is counted.
#[tokio::test]
async fn a_flood_is_sampled_and_its_rest_counted() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "max_per_second: 10");
    let mut client = Client::connect(logged.proxy.address).await;
    for _ in 0..500 {
        assert_eq!(client.ask("GET", "/nothing", "").await.status(), 404);
    }
    assert_eq!(get(logged.proxy.address, "/image/served").await.status(), 200);
    let dropped = metric_sum(
        logged.proxy.admin,
        "tiergate_access_log_dropped_total",
        "reason=\"rate\"",
    )
    .await;
    assert!(dropped > 0.0, "nothing was dropped");
    let admin = logged.proxy.admin;
    let (mut written, mut omitted, mut has_served) = (0, 0, false);
    soon("every request in a line or counted", async {
        while written + omitted < 501 {
            (written, omitted) = (0, 0);
            for line in logged.text().lines() {
                let line: Value = serde_json::from_str(line).expect("it is JSON");
                written += u64::from(line["omitted"].is_null());
                omitted += line["omitted"].as_u64().unwrap_or(0);
                has_served |= line["path"] == "/image/served";
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(written + omitted, 501);
    assert!(has_served, "the flood hides what was served");
    let dropped = metric_sum(admin, "tiergate_access_log_dropped_total", "").await;
    assert!(
        (dropped - omitted as f64).abs() < f64::EPSILON,
        "{dropped} dropped, {omitted} told"
    );
}

/// Regression: what a flood omitted in its last second was in no line if the proxy ended then.
#[tokio::test]
async fn the_last_line_tells_what_was_omitted() {
    let server = FastServer::start();
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 4)], ""), "max_per_second: 10");
    let mut client = Client::connect(logged.proxy.address).await;
    let mut sent = 0;
    // Until a line has told; the next one would come a second later.
    let mut is_over = false;
    while !is_over {
        is_over = logged.text().contains("omitted");
        for _ in 0..20 {
            assert_eq!(client.ask("GET", "/nothing", "").await.status(), 404);
        }
        sent += 20;
    }
    let Logged { proxy, folder } = logged;
    proxy.closed();
    let text = std::fs::read_to_string(folder.path().join("access.log")).expect("it is there");
    let lines = text
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).expect("it is JSON") });
    let told: u64 = lines.map(|line| line["omitted"].as_u64().unwrap_or(1)).sum();
    assert_eq!(told, sent, "{text}");
}

/// The reader of a pipe stops: requests are answered as ever, and what is not written is counted.
#[tokio::test]
async fn a_blocked_output_drops_lines_and_blocks_nobody() {
    let server = FastServer::start();
    let folder = Folder::new();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    // Opened for both, so that opening waits for nobody.
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("a pipe");
    let yaml = seven_tiers(8, &[(server.address, 4)], "");
    let log = format!(
        "{yaml}\naccess_log: {{ file: {}, max_per_second: 1000000 }}\n",
        pipe.display()
    );
    let proxy = Proxy::start(&log);
    let long = format!("/image/{}", "x".repeat(900));
    let blocked = r#"reason="blocked""#;
    let mut client = Client::connect(proxy.address).await;
    soon("dropped lines", async {
        while metric_sum(proxy.admin, "tiergate_access_log_dropped_total", blocked).await < 1.0 {
            for _ in 0..500 {
                assert_eq!(client.ask("GET", &long, "").await.status(), 200);
            }
        }
    })
    .await;
    proxy.closed();
    drop(reader);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_once() {
    let yaml = seven_tiers(8, &[("127.0.0.1:1".parse().expect("an address"), 4)], "");
    let log = format!("{yaml}\naccess_log: {{ file: /no/such/folder/access.log }}\n");
    let started = std::panic::catch_unwind(|| Proxy::start(&log).closed());
    assert!(started.is_err(), "it started without its access log");
}

/// Regression: opening a named pipe that nobody read waited for a reader, and the start with it.
#[tokio::test]
async fn a_pipe_without_a_reader_is_told_at_once() {
    let folder = Folder::new();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    let yaml = seven_tiers(8, &[("127.0.0.1:1".parse().expect("an address"), 4)], "");
    let log = format!("{yaml}\naccess_log: {{ file: {} }}\n", pipe.display());
    let started = std::panic::catch_unwind(|| Proxy::start(&log).closed());
    assert!(started.is_err(), "it started without its access log");
}

#[tokio::test]
async fn a_request_keeps_its_id_all_the_way() {
    let mirror = Mirror::start().await;
    let logged = Logged::start(&seven_tiers(8, &[(mirror.address, 4)], ""), "what: all");
    let proxy = &logged.proxy;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = format!("x-request-id: abc-123\r\ntraceparent: {parent}\r\n");
    let answer = ask(proxy, "/search", &headers).await;
    assert_eq!(answer.head.all("x-request-id"), ["abc-123"]);
    let upstream = answer.mirrored().await;
    assert_eq!(upstream.all("x-request-id"), ["abc-123"]);
    assert_eq!(upstream.all("traceparent"), [parent]);

    let made = ask(proxy, "/search", "x-request-id: not valid\r\n").await;
    let id = made.get("x-request-id").expect("an id").to_owned();
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(made.mirrored().await.all("x-request-id"), [&*id]);

    let refused = ask(proxy, "/nothing", "x-request-id: mine\r\n").await;
    refused.assert_refused(404, "not_found");
    assert_eq!(
        (refused.get("x-request-id"), &refused.json()["request_id"]),
        (Some("mine"), &"mine".into())
    );
    let ids: Vec<Value> = logged
        .lines(3)
        .await
        .iter()
        .map(|line| line["request_id"].clone())
        .collect();
    assert_eq!(ids, ["abc-123", &id, "mine"]);
}

#[tokio::test]
async fn hanging_up_in_the_queue_leaves_the_wait_in_the_log() {
    let server = crate::support::UpstreamServer::start().await;
    let logged = Logged::start(&seven_tiers(8, &[(server.address, 1)], ""), "what: all");
    let mut first = Client::connect(logged.proxy.address).await;
    first.search("key-20").await;
    let mut arrived = server.request().await;
    let mut second = Client::connect(logged.proxy.address).await;
    second.search("key-20").await;
    logged.proxy.jobs_until(1, 1).await;
    drop(second);
    let line = &logged.lines(1).await[0];
    assert!(
        line["status"].is_null() && line["wait_ms"].as_f64() > Some(0.0),
        "{line}"
    );
    arrived.answer("found").await;
    assert_eq!(first.answer().await.status(), 200);
}

#[tokio::test]
async fn an_upstreams_own_id_is_replaced() {
    let server = crate::support::UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 4)], ""));
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/search", "x-request-id: ours\r\n").await;
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", "x-request-id: theirs\r\n", "found").await;
    assert_eq!(client.answer().await.head.all("x-request-id"), ["ours"]);
}

#[tokio::test]
async fn an_own_refusal_may_name_the_id() {
    let yaml = seven_tiers(8, &[("127.0.0.1:1".parse().expect("an address"), 4)], "");
    let own = "answers: { not_found: { content_type: text/plain, body: 'nothing here ({request_id})' } }";
    let proxy = Proxy::start(&format!("{yaml}\n{own}\n"));
    let answer = ask(&proxy, "/nothing", "x-request-id: q1\r\n").await;
    assert_eq!(answer.text(), "nothing here (q1)");
}
