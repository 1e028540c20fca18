//! What a reload leaves as it is, and what it changes at once, sentence by sentence. Everybody is at a worker that the test
//! drives, so that nothing ends before it is to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::bad_files::{logged, save};
use crate::support::program::Program;
use crate::support::yaml::{Yaml, with_token_file};
use crate::support::{Arrived, Client, Mirror, Plan, Proxy, UpstreamServer, hash, soon};

/// Lets the door read its file, which says that now, and answers with what the operator is told.
async fn reload(door: &Proxy, yaml: &str) -> Value {
    door.save(yaml);
    let answer = door.operator("POST", "/reload", "").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["result"], "applied", "{told}");
    told
}

async fn searching(door: &Proxy, key: &str) -> Client {
    let mut client = Client::connect(door.address).await;
    client.search(key).await;
    client
}

async fn refused(door: &Proxy, key: &str) -> String {
    let answer = searching(door, key).await.answer().await;
    assert_ne!(answer.status(), 200);
    answer.reason()
}

async fn found(mut client: Client) {
    let answer = client.answer().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Those who wait, as the operator sees them: in the order in which they are served.
async fn waiting(door: &Proxy) -> Vec<(String, u64)> {
    let queue = door.queue().await;
    let line = |job: &Value| {
        let priority = job["priority"].as_u64().expect("a number");
        (job["caller"].as_str().expect("a name").to_owned(), priority)
    };
    queue["waiting"].as_array().expect("a list").iter().map(line).collect()
}

async fn pool(door: &Proxy, upstream: &str) -> Option<(u64, u64)> {
    let queue = door.queue().await;
    let pools = queue["pools"].as_array().expect("a list");
    let pool = pools.iter().find(|pool| pool["upstream"] == upstream)?;
    Some((pool["slots"].as_u64()?, pool["running"].as_u64()?))
}

fn plan<'a>(servers: &'a [(SocketAddr, u32)], seats: u32) -> Plan<'a> {
    Plan {
        cores: 1,
        queue_length: seats,
        servers,
        ..Plan::default()
    }
}

/// A door with one slot, at which `p6` runs.
async fn busy(worker: &UpstreamServer, seats: u32) -> (Proxy, Client, Arrived) {
    let door = Proxy::start_live(&plan(&[(worker.address, 1)], seats).yaml());
    let running = searching(&door, "p6").await;
    let arrived = worker.request().await;
    (door, running, arrived)
}

#[tokio::test]
async fn queued_jobs_take_the_new_priority_in_arrival_order() {
    let worker = UpstreamServer::start().await;
    let (door, running, mut arrived) = busy(&worker, 8).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p2", "p3", "p1"].into_iter().enumerate() {
        clients.push(searching(&door, key).await);
        door.jobs_until(at + 1, 1).await;
    }
    let servers = [(worker.address, 1)];
    let yaml = plan(&servers, 8)
        .yaml()
        .replace("p1: { priority: 1,", "p1: { priority: 3,");
    let told = reload(&door, &yaml).await;
    assert!(told["changes"].to_string().contains("priority 1 → 3"), "{told}");
    let order = ["p1", "p3", "p1", "p2"];
    let seen: Vec<String> = waiting(&door).await.into_iter().map(|(caller, _)| caller).collect();
    assert_eq!(seen, order);
    for (left, caller) in (0..order.len()).rev().zip(order) {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
        door.jobs_until(left, 1).await;
        let queue = door.queue().await;
        assert_eq!(queue["running"][0]["caller"], caller);
    }
    arrived.answer("").await;
    for client in clients.into_iter().chain([running]) {
        found(client).await;
    }
    door.jobs_until(0, 0).await;
}

#[tokio::test]
async fn queued_jobs_follow_a_renamed_tier_and_account() {
    let worker = UpstreamServer::start().await;
    let (door, running, mut arrived) = busy(&worker, 8).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p3"].into_iter().enumerate() {
        clients.push(searching(&door, key).await);
        door.jobs_until(at + 1, 1).await;
    }
    let yaml = plan(&[(worker.address, 1)], 8).yaml();
    let renamed = yaml
        .replace("p3: { priority: 3,", "sponsors: { priority: 3,")
        .replace("tier: p3,", "tier: sponsors,");
    reload(&door, &renamed).await;
    assert_eq!(
        waiting(&door).await,
        [("p3", 3), ("p1", 1)].map(|(caller, priority)| (caller.to_owned(), priority))
    );
    for _ in 0..2 {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
    }
    arrived.answer("").await;
    for client in clients.into_iter().chain([running]) {
        found(client).await;
    }
    door.jobs_until(0, 0).await;
}

