//! What an operator does at once (rules §11), over real sockets: pause, stop, drain, cancel.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Answer, Arrived, Client, Mirror, Proxy, UpstreamServer, get, seven_tiers};

/// `POST` or `DELETE` under the name of an operator.
async fn act(proxy: &Proxy, method: &str, path: &str) -> Answer {
    let mut client = Client::operator(proxy.admin).await;
    let headers = format!(
        "authorization: Bearer {}\r\nx-tiergate-operator: alice\r\n",
        proxy.token
    );
    client.ask(method, path, &headers).await
}

async fn switched(proxy: &Proxy, path: &str) -> [Value; 3] {
    let told = act(proxy, "POST", path).await.told(200);
    ["paused", "admission_stopped", "changed"].map(|name| told[name].clone())
}

/// The newest rows of the audit log: who did what, on what.
async fn audited(proxy: &Proxy, count: usize) -> Vec<[String; 3]> {
    let log = proxy.told(200, format!("GET /audit?limit={count}"), "").await;
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let rows = log["changes"].as_array().expect("a list").iter();
    rows.map(|row| ["who", "action", "subject"].map(|name| text(row, name)))
        .collect()
}

fn row(action: &str, subject: &str) -> [String; 3] {
    ["alice@127.0.0.1", action, subject].map(str::to_owned)
}

async fn search(proxy: &Proxy, key: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search(key).await;
    client
}

/// Answers and closes the connection, so that the next request comes on another one.
async fn answer(mut at_server: Arrived, body: &str) {
    at_server.answer_with("200 OK", "connection: close\r\n", body).await;
}

fn path_of(server: SocketAddr) -> String {
    format!("/servers/search/{server}/drain")
}

#[tokio::test]
async fn a_paused_proxy_dispatches_nothing_and_loses_nobody() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 2)], ""));
    let mut running = search(&proxy, "key-1").await;
    let arrived = server.request().await;
    assert_eq!(
        switched(&proxy, "/dispatch/pause").await,
        [true, false, true].map(Value::from)
    );
    assert_eq!(
        switched(&proxy, "/dispatch/pause").await,
        [true, false, false].map(Value::from)
    );
    // One of two slots is free.
    let mut low = search(&proxy, "key-5").await;
    proxy.jobs_until(1, 1).await;
    let mut high = search(&proxy, "key-100").await;
    proxy.jobs_until(2, 1).await;
    // A running one finishes, and still no queued job gets a slot.
    answer(arrived, "first").await;
    assert_eq!(running.answer().await.text(), "first");
    proxy.jobs_until(2, 0).await;
    assert_eq!(
        proxy.told(200, "GET /status", "").await["problems"][0]["reason"],
        "paused"
    );

    assert_eq!(
        switched(&proxy, "/dispatch/resume").await,
        [false, false, true].map(Value::from)
    );
    // Both slots are granted at once, and the two requests arrive in any order.
    for _ in 0..2 {
        let arrived = server.request().await;
        let account = arrived
            .head
            .get("x-tiergate-account")
            .expect("of an account")
            .to_owned();
        answer(arrived, &account).await;
    }
    assert_eq!(high.answer().await.text(), "a100");
    assert_eq!(low.answer().await.text(), "a5");
    assert_eq!(
        audited(&proxy, 2).await,
        [row("dispatch_resume", ""), row("dispatch_pause", "")]
    );
}

#[tokio::test]
async fn stopped_admission_refuses_new_searches_only() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut running = search(&proxy, "key-1").await;
    let first = server.request().await;
    let mut waiting = search(&proxy, "key-5").await;
    proxy.jobs_until(1, 1).await;
    assert_eq!(
        switched(&proxy, "/admission/stop").await,
        [false, true, true].map(Value::from)
    );
    let refused = search(&proxy, "key-100").await.answer().await;
    refused.assert_refused(503, "admission_stopped");
    let seconds: u64 = refused
        .get("retry-after")
        .expect("it says when")
        .parse()
        .expect("seconds");
    assert!((1..=300).contains(&seconds));
    // What isn't metered goes on.
    let image = tokio::spawn(get(proxy.address, "/image/1"));
    let at_server = server.request().await;
    answer(at_server, "image").await;
    assert_eq!(image.await.expect("no panic").text(), "image");

    answer(first, "first").await;
    assert_eq!(running.answer().await.status(), 200);
    answer(server.request().await, "second").await;
    assert_eq!(waiting.answer().await.text(), "second");
    assert_eq!(
        switched(&proxy, "/admission/start").await,
        [false, false, true].map(Value::from)
    );
    let mut again = search(&proxy, "key-100").await;
    answer(server.request().await, "third").await;
    assert_eq!(again.answer().await.text(), "third");
    assert_eq!(
        audited(&proxy, 2).await,
        [row("admission_start", ""), row("admission_stop", "")]
    );
}

