//! What a reload changes at once, setting by setting, and what it reports as needing a restart.

use serde_json::Value;

use crate::bad_files::{logged, save};
use crate::nothing_dropped::{found, plan, reload, searching};
use crate::support::program::Program;
use crate::support::yaml::with_token_file;
use crate::support::{Arrived, Client, Plan, Proxy, UpstreamServer, get, hash, soon};

#[tokio::test]
async fn listed_accounts_are_added_removed_and_moved() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let proxy = Proxy::start_live(&yaml);
    let tier_or_reason = async |key: &str| {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await;
        match answer.status() {
            200 => answer.json()["tier"].as_str().expect("a tier").to_owned(),
            _ => answer.reason(),
        }
    };
    assert_eq!(
        (tier_or_reason("p1").await, tier_or_reason("new").await),
        ("p1".into(), "invalid_key".into())
    );
    // Meanwhile a search runs with a key that is removed, and succeeds.
    let running = searching(&proxy, "p2").await;
    let mut arrived = server.request().await;
    let edited = yaml
        .replace("name: p1, tier: p1", "name: p1, tier: p5")
        .replace(&hash("p2"), &hash("new"));
    let told = reload(&proxy, &edited).await;
    assert!(told["changes"].to_string().contains("p1"), "{told}");
    assert_eq!(
        [
            tier_or_reason("p1").await,
            tier_or_reason("p2").await,
            tier_or_reason("new").await
        ],
        ["p5", "invalid_key", "p2"]
    );
    arrived.answer("").await;
    found(running).await;
    reload(&proxy, &yaml).await;
    assert_eq!(
        [
            tier_or_reason("p1").await,
            tier_or_reason("p2").await,
            tier_or_reason("new").await
        ],
        ["p1", "p2", "invalid_key"]
    );
}

#[tokio::test]
async fn all_other_reloadable_settings_apply_at_once() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let proxy = Proxy::start_live(&yaml);
    let ask = async |path: &str, headers: &str| Client::connect(proxy.address).await.ask("GET", path, headers).await;
    let more = |more: &str| format!("{yaml}\n{more}\n");

    reload(
        &proxy,
        &more("trusted_proxies: [127.0.0.0/8]\nblocked_networks: [203.0.113.0/24]"),
    )
    .await;
    let blocked = ask("/me", "x-forwarded-for: 203.0.113.9\r\n").await;
    assert_eq!((blocked.status(), blocked.reason().as_str()), (403, "blocked"));
    reload(&proxy, &more("blocked_networks: [203.0.113.0/24]")).await;
    assert_eq!(ask("/me", "x-forwarded-for: 203.0.113.9\r\n").await.status(), 200);

    assert_eq!(ask("/me", "x-my-key: p1\r\n").await.json()["tier"], "p0");
    reload(&proxy, &more("keys: { headers: [x-my-key] }")).await;
    assert_eq!(ask("/me", "x-my-key: p1\r\n").await.json()["tier"], "p1");
    assert_eq!(ask("/me", "x-api-key: p1\r\n").await.json()["tier"], "p0");

    let origin = "origin: https://page.example\r\n";
    assert_eq!(ask("/me", origin).await.get("access-control-allow-origin"), None);
    reload(&proxy, &more("cors: { origins: [\"*\"] }")).await;
    assert_eq!(ask("/me", origin).await.get("access-control-allow-origin"), Some("*"));

    reload(&proxy, &more("paths: { me: /whoami }")).await;
    assert_eq!(
        (ask("/me", "").await.status(), ask("/whoami", "").await.status()),
        (404, 200)
    );

    reload(
        &proxy,
        &more("answers: { not_found: { status: 410, body: '{\"gone\":true}' } }"),
    )
    .await;
    let gone = ask("/nowhere", "").await;
    assert_eq!((gone.status(), gone.text().as_str()), (410, r#"{"gone":true}"#));

    let arrived = requests_in_flight_are_limited(&proxy, &server, more).await;

    let told = reload(&proxy, &more("durability: relaxed\ncommit_every: 20ms")).await;
    assert!(told["changes"].to_string().contains("relaxed"), "{told}");
    let client = searching(&proxy, "p1").await;
    Arrived::on_either(arrived.stream, &server).await.answer("").await;
    found(client).await;
}

/// Allows one unmetered request, then two; returns the last one's connection.
async fn requests_in_flight_are_limited(
    proxy: &Proxy,
    server: &UpstreamServer,
    more: impl Fn(&str) -> String,
) -> Arrived {
    reload(proxy, &more("connections: { unmetered_max: 1 }")).await;
    let mut image = Client::connect(proxy.address).await;
    image.request("GET", "/image/1", "").await;
    let mut arrived = server.request().await;
    assert_eq!(get(proxy.address, "/image/2").await.reason(), "too_many_in_flight");
    reload(proxy, &more("connections: { unmetered_max: 2 }")).await;
    let mut second = Client::connect(proxy.address).await;
    second.request("GET", "/image/2", "").await;
    let mut next = server.request().await;
    arrived.answer("").await;
    next.answer("").await;
    found(image).await;
    found(second).await;
    next
}

#[tokio::test]
async fn the_connection_limit_grows_and_shrinks() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let max = |max: u32| format!("{}\nconnections: {{ max: {max} }}\n", plan(&servers, 8).yaml());
    let proxy = Proxy::start_live(&max(1));
    let mut first = Client::connect(proxy.address).await;
    assert_eq!(first.ask("GET", "/me", "").await.status(), 200);
    // The second one waits to be accepted, and is once there is room for two.
    let mut second = Client::connect(proxy.address).await;
    second.request("GET", "/me", "").await;
    reload(&proxy, &max(2)).await;
    assert_eq!(second.answer().await.status(), 200);
    // Fewer: both stay, and a third is accepted only when both are closed.
    reload(&proxy, &max(1)).await;
    let mut third = Client::connect(proxy.address).await;
    third.request("GET", "/me", "").await;
    assert_eq!(first.ask("GET", "/me", "").await.status(), 200);
    assert_eq!(second.ask("GET", "/me", "").await.status(), 200);
    drop(first);
    assert_eq!(second.ask("GET", "/me", "").await.status(), 200);
    drop(second);
    assert_eq!(third.answer().await.status(), 200);
}

