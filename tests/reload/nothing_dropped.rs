//! What a reload keeps: queued and running jobs, and everything counted. The test drives the upstream servers, so
//! nothing ends before it should.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::yaml::Yaml;
use crate::support::{Arrived, Client, Mirror, Plan, Proxy, UpstreamServer, soon};

/// Saves this file and reloads it; returns the answer to the operator.
pub(super) async fn reload(proxy: &Proxy, yaml: &str) -> Value {
    proxy.save(yaml);
    let answer = proxy.operator("POST", "/reload", "").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["result"], "applied", "{told}");
    told
}

pub(super) async fn searching(proxy: &Proxy, key: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.search(key).await;
    client
}

async fn refused(proxy: &Proxy, key: &str) -> String {
    let answer = searching(proxy, key).await.answer().await;
    assert_ne!(answer.status(), 200);
    answer.reason()
}

pub(super) async fn found(mut client: Client) {
    let answer = client.answer().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// The queued jobs on the operator's page, in the order in which they are served.
async fn waiting(proxy: &Proxy) -> Vec<(String, u64)> {
    let queue = proxy.queue().await;
    let line = |job: &Value| {
        let priority = job["priority"].as_u64().expect("a number");
        (job["caller"].as_str().expect("a name").to_owned(), priority)
    };
    queue["waiting"].as_array().expect("a list").iter().map(line).collect()
}

async fn pool(proxy: &Proxy, upstream: &str) -> Option<(u64, u64)> {
    let queue = proxy.queue().await;
    let pools = queue["pools"].as_array().expect("a list");
    let pool = pools.iter().find(|pool| pool["upstream"] == upstream)?;
    Some((pool["slots"].as_u64()?, pool["running"].as_u64()?))
}

pub(super) fn plan<'a>(servers: &'a [(SocketAddr, u32)], queue_length: u32) -> Plan<'a> {
    Plan {
        cores: 1,
        queue_length,
        servers,
        ..Plan::default()
    }
}

/// A proxy with one slot, where a job of `p6` runs.
async fn busy(server: &UpstreamServer, queue_length: u32) -> (Proxy, Client, Arrived) {
    let proxy = Proxy::start_live(&plan(&[(server.address, 1)], queue_length).yaml());
    let running = searching(&proxy, "p6").await;
    let arrived = server.request().await;
    (proxy, running, arrived)
}