#[tokio::test]
async fn requeueing_and_a_shorter_queue_drop_nobody() {
    let worker = UpstreamServer::start().await;
    let (door, running, mut arrived) = busy(&worker, 3).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p2", "p3"].into_iter().enumerate() {
        clients.push(searching(&door, key).await);
        door.jobs_until(at + 1, 1).await;
    }
    // Two seats fewer, and those that wait change their places.
    let servers = [(worker.address, 1)];
    let shorter = plan(&servers, 1).yaml();
    let shorter = shorter.replace("p1: { priority: 1,", "p1: { priority: 4,");
    reload(&door, &shorter).await;
    assert_eq!(
        waiting(&door).await,
        [("p1", 4), ("p3", 3), ("p2", 2)].map(|(caller, priority)| (caller.to_owned(), priority))
    );
    assert_eq!(door.queue().await["seats"], 1);
    // Seats that are given back aren't given again while there are too many.
    assert_eq!(refused(&door, "p2").await, "queue_full");
    for left in [2, 1] {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
        door.jobs_until(left, 1).await;
        assert_eq!(refused(&door, "p0").await, "queue_full");
    }
    arrived.answer("").await;
    arrived = Arrived::on(arrived.stream).await;
    door.jobs_until(0, 1).await;
    clients.push(searching(&door, "p0").await);
    door.jobs_until(1, 1).await;
    // A longer one is used at once.
    assert_eq!(refused(&door, "p0").await, "queue_full");
    reload(&door, &plan(&servers, 2).yaml()).await;
    clients.push(searching(&door, "p0").await);
    door.jobs_until(2, 1).await;
    for _ in 0..2 {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
    }
    arrived.answer("").await;
    for client in clients.into_iter().chain([running]) {
        found(client).await;
    }
    assert!(
        door.metric(r#"tiergate_refusals_total{tier="p2",reason="displaced"}"#)
            .await
            .abs()
            < 0.5
    );
    door.jobs_until(0, 0).await;
}

#[tokio::test]
async fn more_slots_are_used_at_once_and_fewer_drain() {
    let worker = UpstreamServer::start().await;
    let (door, running, first) = busy(&worker, 8).await;
    let mut clients = vec![running];
    for at in 1..=3 {
        clients.push(searching(&door, "p1").await);
        door.jobs_until(at, 1).await;
    }
    // Who waits gets the new slots without anybody having ended.
    reload(&door, &plan(&[(worker.address, 3)], 8).yaml()).await;
    let mut arrived = vec![first, worker.request().await, worker.request().await];
    door.jobs_until(1, 3).await;
    // Two fewer: nobody is broken off, and what is given back isn't given again.
    reload(&door, &plan(&[(worker.address, 1)], 8).yaml()).await;
    assert_eq!(pool(&door, "search").await, Some((1, 3)));
    for left in [2, 1] {
        arrived.pop().expect("it runs").answer("").await;
        door.jobs_until(1, left).await;
    }
    let mut last = arrived.pop().expect("it runs");
    last.answer("").await;
    let mut next = Arrived::on_either(last.stream, &worker).await;
    door.jobs_until(0, 1).await;
    next.answer("").await;
    for client in clients {
        found(client).await;
    }
    assert_eq!(pool(&door, "search").await, Some((1, 0)));
}