#[tokio::test]
async fn a_drained_server_finishes_and_gets_no_requests() {
    let (first, second) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let proxy = Proxy::start(&seven_tiers(8, &[(first.address, 1), (second.address, 1)], ""));
    let mut running = search(&proxy, "key-1").await;
    let arrived = first.request().await;
    let drained = act(&proxy, "POST", &path_of(first.address)).await.told(200);
    let expected = ["drained", "changed", "listed", "up"].map(|name| drained[name].clone());
    assert_eq!(expected, [true, true, true, true].map(Value::from));
    assert_eq!((&drained["slots"], &drained["available"]), (&1.into(), &0.into()));
    assert_eq!(proxy.queue().await["pools"][0]["slots"], 1);
    let again = act(&proxy, "POST", &path_of(first.address)).await.told(200);
    assert_eq!(again["changed"], false);

    // Searches and other requests go to the other one.
    let mut other = search(&proxy, "key-5").await;
    answer(second.request().await, "second").await;
    assert_eq!(other.answer().await.text(), "second");
    for _ in 0..4 {
        let image = tokio::spawn(get(proxy.address, "/image/1"));
        answer(second.request().await, "image").await;
        assert_eq!(image.await.expect("no panic").text(), "image");
    }
    answer(arrived, "first").await;
    assert_eq!(running.answer().await.text(), "first");
    proxy.jobs_until(0, 0).await;

    // With the other one drained too, searches wait, and the first that is taken back serves them.
    act(&proxy, "POST", &path_of(second.address)).await.told(200);
    get(proxy.address, "/image/1")
        .await
        .assert_refused(502, "upstream_unreachable");
    let mut waiting = search(&proxy, "key-10").await;
    proxy.jobs_until(1, 0).await;
    let status = proxy.told(200, "GET /status", "").await;
    assert_eq!(status["problems"][0]["reason"], "no_server", "{status}");
    let back = act(&proxy, "DELETE", &path_of(first.address)).await.told(200);
    assert_eq!((&back["drained"], &back["changed"]), (&false.into(), &true.into()));
    answer(first.request().await, "back").await;
    assert_eq!(waiting.answer().await.text(), "back");
    let name = |server: SocketAddr| format!("search/{server}");
    assert_eq!(
        audited(&proxy, 3).await,
        [
            row("server_undrain", &name(first.address)),
            row("server_drain", &name(second.address)),
            row("server_drain", &name(first.address)),
        ]
    );
    let unknown = act(&proxy, "POST", "/servers/search/192.0.2.1:1/drain").await;
    unknown.assert_refused(404, "unknown_server");
}

#[tokio::test]
async fn a_drain_lasts_over_a_restart() {
    let (first, second) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let yaml = seven_tiers(8, &[(first.address, 1), (second.address, 1)], "");
    let proxy = Proxy::start(&yaml);
    act(&proxy, "POST", &path_of(first.address)).await.told(200);
    act(&proxy, "POST", "/dispatch/pause").await.told(200);
    act(&proxy, "POST", "/admission/stop").await.told(200);
    let proxy = Proxy::start_in(proxy.into_folder(), &yaml);
    let status = proxy.told(200, "GET /status", "").await;
    let ended = ["paused", "admission_stopped"].map(|name| status[name].clone());
    assert_eq!(ended, [false, false].map(Value::from), "these end with the process");
    let servers = proxy.told(200, "GET /servers", "").await;
    let drained = |at: usize| servers["servers"][at]["drained"].clone();
    assert_eq!([drained(0), drained(1)], [true, false].map(Value::from));
    assert!(servers["servers"][0]["drained_since"].is_string());
    let mut client = search(&proxy, "key-1").await;
    answer(second.request().await, "second").await;
    assert_eq!(client.answer().await.text(), "second");

    // A file without that server, and then one with it: known by name, it is still drained.
    let alone = seven_tiers(8, &[(second.address, 1)], "");
    let proxy = Proxy::start_in(proxy.into_folder(), &alone);
    let servers = proxy.told(200, "GET /servers", "").await;
    let gone = &servers["servers"][1];
    let expected = json!({ "listed": false, "drained": true, "up": null, "slots": 0 });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&gone[name], value, "{name}");
    }
    act(&proxy, "DELETE", &path_of(first.address)).await.told(200);
    let servers = proxy.told(200, "GET /servers", "").await;
    assert_eq!(servers["servers"].as_array().map(Vec::len), Some(1));
}

