//! The simulated clients show what tiergate promises, and go on showing it: sponsors who pay most are served, strangers are refused first.
//!
//! The search service is replaced by one that takes 50 ms instead of 400: six seconds are as 48 of the demo.

#![allow(clippy::disallowed_methods, reason = "whether it lasts shows only as time passes")]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tiergate_demo::proxy::{self, Addresses, Proxy};
use tiergate_demo::traffic::{self, Crowd, Endpoints, SampleUpload, Senders, Sources, Tally, TrafficPlan};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{tiers_yaml, within_patience};

/// How long a search takes here.
const SEARCH: Duration = Duration::from_millis(50);
/// Between two looks at the results.
const WINDOW: Duration = Duration::from_millis(3000);

type Clients = Arc<Mutex<BTreeSet<IpAddr>>>;

/// An upstream server that finds the same picture every time, and remembers for whom.
fn search_service(clients: Clients) -> Router {
    let search = async move |headers: HeaderMap, _: Bytes| {
        // The client, and then tiergate's peer, if that is a proxy.
        let trail = headers["x-forwarded-for"].to_str().unwrap();
        let client = trail.split(", ").next().unwrap_or(trail);
        clients.lock().insert(client.parse().unwrap());
        tokio::time::sleep(SEARCH).await;
        Json::<Value>(json!({ "result": [{ "filename": "a.jpg" }] }))
    };
    Router::new().route("/search", post(search))
}

/// The results after one window of traffic and after another, and the addresses that were served.
async fn under_traffic(sources: Sources) -> ([Vec<Tally>; 2], BTreeSet<IpAddr>) {
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let addresses = Addresses {
        listen: free,
        admin: free,
        upstream: upstream.local_addr().unwrap(),
    };
    let mut config = tiers_yaml(&addresses);
    let mut plan = TrafficPlan::new(&proxy::tiers(&config), proxy::room(&config), Duration::from_millis(400));
    // Measured from here on; the accounts are as many as the demo has.
    plan.search_time = SEARCH;
    let mut sponsors = Vec::new();
    for tier in 0..plan.tiers.len() {
        sponsors.extend(proxy::add_accounts(&mut config, "sponsor", tier, plan.tiers[tier].accounts).unwrap());
    }
    if sources == Sources::Forwarded {
        proxy::trust(&mut config, Ipv4Addr::LOCALHOST.into());
    }
    let token = proxy::operator_token(&config).unwrap();
    let proxy = Proxy::bind(config).unwrap();
    let endpoints = Endpoints {
        public: proxy.public_address(),
        admin: proxy.admin_address(),
        token,
    };
    let senders = Senders::of(&plan, &sponsors, sources);
    let upload = SampleUpload {
        original: "a.jpg".to_owned(),
        bytes: Bytes::from_static(b"a picture"),
    };
    let (stop, close_proxy, close_search) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let crowd = Crowd::new(endpoints, plan, senders, vec![upload], stop.clone());

    let clients = Clients::default();
    let service = axum::serve(upstream, search_service(Arc::clone(&clients)))
        .with_graceful_shutdown(close_search.clone().cancelled_owned());
    let front = async {
        proxy
            .run(close_proxy.clone().cancelled_owned())
            .await
            .expect("the proxy ends well");
        close_search.cancel();
    };
    let look = async {
        tokio::time::sleep(WINDOW).await;
        let first = crowd.tallies();
        tokio::time::sleep(WINDOW).await;
        stop.cancel();
        print!("{}", crowd.summary());
        [first, crowd.tallies()]
    };
    let sending = async {
        let ((), ()) = tokio::join!(traffic::run(&crowd), traffic::report(&crowd));
        close_proxy.cancel();
    };
    let all = async { tokio::join!(look, sending, front, async { service.await.unwrap() }) };
    let (looks, (), (), ()) = within_patience(all).await;
    let served = clients.lock().clone();
    (looks, served)
}

/// Of a tier's searches between two looks: how many were answered, how many served, how many refused or displaced.
fn between(first: &[Tally], second: &[Tally], tier: &str) -> [u64; 3] {
    let of = |tallies: &[Tally]| tallies.iter().find(|tally| tally.tier == tier).unwrap().total;
    let (before, after) = (of(first), of(second));
    let away = |counts: tiergate_demo::traffic::Counts| counts.refused + counts.displaced;
    [
        after.sum() - before.sum(),
        after.served - before.served,
        away(after) - away(before),
    ]
}

fn assert_promise(first: &[Tally], second: &[Tally], when: &str) {
    let [sent, served, _] = between(first, second, "$100");
    assert!(
        sent > 8 && served * 100 >= sent * 97,
        "{when}: $100 was served {served} of {sent} times"
    );
    let [sent, served, away] = between(first, second, "free");
    assert!(
        away * 2 > sent && served + away == sent,
        "{when}: strangers: {sent} sent, {served} served, {away} turned away"
    );
    let between_tiers = ["$10", "$20", "$50"].map(|tier| between(first, second, tier));
    let [sent, served, _] = between_tiers
        .into_iter()
        .fold([0; 3], |sum, tier| [0, 1, 2].map(|i| sum[i] + tier[i]));
    let [free_sent, free_served, _] = between(first, second, "free");
    assert!(
        served * free_sent > 2 * free_served * sent,
        "{when}: $10 to $50 were served {served} of {sent} times"
    );
}

/// No bound but the queue's is met: quotas and request limits don't run dry.
fn assert_only_the_queue_refuses(tallies: &[Tally]) {
    for tally in tallies {
        assert!(tally.others.is_empty(), "{}: {:?}", tally.tier, tally.others);
        assert_eq!(tally.right, tally.total.served);
    }
    let free = &tallies[0].total;
    assert!(free.displaced > 0 && free.refused > 0, "{free:?}");
}

#[tokio::test]
async fn sponsors_are_served_and_strangers_refused_for_good() {
    let ([first, second], clients) = under_traffic(Sources::of_clients(Ipv4Addr::LOCALHOST.into())).await;
    let none: Vec<_> = first.iter().map(|tally| Tally::new(&tally.tier)).collect();
    assert_promise(&none, &first, "at first");
    assert_promise(&first, &second, "later");
    assert_only_the_queue_refuses(&second);
    assert!(clients.len() > 100, "{} addresses", clients.len());
}

#[tokio::test]
async fn clients_without_addresses_of_their_own_name_them() {
    let ([first, second], clients) = under_traffic(Sources::Forwarded).await;
    assert_promise(&first, &second, "by X-Forwarded-For");
    assert_only_the_queue_refuses(&second);
    assert!(clients.len() > 100, "{} addresses", clients.len());
    let is_named = |client: &IpAddr| matches!(client, IpAddr::V4(client) if client.octets()[0] == 10);
    assert!(clients.iter().all(is_named), "{clients:?}");
}