#[tokio::test]
async fn a_removed_server_finishes_its_jobs_and_gets_no_more() {
    let (old, new) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let (door, running, mut at_old) = busy(&old, 8).await;
    let waits = searching(&door, "p1").await;
    door.jobs_until(1, 1).await;
    reload(&door, &plan(&[(new.address, 2)], 8).yaml()).await;
    // Who waits goes to the new one, at once.
    let mut at_new = new.request().await;
    door.jobs_until(0, 2).await;
    at_old.answer("old").await;
    let mut running = running;
    assert_eq!(running.answer().await.text(), "old");
    at_new.answer("").await;
    found(waits).await;
    // Back again, beside the other: it is used as before.
    reload(&door, &plan(&[(old.address, 1), (new.address, 1)], 8).yaml()).await;
    let clients = [searching(&door, "p1").await, searching(&door, "p1").await];
    door.jobs_until(0, 2).await;
    // Nothing is kept open to a server that is gone.
    drop(at_old);
    let mut one = old.request().await;
    let mut other = Arrived::on_either(at_new.stream, &new).await;
    one.answer("").await;
    other.answer("").await;
    for client in clients {
        found(client).await;
    }
    assert_eq!(pool(&door, "search").await, Some((2, 0)));
}

/// Two upstreams, `one` with a slot and `two` with a slot; `/search` leads to the one that is named. The other is there only if it is
/// to be.
fn upstreams(search: &str, listed: &[(&str, SocketAddr)]) -> String {
    let with =
        |yaml: Yaml, (name, address): &(&str, SocketAddr)| yaml.upstream(name, &[(*address, 1)], ", timeout: 20s");
    listed
        .iter()
        .fold(plan(&[], 8).without_upstreams(), with)
        .route(format_args!("path: /search, upstream: {search}, metered: true"))
        .text()
}

#[tokio::test]
async fn a_removed_upstream_finishes_its_jobs_and_may_return() {
    let (old, new) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let door = Proxy::start_live(&upstreams("one", &[("one", old.address)]));
    let mut clients = vec![searching(&door, "p1").await];
    let mut at_old = old.request().await;
    for at in 1..=2 {
        clients.push(searching(&door, "p1").await);
        door.jobs_until(at, 1).await;
    }
    reload(&door, &upstreams("two", &[("two", new.address)])).await;
    // Who comes now is served there, past those who wait for the other.
    let newcomer = searching(&door, "p0").await;
    let mut at_new = new.request().await;
    at_new.answer("").await;
    found(newcomer).await;
    assert_eq!(pool(&door, "one").await, Some((1, 1)));
    at_old.answer("").await;
    at_old = Arrived::on(at_old.stream).await;
    door.jobs_until(1, 1).await;
    // The same name again, while somebody is there.
    reload(&door, &upstreams("one", &[("one", old.address), ("two", new.address)])).await;
    clients.push(searching(&door, "p1").await);
    door.jobs_until(2, 1).await;
    for _ in 0..2 {
        at_old.answer("").await;
        at_old = Arrived::on(at_old.stream).await;
    }
    at_old.answer("").await;
    for client in clients {
        found(client).await;
    }
    // Gone for good: with nobody there it isn't shown any more, and the name is somebody else's when it comes again.
    let mut last = searching(&door, "p1").await;
    at_old = Arrived::on_either(at_old.stream, &old).await;
    reload(&door, &upstreams("two", &[("two", new.address)])).await;
    assert_eq!(pool(&door, "one").await, Some((1, 1)));
    at_old.answer("").await;
    assert_eq!(last.answer().await.status(), 200);
    let is_gone = |page: &Value| page["pools"].as_array().is_some_and(|pools| pools.len() == 1);
    door.queue_until("the removed upstream goes when it has finished", is_gone)
        .await;
    assert_eq!(pool(&door, "one").await, None);
    assert_eq!(pool(&door, "two").await, Some((1, 0)));
    reload(&door, &upstreams("one", &[("one", new.address)])).await;
    let client = searching(&door, "p1").await;
    Arrived::on_either(at_new.stream, &new).await.answer("").await;
    found(client).await;
}

