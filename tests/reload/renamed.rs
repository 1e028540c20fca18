//! Names that change together in one edit: tiers with their accounts, accounts with their keys, upstreams with their
//! routes. Both files give every caller room for all its requests, so an answer other than 200 means that one was
//! judged by both files together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::task::JoinSet;

use crate::support::{Client, Mirror, Proxy, soon, yaml};

const EDITS: usize = 150;
/// Clients of each caller, and its concurrency in both files.
const CLIENTS: usize = 12;

/// Two files that differ only in most of their names. By the positions of the other file's names a caller would be in a
/// tier without enough room. A caller is anonymous where the next file has neither its account nor its tier; the
/// anonymous tier has room for all.
fn file(odd: bool, server: SocketAddr) -> String {
    let pick = |even: &'static str, other: &'static str| if odd { other } else { even };
    let (paid, owner) = (pick("paid", "sponsors"), pick("acme", "ajax"));
    let tiers = match odd {
        false => yaml()
            .tier("free", "priority: 0, concurrency: 12")
            .tier("stored", "priority: 1, concurrency: 12"),
        true => yaml()
            .tier("guest", "priority: 0, concurrency: 12")
            .tier("free", "priority: 1, concurrency: 1"),
    };
    let (searches, images) = (pick("search", "find"), pick("images", "pictures"));
    tiers
        .queue("length: 100, max_wait: 60s")
        .tier(paid, "priority: 3, concurrency: 12")
        .account(owner, paid, &["moving"])
        .account("stays", paid, &["staying"])
        .upstream(searches, &[(server, 100)], "")
        .upstream(images, &[(server, 100)], "")
        .route(format_args!("path: /search, upstream: {searches}, metered: true"))
        .route(format_args!("path: \"/image/{{*rest}}\", upstream: {images}"))
        .text()
}

/// Sends requests until `over` is set.
async fn asks(proxy: SocketAddr, path: &'static str, key: String, over: Arc<AtomicBool>, asked: Arc<AtomicUsize>) {
    let mut client = Client::connect(proxy).await;
    while !over.load(SeqCst) {
        let answer = client.ask("GET", path, &format!("x-api-key: {key}\r\n")).await;
        assert_eq!(answer.status(), 200, "{path} of {key}: {}", answer.text());
        asked.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn no_request_is_judged_by_two_files() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start_live(&file(false, mirror.address));
    // In a tier that only one of the files has and whose terms equal the other's anonymous tier.
    let body = r#"{ "name": "kept", "tier": "stored" }"#;
    assert_eq!(proxy.operator("POST", "/accounts", body).await.status(), 201);
    let minted = proxy.operator("POST", "/accounts/kept/keys", "{}").await.json();
    let kept = minted["key"].as_str().expect("a key");
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for (path, key) in [
        ("/search", "moving"),
        ("/search", "staying"),
        ("/search", kept),
        ("/image/1.png", "staying"),
    ] {
        for _ in 0..CLIENTS {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            clients.spawn(asks(proxy.address, path, key.to_owned(), over, asked));
        }
    }
    for edit in 1..=EDITS {
        let before = asked.load(SeqCst);
        proxy.save(&file(edit % 2 == 1, mirror.address));
        let answer = proxy.operator("POST", "/reload", "").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        soon("a request was sent since", async {
            while asked.load(SeqCst) <= before + 4 * CLIENTS {
                tokio::task::yield_now().await;
                if let Some(ended) = clients.try_join_next() {
                    ended.expect("every request is answered");
                }
            }
        })
        .await;
    }
    over.store(true, SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every request is answered");
    }
}