#[tokio::test]
async fn a_new_drain_timeout_applies_to_the_next_shutdown() {
    let server = UpstreamServer::start().await;
    let drain = |drain: &'static str| Plan {
        more: drain,
        cores: 1,
        ..Plan::default()
    };
    let servers = [(server.address, 1)];
    let yaml = |of: &'static str| {
        Plan {
            servers: &servers,
            ..drain(of)
        }
        .yaml()
    };
    let proxy = Proxy::start_live(&yaml("drain_timeout: 1h"));
    let _running = searching(&proxy, "p1").await;
    let _arrived = server.request().await;
    reload(&proxy, &yaml("drain_timeout: 10ms")).await;
    let closed = tokio::task::spawn_blocking(move || proxy.closed());
    soon("the proxy shuts down", closed).await.expect("it doesn't panic");
}

#[tokio::test]
async fn accounts_of_a_removed_tier_are_anonymous_and_logged() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let program = Program::start(&yaml).await;
    let added = program
        .command(&["account", "add", "--name", "acme", "--tier", "p6"])
        .await;
    assert_eq!(added.code, Some(0), "{}", added.err);
    let minted = program.command(&["key", "add", "acme", "--json"]).await;
    let minted: Value = serde_json::from_str(&minted.out).unwrap_or_else(|_| panic!("{minted:?}"));
    let key = minted["key"].as_str().expect("a key").to_owned();
    let tier = async || {
        let mut client = Client::connect(program.address).await;
        let me = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await;
        me.json()["tier"].as_str().map(str::to_owned)
    };
    assert_eq!(tier().await.as_deref(), Some("p6"));
    let without: String = yaml
        .lines()
        .filter(|line| !line.contains("p6:") && !line.contains("name: p6"))
        .map(|line| format!("{line}\n"))
        .collect();
    save(&program, &without);
    let said = program.command(&["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(tier().await.as_deref(), Some("p0"));
    logged(&program, "acme (p6)").await;
    save(&program, &yaml);
    assert_eq!(program.command(&["reload"]).await.code, Some(0));
    assert_eq!(tier().await.as_deref(), Some("p6"));
}

#[tokio::test]
async fn settings_that_need_a_restart_are_reported() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let program = Program::start(&yaml).await;
    let elsewhere = yaml.replace("cores: 1", "cores: 2").replace("length: 8", "length: 9");
    save(&program, &elsewhere);
    let said = program.command(&["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("8 → 9"), "{}", said.out);
    let said = program.command(&["status"]).await;
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("needs a restart: cores 1 → 2"), "{}", said.out);
    assert!(said.out.contains("0 of 9 places"), "{}", said.out);
    let said: Value = serde_json::from_str(&program.command(&["status", "--json"]).await.out).expect("JSON");
    assert_eq!(said["config"]["restart"][0]["subject"], "cores", "{said}");
    // Once the change is undone, no restart is needed.
    save(&program, &elsewhere.replace("cores: 2", "cores: 1"));
    assert_eq!(program.command(&["reload"]).await.code, Some(0));
    let said = program.command(&["status"]).await;
    assert!(!said.out.contains("restart"), "{}", said.out);
}

#[tokio::test]
async fn a_reload_changes_the_admin_token() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let proxy = Proxy::start_live(&yaml);
    let file = proxy.folder().join("other.token");
    std::fs::write(&file, "another-token-of-at-least-32-characters").expect("a folder to write to");
    let named = with_token_file(&yaml, &file);
    reload(&proxy, &named).await;
    let with = async |token: &str| {
        let mut client = Client::operator(proxy.admin).await;
        let headers = format!("authorization: Bearer {token}\r\n");
        client.ask("GET", "/queue", &headers).await.status()
    };
    assert_eq!(with("another-token-of-at-least-32-characters").await, 200);
    assert_eq!(with(&proxy.token).await, 401);
    // Only the token file has changed, which `tiers.yaml` does not show.
    std::fs::write(&file, "a-third-token-of-at-least-32-characters").expect("a folder to write to");
    let mut client = Client::operator(proxy.admin).await;
    let headers = "authorization: Bearer another-token-of-at-least-32-characters\r\ncontent-length: 0\r\n";
    let answer = client.ask("POST", "/reload", headers).await;
    assert_eq!((answer.status(), &answer.json()["result"]), (200, &"unchanged".into()));
    assert_eq!(with("a-third-token-of-at-least-32-characters").await, 200);
    assert_eq!(with("another-token-of-at-least-32-characters").await, 401);
}