#[tokio::test]
async fn debits_holds_and_concurrency_stay() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let of = |tier: &'static str| {
        let plan = Plan {
            tier,
            ..plan(&servers, 8)
        };
        plan.yaml()
    };
    let door = Proxy::start_live(&of("concurrency: 2, quota: { limit: 10, rolling: 24h }"));
    let mut stream = None;
    for _ in 0..3 {
        let client = searching(&door, "p1").await;
        let mut arrived = match stream.take() {
            Some(stream) => Arrived::on_either(stream, &worker).await,
            None => worker.request().await,
        };
        arrived.answer("").await;
        found(client).await;
        stream = Some(arrived.stream);
    }
    let running = searching(&door, "p1").await;
    let mut arrived = Arrived::on_either(stream.expect("three searches"), &worker).await;
    // Its job from before the reload counts: three debits and a hold of five.
    reload(&door, &of("concurrency: 1, quota: { limit: 5, rolling: 24h }")).await;
    assert_eq!(refused(&door, "p1").await, "concurrency_exceeded");
    reload(&door, &of("concurrency: 2, quota: { limit: 4, rolling: 24h }")).await;
    assert_eq!(refused(&door, "p1").await, "quota_depleted");
    reload(&door, &of("concurrency: 2, quota: { limit: 5, rolling: 24h }")).await;
    let last = searching(&door, "p1").await;
    let mut second = worker.request().await;
    assert_eq!(refused(&door, "p1").await, "quota_depleted");
    arrived.answer("").await;
    second.answer("").await;
    for client in [running, last] {
        found(client).await;
    }
    door.jobs_until(0, 0).await;
    // A window that nobody has had yet is filled from the journal.
    reload(
        &door,
        &of("concurrency: 2, quota: { limit: 5, calendar: month, zone: UTC }"),
    )
    .await;
    soon("the new window is filled", async {
        loop {
            let mut client = Client::connect(door.address).await;
            let me = client.ask("GET", "/me", "x-api-key: p1\r\n").await;
            assert_eq!(me.status(), 200);
            if me.text().contains(r#""quotaUsed":5"#) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(refused(&door, "p1").await, "quota_depleted");
}

#[tokio::test]
async fn what_limits_have_counted_stays() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let of = |limit: u32| {
        let yaml = plan(&servers, 8).yaml();
        format!("{yaml}\nlimits:\n  - {{ name: http, per: account, limit: {limit}, window: 1h }}\n")
    };
    let door = Proxy::start_live(&of(3));
    let mut client = Client::connect(door.address).await;
    let mut me = async || client.ask("GET", "/me", "x-api-key: p1\r\n").await.status();
    assert_eq!([me().await, me().await, me().await, me().await], [200, 200, 200, 429]);
    reload(&door, &of(5)).await;
    assert_eq!([me().await, me().await, me().await], [200, 200, 429]);
    reload(&door, &of(2)).await;
    assert_eq!(me().await, 429);
}

#[tokio::test]
async fn accounts_that_are_listed_come_and_go_and_move() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let door = Proxy::start_live(&yaml);
    let who = async |key: &str| {
        let mut client = Client::connect(door.address).await;
        let answer = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await;
        match answer.status() {
            200 => answer.json()["tier"].as_str().expect("a tier").to_owned(),
            _ => answer.reason(),
        }
    };
    assert_eq!((who("p1").await, who("new").await), ("p1".into(), "invalid_key".into()));
    // Somebody searches meanwhile, with a key that is taken away, and finds.
    let running = searching(&door, "p2").await;
    let mut arrived = worker.request().await;
    let edited = yaml
        .replace("name: p1, tier: p1", "name: p1, tier: p5")
        .replace(&hash("p2"), &hash("new"));
    let told = reload(&door, &edited).await;
    assert!(told["changes"].to_string().contains("p1"), "{told}");
    assert_eq!(
        [who("p1").await, who("p2").await, who("new").await],
        ["p5", "invalid_key", "p2"]
    );
    arrived.answer("").await;
    found(running).await;
    reload(&door, &yaml).await;
    assert_eq!(
        [who("p1").await, who("p2").await, who("new").await],
        ["p1", "p2", "invalid_key"]
    );
}

#[tokio::test]
async fn everything_else_that_can_change_does_so_at_once() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let door = Proxy::start_live(&yaml);
    let ask = async |path: &str, headers: &str| Client::connect(door.address).await.ask("GET", path, headers).await;
    let more = |more: &str| format!("{yaml}\n{more}\n");

    reload(
        &door,
        &more("trusted_proxies: [127.0.0.0/8]\nblocked_networks: [203.0.113.0/24]"),
    )
    .await;
    let blocked = ask("/me", "x-forwarded-for: 203.0.113.9\r\n").await;
    assert_eq!((blocked.status(), blocked.reason().as_str()), (403, "blocked"));
    reload(&door, &more("blocked_networks: [203.0.113.0/24]")).await;
    assert_eq!(ask("/me", "x-forwarded-for: 203.0.113.9\r\n").await.status(), 200);

    assert_eq!(ask("/me", "x-my-key: p1\r\n").await.json()["tier"], "p0");
    reload(&door, &more("keys: { headers: [x-my-key] }")).await;
    assert_eq!(ask("/me", "x-my-key: p1\r\n").await.json()["tier"], "p1");
    assert_eq!(ask("/me", "x-api-key: p1\r\n").await.json()["tier"], "p0");

    let origin = "origin: https://page.example\r\n";
    assert_eq!(ask("/me", origin).await.get("access-control-allow-origin"), None);
    reload(&door, &more("cors: { origins: [\"*\"] }")).await;
    assert_eq!(ask("/me", origin).await.get("access-control-allow-origin"), Some("*"));

    reload(&door, &more("paths: { me: /whoami }")).await;
    assert_eq!(
        (ask("/me", "").await.status(), ask("/whoami", "").await.status()),
        (404, 200)
    );

    reload(
        &door,
        &more("answers: { not_found: { status: 410, body: '{\"gone\":true}' } }"),
    )
    .await;
    let gone = ask("/nowhere", "").await;
    assert_eq!((gone.status(), gone.text().as_str()), (410, r#"{"gone":true}"#));

    reload(&door, &more("connections: { unmetered_max: 1 }")).await;
    let mut image = Client::connect(door.address).await;
    image.request("GET", "/image/1", "").await;
    let mut arrived = worker.request().await;
    assert_eq!(ask("/image/2", "").await.reason(), "too_many_in_flight");
    reload(&door, &more("connections: { unmetered_max: 2 }")).await;
    let mut second = Client::connect(door.address).await;
    second.request("GET", "/image/2", "").await;
    let mut next = worker.request().await;
    arrived.answer("").await;
    next.answer("").await;
    found(image).await;
    found(second).await;

    let told = reload(&door, &more("durability: relaxed\ncommit_every: 20ms")).await;
    assert!(told["changes"].to_string().contains("relaxed"), "{told}");
    let client = searching(&door, "p1").await;
    Arrived::on_either(next.stream, &worker).await.answer("").await;
    found(client).await;
}

#[tokio::test]
async fn connections_grow_and_shrink() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let max = |max: u32| format!("{}\nconnections: {{ max: {max} }}\n", plan(&servers, 8).yaml());
    let door = Proxy::start_live(&max(1));
    let mut first = Client::connect(door.address).await;
    assert_eq!(first.ask("GET", "/me", "").await.status(), 200);
    // The second one waits to be taken, and is when there is room for two.
    let mut second = Client::connect(door.address).await;
    second.request("GET", "/me", "").await;
    reload(&door, &max(2)).await;
    assert_eq!(second.answer().await.status(), 200);
    // Fewer: both stay, and a third is taken only when both are gone.
    reload(&door, &max(1)).await;
    let mut third = Client::connect(door.address).await;
    third.request("GET", "/me", "").await;
    assert_eq!(first.ask("GET", "/me", "").await.status(), 200);
    assert_eq!(second.ask("GET", "/me", "").await.status(), 200);
    drop(first);
    assert_eq!(second.ask("GET", "/me", "").await.status(), 200);
    drop(second);
    assert_eq!(third.answer().await.status(), 200);
}

#[tokio::test]
async fn a_shorter_drain_is_that_of_the_next_closing() {
    let worker = UpstreamServer::start().await;
    let drain = |drain: &'static str| Plan {
        more: drain,
        cores: 1,
        ..Plan::default()
    };
    let servers = [(worker.address, 1)];
    let yaml = |of: &'static str| {
        Plan {
            servers: &servers,
            ..drain(of)
        }
        .yaml()
    };
    let door = Proxy::start_live(&yaml("drain_timeout: 1h"));
    let _running = searching(&door, "p1").await;
    let _arrived = worker.request().await;
    reload(&door, &yaml("drain_timeout: 10ms")).await;
    let closed = tokio::task::spawn_blocking(move || door.closed());
    soon("the door closes", closed).await.expect("it doesn't panic");
}