#[tokio::test]
async fn queued_jobs_take_the_new_priority_in_arrival_order() {
    let server = UpstreamServer::start().await;
    let (proxy, running, mut arrived) = busy(&server, 8).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p2", "p3", "p1"].into_iter().enumerate() {
        clients.push(searching(&proxy, key).await);
        proxy.jobs_until(at + 1, 1).await;
    }
    let servers = [(server.address, 1)];
    let yaml = plan(&servers, 8)
        .yaml()
        .replace("p1: { priority: 1,", "p1: { priority: 3,");
    let told = reload(&proxy, &yaml).await;
    assert!(told["changes"].to_string().contains("priority 1 → 3"), "{told}");
    let order = ["p1", "p3", "p1", "p2"];
    let seen: Vec<String> = waiting(&proxy).await.into_iter().map(|(caller, _)| caller).collect();
    assert_eq!(seen, order);
    for (left, caller) in (0..order.len()).rev().zip(order) {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
        proxy.jobs_until(left, 1).await;
        let queue = proxy.queue().await;
        assert_eq!(queue["running"][0]["caller"], caller);
    }
    arrived.answer("").await;
    for client in clients.into_iter().chain([running]) {
        found(client).await;
    }
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn queued_jobs_follow_a_renamed_tier_and_account() {
    let server = UpstreamServer::start().await;
    let (proxy, running, mut arrived) = busy(&server, 8).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p3"].into_iter().enumerate() {
        clients.push(searching(&proxy, key).await);
        proxy.jobs_until(at + 1, 1).await;
    }
    let yaml = plan(&[(server.address, 1)], 8).yaml();
    let renamed = yaml
        .replace("p3: { priority: 3,", "sponsors: { priority: 3,")
        .replace("tier: p3,", "tier: sponsors,");
    reload(&proxy, &renamed).await;
    assert_eq!(
        waiting(&proxy).await,
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
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn requeueing_and_a_shorter_queue_drop_no_job() {
    let server = UpstreamServer::start().await;
    let (proxy, running, mut arrived) = busy(&server, 3).await;
    let mut clients = Vec::new();
    for (at, key) in ["p1", "p2", "p3"].into_iter().enumerate() {
        clients.push(searching(&proxy, key).await);
        proxy.jobs_until(at + 1, 1).await;
    }
    // Two places fewer, and the queued jobs are reordered.
    let servers = [(server.address, 1)];
    let shorter = plan(&servers, 1).yaml();
    let shorter = shorter.replace("p1: { priority: 1,", "p1: { priority: 4,");
    reload(&proxy, &shorter).await;
    assert_eq!(
        waiting(&proxy).await,
        [("p1", 4), ("p3", 3), ("p2", 2)].map(|(caller, priority)| (caller.to_owned(), priority))
    );
    assert_eq!(proxy.queue().await["seats"], 1);
    // Freed places are not used again while there are too many.
    assert_eq!(refused(&proxy, "p2").await, "queue_full");
    for left in [2, 1] {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
        proxy.jobs_until(left, 1).await;
        assert_eq!(refused(&proxy, "p0").await, "queue_full");
    }
    arrived.answer("").await;
    arrived = Arrived::on(arrived.stream).await;
    proxy.jobs_until(0, 1).await;
    clients.push(searching(&proxy, "p0").await);
    proxy.jobs_until(1, 1).await;
    // A longer queue is used at once.
    assert_eq!(refused(&proxy, "p0").await, "queue_full");
    reload(&proxy, &plan(&servers, 2).yaml()).await;
    clients.push(searching(&proxy, "p0").await);
    proxy.jobs_until(2, 1).await;
    for _ in 0..2 {
        arrived.answer("").await;
        arrived = Arrived::on(arrived.stream).await;
    }
    arrived.answer("").await;
    for client in clients.into_iter().chain([running]) {
        found(client).await;
    }
    assert!(
        proxy
            .metric(r#"tiergate_refusals_total{tier="p2",reason="displaced"}"#)
            .await
            .abs()
            < 0.5
    );
    proxy.jobs_until(0, 0).await;
}

#[tokio::test]
async fn more_slots_are_used_at_once_and_fewer_drain() {
    let server = UpstreamServer::start().await;
    let (proxy, running, first) = busy(&server, 8).await;
    let mut clients = vec![running];
    for at in 1..=3 {
        clients.push(searching(&proxy, "p1").await);
        proxy.jobs_until(at, 1).await;
    }
    // Queued jobs get the new slots although no job has ended.
    reload(&proxy, &plan(&[(server.address, 3)], 8).yaml()).await;
    let mut arrived = vec![first, server.request().await, server.request().await];
    proxy.jobs_until(1, 3).await;
    // Two fewer: no job is aborted, and freed slots are not used again.
    reload(&proxy, &plan(&[(server.address, 1)], 8).yaml()).await;
    assert_eq!(pool(&proxy, "search").await, Some((1, 3)));
    for left in [2, 1] {
        arrived.pop().expect("it runs").answer("").await;
        proxy.jobs_until(1, left).await;
    }
    let mut last = arrived.pop().expect("it runs");
    last.answer("").await;
    let mut next = Arrived::on_either(last.stream, &server).await;
    proxy.jobs_until(0, 1).await;
    next.answer("").await;
    for client in clients {
        found(client).await;
    }
    assert_eq!(pool(&proxy, "search").await, Some((1, 0)));
}

#[tokio::test]
async fn a_removed_server_finishes_its_jobs_and_gets_no_more() {
    let (old, new) = (UpstreamServer::start().await, UpstreamServer::start().await);
    let (proxy, running, mut at_old) = busy(&old, 8).await;
    let waits = searching(&proxy, "p1").await;
    proxy.jobs_until(1, 1).await;
    reload(&proxy, &plan(&[(new.address, 2)], 8).yaml()).await;
    // The queued job goes to the new server at once.
    let mut at_new = new.request().await;
    proxy.jobs_until(0, 2).await;
    at_old.answer("old").await;
    let mut running = running;
    assert_eq!(running.answer().await.text(), "old");
    at_new.answer("").await;
    found(waits).await;
    // Back again beside the other, it is used as before.
    reload(&proxy, &plan(&[(old.address, 1), (new.address, 1)], 8).yaml()).await;
    let clients = [searching(&proxy, "p1").await, searching(&proxy, "p1").await];
    proxy.jobs_until(0, 2).await;
    // No connection to a removed server is kept open.
    drop(at_old);
    let mut one = old.request().await;
    let mut other = Arrived::on_either(at_new.stream, &new).await;
    one.answer("").await;
    other.answer("").await;
    for client in clients {
        found(client).await;
    }
    assert_eq!(pool(&proxy, "search").await, Some((2, 0)));
}

/// Upstreams with a slot each, of which only those listed exist; `/search` is routed to the one named.
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
    let proxy = Proxy::start_live(&upstreams("one", &[("one", old.address)]));
    let mut clients = vec![searching(&proxy, "p1").await];
    let mut at_old = old.request().await;
    for at in 1..=2 {
        clients.push(searching(&proxy, "p1").await);
        proxy.jobs_until(at, 1).await;
    }
    reload(&proxy, &upstreams("two", &[("two", new.address)])).await;
    // A new request is served there, ahead of jobs that wait for the other upstream.
    let newcomer = searching(&proxy, "p0").await;
    let mut at_new = new.request().await;
    at_new.answer("").await;
    found(newcomer).await;
    assert_eq!(pool(&proxy, "one").await, Some((1, 1)));
    at_old.answer("").await;
    at_old = Arrived::on(at_old.stream).await;
    proxy.jobs_until(1, 1).await;
    // The same name again, while a job is there.
    reload(&proxy, &upstreams("one", &[("one", old.address), ("two", new.address)])).await;
    clients.push(searching(&proxy, "p1").await);
    proxy.jobs_until(2, 1).await;
    for _ in 0..2 {
        at_old.answer("").await;
        at_old = Arrived::on(at_old.stream).await;
    }
    at_old.answer("").await;
    for client in clients {
        found(client).await;
    }
    // Gone for good: without jobs it is no longer shown, and if the name returns it is a new upstream.
    let mut last = searching(&proxy, "p1").await;
    at_old = Arrived::on_either(at_old.stream, &old).await;
    reload(&proxy, &upstreams("two", &[("two", new.address)])).await;
    assert_eq!(pool(&proxy, "one").await, Some((1, 1)));
    at_old.answer("").await;
    assert_eq!(last.answer().await.status(), 200);
    let is_gone = |page: &Value| page["pools"].as_array().is_some_and(|pools| pools.len() == 1);
    proxy
        .queue_until("the removed upstream goes when it has finished", is_gone)
        .await;
    assert_eq!(pool(&proxy, "one").await, None);
    assert_eq!(pool(&proxy, "two").await, Some((1, 0)));
    reload(&proxy, &upstreams("one", &[("one", new.address)])).await;
    let client = searching(&proxy, "p1").await;
    Arrived::on_either(at_new.stream, &new).await.answer("").await;
    found(client).await;
}

#[tokio::test]
async fn debits_holds_and_concurrency_survive_a_reload() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let of = |tier: &'static str| {
        let plan = Plan {
            tier,
            ..plan(&servers, 8)
        };
        plan.yaml()
    };
    let proxy = Proxy::start_live(&of("concurrency: 2, quota: { limit: 10, rolling: 24h }"));
    let mut stream = None;
    for _ in 0..3 {
        let client = searching(&proxy, "p1").await;
        let mut arrived = match stream.take() {
            Some(stream) => Arrived::on_either(stream, &server).await,
            None => server.request().await,
        };
        arrived.answer("").await;
        found(client).await;
        stream = Some(arrived.stream);
    }
    let running = searching(&proxy, "p1").await;
    let mut arrived = Arrived::on_either(stream.expect("three searches"), &server).await;
    // The job from before the reload counts: three debits and one hold, of five.
    reload(&proxy, &of("concurrency: 1, quota: { limit: 5, rolling: 24h }")).await;
    assert_eq!(refused(&proxy, "p1").await, "concurrency_exceeded");
    reload(&proxy, &of("concurrency: 2, quota: { limit: 4, rolling: 24h }")).await;
    assert_eq!(refused(&proxy, "p1").await, "quota_depleted");
    reload(&proxy, &of("concurrency: 2, quota: { limit: 5, rolling: 24h }")).await;
    let last = searching(&proxy, "p1").await;
    let mut second = server.request().await;
    assert_eq!(refused(&proxy, "p1").await, "quota_depleted");
    arrived.answer("").await;
    second.answer("").await;
    for client in [running, last] {
        found(client).await;
    }
    proxy.jobs_until(0, 0).await;
    // A new window is filled from the database.
    reload(
        &proxy,
        &of("concurrency: 2, quota: { limit: 5, calendar: month, zone: UTC }"),
    )
    .await;
    soon("the new window is filled", async {
        loop {
            let mut client = Client::connect(proxy.address).await;
            let me = client.ask("GET", "/me", "x-api-key: p1\r\n").await;
            assert_eq!(me.status(), 200);
            if me.text().contains(r#""quotaUsed":5"#) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(refused(&proxy, "p1").await, "quota_depleted");
}

#[tokio::test]
async fn limit_counters_survive_a_reload() {
    let server = UpstreamServer::start().await;
    let servers = [(server.address, 4)];
    let of = |limit: u32| {
        let yaml = plan(&servers, 8).yaml();
        format!("{yaml}\nlimits:\n  - {{ name: http, per: account, limit: {limit}, window: 1h }}\n")
    };
    let proxy = Proxy::start_live(&of(3));
    let mut client = Client::connect(proxy.address).await;
    let mut me = async || client.ask("GET", "/me", "x-api-key: p1\r\n").await.status();
    assert_eq!([me().await, me().await, me().await, me().await], [200, 200, 200, 429]);
    reload(&proxy, &of(5)).await;
    assert_eq!([me().await, me().await, me().await], [200, 200, 429]);
    reload(&proxy, &of(2)).await;
    assert_eq!(me().await, 429);
}

/// Regression: a request routed by the old file, on its way to an upstream that the new file no longer has, got 502
/// `upstream_unreachable`; if another upstream had taken its place by then, an unmetered request went to that one's
/// server.
#[tokio::test]
async fn requests_in_flight_reach_their_removed_upstream() {
    let (images, search) = (Mirror::start().await, Mirror::start().await);
    let yaml = |number: usize| {
        // The names change, and with them the positions; the servers do not.
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
    let proxy = Proxy::start_live(&yaml(0));
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for at in 0..16 {
        let (address, ended) = (proxy.address, Arc::clone(&ended));
        let (path, server) = match at % 2 {
            0 => ("/search", search.address),
            _ => ("/image/1", images.address),
        };
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            while !ended.load(Relaxed) {
                let answer = client.ask("GET", path, "x-api-key: p1\r\n").await;
                let host = server.to_string();
                assert_eq!(answer.mirrored().await.get("host"), Some(host.as_str()), "{path}");
            }
        });
    }
    for number in 1..=100 {
        reload(&proxy, &yaml(number)).await;
    }
    ended.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("every request reaches its server");
    }
    // And what was removed is not kept.
    reload(&proxy, &yaml(101)).await;
    let queue = proxy.queue().await;
    let names: Vec<&str> = (queue["pools"].as_array().expect("a list").iter())
        .filter_map(|pool| pool["upstream"].as_str())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