/// Removed from the file and put back, the server is still drained, for searches and for other requests.
#[tokio::test]
async fn a_drain_lasts_over_reloads() {
    let (first, second) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let both = seven_tiers(8, &[(first.address, 1), (second.address, 1)], "");
    let proxy = Proxy::start_live(&both);
    act(&proxy, "POST", &path_of(first.address)).await.told(200);
    for yaml in [&seven_tiers(8, &[(second.address, 1)], ""), &both] {
        proxy.save(yaml);
        act(&proxy, "POST", "/reload").await.told(200);
    }
    assert_eq!(audited(&proxy, 2).await[0][1], "reload_asked");
    let servers = proxy.told(200, "GET /servers", "").await;
    let available = |at: usize| servers["servers"][at]["available"].clone();
    assert_eq!([available(0), available(1)], [0, 1].map(Value::from), "{servers}");
    for _ in 0..4 {
        let image = tokio::spawn(get(proxy.address, "/image/1"));
        answer(second.request().await, "image").await;
        assert_eq!(image.await.expect("no panic").text(), "image");
    }
    let mut client = search(&proxy, "key-1").await;
    answer(second.request().await, "second").await;
    assert_eq!(client.answer().await.text(), "second");
}

#[tokio::test]
async fn a_cancelled_search_is_refused_and_costs_nothing() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut running = search(&proxy, "key-1").await;
    let arrived = server.request().await;
    let mut waiting = search(&proxy, "key-5").await;
    proxy.jobs_until(1, 1).await;
    let queue = proxy.queue().await;
    let id = |of: &str| queue[of][0]["id"].as_str().expect("text").to_owned();
    let (waits, runs) = (id("waiting"), id("running"));
    assert_ne!(waits, runs);
    let told = act(&proxy, "DELETE", &format!("/queue/{waits}")).await.told(200);
    assert_eq!(
        (&told["cancelled"]["caller"], &told["recorded"]),
        (&"a5".into(), &true.into())
    );
    let refused = waiting.answer().await;
    refused.assert_refused(503, "cancelled_by_operator");
    assert!(refused.get("retry-after").is_some());
    let mut me = Client::connect(proxy.address).await;
    let me = me.ask("GET", "/me", "x-api-key: key-5\r\n").await.json();
    assert_eq!((&me["quotaUsed"], &me["waiting"]), (&0.into(), &0.into()));
    let ended = r#"tiergate_jobs_total{tier="$5",outcome="cancelled_by_operator"}"#;
    proxy.metric_until(ended, 1.0).await;
    assert_eq!(audited(&proxy, 1).await, [row("job_cancel", &waits)]);

    for (job, status, reason) in [
        (waits.as_str(), 404, "unknown_job"),
        (&runs, 409, "not_queued"),
        ("1", 400, "bad_request"),
        ("x-1", 400, "bad_request"),
    ] {
        let answer = act(&proxy, "DELETE", &format!("/queue/{job}")).await;
        answer.assert_refused(status, reason);
    }
    answer(arrived, "found").await;
    assert_eq!(running.answer().await.text(), "found");
}

#[tokio::test]
async fn an_operators_name_is_told_apart_and_bounded() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], ""));
    act(&proxy, "POST", "/dispatch/pause").await.told(200);
    proxy.told(200, "POST /dispatch/resume", "").await;
    let log = proxy.told(200, "GET /audit", "").await;
    let told = |at: usize| ["who", "operator_unverified", "from"].map(|name| log["changes"][at][name].clone());
    assert_eq!(told(0), [json!("127.0.0.1"), Value::Null, json!("127.0.0.1")]);
    assert_eq!(told(1), [json!("alice@127.0.0.1"), json!("alice"), json!("127.0.0.1")]);
    let long = "x".repeat(65);
    for name in ["", "two words", &long] {
        let mut client = Client::operator(proxy.admin).await;
        let headers = format!(
            "authorization: Bearer {}\r\nx-tiergate-operator: {name}\r\n",
            proxy.token
        );
        let answer = client.ask("POST", "/dispatch/pause", &headers).await;
        answer.assert_refused(400, "bad_request");
    }
    assert_eq!(proxy.told(200, "GET /status", "").await["paused"], false);
    proxy
        .refuses("GET /audit?limit=0", "", (400, "bad_request"), "1 to 1000")
        .await;
    proxy
        .refuses("GET /audit?from=0", "", (400, "bad_request"), "`since` and `limit`")
        .await;
    let later = proxy.told(200, "GET /audit?since=2100-01-01", "").await;
    assert_eq!(later, json!({ "changes": [] }));
}