#[tokio::test]
async fn accounts_of_a_removed_tier_are_anonymous_and_logged() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
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
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
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
    // Taken back, it needs none.
    save(&program, &elsewhere.replace("cores: 2", "cores: 1"));
    assert_eq!(program.command(&["reload"]).await.code, Some(0));
    let said = program.command(&["status"]).await;
    assert!(!said.out.contains("restart"), "{}", said.out);
}

#[tokio::test]
async fn the_operators_token_is_changed_by_a_reload() {
    let worker = UpstreamServer::start().await;
    let servers = [(worker.address, 4)];
    let yaml = plan(&servers, 8).yaml();
    let door = Proxy::start_live(&yaml);
    let file = door.folder().join("other.token");
    std::fs::write(&file, "another-token-of-at-least-32-characters").expect("a folder to write to");
    let named = with_token_file(&yaml, &file);
    reload(&door, &named).await;
    let with = async |token: &str| {
        let mut client = Client::connect(door.admin).await;
        let headers = format!("authorization: Bearer {token}\r\n");
        client.ask("GET", "/queue", &headers).await.status()
    };
    assert_eq!(with("another-token-of-at-least-32-characters").await, 200);
    assert_eq!(with(&door.token).await, 401);
    // Only what is in the file has changed, which `tiers.yaml` doesn't show.
    std::fs::write(&file, "a-third-token-of-at-least-32-characters").expect("a folder to write to");
    let mut client = Client::connect(door.admin).await;
    let headers = "authorization: Bearer another-token-of-at-least-32-characters\r\ncontent-length: 0\r\n";
    let answer = client.ask("POST", "/reload", headers).await;
    assert_eq!((answer.status(), &answer.json()["result"]), (200, &"unchanged".into()));
    assert_eq!(with("a-third-token-of-at-least-32-characters").await, 200);
    assert_eq!(with("another-token-of-at-least-32-characters").await, 401);
}

/// The bug: a request that had come by the file before, and was on its way to an upstream that the file after has no more, was told
/// 502 `upstream_unreachable`; had another upstream got the place by then, a request that isn't metered went to that one's server.
#[tokio::test]
async fn who_is_on_the_way_to_an_upstream_that_is_removed_gets_there() {
    let (images, search) = (Mirror::start().await, Mirror::start().await);
    let yaml = |number: usize| {
        // The names change, and with them the places; the servers don't.
        let (one, other) = (format!("i{number}"), format!("s{number}"));
        let mut upstreams = [(&one, images.address), (&other, search.address)];
        upstreams.rotate_left(number % 2);
        let with =
            |yaml: Yaml, (name, address): (&String, SocketAddr)| yaml.upstream(name, &[(address, 8)], ", timeout: 20s");
        upstreams
            .into_iter()
            .fold(plan(&[], 8).without_upstreams(), with)
            .route(format_args!("path: /search, upstream: {other}, metered: true"))
            .route(format_args!("path: \"/image/{{*rest}}\", upstream: {one}"))
            .text()
    };
    let door = Proxy::start_live(&yaml(0));
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for at in 0..16 {
        let (address, ended) = (door.address, Arc::clone(&ended));
        let (path, worker) = match at % 2 {
            0 => ("/search", search.address),
            _ => ("/image/1", images.address),
        };
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            while !ended.load(Relaxed) {
                let answer = client.ask("GET", path, "x-api-key: p1\r\n").await;
                let host = worker.to_string();
                assert_eq!(answer.mirrored().await.get("host"), Some(host.as_str()), "{path}");
            }
        });
    }
    for number in 1..=100 {
        reload(&door, &yaml(number)).await;
    }
    ended.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("everybody finds its worker");
    }
    // And nobody keeps what is gone.
    reload(&door, &yaml(101)).await;
    let queue = door.queue().await;
    let names: Vec<&str> = (queue["pools"].as_array().expect("a list").iter())
        .filter_map(|pool| pool["upstream"].as_str())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
